//! What can go wrong with a transaction.

use std::sync::Arc;
use std::time::Duration;

use rkafka_client_core::TopicPartition;
use rkafka_config::ConfigError;
use rkafka_protocol::ErrorCode;
use thiserror::Error;

use crate::ProducerError;

/// Why a transaction, or the transactional producer, cannot go on.
///
/// [`TransactionError::is_abortable`]: this transaction is lost, and the producer goes on: abort it (where it was being
/// committed, it is aborted already), take the input again, begin anew. [`TransactionError::is_fatal`]: this producer is
/// lost: drop it and make another, unless another has taken its place on purpose. Neither: the call took too long, or
/// the producer was closed; what was under way goes on, and [`TransactionError::may_have_been_written`] tells whether
/// that may be a commit.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum TransactionError {
    /// The settings cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Another producer with the same `transactional.id` has taken over, or the transaction was open for longer than
    /// `transaction.timeout.ms` and the coordinator has aborted it. Fatal.
    #[error(
        "the producer `{transactional_id}` is fenced ({code}, {doing}): another producer with this `transactional.id` has begun, or the transaction took longer than `transaction.timeout.ms`"
    )]
    Fenced {
        /// `transactional.id`.
        transactional_id: Arc<str>,
        /// What was being done.
        doing: &'static str,
        /// The broker's error.
        code: ErrorCode,
    },
    /// The coordinator refused, and no other attempt could help. Fatal.
    #[error("the coordinator of the producer `{transactional_id}` refused {doing}: {code}")]
    Refused {
        /// `transactional.id`.
        transactional_id: Arc<str>,
        /// What was being done.
        doing: &'static str,
        /// The broker's error.
        code: ErrorCode,
    },
    /// The cluster cannot do what was asked, or does not let this client in. Fatal.
    #[error("{doing} failed: {source}")]
    Client {
        /// What was being done.
        doing: &'static str,
        /// The client's error.
        #[source]
        source: Arc<rkafka_client_core::Error>,
    },
    /// A record of the transaction was not accepted or not delivered. Abortable, or fatal where the error of the record
    /// is of the kind.
    #[error("a record of the transaction failed: {0}")]
    Record(#[source] ProducerError),
    /// A partition could not be added to the transaction. Abortable.
    #[error("{partition} cannot be added to the transaction: {code}")]
    Partition {
        /// The partition.
        partition: TopicPartition,
        /// The broker's error.
        code: ErrorCode,
    },
    /// The offsets of a group could not be committed with the transaction, such as by a member whose partitions are
    /// another's by now. Abortable.
    #[error("the offsets of the group `{group_id}` cannot be committed with the transaction: {code}")]
    Offsets {
        /// The group.
        group_id: String,
        /// The broker's error.
        code: ErrorCode,
    },
    /// The coordinator asks for the transaction to be aborted, or has aborted it, for it was open for longer than
    /// `transaction.timeout.ms`. Abortable.
    #[error(
        "the transaction must be aborted ({doing}): {code} (was it open for longer than `transaction.timeout.ms`?)"
    )]
    MustAbort {
        /// What was being done.
        doing: &'static str,
        /// The broker's error.
        code: ErrorCode,
    },
    /// `max.block.ms` passed. What was being done goes on in the background, and the next
    /// [`begin`](crate::TransactionalProducer::begin) waits for it.
    #[error(
        "{doing} took longer than {} ms (`max.block.ms`) and goes on{}{}",
        .waited.as_millis(),
        if *.may_have_been_written { "; the transaction may be committed" } else { "" },
        .detail.as_ref().map(|detail| format!(" (the last failure: {detail})")).unwrap_or_default()
    )]
    Timeout {
        /// What was being done.
        doing: &'static str,
        /// How long was waited.
        waited: Duration,
        /// Whether the transaction may be committed, now or later.
        may_have_been_written: bool,
        /// The last failure, where there was one.
        detail: Option<Arc<str>>,
    },
    /// As `source` says; and the transaction may be committed, for an attempt to commit it had no answer.
    #[error("{source}; the transaction may be committed")]
    InDoubt {
        /// What ended the attempts to find out.
        #[source]
        source: Box<TransactionError>,
    },
    /// The producer is closed.
    #[error("the producer is closed{}", if *.may_have_been_written { "; the transaction may be committed" } else { "" })]
    Closed {
        /// Whether the transaction may be committed.
        may_have_been_written: bool,
    },
}

