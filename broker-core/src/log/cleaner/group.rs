//! The pass that writes segments anew, and what it decides about each batch.

use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rkafka_protocol::records::{
    BatchRetainer, DeleteHorizon, NO_PRODUCER_ID, RecordBatch, RecordError, RecordView, Retained, emptied_batch,
};

use super::super::batch::{self, Header};
use super::super::error::LogError;
use super::super::segment::{
    INDEX_SUFFIX, Indexes, LOG_SUFFIX, TIME_INDEX_SUFFIX, TXN_INDEX_SUFFIX, file_path, overwrite,
};
use super::super::transaction::AbortedTransaction;
use super::super::transaction_index;
use super::super::truncate::remove_if_there;
use super::super::walk::Walk;
use super::offset_map::OffsetMap;
use super::round::{CleanRound, LastRecord, Pace};
use super::transactions::CleanedTransactions;
use super::{CLEANED_SUFFIX, CleanError};
use crate::storage::Storage;

/// How many bytes are gathered for one write.
const WRITE_BYTES: usize = 1024 * 1024;

/// The files of a cleaned segment; the log is the last, because it is the one that counts.
pub(super) const FILES: [&str; 4] = [INDEX_SUFFIX, TIME_INDEX_SUFFIX, TXN_INDEX_SUFFIX, LOG_SUFFIX];

/// A file of the segment, with `ending` behind its name.
pub(super) fn with_ending(dir: &Path, base_offset: i64, suffix: &str, ending: &str) -> PathBuf {
    let mut path = file_path(dir, base_offset, suffix).into_os_string();
    path.push(ending);
    PathBuf::from(path)
}

/// Segments, written anew as one, under the names that they have until they are swapped in.
#[derive(Debug)]
#[must_use = "the files stay until they are swapped in or discarded"]
pub struct CleanedGroup {
    /// Base offsets and sizes of the segments that it replaces.
    pub(super) sources: Vec<(i64, u64)>,
    pub(super) size: u64,
    pub(super) created_ms: i64,
    pub(super) indexes: Indexes,
    pub(super) aborted: Vec<AbortedTransaction>,
    pub(super) truncations: u64,
    dir: Arc<Path>,
    storage: Arc<dyn Storage>,
}

impl CleanedGroup {
    /// Removes the files of a group that will not be swapped in.
    pub fn discard(self) {
        discard(self.storage.as_ref(), &self.dir, self.base_offset());
    }

    pub(super) fn base_offset(&self) -> i64 {
        self.sources.first().map_or(0, |(base, _)| *base)
    }
}

/// What cannot be removed now is removed when the log is opened again.
pub(super) fn discard(storage: &dyn Storage, dir: &Path, base_offset: i64) {
    for suffix in FILES {
        if let Err(error) = remove_if_there(storage, &with_ending(dir, base_offset, suffix, CLEANED_SUFFIX)) {
            tracing::debug!(%error, "a file of the cleaner stays");
        }
    }
}

/// What became of a group.
pub(super) enum Written {
    Cleaned(Box<CleanedGroup>),
    Unchanged,
    /// It is larger than a segment may be, since the batch at this position of its source.
    Overflow {
        position: u64,
    },
}

