//! The cursor that a fetch takes along, and what its return means.

use std::sync::Arc;
use std::time::Instant;

use rkafka_protocol::ErrorCode;
use uuid::Uuid;

use super::{Positions, Stage, is_passing};
use crate::error::PartitionError;
use crate::machine::progress::Progress;

/// Where to fetch a partition next. Not `Clone`: it is here or in flight, never both.
#[derive(Debug)]
pub(crate) struct Cursor {
    pub(crate) topic: Arc<str>,
    pub(crate) topic_id: Uuid,
    pub(crate) partition: i32,
    /// The next offset to fetch.
    pub(crate) offset: i64,
    /// The epoch of the leader that is asked, or -1.
    pub(crate) leader_epoch: i32,
    /// The epoch of the last batch fetched, or -1: by it the leader sees that the log was truncated (KIP-320).
    pub(crate) last_fetched_epoch: i32,
    /// Whether the end of the partition is known. Until it is, the fetch should not wait for records to come.
    pub(crate) end_known: bool,
    pub(super) incarnation: u64,
    pub(crate) progress: Arc<Progress>,
}

/// What a fetch brought for one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fetched {
    /// The leader answered, with or without records.
    Read {
        /// The offset after the last batch, or the cursor's own where none came.
        next_offset: i64,
        /// The leader epoch of the last batch, where one came.
        last_epoch: Option<i32>,
        /// The high watermark.
        high_watermark: i64,
        /// The last stable offset, -1 where it is not known.
        last_stable_offset: i64,
        /// The earliest offset that is still there, -1 where it is not known.
        log_start_offset: i64,
        /// The replica that should be asked in the leader's place (KIP-392).
        preferred_replica: Option<i32>,
    },
    /// The log was truncated below the cursor: the epochs agree up to `end_offset` (KIP-595's `DivergingEpoch`).
    Diverged {
        /// Where the logs part.
        end_offset: i64,
        /// The epoch up to there.
        epoch: i32,
    },
    /// The leader refused.
    Refused(ErrorCode),
    /// The answer did not speak of the partition, or the bytes make no sense: asked again after a backoff.
    Malformed(String),
    /// A quota had the broker say nothing: asked again after a backoff.
    Throttled,
    /// No answer came.
    Lost,
}

/// What the return of a cursor means for others.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// The records that came along are wanted.
    pub(crate) accept: bool,
    /// The partition is to be fetched from another broker than before.
    pub(crate) new_source: bool,
    /// Something is to be looked up before the partition is fetched on.
    pub(crate) look_up: bool,
    /// The metadata is old.
    pub(crate) refresh_metadata: bool,
    /// What the application is told.
    pub(crate) error: Option<PartitionError>,
}

impl Positions {
    /// Takes the cursors that may go into a fetch from `broker`, those that were served longest ago first.
    pub(crate) fn take(&mut self, broker: i32, now: Instant) -> Vec<Cursor> {
        let mut taken = Vec::new();
        for topic in self.topics.values_mut() {
            for slot in topic.slots.values_mut() {
                let Some(leader) = slot.leader else { continue };
                if slot.source() != Some(broker) || slot.paused || slot.held || !slot.is_due(now) {
                    continue;
                }
                match std::mem::replace(&mut slot.stage, Stage::InFlight) {
                    Stage::Ready(cursor) if slot.needs_validation(&cursor, leader) => {
                        slot.stage = Stage::Ready(cursor);
                    }
                    Stage::Ready(mut cursor) => {
                        slot.not_before = None;
                        cursor.leader_epoch = leader.epoch;
                        cursor.topic_id = topic.id;
                        taken.push((slot.served, cursor));
                    }
                    other => slot.stage = other,
                }
            }
        }
        taken.sort_by(|(left_served, left), (right_served, right)| {
            (left_served, &left.topic, left.partition).cmp(&(right_served, &right.topic, right.partition))
        });
        taken.into_iter().map(|(_, cursor)| cursor).collect()
    }

    /// Whether [`Positions::take`] would give anything.
    pub(crate) fn can_take(&self, broker: i32, now: Instant) -> bool {
        self.slots().any(|(_, _, slot)| {
            slot.source() == Some(broker)
                && !slot.paused
                && !slot.held
                && matches!(slot.stage, Stage::Ready(_))
                && !slot.awaits_validation()
                && slot.is_due(now)
        })
    }

    /// Whether a partition of `broker` will soon join its fetches, so that a fetch should not wait long without it.
    pub(crate) fn is_unsettled(&self, broker: i32) -> bool {
        self.slots().any(|(_, _, slot)| {
            slot.source() == Some(broker)
                && !slot.paused
                && !slot.held
                && (matches!(slot.stage, Stage::Seeking(_) | Stage::LookingUp(_) | Stage::Validating(_))
                    || slot.awaits_validation()
                    || slot.not_before.is_some())
        })
    }

