//! What is said of a record, and what becomes of it.

use std::fmt;

use rkafka_client_core::TopicPartition;
use rkafka_protocol::ErrorCode;

/// What a member of a share group says of a record that it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AcknowledgeType {
    /// It was processed. The group never sees it again.
    Accept,
    /// It was not processed now. It is delivered again, to this member or to another, as long as
    /// `share.delivery.count.limit` allows.
    Release,
    /// It can never be processed. The group never sees it again.
    Reject,
    /// It is still being processed: the lock begins anew (KIP-1222, Kafka 4.2). One of the others is to follow.
    Renew,
}

impl AcknowledgeType {
    /// As the protocol says it.
    pub(crate) const fn code(self) -> i8 {
        match self {
            Self::Accept => 1,
            Self::Release => 2,
            Self::Reject => 3,
            Self::Renew => 4,
        }
    }
}

impl fmt::Display for AcknowledgeType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Accept => "accept",
            Self::Release => "release",
            Self::Reject => "reject",
            Self::Renew => "renew",
        })
    }
}

/// Why the group may not have taken what was said of a record. The record is delivered again, unless it was
/// acknowledged before.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AcknowledgeError {
    /// The broker refused: `INVALID_RECORD_STATE` where the record was no longer with this member.
    #[error("the broker refused: {code}{}", .message.as_ref().map(|text| format!(": {text}")).unwrap_or_default())]
    Refused {
        /// The broker's error.
        code: ErrorCode,
        /// What the broker wrote beside it.
        message: Option<String>,
    },
    /// The lock ran out before this could be said; the record is another member's by now. Raise
    /// `share.record.lock.duration.ms` of the group, renew the lock, or take fewer records at a time.
    #[error("the acquisition lock had run out; the record is delivered again")]
    LockExpired,
    /// The session with the partition's leader ended (its connection, or another leader), and with it all locks. Whether
    /// what was sent at that moment was taken is not known.
    #[error("the share session with broker {broker} ended: {reason}; the record may be delivered again")]
    SessionLost {
        /// The broker's id.
        broker: i32,
        /// What ended it.
        reason: String,
    },
    /// The record is not with this member: it was acknowledged and sent before, or its lock is over.
    #[error("the record is not with this member any more: it was acknowledged before, or its lock is over")]
    NotHeld,
    /// The broker's answer does not speak of it.
    #[error("the broker's answer does not speak of the partition")]
    NotAnswered,
    /// The broker cannot renew locks; Kafka 4.2 can.
    #[error("the broker cannot renew locks (KIP-1222); it needs Kafka 4.2")]
    RenewUnsupported,
}

/// What became of acknowledgements in one partition: all of a request's are taken, or none.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AcknowledgementResult {
    /// The partition.
    pub partition: TopicPartition,
    /// The first and last offsets of runs that were acknowledged, ascending.
    pub offsets: Vec<(i64, i64)>,
    /// Whether the group took them.
    pub result: Result<(), AcknowledgeError>,
}
