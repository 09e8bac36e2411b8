//! The driver of the group machines: it appends their records, wakes them, and delivers late answers.
//!
//! A shard is loaded from its partition in the background after a start or an election, or on first use; a request that
//! comes before waits. It is used under its lock from then on, while this broker leads. Appending does not wait, so a step
//! and its record are one critical section; an answer waits until what it rests on is committed.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::describe_groups_response::DescribedGroup;
use rkafka_protocol::messages::heartbeat_request::HeartbeatRequest;
use rkafka_protocol::messages::join_group_request::JoinGroupRequest;
use rkafka_protocol::messages::join_group_response::JoinGroupResponse;
use rkafka_protocol::messages::leave_group_request::LeaveGroupRequest;
use rkafka_protocol::messages::leave_group_response::LeaveGroupResponse;
use rkafka_protocol::messages::list_groups_response::ListedGroup;
use rkafka_protocol::messages::offset_commit_request::OffsetCommitRequest;
use rkafka_protocol::messages::offset_commit_response::OffsetCommitResponse;
use rkafka_protocol::messages::offset_delete_request::OffsetDeleteRequest;
use rkafka_protocol::messages::offset_delete_response::OffsetDeleteResponse;
use rkafka_protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;
use rkafka_protocol::messages::offset_fetch_response::OffsetFetchResponseGroup;
use rkafka_protocol::messages::sync_group_request::SyncGroupRequest;
use rkafka_protocol::messages::sync_group_response::SyncGroupResponse;
use rkafka_protocol::messages::txn_offset_commit_request::TxnOffsetCommitRequest;
use rkafka_protocol::messages::txn_offset_commit_response::TxnOffsetCommitResponse;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::group::{
    Effects, GroupSettings, GroupShard, JoinContext, Moment, Outcome, RecordPlace, Reply, WaiterId, append_error,
    join_error, sync_error,
};
use super::partition_for;
use super::partitions::{Partitions, Shard};
use crate::locks::lock;
use crate::log::{TransactionMarker, VerificationGuard};
use crate::{BrokerConfig, Clock, InternalLog, InternalRecord, LogPoint, OFFSETS_TOPIC, TransactionalProducer};

/// How many groups are looked at for expired offsets before others have their turn.
const GROUPS_AT_ONCE: usize = 256;

/// All groups of a broker.
///
/// Methods take the broker's [`InternalLog`], which holds `__consumer_offsets`; all of one coordinator's calls are to
/// take the same.
#[derive(Debug)]
pub struct GroupCoordinator {
    partitions: Partitions<GroupShard>,
    clock: Clock,
    expiry_interval: Duration,
    /// Who waits for answers. Locked after the slot of the group that is asked.
    waiters: Mutex<HashMap<WaiterId, Waiting>>,
    next_waiter: AtomicU64,
}

/// A request that waits for its answer.
#[derive(Debug)]
struct Waiting {
    /// The partition of its group, and the leader epoch in which it began to wait.
    partition: i32,
    leader_epoch: i32,
    /// Takes the answer, with what it rests on.
    sender: oneshot::Sender<(Reply, LogPoint)>,
}

pub(super) type Slot = super::partitions::Slot<GroupShard>;

impl Shard for GroupShard {
    const TOPIC: &'static str = OFFSETS_TOPIC;
    type Settings = GroupSettings;

    fn blank(settings: &GroupSettings) -> Self {
        Self::new(settings.clone())
    }

    fn take(&mut self, place: RecordPlace, key: Bytes, value: Option<Bytes>) -> Result<(), String> {
        self.replay(place, key, value).map_err(|error| error.to_string())
    }

    fn take_marker(&mut self, producer_id: i64, commit: bool) {
        self.replay_marker(producer_id, commit);
    }

    fn begin(&mut self, now: Moment) {
        self.start(now);
    }

    fn next_deadline_ms(&self) -> Option<i64> {
        self.deadline_ms()
    }
}

/// Who sent a JoinGroup.
#[derive(Debug, Clone, Copy)]
pub struct JoiningClient<'a> {
    /// The version of the request.
    pub version: i16,
    /// The `client.id`.
    pub client_id: &'a str,
    /// The address as descriptions show it.
    pub client_host: &'a str,
}

impl GroupCoordinator {
    /// A coordinator that has loaded nothing yet. [`GroupCoordinator::run_timers`] is to be run beside it.
    pub fn new(config: &BrokerConfig, clock: Clock) -> Self {
        Self {
            partitions: Partitions::new(GroupSettings::of(config), clock.clone()),
            clock,
            expiry_interval: config.offsets_retention_check_interval,
            waiters: Mutex::default(),
            next_waiter: AtomicU64::new(1),
        }
    }

