//! What can be asked of a consumer, and told to it, from anywhere.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rkafka_client_core::{Error, GroupMetadata, RetryPolicy, Topics, retry};
use rkafka_protocol::ErrorCode;
use tokio::sync::oneshot;

use crate::batch::Batch;
use crate::clock;
use crate::driver::committer::{CommitOrder, Offsets, committable};
use crate::driver::offsets::{self, Found, Query};
use crate::error::{ConsumerError, Result};
use crate::machine::marks::Marked;
use crate::machine::positions::{
    EARLIEST_LOCAL_TIMESTAMP, EARLIEST_TIMESTAMP, LATEST_TIERED_TIMESTAMP, LATEST_TIMESTAMP, MAX_TIMESTAMP,
};
use crate::record::ConsumerRecord;
use crate::shared::{Mode, Shared};
use crate::subscription::{CommittedOffset, OffsetAndTimestamp, Start, TopicPartition};
use rkafka_client_core::metrics::MetricsSnapshot;

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
        let offsets = committable(&self.shared, true);
        self.order_and_wait(offsets).await
    }

    /// Commits these offsets: for each partition that of the next record to read. Cancel safe as [`commit`](Self::commit).
    ///
    /// # Errors
    /// As [`commit`](Self::commit).
    pub async fn commit_offsets(
        &self,
        offsets: impl IntoIterator<Item = (TopicPartition, CommittedOffset)>,
    ) -> Result<()> {
        self.order_and_wait(offsets.into_iter().collect()).await
    }

    async fn order_and_wait(&self, offsets: Offsets) -> Result<()> {
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
        let offsets = committable(&self.shared, true);
        self.order(offsets)
    }

    /// As [`commit_offsets`](Self::commit_offsets), in the manner of [`commit_async`](Self::commit_async).
    ///
    /// # Errors
    /// As [`commit_async`](Self::commit_async).
    pub fn commit_offsets_async(
        &self,
        offsets: Vec<(TopicPartition, CommittedOffset)>,
    ) -> Result<impl Future<Output = Result<()>> + Send + use<>> {
        self.order(offsets)
    }

    /// Commits this record, and with it all before it in its partition. Cancel safe as [`commit`](Self::commit).
    ///
    /// # Errors
    /// As [`commit`](Self::commit).
    pub async fn commit_record(&self, record: &ConsumerRecord) -> Result<()> {
        self.order(vec![(record.topic_partition(), record.committed_offset())])?.await
    }

    /// Commits this batch, and with it all before it in its partition. Cancel safe as [`commit`](Self::commit).
    ///
    /// # Errors
    /// As [`commit`](Self::commit).
    pub async fn commit_batch(&self, batch: &Batch) -> Result<()> {
        self.order(vec![(batch.topic_partition(), batch.committed_offset())])?.await
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

    fn order(&self, offsets: Offsets) -> Result<impl Future<Output = Result<()>> + Send + use<>> {
        self.shared.group_id("a commit")?;
        let (reply, answer) = oneshot::channel();
        let limit = self.shared.config.client.default_api_timeout;
        let order = CommitOrder::new(&self.shared, offsets, limit, Some(reply));
        self.shared.commits.send(order).map_err(|_| ConsumerError::Closed)?;
        Ok(async move { answer.await.unwrap_or(Err(ConsumerError::Closed)) })
    }

    /// What the group has committed, in the order of the question; `None` for partitions without. Cancel safe.
    ///
    /// # Errors
    /// No group; the coordinator refuses, or does not answer within `default.api.timeout.ms`.
    pub async fn committed(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<Vec<(TopicPartition, Option<CommittedOffset>)>> {
        self.open()?;
        self.shared.group_id("asking for committed offsets")?;
        let doing = "asking for committed offsets";
        let shared = &self.shared;
        let answers = retry(RetryPolicy::from(&shared.config.client), |_| async move {
            let mut answers = match offsets::committed(shared, partitions).await {
                Ok(answers) => answers,
                Err(ConsumerError::Client { source, .. }) => return Err(source),
                Err(other) => return Err(Error::new(rkafka_client_core::ErrorKind::Config, other.to_string())),
            };
            collect(partitions, &mut answers)
        });
        let began = clock::now();
        let answers = answers.await;
        let now = clock::now();
        shared.metrics.committed.record(now, now.saturating_duration_since(began).as_nanos() as f64);
        answers.map_err(|source| ConsumerError::Client { doing, source })
    }

    /// The earliest offset of each partition, in the order of the question. Cancel safe.
    ///
    /// # Errors
    /// A topic or a partition that is not there; no answer within `default.api.timeout.ms`.
    pub async fn beginning_offsets(&self, partitions: &[TopicPartition]) -> Result<Vec<(TopicPartition, i64)>> {
        let wanted: Vec<_> = partitions.iter().map(|place| (place.clone(), EARLIEST_TIMESTAMP)).collect();
        let found = self.list("asking for beginning offsets", &wanted).await?;
        Ok(found.into_iter().map(|(place, found)| (place, found.map_or(0, |found| found.offset))).collect())
    }

    /// The end of each partition, in the order of the question: the offset of the next record to be written, or the last
    /// stable offset under `isolation.level=read_committed`. Cancel safe.
    ///
    /// # Errors
    /// As [`beginning_offsets`](Self::beginning_offsets).
    pub async fn end_offsets(&self, partitions: &[TopicPartition]) -> Result<Vec<(TopicPartition, i64)>> {
        let wanted: Vec<_> = partitions.iter().map(|place| (place.clone(), LATEST_TIMESTAMP)).collect();
        let found = self.list("asking for end offsets", &wanted).await?;
        Ok(found.into_iter().map(|(place, found)| (place, found.map_or(0, |found| found.offset))).collect())
    }

    /// For each partition the first record that is not older than the time (in milliseconds since 1970), in the order of
    /// the question; `None` where there is none. Cancel safe.
    ///
    /// # Errors
    /// As [`beginning_offsets`](Self::beginning_offsets).
    pub async fn offsets_for_times(
        &self,
        times: &[(TopicPartition, i64)],
    ) -> Result<Vec<(TopicPartition, Option<OffsetAndTimestamp>)>> {
        let wanted: Vec<_> = times.iter().map(|(place, time)| (place.clone(), (*time).max(0))).collect();
        let found = self.list("asking for offsets by time", &wanted).await?;
        let place = |found: Found| OffsetAndTimestamp { offset: found.offset, timestamp: found.timestamp };
        Ok(found.into_iter().map(|(partition, found)| (partition, found.map(place))).collect())
    }

    /// For each partition the record with the largest timestamp (KIP-734), in the order of the question; `None` of one
    /// without records. Cancel safe.
    ///
    /// # Errors
    /// As [`beginning_offsets`](Self::beginning_offsets); a broker that is older than Kafka 3.0.
    pub async fn max_timestamp_offsets(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<Vec<(TopicPartition, Option<OffsetAndTimestamp>)>> {
        let wanted: Vec<_> = partitions.iter().map(|place| (place.clone(), MAX_TIMESTAMP)).collect();
        let found = self.list("asking for the largest timestamps", &wanted).await?;
        let place = |found: Found| OffsetAndTimestamp { offset: found.offset, timestamp: found.timestamp };
        Ok(found.into_iter().map(|(partition, found)| (partition, found.map(place))).collect())
    }

    /// The earliest offset of each partition that lies on its leader's own disks (KIP-405), in the order of the question:
    /// that of [`beginning_offsets`](Self::beginning_offsets) where there is no tiered storage. Cancel safe.
    ///
    /// # Errors
    /// As [`beginning_offsets`](Self::beginning_offsets); a broker that is older than Kafka 3.6.
    pub async fn earliest_local_offsets(&self, partitions: &[TopicPartition]) -> Result<Vec<(TopicPartition, i64)>> {
        let wanted: Vec<_> = partitions.iter().map(|place| (place.clone(), EARLIEST_LOCAL_TIMESTAMP)).collect();
        let found = self.list("asking for the earliest local offsets", &wanted).await?;
        Ok(found.into_iter().map(|(place, found)| (place, found.map_or(0, |found| found.offset))).collect())
    }

    /// The last offset of each partition that is in remote storage (KIP-1005), in the order of the question; `None` where
    /// nothing is. Cancel safe.
    ///
    /// # Errors
    /// As [`beginning_offsets`](Self::beginning_offsets); a broker that is older than Kafka 3.9.
    pub async fn latest_tiered_offsets(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<Vec<(TopicPartition, Option<i64>)>> {
        let wanted: Vec<_> = partitions.iter().map(|place| (place.clone(), LATEST_TIERED_TIMESTAMP)).collect();
        let found = self.list("asking for the last tiered offsets", &wanted).await?;
        Ok(found.into_iter().map(|(place, found)| (place, found.map(|found| found.offset))).collect())
    }

    async fn list(
        &self,
        doing: &'static str,
        wanted: &[(TopicPartition, i64)],
    ) -> Result<Vec<(TopicPartition, Option<Found>)>> {
        self.open()?;
        let shared = &self.shared;
        let found = retry(RetryPolicy::from(&shared.config.client), |failures| list_once(shared, wanted, failures > 0));
        found.await.map_err(|source| ConsumerError::Client { doing, source })
    }

    /// The numbers of a topic's partitions, from the cluster. Java's `partitionsFor`. Cancel safe.
    ///
    /// # Errors
    /// [`ConsumerError::Client`]: the topic is not there or may not be seen, or the cluster cannot be asked, within
    /// `default.api.timeout.ms`; [`ConsumerError::Closed`].
    pub async fn partitions_for(&self, topic: &str) -> Result<Vec<TopicPartition>> {
        self.open()?;
        let client_error = |source| ConsumerError::Client { doing: "asking for a topic's partitions", source };
        let shared = &self.shared;
        let mut topics = retry(RetryPolicy::from(&shared.config.client), |_| async move {
            let cluster = shared.client.refresh(Topics::named([topic])).await?;
            let unknown = |code: ErrorCode| Error::broker_error(code).with_topic(topic);
            if let Some(code) = cluster.topic_error(topic) {
                return Err(unknown(code));
            }
            cluster.topic(topic).cloned().ok_or_else(|| unknown(ErrorCode::UnknownTopicOrPartition))
        })
        .await
        .map_err(client_error)?
        .partitions
        .iter()
        .map(|partition| TopicPartition::new(topic, partition.index))
        .collect::<Vec<_>>();
        topics.sort();
        Ok(topics)
    }

    pub(crate) fn mark_closed(&self) {
        if !self.shared.closed.swap(true, Ordering::AcqRel) {
            self.shared.interceptors.close();
        }
        self.shared.lock().wake();
    }
}

/// The answers in the order of the question. A code is an error with its partition.
fn collect<T>(
    partitions: &[TopicPartition],
    answers: &mut offsets::Answers<T>,
) -> Result<Vec<(TopicPartition, Option<T>)>, Error> {
    partitions
        .iter()
        .map(|place| {
            let answer = answers.remove(&place.topic, place.partition);
            match answer {
                Some(Ok(found)) => Ok((place.clone(), found)),
                Some(Err(code)) => Err(Error::broker_error(code).with_partition(&*place.topic, place.partition)),
                None => Err(Error::new(
                    rkafka_client_core::ErrorKind::Protocol,
                    "the answer does not speak of the partition (is it asked for twice?)",
                )
                .with_partition(&*place.topic, place.partition)),
            }
        })
        .collect()
}

async fn list_once(
    shared: &Shared,
    wanted: &[(TopicPartition, i64)],
    again: bool,
) -> Result<Vec<(TopicPartition, Option<Found>)>, Error> {
    let mut cluster = shared.client.cluster();
    if again || wanted.iter().any(|(place, _)| cluster.topic(&place.topic).is_none()) {
        cluster = shared.client.refresh(Topics::named(wanted.iter().map(|(place, _)| place.topic.to_string()))).await?;
    }
    let mut by_broker: HashMap<i32, Vec<Query>> = HashMap::new();
    for (place, timestamp) in wanted {
        let unknown = |code: ErrorCode| Error::broker_error(code).with_partition(&*place.topic, place.partition);
        if let Some(code) = cluster.topic_error(&place.topic) {
            return Err(unknown(code));
        }
        let partition = cluster
            .partition(&place.topic, place.partition)
            .ok_or_else(|| unknown(ErrorCode::UnknownTopicOrPartition))?;
        let leader = partition.leader.ok_or_else(|| unknown(ErrorCode::LeaderNotAvailable))?;
        by_broker.entry(leader).or_default().push(Query {
            topic: Arc::clone(&place.topic),
            partition: place.partition,
            leader_epoch: partition.leader_epoch,
            timestamp: *timestamp,
        });
    }
    let mut answers = offsets::Answers::default();
    for (broker, queries) in by_broker {
        answers.extend(offsets::list(shared, broker, &queries).await?);
    }
    let places: Vec<TopicPartition> = wanted.iter().map(|(place, _)| place.clone()).collect();
    collect(&places, &mut answers)
}
