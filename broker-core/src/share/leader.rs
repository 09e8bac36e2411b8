//! The driver of the share machines: it reads logs for them, keeps what they decide with the share coordinator, wakes
//! fetches, and ends locks when their time has come.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use rkafka_protocol::ErrorCode;
use rkafka_protocol::records::BatchIter;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::aborted::aborted_runs;
use super::due::DueLocks;
use super::queue::FetchQueue;
use super::settings::{GroupShareSettings, OffsetReset};
use super::{
    Acknowledgement, AcquireLimits, AcquiredRange, PersistedState, SharePartition, ShareSessions, StateChange,
};
use crate::config::milliseconds;
use crate::coordinator::share::{ShareCoordinator, ShareKey, SharePlace, UNINITIALIZED_START};
use crate::locks::lock;
use crate::replication::{Partition, Waiter};
use crate::{BrokerState, Clock};

/// A group on a partition that this broker leads.
#[derive(Debug)]
pub(crate) struct Led {
    pub key: ShareKey,
    pub partition: Arc<Partition>,
    place: SharePlace,
    /// The epoch of the state that this one goes on with. Where the state has begun anew, it must not write any more.
    state_epoch: i32,
    /// Somebody has altered the state, or taken it away: what is here is over.
    is_over: AtomicBool,
    machine: Mutex<SharePartition>,
    /// Fetches that are under way, in the order in which they came: the first is served.
    queue: FetchQueue,
}

/// What a fetch got of a partition.
#[derive(Debug)]
pub(crate) struct Delivery {
    pub records: Bytes,
    pub acquired: Vec<AcquiredRange>,
}

/// All share groups on the partitions of this broker.
#[derive(Debug)]
pub(crate) struct ShareLeader {
    led: Mutex<HashMap<ShareKey, Arc<Led>>>,
    sessions: Mutex<ShareSessions>,
    pub coordinator: ShareCoordinator,
    /// When locks expire, with the groups and partitions that hold them.
    due: Mutex<DueLocks>,
    wake_timer: Notify,
    clock: Clock,
    /// The zero of the clock for locks, which never jumps.
    began: Instant,
}

impl ShareLeader {
    /// No groups yet.
    pub fn new(max_sessions: usize, clock: Clock) -> Self {
        Self {
            led: Mutex::default(),
            sessions: Mutex::new(ShareSessions::new(max_sessions)),
            coordinator: ShareCoordinator::new(clock.clone()),
            due: Mutex::default(),
            wake_timer: Notify::new(),
            began: clock.now(),
            clock,
        }
    }

    fn now_ms(&self) -> i64 {
        let since = self.clock.now().saturating_duration_since(self.began);
        milliseconds(since)
    }

