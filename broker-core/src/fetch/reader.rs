//! Sessions as the broker has them: what the machines decide about, read from partitions.

use std::sync::{Arc, Mutex, MutexGuard};

use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::FetchRequest;
use rkafka_protocol::messages::fetch_request::FetchTopic;
use rkafka_protocol::messages::fetch_response::{AbortedTransaction, EpochEndOffset, PartitionData};
use rkafka_protocol::records::Compression;
use uuid::Uuid;

use super::{
    Answered, Asked, Cache, Entry, FINAL_EPOCH, INITIAL_EPOCH, NO_SESSION, Session, Topic, TopicKey, next_epoch,
};
use crate::BrokerState;
use crate::controller::MetadataImage;
use crate::locks::lock;
use crate::log::Log;
use crate::replication::{FollowerAsk, FollowerFetch, Partition, PartitionRead, ReadFailure, Waiter};

/// A session of at least so many partitions stays registered with them between its fetches. A smaller one registers only
/// while it waits, so that clients which went without a word cost the producers nothing.
const KEPT_REGISTERED_MIN: usize = 128;

/// A session that the cache and a fetch have in their hands.
pub(crate) type SharedSession = Arc<Mutex<FetchSession>>;

/// The session's state. What a panic left behind is no worse than what a client may send: the session is read on.
pub(crate) fn locked(session: &SharedSession) -> MutexGuard<'_, FetchSession> {
    lock(session)
}

/// The sessions of this broker.
#[derive(Debug)]
pub(crate) struct FetchSessions {
    cache: Mutex<Cache<SharedSession>>,
}

/// How a fetch began, and so how it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// All partitions are named and answered.
    Whole { wants_session: bool },
    /// The session goes on, and has this epoch unless another fetch comes between.
    Incremental { id: i32, epoch: i32 },
}

impl FetchSessions {
    /// No sessions, and room for so many.
    pub fn new(slots: usize) -> Self {
        Self { cache: Mutex::new(Cache::new(slots)) }
    }

    fn cache(&self) -> MutexGuard<'_, Cache<SharedSession>> {
        lock(&self.cache)
    }

    /// Takes in what a request asks.
    ///
    /// # Errors
    /// `FETCH_SESSION_ID_NOT_FOUND`, `INVALID_FETCH_SESSION_EPOCH`, `FETCH_SESSION_TOPIC_ID_ERROR`.
    pub fn open(
        &self,
        request: &mut FetchRequest,
        uses_topic_ids: bool,
        is_follower: bool,
        now_ms: i64,
    ) -> Result<(SharedSession, Turn), ErrorCode> {
        let id = request.session_id;
        if matches!(request.session_epoch, INITIAL_EPOCH | FINAL_EPOCH) {
            if id != NO_SESSION {
                let ended = self.cache().remove(id);
                drop(ended);
            }
            let mut session = FetchSession::new(uses_topic_ids, is_follower);
            session.ask(std::mem::take(&mut request.topics));
            let wants_session = request.session_epoch == INITIAL_EPOCH;
            return Ok((Arc::new(Mutex::new(session)), Turn::Whole { wants_session }));
        }
        let shared = self.cache().get(id).map(Arc::clone).ok_or(ErrorCode::FetchSessionIdNotFound)?;
        let (epoch, size) = {
            let mut session = locked(&shared);
            if session.session.epoch != request.session_epoch {
                return Err(ErrorCode::InvalidFetchSessionEpoch);
            }
            if session.session.uses_topic_ids != uses_topic_ids {
                return Err(ErrorCode::FetchSessionTopicIdError);
            }
            session.ask(std::mem::take(&mut request.topics));
            for topic in &request.forgotten_topics_data {
                session.forget(&topic.topic, topic.topic_id, &topic.partitions);
            }
            session.session.epoch = next_epoch(session.session.epoch);
            // A fetch that still waits is one whose client went away from it.
            session.waiter.interrupt();
            (session.session.epoch, session.session.len())
        };
        if size == 0 {
            let ended = self.cache().remove(id);
            drop(ended);
            return Ok((shared, Turn::Whole { wants_session: false }));
        }
        self.cache().touch(id, size, now_ms);
        Ok((shared, Turn::Incremental { id, epoch }))
    }

    /// Keeps a session, if there is room. Answers its id, or 0.
    pub fn keep(&self, shared: &SharedSession, is_privileged: bool, now_ms: i64) -> i32 {
        let size = locked(shared).session.len();
        let random = || Uuid::new_v4().as_u128() as i32;
        let (id, evicted) = self.cache().insert(Arc::clone(shared), size, is_privileged, now_ms, random);
        drop(evicted);
        id
    }
}

