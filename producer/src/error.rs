//! What can go wrong with a record or a producer.

use std::sync::Arc;
use std::time::Duration;

use rkafka_client_core::serialization::SerializationError;
use rkafka_config::ConfigError;
use rkafka_protocol::ErrorCode;
use thiserror::Error;

/// Why a record was not accepted, or not delivered.
///
/// Two questions decide what to do about it. [`ProducerError::is_retriable`]: can the same record succeed if it is sent
/// again? [`ProducerError::maybe_written`]: may it be in the log in spite of the error, so that sending it again may
/// write it twice?
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum ProducerError {
    /// The settings cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The record alone is above a limit; it was not accepted.
    #[error(
        "a record for topic `{topic}` takes {size} bytes, above the {limit} of `{setting}`: make the record smaller, or raise `{setting}` (for the broker: `max.message.bytes` of the topic)"
    )]
    RecordTooLarge {
        /// The record's topic.
        topic: Arc<str>,
        /// The record's size in a batch, before compression, in bytes.
        size: usize,
        /// The limit, in bytes.
        limit: usize,
        /// The setting that holds the limit.
        setting: &'static str,
    },
    /// The cluster did not tell of the topic within `max.block.ms`; the record was not accepted.
    #[error(
        "topic `{topic}` was not found within {} ms (`max.block.ms`): create it, or check its name and whether the brokers may create topics (`auto.create.topics.enable`) and the client asks for it (`allow.auto.create.topics`){}",
        .waited.as_millis(), detail_text(.detail)
    )]
    UnknownTopic {
        /// The topic.
        topic: Arc<str>,
        /// How long the producer waited.
        waited: Duration,
        /// The last reason why the topic was not found, where one is known.
        detail: Option<Arc<str>>,
    },
    /// The topic has no such partition; the record was not accepted.
    #[error("topic `{topic}` has partitions 0 to {}, but the record names partition {partition}", .partitions.saturating_sub(1))]
    UnknownPartition {
        /// The topic.
        topic: Arc<str>,
        /// The partition that the record names.
        partition: i32,
        /// How many partitions the topic has.
        partitions: u32,
    },
    /// The application's partitioner chose a partition that is not there; the record was not accepted.
    #[error(
        "the partitioner chose partition {partition} of topic `{topic}`, which has partitions 0 to {}: it must answer with a number below the count that it is given",
        .partitions.saturating_sub(1)
    )]
    PartitionerOutOfRange {
        /// The topic.
        topic: Arc<str>,
        /// The partition that was chosen.
        partition: u32,
        /// How many partitions the topic has.
        partitions: u32,
    },
    /// `buffer.memory` stayed full for `max.block.ms`; the record was not accepted.
    #[error(
        "`buffer.memory` of {limit} bytes stayed full for {} ms (`max.block.ms`): records are sent faster than the cluster takes them",
        .waited.as_millis()
    )]
    BufferFull {
        /// `buffer.memory`, in bytes.
        limit: usize,
        /// How long the producer waited.
        waited: Duration,
    },
    /// `delivery.timeout.ms` passed before the record was acknowledged.
    #[error(
        "a record for {topic}-{partition} was not acknowledged within {} ms (`delivery.timeout.ms`); it {}{}",
        .timeout.as_millis(), written_text(*.maybe_written), detail_text(.detail)
    )]
    DeliveryTimeout {
        /// The record's topic.
        topic: Arc<str>,
        /// The record's partition.
        partition: i32,
        /// `delivery.timeout.ms`.
        timeout: Duration,
        /// Whether the record may be in the log.
        maybe_written: bool,
        /// The last error before the timeout, where there was one.
        detail: Option<Arc<str>>,
    },
    /// The broker refused the record, and a retry could not help or was not allowed.
    #[error("the broker refused a record for {topic}-{partition}: {code}{}; it {}", detail_text(.detail), written_text(*.maybe_written))]
    Refused {
        /// The record's topic.
        topic: Arc<str>,
        /// The record's partition.
        partition: i32,
        /// The broker's error.
        code: ErrorCode,
        /// What the broker says about it, where it says something.
        detail: Option<Arc<str>>,
        /// Whether the record may be in the log.
        maybe_written: bool,
    },
    /// The connection failed while the record was under way, and `retries` allowed no other attempt.
    #[error("the connection failed while a record for {topic}-{partition} was sent: {detail}; it {}", written_text(*.maybe_written))]
    Disconnected {
        /// The record's topic.
        topic: Arc<str>,
        /// The record's partition.
        partition: i32,
        /// What happened to the connection.
        detail: Arc<str>,
        /// Whether the record may be in the log.
        maybe_written: bool,
    },
    /// The record could not be encoded.
    #[error("a record for {topic}-{partition} cannot be encoded: {detail}")]
    Encode {
        /// The record's topic.
        topic: Arc<str>,
        /// The record's partition.
        partition: i32,
        /// What is wrong with it.
        detail: Arc<str>,
    },
    /// The transaction that the record is part of is aborted, or can only be aborted.
    #[error("the transaction is aborted{}; the record {}", detail_text(.reason), aborted_text(*.maybe_written))]
    TransactionAborted {
        /// Why, where that is known and not the application's own wish.
        reason: Option<Arc<str>>,
        /// Whether the record may be in the log, where only consumers with `isolation.level=read_uncommitted` see it.
        maybe_written: bool,
    },
    /// The producer is closed, or was closed before the record was acknowledged.
    #[error("the producer is closed; the record {}", written_text(*.maybe_written))]
    Closed {
        /// Whether the record may be in the log.
        maybe_written: bool,
    },
    /// The key or value could not be turned into bytes; the record was not accepted.
    #[error(transparent)]
    Serialization(#[from] SerializationError),
    /// The record was not accepted, for a reason that lies with how it was handed over.
    #[error("the record was not accepted: {reason}")]
    NotAccepted {
        /// Why.
        reason: &'static str,
    },
    /// A call that has to wait was made in a callback, on the thread that would have to end the wait. What it was to do is
    /// not done.
    #[error(
        "a callback of a blocking producer must not wait, for it runs on the producer's own thread: do it elsewhere"
    )]
    InCallback,
    /// A blocking producer got no thread or runtime of its own from the system.
    #[error("a blocking producer needs a thread and a runtime of its own, and the system gave none: {detail}")]
    Thread {
        /// The system's reason.
        detail: Arc<str>,
    },
    /// [`Producer::close`](crate::Producer::close) gave up at its deadline.
    #[error("{batches} batches were not acknowledged within the {} ms that `close` was given", .deadline.as_millis())]
    CloseTimeout {
        /// How many batches were given up.
        batches: usize,
        /// The deadline.
        deadline: Duration,
    },
    /// The cluster could not be reached or does not let this client in.
    #[error(transparent)]
    Client(Arc<rkafka_client_core::Error>),
}

