//! Removing old segments, by time and by size.

use std::sync::Arc;

use super::error::LogError;
use super::log_impl::Log;
use crate::storage::is_out_of_space;

impl Log {
    /// Removes the oldest segments for as long as they are too old (`retention.ms`) or the log is too large
    /// (`retention.bytes`), or they lie wholly below the log's start. Never goes beyond `up_to_offset_exclusive`, which
    /// is the high watermark. Without `delete` in `cleanup.policy`, only what lies below the log's start goes. Files that
    /// went before stay for `file.delete.delay.ms`. Returns how many segments went; the log's start has then moved to the
    /// first that stays.
    pub fn apply_retention(&mut self, now_ms: i64, up_to_offset_exclusive: i64) -> Result<usize, LogError> {
        self.check_online()?;
        self.remove_doomed_files(now_ms).map_err(|error| self.go_offline(error))?;
        let storage = Arc::clone(&self.storage);
        let interval = self.config.index_interval_bytes;
        let (retention_ms, retention_bytes) = match self.config.cleanup_policy.delete {
            true => (self.config.retention_ms, self.config.retention_bytes),
            false => (-1, -1),
        };
        let mut size = self.size_bytes();
        let mut new_start = self.log_start_offset;
        let mut all_gone = false;
        for (at, segment) in self.segments.iter().enumerate() {
            let next_base = self.segments.get(at + 1).map_or(self.log_end_offset, |next| next.base_offset);
            if next_base > up_to_offset_exclusive || segment.size == 0 {
                break;
            }
            let newest = segment.indexes(storage.as_ref(), interval)?.max_timestamp;
            // Records without a time are as old as the moment when the segment was found.
            let newest = if newest >= 0 { newest } else { segment.created_ms };
            let too_old = retention_ms >= 0 && now_ms.saturating_sub(newest) > retention_ms;
            let too_large = u64::try_from(retention_bytes).is_ok_and(|limit| size - segment.size >= limit);
            if !too_old && !too_large && next_base > self.log_start_offset {
                break;
            }
            size -= segment.size;
            new_start = new_start.max(next_base);
            all_gone = at + 1 == self.segments.len();
        }
        if all_gone {
            // The active segment goes too, so another must carry the log's end on.
            match self.roll(now_ms) {
                Ok(()) => {}
                // On a full disk it has to stay for now; the segments before it make room.
                Err(LogError::Io { source, .. }) if is_out_of_space(&source) => {
                    let base_offset = self.active().map_or(0, |active| active.base_offset);
                    new_start = self.log_start_offset.max(base_offset);
                }
                Err(error) => return Err(self.go_offline(error)),
            }
        }
        if new_start > self.log_start_offset {
            self.log_start_offset = new_start;
            self.epochs_changed |= self.epochs.truncate_from_start(new_start);
        }
        self.remove_segments_below_start(Some(now_ms)).map_err(|error| self.go_offline(error))
    }
}
