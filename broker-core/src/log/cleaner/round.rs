//! One round of cleaning: the pass that remembers the keys, and the grouping of segments for the pass that writes them.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rkafka_protocol::records::{BatchRetainer, DecompressArena, RecordBatch};

use super::super::batch;
use super::super::config::LogConfig;
use super::super::error::LogError;
use super::super::log_impl::Log;
use super::super::segment::LOG_SUFFIX;
use super::super::transaction::AbortedTransaction;
use super::super::walk::{Walk, WalkError};
use super::CleanError;
use super::group::{CleanedGroup, Written, discard};
use super::offset_map::OffsetMap;
use super::plan::Cleanable;
use super::transactions::CleanedTransactions;
use crate::storage::{Storage, StorageFile};

/// After how many bytes the round asks whether it may go on.
const PACE_BYTES: u64 = 1024 * 1024;
/// The largest file that an index can address.
const SEGMENT_BYTES_MAX: u64 = i32::MAX as u64;

/// What a round has read and kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CleanStats {
    /// Bytes of the segments that were rewritten, before.
    pub bytes_before: u64,
    /// Bytes of what they became.
    pub bytes_after: u64,
    /// Records in them before.
    pub records_before: u64,
    /// Records that stayed.
    pub records_after: u64,
    /// Bytes that were read and written, both passes together.
    pub bytes_moved: u64,
    /// True when the memory for keys was full before the end; another round has to follow.
    pub is_partial: bool,
}

/// A segment as it was when the round began. The file stays readable whatever becomes of its name.
#[derive(Debug)]
pub(super) struct Source {
    pub base_offset: i64,
    next_base_offset: i64,
    pub size: u64,
    index_bytes: usize,
    time_index_bytes: usize,
    pub created_ms: i64,
    pub file: Arc<dyn StorageFile>,
    path: PathBuf,
}

/// What keeps an active producer's state in the log.
#[derive(Debug, Clone, Copy)]
pub(super) struct LastRecord {
    pub epoch: i16,
    /// The last offset of its last batch; `None` where a marker came last.
    pub data_offset: Option<i64>,
}

/// A round of cleaning. First [`CleanRound::read_keys`], then [`CleanRound::next_group`] until it answers `None`, and
/// each group goes to [`Log::swap_cleaned`]. Nothing but the swap needs the log.
#[derive(Debug)]
pub struct CleanRound {
    pub(super) storage: Arc<dyn Storage>,
    pub(super) dir: Arc<Path>,
    pub(super) config: LogConfig,
    pub(super) now_ms: i64,
    dirty: Range<i64>,
    pub(super) sources: Vec<Source>,
    groups: VecDeque<Range<usize>>,
    pub(super) producers: HashMap<i64, LastRecord>,
    aborted: Vec<AbortedTransaction>,
    keys_bytes_max: u64,
    pub(super) map: OffsetMap,
    pub(super) transactions: CleanedTransactions,
    pub(super) retainer: BatchRetainer,
    pub(super) stats: CleanStats,
    pub(super) truncations: u64,
    /// The largest file that may come out, [`SEGMENT_BYTES_MAX`] but in tests.
    pub(in super::super) output_bytes_max: u64,
}

impl Log {
    /// Begins to clean what [`Log::cleanable`] has found; `None` where that is nothing any more. Keys are remembered in
    /// at most `keys_bytes_max` bytes.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn begin_cleaning(
        &self,
        cleanable: &Cleanable,
        keys_bytes_max: u64,
        now_ms: i64,
    ) -> Result<Option<CleanRound>, LogError> {
        self.check_online()?;
        let storage = self.storage.as_ref();
        let interval = self.config.index_interval_bytes;
        let end = cleanable.first_uncleanable_offset;
        let mut sources = Vec::new();
        for (segment, next) in self.segments.iter().zip(self.segments.get(1..).unwrap_or_default()) {
            if next.base_offset > end {
                break;
            }
            let indexes = segment.indexes(storage, interval)?;
            sources.push(Source {
                base_offset: segment.base_offset,
                next_base_offset: next.base_offset,
                size: segment.size,
                index_bytes: indexes.offset.len_bytes(),
                time_index_bytes: indexes.time.len_bytes(),
                created_ms: segment.created_ms,
                file: Arc::clone(segment.file(storage)?),
                path: segment.path(LOG_SUFFIX),
            });
        }
        let Some(first) = sources.first() else { return Ok(None) };
        let producers = self.producers.iter().map(|(id, entry)| {
            (id, LastRecord { epoch: entry.epoch, data_offset: entry.batches.back().map(|batch| batch.last_offset) })
        });
        Ok(Some(CleanRound {
            storage: Arc::clone(&self.storage),
            dir: Arc::clone(&self.dir),
            config: self.config.clone(),
            now_ms,
            dirty: cleanable.first_dirty_offset..end,
            aborted: self.aborted_transactions(first.base_offset, end)?,
            groups: VecDeque::new(),
            producers: producers.collect(),
            keys_bytes_max,
            map: OffsetMap::new(0, 0),
            transactions: CleanedTransactions::default(),
            retainer: BatchRetainer::default(),
            stats: CleanStats::default(),
            truncations: self.truncations,
            output_bytes_max: SEGMENT_BYTES_MAX,
            sources,
        }))
    }
}

