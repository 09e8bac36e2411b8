//! What is done with a record that cannot be dealt with: other attempts, and what comes after the last one.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use rkafka_client_core::Backoff;
use rkafka_client_core::serialization::Side;

use crate::record::ConsumerRecord;

/// How often a record is tried, and with which pauses in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retries {
    attempts_max: u32,
    backoff: Backoff,
}

impl Retries {
    /// One attempt, and no other.
    pub const fn none() -> Self {
        Self::new(1, Duration::ZERO, Duration::ZERO)
    }

    /// So many attempts, 1 at least; the first pause is `first`, and each one doubles up to `max`, 20 % more or less.
    pub const fn new(attempts_max: u32, first: Duration, max: Duration) -> Self {
        Self { attempts_max, backoff: Backoff::new(first, max) }
    }

    /// Attempts without an end: what comes after the record in its lane waits for it for ever.
    pub const fn forever(first: Duration, max: Duration) -> Self {
        Self::new(u32::MAX, first, max)
    }

    /// The pause before the next attempt after so many have failed, or `None` after the last one.
    pub(crate) fn pause(&self, failed: u32) -> Option<Duration> {
        let goes_on = failed < self.attempts_max || self.attempts_max == u32::MAX;
        goes_on.then(|| self.pause_for_ever(failed))
    }

    /// The pause, of attempts that have no end.
    pub(crate) fn pause_for_ever(&self, failed: u32) -> Duration {
        self.backoff.delay(failed.saturating_sub(1), &mut rand::rng())
    }
}

/// Three attempts, a second and two apart.
impl Default for Retries {
    fn default() -> Self {
        Self::new(3, Duration::from_secs(1), Duration::from_secs(10))
    }
}

/// In what way a record could not be dealt with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CauseKind {
    /// The handler gave an error.
    Handler,
    /// The handler panicked.
    Panic,
    /// The handler was not done in its time.
    Timeout,
    /// The key or the value cannot be read.
    Deserialization(Side),
}

/// Why a record could not be dealt with, for whoever looks at it later.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cause {
    /// In what way.
    pub kind: CauseKind,
    /// The error's text.
    pub message: String,
    /// The error's type, where it is one of the application.
    pub type_name: String,
    /// How many attempts were made.
    pub attempts: u32,
    /// The group that read the record.
    pub group_id: Option<String>,
}

impl Cause {
    /// A cause of one attempt, without a group: for applications that bury records by themselves.
    pub fn new<E: fmt::Display>(kind: CauseKind, error: &E) -> Self {
        let type_name = std::any::type_name::<E>().to_owned();
        Self { kind, message: error.to_string(), type_name, attempts: 1, group_id: None }
    }

    /// Says how many attempts were made.
    #[must_use]
    pub fn with_attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts;
        self
    }

    /// Says which group read the record.
    #[must_use]
    pub fn with_group(mut self, group_id: Option<impl Into<String>>) -> Self {
        self.group_id = group_id.map(Into::into);
        self
    }
}

/// Why a record could not be buried.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the record was not written to its dead-letter topic: {message}")]
pub struct DeadLetterError {
    message: String,
    is_retriable: bool,
    #[source]
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

impl DeadLetterError {
    /// An error with its source; `is_retriable` where another attempt may succeed.
    pub fn new(source: impl std::error::Error + Send + Sync + 'static, is_retriable: bool) -> Self {
        Self { message: source.to_string(), is_retriable, source: Some(Arc::new(source)) }
    }

    /// Whoever was to bury it panicked.
    pub(crate) fn panicked(message: &str) -> Self {
        Self { message: format!("a panic: {message}"), is_retriable: false, source: None }
    }

    /// Whether another attempt may succeed.
    pub fn is_retriable(&self) -> bool {
        self.is_retriable
    }
}

/// What [`DeadLetters::bury`] gives back.
pub type Burial<'a> = Pin<Box<dyn Future<Output = Result<(), DeadLetterError>> + Send + 'a>>;

/// Where records go that cannot be dealt with. The crate `rkafka` has one that sends them to a topic,
/// `rkafka::DeadLetterTopic`; this crate knows no producer.
pub trait DeadLetters: Send + Sync + 'static {
    /// Keeps the record and the cause elsewhere. The record is committed once this has succeeded; where it fails by an
    /// error that is [retriable](DeadLetterError::is_retriable), it is called again.
    fn bury<'a>(&'a self, record: &'a ConsumerRecord, cause: &'a Cause) -> Burial<'a>;
}

/// What is done with a record after the last attempt.
#[derive(Clone, Default)]
#[non_exhaustive]
pub enum LastResort {
    /// The processing stops with the error. The record is not committed: it comes again with the next run, unless the
    /// application seeks beyond it.
    #[default]
    Stop,
    /// The record is given up: logged and committed.
    Skip,
    /// The record is kept elsewhere, such as in a dead-letter topic, and then committed.
    DeadLetter(Arc<dyn DeadLetters>),
}

impl fmt::Debug for LastResort {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Stop => "Stop",
            Self::Skip => "Skip",
            Self::DeadLetter(_) => "DeadLetter",
        })
    }
}
