//! Truncation (KIP-320): a new leader may not have all of what an old one had, so a position that was reached under an
//! older leader is checked before anything more is fetched.
//!
//! The leader is asked where the epoch of the last record that was fetched ends in its log (OffsetForLeaderEpoch). Where
//! that is before the position, records that were read are no more. A fetch of version 12 or later says the same in its
//! answer, of what was truncated since.

use std::sync::Arc;
use std::time::Instant;

use rkafka_protocol::ErrorCode;

use super::{Cursor, Leader, Lookup, Positions, Slot, Stage, is_passing};
use crate::error::PartitionError;
use crate::subscription::Start;

/// How often metadata is asked for that is as new as a position, before the position's epoch is taken for that of a
/// topic that was deleted since, or of records that an unclean election undid.
const STALE_METADATA_MAX: u8 = 5;

impl Slot {
    /// Whether the position must be checked before the leader is fetched from.
    pub(super) fn needs_validation(&self, cursor: &Cursor, leader: Leader) -> bool {
        cursor.last_fetched_epoch >= 0 && leader.epoch >= 0 && self.validated != Some(leader.epoch)
    }

    /// Whether a question should be asked before the partition can be fetched on.
    pub(super) fn awaits_validation(&self) -> bool {
        match (&self.stage, self.leader) {
            (Stage::Ready(cursor), Some(leader)) => self.needs_validation(cursor, leader),
            _ => false,
        }
    }

    /// Begins the check of a position, if one is due. Says what epoch the leader is asked for.
    pub(super) fn begin_validation(&mut self, now: Instant, stale: &mut bool) -> Option<i32> {
        if !self.awaits_validation() || !self.is_due(now) {
            return None;
        }
        let leader = self.leader?;
        match std::mem::replace(&mut self.stage, Stage::InFlight) {
            Stage::Ready(mut cursor) if cursor.last_fetched_epoch > leader.epoch => {
                // Who knows of a newer leader than the metadata does is not checked by the old one, which would find
                // its log too short.
                *stale = true;
                self.behind = self.behind.saturating_add(1);
                if self.behind > STALE_METADATA_MAX {
                    tracing::warn!(
                        topic = &*cursor.topic,
                        partition = cursor.partition,
                        epoch = cursor.last_fetched_epoch,
                        leader_epoch = leader.epoch,
                        "the position is of an epoch that the cluster does not know; reading on unchecked"
                    );
                    self.behind = 0;
                    cursor.last_fetched_epoch = -1;
                } else {
                    self.not_before = now.checked_add(self.retry_backoff);
                }
                self.stage = Stage::Ready(cursor);
                None
            }
            Stage::Ready(cursor) => {
                self.behind = 0;
                self.not_before = None;
                let epoch = cursor.last_fetched_epoch;
                self.stage = Stage::Validating(cursor);
                Some(epoch)
            }
            other => {
                self.stage = other;
                None
            }
        }
    }
}

impl Positions {
    /// Whether metadata was found to be older than a position since this was last asked.
    pub(crate) fn take_stale(&mut self) -> bool {
        std::mem::take(&mut self.stale)
    }

    /// Takes in where the epoch ends in the leader's log: the offset and the epoch, which is an older one where the
    /// leader knows nothing of the epoch; or nothing, where it knows of none.
    pub(super) fn on_end_of_epoch(
        &mut self,
        lookup: &Lookup,
        answer: Result<Option<(i64, i32)>, ErrorCode>,
        now: Instant,
    ) -> Option<PartitionError> {
        let (topic, partition) = (&lookup.topic, lookup.partition);
        let slot = self.slot_mut(topic, partition)?;
        if slot.incarnation != lookup.incarnation {
            return None;
        }
        let offset = match &slot.stage {
            Stage::Validating(cursor) => cursor.offset,
            _ => return None,
        };
        let end = match answer {
            // A broker that cannot be asked is not waited for, as in Java; a fetch may tell.
            Err(ErrorCode::UnsupportedVersion) => Some((i64::MAX, -1)),
            Err(code) => {
                slot.resume_unvalidated();
                self.back_off(topic, partition, now);
                return (!is_passing(code)).then_some(PartitionError::Broker { code });
            }
            Ok(end) => end.filter(|(end_offset, epoch)| *end_offset >= 0 && *epoch >= 0),
        };
        match end {
            Some((end_offset, _)) if end_offset >= offset => {
                slot.validated = lookup.leader.map(|leader| leader.epoch);
                slot.resume_unvalidated();
                None
            }
            end => {
                slot.resume_unvalidated();
                self.truncated(topic, partition, offset, end, lookup.leader)
            }
        }
    }

    /// The log parts from what was fetched below `offset`, at `end` where the leader could tell that.
    pub(super) fn truncated(
        &mut self,
        topic: &Arc<str>,
        partition: i32,
        offset: i64,
        end: Option<(i64, i32)>,
        leader: Option<Leader>,
    ) -> Option<PartitionError> {
        let position = self.position(topic, partition).unwrap_or(offset);
        let error = PartitionError::LogTruncated {
            offset: position,
            diverging_offset: end.map(|(end_offset, _)| end_offset),
            diverging_epoch: end.map(|(_, epoch)| epoch),
        };
        let Some((end_offset, epoch)) = end else {
            return self.stop_or_reset(topic, partition, error);
        };
        let (next, last_epoch) = if position <= end_offset {
            // What is gone was fetched ahead, and the application has not seen it.
            self.rewind(topic, partition);
            (position, None)
        } else if Self::reset_target(self.reset).is_none() {
            return self.stop_or_reset(topic, partition, error);
        } else {
            tracing::warn!(topic = &**topic, partition, %error, "reading on from where the logs agree");
            let marks = self.marks_cut_at(topic, partition, end_offset);
            self.go_to(topic, partition, Start::Offset(end_offset), marks);
            (end_offset, Some(epoch))
        };
        tracing::info!(topic = &**topic, partition, next, "what was fetched beyond is dropped");
        if let Some(slot) = self.slot_mut(topic, partition) {
            slot.validated = leader.map(|leader| leader.epoch);
            if let (Stage::Ready(cursor), Some(last_epoch)) = (&mut slot.stage, last_epoch) {
                cursor.last_fetched_epoch = last_epoch;
            }
        }
        None
    }
}

impl Slot {
    /// Lets a partition go on whose check has ended, or never came back.
    pub(super) fn resume_unvalidated(&mut self) {
        self.stage = match std::mem::replace(&mut self.stage, Stage::InFlight) {
            Stage::Validating(cursor) => Stage::Ready(cursor),
            other => other,
        };
    }
}
