//! What the handles of a transactional producer, its senders and its coordinator's task share.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rkafka_client_core::TopicPartition;
use tokio::sync::Notify;

use crate::machine::transaction::{Stage, Transactions};

/// The machine, and what of it is read without its lock.
pub(crate) struct Coordination {
    /// `transactional.id`.
    pub(crate) id: Arc<str>,
    machine: Mutex<Transactions>,
    /// Which transaction may send, or 0; the partitions' queues read it.
    pub(crate) sending: Arc<AtomicU64>,
    implicit: AtomicBool,
    /// Tells the task that there may be something to do.
    pub(crate) work: Notify,
    /// Tells everybody who waits for the machine.
    changed: Notify,
}

impl Coordination {
    pub(crate) fn new(id: Arc<str>) -> Self {
        Self {
            machine: Mutex::new(Transactions::new(id.clone())),
            id,
            sending: Arc::new(AtomicU64::new(0)),
            implicit: AtomicBool::new(false),
            work: Notify::new(),
            changed: Notify::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Transactions> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the machine.
    pub(crate) fn look<R>(&self, look: impl FnOnce(&Transactions) -> R) -> R {
        look(&self.lock())
    }

    /// Changes the machine, and tells whoever may wait for that; the task itself must look again afterwards. `opened` is
    /// called under the lock with whether records are taken from now on.
    pub(crate) fn change<R>(&self, opened: impl FnOnce(bool), change: impl FnOnce(&mut Transactions) -> R) -> R {
        let mut machine = self.lock();
        let result = change(&mut machine);
        self.implicit.store(machine.is_implicit(), Ordering::Release);
        self.sending.store(machine.sending(), Ordering::Release);
        opened(machine.stage() == Stage::Open);
        drop(machine);
        self.changed.notify_waiters();
        result
    }

    /// Partitions have something to send.
    pub(crate) fn want(&self, partitions: Vec<TopicPartition>) {
        let mut machine = self.lock();
        let mut is_news = false;
        for partition in partitions {
            is_news |= machine.want(partition);
        }
        drop(machine);
        if is_news {
            self.work.notify_one();
        }
    }

    /// Whether nothing may be sent now, so that what comes back is not sent again.
    pub(crate) fn is_shut(&self) -> bool {
        self.sending.load(Ordering::Acquire) == 0
    }

    /// Whether brokers add partitions to the transaction by themselves.
    pub(crate) fn is_implicit(&self) -> bool {
        self.implicit.load(Ordering::Acquire)
    }

    /// Waits until `seen` finds in the machine what it looks for. Cancel safe.
    pub(crate) async fn wait_for<R>(&self, mut seen: impl FnMut(&mut Transactions) -> Option<R>) -> R {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            if let Some(found) = seen(&mut self.lock()) {
                return found;
            }
            changed.await;
        }
    }
}
