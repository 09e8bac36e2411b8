//! Opening a log: believing the files after a clean stop, checking every byte after an unclean one.
//!
//! What a recovery changes on the disk, it changes so that a crash in the middle leaves a log from which the next
//! recovery comes to the same result: segments go from the newest on, the cut of a file comes last, and all that is
//! derived (indexes, snapshots, epochs) is derived again.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rkafka_protocol::records::{EndTransactionMarker, verify_crc};

use super::batch::{self, Header};
use super::cleaner::complete_swaps;
use super::config::LogConfig;
use super::epoch_cache::EpochCache;
use super::error::LogError;
use super::log_impl::{Log, OpenState};
use super::producer_state::ProducerStates;
use super::segment::{
    self, DELETED_SUFFIX, INDEX_SUFFIX, Indexes, LOG_SUFFIX, SNAPSHOT_SUFFIX, Segment, TIME_INDEX_SUFFIX,
    TXN_INDEX_SUFFIX,
};
use super::truncate::remove_if_there;
use super::walk::{Walk, WalkError};
use crate::storage::{DirectoryEntry, Storage, read_file};

/// How far back the producers' last batches are looked for. A snapshot has only the very last of each.
const REPLAY_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// What opening a log found and mended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// Segments whose bytes were all checked.
    pub segments_scanned: usize,
    /// Bytes that were checked.
    pub bytes_scanned: u64,
    /// Bytes at the end that were no valid batches and were cut off.
    pub truncated_bytes: u64,
    /// What was wrong with them.
    pub truncation_reason: Option<String>,
    /// Segments behind the cut that were removed as a whole.
    pub segments_removed: usize,
    /// Index files of closed segments that were missing and were rebuilt.
    pub indexes_rebuilt: usize,
    /// Transaction indexes that were corrupt, or may have been missing, and were collected from the log.
    pub transaction_indexes_rebuilt: usize,
    /// True when no producer snapshot could be used and the state was rebuilt from the log alone.
    pub producer_snapshot_missing: bool,
    /// True when `leader-epoch-checkpoint` was missing or corrupt, and the epochs were collected from the log.
    pub epochs_rebuilt: bool,
}

