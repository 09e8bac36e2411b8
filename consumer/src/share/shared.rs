//! What the application's side and the tasks of a share consumer share.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Instant;

use rkafka_client_core::{Client, TopicPartition};
use tokio::sync::{Notify, oneshot};
use uuid::Uuid;

use super::acknowledgement::AcknowledgementResult;
use super::config::{AcknowledgementMode, AcquireMode, ShareConsumerConfig};
use super::error::ShareConsumerError;
use super::machine::ledger::NOBODY;
use super::machine::session::{Event, Hunger, Place, Session, SessionTerms};
use super::metrics::ShareMetrics;
use super::unpack::ShareChunk;
use crate::clock;
use crate::error::PartitionError;

/// What the application has called with what became of acknowledgements.
pub(crate) type Callback = Arc<dyn Fn(&AcknowledgementResult) + Send + Sync>;

/// How many different errors wait for the application, at most; more of the same kind tell nothing new.
const ERRORS_MAX: usize = 64;

pub(crate) struct Shared {
    pub(crate) config: ShareConsumerConfig,
    pub(crate) client: Client,
    pub(crate) group_id: String,
    pub(crate) member_id: String,
    state: Mutex<State>,
    callback: Mutex<Option<Callback>>,
    /// Counts the application's calls, so that nobody needs to read a clock for each.
    pub(crate) polls: AtomicU64,
    /// Wakes those who talk to the leaders.
    pub(crate) leaders: Notify,
    /// Wakes the steward: the assignment changed, or the metadata is old.
    pub(crate) steward: Notify,
    /// Wakes the member: the subscription changed, or the application came back.
    pub(crate) member: Notify,
    /// The metadata is known to be old.
    pub(crate) stale: AtomicBool,
    closed: AtomicBool,
    pub(crate) metrics: ShareMetrics,
    /// Where the tasks run.
    pub(crate) runtime: tokio::runtime::Handle,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Shared")
            .field("group_id", &self.group_id)
            .field("member_id", &self.member_id)
            .finish_non_exhaustive()
    }
}

/// What the lock guards.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) topics: Vec<String>,
    pub(crate) assignment: BTreeSet<Place>,
    /// The names of the topics that were ever assigned.
    pub(crate) names: HashMap<Uuid, Arc<str>>,
    pub(crate) sessions: BTreeMap<i32, Session>,
    inbox: VecDeque<ShareChunk>,
    queued_bytes: usize,
    queued_records: usize,
    /// Counts the chunks that the application took.
    pops: u64,
    /// How many chunks it had taken when a broker was last asked ahead of it.
    asked_ahead: HashMap<i32, u64>,
    /// By `record_limit`: the broker that is asked now, and the one that was asked last.
    asked: Option<i32>,
    last_asked: Option<i32>,
    errors: VecDeque<ShareConsumerError>,
    pub(crate) fatal: Option<ShareConsumerError>,
    /// The application waits in a call, and is woken by this.
    pub(crate) waker: Option<Waker>,
    /// The commit that is next.
    commit: u64,
    waiters: Vec<Waiter>,
    pub(crate) is_closing: bool,
}

/// A commit that is waited for.
#[derive(Debug)]
struct Waiter {
    commit: u64,
    results: Vec<AcknowledgementResult>,
    reply: oneshot::Sender<Vec<AcknowledgementResult>>,
}

impl State {
    /// Keeps an error for the application, unless the same one waits already.
    pub(crate) fn tell(&mut self, error: ShareConsumerError) {
        if self.errors.len() < ERRORS_MAX && !self.errors.iter().any(|other| other.to_string() == error.to_string()) {
            self.errors.push_back(error);
        }
        self.wake();
    }

    /// Ends the consumer by an error.
    pub(crate) fn fail(&mut self, error: ShareConsumerError) {
        self.fatal.get_or_insert(error);
        self.wake();
    }

    /// The next error that the application is to be told.
    pub(crate) fn next_error(&mut self) -> Option<ShareConsumerError> {
        self.errors.pop_front().or_else(|| self.fatal.clone())
    }

    /// An acknowledgement that failed, and that nobody was told of.
    pub(crate) fn next_acknowledgement_error(&mut self) -> Option<ShareConsumerError> {
        let at = self.errors.iter().position(|error| matches!(error, ShareConsumerError::Acknowledge { .. }))?;
        self.errors.remove(at)
    }

