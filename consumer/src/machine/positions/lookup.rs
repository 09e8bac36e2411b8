//! Offsets that must be asked for: the beginning, the end, a time, or what the group has committed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rkafka_protocol::ErrorCode;

use super::{EARLIEST_TIMESTAMP, LATEST_TIMESTAMP, Leader, Positions, Stage, is_passing};
use crate::error::PartitionError;
use crate::subscription::Start;

/// Where a partition should go, on the way to an offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    /// A known offset, with the leader epoch of the record before it (-1 where that is not known).
    Offset { offset: i64, last_epoch: i32 },
    /// The earliest offset.
    Beginning,
    /// The end: the high watermark, or the last stable offset where only committed records are read.
    End,
    /// The first record that is not older than this time, in milliseconds since 1970; the end where there is none.
    Timestamp(i64),
    /// The first record that is no older than this, by the clock at the time of the lookup; the end where there is none.
    Ago(Duration),
    /// So many offsets before the end.
    BeforeEnd(u64),
    /// This offset, or the earliest where that is later: the second step of `BeforeEnd`.
    NotBefore(i64),
    /// What the group has committed, else by `auto.offset.reset`.
    Committed,
}

impl From<Start> for Target {
    fn from(start: Start) -> Self {
        match start {
            Start::Beginning => Self::Beginning,
            Start::End => Self::End,
            Start::Offset(offset) => Self::Offset { offset: offset.max(0), last_epoch: -1 },
            Start::OffsetOfEpoch { offset, leader_epoch } => {
                Self::Offset { offset: offset.max(0), last_epoch: leader_epoch.max(-1) }
            }
            Start::Timestamp(timestamp) => Self::Timestamp(timestamp),
            Start::RelativeToEnd(back) => Self::BeforeEnd(back.unsigned_abs()),
            Start::Committed => Self::Committed,
        }
    }
}

/// What is asked of whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Question {
    /// The group's coordinator: what is committed.
    Committed,
    /// The leader: ListOffsets with this timestamp.
    At(i64),
    /// The leader: ListOffsets with the time so long ago.
    Ago(Duration),
    /// The leader: where this epoch ends.
    EndOfEpoch(i32),
}

/// A lookup to be made. It goes back with the answer.
#[derive(Debug)]
pub(crate) struct Lookup {
    pub(crate) topic: Arc<str>,
    pub(crate) partition: i32,
    /// The leader to ask; for what the group has committed nobody but the coordinator is asked.
    pub(crate) leader: Option<Leader>,
    pub(crate) question: Question,
    pub(super) incarnation: u64,
}

impl Positions {
    /// Takes the lookups that can be made now.
    pub(crate) fn take_lookups(&mut self, now: Instant) -> Vec<Lookup> {
        let mut taken = Vec::new();
        let stale = &mut self.stale;
        for (name, topic) in &mut self.topics {
            for (partition, slot) in &mut topic.slots {
                let question = match slot.stage {
                    Stage::Seeking(target) => {
                        let question = match target {
                            Target::Offset { .. } => continue,
                            Target::Beginning | Target::NotBefore(_) => Question::At(EARLIEST_TIMESTAMP),
                            Target::End | Target::BeforeEnd(_) => Question::At(LATEST_TIMESTAMP),
                            Target::Timestamp(timestamp) => Question::At(timestamp.max(0)),
                            Target::Ago(ago) => Question::Ago(ago),
                            Target::Committed => Question::Committed,
                        };
                        if !slot.is_due(now) || (question != Question::Committed && slot.leader.is_none()) {
                            continue;
                        }
                        slot.not_before = None;
                        slot.stage = Stage::LookingUp(target);
                        question
                    }
                    _ => match slot.begin_validation(now, stale) {
                        Some(epoch) => Question::EndOfEpoch(epoch),
                        None => continue,
                    },
                };
                taken.push(Lookup {
                    topic: Arc::clone(name),
                    partition: *partition,
                    leader: slot.leader,
                    question,
                    incarnation: slot.incarnation,
                });
            }
        }
        taken
    }

    /// Takes in the answer to a lookup: the offset and the leader epoch there (-1 where it is not known), or no offset,
    /// where there is no such record or nothing is committed. Gives back what the application must be told.
    pub(crate) fn on_lookup(
        &mut self,
        lookup: &Lookup,
        answer: Result<Option<(i64, i32)>, ErrorCode>,
        now: Instant,
    ) -> Option<PartitionError> {
        if let Question::EndOfEpoch(_) = lookup.question {
            return self.on_end_of_epoch(lookup, answer, now);
        }
        let (topic, partition) = (&lookup.topic, lookup.partition);
        let reset = self.reset;
        let of_topic = self.topics.get_mut(topic)?;
        let id = of_topic.id;
        let slot = of_topic.slots.get_mut(&partition)?;
        let Stage::LookingUp(target) = slot.stage else { return None };
        if slot.incarnation != lookup.incarnation {
            return None;
        }
        let known = |offset: i64, last_epoch: i32| Target::Offset { offset: offset.max(0), last_epoch };
        let next = match (answer, target) {
            (Ok(Some((offset, epoch))), Target::Committed) => known(offset, epoch),
            // A rewind: nothing is committed, so that everything since the beginning of the reading is to be done.
            (Ok(None), Target::Committed) if slot.origin.is_some() => known(slot.origin.unwrap_or(0), -1),
            (Ok(None), Target::Committed) => match Self::reset_target(reset) {
                Some(target) => target,
                None => {
                    slot.stage = Stage::Stopped;
                    return Some(PartitionError::NoOffset);
                }
            },
            (Ok(Some((end, _))), Target::BeforeEnd(back)) => {
                Target::NotBefore(end.saturating_sub(i64::try_from(back).unwrap_or(i64::MAX)))
            }
            (Ok(Some((beginning, _))), Target::NotBefore(offset)) => known(offset.max(beginning), -1),
            // The epoch that ListOffsets tells is that of the record at the offset, not of the one before it.
            (Ok(Some((offset, _))), _) => known(offset, -1),
            (Ok(None), Target::Timestamp(_) | Target::Ago(_)) => Target::End,
            (Ok(None), _) => known(0, -1),
            (Err(code), target) => {
                slot.stage = Stage::Seeking(target);
                self.back_off(topic, partition, now);
                return (!is_passing(code)).then_some(PartitionError::Broker { code });
            }
        };
        slot.place(Arc::clone(topic), partition, id, next);
        tracing::debug!(topic = &**topic, partition, ?next, "an offset was looked up");
        None
    }

    /// Takes back lookups that got no answer.
    pub(crate) fn on_lookup_lost(&mut self, lookup: &Lookup, now: Instant) {
        if let Some(slot) = self.slot_mut(&lookup.topic, lookup.partition)
            && slot.incarnation == lookup.incarnation
        {
            match slot.stage {
                Stage::LookingUp(target) => slot.stage = Stage::Seeking(target),
                Stage::Validating(_) => slot.resume_unvalidated(),
                _ => return,
            }
            self.back_off(&lookup.topic, lookup.partition, now);
        }
    }
}
