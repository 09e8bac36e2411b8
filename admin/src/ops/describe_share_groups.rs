//! Share groups with their members. Source: ShareGroupDescribe (API key 77), KIP-932.

use std::collections::BTreeSet;

use rkafka_client_core::{Error, Result, TopicPartition};
use rkafka_protocol::messages::ShareGroupDescribeRequest;
use rkafka_protocol::messages::share_group_describe_response::{DescribedGroup, Member};

use super::describe_classic_groups::partitions;
use super::{GroupState, PerItem};
use crate::group_job::describe_groups_by;
use crate::operation::operation;
use crate::{AclOperation, Admin};

/// A share group.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShareGroupDescription {
    /// Its id.
    pub group_id: String,
    /// Its state.
    pub state: GroupState,
    /// The name of the assignor.
    pub assignor: String,
    /// The broker that coordinates it.
    pub coordinator: Option<i32>,
    /// How often it has changed.
    pub group_epoch: i32,
    /// The group epoch that the assignment is made for.
    pub target_assignment_epoch: i32,
    /// Its members, by id.
    pub members: Vec<ShareMemberDescription>,
    /// What this client may do with it; `None` where it was not asked for.
    pub authorized_operations: Option<BTreeSet<AclOperation>>,
}

/// A member of a share group.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShareMemberDescription {
    /// Its id.
    pub member_id: String,
    /// Its `client.rack`, if it has one.
    pub rack: Option<String>,
    /// Its `client.id`.
    pub client_id: String,
    /// The host it is on, as the broker sees it.
    pub host: String,
    /// The topics it is subscribed to.
    pub subscribed_topics: Vec<String>,
    /// The partitions that it reads from, beside others.
    pub assignment: BTreeSet<TopicPartition>,
    /// The group epoch that it has come to.
    pub member_epoch: i32,
}

operation! {
    /// What [`Admin::describe_share_groups`] gives.
    pub struct DescribeShareGroups => PerItem<ShareGroupDescription> {
        groups: Vec<String>,
    }
    options {
        /// Whether to say what this client may do with each group. Default: not.
        include_authorized_operations: bool = false,
    }
}

describe_groups_by!(ShareGroupDescribeRequest => ShareGroupDescription, described);

fn described(group: DescribedGroup) -> Result<ShareGroupDescription> {
    Error::check_with(group.error_code, group.error_message.as_deref())?;
    let mut members: Vec<ShareMemberDescription> = group.members.into_iter().map(member).collect();
    members.sort_by(|one, other| one.member_id.cmp(&other.member_id));
    Ok(ShareGroupDescription {
        group_id: group.group_id,
        state: GroupState::read(&group.group_state),
        assignor: group.assignor_name,
        coordinator: None,
        group_epoch: group.group_epoch,
        target_assignment_epoch: group.assignment_epoch,
        members,
        authorized_operations: AclOperation::from_bits(group.authorized_operations),
    })
}

fn member(member: Member) -> ShareMemberDescription {
    let topics = member.assignment.topic_partitions.iter();
    ShareMemberDescription {
        assignment: partitions(topics.map(|topic| (&*topic.topic_name, &*topic.partitions))),
        member_id: member.member_id,
        rack: member.rack_id,
        client_id: member.client_id,
        host: member.client_host,
        subscribed_topics: member.subscribed_topic_names,
        member_epoch: member.member_epoch,
    }
}

impl DescribeShareGroups<'_> {
    async fn run(self) -> Result<PerItem<ShareGroupDescription>> {
        let job = Job { authorized: self.include_authorized_operations };
        let mut groups = self.admin.run(&job, self.groups, self.limit).await?;
        for group in groups.values_mut().flatten() {
            group.coordinator = self.admin.group_coordinator(&group.group_id).await;
        }
        Ok(groups)
    }
}

impl Admin {
    /// Describes share groups. A group that is not there, or of another type, is an error of its own
    /// ([`GroupIdNotFound`](crate::ErrorCode::GroupIdNotFound)). Needs Kafka 4.1.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// See [`Admin`]. What concerns one group is in its item.
    pub fn describe_share_groups(&self, groups: impl IntoIterator<Item: AsRef<str>>) -> DescribeShareGroups<'_> {
        DescribeShareGroups::new(self, super::strings(groups))
    }
}
