//! Members of the classic protocol in a consumer group (KIP-848): they join, sync, send heartbeats and leave as ever,
//! and the coordinator answers for the leader that there is none of.

use std::collections::BTreeSet;

use bytes::Bytes;
use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::consumer_group_member_metadata_value::{
    ClassicMemberMetadata, ClassicProtocol, ConsumerGroupMemberMetadataValue,
};
use rkafka_protocol::messages::consumer_protocol_assignment::{ConsumerProtocolAssignment, TopicPartition};
use rkafka_protocol::messages::consumer_protocol_subscription::ConsumerProtocolSubscription;
use rkafka_protocol::messages::heartbeat_request::HeartbeatRequest;
use rkafka_protocol::messages::join_group_request::JoinGroupRequest;
use rkafka_protocol::messages::join_group_response::JoinGroupResponse;
use rkafka_protocol::messages::leave_group_request::{LeaveGroupRequest, MemberIdentity};
use rkafka_protocol::messages::leave_group_response::{LeaveGroupResponse, MemberResponse};
use rkafka_protocol::messages::sync_group_request::SyncGroupRequest;
use rkafka_protocol::messages::sync_group_response::SyncGroupResponse;
use rkafka_protocol::wire::{DecodeError, Message, Reader, Writer};

use super::draft::Draft;
use super::group::{ConsumerGroup, ConsumerMember, MemberState, Partitions, blank_metadata};
use super::heartbeat::unknown_member;
use super::migration::{Conversion, cannot_write, classic_group, put_tombstones};
use super::step::{After, coordinated_write};
use super::{GroupError, TimerChange};
use crate::InternalRecord;
use crate::config::ConsumerGroupMigrationPolicy;
use crate::controller::MetadataImage;
use crate::coordinator::group::classic::{CONSUMER_PROTOCOL_TYPE, join_error, sync_error};
use crate::coordinator::group::join::{FIRST_VERSION_WITH_REQUIRED_ID, rebalance_timeout_ms};
use crate::coordinator::group::{Effects, GroupShard, JoinContext, Moment, Reply, WaiterId, records};

type Decided = Result<(Vec<InternalRecord>, After), GroupError>;

impl GroupShard {
    /// A JoinGroup to a consumer group; one without members becomes a classic group for it.
    pub(in crate::coordinator::group) fn join_consumer(
        &self,
        now: Moment,
        request: &JoinGroupRequest,
        context: &JoinContext,
    ) -> Effects {
        let group_id = request.group_id.as_str();
        let decided = match self.persisted.consumer(group_id) {
            Some(group) if group.members.is_empty() => self.decide_end_for(group, request, context),
            Some(group) => self.decide_classic_join(now, group, request, context),
            None => Err(unknown_member(group_id, &request.member_id)),
        };
        match decided {
            Ok((records, after)) => coordinated_write(records, after, Vec::new()),
            Err(error) => {
                tracing::debug!(group = group_id, member = %request.member_id, %error, "JoinGroup refused");
                // The id that a member is to come again with is among the answers; other errors name the one it sent.
                let id = if error.code == ErrorCode::MemberIdRequired { &error.message } else { &request.member_id };
                let reply = Reply::Join(join_error(id, error.code));
                Effects { replies: vec![(context.waiter, reply)], writes: Vec::new() }
            }
        }
    }

    /// An empty consumer group gives way to a classic one, which then takes the request.
    fn decide_end_for(&self, group: &ConsumerGroup, request: &JoinGroupRequest, context: &JoinContext) -> Decided {
        let mut draft = Draft::of(&request.group_id, Some(group));
        put_tombstones(&mut draft)?;
        let join = Some(Box::new((request.clone(), context.clone())));
        let conversion = Some(Conversion::ToClassic { protocols: Default::default(), join });
        Ok((draft.records, After { conversion, ..After::of(&request.group_id) }))
    }

