//! The driver of the transaction machines: it appends their records, has the markers written, and wakes them.
//!
//! A step and its record are one critical section under the partition's lock. Markers are written outside of it: they
//! take the locks of partitions and of groups, whose own requests come here.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::describe_transactions_response::TransactionState as Described;
use rkafka_protocol::messages::list_transactions_response::TransactionState as Listed;
use tokio::sync::oneshot;
use tokio::time::timeout_at;

use super::TransactionSettings;
use super::add::PartitionsMode;
use super::entry::{ProducerIdentity, TopicPartitions};
use super::init::InitRequest;
use super::list::ListFilter;
use super::shard::{MarkerWork, Step, TransactionShard};
use crate::coordinator::Moment;
use crate::coordinator::partitions::{Partitions, RecordPlace, Shard, append_error};
use crate::internal_log::TRANSACTIONS_TOPIC;
use crate::locks::lock;
use crate::log::TransactionMarker;
use crate::{BrokerConfig, Clock, InternalLog, LogPoint};

/// How long the answer to the end of a transaction waits for markers that other brokers write.
const FINISHED_WITHIN: Duration = Duration::from_secs(1);

/// What the transaction coordinator needs of the broker: its log, new producer ids, and markers in partitions, which may
/// lie on other brokers. [`crate::BrokerState`] implements it.
pub trait TransactionHost: InternalLog {
    /// Sees to it that there are producer ids, which a coordinator asks for under its lock.
    ///
    /// # Errors
    /// `COORDINATOR_NOT_AVAILABLE` where none can be had now.
    fn reserve_producer_ids(&self) -> Pin<Box<dyn Future<Output = Result<(), ErrorCode>> + Send + '_>>;

    /// A producer id that nobody has had.
    ///
    /// # Errors
    /// `COORDINATOR_LOAD_IN_PROGRESS`, which clients try again, where others have taken all that were reserved.
    fn new_producer_id(&self) -> Result<i64, ErrorCode>;

    /// The finalized level of the feature `transaction.version`.
    fn transaction_version(&self) -> i16;

    /// Whether this broker leads all of these partitions that are there.
    fn leads_all(&self, partitions: &TopicPartitions) -> bool;

    /// Writes a marker into partitions, wherever they lie, and waits until it is committed there. Answers each of them:
    /// `UNKNOWN_TOPIC_OR_PARTITION` where the partition is no more, `INVALID_PRODUCER_EPOCH` and
    /// `TRANSACTION_COORDINATOR_FENCED` where it has heard of what came later; others pass.
    fn write_markers<'a>(&'a self, marker: &'a TransactionMarker, to: &'a TopicPartitions) -> WrittenMarkers<'a>;
}

/// What [`TransactionHost::write_markers`] gives: each partition with what came of it.
pub type WrittenMarkers<'a> = Pin<Box<dyn Future<Output = Vec<(String, i32, Result<(), ErrorCode>)>> + Send + 'a>>;

impl Shard for TransactionShard {
    const TOPIC: &'static str = TRANSACTIONS_TOPIC;
    type Settings = TransactionSettings;

    fn blank(settings: &TransactionSettings) -> Self {
        Self::new(settings.clone())
    }

    fn take(&mut self, _place: RecordPlace, key: Bytes, value: Option<Bytes>) -> Result<(), String> {
        self.replay(key, value).map_err(|error| error.to_string())
    }

    fn begin(&mut self, now: Moment) {
        self.start(now);
    }

    fn next_deadline_ms(&self) -> Option<i64> {
        self.deadline_ms()
    }
}

type Slot = crate::coordinator::partitions::Slot<TransactionShard>;

/// Decides, and once more with producer ids at hand where there were none: few decisions need one.
async fn with_producer_ids<R>(
    host: &dyn TransactionHost,
    decide: &mut (dyn FnMut() -> Result<R, ErrorCode> + Send),
) -> Result<R, ErrorCode> {
    match decide() {
        Err(ErrorCode::CoordinatorLoadInProgress) => {
            host.reserve_producer_ids().await?;
            decide()
        }
        decided => decided,
    }
}

