//! Keys and values of a share group in place of bytes.

use std::fmt;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use rkafka_client_core::serialization::{DefaultDeserializer, Deserializer};

use super::acknowledgement::AcknowledgementResult;
use super::batch::ShareRecord;
use super::config::ShareConsumerConfig;
use super::consumer::ShareConsumer;
use super::error::{ShareConsumerError, ShareResult};
use super::handle::ShareConsumerHandle;
use crate::typed::{DeserializationError, Deserialize};
use crate::waiting::{Waits, waiting};

/// What goes wrong with a [`TypedShareConsumer`].
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum TypedShareError {
    /// The consumer.
    #[error(transparent)]
    Consumer(#[from] ShareConsumerError),
    /// A record cannot be read. It is this member's like any other, and the error holds it.
    #[error(transparent)]
    Deserialization(#[from] ShareDeserializationError),
}

impl TypedShareError {
    /// Whether nothing more will come.
    pub fn is_fatal(&self) -> bool {
        matches!(self, Self::Consumer(error) if error.is_fatal())
    }
}

/// A record of a share group whose key or value cannot be read. It names the place and the side, never what the record
/// holds.
///
/// By `explicit` the application says what is to become of the [record](Self::record):
/// [`AcknowledgeType::Reject`](crate::AcknowledgeType::Reject) where nobody will ever read it, or
/// [`AcknowledgeType::Release`](crate::AcknowledgeType::Release) where another member might. By `implicit` it was
/// released, so that coming back for more does not accept what was never read: it is delivered again, as long as
/// `share.delivery.count.limit` allows.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{source}")]
pub struct ShareDeserializationError {
    record: ShareRecord,
    source: Box<DeserializationError>,
}

impl ShareDeserializationError {
    /// The record as it came: to be acknowledged, or sent to a dead-letter topic.
    pub fn record(&self) -> &ShareRecord {
        &self.record
    }

    /// The record as it came.
    pub fn into_record(self) -> ShareRecord {
        self.record
    }

    /// Where it is, which side cannot be read, and why.
    pub fn reason(&self) -> &DeserializationError {
        &self.source
    }
}

/// A record of a share group whose key and value were read. It is acknowledged as the [`ShareRecord`] that it is.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct TypedShareRecord<K, V> {
    /// The key.
    pub key: K,
    /// The value.
    pub value: V,
    /// The record as it came.
    pub record: ShareRecord,
}

impl<K, V> Deref for TypedShareRecord<K, V> {
    type Target = ShareRecord;

    fn deref(&self) -> &ShareRecord {
        &self.record
    }
}

/// A share consumer of keys and values. Types that have a deserializer of their own need no other; a null is an error
/// unless the type is an `Option`.
///
/// A record that cannot be read never stops the others, and is not lost: its error is given in its place, and holds it.
///
/// ```no_run
/// use rkafka_consumer::{
///     AcknowledgeType, AcknowledgementMode, ClientSettings, ShareConsumerConfig, ShareConsumerError, TypedShareConsumer,
///     TypedShareError,
/// };
///
/// # async fn work() -> Result<(), ShareConsumerError> {
/// let config = ShareConsumerConfig::new()
///     .bootstrap_servers("localhost:9092")
///     .group_id("counts")
///     .share_acknowledgement_mode(AcknowledgementMode::Explicit);
/// let mut counts = TypedShareConsumer::<Option<String>, i64>::connect(config).await?;
/// counts.subscribe(["counts"])?;
/// loop {
///     match counts.recv().await {
///         Ok(count) => {
///             println!("{:?}: {}", count.key, count.value);
///             counts.acknowledge(&count, AcknowledgeType::Accept)?;
///         }
///         Err(TypedShareError::Deserialization(error)) => {
///             println!("rejected: {error}");
///             counts.acknowledge(error.record(), AcknowledgeType::Reject)?;
///         }
///         Err(TypedShareError::Consumer(error)) => return Err(error),
///         Err(error) => println!("{error}"),
///     }
/// }
/// # }
/// ```
pub struct TypedShareConsumer<K, V> {
    consumer: ShareConsumer,
    deserialize: Deserialize<K, V>,
    pending: Option<Pending>,
}

/// A record whose deserializers are not ready. Until it is given out, it is the next one of the consumer.
struct Pending {
    record: ShareRecord,
    preparing: Pin<Box<dyn Future<Output = Result<(), DeserializationError>> + Send>>,
}

impl<K, V> fmt::Debug for TypedShareConsumer<K, V> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { consumer, deserialize, .. } = self;
        formatter
            .debug_struct("TypedShareConsumer")
            .field("consumer", consumer)
            .field("deserialize", deserialize)
            .finish_non_exhaustive()
    }
}