impl CleanRound {
    pub(super) fn write_group(&mut self, range: Range<usize>, pace: &mut Pace<'_>) -> Result<Written, CleanError> {
        let sources = self.sources.get(range).unwrap_or_default();
        let (Some(first), Some(last)) = (sources.first(), sources.last()) else { return Ok(Written::Unchanged) };
        let last_with_bytes = sources.iter().rposition(|source| source.size > 0);
        let path = with_ending(&self.dir, first.base_offset, LOG_SUFFIX, CLEANED_SUFFIX);
        let io = |action, path: &Path, source| LogError::Io { action, path: path.to_owned(), source };
        let file = self.storage.open_or_create(&path).map_err(|error| io("create", &path, error))?;
        file.truncate(0).map_err(|error| io("truncate", &path, error))?;
        let interval = self.config.index_interval_bytes;
        let mut indexes = Indexes::new();
        let mut aborted = Vec::new();
        let mut pending = Vec::with_capacity(WRITE_BYTES + WRITE_BYTES / 4);
        let mut size = 0u64;
        let mut changed = sources.len() > 1;
        for (at, source) in sources.iter().enumerate() {
            let mut walk = Walk::whole_batches(source.file.as_ref(), 0, source.size);
            while let Some((position, header, bytes)) = walk.next().map_err(|error| source.walk_error(error))? {
                let batch = source.batch(position, &bytes)?;
                let is_last = Some(at) == last_with_bytes && position + bytes.len() as u64 == source.size;
                let begin = pending.len();
                let mut cleaning = Cleaning {
                    map: &self.map,
                    transactions: &mut self.transactions,
                    producers: &self.producers,
                    retainer: &mut self.retainer,
                    now_ms: self.now_ms,
                    delete_retention_ms: self.config.delete_retention_ms,
                    aborted: &mut aborted,
                };
                let kept = cleaning.clean(&batch, is_last, &mut pending);
                let kept = kept.map_err(|error| source.corrupt(position, error))?;
                let written = pending.get(begin..).unwrap_or_default();
                changed |= written != &bytes[..];
                self.stats.records_before += u64::try_from(header.record_count).unwrap_or(0);
                self.stats.records_after += u64::from(kept);
                if !written.is_empty() {
                    let header = batch::read_stored(written).map_err(|reason| source.corrupt(position, reason))?;
                    indexes.add(first.base_offset, size, &header, interval);
                    size += written.len() as u64;
                    if size > self.output_bytes_max {
                        return Ok(Written::Overflow { position });
                    }
                }
                pace.moved(bytes.len() + written.len(), &mut self.stats)?;
                if pending.len() >= WRITE_BYTES {
                    let at = size - pending.len() as u64;
                    file.write_at(at, &pending).map_err(|error| io("write", &path, error))?;
                    pending.clear();
                }
            }
        }
        self.stats.bytes_before += sources.iter().map(|source| source.size).sum::<u64>();
        self.stats.bytes_after += size;
        if !changed {
            return Ok(Written::Unchanged);
        }
        if !pending.is_empty() {
            file.write_at(size - pending.len() as u64, &pending).map_err(|error| io("write", &path, error))?;
        }
        file.sync().map_err(|error| io("sync", &path, error))?;
        indexes.add_time_entry(first.base_offset);
        // The transaction index is written without entries too, so that it takes the place of an older one.
        let others = [
            (INDEX_SUFFIX, indexes.offset.encode()),
            (TIME_INDEX_SUFFIX, indexes.time.encode()),
            (TXN_INDEX_SUFFIX, transaction_index::encode(&aborted)),
        ];
        for (suffix, bytes) in others {
            let path = with_ending(&self.dir, first.base_offset, suffix, CLEANED_SUFFIX);
            overwrite(self.storage.as_ref(), &path, &bytes)?;
            let sync = self.storage.open(&path).and_then(|file| file.sync());
            sync.map_err(|error| io("sync", &path, error))?;
        }
        Ok(Written::Cleaned(Box::new(CleanedGroup {
            sources: sources.iter().map(|source| (source.base_offset, source.size)).collect(),
            size,
            created_ms: last.created_ms,
            indexes,
            aborted,
            truncations: self.truncations,
            dir: Arc::clone(&self.dir),
            storage: Arc::clone(&self.storage),
        })))
    }
}

/// What decides about a batch.
struct Cleaning<'a> {
    map: &'a OffsetMap,
    transactions: &'a mut CleanedTransactions,
    producers: &'a HashMap<i64, LastRecord>,
    retainer: &'a mut BatchRetainer,
    now_ms: i64,
    delete_retention_ms: i64,
    aborted: &'a mut Vec<AbortedTransaction>,
}

impl Cleaning<'_> {
    /// Appends to `out` what stays of the batch, and answers how many records that are.
    fn clean(
        &mut self,
        batch: &RecordBatch<'_>,
        is_last_of_group: bool,
        out: &mut Vec<u8>,
    ) -> Result<u32, RecordError> {
        let header = batch.header();
        let is_control = header.attributes.is_control();
        let is_past_horizon = header.delete_horizon_ms().is_some_and(|horizon_ms| horizon_ms <= self.now_ms);
        // A control batch that was emptied before has nothing more to say.
        let is_bare_marker = is_control
            && (header.record_count == 0 || {
                let marker = batch::marker(batch.bytes())?;
                let (is_bare, aborted) = self.transactions.on_marker(header, marker.map(|marker| marker.result));
                self.aborted.extend(aborted);
                is_bare
            });
        let discard = if is_control { is_bare_marker && is_past_horizon } else { self.transactions.on_batch(header) };
        let horizon =
            DeleteHorizon { horizon_ms: self.now_ms.saturating_add(self.delete_retention_ms), force: is_bare_marker };
        let (map, latest) = (self.map, self.map.latest_offset());
        let keep = |record: &RecordView<'_>| {
            if discard {
                return false;
            }
            if is_control || record.offset > latest {
                return true;
            }
            let Some(key) = record.key else { return false };
            record.offset >= map.get(key) && (record.value.is_some() || !is_past_horizon)
        };
        match self.retainer.retain(batch, horizon, keep, out)? {
            Retained::Unchanged => Ok(u32::try_from(header.record_count).unwrap_or(0)),
            Retained::Rewritten(kept) => Ok(kept),
            Retained::Nothing => {
                if is_last_of_group || self.is_last_of_producer(header) {
                    out.extend_from_slice(&emptied_batch(header));
                }
                Ok(0)
            }
        }
    }

    /// Whether the batch is what an active producer is known by: the one with its last sequence, or a marker with its
    /// epoch where no batch came after.
    fn is_last_of_producer(&self, header: &Header) -> bool {
        header.producer_id > NO_PRODUCER_ID
            && self.producers.get(&header.producer_id).is_some_and(|last| match last.data_offset {
                Some(offset) => header.last_offset() == offset,
                None => header.attributes.is_control() && header.producer_epoch == last.epoch,
            })
    }
}