/// Who waits for the markers of a transaction.
type Waiting = Vec<oneshot::Sender<()>>;

/// All transactional ids of a broker.
///
/// Methods take the broker as its [`TransactionHost`]; all of one coordinator's calls are to take the same.
#[derive(Debug)]
pub struct TransactionCoordinator {
    partitions: Partitions<TransactionShard>,
    /// Who waits for the markers of a transaction, by the partition and the id. Locked after the slot of the id.
    waiting: Mutex<BTreeMap<(i32, String), Waiting>>,
    clock: Clock,
}

impl TransactionCoordinator {
    /// A coordinator that has loaded nothing yet. [`TransactionCoordinator::run_timers`] is to be run beside it.
    pub fn new(config: &BrokerConfig, clock: Clock) -> Self {
        let partitions = Partitions::new(TransactionSettings::of(config), clock.clone());
        Self { partitions, waiting: Mutex::default(), clock }
    }

    /// Makes sure that transactional ids can be kept: the topic is there. Answers how many partitions it has.
    ///
    /// # Errors
    /// As [`InternalLog::ensure_internal_topic`], in the words of a coordinator.
    pub async fn ensure_ready(&self, host: &dyn TransactionHost) -> Result<i32, ErrorCode> {
        self.partitions.ensure_ready(host).await
    }

    /// Gives a transactional id to a producer.
    ///
    /// # Errors
    /// As [`TransactionShard::decide_init`]; `NOT_COORDINATOR` where the partition cannot be read or written.
    pub async fn init_producer_id(
        &self,
        host: &dyn TransactionHost,
        request: &InitRequest<'_>,
    ) -> Result<ProducerIdentity, ErrorCode> {
        let shared = self.partitions.slot_of(host, request.transactional_id).await?;
        let (reply, partition, point) = with_producer_ids(host, &mut || {
            let mut slot = self.partitions.lock(host, &shared)?;
            let now = self.partitions.moment();
            let version = host.transaction_version();
            let decision = slot.shard.decide_init(now, request, version, &mut || host.new_producer_id())?;
            self.apply(host, &mut slot, decision.step)?;
            Ok((decision.reply, slot.partition, slot.point()))
        })
        .await?;
        self.partitions.committed(host, partition, point).await?;
        self.finish(host, &shared, request.transactional_id).await;
        reply
    }

    /// Adds partitions to a transaction, or looks whether they are in it. Answers the error of each partition that is
    /// not.
    ///
    /// # Errors
    /// As [`TransactionShard::decide_add`] and [`TransactionShard::verify`], for all partitions; `NOT_COORDINATOR` where
    /// the partition cannot be read or written.
    pub async fn add_or_verify(
        &self,
        host: &dyn TransactionHost,
        transactional_id: &str,
        producer: ProducerIdentity,
        partitions: &TopicPartitions,
        mode: PartitionsMode,
    ) -> Result<Vec<(String, i32, ErrorCode)>, ErrorCode> {
        let step = self.partitions.step(host, transactional_id, |slot| match mode {
            PartitionsMode::Verify => slot.shard.verify(transactional_id, producer, partitions),
            PartitionsMode::Add { version } => {
                let (now, server_version) = (self.partitions.moment(), host.transaction_version());
                let decision =
                    slot.shard.decide_add(now, transactional_id, producer, partitions, version, server_version)?;
                self.apply(host, slot, decision.step)?;
                Ok(Vec::new())
            }
        });
        step.await
    }

