//! DescribeQuorum: what the leader knows of all replicas (KIP-836, KIP-853).

use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::describe_quorum_response::{Listener, Node, PartitionData, ReplicaState, TopicData};
use rkafka_protocol::messages::{DescribeQuorumRequest, DescribeQuorumResponse};

use super::RaftLog;
use super::leader::Replica;
use super::node::{Now, RaftNode};
use super::role::Role;
use super::wire::METADATA_TOPIC;

impl<L: RaftLog> RaftNode<L> {
    /// Answers DescribeQuorum in this version. A node that does not lead answers `NOT_LEADER_OR_FOLLOWER`.
    pub fn describe_quorum(&self, now: Now, request: &DescribeQuorumRequest, version: i16) -> DescribeQuorumResponse {
        let is_metadata = matches!(&request.topics[..], [topic] if topic.topic_name == METADATA_TOPIC
            && matches!(&topic.partitions[..], [partition] if partition.partition_index == 0));
        if !is_metadata {
            return unknown(request);
        }
        let Role::Leader(leading) = &self.role else {
            let error_code = ErrorCode::NotLeaderOrFollower.code();
            return of_metadata(PartitionData { error_code, leader_id: -1, ..Default::default() });
        };
        let own = ReplicaState {
            replica_id: self.config.node_id,
            log_end_offset: self.log.end().offset,
            last_fetch_timestamp: now.date_ms,
            last_caught_up_timestamp: now.date_ms,
            ..Default::default()
        };
        let state = |(id, replica): (&i32, &Replica)| {
            let date = |at: Option<i64>| at.map_or(-1, |at| now.date_ms - (now.monotonic_ms - at));
            ReplicaState {
                replica_id: *id,
                log_end_offset: replica.end.unwrap_or(-1),
                last_fetch_timestamp: date(replica.fetched_at),
                last_caught_up_timestamp: date(replica.caught_up_at),
                ..Default::default()
            }
        };
        let mut current_voters: Vec<ReplicaState> = leading.voters.iter().map(state).chain([own]).collect();
        current_voters.sort_by_key(|voter| voter.replica_id);
        let partition = PartitionData {
            leader_id: self.config.node_id,
            leader_epoch: self.epoch,
            high_watermark: leading.high_watermark.unwrap_or(-1),
            current_voters,
            observers: leading.observers.iter().map(state).collect(),
            ..Default::default()
        };
        let mut response = of_metadata(partition);
        if version >= 2 {
            response.nodes = self.config.voters.iter().map(|voter| self.node(voter)).collect();
        }
        response
    }

    fn node(&self, voter: &super::Voter) -> Node {
        let listener = Listener {
            name: self.config.listener_name.clone(),
            host: voter.host.clone(),
            port: voter.port,
            ..Default::default()
        };
        Node { node_id: voter.id, listeners: vec![listener], ..Default::default() }
    }
}

fn of_metadata(partition: PartitionData) -> DescribeQuorumResponse {
    let topic = TopicData { topic_name: METADATA_TOPIC.to_owned(), partitions: vec![partition], ..Default::default() };
    DescribeQuorumResponse { topics: vec![topic], ..Default::default() }
}

fn unknown(request: &DescribeQuorumRequest) -> DescribeQuorumResponse {
    let topics = request.topics.iter().map(|topic| TopicData {
        topic_name: topic.topic_name.clone(),
        partitions: topic
            .partitions
            .iter()
            .map(|partition| PartitionData {
                partition_index: partition.partition_index,
                error_code: ErrorCode::UnknownTopicOrPartition.code(),
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    });
    DescribeQuorumResponse { topics: topics.collect(), ..Default::default() }
}
