//! Typed records in a transaction.

use std::fmt;

use super::{Serializers, TypedRecord};
use crate::{Delivery, DeliveryResult, ProducerError, Transaction, TrySendError};

/// A [`Transaction`] that takes typed records. A transaction can have several such faces, one for each kind of records.
///
/// ```no_run
/// # use rkafka_producer::{Serializers, TransactionalProducer, TypedRecord};
/// # async fn pay(mut producer: TransactionalProducer) -> Result<(), Box<dyn std::error::Error>> {
/// let amounts = Serializers::<str, i64>::default();
/// let transaction = producer.begin().await?;
/// let _ = transaction.typed(&amounts).send(TypedRecord::to("debits").key("alice").value(&10)).await?;
/// let _ = transaction.typed(&amounts).send(TypedRecord::to("credits").key("bob").value(&10)).await?;
/// transaction.commit().await?;
/// # Ok(())
/// # }
/// ```
pub struct TypedTransaction<'t, K: ?Sized, V: ?Sized> {
    transaction: &'t Transaction<'t>,
    serializers: &'t Serializers<K, V>,
}

impl Transaction<'_> {
    /// A face that takes typed records.
    pub fn typed<'t, K: ?Sized, V: ?Sized>(&'t self, serializers: &'t Serializers<K, V>) -> TypedTransaction<'t, K, V> {
        TypedTransaction { transaction: self, serializers }
    }
}

impl<K: ?Sized, V: ?Sized> Clone for TypedTransaction<'_, K, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K: ?Sized, V: ?Sized> Copy for TypedTransaction<'_, K, V> {}

impl<K: ?Sized, V: ?Sized> fmt::Debug for TypedTransaction<'_, K, V> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("TypedTransaction").field(self.transaction).finish()
    }
}

impl<K: ?Sized, V: ?Sized> TypedTransaction<'_, K, V> {
    /// Accepts a record into the transaction, as [`Transaction::send`] and [`TypedProducer::send`](super::TypedProducer::send).
    /// Cancel safe.
    ///
    /// # Errors
    /// As [`Transaction::send`]; [`ProducerError::Serialization`], which leaves the transaction as it was, as in Java.
    pub async fn send(&self, record: TypedRecord<'_, K, V>) -> Result<Delivery, ProducerError> {
        self.serializers.send(self.transaction, record).await
    }

    /// Accepts a record if that is possible at once, as [`Transaction::try_send`].
    ///
    /// # Errors
    /// As [`Transaction::try_send`] and [`TypedProducer::try_send`](super::TypedProducer::try_send).
    pub fn try_send(&self, record: &TypedRecord<'_, K, V>) -> Result<Delivery, TrySendError> {
        self.serializers.with_bytes(record, |record| self.transaction.try_send(record))?
    }

    /// As [`send`](Self::send), and calls `callback` with the record's fate, as
    /// [`Producer::send_with`](crate::Producer::send_with). Cancel safe.
    ///
    /// # Errors
    /// As [`send`](Self::send); the callback is then not called.
    pub async fn send_with(
        &self,
        record: TypedRecord<'_, K, V>,
        callback: impl FnOnce(DeliveryResult) + Send + 'static,
    ) -> Result<(), ProducerError> {
        self.send(record).await?.call_back(callback);
        Ok(())
    }
}
