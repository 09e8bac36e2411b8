//! The log as a whole: its segments, its bounds, and what it knows of epochs and producers.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::config::LogConfig;
use super::epoch_cache::{self, EpochCache};
use super::error::{AppendError, LogError};
use super::producer_state::ProducerStates;
use super::recovery::{self, RecoveryReport};
use super::segment::{self, LOG_SUFFIX, SNAPSHOT_SUFFIX, Segment};
use crate::storage::{Storage, is_out_of_space, write_file_atomically};

/// What the owner of the data directory knows about a log before it is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenState {
    /// True when the broker stopped in good order (`.kafka_cleanshutdown` was there) and the files can be believed.
    pub clean_shutdown: bool,
    /// From `recovery-point-offset-checkpoint`: all below is known to be on the disk. Zero when there is no entry. After a
    /// clean stop it does not matter, because then everything is.
    pub recovery_point: i64,
    /// From `log-start-offset-checkpoint`: what is below was deleted. Zero when there is no entry.
    pub log_start_offset: i64,
    /// From `cleaner-offset-checkpoint`: below this offset the log was cleaned, so that offsets may be missing there
    /// between two segments. Zero for a log that was never cleaned.
    pub cleaned_to: i64,
    /// All below is known to be replicated, so that transactions whose markers are there are decided for good.
    /// `i64::MAX` for the only replica.
    pub high_watermark: i64,
}

impl OpenState {
    /// A log that was closed in good order, or is new.
    pub fn clean() -> Self {
        OpenState {
            clean_shutdown: true,
            recovery_point: 0,
            log_start_offset: 0,
            cleaned_to: 0,
            high_watermark: i64::MAX,
        }
    }

    /// A log whose broker stopped in the middle of things; everything from `recovery_point` on is checked.
    pub fn unclean(recovery_point: i64) -> Self {
        OpenState {
            clean_shutdown: false,
            recovery_point,
            log_start_offset: 0,
            cleaned_to: 0,
            high_watermark: i64::MAX,
        }
    }
}

/// Facts about one segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentInfo {
    /// The offset that names the segment.
    pub base_offset: i64,
    /// Bytes of its `.log` file.
    pub size_bytes: u64,
}

/// The log of one partition.
///
/// Methods that change it take `&mut self`; reads take `&self` and may run side by side. After a failed write or sync
/// the log is offline: every call answers [`LogError::Offline`] until the directory is opened anew.
#[derive(Debug)]
pub struct Log {
    pub(super) storage: Arc<dyn Storage>,
    pub(super) dir: Arc<Path>,
    pub(super) config: LogConfig,
    /// In order of offset, at least one; the last is the active one.
    pub(super) segments: Vec<Segment>,
    pub(super) log_start_offset: i64,
    pub(super) log_end_offset: i64,
    /// Everything below is on the disk.
    pub(super) recovery_point: i64,
    /// All records below are on the disk. Ahead of `recovery_point` where the records are there and what a recovery that
    /// begins behind them would need is not.
    pub(super) synced_end: i64,
    /// The highest recovery point that may stand in a checkpoint file. Segments that end below it must be on the disk
    /// even after a truncation has set `recovery_point` back, because the next recovery may not look at them.
    pub(super) promised_recovery_point: i64,
    pub(super) epochs: EpochCache,
    pub(super) epochs_changed: bool,
    pub(super) producers: ProducerStates,
    /// What the owner has told of the high watermark; never beyond the log's end.
    pub(super) high_watermark: i64,
    /// Offsets of the producer snapshots in the directory.
    pub(super) snapshots: BTreeSet<i64>,
    /// True when names in the directory were changed since its last sync.
    pub(super) directory_changed: bool,
    /// Counts truncations, so that a flush that ran meanwhile does not claim too much.
    pub(super) truncations: u64,
    pub(super) offline: Option<String>,
    /// Files of removed segments, and until when they stay.
    pub(super) doomed_files: Vec<(i64, PathBuf)>,
    pub(super) headers: Vec<(usize, super::batch::Header)>,
}

