//! The queue of one partition: from the record that is appended to the batch that is acknowledged.
//!
//! ```text
//! append -> open -> ready -> outstanding: under way <-> waiting -> resolved
//! ```
//!
//! **Invariant:** batches are sent for the first time in the order of their records, and what waits for a retry goes
//! before what was never sent.
//! **Invariant:** from the oldest unresolved batch on, at most `window` batches were ever sent, counting those that
//! were acknowledged since. The broker knows the last five batches of a producer again, so that with a window of five
//! every batch whose fate is unknown is among them.
//! **Invariant:** a batch that may be in the log is never stamped anew (`sequence` says why).

mod answers;
mod append;
mod end;

pub(crate) use append::AppendError;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use rkafka_protocol::ErrorCode;

use super::batch::{ClosedBatch, Load, OpenBatch, RawBatch};
use super::fill::Fill;
use super::sequence::{PartitionSequence, ProducerIdentity, Stamp};
use super::transaction::Admission;
use crate::delivery::{BatchState, Outcome, Receipt};

/// What the settings say to every queue.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    /// `batch.size`, in bytes: what a batch may take on the wire, and at least before compression.
    pub(crate) batch_size: usize,
    /// `max.request.size`, in bytes: no record may be larger.
    pub(crate) record_size_max: usize,
    /// `linger.ms`.
    pub(crate) linger: Duration,
    /// `delivery.timeout.ms`.
    pub(crate) delivery_timeout: Duration,
    /// `max.in.flight.requests.per.connection`.
    pub(crate) window: u64,
    /// `retries`.
    pub(crate) retries: u32,
    /// Whether batches carry sequence numbers.
    pub(crate) idempotent: bool,
    /// Which transaction may send at present, or 0; of a transactional producer.
    pub(crate) transaction: Option<Arc<AtomicU64>>,
}

/// The queue of one partition.
pub(crate) struct PartitionQueue {
    topic: Arc<str>,
    partition: i32,
    limits: Arc<Limits>,
    /// How full a batch may become; the topic's.
    fill: Arc<Fill>,
    open: Option<OpenBatch>,
    ready: VecDeque<ClosedBatch>,
    outstanding: VecDeque<Outstanding>,
    sequence: PartitionSequence,
    /// How many batches were sent for the first time, under the present identity.
    sent: u64,
    next_id: u64,
    /// The connection that the batches under way are on, and how many they are.
    route: u64,
    under_way: usize,
    /// Nothing is sent before: the pause after an error.
    retry_at: Option<Instant>,
    /// How large the last batches became: the next begins in a buffer for it.
    expected: usize,
    /// Bytes that the sticky partitioner put here since it came here last.
    sticky_bytes: usize,
    /// The last transaction that the partition became part of.
    admission: Option<Admission>,
    /// What left the queue, each as its state and its last record, of which somebody may not be told yet.
    leaving: VecDeque<(Weak<BatchState>, u32)>,
}

/// A batch that was sent once at least.
struct Outstanding {
    id: u64,
    ordinal: u64,
    stamp: Option<Stamp>,
    count: u32,
    created: Instant,
    attempts: u32,
    /// For the metrics of its first attempt: when it was ready to be sent, and the size of its largest record, in bytes.
    /// `None` for half of a batch that was too large, whose records were counted with the whole.
    first: Option<(Instant, usize)>,
    /// Whether a request with it was made. One that did not fit into the request that it was taken for was not sent.
    was_sent: bool,
    receipt: Receipt,
    /// Whether it may be in the log, so that its stamp must stay. The receipt remembers for longer: what a broker's
    /// sequence check has ruled out may still come to the log by a request that hangs somewhere.
    uncertain: bool,
    /// The bytes, where it waits to be sent again; `None` while it is under way.
    waiting: Option<Load>,
    detail: Option<Arc<str>>,
}

impl Outstanding {
    fn suspect(&mut self, maybe_written: bool) {
        self.uncertain |= maybe_written;
        self.receipt.maybe_written |= maybe_written;
    }

    /// Whether the application was told already that it failed, which ended the transaction: it is not sent again.
    fn is_over(&self, transactional: bool) -> bool {
        transactional && self.receipt.is_told()
    }
}

/// A batch to send.
pub(crate) struct Outgoing {
    pub(crate) id: u64,
    pub(crate) stamp: Option<Stamp>,
    pub(crate) load: Load,
    pub(crate) journey: Journey,
    /// Whether it was sent before. A batch that is new though its records were sent is half of one that was too large.
    pub(crate) is_retry: bool,
}

/// How a batch came to be sent, for the metrics.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Journey {
    pub(crate) count: u32,
    /// When its first record was accepted.
    pub(crate) created: Instant,
    /// Where it is sent for the first time: when it was ready to be, and the size of its largest record, in bytes.
    pub(crate) first: Option<(Instant, usize)>,
}

/// What [`PartitionQueue::next`] says.
pub(crate) enum Next {
    /// This batch goes now.
    Send(Outgoing),
    /// Nothing can go now; [`PartitionQueue::send_at`] says when that changes by time alone.
    Nothing,
    /// A batch could go if there were a producer id other than this one.
    NeedIdentity(Option<i64>),
    /// A batch could go if the partition were part of the transaction.
    NeedAdmission,
}

