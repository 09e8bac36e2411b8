//! The producer with calls that block.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rkafka_client_core::metrics::MetricsSnapshot;

use super::thread::{ProducerThread, may_wait};
use crate::{
    Delivery, DeliveryResult, OwnedRecord, ProducerConfig, ProducerError, ProducerOptions, Record, TrySendError,
};

/// Sends records to a Kafka cluster, as the async [`Producer`](crate::Producer) does, with calls that block. Clones are the
/// same producer, and one serves every thread.
///
/// # The end
/// [`Producer::close`] sends what was accepted and says whether all of it arrived. Where the last clone is dropped without
/// it, the drop waits until each record is acknowledged or has failed, which `delivery.timeout.ms` bounds, so that a
/// program whose `main` returns loses nothing; a cluster that is gone holds it up for as long. In a thread that panics and in
/// a callback the drop does not wait, and the producer comes to its end in the background, if the process lives on.
#[derive(Clone)]
pub struct Producer {
    handle: Arc<Handle>,
}

struct Handle {
    producer: crate::Producer,
    thread: ProducerThread,
}

impl Drop for Handle {
    fn drop(&mut self) {
        if may_wait() && !std::thread::panicking() && !self.producer.shared().is_stopped() {
            let limit = self.producer.config().delivery_timeout;
            if let Ok(Err(error)) = self.thread.wait(self.producer.close(limit)) {
                tracing::warn!(%error, "records were lost with a producer that was not closed");
            }
        }
    }
}

impl fmt::Debug for Producer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("blocking::Producer").field(&self.handle.producer).finish()
    }
}

impl Producer {
    /// Starts the producer's thread and connects to the cluster, as [`Producer::new`](crate::Producer::new).
    ///
    /// # Errors
    /// As there; [`ProducerError::Thread`].
    pub fn new(config: ProducerConfig) -> Result<Self, ProducerError> {
        Self::with_options(config, ProducerOptions::default())
    }

    /// As [`Producer::new`], with what else a client can be told.
    ///
    /// # Errors
    /// As [`Producer::new`].
    pub fn with_options(config: ProducerConfig, options: impl Into<ProducerOptions>) -> Result<Self, ProducerError> {
        if !may_wait() {
            return Err(super::IN_CALLBACK);
        }
        let options = options.into();
        let make = move || crate::Producer::with_options(config, options);
        let (thread, producer) = ProducerThread::start(make, |producer| producer.shared().clone())?;
        Ok(Self { handle: Arc::new(Handle { producer, thread }) })
    }

    pub(super) fn inner(&self) -> &crate::Producer {
        &self.handle.producer
    }

    pub(super) fn thread(&self) -> &ProducerThread {
        &self.handle.thread
    }

    /// The settings.
    pub fn config(&self) -> &ProducerConfig {
        self.inner().config()
    }

    /// What the producer measures, as [`Producer::metrics`](crate::Producer::metrics). Never blocks.
    pub fn metrics(&self) -> MetricsSnapshot {
        self.inner().metrics()
    }

    /// Accepts a record. It blocks only where `buffer.memory` is full, and for the metadata of a topic that is new to this
    /// producer, for `max.block.ms` at most. What comes back tells of the record's fate, by
    /// [`Delivery::blocking_wait`], or is dropped to fire and forget.
    ///
    /// # Errors
    /// As [`Producer::send`](crate::Producer::send). [`ProducerError::InCallback`]: it would have to wait there.
    pub fn send(&self, record: Record<'_>) -> Result<Delivery, ProducerError> {
        self.thread().wait_to_send(self.inner().send(record))?
    }

    /// Accepts a record if that is possible at once, as [`Producer::try_send`](crate::Producer::try_send). Never blocks.
    ///
    /// # Errors
    /// As there.
    pub fn try_send(&self, record: &Record<'_>) -> Result<Delivery, TrySendError> {
        self.inner().try_send(record)
    }

    /// As [`Producer::send`], and calls `callback` with the record's fate, once, from the producer's thread: it must not
    /// block.
    ///
    /// # Errors
    /// As [`Producer::send`]; the callback is then not called.
    pub fn send_with(
        &self,
        record: Record<'_>,
        callback: impl FnOnce(DeliveryResult) + Send + 'static,
    ) -> Result<(), ProducerError> {
        self.send(record)?.call_back(callback);
        Ok(())
    }

    /// Accepts records one after the other, as [`Producer::send_many`](crate::Producer::send_many).
    ///
    /// # Errors
    /// As there.
    pub fn send_many<'r>(
        &self,
        records: impl IntoIterator<Item = Record<'r>>,
        deliveries: &mut Vec<Delivery>,
    ) -> Result<usize, ProducerError> {
        self.thread().wait_to_send(self.inner().send_many(records, deliveries))?
    }

    /// Sends a record and waits until it is written: what is called a synchronous send. One record at a time is slow; where
    /// there are more, send them all before the first is waited for.
    ///
    /// # Errors
    /// The record was not accepted, or not delivered.
    pub fn send_and_wait(&self, record: Record<'_>) -> DeliveryResult {
        self.send(record)?.blocking_wait()
    }

    /// As [`Producer::send`], of a record that is owned.
    ///
    /// # Errors
    /// As [`Producer::send`].
    pub fn send_owned(&self, record: &OwnedRecord) -> Result<Delivery, ProducerError> {
        self.send(record.as_record())
    }

    /// Sends what was accepted before this call, without lingering, and waits until each record is acknowledged or has
    /// failed.
    ///
    /// # Errors
    /// [`ProducerError::InCallback`].
    pub fn flush(&self) -> Result<(), ProducerError> {
        self.thread().wait(self.inner().flush())
    }

    /// Ends the producer, as [`Producer::close`](crate::Producer::close).
    ///
    /// # Errors
    /// [`ProducerError::CloseTimeout`]: batches were given up. [`ProducerError::InCallback`].
    pub fn close(&self, deadline: Duration) -> Result<(), ProducerError> {
        self.thread().wait(self.inner().close(deadline))?
    }
}
