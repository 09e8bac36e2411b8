//! The driver of the group machines: it appends their records, wakes them, and delivers late answers.
//!
//! A shard is loaded from its partition on first use, and is used under its lock from then on. Appending does not wait,
//! so a step and its record are one critical section, and what a client hears is in the log.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

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
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;
use uuid::Uuid;

use super::group::{
    Effects, GroupSettings, GroupShard, JoinContext, Moment, Outcome, Reply, WaiterId, append_error, join_error,
    sync_error,
};
use super::partition_for;
use crate::{BrokerConfig, Clock, InternalLog, InternalRecord, internal_log::OFFSETS_TOPIC};

/// All groups of a broker.
///
/// Methods take the broker's [`InternalLog`], which holds `__consumer_offsets`; all of one coordinator's calls are to
/// take the same.
#[derive(Debug)]
pub struct GroupCoordinator {
    settings: GroupSettings,
    clock: Clock,
    /// The zero of the monotonic clock.
    began: Instant,
    /// How many partitions `__consumer_offsets` has; 0 until it was asked for.
    partition_count: AtomicI32,
    slots: Mutex<HashMap<i32, Arc<Mutex<Slot>>>>,
    /// When each loaded partition has something due, for the timer.
    due: Mutex<BTreeMap<i32, i64>>,
    wake_timer: Notify,
    next_waiter: AtomicU64,
}