/// What became of a batch that was under way.
pub(crate) enum Answer {
    /// It is in the log.
    Written { base_offset: i64, log_append_time: i64 },
    /// The broker said no.
    Refused { code: ErrorCode, detail: Option<Arc<str>>, load: Load },
    /// The broker found it too large, and this is what it was split into.
    Split([RawBatch; 2]),
    /// The connection went. `sent` where bytes of it may have reached the broker.
    Lost { sent: bool, detail: Arc<str>, load: Load },
    /// It was not sent: once it was compressed, it did not fit into the request. It is the next to go.
    Unsent { load: Load },
    /// It could not be made ready for the wire, and the same would happen again.
    Unsendable { detail: Arc<str> },
}

/// Receipts with their outcomes, to be resolved when no lock is held any more.
pub(crate) type Resolutions = Vec<(Receipt, Outcome)>;

impl PartitionQueue {
    pub(crate) fn new(topic: Arc<str>, partition: i32, limits: Arc<Limits>, fill: Arc<Fill>) -> Self {
        Self {
            topic,
            partition,
            limits,
            fill,
            open: None,
            ready: VecDeque::new(),
            outstanding: VecDeque::new(),
            sequence: PartitionSequence::default(),
            sent: 0,
            next_id: 0,
            route: 0,
            under_way: 0,
            retry_at: None,
            expected: 0,
            sticky_bytes: 0,
            admission: None,
            leaving: VecDeque::new(),
        }
    }

    /// Whether nothing is to be sent or answered.
    pub(crate) fn is_idle(&self) -> bool {
        self.open.is_none() && self.ready.is_empty() && self.outstanding.is_empty()
    }

    /// How many batches wait to be sent, the open one among them; not those that are under way.
    pub(crate) fn waiting(&self) -> usize {
        let again = self.outstanding.iter().filter(|batch| batch.waiting.is_some()).count();
        again + self.ready.len() + usize::from(self.open.is_some())
    }

    /// Whether a batch could go now, as far as its own pauses say.
    pub(crate) fn has_pressing(&self, now: Instant, hurry: bool) -> bool {
        let again = || self.outstanding.iter().any(|batch| batch.waiting.is_some());
        self.retry_at.is_none_or(|at| at <= now) && (again() || self.has_due(now, hurry))
    }

    /// The batches that are unresolved, or resolved with somebody left to be told; each as its state and its last record:
    /// who waits for these waits for all.
    pub(crate) fn unresolved(&self, into: &mut Vec<(Arc<BatchState>, u32)>) {
        let receipts =
            self.outstanding.iter().map(|batch| &batch.receipt).chain(self.ready.iter().map(|batch| &batch.receipt));
        into.extend(self.leaving.iter().filter_map(|(state, last)| Some((state.upgrade()?, *last))));
        into.extend(receipts.map(|receipt| (receipt.state().clone(), receipt.last_index())));
    }

    /// Hands out a receipt to be resolved when no lock is held any more. Until then the queue remembers it, so that
    /// `flush`, and with it the commit of a transaction, does not overtake the news.
    fn tell(&mut self, receipt: Receipt, outcome: Outcome, resolved: &mut Resolutions) {
        let is_told = |(state, last): &(Weak<BatchState>, u32)| {
            state.upgrade().is_none_or(|state| state.is_settled_already(*last))
        };
        while self.leaving.front().is_some_and(is_told) {
            self.leaving.pop_front();
        }
        self.leaving.push_back((Arc::downgrade(receipt.state()), receipt.last_index()));
        resolved.push((receipt, outcome));
    }

    /// Something changed for the better, such as the leader: an error's pause is over.
    pub(crate) fn retry_now(&mut self) {
        self.retry_at = None;
    }

    /// The next batch for the connection `route`, if one may go. `hurry` ends all lingering.
    pub(crate) fn next(&mut self, now: Instant, route: u64, hurry: bool, offered: Option<ProducerIdentity>) -> Next {
        if self.retry_at.is_some_and(|at| at > now) {
            return Next::Nothing;
        }
        self.retry_at = None;
        // Two connections would not keep the order.
        if self.under_way > 0 && self.route != route {
            return Next::Nothing;
        }
        if let Some(transaction) = &self.limits.transaction {
            let number = transaction.load(Ordering::Acquire);
            return self.next_in_transaction(now, route, hurry, number);
        }
        if self.limits.idempotent && self.sequence.is_broken() {
            if self.under_way > 0 {
                return Next::Nothing;
            }
            // What may be in the log is asked for once more under its old stamp, one at a time.
            if let Some(at) = self.outstanding.iter().position(|batch| batch.uncertain) {
                return self.resend(at, route);
            }
        }
        let fresh = !self.outstanding.iter().any(|batch| batch.waiting.is_some());
        if fresh && !self.has_due(now, hurry) {
            return Next::Nothing;
        }
        if self.limits.idempotent {
            let broken = self.sequence.is_broken();
            if !self.sequence.renew(offered) {
                return Next::NeedIdentity(self.sequence.unusable_id());
            }
            if broken {
                self.restamp();
            }
        }
        self.send_next(now, route)
    }

