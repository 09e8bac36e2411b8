//! Keys and values in place of bytes.

mod deserialize;

use std::fmt;
use std::ops::Deref;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use rkafka_client_core::serialization::{DefaultDeserializer, Deserializer};

use crate::config::ConsumerConfig;
use crate::consumer::Consumer;
use crate::error::{ConsumerError, Result};
use crate::handle::ConsumerHandle;
use crate::record::ConsumerRecord;
use crate::waiting::{Waits, waiting};
pub use deserialize::{DeserializationError, Deserialize, TypedRecord};

/// What goes wrong with a [`TypedConsumer`].
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum TypedError {
    /// The consumer.
    #[error(transparent)]
    Consumer(#[from] ConsumerError),
    /// A record cannot be read. It counts as handed out: the next call gives the next one, and the error holds the record
    /// as it came.
    #[error(transparent)]
    Deserialization(#[from] DeserializationError),
}

impl TypedError {
    /// Whether nothing more will come.
    pub fn is_fatal(&self) -> bool {
        matches!(self, Self::Consumer(error) if error.is_fatal())
    }
}

/// A consumer of keys and values. Types that have a deserializer of their own need no other; a null is an error unless
/// the type is an `Option`.
///
/// A record that cannot be read never stops the others: its error is given in its place, and holds it.
///
/// ```no_run
/// use rkafka_consumer::{ClientSettings, ConsumerConfig, ConsumerError, TypedConsumer, TypedError};
///
/// # async fn read() -> Result<(), ConsumerError> {
/// let config = ConsumerConfig::new().bootstrap_servers("localhost:9092").group_id("counts");
/// let mut counts = TypedConsumer::<Option<String>, i64>::connect(config).await?;
/// counts.subscribe(["counts"])?;
/// loop {
///     match counts.recv().await {
///         Ok(count) => println!("{:?}: {}", count.key, count.value),
///         Err(TypedError::Deserialization(error)) => println!("passed over: {error}"),
///         Err(TypedError::Consumer(error)) => return Err(error),
///         Err(error) => println!("{error}"),
///     }
/// }
/// # }
/// ```
pub struct TypedConsumer<K, V> {
    consumer: Consumer,
    deserialize: Deserialize<K, V>,
    pending: Option<Pending>,
}

/// A record whose deserializers are not ready. Until it is given out, the consumer's position is before it.
struct Pending {
    record: ConsumerRecord,
    preparing: Pin<Box<dyn Future<Output = Result<(), DeserializationError>> + Send>>,
}

impl<K, V> fmt::Debug for TypedConsumer<K, V> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { consumer, deserialize, .. } = self;
        formatter
            .debug_struct("TypedConsumer")
            .field("consumer", consumer)
            .field("deserialize", deserialize)
            .finish_non_exhaustive()
    }
}

impl<K: DefaultDeserializer + 'static, V: DefaultDeserializer + 'static> TypedConsumer<K, V> {
    /// Connects a consumer of types that have a deserializer of their own. Cancel safe.
    ///
    /// # Errors
    /// As [`Consumer::connect`].
    pub async fn connect(config: ConsumerConfig) -> Result<Self> {
        Ok(Self::new(Consumer::connect(config).await?))
    }

    /// Reads what this consumer gives by the types' own deserializers.
    pub fn new(consumer: Consumer) -> Self {
        Self { consumer, deserialize: Deserialize::default(), pending: None }
    }
}

impl<K: 'static, V: 'static> TypedConsumer<K, V> {
    /// Reads what this consumer gives by these deserializers.
    pub fn with(
        consumer: Consumer,
        key: impl for<'a> Deserializer<'a, K> + Send + Sync + 'static,
        value: impl for<'a> Deserializer<'a, V> + Send + Sync + 'static,
    ) -> Self {
        Self { consumer, deserialize: Deserialize::new(key, value), pending: None }
    }

    /// The consumer, such as to subscribe with hooks, or to take records as bytes: they come in one order, whichever face
    /// takes them. A record that was being read comes again.
    pub fn consumer(&mut self) -> &mut Consumer {
        self.give_again();
        &mut self.consumer
    }

    fn give_again(&mut self) {
        if let Some(pending) = self.pending.take() {
            self.consumer.give_again(&pending.record);
        }
    }

    /// As [`Consumer::subscribe`].
    ///
    /// # Errors
    /// As [`Consumer::subscribe`].
    pub fn subscribe<Topic: Into<String>>(&mut self, topics: impl IntoIterator<Item = Topic>) -> Result<()> {
        self.consumer.subscribe(topics)
    }

    /// As [`Consumer::assign`].
    ///
    /// # Errors
    /// As [`Consumer::assign`].
    pub fn assign<Topic: Into<std::sync::Arc<str>>>(
        &mut self,
        partitions: impl IntoIterator<Item = (Topic, i32, crate::Start)>,
    ) -> Result<()> {
        self.consumer.assign(partitions)
    }

