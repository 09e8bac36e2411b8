//! A [`Sink`] of records, with the back-pressure of `buffer.memory`.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_sink::Sink;

use crate::delivery::BatchState;
use crate::{Delivery, OwnedRecord, Producer, ProducerError, Transaction, TrySendError, driver};

/// Takes records as a [`Sink`], such as for `StreamExt::forward`.
///
/// * `poll_ready` waits while `buffer.memory` is full: back-pressure, until `max.block.ms` is over.
/// * `start_send` hands a record to the producer. Records are sent in this order, per partition.
/// * `poll_flush` sends without lingering, and is ready once every record of this sink is acknowledged.
/// * `poll_close` is `poll_flush`; the producer stays open, for it is others' too.
///
/// # Errors
/// A record that was not accepted ends `start_send` or the next call, one that was not delivered any later `poll_ready`,
/// `poll_flush` or `poll_close`. Each error is told once, and the sink goes on with the records behind. Which record it
/// was is told by [`Producer::send`]'s own deliveries only.
///
/// # Dropped
/// What was handed over is sent all the same, as with a [`Delivery`] that is dropped; a record that still waits for memory
/// is accepted in the background. In a transaction nothing waits in the background: dropped with a record that waits for
/// memory, the sink dooms the transaction, so that it is not committed without it.
///
/// ```no_run
/// # use rkafka_producer::{OwnedRecord, Producer, ProducerError};
/// # async fn forward(producer: Producer) -> Result<(), ProducerError> {
/// use futures_util::{SinkExt, StreamExt, stream};
///
/// let numbers = stream::iter(0..1000).map(|number| Ok(OwnedRecord::to("numbers").value(format!("{number}"))));
/// numbers.forward(producer.sink()).await
/// # }
/// ```
#[must_use = "a sink does nothing unless records are put into it"]
pub struct ProducerSink<'a> {
    target: Target<'a>,
    /// The record that was taken and waits for memory or metadata.
    waiting: Option<Waiting>,
    flushing: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    unresolved: VecDeque<Run>,
    /// Whether a run began since the last look at what is resolved.
    has_new_run: bool,
}

type Waiting = Pin<Box<dyn Future<Output = Result<Delivery, ProducerError>> + Send>>;

enum Target<'a> {
    Producer(Producer),
    Transaction(&'a Transaction<'a>),
}

impl Target<'_> {
    fn producer(&self) -> &Producer {
        match self {
            Self::Producer(producer) => producer,
            Self::Transaction(transaction) => transaction.producer(),
        }
    }

    fn judge<T>(&self, result: Result<T, ProducerError>) -> Result<T, ProducerError> {
        match self {
            Self::Producer(_) => result,
            Self::Transaction(transaction) => transaction.judge(result),
        }
    }
}

/// Neighbours in one batch.
struct Run {
    state: Arc<BatchState>,
    first: u32,
    last: u32,
}

impl Producer {
    /// A [`Sink`] of records. There may be several; each awaits its own records.
    pub fn sink(&self) -> ProducerSink<'static> {
        ProducerSink::new(Target::Producer(self.clone()))
    }
}

impl Transaction<'_> {
    /// A [`Sink`] of records of this transaction.
    pub fn sink(&self) -> ProducerSink<'_> {
        ProducerSink::new(Target::Transaction(self))
    }
}

impl<'a> ProducerSink<'a> {
    fn new(target: Target<'a>) -> Self {
        Self { target, waiting: None, flushing: None, unresolved: VecDeque::new(), has_new_run: false }
    }

    /// Notes an accepted record.
    fn note(&mut self, delivery: &Delivery) {
        let (state, index) = (delivery.state(), delivery.index());
        match self.unresolved.back_mut() {
            Some(run) if Arc::ptr_eq(&run.state, state) && run.last.checked_add(1) == Some(index) => run.last = index,
            _ => {
                self.unresolved.push_back(Run { state: state.clone(), first: index, last: index });
                self.has_new_run = true;
            }
        }
    }

    /// Forgets what is resolved at the front; the first failure is an error.
    fn reap(&mut self) -> Result<(), ProducerError> {
        while let Some(run) = self.unresolved.front() {
            let Some(outcome) = run.state.outcome_of(run.first, run.last) else { break };
            self.unresolved.pop_front();
            outcome?;
        }
        Ok(())
    }

    fn poll_waiting(&mut self, context: &mut Context<'_>) -> Poll<Result<(), ProducerError>> {
        let Some(waiting) = &mut self.waiting else { return Poll::Ready(Ok(())) };
        let accepted = ready!(waiting.as_mut().poll(context));
        self.waiting = None;
        let delivery = self.target.judge(accepted)?;
        self.note(&delivery);
        Poll::Ready(Ok(()))
    }
}

impl Sink<OwnedRecord> for ProducerSink<'_> {
    type Error = ProducerError;

    fn poll_ready(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), ProducerError>> {
        let this = self.get_mut();
        ready!(this.poll_waiting(context))?;
        // Once per batch, or nearly so, and not per record.
        if std::mem::take(&mut this.has_new_run) {
            this.reap()?;
        }
        Poll::Ready(Ok(()))
    }

    fn start_send(self: Pin<&mut Self>, record: OwnedRecord) -> Result<(), ProducerError> {
        let this = self.get_mut();
        if this.waiting.is_some() {
            let reason = "`start_send` was called before `poll_ready` was ready";
            return this.target.judge(Err(ProducerError::NotAccepted { reason }));
        }
        let producer = this.target.producer();
        // Interceptors see a record once, however long it has to wait.
        let tried = match &producer.shared().interceptors {
            None => producer.try_once(&record.as_record()),
            Some(_) => Err(TrySendError::Full),
        };
        match tried {
            Ok(delivery) => {
                this.note(&delivery);
                Ok(())
            }
            Err(TrySendError::Refused(error)) if !crate::producer::is_cured_by_metadata(&error) => {
                let error = producer.refused(error);
                this.target.judge(Err(error))
            }
            Err(_) => {
                let producer = producer.clone();
                this.waiting = Some(Box::pin(async move { producer.send(record.as_record()).await }));
                Ok(())
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), ProducerError>> {
        let this = self.get_mut();
        ready!(this.poll_waiting(context))?;
        loop {
            this.reap()?;
            if this.unresolved.is_empty() {
                this.flushing = None;
                return Poll::Ready(Ok(()));
            }
            let producer = this.target.producer();
            let flushing = this.flushing.get_or_insert_with(|| {
                let producer = producer.clone();
                Box::pin(async move { producer.flush().await })
            });
            ready!(flushing.as_mut().poll(context));
            this.flushing = None;
        }
    }

    fn poll_close(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), ProducerError>> {
        self.poll_flush(context)
    }
}

impl Drop for ProducerSink<'_> {
    fn drop(&mut self) {
        let Some(waiting) = self.waiting.take() else { return };
        match &self.target {
            Target::Producer(producer) => driver::spawn(producer.shared(), async move {
                if let Err(error) = waiting.await {
                    tracing::warn!(%error, "a record that was put into a sink is lost, for the sink was dropped");
                }
            }),
            Target::Transaction(transaction) => {
                drop(waiting);
                let reason = "its sink was dropped while it waited for memory or metadata";
                let _ = transaction.judge::<()>(Err(ProducerError::NotAccepted { reason }));
            }
        }
    }
}

impl fmt::Debug for ProducerSink<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ProducerSink")
            .field("producer", self.target.producer())
            .field("is_waiting", &self.waiting.is_some())
            .finish_non_exhaustive()
    }
}