/// What one fetch wants of all partitions.
#[derive(Debug, Clone)]
pub(crate) struct Wants {
    pub max_bytes: usize,
    pub read_committed: bool,
    /// The broker that asks and the epoch of its registration, or `None` for a consumer.
    pub follower: Option<(i32, i64)>,
    /// Whether only the leader will do.
    pub leader_only: bool,
    /// Whether the client can read zstd.
    pub reads_zstd: bool,
    /// Whether only what is new is told.
    pub only_new: bool,
    /// The consumer's rack, where the leader sends consumers to the replicas of their rack.
    pub rack: Option<Arc<str>>,
}

impl Wants {
    fn may_read(&self, partition: &Partition) -> Result<(), ErrorCode> {
        if self.leader_only { partition.check_leader() } else { partition.check_replica() }
    }
}

/// What one pass over the partitions found.
#[derive(Debug, Default)]
pub(crate) struct Pass {
    /// What the client must be told, by slot.
    pub found: Vec<(u32, PartitionData)>,
    pub bytes: usize,
    /// Something came up that the client must know at once.
    pub is_urgent: bool,
    /// How many partitions there are whose records can be waited for.
    pub readable: usize,
}

/// A session, the partitions that it reads, and how it waits for them.
#[derive(Debug)]
pub(crate) struct FetchSession {
    pub session: Session<Arc<Partition>>,
    pub waiter: Arc<Waiter>,
    is_registered: bool,
    /// How many fetches wait. It is one at most, but for a client that gave one up and came again.
    waiting: usize,
    /// A follower's session waits for the end of the log, a consumer's for the high watermark.
    is_follower: bool,
}

impl FetchSession {
    fn new(uses_topic_ids: bool, is_follower: bool) -> Self {
        let session = Session::new(uses_topic_ids);
        Self { session, waiter: Arc::default(), is_registered: false, waiting: 0, is_follower }
    }

    fn key(&self, name: &str, id: Uuid) -> TopicKey {
        if self.session.uses_topic_ids { TopicKey::Id(id) } else { TopicKey::Name(name.to_owned()) }
    }

    fn ask(&mut self, topics: Vec<FetchTopic>) {
        for topic in topics {
            let key = self.key(&topic.topic, topic.topic_id);
            let asked = topic.partitions.iter().map(|partition| {
                let asked = Asked {
                    fetch_offset: partition.fetch_offset,
                    max_bytes: partition.partition_max_bytes,
                    leader_epoch: partition.current_leader_epoch,
                    last_fetched_epoch: partition.last_fetched_epoch,
                    log_start_offset: partition.log_start_offset,
                };
                (partition.partition, asked)
            });
            self.session.ask(key, asked);
        }
    }

    fn forget(&mut self, name: &str, id: Uuid, partitions: &[i32]) {
        let key = self.key(name, id);
        let Self { session, waiter, is_registered, is_follower, .. } = self;
        session.forget(&key, partitions, |partition| {
            if *is_registered {
                partition.remove_waiter(waiter, *is_follower);
            }
        });
    }

    /// Whether a wait can begin without a further look at the partitions.
    pub fn is_registered(&self) -> bool {
        self.is_registered
    }

    /// Registers the session with its partitions until [`FetchSession::end_wait`], or for longer.
    pub fn begin_wait(&mut self) {
        self.waiting += 1;
        if !self.is_registered {
            self.is_registered = true;
            self.session.handles().for_each(|partition| partition.add_waiter(&self.waiter, self.is_follower));
        }
    }

    /// Takes back one [`FetchSession::begin_wait`].
    pub fn end_wait(&mut self) {
        self.waiting = self.waiting.saturating_sub(1);
        if self.waiting == 0 && self.session.len() < KEPT_REGISTERED_MIN {
            self.unregister();
        }
    }

    fn unregister(&mut self) {
        if std::mem::take(&mut self.is_registered) {
            self.session.handles().for_each(|partition| partition.remove_waiter(&self.waiter, self.is_follower));
        }
    }

