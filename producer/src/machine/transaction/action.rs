//! What the machine asks its driver for, and what it is told of it.

use std::sync::Arc;

use rkafka_client_core::{CommittedOffset, GroupMetadata, TopicPartition};
use rkafka_protocol::ErrorCode;

use crate::TransactionError;
use crate::machine::sequence::ProducerIdentity;

/// What lets a partition's batches go: the transaction that it is part of, and the identity to stamp them with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Admission {
    /// Which transaction, counted from 1.
    pub(crate) number: u64,
    /// The producer's id and epoch in it.
    pub(crate) identity: ProducerIdentity,
}

/// Offsets to be committed with the transaction.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Offsets {
    pub(crate) group: GroupMetadata,
    pub(crate) offsets: Vec<(TopicPartition, CommittedOffset)>,
}

/// What the driver is to do. The requests are answered by [`Transactions::on_reply`], one at a time.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Action {
    /// Fail what was not sent yet.
    Drop,
    /// Wait until nothing is under way or waits to be sent; then [`Transactions::on_flushed`].
    AwaitSends,
    /// InitProducerId, with the present identity where there is one.
    Initialize { present: Option<ProducerIdentity> },
    /// AddPartitionsToTxn.
    AddPartitions { identity: ProducerIdentity, partitions: Vec<TopicPartition> },
    /// AddOffsetsToTxn.
    AddGroup { identity: ProducerIdentity, group_id: String },
    /// TxnOffsetCommit; the group's coordinator adds the group where `adds`.
    CommitOffsets { identity: ProducerIdentity, offsets: Offsets, adds: bool },
    /// EndTxn; it brings the next epoch where `bumps`.
    End { identity: ProducerIdentity, commit: bool, bumps: bool },
}

/// What became of a request.
#[derive(Debug)]
pub(crate) enum Reply {
    /// Another producer id or epoch; `implicit` where the cluster's `transaction.version` is 2 or higher.
    Initialized { identity: ProducerIdentity, implicit: bool },
    /// One code for each partition; a partition without one was not answered.
    PartitionsAdded(Vec<(TopicPartition, ErrorCode)>),
    /// One code for each partition of the offsets.
    OffsetsCommitted(Vec<(TopicPartition, ErrorCode)>),
    /// The transaction ended, and this is the identity from now on, where the answer says it.
    Ended { identity: Option<ProducerIdentity>, implicit: bool },
    /// The group was added.
    GroupAdded,
    /// A code for the request as a whole.
    Refused(ErrorCode),
    /// No answer came.
    Lost(Arc<rkafka_client_core::Error>),
}

/// How a transaction ended.
#[derive(Debug, Clone)]
pub(crate) enum End {
    Committed,
    /// It was, or is being, aborted; with the reason where it was not the application's wish.
    Aborted(Option<TransactionError>),
}