impl<K: DefaultDeserializer + 'static, V: DefaultDeserializer + 'static> TypedShareConsumer<K, V> {
    /// Connects a share consumer of types that have a deserializer of their own. Cancel safe.
    ///
    /// # Errors
    /// As [`ShareConsumer::connect`].
    pub async fn connect(config: ShareConsumerConfig) -> ShareResult<Self> {
        Ok(Self::new(ShareConsumer::connect(config).await?))
    }

    /// Reads what this consumer gives by the types' own deserializers.
    pub fn new(consumer: ShareConsumer) -> Self {
        Self { consumer, deserialize: Deserialize::default(), pending: None }
    }
}

impl<K: 'static, V: 'static> TypedShareConsumer<K, V> {
    /// Reads what this consumer gives by these deserializers.
    pub fn with(
        consumer: ShareConsumer,
        key: impl for<'a> Deserializer<'a, K> + Send + Sync + 'static,
        value: impl for<'a> Deserializer<'a, V> + Send + Sync + 'static,
    ) -> Self {
        Self { consumer, deserialize: Deserialize::new(key, value), pending: None }
    }

    /// The consumer, such as to take records as bytes: they come in one order, whichever face takes them. A record that
    /// was being read comes again.
    pub fn consumer(&mut self) -> &mut ShareConsumer {
        &mut self.consumer
    }

    /// The consumer as one of bytes. A record that was being read comes again.
    pub fn into_inner(self) -> ShareConsumer {
        self.consumer
    }

    /// As [`ShareConsumer::subscribe`].
    ///
    /// # Errors
    /// As [`ShareConsumer::subscribe`].
    pub fn subscribe<Topic: Into<String>>(&mut self, topics: impl IntoIterator<Item = Topic>) -> ShareResult<()> {
        self.consumer.subscribe(topics)
    }

    /// As [`ShareConsumer::unsubscribe`].
    ///
    /// # Errors
    /// As [`ShareConsumer::unsubscribe`].
    pub fn unsubscribe(&mut self) -> ShareResult<()> {
        self.consumer.unsubscribe()
    }

    /// Waits for the next record. Cancel safe: a record counts as handed out only when this returns it, or its error.
    /// What was handed out before counts as come back from with the first poll.
    ///
    /// # Errors
    /// As [`ShareConsumer::recv`]; [`TypedShareError::Deserialization`] in place of a record that cannot be read.
    pub async fn recv(&mut self) -> Result<TypedShareRecord<K, V>, TypedShareError> {
        waiting(self, Self::poll_typed).await
    }

    /// Waits for a record, and takes what more is there without a wait, `max.poll.records` at most. Gives how many were
    /// put at the end of `records`, those that cannot be read among them. Cancel safe: it takes nothing before it returns.
    ///
    /// # Errors
    /// As [`ShareConsumer::recv_many`].
    pub async fn recv_many(
        &mut self,
        records: &mut Vec<Result<TypedShareRecord<K, V>, ShareDeserializationError>>,
    ) -> ShareResult<usize> {
        records.push(match self.recv().await {
            Ok(record) => Ok(record),
            Err(TypedShareError::Deserialization(error)) => Err(error),
            Err(TypedShareError::Consumer(error)) => return Err(error),
        });
        let mut count = 1;
        while count < self.consumer.config().max_poll_records
            && let Some(record) = self.consumer.ahead_in_hand()
        {
            let read = match self.deserialize.read_now(&record.record) {
                Err(error) if error.is_unprepared() => break,
                result => result.map_err(|error| DeserializationError::new(&record.record, error)),
            };
            if !self.consumer.hand_out_ahead() {
                break;
            }
            records.push(self.judge(record, read.map(|typed| (typed.key, typed.value))));
            count += 1;
        }
        Ok(count)
    }

