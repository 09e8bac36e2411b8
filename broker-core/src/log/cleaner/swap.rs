//! Putting cleaned segments in the place of the old ones, so that after a crash either are there.
//!
//! The order, which is Kafka's: the cleaned files are on the disk under `.cleaned`. They are renamed to `.swap`, the log
//! last; once `.log.swap` is there, the old segments count no more. Then the old ones go, then the new ones lose their
//! ending, the log last again. Whoever opens a log removes `.cleaned` files, and where there is a `.log.swap`, finishes
//! what was begun.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::super::error::LogError;
use super::super::log_impl::Log;
use super::super::segment::{
    DELETED_SUFFIX, INDEX_SUFFIX, LOG_SUFFIX, Segment, TIME_INDEX_SUFFIX, TXN_INDEX_SUFFIX, file_path, offset_of,
};
use super::super::truncate::remove_if_there;
use super::super::walk::{Walk, WalkError};
use super::group::{CleanedGroup, FILES, with_ending};
use super::{CLEANED_SUFFIX, SWAP_SUFFIX};
use crate::storage::{DirectoryEntry, Storage};

fn rename(storage: &dyn Storage, from: &Path, to: &Path) -> Result<(), LogError> {
    storage.rename(from, to).map_err(|source| LogError::Io { action: "rename", path: from.to_owned(), source })
}

fn sync_dir(storage: &dyn Storage, dir: &Path) -> Result<(), LogError> {
    storage.sync_dir(dir).map_err(|source| LogError::Io { action: "sync", path: dir.to_owned(), source })
}

impl Log {
    /// Puts a cleaned group in the place of the segments that it was made from. False, and the group is discarded, where
    /// these are not there any more as they were: deleted, or truncated. Also where `cleanup.policy` has changed.
    ///
    /// # Errors
    /// The log is offline after an error.
    pub fn swap_cleaned(&mut self, group: CleanedGroup) -> Result<bool, LogError> {
        self.check_online()?;
        let base_offset = group.base_offset();
        let at = self.segments.partition_point(|segment| segment.base_offset < base_offset);
        let old = self.segments.get(at..at + group.sources.len()).unwrap_or_default();
        let is_same = old.iter().map(|segment| (segment.base_offset, segment.size)).eq(group.sources.iter().copied());
        // The active segment is never cleaned.
        if !is_same || at + old.len() >= self.segments.len() || !self.is_cleanable_since(group.truncations) {
            group.discard();
            return Ok(false);
        }
        let result = self.swap(at, group);
        result.map(|()| true).map_err(|error| self.go_offline(error))
    }

    fn swap(&mut self, at: usize, group: CleanedGroup) -> Result<(), LogError> {
        let storage = Arc::clone(&self.storage);
        let storage = storage.as_ref();
        let base_offset = group.base_offset();
        let dir = Arc::clone(&self.dir);
        for suffix in FILES {
            let cleaned = with_ending(&dir, base_offset, suffix, CLEANED_SUFFIX);
            rename(storage, &cleaned, &with_ending(&dir, base_offset, suffix, SWAP_SUFFIX))?;
        }
        sync_dir(storage, &dir)?;
        let others: Vec<i64> = group.sources.iter().skip(1).map(|(base, _)| *base).collect();
        let mut doomed = Vec::new();
        for other in &others {
            for suffix in FILES {
                let path = file_path(&dir, *other, suffix);
                let deleted = with_ending(&dir, *other, suffix, DELETED_SUFFIX);
                match storage.rename(&path, &deleted) {
                    Ok(()) => doomed.push(deleted),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(source) => return Err(LogError::Io { action: "rename", path, source }),
                }
            }
        }
        for suffix in [INDEX_SUFFIX, TIME_INDEX_SUFFIX, TXN_INDEX_SUFFIX] {
            let swap = with_ending(&dir, base_offset, suffix, SWAP_SUFFIX);
            let path = file_path(&dir, base_offset, suffix);
            if suffix == TXN_INDEX_SUFFIX && group.aborted.is_empty() {
                // A segment without aborted transactions has no such file.
                remove_if_there(storage, &path)?;
                remove_if_there(storage, &swap)?;
            } else {
                rename(storage, &swap, &path)?;
            }
        }
        // Before the log has its name, so that no log is ever found with the indexes of another.
        sync_dir(storage, &dir)?;
        let swap = with_ending(&dir, base_offset, LOG_SUFFIX, SWAP_SUFFIX);
        rename(storage, &swap, &file_path(&dir, base_offset, LOG_SUFFIX))?;
        self.directory_changed = true;

        let mut segment = Segment::existing(&dir, base_offset, group.size, group.created_ms);
        segment.set_indexes(group.indexes);
        segment.set_aborted(group.aborted);
        self.segments.splice(at..at + group.sources.len(), [segment]);
        self.remove_snapshots(|snapshot| others.binary_search(&snapshot).is_ok())?;
        for path in doomed {
            remove_if_there(storage, &path)?;
        }
        Ok(())
    }
}

