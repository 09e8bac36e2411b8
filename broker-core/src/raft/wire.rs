//! The machine's requests and responses in Kafka's form.

use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::{
    BeginQuorumEpochRequest, BeginQuorumEpochResponse, EndQuorumEpochRequest, EndQuorumEpochResponse, FetchRequest,
    FetchResponse, FetchSnapshotRequest, FetchSnapshotResponse, VoteRequest, VoteResponse, begin_quorum_epoch_request,
    begin_quorum_epoch_response, end_quorum_epoch_request, end_quorum_epoch_response, fetch_request, fetch_response,
    fetch_snapshot_request, fetch_snapshot_response, vote_request, vote_response,
};
use uuid::Uuid;

use super::{LeaderAndEpoch, OffsetAndEpoch, RaftConfig, Voter};

/// The name of the metadata topic.
pub const METADATA_TOPIC: &str = "__cluster_metadata";
/// The id of the metadata topic.
pub const METADATA_TOPIC_ID: Uuid = Uuid::from_u128(1);

/// What a node says of itself and its log when it asks for a vote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ballot {
    pub epoch: i32,
    pub candidate_id: i32,
    pub end: OffsetAndEpoch,
    pub is_pre_vote: bool,
}

pub(super) fn vote_request(config: &RaftConfig, to: i32, ballot: Ballot) -> VoteRequest {
    let partition = vote_request::PartitionData {
        replica_epoch: ballot.epoch,
        replica_id: ballot.candidate_id,
        last_offset_epoch: ballot.end.epoch,
        last_offset: ballot.end.offset,
        pre_vote: ballot.is_pre_vote,
        ..Default::default()
    };
    let topic = vote_request::TopicData {
        topic_name: METADATA_TOPIC.to_owned(),
        partitions: vec![partition],
        ..Default::default()
    };
    VoteRequest { cluster_id: config.cluster_id.clone(), voter_id: to, topics: vec![topic], ..Default::default() }
}

pub(super) fn parse_vote(request: &VoteRequest) -> Option<Ballot> {
    let [topic] = &request.topics[..] else { return None };
    let [partition] = &topic.partitions[..] else { return None };
    (topic.topic_name == METADATA_TOPIC && partition.partition_index == 0).then_some(Ballot {
        epoch: partition.replica_epoch,
        candidate_id: partition.replica_id,
        end: OffsetAndEpoch { offset: partition.last_offset, epoch: partition.last_offset_epoch },
        is_pre_vote: partition.pre_vote,
    })
}

pub(super) fn leader_id(wire: i32) -> Option<i32> {
    (wire >= 0).then_some(wire)
}

/// Who leads, as responses tell it, and where that node is.
pub(super) fn leader_of(leader: LeaderAndEpoch, config: &RaftConfig) -> (i32, Option<&Voter>) {
    let voter = config.voters.iter().find(|voter| Some(voter.id) == leader.leader_id);
    (leader.leader_id.unwrap_or(-1), voter)
}

macro_rules! simple_response {
    ($name:ident, $module:ident, $response:ident) => {
        pub(super) fn $name(config: &RaftConfig, leader: LeaderAndEpoch, error: ErrorCode) -> $response {
            let (leader_id, voter) = leader_of(leader, config);
            let partition = $module::PartitionData {
                error_code: error.code(),
                leader_id,
                leader_epoch: leader.epoch,
                ..Default::default()
            };
            let topic = $module::TopicData {
                topic_name: METADATA_TOPIC.to_owned(),
                partitions: vec![partition],
                ..Default::default()
            };
            let node_endpoints = voter.map(|voter| $module::NodeEndpoint {
                node_id: voter.id,
                host: voter.host.clone(),
                port: voter.port,
                ..Default::default()
            });
            $response {
                topics: vec![topic],
                node_endpoints: node_endpoints.into_iter().collect(),
                ..Default::default()
            }
        }
    };
}

simple_response!(refused_vote, vote_response, VoteResponse);
simple_response!(begin_response, begin_quorum_epoch_response, BeginQuorumEpochResponse);
simple_response!(end_response, end_quorum_epoch_response, EndQuorumEpochResponse);

pub(super) fn vote_response(config: &RaftConfig, leader: LeaderAndEpoch, granted: bool) -> VoteResponse {
    let mut response = refused_vote(config, leader, ErrorCode::None);
    for partition in response.topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
        partition.vote_granted = granted;
    }
    response
}

/// The one partition of a response, or the error in its place.
macro_rules! single {
    ($response:expr, $topics:ident) => {
        match (ErrorCode::from_code($response.error_code), &$response.$topics[..]) {
            (ErrorCode::None, [topic]) => match &topic.partitions[..] {
                [partition] => Ok(partition),
                _ => Err(ErrorCode::UnknownServerError),
            },
            (ErrorCode::None, _) => Err(ErrorCode::UnknownServerError),
            (error, _) => Err(error),
        }
    };
}
pub(super) use single;