impl Log {
    /// Whether a round that began after this many truncations may go on: not after another one, which cuts the files that
    /// the round reads, and not where the log is to be compacted no more.
    pub fn is_cleanable_since(&self, truncations: u64) -> bool {
        self.truncations == truncations && self.config.cleanup_policy.compact
    }
}

impl Source {
    pub fn corrupt(&self, position: u64, reason: impl ToString) -> CleanError {
        LogError::Corrupt { path: self.path.clone(), position, reason: reason.to_string() }.into()
    }

    pub fn walk_error(&self, error: WalkError) -> CleanError {
        match error {
            WalkError::Io(source) => LogError::Io { action: "read", path: self.path.clone(), source }.into(),
            WalkError::Malformed { position, reason } => self.corrupt(position, reason),
        }
    }

    /// A batch whose checksum is right. A wrong one must not decide which records go.
    pub fn batch<'a>(&self, position: u64, bytes: &'a [u8]) -> Result<RecordBatch<'a>, CleanError> {
        let read = RecordBatch::read(bytes).and_then(|batch| batch.verify_crc().map(|()| batch));
        read.map_err(|error| self.corrupt(position, error))
    }
}

/// Counts bytes, and asks now and then whether to go on.
pub(super) struct Pace<'a> {
    since: u64,
    go_on: &'a mut dyn FnMut(u64) -> bool,
}

impl Pace<'_> {
    pub fn moved(&mut self, bytes: usize, stats: &mut CleanStats) -> Result<(), CleanError> {
        stats.bytes_moved += bytes as u64;
        self.since += bytes as u64;
        if self.since < PACE_BYTES {
            return Ok(());
        }
        let since = std::mem::take(&mut self.since);
        if (self.go_on)(since) { Ok(()) } else { Err(CleanError::Stopped) }
    }
}

