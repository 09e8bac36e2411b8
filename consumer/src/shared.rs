//! What the application's side and the tasks of a consumer share.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Instant;

use rkafka_assignor::Assignor;
use rkafka_client_core::Client;
use tokio::sync::{Notify, mpsc};

use crate::clock::{self, Errand};
use crate::config::{ConsumerConfig, IsolationLevel};
use crate::driver::committer::CommitOrder;
use crate::error::ConsumerError;
use crate::interceptor::Interceptors;
use crate::machine::inbox::{Chunk, Inbox};
use crate::machine::membership::Wanted;
use crate::machine::positions::{Cursor, Fetched, Positions};
use crate::metrics::ConsumerMetrics;
use crate::pattern::TopicPattern;
use crate::strategy::Strategy;
use crate::subscription::TopicPartition;

/// What the application's side and the tasks of a consumer share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: ConsumerConfig,
    pub(crate) client: Client,
    /// What `partition.assignment.strategy` names, in its order.
    pub(crate) assignors: Vec<Arc<dyn Assignor>>,
    /// Whether those keep partitions over a rebalance.
    pub(crate) is_cooperative: bool,
    state: Mutex<State>,
    /// Counts the application's calls, so that nobody needs to read a clock for each.
    pub(crate) polls: AtomicU64,
    /// Wakes the fetchers: a partition became ready, or room became free.
    pub(crate) fetchers: Notify,
    /// Wakes the steward: something is to be looked up, or the assignment changed.
    pub(crate) steward: Notify,
    /// Wakes the member: the application came back, or the subscription changed.
    pub(crate) member: Notify,
    pub(crate) commits: mpsc::UnboundedSender<CommitOrder>,
    pub(crate) closed: AtomicBool,
    /// The metadata is known to be old.
    pub(crate) stale: AtomicBool,
    /// A pattern was subscribed to since all topics were looked at.
    pub(crate) pattern_is_new: AtomicBool,
    pub(crate) metrics: ConsumerMetrics,
    pub(crate) interceptors: Interceptors,
    /// Where the tasks run, and what goes over the network.
    runtime: tokio::runtime::Handle,
}

/// What the lock guards.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) positions: Positions,
    pub(crate) inbox: Inbox,
    pub(crate) errors: VecDeque<ConsumerError>,
    /// An error after which nothing more comes.
    pub(crate) fatal: Option<ConsumerError>,
    /// The application waits in a call, and is woken by this.
    pub(crate) waker: Option<Waker>,
    /// Of which partition the application was handed something and has not come back.
    pub(crate) in_hand: Option<TopicPartition>,
    /// Partitions are being given up, and the member waits for the application to come back.
    pub(crate) awaited: bool,
    /// The generation and member id to commit under; `None` where there is no group or no membership.
    pub(crate) identity: Option<(i32, String)>,
    pub(crate) mode: Mode,
    /// How many partitions each topic of the group had when this member, as the leader, shared them out.
    pub(crate) shared_out: Option<HashMap<String, usize>>,
    /// The consumer was dropped, not closed: what is in hand may not have been dealt with.
    pub(crate) dropped: bool,
    /// The consumer is being closed, and no commit is waited for any longer than this.
    pub(crate) commit_by: Option<Instant>,
}

/// Who decides what is read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Mode {
    /// Nobody yet.
    #[default]
    Idle,
    /// The application.
    Manual,
    /// The group: these topics are subscribed.
    Group(Subscription),
}

/// Which topics a member wants.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Subscription {
    /// By name; those that a pattern means where this side finds them.
    pub(crate) topics: Vec<String>,
    /// By a pattern.
    pub(crate) pattern: Option<TopicPattern>,
}

impl Subscription {
    /// Of these topics.
    pub(crate) fn to<Topic: Into<String>>(topics: impl IntoIterator<Item = Topic>) -> Self {
        Self { topics: topics.into_iter().map(Into::into).collect(), pattern: None }
    }

    /// Whether it asks for nothing, which is to unsubscribe.
    pub(crate) fn is_empty(&self) -> bool {
        self.topics.is_empty() && self.pattern.is_none()
    }

    /// What the member is told; `None` while it is not known which topics the pattern means.
    pub(crate) fn wanted(&self) -> Option<Wanted> {
        let pattern = match &self.pattern {
            None => None,
            Some(TopicPattern::OfBroker(text)) => Some(text.clone()),
            Some(TopicPattern::OfClient { is_resolved: true, .. }) => None,
            Some(TopicPattern::OfClient { is_resolved: false, .. }) => return None,
        };
        Some(Wanted { topics: self.topics.iter().cloned().collect(), pattern })
    }
}

/// How many different errors wait for the application, at most; more of the same kind tell nothing new.
const ERRORS_MAX: usize = 64;

impl State {
    /// Keeps an error for the application, unless the same one waits already.
    pub(crate) fn tell(&mut self, error: ConsumerError) {
        if self.errors.len() < ERRORS_MAX && !self.errors.iter().any(|other| other.to_string() == error.to_string()) {
            self.errors.push_back(error);
        }
        self.wake();
    }

