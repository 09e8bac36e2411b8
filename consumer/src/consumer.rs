//! The consumer as the application holds it: how it begins and ends.

use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rkafka_client_core::Client;
use rkafka_client_core::metrics::ClientKind;
use rkafka_protocol::records::DecompressArena;
use tokio::sync::mpsc;

use crate::clock;
use crate::config::ConsumerConfig;
use crate::driver::committer;
use crate::driver::steward;
use crate::error::{ConsumerError, Result};
use crate::handle::ConsumerHandle;
use crate::interceptor::Interceptors;
use crate::options::ConsumerOptions;
use crate::record::ConsumerRecord;
use crate::shared::Shared;
use crate::strategy::Strategy;
use crate::subscription::GroupMembershipOperation;
use crate::tasks::{Tasks, shut_down};

mod subscribing;
mod taking;

use taking::Current;

/// Reads records, alone or as a member of a group.
///
/// Its tasks fetch ahead of the application, up to `queued.max.bytes`, over connections of their own; signs of life for
/// the group never wait for the application. Records are taken by batches that are read in place
/// ([`next_batch`](Self::next_batch)), or one by one ([`recv`](Self::recv), or as a [`Stream`](futures_core::Stream)). Everything else can be
/// done through a [`ConsumerHandle`] too, to which this dereferences.
///
/// What was taken counts as dealt with when the application comes back for more: that, and no more, is what
/// `enable.auto.commit` commits meanwhile.
///
/// Its tasks and connections live on the Tokio runtime, with time and I/O enabled, in which [`connect`](Self::connect) was
/// awaited. Everything else may be called and awaited anywhere: in another runtime, or in none. A runtime of one thread
/// runs the tasks only while something is awaited in it: signs of life for the group too, which a thread that computes for
/// long, or blocks without `block_in_place`, holds up. Once the runtime has shut down the consumer is
/// [closed](ConsumerError::Closed), and whoever waits for it is told so.
///
/// [`close`](Self::close) it at the end: it commits and leaves the group. Dropping it does the same in the background,
/// as far as the runtime lives on, but commits only what the application has come back from.
#[derive(Debug)]
pub struct Consumer {
    handle: ConsumerHandle,
    shared: Arc<Shared>,
    current: Option<Current>,
    arena: DecompressArena,
    calls: u64,
    /// A chunk was taken without a wait in between: the next time the tasks come first.
    took: bool,
    /// Since when the application has waited for a chunk, and how long after the time before.
    waiting: Option<(Instant, Option<Duration>)>,
    /// The application is in a call that waits, and is to be woken.
    is_in_call: bool,
    /// The application was told that there is nothing to read.
    is_idle: bool,
    tasks: Option<Tasks>,
}

impl Consumer {
    /// Finds the cluster and makes a consumer that reads nothing yet. Cancel safe.
    ///
    /// # Errors
    /// A setting cannot be used, or no bootstrap server answers.
    pub async fn connect(config: ConsumerConfig) -> Result<Self> {
        Self::connect_with(config, ConsumerOptions::default()).await
    }

