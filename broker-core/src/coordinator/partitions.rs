//! What all coordinators' drivers share: partitions of an internal topic that are loaded in the background after a start
//! or an election, or on first use, each a machine under a lock of its own, and the time when the next of them has
//! something due.
//!
//! A machine is what the log of one leader epoch says. It is used, and appended for, while this broker leads in that very
//! epoch; what is said on the strength of it waits until it is committed, in that epoch too. So nothing that a later
//! leader does not have is ever told, and a coordinator that lost its place completes nothing, whether it knows of it
//! yet or not.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use rkafka_protocol::ErrorCode;
use rkafka_protocol::records::NO_PRODUCER_ID;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::partition_for;
use crate::config::milliseconds;
use crate::locks::lock;
use crate::log::TransactionMarker;
use crate::planted::{self, Bug};
use crate::{Clock, InternalLog, InternalRecord, LogPoint, ReplayedEntry, ReplayedRecord, TransactionalProducer};

/// How many records go into a batch, where they need not be in the log all or none.
const RECORDS_AT_ONCE: usize = 5_000;

/// Where a record lies in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordPlace {
    /// Its offset.
    pub offset: i64,
    /// The producer in whose transaction it was written, or -1.
    pub producer_id: i64,
}

/// The time as a machine is told it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Moment {
    /// For timeouts: milliseconds on a clock that never jumps.
    pub monotonic_ms: i64,
    /// For records: milliseconds since the epoch.
    pub date_ms: i64,
}

/// A decision that counts once its records are appended and replayed.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome<R> {
    /// To be appended, all or none.
    pub records: Vec<InternalRecord>,
    /// The answer after that.
    pub reply: R,
}

/// What the driver needs of a machine that keeps one partition of an internal topic.
pub(super) trait Shard {
    /// The internal topic.
    const TOPIC: &'static str;
    /// What a new machine is made from.
    type Settings;

    /// A machine that knows nothing yet.
    fn blank(settings: &Self::Settings) -> Self;

    /// Takes a record for true, one of its own as one that is read back.
    ///
    /// # Errors
    /// It cannot be read; nothing was changed.
    fn take(&mut self, place: RecordPlace, key: Bytes, value: Option<Bytes>) -> Result<(), String>;

    /// Takes the end of a producer's transaction in this partition for true. Topics without transactions have none.
    fn take_marker(&mut self, _producer_id: i64, _commit: bool) {}

    /// Begins to live, once all records were taken.
    fn begin(&mut self, now: Moment);

    /// When it has something to do, on the monotonic clock.
    fn next_deadline_ms(&self) -> Option<i64>;
}

/// A partition that somebody has asked for. Appends to it are made under its lock only.
#[derive(Debug)]
pub(super) struct Slot<S> {
    pub partition: i32,
    pub shard: S,
    /// The leader epoch in which the machine is what the log says; `None` where it is not loaded.
    loaded_in: Option<i32>,
    /// The offset behind the last record that the machine has taken for true.
    end: i64,
}

impl<S> Slot<S> {
    /// What an answer rests on that is given now.
    pub fn point(&self) -> LogPoint {
        LogPoint { leader_epoch: self.loaded_in.unwrap_or(-1), end: self.end }
    }
}

/// A partition's slot, and the lock that is held by who loads it.
#[derive(Debug)]
struct Entry<S> {
    slot: Arc<Mutex<Slot<S>>>,
    loading: Arc<tokio::sync::Mutex<()>>,
}

/// The partitions of an internal topic.
#[derive(Debug)]
pub(super) struct Partitions<S: Shard> {
    settings: S::Settings,
    clock: Clock,
    /// The zero of the monotonic clock.
    began: Instant,
    entries: Mutex<HashMap<i32, Entry<S>>>,
    /// When each loaded partition has something due, for the timer.
    due: Mutex<BTreeMap<i32, i64>>,
    wake_timer: Notify,
    /// The partitions that this broker has come to lead, and not loaded yet.
    elected: Mutex<BTreeSet<i32>>,
    wake_loader: Notify,
}

impl<S: Shard> Partitions<S> {
    pub fn new(settings: S::Settings, clock: Clock) -> Self {
        Self {
            settings,
            began: clock.now(),
            clock,
            entries: Mutex::default(),
            due: Mutex::default(),
            wake_timer: Notify::new(),
            elected: Mutex::default(),
            wake_loader: Notify::new(),
        }
    }

