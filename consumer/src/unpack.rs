//! From what a fetch brought to what the application is given, without a lock and without a copy.
//!
//! [`survey`] walks the batch headers as a response comes in, to know where the next fetch begins; [`Unpacker`] decodes
//! the batches one by one when the application gets there, so that their bytes are warm when the records are read.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use rkafka_protocol::records::{
    BatchIter, ControlRecord, DecompressArena, OwnedBatch, RecordBatch, RecordError, TransactionResult,
};

use crate::batch::Batch;
use crate::machine::inbox::Chunk;
use crate::metrics::Tally;
use crate::record::SharedBatch;

/// What the headers of a fetched partition's batches tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Survey {
    /// How many bytes at the front are whole batches.
    pub(crate) whole_bytes: usize,
    /// Where the next fetch begins.
    pub(crate) next_offset: i64,
    /// The leader epoch of the last whole batch.
    pub(crate) last_epoch: Option<i32>,
    /// What is wrong with the bytes behind the whole batches.
    pub(crate) damage: Option<RecordError>,
}

/// Walks the batches of a partition that was fetched at `offset`. A batch that ends before `offset`, or that begins
/// before the one before it ended, is damage: a fetch must move forward.
pub(crate) fn survey(records: &[u8], offset: i64) -> Survey {
    let mut survey = Survey { whole_bytes: 0, next_offset: offset, last_epoch: None, damage: None };
    let mut batches = BatchIter::new(records);
    let mut lowest = i64::MIN;
    while let Some(batch) = batches.next() {
        let header = match &batch {
            Ok(batch) => batch.header(),
            Err(error) => {
                survey.damage = Some(error.clone());
                break;
            }
        };
        let last = header.last_offset();
        if last < offset.max(lowest) || header.base_offset < lowest || last == i64::MAX {
            survey.damage = Some(RecordError::InvalidHeaderField { field: "baseOffset", value: header.base_offset });
            break;
        }
        lowest = last + 1;
        survey.next_offset = last + 1;
        survey.last_epoch = Some(header.partition_leader_epoch).filter(|epoch| *epoch >= 0).or(survey.last_epoch);
        survey.whole_bytes = records.len() - batches.remainder().len();
    }
    if survey.whole_bytes == 0 && survey.damage.is_none() && !records.is_empty() {
        // KIP-74 promises the first batch whole, however large it is.
        survey.damage = Some(RecordError::Truncated {
            what: "record batch",
            position: 0,
            needed: batches.needed().unwrap_or(records.len() + 1),
            available: records.len(),
        });
    }
    survey
}

/// A damaged batch, and where it begins.
#[derive(Debug)]
pub(crate) struct Damage {
    pub(crate) offset: i64,
    pub(crate) source: RecordError,
}

/// Decodes one chunk, batch by batch.
#[derive(Debug)]
pub(crate) struct Unpacker {
    chunk: Chunk,
    at: usize,
    /// The next of `chunk.aborted` to begin.
    next_aborted: usize,
    /// Producers inside a transaction that was aborted.
    aborting: HashSet<i64>,
    read_committed: bool,
    check_crcs: bool,
    given: Given,
}

/// What the application was given, told when the chunk is done with.
#[derive(Debug, Default)]
struct Given {
    tally: Option<Tally>,
    records: u64,
    bytes: u64,
    /// The last batch: where it ends, and how many records and bytes of it were counted.
    last: Option<(i64, u64, u64)>,
}

impl Given {
    fn count(&mut self, from: i64, batch: &OwnedBatch) {
        let header = batch.header();
        let declared = u64::try_from(header.record_count).unwrap_or(0);
        // Where reading begins inside of the batch; offsets that compaction has emptied are not known here.
        let rest = header.next_offset().saturating_sub(from.max(header.base_offset));
        let records = declared.min(u64::try_from(rest).unwrap_or(0));
        let size = u64::try_from(batch.records_bytes().len()).unwrap_or(0);
        let bytes = if records == declared { size } else { size.saturating_mul(records) / declared.max(1) };
        self.records = self.records.saturating_add(records);
        self.bytes = self.bytes.saturating_add(bytes);
        self.last = Some((header.next_offset(), records, bytes));
    }