impl Log {
    /// Opens the log in `dir`, making it where it is not there, and recovers it after an unclean stop.
    ///
    /// A new log without records makes no file but the directory, so that many idle partitions cost little.
    pub fn open(
        storage: Arc<dyn Storage>,
        dir: PathBuf,
        config: LogConfig,
        state: OpenState,
        now_ms: i64,
    ) -> Result<(Log, RecoveryReport), LogError> {
        recovery::open(storage, dir, config, state, now_ms)
    }

    /// The directory of the log.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The settings in force.
    pub fn config(&self) -> &LogConfig {
        &self.config
    }

    /// Puts new settings in force; they hold from the next append on.
    pub fn set_config(&mut self, config: LogConfig) {
        self.config = config;
    }

    /// The first offset that can be read.
    pub fn log_start_offset(&self) -> i64 {
        self.log_start_offset
    }

    /// The offset that the next record will get.
    pub fn log_end_offset(&self) -> i64 {
        self.log_end_offset
    }

    /// All records below this offset are on the disk.
    pub fn synced_end(&self) -> i64 {
        self.synced_end.min(self.log_end_offset)
    }

    /// All records below this offset are on the disk, and so is all else that a recovery from there needs.
    pub fn recovery_point(&self) -> i64 {
        self.recovery_point
    }

    /// The leader epochs and where they begin.
    pub fn epochs(&self) -> &EpochCache {
        &self.epochs
    }

    /// The newest leader epoch of any batch, or `None`.
    pub fn latest_epoch(&self) -> Option<i32> {
        self.epochs.latest_epoch()
    }

    /// Notes that this broker begins to lead with `leader_epoch` at the end of the log, before its first append.
    pub fn begin_leader_epoch(&mut self, leader_epoch: i32) {
        self.epochs_changed |= self.epochs.assign(leader_epoch, self.log_end_offset);
    }

    /// The greatest epoch not beyond `epoch` and the offset at which it ends, as `OffsetForLeaderEpoch` answers.
    /// `None` (on the wire -1 and -1) where the epoch is newer than all, or no batch bears an epoch.
    pub fn end_offset_for_epoch(&self, epoch: i32) -> Option<(i32, i64)> {
        self.epochs.end_offset_for(epoch, self.log_end_offset)
    }

    /// What is known of the idempotent producers.
    pub fn producers(&self) -> &ProducerStates {
        &self.producers
    }

    /// Takes note of how far the log is replicated, so that decided transactions no longer hold back the last stable
    /// offset. What is beyond the log's end does not count, and the value does not go back but by a truncation.
    pub fn set_high_watermark(&mut self, high_watermark: i64) {
        self.high_watermark = self.high_watermark.max(high_watermark).min(self.log_end_offset);
        self.producers.replicated_up_to(self.high_watermark);
    }

    /// How far the owner has said that the log is replicated.
    pub fn high_watermark(&self) -> i64 {
        self.high_watermark
    }

    /// Up to where a read_committed consumer may read: all transactions that begin below are decided, by markers below
    /// the high watermark.
    pub fn last_stable_offset(&self) -> i64 {
        match self.producers.first_unstable_offset() {
            Some(first) => first.max(self.log_start_offset).min(self.high_watermark),
            None => self.high_watermark,
        }
    }

    /// Forgets producers that were silent for `producer.id.expiration.ms`. Says how many.
    pub fn remove_expired_producers(&mut self, now_ms: i64) -> usize {
        self.producers.remove_expired(now_ms, self.config.producer_id_expiration_ms)
    }