    fn decide_classic_join(
        &self,
        now: Moment,
        group: &ConsumerGroup,
        request: &JoinGroupRequest,
        context: &JoinContext,
    ) -> Decided {
        let around = self.surroundings(now);
        let is_unknown = request.member_id.is_empty();
        let member_id = if is_unknown { &context.new_member_id } else { &request.member_id }.as_str();
        if around.settings.migration_policy == ConsumerGroupMigrationPolicy::Disabled {
            return Err(GroupError::plain(ErrorCode::InconsistentGroupProtocol));
        }
        if group.members.len() >= around.settings.max_size && !group.members.contains_key(member_id) {
            return Err(GroupError::plain(ErrorCode::GroupMaxSizeReached));
        }
        if !supports(group, request) {
            return Err(GroupError::plain(ErrorCode::InconsistentGroupProtocol));
        }
        let instance_id = request.group_instance_id.as_deref();
        if is_unknown && instance_id.is_none() && context.version >= FIRST_VERSION_WITH_REQUIRED_ID {
            return Err(GroupError::new(ErrorCode::MemberIdRequired, member_id));
        }
        let malformed = |_: DecodeError| GroupError::plain(ErrorCode::InconsistentGroupProtocol);
        let first = request.protocols.first().ok_or(GroupError::plain(ErrorCode::InconsistentGroupProtocol))?;
        let subscription = read_subscription(&first.metadata).map_err(malformed)?;
        let mut draft = Draft::of(&request.group_id, Some(group));
        let mut timers = Vec::new();
        match instance_id {
            Some(instance_id) if is_unknown => {
                let old = group.static_member(instance_id);
                if let Some((old_id, old)) = old
                    && old.classic().is_none()
                    && self.may_downgrade_replaced(group, old_id)
                {
                    return self.decide_downgrade_for(now, group, old_id, request, context);
                }
                if let Some(old) = draft.replace_static(instance_id, member_id, true)? {
                    timers.push(TimerChange::Gone { member_id: old });
                }
            }
            Some(instance_id) => draft.check_static(instance_id, member_id)?,
            None => {}
        }
        let before = draft.group.members.get(member_id).map_or_else(blank_metadata, |member| member.metadata.clone());
        let metadata = ConsumerGroupMemberMetadataValue {
            instance_id: request.group_instance_id.clone().or(before.instance_id),
            rack_id: subscription.rack_id.clone().or(before.rack_id),
            client_id: context.client_id.clone(),
            client_host: context.client_host.clone(),
            subscribed_topic_names: subscription.topics.clone(),
            subscribed_topic_regex: None,
            rebalance_timeout_ms: rebalance_timeout_ms(request, context.version),
            server_assignor: None,
            classic_member_metadata: Some(classic_metadata(request)),
            ..Default::default()
        };
        let bump = draft.put_member(member_id, metadata, around)?;
        draft.refresh(around, bump)?;
        draft.retarget(around)?;
        draft.reconcile(member_id, Some(&owned(&subscription, around.image)), around.image)?;

        let epoch = draft.group.members.get(member_id).map_or(0, |member| member.current.epoch);
        let id = || member_id.to_owned();
        timers.push(TimerChange::Session { member_id: id(), in_ms: i64::from(request.session_timeout_ms) });
        let in_ms = i64::from(rebalance_timeout_ms(request, context.version));
        timers.push(TimerChange::Sync { member_id: id(), in_ms });
        let response = JoinGroupResponse {
            member_id: id(),
            generation_id: epoch,
            protocol_type: Some(CONSUMER_PROTOCOL_TYPE.to_owned()),
            protocol_name: Some(first.name.clone()),
            ..Default::default()
        };
        let replies = vec![(context.waiter, Reply::Join(response))];
        Ok((draft.records, After { timers, replies, ..After::of(&request.group_id) }))
    }

    fn may_downgrade_replaced(&self, group: &ConsumerGroup, replaced: &str) -> bool {
        self.settings.consumer.may_downgrade()
            && group.members.len() <= self.settings.max_size
            && group.is_classic_except(&BTreeSet::from([replaced]))
    }

    /// The last member of the consumer protocol is a static one and comes back with the classic protocol: the group
    /// becomes classic, with the old member in it, whose place the request then takes there.
    fn decide_downgrade_for(
        &self,
        now: Moment,
        group: &ConsumerGroup,
        old_id: &str,
        request: &JoinGroupRequest,
        context: &JoinContext,
    ) -> Decided {
        let mut all_classic = group.clone();
        if let Some(member) = all_classic.members.get_mut(old_id) {
            member.metadata.classic_member_metadata = Some(classic_metadata(request));
        }
        let (value, protocols) = classic_group(&all_classic, self.surroundings(now), &BTreeSet::new());
        let mut draft = Draft::of(&request.group_id, Some(group));
        put_tombstones(&mut draft)?;
        draft.records.push(records::group(draft.id, &value).map_err(|error| cannot_write(&error))?);
        let join = Some(Box::new((request.clone(), context.clone())));
        let conversion = Some(Conversion::ToClassic { protocols, join });
        Ok((draft.records, After { conversion, ..After::of(&request.group_id) }))
    }

    /// A SyncGroup of a classic member.
    pub(in crate::coordinator::group) fn sync_consumer(
        &mut self,
        now: Moment,
        request: &SyncGroupRequest,
        waiter: WaiterId,
    ) -> Effects {
        let mut after = After::of(&request.group_id);
        let reply = match self.check_sync_consumer(request, &mut after) {
            Ok(assignment) => SyncGroupResponse {
                protocol_type: request.protocol_type.clone(),
                protocol_name: request.protocol_name.clone(),
                assignment,
                ..Default::default()
            },
            Err(error) => sync_error(error),
        };
        after.replies.push((waiter, Reply::Sync(reply)));
        self.after(now, after)
    }

