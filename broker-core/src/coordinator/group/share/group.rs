//! What the log says of a share group. Only [`ShareGroup::replay`] changes it.

use std::collections::{BTreeMap, BTreeSet};

use rkafka_protocol::messages::share_group_current_member_assignment_value::{
    ShareGroupCurrentMemberAssignmentValue, TopicPartitions as CurrentTopicPartitions,
};
use rkafka_protocol::messages::share_group_member_metadata_value::ShareGroupMemberMetadataValue;
use rkafka_protocol::messages::share_group_state_partition_metadata_value::{
    ShareGroupStatePartitionMetadataValue, TopicInfo, TopicPartitionsInfo,
};
use rkafka_protocol::messages::share_group_target_assignment_member_value::{
    ShareGroupTargetAssignmentMemberValue, TopicPartition as TargetTopicPartition,
};
use uuid::Uuid;

use super::records::ShareGroupRecord;
use crate::coordinator::group::consumer::Partitions;

/// What a member has.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::coordinator::group) struct ShareAssignment {
    pub epoch: i32,
    /// The epoch before, which the member may still send if an answer was lost.
    pub previous_epoch: i32,
    pub assigned: Partitions,
}

impl ShareAssignment {
    pub fn to_value(&self) -> ShareGroupCurrentMemberAssignmentValue {
        let one = |(topic_id, partitions): (&Uuid, &BTreeSet<i32>)| CurrentTopicPartitions {
            topic_id: *topic_id,
            partitions: partitions.iter().copied().collect(),
            ..Default::default()
        };
        ShareGroupCurrentMemberAssignmentValue {
            member_epoch: self.epoch,
            previous_member_epoch: self.previous_epoch,
            assigned_partitions: self.assigned.iter().map(one).collect(),
            ..Default::default()
        }
    }

    fn from_value(value: &ShareGroupCurrentMemberAssignmentValue) -> Self {
        let topics = value.assigned_partitions.iter().map(|topic| (topic.topic_id, &topic.partitions));
        Self { epoch: value.member_epoch, previous_epoch: value.previous_member_epoch, assigned: collected(topics) }
    }
}

/// A member of a share group.
#[derive(Debug, Clone, PartialEq, Default)]
pub(in crate::coordinator::group) struct ShareMember {
    pub metadata: ShareGroupMemberMetadataValue,
    pub current: ShareAssignment,
}

/// A topic's name, and partitions of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::coordinator::group) struct NamedPartitions {
    pub name: String,
    pub partitions: BTreeSet<i32>,
}

/// The partitions of which the share coordinator keeps a state for a group.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::coordinator::group) struct StatePartitions {
    /// There is a state.
    pub initialized: BTreeMap<Uuid, NamedPartitions>,
    /// Topics whose state is being taken away, with their names. Whoever comes to them meanwhile begins anew.
    pub deleting: BTreeMap<Uuid, String>,
}

impl StatePartitions {
    /// Whether the group is on a partition.
    pub fn has(&self, topic_id: Uuid, partition: i32) -> bool {
        self.initialized.get(&topic_id).is_some_and(|topic| topic.partitions.contains(&partition))
    }

    /// Notes partitions that have a state now; answers whether any is new.
    pub fn add(&mut self, topic_id: Uuid, name: &str, partitions: impl IntoIterator<Item = i32>) -> bool {
        let topic = self.initialized.entry(topic_id).or_default();
        name.clone_into(&mut topic.name);
        let had = topic.partitions.len();
        topic.partitions.extend(partitions);
        let is_new = topic.partitions.len() > had;
        self.deleting.remove(&topic_id);
        is_new
    }

    pub fn to_value(&self) -> ShareGroupStatePartitionMetadataValue {
        let initialized = |(topic_id, topic): (&Uuid, &NamedPartitions)| TopicPartitionsInfo {
            topic_id: *topic_id,
            topic_name: topic.name.clone(),
            partitions: topic.partitions.iter().copied().collect(),
            ..Default::default()
        };
        let deleting = |(topic_id, name): (&Uuid, &String)| TopicInfo {
            topic_id: *topic_id,
            topic_name: name.clone(),
            ..Default::default()
        };
        ShareGroupStatePartitionMetadataValue {
            initialized_topics: self.initialized.iter().map(initialized).collect(),
            deleting_topics: self.deleting.iter().map(deleting).collect(),
            ..Default::default()
        }
    }

