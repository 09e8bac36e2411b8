//! What coordinators need of the broker: append records to an internal topic's partition, and read it all back.

use bytes::Bytes;
use rkafka_protocol::ErrorCode;

/// A record for an internal topic.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct InternalRecord {
    /// The key; compaction keeps the last record of each.
    pub key: Bytes,
    /// The value, or `None` for a tombstone.
    pub value: Option<Bytes>,
}

/// A record of an internal topic as it is read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplayedRecord {
    /// Its offset.
    pub offset: i64,
    /// Its time in milliseconds since the epoch.
    pub timestamp_ms: i64,
    /// The key, `None` for null.
    pub key: Option<Bytes>,
    /// The value, `None` for a tombstone.
    pub value: Option<Bytes>,
}

/// The name of the topic that holds groups and their offsets.
pub const OFFSETS_TOPIC: &str = "__consumer_offsets";

/// The logs of internal topics. [`crate::BrokerState`] implements it; a test of a coordinator may do so too.
///
/// All methods return as soon as the page cache has the bytes, and may be called from async code.
pub trait InternalLog: Send + Sync {
    /// Makes the internal topic, if it is not there, with as many partitions as the broker's settings say
    /// (`offsets.topic.num.partitions` for [`OFFSETS_TOPIC`]), and answers how many it has.
    ///
    /// # Errors
    /// `KAFKA_STORAGE_ERROR` where the metadata log cannot be written.
    fn ensure_internal_topic(&self, topic: &str) -> Result<i32, ErrorCode>;

    /// How many partitions the topic has, `None` where it does not exist (yet).
    fn partition_count(&self, topic: &str) -> Option<i32>;

    /// Appends the records as one batch, whose records all bear `now_ms`; answers the offset of the first. With no
    /// records nothing is appended, and the answer is the end of the log.
    ///
    /// # Errors
    /// `UNKNOWN_TOPIC_OR_PARTITION`, `RECORD_LIST_TOO_LARGE`, `KAFKA_STORAGE_ERROR`. Nothing was appended then.
    fn append_internal(
        &self,
        topic: &str,
        partition: i32,
        records: &[InternalRecord],
        now_ms: i64,
    ) -> Result<i64, ErrorCode>;

    /// Hands each record of the partition to `each`, in the order of their offsets, from the start of the log to its
    /// end; answers the end.
    ///
    /// # Errors
    /// `UNKNOWN_TOPIC_OR_PARTITION`, `KAFKA_STORAGE_ERROR`, `CORRUPT_MESSAGE`.
    fn replay_internal(
        &self,
        topic: &str,
        partition: i32,
        each: &mut dyn FnMut(ReplayedRecord),
    ) -> Result<i64, ErrorCode>;
}
