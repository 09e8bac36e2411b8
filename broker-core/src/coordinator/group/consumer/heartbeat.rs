//! ConsumerGroupHeartbeat: members come, go on and leave.

use std::collections::BTreeSet;

use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::consumer_group_heartbeat_request::{ConsumerGroupHeartbeatRequest, TopicPartitions};
use rkafka_protocol::messages::consumer_group_heartbeat_response::{
    Assignment, ConsumerGroupHeartbeatResponse, TopicPartitions as AssignedTopic,
};
use rkafka_protocol::messages::consumer_group_member_metadata_value::ConsumerGroupMemberMetadataValue;

use super::draft::{Draft, Surroundings};
use super::group::{
    AssignedPartitions, ConsumerMember, CurrentAssignment, LEAVE_EPOCH, MemberState, Partitions, STATIC_LEAVE_EPOCH,
};
use super::records::ConsumerRecord;
use super::{ConsumerGroupSettings, GroupError, TimerChange};

/// The first version in which members bring their own id (KIP-1082).
const FIRST_VERSION_WITH_OWN_ID: i16 = 1;

/// Who sent a heartbeat.
#[derive(Debug, Clone)]
pub struct HeartbeatingClient {
    /// The version of the request.
    pub version: i16,
    /// The `client.id`.
    pub client_id: String,
    /// The address as descriptions show it.
    pub client_host: String,
    /// The id of this member, should it be new and of version 0. The machine has no randomness of its own.
    pub new_member_id: String,
}

/// Whether a request can be meant so, before any group is looked at.
pub(super) fn check_request(
    request: &ConsumerGroupHeartbeatRequest,
    version: i16,
    settings: &ConsumerGroupSettings,
) -> Result<(), GroupError> {
    let invalid = |message: &str| Err(GroupError::new(ErrorCode::InvalidRequest, message));
    let is_blank = |text: &str| text.trim().is_empty();
    if (version >= FIRST_VERSION_WITH_OWN_ID || request.member_epoch > 0 || request.member_epoch == LEAVE_EPOCH)
        && is_blank(&request.member_id)
    {
        return invalid("MemberId can't be empty.");
    }
    if is_blank(&request.group_id) {
        return invalid("GroupId can't be empty.");
    }
    if request.instance_id.as_deref().is_some_and(is_blank) {
        return invalid("InstanceId can't be empty.");
    }
    if request.rack_id.as_deref().is_some_and(is_blank) {
        return invalid("RackId can't be empty.");
    }
    match request.member_epoch {
        0 if request.rebalance_timeout_ms == -1 => {
            return invalid("RebalanceTimeoutMs must be provided in first request.");
        }
        0 if request.topic_partitions.as_ref().is_none_or(|owned| !owned.is_empty()) => {
            return invalid("TopicPartitions must be empty when (re-)joining.");
        }
        0 if request.subscribed_topic_names.is_none() && request.subscribed_topic_regex.is_none() => {
            return invalid("Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when (re-)joining.");
        }
        STATIC_LEAVE_EPOCH if request.instance_id.is_none() => return invalid("InstanceId can't be null."),
        epoch if epoch < STATIC_LEAVE_EPOCH => return invalid("MemberEpoch is invalid."),
        _ => {}
    }
    match &request.server_assignor {
        Some(name) if !settings.has_assignor(name) => Err(GroupError::new(
            ErrorCode::UnsupportedAssignor,
            format!("ServerAssignor {name} is not supported. Supported assignors: {}.", settings.assignors.join(", ")),
        )),
        _ => Ok(()),
    }
}

