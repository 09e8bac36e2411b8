//! What the log says of a consumer group. Only [`ConsumerGroup::replay`] changes it.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use rkafka_protocol::messages::consumer_group_current_member_assignment_value::{
    ConsumerGroupCurrentMemberAssignmentValue, TopicPartitions as CurrentTopicPartitions,
};
use rkafka_protocol::messages::consumer_group_member_metadata_value::{
    ClassicMemberMetadata, ConsumerGroupMemberMetadataValue,
};
use rkafka_protocol::messages::consumer_group_regular_expression_value::ConsumerGroupRegularExpressionValue;
use rkafka_protocol::messages::consumer_group_target_assignment_member_value::{
    ConsumerGroupTargetAssignmentMemberValue, TopicPartition as TargetTopicPartition,
};
use uuid::Uuid;

use super::records::ConsumerRecord;

/// Partitions by topic id.
pub(in crate::coordinator::group) type Partitions = BTreeMap<Uuid, BTreeSet<i32>>;

/// Partitions by topic id, each with the member epoch at which it was assigned (KIP-1251).
pub(in crate::coordinator::group) type AssignedPartitions = BTreeMap<Uuid, BTreeMap<i32, i32>>;

/// The epoch with which a member leaves, and the one of somebody who never was a member.
pub(in crate::coordinator) const LEAVE_EPOCH: i32 = -1;
/// The epoch with which a static member leaves for a moment.
pub(in crate::coordinator) const STATIC_LEAVE_EPOCH: i32 = -2;

/// How far a member has come towards the target assignment, with Kafka's numbers in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::coordinator::group) enum MemberState {
    /// It has what it shall have.
    #[default]
    Stable,
    /// It was told to give partitions up, and has not said that it did.
    UnrevokedPartitions,
    /// Partitions that it shall have are still with others.
    UnreleasedPartitions,
    /// Of a newer broker.
    Unknown,
}

impl MemberState {
    fn from_number(number: i8) -> Self {
        match number {
            0 => Self::Stable,
            1 => Self::UnrevokedPartitions,
            2 => Self::UnreleasedPartitions,
            _ => Self::Unknown,
        }
    }

    fn number(self) -> i8 {
        match self {
            Self::Stable => 0,
            Self::UnrevokedPartitions => 1,
            Self::UnreleasedPartitions => 2,
            Self::Unknown => 127,
        }
    }
}

/// What a member has.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::coordinator::group) struct CurrentAssignment {
    pub epoch: i32,
    /// The epoch before, which the member may still send if an answer was lost.
    pub previous_epoch: i32,
    pub state: MemberState,
    pub assigned: AssignedPartitions,
    /// To be given up by the member.
    pub revoking: AssignedPartitions,
}

impl CurrentAssignment {
    /// With another epoch; the one that was is remembered.
    pub fn with_epoch(mut self, epoch: i32) -> Self {
        self.previous_epoch = self.epoch;
        self.epoch = epoch;
        self
    }

    pub fn to_value(&self) -> ConsumerGroupCurrentMemberAssignmentValue {
        let list = |partitions: &AssignedPartitions| {
            let one = |(topic_id, of_topic): (&Uuid, &BTreeMap<i32, i32>)| CurrentTopicPartitions {
                topic_id: *topic_id,
                partitions: of_topic.keys().copied().collect(),
                assignment_epochs: Some(of_topic.values().copied().collect()),
                ..Default::default()
            };
            partitions.iter().map(one).collect()
        };
        ConsumerGroupCurrentMemberAssignmentValue {
            member_epoch: self.epoch,
            previous_member_epoch: self.previous_epoch,
            state: self.state.number(),
            assigned_partitions: list(&self.assigned),
            partitions_pending_revocation: list(&self.revoking),
            ..Default::default()
        }
    }