    /// Ends a transaction. When this returns, it is committed how it ends; and its partitions have their markers, but for
    /// those that could not be written now, or that other brokers take long for.
    ///
    /// # Errors
    /// As [`TransactionShard::decide_end`]; `NOT_COORDINATOR` where the partition cannot be read or written.
    pub async fn end(
        &self,
        host: &dyn TransactionHost,
        transactional_id: &str,
        producer: ProducerIdentity,
        commit: bool,
        client_version: i16,
    ) -> Result<ProducerIdentity, ErrorCode> {
        let shared = self.partitions.slot_of(host, transactional_id).await?;
        let (reply, partition, point) = with_producer_ids(host, &mut || {
            let mut slot = self.partitions.lock(host, &shared)?;
            let (now, server_version) = (self.partitions.moment(), host.transaction_version());
            let new_producer_id = &mut || host.new_producer_id();
            let decision = slot.shard.decide_end(
                now,
                transactional_id,
                producer,
                commit,
                client_version,
                server_version,
                new_producer_id,
            )?;
            self.apply(host, &mut slot, decision.step)?;
            Ok((decision.reply, slot.partition, slot.point()))
        })
        .await?;
        self.partitions.committed(host, partition, point).await?;
        self.finish(host, &shared, transactional_id).await;
        Ok(reply)
    }

    /// The transactional ids that pass the filter.
    ///
    /// # Errors
    /// `NOT_COORDINATOR` where a partition cannot be read.
    pub async fn list(&self, host: &dyn TransactionHost, filter: &ListFilter) -> Result<Vec<Listed>, ErrorCode> {
        let mut listed = Vec::new();
        for partition in host.kept_partitions(TRANSACTIONS_TOPIC) {
            let shared = self.partitions.slot(host, partition).await?;
            let list = |slot: &mut Slot| Ok::<_, ErrorCode>(slot.shard.list(self.partitions.moment(), filter));
            listed.append(&mut self.partitions.step_in(host, &shared, list).await?);
        }
        Ok(listed)
    }

    /// A transactional id's state.
    ///
    /// # Errors
    /// As [`TransactionShard::describe`]; `NOT_COORDINATOR` where the partition cannot be read.
    pub async fn describe(&self, host: &dyn TransactionHost, transactional_id: &str) -> Result<Described, ErrorCode> {
        self.partitions.step(host, transactional_id, |slot| slot.shard.describe(transactional_id)).await
    }

    /// This broker leads a partition of `__transaction_state` from now on. Its transactions are loaded in the background,
    /// where [`TransactionCoordinator::run_timers`] runs, and their ends are finished.
    pub fn elected(&self, partition: i32, leader_epoch: i32) {
        self.partitions.elected(partition, leader_epoch);
    }

    /// This broker does not lead a partition of `__transaction_state` any more, or nobody does: its transactions are
    /// forgotten, and who waits for the end of one is told `NOT_COORDINATOR`.
    pub fn resigned(&self, partition: i32, leader_epoch: i32) {
        self.partitions.resigned(partition, leader_epoch);
    }

    /// Finishes what an earlier run of the broker began, and from then on ends transactions that take too long, writes
    /// markers again that could not be written, and forgets ids that have expired. Runs until it is dropped; a dropped
    /// one may be run anew.
    pub async fn run_timers(&self, host: &dyn TransactionHost) {
        // Nobody else may ask for these, and their transactions hold back every reader of what is committed.
        self.partitions.load_all(host).await;
        let timers = async {
            // Markers for a broker that does not answer keep nobody else's waiting.
            let mut writing = FuturesUnordered::new();
            loop {
                tokio::select! {
                    biased;
                    Some(()) = writing.next() => {}
                    () = self.partitions.until_due() => {
                        for partition in self.partitions.due() {
                            writing.extend(self.do_due(host, partition).await.into_iter().map(Report::carry_out));
                            tokio::task::yield_now().await;
                        }
                    }
                }
            }
        };
        tokio::join!(self.partitions.run_loads(host), timers);
    }

    /// Does what is due in a partition, but for the markers that are to be written.
    async fn do_due<'a>(&'a self, host: &'a dyn TransactionHost, partition: i32) -> Vec<Report<'a>> {
        let Ok(shared) = self.partitions.slot(host, partition).await else {
            // Another broker leads, or the disk failed. The next one that can read it goes on.
            self.partitions.nothing_due(partition);
            return Vec::new();
        };
        let Ok(mut slot) = self.partitions.lock(host, &shared) else { return Vec::new() };
        let now = self.partitions.moment();
        for transactional_id in slot.shard.timed_out(now) {
            self.time_out(host, &mut slot, now, &transactional_id);
        }
        if slot.shard.is_expiration_due(now) {
            self.expire(host, &mut slot, now);
        }
        let unmarked = slot.shard.unmarked(now);
        let reports = unmarked.iter().filter_map(|id| self.take_markers(host, &shared, &mut slot, id)).collect();
        self.partitions.note_due(&slot);
        reports
    }