    /// Makes sure that groups can be kept: the topic is there.
    ///
    /// # Errors
    /// As [`InternalLog::ensure_internal_topic`], in the words of a coordinator.
    pub async fn ensure_ready(&self, log: &dyn InternalLog) -> Result<i32, ErrorCode> {
        self.partitions.ensure_ready(log).await
    }

    /// The partition of `__consumer_offsets` that holds a group which must have a name.
    ///
    /// # Errors
    /// `INVALID_GROUP_ID` for the empty name; as [`GroupCoordinator::ensure_ready`].
    pub async fn partition_of(&self, log: &dyn InternalLog, group_id: &str) -> Result<i32, ErrorCode> {
        if group_id.is_empty() {
            return Err(ErrorCode::InvalidGroupId);
        }
        Ok(partition_for(group_id, self.ensure_ready(log).await?))
    }

    /// Takes a JoinGroup and waits until the group has joined.
    ///
    /// Cancel safety: when dropped, the member counts as absent from the rebalance until it asks again.
    pub async fn join(
        &self,
        log: &dyn InternalLog,
        request: &JoinGroupRequest,
        client: JoiningClient<'_>,
    ) -> JoinGroupResponse {
        let slot = match self.slot_of(log, &request.group_id).await {
            Ok(slot) => slot,
            Err(error) => return join_error(&request.member_id, error),
        };
        // Kafka's form: the instance or the client, then something that nobody else has.
        let prefix = request.group_instance_id.as_deref().unwrap_or(client.client_id);
        let waiting = self.wait(log, &slot, &request.group_id, |shard, waiter, now| {
            let context = JoinContext {
                version: client.version,
                client_id: client.client_id.to_owned(),
                client_host: client.client_host.to_owned(),
                new_member_id: format!("{prefix}-{}", Uuid::new_v4()),
                waiter,
            };
            shard.join(now, request, &context)
        });
        match waiting.await {
            Ok(Reply::Join(response)) => response,
            Ok(Reply::Sync(_)) => join_error(&request.member_id, ErrorCode::CoordinatorNotAvailable),
            Err(error) => join_error(&request.member_id, error),
        }
    }

    /// Takes a SyncGroup and waits for the leader's assignment.
    ///
    /// Cancel safety: when dropped, the member's session goes on, and it may ask again.
    pub async fn sync(&self, log: &dyn InternalLog, request: &SyncGroupRequest) -> SyncGroupResponse {
        let slot = match self.slot_of(log, &request.group_id).await {
            Ok(slot) => slot,
            Err(error) => return sync_error(error),
        };
        let waiting = self.wait(log, &slot, &request.group_id, |shard, waiter, now| shard.sync(now, request, waiter));
        match waiting.await {
            Ok(Reply::Sync(response)) => response,
            Ok(Reply::Join(_)) => sync_error(ErrorCode::CoordinatorNotAvailable),
            Err(error) => sync_error(error),
        }
    }

    /// Takes a heartbeat.
    ///
    /// # Errors
    /// As [`GroupShard::heartbeat`]; `NOT_COORDINATOR` where the partition cannot be read.
    pub async fn heartbeat(&self, log: &dyn InternalLog, request: &HeartbeatRequest) -> Result<(), ErrorCode> {
        self.step(log, &request.group_id, |slot| {
            let result = slot.shard.heartbeat(self.moment(), request);
            self.note_due(slot);
            result
        })
        .await
    }

    /// Takes members out of a group.
    pub async fn leave(&self, log: &dyn InternalLog, request: &LeaveGroupRequest) -> LeaveGroupResponse {
        let left = self.step(log, &request.group_id, |slot| {
            slot.shard.see(log.image());
            let (response, effects) = slot.shard.leave(self.moment(), request);
            self.settle(log, slot, effects);
            Ok::<_, ErrorCode>(response)
        });
        match left.await {
            Ok(response) => response,
            Err(error) => LeaveGroupResponse { error_code: error.code(), ..Default::default() },
        }
    }

    /// Commits offsets of topics that were found to exist.
    ///
    /// # Errors
    /// As [`GroupShard::decide_commit`]; `NOT_COORDINATOR` where the partition cannot be read or written.
    pub async fn commit(
        &self,
        log: &dyn InternalLog,
        request: &OffsetCommitRequest,
        version: i16,
    ) -> Result<OffsetCommitResponse, ErrorCode> {
        self.step(log, &request.group_id, |slot| {
            let now = self.moment();
            slot.shard.see(log.image());
            let outcome = slot.shard.decide_commit(now, request, version)?;
            slot.shard.keep_alive(now, &request.group_id, &request.member_id);
            self.note_due(slot);
            self.commit_outcome(log, slot, outcome)
        })
        .await
    }

