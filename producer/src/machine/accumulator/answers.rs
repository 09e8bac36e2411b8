//! What the answer to a batch means for its queue.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rkafka_protocol::ErrorCode;

use super::{Answer, Outstanding, PartitionQueue, Resolutions};
use crate::ProducerError;
use crate::delivery::Outcome;
use crate::machine::batch::{Load, RawBatch};

impl PartitionQueue {
    /// Takes what became of the batch `id`. `pause` is how long to wait before a retry.
    pub(crate) fn complete(
        &mut self,
        now: Instant,
        id: u64,
        answer: Answer,
        pause: Duration,
        resolved: &mut Resolutions,
    ) {
        // Not found: it was given up when the producer was closed.
        let under_way = |batch: &Outstanding| batch.id == id && batch.waiting.is_none();
        let Some(at) = self.outstanding.iter().position(under_way) else { return };
        self.under_way = self.under_way.saturating_sub(1);
        let transactional = self.limits.transaction.is_some();
        if let Some(batch) = self.outstanding.get_mut(at) {
            batch.was_sent |= !matches!(answer, Answer::Unsent { .. });
        }
        match answer {
            Answer::Written { base_offset, log_append_time } => {
                let stamp = self.outstanding.get(at).and_then(|batch| batch.stamp);
                self.sequence.confirm(stamp);
                self.finish(at, Outcome::Written { base_offset, log_append_time }, resolved);
            }
            Answer::Refused { code: ErrorCode::DuplicateSequenceNumber, .. } if self.limits.idempotent => {
                self.finish(at, Outcome::Written { base_offset: -1, log_append_time: -1 }, resolved);
            }
            Answer::Refused { code, load, detail }
                if self.limits.idempotent
                    && is_sequence_error(code)
                    && !(transactional && is_end_of_epoch(at, code)) =>
            {
                self.out_of_sequence(now, at, code, load, detail, pause);
            }
            Answer::Refused { code, detail, load } => {
                let Some(batch) = self.outstanding.get_mut(at) else { return };
                batch.suspect(may_be_written_in_spite_of(code));
                batch.detail = Some(detail.clone().unwrap_or_else(|| code.name().into()));
                if code.is_retriable() && batch.attempts <= self.limits.retries && !batch.is_over(transactional) {
                    batch.waiting = Some(load);
                    self.retry_at = Some(now + pause);
                } else {
                    let (topic, partition, maybe_written) =
                        (self.topic.clone(), self.partition, batch.receipt.maybe_written);
                    self.fail(at, ProducerError::Refused { topic, partition, code, detail, maybe_written }, resolved);
                }
            }
            Answer::Lost { sent, detail, load } => {
                let Some(batch) = self.outstanding.get_mut(at) else { return };
                batch.suspect(sent);
                batch.detail = Some(detail.clone());
                if batch.attempts <= self.limits.retries && !batch.is_over(transactional) {
                    batch.waiting = Some(load);
                    self.retry_at = Some(now + pause);
                } else {
                    let (topic, partition, maybe_written) =
                        (self.topic.clone(), self.partition, batch.receipt.maybe_written);
                    self.fail(at, ProducerError::Disconnected { topic, partition, detail, maybe_written }, resolved);
                }
            }
            Answer::Unsent { load } => {
                let Some(batch) = self.outstanding.get_mut(at) else { return };
                batch.attempts = batch.attempts.saturating_sub(1);
                batch.waiting = Some(load);
            }
            Answer::Split(halves) => {
                let uncertain = self.outstanding.get(at).is_some_and(|batch| batch.uncertain);
                if uncertain {
                    // It may be in the log from before the limit was what it is, and its halves would be there twice.
                    let (topic, partition, maybe_written) = (self.topic.clone(), self.partition, true);
                    let code = ErrorCode::MessageTooLarge;
                    let error = ProducerError::Refused { topic, partition, code, detail: None, maybe_written };
                    self.fail(at, error, resolved);
                } else {
                    self.split(at, halves);
                }
            }
            Answer::Unsendable { detail } => {
                let (topic, partition) = (self.topic.clone(), self.partition);
                self.fail(at, ProducerError::Encode { topic, partition, detail }, resolved);
            }
        }
    }