impl CleanRound {
    /// Reads the part of the log that is not clean and remembers where each key is last. `go_on` is told now and then
    /// how many bytes were moved since it was last asked; it may take its time, and ends the round by `false`.
    ///
    /// # Errors
    /// The log cannot be read, or the round was told to stop.
    pub fn read_keys(&mut self, go_on: &mut dyn FnMut(u64) -> bool) -> Result<(), CleanError> {
        let mut pace = Pace { since: 0, go_on };
        let start = self.dirty.start;
        let first = self.sources.partition_point(|source| source.next_base_offset <= start);
        let dirty = self.sources.get(first..).unwrap_or_default();
        self.map = OffsetMap::new(count_keys(dirty, start)?, self.keys_bytes_max);
        let mut transactions = CleanedTransactions::default();
        transactions.expect(self.aborted.iter().copied());
        let mut arena = DecompressArena::default();
        'segments: for source in dirty {
            let mut walk = Walk::whole_batches(source.file.as_ref(), 0, source.size);
            while let Some((position, header, bytes)) = walk.next().map_err(|error| source.walk_error(error))? {
                pace.moved(bytes.len(), &mut self.stats)?;
                if header.attributes.is_control() {
                    // Its keys are no keys of the log (KAFKA-14055).
                    let marker = batch::marker(&bytes).map_err(|error| source.corrupt(position, error))?;
                    transactions.on_marker(&header, marker.map(|marker| marker.result));
                } else if !transactions.on_batch(&header) && header.last_offset() >= start {
                    let batch = source.batch(position, &bytes)?;
                    let records = batch.records(&mut arena).map_err(|error| source.corrupt(position, error))?;
                    for record in records {
                        let record = record.map_err(|error| source.corrupt(position, error))?;
                        if let Some(key) = record.key
                            && record.offset >= start
                            && !self.map.put(key, record.offset)
                        {
                            self.stats.is_partial = true;
                            break 'segments;
                        }
                    }
                }
                if header.last_offset() >= start {
                    self.map.advance_to(header.last_offset());
                }
            }
            // What may lie between its last batch and the next segment was cleaned away before.
            self.map.advance_to(source.next_base_offset - 1);
        }
        self.group();
        // All of them, also those behind the part whose keys are known: that part is copied, and its transactions must
        // not become others for it (KAFKA-13727).
        self.transactions.expect(self.aborted.iter().copied());
        Ok(())
    }

    /// Puts neighbours together for as long as one segment has room for them.
    fn group(&mut self) {
        let end = self.cleaned_to();
        let index_bytes_max = self.config.segment_index_bytes as usize;
        let bytes_max = self.config.segment_bytes.min(SEGMENT_BYTES_MAX);
        let (mut bytes, mut index, mut time) = (0u64, 0usize, 0usize);
        let mut start = 0;
        let count = self.sources.partition_point(|source| source.base_offset < end);
        for (at, source) in self.sources.iter().enumerate().take(count) {
            let base_offset = self.sources.get(start).map_or(0, |first| first.base_offset);
            let fits = bytes + source.size <= bytes_max
                && index + source.index_bytes <= index_bytes_max
                && time + source.time_index_bytes <= index_bytes_max
                && source.next_base_offset - 1 - base_offset <= i64::from(i32::MAX);
            if at > start && !fits {
                self.groups.push_back(start..at);
                (start, bytes, index, time) = (at, 0, 0, 0);
            }
            bytes += source.size;
            index += source.index_bytes;
            time += source.time_index_bytes;
        }
        if count > start {
            self.groups.push_back(start..count);
        }
    }

    /// Up to where the log is clean when all groups are swapped in, for `cleaner-offset-checkpoint`.
    pub fn cleaned_to(&self) -> i64 {
        (self.map.latest_offset() + 1).max(self.dirty.start)
    }

    /// How many truncations the log had when the round began, for [`Log::is_cleanable_since`].
    pub fn truncations(&self) -> u64 {
        self.truncations
    }

    /// What was done so far.
    pub fn stats(&self) -> CleanStats {
        self.stats
    }

    /// Writes the next group. What comes out has its files on the disk. A group in which nothing changes is passed over.
    ///
    /// # Errors
    /// As [`CleanRound::read_keys`]; also where the disk is full. Nothing of the group is left then.
    pub fn next_group(&mut self, go_on: &mut dyn FnMut(u64) -> bool) -> Result<Option<CleanedGroup>, CleanError> {
        while let Some(range) = self.groups.pop_front() {
            // Where a group does not fit after all, it is begun anew as two, and its transactions with it (KAFKA-20036).
            let (transactions, stats) = (self.transactions.clone(), self.stats);
            let base_offset = self.sources.get(range.start).map_or(0, |source| source.base_offset);
            let written = self.write_group(range.clone(), &mut Pace { since: 0, go_on: &mut *go_on });
            match written {
                Ok(Written::Cleaned(group)) => return Ok(Some(*group)),
                _ => discard(self.storage.as_ref(), &self.dir, base_offset),
            }
            if let Written::Overflow { position } = written? {
                if range.len() < 2 {
                    let reason = "what is left of the segment does not fit into one";
                    let source = self.sources.get(range.start);
                    return source.map_or(Ok(None), |source| Err(source.corrupt(position, reason)));
                }
                (self.transactions, self.stats) = (transactions, stats);
                let middle = range.start + range.len() / 2;
                self.groups.push_front(middle..range.end);
                self.groups.push_front(range.start..middle);
            }
        }
        Ok(None)
    }
}

/// At most how many keys there are from `start` on.
fn count_keys(dirty: &[Source], start: i64) -> Result<u64, CleanError> {
    let mut keys = 0u64;
    for source in dirty {
        let mut walk = Walk::headers(source.file.as_ref(), 0, source.size);
        while let Some((_, header, _)) = walk.next().map_err(|error| source.walk_error(error))? {
            if !header.attributes.is_control() && header.last_offset() >= start {
                keys += u64::try_from(header.record_count).unwrap_or(0);
            }
        }
    }
    Ok(keys)
}
