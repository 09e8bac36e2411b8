//! What producers and consumers both say of groups and their offsets.

use std::fmt;
use std::sync::Arc;

/// A topic and one of its partitions.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic's name.
    pub topic: Arc<str>,
    /// The partition's number, from 0.
    pub partition: i32,
}

impl TopicPartition {
    /// The partition `partition` of `topic`.
    pub fn new(topic: impl Into<Arc<str>>, partition: i32) -> Self {
        Self { topic: topic.into(), partition }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}-{}", self.topic, self.partition)
    }
}

impl<Topic: Into<Arc<str>>> From<(Topic, i32)> for TopicPartition {
    fn from((topic, partition): (Topic, i32)) -> Self {
        Self::new(topic, partition)
    }
}

/// An offset of a group, as it is committed: where the group goes on reading.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CommittedOffset {
    /// The offset of the next record to read.
    pub offset: i64,
    /// The leader epoch of the last record read, where it is known.
    pub leader_epoch: Option<i32>,
    /// What the committing application added.
    pub metadata: String,
}

impl CommittedOffset {
    /// An offset without epoch and metadata.
    pub fn new(offset: i64) -> Self {
        Self { offset, leader_epoch: None, metadata: String::new() }
    }

    /// Adds the leader epoch of the last record read, where it is known.
    #[must_use]
    pub fn with_leader_epoch(mut self, leader_epoch: Option<i32>) -> Self {
        self.leader_epoch = leader_epoch;
        self
    }

    /// Adds what the application has to say of the offset.
    #[must_use]
    pub fn with_metadata(mut self, metadata: impl Into<String>) -> Self {
        self.metadata = metadata.into();
        self
    }
}

/// Who commits offsets of a group: the member and its generation, so that one whose partitions are another's by now is
/// refused (KIP-447). Java's `ConsumerGroupMetadata`; a consumer gives its own.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupMetadata {
    /// `group.id`.
    pub group_id: String,
    /// The generation of the group that the member is in, or its member epoch by the consumer protocol (KIP-848); -1
    /// for a consumer that is no member.
    pub generation_id: i32,
    /// The id that the group gave the member; empty for a consumer that is no member.
    pub member_id: String,
    /// `group.instance.id`, for a static member.
    pub group_instance_id: Option<String>,
}

impl GroupMetadata {
    /// The group without a member: offsets are committed by whoever says so, and nobody is fenced.
    pub fn new(group_id: impl Into<String>) -> Self {
        Self { group_id: group_id.into(), generation_id: -1, member_id: String::new(), group_instance_id: None }
    }

    /// Adds the member.
    #[must_use]
    pub fn with_member(
        mut self,
        generation_id: i32,
        member_id: impl Into<String>,
        group_instance_id: Option<String>,
    ) -> Self {
        self.generation_id = generation_id;
        self.member_id = member_id.into();
        self.group_instance_id = group_instance_id;
        self
    }
}
