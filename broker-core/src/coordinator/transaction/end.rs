//! EndTxn: how a transaction ends, and what an EndTxn is told that comes twice, too early or too late.

use rkafka_protocol::ErrorCode;

use super::entry::{NO_PRODUCER_ID, ProducerIdentity, Transaction};
use super::shard::{Decision, TransactionShard};
use super::state::TransactionState::{
    self, CompleteAbort, CompleteCommit, Dead, Empty, Ongoing, PrepareAbort, PrepareCommit, PrepareEpochFence,
};
use crate::coordinator::Moment;

impl TransactionShard {
    /// Decides the end of a transaction. With a client of version 2 the epoch goes up, and the answer says who the
    /// producer is from then on; with older ones it stays.
    ///
    /// # Errors
    /// `INVALID_REQUEST` for an empty id, `INVALID_PRODUCER_ID_MAPPING`, `PRODUCER_FENCED`, `INVALID_TXN_STATE` where
    /// there is nothing to end or it was decided otherwise, `CONCURRENT_TRANSACTIONS` while markers are being written,
    /// and what `new_producer_id` answers.
    #[expect(clippy::too_many_arguments, reason = "a request's fields and what the machine may not know by itself")]
    pub fn decide_end(
        &self,
        now: Moment,
        transactional_id: &str,
        producer: ProducerIdentity,
        commit: bool,
        client_version: i16,
        server_version: i16,
        new_producer_id: &mut dyn FnMut() -> Result<i64, ErrorCode>,
    ) -> Result<Decision<ProducerIdentity>, ErrorCode> {
        if transactional_id.is_empty() {
            return Err(ErrorCode::InvalidRequest);
        }
        let current = self.transaction(transactional_id).ok_or(ErrorCode::InvalidProducerIdMapping)?;
        let bumps_epoch = client_version >= 2;
        let verdict =
            if bumps_epoch { judge(current, producer, commit)? } else { judge_v1(current, producer, commit)? };
        if verdict == Verdict::AlreadyDone {
            return Ok(Decision { step: None, reply: current.producer() });
        }
        let next_producer_id = if bumps_epoch && producer.is_exhausted() { new_producer_id()? } else { NO_PRODUCER_ID };
        let next = current.ending(commit, client_version, next_producer_id, now.date_ms)?;
        let last_epoch = bumps_epoch.then_some(producer.epoch);
        let step = Self::step(transactional_id, &next, last_epoch, server_version)?;
        Ok(Decision { step: Some(step), reply: next.producer_after_end() })
    }

    /// Decides to abort a transaction that has taken too long, and fences its producer, which may ask for the next epoch
    /// and go on (KIP-588); `None` where it is over.
    ///
    /// # Errors
    /// `UNKNOWN_SERVER_ERROR` where it cannot be written in Kafka's format.
    pub fn decide_timeout(
        &self,
        now: Moment,
        transactional_id: &str,
        server_version: i16,
    ) -> Result<Option<super::Step>, ErrorCode> {
        let Some(current) = self.transaction(transactional_id).filter(|current| current.state == Ongoing) else {
            return Ok(None);
        };
        let fenced = current.fenced(server_version, now.date_ms)?;
        Self::step(transactional_id, &fenced, Some(current.producer_epoch), server_version).map(Some)
    }

    /// Tries a timeout again later whose step could not be written.
    pub fn postpone_timeout(&mut self, now: Moment, transactional_id: &str) {
        self.set_timeout(transactional_id, Some(now.monotonic_ms.saturating_add(super::shard::RETRY_MS)));
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// The transaction is to end.
    End,
    /// It has ended, just so; the request came twice.
    AlreadyDone,
}

/// The rules of version 1, where a producer keeps its epoch, so that a request that comes twice looks as it did the
/// first time.
fn judge_v1(current: &Transaction, producer: ProducerIdentity, commit: bool) -> Result<Verdict, ErrorCode> {
    if current.producer_id != producer.id {
        return Err(ErrorCode::InvalidProducerIdMapping);
    }
    if current.producer_epoch != producer.epoch {
        return Err(ErrorCode::ProducerFenced);
    }
    match current.state {
        Ongoing => Ok(Verdict::End),
        CompleteCommit | CompleteAbort if (current.state == CompleteCommit) == commit => Ok(Verdict::AlreadyDone),
        PrepareCommit | PrepareAbort if (current.state == PrepareCommit) == commit => {
            Err(ErrorCode::ConcurrentTransactions)
        }
        CompleteCommit | CompleteAbort | PrepareCommit | PrepareAbort | Empty => wrong_end(current.state, commit),
        Dead | PrepareEpochFence => Err(ErrorCode::UnknownServerError),
    }
}

/// The rules of version 2, where the epoch goes up with each end: a request with the epoch before is one that came
/// twice, and one with the present epoch is about the next transaction. That one may be aborted before anything is in
/// it, for the producer does not know what of its requests arrived; it cannot be committed.
fn judge(current: &Transaction, producer: ProducerIdentity, commit: bool) -> Result<Verdict, ErrorCode> {
    let is_current = producer.epoch == current.producer_epoch;
    let is_epoch_before = producer.epoch.checked_add(1) == Some(current.producer_epoch);
    let is_id_before =
        current.previous_producer_id == producer.id && producer.epoch == i16::MAX - 1 && current.producer_epoch == 0;
    if current.producer_id != producer.id && !is_id_before {
        return Err(ErrorCode::InvalidProducerIdMapping);
    }
    let is_retry = is_epoch_before || is_id_before;
    let is_known = match current.state {
        Ongoing | Empty | Dead | PrepareEpochFence => is_current,
        PrepareCommit | PrepareAbort => is_epoch_before,
        CompleteCommit | CompleteAbort => is_retry || is_current,
    };
    if !is_known {
        return Err(ErrorCode::ProducerFenced);
    }
    match current.state {
        Ongoing => Ok(Verdict::End),
        CompleteCommit | CompleteAbort if is_retry && (current.state == CompleteCommit) == commit => {
            Ok(Verdict::AlreadyDone)
        }
        CompleteCommit | CompleteAbort if !is_retry && !commit => Ok(Verdict::End),
        Empty if !commit => Ok(Verdict::End),
        PrepareCommit | PrepareAbort if (current.state == PrepareCommit) == commit => {
            Err(ErrorCode::ConcurrentTransactions)
        }
        CompleteCommit | CompleteAbort | PrepareCommit | PrepareAbort | Empty => wrong_end(current.state, commit),
        Dead | PrepareEpochFence => Err(ErrorCode::UnknownServerError),
    }
}

fn wrong_end(state: TransactionState, commit: bool) -> Result<Verdict, ErrorCode> {
    tracing::debug!(state = state.name(), commit, "a transaction cannot end so");
    Err(ErrorCode::InvalidTxnState)
}