    /// Takes a cursor back from the fetch from `broker` that it went with.
    pub(crate) fn give_back(&mut self, broker: i32, cursor: Cursor, fetched: Fetched, now: Instant) -> Verdict {
        let (topic, partition) = (Arc::clone(&cursor.topic), cursor.partition);
        let mut verdict = self.take_back(broker, cursor, fetched, now);
        verdict.look_up = self
            .slot(&topic, partition)
            .is_some_and(|slot| matches!(slot.stage, Stage::Seeking(_)) || slot.awaits_validation());
        verdict
    }

    fn take_back(&mut self, broker: i32, mut cursor: Cursor, fetched: Fetched, now: Instant) -> Verdict {
        let mut verdict = Verdict::default();
        let (topic, partition, offset) = (Arc::clone(&cursor.topic), cursor.partition, cursor.offset);
        self.serving += 1;
        let (serving, preference) = (self.serving, self.preference);
        let Some(slot) = self.slot_mut(&topic, partition) else { return verdict };
        if slot.incarnation != cursor.incarnation {
            return verdict;
        }
        let leader = slot.leader.map(|leader| leader.broker);
        let from_replica = slot.preferred.is_some_and(|(replica, _)| replica == broker) && leader != Some(broker);
        if from_replica && !matches!(fetched, Fetched::Read { .. } | Fetched::Diverged { .. } | Fetched::Throttled) {
            // Whatever a replica suffers from, such as being behind, the leader may know better: it is asked at once.
            slot.preferred = None;
            slot.stage = Stage::Ready(cursor);
            verdict.new_source = true;
            verdict.refresh_metadata = fetched == Fetched::Lost;
            return verdict;
        }
        match fetched {
            Fetched::Read {
                next_offset,
                last_epoch,
                high_watermark,
                last_stable_offset,
                log_start_offset,
                preferred_replica,
            } => {
                if let Some(replica) = preferred_replica.filter(|replica| Some(*replica) != leader) {
                    // The leader sends no records along, and its end is no news of the replica's.
                    slot.preferred = now.checked_add(preference).map(|until| (replica, until));
                    slot.stage = Stage::Ready(cursor);
                    verdict.new_source = true;
                    return verdict;
                }
                slot.high_watermark = Some(high_watermark);
                slot.last_stable_offset =
                    Some(if last_stable_offset < 0 { high_watermark } else { last_stable_offset });
                slot.log_start_offset = Some(log_start_offset).filter(|offset| *offset >= 0).or(slot.log_start_offset);
                if next_offset > cursor.offset {
                    cursor.offset = next_offset;
                    slot.served = serving;
                }
                cursor.last_fetched_epoch = last_epoch.unwrap_or(cursor.last_fetched_epoch);
                slot.validated = Some(cursor.leader_epoch).filter(|epoch| *epoch >= 0).or(slot.validated);
                cursor.end_known = true;
                slot.stage = Stage::Ready(cursor);
                verdict.accept = true;
            }
            Fetched::Diverged { end_offset, epoch } => {
                let leader = slot.leader.filter(|leader| leader.epoch == cursor.leader_epoch);
                slot.stage = Stage::Ready(cursor);
                verdict.error = self.truncated(&topic, partition, offset, Some((end_offset.max(0), epoch)), leader);
            }
            Fetched::Refused(ErrorCode::OffsetOutOfRange) => {
                let caught_up = slot.progress.position() == Some(cursor.offset);
                slot.stage = Stage::Ready(cursor);
                if !caught_up {
                    // What was fetched before is good and is handed out first; then the leader is asked again.
                    self.back_off(&topic, partition, now);
                    return verdict;
                }
                verdict.error = self.stop_or_reset(&topic, partition, PartitionError::OffsetOutOfRange { offset });
            }
            Fetched::Refused(code) => {
                verdict.refresh_metadata = code.is_stale_metadata() || is_passing(code);
                slot.stage = Stage::Ready(cursor);
                self.back_off(&topic, partition, now);
                if !is_passing(code) {
                    verdict.error = Some(PartitionError::Broker { code });
                }
            }
            Fetched::Malformed(what) => {
                slot.stage = Stage::Ready(cursor);
                self.back_off(&topic, partition, now);
                verdict.error = Some(PartitionError::Malformed { offset, what });
            }
            Fetched::Throttled => {
                slot.stage = Stage::Ready(cursor);
                self.back_off(&topic, partition, now);
            }
            Fetched::Lost => {
                slot.stage = Stage::Ready(cursor);
                self.back_off(&topic, partition, now);
                verdict.refresh_metadata = true;
            }
        }
        verdict
    }

    /// Takes a cursor back from a fetch that never came back.
    pub(crate) fn put_back(&mut self, cursor: Cursor) {
        let (topic, partition) = (Arc::clone(&cursor.topic), cursor.partition);
        if let Some(slot) = self.slot_mut(&topic, partition)
            && slot.incarnation == cursor.incarnation
        {
            slot.stage = Stage::Ready(cursor);
        }
    }
}
