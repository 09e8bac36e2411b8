//! Where each assigned partition is: which offset is looked up, fetched, handed out and committed.
//!
//! A partition's [`Cursor`] is in exactly one place: here while it is ready, or in the fetch in flight, to which it
//! moves by value and from which it comes back with the outcome. So no partition is ever in two fetches at once, and
//! none is forgotten. A seek or a revocation begins a new life of the partition; a cursor that comes back from an
//! earlier life is dropped.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rkafka_protocol::ErrorCode;
use uuid::Uuid;

use super::marks::{Marked, Marks};
use crate::config::OffsetReset;
use crate::error::PartitionError;
use crate::subscription::Start;

mod cursor;
mod lookup;
mod reports;
mod slot;
mod sources;
#[cfg(test)]
mod tests;
mod validation;

pub(crate) use cursor::{Cursor, Fetched};
pub(crate) use lookup::{Lookup, Question, Target};
use slot::{Slot, Stage};

/// The timestamps by which ListOffsets means something else than a time.
pub(crate) const LATEST_TIMESTAMP: i64 = -1;
pub(crate) const EARLIEST_TIMESTAMP: i64 = -2;
/// The record with the largest timestamp (KIP-734).
pub(crate) const MAX_TIMESTAMP: i64 = -3;
/// The earliest offset on the leader's own disks (KIP-405).
pub(crate) const EARLIEST_LOCAL_TIMESTAMP: i64 = -4;
/// The last offset in remote storage (KIP-1005).
pub(crate) const LATEST_TIERED_TIMESTAMP: i64 = -5;

/// Who leads a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Leader {
    /// The broker's node id.
    pub(crate) broker: i32,
    /// The leader epoch, or -1 where the broker did not say.
    pub(crate) epoch: i32,
}

/// What is known of a topic's partitions, from metadata.
#[derive(Debug, Clone, Default)]
pub(crate) struct TopicView {
    /// The topic's id, nil where the cluster has none.
    pub(crate) id: Uuid,
    /// The leaders by partition; partitions without a leader are absent.
    pub(crate) leaders: HashMap<i32, Leader>,
}

#[derive(Debug, Default)]
struct Topic {
    id: Uuid,
    /// The ids of the topics of this name that were deleted: a broker that still names one is behind.
    former: Vec<Uuid>,
    slots: BTreeMap<i32, Slot>,
}

/// Where every assigned partition is.
#[derive(Debug)]
pub(crate) struct Positions {
    topics: HashMap<Arc<str>, Topic>,
    reset: OffsetReset,
    read_committed: bool,
    retry_backoff: Duration,
    /// `metadata.max.age.ms`: how long a preferred replica holds, as in Java.
    preference: Duration,
    next_incarnation: u64,
    serving: u64,
    /// Metadata was found to be older than a position.
    stale: bool,
    /// Only what the application has marked as done is committed.
    marked_only: bool,
}

/// An offset that is to be committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Committable {
    pub(crate) topic: Arc<str>,
    pub(crate) partition: i32,
    pub(crate) marked: Marked,
}

impl Positions {
    pub(crate) fn new(reset: OffsetReset, read_committed: bool, retry_backoff: Duration, preference: Duration) -> Self {
        Self {
            topics: HashMap::new(),
            reset,
            read_committed,
            retry_backoff,
            preference,
            next_incarnation: 0,
            serving: 0,
            stale: false,
            marked_only: false,
        }
    }

    /// Has only committed what the application has marked as done (`enable.auto.offset.store=false`).
    pub(crate) fn commit_marked_only(&mut self, marked_only: bool) {
        self.marked_only = marked_only;
    }

    fn incarnate(&mut self) -> u64 {
        self.next_incarnation += 1;
        self.next_incarnation
    }

    /// Makes `wanted` the whole assignment. Partitions that stay keep where they are; the others begin at their start,
    /// and those that are gone end.
    pub(crate) fn assign(&mut self, wanted: &[(Arc<str>, i32, Start)]) {
        let keep: std::collections::HashSet<(&str, i32)> =
            wanted.iter().map(|(topic, partition, _)| (&**topic, *partition)).collect();
        self.topics.retain(|name, topic| {
            topic.slots.retain(|partition, slot| {
                let stays = keep.contains(&(&**name, *partition));
                if !stays {
                    slot.progress.end();
                    slot.progress.marks().end();
                }
                stays
            });
            !topic.slots.is_empty()
        });
        for (name, partition, start) in wanted {
            self.add(name, *partition, *start);
        }
    }

