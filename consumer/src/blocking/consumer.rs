//! A consumer for threads.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use rkafka_client_core::{ClientOptions, GroupMetadata};

use super::thread::{AsyncCall, Housed, Waited, Waker};
use crate::batch::Batch;
use crate::config::ConsumerConfig;
use crate::error::{ConsumerError, Result};
use crate::handle::ConsumerHandle;
use crate::listener::RebalanceListener;
use crate::record::ConsumerRecord;
use crate::subscription::{CommittedOffset, OffsetAndTimestamp, Start, TopicPartition};

/// A [`Consumer`](crate::Consumer) for threads. It has a thread of its own, which fetches and gives signs of life.
///
/// ```no_run
/// use std::time::Duration;
///
/// use rkafka_consumer::{ClientSettings, ConsumerConfig, blocking};
///
/// # fn read() -> Result<(), rkafka_consumer::ConsumerError> {
/// let config = ConsumerConfig::new().bootstrap_servers("localhost:9092").group_id("orders");
/// let mut consumer = blocking::Consumer::connect(config)?;
/// consumer.subscribe(["orders"])?;
/// for record in consumer.poll(Duration::from_millis(500))? {
///     println!("{:?}", record.value());
/// }
/// consumer.commit()?;
/// consumer.close()
/// # }
/// ```
#[derive(Debug)]
pub struct Consumer {
    housed: Housed<crate::Consumer>,
    handle: ConsumerHandle,
    /// What the iterator has taken and not given out.
    taken: VecDeque<ConsumerRecord>,
}

impl Consumer {
    /// As [`crate::Consumer::connect`].
    ///
    /// # Errors
    /// As [`crate::Consumer::connect`]; no thread can be started.
    pub fn connect(config: ConsumerConfig) -> Result<Self> {
        Self::connect_with(config, ClientOptions::default())
    }

    /// As [`crate::Consumer::connect_with`].
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub fn connect_with(config: ConsumerConfig, options: ClientOptions) -> Result<Self> {
        let no_thread = |source| ConsumerError::Client { doing: "starting the consumer's thread", source };
        let mut housed = Housed::start(crate::Consumer::connect_with(config, options), no_thread)?;
        let handle = housed.with(|consumer| consumer.handle()).ok_or(ConsumerError::Closed)?;
        Ok(Self { housed, handle, taken: VecDeque::new() })
    }

    /// Wakes this consumer from other threads.
    pub fn waker(&self) -> Waker {
        self.housed.waker()
    }

    /// A handle for other threads and tasks. What waits in it needs a runtime.
    pub fn handle(&self) -> ConsumerHandle {
        self.handle.clone()
    }

    /// The settings.
    pub fn config(&self) -> &ConsumerConfig {
        self.handle.config()
    }

