//! Producers of typed keys and values.

mod record;
mod scratch;
mod serializers;
mod transaction;

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use rkafka_client_core::serialization::{DefaultSerializer, Serializer};

use crate::{Delivery, DeliveryResult, Producer, ProducerConfig, ProducerError, TrySendError};

pub use record::TypedRecord;
pub use serializers::Serializers;
pub use transaction::TypedTransaction;

/// A [`Producer`] whose keys and values are typed: serializers write them. Java's `KafkaProducer<K, V>`.
///
/// ```no_run
/// # use rkafka_producer::{ClientSettings, ProducerConfig, TypedProducer, TypedRecord};
/// # async fn send() -> Result<(), Box<dyn std::error::Error>> {
/// let config = ProducerConfig::new().bootstrap_servers("localhost:9092");
/// let producer = TypedProducer::<str, i64>::new(config).await?;
/// producer.send(TypedRecord::to("counts").key("apples").value(&3)).await?.await?;
/// # Ok(())
/// # }
/// ```
///
/// `K` and `V` have serializers of their own ([`DefaultSerializer`]: texts, numbers, bytes, UUIDs, `Json<T>`), or those that
/// [`TypedProducer::with_serializers`] is given. Clones are the same producer. One producer can have several typed faces:
/// [`Producer::typed`].
///
/// Serializers run on the task that sends, into a buffer of its thread that is used again, so that plain types cost no
/// allocation.
pub struct TypedProducer<K: ?Sized, V: ?Sized> {
    producer: Producer,
    serializers: Serializers<K, V>,
    /// Neither keys nor values are kept.
    kinds: PhantomData<fn(&K, &V)>,
}

impl<K: ?Sized, V: ?Sized> Clone for TypedProducer<K, V> {
    fn clone(&self) -> Self {
        Self { producer: self.producer.clone(), serializers: self.serializers.clone(), kinds: PhantomData }
    }
}

impl<K: ?Sized, V: ?Sized> fmt::Debug for TypedProducer<K, V> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("TypedProducer").field(&self.producer).finish()
    }
}

impl Producer {
    /// A typed face of this producer.
    pub fn typed<K: ?Sized, V: ?Sized>(&self, serializers: Serializers<K, V>) -> TypedProducer<K, V> {
        TypedProducer { producer: self.clone(), serializers, kinds: PhantomData }
    }
}

impl<K: DefaultSerializer + ?Sized, V: DefaultSerializer + ?Sized> TypedProducer<K, V> {
    /// Connects to the cluster, as [`Producer::new`], with the serializers that the types have. Where `key.serializer` or
    /// `value.serializer` is set, it must name the same.
    ///
    /// # Errors
    /// As [`Producer::new`].
    pub async fn new(config: ProducerConfig) -> Result<Self, ProducerError> {
        let config = config.check_serializers("the types of this producer", &[K::CLASS], &[V::CLASS])?;
        Ok(Producer::new(config).await?.typed(Serializers::default()))
    }
}

impl<K: ?Sized, V: ?Sized> TypedProducer<K, V> {
    /// Connects to the cluster, as [`Producer::new`], with these serializers. `key.serializer` and `value.serializer` must
    /// not be set.
    ///
    /// # Errors
    /// As [`Producer::new`].
    pub async fn with_serializers(
        config: ProducerConfig,
        key: impl Serializer<K> + Send + Sync + 'static,
        value: impl Serializer<V> + Send + Sync + 'static,
    ) -> Result<Self, ProducerError> {
        let config = config.check_serializers("a producer whose serializers are given", &[], &[])?;
        Ok(Producer::new(config).await?.typed(Serializers::new(key, value)))
    }

    /// The producer beneath, which takes bytes.
    pub fn producer(&self) -> &Producer {
        &self.producer
    }

    /// Accepts a record, as [`Producer::send`], after its key and value are turned into bytes; where a serializer has to
    /// ask somebody first, such as a schema registry, this waits for that too, however long that takes. Cancel safe: where this future is
    /// dropped before it is ready, the record was not accepted.
    ///
    /// # Errors
    /// As [`Producer::send`]; [`ProducerError::Serialization`].
    pub async fn send(&self, record: TypedRecord<'_, K, V>) -> Result<Delivery, ProducerError> {
        self.serializers.send(&self.producer, record).await
    }