pub(super) fn begin_request(config: &RaftConfig, to: i32, epoch: i32) -> BeginQuorumEpochRequest {
    let partition = begin_quorum_epoch_request::PartitionData {
        leader_id: config.node_id,
        leader_epoch: epoch,
        ..Default::default()
    };
    let topic = begin_quorum_epoch_request::TopicData {
        topic_name: METADATA_TOPIC.to_owned(),
        partitions: vec![partition],
        ..Default::default()
    };
    let own = config.voters.iter().find(|voter| voter.id == config.node_id);
    let endpoint = own.map(|own| begin_quorum_epoch_request::LeaderEndpoint {
        name: config.listener_name.clone(),
        host: own.host.clone(),
        port: own.port,
        ..Default::default()
    });
    BeginQuorumEpochRequest {
        cluster_id: config.cluster_id.clone(),
        voter_id: to,
        topics: vec![topic],
        leader_endpoints: endpoint.into_iter().collect(),
        ..Default::default()
    }
}

/// Epoch and leader of a BeginQuorumEpoch.
pub(super) fn parse_begin(request: &BeginQuorumEpochRequest) -> Option<(i32, i32)> {
    let [topic] = &request.topics[..] else { return None };
    let [partition] = &topic.partitions[..] else { return None };
    (topic.topic_name == METADATA_TOPIC && partition.partition_index == 0)
        .then_some((partition.leader_epoch, partition.leader_id))
}

pub(super) fn end_request(config: &RaftConfig, epoch: i32, preferred: &[i32]) -> EndQuorumEpochRequest {
    let candidates =
        preferred.iter().map(|id| end_quorum_epoch_request::ReplicaInfo { candidate_id: *id, ..Default::default() });
    let partition = end_quorum_epoch_request::PartitionData {
        leader_id: config.node_id,
        leader_epoch: epoch,
        preferred_successors: preferred.to_vec(),
        preferred_candidates: candidates.collect(),
        ..Default::default()
    };
    let topic = end_quorum_epoch_request::TopicData {
        topic_name: METADATA_TOPIC.to_owned(),
        partitions: vec![partition],
        ..Default::default()
    };
    let own = config.voters.iter().find(|voter| voter.id == config.node_id);
    let endpoint = own.map(|own| end_quorum_epoch_request::LeaderEndpoint {
        name: config.listener_name.clone(),
        host: own.host.clone(),
        port: own.port,
        ..Default::default()
    });
    EndQuorumEpochRequest {
        cluster_id: config.cluster_id.clone(),
        topics: vec![topic],
        leader_endpoints: endpoint.into_iter().collect(),
        ..Default::default()
    }
}

/// Epoch, leader and preferred successors of an EndQuorumEpoch.
pub(super) fn parse_end(request: &EndQuorumEpochRequest) -> Option<(i32, i32, Vec<i32>)> {
    let [topic] = &request.topics[..] else { return None };
    let [partition] = &topic.partitions[..] else { return None };
    let preferred = if partition.preferred_candidates.is_empty() {
        partition.preferred_successors.clone()
    } else {
        partition.preferred_candidates.iter().map(|candidate| candidate.candidate_id).collect()
    };
    (topic.topic_name == METADATA_TOPIC && partition.partition_index == 0).then_some((
        partition.leader_epoch,
        partition.leader_id,
        preferred,
    ))
}

/// What a replica says of itself when it fetches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FetchPosition {
    pub replica_id: i32,
    pub epoch: i32,
    pub end: OffsetAndEpoch,
    /// -1 where it knows none; `i64::MAX` where it does not say.
    pub high_watermark: i64,
    pub max_wait_ms: i32,
    pub max_bytes: i32,
}

pub(super) fn fetch_request(config: &RaftConfig, position: FetchPosition, log_start_offset: i64) -> FetchRequest {
    let partition = fetch_request::FetchPartition {
        current_leader_epoch: position.epoch,
        fetch_offset: position.end.offset,
        last_fetched_epoch: position.end.epoch,
        log_start_offset,
        high_watermark: position.high_watermark,
        partition_max_bytes: position.max_bytes,
        ..Default::default()
    };
    let topic = fetch_request::FetchTopic {
        topic: METADATA_TOPIC.to_owned(),
        topic_id: METADATA_TOPIC_ID,
        partitions: vec![partition],
        ..Default::default()
    };
    FetchRequest {
        cluster_id: config.cluster_id.clone(),
        // Not in `replica_id` too, which versions from 15 on cannot carry, and others are not sent.
        replica_state: fetch_request::ReplicaState { replica_id: position.replica_id, ..Default::default() },
        max_wait_ms: position.max_wait_ms,
        max_bytes: position.max_bytes,
        topics: vec![topic],
        ..Default::default()
    }
}

