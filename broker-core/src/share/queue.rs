//! Fetches that wait for one group's records of a partition, in the order in which they came: a member that is quick to
//! ask again stands behind those that wait already, or it would have everything.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use crate::locks::lock;
use crate::replication::Waiter;

/// Fetches that wait for one group's records of a partition.
#[derive(Debug, Default)]
pub(super) struct FetchQueue(Mutex<VecDeque<Arc<Waiter>>>);

impl FetchQueue {
    /// Puts a fetch behind the others.
    pub fn add(&self, waiter: &Arc<Waiter>) {
        lock(&self.0).push_back(Arc::clone(waiter));
    }

    /// Takes a fetch out, whatever became of it, and has the one that is first now look.
    pub fn remove(&self, waiter: &Arc<Waiter>) {
        let mut waiting = lock(&self.0);
        let was_first = waiting.front().is_some_and(|first| Arc::ptr_eq(first, waiter));
        waiting.retain(|other| !Arc::ptr_eq(other, waiter));
        if was_first && let Some(first) = waiting.front() {
            first.wake();
        }
    }

    /// Whether nobody waits for longer.
    pub fn is_first(&self, waiter: &Arc<Waiter>) -> bool {
        lock(&self.0).front().is_none_or(|first| Arc::ptr_eq(first, waiter))
    }

    /// Has the first look: records came back.
    pub fn wake_first(&self) {
        if let Some(first) = lock(&self.0).front() {
            first.wake();
        }
    }

    /// Has all look: the partition has ended.
    pub fn wake_all(&self) {
        lock(&self.0).iter().for_each(|waiter| waiter.wake());
    }
}
