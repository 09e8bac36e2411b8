//! A follower's side of replication: where it fetches, and what it does with what it is answered.
//!
//! A follower's log is cut by leader epochs and by nothing else: the high watermark says what is replicated, not where
//! two logs part (KIP-101). The leader says where the epoch of the follower's last record ends in its log; the follower
//! cuts back to where that epoch ends in both, and asks again until the two agree (KIP-279, KIP-595).

use rkafka_protocol::ErrorCode;
use rkafka_protocol::records::BatchIter;

use super::partition::{LogState, Partition};
use super::role::Role;
use crate::log::{AppendError, Log, LogError};
use crate::planted::{self, Bug};

/// From where a follower goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FollowerPosition {
    pub leader: i32,
    pub leader_epoch: i32,
    /// The end of its log.
    pub offset: i64,
    /// The epoch of its last record, -1 where it has none.
    pub last_epoch: i32,
    pub log_start_offset: i64,
    /// No more than this is taken at a time.
    pub max_bytes: i32,
}

/// What a leader answered to a follower.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fetched<'a> {
    /// The offset that was asked for.
    pub offset: i64,
    pub records: &'a [u8],
    pub high_watermark: i64,
    pub log_start_offset: i64,
}

/// Why a follower could not do what its leader's answer asks for.
#[derive(Debug)]
pub(crate) enum FollowFailure {
    /// The answer is of another epoch, or for another end of the log: it is passed over, and asked for anew.
    Stale,
    /// The records are not what a leader may send. Nothing of them is in the log.
    Refused(AppendError),
    /// The disk failed, or the partition is closed.
    Unavailable(ErrorCode),
    Log(LogError),
}

impl Partition {
    /// Where this follower goes on; `None` where it follows nobody. Opens the log.
    ///
    /// # Errors
    /// As [`Partition::with_log`].
    pub fn follower_position(&self, now_ms: i64) -> Result<Option<FollowerPosition>, ErrorCode> {
        let found = self.with_state(now_ms, |log, role| {
            let Role::Follower(leader) = role else { return None };
            (*leader >= 0).then(|| FollowerPosition {
                leader: *leader,
                leader_epoch: self.leader_epoch(),
                offset: log.log_end_offset(),
                last_epoch: match log.latest_epoch() {
                    Some(epoch) if !planted::is(Bug::TruncateToWatermark) => epoch,
                    _ => -1,
                },
                log_start_offset: log.log_start_offset(),
                max_bytes: i32::try_from(log.config().segment_bytes).unwrap_or(i32::MAX),
            })
        })?;
        Ok(found.0)
    }

    /// Where the log ends, if it is open.
    pub fn log_end(&self) -> Option<i64> {
        match &self.state.read().ok()?.log {
            LogState::Open(log) => Some(log.log_end_offset()),
            _ => None,
        }
    }

    /// Does `change` as a follower in `leader_epoch`, and wakes consumers that read here.
    fn as_follower<R>(
        &self,
        leader_epoch: i32,
        now_ms: i64,
        change: impl FnOnce(&mut Log) -> Result<R, FollowFailure>,
    ) -> Result<R, FollowFailure> {
        let changed = self.with_state(now_ms, |log, role| match role {
            Role::Follower(_) if self.leader_epoch() == leader_epoch => change(log),
            _ => Err(FollowFailure::Stale),
        });
        let (result, moved) = changed.map_err(FollowFailure::Unavailable)?;
        if moved {
            self.waiters.wake();
        }
        result
    }

    /// Appends what the leader sent, and takes over its high watermark and the start of its log. A batch that was cut off
    /// at the end, or that is of a later epoch than the one that was asked in, is left for the next fetch. Answers where
    /// the log ends now.
    ///
    /// # Errors
    /// See [`FollowFailure`].
    pub fn append_fetched(&self, leader_epoch: i32, fetched: &Fetched<'_>, now_ms: i64) -> Result<i64, FollowFailure> {
        self.as_follower(leader_epoch, now_ms, |log| {
            if fetched.offset != log.log_end_offset() {
                return Err(FollowFailure::Stale);
            }
            let usable = whole_batches(fetched.records, leader_epoch);
            if !usable.is_empty() {
                log.append_as_follower(usable, now_ms).map_err(FollowFailure::Refused)?;
            } else if !fetched.records.is_empty() {
                let reason = "it has no whole batch of the leader's epoch or before".to_owned();
                return Err(FollowFailure::Refused(AppendError::CorruptMessage { position: 0, reason }));
            }
            log.set_high_watermark(fetched.high_watermark);
            // What is not known to be replicated is not given up.
            let start = fetched.log_start_offset.min(log.high_watermark());
            if start > log.log_start_offset() {
                log.delete_records(start).map_err(FollowFailure::Log)?;
            }
            Ok(log.log_end_offset())
        })
    }