    fn check_sync_consumer(&self, request: &SyncGroupRequest, after: &mut After) -> Result<Bytes, ErrorCode> {
        let group = self.persisted.consumer(&request.group_id).ok_or(ErrorCode::UnknownMemberId)?;
        let id = || request.member_id.clone();
        let member = classic_member(group, &request.member_id, request.group_instance_id.as_deref())?;
        let classic = member.classic().ok_or(ErrorCode::UnknownMemberId)?;
        let first = classic.supported_protocols.first();
        if request.generation_id != member.current.epoch {
            return Err(ErrorCode::IllegalGeneration);
        }
        let is_other = |sent: &Option<String>, ours: Option<&str>| sent.is_some() && sent.as_deref() != ours;
        if is_other(&request.protocol_type, Some(CONSUMER_PROTOCOL_TYPE))
            || is_other(&request.protocol_name, first.map(|first| first.name.as_str()))
        {
            return Err(ErrorCode::InconsistentGroupProtocol);
        }
        let in_ms = i64::from(member.metadata.rebalance_timeout_ms);
        if group.epoch > member.current.epoch && member.current.state != MemberState::UnrevokedPartitions {
            after.timers.push(TimerChange::Rejoin { member_id: id(), in_ms });
            return Err(ErrorCode::RebalanceInProgress);
        }
        after.timers.push(TimerChange::Synced { member_id: id() });
        after.timers.push(TimerChange::Session { member_id: id(), in_ms: i64::from(classic.session_timeout_ms) });
        let assigned = &member.current.assigned;
        let assigned = assigned.iter().map(|(topic, of)| (*topic, of.keys().copied().collect())).collect();
        let subscription = first.map(|first| first.metadata.clone()).unwrap_or_default();
        Ok(assignment_bytes(&assigned, &subscription, &self.image))
    }

    /// A Heartbeat of a classic member.
    pub(in crate::coordinator::group) fn heartbeat_consumer(
        &mut self,
        now: Moment,
        request: &HeartbeatRequest,
    ) -> Result<(), ErrorCode> {
        let group = self.persisted.consumer(&request.group_id).ok_or(ErrorCode::UnknownMemberId)?;
        let member = classic_member(group, &request.member_id, request.group_instance_id.as_deref())?;
        let classic = member.classic().ok_or(ErrorCode::UnknownMemberId)?;
        if request.generation_id != member.current.epoch {
            return Err(ErrorCode::IllegalGeneration);
        }
        let id = || request.member_id.clone();
        let mut after = After::of(&request.group_id);
        after.timers.push(TimerChange::Session { member_id: id(), in_ms: i64::from(classic.session_timeout_ms) });
        let is_to_rejoin = member.current.epoch < group.epoch
            || match member.current.state {
                MemberState::UnrevokedPartitions => true,
                MemberState::UnreleasedPartitions => !waits_for_others(group, &request.member_id, member),
                MemberState::Stable | MemberState::Unknown => false,
            };
        if is_to_rejoin {
            let in_ms = i64::from(member.metadata.rebalance_timeout_ms);
            after.timers.push(TimerChange::Rejoin { member_id: id(), in_ms });
        }
        self.after(now, after);
        if is_to_rejoin { Err(ErrorCode::RebalanceInProgress) } else { Ok(()) }
    }

    /// A LeaveGroup of classic members.
    pub(in crate::coordinator::group) fn leave_consumer(
        &self,
        now: Moment,
        request: &LeaveGroupRequest,
    ) -> (LeaveGroupResponse, Effects) {
        let Some(group) = self.persisted.consumer(&request.group_id) else { return Default::default() };
        let mut gone = BTreeSet::new();
        let mut members = Vec::with_capacity(request.members.len());
        for identity in &request.members {
            // Somebody who was named before in the same request is no member any more.
            let found = leaving_member(group, identity)
                .and_then(|id| if gone.insert(id) { Ok(id) } else { Err(ErrorCode::UnknownMemberId) });
            members.push(MemberResponse {
                member_id: found.map_or_else(|_| identity.member_id.clone(), str::to_owned),
                group_instance_id: identity.group_instance_id.clone(),
                error_code: found.err().unwrap_or(ErrorCode::None).code(),
                ..Default::default()
            });
        }
        let response = LeaveGroupResponse { members, ..Default::default() };
        if gone.is_empty() {
            return (response, Effects::default());
        }
        let mut draft = Draft::of(&request.group_id, Some(group));
        match self.remove_members(&mut draft, self.surroundings(now), &gone) {
            Ok(after) => (response, coordinated_write(draft.records, after, Vec::new())),
            Err(error) => {
                (LeaveGroupResponse { error_code: error.code.code(), ..Default::default() }, Effects::default())
            }
        }
    }
}

