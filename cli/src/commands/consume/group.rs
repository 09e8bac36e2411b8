//! What a member of a group commits: what was written to stdout, and nothing else.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rkafka::consumer::{CommittedOffset, ConsumerHandle, HookFuture, RebalanceListener, Result, TopicPartition};

/// The offsets up to which was written, and not committed yet.
#[derive(Debug, Clone, Default)]
pub struct Written {
    offsets: Arc<Mutex<HashMap<TopicPartition, i64>>>,
}

impl Written {
    fn lock(&self) -> MutexGuard<'_, HashMap<TopicPartition, i64>> {
        self.offsets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything of the partition below `next_offset` is written.
    pub fn note(&self, partition: TopicPartition, next_offset: i64) {
        self.lock().insert(partition, next_offset);
    }

    /// Commits it, and waits until the group has it.
    pub async fn commit(&self, handle: &ConsumerHandle) -> Result<()> {
        let offsets: Vec<_> = self.lock().drain().collect();
        commit(handle, offsets).await
    }
}

async fn commit(handle: &ConsumerHandle, offsets: Vec<(TopicPartition, i64)>) -> Result<()> {
    if offsets.is_empty() {
        return Ok(());
    }
    handle.commit_offsets(offsets.into_iter().map(|(place, offset)| (place, CommittedOffset::new(offset)))).await
}

impl RebalanceListener for Written {
    fn on_revoked<'a>(&'a self, handle: &'a ConsumerHandle, partitions: &'a [TopicPartition]) -> HookFuture<'a> {
        Box::pin(async move {
            let offsets: Vec<_> = {
                let mut written = self.lock();
                partitions.iter().filter_map(|partition| written.remove_entry(partition)).collect()
            };
            if let Err(error) = commit(handle, offsets).await {
                tracing::warn!(%error, "not committed before the partitions are given up; others read the records again");
            }
        })
    }

    fn on_lost<'a>(&'a self, _handle: &'a ConsumerHandle, partitions: &'a [TopicPartition]) -> HookFuture<'a> {
        let mut written = self.lock();
        partitions.iter().for_each(|partition| {
            written.remove(partition);
        });
        Box::pin(std::future::ready(()))
    }
}