/// Whether no producer of this `transactional.id` and epoch can do anything any more.
pub(crate) fn is_fatal_code(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::ProducerFenced
            | ErrorCode::TransactionalIdAuthorizationFailed
            | ErrorCode::ClusterAuthorizationFailed
            | ErrorCode::UnsupportedVersion
            | ErrorCode::UnsupportedForMessageFormat
    )
}

impl From<ProducerError> for TransactionError {
    fn from(error: ProducerError) -> Self {
        match error {
            ProducerError::Config(error) => Self::Config(error),
            other => Self::Record(other),
        }
    }
}

impl TransactionError {
    /// Whether this transaction is lost and the producer goes on: it can be aborted, and another begun.
    pub fn is_abortable(&self) -> bool {
        match self {
            Self::Partition { .. } | Self::Offsets { .. } | Self::MustAbort { .. } => true,
            Self::Record(_) => !self.is_fatal(),
            _ => false,
        }
    }

    /// Whether this producer can do nothing more: another must be made.
    pub fn is_fatal(&self) -> bool {
        match self {
            Self::Config(_) | Self::Fenced { .. } | Self::Refused { .. } | Self::Client { .. } => true,
            Self::InDoubt { source } => source.is_fatal(),
            Self::Record(ProducerError::Refused { code, .. }) => is_fatal_code(*code),
            Self::Record(ProducerError::Closed { .. }) | Self::Closed { .. } => true,
            _ => false,
        }
    }

    /// Whether the same work may succeed in another transaction, of this producer and with the same settings.
    pub fn is_retriable(&self) -> bool {
        // What a producer that begins anew has left behind, or the group does.
        let passes = |code: ErrorCode| {
            code.is_retriable()
                || matches!(
                    code,
                    ErrorCode::TransactionAbortable
                        | ErrorCode::UnknownProducerId
                        | ErrorCode::InvalidProducerIdMapping
                        | ErrorCode::InvalidProducerEpoch
                        | ErrorCode::OutOfOrderSequenceNumber
                        | ErrorCode::InvalidTxnState
                        | ErrorCode::OperationNotAttempted
                        | ErrorCode::IllegalGeneration
                        | ErrorCode::UnknownMemberId
                        | ErrorCode::StaleMemberEpoch
                )
        };
        match self {
            Self::MustAbort { .. } => true,
            Self::Partition { code, .. } | Self::Offsets { code, .. } => passes(*code),
            Self::Record(ProducerError::Refused { code, .. }) => !is_fatal_code(*code) && passes(*code),
            Self::Record(error) => error.is_retriable(),
            _ => false,
        }
    }

    /// Whether another producer with the same `transactional.id` has taken over (or the transaction took too long).
    pub fn is_fenced(&self) -> bool {
        if let Self::InDoubt { source } = self {
            return source.is_fenced();
        }
        matches!(self, Self::Fenced { .. }) || self.code() == Some(ErrorCode::ProducerFenced)
    }

    /// Whether the transaction may be committed in spite of the error. Where this is false it is certain that it is not.
    pub fn may_have_been_written(&self) -> bool {
        match self {
            Self::Timeout { may_have_been_written, .. } | Self::Closed { may_have_been_written } => {
                *may_have_been_written
            }
            Self::InDoubt { .. } => true,
            _ => false,
        }
    }

    /// The broker's error, where one is the reason.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Fenced { code, .. }
            | Self::Refused { code, .. }
            | Self::Partition { code, .. }
            | Self::Offsets { code, .. }
            | Self::MustAbort { code, .. }
            | Self::Record(ProducerError::Refused { code, .. }) => Some(*code),
            Self::InDoubt { source } => source.code(),
            Self::Client { source, .. } => source.code(),
            _ => None,
        }
    }
}
