//! Values to framed Avro.

use std::sync::Arc;
use std::time::Duration;

use apache_avro::types::Value;
use serde::Serialize;

use super::codec::AvroCodec;
use super::schema::AvroSchema;
use crate::cache::{Cache, CacheLimits};
use crate::client::Client;
use crate::model::{SchemaDefinition, SchemaId, SchemaType, Version};
use crate::serde::{SerdeError, SubjectNameStrategy};
use crate::wire;

/// The settings of an [`AvroSerializer`]. Names in parentheses are those of Confluent's Java serializers.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AvroSerializerSettings {
    /// Whether it writes keys, not values. Default: false.
    pub is_key: bool,
    /// Whether schemas that the registry does not have are registered (`auto.register.schemas`). Where not, and the
    /// schema is not there, writing fails. Default: true.
    pub auto_register_schemas: bool,
    /// Whether values are written with the subject's latest schema, not with the one given (`use.latest.version`);
    /// goes before `auto_register_schemas`. A value that does not fit it is an error. Default: false.
    pub use_latest_version: bool,
    /// Whether the registry brings schemas into normal form before it compares them (`normalize.schemas`). Default:
    /// false.
    pub normalize_schemas: bool,
    /// How subjects are named (`value.subject.name.strategy`). Default: topic name.
    pub subject_name_strategy: SubjectNameStrategy,
    /// How long the latest schema is taken for the latest (`latest.cache.ttl.sec`); `None` for ever, as in Java.
    pub latest_cache_ttl: Option<Duration>,
    /// How long a refusal (schema not found, incompatible, invalid) is repeated without asking the registry again
    /// (`missing.schema.cache.ttl.sec`). Default: 10 s.
    pub missing_cache_ttl: Duration,
    /// The most schemas kept (`max.schemas.per.subject`, here for all subjects together). Default: 1000.
    pub cache_capacity: usize,
}

impl Default for AvroSerializerSettings {
    fn default() -> Self {
        Self {
            is_key: false,
            auto_register_schemas: true,
            use_latest_version: false,
            normalize_schemas: false,
            subject_name_strategy: SubjectNameStrategy::TopicName,
            latest_cache_ttl: None,
            missing_cache_ttl: Duration::from_secs(10),
            cache_capacity: 1000,
        }
    }
}

/// Writes values as Avro, framed with the id of their schema. Share it by reference or in an `Arc`: concurrent callers
/// make one request for what they all need.
///
/// **Cancel safety.** Dropping a future may leave a schema registered, and nothing else.
pub struct AvroSerializer {
    client: Client,
    settings: AvroSerializerSettings,
    /// By subject and schema.
    encoders: Cache<(String, Arc<SchemaDefinition>), Arc<AvroEncoder>, SerdeError>,
    /// By subject.
    latest: Cache<String, Arc<AvroEncoder>, SerdeError>,
}

impl std::fmt::Debug for AvroSerializer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("AvroSerializer").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl AvroSerializer {
    /// A serializer that asks this registry.
    #[must_use]
    pub fn new(client: Client, settings: AvroSerializerSettings) -> Self {
        let limits = |value_ttl| CacheLimits {
            capacity: settings.cache_capacity,
            value_ttl,
            error_ttl: settings.missing_cache_ttl,
        };
        Self {
            encoders: Cache::new(limits(None)),
            latest: Cache::new(limits(settings.latest_cache_ttl)),
            client,
            settings,
        }
    }

    /// A value as framed bytes.
    ///
    /// # Errors
    /// [`SerdeError`]: the registry could not be asked or refused the schema, the schema has rules or no name where the
    /// subject needs one, or the value does not fit.
    pub async fn serialize<T: Serialize + ?Sized>(
        &self,
        topic: &str,
        schema: &AvroSchema,
        value: &T,
    ) -> Result<Vec<u8>, SerdeError> {
        self.encoder(topic, schema).await?.encode(value)
    }

    /// As [`AvroSerializer::serialize`], for a generic value.
    ///
    /// # Errors
    /// As [`AvroSerializer::serialize`].
    pub async fn serialize_value(
        &self,
        topic: &str,
        schema: &AvroSchema,
        value: &Value,
    ) -> Result<Vec<u8>, SerdeError> {
        self.encoder(topic, schema).await?.encode_value(value)
    }

