//! The requests of a member by the classic protocol.

use std::collections::HashMap;

use bytes::Bytes;
use rkafka_assignor::{Assignor, Member, Remembered, TopicPartitions};
use rkafka_client_core::{Cluster, Error, ErrorKind, Lane, Topics};
use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use rkafka_protocol::messages::leave_group_request::MemberIdentity;
use rkafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use rkafka_protocol::messages::{HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest, SyncGroupRequest};

use crate::framing;
use crate::machine::membership::Failure;
use crate::machine::membership::terms::{Joined, JoinedMember};
use crate::shared::{Mode, Shared};
use crate::subscription::TopicPartition;
use crate::wire;

/// What Java calls the protocol type of consumers.
const PROTOCOL_TYPE: &str = "consumer";
/// How much longer than the rebalance timeout a JoinGroup may take, as in Java, where `request.timeout.ms` is not longer.
const JOIN_GRACE: std::time::Duration = std::time::Duration::from_secs(5);

pub(super) fn group_id(shared: &Shared) -> String {
    shared.config.group_id.clone().unwrap_or_default()
}

/// What an error of a request means for the machine.
pub(super) fn failure(shared: &Shared, error: &Error) -> Failure {
    tracing::debug!(%error, group_id = group_id(shared), "a request to the group's coordinator failed");
    match error.code() {
        Some(code) => Failure::refused(code),
        None if error.kind() == ErrorKind::UnsupportedVersion => Failure::refused(ErrorCode::UnsupportedVersion),
        None => Failure::Lost,
    }
}

/// What an error code of an answer means for the machine.
pub(super) fn refusal(shared: &Shared, code: i16, member_id: Option<String>) -> Result<(), Failure> {
    ErrorCode::check(code).map_err(|code| {
        if matches!(code, ErrorCode::NotCoordinator | ErrorCode::CoordinatorNotAvailable) {
            wire::forget_coordinator(shared);
        }
        Failure::Refused { code, member_id, message: None }
    })
}

pub(super) fn millis(duration: std::time::Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}

/// What a member joins with.
pub(super) struct Joining {
    pub(super) member_id: String,
    pub(super) generation: i32,
    pub(super) owned: Vec<TopicPartition>,
    pub(super) remembered: Option<Remembered>,
}

pub(super) async fn join(shared: &Shared, joining: Joining) -> Result<Joined, Failure> {
    let config = &shared.config;
    let Joining { member_id, generation, owned, remembered } = joining;
    let topics = match &shared.lock().mode {
        Mode::Group(subscription) => subscription.topics.clone(),
        _ => Vec::new(),
    };
    let rack = &config.client.client_rack;
    let metadata = |assignor: &dyn Assignor| {
        let user_data = assignor.user_data(remembered.as_ref());
        framing::subscription(&topics, &owned, generation, rack.clone(), user_data)
    };
    let build = |version: i16| JoinGroupRequest {
        group_id: group_id(shared),
        session_timeout_ms: millis(config.session_timeout),
        rebalance_timeout_ms: millis(config.max_poll_interval),
        member_id,
        // Without KIP-345 the member cannot be a static one: the request says so by failing to encode.
        group_instance_id: config.group_instance_id.clone(),
        protocol_type: PROTOCOL_TYPE.to_owned(),
        protocols: shared
            .assignors
            .iter()
            .map(|assignor| JoinGroupRequestProtocol {
                name: assignor.name().to_owned(),
                metadata: metadata(&**assignor),
                ..JoinGroupRequestProtocol::default()
            })
            .collect(),
        reason: (version >= 8).then(|| "the consumer joins".to_owned()),
        ..JoinGroupRequest::default()
    };
    let longest = config.max_poll_interval.saturating_add(JOIN_GRACE);
    let timeout = Some(longest.max(config.client.request_timeout));
    let response = wire::coordinator_request(shared, Lane::Group, i16::MAX, timeout, build)
        .await
        .map_err(|error| failure(shared, &error))?;
    refusal(shared, response.error_code, Some(response.member_id.clone()))?;
    Ok(Joined {
        generation: response.generation_id,
        member_id: response.member_id,
        leader_id: response.leader,
        protocol: response.protocol_name.unwrap_or_default(),
        skip_assignment: response.skip_assignment,
        members: response
            .members
            .into_iter()
            .map(|member| JoinedMember {
                member_id: member.member_id,
                instance_id: member.group_instance_id,
                metadata: member.metadata,
            })
            .collect(),
    })
}

