//! Consumer groups with their members. Source: ConsumerGroupDescribe (API key 69), KIP-848, KIP-1099; DescribeGroups (key
//! 15) for those of the classic type.

use std::collections::BTreeSet;

use rkafka_client_core::{Error, ErrorCode, ErrorKind, Result, TopicPartition};
use rkafka_protocol::messages::ConsumerGroupDescribeRequest;
use rkafka_protocol::messages::consumer_group_describe_response::{Assignment, DescribedGroup, Member};

use super::describe_classic_groups::{ClassicJob, partitions};
use super::{ClassicGroupDescription, GroupState, GroupType, PerItem};
use crate::group_job::describe_groups_by;
use crate::operation::operation;
use crate::{AclOperation, Admin};

/// A group of consumers, of the classic or the consumer type.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConsumerGroupDescription {
    /// Its id.
    pub group_id: String,
    /// Its type: [`GroupType::Classic`] or [`GroupType::Consumer`].
    pub kind: GroupType,
    /// Its state.
    pub state: GroupState,
    /// The name of the assignor; empty where there is none yet.
    pub assignor: String,
    /// The broker that coordinates it.
    pub coordinator: Option<i32>,
    /// How often it has changed (KIP-848); `None` of a classic group.
    pub group_epoch: Option<i32>,
    /// The group epoch that the target assignment is made for; behind `group_epoch` while a new one is computed. `None` of
    /// a classic group.
    pub target_assignment_epoch: Option<i32>,
    /// Its members, by id.
    pub members: Vec<ConsumerMemberDescription>,
    /// What this client may do with it; `None` where it was not asked for, or the broker did not say.
    pub authorized_operations: Option<BTreeSet<AclOperation>>,
}

/// A member of a group of consumers.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConsumerMemberDescription {
    /// Its id.
    pub member_id: String,
    /// Its `group.instance.id`, if it has one.
    pub group_instance_id: Option<String>,
    /// Its `client.rack`, where the broker says it.
    pub rack: Option<String>,
    /// Its `client.id`.
    pub client_id: String,
    /// The host it is on, as the broker sees it.
    pub host: String,
    /// The topics it is subscribed to by name.
    pub subscribed_topics: Vec<String>,
    /// The pattern it is subscribed by, if it has one (KIP-848).
    pub subscribed_pattern: Option<String>,
    /// The partitions that it has.
    pub assignment: BTreeSet<TopicPartition>,
    /// The partitions that it is to have (KIP-848); `None` of a classic group.
    pub target_assignment: Option<BTreeSet<TopicPartition>>,
    /// The group epoch that it has come to (KIP-848); `None` of a classic group.
    pub member_epoch: Option<i32>,
    /// Whether it speaks the consumer protocol, in a group that also takes members of the classic one; `None` where the
    /// broker did not say (before Kafka 4.0, KIP-1099), and of a classic group.
    pub upgraded: Option<bool>,
}

operation! {
    /// What [`Admin::describe_consumer_groups`] gives.
    pub struct DescribeConsumerGroups => PerItem<ConsumerGroupDescription> {
        groups: Vec<String>,
    }
    options {
        /// Whether to say what this client may do with each group. Default: not.
        include_authorized_operations: bool = false,
    }
}

describe_groups_by!(ConsumerGroupDescribeRequest => ConsumerGroupDescription, described);

fn described(group: DescribedGroup) -> Result<ConsumerGroupDescription> {
    Error::check_with(group.error_code, group.error_message.as_deref())?;
    let mut members: Vec<ConsumerMemberDescription> = group.members.into_iter().map(member).collect();
    members.sort_by(|one, other| one.member_id.cmp(&other.member_id));
    Ok(ConsumerGroupDescription {
        group_id: group.group_id,
        kind: GroupType::Consumer,
        state: GroupState::read(&group.group_state),
        assignor: group.assignor_name,
        coordinator: None,
        group_epoch: Some(group.group_epoch),
        target_assignment_epoch: Some(group.assignment_epoch),
        members,
        authorized_operations: AclOperation::from_bits(group.authorized_operations),
    })
}

