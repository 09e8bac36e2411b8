//! Whether a member of a consumer group may commit and fetch offsets.

use rkafka_protocol::ErrorCode;
use uuid::Uuid;

use super::group::{ConsumerGroup, ConsumerMember};
use crate::coordinator::group::offsets::Committer;

/// The first version of OffsetCommit that has an error for members of the consumer protocol.
const FIRST_VERSION_WITH_MEMBER_EPOCH: i16 = 9;

/// Which partitions a member may commit.
#[derive(Debug, Clone, Copy)]
pub(in crate::coordinator::group) enum CommitPermit<'a> {
    /// All of them.
    All,
    /// Those that the member has, or is to give up, since an epoch that is not later than this one (KIP-1251): it has
    /// not heard of a newer epoch yet.
    HeldSince { member: &'a ConsumerMember, epoch: i32 },
}

impl CommitPermit<'_> {
    /// Whether the partition may be committed.
    ///
    /// # Errors
    /// `STALE_MEMBER_EPOCH`, or `ILLEGAL_GENERATION` for a member of the classic protocol.
    pub fn check(self, topic_id: Uuid, partition: i32) -> Result<(), ErrorCode> {
        let Self::HeldSince { member, epoch } = self else { return Ok(()) };
        let current = &member.current;
        let since = [&current.assigned, &current.revoking]
            .into_iter()
            .find_map(|partitions| partitions.get(&topic_id)?.get(&partition));
        if since.is_some_and(|since| epoch >= *since) { Ok(()) } else { Err(epoch_error(member)) }
    }
}

fn epoch_error(member: &ConsumerMember) -> ErrorCode {
    if member.classic().is_some() { ErrorCode::IllegalGeneration } else { ErrorCode::StaleMemberEpoch }
}

impl ConsumerGroup {
    /// Whether offsets may be committed by this member with this epoch.
    ///
    /// # Errors
    /// `UNKNOWN_MEMBER_ID`, `STALE_MEMBER_EPOCH`, `ILLEGAL_GENERATION`, `UNSUPPORTED_VERSION`.
    pub fn check_commit(&self, committer: &Committer<'_>) -> Result<CommitPermit<'_>, ErrorCode> {
        let Committer { member_id, instance_id, generation: epoch, is_transactional, version } = *committer;
        // An administrator, or a consumer that only keeps its offsets here.
        if epoch < 0 && self.members.is_empty() {
            return Ok(CommitPermit::All);
        }
        // Producers before KIP-447 do not say for which member they commit.
        if is_transactional && epoch == -1 && member_id.is_empty() && instance_id.is_none() {
            return Ok(CommitPermit::All);
        }
        let member = self.members.get(member_id).ok_or(ErrorCode::UnknownMemberId)?;
        if !is_transactional && member.classic().is_none() && version < FIRST_VERSION_WITH_MEMBER_EPOCH {
            return Err(ErrorCode::UnsupportedVersion);
        }
        if epoch == member.current.epoch {
            Ok(CommitPermit::All)
        } else if epoch > member.current.epoch {
            Err(epoch_error(member))
        } else {
            Ok(CommitPermit::HeldSince { member, epoch })
        }
    }

    /// Whether a member may fetch offsets with this epoch.
    ///
    /// # Errors
    /// `UNKNOWN_MEMBER_ID`, `STALE_MEMBER_EPOCH`, `ILLEGAL_GENERATION`.
    pub fn check_fetch(&self, member_id: Option<&str>, epoch: i32) -> Result<(), ErrorCode> {
        let member_id = match member_id {
            None if epoch < 0 => return Ok(()),
            member_id => member_id.unwrap_or_default(),
        };
        let member = self.members.get(member_id).ok_or(ErrorCode::UnknownMemberId)?;
        if epoch == member.current.epoch { Ok(()) } else { Err(epoch_error(member)) }
    }

    /// Whether a topic's offsets may not be deleted.
    pub fn is_subscribed(&self, topic: &str) -> bool {
        self.members.values().any(|member| self.names_of(member).any(|name| name == topic))
    }
}
