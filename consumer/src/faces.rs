//! Other ways to take records: batches as a stream, and what is there without a wait.

use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use futures_core::Stream;

use crate::batch::Batch;
use crate::consumer::Consumer;
use crate::error::{ConsumerError, Result};
use crate::record::ConsumerRecord;
use crate::waiting::Waits;

impl Consumer {
    /// Batches one by one, as [`next_batch`](Self::next_batch) gives them. Dropping the stream loses nothing.
    pub fn batches(&mut self) -> Batches<'_> {
        Batches { consumer: self }
    }

    /// The next record, if it is there: `None` where it would have to be waited for. The call counts as one for records
    /// (`max.poll.interval.ms`); on a runtime of one thread nothing comes before somebody awaits.
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    pub fn try_recv(&mut self) -> Result<Option<ConsumerRecord>> {
        self.without_wait(|consumer, context| consumer.poll_recv(context, false))
    }

    /// The next batch, if it is there, as [`try_recv`](Self::try_recv) gives records.
    ///
    /// # Errors
    /// As [`next_batch`](Self::next_batch).
    pub fn try_next_batch(&mut self) -> Result<Option<Batch>> {
        self.without_wait(|consumer, context| consumer.poll_next_batch(context, false))
    }

    fn without_wait<T>(
        &mut self,
        mut poll: impl FnMut(&mut Self, &mut Context<'_>) -> Poll<Option<Result<T>>>,
    ) -> Result<Option<T>> {
        let mut context = Context::from_waker(Waker::noop());
        // The first may only let the tasks come before the application.
        for _ in 0..2 {
            if let Poll::Ready(ready) = poll(self, &mut context) {
                return ready.transpose();
            }
        }
        self.stop_waiting();
        Ok(None)
    }
}

/// Batches one by one; it ends when the consumer is closed.
#[derive(Debug)]
pub struct Batches<'a> {
    consumer: &'a mut Consumer,
}

impl Drop for Batches<'_> {
    fn drop(&mut self) {
        self.consumer.stop_waiting();
    }
}

impl Stream for Batches<'_> {
    type Item = Result<Batch>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match ready!(self.consumer.poll_next_batch(context, false)) {
            Some(Err(ConsumerError::Closed)) => Poll::Ready(None),
            other => Poll::Ready(other),
        }
    }
}