/// The member that an entry of a LeaveGroup names. Administrators name static members by their instance alone.
fn leaving_member<'a>(group: &'a ConsumerGroup, identity: &MemberIdentity) -> Result<&'a str, ErrorCode> {
    let found = match &identity.group_instance_id {
        None => group.members.get_key_value(&identity.member_id),
        Some(instance_id) => {
            let found = group.static_member(instance_id);
            if found.is_some_and(|(id, _)| !identity.member_id.is_empty() && *id != identity.member_id) {
                return Err(ErrorCode::FencedInstanceId);
            }
            found
        }
    };
    found.filter(|(_, member)| member.classic().is_some()).map(|(id, _)| id.as_str()).ok_or(ErrorCode::UnknownMemberId)
}

fn classic_member<'a>(
    group: &'a ConsumerGroup,
    member_id: &str,
    instance_id: Option<&str>,
) -> Result<&'a ConsumerMember, ErrorCode> {
    if let Some(instance_id) = instance_id {
        let (owner, _) = group.static_member(instance_id).ok_or(ErrorCode::UnknownMemberId)?;
        if owner != member_id {
            return Err(ErrorCode::FencedInstanceId);
        }
    }
    group.members.get(member_id).ok_or(ErrorCode::UnknownMemberId)
}

/// Whether a partition that the member shall have is still with somebody else.
fn waits_for_others(group: &ConsumerGroup, member_id: &str, member: &ConsumerMember) -> bool {
    let held = group.held_by_others(member_id);
    let has = |topic: &uuid::Uuid, partition: &i32| {
        member.current.assigned.get(topic).is_some_and(|of_topic| of_topic.contains_key(partition))
    };
    group.targets.get(member_id).into_iter().flatten().any(|(topic, partitions)| {
        partitions.iter().any(|partition| !has(topic, partition) && held.contains(&(*topic, *partition)))
    })
}

/// Whether all classic members of the group know one of these protocols.
fn supports(group: &ConsumerGroup, request: &JoinGroupRequest) -> bool {
    let knows = |member: &ConsumerMember, name: &str| {
        member.classic().is_none_or(|classic| classic.supported_protocols.iter().any(|one| one.name == name))
    };
    request.protocol_type == CONSUMER_PROTOCOL_TYPE
        && request.protocols.iter().any(|one| group.members.values().all(|member| knows(member, &one.name)))
}

fn classic_metadata(request: &JoinGroupRequest) -> ClassicMemberMetadata {
    let one = |protocol: &rkafka_protocol::messages::join_group_request::JoinGroupRequestProtocol| ClassicProtocol {
        name: protocol.name.clone(),
        metadata: protocol.metadata.clone(),
        ..Default::default()
    };
    ClassicMemberMetadata {
        session_timeout_ms: request.session_timeout_ms,
        supported_protocols: request.protocols.iter().map(one).collect(),
        ..Default::default()
    }
}

/// Reads a subscription. One of a later version begins as the latest that is known.
pub(super) fn read_subscription(bytes: &Bytes) -> Result<ConsumerProtocolSubscription, DecodeError> {
    let mut reader = Reader::new(bytes.clone());
    let version = reader.i16()?;
    ConsumerProtocolSubscription::decode(&mut reader, version.clamp(0, ConsumerProtocolSubscription::VERSIONS.max))
}

/// The partitions that a member says it owns, of topics that exist.
fn owned(subscription: &ConsumerProtocolSubscription, image: &MetadataImage) -> Partitions {
    let mut partitions = Partitions::new();
    for owned in &subscription.owned_partitions {
        if let Some(topic) = image.topic(&owned.topic) {
            partitions.entry(topic.id).or_default().extend(&owned.partitions);
        }
    }
    partitions
}

/// An assignment as a leader would have written it, in the version of the member's subscription.
pub(super) fn assignment_bytes(assigned: &Partitions, subscription: &Bytes, image: &MetadataImage) -> Bytes {
    let version = Reader::new(subscription.clone()).i16().unwrap_or(0);
    let version = version.clamp(0, ConsumerProtocolAssignment::VERSIONS.max);
    let mut message = ConsumerProtocolAssignment::default();
    for (topic, partitions) in assigned {
        if let Some(topic) = image.topic_by_id(*topic) {
            let partitions = partitions.iter().copied().collect();
            message.assigned_partitions.push(TopicPartition { topic: topic.name.to_string(), partitions });
        }
    }
    let mut writer = Writer::new();
    writer.i16(version);
    match message.encode(&mut writer, version) {
        Ok(()) => Bytes::from(writer.into_vec()),
        Err(error) => {
            tracing::error!(%error, "an assignment cannot be written");
            Bytes::new()
        }
    }
}
