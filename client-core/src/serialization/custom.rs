//! Serializers from closures, and `Option` for those that know none.

use std::fmt;

use rkafka_protocol::records::HeadersView;

use super::{
    Deserializer, Encoded, Payload, Preparation, RecordHeaders, SerializationContext, SerializationError, Serializer,
};

/// The serializer that [`serialize_with`] makes.
#[derive(Clone, Copy)]
pub struct SerializeWith<F>(F);

impl<F> fmt::Debug for SerializeWith<F> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SerializeWith(..)")
    }
}

/// A serializer from a closure that appends a value's bytes.
///
/// ```
/// use rkafka_client_core::serialization::serialize_with;
/// let serializer = serialize_with(|number: &u16, into| {
///     into.extend(number.to_le_bytes());
///     Ok::<_, std::convert::Infallible>(())
/// });
/// ```
///
/// What the closure fails with becomes the reason of the [`SerializationError`], and must not hold the data.
pub fn serialize_with<T: ?Sized, E, F>(write: F) -> SerializeWith<F>
where
    F: Fn(&T, &mut Vec<u8>) -> Result<(), E>,
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    SerializeWith(write)
}

impl<T: ?Sized, E, F> Serializer<T> for SerializeWith<F>
where
    F: Fn(&T, &mut Vec<u8>) -> Result<(), E>,
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    fn serialize(
        &self,
        context: SerializationContext<'_>,
        _: &mut RecordHeaders<'_>,
        data: &T,
        into: &mut Vec<u8>,
    ) -> Result<Encoded, SerializationError> {
        (self.0)(data, into).map_err(|error| SerializationError::because(context, error))?;
        Ok(Encoded::Bytes)
    }
}

/// The deserializer that [`deserialize_with`] makes.
#[derive(Clone, Copy)]
pub struct DeserializeWith<F>(F);

impl<F> fmt::Debug for DeserializeWith<F> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("DeserializeWith(..)")
    }
}

/// A deserializer from a closure that reads a value from bytes. Nulls are an error; see [`Nullable`].
///
/// ```
/// use rkafka_client_core::serialization::deserialize_with;
/// let deserializer = deserialize_with(|bytes: &[u8]| Ok::<_, std::array::TryFromSliceError>(u16::from_le_bytes(bytes.try_into()?)));
/// ```
///
/// What the closure fails with becomes the reason of the [`SerializationError`], and must not hold the data.
pub fn deserialize_with<T, E, F>(read: F) -> DeserializeWith<F>
where
    F: Fn(&[u8]) -> Result<T, E>,
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    DeserializeWith(read)
}

impl<'a, T, E, F> Deserializer<'a, T> for DeserializeWith<F>
where
    F: Fn(&[u8]) -> Result<T, E>,
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    fn deserialize(
        &self,
        context: SerializationContext<'_>,
        _: HeadersView<'a>,
        data: Option<Payload<'a>>,
    ) -> Result<T, SerializationError> {
        let data = data.ok_or_else(|| SerializationError::null(context, "value"))?;
        (self.0)(data.as_slice()).map_err(|error| SerializationError::because(context, error))
    }
}

/// Makes a serializer of `T` one of `Option<T>`, whose `None` is null, and a deserializer likewise. The built-in ones are
/// so by themselves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Nullable<S>(pub S);

impl<T, S: Serializer<T>> Serializer<Option<T>> for Nullable<S> {
    fn serialize(
        &self,
        context: SerializationContext<'_>,
        headers: &mut RecordHeaders<'_>,
        data: &Option<T>,
        into: &mut Vec<u8>,
    ) -> Result<Encoded, SerializationError> {
        match data {
            Some(data) => self.0.serialize(context, headers, data, into),
            None => Ok(Encoded::Null),
        }
    }

    fn prepare<'a>(&'a self, context: SerializationContext<'a>, data: &'a Option<T>) -> Preparation<'a> {
        match data {
            Some(data) => self.0.prepare(context, data),
            None => Box::pin(std::future::ready(Ok(()))),
        }
    }
}

impl<'a, T, S: Deserializer<'a, T>> Deserializer<'a, Option<T>> for Nullable<S> {
    fn deserialize(
        &self,
        context: SerializationContext<'_>,
        headers: HeadersView<'a>,
        data: Option<Payload<'a>>,
    ) -> Result<Option<T>, SerializationError> {
        data.map(|data| self.0.deserialize(context, headers, Some(data))).transpose()
    }

    fn prepare<'b>(
        &'b self,
        context: SerializationContext<'b>,
        headers: HeadersView<'b>,
        data: Option<Payload<'b>>,
    ) -> Preparation<'b> {
        self.0.prepare(context, headers, data)
    }
}
