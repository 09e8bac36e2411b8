//! Group commit for what the broker itself writes: an answer that rests on records of internal topics waits until they
//! are on the disk.
//!
//! Coordinators append and go on at once; they know nothing of this. What they append is noted here by
//! [`crate::InternalLog`], and the dispatch of requests waits for all that was noted before it lets an answer go.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use rkafka_protocol::ErrorCode;

use crate::locks::lock;
use crate::replication::{Appended, Partition};

/// The internal partitions whose ends are not on the disk.
#[derive(Debug, Default)]
pub(crate) struct Unsynced {
    /// Each partition and leader epoch once, with the offset behind the last append. There are few.
    appends: Mutex<Vec<(Arc<Partition>, i32, i64)>>,
    /// How often something that was noted turned out to be lost.
    failures: AtomicU64,
}

impl Unsynced {
    /// Notes an append. Without group commit and followers there is nothing to note.
    pub fn note(&self, partition: &Arc<Partition>, appended: &Appended) {
        let (epoch, up_to) = (appended.leader_epoch, appended.last_offset + 1);
        if partition.is_committed(epoch, up_to) {
            return;
        }
        let mut appends = lock(&self.appends);
        match appends.iter_mut().find(|(known, known_epoch, _)| Arc::ptr_eq(known, partition) && *known_epoch == epoch)
        {
            Some((_, _, known)) => *known = up_to.max(*known),
            None => appends.push((Arc::clone(partition), epoch, up_to)),
        }
    }

    /// To be asked before anything is appended that [`Unsynced::committed_since`] is to wait for.
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Acquire)
    }

    /// As [`Unsynced::committed`], and fails too where somebody else has waited for the same meanwhile and learned that
    /// it is lost.
    ///
    /// # Errors
    /// As [`Unsynced::committed`].
    pub async fn committed_since(&self, failures: u64) -> Result<(), ErrorCode> {
        self.committed().await?;
        if self.failures() == failures { Ok(()) } else { Err(ErrorCode::KafkaStorageError) }
    }

    /// Waits until all that was noted before this call is on the disk.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// As [`Partition::committed`]. What was noted may be lost with the next loss of power, and is not to be told.
    pub async fn committed(&self) -> Result<(), ErrorCode> {
        let waited_for = lock(&self.appends).clone();
        if waited_for.is_empty() {
            return Ok(());
        }
        let mut result = Ok(());
        for (partition, epoch, up_to) in &waited_for {
            result = result.and(partition.committed(*epoch, *up_to).await);
        }
        if result.is_err() {
            // Before it goes out, so that who does not find it any more learns of it.
            self.failures.fetch_add(1, Ordering::AcqRel);
        }
        // What failed goes out too: its partition takes no more, and answers of others need not wait for it.
        let is_done = |(partition, epoch, up_to): &(Arc<Partition>, i32, i64)| {
            waited_for.iter().any(|(known, known_epoch, known_up_to)| {
                Arc::ptr_eq(known, partition) && epoch == known_epoch && up_to <= known_up_to
            })
        };
        lock(&self.appends).retain(|append| !is_done(append));
        result
    }
}

#[cfg(test)]
mod tests {
    use rkafka_protocol::records::{BatchOptions, encode_batch};
    use uuid::Uuid;

    use super::*;
    use crate::log::{LogConfig, OpenState};
    use crate::replication::{LogDir, Opening};
    use crate::storage::faulty::{FaultyStorage, Trouble};

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_failure_is_told_to_all_whose_appends_it_took() {
        let disk = FaultyStorage::new();
        let opening = Opening {
            storage: Arc::new(disk.clone()),
            dir: "/data/t-0".into(),
            log_dir: LogDir::new("/data".into(), 16, None),
            config: LogConfig { group_commit: true, ..LogConfig::default() },
            state: OpenState::clean(),
        };
        let partition = Partition::alone("t".into(), Uuid::from_u128(7), 0, 0, opening);
        let unsynced = Unsynced::default();
        let append = || {
            let batch = encode_batch(Vec::new(), BatchOptions::default(), 1, [(None, Some(&b"v"[..]))]).unwrap();
            let appended = partition.append_internal(&mut batch.into_bytes(), None, 1).unwrap();
            unsynced.note(&partition, &appended);
        };
        append();
        unsynced.committed().await.unwrap();

        let (first, second) = (unsynced.failures(), unsynced.failures());
        disk.trouble("/data", Trouble::Stuck);
        append();
        append();
        disk.trouble("/data", Trouble::Broken);
        assert_eq!(unsynced.committed_since(first).await, Err(ErrorCode::KafkaStorageError));
        // The other finds nothing to wait for, and yet its append is lost.
        assert_eq!(unsynced.committed_since(second).await, Err(ErrorCode::KafkaStorageError));
        // Who comes later has appended nothing there.
        assert_eq!(unsynced.committed_since(unsynced.failures()).await, Ok(()));
    }
}