    /// Waits for the next record. Cancel safe: a record counts as handed out only when this returns it, or its error.
    ///
    /// # Errors
    /// As [`Consumer::recv`]; [`TypedError::Deserialization`] in place of a record that cannot be read.
    pub async fn recv(&mut self) -> Result<TypedRecord<K, V>, TypedError> {
        loop {
            if let Some(result) = waiting(self, |consumer, context| consumer.poll_typed(context, false)).await {
                return result;
            }
        }
    }

    /// As [`recv`](Self::recv), and `None` at the end, as [`Consumer::next_batch_until_end`]. Cancel safe.
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    pub async fn recv_until_end(&mut self) -> Result<Option<TypedRecord<K, V>>, TypedError> {
        waiting(self, |consumer, context| consumer.poll_typed(context, true)).await.transpose()
    }

    /// Waits for a record, and takes what more is there without a wait, `max.poll.records` at most. Gives how many were
    /// put at the end of `records`, those that cannot be read among them. Cancel safe: it takes nothing before it returns.
    ///
    /// # Errors
    /// As [`Consumer::recv_many`].
    pub async fn recv_many(
        &mut self,
        records: &mut Vec<Result<TypedRecord<K, V>, DeserializationError>>,
    ) -> Result<usize> {
        records.push(match self.recv().await {
            Ok(record) => Ok(record),
            Err(TypedError::Deserialization(error)) => Err(error),
            Err(TypedError::Consumer(error)) => return Err(error),
        });
        let mut count = 1;
        while count < self.consumer.config().max_poll_records
            && let Some(record) = self.consumer.next_in_hand()
        {
            match self.deserialize.read_now(&record) {
                Err(error) if error.is_unprepared() => {
                    self.begin(record);
                    break;
                }
                result => records.push(result.map_err(|error| DeserializationError::new(&record, error))),
            }
            count += 1;
        }
        Ok(count)
    }

    /// As [`Consumer::close`]: where the future is dropped, the closing goes on.
    ///
    /// # Errors
    /// As [`Consumer::close`].
    pub async fn close(self) -> Result<()> {
        self.consumer.close().await
    }

    /// The consumer as one of bytes. A record that was being read comes again.
    pub fn into_inner(mut self) -> Consumer {
        self.give_again();
        self.consumer
    }

    fn begin(&mut self, record: ConsumerRecord) {
        self.consumer.hold_back(&record);
        let (deserialize, of_future) = (self.deserialize.clone(), record.clone());
        self.pending =
            Some(Pending { record, preparing: Box::pin(async move { deserialize.prepare(&of_future).await }) });
    }

    fn poll_typed(
        &mut self,
        context: &mut Context<'_>,
        until_end: bool,
    ) -> Poll<Option<Result<TypedRecord<K, V>, TypedError>>> {
        loop {
            if let Some(pending) = &mut self.pending {
                if !pending.record.is_current() {
                    // A seek or a rebalance came in between.
                    self.pending = None;
                    continue;
                }
                let prepared = ready!(pending.preparing.as_mut().poll(context));
                let Some(Pending { record, .. }) = self.pending.take() else { continue };
                self.consumer.hand_over(&record);
                let read = prepared.and_then(|()| {
                    self.deserialize.read_now(&record).map_err(|error| DeserializationError::new(&record, error))
                });
                return Poll::Ready(Some(read.map_err(TypedError::from)));
            }
            let record = match ready!(self.consumer.poll_recv(context, until_end)) {
                Some(Ok(record)) => record,
                Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                None => return Poll::Ready(None),
            };
            match self.deserialize.read_now(&record) {
                Err(error) if error.is_unprepared() => self.begin(record),
                result => {
                    let read = result.map_err(|error| DeserializationError::new(&record, error).into());
                    return Poll::Ready(Some(read));
                }
            }
        }
    }
}

impl<K, V> Waits for TypedConsumer<K, V> {
    fn stop_waiting(&mut self) {
        self.consumer.stop_waiting();
    }
}

impl<K, V> Deref for TypedConsumer<K, V> {
    type Target = ConsumerHandle;

    fn deref(&self) -> &ConsumerHandle {
        &self.consumer
    }
}

/// Records one by one, as [`TypedConsumer::recv`] gives them. It ends when the consumer is closed.
impl<K: 'static, V: 'static> Stream for TypedConsumer<K, V>
where
    Self: Unpin,
{
    type Item = Result<TypedRecord<K, V>, TypedError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match ready!(self.poll_typed(context, false)) {
            Some(Err(TypedError::Consumer(ConsumerError::Closed))) => Poll::Ready(None),
            other => Poll::Ready(other),
        }
    }
}