    /// Adds a partition to the assignment. One that is there already stays where it is.
    pub(crate) fn add(&mut self, name: &Arc<str>, partition: i32, start: Start) {
        if self.slot(name, partition).is_some() {
            return;
        }
        let incarnation = self.incarnate();
        let topic = self.topics.entry(Arc::clone(name)).or_default();
        let mut slot = Slot {
            incarnation,
            stage: Stage::Stopped,
            tenure: incarnation,
            paused: false,
            held: false,
            progress: Arc::default(),
            leader: None,
            validated: None,
            behind: 0,
            retry_backoff: self.retry_backoff,
            preferred: None,
            high_watermark: None,
            last_stable_offset: None,
            log_start_offset: None,
            not_before: None,
            served: 0,
            origin: None,
        };
        slot.place(Arc::clone(name), partition, topic.id, Target::from(start));
        topic.slots.insert(partition, slot);
    }

    /// Takes a partition out of the assignment.
    pub(crate) fn remove(&mut self, name: &str, partition: i32) {
        let Some(topic) = self.topics.get_mut(name) else { return };
        if let Some(slot) = topic.slots.remove(&partition) {
            slot.progress.end();
            slot.progress.marks().end();
        }
        if topic.slots.is_empty() {
            self.topics.remove(name);
        }
    }

    /// Tells one assignment of a partition from another; `None` where it is not assigned.
    pub(crate) fn tenure(&self, topic: &str, partition: i32) -> Option<u64> {
        self.slot(topic, partition).map(|slot| slot.tenure)
    }

    fn slot(&self, topic: &str, partition: i32) -> Option<&Slot> {
        self.topics.get(topic)?.slots.get(&partition)
    }

    fn slot_mut(&mut self, topic: &str, partition: i32) -> Option<&mut Slot> {
        self.topics.get_mut(topic)?.slots.get_mut(&partition)
    }

    /// Every slot, in no order.
    fn slots(&self) -> impl Iterator<Item = (&Arc<str>, i32, &Slot)> {
        self.topics
            .iter()
            .flat_map(|(name, topic)| topic.slots.iter().map(move |(partition, slot)| (name, *partition, slot)))
    }

    /// Moves a partition to `start`: whatever was fetched before is void. `false` where it is not assigned.
    pub(crate) fn seek(&mut self, topic: &str, partition: i32, start: Start) -> bool {
        if let Some(slot) = self.slot(topic, partition) {
            slot.progress.marks().end();
        }
        self.go_to(topic, partition, start, Arc::default())
    }

    /// The marks of a partition whose log was cut off at `offset`: what was handed out before it is still to be done.
    pub(super) fn marks_cut_at(&self, topic: &str, partition: i32, offset: i64) -> Arc<Marks> {
        let Some(slot) = self.slot(topic, partition) else { return Arc::default() };
        Arc::new(Marks::cut(Arc::clone(slot.progress.marks()), offset))
    }

    /// A seek under which earlier marks may stay good.
    pub(super) fn go_to(&mut self, topic: &str, partition: i32, start: Start, marks: Arc<Marks>) -> bool {
        let Some((name, _)) = self.topics.get_key_value(topic) else { return false };
        let name = Arc::clone(name);
        let incarnation = self.incarnate();
        let Some(of_topic) = self.topics.get_mut(topic) else { return false };
        let id = of_topic.id;
        let Some(slot) = of_topic.slots.get_mut(&partition) else { return false };
        slot.restart(incarnation, marks);
        slot.origin = None;
        slot.place(name, partition, id, Target::from(start));
        true
    }

    /// Moves every partition to what the group has committed, else to where its reading began. An origin that is not
    /// known yet is still on its way, and nothing has been handed out.
    pub(crate) fn rewind_to_committed(&mut self) {
        for (topic, partition) in self.assignment() {
            let Some(origin) = self.slot(&topic, partition).and_then(|slot| slot.origin) else { continue };
            self.seek(&topic, partition, Start::Committed);
            if let Some(slot) = self.slot_mut(&topic, partition) {
                slot.origin = Some(origin);
            }
        }
    }

    /// Takes back that anything from `offset` on was handed out, and has it fetched again. Marks stay good.
    pub(crate) fn give_again(&mut self, topic: &str, partition: i32, offset: i64) {
        let Some(slot) = self.slot(topic, partition) else { return };
        if slot.progress.position().is_none_or(|position| position < offset) {
            return;
        }
        slot.progress.hand_out(offset);
        if slot.progress.processed().is_some_and(|processed| processed > offset) {
            slot.progress.settle();
        }
        self.rewind(topic, partition);
    }