pub(super) fn open(
    storage: Arc<dyn Storage>,
    dir: PathBuf,
    config: LogConfig,
    state: OpenState,
    now_ms: i64,
) -> Result<(Log, RecoveryReport), LogError> {
    let io = |action, path: &Path| {
        let path = path.to_owned();
        move |source| LogError::Io { action, path, source }
    };
    storage.create_dir_all(&dir).map_err(io("create", &dir))?;
    let entries = storage.list_dir(&dir).map_err(io("list", &dir))?;
    let dir: Arc<Path> = Arc::from(dir);
    let mut report = RecoveryReport::default();

    let entries = match complete_swaps(storage.as_ref(), &dir, &entries)? {
        true => storage.list_dir(&dir).map_err(io("list", &dir))?,
        false => entries,
    };
    let (segments, snapshots) = collect_files(storage.as_ref(), &dir, &entries, now_ms)?;
    let is_new = segments.is_empty();
    let mut log = Log {
        storage,
        dir,
        config,
        segments,
        log_start_offset: state.log_start_offset.max(0),
        log_end_offset: 0,
        recovery_point: state.recovery_point.max(0),
        synced_end: 0,
        promised_recovery_point: state.recovery_point.max(0),
        epochs: EpochCache::default(),
        epochs_changed: false,
        producers: ProducerStates::default(),
        high_watermark: state.high_watermark,
        snapshots,
        directory_changed: true,
        truncations: 0,
        offline: None,
        doomed_files: Vec::new(),
        headers: Vec::new(),
    };
    if is_new {
        log.segments.push(Segment::empty(&log.dir, log.log_start_offset, now_ms));
        log.log_end_offset = log.log_start_offset;
        log.recovery_point = log.log_start_offset;
        log.synced_end = log.log_start_offset;
        log.remove_snapshots(|_| true)?;
        log.high_watermark = log.high_watermark.min(log.log_end_offset);
        // An old epoch file without any log belongs to records that are gone.
        remove_if_there(log.storage.as_ref(), &log.epochs_path())?;
        return Ok((log, report));
    }

    let epochs_known = log.load_epochs()?;
    report.epochs_rebuilt = !epochs_known;
    // What is scanned below gets its indexes there.
    let scan_from = if state.clean_shutdown { log.segments.len() } else { log.segment_of(log.recovery_point) };
    log.rebuild_missing_indexes(&entries, scan_from, &mut report)?;
    let end = if state.clean_shutdown { log.load_active()? } else { None };
    match end {
        Some(end) => {
            log.log_end_offset = end;
            // A clean close has synced everything.
            log.recovery_point = end;
            log.promised_recovery_point = log.promised_recovery_point.max(end);
            if !epochs_known {
                log.collect_epochs(log.segments.len())?;
            }
            report.producer_snapshot_missing = !log.load_producers(true)?;
        }
        None => {
            // Also after a clean stop, when the active segment does not end in whole batches: then the marker lies.
            let first = if state.clean_shutdown { log.segments.len() - 1 } else { log.segment_of(log.recovery_point) };
            let hole_allowed_to = state.cleaned_to.max(state.recovery_point);
            log.recover_from(first, hole_allowed_to, epochs_known, &mut report)?;
        }
    }
    if let Some(first) = log.segments.first() {
        log.log_start_offset = log.log_start_offset.max(first.base_offset);
    }
    if log.log_start_offset > log.log_end_offset {
        log.truncate_fully_and_start_at(log.log_start_offset, now_ms)?;
    }
    log.recovery_point = log.recovery_point.min(log.log_end_offset);
    log.synced_end = log.recovery_point;
    log.epochs_changed |= log.epochs.truncate_from_end(log.log_end_offset);
    log.epochs_changed |= log.epochs.truncate_from_start(log.log_start_offset);
    log.high_watermark = log.high_watermark.min(log.log_end_offset);
    Ok((log, report))
}

/// The transaction marker in a batch. A control batch that cannot be read says nothing.
fn marker_in(header: &Header, batch: &[u8]) -> Option<EndTransactionMarker> {
    if header.attributes.is_control() { batch::marker(batch).unwrap_or_default() } else { None }
}

/// Whether the directory has a file of this name. The listing is sorted by name.
fn is_listed(entries: &[DirectoryEntry], path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| entries.binary_search_by(|entry| entry.name.as_str().cmp(name)).is_ok())
}

/// Sorts the files of the directory into segments and snapshots, and removes what an interrupted deletion left.
fn collect_files(
    storage: &dyn Storage,
    dir: &Arc<Path>,
    entries: &[DirectoryEntry],
    now_ms: i64,
) -> Result<(Vec<Segment>, BTreeSet<i64>), LogError> {
    let mut segments = Vec::new();
    let mut snapshots = BTreeSet::new();
    for entry in entries.iter().filter(|entry| !entry.is_directory) {
        if let Some(base_offset) = segment::offset_of(&entry.name, LOG_SUFFIX) {
            segments.push(Segment::existing(dir, base_offset, entry.len, now_ms));
        } else if let Some(offset) = segment::offset_of(&entry.name, SNAPSHOT_SUFFIX) {
            snapshots.insert(offset);
        } else if [DELETED_SUFFIX, ".tmp", ".cleaned"].iter().any(|suffix| entry.name.ends_with(suffix)) {
            remove_if_there(storage, &dir.join(&entry.name))?;
        }
    }
    segments.sort_by_key(|segment| segment.base_offset);
    for entry in entries {
        let suffixes = [INDEX_SUFFIX, TIME_INDEX_SUFFIX, TXN_INDEX_SUFFIX];
        let index = suffixes.iter().find_map(|suffix| segment::offset_of(&entry.name, suffix));
        if let Some(offset) = index
            && segments.binary_search_by_key(&offset, |segment| segment.base_offset).is_err()
        {
            remove_if_there(storage, &dir.join(&entry.name))?;
        }
    }
    for segment in &mut segments {
        if !is_listed(entries, &segment.path(TXN_INDEX_SUFFIX)) {
            segment.set_aborted(Vec::new());
        }
    }
    Ok((segments, snapshots))
}

