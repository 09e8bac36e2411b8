//! The consumer as the application holds it: subscribing, assigning, and taking records.

use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use futures_core::Stream;
use rkafka_client_core::Client;
use rkafka_client_core::metrics::ClientKind;
use rkafka_protocol::records::{DecompressArena, RecordCursor, RecordError};
use tokio::sync::mpsc;

use crate::batch::Batch;
use crate::clock;
use crate::config::{ConsumerConfig, GroupProtocol, IsolationLevel};
use crate::driver::committer::{self, CommitOrder};
use crate::driver::member::{Hooks, MemberNews, MemberTask};
use crate::driver::steward;
use crate::error::{ConsumerError, PartitionError, Result};
use crate::handle::ConsumerHandle;
use crate::interceptor::Interceptors;
use crate::listener::RebalanceListener;
use crate::metrics::TimedListener;
use crate::options::ConsumerOptions;
use crate::pattern::TopicPattern;
use crate::record::{ConsumerRecord, SharedBatch};
use crate::shared::{Mode, Shared, Subscription};
use crate::strategy::Strategy;
use crate::subscription::{GroupMembershipOperation, Start, TopicPartition};
use crate::tasks::{Tasks, leave, shut_down};
use crate::unpack::Unpacker;
use crate::waiting::{Waits, waiting};

/// Reads records, alone or as a member of a group.
///
/// Its tasks fetch ahead of the application, up to `queued.max.bytes`, over connections of their own; signs of life for
/// the group never wait for the application. Records are taken by batches that are read in place
/// ([`next_batch`](Self::next_batch)), or one by one ([`recv`](Self::recv), or as a [`Stream`]). Everything else can be
/// done through a [`ConsumerHandle`] too, to which this dereferences.
///
/// What was taken counts as dealt with when the application comes back for more: that, and no more, is what
/// `enable.auto.commit` commits meanwhile.
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
    tasks: Option<Tasks>,
}

/// The chunk at hand, and the batch of it whose records are taken one by one.
#[derive(Debug)]
struct Current {
    unpacker: Unpacker,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    shared: Arc<SharedBatch>,
    cursor: RecordCursor,
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

    /// Subscribes to these topics as a member of `group.id`, instead of those subscribed before. Returns at once; the
    /// group's assignment comes in the background. Hooks of an earlier subscription stay. No topics at all unsubscribe, as
    /// in Java: the member leaves in the background, after its hooks; [`unsubscribe`](Self::unsubscribe) waits for that.
    ///
    /// # Errors
    /// No group, or partitions are assigned by hand; [`ConsumerError::Unsubscribing`].
    pub fn subscribe<Topic: Into<String>>(&mut self, topics: impl IntoIterator<Item = Topic>) -> Result<()> {
        self.subscribe_to(Subscription::to(topics), None)
    }

    /// As [`subscribe`](Self::subscribe), with hooks, in place of those of an earlier subscription.
    ///
    /// # Errors
    /// As [`subscribe`](Self::subscribe).
    pub fn subscribe_with<Topic: Into<String>>(
        &mut self,
        topics: impl IntoIterator<Item = Topic>,
        listener: impl RebalanceListener,
    ) -> Result<()> {
        self.subscribe_to(Subscription::to(topics), Some(Arc::new(listener)))
    }

    /// Subscribes to the topics whose whole names match a regular expression, instead of what was subscribed before. Topics
    /// that come later are found: under `group.protocol=consumer` by the coordinator, which takes RE2J's expressions;
    /// else by this consumer, every `metadata.max.age.ms`, which takes those of the `regex` crate (much the same), and
    /// passes over Kafka's own topics as `exclude.internal.topics` says. Returns at once.
    ///
    /// # Errors
    /// As [`subscribe`](Self::subscribe); [`ConsumerError::BadPattern`]. What the coordinator cannot read is told by the
    /// next call for records, and is fatal.
    pub fn subscribe_pattern(&mut self, pattern: impl Into<String>) -> Result<()> {
        let subscription = self.matching(pattern.into())?;
        self.subscribe_to(subscription, None)
    }