    /// Accepts a record if that is possible at once, as [`Producer::try_send`]. It borrows key and value, and is only
    /// borrowed itself, so that nothing is lost where it is not taken.
    ///
    /// # Errors
    /// As [`Producer::try_send`]. Where a serializer has to ask somebody first, that is
    /// [`ProducerError::Serialization`] with
    /// [`is_unprepared`](rkafka_client_core::serialization::SerializationError::is_unprepared): await [`Self::prepare`].
    pub fn try_send(&self, record: &TypedRecord<'_, K, V>) -> Result<Delivery, TrySendError> {
        self.serializers.with_bytes(record, |record| self.producer.try_send(record))?
    }

    /// Lets the serializers ask what they have to ask for a record such as this one. Cancel safe.
    ///
    /// # Errors
    /// [`ProducerError::Serialization`].
    pub async fn prepare(&self, record: &TypedRecord<'_, K, V>) -> Result<(), ProducerError> {
        self.serializers.prepare(record).await
    }

    /// As [`TypedProducer::send`], and calls `callback` with the record's fate, as [`Producer::send_with`]. Cancel safe.
    ///
    /// # Errors
    /// As [`TypedProducer::send`]; the callback is then not called.
    pub async fn send_with(
        &self,
        record: TypedRecord<'_, K, V>,
        callback: impl FnOnce(DeliveryResult) + Send + 'static,
    ) -> Result<(), ProducerError> {
        self.send(record).await?.call_back(callback);
        Ok(())
    }

    /// Accepts records one after the other, as [`Producer::send_many`]; each is serialized by itself. Cancel safe: what was
    /// accepted has its delivery in `deliveries`.
    ///
    /// # Errors
    /// As [`TypedProducer::send`], of the first record that was not accepted.
    pub async fn send_many<'r>(
        &self,
        records: impl IntoIterator<Item = TypedRecord<'r, K, V>>,
        deliveries: &mut Vec<Delivery>,
    ) -> Result<usize, ProducerError>
    where
        K: 'r,
        V: 'r,
    {
        let before = deliveries.len();
        for record in records {
            deliveries.push(self.send(record).await?);
        }
        Ok(deliveries.len().saturating_sub(before))
    }

    /// As [`Producer::flush`]. Cancel safe.
    pub async fn flush(&self) {
        self.producer.flush().await;
    }

    /// As [`Producer::close`], which closes every other face of the producer too.
    ///
    /// # Errors
    /// As [`Producer::close`].
    pub async fn close(&self, deadline: Duration) -> Result<(), ProducerError> {
        self.producer.close(deadline).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ClientSettings as _;
    use crate::serialization::{LongSerializer, StringSerializer};

    /// What comes of the settings; nobody is at this address.
    async fn text<P>(made: impl Future<Output = Result<P, ProducerError>>) -> String {
        match made.await {
            Ok(_) => "a producer".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    // Shows: key.serializer, value.serializer.
    #[tokio::test]
    async fn serializers_that_are_set_are_those_of_the_program_or_refused() {
        let config = |key: &str, value: &str| {
            let mut config = ProducerConfig::new().bootstrap_servers("127.0.0.1:1").max_block(Duration::from_millis(1));
            config.set("key.serializer", key).unwrap();
            config.set("value.serializer", value).unwrap();
            config
        };
        let java = "org.apache.kafka.common.serialization.";
        let (string, long) = (format!("{java}StringSerializer"), format!("{java}LongSerializer"));
        let same = text(TypedProducer::<str, i64>::new(config(&string, "LongSerializer"))).await;
        assert!(same.contains("127.0.0.1:1"), "{same}");
        let other = text(TypedProducer::<str, i32>::new(config(&string, &long))).await;
        assert!(other.contains("`value.serializer`") && other.contains("IntegerSerializer"), "{other}");
        let given = TypedProducer::with_serializers(config("", &long), StringSerializer, LongSerializer);
        let given = text::<TypedProducer<str, i64>>(given).await;
        assert!(given.contains("`value.serializer`") && given.contains("in code"), "{given}");
        let plain = text(Producer::new(config(&string, "ByteBufferSerializer"))).await;
        assert!(plain.contains("127.0.0.1:1"), "{plain}");
        let plain = text(Producer::new(config(&long, ""))).await;
        assert!(plain.contains("`key.serializer`") && plain.contains("TypedProducer"), "{plain}");
        let unknown = ProducerConfig::new().set("key.serializer", "com.example.Mine").unwrap_err().to_string();
        assert!(unknown.contains("StringSerializer"), "{unknown}");
    }
}
