//! How batches end without an answer: by time, by the end of a transaction, with the producer.

use std::sync::Arc;
use std::time::Instant;

use super::{ClosedBatch, Outstanding, PartitionQueue, Resolutions};
use crate::ProducerError;
use crate::delivery::Outcome;

impl PartitionQueue {
    /// Fails what took longer than `delivery.timeout.ms`. Of what is under way the application is told at once, as in
    /// Java; the batch keeps its place until its answer comes, which the request timeout bounds, for what comes behind
    /// it must not overtake it. `trouble` is why nothing was sent, where the batch itself does not know.
    pub(crate) fn expire(&mut self, now: Instant, trouble: Option<&Arc<str>>, resolved: &mut Resolutions) {
        let timeout = self.limits.delivery_timeout;
        let expired = |created: Instant| created + timeout <= now;
        let mut at = 0;
        while let Some(batch) = self.outstanding.get(at) {
            if batch.waiting.is_some() && expired(batch.created) {
                let error =
                    self.timeout_error(batch.receipt.maybe_written, batch.detail.clone().or_else(|| trouble.cloned()));
                self.fail(at, error, resolved);
                continue;
            }
            if expired(batch.created) && !batch.receipt.is_told() {
                let error = self.timeout_error(true, batch.detail.clone());
                if let Some(batch) = self.outstanding.get_mut(at) {
                    batch.receipt.maybe_written = true;
                    let receipt = batch.receipt.split_off_front(u32::MAX);
                    self.tell(receipt, Outcome::Failed(error), resolved);
                }
            }
            at += 1;
        }
        if self.open.as_ref().is_some_and(|open| expired(open.created)) {
            self.close_open(now);
        }
        let detail = self.outstanding.front().and_then(|batch| batch.detail.clone()).or_else(|| trouble.cloned());
        while self.ready.front().is_some_and(|batch| expired(batch.created)) {
            if let Some(batch) = self.ready.pop_front() {
                let error = self.timeout_error(false, detail.clone());
                self.tell(batch.receipt, Outcome::Failed(error), resolved);
            }
        }
    }

    fn timeout_error(&self, maybe_written: bool, detail: Option<Arc<str>>) -> ProducerError {
        let (topic, partition, timeout) = (self.topic.clone(), self.partition, self.limits.delivery_timeout);
        ProducerError::DeliveryTimeout { topic, partition, timeout, maybe_written, detail }
    }

    /// Takes the oldest batch that was never sent.
    fn next_unsent(&mut self) -> Option<ClosedBatch> {
        self.ready.pop_front().or_else(|| self.open.take().map(ClosedBatch::from))
    }

    /// Gives up everything. Answers that come later find nothing.
    pub(crate) fn abandon(&mut self, resolved: &mut Resolutions) {
        self.under_way = 0;
        let closed = |maybe_written| Outcome::Failed(ProducerError::Closed { maybe_written });
        while let Some(batch) = self.outstanding.pop_front() {
            let outcome = closed(batch.receipt.maybe_written || batch.waiting.is_none());
            self.tell(batch.receipt, outcome, resolved);
        }
        while let Some(batch) = self.next_unsent() {
            self.tell(batch.receipt, closed(false), resolved);
        }
    }

    /// When the oldest batch reaches `delivery.timeout.ms`.
    pub(crate) fn expires_at(&self) -> Option<Instant> {
        let untold = |batch: &&Outstanding| batch.waiting.is_some() || !batch.receipt.is_told();
        let waiting = self.outstanding.iter().filter(untold).map(|batch| batch.created);
        let ready = self.ready.iter().map(|batch| batch.created);
        let open = self.open.iter().map(|open| open.created);
        waiting.chain(ready).chain(open).min().map(|created| created + self.limits.delivery_timeout)
    }

    /// Fails what was not sent and what waits to be sent again, for the transaction is aborted. Says whether sequence
    /// numbers are missing now.
    pub(crate) fn drop_unsent(&mut self, reason: Option<&Arc<str>>, resolved: &mut Resolutions) -> bool {
        let aborted = |maybe_written| {
            Outcome::Failed(ProducerError::TransactionAborted { reason: reason.cloned(), maybe_written })
        };
        while let Some(batch) = self.next_unsent() {
            self.tell(batch.receipt, aborted(false), resolved);
        }
        let mut has_gap = false;
        while let Some(at) = self.outstanding.iter().position(|batch| batch.waiting.is_some()) {
            if let Some(batch) = self.outstanding.remove(at) {
                let outcome = aborted(batch.receipt.maybe_written);
                self.tell(batch.receipt, outcome, resolved);
            }
            has_gap = true;
        }
        if has_gap {
            self.sequence.break_off();
        }
        has_gap
    }
}

impl Drop for PartitionQueue {
    /// The runtime ends with batches under way: their receipts must not claim that nothing was written.
    fn drop(&mut self) {
        for batch in self.outstanding.iter_mut().filter(|batch| batch.waiting.is_none()) {
            batch.receipt.maybe_written = true;
        }
        if let Some(open) = self.open.take() {
            drop(ClosedBatch::from(open));
        }
    }
}
