//! Making the log durable.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::LogError;
use super::log_impl::Log;
use super::segment::{self, LOG_SUFFIX, SNAPSHOT_SUFFIX};
use crate::storage::{Storage, StorageFile, is_out_of_space, write_file_atomically};

/// The slow part of a flush, cut loose from the log so that it can run without its lock, on a thread of its own:
/// [`Log::prepare_flush`], then [`FlushTask::run`], then [`Log::complete_flush`].
#[derive(Debug)]
pub struct FlushTask {
    storage: Arc<dyn Storage>,
    dir: Arc<Path>,
    logs: Vec<(PathBuf, Arc<dyn StorageFile>)>,
    /// Files beside the logs that may have been removed by the time the task runs.
    others: Vec<PathBuf>,
    epochs: Option<(PathBuf, String)>,
    directory: bool,
    up_to: i64,
    truncations: u64,
}

/// How far a flush came that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flushed {
    /// False where a full disk had no room for the leader epochs. The records are synced all the same.
    epochs_written: bool,
}

impl FlushTask {
    /// Syncs the files. Blocks for as long as the disk takes.
    pub fn run(&self) -> Result<Flushed, LogError> {
        let failed = |path: &Path, source: io::Error| LogError::Io { action: "sync", path: path.to_owned(), source };
        for (path, file) in &self.logs {
            file.sync().map_err(|source| failed(path, source))?;
        }
        for path in &self.others {
            match self.storage.open(path).and_then(|file| file.sync()) {
                Ok(()) => {}
                // Its segment was deleted meanwhile; what is gone needs no sync.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(failed(path, source)),
            }
        }
        let mut epochs_written = true;
        if let Some((path, text)) = &self.epochs {
            match write_file_atomically(self.storage.as_ref(), path, text.as_bytes()) {
                Ok(()) => {}
                // The old file stands as it was, so this may be tried again.
                Err(error) if is_out_of_space(&error) => {
                    tracing::warn!(path = %path.display(), "no space is left for the leader epochs");
                    epochs_written = false;
                }
                Err(source) => return Err(failed(path, source)),
            }
        }
        if self.directory {
            self.storage.sync_dir(&self.dir).map_err(|source| failed(&self.dir, source))?;
            // The directory itself has a name too, which counts for a new partition.
            if let Some(parent) = self.dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
                self.storage.sync_dir(parent).map_err(|source| failed(parent, source))?;
            }
        }
        Ok(Flushed { epochs_written })
    }

    /// The recovery point that holds when the task has run.
    pub fn up_to(&self) -> i64 {
        self.up_to
    }
}

impl Log {
    /// Makes everything appended so far durable and returns the new recovery point.
    ///
    /// # Errors
    /// A failed sync takes the log offline: what the kernel did with the bytes is unknown, and trying again would lie.
    pub fn flush(&mut self) -> Result<i64, LogError> {
        match self.prepare_flush()? {
            None => Ok(self.recovery_point),
            Some(task) => {
                let result = task.run();
                self.complete_flush(task, result)
            }
        }
    }

    /// Collects what a flush has to sync; `None` where all is durable already.
    pub fn prepare_flush(&mut self) -> Result<Option<FlushTask>, LogError> {
        self.check_online()?;
        if self.recovery_point >= self.log_end_offset && !self.epochs_changed && !self.directory_changed {
            return Ok(None);
        }
        let storage = Arc::clone(&self.storage);
        let first = self.segment_of(self.recovery_point);
        let mut logs = Vec::new();
        let mut others = Vec::new();
        let last = self.segments.len().saturating_sub(1);
        for (at, segment) in self.segments.iter().enumerate().skip(first) {
            if segment.size > 0 {
                logs.push((segment.path(LOG_SUFFIX), Arc::clone(segment.file(storage.as_ref())?)));
            }
            if at < last {
                others.extend(segment.index_paths());
            }
        }
        others.extend(
            self.snapshots
                .range(self.recovery_point..)
                .map(|offset| segment::file_path(&self.dir, *offset, SNAPSHOT_SUFFIX)),
        );
        let epochs = self.epochs_changed.then(|| (self.epochs_path(), self.epochs.encode()));
        let task = FlushTask {
            storage,
            dir: Arc::clone(&self.dir),
            logs,
            others,
            epochs,
            directory: self.directory_changed,
            up_to: self.log_end_offset,
            truncations: self.truncations,
        };
        self.epochs_changed = false;
        self.directory_changed = false;
        Ok(Some(task))
    }

    /// Takes note of how a flush ended, and returns the recovery point that holds now.
    pub fn complete_flush(&mut self, task: FlushTask, result: Result<Flushed, LogError>) -> Result<i64, LogError> {
        let Flushed { epochs_written } = result.map_err(|error| self.go_offline(error))?;
        // Another flush may have ended in failure while this one ran.
        self.check_online()?;
        self.epochs_changed |= !epochs_written;
        // After a truncation, other bytes may stand where the task synced; the next flush settles it.
        if task.truncations == self.truncations {
            self.synced_end = self.synced_end.max(task.up_to);
            // A recovery from beyond the epochs' file would not find them.
            if epochs_written {
                self.recovery_point = self.recovery_point.max(task.up_to);
            }
            self.promised_recovery_point = self.promised_recovery_point.max(self.recovery_point);
        }
        Ok(self.recovery_point)
    }

    /// Makes everything durable and leaves all files, indexes and a producer snapshot included, so that the next open
    /// can be a clean one. Returns the recovery point for the checkpoint.
    pub fn close_clean(mut self) -> Result<i64, LogError> {
        for path in self.write_closing_files()? {
            let sync = self.storage.open(&path).and_then(|file| file.sync());
            sync.map_err(|source| LogError::Io { action: "sync", path, source })?;
        }
        self.flush()
    }

    /// As [`Log::close_clean`], but leaves it to the owner to make all files durable, by [`Storage::sync_everything`].
    /// The recovery point holds after that.
    pub fn close_clean_unsynced(mut self) -> Result<i64, LogError> {
        self.write_closing_files()?;
        if self.epochs_changed {
            // Not by a second file that takes the place of the first: a recovery collects the epochs from the log where a
            // crash leaves neither.
            segment::overwrite(self.storage.as_ref(), &self.epochs_path(), self.epochs.encode().as_bytes())?;
        }
        Ok(self.log_end_offset)
    }

    /// Writes the files that a clean open wants, and answers which.
    fn write_closing_files(&mut self) -> Result<Vec<PathBuf>, LogError> {
        self.check_online()?;
        let storage = Arc::clone(&self.storage);
        let interval = self.config.index_interval_bytes;
        let untouched = self.segments.len() == 1 && self.segments.iter().all(|segment| segment.size == 0);
        if untouched {
            return Ok(Vec::new());
        }
        let mut written = Vec::new();
        if let Some(active) = self.segments.last_mut() {
            active.write_index_files(storage.as_ref(), interval)?;
            written.extend(active.index_paths());
        }
        self.write_snapshot(self.log_end_offset)?;
        written.push(segment::file_path(&self.dir, self.log_end_offset, SNAPSHOT_SUFFIX));
        self.directory_changed = true;
        Ok(written)
    }
}
