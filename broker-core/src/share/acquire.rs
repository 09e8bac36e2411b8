//! Giving records to a member.

use std::sync::Arc;

use super::partition::{DeliveryState, Hold, Span};
use super::{SharePartition, ShareSettings};

/// How strictly a fetch takes its number of records (KIP-1206).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AcquireMode {
    /// Whole batches of the log, so the number may be exceeded.
    BatchOptimized,
    /// Never more records than asked for.
    RecordLimit,
}

/// What a fetch asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AcquireLimits {
    /// How strictly.
    pub mode: AcquireMode,
    /// `max_records` of the request.
    pub max_records: i32,
    /// `batch_size` of the request: how many records the client would like to have in an acquired range.
    pub batch_size: i32,
}

/// A run of offsets that a member has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AcquiredRange {
    /// The first offset.
    pub first_offset: i64,
    /// The last offset, which belongs to the run.
    pub last_offset: i64,
    /// Which delivery of these records this is, from 1 on.
    pub delivery_count: i16,
}

impl AcquiredRange {
    fn len(&self) -> i64 {
        self.last_offset - self.first_offset + 1
    }
}

impl SharePartition {
    /// Gives `member` what is available of the batches that were read, which are given by their first and last offsets,
    /// ascending. Acquiring is not persisted, so this changes the machine at once.
    pub fn acquire(
        &mut self,
        now_ms: i64,
        member: &Arc<str>,
        read: &[(i64, i64)],
        limits: AcquireLimits,
        settings: &ShareSettings,
    ) -> Vec<AcquiredRange> {
        let mut acquired: Vec<AcquiredRange> = Vec::new();
        let mut wanted = i64::from(limits.max_records);
        let until_ms = now_ms.saturating_add(settings.record_lock_duration_ms);
        // Offsets between two batches that were read are no records; they go with the batch behind them, so that the
        // client can say so by acknowledging them as gaps.
        let mut reached = read.first().map_or(0, |(first, _)| (*first).max(self.start_offset));
        for (_, last) in read {
            let locks_left = settings.max_record_locks - self.in_flight_count();
            for (first, mut last, delivery_count) in self.available(reached, *last) {
                let is_new = first >= self.end_offset();
                if wanted <= 0 || (is_new && locks_left <= 0) {
                    break;
                }
                if limits.mode == AcquireMode::RecordLimit {
                    last = last.min(first + wanted - 1);
                    if is_new {
                        last = last.min(first + locks_left - 1);
                    }
                }
                let delivery_count = delivery_count.saturating_add(1);
                let hold = Hold::Acquired { member: Arc::clone(member), until_ms };
                self.set(first, last, delivery_count, &hold);
                wanted -= last - first + 1;
                let range = AcquiredRange { first_offset: first, last_offset: last, delivery_count };
                add(&mut acquired, range, i64::from(limits.batch_size));
            }
            reached = reached.max(last.saturating_add(1));
            if wanted <= 0 {
                break;
            }
        }
        acquired
    }

    /// What is available of a run of offsets, with the number of its deliveries; behind the end, all is.
    fn available(&self, first: i64, last: i64) -> Vec<(i64, i64, i16)> {
        let known = |(from, span): (i64, &Span)| {
            let is_available = span.hold == Hold::Fate(DeliveryState::Available);
            is_available.then_some((from.max(first), span.last.min(last), span.delivery_count))
        };
        let mut runs: Vec<_> = self.overlapping(first, last).filter_map(known).collect();
        let unknown = first.max(self.end_offset());
        if unknown <= last {
            runs.push((unknown, last, 0));
        }
        runs
    }
}

/// Adds a run, joined with the one before it while that is shorter than the client wants it.
fn add(acquired: &mut Vec<AcquiredRange>, range: AcquiredRange, batch_size: i64) {
    match acquired.last_mut() {
        Some(last)
            if last.delivery_count == range.delivery_count
                && last.last_offset + 1 == range.first_offset
                && last.len() + range.len() <= batch_size.max(1) =>
        {
            last.last_offset = range.last_offset;
        }
        _ => acquired.push(range),
    }
}