    /// As [`ShareConsumer::commit`].
    ///
    /// # Errors
    /// As [`ShareConsumer::commit`].
    pub async fn commit(&mut self) -> ShareResult<Vec<AcknowledgementResult>> {
        self.consumer.commit().await
    }

    /// As [`ShareConsumer::commit_async`].
    ///
    /// # Errors
    /// As [`ShareConsumer::commit_async`].
    pub fn commit_async(
        &mut self,
    ) -> ShareResult<impl Future<Output = ShareResult<Vec<AcknowledgementResult>>> + Send + use<K, V>> {
        self.consumer.commit_async()
    }

    /// As [`ShareConsumer::close`]: where the future is dropped, the closing goes on.
    ///
    /// # Errors
    /// As [`ShareConsumer::close`].
    pub async fn close(self) -> ShareResult<()> {
        self.consumer.close().await
    }

    fn poll_typed(&mut self, context: &mut Context<'_>) -> Poll<Result<TypedShareRecord<K, V>, TypedShareError>> {
        loop {
            let record = match ready!(self.consumer.poll_ahead(context)) {
                Ok(record) => record,
                Err(error) => return Poll::Ready(Err(error.into())),
            };
            let prepared = match &mut self.pending {
                Some(pending) if pending.record.is_same(&record) => {
                    Some(ready!(pending.preparing.as_mut().poll(context)))
                }
                _ => None,
            };
            self.pending = None;
            let read = match (prepared, self.deserialize.read_now(&record.record)) {
                (None, Err(error)) if error.is_unprepared() => {
                    let (deserialize, of_future) = (self.deserialize.clone(), record.record.clone());
                    let preparing = Box::pin(async move { deserialize.prepare(&of_future).await });
                    self.pending = Some(Pending { record, preparing });
                    continue;
                }
                (Some(Err(error)), _) => Err(error),
                (_, result) => result.map_err(|error| DeserializationError::new(&record.record, error)),
            };
            if self.consumer.hand_out_ahead() {
                let read = read.map(|typed| (typed.key, typed.value));
                return Poll::Ready(self.judge(record, read).map_err(TypedShareError::from));
            }
            // Its lock was about to run out, or was lost, while its deserializers were awaited: it comes to somebody again.
        }
    }

    /// What is handed out in place of a record. One that cannot be read must not be accepted by coming back.
    fn judge(
        &self,
        record: ShareRecord,
        read: Result<(K, V), DeserializationError>,
    ) -> Result<TypedShareRecord<K, V>, ShareDeserializationError> {
        match read {
            Ok((key, value)) => Ok(TypedShareRecord { key, value, record }),
            Err(source) => {
                self.consumer.release_unread(&record);
                Err(ShareDeserializationError { record, source: Box::new(source) })
            }
        }
    }
}

impl ShareRecord {
    /// Whether both are one delivery of one record.
    fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.hold, &other.hold) && self.record.offset() == other.record.offset()
    }
}

impl<K, V> Waits for TypedShareConsumer<K, V> {
    fn stop_waiting(&mut self) {
        self.consumer.stop_waiting();
    }
}

impl<K, V> Deref for TypedShareConsumer<K, V> {
    type Target = ShareConsumerHandle;

    fn deref(&self) -> &ShareConsumerHandle {
        &self.consumer
    }
}

/// Records one by one, as [`TypedShareConsumer::recv`] gives them. It ends when the consumer is closed.
impl<K: 'static, V: 'static> Stream for TypedShareConsumer<K, V>
where
    Self: Unpin,
{
    type Item = Result<TypedShareRecord<K, V>, TypedShareError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match ready!(self.poll_typed(context)) {
            Err(TypedShareError::Consumer(ShareConsumerError::Closed)) => Poll::Ready(None),
            other => Poll::Ready(Some(other)),
        }
    }
}
