//! What a consumer reads, and from where.

use std::fmt;

pub use rkafka_client_core::{CommittedOffset, TopicPartition};

/// Where the reading of a partition begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Start {
    /// The earliest offset that is still there.
    Beginning,
    /// The end: only what is written from now on. The last stable offset under `isolation.level=read_committed`.
    End,
    /// This offset. One that is not there leads to `auto.offset.reset`.
    Offset(i64),
    /// This offset, reached by a record of this leader epoch, as a [`CommittedOffset`] says: whether the log still has what
    /// was read up to there is checked before anything is fetched (KIP-320).
    OffsetOfEpoch {
        /// The offset of the next record to read.
        offset: i64,
        /// The leader epoch of the record before it.
        leader_epoch: i32,
    },
    /// The first record whose timestamp is not older, in milliseconds since 1970; the end where there is none.
    Timestamp(i64),
    /// So many offsets before the end, by a negative number: `RelativeToEnd(-10)` is the last ten. Never before the
    /// beginning.
    RelativeToEnd(i64),
    /// What the group has committed; by `auto.offset.reset` where it has committed nothing.
    Committed,
}

impl fmt::Display for Start {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Beginning => formatter.write_str("the beginning"),
            Self::End => formatter.write_str("the end"),
            Self::Offset(offset) => write!(formatter, "offset {offset}"),
            Self::OffsetOfEpoch { offset, leader_epoch } => {
                write!(formatter, "offset {offset} of leader epoch {leader_epoch}")
            }
            Self::Timestamp(timestamp) => write!(formatter, "timestamp {timestamp}"),
            Self::RelativeToEnd(back) => write!(formatter, "{back} from the end"),
            Self::Committed => formatter.write_str("the committed offset"),
        }
    }
}

impl From<&CommittedOffset> for Start {
    fn from(committed: &CommittedOffset) -> Self {
        match committed.leader_epoch {
            Some(leader_epoch) => Self::OffsetOfEpoch { offset: committed.offset, leader_epoch },
            None => Self::Offset(committed.offset),
        }
    }
}

/// Whether a consumer that is closed leaves its group (KIP-1092, Java's `CloseOptions`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum GroupMembershipOperation {
    /// A dynamic member leaves. A static one (`group.instance.id`) stays: its partitions wait for it until
    /// `session.timeout.ms` has passed.
    #[default]
    Default,
    /// The member leaves, a static one too: its partitions go to others at once.
    LeaveGroup,
    /// The member stays: nobody else gets its partitions before `session.timeout.ms` has passed.
    RemainInGroup,
}

/// A record's place that was found by its timestamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct OffsetAndTimestamp {
    /// The record's offset.
    pub offset: i64,
    /// Its timestamp, in milliseconds since 1970.
    pub timestamp: i64,
}