    /// The sessions of all members.
    pub fn sessions(&self) -> MutexGuard<'_, ShareSessions> {
        lock(&self.sessions)
    }

    /// A group on a partition, read back where this is its first use. A group that has not begun begins where
    /// `share.auto.offset.reset` says.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// `UNKNOWN_TOPIC_ID`; `UNKNOWN_TOPIC_OR_PARTITION` also where the group is not on the partition;
    /// `KAFKA_STORAGE_ERROR`, `NOT_COORDINATOR`.
    pub async fn led(
        &self,
        broker: &BrokerState,
        key: &ShareKey,
        settings: &GroupShareSettings,
    ) -> Result<Arc<Led>, ErrorCode> {
        let known = lock(&self.led).get(key).cloned();
        match known {
            Some(led) if led.is_over() => {}
            Some(led) if self.coordinator.is_current(broker, &led.place) && led.partition.check_leader().is_ok() => {
                return Ok(led);
            }
            // Another broker has led meanwhile: what is known here may be less, or more, than what is kept.
            Some(_) => self.forget(key),
            None => {}
        }
        let image = broker.image();
        let topic = image.topic_by_id(key.topic_id).ok_or(ErrorCode::UnknownTopicId)?;
        let partition = broker.partition_of(topic, key.partition).ok_or(ErrorCode::UnknownTopicOrPartition)?;
        partition.check_leader()?;
        let (place, state) = match self.coordinator.read(broker, key).await? {
            (place, Some(state)) => (place, state),
            // A loss of power may have taken the state and left the note of it. Of a group that is not on the partition
            // none is made, which nobody would ever delete.
            _ if broker.groups.is_share_partition(broker, key).await? => self.coordinator.ensure(broker, key).await?,
            _ => return Err(ErrorCode::UnknownTopicOrPartition),
        };
        let state_epoch = state.state_epoch;
        let offsets = match state.offsets {
            offsets if offsets.start_offset != UNINITIALIZED_START => offsets,
            _ => {
                let start_offset = first_offset(broker, &partition, settings)?;
                PersistedState { start_offset, batches: Vec::new() }
            }
        };
        let machine = Mutex::new(SharePartition::restored(&offsets));
        let led = Led {
            key: key.clone(),
            partition,
            place,
            state_epoch,
            is_over: AtomicBool::new(false),
            machine,
            queue: FetchQueue::default(),
        };
        let mut all = lock(&self.led);
        // Somebody else may have been quicker.
        match all.get(key) {
            Some(led) if !led.is_over() => Ok(Arc::clone(led)),
            _ => {
                let led = Arc::new(led);
                all.insert(key.clone(), Arc::clone(&led));
                Ok(led)
            }
        }
    }

    /// Forgets what is in memory of a group on a partition: its state was altered, or it ended. Who waits looks again.
    pub fn forget(&self, key: &ShareKey) {
        if let Some(led) = lock(&self.led).remove(key) {
            led.end();
        }
    }

    /// Lets a group begin at an offset of a partition; what it did before does not count any more.
    ///
    /// # Errors
    /// `NOT_COORDINATOR` where the state cannot be written.
    pub async fn alter_state(&self, broker: &BrokerState, key: &ShareKey, offset: i64) -> Result<(), ErrorCode> {
        let (place, _) = self.coordinator.read(broker, key).await?;
        self.coordinator.initialize(broker, &place, key, offset).await?;
        self.forget(key);
        Ok(())
    }

    /// Takes away what is kept of a group on a partition.
    ///
    /// # Errors
    /// As [`ShareLeader::alter_state`].
    pub async fn delete_state(&self, broker: &BrokerState, key: &ShareKey) -> Result<(), ErrorCode> {
        let (place, _) = self.coordinator.read(broker, key).await?;
        self.coordinator.delete(broker, &place, key).await?;
        self.forget(key);
        Ok(())
    }

    /// Forgets the partitions of a topic that was deleted.
    pub fn forget_topic(&self, topic_id: uuid::Uuid) {
        lock(&self.led).retain(|key, led| {
            let stays = key.topic_id != topic_id;
            if !stays {
                led.end();
            }
            stays
        });
    }

    /// Takes what a member says of its records: all of it, once it is kept.
    ///
    /// Cancel safety: when dropped, it is taken, and the member does not hear of it.
    ///
    /// # Errors
    /// `INVALID_RECORD_STATE` where a record is not with the member; `NOT_COORDINATOR` where it cannot be kept, or is
    /// kept by another broker by now.
    pub async fn acknowledge(
        &self,
        broker: &BrokerState,
        led: &Led,
        member: &str,
        batches: &[Acknowledgement<'_>],
        settings: &GroupShareSettings,
    ) -> Result<(), ErrorCode> {
        {
            let mut machine = lock(&led.machine);
            let change = machine.decide_acknowledge(self.now_ms(), member, batches, &settings.machine)?;
            self.carry_out(broker, led, &mut machine, &change)?;
        }
        self.coordinator.committed(broker, &led.place).await
    }

    /// Takes back what a member holds whose session ends.
    pub fn release(&self, broker: &BrokerState, key: &ShareKey, member: &str) {
        let Some(led) = lock(&self.led).get(key).cloned() else { return };
        let mut machine = lock(&led.machine);
        if let Some(change) = machine.decide_release(member) {
            // Where it cannot be kept, the locks end by themselves.
            let _logged = self.carry_out(broker, &led, &mut machine, &change);
        }
    }

    /// Ends the sessions of a connection that is gone, and takes back what their members hold.
    pub fn disconnected(&self, broker: &BrokerState, connection_id: u64) {
        let ended = self.sessions().disconnected(connection_id);
        for ((group_id, member), partitions) in ended {
            for (topic_id, partition) in partitions {
                let key = ShareKey { group_id: Arc::clone(&group_id), topic_id, partition };
                self.release(broker, &key, &member);
            }
        }
    }

    /// Keeps a change, and then puts it in force.
    fn carry_out(
        &self,
        broker: &BrokerState,
        led: &Led,
        machine: &mut SharePartition,
        change: &StateChange,
    ) -> Result<(), ErrorCode> {
        let mut after = machine.clone();
        after.apply(change);
        if change.is_persistent() {
            self.coordinator.write(
                broker,
                &led.place,
                &led.key,
                (led.partition.leader_epoch(), led.state_epoch),
                &after,
            )?;
        }
        *machine = after;
        self.note_due(&led.key, machine);
        led.queue.wake_first();
        Ok(())
    }

    /// Gives a member what there is for it in a partition; `None` where there is nothing.
    ///
    /// # Errors
    /// As a fetch of the partition.
    pub fn deliver(
        &self,
        broker: &BrokerState,
        led: &Led,
        member: &Arc<str>,
        max_bytes: usize,
        limits: AcquireLimits,
        settings: &GroupShareSettings,
    ) -> Result<Option<Delivery>, ErrorCode> {
        if led.is_over() {
            return Ok(None);
        }
        let mut machine = lock(&led.machine);
        let now_ms = broker.clock.now_ms();
        let log_start_offset = led.partition.with_log(now_ms, crate::log::Log::log_start_offset)?;
        machine.move_start(log_start_offset);
        if !machine.can_acquire(&settings.machine) {
            return Ok(None);
        }
        let at = machine.next_fetch_offset();
        let read = led.partition.read(at, max_bytes, true, settings.read_committed, now_ms);
        let read = match read {
            Ok(read) => read,
            // The log ends below what the group has seen: it was cut off. Nothing is there until it grows again.
            Err(failure) if failure.error == ErrorCode::OffsetOutOfRange => return Ok(None),
            Err(failure) => return Err(failure.error),
        };
        if read.records.is_empty() {
            return Ok(None);
        }
        let mut batches = Vec::new();
        for batch in BatchIter::new(&read.records) {
            let header = *batch.map_err(|_| ErrorCode::CorruptMessage)?.header();
            batches.push((header.base_offset, header.last_offset(), header.total_len()));
        }
        for (first, last) in aborted_runs(&read.records, read.aborted.as_deref().unwrap_or_default()) {
            if let Some(change) = machine.decide_archive(first, last) {
                self.carry_out(broker, led, &mut machine, &change)?;
            }
        }
        let offsets: Vec<_> = batches.iter().map(|(first, last, _)| (*first, *last)).collect();
        let acquired = machine.acquire(self.now_ms(), member, &offsets, limits, &settings.machine);
        self.note_due(&led.key, &machine);
        let (Some(first), Some(last)) = (acquired.first(), acquired.last()) else { return Ok(None) };
        // Whole batches, from the first that has something acquired to the last.
        let (first, last) = (first.first_offset, last.last_offset);
        let before = batches.iter().take_while(|batch| batch.1 < first).map(|batch| batch.2).sum::<usize>();
        let within =
            batches.iter().filter(|batch| batch.1 >= first && batch.0 <= last).map(|batch| batch.2).sum::<usize>();
        let end = before.saturating_add(within).min(read.records.len());
        Ok(Some(Delivery { records: read.records.slice(before.min(end)..end), acquired }))
    }

    fn note_due(&self, key: &ShareKey, machine: &SharePartition) {
        let Some(at_ms) = machine.deadline_ms() else { return };
        let is_earliest = lock(&self.due).note(key, at_ms);
        if is_earliest {
            self.wake_timer.notify_one();
        }
    }

    /// Loads what the share coordinator is elected for, and ends locks when their time has come. Runs until it is dropped;
    /// a dropped one may be run anew.
    pub async fn run_timers(&self, broker: &BrokerState) {
        tokio::join!(self.coordinator.run_loads(broker), self.end_locks(broker));
    }

    async fn end_locks(&self, broker: &BrokerState) {
        loop {
            let next_ms = lock(&self.due).next_ms();
            match next_ms {
                None => self.wake_timer.notified().await,
                Some(at_ms) => {
                    let at = self.began + Duration::from_millis(u64::try_from(at_ms).unwrap_or(0));
                    tokio::select! {
                        () = self.wake_timer.notified() => {}
                        () = tokio::time::sleep_until(at) => self.do_due(broker),
                    }
                }
            }
        }
    }

    fn do_due(&self, broker: &BrokerState) {
        let now_ms = self.now_ms();
        loop {
            // The lock is not held while the machine is.
            let key = lock(&self.due).take_over(now_ms);
            let Some(key) = key else { return };
            let Some(led) = lock(&self.led).get(&key).cloned() else { continue };
            let settings = GroupShareSettings::of(broker, &key.group_id);
            let mut machine = lock(&led.machine);
            if let Some(change) = machine.decide_expired(now_ms, &settings.machine)
                && self.carry_out(broker, &led, &mut machine, &change).is_err()
            {
                // It could not be kept. The locks are over all the same, and what a restart reads back is available.
                tracing::warn!(group = %key.group_id, partition = key.partition, "expired locks were not kept");
                machine.apply(&change);
                led.queue.wake_first();
            }
            self.note_due(&key, &machine);
        }
    }
}

