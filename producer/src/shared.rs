//! What the producer's handles and its tasks share.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use rkafka_client_core::{Client, Cluster};
use rkafka_protocol::records::{Codec, Compression};
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};

use crate::coordination::Coordination;
use crate::delivery::{BatchState, Delivery, Outcome};
use crate::interceptor::{Chain, Interceptors};
use crate::machine::accumulator::{AppendError, Limits, Resolutions};
use crate::machine::fill::Fill;
use crate::machine::sequence::ProducerIdentity;
use crate::machine::transaction::Transactions;
use crate::memory::Memory;
use crate::metrics::ProducerMetrics;
use crate::partition::{Mailbox, Partition, Slot};
use crate::partitioner::{CustomPartitioner, Partitioner};
use crate::topic::Topic;
use crate::{ConfigError, ProducerConfig, ProducerError, Record, TrySendError, clock};

/// Records are taken.
const OPEN: u8 = 0;
/// No more records are taken; those that were are sent without lingering.
const CLOSING: u8 = 1;
/// Nothing is sent any more.
const STOPPED: u8 = 2;
/// No records are taken now, for no transaction is open.
const BARRED: u8 = 3;

/// FNV-1a: topic names come from the application, are short, and are looked up once per record.
#[derive(Clone)]
pub(crate) struct NameHasher(u64);

impl Default for NameHasher {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for NameHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

type Topics = HashMap<Arc<str>, Arc<Topic>, BuildHasherDefault<NameHasher>>;

/// What the producer's handles and its tasks share.
pub(crate) struct Shared {
    pub(crate) client: Client,
    /// Whether the client belongs to this producer alone and ends with it.
    pub(crate) owns_client: bool,
    pub(crate) config: ProducerConfig,
    pub(crate) limits: Arc<Limits>,
    pub(crate) memory: Arc<Memory>,
    pub(crate) metrics: ProducerMetrics,
    pub(crate) codec: Codec,
    /// The application's own, in the place of the setting.
    partitioner: Option<Arc<dyn CustomPartitioner>>,
    pub(crate) interceptors: Option<Arc<Chain>>,
    /// Of a transactional producer.
    pub(crate) coordination: Option<Arc<Coordination>>,
    topics: RwLock<Topics>,
    senders: Mutex<BTreeMap<i32, Arc<Mailbox>>>,
    /// The mailbox of partitions without a leader, which the manager empties.
    pub(crate) orphanage: Arc<Mailbox>,
    pub(crate) identity: watch::Sender<Option<ProducerIdentity>>,
    /// Told when an identity is needed, with the id that is of no use any more.
    pub(crate) identity_wanted: watch::Sender<Option<Option<i64>>>,
    /// Why there is no identity yet.
    identity_trouble: Mutex<Option<Arc<str>>>,
    state: AtomicU8,
    pub(crate) stopped: Notify,
    /// The runtime that the producer was made on: its tasks run there, whoever's call makes them necessary.
    pub(crate) runtime: Handle,
    /// Held while the cluster is taken over, so that an older view never comes after a newer one.
    applying: Mutex<()>,
}

impl Shared {
    pub(crate) fn new(
        client: Client,
        owns_client: bool,
        config: ProducerConfig,
        partitioner: Option<Arc<dyn CustomPartitioner>>,
        interceptors: Interceptors,
    ) -> Result<Arc<Self>, ProducerError> {
        config.validate()?;
        if partitioner.is_some() && config.partitioner != Partitioner::Default {
            return Err(ProducerError::Config(ConfigError::Conflict {
                name: "partitioner".to_owned(),
                other: "ProducerOptions::partitioner".to_owned(),
                reason: "a producer has one partitioner: leave the setting out, or the one given in code".to_owned(),
            }));
        }
        let codec = config.codec()?;
        let most = match codec.compression() {
            Compression::None => config.batch_size,
            _ => Fill::most(config.batch_size, config.max_request_size),
        };
        let coordination = config.transactional_id.as_deref().map(|id| Arc::new(Coordination::new(id.into())));
        let transaction = coordination.as_ref().map(|coordination| coordination.sending.clone());
        let state = if coordination.is_some() { BARRED } else { OPEN };
        let memory = Arc::new(Memory::new(config.buffer_memory, config.batch_size, most));
        Ok(Arc::new(Self {
            owns_client,
            limits: Arc::new(Limits { transaction, ..config.limits() }),
            coordination,
            metrics: ProducerMetrics::new(&client, &memory),
            memory,
            client,
            codec,
            partitioner,
            interceptors: Chain::new(interceptors),
            config,
            topics: RwLock::default(),
            senders: Mutex::default(),
            orphanage: Mailbox::new(-1),
            identity: watch::Sender::new(None),
            identity_wanted: watch::Sender::new(None),
            identity_trouble: Mutex::default(),
            state: AtomicU8::new(state),
            stopped: Notify::new(),
            runtime: Handle::current(),
            applying: Mutex::default(),
        }))
    }