    /// Whether nothing was subscribed or assigned, so that nothing will ever come.
    pub(crate) fn reads_nothing(&self) -> bool {
        match &self.mode {
            Mode::Idle => true,
            Mode::Manual => self.positions.topics().next().is_none(),
            Mode::Group(subscription) => subscription.is_empty(),
        }
    }

    /// Which assignment each partition is of.
    pub(crate) fn tenures<T>(&self, places: &[(TopicPartition, T)]) -> Vec<Option<u64>> {
        places.iter().map(|(place, _)| self.positions.tenure(&place.topic, place.partition)).collect()
    }

    /// Ends the consumer by an error.
    pub(crate) fn fail(&mut self, error: ConsumerError) {
        self.fatal.get_or_insert(error);
        self.wake();
    }

    /// Wakes the application, if it waits.
    pub(crate) fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl Shared {
    pub(crate) fn new(
        config: ConsumerConfig,
        client: Client,
        strategy: Strategy,
        interceptors: Interceptors,
        commits: mpsc::UnboundedSender<CommitOrder>,
    ) -> Self {
        let mut positions = Positions::new(
            config.auto_offset_reset,
            config.isolation_level == IsolationLevel::ReadCommitted,
            config.client.retry_backoff,
            config.client.metadata_max_age,
        );
        positions.commit_marked_only(!config.enable_auto_offset_store);
        let inbox = Inbox::new(config.queued_max_bytes);
        let metrics = ConsumerMetrics::new(client.shared().metrics().clone());
        Self {
            config,
            client,
            assignors: strategy.assignors,
            is_cooperative: strategy.is_cooperative,
            state: Mutex::new(State {
                positions,
                inbox,
                errors: VecDeque::new(),
                fatal: None,
                waker: None,
                in_hand: None,
                awaited: false,
                identity: None,
                mode: Mode::Idle,
                shared_out: None,
                dropped: false,
                commit_by: None,
            }),
            polls: AtomicU64::new(0),
            fetchers: Notify::new(),
            steward: Notify::new(),
            member: Notify::new(),
            commits,
            closed: AtomicBool::new(false),
            stale: AtomicBool::new(false),
            pattern_is_new: AtomicBool::new(false),
            metrics,
            interceptors,
            runtime: clock::runtime(),
        }
    }

    /// Runs a question of the application on the consumer's own runtime, whatever polls the answer: a connection lives
    /// where it was made, and the tasks would wait for one whose runtime is idle or gone. Who drops the future ends it.
    pub(crate) async fn at_home<T: Send + 'static>(
        &self,
        question: impl Future<Output = Result<T, ConsumerError>> + Send + 'static,
    ) -> Result<T, ConsumerError> {
        Errand::begin(&self.runtime, question).end().await.unwrap_or(Err(ConsumerError::Closed))
    }

    /// The state. A panic elsewhere while it was held leaves it as whole as it was: every change is one call.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Has the steward fetch metadata.
    pub(crate) fn refresh_metadata(&self) {
        self.stale.store(true, Ordering::Release);
        self.steward.notify_one();
    }

    /// The group's id.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn group_id(&self, operation: &'static str) -> Result<&str, ConsumerError> {
        match self.config.group_id.as_deref() {
            Some(group_id) if !group_id.is_empty() => Ok(group_id),
            _ => Err(ConsumerError::NoGroup { operation }),
        }
    }

    /// Takes the chunk of one response into the inbox, gives the cursors back, and tells who must know. One lock for
    /// the whole response.
    pub(crate) fn accept(
        &self,
        broker: i32,
        outcomes: impl IntoIterator<Item = (Cursor, Fetched, Option<Chunk>)>,
        now: Instant,
    ) {
        let mut refresh_metadata = false;
        let mut look_up = false;
        let mut wake = false;
        let mut elsewhere = false;
        let mut state = self.lock();
        let state = &mut *state;
        for (cursor, fetched, chunk) in outcomes {
            let (topic, partition) = (Arc::clone(&cursor.topic), cursor.partition);
            wake |= !cursor.end_known;
            let verdict = state.positions.give_back(broker, cursor, fetched, now);
            look_up |= verdict.new_source || verdict.look_up;
            refresh_metadata |= verdict.refresh_metadata;
            elsewhere |= state.positions.source(&topic, partition).is_some_and(|source| source != broker);
            if verdict.accept
                && let Some(chunk) = chunk
            {
                state.inbox.push(chunk);
                wake = true;
            }
            if let Some(source) = verdict.error {
                state.tell(ConsumerError::Partition { partition: TopicPartition { topic, partition }, source });
            }
        }
        if wake {
            state.wake();
        }
        if elsewhere {
            // The partition moved while it was being fetched: the fetcher of its new leader has nothing else to wake it.
            self.fetchers.notify_waiters();
        }
        if refresh_metadata {
            self.refresh_metadata();
        } else if look_up {
            self.steward.notify_one();
        }
    }
}