    /// As [`PartitionQueue::next`], in the transaction `number`. A batch that is in the queue is of the transaction that
    /// may send, for none ends before all of its batches are resolved or dropped.
    fn next_in_transaction(&mut self, now: Instant, route: u64, hurry: bool, number: u64) -> Next {
        let has_work = self.outstanding.iter().any(|batch| batch.waiting.is_some()) || self.has_due(now, hurry);
        if number == 0 || !has_work {
            return Next::Nothing;
        }
        let Some(admission) = self.admission.filter(|admission| admission.number == number) else {
            return Next::NeedAdmission;
        };
        if self.sequence.adopt(admission.identity, self.outstanding.is_empty()) {
            self.send_next(now, route)
        } else {
            Next::Nothing
        }
    }

    /// The partition is part of a transaction.
    pub(crate) fn admit(&mut self, admission: Admission) {
        self.admission = Some(admission);
    }

    /// Sends what waits for a retry, else the next batch, where the window allows it.
    fn send_next(&mut self, now: Instant, route: u64) -> Next {
        let window = if self.limits.idempotent && !self.sequence.is_confirmed() { 1 } else { self.limits.window };
        let window_end = self.outstanding.front().map_or(u64::MAX, |oldest| oldest.ordinal.saturating_add(window));
        if let Some(at) = self.outstanding.iter().position(|batch| batch.waiting.is_some()) {
            // More were sent than the window holds where a batch was split, or the producer id is new.
            let within = at == 0 || self.sent <= window_end;
            return if within { self.resend(at, route) } else { Next::Nothing };
        }
        if self.sent >= window_end {
            return Next::Nothing;
        }
        if self.ready.is_empty() {
            self.close_open(now);
        }
        let Some(batch) = self.ready.pop_front() else { return Next::Nothing };
        let stamp = if self.limits.idempotent { self.sequence.stamp(batch.count) } else { None };
        let id = self.fresh_id();
        let first = Some((batch.ready_at, batch.record_size_max));
        let journey = Journey { count: batch.count, created: batch.created, first };
        self.outstanding.push_back(Outstanding {
            id,
            ordinal: self.sent,
            stamp,
            count: batch.count,
            created: batch.created,
            attempts: 1,
            first,
            was_sent: false,
            receipt: batch.receipt,
            uncertain: false,
            waiting: None,
            detail: None,
        });
        self.sent += 1;
        self.route = route;
        self.under_way += 1;
        Next::Send(Outgoing { id, stamp, load: batch.load, journey, is_retry: false })
    }

    /// The size on the wire of the batch that [`PartitionQueue::next`] may give, in bytes: a guess, where it was not
    /// compressed yet.
    pub(crate) fn next_size(&self) -> Option<usize> {
        let size = |load: &Load| if load.is_raw() { self.fill.compressed(load.size()) } else { load.size() };
        let waiting = self.outstanding.iter().find_map(|batch| batch.waiting.as_ref());
        let ready = || self.ready.front().map(|batch| size(&batch.load));
        let open = || self.open.as_ref().map(|open| self.fill.compressed(open.builder.len()));
        waiting.map(size).or_else(ready).or_else(open)
    }

    fn fresh_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    fn has_due(&self, now: Instant, hurry: bool) -> bool {
        !self.ready.is_empty()
            || self.open.as_ref().is_some_and(|open| hurry || open.created + self.limits.linger <= now)
    }

    fn resend(&mut self, at: usize, route: u64) -> Next {
        let Some(batch) = self.outstanding.get_mut(at) else { return Next::Nothing };
        let Some(load) = batch.waiting.take() else { return Next::Nothing };
        batch.attempts = batch.attempts.saturating_add(1);
        self.route = route;
        self.under_way += 1;
        let first = batch.first.filter(|_| !batch.was_sent);
        let journey = Journey { count: batch.count, created: batch.created, first };
        Next::Send(Outgoing { id: batch.id, stamp: batch.stamp, load, journey, is_retry: batch.was_sent })
    }

    /// After the epoch was bumped: everything outstanding, none of which is in the log, begins anew.
    fn restamp(&mut self) {
        self.sent = 0;
        for batch in &mut self.outstanding {
            batch.stamp = self.sequence.stamp(batch.count);
            batch.ordinal = self.sent;
            self.sent += 1;
        }
    }

    /// When a batch may go by time alone: a linger or a pause that ends. `None` where something else must come first.
    pub(crate) fn send_at(&self, now: Instant) -> Option<Instant> {
        let has_waiting = self.outstanding.iter().any(|batch| batch.waiting.is_some());
        let work = has_waiting || !self.ready.is_empty();
        let linger = self.open.as_ref().map(|open| open.created + self.limits.linger);
        let at = match (self.retry_at, linger) {
            (Some(pause), _) if work => Some(pause),
            (Some(pause), Some(linger)) => Some(pause.max(linger)),
            (None, linger) if !work => linger,
            _ => None,
        };
        at.filter(|at| *at > now)
    }
}
