//! What can go wrong between a client and its cluster.

use std::fmt;
use std::sync::Arc;

use rkafka_config::ConfigError;
use rkafka_net::{DialError, FrameError};
use rkafka_protocol::ErrorCode;
use rkafka_protocol::wire::{DecodeError, EncodeError};

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What kind of thing went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A setting, or an argument, that cannot be taken. Change it.
    Config,
    /// A broker cannot be reached.
    Unreachable,
    /// A connection was closed before the answer came.
    Disconnected,
    /// No answer, or no success, in time.
    Timeout,
    /// A broker answered with an error.
    Broker(ErrorCode),
    /// The broker has no version of the request that can do what is asked.
    UnsupportedVersion,
    /// A broker sent what is not the protocol, or an answer that nobody waits for.
    Protocol,
    /// A message cannot be written, such as one with a string that is too long.
    Encode,
    /// The client was closed.
    Closed,
    /// No broker with this id is known; the metadata may be old.
    UnknownBroker,
}

/// An error with its kind, its cause, and the broker, topic and partition that it is about, where there are such.
///
/// Its `Display` is one line with the causes in it; [`std::error::Error::source`] leads to them as values.
#[derive(Clone)]
pub struct Error {
    inner: Box<Inner>,
}

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    message: String,
    broker: Option<String>,
    topic: Option<String>,
    partition: Option<i32>,
    maybe_written: bool,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error of `kind`; `message` says what happened and, where it can, what to do.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            inner: Box::new(Inner {
                kind,
                message: message.into(),
                broker: None,
                topic: None,
                partition: None,
                maybe_written: false,
                source: None,
            }),
        }
    }

    /// A broker's answer that is an error.
    pub fn broker_error(code: ErrorCode) -> Self {
        Self::new(ErrorKind::Broker(code), code.to_string())
    }

    /// `Ok` where the code is 0, else the error it stands for.
    ///
    /// # Errors
    /// The code is not 0.
    pub fn check(code: i16) -> Result<()> {
        ErrorCode::check(code).map_err(Self::broker_error)
    }

    /// `Ok` where the code is 0, else the error it stands for, with what the broker wrote beside it.
    ///
    /// # Errors
    /// The code is not 0.
    pub fn check_with(code: i16, message: Option<&str>) -> Result<()> {
        ErrorCode::check(code).map_err(|code| match message.filter(|message| !message.is_empty()) {
            Some(message) => {
                Self::new(ErrorKind::Broker(code), format!("{} ({}): {message}", code.name(), code.code()))
            }
            None => Self::broker_error(code),
        })
    }

    /// Adds the broker that the error is about.
    #[must_use]
    pub fn with_broker(mut self, broker: impl fmt::Display) -> Self {
        self.inner.broker = Some(broker.to_string());
        self
    }

    /// Adds the topic that the error is about.
    #[must_use]
    pub fn with_topic(mut self, topic: impl Into<String>) -> Self {
        self.inner.topic = Some(topic.into());
        self
    }

    /// Adds the topic and the partition that the error is about.
    #[must_use]
    pub fn with_partition(mut self, topic: impl Into<String>, partition: i32) -> Self {
        self.inner.topic = Some(topic.into());
        self.inner.partition = Some(partition);
        self
    }

    /// Says whether the broker may have got the request.
    #[must_use]
    pub fn with_maybe_written(mut self, maybe_written: bool) -> Self {
        self.inner.maybe_written = maybe_written;
        self
    }

    /// Adds the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.inner.source = Some(Arc::new(source));
        self
    }

    /// What kind of thing went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.inner.kind
    }

    /// The broker's error code; for a time limit that ran out, the code of what failed last.
    pub fn code(&self) -> Option<ErrorCode> {
        if let ErrorKind::Broker(code) = self.inner.kind {
            return Some(code);
        }
        self.inner.source.as_ref().and_then(|source| source.downcast_ref::<Self>()).and_then(Self::code)
    }

    /// The broker that the error is about, as `broker 1 (host:port)`.
    pub fn broker(&self) -> Option<&str> {
        self.inner.broker.as_deref()
    }

    /// The topic that the error is about.
    pub fn topic(&self) -> Option<&str> {
        self.inner.topic.as_deref()
    }

    /// The partition that the error is about.
    pub fn partition(&self) -> Option<i32> {
        self.inner.partition
    }

    /// Whether the broker may have got the request, and done what it asks, although no answer came.
    pub fn maybe_written(&self) -> bool {
        self.inner.maybe_written
    }

    /// Whether the same operation may succeed later.
    pub fn is_retriable(&self) -> bool {
        match self.inner.kind {
            ErrorKind::Unreachable | ErrorKind::Disconnected | ErrorKind::Timeout | ErrorKind::UnknownBroker => true,
            ErrorKind::Broker(code) => code.is_retriable(),
            ErrorKind::Config
            | ErrorKind::UnsupportedVersion
            | ErrorKind::Protocol
            | ErrorKind::Encode
            | ErrorKind::Closed => false,
        }
    }

    /// Whether it says that the metadata is old, so that it should be fetched anew before the next attempt.
    pub fn is_stale_metadata(&self) -> bool {
        match self.inner.kind {
            ErrorKind::Unreachable | ErrorKind::Disconnected | ErrorKind::UnknownBroker => true,
            ErrorKind::Broker(code) => code.is_stale_metadata(),
            _ => false,
        }
    }

    /// Whether this client can do nothing more of the kind: it is closed, fenced, or not let in.
    pub fn is_fatal(&self) -> bool {
        match self.inner.kind {
            ErrorKind::Closed | ErrorKind::Config => true,
            ErrorKind::Broker(code) => matches!(
                code,
                ErrorCode::ProducerFenced
                    | ErrorCode::FencedInstanceId
                    | ErrorCode::SaslAuthenticationFailed
                    | ErrorCode::UnsupportedSaslMechanism
                    | ErrorCode::TransactionalIdAuthorizationFailed
                    | ErrorCode::ClusterAuthorizationFailed
                    | ErrorCode::UnsupportedForMessageFormat
            ),
            _ => false,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(broker) = &self.inner.broker {
            write!(formatter, "{broker}: ")?;
        }
        match (&self.inner.topic, self.inner.partition) {
            (Some(topic), Some(partition)) => write!(formatter, "{topic}-{partition}: ")?,
            (Some(topic), None) => write!(formatter, "topic {topic}: ")?,
            _ => {}
        }
        formatter.write_str(&self.inner.message)?;
        if let Some(source) = &self.inner.source {
            write!(formatter, ": {source}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Error")
            .field("kind", &self.inner.kind)
            .field("maybe_written", &self.inner.maybe_written)
            .field("message", &self.to_string())
            .finish()
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.inner.source.as_ref().map(|source| &**source as &(dyn std::error::Error + 'static))
    }
}

impl From<ConfigError> for Error {
    fn from(error: ConfigError) -> Self {
        Self::new(ErrorKind::Config, "the settings cannot be used").with_source(error)
    }
}

impl From<DialError> for Error {
    fn from(error: DialError) -> Self {
        // The broker's name goes before it, so the address need not be said again.
        Self::new(ErrorKind::Unreachable, error.reason())
    }
}

impl From<DecodeError> for Error {
    fn from(error: DecodeError) -> Self {
        Self::new(ErrorKind::Protocol, "the answer cannot be read").with_source(error)
    }
}

impl From<EncodeError> for Error {
    fn from(error: EncodeError) -> Self {
        let kind = match &error {
            EncodeError::UnsupportedVersion { .. } | EncodeError::FieldNotInVersion { .. } => {
                ErrorKind::UnsupportedVersion
            }
            _ => ErrorKind::Encode,
        };
        Self::new(kind, "the request cannot be written").with_source(error)
    }
}

impl From<FrameError> for Error {
    fn from(error: FrameError) -> Self {
        match &error {
            FrameError::BadLength { .. } => {
                Self::new(ErrorKind::Protocol, "the answer cannot be read").with_source(error)
            }
            _ => Self::new(ErrorKind::Disconnected, "the connection broke").with_source(error),
        }
    }
}