    /// As [`connect`](Self::connect), with what is given in code: assignors of the application's own, and what else there
    /// is to say of connections ([`ClientOptions`](rkafka_client_core::ClientOptions) alone will do). Topics are never
    /// created by it. Cancel safe.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub async fn connect_with(config: ConsumerConfig, options: impl Into<ConsumerOptions>) -> Result<Self> {
        let options = options.into();
        config.validate()?;
        let strategy = Strategy::of(&config.partition_assignment_strategy, &options.assignors)?;
        let client = Client::connect_with(
            config.client.clone(),
            options.client.allow_auto_create_topics(false).kind(ClientKind::Consumer),
        )
        .await
        .map_err(|source| ConsumerError::Client { doing: "finding the cluster", source })?;
        Ok(Self::start(config, client, strategy, options.interceptors))
    }

    fn start(config: ConsumerConfig, client: Client, strategy: Strategy, interceptors: Interceptors) -> Self {
        let arena = DecompressArena::new(config.max_decompressed_batch_bytes);
        let (commits, orders) = mpsc::unbounded_channel();
        let (news, inbox) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared::new(config, client, strategy, interceptors, commits));
        shared.metrics.watch(&shared);
        let tasks = Tasks {
            steward: clock::spawn(steward::run(Arc::clone(&shared), news.clone())),
            committer: clock::spawn(committer::run(Arc::clone(&shared), orders, news.clone())),
            news,
            inbox: Some(inbox),
            member: None,
            is_leaving: false,
            runtime: clock::runtime(),
        };
        let handle = ConsumerHandle::of(&shared);
        Self {
            handle,
            shared,
            current: None,
            arena,
            calls: 0,
            took: false,
            waiting: None,
            is_in_call: false,
            is_idle: false,
            tasks: Some(tasks),
        }
    }

    /// A handle for other tasks.
    pub fn handle(&self) -> ConsumerHandle {
        self.handle.clone()
    }

    /// The settings.
    pub fn config(&self) -> &ConsumerConfig {
        &self.shared.config
    }

    /// Commits what was handed out (where `enable.auto.commit` is on), calls the hooks, leaves the group and closes all
    /// connections. Commits that were asked for before and not awaited are made first. A static member stays in its group
    /// until `session.timeout.ms` has passed. Waits for 30 s at most.
    ///
    /// Where the future is dropped, the closing goes on in the background.
    ///
    /// # Errors
    /// The last commit failed, or one of a rebalance that was going on (the log says which offsets are not committed); the
    /// group did not answer in time.
    pub async fn close(self) -> Result<()> {
        self.close_with(GroupMembershipOperation::Default).await
    }

    /// As [`close`](Self::close), and says whether the member leaves its group (KIP-1092).
    ///
    /// # Errors
    /// As [`close`](Self::close).
    pub async fn close_with(mut self, operation: GroupMembershipOperation) -> Result<()> {
        self.put_back();
        let Some(tasks) = self.tasks.take() else { return Ok(()) };
        let runtime = tasks.runtime.clone();
        let closing = clock::spawn_on(&runtime, shut_down(Arc::clone(&self.shared), tasks, operation));
        closing.await.unwrap_or(Err(ConsumerError::Closed))
    }

    /// Puts the chunk at hand back, for its partition is paused or held, or drops it with its life.
    fn put_back(&mut self) {
        if let Some(current) = self.current.take() {
            let progress = Arc::clone(&current.unpacker.chunk().progress);
            if progress.is_live() {
                let position = progress.position().unwrap_or(0);
                self.shared.lock().inbox.push_front(current.unpacker.into_rest(position));
            }
        }
    }

    /// Ends as a consumer that is dropped, and waits for that.
    pub(crate) async fn close_dropped(mut self) {
        self.put_back();
        if let Some(tasks) = self.tasks.take() {
            self.shared.lock().dropped = true;
            let _ = shut_down(Arc::clone(&self.shared), tasks, GroupMembershipOperation::Default).await;
        }
    }

    /// Whether it has subscribed, now or before.
    pub(crate) fn has_been_member(&self) -> bool {
        self.tasks.as_ref().is_some_and(|tasks| tasks.member.is_some() || tasks.inbox.is_none())
    }

    /// Takes back that the record was handed out, for it is not ready to be given to the application: it is the last one
    /// that was taken.
    pub(crate) fn hold_back(&self, record: &ConsumerRecord) {
        self.set_handed(record, record.offset());
    }

    /// The record that was held back is given to the application.
    pub(crate) fn hand_over(&self, record: &ConsumerRecord) {
        self.set_handed(record, record.offset().saturating_add(1));
    }

    fn set_handed(&self, record: &ConsumerRecord, next_offset: i64) {
        if let Some(current) = &self.current {
            let chunk = current.unpacker.chunk();
            if chunk.progress.is_live() && *chunk.topic == *record.topic() && chunk.partition == record.partition() {
                chunk.progress.hand_out(next_offset);
            }
        }
    }

    /// Has a record that was held back come again.
    pub(crate) fn give_again(&mut self, record: &ConsumerRecord) {
        if record.is_current() {
            self.handle.give_again(record.topic(), record.partition(), record.offset());
        }
    }
}

impl Deref for Consumer {
    type Target = ConsumerHandle;

    fn deref(&self) -> &ConsumerHandle {
        &self.handle
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.put_back();
        let Some(tasks) = self.tasks.take() else { return };
        self.shared.lock().dropped = true;
        // Where the runtime is gone, so are the tasks already.
        let (runtime, operation) = (tasks.runtime.clone(), GroupMembershipOperation::Default);
        drop(clock::spawn_on(&runtime, shut_down(Arc::clone(&self.shared), tasks, operation)));
    }
}

#[cfg(test)]
#[path = "consumer_tests/mod.rs"]
mod tests;
