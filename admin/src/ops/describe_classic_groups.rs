//! Classic groups with their members. Source: DescribeGroups (API key 15), KIP-1043 for groups that are not there.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use rkafka_client_core::{CoordinatorKind, Error, ErrorCode, Result, TopicPartition};
use rkafka_protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use rkafka_protocol::messages::{
    ConsumerProtocolAssignment, ConsumerProtocolSubscription, DescribeGroupsRequest, DescribeGroupsResponse,
};
use rkafka_protocol::wire::{Message, Reader};

use super::{GroupState, PerItem};
use crate::driver::{Answers, Operation, Place};
use crate::operation::operation;
use crate::{AclOperation, Admin};

/// A classic group.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClassicGroupDescription {
    /// Its id.
    pub group_id: String,
    /// What its members speak: `consumer`, `connect`; empty for a group that only keeps offsets.
    pub protocol_type: String,
    /// The protocol that they agreed upon, for consumers the name of the assignor; empty where they have not.
    pub protocol: String,
    /// Its state.
    pub state: GroupState,
    /// The broker that coordinates it.
    pub coordinator: Option<i32>,
    /// Its members, by id.
    pub members: Vec<ClassicMemberDescription>,
    /// What this client may do with it; `None` where it was not asked for, or the broker did not say.
    pub authorized_operations: Option<BTreeSet<AclOperation>>,
}

/// A member of a classic group.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClassicMemberDescription {
    /// The id that the group gave it.
    pub member_id: String,
    /// Its `group.instance.id`, if it has one.
    pub group_instance_id: Option<String>,
    /// Its `client.id`.
    pub client_id: String,
    /// The host it is on, as the broker sees it.
    pub host: String,
    /// The topics it is subscribed to; of consumers only.
    pub subscribed_topics: Vec<String>,
    /// What it was assigned; of consumers only.
    pub assignment: BTreeSet<TopicPartition>,
    /// What it told of itself when it joined, as it is.
    pub raw_metadata: Bytes,
    /// What its leader assigned to it, as it is.
    pub raw_assignment: Bytes,
}

operation! {
    /// What [`Admin::describe_classic_groups`] gives.
    pub struct DescribeClassicGroups => PerItem<ClassicGroupDescription> {
        groups: Vec<String>,
    }
    options {
        /// Whether to say what this client may do with each group. Default: not.
        include_authorized_operations: bool = false,
    }
}

pub(super) struct ClassicJob {
    pub(super) authorized: bool,
}

impl Operation for ClassicJob {
    type Key = String;
    type Value = ClassicGroupDescription;
    type Request = DescribeGroupsRequest;

    fn place(&self, group: &String) -> Place {
        Place::group(group)
    }

    fn request(&self, _version: i16, groups: &[String]) -> Result<DescribeGroupsRequest> {
        Ok(DescribeGroupsRequest {
            groups: groups.to_vec(),
            include_authorized_operations: self.authorized,
            ..Default::default()
        })
    }

    fn read(&self, _groups: &[String], response: DescribeGroupsResponse) -> Answers<String, ClassicGroupDescription> {
        Ok(response.groups.into_iter().map(|group| (group.group_id.clone(), described(group))).collect())
    }
}

fn described(group: DescribedGroup) -> Result<ClassicGroupDescription> {
    Error::check_with(group.error_code, group.error_message.as_deref())?;
    let state = GroupState::read(&group.group_state);
    if state == GroupState::Dead {
        // Before version 6 this is how a broker says that there is none.
        return Err(Error::broker_error(ErrorCode::GroupIdNotFound));
    }
    let of_consumers = group.protocol_type.is_empty() || group.protocol_type == "consumer";
    let mut members: Vec<ClassicMemberDescription> =
        group.members.into_iter().map(|one| member(one, of_consumers)).collect();
    members.sort_by(|one, other| one.member_id.cmp(&other.member_id));
    Ok(ClassicGroupDescription {
        group_id: group.group_id,
        protocol_type: group.protocol_type,
        protocol: group.protocol_data,
        state,
        coordinator: None,
        members,
        authorized_operations: AclOperation::from_bits(group.authorized_operations),
    })
}

fn member(member: DescribedGroupMember, of_consumers: bool) -> ClassicMemberDescription {
    // Applications may write there what they like; what cannot be read is left as bytes.
    let assignment = framed::<ConsumerProtocolAssignment>(&member.member_assignment).filter(|_| of_consumers);
    let subscription = framed::<ConsumerProtocolSubscription>(&member.member_metadata).filter(|_| of_consumers);
    let partitions = assignment.into_iter().flat_map(|assignment| assignment.assigned_partitions).flat_map(|topic| {
        let name: std::sync::Arc<str> = topic.topic.into();
        topic.partitions.into_iter().map(move |partition| TopicPartition::new(name.clone(), partition))
    });
    ClassicMemberDescription {
        member_id: member.member_id,
        group_instance_id: member.group_instance_id,
        client_id: member.client_id,
        host: member.client_host,
        subscribed_topics: subscription.map(|subscription| subscription.topics).unwrap_or_default(),
        assignment: partitions.collect(),
        raw_metadata: member.member_metadata,
        raw_assignment: member.member_assignment,
    }
}

/// A message with its version before it, as consumers frame theirs; newer versions begin as the newest known.
fn framed<M: Message>(bytes: &Bytes) -> Option<M> {
    let mut reader = Reader::new(bytes.clone());
    let version = reader.i16().ok().filter(|version| *version >= 0)?;
    M::decode(&mut reader, version.min(M::VERSIONS.max)).ok()
}

impl DescribeClassicGroups<'_> {
    async fn run(self) -> Result<PerItem<ClassicGroupDescription>> {
        let job = ClassicJob { authorized: self.include_authorized_operations };
        let mut groups = self.admin.run(&job, self.groups, self.limit).await?;
        for group in groups.values_mut().flatten() {
            group.coordinator = self.admin.group_coordinator(&group.group_id).await;
        }
        Ok(groups)
    }
}

impl Admin {
    /// Describes classic groups: those whose members agree by JoinGroup and SyncGroup, consumers or others (Connect's
    /// workers), and those without members that only keep offsets. A group that is not there, or is of another type, is an
    /// error of its own ([`GroupIdNotFound`](ErrorCode::GroupIdNotFound)).
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// See [`Admin`]. What concerns one group is in its item.
    pub fn describe_classic_groups(&self, groups: impl IntoIterator<Item: AsRef<str>>) -> DescribeClassicGroups<'_> {
        DescribeClassicGroups::new(self, super::strings(groups))
    }

    /// Who coordinates a group, as it was found a moment ago.
    pub(super) async fn group_coordinator(&self, group: &str) -> Option<i32> {
        self.client().coordinator(CoordinatorKind::Group, group).await.ok()
    }
}

/// Partitions by name, as groups tell of them.
pub(super) fn partitions<'a>(topics: impl IntoIterator<Item = (&'a str, &'a [i32])>) -> BTreeSet<TopicPartition> {
    let mut all = BTreeMap::<&str, BTreeSet<i32>>::new();
    for (topic, partitions) in topics {
        all.entry(topic).or_default().extend(partitions);
    }
    let of = |(topic, partitions): (&str, BTreeSet<i32>)| {
        let topic: std::sync::Arc<str> = topic.into();
        partitions.into_iter().map(move |partition| TopicPartition::new(topic.clone(), partition)).collect::<Vec<_>>()
    };
    all.into_iter().flat_map(of).collect()
}
