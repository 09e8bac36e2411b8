//! Fetches that wait for records: each partition wakes those that are registered with it, and nobody polls.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

/// One fetch that waits, registered with every partition that it reads.
#[derive(Debug, Default)]
pub(crate) struct Waiter {
    notify: Notify,
}

impl Waiter {
    /// Waits until a partition has something new since the last wait. Cancel safe.
    pub async fn woken(&self) {
        self.notify.notified().await;
    }
}

/// Who waits for one partition.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    /// How many there are, so that an append with nobody waiting takes no lock.
    count: AtomicUsize,
    waiting: Mutex<Vec<Arc<Waiter>>>,
}

impl Waiters {
    /// Registers a waiter. What was appended before this call wakes nobody, so the caller reads again after it.
    pub fn add(&self, waiter: &Arc<Waiter>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.push(Arc::clone(waiter));
        self.count.store(waiting.len(), Ordering::SeqCst);
    }

    /// Takes a waiter out.
    pub fn remove(&self, waiter: &Arc<Waiter>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|other| !Arc::ptr_eq(other, waiter));
        self.count.store(waiting.len(), Ordering::SeqCst);
    }

    /// Wakes everybody who waits.
    pub fn wake(&self) {
        if self.count.load(Ordering::SeqCst) > 0 {
            for waiter in self.waiting.lock().unwrap_or_else(PoisonError::into_inner).iter() {
                waiter.notify.notify_one();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_wake_before_the_wait_is_not_lost() {
        let waiters = Waiters::default();
        let waiter = Arc::new(Waiter::default());
        waiters.add(&waiter);
        waiters.wake();
        waiter.woken().await;
        waiters.remove(&waiter);
        assert_eq!(waiters.count.load(Ordering::SeqCst), 0);
    }
}
