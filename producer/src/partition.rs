//! One partition as `send` and the senders share it: a lock around its queue, and who sends for it at present.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use rkafka_protocol::records::BATCH_OVERHEAD;
use tokio::sync::Notify;

use crate::machine::accumulator::{Limits, PartitionQueue};
use crate::machine::batch::Payload;
use crate::machine::fill::Fill;

/// Where a sender learns of partitions that have something for it. There is one per broker, and one for the partitions
/// that have no leader at present.
pub(crate) struct Mailbox {
    /// The broker's id; -1 for the one without a broker.
    pub(crate) broker: i32,
    inbox: Mutex<Vec<Listing>>,
    wake: Notify,
    /// Since when the broker takes nothing of what there is for it.
    stuck_since: Mutex<Option<Instant>>,
}

/// A partition on a sender's list. It counts only while the partition has the same token.
pub(crate) struct Listing {
    pub(crate) partition: Arc<Partition>,
    pub(crate) token: u64,
}

impl Mailbox {
    pub(crate) fn new(broker: i32) -> Arc<Self> {
        Arc::new(Self { broker, inbox: Mutex::default(), wake: Notify::new(), stuck_since: Mutex::default() })
    }

    /// Wakes the sender, or lets its next wait end at once.
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Waits for [`Mailbox::wake`]. Cancel safe.
    pub(crate) async fn woken(&self) {
        self.wake.notified().await;
    }

    /// The broker takes requests, or there is nothing for it; or else it takes none, at `now`.
    pub(crate) fn set_stuck(&self, now: Option<Instant>) {
        let mut since = self.stuck_since.lock().unwrap_or_else(PoisonError::into_inner);
        *since = now.map(|now| since.unwrap_or(now));
    }

    /// Whether the broker has taken nothing for longer than `timeout`.
    fn is_stuck(&self, now: Instant, timeout: Duration) -> bool {
        let since = *self.stuck_since.lock().unwrap_or_else(PoisonError::into_inner);
        since.is_some_and(|since| now.saturating_duration_since(since) > timeout)
    }

    /// What arrived since the last call.
    pub(crate) fn drain(&self) -> Vec<Listing> {
        std::mem::take(&mut *self.inbox.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn put(&self, listing: Listing) {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner).push(listing);
    }
}

/// One partition.
pub(crate) struct Partition {
    pub(crate) topic: Arc<str>,
    pub(crate) index: i32,
    slot: Mutex<Slot>,
    has_leader: AtomicBool,
    /// How many batches waited when it was last looked.
    waiting: AtomicU32,
    /// How full batches may become; the topic's.
    pub(crate) fill: Arc<Fill>,
}

/// What the lock holds.
pub(crate) struct Slot {
    pub(crate) queue: PartitionQueue,
    sender: Arc<Mailbox>,
    /// Whether the sender has the partition on its list, under `token`.
    listed: bool,
    token: u64,
}

impl Slot {
    /// Whether the listing is the one that counts, and the sender is still the partition's.
    pub(crate) fn is_listed(&self, broker: i32, token: u64) -> bool {
        self.listed && self.token == token && self.sender.broker == broker
    }

    /// The id of the broker that sends for the partition, or -1.
    pub(crate) fn sender_id(&self) -> i32 {
        self.sender.broker
    }

    /// The sender takes the partition off its list, because there is nothing to do.
    pub(crate) fn unlist(&mut self) {
        self.listed = false;
    }
}

impl Partition {
    /// A partition without a leader, whose sender is `orphanage`.
    pub(crate) fn new(
        topic: Arc<str>,
        index: i32,
        limits: Arc<Limits>,
        fill: Arc<Fill>,
        orphanage: Arc<Mailbox>,
    ) -> Arc<Self> {
        let queue = PartitionQueue::new(topic.clone(), index, limits, fill.clone());
        let slot = Mutex::new(Slot { queue, sender: orphanage, listed: false, token: 0 });
        Arc::new(Self { topic, index, slot, has_leader: AtomicBool::new(false), waiting: AtomicU32::new(0), fill })
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Slot> {
        // A panic of another thread leaves the queue as it was between two appends.
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A batch was made ready for the wire: what compression made of it says how full the next may become.
    pub(crate) fn observe(&self, payload: &Payload) {
        if let Some(ratio) = payload.compression_ratio() {
            self.fill.observe(ratio);
        }
    }

    pub(crate) fn has_leader(&self) -> bool {
        self.has_leader.load(Ordering::Relaxed)
    }

    /// How many batches wait to be sent. `None` where the partition has no leader, or the leader has taken nothing for
    /// longer than `available` says, which is a moment and a time.
    pub(crate) fn load(&self, available: Option<(Instant, Duration)>) -> Option<u32> {
        if !self.has_leader() {
            return None;
        }
        // A sender at work on the partition is not waited for: what was seen last is near enough.
        let slot = match self.slot.try_lock() {
            Ok(slot) => slot,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) if available.is_none() => return Some(self.waiting.load(Ordering::Relaxed)),
            Err(TryLockError::WouldBlock) => self.lock(),
        };
        let is_stuck = available.is_some_and(|(now, timeout)| slot.sender.is_stuck(now, timeout));
        let waiting = u32::try_from(slot.queue.waiting()).unwrap_or(u32::MAX);
        self.waiting.store(waiting, Ordering::Relaxed);
        (!is_stuck).then_some(waiting)
    }

    /// Puts the partition on its sender's list, if it is not there, and wakes the sender.
    pub(crate) fn signal(self: &Arc<Self>, mut slot: MutexGuard<'_, Slot>) {
        if !slot.listed {
            slot.listed = true;
            slot.token += 1;
            slot.sender.put(Listing { partition: self.clone(), token: slot.token });
        }
        let sender = slot.sender.clone();
        drop(slot);
        sender.wake();
    }

    /// Hands the partition to another sender, with all that waits in it.
    pub(crate) fn move_to(self: &Arc<Self>, sender: &Arc<Mailbox>) {
        let mut slot = self.lock();
        if Arc::ptr_eq(&slot.sender, sender) {
            return;
        }
        self.has_leader.store(sender.broker >= 0, Ordering::Relaxed);
        slot.sender = sender.clone();
        slot.listed = false;
        slot.queue.retry_now();
        if slot.queue.is_idle() {
            return;
        }
        self.signal(slot);
    }
}

/// Bytes that a batch's place in a request takes beyond the batch: lengths, index, tags.
pub(crate) const ENTRY_OVERHEAD: usize = 16 + BATCH_OVERHEAD;