    fn time_out(&self, host: &dyn TransactionHost, slot: &mut Slot, now: Moment, transactional_id: &str) {
        let decided = slot.shard.decide_timeout(now, transactional_id, host.transaction_version());
        match decided.and_then(|step| self.apply(host, slot, step)) {
            Ok(()) => tracing::info!(transactional_id, "a transaction took too long and is aborted"),
            Err(error) => {
                tracing::warn!(transactional_id, error = error.name(), "a transaction that took too long goes on");
                slot.shard.postpone_timeout(now, transactional_id);
            }
        }
    }

    fn expire(&self, host: &dyn TransactionHost, slot: &mut Slot, now: Moment) {
        loop {
            let expired = slot.shard.decide_expire(now);
            let tombstones: Vec<_> = expired.iter().map(|(_, tombstone)| tombstone.clone()).collect();
            if tombstones.is_empty() || self.partitions.append(host, slot, &tombstones).is_err() {
                break;
            }
            for (transactional_id, _) in expired {
                tracing::debug!(transactional_id, "a transactional id that nobody used is forgotten");
                slot.shard.forgotten(&transactional_id);
            }
        }
        slot.shard.expiration_checked(now);
    }

    /// Appends a step and takes it for true.
    fn apply(&self, host: &dyn TransactionHost, slot: &mut Slot, step: Option<Step>) -> Result<(), ErrorCode> {
        if let Some(step) = step {
            let record = std::slice::from_ref(&step.record);
            self.partitions.append(host, slot, record).map_err(append_error)?;
            slot.shard.stepped(self.partitions.moment(), &step);
            self.partitions.note_due(slot);
        }
        Ok(())
    }

    /// The markers that a transaction lacks, to be written by the caller, where nobody else is at it.
    fn take_markers<'a>(
        &'a self,
        host: &'a dyn TransactionHost,
        shared: &Arc<Mutex<Slot>>,
        slot: &mut Slot,
        transactional_id: &str,
    ) -> Option<Report<'a>> {
        let work = slot.shard.take_markers(transactional_id)?;
        let left = work.partitions.clone();
        let (shared, partition, point) = (Arc::clone(shared), slot.partition, slot.point());
        Some(Report { coordinator: self, host, shared, partition, point, left, work })
    }

    /// Sees to the end of a transaction that was decided, before whoever decided it is answered. Where all markers belong
    /// to this broker, they are written here and now. Otherwise the timers write them, who do not care whether a client
    /// goes away, and they are waited for, but not for long: a broker may be gone, and another has to take its place.
    ///
    /// Cancel safety: when dropped half-way, the markers are written again later, which does no harm.
    async fn finish(&self, host: &dyn TransactionHost, shared: &Arc<Mutex<Slot>>, transactional_id: &str) {
        let (partition, own, waiting) = {
            let Ok(mut slot) = self.partitions.lock(host, shared) else { return };
            let Some(unmarked) = slot.shard.ending(transactional_id) else { return };
            let own = match host.leads_all(unmarked) {
                true => self.take_markers(host, shared, &mut slot, transactional_id),
                false => None,
            };
            let (sender, receiver) = oneshot::channel();
            if own.is_none() {
                let mut waiting = lock(&self.waiting);
                waiting.entry((slot.partition, transactional_id.to_owned())).or_default().push(sender);
            }
            (slot.partition, own, receiver)
        };
        if let Some(report) = own {
            return report.carry_out().await;
        }
        let deadline = self.clock.now() + FINISHED_WITHIN;
        if timeout_at(deadline, waiting).await.is_err() {
            tracing::debug!(transactional_id, "the end of a transaction is told before all its markers are written");
            let mut waiting = lock(&self.waiting);
            let key = (partition, transactional_id.to_owned());
            if let Some(senders) = waiting.get_mut(&key) {
                senders.retain(|sender| !sender.is_closed());
                if senders.is_empty() {
                    waiting.remove(&key);
                }
            }
        }
    }
}

