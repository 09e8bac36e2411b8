//! What happened, as clients write it down.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One line of a history: something is begun, or has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Who does it: one client, from its start to its end.
    pub process: String,
    /// Which of the process's operations this is about: the same for its beginning and its end, and for no other.
    pub id: u64,
    /// When, in microseconds of a clock that all processes share.
    pub time: u64,
    /// Whether it begins or how it ended.
    #[serde(rename = "type")]
    pub phase: Phase,
    /// What it is. The end of an operation repeats what its beginning said, and adds what came of it.
    #[serde(flatten)]
    pub action: Action,
}

impl Event {
    /// The event as a line of JSON, with its line feed. Written at once, a kill leaves the whole line or nothing.
    pub fn to_json_line(&self) -> String {
        // Strings, numbers and maps with strings for keys: there is nothing in it that JSON does not have.
        let mut line = serde_json::to_string(self).unwrap_or_default();
        line.push('\n');
        line
    }
}

/// Whether an operation begins, or how it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// It begins.
    Invoke,
    /// It was done, as the broker acknowledged.
    Ok,
    /// It was not done, and never will be.
    Fail,
    /// Nobody knows whether it was done. An operation that never ends is one of these.
    Info,
}

/// What a reader is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Isolation {
    /// Nothing of transactions that were aborted or are undecided.
    ReadCommitted,
    /// Everything.
    ReadUncommitted,
}

/// What is done. Partitions are named in whatever way the writer likes, as long as it is one name for each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "f", rename_all = "kebab-case")]
pub enum Action {
    /// A record is sent.
    Send {
        /// Where to.
        partition: String,
        /// What, and no other record has it.
        value: String,
        /// At the end: where the broker says that it is. Left out or negative where it does not say.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        offset: Option<i64>,
        /// The transaction that it is part of; no other in the history has its name.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        transaction: Option<String>,
    },
    /// Records come. Its beginning need not be written down.
    Poll {
        /// What the reader is shown.
        isolation: Isolation,
        /// By partition, in the order in which they came: offsets and values.
        records: BTreeMap<String, Vec<(i64, String)>>,
        /// The transaction within which they are read.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        transaction: Option<String>,
    },
    /// From here on the process reads these partitions from these offsets, or from where it is not known: it was assigned
    /// them, or has sought there. Its beginning need not be written down.
    Assign {
        /// The partitions, each with the offset of the next record.
        positions: BTreeMap<String, Option<i64>>,
    },
    /// The process has read these partitions from their beginning to what was their end after this began, while no transaction
    /// was open: whatever was acknowledged before has been read, or is not there.
    Drained {
        /// Which ones.
        partitions: Vec<String>,
    },
    /// A transaction is committed.
    Commit {
        /// Its name.
        transaction: String,
    },
    /// A transaction is aborted. One of which no [`Commit`](Action::Commit) was begun is aborted anyway.
    Abort {
        /// Its name.
        transaction: String,
    },
    /// Offsets are committed for a group. Those of transactions count from their markers on, which two producers' may have
    /// in another order than their commits were acknowledged in: of one partition of a group, one commits at a time.
    CommitOffsets {
        /// The group.
        group: String,
        /// By partition.
        offsets: BTreeMap<String, i64>,
        /// The transaction with which they count.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        transaction: Option<String>,
    },
    /// Somebody asks what is committed for a group.
    ReadOffsets {
        /// The group.
        group: String,
        /// At the end: by partition, `null` where there is none. Nothing else of the group is said.
        offsets: BTreeMap<String, Option<i64>>,
    },
    /// The process ends in good order: whatever it began has ended. Its beginning need not be written down.
    Closed {},
}

impl Action {
    /// Whether an end may stand alone: nothing is concluded from when it began.
    pub(crate) fn may_stand_alone(&self) -> bool {
        matches!(self, Self::Poll { .. } | Self::Assign { .. } | Self::Closed {})
    }

    /// Whether `self` can be the end of what began as `begun`.
    pub(crate) fn ends(&self, begun: &Self) -> bool {
        match (begun, self) {
            (
                Self::Send { partition, value, transaction, .. },
                Self::Send { partition: to, value: what, transaction: with, .. },
            ) => (partition, value, transaction) == (to, what, with),
            (Self::Commit { transaction }, Self::Commit { transaction: same })
            | (Self::Abort { transaction }, Self::Abort { transaction: same }) => transaction == same,
            (Self::ReadOffsets { group, .. }, Self::ReadOffsets { group: same, .. }) => group == same,
            (Self::Drained { .. } | Self::CommitOffsets { .. }, _) => begun == self,
            (Self::Poll { .. }, Self::Poll { .. })
            | (Self::Assign { .. }, Self::Assign { .. })
            | (Self::Closed {}, Self::Closed {}) => true,
            _ => false,
        }
    }
}