    /// As [`subscribe_pattern`](Self::subscribe_pattern), with hooks, in place of those of an earlier subscription.
    ///
    /// # Errors
    /// As [`subscribe_pattern`](Self::subscribe_pattern).
    pub fn subscribe_pattern_with(
        &mut self,
        pattern: impl Into<String>,
        listener: impl RebalanceListener,
    ) -> Result<()> {
        let subscription = self.matching(pattern.into())?;
        self.subscribe_to(subscription, Some(Arc::new(listener)))
    }

    fn matching(&self, pattern: String) -> Result<Subscription> {
        let pattern = match self.shared.config.group_protocol {
            GroupProtocol::Classic => TopicPattern::of_client(pattern)?,
            GroupProtocol::Consumer => TopicPattern::of_broker(pattern)?,
        };
        Ok(Subscription { topics: Vec::new(), pattern: Some(pattern) })
    }

    fn subscribe_to(&mut self, subscription: Subscription, listener: Option<Arc<dyn RebalanceListener>>) -> Result<()> {
        let listener = listener.map(|listener| {
            let shared = Arc::clone(&self.shared);
            Arc::new(TimedListener { listener, shared }) as Arc<dyn RebalanceListener>
        });
        let is_leaving = self.tasks.as_ref().ok_or(ConsumerError::Closed)?.is_leaving;
        self.shared.group_id("subscribing")?;
        if is_leaving {
            return Err(ConsumerError::Unsubscribing);
        }
        if subscription.is_empty() {
            // The member does not wait for the application to come back from what it was handed.
            self.put_back();
            self.shared.lock().in_hand = None;
            self.shared.member.notify_waiters();
        }
        let tasks = self.tasks.as_mut().ok_or(ConsumerError::Closed)?;
        {
            let mut state = self.shared.lock();
            if subscription.is_empty() && tasks.inbox.is_some() {
                // There is no membership to end.
                state.mode = Mode::Idle;
                state.positions.assign(&[]);
                state.inbox.purge();
                drop(state);
                self.shared.steward.notify_one();
                return Ok(());
            }
            if state.mode == Mode::Manual {
                return Err(ConsumerError::Conflict { operation: "subscribing" });
            }
            if subscription.pattern.is_some() {
                self.shared.pattern_is_new.store(true, Ordering::Release);
            }
            state.mode = Mode::Group(subscription);
        }
        self.shared.steward.notify_one();
        match tasks.inbox.take() {
            Some(news) => {
                let task = MemberTask { shared: Arc::clone(&self.shared), news, listener };
                tasks.member = Some(clock::spawn_on(&tasks.runtime, task.run()));
            }
            None => {
                if let Some(listener) = listener {
                    let _ = tasks.news.send(MemberNews::Hooks(Hooks(listener)));
                }
                let _ = tasks.news.send(MemberNews::SubscriptionChanged);
            }
        }
        Ok(())
    }

    /// Reads these partitions, and no others, without a group to share them with. Partitions that are read already stay
    /// where they are; [`seek`](ConsumerHandle::seek) moves them. Of those that are read no more, what was dealt with is
    /// committed in the background, where offsets are committed by themselves.
    ///
    /// # Errors
    /// The consumer is subscribed; a committed offset is asked for and there is no group; a negative partition.
    pub fn assign<Topic: Into<Arc<str>>>(
        &mut self,
        partitions: impl IntoIterator<Item = (Topic, i32, Start)>,
    ) -> Result<()> {
        if self.tasks.is_none() {
            return Err(ConsumerError::Closed);
        }
        let wanted: Vec<(Arc<str>, i32, Start)> =
            partitions.into_iter().map(|(topic, partition, start)| (topic.into(), partition, start)).collect();
        if wanted.iter().any(|(_, _, start)| *start == Start::Committed) {
            self.shared.group_id("reading from the committed offset")?;
        }
        {
            let state = self.shared.lock();
            if matches!(state.mode, Mode::Group(_)) {
                return Err(ConsumerError::Conflict { operation: "assigning partitions" });
            }
        }
        self.commit_before_assigning(&wanted);
        {
            let mut state = self.shared.lock();
            state.mode = Mode::Manual;
            state.positions.assign(&wanted);
            state.inbox.purge();
        }
        self.shared.steward.notify_one();
        Ok(())
    }