    /// Commits offsets of topics that were found to exist, in the transaction of a producer. They count once a marker
    /// commits them.
    ///
    /// # Errors
    /// As [`GroupShard::decide_transactional_commit`]; `INVALID_PRODUCER_EPOCH` where the partition
    /// has seen a later epoch of the producer; `INVALID_TXN_STATE` where the `guard` does not stand; `NOT_COORDINATOR`
    /// where the partition cannot be read or written.
    pub async fn commit_in_transaction(
        &self,
        log: &dyn InternalLog,
        request: &TxnOffsetCommitRequest,
        version: i16,
        guard: Option<VerificationGuard>,
    ) -> Result<TxnOffsetCommitResponse, ErrorCode> {
        self.step(log, &request.group_id, |slot| {
            slot.shard.see(log.image());
            let outcome = slot.shard.decide_transactional_commit(self.moment(), request, version)?;
            if !outcome.records.is_empty() {
                let producer = TransactionalProducer { id: request.producer_id, epoch: request.producer_epoch, guard };
                let appended = self.partitions.append_in(log, slot, Some(producer), &outcome.records);
                appended.map_err(append_error)?;
            }
            Ok(outcome.reply)
        })
        .await
    }

    /// Ends a producer's transaction in a partition of `__consumer_offsets`. When this returns, the offsets that it
    /// committed are what is fetched, or are forgotten. Answers how far the marker is in the log.
    ///
    /// # Errors
    /// As [`InternalLog::append_marker`].
    pub fn write_marker(
        &self,
        log: &dyn InternalLog,
        partition: i32,
        marker: &TransactionMarker,
    ) -> Result<LogPoint, ErrorCode> {
        self.partitions.append_marker(log, partition, marker)
    }

    /// The committed offsets of a group.
    ///
    /// # Errors
    /// As [`GroupShard::fetch_offsets`]; `NOT_COORDINATOR` where the partition cannot be read.
    pub async fn fetch_offsets(
        &self,
        log: &dyn InternalLog,
        request: &OffsetFetchRequestGroup,
        require_stable: bool,
    ) -> Result<OffsetFetchResponseGroup, ErrorCode> {
        self.step(log, &request.group_id, |slot| slot.shard.fetch_offsets(request, require_stable)).await
    }

    /// Deletes offsets.
    ///
    /// # Errors
    /// As [`GroupShard::decide_delete_offsets`]; `INVALID_GROUP_ID`; `NOT_COORDINATOR` where the partition cannot be
    /// read or written.
    pub async fn delete_offsets(
        &self,
        log: &dyn InternalLog,
        request: &OffsetDeleteRequest,
    ) -> Result<OffsetDeleteResponse, ErrorCode> {
        if request.group_id.is_empty() {
            return Err(ErrorCode::InvalidGroupId);
        }
        self.step(log, &request.group_id, |slot| {
            let outcome = slot.shard.decide_delete_offsets(request)?;
            self.commit_outcome(log, slot, outcome)
        })
        .await
    }

    /// The groups that pass the filters.
    ///
    /// # Errors
    /// `NOT_COORDINATOR` where a partition cannot be read.
    pub async fn list(
        &self,
        log: &dyn InternalLog,
        states: &[String],
        types: &[String],
    ) -> Result<Vec<ListedGroup>, ErrorCode> {
        let mut groups = Vec::new();
        for partition in log.kept_partitions(OFFSETS_TOPIC) {
            let slot = self.partitions.slot(log, partition).await?;
            let list = |slot: &mut Slot| Ok::<_, ErrorCode>(slot.shard.list(states, types));
            groups.append(&mut self.partitions.step_in(log, &slot, list).await?);
        }
        Ok(groups)
    }

    /// A group's state and members.
    ///
    /// # Errors
    /// `NOT_COORDINATOR` where the partition cannot be read.
    pub async fn describe(
        &self,
        log: &dyn InternalLog,
        group_id: &str,
        version: i16,
    ) -> Result<DescribedGroup, ErrorCode> {
        self.step(log, group_id, |slot| Ok(slot.shard.describe(group_id, version))).await
    }

    /// Deletes a group that has no members, and its offsets.
    ///
    /// # Errors
    /// As [`GroupShard::decide_delete`]; `NOT_COORDINATOR` where the partition cannot be read or written.
    pub async fn delete(&self, log: &dyn InternalLog, group_id: &str) -> Result<(), ErrorCode> {
        self.step(log, group_id, |slot| {
            let outcome = slot.shard.decide_delete(group_id)?;
            self.commit_outcome(log, slot, outcome)?;
            let effects = slot.shard.deleted(self.moment(), group_id);
            self.settle(log, slot, effects);
            Ok(())
        })
        .await
    }