/// A loaded partition: its machine, and who waits for answers of it.
#[derive(Debug)]
struct Slot {
    partition: i32,
    shard: GroupShard,
    waiters: HashMap<WaiterId, oneshot::Sender<Reply>>,
    is_loaded: bool,
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
            settings: GroupSettings::of(config),
            began: clock.now(),
            clock,
            partition_count: AtomicI32::new(0),
            slots: Mutex::default(),
            due: Mutex::default(),
            wake_timer: Notify::new(),
            next_waiter: AtomicU64::new(1),
        }
    }

    /// Makes sure that groups can be kept: the topic is there.
    ///
    /// # Errors
    /// As [`InternalLog::ensure_internal_topic`], in the words of a coordinator.
    pub fn ensure_ready(&self, log: &dyn InternalLog) -> Result<i32, ErrorCode> {
        match self.partition_count.load(Ordering::Acquire) {
            0 => {
                let count = log.ensure_internal_topic(OFFSETS_TOPIC).map_err(append_error)?;
                self.partition_count.store(count, Ordering::Release);
                Ok(count)
            }
            count => Ok(count),
        }
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
        let slot = match self.slot_of(log, &request.group_id) {
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
            Some(Reply::Join(response)) => response,
            _ => join_error(&request.member_id, ErrorCode::CoordinatorNotAvailable),
        }
    }

    /// Takes a SyncGroup and waits for the leader's assignment.
    ///
    /// Cancel safety: when dropped, the member's session goes on, and it may ask again.
    pub async fn sync(&self, log: &dyn InternalLog, request: &SyncGroupRequest) -> SyncGroupResponse {
        let slot = match self.slot_of(log, &request.group_id) {
            Ok(slot) => slot,
            Err(error) => return sync_error(error),
        };
        let waiting = self.wait(log, &slot, &request.group_id, |shard, waiter, now| shard.sync(now, request, waiter));
        match waiting.await {
            Some(Reply::Sync(response)) => response,
            _ => sync_error(ErrorCode::CoordinatorNotAvailable),
        }
    }

    /// Takes a heartbeat.
    ///
    /// # Errors
    /// As [`GroupShard::heartbeat`]; `NOT_COORDINATOR` where the partition cannot be read.
    pub fn heartbeat(&self, log: &dyn InternalLog, request: &HeartbeatRequest) -> Result<(), ErrorCode> {
        let slot = self.slot_of(log, &request.group_id)?;
        let mut slot = lock(&slot);
        let result = slot.shard.heartbeat(self.moment(), request);
        self.note_due(&slot);
        result
    }

    /// Takes members out of a group.
    pub fn leave(&self, log: &dyn InternalLog, request: &LeaveGroupRequest) -> LeaveGroupResponse {
        match self.slot_of(log, &request.group_id) {
            Ok(slot) => {
                let mut slot = lock(&slot);
                let (response, effects) = slot.shard.leave(self.moment(), request);
                self.settle(log, &mut slot, effects);
                response
            }
            Err(error) => LeaveGroupResponse { error_code: error.code(), ..Default::default() },
        }
    }

    /// Commits offsets of topics that were found to exist.
    ///
    /// # Errors
    /// As [`GroupShard::decide_commit`]; `NOT_COORDINATOR` where the partition cannot be read or written.
    pub fn commit(
        &self,
        log: &dyn InternalLog,
        request: &OffsetCommitRequest,
        version: i16,
    ) -> Result<OffsetCommitResponse, ErrorCode> {
        let slot = self.slot_of(log, &request.group_id)?;
        let mut slot = lock(&slot);
        let now = self.moment();
        let outcome = slot.shard.decide_commit(now, request, version)?;
        slot.shard.keep_alive(now, &request.group_id, &request.member_id);
        self.note_due(&slot);
        self.commit_outcome(log, &mut slot, outcome)
    }

    /// The committed offsets of a group.
    ///
    /// # Errors
    /// `NOT_COORDINATOR` where the partition cannot be read.
    pub fn fetch_offsets(
        &self,
        log: &dyn InternalLog,
        request: &OffsetFetchRequestGroup,
    ) -> Result<OffsetFetchResponseGroup, ErrorCode> {
        let slot = self.slot_of(log, &request.group_id)?;
        Ok(lock(&slot).shard.fetch_offsets(request))
    }

    /// Deletes offsets.
    ///
    /// # Errors
    /// As [`GroupShard::decide_delete_offsets`]; `INVALID_GROUP_ID`; `NOT_COORDINATOR` where the partition cannot be
    /// read or written.
    pub fn delete_offsets(
        &self,
        log: &dyn InternalLog,
        request: &OffsetDeleteRequest,
    ) -> Result<OffsetDeleteResponse, ErrorCode> {
        if request.group_id.is_empty() {
            return Err(ErrorCode::InvalidGroupId);
        }
        let slot = self.slot_of(log, &request.group_id)?;
        let mut slot = lock(&slot);
        let outcome = slot.shard.decide_delete_offsets(request)?;
        self.commit_outcome(log, &mut slot, outcome)
    }

    /// The groups that pass the filters.
    ///
    /// # Errors
    /// `NOT_COORDINATOR` where a partition cannot be read.
    pub fn list(
        &self,
        log: &dyn InternalLog,
        states: &[String],
        types: &[String],
    ) -> Result<Vec<ListedGroup>, ErrorCode> {
        let mut groups = Vec::new();
        for partition in 0..log.partition_count(OFFSETS_TOPIC).unwrap_or(0) {
            let slot = self.slot(log, partition)?;
            groups.append(&mut lock(&slot).shard.list(states, types));
        }
        Ok(groups)
    }

    /// A group's state and members.
    ///
    /// # Errors
    /// `NOT_COORDINATOR` where the partition cannot be read.
    pub fn describe(&self, log: &dyn InternalLog, group_id: &str, version: i16) -> Result<DescribedGroup, ErrorCode> {
        let slot = self.slot_of(log, group_id)?;
        Ok(lock(&slot).shard.describe(group_id, version))
    }

    /// Deletes a group that has no members, and its offsets.
    ///
    /// # Errors
    /// As [`GroupShard::decide_delete`]; `NOT_COORDINATOR` where the partition cannot be read or written.
    pub fn delete(&self, log: &dyn InternalLog, group_id: &str) -> Result<(), ErrorCode> {
        let slot = self.slot_of(log, group_id)?;
        let mut slot = lock(&slot);
        let outcome = slot.shard.decide_delete(group_id)?;
        self.commit_outcome(log, &mut slot, outcome)?;
        let effects = slot.shard.deleted(self.moment(), group_id);
        self.settle(log, &mut slot, effects);
        Ok(())
    }

    /// Forgets all offsets of a topic that was deleted.
    ///
    /// # Errors
    /// `NOT_COORDINATOR` where a partition cannot be read or written; those before it are done.
    pub fn forget_topic(&self, log: &dyn InternalLog, topic: &str) -> Result<(), ErrorCode> {
        for partition in 0..log.partition_count(OFFSETS_TOPIC).unwrap_or(0) {
            let slot = self.slot(log, partition)?;
            let mut slot = lock(&slot);
            let records = slot.shard.decide_forget_topic(topic);
            self.commit_outcome(log, &mut slot, Outcome { records, reply: () })?;
        }
        Ok(())
    }

    /// Ends sessions and rebalances when their time has come. Runs until it is dropped; a dropped one may be run anew.
    pub async fn run_timers(&self, log: &dyn InternalLog) {
        loop {
            let next_ms = lock(&self.due).values().copied().min();
            let sleep = async {
                match next_ms {
                    Some(at_ms) => tokio::time::sleep_until(self.instant(at_ms)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.wake_timer.notified() => {}
                () = sleep => self.do_due(log),
            }
        }
    }

    fn do_due(&self, log: &dyn InternalLog) {
        let now_ms = self.moment().monotonic_ms;
        let due: Vec<i32> =
            lock(&self.due).iter().filter(|(_, at_ms)| **at_ms <= now_ms).map(|(partition, _)| *partition).collect();
        for partition in due {
            let Ok(slot) = self.slot(log, partition) else { continue };
            let mut slot = lock(&slot);
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
    ) -> Option<Reply> {
        let waiter = self.next_waiter.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = oneshot::channel();
        {
            let mut slot = lock(slot);
            slot.waiters.insert(waiter, sender);
            let effects = step(&mut slot.shard, waiter, self.moment());
            self.settle(log, &mut slot, effects);
        }
        let _hung_up = HangUp { coordinator: self, log, slot, group_id, waiter };
        receiver.await.ok()
    }

    /// Does what a step asks for, and what follows from that.
    fn settle(&self, log: &dyn InternalLog, slot: &mut Slot, effects: Effects) {
        let mut queue = VecDeque::from([effects]);
        while let Some(Effects { replies, writes }) = queue.pop_front() {
            for (waiter, reply) in replies {
                if let Some(sender) = slot.waiters.remove(&waiter) {
                    // A receiver that is gone has hung up this very moment; its member's session will tell.
                    let _ = sender.send(reply);
                }
            }
            for write in writes {
                let result = match write.record() {
                    Ok(record) => self.append(log, slot, std::slice::from_ref(record)),
                    Err(error) => Err(error),
                };
                queue.push_back(slot.shard.written(self.moment(), write, result));
            }
        }
        self.note_due(slot);
    }

    fn commit_outcome<R>(&self, log: &dyn InternalLog, slot: &mut Slot, outcome: Outcome<R>) -> Result<R, ErrorCode> {
        if !outcome.records.is_empty() {
            self.append(log, slot, &outcome.records).map_err(append_error)?;
        }
        Ok(outcome.reply)
    }

    /// Appends records and takes them for true.
    fn append(&self, log: &dyn InternalLog, slot: &mut Slot, records: &[InternalRecord]) -> Result<(), ErrorCode> {
        log.append_internal(OFFSETS_TOPIC, slot.partition, records, self.moment().date_ms).inspect_err(|error| {
            tracing::error!(partition = slot.partition, error = error.name(), "cannot append to __consumer_offsets");
        })?;
        for record in records {
            if let Err(error) = slot.shard.replay(record.key.clone(), record.value.clone()) {
                tracing::error!(partition = slot.partition, %error, "a record of our own cannot be read");
            }
        }
        Ok(())
    }

    fn slot_of(&self, log: &dyn InternalLog, group_id: &str) -> Result<Arc<Mutex<Slot>>, ErrorCode> {
        let count = self.ensure_ready(log)?;
        self.slot(log, partition_for(group_id, count))
    }

    /// The partition's slot, loaded. Loading reads the whole partition once, under the slot's own lock.
    fn slot(&self, log: &dyn InternalLog, partition: i32) -> Result<Arc<Mutex<Slot>>, ErrorCode> {
        let shared = {
            let mut slots = lock(&self.slots);
            let blank = || Slot {
                partition,
                shard: GroupShard::new(self.settings.clone()),
                waiters: HashMap::new(),
                is_loaded: false,
            };
            Arc::clone(slots.entry(partition).or_insert_with(|| Arc::new(Mutex::new(blank()))))
        };
        let mut slot = lock(&shared);
        if !slot.is_loaded {
            self.load(log, &mut slot).map_err(append_error)?;
        }
        drop(slot);
        Ok(shared)
    }

    fn load(&self, log: &dyn InternalLog, slot: &mut Slot) -> Result<(), ErrorCode> {
        let mut shard = GroupShard::new(self.settings.clone());
        let partition = slot.partition;
        let end = log.replay_internal(OFFSETS_TOPIC, partition, &mut |record| {
            let Some(key) = record.key else {
                tracing::warn!(partition, offset = record.offset, "a record without a key was skipped");
                return;
            };
            if let Err(error) = shard.replay(key, record.value) {
                // As Kafka does: one record that cannot be read must not take all groups with it.
                tracing::error!(partition, offset = record.offset, %error, "a record was skipped");
            }
        })?;
        shard.start(self.moment());
        slot.shard = shard;
        slot.is_loaded = true;
        self.note_due(slot);
        tracing::debug!(partition, end, "groups loaded");
        Ok(())
    }

    /// Tells the timer when this partition has something due.
    fn note_due(&self, slot: &Slot) {
        let mut due = lock(&self.due);
        let earliest = due.values().copied().min();
        let at_ms = slot.shard.deadline_ms();
        match at_ms {
            Some(at_ms) => due.insert(slot.partition, at_ms),
            None => due.remove(&slot.partition),
        };
        drop(due);
        if at_ms.is_some_and(|at_ms| earliest.is_none_or(|earliest| at_ms < earliest)) {
            self.wake_timer.notify_one();
        }
    }

    fn moment(&self) -> Moment {
        let since = self.clock.now().saturating_duration_since(self.began);
        Moment { monotonic_ms: i64::try_from(since.as_millis()).unwrap_or(i64::MAX), date_ms: self.clock.now_ms() }
    }

    fn instant(&self, monotonic_ms: i64) -> Instant {
        // Milliseconds are rounded down by `moment`, so one that is not over yet must not count as over.
        let since = Duration::from_millis(u64::try_from(monotonic_ms).unwrap_or(0));
        // A time beyond the clock's range is as good as never; the timer will look again in a day.
        self.began.checked_add(since).unwrap_or_else(|| self.clock.now() + Duration::from_secs(86_400))
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
        let mut slot = lock(self.slot);
        // An answered request is no longer among the waiters.
        if slot.waiters.remove(&self.waiter).is_some() {
            let now = self.coordinator.moment();
            let effects = slot.shard.forget_waiter(now, self.group_id, self.waiter);
            self.coordinator.settle(self.log, &mut slot, effects);
        }
    }
}

/// A lock that outlives a panic: each step leaves the machines whole, and a broker must go on.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
