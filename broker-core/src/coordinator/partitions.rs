//! What all coordinators' drivers share: partitions of an internal topic that are loaded on first use, each a machine
//! under a lock of its own, and the time when the next of them has something due.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use rkafka_protocol::ErrorCode;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::partition_for;
use crate::{Clock, InternalLog, InternalRecord};

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
    fn take(&mut self, key: Bytes, value: Option<Bytes>) -> Result<(), String>;

    /// Begins to live, once all records were taken.
    fn begin(&mut self, now: Moment);

    /// When it has something to do, on the monotonic clock.
    fn next_deadline_ms(&self) -> Option<i64>;
}

/// A loaded partition.
#[derive(Debug)]
pub(super) struct Slot<S> {
    pub partition: i32,
    pub shard: S,
    is_loaded: bool,
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
    slots: Mutex<HashMap<i32, Arc<Mutex<Slot<S>>>>>,
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
            slots: Mutex::default(),
            due: Mutex::default(),
            wake_timer: Notify::new(),
        }
    }

    /// Makes sure that the topic is there; answers how many partitions it has.
    ///
    /// # Errors
    /// As [`InternalLog::ensure_internal_topic`], in the words of a coordinator.
    pub fn ensure_ready(&self, log: &(impl InternalLog + ?Sized)) -> Result<i32, ErrorCode> {
        match self.count.load(Ordering::Acquire) {
            0 => {
                let count = log.ensure_internal_topic(S::TOPIC).map_err(append_error)?;
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
    pub fn slot_of(&self, log: &(impl InternalLog + ?Sized), key: &str) -> Result<Arc<Mutex<Slot<S>>>, ErrorCode> {
        let count = self.ensure_ready(log)?;
        self.slot(log, partition_for(key, count))
    }

    /// The partition's slot, loaded. Loading reads the whole partition once, under the slot's own lock.
    ///
    /// # Errors
    /// `NOT_COORDINATOR` where the partition cannot be read.
    pub fn slot(&self, log: &(impl InternalLog + ?Sized), partition: i32) -> Result<Arc<Mutex<Slot<S>>>, ErrorCode> {
        let shared = {
            let mut slots = lock(&self.slots);
            let blank = || Slot { partition, shard: S::blank(&self.settings), is_loaded: false };
            Arc::clone(slots.entry(partition).or_insert_with(|| Arc::new(Mutex::new(blank()))))
        };
        let mut slot = lock(&shared);
        if !slot.is_loaded {
            self.load(log, &mut slot).map_err(append_error)?;
        }
        drop(slot);
        Ok(shared)
    }

    fn load(&self, log: &(impl InternalLog + ?Sized), slot: &mut Slot<S>) -> Result<(), ErrorCode> {
        let mut shard = S::blank(&self.settings);
        let partition = slot.partition;
        let end = log.replay_internal(S::TOPIC, partition, &mut |record| {
            let Some(key) = record.key else {
                tracing::warn!(
                    topic = S::TOPIC,
                    partition,
                    offset = record.offset,
                    "a record without a key was skipped"
                );
                return;
            };
            if let Err(error) = shard.take(key, record.value) {
                // As Kafka does: one record that cannot be read must not take all others with it.
                tracing::error!(topic = S::TOPIC, partition, offset = record.offset, %error, "a record was skipped");
            }
        })?;
        shard.begin(self.moment());
        slot.shard = shard;
        slot.is_loaded = true;
        self.note_due(slot);
        tracing::debug!(topic = S::TOPIC, partition, end, "loaded");
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
        let partition = slot.partition;
        log.append_internal(S::TOPIC, partition, records, self.moment().date_ms).inspect_err(|error| {
            tracing::error!(topic = S::TOPIC, partition, error = error.name(), "cannot append");
        })?;
        for record in records {
            if let Err(error) = slot.shard.take(record.key.clone(), record.value.clone()) {
                tracing::error!(topic = S::TOPIC, partition, %error, "a record of our own cannot be read");
            }
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
        Moment { monotonic_ms: i64::try_from(since.as_millis()).unwrap_or(i64::MAX), date_ms: self.clock.now_ms() }
    }

    fn instant(&self, monotonic_ms: i64) -> Instant {
        // Milliseconds are rounded down by `moment`, so one that is not over yet must not count as over.
        let since = Duration::from_millis(u64::try_from(monotonic_ms).unwrap_or(0));
        // A time beyond the clock's range is as good as never; the timer will look again in a day.
        self.began.checked_add(since).unwrap_or_else(|| self.clock.now() + Duration::from_secs(86_400))
    }
}

/// What a client is told when a record of its coordinator could not be appended.
pub(super) fn append_error(error: ErrorCode) -> ErrorCode {
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

/// A lock that outlives a panic: each step leaves the machines whole, and a broker must go on.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