    /// Has the consumer do something on its thread.
    fn with<T: Send + 'static>(&mut self, call: impl FnOnce(&mut crate::Consumer) -> T + Send + 'static) -> Result<T> {
        self.housed.with(call).ok_or(ConsumerError::Closed)
    }

    /// Waits for something of the consumer, until `timeout` is over or somebody wakes it. `None`: the time is over.
    fn wait_for<T: Send + 'static>(
        &mut self,
        timeout: Option<Duration>,
        call: impl AsyncCall<crate::Consumer, Output = Result<T>>,
    ) -> Result<Option<T>> {
        match self.housed.wait_for(timeout, call) {
            Waited::Done(result) => result.map(Some),
            Waited::TimeOver => Ok(None),
            Waited::Woken => Err(ConsumerError::Wakeup),
            Waited::Closed => Err(ConsumerError::Closed),
        }
    }

    /// As [`crate::Consumer::subscribe`].
    ///
    /// # Errors
    /// As [`crate::Consumer::subscribe`].
    pub fn subscribe<Topic: Into<String>>(&mut self, topics: impl IntoIterator<Item = Topic>) -> Result<()> {
        let topics: Vec<String> = topics.into_iter().map(Into::into).collect();
        self.with(move |consumer| consumer.subscribe(topics))?
    }

    /// As [`crate::Consumer::subscribe_with`]. Hooks run on the consumer's thread and may await; they must not call a
    /// blocking consumer.
    ///
    /// # Errors
    /// As [`crate::Consumer::subscribe_with`].
    pub fn subscribe_with<Topic: Into<String>>(
        &mut self,
        topics: impl IntoIterator<Item = Topic>,
        listener: impl RebalanceListener,
    ) -> Result<()> {
        let topics: Vec<String> = topics.into_iter().map(Into::into).collect();
        self.with(move |consumer| consumer.subscribe_with(topics, listener))?
    }

    /// As [`crate::Consumer::assign`].
    ///
    /// # Errors
    /// As [`crate::Consumer::assign`].
    pub fn assign<Topic: Into<Arc<str>>>(
        &mut self,
        partitions: impl IntoIterator<Item = (Topic, i32, Start)>,
    ) -> Result<()> {
        let partitions: Vec<(Arc<str>, i32, Start)> =
            partitions.into_iter().map(|(topic, partition, start)| (topic.into(), partition, start)).collect();
        self.with(move |consumer| consumer.assign(partitions))?
    }

    /// As [`crate::Consumer::unsubscribe`].
    ///
    /// # Errors
    /// As [`crate::Consumer::unsubscribe`].
    pub fn unsubscribe(&mut self) -> Result<()> {
        self.put_back();
        self.housed.wait(Unsubscribe).ok_or(ConsumerError::Closed)?
    }

    /// Waits for records, for `timeout` at most, and takes what is there, `max.poll.records` at most. Empty where the time
    /// is over. Java's `poll`.
    ///
    /// # Errors
    /// As [`crate::Consumer::recv_many`]; [`ConsumerError::Wakeup`].
    pub fn poll(&mut self, timeout: Duration) -> Result<Vec<ConsumerRecord>> {
        if !self.taken.is_empty() {
            return Ok(std::mem::take(&mut self.taken).into());
        }
        Ok(self.wait_for(Some(timeout), RecvMany)?.unwrap_or_default())
    }

    /// Waits for the next batch, for `timeout` at most. `None`: the time is over.
    ///
    /// # Errors
    /// As [`crate::Consumer::next_batch`]; [`ConsumerError::Wakeup`].
    pub fn poll_batch(&mut self, timeout: Duration) -> Result<Option<Batch>> {
        self.put_back();
        self.wait_for(Some(timeout), NextBatch)
    }

    /// Records one by one; it waits for each. It ends when it is [woken](Waker::wake), or the consumer is closed.
    pub fn records(&mut self) -> Records<'_> {
        Records { consumer: self }
    }

    /// Has what the iterator took and did not give out come again.
    fn put_back(&mut self) {
        let mut begun: Vec<TopicPartition> = Vec::new();
        for record in std::mem::take(&mut self.taken) {
            let place = record.topic_partition();
            if record.is_current() && !begun.contains(&place) {
                self.handle.give_again(&place.topic, place.partition, record.offset());
                begun.push(place);
            }
        }
    }

    /// As [`ConsumerHandle::commit`]. Of what [`records`](Self::records) gave, that is all of it.
    ///
    /// # Errors
    /// As [`ConsumerHandle::commit`].
    pub fn commit(&mut self) -> Result<()> {
        // What the iterator holds back was handed out by the consumer, and not to the application.
        self.put_back();
        self.ask(|handle| async move { handle.commit().await })
    }

    /// As [`ConsumerHandle::commit_async`]; what comes of it is logged where it fails.
    ///
    /// # Errors
    /// As [`ConsumerHandle::commit_async`].
    pub fn commit_async(&mut self) -> Result<()> {
        self.put_back();
        self.handle.commit_async().map(drop)
    }

    /// As [`ConsumerHandle::commit_offsets`].
    ///
    /// # Errors
    /// As [`ConsumerHandle::commit_offsets`].
    pub fn commit_offsets(&self, offsets: Vec<(TopicPartition, CommittedOffset)>) -> Result<()> {
        self.ask(|handle| async move { handle.commit_offsets(offsets).await })
    }

    /// As [`ConsumerHandle::commit_record`].
    ///
    /// # Errors
    /// As [`ConsumerHandle::commit_record`].
    pub fn commit_record(&self, record: &ConsumerRecord) -> Result<()> {
        self.commit_offsets(vec![(record.topic_partition(), record.committed_offset())])
    }

    /// As [`ConsumerHandle::mark_done`].
    ///
    /// # Errors
    /// As [`ConsumerHandle::mark_done`].
    pub fn mark_done(&self, record: &ConsumerRecord) -> Result<()> {
        self.handle.mark_done(record)
    }

    /// As [`ConsumerHandle::committed`].
    ///
    /// # Errors
    /// As [`ConsumerHandle::committed`].
    pub fn committed(&self, partitions: &[TopicPartition]) -> Result<Vec<(TopicPartition, Option<CommittedOffset>)>> {
        let partitions = partitions.to_vec();
        self.ask(|handle| async move { handle.committed(&partitions).await })
    }

    /// As [`ConsumerHandle::beginning_offsets`].
    ///
    /// # Errors
    /// As [`ConsumerHandle::beginning_offsets`].
    pub fn beginning_offsets(&self, partitions: &[TopicPartition]) -> Result<Vec<(TopicPartition, i64)>> {
        let partitions = partitions.to_vec();
        self.ask(|handle| async move { handle.beginning_offsets(&partitions).await })
    }

    /// As [`ConsumerHandle::end_offsets`].
    ///
    /// # Errors
    /// As [`ConsumerHandle::end_offsets`].
    pub fn end_offsets(&self, partitions: &[TopicPartition]) -> Result<Vec<(TopicPartition, i64)>> {
        let partitions = partitions.to_vec();
        self.ask(|handle| async move { handle.end_offsets(&partitions).await })
    }

    /// As [`ConsumerHandle::offsets_for_times`].
    ///
    /// # Errors
    /// As [`ConsumerHandle::offsets_for_times`].
    pub fn offsets_for_times(
        &self,
        times: &[(TopicPartition, i64)],
    ) -> Result<Vec<(TopicPartition, Option<OffsetAndTimestamp>)>> {
        let times = times.to_vec();
        self.ask(|handle| async move { handle.offsets_for_times(&times).await })
    }

    /// As [`ConsumerHandle::partitions_for`].
    ///
    /// # Errors
    /// As [`ConsumerHandle::partitions_for`].
    pub fn partitions_for(&self, topic: &str) -> Result<Vec<TopicPartition>> {
        let topic = topic.to_owned();
        self.ask(|handle| async move { handle.partitions_for(&topic).await })
    }

    /// As [`ConsumerHandle::seek`].
    ///
    /// # Errors
    /// As [`ConsumerHandle::seek`].
    pub fn seek(&mut self, topic: &str, partition: i32, start: Start) -> Result<()> {
        self.taken.retain(|record| record.topic() != topic || record.partition() != partition);
        self.handle.seek(topic, partition, start)
    }

    /// As [`ConsumerHandle::pause`].
    ///
    /// # Errors
    /// As [`ConsumerHandle::pause`].
    pub fn pause<'a>(&self, partitions: impl IntoIterator<Item = &'a TopicPartition>) -> Result<()> {
        self.handle.pause(partitions)
    }

    /// As [`ConsumerHandle::resume`].
    ///
    /// # Errors
    /// As [`ConsumerHandle::resume`].
    pub fn resume<'a>(&self, partitions: impl IntoIterator<Item = &'a TopicPartition>) -> Result<()> {
        self.handle.resume(partitions)
    }

    /// As [`ConsumerHandle::assignment`].
    pub fn assignment(&self) -> Vec<TopicPartition> {
        self.handle.assignment()
    }

    /// As [`ConsumerHandle::position`]; where the iterator is ahead of the application, the position is its own.
    ///
    /// # Errors
    /// As [`ConsumerHandle::position`].
    pub fn position(&self, topic: &str, partition: i32) -> Result<Option<i64>> {
        self.handle.position(topic, partition)
    }

    /// As [`ConsumerHandle::lag`].
    pub fn lag(&self, topic: &str, partition: i32) -> Option<i64> {
        self.handle.lag(topic, partition)
    }

    /// As [`ConsumerHandle::group_metadata`].
    ///
    /// # Errors
    /// As [`ConsumerHandle::group_metadata`].
    pub fn group_metadata(&self) -> Result<GroupMetadata> {
        self.handle.group_metadata()
    }

    fn ask<T, F>(&self, question: impl FnOnce(ConsumerHandle) -> F) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        self.housed.ask(question(self.handle.clone())).ok_or(ConsumerError::Closed)?
    }

    /// As [`crate::Consumer::close`]. What [`records`](Self::records) took and did not give out is not committed.
    ///
    /// # Errors
    /// As [`crate::Consumer::close`].
    pub fn close(mut self) -> Result<()> {
        self.put_back();
        self.housed.end(crate::Consumer::close).ok_or(ConsumerError::Closed)?
    }
}