impl Log {
    /// Reads the epochs' file; false where it is missing or corrupt.
    fn load_epochs(&mut self) -> Result<bool, LogError> {
        let path = self.epochs_path();
        let bytes = read_file(self.storage.as_ref(), &path).map_err(|source| self.io_error("read", &path, source))?;
        match bytes.as_deref().map(EpochCache::decode) {
            Some(Ok(epochs)) => {
                self.epochs = epochs;
                Ok(true)
            }
            Some(Err(reason)) => {
                tracing::warn!(path = %path.display(), reason, "the epochs are collected from the log instead");
                Ok(false)
            }
            None => Ok(false),
        }
    }

    /// Collects the epochs from the headers of the first `count` segments.
    fn collect_epochs(&mut self, count: usize) -> Result<(), LogError> {
        self.epochs = EpochCache::default();
        for segment in self.segments.get(..count).unwrap_or_default().iter().filter(|segment| segment.size > 0) {
            let file = segment.file(self.storage.as_ref())?;
            let mut walk = Walk::headers(file.as_ref(), 0, segment.size);
            while let Some((_, header, _)) = walk.next().map_err(|error| segment.walk_error(error))? {
                self.epochs.assign(header.partition_leader_epoch, header.base_offset);
            }
        }
        self.epochs_changed = true;
        Ok(())
    }

