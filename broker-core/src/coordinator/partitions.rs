//! What all coordinators' drivers share: partitions of an internal topic that are loaded in the background after a start,
//! or on first use, each a machine under a lock of its own, and the time when the next of them has something due.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex};
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
use crate::{Clock, InternalLog, InternalRecord, ReplayedEntry, ReplayedRecord, TransactionalProducer};

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
    /// Whether the machine is what the log says.
    pub is_loaded: bool,
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
    /// How many partitions the topic has; 0 until it was asked for.
    count: AtomicI32,
    entries: Mutex<HashMap<i32, Entry<S>>>,
    /// When each loaded partition has something due, for the timer.
    due: Mutex<BTreeMap<i32, i64>>,
    wake_timer: Notify,
}

impl<S: Shard> Partitions<S> {
    pub fn new(settings: S::Settings, clock: Clock) -> Self {
        Self {
            settings,
            began: clock.now(),
            clock,
            count: AtomicI32::new(0),
            entries: Mutex::default(),
            due: Mutex::default(),
            wake_timer: Notify::new(),
        }
    }

    /// Makes sure that the topic is there; answers how many partitions it has.
    ///
    /// # Errors
    /// As [`InternalLog::ensure_internal_topic`], in the words of a coordinator.
    pub async fn ensure_ready(&self, log: &(impl InternalLog + ?Sized)) -> Result<i32, ErrorCode> {
        match self.count.load(Ordering::Acquire) {
            0 => {
                let count = log.ensure_internal_topic(S::TOPIC).await.map_err(append_error)?;
                self.count.store(count, Ordering::Release);
                Ok(count)
            }
            count => Ok(count),
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
    /// `NOT_COORDINATOR` where the partition cannot be read, or its disk failed: what is known of it may be more than is
    /// there.
    pub async fn slot(
        &self,
        log: &(impl InternalLog + ?Sized),
        partition: i32,
    ) -> Result<Arc<Mutex<Slot<S>>>, ErrorCode> {
        log.check_online(S::TOPIC, partition).map_err(append_error)?;
        let Entry { slot, loading } = self.entry(partition);
        if !lock(&slot).is_loaded {
            let _one_at_a_time = loading.lock().await;
            if !lock(&slot).is_loaded {
                self.load(log, partition, &slot).await.map_err(append_error)?;
            }
        }
        Ok(slot)
    }

    /// The partition's slot, loaded or not.
    pub fn unloaded_slot(&self, partition: i32) -> Arc<Mutex<Slot<S>>> {
        self.entry(partition).slot
    }

    /// The slots that are loaded.
    pub fn loaded_slots(&self) -> Vec<Arc<Mutex<Slot<S>>>> {
        let mut slots: Vec<_> = lock(&self.entries).values().map(|entry| Arc::clone(&entry.slot)).collect();
        slots.retain(|slot| lock(slot).is_loaded);
        slots
    }

    /// Loads every partition that has something and is not loaded yet. One that cannot be read is reported in the log, and tried again
    /// when somebody asks for it.
    ///
    /// Cancel safety: what was loaded stays so; the partition that was about to be loaded is read anew.
    pub async fn load_all(&self, log: &(impl InternalLog + ?Sized)) {
        for partition in log.kept_partitions(S::TOPIC) {
            if let Err(error) = self.slot(log, partition).await {
                tracing::error!(topic = S::TOPIC, partition, error = error.name(), "cannot load");
            }
        }
    }

    fn entry(&self, partition: i32) -> Entry<S> {
        let mut entries = lock(&self.entries);
        let entry = entries.entry(partition).or_insert_with(|| {
            let slot = Slot { partition, shard: S::blank(&self.settings), is_loaded: false };
            Entry { slot: Arc::new(Mutex::new(slot)), loading: Arc::default() }
        });
        Entry { slot: Arc::clone(&entry.slot), loading: Arc::clone(&entry.loading) }
    }

    /// Reads the whole partition once, a piece at a time: others work between, on a runtime with one thread too. What
    /// was appended meanwhile is read under the slot's lock, where nobody can append.
    async fn load(
        &self,
        log: &(impl InternalLog + ?Sized),
        partition: i32,
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
        }
        let mut slot = lock(slot);
        loop {
            let next = log.read_internal(S::TOPIC, partition, from, &mut |entry| take(&mut shard, partition, entry))?;
            if next <= from {
                break;
            }
            from = next;
        }
        shard.begin(self.moment());
        slot.shard = shard;
        slot.is_loaded = true;
        self.note_due(&slot);
        tracing::debug!(topic = S::TOPIC, partition, end = from, "loaded");
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
        let appended = match producer {
            Some(producer) => log.append_transactional(S::TOPIC, partition, producer, records, now_ms),
            None => log.append_internal(S::TOPIC, partition, records, now_ms),
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
        }
        Ok(())
    }

    /// Ends a producer's transaction in a partition. When this returns, the machine has taken it for true. One that is
    /// not loaded will find the marker in the log.
    ///
    /// # Errors
    /// As [`InternalLog::append_marker`]; nothing has changed then.
    pub fn append_marker(
        &self,
        log: &(impl InternalLog + ?Sized),
        partition: i32,
        marker: &TransactionMarker,
    ) -> Result<(), ErrorCode> {
        let slot = self.entry(partition).slot;
        let mut slot = lock(&slot);
        log.append_marker(S::TOPIC, partition, marker, self.moment().date_ms)?;
        if slot.is_loaded {
            slot.shard.take_marker(marker.producer_id, marker.commit);
        }
        Ok(())
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
