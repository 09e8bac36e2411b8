//! What was fetched and not handed out yet.
//!
//! One chunk is what one response brought for one partition: its batches lie in the slab that they were read into, and
//! nothing is decoded before the application gets there. A budget in bytes bounds what waits; fetching goes on as soon
//! as half of it is free, while the application is busy with the other half.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use super::progress::Progress;
use crate::metrics::Tally;

/// What one response brought for one partition.
#[derive(Debug)]
pub(crate) struct Chunk {
    pub(crate) topic: Arc<str>,
    pub(crate) partition: i32,
    pub(crate) progress: Arc<Progress>,
    /// Whole batches, back to back.
    pub(crate) records: Bytes,
    /// Where the fetch began: records below it are not wanted.
    pub(crate) from: i64,
    /// Where the next fetch began: the position once the chunk is used up.
    pub(crate) next_offset: i64,
    /// Transactions that were aborted, as (producer id, first offset), ascending by offset.
    pub(crate) aborted: Vec<(i64, i64)>,
    /// Where what the application is given of it is counted.
    pub(crate) tally: Option<Tally>,
}

/// What was fetched and not handed out yet.
#[derive(Debug)]
pub(crate) struct Inbox {
    chunks: VecDeque<Chunk>,
    /// Chunks of paused partitions, in the order in which they came.
    aside: VecDeque<Chunk>,
    bytes: usize,
    aside_bytes: usize,
    budget: usize,
    /// Whether the budget was reached, and half of it is not free again.
    full: bool,
}

impl Inbox {
    /// An inbox that lets `budget` bytes wait.
    pub(crate) fn new(budget: usize) -> Self {
        Self { chunks: VecDeque::new(), aside: VecDeque::new(), bytes: 0, aside_bytes: 0, budget, full: false }
    }

    /// Puts a chunk at the end.
    pub(crate) fn push(&mut self, chunk: Chunk) {
        self.bytes = self.bytes.saturating_add(chunk.records.len());
        self.chunks.push_back(chunk);
        self.full |= self.bytes.saturating_add(self.aside_bytes) >= self.budget;
    }

    /// Puts back, in front of all others, a chunk that was begun.
    pub(crate) fn push_front(&mut self, chunk: Chunk) {
        self.bytes = self.bytes.saturating_add(chunk.records.len());
        self.chunks.push_front(chunk);
    }

    /// Takes the first chunk that may be handed out. Chunks of an ended life are dropped on the way; those of paused
    /// partitions are laid aside.
    pub(crate) fn pop(&mut self, mut is_paused: impl FnMut(&str, i32) -> bool) -> Option<Chunk> {
        while let Some(chunk) = self.chunks.pop_front() {
            let size = chunk.records.len();
            self.bytes = self.bytes.saturating_sub(size);
            if !chunk.progress.is_live() {
                continue;
            }
            if is_paused(&chunk.topic, chunk.partition) {
                self.aside_bytes = self.aside_bytes.saturating_add(size);
                self.aside.push_back(chunk);
                continue;
            }
            return Some(chunk);
        }
        None
    }

    /// Brings what was laid aside for a partition back to the front, for it was fetched before all that waits of it.
    pub(crate) fn resume(&mut self, topic: &str, partition: i32) {
        let mut back = Vec::new();
        let mut rest = VecDeque::with_capacity(self.aside.len());
        for chunk in self.aside.drain(..) {
            if &*chunk.topic == topic && chunk.partition == partition {
                back.push(chunk)
            } else {
                rest.push_back(chunk)
            }
        }
        self.aside = rest;
        for chunk in back.into_iter().rev() {
            self.aside_bytes = self.aside_bytes.saturating_sub(chunk.records.len());
            self.push_front(chunk);
        }
    }

    /// Drops what belongs to an ended life.
    pub(crate) fn purge(&mut self) {
        self.chunks.retain(|chunk| chunk.progress.is_live());
        self.aside.retain(|chunk| chunk.progress.is_live());
        self.bytes = self.chunks.iter().map(|chunk| chunk.records.len()).sum();
        self.aside_bytes = self.aside.iter().map(|chunk| chunk.records.len()).sum();
    }

