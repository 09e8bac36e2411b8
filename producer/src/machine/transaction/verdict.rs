//! What a coordinator's refusal means for the transaction, by request: as in Java's `TransactionManager`.

use rkafka_protocol::ErrorCode;

use super::Action;

/// The requests that coordinators get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Request {
    Initialize,
    AddPartitions,
    AddGroup,
    CommitOffsets,
    End { commit: bool },
}

/// What to do about a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Another attempt may succeed.
    Retry,
    /// The transaction must be aborted, and the epoch bumped where `bump`.
    Abort { bump: bool },
    /// Another producer has taken over.
    Fenced,
    /// The producer can do nothing more.
    Fatal,
}

impl Request {
    /// The request that an action is; what is no request never has an answer.
    pub(super) fn of(action: &Action) -> Self {
        match action {
            Action::AddPartitions { .. } => Self::AddPartitions,
            Action::AddGroup { .. } => Self::AddGroup,
            Action::CommitOffsets { .. } => Self::CommitOffsets,
            Action::End { commit, .. } => Self::End { commit: *commit },
            Action::Initialize { .. } | Action::Drop | Action::AwaitSends => Self::Initialize,
        }
    }

    /// For messages.
    pub(super) fn doing(self) -> &'static str {
        match self {
            Self::Initialize => "asking for the producer's id",
            Self::AddPartitions => "adding partitions to the transaction",
            Self::AddGroup => "adding a group to the transaction",
            Self::CommitOffsets => "committing offsets with the transaction",
            Self::End { commit: true } => "committing the transaction",
            Self::End { commit: false } => "aborting the transaction",
        }
    }

    pub(super) fn verdict(self, code: ErrorCode) -> Verdict {
        match code {
            ErrorCode::ProducerFenced | ErrorCode::InvalidProducerEpoch => Verdict::Fenced,
            // The coordinator has aborted it already, for it took longer than `transaction.timeout.ms`; a commit that
            // succeeded is never answered so. Java gives the producer up; asking for another epoch is as safe.
            ErrorCode::InvalidTxnState if matches!(self, Self::End { .. }) => Verdict::Abort { bump: true },
            ErrorCode::TransactionalIdAuthorizationFailed
            | ErrorCode::ClusterAuthorizationFailed
            | ErrorCode::InvalidTxnState
            | ErrorCode::UnsupportedForMessageFormat => Verdict::Fatal,
            ErrorCode::TransactionAbortable => Verdict::Abort { bump: false },
            ErrorCode::UnknownProducerId | ErrorCode::InvalidProducerIdMapping if self != Self::Initialize => {
                Verdict::Abort { bump: true }
            }
            code if code.is_retriable() => Verdict::Retry,
            code => self.verdict_of_the_rest(code),
        }
    }

    fn verdict_of_the_rest(self, code: ErrorCode) -> Verdict {
        match self {
            // Whatever a partition suffers from, the others and the producer do not.
            Self::AddPartitions => Verdict::Abort { bump: false },
            Self::AddGroup if code == ErrorCode::GroupAuthorizationFailed => Verdict::Abort { bump: false },
            Self::CommitOffsets
                if matches!(
                    code,
                    ErrorCode::GroupAuthorizationFailed
                        | ErrorCode::TopicAuthorizationFailed
                        | ErrorCode::FencedInstanceId
                        | ErrorCode::UnknownMemberId
                        | ErrorCode::IllegalGeneration
                        | ErrorCode::StaleMemberEpoch
                        | ErrorCode::OffsetMetadataTooLarge
                        | ErrorCode::InvalidCommitOffsetSize
                        | ErrorCode::GroupIdNotFound
                        | ErrorCode::InvalidGroupId
                ) =>
            {
                Verdict::Abort { bump: false }
            }
            _ => Verdict::Fatal,
        }
    }
}
