//! Records and batches of a share group, as the application is given them.

use std::ops::Deref;
use std::sync::Arc;

use rkafka_protocol::records::{RecordError, RecordIter, RecordView, TimestampType};

use super::machine::hold::Hold;
use crate::record::{ConsumerRecord, SharedBatch};

/// Offsets that this member was given, and which delivery of theirs this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Acquired {
    pub(crate) first: i64,
    pub(crate) last: i64,
    pub(crate) delivery_count: i16,
}

/// Finds offsets in what was acquired, one after the other.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Finder {
    at: usize,
}

impl Finder {
    /// Which delivery this is, where the offset is among what was `acquired`. Offsets are asked for in ascending order.
    #[inline]
    pub(crate) fn delivery_count(&mut self, acquired: &[Acquired], offset: i64) -> Option<i16> {
        while let Some(run) = acquired.get(self.at) {
            if run.last >= offset {
                return (run.first <= offset).then_some(run.delivery_count);
            }
            self.at += 1;
        }
        None
    }
}

/// A record of a share group that is owned, as a [`ConsumerRecord`] is, with what the group knows of it.
#[derive(Debug, Clone)]
pub struct ShareRecord {
    pub(crate) record: ConsumerRecord,
    pub(crate) delivery_count: i16,
    pub(crate) hold: Arc<Hold>,
}

impl ShareRecord {
    /// How often the group has delivered the record, this time included: 1 at first.
    pub fn delivery_count(&self) -> i16 {
        self.delivery_count
    }

    /// The record without what the group knows of it.
    pub fn into_record(self) -> ConsumerRecord {
        self.record
    }
}

impl Deref for ShareRecord {
    type Target = ConsumerRecord;

    fn deref(&self) -> &ConsumerRecord {
        &self.record
    }
}

/// A record in the memory of its batch, with what the group knows of it.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct DeliveredRecord<'a> {
    /// The record.
    pub record: RecordView<'a>,
    /// How often the group has delivered it, this time included: 1 at first.
    pub delivery_count: i16,
}

impl<'a> Deref for DeliveredRecord<'a> {
    type Target = RecordView<'a>;

    fn deref(&self) -> &RecordView<'a> {
        &self.record
    }
}

/// Records of one partition that came in one batch and were given to this member, read in place. Those of the same
/// batch that are another member's are passed over.
///
/// A batch is owned: it holds the memory that it was read into, and may be kept, sent to another task, or dropped. The
/// records are this member's for as long as the lock lasts, whether the batch is kept or not.
#[derive(Debug, Clone)]
pub struct ShareBatch {
    pub(crate) shared: Arc<SharedBatch>,
    pub(crate) acquired: Arc<[Acquired]>,
    pub(crate) hold: Arc<Hold>,
    /// Records below it are not given: they were taken one by one.
    pub(crate) from: i64,
}

impl ShareBatch {
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

    /// Whose clock the timestamps are of.
    pub fn timestamp_type(&self) -> TimestampType {
        self.shared.batch.header().attributes.timestamp_type()
    }

    /// The runs of offsets that are this member's, as first and last, ascending. Offsets within them may be without a
    /// record where the log was compacted.
    pub fn offsets(&self) -> impl Iterator<Item = (i64, i64)> + '_ {
        let header = self.shared.batch.header();
        let (lowest, highest) = (header.base_offset.max(self.from), header.last_offset());
        let within = self.acquired.iter().map(move |run| (run.first.max(lowest), run.last.min(highest)));
        within.filter(|(first, last)| first <= last)
    }

    /// The records, read in place as they are iterated. A damaged record ends the iteration with its error.
    pub fn records(&self) -> ShareRecords<'_> {
        ShareRecords {
            records: self.shared.batch.iter(),
            acquired: &self.acquired,
            finder: Finder::default(),
            from: self.from,
        }
    }

    /// A record of this batch as one that can be kept, and acknowledged, for itself.
    pub fn own(&self, record: &DeliveredRecord<'_>) -> ShareRecord {
        ShareRecord {
            record: ConsumerRecord::new(&self.shared, &record.record),
            delivery_count: record.delivery_count,
            hold: Arc::clone(&self.hold),
        }
    }
}

/// Iterates over the records of a [`ShareBatch`].
#[derive(Debug, Clone)]
pub struct ShareRecords<'a> {
    records: RecordIter<'a>,
    acquired: &'a [Acquired],
    finder: Finder,
    from: i64,
}

impl<'a> Iterator for ShareRecords<'a> {
    type Item = Result<DeliveredRecord<'a>, RecordError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.records.next()? {
                Ok(record) if record.offset < self.from => {}
                Ok(record) => {
                    if let Some(delivery_count) = self.finder.delivery_count(self.acquired, record.offset) {
                        return Some(Ok(DeliveredRecord { record, delivery_count }));
                    }
                }
                Err(error) => return Some(Err(error)),
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, self.records.size_hint().1)
    }
}

impl std::iter::FusedIterator for ShareRecords<'_> {}
