//! When the owner of a log makes a snapshot.

/// Counts what was applied since the last snapshot. Told of every committed batch, it says when the next is due; the owner
/// then makes one by [`super::RaftNode::create_snapshot`].
#[derive(Debug, Clone)]
pub struct SnapshotSchedule {
    max_bytes: u64,
    max_interval_ms: i64,
    bytes: u64,
    /// When the first batch since the last snapshot was applied, on the monotonic clock.
    since: Option<i64>,
}

impl SnapshotSchedule {
    /// `metadata.log.max.record.bytes.between.snapshots` (Kafka's default is 20 MiB) and
    /// `metadata.log.max.snapshot.interval.ms` (1 hour; 0 for no limit).
    pub fn new(max_bytes: u64, max_interval_ms: i64) -> Self {
        Self { max_bytes, max_interval_ms, bytes: 0, since: None }
    }

    /// Batches of so many bytes were applied.
    pub fn applied(&mut self, monotonic_ms: i64, bytes: u64) {
        self.bytes = self.bytes.saturating_add(bytes);
        self.since.get_or_insert(monotonic_ms);
    }

    /// A snapshot was made, or loaded.
    pub fn reset(&mut self) {
        self.bytes = 0;
        self.since = None;
    }

    /// Whether it is time for a snapshot. Where nothing was applied since the last it never is.
    pub fn is_due(&self, monotonic_ms: i64) -> bool {
        self.since.is_some()
            && (self.bytes >= self.max_bytes || self.deadline().is_some_and(|deadline| deadline <= monotonic_ms))
    }

    /// When [`SnapshotSchedule::is_due`] turns true if nothing more is applied.
    pub fn deadline(&self) -> Option<i64> {
        let since = self.since.filter(|_| self.max_interval_ms > 0)?;
        Some(since.saturating_add(self.max_interval_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_is_due_by_bytes_or_by_time() {
        let mut schedule = SnapshotSchedule::new(100, 1_000);
        assert!(!schedule.is_due(i64::MAX), "nothing was applied");
        schedule.applied(5, 60);
        schedule.applied(50, 39);
        assert!(!schedule.is_due(1_004) && schedule.is_due(1_005));
        assert_eq!(schedule.deadline(), Some(1_005));
        schedule.applied(51, 1);
        assert!(schedule.is_due(51));
        schedule.reset();
        assert!(!schedule.is_due(i64::MAX));
        let mut by_bytes = SnapshotSchedule::new(100, 0);
        by_bytes.applied(0, 99);
        assert!(!by_bytes.is_due(i64::MAX) && by_bytes.deadline().is_none());
    }
}