    /// Mends the index files of the first `count` segments, as far as they are missing or can be seen to be wrong.
    fn rebuild_missing_indexes(
        &mut self,
        entries: &[DirectoryEntry],
        count: usize,
        report: &mut RecoveryReport,
    ) -> Result<(), LogError> {
        let storage = Arc::clone(&self.storage);
        let interval = self.config.index_interval_bytes;
        let closed = self.segments.len().saturating_sub(1);
        let mut without_transactions = Vec::new();
        for (at, segment) in self.segments.iter_mut().enumerate().take(count) {
            if at < closed {
                let files = [INDEX_SUFFIX, TIME_INDEX_SUFFIX].map(|suffix| segment.path(suffix));
                if !files.iter().all(|path| is_listed(entries, path)) {
                    match segment.write_index_files(storage.as_ref(), interval) {
                        Ok(()) => report.indexes_rebuilt += 1,
                        // The scan that follows an unclean stop cuts the log there; after a clean one the reads will
                        // say so.
                        Err(LogError::Corrupt { .. }) => continue,
                        Err(error) => return Err(error),
                    }
                    // There is no telling whether it had a transaction index too.
                    without_transactions.push(at);
                    continue;
                }
            }
            if is_listed(entries, &segment.path(TXN_INDEX_SUFFIX))
                && let Err(error) = segment.read_transaction_index(storage.as_ref())
            {
                let LogError::Corrupt { path, reason, .. } = error else { return Err(error) };
                tracing::warn!(path = %path.display(), reason, "a transaction index is corrupt and is rebuilt");
                without_transactions.push(at);
            }
        }
        for at in without_transactions {
            match self.rebuild_transaction_index(at) {
                Ok(()) => report.transaction_indexes_rebuilt += 1,
                Err(LogError::Corrupt { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Collects the aborted transactions of a segment from its markers. The producers' state is that of the segment's
    /// end after this.
    fn rebuild_transaction_index(&mut self, at: usize) -> Result<(), LogError> {
        let storage = Arc::clone(&self.storage);
        let Some(base_offset) = self.segments.get(at).map(|segment| segment.base_offset) else { return Ok(()) };
        let from = self.load_snapshot_at_or_below(base_offset)?;
        self.replay_producers(from.unwrap_or(0), base_offset, at)?;
        let Some(segment) = self.segments.get_mut(at) else { return Ok(()) };
        let mut found = Vec::new();
        if segment.size > 0 {
            let mut walk = Walk::headers(segment.file(storage.as_ref())?.as_ref(), 0, segment.size);
            while let Some((_, header, bytes)) = walk.next().map_err(|error| segment.walk_error(error))? {
                found.extend(self.producers.update(&header, marker_in(&header, &bytes), self.high_watermark));
            }
        }
        segment.set_aborted(found);
        segment.write_transaction_index(storage.as_ref())
    }

    /// Believes the active segment and returns the log's end; `None` where it does not end in whole batches.
    fn load_active(&mut self) -> Result<Option<i64>, LogError> {
        let storage = Arc::clone(&self.storage);
        let interval = self.config.index_interval_bytes;
        let Some(active) = self.segments.last_mut() else { return Ok(None) };
        match active.load_indexes(storage.as_ref(), interval) {
            Ok((indexes, next_offset, _)) => {
                active.set_indexes(indexes);
                Ok(Some(next_offset))
            }
            Err(LogError::Corrupt { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Rebuilds the producers' state after the log's end has moved back.
    pub(super) fn rebuild_producers(&mut self) -> Result<(), LogError> {
        self.load_producers(false).map(|_| ())
    }

    /// Loads the producers' state from a snapshot and the batches behind it; false where no snapshot could be used
    /// though the log has more than one segment to go by.
    fn load_producers(&mut self, clean: bool) -> Result<bool, LogError> {
        let (base, size) = self.active().map_or((0, 0), |active| (active.base_offset, active.size));
        // A snapshot has only the last batch of each producer. Beginning at the active segment's first offset gives back
        // the last five of those that wrote to it.
        let newest = if clean && size > REPLAY_BYTES_MAX { self.log_end_offset } else { base };
        // Nor has it the transactions that were decided below it, whose markers may not be replicated yet.
        let from = self.load_snapshot_at_or_below(newest.min(self.high_watermark))?;
        self.replay_producers(from.unwrap_or(0), self.log_end_offset, self.segments.len())?;
        self.complete_producers(from.unwrap_or(0), self.log_end_offset, self.segments.len())?;
        Ok(from.is_some() || self.segments.len() == 1)
    }

    /// Takes the state from the newest snapshot not above `offset` that can be read, and returns its offset.
    fn load_snapshot_at_or_below(&mut self, offset: i64) -> Result<Option<i64>, LogError> {
        while let Some(newest) = self.snapshots.range(..=offset).next_back().copied() {
            let path = segment::file_path(&self.dir, newest, SNAPSHOT_SUFFIX);
            let bytes =
                read_file(self.storage.as_ref(), &path).map_err(|source| self.io_error("read", &path, source))?;
            match bytes.as_deref().map(ProducerStates::decode) {
                Some(Ok(states)) => {
                    self.producers.replace(states);
                    return Ok(Some(newest));
                }
                Some(Err(reason)) => {
                    tracing::warn!(path = %path.display(), reason, "a producer snapshot is corrupt and is removed");
                    remove_if_there(self.storage.as_ref(), &path)?;
                }
                None => {}
            }
            self.snapshots.remove(&newest);
        }
        self.producers.replace(ProducerStates::default());
        Ok(None)
    }

    /// Brings the producers' state forward by the headers of the batches in `from..to`, in the first `count` segments.
    fn replay_producers(&mut self, from: i64, to: i64, count: usize) -> Result<(), LogError> {
        let first = self.segment_of(from);
        let interval = self.config.index_interval_bytes;
        for segment in self.segments.get(first..count).unwrap_or_default().iter().filter(|segment| segment.size > 0) {
            let storage = self.storage.as_ref();
            let start = if segment.base_offset >= from {
                0
            } else {
                match segment.find_batch(storage, from, interval)? {
                    Some((position, _)) => position,
                    None => continue,
                }
            };
            let mut walk = Walk::headers(segment.file(storage)?.as_ref(), start, segment.size);
            while let Some((_, header, bytes)) = walk.next().map_err(|error| segment.walk_error(error))? {
                if header.base_offset >= to {
                    break;
                }
                self.producers.update(&header, marker_in(&header, &bytes), self.high_watermark);
            }
        }
        Ok(())
    }

    /// Looks for the producers' last five batches in the end of the first `count` segments, whose headers are walked
    /// again. `from` is where the replay has begun; what is damaged is left to those who read it.
    fn complete_producers(&mut self, from: i64, to: i64, count: usize) -> Result<(), LogError> {
        let is_all = self.segments.first().is_none_or(|first| from <= first.base_offset);
        if is_all || !self.producers.is_incomplete() {
            return Ok(());
        }
        match self.producers_of_the_end(to, count) {
            Ok(seen) => self.producers.complete_from(seen),
            Err(LogError::Corrupt { .. }) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn producers_of_the_end(&self, to: i64, count: usize) -> Result<ProducerStates, LogError> {
        let storage = self.storage.as_ref();
        let segments = self.segments.get(..count).unwrap_or_default();
        let mut left = REPLAY_BYTES_MAX;
        let mut parts = Vec::new();
        for segment in segments.iter().rev().filter(|segment| segment.size > 0) {
            if segment.size > left {
                let indexes = segment.indexes(storage, self.config.index_interval_bytes)?;
                parts.extend(indexes.offset.position_from(segment.size - left).map(|at| (segment, u64::from(at))));
                break;
            }
            left -= segment.size;
            parts.push((segment, 0));
        }
        let mut seen = ProducerStates::default();
        for (segment, start) in parts.into_iter().rev() {
            let mut walk = Walk::headers(segment.file(storage)?.as_ref(), start, segment.size);
            while let Some((_, header, bytes)) = walk.next().map_err(|error| segment.walk_error(error))? {
                if header.base_offset < to {
                    seen.update(&header, marker_in(&header, &bytes), i64::MAX);
                }
            }
        }
        Ok(seen)
    }

    /// Checks all batches from the segment `first` on, and cuts the log at the first that is not valid.
    ///
    /// A segment that begins behind the end of the one before is what a torn disk leaves; only at or below
    /// `hole_allowed_to`, where all was on the disk or was cleaned, it is a hole that compaction has left (Kafka's cleaner
    /// does, ours never).
    fn recover_from(
        &mut self,
        first: usize,
        hole_allowed_to: i64,
        epochs_known: bool,
        report: &mut RecoveryReport,
    ) -> Result<(), LogError> {
        let start = self.segments.get(first).map_or(0, |segment| segment.base_offset);
        if epochs_known {
            self.epochs_changed |= self.epochs.truncate_from_end(start);
        } else {
            self.collect_epochs(first)?;
        }
        self.remove_snapshots(|snapshot| snapshot > start)?;
        let from = self.load_snapshot_at_or_below(start.min(self.high_watermark))?;
        report.producer_snapshot_missing = from.is_none() && first > 0;
        self.replay_producers(from.unwrap_or(0), start, first)?;
        self.complete_producers(from.unwrap_or(0), start, first)?;
        if first > 0 && from != Some(start) {
            // Without it, the state from the segments before would be lost with them.
            self.write_snapshot(start)?;
            let path = segment::file_path(&self.dir, start, SNAPSHOT_SUFFIX);
            let sync = self.storage.open(&path).and_then(|file| file.sync());
            sync.map_err(|source| self.io_error("sync", &path, source))?;
        }

        self.log_end_offset = start;
        let mut at = first;
        while at < self.segments.len() {
            let base_offset = self.segments.get(at).map_or(0, |segment| segment.base_offset);
            if base_offset > self.log_end_offset && base_offset <= hole_allowed_to {
                self.log_end_offset = base_offset;
            }
            if base_offset != self.log_end_offset {
                let reason =
                    format!("segment {base_offset} does not continue the log, which ends at {}", self.log_end_offset);
                self.cut_segments(at, reason, report)?;
                break;
            }
            if at > first {
                self.write_snapshot(base_offset)?;
            }
            let fault = self.recover_segment(at, report)?;
            at += 1;
            if let Some((position, reason)) = fault {
                self.cut_segments(at, reason, report)?;
                self.cut_file(position, report)?;
                break;
            }
            if at < self.segments.len() {
                let storage = Arc::clone(&self.storage);
                let interval = self.config.index_interval_bytes;
                if let Some(segment) = self.segments.get_mut(at - 1) {
                    segment.write_index_files(storage.as_ref(), interval)?;
                }
            }
        }
        // The active segment's index files, if any, are of before the crash.
        if let Some(active) = self.segments.last() {
            for suffix in [INDEX_SUFFIX, TIME_INDEX_SUFFIX, TXN_INDEX_SUFFIX] {
                remove_if_there(self.storage.as_ref(), &active.path(suffix))?;
            }
        }
        self.recovery_point = self.recovery_point.min(self.log_end_offset);
        self.directory_changed = true;
        Ok(())
    }

    /// Checks one segment batch by batch, taking note of the valid ones. Returns where and why it stopped early.
    fn recover_segment(&mut self, at: usize, report: &mut RecoveryReport) -> Result<Option<(u64, String)>, LogError> {
        let interval = self.config.index_interval_bytes;
        let storage = Arc::clone(&self.storage);
        let Some(segment) = self.segments.get_mut(at) else { return Ok(None) };
        report.segments_scanned += 1;
        report.bytes_scanned += segment.size;
        let base_offset = segment.base_offset;
        let mut indexes = Indexes::new();
        let mut aborted = Vec::new();
        let mut fault = None;
        if segment.size > 0 {
            let mut walk = Walk::whole_batches(segment.file(storage.as_ref())?.as_ref(), 0, segment.size);
            loop {
                let (position, header, bytes) = match walk.next() {
                    Ok(None) => break,
                    Ok(Some(batch)) => batch,
                    Err(WalkError::Malformed { position, reason }) => {
                        fault = Some((position, reason.to_string()));
                        break;
                    }
                    Err(WalkError::Io(source)) => return Err(segment.read_error(source)),
                };
                let reason = if header.base_offset < self.log_end_offset {
                    format!("offset {} comes after {}", header.base_offset, self.log_end_offset - 1)
                } else if header.last_offset() - base_offset > i64::from(i32::MAX) {
                    format!("offset {} is too far from the segment's base", header.last_offset())
                } else if verify_crc(&bytes).is_err() {
                    "its checksum does not match".to_owned()
                } else {
                    indexes.add(base_offset, position, &header, interval);
                    self.epochs_changed |= self.epochs.assign(header.partition_leader_epoch, header.base_offset);
                    aborted.extend(self.producers.update(&header, marker_in(&header, &bytes), self.high_watermark));
                    self.log_end_offset = header.last_offset() + 1;
                    continue;
                };
                fault = Some((position, reason));
                break;
            }
        }
        segment.set_indexes(indexes);
        segment.set_aborted(aborted);
        Ok(fault)
    }

    /// Removes the segments from `at` on, the newest first.
    fn cut_segments(&mut self, at: usize, reason: String, report: &mut RecoveryReport) -> Result<(), LogError> {
        tracing::warn!(dir = %self.dir.display(), reason, log_end_offset = self.log_end_offset, "the log is cut");
        report.truncation_reason.get_or_insert(reason);
        let removed = self.remove_segments_from(at)?;
        report.segments_removed += removed.0;
        report.truncated_bytes += removed.1;
        self.storage.sync_dir(&self.dir).map_err(|source| self.io_error("sync", &self.dir, source))
    }

    /// Cuts the last segment's file at `position`.
    fn cut_file(&mut self, position: u64, report: &mut RecoveryReport) -> Result<(), LogError> {
        let storage = Arc::clone(&self.storage);
        let Some(active) = self.segments.last_mut() else { return Ok(()) };
        let path = active.path(LOG_SUFFIX);
        report.truncated_bytes += active.size - position.min(active.size);
        let file = Arc::clone(active.file(storage.as_ref())?);
        let result = file.truncate(position).and_then(|()| file.sync());
        result.map_err(|source| LogError::Io { action: "truncate", path, source })?;
        active.size = position;
        Ok(())
    }
}
