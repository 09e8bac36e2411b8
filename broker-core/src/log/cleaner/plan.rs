//! What of a log can be cleaned, and whether that is worth it.

use super::super::error::LogError;
use super::super::log_impl::Log;

/// The part of a log that the cleaner has not cleaned yet and may.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cleanable {
    /// Up to here the log is clean.
    pub first_dirty_offset: i64,
    /// From here on it may not be cleaned: the active segment, records younger than `min.compaction.lag.ms`, and
    /// transactions that are not decided.
    pub first_uncleanable_offset: i64,
    /// Bytes of the segments that are clean.
    pub clean_bytes: u64,
    /// Bytes of the segments between the two offsets.
    pub dirty_bytes: u64,
    /// True when a record there is older than `max.compaction.lag.ms`.
    pub is_overdue: bool,
}

impl Cleanable {
    /// Which part of all that could be clean is not, from 0 to 1.
    pub fn dirty_ratio(&self) -> f64 {
        let all = self.clean_bytes + self.dirty_bytes;
        if all == 0 { 0.0 } else { self.dirty_bytes as f64 / all as f64 }
    }

    /// Whether the log is to be cleaned when `min.cleanable.dirty.ratio` is this.
    pub fn is_due(&self, min_cleanable_dirty_ratio: f64) -> bool {
        self.dirty_bytes > 0 && (self.is_overdue || self.dirty_ratio() > min_cleanable_dirty_ratio)
    }
}

impl Log {
    /// What can be cleaned now. `cleaned_to` is from `cleaner-offset-checkpoint`, `None` for a log that was never
    /// cleaned; one that the log does not have is passed over, as after the loss of the log's end.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn cleanable(&self, cleaned_to: Option<i64>, now_ms: i64) -> Result<Cleanable, LogError> {
        self.check_online()?;
        let storage = self.storage.as_ref();
        let interval = self.config.index_interval_bytes;
        let active_base = self.active().map_or(self.log_end_offset, |active| active.base_offset);
        let first_dirty = cleaned_to.filter(|offset| (self.log_start_offset..=active_base).contains(offset));
        let first_dirty = first_dirty.unwrap_or(self.log_start_offset);
        let mut plan = Cleanable {
            first_dirty_offset: first_dirty,
            first_uncleanable_offset: first_dirty,
            clean_bytes: 0,
            dirty_bytes: 0,
            is_overdue: false,
        };
        let stable_end = self.last_stable_offset();
        let min_lag_ms = self.config.min_compaction_lag_ms;
        let newest_allowed = now_ms.saturating_sub(min_lag_ms);
        let oldest_allowed = now_ms.saturating_sub(self.config.max_compaction_lag_ms.max(min_lag_ms));
        for (segment, next) in self.segments.iter().zip(self.segments.get(1..).unwrap_or_default()) {
            if next.base_offset <= first_dirty {
                plan.clean_bytes += segment.size;
                continue;
            }
            if next.base_offset > stable_end {
                break;
            }
            if min_lag_ms > 0 && segment.size > 0 {
                let newest = segment.indexes(storage, interval)?.max_timestamp;
                if newest > newest_allowed {
                    break;
                }
            }
            plan.dirty_bytes += segment.size;
            plan.first_uncleanable_offset = next.base_offset;
            // With no limit this asks for records of before the epoch, and reads nothing.
            if oldest_allowed > 0 && !plan.is_overdue {
                let first = segment.find_batch(storage, first_dirty.max(segment.base_offset), interval)?;
                let first_ms = first.map_or(-1, |(_, header)| header.max_timestamp);
                plan.is_overdue = first_ms > 0 && first_ms < oldest_allowed;
            }
        }
        Ok(plan)
    }
}
