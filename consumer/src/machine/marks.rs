//! Which records the application has marked as done, in whatever order it did.
//!
//! One [`Marks`] is for one life of a partition, from an assignment or a seek to the next. Each record covers the
//! offsets from the one after its predecessor to its own, so that holes that compaction or transactions leave are never
//! waited for. What can be committed is the end of what is done without a gap: never beyond a record that is not done.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What can be committed of a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Marked {
    pub(crate) offset: i64,
    /// The leader epoch of the record before it, or -1.
    pub(crate) leader_epoch: i32,
    /// What the application had to say of it.
    pub(crate) metadata: String,
}

/// Which records of one life of a partition are done.
#[derive(Debug)]
pub(crate) struct Marks {
    /// The offset after the last record that the application was handed, or -1 before the start.
    handed: AtomicI64,
    done: Mutex<Done>,
    /// The life before, where its records up to an offset are still worked on: they come first.
    before: Option<(Arc<Marks>, i64)>,
}

#[derive(Debug)]
struct Done {
    is_ended: bool,
    /// Everything before it is done; -1 before the start.
    end: i64,
    leader_epoch: i32,
    metadata: String,
    /// Done beyond a gap: from the key to the first value, which do not touch. The second is the leader epoch.
    ahead: BTreeMap<i64, (i64, i32)>,
}

impl Default for Marks {
    fn default() -> Self {
        let done = Done { is_ended: false, end: -1, leader_epoch: -1, metadata: String::new(), ahead: BTreeMap::new() };
        Self { handed: AtomicI64::new(-1), done: Mutex::new(done), before: None }
    }
}

impl Marks {
    /// A life that begins at `offset`, where the one before was cut off: what it has below is still to be done.
    pub(crate) fn cut(before: Arc<Self>, offset: i64) -> Self {
        Self { before: before.is_behind().then_some((before, offset)), ..Self::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Done> {
        self.done.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins at `offset`, with nothing before it left to do. A life that has begun goes on.
    pub(crate) fn start(&self, offset: i64, leader_epoch: i32) {
        let mut done = self.lock();
        if done.end < 0 {
            (done.end, done.leader_epoch) = (offset, leader_epoch);
            self.handed.store(offset, Ordering::Release);
        }
    }

    /// The offset after the last record that the application was handed.
    pub(crate) fn handed(&self) -> i64 {
        self.handed.load(Ordering::Acquire)
    }

    /// Says that everything before `next_offset` has been handed out.
    pub(crate) fn hand_out(&self, next_offset: i64) {
        self.handed.store(next_offset, Ordering::Release);
    }

    /// Ends this life: marks that come later are for nothing.
    pub(crate) fn end(&self) {
        self.lock().is_ended = true;
        if let Some((before, _)) = &self.before {
            before.end();
        }
    }

    /// Whether marks still count.
    pub(crate) fn is_live(&self) -> bool {
        !self.lock().is_ended
    }

    /// Marks the offsets from `from` to before `next_offset` as done. `false` where this life has ended.
    pub(crate) fn mark(&self, from: i64, next_offset: i64, leader_epoch: i32) -> bool {
        let mut done = self.lock();
        if !done.is_ended {
            done.add(from, next_offset, leader_epoch);
        }
        !done.is_ended
    }

    /// Takes the application's word that the partition goes on at an offset, or beyond what is done behind it without a
    /// gap. `false` where this life has ended.
    pub(crate) fn store(&self, marked: Marked) -> bool {
        if let Some((before, _)) = &self.before {
            before.end();
        }
        let mut done = self.lock();
        if !done.is_ended {
            (done.end, done.leader_epoch, done.metadata) = (marked.offset, marked.leader_epoch, marked.metadata);
            done.absorb();
        }
        !done.is_ended
    }

    /// Whether something that was handed out is not done.
    pub(crate) fn is_behind(&self) -> bool {
        let handed = self.handed();
        self.lock().end < handed || self.remainder().is_some()
    }

    /// What can be committed of the life before, while something of it is to be done.
    fn remainder(&self) -> Option<Marked> {
        let (before, cut) = self.before.as_ref()?;
        if let Some(remainder) = before.remainder() {
            return Some(remainder);
        }
        let done = before.lock();
        (!done.is_ended && done.end < *cut).then(|| done.marked())
    }

    /// What can be committed. `position` is where the application will be handed the next record, and must have been
    /// read before this is called: where all is done, holes up to there are passed as well.
    pub(crate) fn committable(&self, position: i64, position_epoch: i32) -> Option<Marked> {
        if let Some(remainder) = self.remainder() {
            return Some(remainder);
        }
        let handed = self.handed();
        let done = self.lock();
        if done.end < 0 {
            return None;
        }
        let is_all_done = done.end >= handed && position > done.end;
        Some(if is_all_done {
            Marked { offset: position, leader_epoch: position_epoch, metadata: String::new() }
        } else {
            done.marked()
        })
    }
}

impl Done {
    fn marked(&self) -> Marked {
        Marked { offset: self.end, leader_epoch: self.leader_epoch, metadata: self.metadata.clone() }
    }

    fn add(&mut self, mut from: i64, mut next_offset: i64, mut leader_epoch: i32) {
        if next_offset <= self.end.max(from) {
            return;
        }
        if from > self.end {
            // Joined with what it touches on either side.
            if let Some((start, (end, epoch))) =
                self.ahead.range(..=from).next_back().map(|(start, one)| (*start, *one))
                && end >= from
            {
                if end >= next_offset {
                    (next_offset, leader_epoch) = (end, epoch);
                }
                from = start;
            }
            while let Some((start, (end, epoch))) =
                self.ahead.range(from..=next_offset).next().map(|(start, one)| (*start, *one))
            {
                if end > next_offset {
                    (next_offset, leader_epoch) = (end, epoch);
                }
                self.ahead.remove(&start);
            }
            self.ahead.insert(from, (next_offset, leader_epoch));
            return;
        }
        (self.end, self.leader_epoch) = (next_offset, leader_epoch);
        self.metadata.clear();
        self.absorb();
    }

    /// Joins what was done ahead, as far as there is no gap any more.
    fn absorb(&mut self) {
        while let Some(first) = self.ahead.first_entry() {
            if *first.key() > self.end {
                break;
            }
            let (next_offset, leader_epoch) = first.remove();
            if next_offset > self.end {
                (self.end, self.leader_epoch) = (next_offset, leader_epoch);
                self.metadata.clear();
            }
        }
    }
}

#[cfg(test)]
#[path = "marks_tests.rs"]
mod tests;
