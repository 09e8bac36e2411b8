//! How the command ends: one plain line on stderr, and an exit code that scripts can rely on.

use std::fmt;

use rkafka::client::{ErrorCode, ErrorKind};

/// The exit codes, as `rkafka --help` documents them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// All was done. Also where the reader closed the pipe.
    Ok = 0,
    /// Something failed, in whole or in part.
    Failed = 1,
    /// The command line or a setting is wrong; nothing was tried.
    Usage = 2,
    /// No broker could be reached, or none answered in time.
    Unreachable = 3,
    /// A topic, partition, group or broker is not there.
    NotFound = 4,
    /// The broker did not take the identity, or refused what it asks.
    Denied = 5,
    /// Ended by Ctrl-C, after what was under way was finished.
    Interrupted = 130,
    /// Ended by SIGTERM, after what was under way was finished.
    Terminated = 143,
}

/// Why a command ends otherwise than well.
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// One line: the cause and the remedy.
    pub message: String,
}

impl Failure {
    /// A failure with this code and line.
    pub fn new(exit: Exit, message: impl fmt::Display) -> Self {
        Self { exit, message: message.to_string() }
    }

    /// A failure of the command line or of a setting.
    pub fn usage(message: impl fmt::Display) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// A failure of the work itself.
    pub fn failed(message: impl fmt::Display) -> Self {
        Self::new(Exit::Failed, message)
    }
}

impl From<rkafka::client::Error> for Failure {
    fn from(error: rkafka::client::Error) -> Self {
        let exit = of_client(&error);
        let remedy = if exit == Exit::Unreachable { UNREACHABLE } else { "" };
        Self::new(exit, format!("{error}{remedy}"))
    }
}

impl From<rkafka::producer::ProducerError> for Failure {
    fn from(error: rkafka::producer::ProducerError) -> Self {
        use rkafka::producer::ProducerError;
        if let ProducerError::Client(error) = error {
            return Self::from(rkafka::client::Error::clone(&error));
        }
        let exit = match &error {
            ProducerError::Config(_) => Exit::Usage,
            ProducerError::UnknownTopic { .. } | ProducerError::UnknownPartition { .. } => Exit::NotFound,
            ProducerError::BufferFull { .. }
            | ProducerError::DeliveryTimeout { .. }
            | ProducerError::Disconnected { .. }
            | ProducerError::CloseTimeout { .. } => Exit::Unreachable,
            ProducerError::Refused { code, .. } => of_code(*code),
            _ => Exit::Failed,
        };
        Self::new(exit, error)
    }
}

impl From<rkafka::consumer::ConsumerError> for Failure {
    fn from(error: rkafka::consumer::ConsumerError) -> Self {
        use rkafka::consumer::{ConsumerError, PartitionError};
        let exit = match &error {
            ConsumerError::Client { source, .. } => of_client(source),
            ConsumerError::Config(_) | ConsumerError::BadPattern { .. } => Exit::Usage,
            ConsumerError::UnknownTopicOrPartition { .. } => Exit::NotFound,
            ConsumerError::Group { code, .. }
            | ConsumerError::CommitOutdated { code }
            | ConsumerError::CommitRefused { code, .. }
            | ConsumerError::Partition { source: PartitionError::Broker { code }, .. } => of_code(*code),
            _ => Exit::Failed,
        };
        let remedy = if exit == Exit::Unreachable { UNREACHABLE } else { "" };
        Self::new(exit, format!("{error}{remedy}"))
    }
}

/// What to do where no broker answers.
const UNREACHABLE: &str = "; is a broker running there? -b HOST:PORT names others, --timeout gives more time";

/// The exit code of what went wrong between a client and its cluster.
fn of_client(error: &rkafka::client::Error) -> Exit {
    // What ran out of time may have had an answer all along, and one that says why.
    if let Some(code) = error.code() {
        return of_code(code);
    }
    match error.kind() {
        ErrorKind::Config => Exit::Usage,
        ErrorKind::Unreachable | ErrorKind::Disconnected | ErrorKind::Timeout => Exit::Unreachable,
        // One that was named.
        ErrorKind::UnknownBroker => Exit::NotFound,
        _ => Exit::Failed,
    }
}

/// The exit code of a broker's error.
pub fn of_code(code: ErrorCode) -> Exit {
    match code {
        ErrorCode::UnknownTopicOrPartition
        | ErrorCode::UnknownTopicId
        | ErrorCode::GroupIdNotFound
        | ErrorCode::TransactionalIdNotFound
        | ErrorCode::ResourceNotFound => Exit::NotFound,
        ErrorCode::TopicAuthorizationFailed
        | ErrorCode::GroupAuthorizationFailed
        | ErrorCode::ClusterAuthorizationFailed
        | ErrorCode::TransactionalIdAuthorizationFailed
        | ErrorCode::SaslAuthenticationFailed
        | ErrorCode::UnsupportedSaslMechanism
        | ErrorCode::IllegalSaslState => Exit::Denied,
        ErrorCode::RequestTimedOut | ErrorCode::LeaderNotAvailable | ErrorCode::CoordinatorNotAvailable => {
            Exit::Unreachable
        }
        _ => Exit::Failed,
    }
}
