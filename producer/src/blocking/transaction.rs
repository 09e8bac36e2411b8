//! Transactions with calls that block.

use std::fmt;
use std::time::Duration;

use rkafka_client_core::{CommittedOffset, GroupMetadata, TopicPartition};

use super::thread::{ProducerThread, may_wait};
use super::typed::TypedTransaction;
use crate::{
    Delivery, DeliveryResult, ProducerConfig, ProducerError, ProducerOptions, Record, Serializers, TransactionError,
    TrySendError,
};

/// The async [`TransactionalProducer`](crate::TransactionalProducer) with calls that block.
///
/// ```no_run
/// use rkafka_producer::{ClientSettings, ProducerConfig, Record, blocking};
///
/// # fn pay() -> Result<(), Box<dyn std::error::Error>> {
/// let config = ProducerConfig::new().bootstrap_servers("localhost:9092").transactional_id("payments-1");
/// let mut producer = blocking::TransactionalProducer::new(config)?;
/// let transaction = producer.begin()?;
/// let _ = transaction.send(Record::to("debits").key("alice").value("10"))?;
/// let _ = transaction.send(Record::to("credits").key("bob").value("10"))?;
/// transaction.commit()?;
/// # Ok(())
/// # }
/// ```
///
/// Dropped without [`close`](Self::close), it waits as long as `max.block.ms` for a transaction that is being ended.
pub struct TransactionalProducer {
    /// `None` once it is closed.
    producer: Option<crate::TransactionalProducer>,
    thread: ProducerThread,
}

impl fmt::Debug for TransactionalProducer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("blocking::TransactionalProducer").field(&self.producer).finish()
    }
}

impl Drop for TransactionalProducer {
    fn drop(&mut self) {
        if let Some(producer) = self.producer.take()
            && may_wait()
            && !std::thread::panicking()
        {
            let limit = producer.config().max_block;
            if let Ok(Err(error)) = self.thread.wait(producer.close(limit)) {
                tracing::warn!(%error, "a transaction was left to its coordinator");
            }
        }
    }
}

impl TransactionalProducer {
    /// Starts the producer's thread, connects, and fences the producer that had the `transactional.id` before, as
    /// [`TransactionalProducer::new`](crate::TransactionalProducer::new).
    ///
    /// # Errors
    /// As there; [`ProducerError::Thread`].
    pub fn new(config: ProducerConfig) -> Result<Self, TransactionError> {
        Self::with_options(config, ProducerOptions::default())
    }

    /// As [`TransactionalProducer::new`], with what else a client can be told.
    ///
    /// # Errors
    /// As [`TransactionalProducer::new`].
    pub fn with_options(config: ProducerConfig, options: impl Into<ProducerOptions>) -> Result<Self, TransactionError> {
        if !may_wait() {
            return Err(super::IN_CALLBACK.into());
        }
        let options = options.into();
        let make = move || crate::TransactionalProducer::with_options(config, options);
        let (thread, producer) = ProducerThread::start(make, |producer| producer.shared().clone())?;
        Ok(Self { producer: Some(producer), thread })
    }

    /// Begins a transaction, as [`TransactionalProducer::begin`](crate::TransactionalProducer::begin).
    ///
    /// # Errors
    /// As there.
    pub fn begin(&mut self) -> Result<Transaction<'_>, TransactionError> {
        let Some(producer) = &mut self.producer else {
            return Err(TransactionError::Closed { may_have_been_written: false });
        };
        let transaction = self.thread.wait(producer.begin())??;
        Ok(Transaction { transaction, thread: &self.thread })
    }

    /// Whether the last transaction whose end was called for was committed, as
    /// [`TransactionalProducer::last_was_committed`](crate::TransactionalProducer::last_was_committed).
    ///
    /// # Errors
    /// As there.
    pub fn last_was_committed(&mut self) -> Result<bool, TransactionError> {
        let Some(producer) = &mut self.producer else {
            return Err(TransactionError::Closed { may_have_been_written: false });
        };
        self.thread.wait(producer.last_was_committed())?
    }

    /// Ends the producer, as [`TransactionalProducer::close`](crate::TransactionalProducer::close).
    ///
    /// # Errors
    /// As there.
    pub fn close(mut self, deadline: Duration) -> Result<(), TransactionError> {
        match self.producer.take() {
            Some(producer) => self.thread.wait(producer.close(deadline))?,
            None => Ok(()),
        }
    }
}