    /// Gives up what was fetched of a partition and not handed out, so that it is fetched again from the position.
    pub(crate) fn rewind(&mut self, topic: &str, partition: i32) {
        let Some(position) = self.position(topic, partition) else { return };
        let Some(slot) = self.slot(topic, partition) else { return };
        let (processed, epoch, origin) = (slot.progress.processed(), slot.progress.leader_epoch(), slot.origin);
        let (marks, validated) = (Arc::clone(slot.progress.marks()), slot.validated);
        self.go_to(topic, partition, Start::Offset(position), marks);
        if let Some(slot) = self.slot_mut(topic, partition) {
            slot.origin = origin;
            // Who has all up to where the fetch was has all before it.
            slot.validated = validated;
            // What was handed out stays unprocessed until the application comes back.
            slot.progress.start(processed.unwrap_or(position), epoch);
            slot.progress.pass(position);
            if let Stage::Ready(cursor) = &mut slot.stage {
                cursor.last_fetched_epoch = epoch;
            }
        }
    }

    /// Pauses or resumes a partition. `false` where it is not assigned.
    pub(crate) fn set_paused(&mut self, topic: &str, partition: i32, paused: bool) -> bool {
        match self.slot_mut(topic, partition) {
            Some(slot) => {
                slot.paused = paused;
                slot.progress.set_paused(paused);
                true
            }
            None => false,
        }
    }

    /// Holds a partition back, or lets it go on.
    pub(crate) fn set_held(&mut self, topic: &str, partition: i32, held: bool) {
        if let Some(slot) = self.slot_mut(topic, partition) {
            slot.held = held;
            slot.progress.set_held(held);
        }
    }

    /// Stops a partition where the application is: it cannot be read on before a seek.
    pub(crate) fn halt(&mut self, topic: &str, partition: i32) {
        self.rewind(topic, partition);
        if let Some(slot) = self.slot_mut(topic, partition) {
            slot.stage = Stage::Stopped;
        }
    }

    /// When the earliest retry after `now` is due.
    pub(crate) fn deadline(&self, now: Instant) -> Option<Instant> {
        self.slots().filter_map(|(_, _, slot)| slot.not_before).filter(|at| *at > now).min()
    }

    /// What an offset out of range, or no offset at all, leads to: a lookup by `auto.offset.reset`, or an error.
    fn reset_target(reset: OffsetReset) -> Option<Target> {
        match reset {
            OffsetReset::Earliest => Some(Target::Beginning),
            OffsetReset::Latest => Some(Target::End),
            OffsetReset::None => None,
            OffsetReset::ByDuration(ago) => Some(Target::Ago(ago)),
        }
    }

    fn stop_or_reset(&mut self, topic: &Arc<str>, partition: i32, error: PartitionError) -> Option<PartitionError> {
        let target = Self::reset_target(self.reset);
        let incarnation = self.incarnate();
        let slot = self.slot_mut(topic, partition)?;
        match target {
            Some(target) => {
                tracing::info!(topic = &**topic, partition, %error, "resetting the offset by auto.offset.reset");
                // The application has been given all that was fetched before. Its way through that must not move the
                // new position, which a chunk that it is still in would do at its end.
                let (position, processed) = (slot.progress.position(), slot.progress.processed());
                let epoch = slot.progress.leader_epoch();
                slot.restart(incarnation, Arc::clone(slot.progress.marks()));
                if let (Some(position), Some(processed)) = (position, processed) {
                    slot.progress.start(processed, epoch);
                    slot.progress.pass(position);
                }
                slot.stage = Stage::Seeking(target);
                None
            }
            None => {
                slot.stage = Stage::Stopped;
                Some(error)
            }
        }
    }

    /// An error that a retry may heal: the partition waits `retry.backoff.ms`.
    fn back_off(&mut self, topic: &str, partition: i32, now: Instant) {
        let backoff = self.retry_backoff;
        if let Some(slot) = self.slot_mut(topic, partition) {
            slot.not_before = now.checked_add(backoff);
        }
    }
}

/// Whether an error of a partition only says that the metadata is old or that the leader is not ready.
pub(crate) fn is_passing(code: ErrorCode) -> bool {
    code.is_retriable()
        || matches!(
            code,
            ErrorCode::FencedLeaderEpoch
                | ErrorCode::UnknownLeaderEpoch
                | ErrorCode::UnknownTopicId
                | ErrorCode::InconsistentTopicId
        )
}