    /// Cuts the log after the leader has said that it parts from its own: `epoch` is the greatest that the leader knows
    /// up to the one that it was asked for, and ends there at `end_offset`. Answers where the log ends now; the next fetch
    /// finds out whether the two agree.
    ///
    /// # Errors
    /// See [`FollowFailure`].
    pub fn truncate_to_divergence(
        &self,
        leader_epoch: i32,
        (epoch, end_offset): (i32, i64),
        now_ms: i64,
    ) -> Result<i64, FollowFailure> {
        self.as_follower(leader_epoch, now_ms, |log| {
            let own_end = match log.end_offset_for_epoch(epoch) {
                // Both know the epoch: they agree up to where the shorter one ends it.
                Some((known, end)) if known == epoch => end.min(end_offset),
                // Only the leader does: back to the end of the last epoch before it, which both may know.
                Some((_, end)) if !planted::is(Bug::TruncateWithoutOwnEpochs) => end,
                Some(_) | None => end_offset,
            };
            self.cut(log, own_end, "its leader's log parts from it there", now_ms)
        })
    }

    /// As [`Partition::truncate_to_divergence`], unless the follower is elsewhere by now than where it asked: then the
    /// answer says nothing of what it has.
    ///
    /// # Errors
    /// See [`FollowFailure`].
    pub fn truncate_if_at(
        &self,
        asked: &FollowerPosition,
        diverging: (i32, i64),
        now_ms: i64,
    ) -> Result<i64, FollowFailure> {
        if self.follower_position(now_ms).map_err(FollowFailure::Unavailable)? != Some(*asked) {
            return Err(FollowFailure::Stale);
        }
        self.truncate_to_divergence(asked.leader_epoch, diverging, now_ms)
    }

    /// Cuts the log or begins it anew after the leader has answered `OFFSET_OUT_OF_RANGE`, by the bounds of the leader's
    /// log. Answers where the log ends now.
    ///
    /// # Errors
    /// See [`FollowFailure`].
    pub fn move_into_range(
        &self,
        leader_epoch: i32,
        (leader_start, leader_end): (i64, i64),
        now_ms: i64,
    ) -> Result<i64, FollowFailure> {
        self.as_follower(leader_epoch, now_ms, |log| {
            let end = log.log_end_offset();
            if leader_end < end {
                return self.cut(log, leader_end, "its leader's log ends there", now_ms);
            }
            if leader_start > end {
                tracing::info!(
                    topic = %self.topic, partition = self.index, end, leader_start,
                    "the log begins anew where its leader's does"
                );
                log.truncate_fully_and_start_at(leader_start, now_ms).map_err(FollowFailure::Log)?;
            }
            Ok(log.log_end_offset())
        })
    }

    fn cut(&self, log: &mut Log, offset: i64, reason: &str, now_ms: i64) -> Result<i64, FollowFailure> {
        let (before, high_watermark) = (log.log_end_offset(), log.high_watermark());
        if offset < high_watermark {
            // Only after an election of a leader that was not in sync. What is lost here was acknowledged.
            tracing::warn!(
                topic = %self.topic, partition = self.index, offset, high_watermark,
                "the log is cut below its high watermark: its leader does not have what was replicated"
            );
        }
        let end = log.truncate_to(offset, now_ms).map_err(FollowFailure::Log)?;
        if end < before {
            tracing::info!(topic = %self.topic, partition = self.index, from = before, to = end, reason, "the log is cut");
        }
        Ok(end)
    }
}

/// The whole batches at the beginning of `records`, up to the first of a later epoch than `leader_epoch`: such a one was
/// read by the leader after it had been elected anew, of which this follower does not know yet (KAFKA-18723).
fn whole_batches(records: &[u8], leader_epoch: i32) -> &[u8] {
    let mut end = 0_usize;
    for batch in BatchIter::new(records) {
        // What cannot be read as a batch is for the append to refuse.
        let Ok(batch) = batch else {
            return if is_cut_off(records.get(end..).unwrap_or_default()) {
                records.get(..end).unwrap_or_default()
            } else {
                records
            };
        };
        if batch.header().partition_leader_epoch > leader_epoch {
            break;
        }
        end = end.saturating_add(batch.header().total_len());
    }
    records.get(..end).unwrap_or_default()
}

/// Whether a batch begins here whose declared length goes beyond the bytes that are there.
fn is_cut_off(rest: &[u8]) -> bool {
    const LENGTH_AT: std::ops::Range<usize> = 8..12;
    const OVERHEAD: usize = 12;
    match rest.get(LENGTH_AT).and_then(|bytes| <[u8; 4]>::try_from(bytes).ok()) {
        Some(length) => {
            usize::try_from(i32::from_be_bytes(length)).is_ok_and(|length| length.saturating_add(OVERHEAD) > rest.len())
        }
        None => true,
    }
}