    /// Makes sure that the topic is there; answers how many partitions it has.
    ///
    /// # Errors
    /// As [`InternalLog::ensure_internal_topic`], in the words of a coordinator.
    pub async fn ensure_ready(&self, log: &(impl InternalLog + ?Sized)) -> Result<i32, ErrorCode> {
        match log.partition_count(S::TOPIC) {
            Some(count) => Ok(count),
            None => log.ensure_internal_topic(S::TOPIC).await.map_err(append_error),
        }
    }

    /// The slot of the partition that is responsible for `key`, loaded.
    ///
    /// # Errors
    /// As [`Partitions::ensure_ready`] and [`Partitions::slot`].
    pub async fn slot_of(
        &self,
        log: &(impl InternalLog + ?Sized),
        key: &str,
    ) -> Result<Arc<Mutex<Slot<S>>>, ErrorCode> {
        let count = self.ensure_ready(log).await?;
        self.slot(log, partition_for(key, count)).await
    }

    /// The partition's slot, loaded; who comes while it is loaded waits. Cancel safe: who waited longest goes on.
    ///
    /// # Errors
    /// `NOT_COORDINATOR` where this broker does not lead the partition, or cannot read it, or its disk failed: what is
    /// known of it may be more than is there.
    pub async fn slot(
        &self,
        log: &(impl InternalLog + ?Sized),
        partition: i32,
    ) -> Result<Arc<Mutex<Slot<S>>>, ErrorCode> {
        let epoch = log.led_epoch(S::TOPIC, partition).map_err(append_error)?;
        let Entry { slot, loading } = self.entry(partition);
        if lock(&slot).loaded_in != Some(epoch) {
            let _one_at_a_time = loading.lock().await;
            let epoch = log.led_epoch(S::TOPIC, partition).map_err(append_error)?;
            let loaded_in = lock(&slot).loaded_in;
            if loaded_in.is_some() && planted::is(Bug::CoordinatorKeepsStaleState) {
                lock(&slot).loaded_in = Some(epoch);
            } else if loaded_in != Some(epoch) {
                self.load(log, partition, epoch, &slot).await.map_err(append_error)?;
            }
        }
        Ok(slot)
    }

