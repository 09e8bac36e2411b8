//! What a consumer reads, and from where.

use std::fmt;

/// Where the reading of a partition begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Start {
    /// The earliest offset that is still there.
    Beginning,
    /// The end: only what is written from now on. The last stable offset under `isolation.level=read_committed`.
    End,
    /// This offset. One that is not there leads to `auto.offset.reset`.
    Offset(i64),
    /// The first record whose timestamp is not older, in milliseconds since 1970; the end where there is none.
    Timestamp(i64),
    /// So many offsets before the end, by a negative number: `RelativeToEnd(-10)` is the last ten. Never before the
    /// beginning.
    RelativeToEnd(i64),
    /// What the group has committed; by `auto.offset.reset` where it has committed nothing.
    Committed,
}

impl fmt::Display for Start {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Beginning => formatter.write_str("the beginning"),
            Self::End => formatter.write_str("the end"),
            Self::Offset(offset) => write!(formatter, "offset {offset}"),
            Self::Timestamp(timestamp) => write!(formatter, "timestamp {timestamp}"),
            Self::RelativeToEnd(back) => write!(formatter, "{back} from the end"),
            Self::Committed => formatter.write_str("the committed offset"),
        }
    }
}

/// A topic and one of its partitions.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic's name.
    pub topic: std::sync::Arc<str>,
    /// The partition's number, from 0.
    pub partition: i32,
}

impl TopicPartition {
    /// The partition `partition` of `topic`.
    pub fn new(topic: impl Into<std::sync::Arc<str>>, partition: i32) -> Self {
        Self { topic: topic.into(), partition }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}-{}", self.topic, self.partition)
    }
}

impl<Topic: Into<std::sync::Arc<str>>> From<(Topic, i32)> for TopicPartition {
    fn from((topic, partition): (Topic, i32)) -> Self {
        Self::new(topic, partition)
    }
}

/// An offset of the group, as it is committed: where the group goes on reading.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CommittedOffset {
    /// The offset of the next record to read.
    pub offset: i64,
    /// The leader epoch of the last record read, where it is known.
    pub leader_epoch: Option<i32>,
    /// What the committing application added.
    pub metadata: String,
}

impl CommittedOffset {
    /// An offset without epoch and metadata.
    pub fn new(offset: i64) -> Self {
        Self { offset, leader_epoch: None, metadata: String::new() }
    }
}

/// A record's place that was found by its timestamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct OffsetAndTimestamp {
    /// The record's offset.
    pub offset: i64,
    /// Its timestamp, in milliseconds since 1970.
    pub timestamp: i64,
}
