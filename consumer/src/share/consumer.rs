//! The share consumer as the application holds it: subscribing, and taking records.

mod taking;

use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use futures_core::Stream;
use rkafka_client_core::metrics::ClientKind;
use rkafka_client_core::{Client, ClientOptions, Error, ErrorKind};
use rkafka_protocol::records::{DecompressArena, RecordCursor};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::acknowledgement::AcknowledgementResult;
use super::batch::{Finder, ShareBatch, ShareRecord};
use super::config::ShareConsumerConfig;
use super::driver::{member, steward};
use super::error::{ShareConsumerError, ShareResult};
use super::handle::ShareConsumerHandle;
use super::machine::hold::Hold;
use super::shared::Shared;
use super::unpack::ShareUnpacker;
use crate::clock;
use crate::waiting::{Waits, waiting};

/// How long a close waits for the brokers, as in Java.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(30);

/// Reads records as a member of a share group (KIP-932): a partition may have many readers, and each of its records is
/// one member's for a while. Kafka's `KafkaShareConsumer`. Needs Kafka 4.1, and the feature `share.version`.
///
/// Records are taken by batches that are read in place ([`next_batch`](Self::next_batch)), or one by one
/// ([`recv`](Self::recv), or as a [`Stream`]). Each is this member's until it is acknowledged, or until its lock is over
/// (30 s unless the group has `share.record.lock.duration.ms`); then another member may have it. Nothing is handed out
/// of which less than a tenth of the lock is left.
///
/// * `share.acknowledgement.mode=implicit`: what was handed out is accepted when the application comes back for more, or
///   [commits](ShareConsumerHandle::commit).
/// * `explicit`: the application [says](ShareConsumerHandle::acknowledge) of each record whether it was accepted, is to be
///   released or rejected, or is still being worked on. It may take further records meanwhile.
///
/// An acknowledgement that fails is told by the commit that waits for it, by the callback, or else by the next call for
/// records.
///
/// [`close`](Self::close) it at the end: it sends what was acknowledged, gives back what was not, and leaves the group.
/// What was handed out last and neither committed nor come back from is given back. Dropping it does the same in the
/// background, as far as the runtime lives on.
#[derive(Debug)]
pub struct ShareConsumer {
    handle: ShareConsumerHandle,
    shared: Arc<Shared>,
    current: Option<Current>,
    arena: DecompressArena,
    /// What was handed out last: it is dealt with when the application comes back.
    handed: Option<(Arc<Hold>, i64)>,
    /// A chunk was taken without a wait in between: the next time the tasks come first.
    took: bool,
    /// The application is in a call that waits.
    is_waiting: bool,
    /// Since when the application has waited for a chunk, and how long after the time before.
    began: Option<(Instant, Option<Duration>)>,
    tasks: Option<Tasks>,
}

#[derive(Debug)]
struct Tasks {
    steward: JoinHandle<()>,
    member: JoinHandle<()>,
    leave: oneshot::Sender<()>,
    /// Where they run.
    runtime: tokio::runtime::Handle,
}

/// The chunk at hand, and the batch of it whose records are taken one by one.
#[derive(Debug)]
struct Current {
    unpacker: ShareUnpacker,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    batch: ShareBatch,
    cursor: RecordCursor,
    finder: Finder,
    /// A record that was looked at, and not handed out.
    ahead: Option<ShareRecord>,
}

/// However a call ends, the brokers are told no longer that somebody waits.
impl Waits for ShareConsumer {
    fn stop_waiting(&mut self) {
        if std::mem::take(&mut self.is_waiting) {
            self.shared.lock().waker = None;
        }
        self.end_wait();
    }
}

impl ShareConsumer {
    /// Finds the cluster and makes a member of `group.id` that reads nothing yet. Cancel safe.
    ///
    /// # Errors
    /// A setting cannot be used, or no bootstrap server answers.
    pub async fn connect(config: ShareConsumerConfig) -> ShareResult<Self> {
        Self::connect_with(config, ClientOptions::default()).await
    }

