//! From what a share fetch brought to what the application is given, without a lock and without a copy.

use std::sync::Arc;

use bytes::Bytes;
use rkafka_protocol::records::{DecompressArena, OwnedBatch, RecordBatch, RecordError};

use super::acknowledgement::AcknowledgeType;
use super::batch::{Acquired, ShareBatch};
use super::machine::hold::Hold;
use super::machine::ledger::GAP;
use crate::machine::marks::Marks;
use crate::metrics::Sum;
use crate::record::SharedBatch;

/// What one answer brought of one partition.
#[derive(Debug)]
pub(crate) struct ShareChunk {
    pub(crate) hold: Arc<Hold>,
    pub(crate) topic: Arc<str>,
    /// Whole batches, back to back, and perhaps a torn one at the end.
    pub(crate) records: Bytes,
    /// What is this member's of them, ascending.
    pub(crate) acquired: Arc<[Acquired]>,
    /// Where what is given of it is added up.
    pub(crate) sum: Arc<Sum>,
}

impl ShareChunk {
    /// How many offsets were acquired.
    pub(crate) fn len(&self) -> usize {
        let counts = self.acquired.iter().map(|run| run.last.saturating_sub(run.first).saturating_add(1));
        usize::try_from(counts.fold(0, i64::saturating_add)).unwrap_or(usize::MAX)
    }

    /// The offset after the last that was acquired.
    pub(crate) fn end(&self) -> i64 {
        self.acquired.last().map_or(0, |run| run.last.saturating_add(1))
    }
}

/// What the consumer says on its own account: no record is there, or it cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Remark {
    pub(crate) first: i64,
    pub(crate) last: i64,
    pub(crate) code: i8,
}

/// Records that cannot be read.
#[derive(Debug)]
pub(crate) struct Damage {
    pub(crate) offset: i64,
    pub(crate) source: RecordError,
}

/// Decodes one chunk, batch by batch.
#[derive(Debug)]
pub(crate) struct ShareUnpacker {
    chunk: ShareChunk,
    at: usize,
    /// Offsets below it were looked at.
    reached: i64,
    check_crcs: bool,
    remarks: Vec<Remark>,
    /// A share group commits no offsets, so there is nothing to mark.
    marks: Arc<Marks>,
}

impl ShareUnpacker {
    pub(crate) fn new(chunk: ShareChunk, check_crcs: bool) -> Self {
        let marks = Arc::new(Marks::default());
        marks.end();
        Self { chunk, at: 0, reached: 0, check_crcs, remarks: Vec::new(), marks }
    }

    pub(crate) fn chunk(&self) -> &ShareChunk {
        &self.chunk
    }

    /// What is to be said of offsets that the application is not given.
    pub(crate) fn take_remarks(&mut self) -> Vec<Remark> {
        std::mem::take(&mut self.remarks)
    }

    /// The next batch of which this member has a record, or `None` at the end of the chunk. Holes and control batches
    /// are remarked upon.
    ///
    /// # Errors
    /// A damaged batch. It is released; the next call goes on behind it, as far as that can be told.
    pub(crate) fn next_batch(&mut self, arena: &mut DecompressArena) -> Result<Option<ShareBatch>, Damage> {
        loop {
            if !self.has_any(self.reached, i64::MAX) {
                // What else was sent, a torn batch at the end perhaps, is none of this member's.
                return Ok(None);
            }
            let rest = self.chunk.records.slice(self.at.min(self.chunk.records.len())..);
            if rest.is_empty() {
                // The broker gave offsets that it sent no batch for. Somebody else may see what is there.
                self.remark(self.reached, i64::MAX, AcknowledgeType::Release.code());
                self.reached = i64::MAX;
                return Ok(None);
            }
            let batch = match RecordBatch::read(&rest) {
                Ok(batch) => batch,
                Err(source) => {
                    self.at = self.chunk.records.len();
                    let offset = self.first_left();
                    return Err(Damage { offset, source });
                }
            };
            let header = *batch.header();
            let (base, last) = (header.base_offset, header.last_offset());
            if base < self.reached || last < base || last == i64::MAX {
                self.at = self.chunk.records.len();
                let source = RecordError::InvalidHeaderField { field: "baseOffset", value: base };
                return Err(Damage { offset: self.first_left(), source });
            }
            // What lies between two batches of a log is no record.
            self.remark(self.reached, base - 1, GAP);
            self.at = self.at.saturating_add(header.total_len());
            self.reached = last + 1;
            if !self.has_any(base, last) {
                continue;
            }
            if self.check_crcs
                && let Err(source) = batch.verify_crc()
            {
                return Err(self.damaged(base, last, source));
            }
            if header.attributes.is_control() || header.record_count == 0 {
                self.remark(base, last, GAP);
                continue;
            }
            let decoded = match OwnedBatch::decode(&rest, arena) {
                Ok(decoded) => decoded,
                Err(source) => return Err(self.damaged(base, last, source)),
            };
            let is_whole = i64::from(header.record_count) == last - base + 1;
            if !is_whole && !self.remark_holes(&decoded, base, last) {
                continue;
            }
            let mine =
                self.chunk.acquired.iter().map(|run| (run.last.min(last) - run.first.max(base) + 1).max(0)).sum();
            let records = i64::min(mine, i64::from(header.record_count));
            self.chunk.sum.add(records.unsigned_abs(), decoded.records_bytes().len() as u64);
            let (topic, partition) = (Arc::clone(&self.chunk.topic), self.chunk.hold.place.partition);
            return Ok(Some(ShareBatch {
                shared: Arc::new(SharedBatch {
                    topic,
                    partition,
                    batch: decoded,
                    from: base,
                    follows: base,
                    marks: Arc::clone(&self.marks),
                    detached: None,
                }),
                acquired: Arc::clone(&self.chunk.acquired),
                hold: Arc::clone(&self.chunk.hold),
                from: base,
            }));
        }
    }

    /// Remarks upon the offsets of a batch that have no record. Answers whether this member has a record in it.
    fn remark_holes(&mut self, batch: &OwnedBatch, base: i64, last: i64) -> bool {
        let mut next = base;
        let mut is_any = false;
        let mut holes = Vec::new();
        for record in batch.iter() {
            // A damaged record ends the walk as it ends the iteration: what lies behind stays with the member until the
            // application, which meets the same error, says something of it.
            let Ok(record) = record else { return true };
            holes.push((next, record.offset - 1));
            next = record.offset.saturating_add(1);
            is_any |= self.has_any(record.offset, record.offset);
        }
        holes.push((next, last));
        for (first, last) in holes {
            self.remark(first, last, GAP);
        }
        is_any
    }

    fn damaged(&mut self, base: i64, last: i64, source: RecordError) -> Damage {
        self.remark(base, last, AcknowledgeType::Release.code());
        Damage { offset: base, source }
    }

    /// The first offset of this member's that was not looked at.
    fn first_left(&self) -> i64 {
        let left = self.chunk.acquired.iter().find(|run| run.last >= self.reached);
        left.map_or(self.reached, |run| run.first.max(self.reached))
    }

    fn has_any(&self, first: i64, last: i64) -> bool {
        self.chunk.acquired.iter().any(|run| run.first <= last && run.last >= first)
    }

    fn remark(&mut self, first: i64, last: i64, code: i8) {
        for run in self.chunk.acquired.iter() {
            let (first, last) = (run.first.max(first), run.last.min(last));
            if first <= last {
                self.remarks.push(Remark { first, last, code });
            }
        }
    }
}

#[cfg(test)]
#[path = "unpack_tests.rs"]
mod tests;
