//! A record that the application may keep.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use rkafka_client_core::{CommittedOffset, TopicPartition};
use rkafka_protocol::records::{HeadersView, OwnedBatch, RecordView, TimestampType};

use crate::machine::marks::Marks;

/// What the records of one batch share.
#[derive(Debug)]
pub(crate) struct SharedBatch {
    pub(crate) topic: Arc<str>,
    pub(crate) partition: i32,
    pub(crate) batch: OwnedBatch,
    /// Records below it are not given: the fetch began in the middle of the batch.
    pub(crate) from: i64,
    /// The offset after the last record that was handed out before this batch.
    pub(crate) follows: i64,
    /// Where the application says what is done.
    pub(crate) marks: Arc<Marks>,
    /// Where this is for one record that was detached from its batch, whose records are then gone.
    pub(crate) detached: Option<Detached>,
}

/// What a record takes along that is detached from its batch.
#[derive(Debug)]
pub(crate) struct Detached {
    /// Its key, value and headers.
    bytes: Bytes,
    /// The offsets that it stands for.
    covers: (i64, i64),
}

impl SharedBatch {
    /// The offsets that a record of this batch stands for, from the one after the record before it, to before that of the
    /// next one: the last record stands for the end of the batch as well, and the first for what lies between the batches.
    pub(crate) fn covered_by(&self, offset: i64) -> (i64, i64) {
        if let Some(detached) = &self.detached {
            return detached.covers;
        }
        let header = self.batch.header();
        let first = header.base_offset.max(self.from);
        let is_dense = i64::from(header.record_count) == header.last_offset() - header.base_offset + 1;
        if is_dense {
            let from = if offset <= first { self.follows.min(offset) } else { offset };
            return (from, offset.saturating_add(1));
        }
        let (mut from, mut is_last) = (self.follows.min(offset), true);
        for record in self.batch.iter().map_while(Result::ok) {
            if record.offset < offset && record.offset >= self.from {
                from = record.offset + 1;
            } else if record.offset > offset {
                is_last = false;
                break;
            }
        }
        (from, if is_last { header.next_offset() } else { offset.saturating_add(1) })
    }

    /// The epoch of the leader that wrote it, or -1.
    pub(crate) fn leader_epoch(&self) -> i32 {
        self.batch.header().partition_leader_epoch
    }
}

/// Where a field lies in the records section of its batch; the length is -1 for a field that is null.
#[derive(Debug, Clone, Copy)]
struct Span {
    start: u32,
    length: i32,
}

impl Span {
    fn of(section: &[u8], part: Option<&[u8]>) -> Self {
        match part {
            None => Self { start: 0, length: -1 },
            Some(part) => {
                // The part was cut from the section, which is never larger than an `i32` can count.
                let start = (part.as_ptr() as usize).wrapping_sub(section.as_ptr() as usize);
                Self { start: start as u32, length: part.len() as i32 }
            }
        }
    }

    fn get<'a>(&self, section: &'a [u8]) -> Option<&'a [u8]> {
        let length = usize::try_from(self.length).ok()?;
        section.get(self.start as usize..)?.get(..length)
    }

    fn bytes(&self, section: &Bytes) -> Option<Bytes> {
        self.get(section).map(|part| section.slice_ref(part))
    }
}

/// A record that is owned: one reference to its batch, and where its fields lie there. Cloning it is one more
/// reference; its key and value are copied only where the application asks for a copy.
///
/// So a record that is kept keeps its whole batch in memory, and where that was not compressed the whole answer to a fetch
/// that it came in, up to `fetch.max.bytes`. Who keeps few records of many for long should keep them
/// [detached](Self::detach).
#[derive(Clone)]
pub struct ConsumerRecord {
    batch: Arc<SharedBatch>,
    offset: i64,
    timestamp: i64,
    key: Span,
    value: Span,
    headers: Span,
    header_count: u32,
}

impl ConsumerRecord {
    pub(crate) fn new(batch: &Arc<SharedBatch>, view: &RecordView<'_>) -> Self {
        let section = batch.batch.records_bytes();
        Self {
            batch: Arc::clone(batch),
            offset: view.offset,
            timestamp: view.timestamp,
            key: Span::of(section, view.key),
            value: Span::of(section, view.value),
            headers: Span::of(section, Some(view.headers.bytes()).filter(|bytes| !bytes.is_empty())),
            header_count: u32::try_from(view.headers.len()).unwrap_or(u32::MAX),
        }
    }

    pub(crate) fn section(&self) -> &Bytes {
        match &self.batch.detached {
            Some(detached) => &detached.bytes,
            None => self.batch.batch.records_bytes(),
        }
    }

