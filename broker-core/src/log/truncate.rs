//! Cutting the log: its end, after a follower parted from its leader, and its start, after records were deleted.

use std::io;
use std::sync::Arc;

use super::error::LogError;
use super::log_impl::Log;
use super::segment::{
    self, DELETED_SUFFIX, INDEX_SUFFIX, LOG_SUFFIX, SNAPSHOT_SUFFIX, Segment, TIME_INDEX_SUFFIX, TXN_INDEX_SUFFIX,
};
use crate::planted::{self, Bug};

impl Log {
    /// Removes all records from `offset` on, and the rest of the batch that holds it. Returns the new log end. What was
    /// cut is gone from the disk when this returns.
    ///
    /// The recovery point may have gone back; the owner should write its checkpoint soon. Until then the log syncs what
    /// the old checkpoint promises.
    pub fn truncate_to(&mut self, offset: i64, now_ms: i64) -> Result<i64, LogError> {
        self.check_online()?;
        if offset >= self.log_end_offset {
            // An epoch may begin at the end and have no record: that of a leader that was deposed before its first. Its
            // successor knows nothing of it.
            self.epochs_changed |= self.epochs.truncate_from_end(self.log_end_offset);
            return Ok(self.log_end_offset);
        }
        if offset <= self.log_start_offset {
            let start = self.log_start_offset.min(offset);
            self.truncate_fully_and_start_at(start.max(0), now_ms)?;
            return Ok(self.log_end_offset);
        }
        let result = self.truncate_end(offset, now_ms);
        result.map_err(|error| self.go_offline(error))
    }

    fn truncate_end(&mut self, offset: i64, now_ms: i64) -> Result<i64, LogError> {
        let storage = Arc::clone(&self.storage);
        let interval = self.config.index_interval_bytes;
        let at = self.segment_of(offset);
        let Some(segment) = self.segments.get(at) else { return Ok(self.log_end_offset) };
        let (cut, new_end) = match segment.find_batch(storage.as_ref(), offset, interval)? {
            Some((position, header)) => (position, header.base_offset),
            None => (segment.size, offset),
        };
        if new_end < self.log_start_offset {
            // The log's start lies in the batch that goes, so nothing is left.
            self.restart_at(self.log_start_offset, now_ms)?;
            return Ok(self.log_end_offset);
        }
        self.truncations += 1;
        self.recovery_point = self.recovery_point.min(new_end);
        self.synced_end = self.synced_end.min(new_end);
        self.remove_segments_from(at + 1)?;
        self.remove_snapshots(|snapshot| snapshot > new_end)?;
        self.sync_directory()?;
        if let Some(active) = self.segments.last_mut() {
            // The index files describe what is about to go. They are written anew when the segment is closed.
            active.indexes(storage.as_ref(), interval)?;
            active.aborted_mut(storage.as_ref())?.retain(|aborted| aborted.last_offset < new_end);
            for suffix in [INDEX_SUFFIX, TIME_INDEX_SUFFIX, TXN_INDEX_SUFFIX] {
                remove_if_there(&*storage, &active.path(suffix))?;
            }
            if active.size > 0 {
                let path = active.path(LOG_SUFFIX);
                let file = Arc::clone(active.file(storage.as_ref())?);
                let result = file.truncate(cut).and_then(|()| file.sync());
                result.map_err(|source| LogError::Io { action: "truncate", path, source })?;
            }
            active.size = cut;
            if cut == 0 {
                active.first_timestamp = None;
            }
            let base_offset = active.base_offset;
            let indexes = active.indexes_mut(storage.as_ref(), interval)?;
            indexes.offset.truncate(cut);
            indexes.time.truncate(u32::try_from(new_end - base_offset).unwrap_or(u32::MAX));
            let (offset_index, time_index) = (indexes.offset.clone(), indexes.time.clone());
            let (indexes, _) = active.catch_up(storage.as_ref(), offset_index, time_index, interval)?;
            active.set_indexes(indexes);
        }
        self.directory_changed = true;
        self.log_end_offset = new_end;
        self.high_watermark = self.high_watermark.min(new_end);
        // Now, and not at the next flush: a recovery that trusts an older recovery point must not find epochs of records
        // that are gone. Not before the cut either, for until then they are there.
        self.epochs_changed |= self.epochs.truncate_from_end(new_end);
        self.write_epochs()?;
        if !planted::is(Bug::ProducersOutliveTruncation) {
            self.rebuild_producers()?;
        }
        Ok(new_end)
    }

    /// Removes all records and begins anew at `offset`, as a follower does whose leader begins beyond its end.
    pub fn truncate_fully_and_start_at(&mut self, offset: i64, now_ms: i64) -> Result<(), LogError> {
        self.check_online()?;
        let result = self.restart_at(offset, now_ms);
        result.map_err(|error| self.go_offline(error))
    }

    fn restart_at(&mut self, offset: i64, now_ms: i64) -> Result<(), LogError> {
        self.truncations += 1;
        self.recovery_point = self.recovery_point.min(offset);
        // Without its file the epochs are collected from whatever segments a crash leaves.
        remove_if_there(self.storage.as_ref(), &self.epochs_path())?;
        self.sync_directory()?;
        self.remove_segments_from(0)?;
        self.remove_snapshots(|_| true)?;
        self.sync_directory()?;
        let next = Segment::empty(&self.dir, offset, now_ms);
        next.create_file(self.storage.as_ref())
            .map_err(|source| self.io_error("create", &next.path(LOG_SUFFIX), source))?;
        self.segments.push(next);
        self.directory_changed = true;
        self.log_start_offset = offset;
        self.log_end_offset = offset;
        self.high_watermark = offset;
        self.recovery_point = offset;
        self.synced_end = offset;
        self.epochs = super::epoch_cache::EpochCache::default();
        self.epochs_changed = true;
        self.producers.replace(super::producer_state::ProducerStates::default());
        self.sync_directory()
    }

