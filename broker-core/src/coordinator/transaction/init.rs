//! InitProducerId: who takes a transactional id, and who is fenced by that.

use rkafka_protocol::ErrorCode;

use super::entry::{NO_EPOCH, ProducerIdentity, Transaction};
use super::shard::{Decision, TransactionShard};
use super::state::TransactionState;
use crate::coordinator::Moment;

/// What a producer asks for.
#[derive(Debug, Clone, Copy)]
pub struct InitRequest<'a> {
    /// The transactional id.
    pub transactional_id: &'a str,
    /// How long its transactions may take.
    pub timeout_ms: i32,
    /// Who the producer believes to be, where it goes on after an error (KIP-360).
    pub expected: Option<ProducerIdentity>,
}

impl TransactionShard {
    /// Decides who gets a transactional id. `new_producer_id` is asked for an id that nobody has had, where one is
    /// needed.
    ///
    /// An open transaction is aborted, and the answer is `CONCURRENT_TRANSACTIONS` then: the producer asks again.
    ///
    /// # Errors
    /// `INVALID_REQUEST` for an empty id, `INVALID_TRANSACTION_TIMEOUT`, `PRODUCER_FENCED`, `CONCURRENT_TRANSACTIONS`
    /// while markers are being written, and what `new_producer_id` answers.
    pub fn decide_init(
        &self,
        now: Moment,
        request: &InitRequest<'_>,
        server_version: i16,
        new_producer_id: &mut dyn FnMut() -> Result<i64, ErrorCode>,
    ) -> Result<Decision<Result<ProducerIdentity, ErrorCode>>, ErrorCode> {
        let transactional_id = request.transactional_id;
        if transactional_id.is_empty() {
            return Err(ErrorCode::InvalidRequest);
        }
        if request.timeout_ms <= 0 || i64::from(request.timeout_ms) > self.settings.timeout_ms_max {
            return Err(ErrorCode::InvalidTransactionTimeout);
        }
        let current = match self.transaction(transactional_id) {
            Some(known) => known.clone(),
            None => Transaction::unborn(new_producer_id()?, request.timeout_ms, now.date_ms),
        };
        if request.expected.is_some_and(|expected| !may_go_on(&current, expected)) {
            return Err(ErrorCode::ProducerFenced);
        }
        match current.state {
            TransactionState::PrepareCommit | TransactionState::PrepareAbort => Err(ErrorCode::ConcurrentTransactions),
            TransactionState::Ongoing => {
                // The higher epoch fences the producer whose transaction it is. It is given to that one alone, where it
                // asks before another producer has taken the id (KIP-588).
                let fenced = current.fenced(server_version, now.date_ms)?;
                let step = Self::step(transactional_id, &fenced, Some(current.producer_epoch), server_version)?;
                Ok(Decision { step: Some(step), reply: Err(ErrorCode::ConcurrentTransactions) })
            }
            TransactionState::Empty | TransactionState::CompleteCommit | TransactionState::CompleteAbort => {
                let last_epoch = self.last_epoch(transactional_id);
                let (producer, last_epoch) = next_producer(&current, last_epoch, request, new_producer_id)?;
                let next = current.initialized(producer, request.timeout_ms, now.date_ms)?;
                let step = Self::step(transactional_id, &next, Some(last_epoch), server_version)?;
                Ok(Decision { step: Some(step), reply: Ok(producer) })
            }
            TransactionState::Dead | TransactionState::PrepareEpochFence => Err(ErrorCode::UnknownServerError),
        }
    }
}

/// Whether a producer that names itself may be the one that has the id: it is, or nobody had the id before, or it asks
/// again for what came after its last epoch.
fn may_go_on(current: &Transaction, expected: ProducerIdentity) -> bool {
    current.producer_epoch == NO_EPOCH
        || expected.id == current.producer_id
        || (expected.id == current.previous_producer_id && expected.is_exhausted())
}

/// The producer that gets the id, and the epoch to be remembered as the one before it.
fn next_producer(
    current: &Transaction,
    last_epoch: i16,
    request: &InitRequest<'_>,
    new_producer_id: &mut dyn FnMut() -> Result<i64, ErrorCode>,
) -> Result<(ProducerIdentity, i16), ErrorCode> {
    let producer = current.producer();
    let is_current = |expected: ProducerIdentity| producer.epoch == NO_EPOCH || expected.epoch == producer.epoch;
    let remembered = match request.expected {
        // A new producer: whoever had the id before cannot ask again.
        None => NO_EPOCH,
        Some(expected) if is_current(expected) => producer.epoch,
        // It has had the answer to this question, and did not get it; or its transaction was ended by the next epoch.
        Some(expected) if expected.epoch == last_epoch && !producer.is_exhausted() => {
            return Ok((producer, last_epoch));
        }
        // The epoch that ended it is the last one, in which nobody may write: no marker could come after.
        Some(expected) if expected.epoch == last_epoch => last_epoch,
        Some(_) => return Err(ErrorCode::ProducerFenced),
    };
    if producer.is_exhausted() {
        return Ok((ProducerIdentity { id: new_producer_id()?, epoch: 0 }, remembered));
    }
    Ok((ProducerIdentity { epoch: producer.epoch.saturating_add(1), ..producer }, remembered))
}