    /// Commits what was dealt with of partitions that are about to go.
    fn commit_before_assigning(&self, wanted: &[(Arc<str>, i32, Start)]) {
        if !self.shared.config.enable_auto_commit || self.shared.group_id("").is_err() {
            return;
        }
        let mut offsets = committer::committable(&self.shared, false);
        offsets.retain(|(place, _)| !wanted.iter().any(|one| *one.0 == *place.topic && one.1 == place.partition));
        if !offsets.is_empty() {
            let limit = self.shared.config.client.default_api_timeout;
            let _ = self.shared.commits.send(CommitOrder::new(&self.shared, offsets, limit, None));
        }
    }

    /// Gives up every partition, subscribed or assigned: leaves the group, after a last commit where offsets are committed
    /// by themselves. The consumer can subscribe or be assigned anew afterwards. Java's `unsubscribe`.
    ///
    /// Cancel safe: the membership goes on to end where this future is dropped, and a later call waits for that. Until
    /// then, to subscribe is an error.
    ///
    /// # Errors
    /// The last commit failed; the partitions are given up all the same. [`ConsumerError::Closed`].
    pub async fn unsubscribe(&mut self) -> Result<()> {
        self.put_back();
        let tasks = self.tasks.as_mut().ok_or(ConsumerError::Closed)?;
        self.shared.lock().in_hand = None;
        self.shared.member.notify_waiters();
        let mut result = Ok(());
        if let Some(member) = &mut tasks.member {
            tasks.is_leaving = true;
            let mut given_back = None;
            if !member.is_finished() {
                (result, given_back) = leave(&tasks.news, member, GroupMembershipOperation::Default).await;
            }
            let inbox = match given_back {
                Some(inbox) => Some(inbox),
                None => member.await.ok(),
            };
            (tasks.member, tasks.is_leaving) = (None, false);
            // What was for the member that is gone is not for the next one.
            tasks.inbox = inbox.map(|mut inbox| {
                while inbox.try_recv().is_ok() {}
                inbox
            });
        }
        let mut state = self.shared.lock();
        state.mode = Mode::Idle;
        state.shared_out = None;
        state.positions.assign(&[]);
        state.inbox.purge();
        drop(state);
        self.shared.steward.notify_one();
        self.shared.fetchers.notify_waiters();
        result
    }

    /// Waits for the next batch. Control batches, aborted transactions (under `read_committed`) and batches without
    /// records are passed over.
    ///
    /// Cancel safe: a batch counts as handed out only when this returns it.
    ///
    /// # Errors
    /// Trouble of a partition, after which the others go on and this can be called again; or an error that
    /// [is fatal](ConsumerError::is_fatal).
    pub async fn next_batch(&mut self) -> Result<Batch> {
        loop {
            if let Some(result) = waiting(self, |consumer, context| consumer.poll_next_batch(context, false)).await {
                return result;
            }
        }
    }

    /// As [`next_batch`](Self::next_batch), and `None` once every assigned partition that is not paused was read to the
    /// end that the last fetch told. More may come later: the next call then gives it. Cancel safe.
    ///
    /// # Errors
    /// As [`next_batch`](Self::next_batch).
    pub async fn next_batch_until_end(&mut self) -> Result<Option<Batch>> {
        waiting(self, |consumer, context| consumer.poll_next_batch(context, true)).await.transpose()
    }

    /// Waits for the next record. Cancel safe: a record counts as handed out only when this returns it.
    ///
    /// # Errors
    /// As [`next_batch`](Self::next_batch).
    pub async fn recv(&mut self) -> Result<ConsumerRecord> {
        loop {
            if let Some(result) = waiting(self, |consumer, context| consumer.poll_recv(context, false)).await {
                return result;
            }
        }
    }

    /// As [`recv`](Self::recv), and `None` at the end, as [`next_batch_until_end`](Self::next_batch_until_end). Cancel
    /// safe.
    ///
    /// # Errors
    /// As [`next_batch`](Self::next_batch).
    pub async fn recv_until_end(&mut self) -> Result<Option<ConsumerRecord>> {
        waiting(self, |consumer, context| consumer.poll_recv(context, true)).await.transpose()
    }