    pub(crate) fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    pub(crate) fn push(&mut self, chunk: ShareChunk) {
        self.queued_bytes = self.queued_bytes.saturating_add(chunk.records.len());
        self.queued_records = self.queued_records.saturating_add(chunk.len());
        self.inbox.push_back(chunk);
        self.wake();
    }

    /// Takes the first chunk that may still be handed out.
    pub(crate) fn pop(&mut self) -> Option<ShareChunk> {
        while let Some(chunk) = self.inbox.pop_front() {
            self.queued_bytes = self.queued_bytes.saturating_sub(chunk.records.len());
            self.queued_records = self.queued_records.saturating_sub(chunk.len());
            if chunk.hold.cursor().is_some() {
                self.pops = self.pops.wrapping_add(1);
                return Some(chunk);
            }
        }
        None
    }

    pub(crate) fn partition(&self, place: Place) -> TopicPartition {
        let topic = self.names.get(&place.topic_id).cloned().unwrap_or_else(|| place.topic_id.to_string().into());
        TopicPartition { topic, partition: place.partition }
    }

    /// The session with a broker, made where there is none.
    pub(crate) fn session(&mut self, config: &ShareConsumerConfig, broker: i32) -> &mut Session {
        let commit = self.commit;
        self.sessions.entry(broker).or_insert_with(|| {
            let terms = SessionTerms {
                broker,
                is_implicit: config.share_acknowledgement_mode == AcknowledgementMode::Implicit,
                retry_backoff: config.client.retry_backoff,
                retry_backoff_max: config.client.retry_backoff_max,
            };
            Session::new(terms, commit)
        })
    }

    /// How much the application wants records of a broker now, and notes that it is asked where it is.
    pub(crate) fn hunger(&mut self, config: &ShareConsumerConfig, broker: i32, now: Instant) -> Hunger {
        if self.is_closing || self.fatal.is_some() {
            return Hunger::None;
        }
        let waits = self.waker.is_some() && self.inbox.is_empty();
        match config.share_acquire_mode {
            AcquireMode::RecordLimit => {
                let mine = waits && self.asked.is_none() && self.whose_turn(now) == Some(broker);
                if mine { Hunger::Waiting } else { Hunger::None }
            }
            AcquireMode::BatchOptimized if waits => Hunger::Waiting,
            AcquireMode::BatchOptimized => {
                let is_full =
                    self.queued_bytes >= config.queued_max_bytes || self.queued_records >= config.max_poll_records;
                let is_news = self.pops > 0 && self.asked_ahead.get(&broker) != Some(&self.pops);
                if !is_full && is_news { Hunger::Ahead } else { Hunger::None }
            }
        }
    }

    /// By `record_limit` one broker is asked at a time, in turns.
    fn whose_turn(&self, now: Instant) -> Option<i32> {
        let able = || self.sessions.iter().filter(|(_, session)| session.can_fetch(now)).map(|(broker, _)| *broker);
        let last = self.last_asked;
        able().find(|broker| last.is_some_and(|last| *broker > last)).or_else(|| able().next())
    }

    /// A broker is asked for records.
    pub(crate) fn note_asked(&mut self, broker: i32) {
        self.asked = Some(broker);
        self.last_asked = Some(broker);
        self.asked_ahead.insert(broker, self.pops);
    }

    /// It has answered, or will not.
    pub(crate) fn note_answered(&mut self, broker: i32) {
        if self.asked == Some(broker) {
            self.asked = None;
        }
    }

    /// How many bytes may be fetched now.
    pub(crate) fn room(&self, config: &ShareConsumerConfig) -> usize {
        config.queued_max_bytes.saturating_sub(self.queued_bytes).max(1)
    }

    /// Everything that was said so far is sent, and `reply` is told what became of it.
    pub(crate) fn begin_commit(&mut self, reply: oneshot::Sender<Vec<AcknowledgementResult>>) {
        let commit = self.commit;
        self.commit += 1;
        for session in self.sessions.values_mut() {
            session.ledger.collect();
            session.ledger.begin_commit(self.commit);
            session.flush();
        }
        self.waiters.push(Waiter { commit, results: Vec::new(), reply });
    }

