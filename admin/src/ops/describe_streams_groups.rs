//! Streams groups with their members and topology. Source: StreamsGroupDescribe (API key 89), KIP-1071.

use std::collections::{BTreeMap, BTreeSet};

use rkafka_client_core::{Error, Result};
use rkafka_protocol::messages::StreamsGroupDescribeRequest;
use rkafka_protocol::messages::streams_group_describe_response as wire;

use super::{GroupState, PerItem};
use crate::group_job::describe_groups_by;
use crate::operation::operation;
use crate::{AclOperation, Admin};

/// A streams group.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamsGroupDescription {
    /// Its id, the application's.
    pub group_id: String,
    /// Its state.
    pub state: GroupState,
    /// The broker that coordinates it.
    pub coordinator: Option<i32>,
    /// How often it has changed.
    pub group_epoch: i32,
    /// The group epoch that the target assignment is made for.
    pub target_assignment_epoch: i32,
    /// The epoch of the topology.
    pub topology_epoch: Option<i32>,
    /// The parts of the topology; tasks are numbered within one.
    pub subtopologies: Vec<StreamsSubtopology>,
    /// Its members, by id.
    pub members: Vec<StreamsMemberDescription>,
    /// What this client may do with it; `None` where it was not asked for.
    pub authorized_operations: Option<BTreeSet<AclOperation>>,
}

/// A part of a streams application's topology that shares its tasks.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamsSubtopology {
    /// Its id.
    pub id: String,
    /// The topics that it reads.
    pub source_topics: Vec<String>,
    /// The repartition topics that it writes.
    pub repartition_sink_topics: Vec<String>,
    /// The changelogs of its stores.
    pub state_changelog_topics: Vec<StreamsTopic>,
    /// The repartition topics that it reads.
    pub repartition_source_topics: Vec<StreamsTopic>,
}

/// A topic that a streams application keeps for itself.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamsTopic {
    /// Its name.
    pub name: String,
    /// How many partitions; `None` where that follows from other topics.
    pub partitions: Option<i32>,
    /// How many replicas; `None` takes the broker's default.
    pub replication_factor: Option<i16>,
    /// Its settings.
    pub configs: BTreeMap<String, String>,
}

/// A member of a streams group.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamsMemberDescription {
    /// Its id.
    pub member_id: String,
    /// The group epoch that it has come to.
    pub member_epoch: i32,
    /// Its `group.instance.id`, if it has one.
    pub group_instance_id: Option<String>,
    /// Its `client.rack`, if it has one.
    pub rack: Option<String>,
    /// Its `client.id`.
    pub client_id: String,
    /// The host it is on, as the broker sees it.
    pub host: String,
    /// The epoch of the topology that it has.
    pub topology_epoch: i32,
    /// The process that it is a thread of.
    pub process_id: String,
    /// Where the process answers interactive queries, as `host:port`.
    pub user_endpoint: Option<String>,
    /// Tags for placing its standbys.
    pub client_tags: BTreeMap<String, String>,
    /// The tasks that it has.
    pub assignment: StreamsTasks,
    /// The tasks that it is to have.
    pub target_assignment: StreamsTasks,
    /// Whether it is a member by the classic protocol, on its way to the new one.
    pub is_classic: bool,
}

/// Tasks of a member: numbers of partitions by subtopology.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct StreamsTasks {
    /// Those that it works on.
    pub active: BTreeMap<String, Vec<i32>>,
    /// Those whose state it keeps beside another.
    pub standby: BTreeMap<String, Vec<i32>>,
    /// Those whose state it is building to take them over.
    pub warmup: BTreeMap<String, Vec<i32>>,
}

operation! {
    /// What [`Admin::describe_streams_groups`] gives.
    pub struct DescribeStreamsGroups => PerItem<StreamsGroupDescription> {
        groups: Vec<String>,
    }
    options {
        /// Whether to say what this client may do with each group. Default: not.
        include_authorized_operations: bool = false,
    }
}

