//! Fetches that wait for records: each partition wakes those that are registered with it, and nobody polls.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

use crate::locks::lock;

/// More bytes than any fetch waits for: what a change counts as that is no append, such as the end of a partition.
const URGENT_BYTES: u64 = 1 << 40;

/// One fetch that waits, registered with every partition that it reads. It is woken when so many bytes came together as
/// it waits for, and not by each append.
#[derive(Debug, Default)]
pub(crate) struct Waiter {
    /// Bytes appended since [`Waiter::arm`].
    come: AtomicU64,
    /// How many of them wake it.
    needed: AtomicU64,
    notify: Notify,
}

impl Waiter {
    /// Begins a turn, before partitions are read: what is appended from now on counts. What was appended before is seen
    /// by the reads that follow.
    pub fn arm(&self) {
        // A swap, and not a store, so that what was published before a counted append is seen after this.
        self.come.swap(0, Ordering::SeqCst);
    }

    /// Waits until partitions have so many bytes more than when the turn began, or something else happens to one.
    /// May end early. Cancel safe.
    pub async fn woken(&self, needed: usize) {
        let needed = u64::try_from(needed).unwrap_or(URGENT_BYTES).clamp(1, URGENT_BYTES);
        self.needed.store(needed, Ordering::SeqCst);
        if self.come.load(Ordering::SeqCst) < needed {
            self.notify.notified().await;
        }
    }

    /// Ends the wait of whoever waits in this moment.
    pub fn interrupt(&self) {
        self.notify.notify_waiters();
    }

    /// Wakes one that waits, or the next that will. A fetch that was woken and has nothing to do any more owes this to the
    /// one that came in its place: the wake may have been meant for that one.
    pub fn pass_on(&self) {
        self.notify.notify_one();
    }

    /// Wakes it: something happened that is not counted in bytes.
    pub fn wake(&self) {
        self.add(URGENT_BYTES);
    }

    fn add(&self, bytes: u64) {
        let come = self.come.fetch_add(bytes, Ordering::SeqCst).saturating_add(bytes);
        if come >= self.needed.load(Ordering::SeqCst) {
            self.notify.notify_one();
        }
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
        let mut waiting = lock(&self.waiting);
        waiting.push(Arc::clone(waiter));
        self.count.store(waiting.len(), Ordering::SeqCst);
        // Either this caller's next read sees what an append published, or that append sees the count.
        fence(Ordering::SeqCst);
    }

    /// Takes a waiter out.
    pub fn remove(&self, waiter: &Arc<Waiter>) {
        let mut waiting = lock(&self.waiting);
        if let Some(at) = waiting.iter().position(|other| Arc::ptr_eq(other, waiter)) {
            waiting.swap_remove(at);
        }
        self.count.store(waiting.len(), Ordering::SeqCst);
    }

    /// Wakes everybody who waits: something happened that is not counted in bytes. To be called after the change is
    /// published.
    pub fn wake(&self) {
        self.wake_for(URGENT_BYTES);
    }

    /// Tells those who wait that so many bytes can be read. To be called after their end is published.
    pub fn wake_for(&self, bytes: u64) {
        fence(Ordering::SeqCst);
        if self.count.load(Ordering::SeqCst) > 0 {
            for waiter in lock(&self.waiting).iter() {
                waiter.add(bytes);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    #[tokio::test]
    async fn a_wake_before_the_wait_is_not_lost() {
        let waiters = Waiters::default();
        let waiter = Arc::new(Waiter::default());
        waiters.add(&waiter);
        waiter.arm();
        waiters.wake();
        waiter.woken(1_000_000).await;
        waiters.remove(&waiter);
        assert_eq!(waiters.count.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn only_as_many_bytes_as_are_waited_for_wake() {
        let waiters = [Waiters::default(), Waiters::default()];
        let waiter = Arc::new(Waiter::default());
        waiters.iter().for_each(|waiters| waiters.add(&waiter));
        waiter.arm();
        let mut wait = pin!(waiter.woken(100));
        let mut context = Context::from_waker(Waker::noop());
        assert_eq!(wait.as_mut().poll(&mut context), Poll::Pending);
        waiters[0].wake_for(60);
        assert_eq!(wait.as_mut().poll(&mut context), Poll::Pending, "woken by too few bytes");
        waiters[1].wake_for(40);
        assert_eq!(wait.as_mut().poll(&mut context), Poll::Ready(()));
    }

    #[test]
    fn a_wake_for_another_is_passed_on() {
        let waiter = Waiter::default();
        waiter.arm();
        let mut context = Context::from_waker(Waker::noop());
        let mut forgotten = Box::pin(waiter.woken(1));
        assert_eq!(forgotten.as_mut().poll(&mut context), Poll::Pending);
        let mut meant = pin!(waiter.woken(1));
        assert_eq!(meant.as_mut().poll(&mut context), Poll::Pending);
        waiter.add(1);
        assert_eq!(forgotten.as_mut().poll(&mut context), Poll::Ready(()), "the first that waits is woken");
        assert_eq!(meant.as_mut().poll(&mut context), Poll::Pending);
        waiter.pass_on();
        assert_eq!(meant.as_mut().poll(&mut context), Poll::Ready(()));
    }

    #[test]
    fn an_interrupt_leaves_nothing_behind() {
        let waiter = Waiter::default();
        waiter.arm();
        let mut context = Context::from_waker(Waker::noop());
        {
            let mut wait = pin!(waiter.woken(1));
            assert_eq!(wait.as_mut().poll(&mut context), Poll::Pending);
            waiter.interrupt();
            assert_eq!(wait.as_mut().poll(&mut context), Poll::Ready(()));
        }
        waiter.interrupt();
        assert_eq!(pin!(waiter.woken(1)).poll(&mut context), Poll::Pending);
    }
}
