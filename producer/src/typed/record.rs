//! A record with typed key and value.

use std::borrow::Cow;
use std::fmt;

use rkafka_client_core::serialization::RecordHeaders;

/// A record on its way to a [`TypedProducer`](super::TypedProducer): key and value are borrowed until their bytes are
/// written.
///
/// ```
/// use rkafka_producer::TypedRecord;
/// let record = TypedRecord::<str, i64>::to("counts").key("apples").value(&3).header("source", "till 4");
/// assert_eq!((record.key, record.value), (Some("apples"), Some(&3)));
/// ```
#[non_exhaustive]
pub struct TypedRecord<'a, K: ?Sized, V: ?Sized> {
    /// The topic.
    pub topic: &'a str,
    /// The partition; without one, the partitioner chooses, by the bytes of the key.
    pub partition: Option<i32>,
    /// The key: records with the same key go to the same partition.
    pub key: Option<&'a K>,
    /// The value; none is a tombstone, which deletes the key from a compacted topic.
    pub value: Option<&'a V>,
    /// The headers, to which serializers may add.
    pub headers: RecordHeaders<'a>,
    /// Milliseconds since 1970; without one, the time at which the record was accepted.
    pub timestamp: Option<i64>,
}

impl<'a, K: ?Sized, V: ?Sized> TypedRecord<'a, K, V> {
    /// A record for `topic`, without key or value.
    pub fn to(topic: &'a str) -> Self {
        Self { topic, partition: None, key: None, value: None, headers: RecordHeaders::new(), timestamp: None }
    }

    /// Sets the key.
    #[must_use]
    pub fn key(mut self, key: &'a K) -> Self {
        self.key = Some(key);
        self
    }

    /// Sets the value.
    #[must_use]
    pub fn value(mut self, value: &'a V) -> Self {
        self.value = Some(value);
        self
    }

    /// Names the partition, so that the partitioner has no say.
    #[must_use]
    pub fn partition(mut self, partition: i32) -> Self {
        self.partition = Some(partition);
        self
    }

    /// Adds a header behind those that are there.
    #[must_use]
    pub fn header<B: AsRef<[u8]> + ?Sized>(mut self, name: impl Into<Cow<'a, str>>, value: &'a B) -> Self {
        self.headers.add(name, value.as_ref());
        self
    }

    /// Sets the timestamp, in milliseconds since 1970.
    #[must_use]
    pub fn timestamp(mut self, timestamp_ms: i64) -> Self {
        self.timestamp = Some(timestamp_ms);
        self
    }
}

impl<K: ?Sized, V: ?Sized> Clone for TypedRecord<'_, K, V> {
    fn clone(&self) -> Self {
        Self { headers: self.headers.clone(), ..*self }
    }
}

impl<K: ?Sized, V: ?Sized> fmt::Debug for TypedRecord<'_, K, V> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("TypedRecord")
            .field("topic", &self.topic)
            .field("partition", &self.partition)
            .field("has_key", &self.key.is_some())
            .field("has_value", &self.value.is_some())
            .field("headers", &self.headers.len())
            .field("timestamp", &self.timestamp)
            .finish()
    }
}
