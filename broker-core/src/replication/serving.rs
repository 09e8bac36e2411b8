//! A leader's side of replication: what a follower is given to read, and what its fetch tells.

use bytes::Bytes;
use rkafka_protocol::ErrorCode;

use super::leader::{FollowerFetch, IsrProposal};
use super::outcome::{PartitionRead, ReadFailure};
use super::partition::Partition;
use crate::log::LogError;

/// What a follower asks for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FollowerAsk {
    pub fetch: FollowerFetch,
    /// The epoch of its last record, -1 where it has none.
    pub last_fetched_epoch: i32,
    pub max_bytes: usize,
    pub min_one_batch: bool,
}

/// What a follower is answered.
#[derive(Debug)]
pub(crate) struct FollowerRead {
    pub read: PartitionRead,
    /// Where its log parts from this one, as an epoch and its end here; there are no records then.
    pub diverging: Option<(i32, i64)>,
    /// What the controller is to be asked for because of this fetch.
    pub proposal: Option<IsrProposal>,
}

impl Partition {
    /// Reads for a follower, to the end of the log, and takes note of how far the follower is. `is_eligible` says whether
    /// the controller would have a broker with an epoch in sync.
    ///
    /// # Errors
    /// `NOT_LEADER_OR_FOLLOWER`; `UNKNOWN_LEADER_EPOCH` for a broker that is no replica; `OFFSET_OUT_OF_RANGE`,
    /// `KAFKA_STORAGE_ERROR`.
    pub fn read_for_follower(
        &self,
        ask: &FollowerAsk,
        is_eligible: impl Fn(i32, i64) -> bool,
    ) -> Result<FollowerRead, ReadFailure> {
        let epoch = self.led_epoch().map_err(ReadFailure::new)?;
        let FollowerFetch { offset, now_ms, replica, .. } = ask.fetch;
        let is_replica = {
            // The log is opened, so that the book knows where the epoch began.
            self.with_log(now_ms, |_| ()).map_err(ReadFailure::new)?;
            self.with_book_read(|book| book.has_follower(replica))
        };
        if is_replica != Some(true) {
            return Err(ReadFailure::new(ErrorCode::UnknownLeaderEpoch));
        }
        if ask.last_fetched_epoch >= 0
            && let Some(diverging) = self.divergence(ask.last_fetched_epoch, offset, now_ms)?
        {
            return Ok(FollowerRead { read: self.read_nothing(), diverging: Some(diverging), proposal: None });
        }
        let (records, leader_end) = self.read_to_end(offset, ask.max_bytes, ask.min_one_batch, now_ms)?;
        let told = self.with_book(|book, log| {
            if book.leader_epoch() != epoch {
                return Err(ErrorCode::NotLeaderOrFollower);
            }
            // Against the end as it was read, so that a follower which gets all that is there is caught up by the next
            // fetch at the latest.
            let has_new_start = book.on_fetch(&ask.fetch, leader_end, &is_eligible)?;
            Ok((book.propose_expansion(replica, log.high_watermark()), has_new_start))
        });
        let (proposal, has_new_start) =
            told.unwrap_or(Err(ErrorCode::NotLeaderOrFollower)).map_err(ReadFailure::new)?;
        if has_new_start {
            // A deletion of records may wait for it.
            self.waiters.wake();
        }
        // With what this very fetch has moved.
        Ok(FollowerRead { read: PartitionRead { records, ..self.read_nothing() }, diverging: None, proposal })
    }

    fn read_to_end(
        &self,
        offset: i64,
        max_bytes: usize,
        min_one_batch: bool,
        now_ms: i64,
    ) -> Result<(Bytes, i64), ReadFailure> {
        let read = self.with_log(now_ms, |log| {
            let end = log.log_end_offset();
            log.read(offset, max_bytes, end, min_one_batch).map(|read| (read.records, end)).map_err(|error| {
                if !matches!(error, LogError::OffsetOutOfRange { .. }) {
                    tracing::error!(topic = %self.topic, partition = self.index, offset, %error, "cannot read");
                }
                ReadFailure {
                    error: ErrorCode::from_code(error.kafka_error_code()),
                    high_watermark: log.high_watermark(),
                    last_stable_offset: log.last_stable_offset(),
                    log_start_offset: log.log_start_offset(),
                }
            })
        });
        read.unwrap_or_else(|error| Err(ReadFailure::new(error)))
    }

    /// Where the present epoch began, if that lies beyond the high watermark: offsets are not to be told before the high
    /// watermark has come there, for an earlier leader may have told greater ones (KIP-207).
    pub fn is_behind_its_epoch(&self) -> bool {
        if !self.is_replicated() {
            return false;
        }
        let (high_watermark, _) = self.bounds();
        self.with_book_read(|book| book.epoch_start().is_none_or(|start| start > high_watermark)).unwrap_or(false)
    }

    /// The lowest start of all living replicas' logs; `None` where this broker does not lead.
    pub fn low_watermark(&self, is_alive: impl Fn(i32) -> bool) -> Option<i64> {
        let (_, own_start) = self.bounds();
        self.with_book_read(|book| book.low_watermark(own_start, is_alive))
    }

    /// Waits until the logs of all living replicas begin at `offset` or behind it. Without followers that is so once the
    /// leader's does.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// As [`Partition::committed`].
    pub async fn deleted_below(
        &self,
        leader_epoch: i32,
        offset: i64,
        is_alive: impl Fn(i32) -> bool,
    ) -> Result<(), ErrorCode> {
        let is_done = || self.low_watermark(&is_alive).is_some_and(|start| start >= offset);
        self.wait_until(leader_epoch, is_done).await
    }
}
