//! On which partitions a share group is, as far as administrators change it. What the group has done with them is with
//! the share coordinator; here is that there is such a state.

use std::collections::{BTreeMap, BTreeSet};

use rkafka_protocol::ErrorCode;
use uuid::Uuid;

use super::draft::ShareDraft;
use super::group::ShareGroup;
use crate::InternalRecord;
use crate::coordinator::group::consumer::GroupError;
use crate::coordinator::group::{GroupShard, Outcome};

/// Partitions by the id of their topic.
pub type SharePartitions = BTreeMap<Uuid, BTreeSet<i32>>;

/// A partition that a share group was never on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewSharePartition {
    /// The topic.
    pub topic_id: Uuid,
    /// The partition's number.
    pub partition: i32,
    /// A state that there may be is one that was to be deleted, and does not count.
    pub begins_anew: bool,
}

impl GroupShard {
    /// Whether this is a share group.
    pub fn is_share(&self, group_id: &str) -> bool {
        self.persisted.share(group_id).is_some()
    }

    /// Whether a share group is on a partition.
    pub fn is_share_partition(&self, group_id: &str, topic_id: Uuid, partition: i32) -> bool {
        self.persisted.share(group_id).is_some_and(|group| group.states.has(topic_id, partition))
    }

    /// The partitions that a share group is on, with the names of their topics. As in Kafka, one that is not there, or is of
    /// another kind, is on none.
    pub fn share_states(&self, group_id: &str) -> BTreeMap<Uuid, (String, BTreeSet<i32>)> {
        let topics = self.persisted.share(group_id).into_iter().flat_map(|group| &group.states.initialized);
        topics.map(|(id, topic)| (*id, (topic.name.clone(), topic.partitions.clone()))).collect()
    }

    /// Notes partitions of which an administrator says where the group begins. There may be no such group yet.
    ///
    /// # Errors
    /// `GROUP_ID_NOT_FOUND` for a group of another kind; `NON_EMPTY_GROUP`.
    pub fn decide_alter_share_states(
        &self,
        group_id: &str,
        partitions: &SharePartitions,
    ) -> Result<Outcome<()>, GroupError> {
        let group = self.empty_share_group(group_id, true)?;
        let mut draft = ShareDraft::of(group_id, group);
        let mut states = draft.group.states.clone();
        for (topic_id, partitions) in partitions {
            if let Some(topic) = self.image.topic_by_id(*topic_id) {
                states.add(*topic_id, &topic.name, partitions.iter().copied());
            }
        }
        draft.put_states(&states)?;
        Ok(Outcome { records: draft.records, reply: () })
    }

    /// Begins to take away the states of topics, or of all: they do not count any more, and are to be deleted with the
    /// share coordinator now. Answers them; also those of which the deletion has begun before and did not come to its
    /// end.
    ///
    /// # Errors
    /// `GROUP_ID_NOT_FOUND`, `NON_EMPTY_GROUP`.
    pub fn decide_delete_share_states(
        &self,
        group_id: &str,
        topics: Option<&BTreeSet<Uuid>>,
    ) -> Result<Outcome<SharePartitions>, GroupError> {
        let group = self.empty_share_group(group_id, false)?;
        let mut draft = ShareDraft::of(group_id, group);
        let mut states = draft.group.states.clone();
        let is_meant = |topic_id: &Uuid| topics.is_none_or(|topics| topics.contains(topic_id));
        let mut gone = SharePartitions::new();
        for topic_id in states.deleting.keys().filter(|topic_id| is_meant(topic_id)) {
            let count = self.image.topic_by_id(*topic_id).map_or(0, |topic| topic.partitions.len());
            gone.insert(*topic_id, (0..).take(count).collect());
        }
        let meant: Vec<Uuid> = states.initialized.keys().filter(|topic_id| is_meant(topic_id)).copied().collect();
        for topic_id in meant {
            if let Some(topic) = states.initialized.remove(&topic_id) {
                states.deleting.insert(topic_id, topic.name);
                gone.entry(topic_id).or_default().extend(topic.partitions);
            }
        }
        draft.put_states(&states)?;
        Ok(Outcome { records: draft.records, reply: gone })
    }

    /// The share coordinator has deleted the states of these topics.
    ///
    /// # Errors
    /// `GROUP_ID_NOT_FOUND`.
    pub fn decide_share_states_deleted(
        &self,
        group_id: &str,
        topics: &SharePartitions,
    ) -> Result<Outcome<()>, GroupError> {
        let mut draft = ShareDraft::of(group_id, self.share_group(group_id, false)?);
        let mut states = draft.group.states.clone();
        states.deleting.retain(|topic_id, _| !topics.contains_key(topic_id));
        draft.put_states(&states)?;
        Ok(Outcome { records: draft.records, reply: () })
    }

    /// What takes a topic that was deleted out of all share groups.
    pub(in crate::coordinator::group) fn forget_share_topic(&self, topic_id: Uuid) -> Vec<InternalRecord> {
        let mut records = Vec::new();
        for (group_id, group) in self.persisted.groups() {
            let Some(share) = &group.share else { continue };
            let mut states = share.states.clone();
            let had = states.initialized.remove(&topic_id).is_some();
            if states.deleting.remove(&topic_id).is_some() || had {
                let mut draft = ShareDraft::of(group_id, Some(share));
                if let Err(error) = draft.put_states(&states) {
                    tracing::error!(group = %group_id, %error, "a deleted topic stays noted");
                }
                records.append(&mut draft.records);
            }
        }
        records
    }

    fn empty_share_group(&self, group_id: &str, create: bool) -> Result<Option<&ShareGroup>, GroupError> {
        let group = self.share_group(group_id, create)?;
        if group.is_some_and(|group| !group.members.is_empty()) {
            return Err(GroupError::plain(ErrorCode::NonEmptyGroup));
        }
        Ok(group)
    }
}