    fn from_value(value: &ConsumerGroupCurrentMemberAssignmentValue) -> Self {
        let map = |list: &[CurrentTopicPartitions]| {
            let mut partitions = AssignedPartitions::new();
            for topic in list {
                let of_topic = partitions.entry(topic.topic_id).or_default();
                let epochs = topic.assignment_epochs.as_deref().unwrap_or_default();
                for (at, partition) in topic.partitions.iter().enumerate() {
                    // Brokers before 4.2 did not write since when; the member's epoch is the latest it can be.
                    of_topic.insert(*partition, epochs.get(at).copied().unwrap_or(value.member_epoch));
                }
            }
            partitions.retain(|_, of_topic| !of_topic.is_empty());
            partitions
        };
        Self {
            epoch: value.member_epoch,
            previous_epoch: value.previous_member_epoch,
            state: MemberState::from_number(value.state),
            assigned: map(&value.assigned_partitions),
            revoking: map(&value.partitions_pending_revocation),
        }
    }
}

/// A member of a consumer group, of either protocol.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::coordinator::group) struct ConsumerMember {
    pub metadata: ConsumerGroupMemberMetadataValue,
    pub current: CurrentAssignment,
}

impl Default for ConsumerMember {
    fn default() -> Self {
        Self { metadata: blank_metadata(), current: CurrentAssignment::default() }
    }
}

/// What is known of a member that has said nothing: the message's own defaults have empty texts in place of null.
pub(super) fn blank_metadata() -> ConsumerGroupMemberMetadataValue {
    ConsumerGroupMemberMetadataValue {
        instance_id: None,
        rack_id: None,
        subscribed_topic_regex: None,
        server_assignor: None,
        ..Default::default()
    }
}

impl ConsumerMember {
    /// What a member of the classic protocol brought with it, `None` for one of the consumer protocol.
    pub fn classic(&self) -> Option<&ClassicMemberMetadata> {
        self.metadata.classic_member_metadata.as_ref()
    }

    /// The topic pattern that it subscribes to.
    pub fn pattern(&self) -> Option<&str> {
        self.metadata.subscribed_topic_regex.as_deref().filter(|pattern| !pattern.is_empty())
    }

    pub fn instance_id(&self) -> Option<&str> {
        self.metadata.instance_id.as_deref()
    }
}

/// The state of a group as Kafka names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::coordinator::group) enum ConsumerGroupState {
    Empty,
    Assigning,
    Reconciling,
    Stable,
}

impl ConsumerGroupState {
    /// The name in descriptions and lists.
    pub fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::Assigning => "Assigning",
            Self::Reconciling => "Reconciling",
            Self::Stable => "Stable",
        }
    }
}

/// What the log says of a consumer group.
#[derive(Debug, Clone, PartialEq, Default)]
pub(in crate::coordinator::group) struct ConsumerGroup {
    /// Counts the changes of members, subscriptions and topics.
    pub epoch: i32,
    /// Tells whether the subscribed topics are still what they were.
    pub metadata_hash: i64,
    /// The group epoch of the target assignment.
    pub assignment_epoch: i32,
    /// When the target assignment was computed, by the date.
    pub assignment_date_ms: i64,
    pub members: BTreeMap<String, ConsumerMember>,
    pub targets: BTreeMap<String, Partitions>,
    pub patterns: BTreeMap<String, ConsumerGroupRegularExpressionValue>,
    /// There is a record of Kafka 4.0 about the topics, which is to be taken away.
    pub has_partition_metadata: bool,
}

impl ConsumerGroup {
    /// Takes a record for true. The end of the group itself is the caller's to see to.
    pub fn replay(&mut self, record: ConsumerRecord) {
        match record {
            ConsumerRecord::Group(value) => {
                let value = value.unwrap_or_default();
                (self.epoch, self.metadata_hash) = (value.epoch, value.metadata_hash);
            }
            ConsumerRecord::PartitionMetadata { is_set } => self.has_partition_metadata = is_set,
            ConsumerRecord::Member { member_id, value: Some(value) } => {
                self.members.entry(member_id).or_default().metadata = value;
            }
            ConsumerRecord::Member { member_id, value: None } => {
                self.members.remove(&member_id);
            }
            ConsumerRecord::TargetEpoch(value) => {
                let value = value.unwrap_or_default();
                (self.assignment_epoch, self.assignment_date_ms) = (value.assignment_epoch, value.assignment_timestamp);
            }
            ConsumerRecord::Target { member_id, value: Some(value) } => {
                let mut partitions: Partitions = BTreeMap::new();
                for topic in value.topic_partitions.into_iter().filter(|topic| !topic.partitions.is_empty()) {
                    partitions.entry(topic.topic_id).or_default().extend(topic.partitions);
                }
                self.targets.insert(member_id, partitions);
            }
            ConsumerRecord::Target { member_id, value: None } => {
                self.targets.remove(&member_id);
            }
            ConsumerRecord::Current { member_id, value: Some(value) } => {
                self.members.entry(member_id).or_default().current = CurrentAssignment::from_value(&value);
            }
            ConsumerRecord::Current { member_id, value: None } => {
                if let Some(member) = self.members.get_mut(&member_id) {
                    member.current = CurrentAssignment::default();
                }
            }
            ConsumerRecord::Regex { pattern, value: Some(value) } => {
                self.patterns.insert(pattern, value);
            }
            ConsumerRecord::Regex { pattern, value: None } => {
                self.patterns.remove(&pattern);
            }
        }
    }

