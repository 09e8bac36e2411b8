//! What the files of a log say without opening it, so that a log that nobody asks for can stay asleep.

use std::io;
use std::path::Path;

use super::config::LogConfig;
use super::segment::{LOG_SUFFIX, TIME_INDEX_SUFFIX, file_path, offset_of};
use super::time_index::{ENTRY_BYTES, TimeIndex};
use crate::storage::{Storage, read_file};

/// The segments of a log by their names and sizes. Nothing of it changes while the log sleeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SleepingLog {
    /// Base offset and bytes of each segment, in order of offset.
    segments: Vec<(i64, u64)>,
    /// The newest time in the oldest segment: `None` where nothing tells, -1 where its records bear none.
    oldest_ms: Option<i64>,
}

impl SleepingLog {
    /// Looks at the directory.
    pub fn look(storage: &dyn Storage, dir: &Path) -> io::Result<SleepingLog> {
        let entries = match storage.list_dir(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            entries => entries?,
        };
        let mut segments: Vec<(i64, u64)> =
            entries.iter().filter_map(|entry| Some((offset_of(&entry.name, LOG_SUFFIX)?, entry.len))).collect();
        segments.sort_unstable();
        let oldest_ms = match segments.iter().find(|(_, size)| *size > 0) {
            None => None,
            // A small file: at most 12 bytes for each 4 KiB of its segment.
            Some((base_offset, _)) => read_file(storage, &file_path(dir, *base_offset, TIME_INDEX_SUFFIX))?
                .filter(|bytes| bytes.len().is_multiple_of(ENTRY_BYTES))
                .and_then(|bytes| TimeIndex::decode(&bytes).ok())
                .map(|index| index.last().map_or(-1, |entry| entry.timestamp)),
        };
        Ok(SleepingLog { segments, oldest_ms })
    }

    fn size_bytes(&self) -> u64 {
        self.segments.iter().map(|(_, size)| size).sum()
    }

    /// From when on retention has something to do: `i64::MIN` for now, or where that cannot be told, `i64::MAX` for
    /// never.
    pub fn retention_due_ms(&self, config: &LogConfig, log_start_offset: i64, now_ms: i64) -> i64 {
        if self.segments.get(1).is_some_and(|(second, _)| *second <= log_start_offset) {
            return i64::MIN;
        }
        let size = self.size_bytes();
        if !config.cleanup_policy.delete || size == 0 {
            return i64::MAX;
        }
        let first = self.segments.first().map_or(0, |(_, size)| *size);
        if u64::try_from(config.retention_bytes).is_ok_and(|limit| size - first >= limit) {
            return i64::MIN;
        }
        match (config.retention_ms, self.oldest_ms) {
            (..0, _) => i64::MAX,
            (_, None) => i64::MIN,
            (retention_ms, Some(..0)) => now_ms.saturating_add(retention_ms),
            (retention_ms, Some(oldest_ms)) => oldest_ms.saturating_add(retention_ms),
        }
    }

    /// Whether the log may be worth cleaning. Its closed segments count, as if their records were old enough.
    pub fn is_cleaning_due(&self, config: &LogConfig, cleaned_to: Option<i64>) -> bool {
        let (mut clean, mut dirty) = (0u64, 0u64);
        for ((_, size), (next, _)) in self.segments.iter().zip(self.segments.get(1..).unwrap_or_default()) {
            if cleaned_to.is_some_and(|cleaned_to| *next <= cleaned_to) {
                clean += size;
            } else {
                dirty += size;
            }
        }
        let ratio = dirty as f64 / (clean + dirty).max(1) as f64;
        dirty > 0 && (ratio > config.min_cleanable_dirty_ratio || config.max_compaction_lag_ms < i64::MAX)
    }
}