    /// As [`connect`](Self::connect), with what else there is to say of connections. Topics are never created by it.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub async fn connect_with(config: ShareConsumerConfig, options: ClientOptions) -> ShareResult<Self> {
        config.validate()?;
        let client = Client::connect_with(
            config.client.clone(),
            options.allow_auto_create_topics(false).kind(ClientKind::Consumer),
        )
        .await
        .map_err(|source| ShareConsumerError::Client { doing: "finding the cluster", source })?;
        let arena = DecompressArena::new(config.max_decompressed_batch_bytes);
        let group_id = config.group_id.clone().unwrap_or_default();
        let shared = Arc::new(Shared::new(config, client, group_id, uuid::Uuid::new_v4().to_string()));
        let (leave, leaves) = oneshot::channel();
        let tasks = Tasks {
            steward: clock::spawn(steward::run(Arc::clone(&shared))),
            member: clock::spawn(member::run(Arc::clone(&shared), leaves)),
            leave,
            runtime: clock::runtime(),
        };
        let handle = ShareConsumerHandle { shared: Arc::clone(&shared) };
        Ok(Self {
            handle,
            shared,
            current: None,
            arena,
            handed: None,
            took: false,
            is_waiting: false,
            began: None,
            tasks: Some(tasks),
        })
    }

    /// A handle for other tasks.
    pub fn handle(&self) -> ShareConsumerHandle {
        self.handle.clone()
    }

    /// Subscribes to these topics instead of those subscribed before. Returns at once; the group's assignment comes in the
    /// background, and changes by itself when topics come, go or grow. Without any topic, the member leaves the group.
    ///
    /// # Errors
    /// [`ShareConsumerError::Closed`].
    pub fn subscribe<Topic: Into<String>>(&mut self, topics: impl IntoIterator<Item = Topic>) -> ShareResult<()> {
        if self.tasks.is_none() {
            return Err(ShareConsumerError::Closed);
        }
        let mut topics: Vec<String> = topics.into_iter().map(Into::into).collect();
        topics.sort();
        topics.dedup();
        self.shared.lock().topics = topics;
        self.shared.member.notify_one();
        self.shared.steward.notify_one();
        Ok(())
    }

    /// Subscribes to nothing any more: the member leaves the group, in the background. What waits for the application is
    /// given back; what it has can still be acknowledged.
    ///
    /// # Errors
    /// [`ShareConsumerError::Closed`].
    pub fn unsubscribe(&mut self) -> ShareResult<()> {
        self.subscribe(Vec::<String>::new())
    }

    /// Waits for the next batch. Control batches, and those without a record of this member's, are passed over.
    ///
    /// Cancel safe: a batch counts as handed out only when this returns it. What was handed out before counts as come
    /// back from with the first poll.
    ///
    /// # Errors
    /// Trouble of a partition, or an acknowledgement that failed, after which this can be called again; or an error that
    /// [is fatal](ShareConsumerError::is_fatal).
    pub async fn next_batch(&mut self) -> ShareResult<ShareBatch> {
        waiting(self, Self::poll_next_batch).await
    }

    /// Waits for the next record. Cancel safe: a record counts as handed out only when this returns it. What was handed
    /// out before counts as come back from with the first poll.
    ///
    /// # Errors
    /// As [`next_batch`](Self::next_batch).
    pub async fn recv(&mut self) -> ShareResult<ShareRecord> {
        waiting(self, Self::poll_recv).await
    }

    /// Waits for a record, and takes what more is at hand without a wait, `max.poll.records` at most. Gives how many were
    /// put at the end of `records`. By `implicit` all of them are accepted when the application comes back. Cancel safe:
    /// it takes nothing before it returns.
    ///
    /// # Errors
    /// As [`next_batch`](Self::next_batch); where some records came before the error, those are given, and the error
    /// comes with the next call.
    pub async fn recv_many(&mut self, records: &mut Vec<ShareRecord>) -> ShareResult<usize> {
        records.push(self.recv().await?);
        let mut count = 1;
        while count < self.shared.config.max_poll_records {
            match self.next_of_open() {
                Some(Ok(record)) => records.push(record),
                Some(Err(source)) => {
                    let error = self.damaged(source);
                    self.shared.lock().tell(error);
                    break;
                }
                None => break,
            }
            count += 1;
        }
        Ok(count)
    }

    /// As [`ShareConsumerHandle::commit`]: by `implicit`, what was handed out is accepted first.
    ///
    /// # Errors
    /// As [`ShareConsumerHandle::commit`].
    pub async fn commit(&mut self) -> ShareResult<Vec<AcknowledgementResult>> {
        self.come_back();
        self.handle.commit().await
    }

    /// As [`ShareConsumerHandle::commit_async`]: by `implicit`, what was handed out is accepted first.
    ///
    /// # Errors
    /// As [`ShareConsumerHandle::commit`].
    pub fn commit_async(
        &mut self,
    ) -> ShareResult<impl Future<Output = ShareResult<Vec<AcknowledgementResult>>> + Send + use<>> {
        self.come_back();
        self.handle.commit_async()
    }

    /// Sends what was acknowledged, gives back what was not, leaves the group and closes all connections. What was handed
    /// out last is given back, unless it was committed. Waits for 30 s at most.
    ///
    /// Where the future is dropped, the closing goes on in the background.
    ///
    /// # Errors
    /// The brokers did not answer in time; or an acknowledgement failed that nobody was told of.
    pub async fn close(mut self) -> ShareResult<()> {
        let Some(tasks) = self.tasks.take() else { return Ok(()) };
        let runtime = tasks.runtime.clone();
        let closing = clock::spawn_on(&runtime, shut_down(Arc::clone(&self.shared), tasks));
        closing.await.unwrap_or(Err(ShareConsumerError::Closed))
    }
}

