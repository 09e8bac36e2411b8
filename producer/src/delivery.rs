//! What becomes of a record: one shared state per batch, and for each record an index into it.

use std::fmt;
use std::future::{Future, poll_fn};
use std::ops::Range;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::task::{Context, Poll, Waker};

use crate::{ProducerError, RecordMetadata};

/// The result of one record.
pub type DeliveryResult = Result<RecordMetadata, ProducerError>;

/// The callback of one record.
pub(crate) type Callback = Box<dyn FnOnce(DeliveryResult) + Send>;

/// What became of a run of records of one batch.
#[derive(Debug, Clone)]
pub(crate) enum Outcome {
    /// Written, the first of them at `base_offset` (-1 where it is not known).
    Written { base_offset: i64, log_append_time: i64 },
    /// Not delivered.
    Failed(ProducerError),
}

/// A callback that panics, panics alone: the task that calls it sends for everybody.
fn call(callback: Callback, result: DeliveryResult) {
    if std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| callback(result))).is_err() {
        tracing::error!("the callback of a record panicked");
    }
}

/// The state that the deliveries of one batch share. Nobody waits here unless a delivery was polled.
pub(crate) struct BatchState {
    topic: Arc<str>,
    partition: i32,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    /// What is known, by index of record. One entry, unless the batch was split.
    resolved: Vec<(Range<u32>, Outcome)>,
    waiters: Vec<Waiter>,
    /// How many are calling callbacks of records that are resolved.
    telling: u32,
    /// Those who wait until everybody is told.
    settling: Vec<Waker>,
}

enum Waiter {
    /// A delivery that went away.
    Gone,
    Task(u32, Waker),
    Callback(u32, i64, Callback),
}

impl Inner {
    fn outcome(&self, index: u32) -> Option<(&Outcome, u32)> {
        let (range, outcome) = self.resolved.iter().find(|(range, _)| range.contains(&index))?;
        Some((outcome, index - range.start))
    }

    /// Whether the records up to `last` are resolved, and everybody was told.
    fn is_settled(&self, last: u32) -> bool {
        let mut index = 0;
        while let Some((range, _)) = self.resolved.iter().find(|(range, _)| range.contains(&index)) {
            index = range.end;
        }
        index > last && self.telling == 0
    }
}