    /// Makes `before` the first offset of the log (`DeleteRecords`) and removes the segments that end before it. A value
    /// at or below the log's start changes nothing. Returns the new start, which the owner writes to
    /// `log-start-offset-checkpoint`.
    ///
    /// # Errors
    /// [`LogError::OffsetOutOfRange`] beyond the log's end.
    pub fn delete_records(&mut self, before: i64) -> Result<i64, LogError> {
        self.check_online()?;
        if before > self.log_end_offset || before < 0 {
            return Err(LogError::OffsetOutOfRange {
                offset: before,
                log_start_offset: self.log_start_offset,
                log_end_offset: self.log_end_offset,
            });
        }
        if before > self.log_start_offset {
            self.log_start_offset = before;
            self.epochs_changed |= self.epochs.truncate_from_start(before);
        }
        let result = self.remove_segments_below_start(None);
        match result {
            Ok(_) => Ok(self.log_start_offset),
            Err(error) => Err(self.go_offline(error)),
        }
    }

    /// Removes segments that end at or before the log's start; the active one stays. Returns how many. With the time
    /// their files stay for `file.delete.delay.ms`, without it they go at once.
    pub(super) fn remove_segments_below_start(&mut self, now_ms: Option<i64>) -> Result<usize, LogError> {
        let start = self.log_start_offset;
        let after_first = self.segments.get(1..).unwrap_or_default();
        let count = after_first.iter().take_while(|next| next.base_offset <= start).count();
        if count == 0 {
            return Ok(0);
        }
        let removed: Vec<Segment> = self.segments.drain(..count).collect();
        let delay_ms = self.config.file_delete_delay_ms;
        let stay_until_ms = now_ms.filter(|_| delay_ms > 0).map(|now_ms| now_ms.saturating_add(delay_ms));
        for segment in removed {
            self.remove_segment_files(segment, stay_until_ms)?;
        }
        let first = self.segments.first().map_or(0, |segment| segment.base_offset);
        self.remove_snapshots(|snapshot| snapshot < first)?;
        self.directory_changed = true;
        Ok(count)
    }

    /// Removes the segments from `at` on, the newest first, so that a crash in between leaves a shorter log and never one
    /// with a hole. Returns how many, and how many bytes they had.
    pub(super) fn remove_segments_from(&mut self, at: usize) -> Result<(usize, u64), LogError> {
        let (mut count, mut bytes) = (0, 0);
        while self.segments.len() > at {
            let Some(removed) = self.segments.pop() else { break };
            count += 1;
            bytes += removed.size;
            self.remove_segment_files(removed, None)?;
        }
        Ok((count, bytes))
    }

    /// Removes a segment's files: first the name goes away in one step, then the bytes, at once or when their time has
    /// come. Whoever opens the log removes those that are left.
    fn remove_segment_files(&mut self, segment: Segment, stay_until_ms: Option<i64>) -> Result<(), LogError> {
        let storage = Arc::clone(&self.storage);
        self.directory_changed = true;
        for suffix in [LOG_SUFFIX, INDEX_SUFFIX, TIME_INDEX_SUFFIX, TXN_INDEX_SUFFIX] {
            let path = segment.path(suffix);
            let mut deleted = path.clone().into_os_string();
            deleted.push(DELETED_SUFFIX);
            let deleted = std::path::PathBuf::from(deleted);
            match storage.rename(&path, &deleted) {
                Ok(()) => match stay_until_ms {
                    Some(until_ms) => self.doomed_files.push((until_ms, deleted)),
                    None => remove_if_there(storage.as_ref(), &deleted)?,
                },
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(self.io_error("rename", &path, source)),
            }
        }
        Ok(())
    }

    /// Removes the files whose time has come (`file.delete.delay.ms`).
    pub(super) fn remove_doomed_files(&mut self, now_ms: i64) -> Result<(), LogError> {
        while let Some(at) = self.doomed_files.iter().position(|(until_ms, _)| *until_ms <= now_ms) {
            let (_, path) = self.doomed_files.swap_remove(at);
            remove_if_there(self.storage.as_ref(), &path)?;
        }
        Ok(())
    }

    pub(super) fn remove_snapshots(&mut self, unwanted: impl Fn(i64) -> bool) -> Result<(), LogError> {
        let gone: Vec<i64> = self.snapshots.iter().copied().filter(|offset| unwanted(*offset)).collect();
        for offset in gone {
            remove_if_there(self.storage.as_ref(), &segment::file_path(&self.dir, offset, SNAPSHOT_SUFFIX))?;
            self.snapshots.remove(&offset);
            self.directory_changed = true;
        }
        Ok(())
    }

    fn sync_directory(&mut self) -> Result<(), LogError> {
        self.storage.sync_dir(&self.dir).map_err(|source| self.io_error("sync", &self.dir, source))?;
        self.directory_changed = false;
        Ok(())
    }
}

pub(super) fn remove_if_there(storage: &dyn crate::storage::Storage, path: &std::path::Path) -> Result<(), LogError> {
    match storage.remove_file(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(LogError::Io { action: "remove", path: path.to_owned(), source }),
    }
}
