//! Committing, and marking records as done.

use tokio::sync::oneshot;

use super::ConsumerHandle;
use crate::batch::Batch;
use crate::clock;
use crate::driver::committer::{Collected, CommitOrder, committable};
use crate::error::{ConsumerError, Result};
use crate::machine::marks::Marked;
use crate::record::ConsumerRecord;
use crate::subscription::{CommittedOffset, Start, TopicPartition};

impl ConsumerHandle {
    /// Commits everything that was handed out, and waits until the group has it. Where the application still works on
    /// the last record or batch, a crash would lose it: call this when it is done, or before the work begins where each
    /// record is to be dealt with once at most. Under `enable.auto.offset.store=false` only what is marked as done is
    /// committed.
    ///
    /// Cancel safe: where the future is dropped, the commit goes on all the same.
    ///
    /// # Errors
    /// No group; the partitions belong to another member by now; no success within `default.api.timeout.ms`.
    pub async fn commit(&self) -> Result<()> {
        self.order_and_wait(committable(&self.shared, true)).await
    }

    /// Commits these offsets: for each partition that of the next record to read. Cancel safe as [`commit`](Self::commit).
    ///
    /// # Errors
    /// As [`commit`](Self::commit).
    pub async fn commit_offsets(
        &self,
        offsets: impl IntoIterator<Item = (TopicPartition, CommittedOffset)>,
    ) -> Result<()> {
        self.order_and_wait(Collected::named(&self.shared, offsets.into_iter().collect())).await
    }

    async fn order_and_wait(&self, offsets: Collected) -> Result<()> {
        let began = clock::now();
        let result = self.order(offsets)?.await;
        let now = clock::now();
        self.shared.metrics.commit_sync.record(now, now.saturating_duration_since(began).as_nanos() as f64);
        result
    }

    /// Commits everything that was handed out, and does not wait. Commits are made one after another in the order of the
    /// calls, so that an earlier one never overwrites a later one. What comes of it can be waited for; a failure that
    /// nobody waits for is logged, and the next commit makes up for it.
    ///
    /// # Errors
    /// No group, or the consumer is closed.
    pub fn commit_async(&self) -> Result<impl Future<Output = Result<()>> + Send + use<>> {
        self.order(committable(&self.shared, true))
    }

    /// As [`commit_offsets`](Self::commit_offsets), in the manner of [`commit_async`](Self::commit_async).
    ///
    /// # Errors
    /// As [`commit_async`](Self::commit_async).
    pub fn commit_offsets_async(
        &self,
        offsets: Vec<(TopicPartition, CommittedOffset)>,
    ) -> Result<impl Future<Output = Result<()>> + Send + use<>> {
        self.order(Collected::named(&self.shared, offsets))
    }

    /// Commits this record, and with it all before it in its partition. Cancel safe as [`commit`](Self::commit).
    ///
    /// # Errors
    /// As [`commit`](Self::commit).
    pub async fn commit_record(&self, record: &ConsumerRecord) -> Result<()> {
        self.order(Collected::named(&self.shared, vec![(record.topic_partition(), record.committed_offset())]))?.await
    }

    /// Commits this batch, and with it all before it in its partition. Cancel safe as [`commit`](Self::commit).
    ///
    /// # Errors
    /// As [`commit`](Self::commit).
    pub async fn commit_batch(&self, batch: &Batch) -> Result<()> {
        self.order(Collected::named(&self.shared, vec![(batch.topic_partition(), batch.committed_offset())]))?.await
    }

    /// Marks a record as done, under `enable.auto.offset.store=false`. Records may be marked in any order: commits
    /// without offsets, those that are made by themselves among them, go up to the first record of each partition that is
    /// not marked. Returns at once.
    ///
    /// # Errors
    /// [`ConsumerError::NotMarking`]; [`ConsumerError::Outdated`] for a record that was handed out before a seek or a
    /// rebalance, which changes nothing.
    pub fn mark_done(&self, record: &ConsumerRecord) -> Result<()> {
        self.is_marking("marking a record as done")?;
        let outdated = || ConsumerError::Outdated { partition: record.topic_partition() };
        if record.mark() { Ok(()) } else { Err(outdated()) }
    }

    /// Marks all records of a batch as done, as [`mark_done`](Self::mark_done) does one. Of a batch whose first records
    /// were taken one by one it marks the rest.
    ///
    /// # Errors
    /// As [`mark_done`](Self::mark_done).
    pub fn mark_batch_done(&self, batch: &Batch) -> Result<()> {
        self.is_marking("marking a batch as done")?;
        let outdated = || ConsumerError::Outdated { partition: batch.topic_partition() };
        if batch.mark() { Ok(()) } else { Err(outdated()) }
    }

    /// Says where partitions go on, whatever is marked, under `enable.auto.offset.store=false`: the next commit without
    /// offsets commits that, with its metadata, or more where records behind it are marked without a gap. librdkafka's
    /// `rd_kafka_offsets_store`. Returns at once.
    ///
    /// # Errors
    /// [`ConsumerError::NotMarking`]; [`ConsumerError::NotAssigned`] for the first that is not assigned, before which all
    /// are stored.
    pub fn store_offsets(&self, offsets: impl IntoIterator<Item = (TopicPartition, CommittedOffset)>) -> Result<()> {
        self.is_marking("storing offsets")?;
        let state = self.shared.lock();
        for (place, offset) in offsets {
            let leader_epoch = offset.leader_epoch.unwrap_or(-1);
            let marked = Marked { offset: offset.offset, leader_epoch, metadata: offset.metadata };
            if !state.positions.store(&place.topic, place.partition, marked) {
                return Err(ConsumerError::NotAssigned { partition: place });
            }
        }
        Ok(())
    }

    /// Moves partitions back to the first record that was handed out and is not marked as done.
    pub(crate) fn rewind_unmarked(&self) -> Result<()> {
        self.open()?;
        let mut state = self.shared.lock();
        let behind = state.positions.behind();
        for (topic, partition, offset) in &behind {
            state.positions.seek(topic, *partition, Start::Offset(*offset));
        }
        state.inbox.purge();
        drop(state);
        if !behind.is_empty() {
            self.shared.fetchers.notify_waiters();
        }
        Ok(())
    }

    fn is_marking(&self, operation: &'static str) -> Result<()> {
        self.open()?;
        if self.shared.config.enable_auto_offset_store {
            return Err(ConsumerError::NotMarking { operation });
        }
        Ok(())
    }

    fn order(&self, offsets: Collected) -> Result<impl Future<Output = Result<()>> + Send + use<>> {
        self.shared.group_id("a commit")?;
        let (reply, answer) = oneshot::channel();
        let limit = self.shared.config.client.default_api_timeout;
        let order = CommitOrder::new(offsets, limit, Some(reply));
        self.shared.commits.send(order).map_err(|_| ConsumerError::Closed)?;
        Ok(async move { answer.await.unwrap_or(Err(ConsumerError::Closed)) })
    }
}