describe_groups_by!(StreamsGroupDescribeRequest => StreamsGroupDescription, described);

fn described(group: wire::DescribedGroup) -> Result<StreamsGroupDescription> {
    Error::check_with(group.error_code, group.error_message.as_deref())?;
    let mut members: Vec<StreamsMemberDescription> = group.members.into_iter().map(member).collect();
    members.sort_by(|one, other| one.member_id.cmp(&other.member_id));
    let topology_epoch = group.topology.as_ref().map(|topology| topology.epoch);
    let subtopologies = group.topology.and_then(|topology| topology.subtopologies).unwrap_or_default();
    Ok(StreamsGroupDescription {
        group_id: group.group_id,
        state: GroupState::read(&group.group_state),
        coordinator: None,
        group_epoch: group.group_epoch,
        target_assignment_epoch: group.assignment_epoch,
        topology_epoch,
        subtopologies: subtopologies.into_iter().map(subtopology).collect(),
        members,
        authorized_operations: AclOperation::from_bits(group.authorized_operations),
    })
}

fn subtopology(part: wire::Subtopology) -> StreamsSubtopology {
    let topic = |topic: wire::TopicInfo| StreamsTopic {
        name: topic.name,
        partitions: (topic.partitions > 0).then_some(topic.partitions),
        replication_factor: (topic.replication_factor > 0).then_some(topic.replication_factor),
        configs: topic.topic_configs.into_iter().map(|config| (config.key, config.value)).collect(),
    };
    StreamsSubtopology {
        id: part.subtopology_id,
        source_topics: part.source_topics,
        repartition_sink_topics: part.repartition_sink_topics,
        state_changelog_topics: part.state_changelog_topics.into_iter().map(topic).collect(),
        repartition_source_topics: part.repartition_source_topics.into_iter().map(topic).collect(),
    }
}

fn member(member: wire::Member) -> StreamsMemberDescription {
    let of = |tasks: Vec<wire::TaskIds>| tasks.into_iter().map(|task| (task.subtopology_id, task.partitions)).collect();
    let tasks = |assignment: wire::Assignment| StreamsTasks {
        active: of(assignment.active_tasks),
        standby: of(assignment.standby_tasks),
        warmup: of(assignment.warmup_tasks),
    };
    StreamsMemberDescription {
        member_id: member.member_id,
        member_epoch: member.member_epoch,
        group_instance_id: member.instance_id,
        rack: member.rack_id,
        client_id: member.client_id,
        host: member.client_host,
        topology_epoch: member.topology_epoch,
        process_id: member.process_id,
        user_endpoint: member.user_endpoint.map(|endpoint| format!("{}:{}", endpoint.host, endpoint.port)),
        client_tags: member.client_tags.into_iter().map(|tag| (tag.key, tag.value)).collect(),
        assignment: tasks(member.assignment),
        target_assignment: tasks(member.target_assignment),
        is_classic: member.is_classic,
    }
}

impl DescribeStreamsGroups<'_> {
    async fn run(self) -> Result<PerItem<StreamsGroupDescription>> {
        let job = Job { authorized: self.include_authorized_operations };
        let mut groups = self.admin.run(&job, self.groups, self.limit).await?;
        for group in groups.values_mut().flatten() {
            group.coordinator = self.admin.group_coordinator(&group.group_id).await;
        }
        Ok(groups)
    }
}

impl Admin {
    /// Describes streams groups. A group that is not there, or of another type, is an error of its own
    /// ([`GroupIdNotFound`](crate::ErrorCode::GroupIdNotFound)). Needs Kafka 4.1; an application of Kafka Streams that uses
    /// the classic protocol is a classic group.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// See [`Admin`]. What concerns one group is in its item.
    pub fn describe_streams_groups(&self, groups: impl IntoIterator<Item: AsRef<str>>) -> DescribeStreamsGroups<'_> {
        DescribeStreamsGroups::new(self, super::strings(groups))
    }
}