    pub fn state(&self) -> ConsumerGroupState {
        if self.members.is_empty() {
            ConsumerGroupState::Empty
        } else if self.epoch > self.assignment_epoch {
            ConsumerGroupState::Assigning
        } else if self.members.values().all(|member| self.is_reconciled(member)) {
            ConsumerGroupState::Stable
        } else {
            ConsumerGroupState::Reconciling
        }
    }

    /// Whether a member has what it shall have.
    pub fn is_reconciled(&self, member: &ConsumerMember) -> bool {
        member.current.state == MemberState::Stable && member.current.epoch == self.assignment_epoch
    }

    /// The static member of an instance, with its member id.
    pub fn static_member(&self, instance_id: &str) -> Option<(&String, &ConsumerMember)> {
        self.members.iter().find(|(_, member)| member.instance_id() == Some(instance_id))
    }

    /// All partitions that somebody else than `except` has, or has still to give up.
    pub fn held_by_others(&self, except: &str) -> HashSet<(Uuid, i32)> {
        let others = self.members.iter().filter(|(id, _)| *id != except);
        let held = others.flat_map(|(_, member)| member.current.assigned.iter().chain(&member.current.revoking));
        held.flat_map(|(topic, partitions)| partitions.keys().map(|partition| (*topic, *partition))).collect()
    }

    /// Whether all members but those in `except` speak the classic protocol.
    pub fn is_classic_except(&self, except: &BTreeSet<&str>) -> bool {
        self.members.iter().all(|(id, member)| except.contains(id.as_str()) || member.classic().is_some())
    }

    /// The names of all topics that members subscribe to, patterns resolved.
    pub fn subscribed_names(&self) -> BTreeSet<&str> {
        self.members.values().flat_map(|member| self.names_of(member)).collect()
    }

    /// The names of the topics that a member subscribes to, its pattern resolved.
    pub fn names_of<'a>(&'a self, member: &'a ConsumerMember) -> impl Iterator<Item = &'a str> {
        let resolved = member.pattern().and_then(|pattern| self.patterns.get(pattern));
        let resolved = resolved.into_iter().flat_map(|resolved| &resolved.topics);
        member.metadata.subscribed_topic_names.iter().chain(resolved).map(String::as_str)
    }

    /// The assignor that most members want, `None` where none wants any. By name where votes are equal.
    pub fn preferred_assignor(&self) -> Option<&str> {
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        for name in self.members.values().filter_map(|member| member.metadata.server_assignor.as_deref()) {
            *votes.entry(name).or_default() += 1;
        }
        let most = votes.values().copied().max()?;
        votes.into_iter().find(|(_, count)| *count == most).map(|(name, _)| name)
    }
}

/// A member's target as it is written.
pub(in crate::coordinator::group) fn target_value(partitions: &Partitions) -> ConsumerGroupTargetAssignmentMemberValue {
    let one = |(topic_id, partitions): (&Uuid, &BTreeSet<i32>)| TargetTopicPartition {
        topic_id: *topic_id,
        partitions: partitions.iter().copied().collect(),
        ..Default::default()
    };
    ConsumerGroupTargetAssignmentMemberValue {
        topic_partitions: partitions.iter().map(one).collect(),
        ..Default::default()
    }
}
