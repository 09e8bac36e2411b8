//! What operators must know of elections: a leader that may lack what was committed is told of and counted.

use std::sync::atomic::{AtomicU64, Ordering};

use super::image::{ImageDelta, PartitionChange};

/// Counts what is told of.
#[derive(Debug, Default)]
pub(crate) struct Reports {
    unclean_elections: AtomicU64,
}

impl Reports {
    /// Tells of the unclean elections among the changes.
    pub fn tell(&self, delta: &ImageDelta) {
        for change in delta.partitions().filter(PartitionChange::is_unclean_election) {
            self.unclean_elections.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(
                topic = %change.topic.name,
                partition = change.index,
                leader = change.after.isr.first(),
                leader_epoch = change.after.leader_epoch,
                "an unclean leader election: records that were acknowledged may be lost"
            );
        }
    }

    /// How many leaders were elected that may lack what was committed.
    pub fn unclean_elections(&self) -> u64 {
        self.unclean_elections.load(Ordering::Relaxed)
    }
}