    /// The encoder that values of `schema` for `topic` are written with, after asking the registry where needed. Keep
    /// it for a loop over many records.
    ///
    /// # Errors
    /// As [`AvroSerializer::serialize`], but for the value.
    pub async fn encoder(&self, topic: &str, schema: &AvroSchema) -> Result<Arc<AvroEncoder>, SerdeError> {
        let strategy = self.settings.subject_name_strategy;
        let subject = strategy.subject(topic, self.settings.is_key, schema.codec().name())?;
        let may_pass = SerdeError::is_retriable;
        if self.settings.use_latest_version {
            return self.latest.get(&subject, may_pass, || self.fetch_latest(&subject)).await;
        }
        let key = (subject, Arc::clone(schema.shared_definition()));
        self.encoders.get(&key, may_pass, || self.fetch_id(&key.0, schema)).await
    }

    async fn fetch_id(&self, subject: &str, schema: &AvroSchema) -> Result<Arc<AvroEncoder>, SerdeError> {
        let definition = schema.definition();
        if definition.has_rules() {
            return Err(SerdeError::UnsupportedRules { what: format!("the schema for {subject}") });
        }
        let normalize = self.settings.normalize_schemas;
        let id = if self.settings.auto_register_schemas {
            self.client.register(subject, definition, normalize).await?
        } else {
            let registered = self.client.lookup(subject, definition, normalize).await?;
            if registered.definition.has_rules() {
                return Err(SerdeError::UnsupportedRules { what: format!("the schema registered for {subject}") });
            }
            registered.id
        };
        tracing::debug!(subject, %id, "schema known to the registry");
        Ok(Arc::new(AvroEncoder { id, subject: subject.to_owned(), codec: Arc::clone(schema.codec()) }))
    }

    async fn fetch_latest(&self, subject: &str) -> Result<Arc<AvroEncoder>, SerdeError> {
        let registered = self.client.schema(subject, Version::Latest).await?;
        if registered.definition.schema_type != SchemaType::Avro {
            return Err(SerdeError::WrongSchemaType {
                id: registered.id,
                schema_type: registered.definition.schema_type,
            });
        }
        let schema = AvroSchema::from_registry(&self.client, registered.definition).await?;
        Ok(Arc::new(AvroEncoder { id: registered.id, subject: subject.to_owned(), codec: Arc::clone(schema.codec()) }))
    }
}

/// Writes values with one schema under its id, without asking anybody.
#[derive(Debug)]
pub struct AvroEncoder {
    id: SchemaId,
    subject: String,
    codec: Arc<AvroCodec>,
}

impl AvroEncoder {
    /// The schema's id.
    #[must_use]
    pub fn id(&self) -> SchemaId {
        self.id
    }

    /// The codec behind it.
    #[must_use]
    pub fn codec(&self) -> &Arc<AvroCodec> {
        &self.codec
    }

    /// A value as framed bytes.
    ///
    /// # Errors
    /// [`SerdeError::Encode`] where the value does not fit the schema.
    pub fn encode<T: Serialize + ?Sized>(&self, value: &T) -> Result<Vec<u8>, SerdeError> {
        let mut out = Vec::new();
        self.encode_into(value, &mut out)?;
        Ok(out)
    }

    /// Appends a value as framed bytes to `out`, which may be used again and again.
    ///
    /// # Errors
    /// [`SerdeError::Encode`] where the value does not fit the schema; `out` is then as it was.
    pub fn encode_into<T: Serialize + ?Sized>(&self, value: &T, out: &mut Vec<u8>) -> Result<(), SerdeError> {
        self.framed(out, |out| self.codec.encode(value, out))
    }

    /// As [`AvroEncoder::encode`], for a generic value.
    ///
    /// # Errors
    /// As [`AvroEncoder::encode`].
    pub fn encode_value(&self, value: &Value) -> Result<Vec<u8>, SerdeError> {
        let mut out = Vec::new();
        self.framed(&mut out, |out| self.codec.encode_value(value, out))?;
        Ok(out)
    }

    fn framed(
        &self,
        out: &mut Vec<u8>,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), SerdeError>,
    ) -> Result<(), SerdeError> {
        let len_before = out.len();
        wire::put_prefix(self.id, out);
        write(out).map_err(|error| {
            out.truncate(len_before);
            match error {
                SerdeError::Encode { reason, .. } => SerdeError::Encode { subject: self.subject.clone(), reason },
                other => other,
            }
        })
    }
}