    /// Bytes of all segments' `.log` files.
    pub fn size_bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.size).sum()
    }

    /// The segments in order of offset.
    pub fn segments(&self) -> impl ExactSizeIterator<Item = SegmentInfo> + '_ {
        self.segments.iter().map(|segment| SegmentInfo { base_offset: segment.base_offset, size_bytes: segment.size })
    }

    /// Why the log is offline, if it is.
    pub fn offline_reason(&self) -> Option<&str> {
        self.offline.as_deref()
    }

    /// Closes the files of a log that is idle. They are opened again when needed.
    pub fn release_files(&mut self) {
        for segment in &mut self.segments {
            segment.release_file();
        }
    }

    pub(super) fn check_online(&self) -> Result<(), LogError> {
        match &self.offline {
            None => Ok(()),
            Some(reason) => Err(LogError::Offline { dir: self.dir.to_path_buf(), reason: reason.clone() }),
        }
    }

    /// Takes the log offline because of this error, and hands it on.
    pub(super) fn go_offline(&mut self, error: LogError) -> LogError {
        if self.offline.is_none() {
            tracing::error!(dir = %self.dir.display(), %error, "the log goes offline");
            self.offline = Some(error.to_string());
        }
        error
    }

    /// Sorts a failed write: a full disk refuses this append only, anything else ends the log.
    pub(super) fn write_failed(&mut self, error: LogError) -> AppendError {
        match &error {
            LogError::Io { source, .. } if is_out_of_space(source) => {
                AppendError::NoSpace { dir: self.dir.to_path_buf() }
            }
            _ => AppendError::Log(self.go_offline(error)),
        }
    }

    pub(super) fn io_error(&self, action: &'static str, path: &Path, source: io::Error) -> LogError {
        LogError::Io { action, path: path.to_owned(), source }
    }

    /// The index of the segment in which `offset` lies, or would lie.
    pub(super) fn segment_of(&self, offset: i64) -> usize {
        self.segments.partition_point(|segment| segment.base_offset <= offset).saturating_sub(1)
    }

    pub(super) fn active(&self) -> Option<&Segment> {
        self.segments.last()
    }

    pub(super) fn epochs_path(&self) -> PathBuf {
        self.dir.join(epoch_cache::FILE_NAME)
    }

    /// Closes the active segment and begins a new one at the log's end. May be repeated after it failed.
    pub(super) fn roll(&mut self, now_ms: i64) -> Result<(), LogError> {
        self.roll_at(self.log_end_offset, now_ms)
    }

    /// As [`Log::roll`], with the new segment beginning at or behind the log's end.
    pub(super) fn roll_at(&mut self, new_base: i64, now_ms: i64) -> Result<(), LogError> {
        let storage = Arc::clone(&self.storage);
        let interval = self.config.index_interval_bytes;
        let promised = self.promised_recovery_point;
        self.directory_changed = true;
        let mut is_promised = false;
        if let Some(active) = self.segments.last_mut() {
            active.write_index_files(storage.as_ref(), interval)?;
            is_promised = active.base_offset < promised;
            if is_promised {
                for path in std::iter::once(active.path(LOG_SUFFIX)).chain(active.index_paths()) {
                    let sync = storage.open(&path).and_then(|file| file.sync());
                    sync.map_err(|source| LogError::Io { action: "sync", path, source })?;
                }
            }
        }
        if is_promised {
            self.write_epochs()?;
        }
        self.write_snapshot(new_base)?;
        let next = Segment::empty(&self.dir, new_base, now_ms);
        next.create_file(storage.as_ref()).map_err(|source| self.io_error("create", &next.path(LOG_SUFFIX), source))?;
        self.segments.push(next);
        Ok(())
    }

    /// Writes the epochs' file durably if they have changed.
    pub(super) fn write_epochs(&mut self) -> Result<(), LogError> {
        if self.epochs_changed {
            let path = self.epochs_path();
            write_file_atomically(self.storage.as_ref(), &path, self.epochs.encode().as_bytes())
                .map_err(|source| self.io_error("write", &path, source))?;
            self.epochs_changed = false;
        }
        Ok(())
    }

    /// Writes the producers' state as that of all batches below `offset`. Does not sync.
    pub(super) fn write_snapshot(&mut self, offset: i64) -> Result<(), LogError> {
        let path = segment::file_path(&self.dir, offset, SNAPSHOT_SUFFIX);
        segment::overwrite(self.storage.as_ref(), &path, &self.producers.encode())?;
        self.snapshots.insert(offset);
        self.directory_changed = true;
        Ok(())
    }
}