    /// The machine, for one step.
    ///
    /// # Errors
    /// `NOT_COORDINATOR` where this broker does not lead the partition any more, or in another epoch than when it was
    /// loaded.
    pub fn lock<'a>(
        &self,
        log: &(impl InternalLog + ?Sized),
        slot: &'a Mutex<Slot<S>>,
    ) -> Result<MutexGuard<'a, Slot<S>>, ErrorCode> {
        let slot = lock(slot);
        let led_in = log.led_epoch(S::TOPIC, slot.partition).map_err(append_error)?;
        if slot.loaded_in == Some(led_in) { Ok(slot) } else { Err(ErrorCode::NotCoordinator) }
    }

    /// Waits until what an answer rests on is committed. Cancel safe.
    ///
    /// # Errors
    /// `NOT_COORDINATOR` where this broker does not lead the partition any more, or in another epoch, or its disk failed;
    /// `COORDINATOR_NOT_AVAILABLE` where it takes too long. The client asks again, and what it asked for may be done.
    pub async fn committed(
        &self,
        log: &(impl InternalLog + ?Sized),
        partition: i32,
        point: LogPoint,
    ) -> Result<(), ErrorCode> {
        if log.is_committed(S::TOPIC, partition, point) {
            return Ok(());
        }
        log.committed(S::TOPIC, partition, point).await.map_err(append_error)
    }

    /// Does a step in the partition that is responsible for `key`, and gives its answer once that is committed which it
    /// rests on; an error too, for it may tell of what is not.
    ///
    /// # Errors
    /// As the step; as [`Partitions::slot_of`], [`Partitions::lock`] and [`Partitions::committed`].
    pub async fn step<R, E: From<ErrorCode>>(
        &self,
        log: &(impl InternalLog + ?Sized),
        key: &str,
        step: impl FnOnce(&mut Slot<S>) -> Result<R, E>,
    ) -> Result<R, E> {
        let slot = self.slot_of(log, key).await?;
        self.step_in(log, &slot, step).await
    }

    /// As [`Partitions::step`], in a slot that is at hand.
    ///
    /// # Errors
    /// As [`Partitions::step`].
    pub async fn step_in<R, E: From<ErrorCode>>(
        &self,
        log: &(impl InternalLog + ?Sized),
        slot: &Mutex<Slot<S>>,
        step: impl FnOnce(&mut Slot<S>) -> Result<R, E>,
    ) -> Result<R, E> {
        let (answer, partition, point) = {
            let mut slot = self.lock(log, slot)?;
            let answer = step(&mut slot);
            (answer, slot.partition, slot.point())
        };
        if !planted::is(Bug::CoordinatorAnswersUncommitted) {
            self.committed(log, partition, point).await?;
        }
        answer
    }

    /// This broker leads a partition from now on: it is loaded in the background, where [`Partitions::run_loads`] runs.
    /// What was known in an earlier epoch is forgotten.
    pub fn elected(&self, partition: i32, leader_epoch: i32) {
        self.forget_before(partition, leader_epoch);
        lock(&self.elected).insert(partition);
        self.wake_loader.notify_one();
    }

    /// Another broker leads a partition from now on, or nobody does: what was known of it in an earlier epoch is
    /// forgotten.
    pub fn resigned(&self, partition: i32, leader_epoch: i32) {
        lock(&self.elected).remove(&partition);
        self.forget_before(partition, leader_epoch);
    }

    /// When this returns, nobody is within a step of an earlier epoch, and nobody will be.
    fn forget_before(&self, partition: i32, leader_epoch: i32) {
        let Some(slot) = lock(&self.entries).get(&partition).map(|entry| Arc::clone(&entry.slot)) else { return };
        let mut slot = lock(&slot);
        if slot.loaded_in.is_some_and(|epoch| epoch < leader_epoch) && !planted::is(Bug::CoordinatorKeepsStaleState) {
            slot.shard = S::blank(&self.settings);
            slot.loaded_in = None;
            self.nothing_due(partition);
            tracing::debug!(topic = S::TOPIC, partition, leader_epoch, "unloaded");
        }
    }

    /// Loads what this broker is elected for. Runs until it is dropped; a dropped one may be run anew.
    pub async fn run_loads(&self, log: &(impl InternalLog + ?Sized)) {
        loop {
            let next = lock(&self.elected).pop_first();
            match next {
                // An empty one is loaded by its first use, so that a new topic costs nothing.
                Some(partition) if log.kept_partitions(S::TOPIC).contains(&partition) => {
                    self.load_one(log, partition).await;
                }
                Some(_) => {}
                None => self.wake_loader.notified().await,
            }
        }
    }

    async fn load_one(&self, log: &(impl InternalLog + ?Sized), partition: i32) {
        match self.slot(log, partition).await {
            Ok(_) => {}
            Err(ErrorCode::NotCoordinator) if log.led_epoch(S::TOPIC, partition).is_err() => {
                tracing::debug!(topic = S::TOPIC, partition, "another broker leads before it was loaded");
            }
            Err(error) => tracing::error!(topic = S::TOPIC, partition, error = error.name(), "cannot load"),
        }
    }

    /// The partition's slot, loaded or not.
    pub fn unloaded_slot(&self, partition: i32) -> Arc<Mutex<Slot<S>>> {
        self.entry(partition).slot
    }

    /// The slots that are loaded, if perhaps in an epoch that is over.
    pub fn loaded_slots(&self) -> Vec<Arc<Mutex<Slot<S>>>> {
        let mut slots: Vec<_> = lock(&self.entries).values().map(|entry| Arc::clone(&entry.slot)).collect();
        slots.retain(|slot| lock(slot).loaded_in.is_some());
        slots
    }

    /// Loads every partition that has something and is not loaded yet. One that cannot be read is reported in the log, and tried again
    /// when somebody asks for it.
    ///
    /// Cancel safety: what was loaded stays so; the partition that was about to be loaded is read anew.
    pub async fn load_all(&self, log: &(impl InternalLog + ?Sized)) {
        for partition in log.kept_partitions(S::TOPIC) {
            self.load_one(log, partition).await;
        }
    }

    fn entry(&self, partition: i32) -> Entry<S> {
        let mut entries = lock(&self.entries);
        let entry = entries.entry(partition).or_insert_with(|| {
            let slot = Slot { partition, shard: S::blank(&self.settings), loaded_in: None, end: 0 };
            Entry { slot: Arc::new(Mutex::new(slot)), loading: Arc::default() }
        });
        Entry { slot: Arc::clone(&entry.slot), loading: Arc::clone(&entry.loading) }
    }

    /// Reads the whole partition once, a piece at a time: others work between, on a runtime with one thread too. What
    /// was appended meanwhile is read under the slot's lock, where nobody can append. A load is given up once `epoch` is
    /// over.
    async fn load(
        &self,
        log: &(impl InternalLog + ?Sized),
        partition: i32,
        epoch: i32,
        slot: &Mutex<Slot<S>>,
    ) -> Result<(), ErrorCode> {
        let mut shard = S::blank(&self.settings);
        let mut from = 0;
        loop {
            let next = log.read_internal(S::TOPIC, partition, from, &mut |entry| take(&mut shard, partition, entry))?;
            if next <= from {
                break;
            }
            from = next;
            tokio::task::yield_now().await;
            check_epoch::<S>(log, partition, epoch)?;
        }
        let mut slot = lock(slot);
        loop {
            let next = log.read_internal(S::TOPIC, partition, from, &mut |entry| take(&mut shard, partition, entry))?;
            if next <= from {
                break;
            }
            from = next;
        }
        check_epoch::<S>(log, partition, epoch)?;
        shard.begin(self.moment());
        slot.shard = shard;
        slot.loaded_in = Some(epoch);
        slot.end = from;
        self.note_due(&slot);
        tracing::debug!(topic = S::TOPIC, partition, leader_epoch = epoch, end = from, "loaded");
        Ok(())
    }

    /// Appends records and takes them for true.
    ///
    /// # Errors
    /// As [`InternalLog::append_internal`]; nothing has changed then.
    pub fn append(
        &self,
        log: &(impl InternalLog + ?Sized),
        slot: &mut Slot<S>,
        records: &[InternalRecord],
    ) -> Result<(), ErrorCode> {
        self.append_in(log, slot, None, records)
    }

    /// Appends records that need not be in the log all or none.
    ///
    /// # Errors
    /// As [`Partitions::append`]; what was appended before stays so.
    pub fn append_many(
        &self,
        log: &(impl InternalLog + ?Sized),
        slot: &mut Slot<S>,
        records: &[InternalRecord],
    ) -> Result<(), ErrorCode> {
        records.chunks(RECORDS_AT_ONCE).try_for_each(|some| self.append(log, slot, some))
    }

    /// Appends records in the transaction of a producer where there is one, and takes them for
    /// true.
    ///
    /// # Errors
    /// As [`InternalLog::append_transactional`]; nothing has changed then.
    pub fn append_in(
        &self,
        log: &(impl InternalLog + ?Sized),
        slot: &mut Slot<S>,
        producer: Option<TransactionalProducer>,
        records: &[InternalRecord],
    ) -> Result<(), ErrorCode> {
        let (partition, now_ms) = (slot.partition, self.moment().date_ms);
        let epoch = slot.loaded_in.ok_or(ErrorCode::NotLeaderOrFollower)?;
        let appended = match producer {
            Some(producer) => log.append_transactional(S::TOPIC, partition, epoch, producer, records, now_ms),
            None => log.append_internal(S::TOPIC, partition, epoch, records, now_ms),
        };
        let base_offset = appended.inspect_err(|error| {
            tracing::warn!(topic = S::TOPIC, partition, error = error.name(), "cannot append");
        })?;
        let producer_id = producer.map_or(NO_PRODUCER_ID, |producer| producer.id);
        for (offset, record) in (base_offset..).zip(records) {
            let place = RecordPlace { offset, producer_id };
            if let Err(error) = slot.shard.take(place, record.key.clone(), record.value.clone()) {
                tracing::error!(topic = S::TOPIC, partition, %error, "a record of our own cannot be read");
            }
            slot.end = offset + 1;
        }
        Ok(())
    }

    /// Ends a producer's transaction in a partition. When this returns, the machine has taken it for true. One that is
    /// not loaded will find the marker in the log. Answers how far the marker is.
    ///
    /// # Errors
    /// As [`InternalLog::append_marker`]; nothing has changed then.
    pub fn append_marker(
        &self,
        log: &(impl InternalLog + ?Sized),
        partition: i32,
        marker: &TransactionMarker,
    ) -> Result<LogPoint, ErrorCode> {
        let slot = self.entry(partition).slot;
        let mut slot = lock(&slot);
        let written = log.append_marker(S::TOPIC, partition, marker, self.moment().date_ms)?;
        if slot.loaded_in == Some(written.leader_epoch) && !planted::is(Bug::MarkerBeforeOffsets) {
            slot.shard.take_marker(marker.producer_id, marker.commit);
            slot.end = written.end;
        }
        Ok(written)
    }

    /// Waits until a partition has something due. Cancel safe.
    pub async fn until_due(&self) {
        let next_ms = lock(&self.due).values().copied().min();
        let sleep = async {
            match next_ms {
                Some(at_ms) => tokio::time::sleep_until(self.instant(at_ms)).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.wake_timer.notified() => {}
            () = sleep => {}
        }
    }

    /// The partitions that have something due now.
    pub fn due(&self) -> Vec<i32> {
        let now_ms = self.moment().monotonic_ms;
        lock(&self.due).iter().filter(|(_, at_ms)| **at_ms <= now_ms).map(|(partition, _)| *partition).collect()
    }

    /// Tells the timer that nothing of this partition is due, for it cannot be had.
    pub fn nothing_due(&self, partition: i32) {
        lock(&self.due).remove(&partition);
    }

    /// Tells the timer when this partition has something due.
    pub fn note_due(&self, slot: &Slot<S>) {
        let mut due = lock(&self.due);
        let earliest = due.values().copied().min();
        let at_ms = slot.shard.next_deadline_ms();
        match at_ms {
            Some(at_ms) => due.insert(slot.partition, at_ms),
            None => due.remove(&slot.partition),
        };
        drop(due);
        if at_ms.is_some_and(|at_ms| earliest.is_none_or(|earliest| at_ms < earliest)) {
            self.wake_timer.notify_one();
        }
    }

    pub fn moment(&self) -> Moment {
        let since = self.clock.now().saturating_duration_since(self.began);
        Moment { monotonic_ms: milliseconds(since), date_ms: self.clock.now_ms() }
    }

    fn instant(&self, monotonic_ms: i64) -> Instant {
        // Milliseconds are rounded down by `moment`, so one that is not over yet must not count as over.
        let since = Duration::from_millis(u64::try_from(monotonic_ms).unwrap_or(0));
        // A time beyond the clock's range is as good as never; the timer will look again in a day.
        self.began.checked_add(since).unwrap_or_else(|| self.clock.now() + Duration::from_secs(86_400))
    }
}