impl Draft<'_> {
    /// A heartbeat of somebody who stays, in a group that was found or made for it. Answers the response, and what it
    /// does to the timers.
    pub fn heartbeat(
        &mut self,
        around: Surroundings<'_>,
        request: &ConsumerGroupHeartbeatRequest,
        client: &HeartbeatingClient,
        topics_changed: bool,
    ) -> Result<(ConsumerGroupHeartbeatResponse, Vec<TimerChange>), GroupError> {
        let joins = request.member_epoch == 0;
        let member_id = if request.member_id.is_empty() { &client.new_member_id } else { &request.member_id }.as_str();
        let max_size = around.settings.max_size;
        if self.group.members.len() >= max_size && !self.group.members.contains_key(member_id) {
            return Err(GroupError::new(
                ErrorCode::GroupMaxSizeReached,
                format!("The consumer group has reached its maximum capacity of {max_size} members."),
            ));
        }
        let mut timers = Vec::new();
        let owned = request.topic_partitions.as_deref().map(to_partitions);
        match &request.instance_id {
            Some(instance_id) if joins => {
                if let Some(old) = self.replace_static(instance_id, member_id, false)? {
                    timers.push(TimerChange::Gone { member_id: old });
                }
            }
            Some(instance_id) => {
                self.check_static(instance_id, member_id)?;
            }
            None => {}
        }
        let before = match self.group.members.get(member_id) {
            Some(member) if joins => member.clone(),
            Some(member) => {
                check_epoch(&member.current, request.member_epoch, owned.as_ref())?;
                member.clone()
            }
            None if joins => ConsumerMember::default(),
            None => return Err(unknown_member(self.id, member_id)),
        };
        let mut metadata = before.metadata.clone();
        update(&mut metadata, request, client);
        let bump = self.put_member(member_id, metadata, around)?;
        if topics_changed {
            self.refresh_patterns(around)?;
        }
        if bump || topics_changed {
            self.refresh(around, bump)?;
        }
        self.retarget(around)?;
        self.reconcile(member_id, owned.as_ref(), around.image)?;

        let after = self.group.members.get(member_id).map(|member| member.current.clone()).unwrap_or_default();
        let in_ms = around.settings.timings.session_timeout_ms(self.id, around.image);
        timers.push(TimerChange::Session { member_id: member_id.to_owned(), in_ms });
        if after != before.current {
            timers.push(self.revocation_timer(member_id, &after));
        }
        // A request that says everything comes from a member that has begun anew, or has missed an answer.
        let says_everything = joins
            || (request.rebalance_timeout_ms != -1
                && (request.subscribed_topic_names.is_some() || request.subscribed_topic_regex.is_some())
                && request.topic_partitions.is_some());
        let keys = |assigned: &AssignedPartitions| -> BTreeSet<_> {
            assigned.iter().flat_map(|(topic, of)| of.keys().map(|partition| (*topic, *partition))).collect()
        };
        let tells = says_everything || keys(&after.assigned) != keys(&before.current.assigned);
        let response = ConsumerGroupHeartbeatResponse {
            member_id: Some(member_id.to_owned()),
            member_epoch: after.epoch,
            heartbeat_interval_ms: around.settings.timings.heartbeat_interval_ms(self.id, around.image),
            assignment: tells.then(|| assignment(&after.assigned)),
            ..Default::default()
        };
        Ok((response, timers))
    }

    /// How long a member may take to give up what it was told to.
    fn revocation_timer(&self, member_id: &str, current: &CurrentAssignment) -> TimerChange {
        let member_id = member_id.to_owned();
        if current.state != MemberState::UnrevokedPartitions {
            return TimerChange::Revoked { member_id };
        }
        let timeout = self.group.members.get(&member_id).map_or(0, |member| member.metadata.rebalance_timeout_ms);
        TimerChange::Revoke { member_id, epoch: current.epoch, in_ms: i64::from(timeout) }
    }

    /// Writes who a member is, if that is new, and resolves its pattern. Answers whether its subscription is another.
    pub fn put_member(
        &mut self,
        member_id: &str,
        metadata: ConsumerGroupMemberMetadataValue,
        around: Surroundings<'_>,
    ) -> Result<bool, GroupError> {
        let before = self.group.members.get(member_id).map(|member| &member.metadata);
        if before == Some(&metadata) {
            return Ok(false);
        }
        let names = |metadata: &ConsumerGroupMemberMetadataValue| -> BTreeSet<String> {
            metadata.subscribed_topic_names.iter().cloned().collect()
        };
        let pattern = |metadata: &ConsumerGroupMemberMetadataValue| {
            metadata.subscribed_topic_regex.clone().filter(|pattern| !pattern.is_empty())
        };
        let bump =
            before.is_none_or(|before| names(before) != names(&metadata) || pattern(before) != pattern(&metadata));
        if let Some(pattern) = pattern(&metadata) {
            self.resolve_pattern(&pattern, around)?;
        }
        self.put(ConsumerRecord::Member { member_id: member_id.to_owned(), value: Some(metadata) })?;
        self.forget_unused_patterns()?;
        Ok(bump)
    }

    /// A static member leaves for a moment, and keeps its place.
    pub fn leave_static(&mut self, member_id: &str) -> Result<(), GroupError> {
        let Some(member) = self.group.members.get(member_id) else { return Ok(()) };
        let current = CurrentAssignment {
            epoch: STATIC_LEAVE_EPOCH,
            revoking: AssignedPartitions::new(),
            ..member.current.clone()
        };
        self.put_current(member_id, &current)
    }

    /// Puts a new member into the place of the static member of this instance, and answers the old one's id. A
    /// member of the consumer protocol must have left for that.
    pub fn replace_static(
        &mut self,
        instance_id: &str,
        member_id: &str,
        is_classic: bool,
    ) -> Result<Option<String>, GroupError> {
        let Some((old_id, old)) = self.group.static_member(instance_id) else { return Ok(None) };
        let old_is_classic = old.classic().is_some();
        if !is_classic && !old_is_classic && old.current.epoch != STATIC_LEAVE_EPOCH {
            // Kafka refuses a member that comes again under its own id, too: only who left may come back.
            return Err(GroupError::new(
                ErrorCode::UnreleasedInstanceId,
                format!(
                    "Static member {member_id} with instance id {instance_id} cannot join the group because the \
                     instance id is owned by {old_id} member."
                ),
            ));
        }
        let (old_id, old) = (old_id.clone(), old.clone());
        let target = self.group.targets.get(&old_id).cloned().unwrap_or_default();
        self.remove_member(&old_id)?;
        self.put(ConsumerRecord::Member { member_id: member_id.to_owned(), value: Some(old.metadata) })?;
        self.put_target(member_id, &target)?;
        let current = CurrentAssignment { epoch: 0, previous_epoch: 0, ..old.current };
        self.put_current(member_id, &current)?;
        Ok(Some(old_id).filter(|old_id| old_id != member_id))
    }

    /// Whether this member is the one of the instance.
    pub fn check_static(&self, instance_id: &str, member_id: &str) -> Result<(), GroupError> {
        match self.group.static_member(instance_id) {
            None => Err(GroupError::new(ErrorCode::UnknownMemberId, format!("Instance id {instance_id} is unknown."))),
            Some((owner, _)) if owner != member_id => Err(GroupError::new(
                ErrorCode::FencedInstanceId,
                format!("Static member {member_id} with instance id {instance_id} was fenced by member {owner}."),
            )),
            Some(_) => Ok(()),
        }
    }
}