/// A transaction that is open, as the async [`Transaction`](crate::Transaction), with calls that block. Dropped before its
/// end, it is aborted in the background.
#[must_use = "a transaction that is dropped is aborted"]
pub struct Transaction<'p> {
    transaction: crate::Transaction<'p>,
    thread: &'p ProducerThread,
}

impl fmt::Debug for Transaction<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("blocking::Transaction").field(&self.transaction).finish()
    }
}

impl Transaction<'_> {
    pub(super) fn inner(&self) -> &crate::Transaction<'_> {
        &self.transaction
    }

    pub(super) fn thread(&self) -> &ProducerThread {
        self.thread
    }

    /// Accepts a record into the transaction, as [`Transaction::send`](crate::Transaction::send).
    ///
    /// # Errors
    /// As there.
    pub fn send(&self, record: Record<'_>) -> Result<Delivery, ProducerError> {
        self.thread.wait_to_send(self.transaction.send(record))?
    }

    /// Accepts a record if that is possible at once, as [`Transaction::try_send`](crate::Transaction::try_send).
    ///
    /// # Errors
    /// As there.
    pub fn try_send(&self, record: &Record<'_>) -> Result<Delivery, TrySendError> {
        self.transaction.try_send(record)
    }

    /// As [`send`](Self::send), and calls `callback` with the record's fate from the producer's thread.
    ///
    /// # Errors
    /// As [`send`](Self::send); the callback is then not called.
    pub fn send_with(
        &self,
        record: Record<'_>,
        callback: impl FnOnce(DeliveryResult) + Send + 'static,
    ) -> Result<(), ProducerError> {
        self.send(record)?.call_back(callback);
        Ok(())
    }

    /// Accepts records one after the other, as [`Transaction::send_many`](crate::Transaction::send_many).
    ///
    /// # Errors
    /// As there.
    pub fn send_many<'r>(
        &self,
        records: impl IntoIterator<Item = Record<'r>>,
        deliveries: &mut Vec<Delivery>,
    ) -> Result<usize, ProducerError> {
        self.thread.wait_to_send(self.transaction.send_many(records, deliveries))?
    }

    /// A face that takes typed records.
    pub fn typed<'t, K: ?Sized, V: ?Sized>(&'t self, serializers: &'t Serializers<K, V>) -> TypedTransaction<'t, K, V> {
        TypedTransaction::new(self, serializers)
    }

    /// Waits until each record that was accepted before is acknowledged or has failed.
    ///
    /// # Errors
    /// [`ProducerError::InCallback`].
    pub fn flush(&self) -> Result<(), ProducerError> {
        self.thread.wait(self.transaction.flush())
    }

    /// Commits offsets of a group with the transaction, as [`Transaction::send_offsets`](crate::Transaction::send_offsets).
    ///
    /// # Errors
    /// As there.
    pub fn send_offsets(
        &self,
        offsets: impl IntoIterator<Item = (TopicPartition, CommittedOffset)>,
        group: GroupMetadata,
    ) -> Result<(), TransactionError> {
        self.thread.wait(self.transaction.send_offsets(offsets, group))?
    }

    /// Why the transaction can only be aborted; `None` while it may be committed.
    pub fn error(&self) -> Option<TransactionError> {
        self.transaction.error()
    }

    /// Commits, as [`Transaction::commit`](crate::Transaction::commit).
    ///
    /// # Errors
    /// As there.
    pub fn commit(self) -> Result<(), TransactionError> {
        self.thread.wait(self.transaction.commit())?
    }

    /// Aborts, as [`Transaction::abort`](crate::Transaction::abort).
    ///
    /// # Errors
    /// As there.
    pub fn abort(self) -> Result<(), TransactionError> {
        self.thread.wait(self.transaction.abort())?
    }
}
