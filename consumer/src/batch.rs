//! A batch as the application is given it.

use std::sync::Arc;

use rkafka_client_core::{CommittedOffset, TopicPartition};
use rkafka_protocol::records::{RecordError, RecordIter, RecordView, TimestampType};

use crate::record::{ConsumerRecord, SharedBatch};

/// Records of one partition that came in one batch, read in place.
///
/// A batch is owned: it holds the memory that it was read into, and may be kept, sent to another task, or dropped, at
/// no one's expense but the memory's. It is never empty of declared records when the consumer hands it out, but the
/// first of [`Batch::records`] may already be an error where the bytes are damaged.
#[derive(Debug, Clone)]
pub struct Batch {
    pub(crate) shared: Arc<SharedBatch>,
    /// Records below it are not given: the fetch began in the middle of the batch.
    pub(crate) from: i64,
}

impl Batch {
    /// The topic's name.
    pub fn topic(&self) -> &str {
        &self.shared.topic
    }

    /// The topic's name, shared.
    pub fn topic_arc(&self) -> Arc<str> {
        Arc::clone(&self.shared.topic)
    }

    /// The partition's number.
    pub fn partition(&self) -> i32 {
        self.shared.partition
    }

    /// The offset of the first record that may be in it.
    pub fn first_offset(&self) -> i64 {
        self.from.max(self.shared.batch.header().base_offset)
    }

    /// The offset after the last record: where reading goes on.
    pub fn next_offset(&self) -> i64 {
        self.shared.batch.header().next_offset()
    }

    /// The epoch of the leader that wrote it, where the broker told.
    pub fn leader_epoch(&self) -> Option<i32> {
        Some(self.shared.batch.header().partition_leader_epoch).filter(|epoch| *epoch >= 0)
    }

    /// The topic and the partition.
    pub fn topic_partition(&self) -> TopicPartition {
        TopicPartition { topic: self.topic_arc(), partition: self.partition() }
    }

    /// What is committed once this batch and all before it are dealt with: the offset after it, with its leader epoch.
    pub fn committed_offset(&self) -> CommittedOffset {
        CommittedOffset::new(self.next_offset()).with_leader_epoch(self.leader_epoch())
    }

    /// Marks all its records as done. `false` where it was handed out before a seek or a rebalance.
    pub(crate) fn mark(&self) -> bool {
        // The first records of it may have been taken one by one.
        let from = if self.from > self.shared.from { self.from } else { self.shared.follows };
        self.shared.marks.mark(from, self.next_offset(), self.shared.leader_epoch())
    }

    /// Whose clock the timestamps are of.
    pub fn timestamp_type(&self) -> TimestampType {
        self.shared.batch.header().attributes.timestamp_type()
    }

    /// How many records the batch declares; fewer are given where the reading begins in its middle.
    pub fn declared_records(&self) -> usize {
        usize::try_from(self.shared.batch.header().record_count).unwrap_or(0)
    }

    /// The bytes that its records take, not compressed.
    pub fn size_bytes(&self) -> usize {
        self.shared.batch.records_bytes().len()
    }

    /// The records, read in place as they are iterated. A damaged record ends the iteration with its error.
    pub fn records(&self) -> Records<'_> {
        Records { records: self.shared.batch.iter(), from: self.from }
    }

    /// A record of this batch as one that can be kept for itself.
    pub fn own(&self, record: &RecordView<'_>) -> ConsumerRecord {
        ConsumerRecord::new(&self.shared, record)
    }
}

/// Iterates over the records of a [`Batch`].
#[derive(Debug, Clone)]
pub struct Records<'a> {
    records: RecordIter<'a>,
    from: i64,
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<RecordView<'a>, RecordError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.records.next()? {
                Ok(record) if record.offset < self.from => {}
                other => return Some(other),
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, self.records.size_hint().1)
    }
}

impl std::iter::FusedIterator for Records<'_> {}
