//! Which record is worked on next, where several are worked on at once.
//!
//! Records that must stay in order are in one lane: only the first of a lane is worked on, and one that failed goes back
//! to the front of its lane until its next attempt. So a record that fails holds up what must come after it, and nothing
//! else, and takes no worker's time while it waits.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Instant;

use crate::parallel::Order;
use crate::subscription::TopicPartition;

/// The place of a record: topic and partition.
pub(crate) type Place = (Arc<str>, i32);

/// One record that is to be worked on.
#[derive(Debug)]
struct Job<J> {
    id: u64,
    place: Place,
    size_bytes: usize,
    attempts: u32,
    not_before: Option<Instant>,
    work: J,
}

/// What is to be started.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Started<J> {
    pub(crate) id: u64,
    /// How many attempts have failed.
    pub(crate) failures: u32,
    pub(crate) work: J,
}

/// Which record is worked on next. `J` is what the driver needs to work on it; clones should be cheap.
#[derive(Debug)]
pub(crate) struct Lanes<J> {
    order: Order,
    workers: usize,
    next_id: u64,
    /// The records of each lane that are not being worked on, the next one first. Empty where the last one is worked on.
    lanes: HashMap<u64, VecDeque<Job<J>>>,
    /// Lanes whose first record may be started.
    ready: VecDeque<u64>,
    /// Lanes whose first record waits for its next attempt.
    waiting: BTreeSet<(Instant, u64)>,
    /// What is being worked on, and its lane.
    running: HashMap<u64, (u64, Job<J>)>,
    records: usize,
    size_bytes: usize,
}

impl<J: Clone> Lanes<J> {
    pub(crate) fn new(order: Order, workers: usize) -> Self {
        Self {
            order,
            workers: workers.max(1),
            next_id: 0,
            lanes: HashMap::new(),
            ready: VecDeque::new(),
            waiting: BTreeSet::new(),
            running: HashMap::new(),
            records: 0,
            size_bytes: 0,
        }
    }

    /// The lane of a record. Different keys may share one by chance, which costs time and no order.
    fn lane(&self, place: &Place, key: Option<&[u8]>, id: u64) -> u64 {
        let mut hasher = DefaultHasher::new();
        match self.order {
            Order::Unordered => return id,
            Order::Partition => place.hash(&mut hasher),
            // Records without a key are in the order of their partition.
            Order::Key => (place, key).hash(&mut hasher),
        }
        hasher.finish()
    }

    /// Takes a record in, behind all that came before it.
    pub(crate) fn push(&mut self, place: Place, key: Option<&[u8]>, size_bytes: usize, work: J) {
        let id = self.next_id;
        self.next_id += 1;
        let lane = self.lane(&place, key, id);
        self.records += 1;
        self.size_bytes = self.size_bytes.saturating_add(size_bytes);
        let job = Job { id, place, size_bytes, attempts: 0, not_before: None, work };
        match self.lanes.get_mut(&lane) {
            Some(jobs) => jobs.push_back(job),
            None => {
                self.lanes.insert(lane, VecDeque::from([job]));
                self.ready.push_back(lane);
            }
        }
    }

    /// What is to be started now, if a worker is free for it.
    pub(crate) fn start(&mut self, now: Instant) -> Option<Started<J>> {
        while let Some((at, lane)) = self.waiting.first().copied().filter(|(at, _)| *at <= now) {
            self.waiting.remove(&(at, lane));
            self.ready.push_back(lane);
        }
        if self.running.len() >= self.workers {
            return None;
        }
        let lane = self.ready.pop_front()?;
        let job = self.lanes.get_mut(&lane)?.pop_front()?;
        let started = Started { id: job.id, failures: job.attempts, work: job.work.clone() };
        self.running.insert(job.id, (lane, job));
        Some(started)
    }

    /// A record is done with, or given up. Gives what it was; `None` where it was dropped before.
    pub(crate) fn finish(&mut self, id: u64) -> Option<J> {
        let (lane, job) = self.running.remove(&id)?;
        self.records -= 1;
        self.size_bytes = self.size_bytes.saturating_sub(job.size_bytes);
        self.go_on(lane);
        Some(job.work)
    }

    /// A record failed and is tried again at `at`, as `work`. `false` where it was dropped before.
    pub(crate) fn retry(&mut self, id: u64, at: Instant, work: J) -> bool {
        let Some((lane, mut job)) = self.running.remove(&id) else { return false };
        (job.attempts, job.not_before, job.work) = (job.attempts.saturating_add(1), Some(at), work);
        self.lanes.entry(lane).or_default().push_front(job);
        self.go_on(lane);
        true
    }

    /// Sees when the first of a lane may be started, now that none of it is worked on.
    fn go_on(&mut self, lane: u64) {
        match self.lanes.get(&lane).map(|jobs| jobs.front().map(|job| job.not_before)) {
            Some(Some(Some(at))) => {
                self.waiting.insert((at, lane));
            }
            Some(Some(None)) => self.ready.push_back(lane),
            Some(None) => {
                self.lanes.remove(&lane);
            }
            None => {}
        }
    }

    /// Drops what is not being worked on of the partitions that `is_dropped` names.
    pub(crate) fn drop_waiting(&mut self, mut is_dropped: impl FnMut(&Place) -> bool) {
        let (mut records, mut size_bytes) = (0, 0);
        for jobs in self.lanes.values_mut() {
            jobs.retain(|job| {
                let drop = is_dropped(&job.place);
                if drop {
                    records += 1;
                    size_bytes += job.size_bytes;
                }
                !drop
            });
        }
        self.records -= records;
        self.size_bytes = self.size_bytes.saturating_sub(size_bytes);
        let busy: BTreeSet<u64> = self.running.values().map(|(lane, _)| *lane).collect();
        self.lanes.retain(|lane, jobs| !jobs.is_empty() || busy.contains(lane));
        // Lanes by hash may hold records of other partitions, whose first one now is another.
        let fronts: HashMap<u64, Option<Instant>> = self
            .lanes
            .iter()
            .filter(|(lane, _)| !busy.contains(lane))
            .filter_map(|(lane, jobs)| jobs.front().map(|job| (*lane, job.not_before)))
            .collect();
        self.ready.retain(|lane| fronts.contains_key(lane));
        self.waiting.clear();
        let ready: BTreeSet<u64> = self.ready.iter().copied().collect();
        for (lane, not_before) in fronts {
            match not_before {
                _ if ready.contains(&lane) => {}
                Some(at) => {
                    self.waiting.insert((at, lane));
                }
                None => self.ready.push_back(lane),
            }
        }
    }

    /// What is being worked on of these partitions.
    pub(crate) fn running_of(&self, places: &[TopicPartition]) -> Vec<u64> {
        let is_of = |place: &Place| places.iter().any(|one| one.topic == place.0 && one.partition == place.1);
        self.running.iter().filter(|(_, (_, job))| is_of(&job.place)).map(|(id, _)| *id).collect()
    }

    /// When something that waits for its next attempt is due.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.waiting.first().map(|(at, _)| *at).filter(|_| self.running.len() < self.workers)
    }

    /// How many records are in here, worked on or not.
    pub(crate) fn records(&self) -> usize {
        self.records
    }

    /// The bytes of those records.
    pub(crate) fn size_bytes(&self) -> usize {
        self.size_bytes
    }

    /// How many are being worked on.
    #[cfg(test)]
    pub(crate) fn running(&self) -> usize {
        self.running.len()
    }
}

#[cfg(test)]
#[path = "lanes_tests.rs"]
mod tests;