    /// Waits for a record, and takes what more is there without a wait, `max.poll.records` at most. Gives how many were
    /// put at the end of `records`. Cancel safe: it takes nothing before it returns.
    ///
    /// # Errors
    /// As [`next_batch`](Self::next_batch); where some records came before the error, those are given, and the error
    /// comes with the next call.
    pub async fn recv_many(&mut self, records: &mut Vec<ConsumerRecord>) -> Result<usize> {
        records.push(self.recv().await?);
        let mut count = 1;
        while count < self.shared.config.max_poll_records {
            match self.next_in_hand() {
                Some(record) => records.push(record),
                None => break,
            }
            count += 1;
        }
        Ok(count)
    }

    /// Commits what was handed out (where `enable.auto.commit` is on), calls the hooks, leaves the group and closes all
    /// connections. Commits that were asked for before and not awaited are made first. A static member stays in its group
    /// until `session.timeout.ms` has passed. Waits for 30 s at most.
    ///
    /// Where the future is dropped, the closing goes on in the background.
    ///
    /// # Errors
    /// The last commit failed; the group did not answer in time.
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

    /// The application is back: what it was handed is dealt with.
    #[inline]
    fn come_back(&mut self) {
        self.calls = self.calls.wrapping_add(1);
        self.shared.polls.store(self.calls, Ordering::Relaxed);
        if let Some(current) = &self.current {
            current.unpacker.chunk().progress.settle();
        }
    }

    pub(crate) fn poll_next_batch(
        &mut self,
        context: &mut Context<'_>,
        until_end: bool,
    ) -> Poll<Option<Result<Batch>>> {
        self.come_back();
        if let Some(current) = &mut self.current
            && let Some(open) = current.open.take()
            && current.unpacker.chunk().progress.is_flowing()
            && open.cursor.remaining() > 0
        {
            // The rest of a batch whose first records were taken one by one.
            let progress = &current.unpacker.chunk().progress;
            let batch = Batch { shared: open.shared, from: progress.position().unwrap_or(0) };
            progress.hand_out(batch.next_offset());
            return Poll::Ready(Some(Ok(batch)));
        }
        let polled = ready!(self.poll_open(context, until_end));
        if let (Some(Ok(batch)), Some(current)) = (&polled, &self.current) {
            current.unpacker.chunk().progress.hand_out(batch.next_offset());
        }
        Poll::Ready(polled)
    }