pub(super) fn parse_fetch(request: &FetchRequest) -> Option<FetchPosition> {
    let [topic] = &request.topics[..] else { return None };
    let [partition] = &topic.partitions[..] else { return None };
    let is_metadata = topic.topic == METADATA_TOPIC || topic.topic_id == METADATA_TOPIC_ID;
    let replica_id = match request.replica_state.replica_id {
        -1 => request.replica_id,
        id => id,
    };
    (is_metadata && partition.partition == 0).then_some(FetchPosition {
        replica_id,
        epoch: partition.current_leader_epoch,
        end: OffsetAndEpoch { offset: partition.fetch_offset, epoch: partition.last_fetched_epoch },
        high_watermark: partition.high_watermark,
        max_wait_ms: request.max_wait_ms,
        max_bytes: request.max_bytes,
    })
}

pub(super) fn fetch_response(
    config: &RaftConfig,
    leader: LeaderAndEpoch,
    partition: fetch_response::PartitionData,
) -> FetchResponse {
    let (leader_id, voter) = leader_of(leader, config);
    let current_leader =
        fetch_response::LeaderIdAndEpoch { leader_id, leader_epoch: leader.epoch, ..Default::default() };
    let topic = fetch_response::FetchableTopicResponse {
        topic: METADATA_TOPIC.to_owned(),
        topic_id: METADATA_TOPIC_ID,
        partitions: vec![fetch_response::PartitionData { current_leader, ..partition }],
        ..Default::default()
    };
    let endpoint = voter.map(|voter| fetch_response::NodeEndpoint {
        node_id: voter.id,
        host: voter.host.clone(),
        port: voter.port.into(),
        ..Default::default()
    });
    FetchResponse { responses: vec![topic], node_endpoints: endpoint.into_iter().collect(), ..Default::default() }
}

pub(super) fn failed_fetch(config: &RaftConfig, leader: LeaderAndEpoch, error: ErrorCode) -> FetchResponse {
    let partition = fetch_response::PartitionData {
        error_code: error.code(),
        high_watermark: -1,
        records: Some(bytes::Bytes::new()),
        ..Default::default()
    };
    fetch_response(config, leader, partition)
}

/// What a replica asks of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SnapshotPosition {
    pub replica_id: i32,
    pub epoch: i32,
    pub id: OffsetAndEpoch,
    pub position: i64,
    pub max_bytes: i32,
}

pub(super) fn fetch_snapshot_request(config: &RaftConfig, asked: SnapshotPosition) -> FetchSnapshotRequest {
    let snapshot_id =
        fetch_snapshot_request::SnapshotId { end_offset: asked.id.offset, epoch: asked.id.epoch, ..Default::default() };
    let partition = fetch_snapshot_request::PartitionSnapshot {
        current_leader_epoch: asked.epoch,
        snapshot_id,
        position: asked.position,
        ..Default::default()
    };
    let topic = fetch_snapshot_request::TopicSnapshot {
        name: METADATA_TOPIC.to_owned(),
        partitions: vec![partition],
        ..Default::default()
    };
    FetchSnapshotRequest {
        cluster_id: config.cluster_id.clone(),
        replica_id: asked.replica_id,
        max_bytes: asked.max_bytes,
        topics: vec![topic],
        ..Default::default()
    }
}

pub(super) fn parse_fetch_snapshot(request: &FetchSnapshotRequest) -> Option<SnapshotPosition> {
    let [topic] = &request.topics[..] else { return None };
    let [partition] = &topic.partitions[..] else { return None };
    (topic.name == METADATA_TOPIC && partition.partition == 0).then_some(SnapshotPosition {
        replica_id: request.replica_id,
        epoch: partition.current_leader_epoch,
        id: OffsetAndEpoch { offset: partition.snapshot_id.end_offset, epoch: partition.snapshot_id.epoch },
        position: partition.position,
        max_bytes: request.max_bytes,
    })
}

pub(super) fn fetch_snapshot_response(
    config: &RaftConfig,
    leader: LeaderAndEpoch,
    partition: fetch_snapshot_response::PartitionSnapshot,
) -> FetchSnapshotResponse {
    let (leader_id, voter) = leader_of(leader, config);
    let current_leader =
        fetch_snapshot_response::LeaderIdAndEpoch { leader_id, leader_epoch: leader.epoch, ..Default::default() };
    let topic = fetch_snapshot_response::TopicSnapshot {
        name: METADATA_TOPIC.to_owned(),
        partitions: vec![fetch_snapshot_response::PartitionSnapshot { current_leader, ..partition }],
        ..Default::default()
    };
    let endpoint = voter.map(|voter| fetch_snapshot_response::NodeEndpoint {
        node_id: voter.id,
        host: voter.host.clone(),
        port: voter.port,
        ..Default::default()
    });
    FetchSnapshotResponse { topics: vec![topic], node_endpoints: endpoint.into_iter().collect(), ..Default::default() }
}