/// Leaves the group in the background, as a dropped [`crate::Consumer`] does.
impl Drop for Consumer {
    fn drop(&mut self) {
        self.put_back();
        self.housed.end_behind(crate::Consumer::close_dropped);
    }
}

struct Unsubscribe;

impl AsyncCall<crate::Consumer> for Unsubscribe {
    type Output = Result<()>;

    async fn call(self, consumer: &mut crate::Consumer) -> Self::Output {
        consumer.unsubscribe().await
    }
}

struct RecvMany;

impl AsyncCall<crate::Consumer> for RecvMany {
    type Output = Result<Vec<ConsumerRecord>>;

    async fn call(self, consumer: &mut crate::Consumer) -> Self::Output {
        let mut records = Vec::new();
        consumer.recv_many(&mut records).await?;
        Ok(records)
    }
}

struct NextBatch;

impl AsyncCall<crate::Consumer> for NextBatch {
    type Output = Result<Batch>;

    async fn call(self, consumer: &mut crate::Consumer) -> Self::Output {
        consumer.next_batch().await
    }
}

/// Records one by one, as [`Consumer::records`] gives them.
#[derive(Debug)]
pub struct Records<'a> {
    consumer: &'a mut Consumer,
}

impl Iterator for Records<'_> {
    type Item = Result<ConsumerRecord>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(record) = self.consumer.taken.pop_front() {
            return Some(Ok(record));
        }
        match self.consumer.wait_for(None, RecvMany) {
            Ok(records) => {
                self.consumer.taken = records.unwrap_or_default().into();
                self.consumer.taken.pop_front().map(Ok)
            }
            Err(ConsumerError::Wakeup | ConsumerError::Closed) => None,
            Err(error) => Some(Err(error)),
        }
    }
}