    /// Whether the end has not begun.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.state.load(Ordering::Acquire), OPEN | BARRED)
    }

    /// Changes the transactions' machine, and wakes the task that does what it says.
    pub(crate) fn with_transactions<R>(
        &self,
        coordination: &Coordination,
        change: impl FnOnce(&mut Transactions) -> R,
    ) -> R {
        let result = self.step_transactions(coordination, change);
        coordination.work.notify_one();
        result
    }

    /// Changes the transactions' machine, and what hangs on its stage, from the task that looks again anyway.
    pub(crate) fn step_transactions<R>(
        &self,
        coordination: &Coordination,
        change: impl FnOnce(&mut Transactions) -> R,
    ) -> R {
        // Under the machine's lock, and never over a close that has begun.
        let opened = |open: bool| {
            let (from, to) = if open { (BARRED, OPEN) } else { (OPEN, BARRED) };
            let _ = self.state.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire);
        };
        coordination.change(opened, change)
    }

    /// Waits until everything is stopped.
    pub(crate) async fn until_stopped(&self) {
        loop {
            let mut stopped = std::pin::pin!(self.stopped.notified());
            stopped.as_mut().enable();
            if self.is_stopped() {
                return;
            }
            stopped.await;
        }
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.state.load(Ordering::Acquire) == STOPPED
    }

    /// Whether lingering makes no sense now.
    pub(crate) fn is_in_a_hurry(&self) -> bool {
        !self.is_open() || self.memory.is_waited_for()
    }

    /// No more records; the manager stops everything once those that were taken are resolved.
    pub(crate) fn begin_close(&self) {
        for from in [OPEN, BARRED, OPEN] {
            let _ = self.state.compare_exchange(from, CLOSING, Ordering::AcqRel, Ordering::Acquire);
        }
        if let Some(coordination) = &self.coordination {
            // A transaction that is left behind is aborted; one that is being committed goes on.
            self.with_transactions(coordination, |machine| machine.end(false));
        }
        self.wake_all();
    }

    /// Ends the tasks. What is unresolved is given up; says how many batches that were.
    pub(crate) fn stop(&self) -> usize {
        self.state.store(STOPPED, Ordering::Release);
        let mut resolved = Resolutions::new();
        for partition in self.partitions() {
            partition.lock().queue.abandon(&mut resolved);
        }
        let given_up = resolved.len();
        self.resolve(&mut resolved);
        if self.owns_client {
            self.client.close();
        }
        self.wake_all();
        self.stopped.notify_waiters();
        if let Some(interceptors) = &self.interceptors {
            interceptors.close();
        }
        given_up
    }

    pub(crate) fn wake_all(&self) {
        self.orphanage.wake();
        self.senders.lock().unwrap_or_else(PoisonError::into_inner).values().for_each(|sender| sender.wake());
    }

    /// Says why there is no producer id, or that there is one.
    pub(crate) fn set_identity_trouble(&self, trouble: Option<Arc<str>>) {
        *self.identity_trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }

    pub(crate) fn identity_trouble(&self) -> Option<Arc<str>> {
        self.identity_trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The topic, where it was ever named.
    pub(crate) fn known_topic(&self, name: &str) -> Option<Arc<Topic>> {
        self.topics.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// The topic, which may have no partitions yet.
    pub(crate) fn topic(&self, name: &str) -> Arc<Topic> {
        if let Some(topic) = self.known_topic(name) {
            return topic;
        }
        let mut topics = self.topics.write().unwrap_or_else(PoisonError::into_inner);
        let name: Arc<str> = name.into();
        topics
            .entry(name.clone())
            .or_insert_with(|| {
                let fill = Fill::new(self.limits.batch_size, self.limits.record_size_max);
                Topic::new(name, rand::random(), fill, self.config.adaptation())
            })
            .clone()
    }

    fn all_topics(&self) -> Vec<Arc<Topic>> {
        self.topics.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    pub(crate) fn partitions(&self) -> Vec<Arc<Partition>> {
        self.all_topics().iter().flat_map(|topic| topic.all().cloned().collect::<Vec<_>>()).collect()
    }

    /// The mailbox of a broker's sender, and whether it is new, so that the sender must be started.
    pub(crate) fn sender(&self, broker: i32) -> (Arc<Mailbox>, bool) {
        let mut senders = self.senders.lock().unwrap_or_else(PoisonError::into_inner);
        let mut is_new = false;
        let mailbox = senders.entry(broker).or_insert_with(|| {
            is_new = true;
            Mailbox::new(broker)
        });
        (mailbox.clone(), is_new)
    }

    /// Takes over what the client knows now of every topic: new partitions, and who leads. `start` starts the sender of
    /// a broker.
    pub(crate) fn apply_cluster(&self, start: impl Fn(Arc<Mailbox>)) {
        self.apply(&self.all_topics(), &start);
    }

    /// As [`Shared::apply_cluster`], of one topic.
    pub(crate) fn apply_topic(&self, topic: &Arc<Topic>, start: impl Fn(Arc<Mailbox>)) {
        self.apply(std::slice::from_ref(topic), &start);
    }

    fn apply(&self, topics: &[Arc<Topic>], start: &impl Fn(Arc<Mailbox>)) {
        let _applying = self.applying.lock().unwrap_or_else(PoisonError::into_inner);
        // What the client knows is asked for under the lock: with a view taken before, a caller that was slow would
        // bring back a leader that is none any more, and nobody would correct it before the next change.
        let cluster = self.client.cluster();
        for topic in topics {
            self.apply_one(topic, &cluster, start);
        }
    }

    fn apply_one(&self, topic: &Topic, cluster: &Cluster, start: &impl Fn(Arc<Mailbox>)) {
        // A topic that is not there now may come back; its records wait for that until they expire.
        let Some(known) = cluster.topic(&topic.name) else { return };
        topic.set_id(known.id);
        let make = |index| {
            let (limits, fill) = (self.limits.clone(), topic.fill.clone());
            Partition::new(topic.name.clone(), index, limits, fill, self.orphanage.clone())
        };
        let count = u32::try_from(known.partitions.len()).unwrap_or(u32::MAX);
        topic.prepare(count, make);
        for partition in topic.all() {
            let leader = known.partition(partition.index).and_then(|known| known.leader);
            match leader.filter(|leader| cluster.broker(*leader).is_some()) {
                Some(leader) => {
                    let (mailbox, is_new) = self.sender(leader);
                    if is_new {
                        start(mailbox.clone());
                    }
                    partition.move_to(&mailbox);
                }
                None => partition.move_to(&self.orphanage),
            }
        }
        topic.publish(count);
    }

    /// The hot path: chooses the partition, takes its lock once, writes the record into its open batch.
    /// `in_turn` says that the caller has waited for memory and is the first of those who do.
    pub(crate) fn append(&self, topic: &Topic, record: &Record<'_>, in_turn: bool) -> Result<Delivery, TrySendError> {
        let (partition, sticky) = self.place(topic, record)?;
        let slot = self.lock_open(partition)?;
        let (delivery, ..) = self.append_locked(topic, partition, slot, record, (sticky, in_turn))?;
        Ok(delivery)
    }

    /// Where a record goes, and whether the sticky partitioner said so.
    #[inline]
    pub(crate) fn place<'t>(
        &self,
        topic: &'t Topic,
        record: &Record<'_>,
    ) -> Result<(&'t Arc<Partition>, bool), TrySendError> {
        match record.partition {
            None => match &self.partitioner {
                None => topic.choose(self.config.partitioner, record.key, self.config.partitioner_ignore_keys),
                Some(partitioner) => topic.choose_by(partitioner.as_ref(), record)?,
            }
            .ok_or_else(|| self.no_metadata()),
            Some(index) => match u32::try_from(index).ok().and_then(|index| topic.partition(index)) {
                Some(partition) => Ok((partition, false)),
                None if topic.count() == 0 => Err(self.no_metadata()),
                None => {
                    let (topic, partitions) = (topic.name.clone(), topic.count());
                    Err(ProducerError::UnknownPartition { topic, partition: index, partitions }.into())
                }
            },
        }
    }

    /// The partition's lock, where records are taken.
    #[inline]
    pub(crate) fn lock_open<'p>(&self, partition: &'p Partition) -> Result<MutexGuard<'p, Slot>, TrySendError> {
        let slot = partition.lock();
        // Under the lock: a record that came in beside the last look of `flush` or `stop` would wait for ever.
        if self.state.load(Ordering::Acquire) != OPEN {
            return Err(self.not_open().into());
        }
        Ok(slot)
    }

    /// Writes the record into the open batch of a partition; `sticky` as [`Shared::place`] said, `in_turn` as in
    /// [`Shared::append`]. Gives the lock back where nobody had to be woken, and says
    /// whether the sticky partitioner has gone on.
    #[inline]
    pub(crate) fn append_locked<'p>(
        &self,
        topic: &Topic,
        partition: &'p Arc<Partition>,
        mut slot: MutexGuard<'p, Slot>,
        record: &Record<'_>,
        (sticky, in_turn): (bool, bool),
    ) -> Result<(Delivery, Option<MutexGuard<'p, Slot>>, bool), TrySendError> {
        let timestamp = record.timestamp.unwrap_or_else(clock::timestamp_ms);
        match slot.queue.append(record, timestamp, sticky, &self.memory, in_turn, clock::now) {
            Ok(appended) => {
                let mut slot = if appended.wake {
                    partition.signal(slot);
                    None
                } else {
                    Some(slot)
                };
                if appended.switch {
                    // Every partition's lock is taken in its turn.
                    slot = None;
                    topic.switch_sticky(clock::now);
                }
                Ok((Delivery::new(appended.state, appended.index, timestamp), slot, appended.switch))
            }
            Err(error) => Err(not_taken(topic, partition, slot, error)),
        }
    }

    /// Why no record is taken.
    #[cold]
    fn not_open(&self) -> ProducerError {
        let maybe_written = false;
        match &self.coordination {
            Some(coordination) if self.is_open() => {
                let reason = coordination.look(|machine| machine.error().map(|error| error.to_string().into()));
                ProducerError::TransactionAborted { reason, maybe_written }
            }
            _ => ProducerError::Closed { maybe_written },
        }
    }

    #[cold]
    fn no_metadata(&self) -> TrySendError {
        if self.is_open() {
            TrySendError::NoMetadata
        } else {
            TrySendError::Refused(ProducerError::Closed { maybe_written: false })
        }
    }

    /// Sends every open batch, and gives what has to be waited for: states, each with the last record of interest.
    pub(crate) fn close_batches(&self) -> Vec<(Arc<BatchState>, u32)> {
        let (mut unresolved, now) = (Vec::new(), clock::now());
        for partition in self.partitions() {
            let mut slot = partition.lock();
            slot.queue.close_open(now);
            slot.queue.unresolved(&mut unresolved);
            if !slot.queue.is_idle() {
                partition.signal(slot);
            }
        }
        unresolved
    }

    /// Tells everybody who waits. No lock may be held: callbacks run here. The transaction learns of failures first, so
    /// that who was told of one finds it doomed.
    pub(crate) fn resolve(&self, resolved: &mut Resolutions) {
        if let Some(coordination) = &self.coordination {
            for (receipt, outcome) in &*resolved {
                match outcome {
                    Outcome::Failed(ProducerError::TransactionAborted { .. }) | Outcome::Written { .. } => {}
                    Outcome::Failed(error) if !receipt.is_told() => {
                        self.with_transactions(coordination, |machine| machine.on_send_failed(error));
                    }
                    Outcome::Failed(_) => {}
                }
            }
        }
        for (receipt, outcome) in resolved.drain(..) {
            if let Outcome::Failed(_) = &outcome
                && !receipt.is_told()
            {
                self.metrics.failed(clock::now(), receipt.topic(), receipt.count());
            }
            receipt.resolve(outcome);
        }
    }

    /// Waits until no transaction is being ended.
    pub(crate) async fn settled(&self) {
        if let Some(coordination) = &self.coordination {
            coordination.wait_for(|machine| (!machine.is_ending()).then_some(())).await;
        }
    }

    /// Waits until every record that was taken before is resolved, and everybody was told.
    pub(crate) async fn flush(&self) {
        for (state, last) in self.close_batches() {
            state.settled(last).await;
        }
    }
}

/// What a record that was not taken means for its sender.
#[cold]
fn not_taken(
    topic: &Topic,
    partition: &Arc<Partition>,
    slot: MutexGuard<'_, Slot>,
    error: AppendError,
) -> TrySendError {
    let name = topic.name.clone();
    // The batch before may have been closed for it, and then lingers no more.
    if !matches!(error, AppendError::Full { wake: false }) {
        partition.signal(slot);
    }
    match error {
        AppendError::Full { .. } => TrySendError::Full,
        AppendError::TooLarge { size, limit, setting } => {
            ProducerError::RecordTooLarge { topic: name, size, limit, setting }.into()
        }
        AppendError::Encode(error) => {
            let detail = error.to_string().into();
            ProducerError::Encode { topic: name, partition: partition.index, detail }.into()
        }
    }
}