impl Led {
    /// Whether a fetch has nothing to wait for here any more; the next one finds the group anew.
    pub fn is_over(&self) -> bool {
        self.partition.is_closed() || self.is_over.load(Ordering::Acquire)
    }

    fn end(&self) {
        self.is_over.store(true, Ordering::Release);
        self.queue.wake_all();
    }

    /// Registers a fetch behind those that wait already, for new records and for those that come back.
    pub fn add_waiter(&self, waiter: &Arc<Waiter>) {
        self.partition.add_waiter(waiter, false);
        self.queue.add(waiter);
    }

    /// Takes a fetch out, whatever it got. What it left is for the next one.
    pub fn remove_waiter(&self, waiter: &Arc<Waiter>) {
        self.partition.remove_waiter(waiter, false);
        self.queue.remove(waiter);
    }

    /// Whether a fetch is the one to be served: nobody has waited for longer.
    pub fn is_turn_of(&self, waiter: &Arc<Waiter>) -> bool {
        self.queue.is_first(waiter)
    }
}

/// Where a group begins that has never been on this partition.
fn first_offset(broker: &BrokerState, partition: &Partition, settings: &GroupShareSettings) -> Result<i64, ErrorCode> {
    let now_ms = broker.clock.now_ms();
    match settings.offset_reset {
        OffsetReset::Earliest => partition.with_log(now_ms, crate::log::Log::log_start_offset),
        OffsetReset::Latest => partition.with_log(now_ms, crate::log::Log::high_watermark),
        OffsetReset::ByDuration(ago) => {
            let at_ms = now_ms.saturating_sub(milliseconds(ago));
            let found = partition.with_log(now_ms, |log| log.offset_for_timestamp(at_ms))?;
            let found = found.map_err(|error| ErrorCode::from_code(error.kafka_error_code()))?;
            match found {
                Some(found) => Ok(found.offset),
                None => partition.with_log(now_ms, crate::log::Log::high_watermark),
            }
        }
    }
}