impl BatchState {
    pub(crate) fn new(topic: Arc<str>, partition: i32) -> Arc<Self> {
        Arc::new(Self { topic, partition, inner: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn result(&self, outcome: &Outcome, position: u32, timestamp: i64) -> DeliveryResult {
        match outcome {
            Outcome::Written { base_offset, log_append_time } => Ok(RecordMetadata {
                topic: self.topic.clone(),
                partition: self.partition,
                offset: if *base_offset < 0 { -1 } else { base_offset.saturating_add(i64::from(position)) },
                timestamp: if *log_append_time < 0 { timestamp } else { *log_append_time },
            }),
            Outcome::Failed(error) => Err(error.clone()),
        }
    }

    /// Calls back when the record at `index` is resolved; at once, from here, where it is already.
    pub(crate) fn on_resolved(&self, index: u32, timestamp: i64, callback: Callback) {
        let mut inner = self.lock();
        match inner.outcome(index) {
            Some((outcome, position)) => {
                let result = self.result(outcome, position, timestamp);
                drop(inner);
                call(callback, result);
            }
            None => inner.waiters.push(Waiter::Callback(index, timestamp, callback)),
        }
    }

    /// Whether the records up to `last` are resolved, and everybody was told who wanted to be called back.
    #[cfg(test)]
    fn is_settled(&self, last: u32) -> bool {
        self.lock().is_settled(last)
    }

    /// Whether the records up to `last` are resolved, and everybody was told who wanted to be called back. Does not wait:
    /// no, where somebody holds the lock.
    pub(crate) fn is_settled_already(&self, last: u32) -> bool {
        match self.inner.try_lock() {
            Ok(inner) => inner.is_settled(last),
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner().is_settled(last),
            Err(TryLockError::WouldBlock) => false,
        }
    }

    /// Waits until the records up to `last` are resolved and everybody was told.
    pub(crate) async fn settled(&self, last: u32) {
        poll_fn(|context| {
            let mut inner = self.lock();
            if inner.is_settled(last) {
                return Poll::Ready(());
            }
            if !inner.settling.iter().any(|waker| waker.will_wake(context.waker())) {
                inner.settling.push(context.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }

    /// What became of the records from `first` to `last`: the first failure, if there is any; `None` while one is left.
    pub(crate) fn outcome_of(&self, first: u32, last: u32) -> Option<Result<(), ProducerError>> {
        let inner = self.lock();
        let (mut index, mut failure) = (first, None);
        while index <= last {
            let (range, outcome) = inner.resolved.iter().find(|(range, _)| range.contains(&index))?;
            if let (Outcome::Failed(error), None) = (outcome, &failure) {
                failure = Some(error.clone());
            }
            index = range.end;
        }
        Some(failure.map_or(Ok(()), Err))
    }

    /// Resolves the records of `range`, once. User code runs here, so no lock may be held by the caller.
    fn resolve(&self, range: Range<u32>, outcome: Outcome) {
        let mut due = Vec::new();
        let mut inner = self.lock();
        debug_assert!(inner.resolved.iter().all(|(known, _)| known.end <= range.start || range.end <= known.start));
        for waiter in &mut inner.waiters {
            let (Waiter::Task(index, _) | Waiter::Callback(index, ..)) = waiter else { continue };
            if range.contains(index) {
                due.push(std::mem::replace(waiter, Waiter::Gone));
            }
        }
        inner.resolved.push((range.clone(), outcome.clone()));
        // Without callbacks everybody is told by the outcome's being there, and the lock is not taken once more.
        let calls = due.iter().any(|waiter| matches!(waiter, Waiter::Callback(..)));
        inner.telling += u32::from(calls);
        let settling = if calls { Vec::new() } else { std::mem::take(&mut inner.settling) };
        drop(inner);
        settling.into_iter().for_each(Waker::wake);
        for waiter in due {
            match waiter {
                Waiter::Gone => {}
                Waiter::Task(_, waker) => waker.wake(),
                Waiter::Callback(index, timestamp, callback) => {
                    call(callback, self.result(&outcome, index.saturating_sub(range.start), timestamp));
                }
            }
        }
        if !calls {
            return;
        }
        let mut inner = self.lock();
        inner.telling -= 1;
        let settling = std::mem::take(&mut inner.settling);
        drop(inner);
        settling.into_iter().for_each(Waker::wake);
    }
}

/// The duty to say what became of a run of records. It is discharged exactly once: by [`Receipt::resolve`], or as
/// "the producer is closed" where it is dropped, such as with a runtime that ends.
pub(crate) struct Receipt {
    state: Arc<BatchState>,
    range: Range<u32>,
    /// Whether the records may be in the log.
    pub(crate) maybe_written: bool,
    open: bool,
}

impl Receipt {
    pub(crate) fn new(state: Arc<BatchState>, count: u32) -> Self {
        Self { state, range: 0..count, maybe_written: false, open: true }
    }

    pub(crate) fn state(&self) -> &Arc<BatchState> {
        &self.state
    }

    /// Whether every record that this was the receipt of has another by now.
    pub(crate) fn is_told(&self) -> bool {
        self.range.is_empty()
    }

    /// How many records it is the receipt of.
    pub(crate) fn count(&self) -> u32 {
        self.range.end.saturating_sub(self.range.start)
    }

    /// The topic of the records.
    pub(crate) fn topic(&self) -> &Arc<str> {
        &self.state.topic
    }

    pub(crate) fn last_index(&self) -> u32 {
        self.range.end.saturating_sub(1)
    }

    /// Cuts off a receipt for the first `count` records.
    pub(crate) fn split_off_front(&mut self, count: u32) -> Self {
        let middle = self.range.start.saturating_add(count).min(self.range.end);
        let front = Self {
            state: self.state.clone(),
            range: self.range.start..middle,
            maybe_written: self.maybe_written,
            open: true,
        };
        self.range.start = middle;
        front
    }

    pub(crate) fn resolve(mut self, outcome: Outcome) {
        self.open = false;
        self.state.resolve(self.range.clone(), outcome);
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        if self.open && !self.range.is_empty() {
            let error = ProducerError::Closed { maybe_written: self.maybe_written };
            self.state.resolve(self.range.clone(), Outcome::Failed(error));
        }
    }
}

/// What will become of one accepted record.
///
/// Await it for the record's place in the log, or drop it: the record is sent all the same, and nobody waits.
/// It is cancel safe: a delivery that was polled and dropped has no effect on the record. Polled again after it was
/// ready, it gives the same result.
#[must_use = "a delivery that is dropped leaves it unknown whether the record was written; await it, or drop it on purpose"]
pub struct Delivery {
    state: Arc<BatchState>,
    index: u32,
    /// Where this delivery's waker is, once it was polled.
    slot: Option<u32>,
    timestamp: i64,
}

impl Delivery {
    pub(crate) fn new(state: Arc<BatchState>, index: u32, timestamp: i64) -> Self {
        Self { state, index, slot: None, timestamp }
    }

    pub(crate) fn state(&self) -> &Arc<BatchState> {
        &self.state
    }

    pub(crate) fn index(&self) -> u32 {
        self.index
    }

    /// Calls back with the result, in the place of being awaited.
    pub(crate) fn call_back(self, callback: impl FnOnce(DeliveryResult) + Send + 'static) {
        self.state.on_resolved(self.index, self.timestamp, Box::new(callback));
    }

    /// As [`Delivery::call_back`], beside being awaited.
    pub(crate) fn also_call_back(&self, callback: impl FnOnce(DeliveryResult) + Send + 'static) {
        self.state.on_resolved(self.index, self.timestamp, Box::new(callback));
    }

    pub(crate) fn topic(&self) -> &Arc<str> {
        &self.state.topic
    }

    /// The partition that the record was put in.
    pub fn partition(&self) -> i32 {
        self.state.partition
    }

    /// The timestamp that the record was given, in milliseconds since 1970.
    pub fn timestamp(&self) -> i64 {
        self.timestamp
    }

    /// Waits for the result, and blocks the thread until then: for programs without a runtime. It works on every thread
    /// and needs none of the producer's; in an async function, await the delivery instead.
    ///
    /// # Errors
    /// As awaited; [`ProducerError::InCallback`], in a callback of a blocking producer.
    pub fn blocking_wait(self) -> DeliveryResult {
        if !crate::blocking::may_wait() {
            return self.try_result().unwrap_or(Err(ProducerError::InCallback));
        }
        crate::blocking::block_on(self)
    }

    /// The result, where it is known already.
    pub fn try_result(&self) -> Option<DeliveryResult> {
        let inner = self.state.lock();
        inner.outcome(self.index).map(|(outcome, position)| self.state.result(outcome, position, self.timestamp))
    }
}

impl Future for Delivery {
    type Output = DeliveryResult;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<DeliveryResult> {
        let this = self.get_mut();
        let mut inner = this.state.lock();
        if let Some((outcome, position)) = inner.outcome(this.index) {
            let result = this.state.result(outcome, position, this.timestamp);
            drop(inner);
            this.slot = None;
            return Poll::Ready(result);
        }
        // Dropped after the lock is: with a waker, a task may go, and with it other deliveries of the batch.
        let mut before = None;
        match this.slot.and_then(|slot| inner.waiters.get_mut(slot as usize)) {
            Some(Waiter::Task(_, waker)) if waker.will_wake(context.waker()) => {}
            Some(slot) => before = Some(std::mem::replace(slot, Waiter::Task(this.index, context.waker().clone()))),
            None => {
                this.slot = u32::try_from(inner.waiters.len()).ok();
                inner.waiters.push(Waiter::Task(this.index, context.waker().clone()));
            }
        }
        drop(inner);
        drop(before);
        Poll::Pending
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        let Some(slot) = self.slot else { return };
        let mut inner = self.state.lock();
        let waiter = inner.waiters.get_mut(slot as usize).filter(|waiter| matches!(waiter, Waiter::Task(..)));
        let before = waiter.map(|waiter| std::mem::replace(waiter, Waiter::Gone));
        drop(inner);
        drop(before);
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Delivery")
            .field("topic", &self.state.topic)
            .field("partition", &self.state.partition)
            .field("result", &self.try_result())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    #[derive(Default)]
    struct Count(AtomicUsize);
    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn only_polled_deliveries_are_woken_and_each_has_its_offset() {
        let state = BatchState::new("t".into(), 3);
        let mut deliveries = (0..4).map(|index| Delivery::new(state.clone(), index, 7)).collect::<Vec<_>>();
        let count = Arc::new(Count::default());
        let waker = Waker::from(count.clone());
        let mut context = Context::from_waker(&waker);
        assert!(Pin::new(&mut deliveries[1]).poll(&mut context).is_pending());
        assert!(Pin::new(&mut deliveries[2]).poll(&mut context).is_pending());
        assert!(Pin::new(&mut deliveries[2]).poll(&mut context).is_pending());
        drop(deliveries.remove(1));
        Receipt::new(state, 4).resolve(Outcome::Written { base_offset: 100, log_append_time: -1 });
        assert_eq!(count.0.load(Ordering::Relaxed), 1, "the dropped one and the unpolled ones are not woken");
        let offsets = deliveries
            .iter_mut()
            .map(|delivery| match Pin::new(delivery).poll(&mut context) {
                Poll::Ready(Ok(metadata)) => (metadata.offset, metadata.timestamp),
                other => panic!("{other:?}"),
            })
            .collect::<Vec<_>>();
        assert_eq!(offsets, [(100, 7), (102, 7), (103, 7)]);
    }

    /// A waker that holds another delivery of the same batch, as one may that is the last to hold its task.
    struct Holder {
        #[expect(dead_code, reason = "it is held")]
        held: Mutex<Delivery>,
    }
    impl Wake for Holder {
        fn wake(self: Arc<Self>) {}
    }

    #[test]
    fn a_waker_that_holds_another_delivery_may_go_with_this_one() {
        let state = BatchState::new("t".into(), 0);
        let holding = |index| {
            let mut held = Delivery::new(state.clone(), index, 0);
            assert!(Pin::new(&mut held).poll(&mut Context::from_waker(Waker::noop())).is_pending());
            Waker::from(Arc::new(Holder { held: Mutex::new(held) }))
        };
        let mut delivery = Delivery::new(state.clone(), 2, 0);
        for index in 0..2 {
            // The second takes the place of the first.
            let waker = holding(index);
            assert!(Pin::new(&mut delivery).poll(&mut Context::from_waker(&waker)).is_pending());
        }
        drop(delivery);
    }

    #[test]
    fn nothing_is_settled_before_the_callbacks_are_over() {
        let state = BatchState::new("t".into(), 0);
        let seen = state.clone();
        let (told, heard) = std::sync::mpsc::channel();
        let callback = move |_| {
            told.send((seen.outcome_of(0, 0).is_some(), seen.is_settled(0))).unwrap();
        };
        state.on_resolved(0, 0, Box::new(callback));
        let mut settled = std::pin::pin!(state.settled(1));
        let count = Arc::new(Count::default());
        let waker = Waker::from(count.clone());
        let mut context = Context::from_waker(&waker);
        let mut back = Receipt::new(state.clone(), 2);
        let front = back.split_off_front(1);
        assert!(settled.as_mut().poll(&mut context).is_pending() && settled.as_mut().poll(&mut context).is_pending());
        front.resolve(Outcome::Written { base_offset: 0, log_append_time: -1 });
        assert_eq!(heard.try_recv(), Ok((true, false)));
        assert!(state.is_settled(0) && settled.as_mut().poll(&mut context).is_pending());
        back.resolve(Outcome::Written { base_offset: 1, log_append_time: -1 });
        assert_eq!(count.0.load(Ordering::Relaxed), 2);
        assert!(settled.as_mut().poll(&mut context).is_ready());
    }

    #[test]
    fn a_dropped_receipt_says_closed() {
        let state = BatchState::new("t".into(), 0);
        let delivery = Delivery::new(state.clone(), 0, 0);
        let mut receipt = Receipt::new(state, 1);
        receipt.maybe_written = true;
        drop(receipt);
        assert!(matches!(delivery.try_result(), Some(Err(ProducerError::Closed { maybe_written: true }))));
    }

    #[test]
    fn a_run_is_resolved_with_its_last_record() {
        let state = BatchState::new("t".into(), 0);
        let mut back = Receipt::new(state.clone(), 4);
        let front = back.split_off_front(2);
        front.resolve(Outcome::Failed(ProducerError::Closed { maybe_written: false }));
        assert!(matches!(state.outcome_of(0, 1), Some(Err(_))));
        assert!(state.outcome_of(1, 3).is_none() && state.outcome_of(2, 3).is_none());
        back.resolve(Outcome::Written { base_offset: 7, log_append_time: -1 });
        assert!(matches!((state.outcome_of(1, 3), state.outcome_of(2, 3)), (Some(Err(_)), Some(Ok(())))));
    }

    #[test]
    fn a_split_receipt_resolves_in_parts() {
        let state = BatchState::new("t".into(), 0);
        let mut back = Receipt::new(state.clone(), 3);
        let front = back.split_off_front(2);
        back.resolve(Outcome::Written { base_offset: 50, log_append_time: 9 });
        let result = |index| Delivery::new(state.clone(), index, 0).try_result();
        assert!(result(1).is_none());
        assert_eq!(result(2).unwrap().unwrap().offset, 50);
        front.resolve(Outcome::Written { base_offset: 10, log_append_time: 9 });
        assert_eq!(result(1).unwrap().unwrap().offset, 11);
        assert!(matches!(state.outcome_of(0, 2), Some(Ok(()))));
        assert_eq!(result(1).unwrap().unwrap().timestamp, 9);
    }
}