    /// The broker's sequence is another: what it refused so is not in its log. Where an older batch is unresolved that
    /// is why, and this one waits for it; else there is a gap that only a new epoch closes.
    fn out_of_sequence(
        &mut self,
        now: Instant,
        at: usize,
        code: ErrorCode,
        load: Load,
        detail: Option<Arc<str>>,
        pause: Duration,
    ) {
        let Some(batch) = self.outstanding.get_mut(at) else { return };
        batch.uncertain = false;
        batch.detail = Some(detail.unwrap_or_else(|| code.name().into()));
        batch.waiting = Some(load);
        if code == ErrorCode::InvalidProducerEpoch {
            self.sequence.discard_identity();
            self.retry_at = Some(now + pause);
        } else if at == 0 {
            self.sequence.break_off();
            self.retry_at = Some(now + pause);
        }
    }

    fn finish(&mut self, at: usize, outcome: Outcome, resolved: &mut Resolutions) {
        if let Some(batch) = self.outstanding.remove(at) {
            self.tell(batch.receipt, outcome, resolved);
        }
    }

    /// Gives the batch up. The sequence numbers that it had are missing from now on.
    pub(super) fn fail(&mut self, at: usize, error: ProducerError, resolved: &mut Resolutions) {
        self.finish(at, Outcome::Failed(error), resolved);
        self.sequence.break_off();
    }

    /// Puts two halves in the place of a batch. They share its sequence numbers, as in Java, so that what is behind them
    /// still fits: the batch is not in the log, and nothing that was sent after it under its epoch can be.
    ///
    /// There is one more batch then than was sent for the first time within the window. What is behind counts as one
    /// later, so that [`PartitionQueue::send_next`] sends none but the oldest until the window holds all of them again.
    fn split(&mut self, at: usize, halves: [RawBatch; 2]) {
        let Some(whole) = self.outstanding.remove(at) else { return };
        let mut receipt = whole.receipt;
        let [front, back] = halves;
        let front_count = front.builder.record_count();
        let front_receipt = receipt.split_off_front(front_count);
        let back_count = whole.count.saturating_sub(front_count);
        let back_stamp = whole.stamp.map(|stamp| stamp.after(front_count));
        for batch in self.outstanding.iter_mut().skip(at) {
            batch.ordinal += 1;
        }
        self.sent += 1;
        let halves = [(front, front_receipt, whole.stamp, front_count), (back, receipt, back_stamp, back_count)];
        for (offset, (load, receipt, stamp, count)) in (0..).zip(halves) {
            let id = self.fresh_id();
            self.outstanding.insert(
                at + offset,
                Outstanding {
                    id,
                    ordinal: whole.ordinal + offset as u64,
                    stamp,
                    count,
                    created: whole.created,
                    attempts: whole.attempts,
                    first: None,
                    was_sent: false,
                    receipt,
                    uncertain: false,
                    waiting: Some(Load::Raw(Box::new(load))),
                    detail: None,
                },
            );
        }
    }
}

/// The broker's sequence or epoch for this producer is not the batch's.
fn is_sequence_error(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::OutOfOrderSequenceNumber | ErrorCode::UnknownProducerId | ErrorCode::InvalidProducerEpoch)
}

/// Whether only another epoch helps, which in a transaction is the whole producer's: the batch fails, and with it the
/// transaction. What is only behind an older batch waits for that.
fn is_end_of_epoch(at: usize, code: ErrorCode) -> bool {
    at == 0 || code != ErrorCode::OutOfOrderSequenceNumber
}

/// Whether a batch may be in the log although the broker answered with `code`. A leader that is deposed while it waits
/// for its followers answers NOT_LEADER_OR_FOLLOWER, and the batch may have reached the next leader.
fn may_be_written_in_spite_of(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::UnknownServerError)
        || code.is_retriable()
            && !matches!(
                code,
                ErrorCode::NotEnoughReplicas
                    | ErrorCode::CorruptMessage
                    | ErrorCode::LeaderNotAvailable
                    | ErrorCode::ConcurrentTransactions
            )
}
