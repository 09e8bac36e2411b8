//! JSON, by serde.

use rkafka_protocol::records::HeadersView;
use serde::{Deserialize, Serialize};

use super::{
    DefaultDeserializer, DefaultSerializer, Deserializer, Encoded, Payload, RecordHeaders, SerializationContext,
    SerializationError, Serializer,
};

/// Writes values as JSON, without spaces. What JSON calls `null` (`None`, `()`) becomes a null of Kafka: a tombstone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct JsonSerializer;

impl<T: Serialize + ?Sized> Serializer<T> for JsonSerializer {
    fn serialize(
        &self,
        context: SerializationContext<'_>,
        _: &mut RecordHeaders<'_>,
        data: &T,
        into: &mut Vec<u8>,
    ) -> Result<Encoded, SerializationError> {
        let start = into.len();
        serde_json::to_writer(&mut *into, data).map_err(|error| failed(context, "be written as JSON", &error))?;
        if into.get(start..) == Some(b"null") {
            into.truncate(start);
            return Ok(Encoded::Null);
        }
        Ok(Encoded::Bytes)
    }
}

/// Reads values from JSON, which may borrow from the record (`&'a str`, `#[serde(borrow)]`). A null of Kafka is read as
/// JSON's `null`: `None`, or an error where the type knows no `null`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct JsonDeserializer;

impl<'a, T: Deserialize<'a>> Deserializer<'a, T> for JsonDeserializer {
    fn deserialize(
        &self,
        context: SerializationContext<'_>,
        _: HeadersView<'a>,
        data: Option<Payload<'a>>,
    ) -> Result<T, SerializationError> {
        match data {
            Some(data) => serde_json::from_slice(data.as_slice())
                .map_err(|error| failed(context, "be read as JSON of its type", &error)),
            None => T::deserialize(serde_json::Value::Null)
                .map_err(|_| SerializationError::null(context, "value of its type")),
        }
    }
}

/// The error without serde's words where these quote the data: names of fields that are missing or twice there are the
/// program's own, and the rest is told by its place.
fn failed(context: SerializationContext<'_>, what: &str, error: &serde_json::Error) -> SerializationError {
    use serde_json::error::Category;
    let text = error.to_string();
    let detail = match error.classify() {
        Category::Data if text.starts_with("missing field `") || text.starts_with("duplicate field `") => text,
        category => {
            let kind = match category {
                Category::Data => "a value does not fit the type",
                Category::Syntax => "the syntax is broken",
                Category::Eof => "it ends too early",
                Category::Io => "it cannot be written",
            };
            if error.line() == 0 {
                kind.to_owned()
            } else {
                format!("{kind} at line {} column {}", error.line(), error.column())
            }
        }
    };
    SerializationError::new(context, format!("it cannot {what}: {detail}"))
}

/// A value that is JSON in records: for producers and consumers whose types alone say how they are written.
///
/// ```
/// use rkafka_client_core::serialization::{DefaultDeserializer, Json};
/// fn reads<T: DefaultDeserializer>() {}
/// reads::<Json<Vec<u32>>>();
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Json<T>(pub T);

impl<T: Serialize> DefaultSerializer for Json<T> {
    type Serializer = JsonSerializer;
}

impl<T: for<'a> Deserialize<'a>> DefaultDeserializer for Json<T> {
    type Deserializer = JsonDeserializer;
}

impl<T: Serialize> DefaultSerializer for Option<Json<T>> {
    type Serializer = JsonSerializer;
}

impl<T: for<'a> Deserialize<'a>> DefaultDeserializer for Option<Json<T>> {
    type Deserializer = JsonDeserializer;
}