    /// Takes back what was counted of the last batch and lies beyond `position`, for it will be given again.
    fn take_back(&mut self, position: i64) {
        let Some((next_offset, records, bytes)) = self.last.take() else { return };
        let rest = records.min(u64::try_from(next_offset.saturating_sub(position)).unwrap_or(0));
        self.records = self.records.saturating_sub(rest);
        self.bytes = self.bytes.saturating_sub(bytes.saturating_mul(rest) / records.max(1));
    }
}

impl Drop for Given {
    fn drop(&mut self) {
        if let Some(tally) = &self.tally {
            tally.add(self.records, self.bytes);
        }
    }
}

impl Unpacker {
    pub(crate) fn new(chunk: Chunk, read_committed: bool, check_crcs: bool) -> Self {
        let given = Given { tally: chunk.tally.clone(), ..Given::default() };
        Self { chunk, at: 0, next_aborted: 0, aborting: HashSet::new(), read_committed, check_crcs, given }
    }

    pub(crate) fn chunk(&self) -> &Chunk {
        &self.chunk
    }

    /// The next batch that the application should see, or `None` at the end of the chunk. Control batches, aborted ones
    /// and those without records are passed over.
    ///
    /// # Errors
    /// A damaged batch. The chunk is then of no more use.
    pub(crate) fn next_batch(&mut self, arena: &mut DecompressArena) -> Result<Option<Batch>, Damage> {
        loop {
            if self.at >= self.chunk.records.len() {
                return Ok(None);
            }
            let rest = self.chunk.records.slice(self.at..);
            let batch = RecordBatch::read(&rest).map_err(|source| Damage { offset: self.chunk.from, source })?;
            let header = *batch.header();
            let damage = |source| Damage { offset: header.base_offset, source };
            if self.check_crcs {
                batch.verify_crc().map_err(damage)?;
            }
            let begun = self.at;
            self.at += header.total_len();
            let next_offset = header.next_offset();
            let transactional = header.attributes.is_transactional();
            if self.read_committed && header.has_producer_id() {
                self.begin_aborted(header.last_offset());
            }
            if header.attributes.is_control() {
                if self.read_committed && transactional {
                    self.end_aborted(&batch, arena).map_err(damage)?;
                }
                continue;
            }
            if self.read_committed && transactional && self.aborting.contains(&header.producer_id) {
                continue;
            }
            if next_offset <= self.chunk.from || header.record_count == 0 {
                // Handed out before, or what compaction leaves where no record is left.
                continue;
            }
            let decoded = OwnedBatch::decode(&rest, arena).map_err(|source| {
                self.at = begun;
                damage(source)
            })?;
            self.given.count(self.chunk.from, &decoded);
            let marks = Arc::clone(self.chunk.progress.marks());
            let shared = SharedBatch {
                topic: Arc::clone(&self.chunk.topic),
                partition: self.chunk.partition,
                batch: decoded,
                from: self.chunk.from,
                follows: marks.handed(),
                marks,
                detached: None,
            };
            return Ok(Some(Batch { shared: Arc::new(shared), from: self.chunk.from }));
        }
    }

    /// What is left, so that it can be unpacked again from `position`.
    pub(crate) fn into_rest(mut self, position: i64) -> Chunk {
        self.given.take_back(position);
        // The whole chunk goes back, for the aborted transactions are told from its beginning; `from` passes over what
        // was handed out.
        Chunk { from: position.max(self.chunk.from), ..self.chunk }
    }

    fn begin_aborted(&mut self, last_offset: i64) {
        while let Some((producer_id, first_offset)) = self.chunk.aborted.get(self.next_aborted) {
            if *first_offset > last_offset {
                break;
            }
            self.aborting.insert(*producer_id);
            self.next_aborted += 1;
        }
    }

    /// An abort marker ends the transaction of its producer.
    fn end_aborted(&mut self, batch: &RecordBatch<'_>, arena: &mut DecompressArena) -> Result<(), RecordError> {
        let Some(record) = batch.records(arena)?.next() else { return Ok(()) };
        let marker = ControlRecord::parse(&record?)?.end_transaction()?;
        if marker.is_some_and(|marker| marker.result == TransactionResult::Abort) {
            self.aborting.remove(&batch.header().producer_id);
        }
        Ok(())
    }
}

/// The bytes of a slice at its front.
pub(crate) fn front(records: &Bytes, length: usize) -> Bytes {
    records.slice(..length.min(records.len()))
}
