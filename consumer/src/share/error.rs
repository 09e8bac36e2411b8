//! What can go wrong with a share consumer, and what to do about it.

use rkafka_client_core::TopicPartition;
use rkafka_protocol::ErrorCode;

use super::acknowledgement::AcknowledgeError;
use crate::error::PartitionError;

/// What went wrong with a share consumer.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ShareConsumerError {
    /// A setting cannot be taken.
    #[error("the settings cannot be used: {0}")]
    Config(#[from] rkafka_config::ConfigError),
    /// One partition is in trouble. The others go on, and so does the consumer. Damaged records were released.
    #[error("{partition}: {source}")]
    Partition {
        /// The partition.
        partition: TopicPartition,
        /// What went wrong.
        source: PartitionError,
    },
    /// What was said of records did not reach the group, and nobody was told of it: no commit waited for it, and there
    /// is no callback. The consumer goes on.
    #[error("{partition}: the acknowledgement of the offsets {} failed: {source}", ranges(.offsets))]
    Acknowledge {
        /// The partition.
        partition: TopicPartition,
        /// The first and last offsets of runs that were acknowledged, ascending.
        offsets: Vec<(i64, i64)>,
        /// Why.
        source: AcknowledgeError,
    },
    /// The operation belongs to the other `share.acknowledgement.mode`.
    #[error("{operation} needs share.acknowledgement.mode=explicit; by implicit, records are accepted by coming back")]
    NotExplicit {
        /// What was to be done.
        operation: &'static str,
    },
    /// The group does not take this member, or not any more; or one of its topics may not be read, after which the
    /// member goes on trying.
    #[error("share group {group_id}: {code}{}", .message.as_ref().map(|text| format!(": {text}")).unwrap_or_default())]
    Group {
        /// The group's id.
        group_id: String,
        /// The broker's error.
        code: ErrorCode,
        /// What the broker wrote beside it.
        message: Option<String>,
    },
    /// A request to the cluster failed.
    #[error("{doing}: {source}")]
    Client {
        /// What was to be done.
        doing: &'static str,
        /// Why it failed.
        source: rkafka_client_core::Error,
    },
    /// A [`Waker`](crate::blocking::Waker) had a blocking call end.
    #[error("the call was woken")]
    Wakeup,
    /// The consumer is closed.
    #[error("the share consumer is closed")]
    Closed,
}

fn ranges(offsets: &[(i64, i64)]) -> String {
    let text = |(first, last): &(i64, i64)| if first == last { first.to_string() } else { format!("{first}-{last}") };
    offsets.iter().map(text).collect::<Vec<_>>().join(", ")
}

impl ShareConsumerError {
    /// Whether nothing more will come from this consumer.
    pub fn is_fatal(&self) -> bool {
        match self {
            Self::Group { code, .. } => *code != ErrorCode::TopicAuthorizationFailed,
            Self::Closed | Self::Config(_) => true,
            Self::Client { source, .. } => {
                source.is_fatal() || source.kind() == rkafka_client_core::ErrorKind::UnsupportedVersion
            }
            _ => false,
        }
    }

    /// Whether the same call may succeed later.
    pub fn is_retriable(&self) -> bool {
        matches!(self, Self::Client { source, .. } if source.is_retriable())
    }
}

/// A result of a share consumer.
pub type ShareResult<T, E = ShareConsumerError> = std::result::Result<T, E>;
