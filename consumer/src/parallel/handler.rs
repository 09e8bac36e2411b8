//! What is done with a record, and how it may fail.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::time::Duration;

use rkafka_client_core::serialization::Side;

use crate::record::ConsumerRecord;
use crate::typed::{DeserializationError, Deserialize, TypedRecord};

/// What is done with a record, as a type: for [`ParallelConsumer::drive`](super::ParallelConsumer::drive).
pub trait RecordHandler: Send + Sync + 'static {
    /// How it fails.
    type Error: fmt::Display + fmt::Debug + Send + 'static;

    /// Deals with a record. It is dropped in the middle where its partition is given up and it takes too long; the record
    /// then comes again, here or elsewhere.
    fn handle(&self, record: ConsumerRecord) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Whether another attempt may succeed. The default is that it may.
    fn is_retriable(&self, _error: &Self::Error) -> bool {
        true
    }

    /// Which part of the record cannot be read, where that is the error. The default is none.
    fn unreadable_side(&self, _error: &Self::Error) -> Option<Side> {
        None
    }
}

/// How dealing with a record failed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure<E> {
    /// The handler gave an error.
    Handler(E),
    /// The handler panicked, with this message.
    Panicked(String),
    /// The handler was not done within this time.
    TimedOut(Duration),
}

impl<E: fmt::Display> fmt::Display for Failure<E> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Handler(error) => error.fmt(formatter),
            Self::Panicked(message) => write!(formatter, "the handler panicked: {message}"),
            Self::TimedOut(limit) => write!(formatter, "the handler was not done within {limit:?}"),
        }
    }
}

/// A closure as a handler.
pub(super) struct Closure<F>(pub(super) F);

impl<F, Fut, E> RecordHandler for Closure<F>
where
    F: Fn(ConsumerRecord) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), E>> + Send + 'static,
    E: fmt::Display + fmt::Debug + Send + 'static,
{
    type Error = E;

    fn handle(&self, record: ConsumerRecord) -> impl Future<Output = Result<(), E>> + Send {
        (self.0)(record)
    }
}

/// How a [`TypedHandler`] fails.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TypedFailure<E: fmt::Display> {
    /// The record cannot be read. Another attempt would not help, so that none is made.
    #[error(transparent)]
    Deserialization(DeserializationError),
    /// The handler gave an error.
    #[error("{0}")]
    Handler(E),
}

/// A handler of keys and values that are read first: a record that cannot be read fails at once, and goes to the last
/// resort, as it is.
pub struct TypedHandler<K, V, F> {
    deserialize: Deserialize<K, V>,
    handler: F,
    of: PhantomData<fn() -> (K, V)>,
}

impl<K, V, F> TypedHandler<K, V, F> {
    /// Reads keys and values by `deserialize`, and has `handler` deal with them.
    pub fn new(deserialize: Deserialize<K, V>, handler: F) -> Self {
        Self { deserialize, handler, of: PhantomData }
    }
}

impl<K, V, F> fmt::Debug for TypedHandler<K, V, F> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("TypedHandler").finish_non_exhaustive()
    }
}

impl<K, V, F, Fut, E> RecordHandler for TypedHandler<K, V, F>
where
    K: Send + 'static,
    V: Send + 'static,
    F: Fn(TypedRecord<K, V>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), E>> + Send + 'static,
    E: fmt::Display + fmt::Debug + Send + 'static,
{
    type Error = TypedFailure<E>;

    async fn handle(&self, record: ConsumerRecord) -> Result<(), Self::Error> {
        let record = self.deserialize.read(record).await.map_err(TypedFailure::Deserialization)?;
        (self.handler)(record).await.map_err(TypedFailure::Handler)
    }

    fn is_retriable(&self, error: &Self::Error) -> bool {
        matches!(error, TypedFailure::Handler(_))
    }

    fn unreadable_side(&self, error: &Self::Error) -> Option<Side> {
        match error {
            TypedFailure::Deserialization(error) => Some(error.side()),
            TypedFailure::Handler(_) => None,
        }
    }
}