    /// The same record with a copy of its key, value and headers, which no longer keeps the memory of its batch. For
    /// records that are kept for long; one that is dealt with soon is cheaper as it is. A record that is detached already
    /// is not copied again.
    #[must_use]
    pub fn detach(&self) -> Self {
        if self.batch.detached.is_some() {
            return self.clone();
        }
        let section = self.section();
        let mut bytes = Vec::with_capacity(self.size_bytes());
        let mut copy = |span: Span| match span.get(section) {
            None => span,
            Some(part) => {
                // What comes from one section fits into one.
                let start = bytes.len() as u32;
                bytes.extend_from_slice(part);
                Span { start, ..span }
            }
        };
        let (key, value, headers) = (copy(self.key), copy(self.value), copy(self.headers));
        let detached = Detached { bytes: bytes.into(), covers: self.batch.covered_by(self.offset) };
        let batch = SharedBatch {
            topic: Arc::clone(&self.batch.topic),
            partition: self.batch.partition,
            batch: self.batch.batch.without_records(),
            from: self.batch.from,
            follows: self.batch.follows,
            marks: Arc::clone(&self.batch.marks),
            detached: Some(detached),
        };
        let Self { offset, timestamp, header_count, .. } = *self;
        Self { batch: Arc::new(batch), offset, timestamp, key, value, headers, header_count }
    }

    /// The topic's name.
    pub fn topic(&self) -> &str {
        &self.batch.topic
    }

    /// The topic's name, shared.
    pub fn topic_arc(&self) -> Arc<str> {
        Arc::clone(&self.batch.topic)
    }

    /// The partition's number.
    pub fn partition(&self) -> i32 {
        self.batch.partition
    }

    /// The record's offset in its partition.
    pub fn offset(&self) -> i64 {
        self.offset
    }

    /// Milliseconds since 1970, or -1: the producer's, or the broker's where the topic has `LogAppendTime`.
    pub fn timestamp(&self) -> i64 {
        self.timestamp
    }

    /// Whose clock the timestamp is of.
    pub fn timestamp_type(&self) -> TimestampType {
        self.batch.batch.header().attributes.timestamp_type()
    }

    /// The epoch of the leader that wrote the record, where the broker told.
    pub fn leader_epoch(&self) -> Option<i32> {
        Some(self.batch.batch.header().partition_leader_epoch).filter(|epoch| *epoch >= 0)
    }

    /// The key.
    pub fn key(&self) -> Option<&[u8]> {
        self.key.get(self.section())
    }

    /// The value; `None` is a tombstone in a compacted topic.
    pub fn value(&self) -> Option<&[u8]> {
        self.value.get(self.section())
    }

    /// The key as `Bytes`, by reference to the batch (or, of a record that is [detached](Self::detach), to its own memory).
    pub fn key_bytes(&self) -> Option<Bytes> {
        self.key.bytes(self.section())
    }

    /// The value as `Bytes`, by reference to the batch.
    pub fn value_bytes(&self) -> Option<Bytes> {
        self.value.bytes(self.section())
    }

    /// The headers, parsed as they are iterated.
    pub fn headers(&self) -> HeadersView<'_> {
        HeadersView::from_parts(self.header_count, self.headers.get(self.section()).unwrap_or_default())
    }

    /// The topic and the partition.
    pub fn topic_partition(&self) -> TopicPartition {
        TopicPartition { topic: self.topic_arc(), partition: self.partition() }
    }

    /// What is committed once this record and all before it are dealt with: the offset after it, with its leader epoch.
    pub fn committed_offset(&self) -> CommittedOffset {
        CommittedOffset::new(self.offset.saturating_add(1)).with_leader_epoch(self.leader_epoch())
    }

    /// Marks the record as done. `false` where it was handed out before a seek or a rebalance.
    pub(crate) fn mark(&self) -> bool {
        let (from, next_offset) = self.batch.covered_by(self.offset);
        self.batch.marks.mark(from, next_offset, self.batch.leader_epoch())
    }

    /// Whether no seek and no rebalance came since it was handed out.
    pub(crate) fn is_current(&self) -> bool {
        self.batch.marks.is_live()
    }

    /// The bytes of its key, value and headers.
    pub fn size_bytes(&self) -> usize {
        [self.key, self.value, self.headers].iter().map(|part| usize::try_from(part.length).unwrap_or(0)).sum()
    }

    /// The record as a view, as those of a batch are.
    pub fn view(&self) -> RecordView<'_> {
        RecordView {
            offset: self.offset,
            timestamp: self.timestamp,
            key: self.key(),
            value: self.value(),
            headers: self.headers(),
        }
    }
}

impl fmt::Debug for ConsumerRecord {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ConsumerRecord")
            .field("topic", &self.topic())
            .field("partition", &self.partition())
            .field("offset", &self.offset)
            .field("timestamp", &self.timestamp)
            .field("key_size", &self.key().map(<[u8]>::len))
            .field("value_size", &self.value().map(<[u8]>::len))
            .field("headers", &self.header_count)
            .finish()
    }
}
