//! What can go wrong, and what to do about it.

use std::sync::Arc;
use std::time::Duration;

use rkafka_protocol::ErrorCode;
use rkafka_protocol::records::RecordError;

use crate::subscription::TopicPartition;

/// What went wrong with one partition.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PartitionError {
    /// The offset is not there, and `auto.offset.reset` is `none`. Reading stops until a seek.
    #[error("offset {offset} is out of range and auto.offset.reset is none; seek to an offset that is there")]
    OffsetOutOfRange {
        /// The offset that was asked for.
        offset: i64,
    },
    /// The group has committed no offset, and `auto.offset.reset` is `none`. Reading stops until a seek.
    #[error("no offset is committed and auto.offset.reset is none; seek to where reading should begin")]
    NoOffset,
    /// Records that were read are gone from the log, by an unclean election, and `auto.offset.reset` is `none`; with any
    /// other reset reading goes on where the logs part (KIP-320). Reading stops until a seek.
    #[error(
        "records below offset {offset} that were read are gone from the log, {}; auto.offset.reset is none: seek to \
         where reading should go on",
        where_logs_part(*diverging_offset, *diverging_epoch)
    )]
    LogTruncated {
        /// The next offset to be read.
        offset: i64,
        /// Up to where the log still is what was read, where the leader could tell.
        diverging_offset: Option<i64>,
        /// The leader epoch of the last record up to there.
        diverging_epoch: Option<i32>,
    },
    /// The broker refused, and a retry without a change elsewhere (a permission, a topic) does not help. It is tried
    /// again all the same.
    #[error("the broker refused: {code}")]
    Broker {
        /// The broker's error.
        code: ErrorCode,
    },
    /// The broker's answer makes no sense. It is asked again.
    #[error("the answer to a fetch at offset {offset} makes no sense: {what}")]
    Malformed {
        /// The offset that was asked for.
        offset: i64,
        /// What is wrong.
        what: String,
    },
    /// A batch is damaged. Reading stops there; a seek beyond it gives up the batch.
    #[error("the batch at offset {offset} is damaged: {source}; seek beyond it to go on without it")]
    Corrupt {
        /// The first offset of the batch, or where it should begin.
        offset: i64,
        /// What is wrong.
        source: Arc<RecordError>,
    },
}

fn where_logs_part(offset: Option<i64>, epoch: Option<i32>) -> String {
    match (offset, epoch) {
        (Some(offset), Some(epoch)) => format!("which is the same up to offset {offset} (leader epoch {epoch})"),
        (Some(offset), None) => format!("which is the same up to offset {offset}"),
        (None, _) => "and the leader cannot tell up to where it is the same".to_owned(),
    }
}

/// What went wrong with a consumer.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ConsumerError {
    /// A setting cannot be taken.
    #[error("the settings cannot be used: {0}")]
    Config(#[from] rkafka_config::ConfigError),
    /// One partition is in trouble. The others go on, and so does the consumer.
    #[error("{partition}: {source}")]
    Partition {
        /// The partition.
        partition: TopicPartition,
        /// What went wrong.
        source: PartitionError,
    },
    /// The cluster does not know the topic, or the topic has no such partition. It is looked for all the same, and read
    /// once it is there; nothing here ever creates a topic.
    #[error(
        "{partition}: the cluster knows no such topic or partition (waited {waited:?}); create it, or mend the name"
    )]
    UnknownTopicOrPartition {
        /// The partition.
        partition: TopicPartition,
        /// How long it was looked for.
        waited: Duration,
    },
    /// The partition is not assigned to this consumer.
    #[error("{partition} is not assigned to this consumer")]
    NotAssigned {
        /// The partition.
        partition: TopicPartition,
    },
    /// The operation needs a group.
    #[error("{operation} needs a group; set group.id")]
    NoGroup {
        /// What was to be done.
        operation: &'static str,
    },
    /// `subscribe` and `assign` exclude each other on one consumer.
    #[error(
        "{operation} does not go together with what this consumer reads already; use another consumer, or unsubscribe"
    )]
    Conflict {
        /// What was to be done.
        operation: &'static str,
    },
    /// A call of `unsubscribe` was dropped before its end, and the member has not left yet.
    #[error("the consumer is still leaving its group: wait for another `unsubscribe` before subscribing")]
    Unsubscribing,
    /// The group does not take this member, or not any more.
    #[error("group {group_id}: {code}{}", .message.as_deref().map(|said| format!(": {said}")).unwrap_or_default())]
    Group {
        /// The group's id.
        group_id: String,
        /// The coordinator's error.
        code: ErrorCode,
        /// What the coordinator says of it, or what to do.
        message: Option<String>,
    },
    /// The pattern of a subscription is no regular expression.
    #[error("the pattern {pattern:?} cannot be subscribed to: {reason}")]
    BadPattern {
        /// The pattern.
        pattern: String,
        /// What is wrong.
        reason: String,
    },
    /// The leader of the group sent an assignment that cannot be read.
    #[error("group {group_id}: the assignment cannot be read: {reason}")]
    BadAssignment {
        /// The group's id.
        group_id: String,
        /// What is wrong.
        reason: String,
    },
    /// Offsets were not committed: the partitions belong to another member by now, which reads from what was committed
    /// before. What was read since will be read again.
    #[error(
        "the offsets are not committed, for the group has moved on: {code}; its partitions are read elsewhere, from the last commit"
    )]
    CommitOutdated {
        /// The coordinator's error.
        code: ErrorCode,
    },
    /// The coordinator refused to commit the offset of a partition.
    #[error("{partition}: the offset is not committed: {code}")]
    CommitRefused {
        /// The partition.
        partition: TopicPartition,
        /// The coordinator's error.
        code: ErrorCode,
    },
    /// Records are marked as done only where that is asked for.
    #[error("{operation} needs enable.auto.offset.store=false; otherwise all that is handed out is committed")]
    NotMarking {
        /// What was to be done.
        operation: &'static str,
    },
    /// The record is not this consumer's to mark any more: the partition was given up or moved since it was handed out.
    /// Whoever reads the partition now begins at what was committed.
    #[error("{partition}: what was handed out before a seek or a rebalance cannot be marked as done")]
    Outdated {
        /// The partition.
        partition: TopicPartition,
    },
    /// A request to the cluster failed.
    #[error("{doing}: {source}")]
    Client {
        /// What was to be done.
        doing: &'static str,
        /// Why it failed.
        source: rkafka_client_core::Error,
    },
    /// Another thread has woken the one that waited.
    #[error("the call was woken from elsewhere")]
    Wakeup,
    /// The consumer is closed.
    #[error("the consumer is closed")]
    Closed,
}

impl ConsumerError {
    /// Whether nothing more will come from this consumer.
    pub fn is_fatal(&self) -> bool {
        match self {
            Self::Group { .. } | Self::BadAssignment { .. } | Self::Closed | Self::Config(_) => true,
            Self::Client { source, .. } => source.is_fatal(),
            _ => false,
        }
    }

    /// Whether the same call may succeed later.
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::Client { source, .. } => source.is_retriable(),
            Self::CommitRefused { code, .. } => code.is_retriable(),
            _ => false,
        }
    }
}

/// A result of a consumer.
pub type Result<T, E = ConsumerError> = std::result::Result<T, E>;