    /// Kafka notes partitions as initializing before it asks the share coordinator. Where that was all, they are
    /// initialized again, which changes nothing that is there.
    fn from_value(value: ShareGroupStatePartitionMetadataValue) -> Self {
        let mut states = Self::default();
        for topic in value.initialized_topics.into_iter().filter(|topic| !topic.partitions.is_empty()) {
            states.add(topic.topic_id, &topic.topic_name, topic.partitions);
        }
        states.deleting = value.deleting_topics.into_iter().map(|topic| (topic.topic_id, topic.topic_name)).collect();
        states
    }
}

/// What the log says of a share group.
#[derive(Debug, Clone, PartialEq, Default)]
pub(in crate::coordinator::group) struct ShareGroup {
    /// Counts the changes of members, subscriptions and topics.
    pub epoch: i32,
    /// Tells whether the subscribed topics are still what they were.
    pub metadata_hash: i64,
    /// The group epoch of the target assignment.
    pub assignment_epoch: i32,
    /// When the target assignment was computed, by the date.
    pub assignment_date_ms: i64,
    pub members: BTreeMap<String, ShareMember>,
    pub targets: BTreeMap<String, Partitions>,
    pub states: StatePartitions,
}

impl ShareGroup {
    /// Takes a record for true. The end of the group itself is the caller's to see to.
    pub fn replay(&mut self, record: ShareGroupRecord) {
        match record {
            ShareGroupRecord::Group(value) => {
                let value = value.unwrap_or_default();
                (self.epoch, self.metadata_hash) = (value.epoch, value.metadata_hash);
            }
            ShareGroupRecord::Member { member_id, value: Some(value) } => {
                self.members.entry(member_id).or_default().metadata = value;
            }
            ShareGroupRecord::Member { member_id, value: None } => {
                self.members.remove(&member_id);
            }
            ShareGroupRecord::TargetEpoch(value) => {
                let value = value.unwrap_or_default();
                (self.assignment_epoch, self.assignment_date_ms) = (value.assignment_epoch, value.assignment_timestamp);
            }
            ShareGroupRecord::Target { member_id, value: Some(value) } => {
                let topics = value.topic_partitions.iter().map(|topic| (topic.topic_id, &topic.partitions));
                self.targets.insert(member_id, collected(topics));
            }
            ShareGroupRecord::Target { member_id, value: None } => {
                self.targets.remove(&member_id);
            }
            ShareGroupRecord::Current { member_id, value: Some(value) } => {
                self.members.entry(member_id).or_default().current = ShareAssignment::from_value(&value);
            }
            ShareGroupRecord::Current { member_id, value: None } => {
                if let Some(member) = self.members.get_mut(&member_id) {
                    member.current = ShareAssignment::default();
                }
            }
            ShareGroupRecord::States(value) => {
                self.states = value.map(StatePartitions::from_value).unwrap_or_default();
            }
        }
    }

    /// The state as Kafka names it.
    pub fn state_name(&self) -> &'static str {
        if self.members.is_empty() { "Empty" } else { "Stable" }
    }

    /// The names of all topics that members subscribe to.
    pub fn subscribed_names(&self) -> BTreeSet<&str> {
        let names = self.members.values().flat_map(|member| &member.metadata.subscribed_topic_names);
        names.map(String::as_str).collect()
    }
}

/// A member's target as it is written.
pub(super) fn target_value(partitions: &Partitions) -> ShareGroupTargetAssignmentMemberValue {
    let one = |(topic_id, partitions): (&Uuid, &BTreeSet<i32>)| TargetTopicPartition {
        topic_id: *topic_id,
        partitions: partitions.iter().copied().collect(),
        ..Default::default()
    };
    ShareGroupTargetAssignmentMemberValue {
        topic_partitions: partitions.iter().map(one).collect(),
        ..Default::default()
    }
}

fn collected<'a>(topics: impl Iterator<Item = (Uuid, &'a Vec<i32>)>) -> Partitions {
    let mut partitions = Partitions::new();
    for (topic_id, of_topic) in topics.filter(|(_, of_topic)| !of_topic.is_empty()) {
        partitions.entry(topic_id).or_default().extend(of_topic.iter().copied());
    }
    partitions
}