    /// Reads the partitions in their order, until there are bytes enough; what lies behind is told of without records.
    pub fn read(&mut self, broker: &BrokerState, wants: &Wants) -> Pass {
        let mut pass = Pass::default();
        let image = broker.image();
        let now_ms = broker.clock.now_ms();
        let mut next = self.session.first();
        while let Some(slot) = next {
            next = self.session.after(slot);
            let Some((entry, topic)) = self.session.at_mut(slot) else { break };
            if wants.only_new
                && wants.follower.is_none()
                && wants.rack.is_none()
                && let Some(partition) = &entry.handle
            {
                // Most partitions of most fetches: this is what a large session costs.
                let (high_watermark, log_start_offset) = partition.bounds();
                if entry.is_at_rest(high_watermark, log_start_offset)
                    && partition.check_epoch(entry.asked.leader_epoch).is_ok()
                    && wants.may_read(partition).is_ok()
                {
                    pass.readable += 1;
                    continue;
                }
            }
            let left = wants.max_bytes.saturating_sub(pass.bytes);
            let reading = Reading { wants, left, is_first: pass.bytes == 0, now_ms };
            let mut was_closed = false;
            if let Some(partition) = entry.handle.take_if(|partition| partition.is_closed()) {
                was_closed = true;
                if self.is_registered {
                    partition.remove_waiter(&self.waiter, self.is_follower);
                }
            }
            if entry.handle.is_none() {
                match find(broker, &image, topic, entry.partition) {
                    Ok(partition) => {
                        if self.is_registered {
                            partition.add_waiter(&self.waiter, self.is_follower);
                        }
                        entry.handle = Some(partition);
                    }
                    Err(error) => {
                        // An unknown topic is told of, and waited beside: a client that goes on to ask for it in
                        // spite of the answer would else ask without a pause.
                        pass.is_urgent |= was_closed || error == ErrorCode::InconsistentTopicId;
                        let data = failed(entry.partition, &ReadFailure::new(error));
                        pass.take(slot, entry, data, wants.only_new);
                        continue;
                    }
                }
            }
            let Some(partition) = &entry.handle else { continue };
            pass.readable += 1;
            let data = match reading.read(broker, partition, &entry.asked) {
                Ok(data) => PartitionData { partition_index: entry.partition, ..data },
                Err(failure) => {
                    pass.is_urgent = true;
                    failed(entry.partition, &failure)
                }
            };
            pass.is_urgent |= data.diverging_epoch.end_offset >= 0 || data.preferred_read_replica >= 0;
            pass.take(slot, entry, data, wants.only_new);
        }
        pass
    }

    /// Takes note of what the client is told.
    pub fn note(&mut self, pass: &Pass) {
        for (slot, data) in &pass.found {
            self.session.note(*slot, &answered(data));
        }
    }
}

impl Drop for FetchSession {
    fn drop(&mut self) {
        self.unregister();
    }
}

impl Pass {
    fn take(&mut self, slot: u32, entry: &Entry<Arc<Partition>>, data: PartitionData, only_new: bool) {
        if !only_new || entry.must_answer(&answered(&data)) {
            self.bytes += data.records.as_ref().map_or(0, |records| records.len());
            self.found.push((slot, data));
        }
    }
}

fn answered(data: &PartitionData) -> Answered {
    Answered {
        high_watermark: data.high_watermark,
        log_start_offset: data.log_start_offset,
        has_records: data.records.as_ref().is_some_and(|records| !records.is_empty()),
        is_error: data.error_code != 0,
        is_redirected: data.diverging_epoch.end_offset >= 0 || data.preferred_read_replica >= 0,
    }
}

/// Looks a partition up as a request named it.
fn find(
    broker: &BrokerState,
    image: &MetadataImage,
    topic: &mut Topic,
    partition: i32,
) -> Result<Arc<Partition>, ErrorCode> {
    let found = match &topic.key {
        TopicKey::Name(name) => image.topic(name),
        TopicKey::Id(id) => {
            if topic.name.is_none() {
                topic.name = image.topic_by_id(*id).map(|found| Arc::clone(&found.name));
            }
            let name = topic.name.as_deref().ok_or(ErrorCode::UnknownTopicId)?;
            let found = image.topic(name);
            if found.is_some_and(|found| found.id != *id) {
                return Err(ErrorCode::InconsistentTopicId);
            }
            found
        }
    };
    let found = found.ok_or(ErrorCode::UnknownTopicOrPartition)?;
    broker.partition_of(found, partition).ok_or(ErrorCode::UnknownTopicOrPartition)
}

/// How one partition is read.
struct Reading<'a> {
    wants: &'a Wants,
    /// Bytes that the answer still has room for.
    left: usize,
    /// No records were found before, so those of this partition come even where they are too large (KIP-74).
    is_first: bool,
    now_ms: i64,
}