fn written_text(maybe: bool) -> &'static str {
    if maybe { "may have been written" } else { "was not written" }
}

fn aborted_text(maybe: bool) -> &'static str {
    if maybe { "may have been written, and is aborted too" } else { "was not written" }
}

fn detail_text(detail: &Option<Arc<str>>) -> String {
    detail.as_ref().map(|text| format!(" ({text})")).unwrap_or_default()
}

impl ProducerError {
    /// Whether the same record may succeed if it is sent again, unchanged and with the same settings.
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::UnknownTopic { .. }
            | Self::BufferFull { .. }
            | Self::DeliveryTimeout { .. }
            | Self::Disconnected { .. } => true,
            Self::Refused { code, .. } => code.is_retriable(),
            Self::Client(error) => error.is_retriable(),
            Self::Config(_)
            | Self::RecordTooLarge { .. }
            | Self::UnknownPartition { .. }
            | Self::PartitionerOutOfRange { .. }
            | Self::Encode { .. }
            | Self::Serialization(_)
            | Self::NotAccepted { .. }
            | Self::InCallback
            | Self::Thread { .. }
            | Self::TransactionAborted { .. }
            | Self::Closed { .. }
            | Self::CloseTimeout { .. } => false,
        }
    }

    /// Whether the record may be in the log in spite of the error. Where this is false it is certain that it is not.
    pub fn maybe_written(&self) -> bool {
        match self {
            Self::DeliveryTimeout { maybe_written, .. }
            | Self::Refused { maybe_written, .. }
            | Self::Disconnected { maybe_written, .. }
            | Self::TransactionAborted { maybe_written, .. }
            | Self::Closed { maybe_written } => *maybe_written,
            Self::CloseTimeout { .. } => true,
            _ => false,
        }
    }
}

impl From<rkafka_client_core::Error> for ProducerError {
    fn from(error: rkafka_client_core::Error) -> Self {
        Self::Client(Arc::new(error))
    }
}

/// Why [`Producer::try_send`](crate::Producer::try_send) did not take a record. The record was only borrowed, so the
/// caller still has it.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum TrySendError {
    /// `buffer.memory` is full; it can be tried again.
    #[error("`buffer.memory` is full")]
    Full,
    /// The topic's metadata is not here yet; it has been asked for, and the record can be tried again.
    #[error("the metadata of the topic is not here yet")]
    NoMetadata,
    /// The record cannot be taken at all.
    #[error(transparent)]
    Refused(#[from] ProducerError),
}

impl TrySendError {
    /// Whether the same record may be taken a moment later.
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::Full | Self::NoMetadata => true,
            Self::Refused(error) => error.is_retriable(),
        }
    }
}
