//! Partitioners that applications write.

use std::fmt;

use crate::Record;
use crate::topic::Topic;

/// A partitioner of the application's own, given by [`ProducerOptions::partitioner`](crate::ProducerOptions). Closures
/// of the same shape are partitioners too.
///
/// It is called once for each record that names no partition, on the thread that sends, with no lock held; a panic in
/// it comes out of `send`, and the record was not accepted. It should be a pure function of what it is given: the same
/// key must go to the same partition wherever order by key or compaction matter.
pub trait CustomPartitioner: Send + Sync + 'static {
    /// The partition of `record`, from 0 to one less than `topic.count()`. `None` leaves the record to the sticky choice
    /// that records without a key have.
    ///
    /// The topic is `topic.name()`; what the record says of it may be another, where it is sent by a
    /// [`TopicHandle`](crate::TopicHandle). A number out of range fails the record with
    /// [`ProducerError::PartitionerOutOfRange`](crate::ProducerError::PartitionerOutOfRange).
    fn partition(&self, record: &Record<'_>, topic: &TopicPartitions<'_>) -> Option<u32>;
}

impl<F> CustomPartitioner for F
where
    F: Fn(&Record<'_>, &TopicPartitions<'_>) -> Option<u32> + Send + Sync + 'static,
{
    fn partition(&self, record: &Record<'_>, topic: &TopicPartitions<'_>) -> Option<u32> {
        self(record, topic)
    }
}

/// The partitions of a topic, as a [`CustomPartitioner`] sees them.
#[derive(Clone, Copy)]
pub struct TopicPartitions<'a> {
    topic: &'a Topic,
    count: u32,
}

impl<'a> TopicPartitions<'a> {
    pub(crate) fn new(topic: &'a Topic, count: u32) -> Self {
        Self { topic, count }
    }

    /// The topic's name.
    pub fn name(&self) -> &'a str {
        &self.topic.name
    }

    /// How many partitions the topic has, as far as is known now: one at least.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Whether the partition has a leader at present, so that a record for it can be sent at once.
    pub fn is_available(&self, partition: u32) -> bool {
        partition < self.count && self.topic.partition(partition).is_some_and(|partition| partition.has_leader())
    }
}

impl fmt::Debug for TopicPartitions<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("TopicPartitions")
            .field("name", &self.name())
            .field("count", &self.count)
            .finish_non_exhaustive()
    }
}
