//! A share consumer for threads.

use std::ops::Deref;
use std::time::Duration;

use rkafka_client_core::ClientOptions;

use super::thread::{AsyncCall, Housed, Waited, Waker};
use crate::share::{
    AcknowledgementResult, ShareBatch, ShareConsumerConfig, ShareConsumerError, ShareConsumerHandle, ShareRecord,
    ShareResult,
};

/// A [`ShareConsumer`](crate::ShareConsumer) for threads. It has a thread of its own, which fetches, acknowledges and
/// gives signs of life.
///
/// What its [handle](ShareConsumerHandle) does without a wait (acknowledging, metrics, the assignment) can be called
/// here as well.
///
/// ```no_run
/// use std::time::Duration;
///
/// use rkafka_consumer::{
///     AcknowledgeType, AcknowledgementMode, ClientSettings, ShareConsumerConfig, ShareConsumerError, blocking,
/// };
///
/// # fn work() -> Result<(), ShareConsumerError> {
/// let config = ShareConsumerConfig::new()
///     .bootstrap_servers("localhost:9092")
///     .group_id("orders")
///     .share_acknowledgement_mode(AcknowledgementMode::Explicit);
/// let mut consumer = blocking::ShareConsumer::connect(config)?;
/// consumer.subscribe(["orders"])?;
/// for record in consumer.poll(Duration::from_millis(500))? {
///     consumer.acknowledge(&record, AcknowledgeType::Accept)?;
/// }
/// for result in consumer.commit()? {
///     println!("{}: {:?}", result.partition, result.result);
/// }
/// consumer.close()
/// # }
/// ```
#[derive(Debug)]
pub struct ShareConsumer {
    housed: Housed<crate::ShareConsumer>,
    handle: ShareConsumerHandle,
}

impl ShareConsumer {
    /// As [`crate::ShareConsumer::connect`].
    ///
    /// # Errors
    /// As [`crate::ShareConsumer::connect`]; no thread can be started.
    pub fn connect(config: ShareConsumerConfig) -> ShareResult<Self> {
        Self::connect_with(config, ClientOptions::default())
    }

    /// As [`crate::ShareConsumer::connect_with`].
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub fn connect_with(config: ShareConsumerConfig, options: ClientOptions) -> ShareResult<Self> {
        let no_thread = |source| ShareConsumerError::Client { doing: "starting the consumer's thread", source };
        let mut housed = Housed::start(crate::ShareConsumer::connect_with(config, options), no_thread)?;
        let handle = housed.with(|consumer| consumer.handle()).ok_or(ShareConsumerError::Closed)?;
        Ok(Self { housed, handle })
    }

    /// Wakes this consumer from other threads.
    pub fn waker(&self) -> Waker {
        self.housed.waker()
    }

    /// A handle for other threads and tasks.
    pub fn handle(&self) -> ShareConsumerHandle {
        self.handle.clone()
    }

    /// As [`crate::ShareConsumer::subscribe`].
    ///
    /// # Errors
    /// As [`crate::ShareConsumer::subscribe`].
    pub fn subscribe<Topic: Into<String>>(&mut self, topics: impl IntoIterator<Item = Topic>) -> ShareResult<()> {
        let topics: Vec<String> = topics.into_iter().map(Into::into).collect();
        self.housed.with(move |consumer| consumer.subscribe(topics)).ok_or(ShareConsumerError::Closed)?
    }

    /// As [`crate::ShareConsumer::unsubscribe`].
    ///
    /// # Errors
    /// As [`crate::ShareConsumer::unsubscribe`].
    pub fn unsubscribe(&mut self) -> ShareResult<()> {
        self.subscribe(Vec::<String>::new())
    }

    /// Waits for records, for `timeout` at most, and takes what is there, `max.poll.records` at most. Empty where the time
    /// is over. By `implicit` all of them are accepted by the next call, or by [`commit`](Self::commit). Java's `poll`.
    ///
    /// # Errors
    /// As [`crate::ShareConsumer::recv_many`]; [`ShareConsumerError::Wakeup`].
    pub fn poll(&mut self, timeout: Duration) -> ShareResult<Vec<ShareRecord>> {
        Ok(self.wait_for(timeout, RecvMany)?.unwrap_or_default())
    }