/// Finishes the swaps that a crash has interrupted. True when the directory has changed.
pub(in super::super) fn complete_swaps(
    storage: &dyn Storage,
    dir: &Path,
    entries: &[DirectoryEntry],
) -> Result<bool, LogError> {
    let swapped: Vec<i64> =
        entries.iter().filter_map(|entry| offset_of(entry.name.strip_suffix(SWAP_SUFFIX)?, LOG_SUFFIX)).collect();
    let mut changed = false;
    for base_offset in swapped {
        changed = true;
        let swap = with_ending(dir, base_offset, LOG_SUFFIX, SWAP_SUFFIX);
        let next_offset = next_offset_of(storage, &swap, base_offset)?;
        tracing::info!(segment = %swap.display(), next_offset, "a cleaned segment is put in its place");
        let covered = entries.iter().filter_map(|entry| offset_of(&entry.name, LOG_SUFFIX));
        for other in covered.filter(|other| (base_offset + 1..next_offset).contains(other)) {
            for suffix in FILES {
                remove_if_there(storage, &file_path(dir, other, suffix))?;
            }
        }
        // Some of these may be of the old segment and some of the new one. They are rebuilt.
        for suffix in [INDEX_SUFFIX, TIME_INDEX_SUFFIX] {
            remove_if_there(storage, &file_path(dir, base_offset, suffix))?;
            remove_if_there(storage, &with_ending(dir, base_offset, suffix, SWAP_SUFFIX))?;
        }
        // This one is the new one if it has no ending any more.
        let txn_index = with_ending(dir, base_offset, TXN_INDEX_SUFFIX, SWAP_SUFFIX);
        match storage.rename(&txn_index, &file_path(dir, base_offset, TXN_INDEX_SUFFIX)) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(LogError::Io { action: "rename", path: txn_index, source }),
        }
        sync_dir(storage, dir)?;
        rename(storage, &swap, &file_path(dir, base_offset, LOG_SUFFIX))?;
        sync_dir(storage, dir)?;
    }
    // Indexes that got this name before the crash, and their log did not.
    for entry in entries.iter().filter(|entry| entry.name.ends_with(SWAP_SUFFIX)) {
        remove_if_there(storage, &dir.join(&entry.name))?;
        changed = true;
    }
    Ok(changed)
}

/// The offset behind the last batch of a file.
fn next_offset_of(storage: &dyn Storage, path: &Path, base_offset: i64) -> Result<i64, LogError> {
    let io = |source| LogError::Io { action: "read", path: path.to_owned(), source };
    let file = storage.open(path).map_err(io)?;
    let size = file.len().map_err(io)?;
    let mut walk = Walk::headers(file.as_ref(), 0, size);
    let mut next_offset = base_offset;
    loop {
        match walk.next() {
            Ok(Some((_, header, _))) => next_offset = header.last_offset() + 1,
            Ok(None) => return Ok(next_offset),
            // It was synced before it got its name, so this is for the recovery to judge.
            Err(WalkError::Malformed { .. }) => return Ok(next_offset),
            Err(WalkError::Io(source)) => return Err(io(source)),
        }
    }
}
