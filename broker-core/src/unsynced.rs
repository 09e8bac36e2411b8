//! Group commit for what the broker itself writes: an answer that rests on records of internal topics waits until they
//! are on the disk.
//!
//! Coordinators append and go on at once; they know nothing of this. What they append is noted here by
//! [`crate::InternalLog`], and the dispatch of requests waits for all that was noted before it lets an answer go.

use std::sync::{Arc, Mutex, PoisonError};

use rkafka_protocol::ErrorCode;

use crate::replication::Partition;

/// The internal partitions whose ends are not on the disk.
#[derive(Debug, Default)]
pub(crate) struct Unsynced {
    /// Each partition once, with the offset behind its last append. There are few.
    appends: Mutex<Vec<(Arc<Partition>, i64)>>,
}

impl Unsynced {
    /// Notes an append that ends at `up_to`. Without group commit there is nothing to note.
    pub fn note(&self, partition: &Arc<Partition>, up_to: i64) {
        if partition.is_committed(up_to) {
            return;
        }
        let mut appends = self.appends.lock().unwrap_or_else(PoisonError::into_inner);
        match appends.iter_mut().find(|(known, _)| Arc::ptr_eq(known, partition)) {
            Some((_, known)) => *known = up_to.max(*known),
            None => appends.push((Arc::clone(partition), up_to)),
        }
    }

    /// Waits until all that was noted before this call is on the disk.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// As [`Partition::committed`]. What was noted may be lost with the next loss of power, and is not to be told.
    pub async fn committed(&self) -> Result<(), ErrorCode> {
        let waited_for = self.appends.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if waited_for.is_empty() {
            return Ok(());
        }
        let mut result = Ok(());
        for (partition, up_to) in &waited_for {
            result = result.and(partition.committed(*up_to).await);
        }
        // What failed goes out too: its partition takes no more, and answers of others need not wait for it.
        let is_done = |(partition, up_to): &(Arc<Partition>, i64)| {
            waited_for.iter().any(|(known, known_up_to)| Arc::ptr_eq(known, partition) && up_to <= known_up_to)
        };
        self.appends.lock().unwrap_or_else(PoisonError::into_inner).retain(|append| !is_done(append));
        result
    }
}
