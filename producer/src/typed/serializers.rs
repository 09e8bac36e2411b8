//! The serializers of key and value together, and how a record gets through them.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use rkafka_client_core::serialization::{
    DefaultSerializer, Encoded, SerializationContext, SerializationError, Serializer,
};

use super::{TypedRecord, scratch};
use crate::record::Headers;
use crate::{Delivery, OwnedRecord, Producer, ProducerError, Record, Transaction, TrySendError};

/// How often serializers are prepared for one record: each of two, and once more where what they know expires meanwhile.
const PREPARATIONS_MAX: u32 = 3;

/// The serializers of a record's key and value: for [`TypedProducer`](super::TypedProducer)s and
/// [`TypedTransaction`](super::TypedTransaction)s. Clones share them.
///
/// ```
/// use rkafka_producer::Serializers;
/// use rkafka_producer::serialization::{LongSerializer, StringSerializer};
///
/// let by_type = Serializers::<str, i64>::default();
/// let by_name = Serializers::<str, i64>::new(StringSerializer, LongSerializer);
/// ```
pub struct Serializers<K: ?Sized, V: ?Sized> {
    key: Arc<dyn Serializer<K> + Send + Sync>,
    value: Arc<dyn Serializer<V> + Send + Sync>,
}

impl<K: ?Sized, V: ?Sized> Serializers<K, V> {
    /// These serializers.
    pub fn new(
        key: impl Serializer<K> + Send + Sync + 'static,
        value: impl Serializer<V> + Send + Sync + 'static,
    ) -> Self {
        Self { key: Arc::new(key), value: Arc::new(value) }
    }
}

impl<K: DefaultSerializer + ?Sized, V: DefaultSerializer + ?Sized> Default for Serializers<K, V> {
    /// Those that the types have.
    fn default() -> Self {
        Self::new(K::Serializer::default(), V::Serializer::default())
    }
}

impl<K: ?Sized, V: ?Sized> Clone for Serializers<K, V> {
    fn clone(&self) -> Self {
        Self { key: self.key.clone(), value: self.value.clone() }
    }
}

impl<K: ?Sized, V: ?Sized> fmt::Debug for Serializers<K, V> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Serializers(..)")
    }
}

/// What takes records whose key and value are bytes by now.
pub(crate) trait Taker: Sync {
    fn take_now(&self, record: &Record<'_>) -> Result<Delivery, TrySendError>;
    fn take(&self, record: Record<'_>) -> impl Future<Output = Result<Delivery, ProducerError>> + Send;
}

impl Taker for Producer {
    fn take_now(&self, record: &Record<'_>) -> Result<Delivery, TrySendError> {
        take_once(self, record)
    }

    fn take(&self, record: Record<'_>) -> impl Future<Output = Result<Delivery, ProducerError>> + Send {
        self.send(record)
    }
}

/// One try, which nobody takes note of where it fails. Interceptors stand in `send` alone, and see a record once.
fn take_once(producer: &Producer, record: &Record<'_>) -> Result<Delivery, TrySendError> {
    if producer.shared().interceptors.is_some() {
        return Err(TrySendError::Full);
    }
    producer.try_once(record)
}

/// What is found out by looking at the producer alone leaves a transaction as it is: [`Taker::take`] asks again, and judges.
impl Taker for Transaction<'_> {
    fn take_now(&self, record: &Record<'_>) -> Result<Delivery, TrySendError> {
        take_once(self.producer(), record)
    }

    fn take(&self, record: Record<'_>) -> impl Future<Output = Result<Delivery, ProducerError>> + Send {
        self.send(record)
    }
}

impl<K: ?Sized, V: ?Sized> Serializers<K, V> {
    /// Calls `take` with the record as bytes, which are in a buffer that is used again afterwards.
    pub(crate) fn with_bytes<R>(
        &self,
        record: &TypedRecord<'_, K, V>,
        take: impl FnOnce(&Record<'_>) -> R,
    ) -> Result<R, ProducerError> {
        scratch::with(|buffer| {
            let mut headers = record.headers.clone();
            let key = record
                .key
                .map(|key| self.key.serialize(SerializationContext::key(record.topic), &mut headers, key, buffer));
            let key = is_there(key)?;
            let key_end = buffer.len();
            let value = record.value.map(|value| {
                self.value.serialize(SerializationContext::value(record.topic), &mut headers, value, buffer)
            });
            let value = is_there(value)?;
            let Some((key_bytes, value_bytes)) = buffer.split_at_checked(key_end) else {
                let reason = "its serializer cut off bytes that were there before: it may only append";
                return Err(SerializationError::new(SerializationContext::value(record.topic), reason).into());
            };
            Ok(take(&Record {
                topic: record.topic,
                partition: record.partition,
                key: key.then_some(key_bytes),
                value: value.then_some(value_bytes),
                headers: Headers::from(&headers),
                timestamp: record.timestamp,
            }))
        })
    }

    pub(crate) async fn send(
        &self,
        taker: &impl Taker,
        record: TypedRecord<'_, K, V>,
    ) -> Result<Delivery, ProducerError> {
        let mut preparations_left = PREPARATIONS_MAX;
        loop {
            // The bytes are copied out of the buffer of this thread only where there is something to wait for.
            let taken =
                self.with_bytes(&record, |bytes| taker.take_now(bytes).map_err(|_| Box::new(OwnedRecord::from(bytes))));
            match taken {
                Ok(Ok(delivery)) => return Ok(delivery),
                Ok(Err(waits)) => return taker.take(waits.as_record()).await,
                Err(ProducerError::Serialization(error)) if error.is_unprepared() && preparations_left > 0 => {
                    preparations_left -= 1;
                    self.prepare(&record).await?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    pub(crate) async fn prepare(&self, record: &TypedRecord<'_, K, V>) -> Result<(), ProducerError> {
        if let Some(key) = record.key {
            self.key.prepare(SerializationContext::key(record.topic), key).await?;
        }
        if let Some(value) = record.value {
            self.value.prepare(SerializationContext::value(record.topic), value).await?;
        }
        Ok(())
    }
}

/// Whether there are bytes, and not a null.
fn is_there(encoded: Option<Result<Encoded, SerializationError>>) -> Result<bool, SerializationError> {
    match encoded.transpose()? {
        Some(Encoded::Bytes) => Ok(true),
        Some(Encoded::Null) | None => Ok(false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serialization::{RecordHeaders, StringSerializer};

    /// Clears what was there before, in the place of appending.
    struct Clearing;
    impl Serializer<str> for Clearing {
        fn serialize(
            &self,
            _: SerializationContext<'_>,
            _: &mut RecordHeaders<'_>,
            _: &str,
            into: &mut Vec<u8>,
        ) -> Result<Encoded, SerializationError> {
            into.clear();
            Ok(Encoded::Bytes)
        }
    }

    #[test]
    fn a_serializer_that_cuts_off_the_key_is_refused() {
        let serializers = Serializers::<str, str>::new(StringSerializer, Clearing);
        let record = TypedRecord::to("t").key("k").value("v");
        let error = serializers.with_bytes(&record, |record| record.key.map(<[u8]>::to_vec)).unwrap_err().to_string();
        assert!(error.contains("`t`") && error.contains("only append"), "{error}");
    }
}
