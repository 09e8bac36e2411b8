//! Consumer groups of KIP-848: the coordinator assigns, members come to it step by step with heartbeats.
//!
//! What the log says is a [`ConsumerGroup`]. A decision works on a [`Draft`](draft::Draft) of it, which replays each
//! record as it is written. What is not in the log (when sessions end) is in [`ConsumerTimers`], and changes by
//! [`After`] once the records of a step are appended.

mod classic_members;
mod commit;
mod describe;
mod draft;
mod group;
mod heartbeat;
mod migration;
mod reconcile;
mod records;
mod settings;
mod step;
mod subscription;
mod target;
mod timers;

use rkafka_protocol::ErrorCode;
use thiserror::Error;

pub(super) use commit::CommitPermit;
pub(super) use draft::Draft;
pub(in crate::coordinator) use group::LEAVE_EPOCH;
pub(super) use group::{ConsumerGroup, ConsumerMember, Partitions};
pub use heartbeat::HeartbeatingClient;
pub(super) use heartbeat::unknown_member;
pub(super) use migration::put_tombstones;
pub(super) use records::{ConsumerRecord, is_consumer_group_type};
pub use settings::ConsumerGroupSettings;
pub use step::After;
pub(super) use step::coordinated_write;
pub(super) use subscription::{metadata_hash, topic_ids};
pub(super) use timers::{ConsumerTimers, TimerChange};

/// An error of a consumer group, with Kafka's words for the client.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct GroupError {
    /// The error.
    pub code: ErrorCode,
    /// What is wrong, for people.
    pub message: String,
}

impl GroupError {
    pub(super) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// An error that says no more than its code.
    pub(in crate::coordinator) fn plain(code: ErrorCode) -> Self {
        Self { code, message: code.message().to_owned() }
    }
}

impl From<ErrorCode> for GroupError {
    fn from(code: ErrorCode) -> Self {
        Self::plain(code)
    }
}