pub(in crate::coordinator::group) fn unknown_member(group_id: &str, member_id: &str) -> GroupError {
    GroupError::new(ErrorCode::UnknownMemberId, format!("Member {member_id} is not a member of group {group_id}."))
}

/// Whether a member may go on with the epoch that it sent. The one before will do if it owns no more than it has: the
/// answer with the new epoch may have been lost.
fn check_epoch(current: &CurrentAssignment, epoch: i32, owned: Option<&Partitions>) -> Result<(), GroupError> {
    let fenced = |which: &str| {
        let known = current.epoch;
        Err(GroupError::new(
            ErrorCode::FencedMemberEpoch,
            format!(
                "The consumer group member has a {which} member epoch ({epoch}) than the one known by the group \
                 coordinator ({known}). The member must abandon all its partitions and rejoin."
            ),
        ))
    };
    let owns_no_more = || {
        owned.is_some_and(|owned| {
            owned.iter().all(|(topic, partitions)| {
                current.assigned.get(topic).is_some_and(|has| partitions.iter().all(|one| has.contains_key(one)))
            })
        })
    };
    if epoch > current.epoch {
        fenced("greater")
    } else if epoch < current.epoch && (epoch != current.previous_epoch || !owns_no_more()) {
        fenced("smaller")
    } else {
        Ok(())
    }
}

/// Takes over what a request says; what it leaves out stays.
fn update(
    metadata: &mut ConsumerGroupMemberMetadataValue,
    request: &ConsumerGroupHeartbeatRequest,
    client: &HeartbeatingClient,
) {
    if let Some(instance_id) = &request.instance_id {
        metadata.instance_id = Some(instance_id.clone());
    }
    if let Some(rack_id) = &request.rack_id {
        metadata.rack_id = Some(rack_id.clone());
    }
    if request.rebalance_timeout_ms != -1 {
        metadata.rebalance_timeout_ms = request.rebalance_timeout_ms;
    }
    if let Some(assignor) = &request.server_assignor {
        metadata.server_assignor = Some(assignor.clone());
    }
    if let Some(names) = &request.subscribed_topic_names {
        metadata.subscribed_topic_names.clone_from(names);
    }
    if let Some(pattern) = &request.subscribed_topic_regex {
        metadata.subscribed_topic_regex = Some(pattern.clone());
    }
    metadata.client_id.clone_from(&client.client_id);
    metadata.client_host.clone_from(&client.client_host);
    metadata.classic_member_metadata = None;
}

fn to_partitions(topics: &[TopicPartitions]) -> Partitions {
    let mut partitions = Partitions::new();
    for topic in topics {
        partitions.entry(topic.topic_id).or_default().extend(topic.partitions.iter().copied());
    }
    partitions.retain(|_, of_topic| !of_topic.is_empty());
    partitions
}

fn assignment(assigned: &AssignedPartitions) -> Assignment {
    let one = |(topic_id, partitions): (&uuid::Uuid, &std::collections::BTreeMap<i32, i32>)| AssignedTopic {
        topic_id: *topic_id,
        partitions: partitions.keys().copied().collect(),
        ..Default::default()
    };
    Assignment { topic_partitions: assigned.iter().map(one).collect(), ..Default::default() }
}