    /// Forgets all offsets of a topic that was deleted, and that share groups are on it, in the partitions that are loaded; [`GroupCoordinator::load_all`]
    /// is to be called first.
    ///
    /// # Errors
    /// `NOT_COORDINATOR` where a partition cannot be written; those before it are done.
    pub fn forget_topic(&self, log: &dyn InternalLog, topic: &str, topic_id: Uuid) -> Result<(), ErrorCode> {
        for slot in self.partitions.loaded_slots() {
            // What another broker leads by now is for that one to do.
            let Ok(mut slot) = self.partitions.lock(log, &slot) else { continue };
            let records = slot.shard.decide_forget_topic(topic, topic_id);
            self.partitions.append_many(log, &mut slot, &records).map_err(append_error)?;
        }
        Ok(())
    }

    /// Loads the groups of every partition that is not loaded yet. One that cannot be read is reported in the log, and
    /// tried again when somebody asks for it.
    ///
    /// Cancel safety: what was loaded stays so; the partition that was about to be loaded is read anew.
    pub async fn load_all(&self, log: &dyn InternalLog) {
        self.partitions.load_all(log).await;
    }

    /// Looks for what has expired in all loaded partitions, and deletes it. What cannot be written is tried again the
    /// next time.
    pub async fn expire(&self, log: &dyn InternalLog) {
        for slot in self.partitions.loaded_slots() {
            let Ok(group_ids) = self.partitions.lock(log, &slot).map(|slot| slot.shard.group_ids()) else { continue };
            for some_ids in group_ids.chunks(GROUPS_AT_ONCE) {
                {
                    let Ok(mut slot) = self.partitions.lock(log, &slot) else { break };
                    for group_id in some_ids {
                        self.expire_group(log, &mut slot, group_id);
                    }
                }
                tokio::task::yield_now().await;
            }
        }
    }

    fn expire_group(&self, log: &dyn InternalLog, slot: &mut Slot, group_id: &str) {
        let Some(expired) = slot.shard.decide_expiry(self.moment(), group_id) else { return };
        if self.partitions.append_many(log, slot, &expired.records).is_err() {
            return;
        }
        let (records, is_deleted) = (expired.records.len(), expired.is_deleted);
        tracing::info!(group = group_id, records, is_deleted, "expired offsets were deleted");
        if is_deleted {
            let effects = slot.shard.deleted(self.moment(), group_id);
            self.settle(log, slot, effects);
        }
    }

    /// This broker leads a partition of `__consumer_offsets` from now on. Its groups are loaded in the background, where
    /// [`GroupCoordinator::run_timers`] runs; who waits in an earlier epoch is told `NOT_COORDINATOR`.
    pub fn elected(&self, partition: i32, leader_epoch: i32) {
        self.partitions.elected(partition, leader_epoch);
        self.give_up_before(partition, leader_epoch);
    }

    /// This broker does not lead a partition of `__consumer_offsets` any more, or nobody does: its groups are forgotten,
    /// and who waits is told `NOT_COORDINATOR`.
    pub fn resigned(&self, partition: i32, leader_epoch: i32) {
        self.partitions.resigned(partition, leader_epoch);
        self.give_up_before(partition, leader_epoch);
    }

    fn give_up_before(&self, partition: i32, leader_epoch: i32) {
        // Who does not hear of an answer learns by that that there is none.
        let is_over = |waiting: &Waiting| waiting.partition == partition && waiting.leader_epoch < leader_epoch;
        lock(&self.waiters).retain(|_, waiting| !is_over(waiting));
    }

    /// Loads what this broker is elected for, and ends sessions and rebalances when their time has come. Runs until it is
    /// dropped; a dropped one may be run anew.
    pub async fn run_timers(&self, log: &dyn InternalLog) {
        let timers = async {
            loop {
                self.partitions.until_due().await;
                self.do_due(log);
            }
        };
        tokio::join!(self.partitions.run_loads(log), timers);
    }

    /// Looks for expired offsets every `offsets.retention.check.interval.ms`. Runs until it is dropped; a dropped one may
    /// be run anew.
    pub async fn run_expiry(&self, log: &dyn InternalLog) {
        loop {
            tokio::time::sleep_until(self.clock.now() + self.expiry_interval).await;
            self.expire(log).await;
        }
    }

