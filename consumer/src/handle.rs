//! What can be asked of a consumer, and told to it, from anywhere.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use rkafka_client_core::GroupMetadata;
use rkafka_client_core::metrics::MetricsSnapshot;

use crate::clock;
use crate::error::{ConsumerError, Result};
use crate::shared::{Mode, Shared};
use crate::subscription::{Start, TopicPartition};

mod commits;
mod lookups;

/// A handle of a [`Consumer`](crate::Consumer): everything but taking records. Clones are handles of the same consumer,
/// and may be used from other tasks while one waits for records. When the consumer is closed, so are they.
#[derive(Debug, Clone)]
pub struct ConsumerHandle {
    shared: Arc<Shared>,
}

impl ConsumerHandle {
    pub(crate) fn of(shared: &Arc<Shared>) -> Self {
        Self { shared: Arc::clone(shared) }
    }

    fn open(&self) -> Result<()> {
        if self.shared.is_closed() { Err(ConsumerError::Closed) } else { Ok(()) }
    }

    /// The settings.
    pub fn config(&self) -> &crate::ConsumerConfig {
        &self.shared.config
    }

    /// The partitions that are read, by topic and number.
    pub fn assignment(&self) -> Vec<TopicPartition> {
        self.shared.lock().positions.assignment().into_iter().map(TopicPartition::from).collect()
    }

    /// The topics that are subscribed.
    pub fn subscription(&self) -> Vec<String> {
        match &self.shared.lock().mode {
            Mode::Group(subscription) => subscription.topics.clone(),
            _ => Vec::new(),
        }
    }

    /// Moves a partition to `start`. What was fetched and not handed out is dropped. Returns at once; an offset that
    /// must be looked up is looked up in the background.
    ///
    /// # Errors
    /// The partition is not assigned; the committed offset is asked for and there is no group.
    pub fn seek(&self, topic: &str, partition: i32, start: Start) -> Result<()> {
        self.open()?;
        if start == Start::Committed {
            self.shared.group_id("seeking to the committed offset")?;
        }
        let mut state = self.shared.lock();
        if !state.positions.seek(topic, partition, start) {
            return Err(ConsumerError::NotAssigned { partition: TopicPartition::new(topic, partition) });
        }
        state.inbox.purge();
        drop(state);
        self.shared.steward.notify_one();
        self.shared.fetchers.notify_waiters();
        Ok(())
    }

    /// Has what was handed out from `offset` on come again, for the application was not given it. What is before it stays
    /// as it is, and can still be marked.
    pub(crate) fn give_again(&self, topic: &str, partition: i32, offset: i64) {
        let mut state = self.shared.lock();
        state.positions.give_again(topic, partition, offset);
        state.inbox.purge();
        drop(state);
        self.shared.steward.notify_one();
        self.shared.fetchers.notify_waiters();
    }

    /// Moves every assigned partition back to what the group has committed; one without a committed offset goes back to
    /// where its reading began under this assignment. What was handed out since is handed out again: this is what an
    /// aborted transaction asks for. Returns at once; the offsets are looked up in the background, and offsets that an
    /// undecided transaction holds are waited for (KIP-447).
    ///
    /// # Errors
    /// No group; the consumer is closed.
    pub fn rewind_to_committed(&self) -> Result<()> {
        self.open()?;
        self.shared.group_id("rewinding to the committed offsets")?;
        let mut state = self.shared.lock();
        state.positions.rewind_to_committed();
        state.inbox.purge();
        drop(state);
        self.shared.steward.notify_one();
        self.shared.fetchers.notify_waiters();
        Ok(())
    }

    /// As whom this consumer commits, for offsets that a producer commits in a transaction (KIP-447). It changes with
    /// every rebalance: take it after the records whose offsets are committed, and before others are asked for.
    ///
    /// # Errors
    /// No group; the consumer is closed.
    pub fn group_metadata(&self) -> Result<GroupMetadata> {
        self.open()?;
        let group = GroupMetadata::new(self.shared.group_id("committing in a transaction")?);
        let state = self.shared.lock();
        Ok(match (&state.mode, &state.identity) {
            (Mode::Group(_), Some((generation, member_id))) => {
                group.with_member(*generation, member_id.clone(), self.shared.config.group_instance_id.clone())
            }
            _ => group,
        })
    }

    /// Stops handing out and fetching these partitions until they are resumed. What was fetched is kept while there is
    /// room. The group is not concerned.
    ///
    /// # Errors
    /// One of them is not assigned; those before it are paused.
    pub fn pause<'a>(&self, partitions: impl IntoIterator<Item = &'a TopicPartition>) -> Result<()> {
        self.set_paused(partitions, true)
    }

    /// Goes on with these partitions.
    ///
    /// # Errors
    /// One of them is not assigned; those before it go on.
    pub fn resume<'a>(&self, partitions: impl IntoIterator<Item = &'a TopicPartition>) -> Result<()> {
        self.set_paused(partitions, false)
    }

    fn set_paused<'a>(&self, partitions: impl IntoIterator<Item = &'a TopicPartition>, paused: bool) -> Result<()> {
        self.open()?;
        let mut state = self.shared.lock();
        let mut result = Ok(());
        for place in partitions {
            if !state.positions.set_paused(&place.topic, place.partition, paused) {
                result = Err(ConsumerError::NotAssigned { partition: place.clone() });
                break;
            }
            if !paused {
                state.inbox.resume(&place.topic, place.partition);
            }
        }
        state.wake();
        drop(state);
        self.shared.fetchers.notify_waiters();
        result
    }

    /// The partitions that are paused.
    pub fn paused(&self) -> Vec<TopicPartition> {
        let state = self.shared.lock();
        let assignment = state.positions.assignment();
        let paused = assignment.into_iter().filter(|(topic, partition)| state.positions.is_paused(topic, *partition));
        paused.map(TopicPartition::from).collect()
    }

    /// The offset of the next record that will be handed out; `None` until it has been looked up.
    ///
    /// # Errors
    /// The partition is not assigned.
    pub fn position(&self, topic: &str, partition: i32) -> Result<Option<i64>> {
        let state = self.shared.lock();
        if !state.positions.is_assigned(topic, partition) {
            return Err(ConsumerError::NotAssigned { partition: TopicPartition::new(topic, partition) });
        }
        Ok(state.positions.position(topic, partition))
    }

    /// How many offsets the application is behind the end of the partition, as the last fetch told; `None` until both are
    /// known. Never waits.
    pub fn lag(&self, topic: &str, partition: i32) -> Option<i64> {
        self.shared.lock().positions.lag(topic, partition)
    }

    /// Whether the application has been given everything of every partition that is not paused, up to the end that the
    /// last fetch told. `false` while nothing is assigned. Never waits.
    pub fn is_at_end(&self) -> bool {
        self.shared.lock().positions.is_at_end()
    }

    /// What this consumer measures of itself, under Kafka's own names: see [`metric_specs`](crate::metric_specs). Never
    /// waits; no record costs anything for it.
    pub fn metrics(&self) -> MetricsSnapshot {
        self.shared.metrics.snapshot(&self.shared, clock::now())
    }

    pub(crate) fn mark_closed(&self) {
        if !self.shared.closed.swap(true, Ordering::AcqRel) {
            self.shared.interceptors.close();
        }
        self.shared.lock().wake();
    }
}
