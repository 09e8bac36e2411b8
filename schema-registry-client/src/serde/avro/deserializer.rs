//! Framed Avro to values.

use std::sync::Arc;
use std::time::Duration;

use apache_avro::types::Value;
use serde::de::DeserializeOwned;

use super::codec::AvroCodec;
use super::schema::AvroSchema;
use crate::cache::{Cache, CacheLimits};
use crate::client::Client;
use crate::model::{SchemaId, SchemaType};
use crate::serde::SerdeError;
use crate::wire;

/// The settings of an [`AvroDeserializer`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct AvroDeserializerSettings {
    /// The schema in which the program wants its values, whatever they were written with: each value is brought into
    /// it by Avro's schema resolution, which is several times slower. Default: none, values come as they were written,
    /// and serde's defaults and aliases help with fields that come and go.
    pub reader_schema: Option<AvroSchema>,
    /// How long an id that the registry does not have is refused without asking again (`missing.id.cache.ttl.sec`).
    /// Default: 10 s.
    pub missing_cache_ttl: Duration,
    /// The most schemas kept. Default: 1000.
    pub cache_capacity: usize,
}

impl Default for AvroDeserializerSettings {
    fn default() -> Self {
        Self { reader_schema: None, missing_cache_ttl: Duration::from_secs(10), cache_capacity: 1000 }
    }
}

/// Reads framed Avro, fetching each schema once. Share it by reference or in an `Arc`: concurrent callers make one
/// request for what they all need.
///
/// **Cancel safety.** Dropping a future has no effect.
pub struct AvroDeserializer {
    client: Client,
    settings: AvroDeserializerSettings,
    codecs: Cache<SchemaId, Arc<AvroCodec>, SerdeError>,
}

impl std::fmt::Debug for AvroDeserializer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("AvroDeserializer").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl AvroDeserializer {
    /// A deserializer that asks this registry.
    #[must_use]
    pub fn new(client: Client, settings: AvroDeserializerSettings) -> Self {
        let limits =
            CacheLimits { capacity: settings.cache_capacity, value_ttl: None, error_ttl: settings.missing_cache_ttl };
        Self { client, settings, codecs: Cache::new(limits) }
    }

    /// The value in framed bytes.
    ///
    /// # Errors
    /// [`SerdeError`]: the bytes are not framed or not of their schema, or do not fit `T`; the schema is not Avro, has
    /// rules, or could not be fetched.
    pub async fn deserialize<T: DeserializeOwned>(&self, framed: &[u8]) -> Result<T, SerdeError> {
        let (id, datum) = wire::split(framed)?;
        let codec = self.codec(id).await?;
        let Some(reader) = &self.settings.reader_schema else {
            return codec.decode(datum).map_err(|error| with_id(id, error));
        };
        let value = reader.codec().resolve(codec.decode_value(datum).map_err(|error| with_id(id, error))?)?;
        apache_avro::from_value(&value).map_err(|error| SerdeError::Datum {
            schema: format!("schema {id} and the reader schema"),
            path: "$".into(),
            reason: error.to_string(),
        })
    }

    /// As [`AvroDeserializer::deserialize`], into a generic value.
    ///
    /// # Errors
    /// As [`AvroDeserializer::deserialize`].
    pub async fn deserialize_value(&self, framed: &[u8]) -> Result<Value, SerdeError> {
        let (id, datum) = wire::split(framed)?;
        let value = self.codec(id).await?.decode_value(datum).map_err(|error| with_id(id, error))?;
        match &self.settings.reader_schema {
            Some(reader) => reader.codec().resolve(value),
            None => Ok(value),
        }
    }

    /// The codec of the schema with this id, after asking the registry where needed. With [`wire::split`] it serves a
    /// loop over many records.
    ///
    /// # Errors
    /// [`SerdeError::Registry`], [`SerdeError::WrongSchemaType`], [`SerdeError::UnsupportedRules`],
    /// [`SerdeError::Schema`].
    pub async fn codec(&self, id: SchemaId) -> Result<Arc<AvroCodec>, SerdeError> {
        self.codecs.get(&id, SerdeError::is_retriable, || self.fetch(id)).await
    }

    async fn fetch(&self, id: SchemaId) -> Result<Arc<AvroCodec>, SerdeError> {
        let definition = self.client.schema_by_id(id, None).await?;
        if definition.schema_type != SchemaType::Avro {
            return Err(SerdeError::WrongSchemaType { id, schema_type: definition.schema_type });
        }
        if definition.has_rules() {
            return Err(SerdeError::UnsupportedRules { what: format!("schema {id}") });
        }
        let schema = AvroSchema::from_registry(&self.client, definition).await?;
        Ok(Arc::clone(schema.codec()))
    }
}

/// Names the schema's id in an error about a datum.
fn with_id(id: SchemaId, error: SerdeError) -> SerdeError {
    match error {
        SerdeError::Datum { schema, path, reason } => {
            SerdeError::Datum { schema: format!("schema {id} ({schema})"), path, reason }
        }
        other => other,
    }
}