fn member(member: Member) -> ConsumerMemberDescription {
    let of = |assignment: &Assignment| {
        partitions(assignment.topic_partitions.iter().map(|topic| (&*topic.topic_name, &*topic.partitions)))
    };
    ConsumerMemberDescription {
        assignment: of(&member.assignment),
        target_assignment: Some(of(&member.target_assignment)),
        member_id: member.member_id,
        group_instance_id: member.instance_id,
        rack: member.rack_id,
        client_id: member.client_id,
        host: member.client_host,
        subscribed_topics: member.subscribed_topic_names,
        subscribed_pattern: member.subscribed_topic_regex.filter(|pattern| !pattern.is_empty()),
        member_epoch: Some(member.member_epoch),
        upgraded: match member.member_type {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        },
    }
}

impl From<ClassicGroupDescription> for ConsumerGroupDescription {
    fn from(group: ClassicGroupDescription) -> Self {
        let members = group.members.into_iter().map(|member| ConsumerMemberDescription {
            member_id: member.member_id,
            group_instance_id: member.group_instance_id,
            rack: None,
            client_id: member.client_id,
            host: member.host,
            subscribed_topics: member.subscribed_topics,
            subscribed_pattern: None,
            assignment: member.assignment,
            target_assignment: None,
            member_epoch: None,
            upgraded: None,
        });
        Self {
            group_id: group.group_id,
            kind: GroupType::Classic,
            state: group.state,
            assignor: group.protocol,
            coordinator: group.coordinator,
            group_epoch: None,
            target_assignment_epoch: None,
            members: members.collect(),
            authorized_operations: group.authorized_operations,
        }
    }
}

impl DescribeConsumerGroups<'_> {
    async fn run(self) -> Result<PerItem<ConsumerGroupDescription>> {
        self.admin.within(self.limit, self.of_both_types()).await
    }

    async fn of_both_types(&self) -> Result<PerItem<ConsumerGroupDescription>> {
        let authorized = self.include_authorized_operations;
        let mut groups = match self.admin.run(&Job { authorized }, self.groups.clone(), self.limit).await {
            Err(error) if error.kind() == ErrorKind::UnsupportedVersion => {
                self.groups.iter().map(|group| (group.clone(), Err(error.clone()))).collect()
            }
            groups => groups?,
        };
        // A classic group is not found there, and older brokers know no other.
        let classic: Vec<String> = groups
            .iter()
            .filter(|(_, result)| {
                result.as_ref().is_err_and(|error| {
                    error.kind() == ErrorKind::UnsupportedVersion || error.code() == Some(ErrorCode::GroupIdNotFound)
                })
            })
            .map(|(group, _)| group.clone())
            .collect();
        let classic = self.admin.run(&ClassicJob { authorized }, classic, self.limit).await?;
        for (group, result) in classic {
            let described = result.and_then(|description| match &*description.protocol_type {
                "" | "consumer" => Ok(description.into()),
                other => Err(Error::new(
                    ErrorKind::Broker(ErrorCode::InconsistentGroupProtocol),
                    format!("`{group}` is no group of consumers; its members speak `{other}`"),
                )),
            });
            groups.insert(group, described);
        }
        for group in groups.values_mut().flatten() {
            group.coordinator = self.admin.group_coordinator(&group.group_id).await;
        }
        Ok(groups)
    }
}

impl Admin {
    /// Describes groups of consumers, of either protocol. A group that is not there, or of another type, is an error of
    /// its own ([`GroupIdNotFound`](ErrorCode::GroupIdNotFound)).
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// See [`Admin`]. What concerns one group is in its item.
    pub fn describe_consumer_groups(&self, groups: impl IntoIterator<Item: AsRef<str>>) -> DescribeConsumerGroups<'_> {
        DescribeConsumerGroups::new(self, super::strings(groups))
    }
}