    /// Everything is over: nobody waits any longer.
    pub(crate) fn end_waiters(&mut self) {
        self.waiters.clear();
    }
}

impl Shared {
    pub(crate) fn new(config: ShareConsumerConfig, client: Client, group_id: String, member_id: String) -> Self {
        Self {
            metrics: ShareMetrics::new(client.shared().metrics().clone()),
            runtime: clock::runtime(),
            config,
            client,
            group_id,
            member_id,
            state: Mutex::new(State::default()),
            callback: Mutex::new(None),
            polls: AtomicU64::new(0),
            leaders: Notify::new(),
            steward: Notify::new(),
            member: Notify::new(),
            stale: AtomicBool::new(false),
            closed: AtomicBool::new(false),
        }
    }

    /// The state. A panic elsewhere while it was held leaves it as whole as it was: every change is one call.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    pub(crate) fn mark_closed(&self) {
        self.closed.store(true, Ordering::Release);
        let mut state = self.lock();
        state.end_waiters();
        state.wake();
    }

    pub(crate) fn is_explicit(&self) -> bool {
        self.config.share_acknowledgement_mode == AcknowledgementMode::Explicit
    }

    pub(crate) fn set_callback(&self, callback: Callback) {
        *self.callback.lock().unwrap_or_else(PoisonError::into_inner) = Some(callback);
    }

    pub(crate) fn refresh_metadata(&self) {
        self.stale.store(true, Ordering::Release);
        self.steward.notify_one();
    }

    /// Tells whoever must know what became of acknowledgements, and what else the sessions have to say.
    pub(crate) fn publish(&self) {
        let callback = self.callback.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut for_callback = Vec::new();
        let mut is_stale = false;
        let now = clock::now();
        {
            let mut state = self.lock();
            let (mut outcomes, mut events) = (Vec::new(), Vec::new());
            for session in state.sessions.values_mut() {
                outcomes.extend(session.ledger.take_outcomes());
                events.extend(session.take_events());
            }
            for outcome in outcomes {
                let records = outcome.offsets.iter().map(|(first, last)| last.saturating_sub(*first).saturating_add(1));
                self.metrics.acknowledged(now, records.fold(0, i64::saturating_add), outcome.result.is_err());
                if outcome.commit == NOBODY {
                    // Holes, and records that the application never saw: whatever it is, the broker sees to them.
                    continue;
                }
                let partition = state.partition(outcome.place);
                let result = AcknowledgementResult { partition, offsets: outcome.offsets, result: outcome.result };
                let mut is_told = callback.is_some();
                for waiter in state.waiters.iter_mut().filter(|waiter| outcome.commit <= waiter.commit) {
                    is_told |= !waiter.reply.is_closed();
                    waiter.results.push(result.clone());
                }
                if let (Err(source), false) = (&result.result, is_told) {
                    let (partition, offsets) = (result.partition.clone(), result.offsets.clone());
                    state.tell(ShareConsumerError::Acknowledge { partition, offsets, source: source.clone() });
                }
                if callback.is_some() {
                    for_callback.push(result);
                }
            }
            let waiters = std::mem::take(&mut state.waiters);
            for waiter in waiters {
                if state.sessions.values().any(|session| session.ledger.is_open(waiter.commit)) {
                    state.waiters.push(waiter);
                } else {
                    let _ = waiter.reply.send(waiter.results);
                }
            }
            for event in events {
                match event {
                    Event::Stale => is_stale = true,
                    Event::Trouble { place, code } => {
                        let partition = state.partition(place);
                        let source = PartitionError::Broker { code };
                        state.tell(ShareConsumerError::Partition { partition, source });
                    }
                    Event::Refused { code, message } => {
                        state.tell(ShareConsumerError::Group { group_id: self.group_id.clone(), code, message });
                    }
                }
            }
        }
        if is_stale {
            self.refresh_metadata();
        }
        if let Some(callback) = callback {
            for result in &for_callback {
                // The application's code must not end the task that calls it.
                if catch_unwind(AssertUnwindSafe(|| callback(result))).is_err() {
                    tracing::error!("the acknowledgement callback panicked");
                }
            }
        }
    }
}