    fn do_due(&self, log: &dyn InternalLog) {
        for partition in self.partitions.due() {
            let slot = self.partitions.unloaded_slot(partition);
            let Ok(mut slot) = self.partitions.lock(log, &slot) else {
                self.partitions.nothing_due(partition);
                continue;
            };
            slot.shard.see(log.image());
            while let Some(effects) = slot.shard.on_time(self.moment()) {
                self.settle(log, &mut slot, effects);
            }
            self.note_due(&slot);
        }
    }

    async fn wait(
        &self,
        log: &dyn InternalLog,
        slot: &Arc<Mutex<Slot>>,
        group_id: &str,
        step: impl FnOnce(&mut GroupShard, WaiterId, Moment) -> Effects,
    ) -> Result<Reply, ErrorCode> {
        let waiter = self.next_waiter.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = oneshot::channel();
        let partition = {
            let mut slot = self.partitions.lock(log, slot)?;
            let partition = slot.partition;
            let waiting = Waiting { partition, leader_epoch: slot.point().leader_epoch, sender };
            lock(&self.waiters).insert(waiter, waiting);
            slot.shard.see(log.image());
            let effects = step(&mut slot.shard, waiter, self.moment());
            self.settle(log, &mut slot, effects);
            partition
        };
        let _hung_up = HangUp { coordinator: self, log, slot, group_id, waiter };
        let (reply, point) = receiver.await.map_err(|_| ErrorCode::NotCoordinator)?;
        self.partitions.committed(log, partition, point).await?;
        Ok(reply)
    }

    /// Does a step in a group's partition; see [`Partitions::step`].
    pub(super) async fn step<R, E: From<ErrorCode>>(
        &self,
        log: &dyn InternalLog,
        group_id: &str,
        step: impl FnOnce(&mut Slot) -> Result<R, E>,
    ) -> Result<R, E> {
        self.partitions.step(log, group_id, step).await
    }

    /// Does what a step asks for, and what follows from that.
    pub(super) fn settle(&self, log: &dyn InternalLog, slot: &mut Slot, effects: Effects) {
        let mut queue = VecDeque::from([effects]);
        while let Some(Effects { replies, writes }) = queue.pop_front() {
            for (waiter, reply) in replies {
                if let Some(Waiting { sender, .. }) = lock(&self.waiters).remove(&waiter) {
                    // A receiver that is gone has hung up this very moment; its member's session will tell.
                    let _ = sender.send((reply, slot.point()));
                }
            }
            for write in writes {
                let result = match write.records() {
                    Ok(records) => self.append(log, slot, records),
                    Err(error) => Err(error),
                };
                queue.push_back(slot.shard.written(self.moment(), write, result));
            }
        }
        self.note_due(slot);
    }

    pub(super) fn commit_outcome<R>(
        &self,
        log: &dyn InternalLog,
        slot: &mut Slot,
        outcome: Outcome<R>,
    ) -> Result<R, ErrorCode> {
        if !outcome.records.is_empty() {
            self.append(log, slot, &outcome.records).map_err(append_error)?;
        }
        Ok(outcome.reply)
    }

    pub(super) fn append(
        &self,
        log: &dyn InternalLog,
        slot: &mut Slot,
        records: &[InternalRecord],
    ) -> Result<(), ErrorCode> {
        self.partitions.append(log, slot, records)
    }

    pub(super) async fn slot_of(&self, log: &dyn InternalLog, group_id: &str) -> Result<Arc<Mutex<Slot>>, ErrorCode> {
        self.partitions.slot_of(log, group_id).await
    }

    pub(super) fn note_due(&self, slot: &Slot) {
        self.partitions.note_due(slot);
    }

    pub(super) fn moment(&self) -> Moment {
        self.partitions.moment()
    }
}

/// Tells the machine when a request that waits is given up.
struct HangUp<'a> {
    coordinator: &'a GroupCoordinator,
    log: &'a dyn InternalLog,
    slot: &'a Arc<Mutex<Slot>>,
    group_id: &'a str,
    waiter: WaiterId,
}

impl Drop for HangUp<'_> {
    fn drop(&mut self) {
        // Of a partition that another broker leads by now, nothing is to be told.
        let Ok(mut slot) = self.coordinator.partitions.lock(self.log, self.slot) else {
            lock(&self.coordinator.waiters).remove(&self.waiter);
            return;
        };
        // An answered request is no longer among the waiters.
        let waited = lock(&self.coordinator.waiters).remove(&self.waiter).is_some();
        if waited {
            let now = self.coordinator.moment();
            let effects = slot.shard.forget_waiter(now, self.group_id, self.waiter);
            self.coordinator.settle(self.log, &mut slot, effects);
        }
    }
}