    /// Waits for the next record, for `timeout` at most. `None`: the time is over.
    ///
    /// # Errors
    /// As [`crate::ShareConsumer::recv`]; [`ShareConsumerError::Wakeup`].
    pub fn recv(&mut self, timeout: Duration) -> ShareResult<Option<ShareRecord>> {
        self.wait_for(timeout, Recv)
    }

    /// Waits for the next batch, for `timeout` at most. `None`: the time is over.
    ///
    /// # Errors
    /// As [`crate::ShareConsumer::next_batch`]; [`ShareConsumerError::Wakeup`].
    pub fn poll_batch(&mut self, timeout: Duration) -> ShareResult<Option<ShareBatch>> {
        self.wait_for(timeout, NextBatch)
    }

    fn wait_for<T: Send + 'static>(
        &mut self,
        timeout: Duration,
        call: impl AsyncCall<crate::ShareConsumer, Output = ShareResult<T>>,
    ) -> ShareResult<Option<T>> {
        match self.housed.wait_for(Some(timeout), call) {
            Waited::Done(result) => result.map(Some),
            Waited::TimeOver => Ok(None),
            Waited::Woken => Err(ShareConsumerError::Wakeup),
            Waited::Closed => Err(ShareConsumerError::Closed),
        }
    }

    /// As [`crate::ShareConsumer::commit`]: by `implicit`, what was handed out is accepted first. Nothing wakes it.
    ///
    /// # Errors
    /// As [`crate::ShareConsumer::commit`].
    pub fn commit(&mut self) -> ShareResult<Vec<AcknowledgementResult>> {
        self.housed.wait(Commit).ok_or(ShareConsumerError::Closed)?
    }

    /// As [`crate::ShareConsumer::commit_async`]; what comes of it is told to the
    /// [callback](ShareConsumerHandle::set_acknowledgement_callback), or by the next call for records where it fails.
    ///
    /// # Errors
    /// As [`crate::ShareConsumer::commit_async`].
    pub fn commit_async(&mut self) -> ShareResult<()> {
        self.housed.with(|consumer| consumer.commit_async().map(drop)).ok_or(ShareConsumerError::Closed)?
    }

    /// As [`crate::ShareConsumer::close`].
    ///
    /// # Errors
    /// As [`crate::ShareConsumer::close`].
    pub fn close(mut self) -> ShareResult<()> {
        self.housed.end(crate::ShareConsumer::close).ok_or(ShareConsumerError::Closed)?
    }
}

impl Deref for ShareConsumer {
    type Target = ShareConsumerHandle;

    fn deref(&self) -> &ShareConsumerHandle {
        &self.handle
    }
}

/// Gives back what was not acknowledged and leaves the group in the background, as a dropped [`crate::ShareConsumer`] does.
impl Drop for ShareConsumer {
    fn drop(&mut self) {
        self.housed.end_behind(|consumer| async move {
            if let Err(error) = consumer.close().await {
                tracing::debug!(%error, "a share consumer that was dropped");
            }
        });
    }
}

struct RecvMany;

impl AsyncCall<crate::ShareConsumer> for RecvMany {
    type Output = ShareResult<Vec<ShareRecord>>;

    async fn call(self, consumer: &mut crate::ShareConsumer) -> Self::Output {
        let mut records = Vec::new();
        consumer.recv_many(&mut records).await?;
        Ok(records)
    }
}

struct Recv;

impl AsyncCall<crate::ShareConsumer> for Recv {
    type Output = ShareResult<ShareRecord>;

    async fn call(self, consumer: &mut crate::ShareConsumer) -> Self::Output {
        consumer.recv().await
    }
}

struct NextBatch;

impl AsyncCall<crate::ShareConsumer> for NextBatch {
    type Output = ShareResult<ShareBatch>;

    async fn call(self, consumer: &mut crate::ShareConsumer) -> Self::Output {
        consumer.next_batch().await
    }
}

struct Commit;

impl AsyncCall<crate::ShareConsumer> for Commit {
    type Output = ShareResult<Vec<AcknowledgementResult>>;

    async fn call(self, consumer: &mut crate::ShareConsumer) -> Self::Output {
        consumer.commit().await
    }
}
