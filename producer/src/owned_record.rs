//! The record that is handed over as a whole, where it cannot be borrowed: to a sink, a queue, another task.

use std::sync::Arc;

use bytes::Bytes;
use rkafka_client_core::serialization::RecordHeaders;

use crate::Record;
use crate::record::Headers;

/// A record that owns what it holds, for a [`ProducerSink`](crate::ProducerSink), or to be kept until it can be sent. A
/// [`Record`] is cheaper wherever it can be borrowed.
///
/// ```
/// use rkafka_producer::OwnedRecord;
/// let record = OwnedRecord::to("orders").key("customer-7").value(format!("{} apples", 3));
/// assert_eq!(record.as_record().value, Some("3 apples".as_bytes()));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OwnedRecord {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition; without one, the partitioner chooses.
    pub partition: Option<i32>,
    /// The key.
    pub key: Option<Bytes>,
    /// The value; none is a tombstone.
    pub value: Option<Bytes>,
    /// The headers.
    pub headers: RecordHeaders<'static>,
    /// Milliseconds since 1970; without one, the time at which the record is accepted.
    pub timestamp: Option<i64>,
}

impl OwnedRecord {
    /// A record for `topic`, without key or value. An `Arc<str>` is shared, not copied.
    pub fn to(topic: impl Into<Arc<str>>) -> Self {
        Self {
            topic: topic.into(),
            partition: None,
            key: None,
            value: None,
            headers: RecordHeaders::new(),
            timestamp: None,
        }
    }

    /// Sets the key.
    #[must_use]
    pub fn key(mut self, key: impl Into<Bytes>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Sets the value.
    #[must_use]
    pub fn value(mut self, value: impl Into<Bytes>) -> Self {
        self.value = Some(value.into());
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
    pub fn header(mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.headers.add(name.into(), value.into());
        self
    }

    /// Sets the timestamp, in milliseconds since 1970.
    #[must_use]
    pub fn timestamp(mut self, timestamp_ms: i64) -> Self {
        self.timestamp = Some(timestamp_ms);
        self
    }

    /// The same record, borrowed. Allocates where there are headers.
    pub fn as_record(&self) -> Record<'_> {
        Record {
            topic: &self.topic,
            partition: self.partition,
            key: self.key.as_deref(),
            value: self.value.as_deref(),
            headers: Headers::from(&self.headers),
            timestamp: self.timestamp,
        }
    }
}

impl From<&Record<'_>> for OwnedRecord {
    /// Copies all that the record refers to.
    fn from(record: &Record<'_>) -> Self {
        let mut headers = RecordHeaders::new();
        for (name, value) in record.headers.as_slice() {
            match value {
                Some(value) => headers.add((*name).to_owned(), value.to_vec()),
                None => headers.add_null((*name).to_owned()),
            }
        }
        Self {
            topic: record.topic.into(),
            partition: record.partition,
            key: record.key.map(Bytes::copy_from_slice),
            value: record.value.map(Bytes::copy_from_slice),
            headers,
            timestamp: record.timestamp,
        }
    }
}

impl<'a> From<&'a RecordHeaders<'_>> for Headers<'a> {
    fn from(headers: &'a RecordHeaders<'_>) -> Self {
        if headers.is_empty() {
            return Self::default();
        }
        Self::Owned(headers.iter().map(|header| (&*header.key, header.value.as_deref())).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owned_and_borrowed_are_the_same_record() {
        let borrowed = Record::to("t").partition(3).key("k").value("v").header("a", "1").null_header("b").timestamp(7);
        let owned = OwnedRecord::from(&borrowed);
        let again = owned.as_record();
        assert_eq!(
            (again.topic, again.partition, again.key, again.value),
            ("t", Some(3), Some(&b"k"[..]), Some(&b"v"[..]))
        );
        assert_eq!((again.headers.as_slice(), again.timestamp), (borrowed.headers.as_slice(), Some(7)));
        assert_eq!(OwnedRecord::from(&again), owned);
        let built = OwnedRecord::to("t").partition(3).key("k").value("v").header("a", "1").timestamp(7);
        assert_eq!(built.headers.len(), 1);
        assert_eq!(OwnedRecord::to("t").as_record().headers.as_slice(), []);
    }
}