/// Whether the marker must be written again.
fn is_to_retry(written: Result<(), ErrorCode>, topic: &str, partition: i32) -> bool {
    match written {
        Ok(()) => false,
        Err(ErrorCode::UnknownTopicOrPartition) => {
            tracing::info!(topic, partition, "a partition of a transaction is no more, and gets no marker");
            false
        }
        // Either this very marker is there, written before a restart or by the coordinator before this one, or another
        // producer of the id came after it: one that could not come before this transaction was over here.
        Err(error @ (ErrorCode::InvalidProducerEpoch | ErrorCode::TransactionCoordinatorFenced)) => {
            tracing::info!(topic, partition, error = error.name(), "a marker is not needed any more");
            false
        }
        Err(error) => {
            tracing::warn!(topic, partition, error = error.name(), "a marker is to be written again");
            true
        }
    }
}

/// Markers that are to be written by whoever holds this. Dropped, it tells the machine what came of them, also when they
/// were given up half-way, and closes a transaction that lacks none.
struct Report<'a> {
    coordinator: &'a TransactionCoordinator,
    host: &'a dyn TransactionHost,
    shared: Arc<Mutex<Slot>>,
    partition: i32,
    /// What the markers rest on: the decision to end the transaction. What comes of them is for its leader epoch alone.
    point: LogPoint,
    work: MarkerWork,
    left: TopicPartitions,
}

impl Report<'_> {
    /// Writes the markers.
    async fn carry_out(mut self) {
        match self.write().await {
            Ok(left) => self.left = left,
            Err(error) => {
                let transactional_id = &*self.work.transactional_id;
                tracing::warn!(transactional_id, error = error.name(), "the end of a transaction has to wait");
            }
        }
    }

    /// Writes the markers; answers those that could not be written.
    async fn write(&self) -> Result<TopicPartitions, ErrorCode> {
        self.coordinator.partitions.committed(self.host, self.partition, self.point).await?;
        let marker = TransactionMarker {
            producer_id: self.work.producer_id,
            producer_epoch: self.work.producer_epoch,
            coordinator_epoch: self.point.leader_epoch,
            commit: self.work.commit,
            transaction_version: self.work.transaction_version,
        };
        let mut left = self.work.partitions.clone();
        for (topic, partition, written) in self.host.write_markers(&marker, &self.work.partitions).await {
            if !is_to_retry(written, &topic, partition)
                && let Some(partitions) = left.get_mut(&topic)
            {
                partitions.remove(&partition);
            }
        }
        left.retain(|_, partitions| !partitions.is_empty());
        Ok(left)
    }

    /// Tells the machine what came of the markers.
    fn tell(&mut self) {
        let Self { coordinator, host, .. } = self;
        let Ok(mut slot) = coordinator.partitions.lock(*host, &self.shared) else { return };
        if slot.point().leader_epoch != self.point.leader_epoch {
            // A later life of this coordinator has begun to write these markers anew.
            return;
        }
        let now = coordinator.partitions.moment();
        let transactional_id = &self.work.transactional_id;
        slot.shard.marked(now, transactional_id, std::mem::take(&mut self.left));
        let decided = slot.shard.decide_complete(now, transactional_id, host.transaction_version());
        if let Err(error) = decided.and_then(|step| coordinator.apply(*host, &mut slot, step)) {
            tracing::warn!(%transactional_id, error = error.name(), "a transaction that has its markers stays open");
        }
        coordinator.partitions.note_due(&slot);
    }
}

impl Drop for Report<'_> {
    fn drop(&mut self) {
        self.tell();
        let key = (self.partition, std::mem::take(&mut self.work.transactional_id));
        // Whoever waits learns of it by that the sender goes.
        drop(lock(&self.coordinator.waiting).remove(&key));
    }
}
