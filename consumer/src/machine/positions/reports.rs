//! What can be told of positions: where the application is, how far from the end, and what it may commit.

use std::sync::Arc;

use super::{Committable, Positions, Slot, Stage};
use crate::machine::marks::Marked;

impl Positions {
    /// Whether nothing of a partition may be handed out now, for it is paused or held back.
    pub(crate) fn is_withheld(&self, topic: &str, partition: i32) -> bool {
        self.slot(topic, partition).is_some_and(|slot| slot.paused || slot.held)
    }

    /// Whether a partition is assigned and paused.
    pub(crate) fn is_paused(&self, topic: &str, partition: i32) -> bool {
        self.slot(topic, partition).is_some_and(|slot| slot.paused)
    }

    /// Whether a partition is assigned.
    pub(crate) fn is_assigned(&self, topic: &str, partition: i32) -> bool {
        self.slot(topic, partition).is_some()
    }

    /// Every assigned partition, by topic and number.
    pub(crate) fn assignment(&self) -> Vec<(Arc<str>, i32)> {
        let mut all: Vec<_> = self.slots().map(|(topic, partition, _)| (Arc::clone(topic), partition)).collect();
        all.sort();
        all
    }

    /// The assigned topics.
    pub(crate) fn topics(&self) -> impl Iterator<Item = &Arc<str>> {
        self.topics.keys()
    }

    /// The next offset that the application will be given.
    pub(crate) fn position(&self, topic: &str, partition: i32) -> Option<i64> {
        self.slot(topic, partition)?.progress.position()
    }

    /// The end of a partition, as the last fetch told: the last stable offset where only committed records are read,
    /// else the high watermark.
    pub(crate) fn end_offset(&self, topic: &str, partition: i32) -> Option<i64> {
        let slot = self.slot(topic, partition)?;
        self.end_of(slot)
    }

    fn end_of(&self, slot: &Slot) -> Option<i64> {
        if self.read_committed { slot.last_stable_offset } else { slot.high_watermark }
    }

    /// How many offsets the application is behind the end of a partition, as far as is known.
    pub(crate) fn lag(&self, topic: &str, partition: i32) -> Option<i64> {
        let end = self.end_offset(topic, partition)?;
        Some(end.saturating_sub(self.position(topic, partition)?).max(0))
    }

    /// How many offsets the application is after the beginning of a partition, as far as is known.
    pub(crate) fn lead(&self, topic: &str, partition: i32) -> Option<i64> {
        let start = self.slot(topic, partition)?.log_start_offset?;
        Some(self.position(topic, partition)?.saturating_sub(start).max(0))
    }

    /// Whether the application has been given everything of every partition that is not paused, up to the end that the
    /// last fetch told. `false` where nothing is assigned, or an end is not known yet.
    pub(crate) fn is_at_end(&self) -> bool {
        let mut any = false;
        for (_, _, slot) in self.slots() {
            any = true;
            if slot.held {
                return false;
            }
            if slot.paused || matches!(slot.stage, Stage::Stopped) {
                continue;
            }
            match (self.end_of(slot), slot.progress.position()) {
                (Some(end), Some(position)) if position >= end => {}
                _ => return false,
            }
        }
        any
    }

    /// The partitions of which something was handed out that is not marked as done, and where that begins.
    pub(crate) fn behind(&self) -> Vec<(Arc<str>, i32, i64)> {
        let unfinished = self.slots().filter(|(_, _, slot)| slot.progress.marks().is_behind());
        unfinished
            .filter_map(|(topic, partition, slot)| {
                let marked = slot.progress.marks().committable(slot.progress.position()?, -1)?;
                Some((Arc::clone(topic), partition, marked.offset))
            })
            .collect()
    }

    /// What the application may commit: every partition's offset (what it has marked as done, where only that counts;
    /// `returned`: all that was handed out; else only what it has come back from). Those that are committed already are
    /// among them, as in Java: of a group without members the brokers forget what was not committed for
    /// `offsets.retention.minutes`, and a consumer of partitions that were assigned by hand is no member.
    pub(crate) fn committable(&self, returned: bool) -> Vec<Committable> {
        let mut all: Vec<Committable> = self
            .slots()
            .filter_map(|(topic, partition, slot)| {
                let progress = &slot.progress;
                let marked = if self.marked_only {
                    progress.marks().committable(progress.position()?, progress.leader_epoch())?
                } else {
                    let offset = if returned { progress.position() } else { progress.processed() }?;
                    Marked { offset, leader_epoch: progress.leader_epoch(), metadata: String::new() }
                };
                Some(Committable { topic: Arc::clone(topic), partition, marked })
            })
            .collect();
        all.sort_by(|left, right| (&left.topic, left.partition).cmp(&(&right.topic, right.partition)));
        all
    }

    /// Takes the application's word for where a partition goes on. `false` where it is not assigned.
    pub(crate) fn store(&self, topic: &str, partition: i32, marked: Marked) -> bool {
        self.slot(topic, partition).is_some_and(|slot| slot.progress.marks().store(marked))
    }
}
