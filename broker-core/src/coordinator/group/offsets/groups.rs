//! What offsets need to know of groups, whatever their kind. A new kind of group is known to offsets by what it answers
//! here.

use rkafka_protocol::ErrorCode;

use crate::InternalRecord;
use crate::coordinator::group::classic::CONSUMER_PROTOCOL_TYPE;
use crate::coordinator::group::consumer::{CommitPermit, Draft, put_tombstones};
use crate::coordinator::group::{ClassicState, GroupShard, records};

/// The first version of OffsetCommit that can be told that there is no such group.
const FIRST_VERSION_WITH_GROUP_ID_NOT_FOUND: i16 = 9;

/// Who commits.
#[derive(Debug, Clone, Copy)]
pub(in crate::coordinator::group) struct Committer<'a> {
    /// Empty for nobody in particular.
    pub member_id: &'a str,
    pub instance_id: Option<&'a str>,
    /// The generation, or the member epoch; below 0 from who is no member.
    pub generation: i32,
    /// In a transaction, where the course of a rebalance does not matter (KIP-447).
    pub is_transactional: bool,
    /// The version of the request, of OffsetCommit or TxnOffsetCommit.
    pub version: i16,
}

/// From when on an offset's retention counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::coordinator::group) enum ExpiryRule {
    /// The group is at work in a way that forbids to judge: no offset expires.
    Never,
    /// The group has been without members since this date.
    SinceEmpty(i64),
    /// From its commit on.
    SinceCommit,
}

impl GroupShard {
    /// Whether this one may commit offsets of the group. A group that is not there may be given offsets by who is no
    /// member.
    pub(super) fn check_committer(
        &self,
        group_id: &str,
        committer: &Committer<'_>,
    ) -> Result<CommitPermit<'_>, ErrorCode> {
        if self.persisted.share(group_id).is_some() {
            return Err(ErrorCode::GroupIdNotFound);
        }
        if let Some(group) = self.persisted.consumer(group_id) {
            return group.check_commit(committer);
        }
        if let Some(group) = self.living(group_id) {
            return group.check_commit(committer).map(|()| CommitPermit::All);
        }
        let is_simple = committer.generation < 0;
        match self.persisted.group(group_id) {
            _ if is_simple => Ok(CommitPermit::All),
            // An empty group is not kept living, and nobody is a member of it.
            Some(_) => Err(ErrorCode::UnknownMemberId),
            None if !committer.is_transactional && committer.version >= FIRST_VERSION_WITH_GROUP_ID_NOT_FOUND => {
                Err(ErrorCode::GroupIdNotFound)
            }
            None => Err(ErrorCode::IllegalGeneration),
        }
    }

    /// Whether a member that says who it is may fetch offsets. Members of classic groups do not say (KIP-848).
    pub(super) fn check_fetcher(
        &self,
        group_id: &str,
        member_id: Option<&str>,
        member_epoch: i32,
    ) -> Result<(), ErrorCode> {
        if self.persisted.share(group_id).is_some() {
            return Err(ErrorCode::GroupIdNotFound);
        }
        self.persisted.consumer(group_id).map_or(Ok(()), |group| group.check_fetch(member_id, member_epoch))
    }

    /// Whether single offsets of the group may be deleted.
    pub(super) fn check_offset_deletion(&self, group_id: &str) -> Result<(), ErrorCode> {
        match self.living(group_id) {
            None if self.persisted.share(group_id).is_some() => Err(ErrorCode::GroupIdNotFound),
            None if self.persisted.group(group_id).is_none() => Err(ErrorCode::GroupIdNotFound),
            None => Ok(()),
            Some(group) => match group.state() {
                ClassicState::Dead => Err(ErrorCode::GroupIdNotFound),
                ClassicState::Empty => Ok(()),
                _ if group.protocol_type.as_deref() == Some(CONSUMER_PROTOCOL_TYPE) => Ok(()),
                _ => Err(ErrorCode::NonEmptyGroup),
            },
        }
    }

    /// Whether members subscribe to the topic, so that its offsets are neither deleted nor expire.
    pub(super) fn is_subscribed(&self, group_id: &str, topic: &str) -> bool {
        self.living(group_id).is_some_and(|group| group.is_subscribed(topic))
            || self.persisted.consumer(group_id).is_some_and(|group| group.is_subscribed(topic))
    }

    /// How the group's offsets expire (KIP-211).
    pub(super) fn expiry_rule(&self, group_id: &str) -> ExpiryRule {
        if let Some(group) = self.living(group_id) {
            return match group.state() {
                // Offsets without a protocol are those of a consumer that is no member.
                _ if group.protocol_type.is_none() => ExpiryRule::SinceCommit,
                ClassicState::Empty => ExpiryRule::SinceEmpty(group.state_since_ms),
                ClassicState::Stable if group.subscribed.is_some() => ExpiryRule::SinceCommit,
                _ => ExpiryRule::Never,
            };
        }
        if self.persisted.consumer(group_id).is_some() {
            // Topics are known at any time, and nothing tells since when the group is empty; as in Kafka.
            return ExpiryRule::SinceCommit;
        }
        match self.persisted.group(group_id).and_then(|group| group.metadata.as_ref()) {
            // Records of an old Kafka do not say since when.
            Some(metadata) if !metadata.protocol_type.is_empty() && metadata.current_state_timestamp != -1 => {
                ExpiryRule::SinceEmpty(metadata.current_state_timestamp)
            }
            _ => ExpiryRule::SinceCommit,
        }
    }

    /// What takes a group away that has neither members nor offsets; `None` where somebody is in it, or about to be.
    pub(super) fn vanishing_group(&self, group_id: &str) -> Option<Vec<InternalRecord>> {
        let is_empty = |group: &crate::coordinator::group::classic::ClassicGroup| {
            group.state() == ClassicState::Empty && group.pending.is_empty()
        };
        // A share group stays until somebody deletes it, as in Kafka.
        self.persisted.share(group_id).is_none().then_some(())?;
        self.living(group_id).is_none_or(is_empty).then_some(())?;
        if let Some(group) = self.persisted.consumer(group_id) {
            group.members.is_empty().then_some(())?;
            let mut draft = Draft::of(group_id, Some(group));
            put_tombstones(&mut draft).ok()?;
            return Some(draft.records);
        }
        Some(vec![records::group_tombstone(group_id).ok()?])
    }
}