    pub(crate) fn poll_recv(
        &mut self,
        context: &mut Context<'_>,
        until_end: bool,
    ) -> Poll<Option<Result<ConsumerRecord>>> {
        self.come_back();
        loop {
            match self.next_of_open() {
                Some(Ok(record)) => return Poll::Ready(Some(Ok(record))),
                Some(Err(source)) => {
                    let offset = self.at_hand().map_or(0, |(_, _, position)| position);
                    return Poll::Ready(Some(Err(self.damaged(offset, source))));
                }
                None => {}
            }
            match ready!(self.poll_open(context, until_end)) {
                Some(Ok(batch)) => {
                    if let Err((offset, source)) = self.open(batch) {
                        return Poll::Ready(Some(Err(self.damaged(offset, source))));
                    }
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
    }

    /// The next record that is in hand already, without a wait and without an error.
    pub(crate) fn next_in_hand(&mut self) -> Option<ConsumerRecord> {
        loop {
            let current = self.current.as_mut()?;
            if !current.unpacker.chunk().progress.is_flowing() {
                return None;
            }
            if let Some(open) = &current.open {
                // A damaged record is left for the next call, which tells of it.
                let mut ahead = open.cursor.clone();
                match ahead.next_record() {
                    Some(Ok(_)) => return self.next_of_open().and_then(Result::ok),
                    Some(Err(_)) => return None,
                    None => {}
                }
            }
            // The next batch of the same chunk; a damaged one is left for the next call as well.
            let batch = current.unpacker.next_batch(&mut self.arena).ok()??;
            if let Err((offset, source)) = self.open(batch) {
                let error = self.damaged(offset, source);
                self.shared.lock().tell(error);
                return None;
            }
        }
    }

    /// The next record of the batch whose records are taken one by one.
    #[inline]
    fn next_of_open(&mut self) -> Option<Result<ConsumerRecord, RecordError>> {
        let current = self.current.as_mut()?;
        let progress = &current.unpacker.chunk().progress;
        if !progress.is_flowing() {
            return None;
        }
        let open = current.open.as_mut()?;
        match open.cursor.next_record() {
            Some(Ok(view)) => {
                let record = ConsumerRecord::new(&open.shared, &view);
                progress.hand_out(view.offset.saturating_add(1));
                Some(Ok(record))
            }
            Some(Err(error)) => Some(Err(error)),
            None => {
                // Offsets at the end of the batch that compaction has emptied.
                progress.pass(open.shared.batch.header().next_offset());
                progress.settle();
                current.open = None;
                None
            }
        }
    }

    /// Opens a batch of the current chunk, to take its records one by one.
    fn open(&mut self, batch: Batch) -> Result<(), (i64, RecordError)> {
        let mut cursor = batch.shared.batch.clone().into_cursor();
        cursor.skip_to(batch.from).map_err(|source| (batch.first_offset(), source))?;
        if let Some(current) = &mut self.current {
            current.open = Some(Open { shared: batch.shared, cursor });
        }
        Ok(())
    }

    /// The next batch that may be handed out: of the chunk at hand, else of the next one. It does not count as handed out
    /// yet.
    fn poll_open(&mut self, context: &mut Context<'_>, until_end: bool) -> Poll<Option<Result<Batch>>> {
        loop {
            if let Some(current) = &mut self.current {
                let progress = Arc::clone(&current.unpacker.chunk().progress);
                if !progress.is_flowing() {
                    self.put_back();
                    continue;
                }
                match current.unpacker.next_batch(&mut self.arena) {
                    Ok(Some(batch)) => {
                        progress.begin_batch(batch.shared.batch.header().partition_leader_epoch);
                        self.shared.interceptors.on_consume(&batch);
                        return Poll::Ready(Some(Ok(batch)));
                    }
                    Ok(None) => {
                        let chunk = current.unpacker.chunk();
                        progress.pass(chunk.next_offset);
                        progress.settle();
                        self.shared.metrics.chunk_done(&self.shared, &chunk.topic, chunk.partition, clock::now());
                        self.current = None;
                    }
                    Err(damage) => return Poll::Ready(Some(Err(self.damaged(damage.offset, damage.source)))),
                }
            }
            match ready!(self.poll_chunk(context, until_end)) {
                Some(Ok(())) => {}
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
    }

    /// Takes the next chunk out of the inbox, and measures how long that takes.
    fn poll_chunk(&mut self, context: &mut Context<'_>, until_end: bool) -> Poll<Option<Result<()>>> {
        let (began, between) = *self.waiting.get_or_insert_with(|| {
            let now = clock::now();
            (now, self.shared.metrics.poll_began(now))
        });
        let polled = ready!(self.poll_inbox(context, until_end));
        self.waiting = None;
        let now = clock::now();
        self.shared.metrics.poll_ended(now, now.saturating_duration_since(began), between);
        Poll::Ready(polled)
    }

    /// Takes the next chunk out of the inbox, under the lock.
    fn poll_inbox(&mut self, context: &mut Context<'_>, until_end: bool) -> Poll<Option<Result<()>>> {
        let mut state = self.shared.lock();
        state.in_hand = None;
        if state.awaited || (state.identity.is_none() && matches!(state.mode, Mode::Group(_))) {
            self.shared.member.notify_waiters();
        }
        if self.shared.is_closed() {
            return Poll::Ready(Some(Err(ConsumerError::Closed)));
        }
        if let Some(error) = state.errors.pop_front() {
            return Poll::Ready(Some(Err(error)));
        }
        if let Some(error) = &state.fatal {
            return Poll::Ready(Some(Err(error.clone())));
        }
        if std::mem::take(&mut self.took) {
            // Without this an application that is always ready would keep a runtime of one thread from fetching.
            drop(state);
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let was_full = state.inbox.room() == 0;
        let crate::shared::State { inbox, positions, .. } = &mut *state;
        let chunk = inbox.pop(|topic, partition| positions.is_withheld(topic, partition));
        for (topic, partition) in inbox.overflowing_aside() {
            positions.rewind(&topic, partition);
            inbox.purge();
            // Its leader may have changed while it was fetched, so that the position is to be checked.
            self.shared.steward.notify_one();
        }
        if was_full && inbox.room() > 0 {
            self.shared.fetchers.notify_waiters();
        }
        if let Some(chunk) = chunk {
            let (topic, partition) = (Arc::clone(&chunk.topic), chunk.partition);
            state.in_hand = Some(TopicPartition { topic, partition });
            drop(state);
            let config = &self.shared.config;
            let read_committed = config.isolation_level == IsolationLevel::ReadCommitted;
            self.current =
                Some(Current { unpacker: Unpacker::new(chunk, read_committed, config.check_crcs), open: None });
            self.took = true;
            return Poll::Ready(Some(Ok(())));
        }
        if until_end && state.positions.is_at_end() {
            return Poll::Ready(None);
        }
        state.waker = Some(context.waker().clone());
        self.is_in_call = true;
        Poll::Pending
    }

    /// Shows that the application is there and wants nothing yet; never ready but with an error.
    pub(crate) fn poll_idle(&mut self, context: &mut Context<'_>) -> Poll<ConsumerError> {
        self.come_back();
        let mut state = self.shared.lock();
        state.in_hand = None;
        if state.awaited || (state.identity.is_none() && matches!(state.mode, Mode::Group(_))) {
            self.shared.member.notify_waiters();
        }
        if self.shared.is_closed() {
            return Poll::Ready(ConsumerError::Closed);
        }
        if let Some(error) = state.errors.pop_front() {
            return Poll::Ready(error);
        }
        if let Some(error) = &state.fatal {
            return Poll::Ready(error.clone());
        }
        state.waker = Some(context.waker().clone());
        self.is_in_call = true;
        Poll::Pending
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
            let _ = self.handle.seek(record.topic(), record.partition(), Start::Offset(record.offset()));
        }
    }

    /// The partition at hand and the application's position in it.
    fn at_hand(&self) -> Option<(Arc<str>, i32, i64)> {
        let chunk = self.current.as_ref()?.unpacker.chunk();
        Some((Arc::clone(&chunk.topic), chunk.partition, chunk.progress.position().unwrap_or(0)))
    }

    /// Stops the partition at hand, whose bytes are damaged.
    fn damaged(&mut self, offset: i64, source: RecordError) -> ConsumerError {
        let Some((topic, partition, _)) = self.at_hand() else { return ConsumerError::Closed };
        self.current = None;
        let mut state = self.shared.lock();
        state.positions.halt(&topic, partition);
        state.inbox.purge();
        drop(state);
        // What was purged may have been all that kept the fetchers from fetching.
        self.shared.fetchers.notify_waiters();
        ConsumerError::Partition {
            partition: TopicPartition { topic, partition },
            source: PartitionError::Corrupt { offset, source: Arc::new(source) },
        }
    }
}

/// Nobody waits any more for what was waited for: the application is away, which `max.poll.interval.ms` is about.
impl Waits for Consumer {
    fn stop_waiting(&mut self) {
        if std::mem::take(&mut self.is_in_call) {
            self.shared.lock().waker = None;
        }
        if let Some((began, between)) = self.waiting.take() {
            let now = clock::now();
            self.shared.metrics.poll_ended(now, now.saturating_duration_since(began), between);
        }
    }
}

impl Deref for Consumer {
    type Target = ConsumerHandle;

    fn deref(&self) -> &ConsumerHandle {
        &self.handle
    }
}

/// Records one by one, as [`Consumer::recv`] gives them. It ends when the consumer is closed. Once it was polled, the
/// application counts as one that waits until there is something for it, for a stream is not told when nobody does.
impl Stream for Consumer {
    type Item = Result<ConsumerRecord>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match ready!(self.poll_recv(context, false)) {
            Some(Err(ConsumerError::Closed)) => Poll::Ready(None),
            other => Poll::Ready(other),
        }
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