impl Reading<'_> {
    fn read(
        &self,
        broker: &BrokerState,
        partition: &Arc<Partition>,
        asked: &Asked,
    ) -> Result<PartitionData, ReadFailure> {
        partition.check_epoch(asked.leader_epoch).map_err(ReadFailure::new)?;
        self.wants.may_read(partition).map_err(ReadFailure::new)?;
        if let Some((replica, broker_epoch)) = self.wants.follower {
            return self.read_for_follower(broker, partition, asked, replica, broker_epoch);
        }
        if let Some(rack) = &self.wants.rack
            && let Some(replica) = preferred_replica(broker, partition, rack, asked.fetch_offset)
        {
            return Ok(PartitionData { preferred_read_replica: replica, ..data_of(partition.read_nothing()) });
        }
        if !self.wants.reads_zstd {
            let is_zstd = |log: &Log| log.config().compression == Some(Compression::Zstd);
            if partition.with_log(self.now_ms, is_zstd).map_err(ReadFailure::new)? {
                return Err(ReadFailure::new(ErrorCode::UnsupportedCompressionType));
            }
        }
        if asked.last_fetched_epoch >= 0
            && let Some((epoch, end_offset)) =
                partition.divergence(asked.last_fetched_epoch, asked.fetch_offset, self.now_ms)?
        {
            let diverging_epoch = EpochEndOffset { epoch, end_offset, ..Default::default() };
            return Ok(PartitionData { diverging_epoch, ..data_of(partition.read_nothing()) });
        }
        let read_committed = self.wants.read_committed;
        partition
            .read(asked.fetch_offset, self.max_bytes(asked), self.is_first, read_committed, self.now_ms)
            .map(data_of)
    }

    fn max_bytes(&self, asked: &Asked) -> usize {
        usize::try_from(asked.max_bytes).unwrap_or(0).min(self.left)
    }

    fn read_for_follower(
        &self,
        broker: &BrokerState,
        partition: &Arc<Partition>,
        asked: &Asked,
        replica: i32,
        broker_epoch: i64,
    ) -> Result<PartitionData, ReadFailure> {
        let is_held_back = partition.is_throttled_as_leader()
            && broker.throttles.leader.is_exceeded(self.now_ms)
            && !partition.is_in_sync(replica);
        let ask = FollowerAsk {
            fetch: FollowerFetch {
                replica,
                broker_epoch,
                offset: asked.fetch_offset,
                log_start_offset: asked.log_start_offset,
                now_ms: self.now_ms,
            },
            last_fetched_epoch: asked.last_fetched_epoch,
            max_bytes: if is_held_back { 0 } else { self.max_bytes(asked) },
            min_one_batch: self.is_first && !is_held_back,
        };
        let found = partition.read_for_follower(&ask, |id, epoch| broker.is_isr_eligible(id, epoch));
        let found = found.map_err(|failure| match failure.error {
            // As Kafka has it: who knows no epoch cannot know more than this broker.
            ErrorCode::UnknownLeaderEpoch if asked.leader_epoch < 0 => ReadFailure::new(ErrorCode::NotLeaderOrFollower),
            _ => failure,
        })?;
        if let Some(proposal) = found.proposal {
            broker.propose_isr(partition, proposal);
        }
        let mut data = data_of(found.read);
        if let Some((epoch, end_offset)) = found.diverging {
            data.diverging_epoch = EpochEndOffset { epoch, end_offset, ..Default::default() };
        }
        Ok(data)
    }
}

/// The replica of a rack that a consumer there had better read from `offset` on; `None` where this one, the leader's, is in
/// that rack, or no other there has the records.
fn preferred_replica(broker: &BrokerState, partition: &Partition, rack: &str, offset: i64) -> Option<i32> {
    if broker.config.broker_rack.as_deref() == Some(rack) {
        return None;
    }
    let image = broker.image();
    partition.preferred_follower(offset, |id| {
        image.broker(id).is_some_and(|known| !known.fenced && known.rack.as_deref() == Some(rack))
    })
}

fn data_of(read: PartitionRead) -> PartitionData {
    let aborted_transaction = |aborted: &crate::log::AbortedTransaction| AbortedTransaction {
        producer_id: aborted.producer_id,
        first_offset: aborted.first_offset,
        ..Default::default()
    };
    PartitionData {
        high_watermark: read.high_watermark,
        last_stable_offset: read.last_stable_offset,
        log_start_offset: read.log_start_offset,
        aborted_transactions: read.aborted.map(|aborted| aborted.iter().map(aborted_transaction).collect()),
        records: Some(read.records),
        ..Default::default()
    }
}

fn failed(partition: i32, failure: &ReadFailure) -> PartitionData {
    PartitionData {
        partition_index: partition,
        error_code: failure.error.code(),
        high_watermark: failure.high_watermark,
        last_stable_offset: failure.last_stable_offset,
        log_start_offset: failure.log_start_offset,
        aborted_transactions: None,
        records: Some(bytes::Bytes::new()),
        ..Default::default()
    }
}
