//! From records to keys and values.

use std::fmt;
use std::sync::Arc;

use rkafka_client_core::serialization::{
    DefaultDeserializer, Deserializer, Payload, SerializationContext, SerializationError, Side,
};
use rkafka_protocol::records::{HeadersView, TimestampType};

use crate::record::ConsumerRecord;
use crate::subscription::TopicPartition;

/// A deserializer of any type, whose values stand for themselves.
pub(super) type AnyDeserializer<T> = Arc<dyn for<'a> Deserializer<'a, T> + Send + Sync>;

/// How keys and values are read. Cheap to clone.
pub struct Deserialize<K, V> {
    key: AnyDeserializer<K>,
    value: AnyDeserializer<V>,
}

impl<K, V> Clone for Deserialize<K, V> {
    fn clone(&self) -> Self {
        Self { key: Arc::clone(&self.key), value: Arc::clone(&self.value) }
    }
}

impl<K, V> fmt::Debug for Deserialize<K, V> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Deserialize<{}, {}>", std::any::type_name::<K>(), std::any::type_name::<V>())
    }
}

/// By the deserializers that the types have of their own.
impl<K: DefaultDeserializer, V: DefaultDeserializer> Default for Deserialize<K, V> {
    fn default() -> Self {
        Self { key: Arc::new(K::Deserializer::default()), value: Arc::new(V::Deserializer::default()) }
    }
}

impl<K, V> Deserialize<K, V> {
    /// By these deserializers.
    pub fn new(
        key: impl for<'a> Deserializer<'a, K> + Send + Sync + 'static,
        value: impl for<'a> Deserializer<'a, V> + Send + Sync + 'static,
    ) -> Self {
        Self { key: Arc::new(key), value: Arc::new(value) }
    }

    /// Reads a record, and waits for what its deserializers need first, such as a schema. Cancel safe.
    ///
    /// # Errors
    /// The key or the value cannot be read. The error holds the record as it is.
    pub async fn read(&self, record: ConsumerRecord) -> Result<TypedRecord<K, V>, DeserializationError> {
        let is_unprepared = match self.read_now(&record) {
            Err(error) => {
                if !error.is_unprepared() {
                    return Err(DeserializationError::new(&record, error));
                }
                true
            }
            Ok(read) => return Ok(read),
        };
        if is_unprepared {
            self.prepare(&record).await?;
        }
        self.read_now(&record).map_err(|error| DeserializationError::new(&record, error))
    }

    /// Waits for what the deserializers of a record need first, be it nothing.
    pub(crate) async fn prepare(&self, record: &ConsumerRecord) -> Result<(), DeserializationError> {
        // Once for each side.
        for _ in 0..2 {
            let Some(side) = self.unprepared_side(record) else { break };
            self.prepare_side(record, side).await.map_err(|error| DeserializationError::new(record, error))?;
        }
        Ok(())
    }

    fn unprepared_side(&self, record: &ConsumerRecord) -> Option<Side> {
        self.read_now(record).err().filter(SerializationError::is_unprepared).map(|error| error.side())
    }

    /// Reads a record without a wait.
    pub(crate) fn read_now(&self, record: &ConsumerRecord) -> Result<TypedRecord<K, V>, SerializationError> {
        let (topic, headers) = (record.topic(), record.headers());
        let key = self.key.deserialize(SerializationContext::key(topic), headers, record.payload(Side::Key))?;
        let value = self.value.deserialize(SerializationContext::value(topic), headers, record.payload(Side::Value))?;
        Ok(TypedRecord { key, value, record: record.clone() })
    }

    async fn prepare_side(&self, record: &ConsumerRecord, side: Side) -> Result<(), SerializationError> {
        let (topic, headers) = (record.topic(), record.headers());
        match side {
            Side::Key => self.key.prepare(SerializationContext::key(topic), headers, record.payload(side)).await,
            Side::Value => self.value.prepare(SerializationContext::value(topic), headers, record.payload(side)).await,
        }
    }
}

impl ConsumerRecord {
    fn payload(&self, side: Side) -> Option<Payload<'_>> {
        let bytes = match side {
            Side::Key => self.key(),
            Side::Value => self.value(),
        };
        bytes.map(|bytes| Payload::within(bytes, self.section()))
    }
}

/// A record whose key and value were read.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct TypedRecord<K, V> {
    /// The key.
    pub key: K,
    /// The value.
    pub value: V,
    /// The record as it came.
    pub record: ConsumerRecord,
}

impl<K, V> TypedRecord<K, V> {
    /// The topic's name.
    pub fn topic(&self) -> &str {
        self.record.topic()
    }

    /// The partition's number.
    pub fn partition(&self) -> i32 {
        self.record.partition()
    }

    /// The record's offset in its partition.
    pub fn offset(&self) -> i64 {
        self.record.offset()
    }

    /// Milliseconds since 1970, or -1: as [`ConsumerRecord::timestamp`].
    pub fn timestamp(&self) -> i64 {
        self.record.timestamp()
    }

    /// Whose clock the timestamp is of.
    pub fn timestamp_type(&self) -> TimestampType {
        self.record.timestamp_type()
    }

    /// The headers, parsed as they are iterated.
    pub fn headers(&self) -> HeadersView<'_> {
        self.record.headers()
    }
}

/// A record whose key or value cannot be read. It names the place and the side, never what the record holds. The record
/// counts as handed out: the next call gives the next one.
#[derive(Clone, thiserror::Error)]
#[error("{partition} at offset {offset}, {side}: {source}", side = source.side())]
pub struct DeserializationError {
    partition: TopicPartition,
    offset: i64,
    source: SerializationError,
    record: ConsumerRecord,
}

impl DeserializationError {
    pub(crate) fn new(record: &ConsumerRecord, source: SerializationError) -> Self {
        let (partition, offset) = (record.topic_partition(), record.offset());
        Self { partition, offset, source, record: record.clone() }
    }

    /// The record's partition.
    pub fn partition(&self) -> &TopicPartition {
        &self.partition
    }

    /// The record's offset.
    pub fn offset(&self) -> i64 {
        self.offset
    }

    /// The side that cannot be read.
    pub fn side(&self) -> Side {
        self.source.side()
    }

    /// What the deserializer says.
    pub fn reason(&self) -> &SerializationError {
        &self.source
    }

    /// The record as it came: to keep, to skip (there is nothing to do for that), or to send to a dead-letter topic.
    pub fn record(&self) -> &ConsumerRecord {
        &self.record
    }

    /// The record as it came.
    pub fn into_record(self) -> ConsumerRecord {
        self.record
    }
}

impl fmt::Debug for DeserializationError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "DeserializationError({self})")
    }
}