    /// The partitions whose chunks must go, for what is laid aside takes more than half of the budget and would stop
    /// the others. They are to be fetched again when they are resumed.
    pub(crate) fn overflowing_aside(&self) -> Vec<(Arc<str>, i32)> {
        if self.aside_bytes <= self.budget / 2 {
            return Vec::new();
        }
        let mut gone: Vec<_> = self.aside.iter().map(|chunk| (Arc::clone(&chunk.topic), chunk.partition)).collect();
        gone.sort();
        gone.dedup();
        gone
    }

    /// How many bytes may be fetched now; 0 while the inbox is full.
    pub(crate) fn room(&mut self) -> usize {
        let used = self.bytes.saturating_add(self.aside_bytes);
        if used >= self.budget {
            self.full = true;
        } else if used <= self.budget / 2 {
            self.full = false;
        }
        if self.full { 0 } else { self.budget - used }
    }

    /// Whether nothing waits that could be handed out.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(topic: &str, partition: i32, size: usize) -> Chunk {
        Chunk {
            topic: topic.into(),
            partition,
            progress: Arc::default(),
            records: Bytes::from(vec![0; size]),
            from: 0,
            next_offset: 1,
            aborted: Vec::new(),
            tally: None,
        }
    }

    #[test]
    fn fetching_stops_at_the_budget_and_goes_on_at_half() {
        let mut inbox = Inbox::new(100);
        assert_eq!(inbox.room(), 100);
        inbox.push(chunk("t", 0, 60));
        assert_eq!(inbox.room(), 40, "not full yet");
        inbox.push(chunk("t", 0, 60));
        assert_eq!(inbox.room(), 0);
        inbox.push(chunk("t", 0, 10));
        inbox.pop(|_, _| false);
        assert_eq!(inbox.room(), 0, "70 of 100 wait: more than half");
        inbox.pop(|_, _| false);
        assert_eq!(inbox.room(), 90);
        inbox.push(chunk("t", 0, 60));
        assert_eq!(inbox.room(), 30, "and it may fill again");
    }

    #[test]
    fn a_paused_partition_lets_others_pass_and_comes_back_in_order() {
        let mut inbox = Inbox::new(100);
        inbox.push(chunk("slow", 0, 1));
        inbox.push(chunk("slow", 0, 2));
        inbox.push(chunk("quick", 0, 3));
        let paused = |topic: &str, _| topic == "slow";
        assert_eq!(inbox.pop(paused).map(|chunk| chunk.records.len()), Some(3));
        assert!(inbox.pop(paused).is_none());
        inbox.push(chunk("slow", 0, 4));
        inbox.resume("slow", 0);
        let sizes: Vec<_> = std::iter::from_fn(|| inbox.pop(|_, _| false)).map(|chunk| chunk.records.len()).collect();
        assert_eq!(sizes, [1, 2, 4]);
        assert_eq!(inbox.room(), 100);
    }

    #[test]
    fn paused_data_never_holds_the_budget() {
        let mut inbox = Inbox::new(100);
        inbox.push(chunk("slow", 0, 90));
        assert!(inbox.pop(|_, _| true).is_none());
        let gone = inbox.overflowing_aside();
        assert_eq!(gone, [("slow".into(), 0)]);
        for chunk in &inbox.aside {
            chunk.progress.end();
        }
        inbox.purge();
        assert_eq!(inbox.room(), 100);
    }

    #[test]
    fn what_belongs_to_an_ended_life_is_not_handed_out() {
        let mut inbox = Inbox::new(100);
        let old = chunk("t", 0, 5);
        old.progress.end();
        inbox.push(old);
        inbox.push(chunk("t", 0, 6));
        assert_eq!(inbox.pop(|_, _| false).map(|chunk| chunk.records.len()), Some(6));
        assert!(inbox.is_empty());
    }
}