/// Shares the partitions out, as the leader; or notes only how many there are, where the assignment that there is stays.
pub(super) async fn assign(
    shared: &Shared,
    protocol: &str,
    joined: Vec<JoinedMember>,
    is_kept: bool,
) -> Result<Vec<(String, Bytes)>, Failure> {
    let Some(assignor) = shared.assignors.iter().find(|assignor| assignor.name() == protocol) else {
        tracing::error!(protocol, "the coordinator chose an assignor that this member did not offer");
        return Err(Failure::refused(ErrorCode::InconsistentGroupProtocol));
    };
    let mut members = Vec::with_capacity(joined.len());
    for one in joined {
        match framing::read_subscription(one.metadata) {
            Ok(subscription) => {
                let mut member = Member::new(one.member_id, subscription.topics);
                member.instance_id = one.instance_id;
                member.rack = subscription.rack_id;
                member.owned = subscription
                    .owned_partitions
                    .into_iter()
                    .flat_map(|topic| {
                        let name = topic.topic;
                        topic.partitions.into_iter().map(move |partition| (name.clone(), partition))
                    })
                    .collect();
                member.generation = Some(subscription.generation_id).filter(|generation| *generation >= 0);
                assignor.read_user_data(&mut member, subscription.user_data.as_deref());
                members.push(member);
            }
            Err(error) => {
                tracing::error!(member_id = one.member_id, %error, "a member's subscription cannot be read");
                return Err(Failure::refused(ErrorCode::InconsistentGroupProtocol));
            }
        }
    }
    let mut topics: Vec<String> = members.iter().flat_map(|member| member.topics.iter().cloned()).collect();
    topics.sort();
    topics.dedup();
    let mut cluster = shared.client.cluster();
    if topics.iter().any(|topic| cluster.topic(topic).is_none()) {
        cluster =
            shared.client.refresh(Topics::named(topics.clone())).await.map_err(|error| failure(shared, &error))?;
    }
    let counts: HashMap<String, usize> = topics
        .into_iter()
        .map(|topic| {
            let count = cluster.topic(&topic).map_or(0, |topic| topic.partitions.len());
            (topic, count)
        })
        .collect();
    if is_kept {
        shared.lock().shared_out = Some(counts);
        return Ok(Vec::new());
    }
    let mut partitions: TopicPartitions =
        counts.iter().map(|(topic, count)| (topic.clone(), i32::try_from(*count).unwrap_or(i32::MAX))).collect();
    if members.iter().any(|member| member.rack.is_some()) {
        for topic in counts.keys() {
            if let Some(racks) = replica_racks(&cluster, topic) {
                partitions.insert_racks(topic.clone(), racks);
            }
        }
    }
    let mut assignment = assignor.assign(&members, &partitions).map_err(|error| {
        tracing::error!(%error, "the partitions cannot be shared out");
        Failure::refused(ErrorCode::InconsistentGroupProtocol)
    })?;
    if shared.is_cooperative {
        // Also where an assignor of the application's own does not look at it.
        assignment.withhold_claimed(&members);
    }
    shared.lock().shared_out = Some(counts);
    Ok(assignment
        .into_map()
        .into_iter()
        .map(|(member_id, partitions)| (member_id, framing::assignment(&partitions)))
        .collect())
}

/// The racks of each partition's replicas, in the order of the partitions.
fn replica_racks(cluster: &Cluster, topic: &str) -> Option<Vec<Vec<String>>> {
    let topic = cluster.topic(topic)?;
    let mut partitions: Vec<_> = topic.partitions.iter().collect();
    partitions.sort_by_key(|partition| partition.index);
    let racks = |partition: &&rkafka_client_core::Partition| {
        let mut racks: Vec<String> =
            partition.replicas.iter().filter_map(|id| cluster.broker(*id)?.rack.clone()).collect();
        racks.sort();
        racks.dedup();
        racks
    };
    Some(partitions.iter().map(racks).collect())
}

pub(super) async fn sync(
    shared: &Shared,
    generation: i32,
    member_id: String,
    protocol: String,
    assignments: Vec<(String, Bytes)>,
) -> Result<Bytes, Failure> {
    let build = |version: i16| SyncGroupRequest {
        group_id: group_id(shared),
        generation_id: generation,
        member_id,
        group_instance_id: shared.config.group_instance_id.clone(),
        protocol_type: (version >= 5).then(|| PROTOCOL_TYPE.to_owned()),
        protocol_name: (version >= 5).then_some(protocol),
        assignments: assignments
            .into_iter()
            .map(|(member_id, assignment)| SyncGroupRequestAssignment {
                member_id,
                assignment,
                ..SyncGroupRequestAssignment::default()
            })
            .collect(),
        ..SyncGroupRequest::default()
    };
    // As Java: a coordinator that drops the member meanwhile never answers, and this is not to take as long as a join.
    let timeout = Some(shared.config.client.request_timeout);
    let response = wire::coordinator_request(shared, Lane::Group, i16::MAX, timeout, build)
        .await
        .map_err(|error| failure(shared, &error))?;
    refusal(shared, response.error_code, None)?;
    Ok(response.assignment)
}

pub(super) async fn beat(shared: &Shared, generation: i32, member_id: String) -> Result<(), Failure> {
    let build = |_version: i16| HeartbeatRequest {
        group_id: group_id(shared),
        generation_id: generation,
        member_id,
        group_instance_id: shared.config.group_instance_id.clone(),
        ..HeartbeatRequest::default()
    };
    let timeout = Some(shared.config.session_timeout.min(shared.config.client.request_timeout));
    let response = wire::coordinator_request(shared, Lane::Offsets, i16::MAX, timeout, build)
        .await
        .map_err(|error| failure(shared, &error))?;
    refusal(shared, response.error_code, None)
}

pub(super) async fn leave(shared: &Shared, member_id: String, reason: &'static str) {
    let group_instance_id = shared.config.group_instance_id.clone();
    let build = |version: i16| {
        let mut request = LeaveGroupRequest { group_id: group_id(shared), ..LeaveGroupRequest::default() };
        if version >= 3 {
            request.members.push(MemberIdentity {
                member_id,
                group_instance_id,
                reason: (version >= 5).then(|| reason.to_owned()),
                ..MemberIdentity::default()
            });
        } else {
            request.member_id = member_id;
        }
        request
    };
    if let Err(error) = wire::coordinator_request(shared, Lane::Offsets, i16::MAX, None, build).await {
        tracing::debug!(%error, "the group was not told that the member leaves; it will see by the session timeout");
    }
}