impl Deref for ShareConsumer {
    type Target = ShareConsumerHandle;

    fn deref(&self) -> &ShareConsumerHandle {
        &self.handle
    }
}

/// Records one by one, as [`ShareConsumer::recv`] gives them. It ends when the consumer is closed.
impl Stream for ShareConsumer {
    type Item = ShareResult<ShareRecord>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match ready!(self.poll_recv(context)) {
            Err(ShareConsumerError::Closed) => Poll::Ready(None),
            other => Poll::Ready(Some(other)),
        }
    }
}

impl Drop for ShareConsumer {
    fn drop(&mut self) {
        let Some(tasks) = self.tasks.take() else { return };
        // Where the runtime is gone, so are the tasks already.
        let runtime = tasks.runtime.clone();
        drop(clock::spawn_on(&runtime, shut_down(Arc::clone(&self.shared), tasks)));
    }
}

/// Closes the sessions, leaves the group, and ends the tasks.
async fn shut_down(shared: Arc<Shared>, tasks: Tasks) -> ShareResult<()> {
    let Tasks { mut steward, mut member, leave, .. } = tasks;
    shared.lock().is_closing = true;
    shared.steward.notify_one();
    let farewell = async {
        // First the records, for a member that is gone has none.
        let _ = (&mut steward).await;
        let _ = leave.send(());
        let _ = (&mut member).await;
    };
    let in_time = tokio::time::timeout(CLOSE_TIMEOUT, farewell).await.is_ok();
    steward.abort();
    member.abort();
    shared.publish();
    shared.mark_closed();
    shared.client.close();
    if !in_time {
        let message = format!("no answer within {CLOSE_TIMEOUT:?}; the locks run out, and the session of the member");
        let source = Error::new(ErrorKind::Timeout, message);
        return Err(ShareConsumerError::Client { doing: "leaving the share group", source });
    }
    let failed = shared.lock().next_acknowledgement_error();
    failed.map_or(Ok(()), Err)
}
