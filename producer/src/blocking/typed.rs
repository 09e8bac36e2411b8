//! Typed keys and values, with calls that block.

use std::fmt;
use std::time::Duration;

use rkafka_client_core::serialization::{DefaultSerializer, Serializer};

use super::{Producer, Transaction};
use crate::{Delivery, DeliveryResult, ProducerConfig, ProducerError, Serializers, TrySendError, TypedRecord};

/// The async [`TypedProducer`](crate::TypedProducer) with calls that block. It ends as [`blocking::Producer`](Producer) does.
///
/// ```no_run
/// # use rkafka_producer::{ClientSettings, ProducerConfig, TypedRecord, blocking};
/// # fn send() -> Result<(), Box<dyn std::error::Error>> {
/// let config = ProducerConfig::new().bootstrap_servers("localhost:9092");
/// let producer = blocking::TypedProducer::<str, i64>::new(config)?;
/// producer.send(TypedRecord::to("counts").key("apples").value(&3))?.blocking_wait()?;
/// # Ok(())
/// # }
/// ```
pub struct TypedProducer<K: ?Sized, V: ?Sized> {
    producer: Producer,
    typed: crate::TypedProducer<K, V>,
}

impl<K: ?Sized, V: ?Sized> Clone for TypedProducer<K, V> {
    fn clone(&self) -> Self {
        Self { producer: self.producer.clone(), typed: self.typed.clone() }
    }
}

impl<K: ?Sized, V: ?Sized> fmt::Debug for TypedProducer<K, V> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("blocking::TypedProducer").field(&self.producer).finish()
    }
}

impl Producer {
    /// A typed face of this producer.
    pub fn typed<K: ?Sized, V: ?Sized>(&self, serializers: Serializers<K, V>) -> TypedProducer<K, V> {
        TypedProducer { producer: self.clone(), typed: self.inner().typed(serializers) }
    }
}

impl<K: DefaultSerializer + ?Sized, V: DefaultSerializer + ?Sized> TypedProducer<K, V> {
    /// Connects, as [`Producer::new`], with the serializers that the types have.
    ///
    /// # Errors
    /// As [`Producer::new`].
    pub fn new(config: ProducerConfig) -> Result<Self, ProducerError> {
        let config = config.check_serializers("the types of this producer", &[K::CLASS], &[V::CLASS])?;
        Ok(Producer::new(config)?.typed(Serializers::default()))
    }
}

impl<K: ?Sized, V: ?Sized> TypedProducer<K, V> {
    /// Connects, as [`Producer::new`], with these serializers.
    ///
    /// # Errors
    /// As [`Producer::new`].
    pub fn with_serializers(
        config: ProducerConfig,
        key: impl Serializer<K> + Send + Sync + 'static,
        value: impl Serializer<V> + Send + Sync + 'static,
    ) -> Result<Self, ProducerError> {
        let config = config.check_serializers("a producer whose serializers are given", &[], &[])?;
        Ok(Producer::new(config)?.typed(Serializers::new(key, value)))
    }

    /// The producer beneath, which takes bytes.
    pub fn producer(&self) -> &Producer {
        &self.producer
    }

    /// Accepts a record, as [`TypedProducer::send`](crate::TypedProducer::send).
    ///
    /// # Errors
    /// As there; [`ProducerError::InCallback`].
    pub fn send(&self, record: TypedRecord<'_, K, V>) -> Result<Delivery, ProducerError> {
        self.producer.thread().wait_to_send(self.typed.send(record))?
    }

    /// Accepts a record if that is possible at once, as [`TypedProducer::try_send`](crate::TypedProducer::try_send).
    ///
    /// # Errors
    /// As there.
    pub fn try_send(&self, record: &TypedRecord<'_, K, V>) -> Result<Delivery, TrySendError> {
        self.typed.try_send(record)
    }

    /// As [`TypedProducer::send`], and calls `callback` with the record's fate, once, from the producer's thread.
    ///
    /// # Errors
    /// As [`TypedProducer::send`]; the callback is then not called.
    pub fn send_with(
        &self,
        record: TypedRecord<'_, K, V>,
        callback: impl FnOnce(DeliveryResult) + Send + 'static,
    ) -> Result<(), ProducerError> {
        self.send(record)?.call_back(callback);
        Ok(())
    }

    /// As [`Producer::flush`].
    ///
    /// # Errors
    /// As there.
    pub fn flush(&self) -> Result<(), ProducerError> {
        self.producer.flush()
    }

    /// As [`Producer::close`].
    ///
    /// # Errors
    /// As there.
    pub fn close(&self, deadline: Duration) -> Result<(), ProducerError> {
        self.producer.close(deadline)
    }
}

/// A [`Transaction`] that takes typed records.
pub struct TypedTransaction<'t, K: ?Sized, V: ?Sized> {
    transaction: &'t Transaction<'t>,
    serializers: &'t Serializers<K, V>,
}

impl<K: ?Sized, V: ?Sized> fmt::Debug for TypedTransaction<'_, K, V> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("blocking::TypedTransaction").field(self.transaction).finish()
    }
}

impl<'t, K: ?Sized, V: ?Sized> TypedTransaction<'t, K, V> {
    pub(super) fn new(transaction: &'t Transaction<'t>, serializers: &'t Serializers<K, V>) -> Self {
        Self { transaction, serializers }
    }

    /// Accepts a record into the transaction, as [`TypedTransaction::send`](crate::TypedTransaction::send).
    ///
    /// # Errors
    /// As there.
    pub fn send(&self, record: TypedRecord<'_, K, V>) -> Result<Delivery, ProducerError> {
        let typed = self.transaction.inner().typed(self.serializers);
        self.transaction.thread().wait_to_send(typed.send(record))?
    }
}