/// Whether this broker still leads in `epoch`.
fn check_epoch<S: Shard>(log: &(impl InternalLog + ?Sized), partition: i32, epoch: i32) -> Result<(), ErrorCode> {
    if log.led_epoch(S::TOPIC, partition)? == epoch { Ok(()) } else { Err(ErrorCode::NotLeaderOrFollower) }
}

/// Takes for true what the log holds.
fn take<S: Shard>(shard: &mut S, partition: i32, entry: ReplayedEntry) {
    match entry {
        ReplayedEntry::Marker { producer_id, commit, .. } => shard.take_marker(producer_id, commit),
        ReplayedEntry::Record(ReplayedRecord { offset, key: None, .. }) => {
            tracing::warn!(topic = S::TOPIC, partition, offset, "a record without a key was skipped");
        }
        ReplayedEntry::Record(ReplayedRecord { offset, producer_id, key: Some(key), value, .. }) => {
            if let Err(error) = shard.take(RecordPlace { offset, producer_id }, key, value) {
                // As Kafka does: one record that cannot be read must not take all others with it.
                tracing::error!(topic = S::TOPIC, partition, offset, %error, "a record was skipped");
            }
        }
    }
}

/// What a client is told when a record of its coordinator could not be appended.
pub(crate) fn append_error(error: ErrorCode) -> ErrorCode {
    match error {
        ErrorCode::UnknownTopicOrPartition | ErrorCode::NotEnoughReplicas | ErrorCode::RequestTimedOut => {
            ErrorCode::CoordinatorNotAvailable
        }
        ErrorCode::NotLeaderOrFollower | ErrorCode::KafkaStorageError => ErrorCode::NotCoordinator,
        ErrorCode::MessageTooLarge | ErrorCode::RecordListTooLarge | ErrorCode::InvalidFetchSize => {
            ErrorCode::UnknownServerError
        }
        other => other,
    }
}
