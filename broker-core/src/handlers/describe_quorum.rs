//! API: DescribeQuorum (55)
//! Versions: 0-2
//! Behaviour: the quorum of `__cluster_metadata`: this node leads it, and is its only voter.
//! `kafka-metadata-quorum describe --status` and `--replication` use it.
//! Deviations: the node has no controller listener to name, so its list of listeners is empty.
//! KIPs: 595, 836, 853

use std::sync::Arc;

use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::describe_quorum_request::TopicData as AskedTopic;
use rkafka_protocol::messages::describe_quorum_response::{Node, PartitionData, ReplicaState, TopicData};
use rkafka_protocol::messages::{DescribeQuorumRequest, DescribeQuorumResponse};

use super::{HandlerError, RequestContext};
use crate::BrokerState;

const METADATA_TOPIC: &str = "__cluster_metadata";

/// Describes the quorum.
///
/// # Errors
/// None.
pub async fn handle(
    broker: &Arc<BrokerState>,
    _context: &RequestContext,
    request: DescribeQuorumRequest,
    version: i16,
) -> Result<DescribeQuorumResponse, HandlerError> {
    let is_metadata = matches!(&request.topics[..], [AskedTopic { topic_name, partitions, .. }]
        if topic_name == METADATA_TOPIC && matches!(&partitions[..], [partition] if partition.partition_index == 0));
    if !is_metadata {
        return Ok(DescribeQuorumResponse { topics: unknown(request.topics), ..Default::default() });
    }
    let node_id = broker.config.node_id;
    let Some((leader_epoch, end)) = broker.controller.epoch_and_end() else {
        return Err(HandlerError::Close("the broker is stopping".to_owned()));
    };
    let now_ms = broker.clock.now_ms();
    let partition = PartitionData {
        leader_id: node_id,
        leader_epoch,
        // What the only voter has is committed.
        high_watermark: end,
        current_voters: vec![ReplicaState {
            replica_id: node_id,
            log_end_offset: end,
            last_fetch_timestamp: now_ms,
            last_caught_up_timestamp: now_ms,
            ..Default::default()
        }],
        ..Default::default()
    };
    let topic = TopicData { topic_name: METADATA_TOPIC.to_owned(), partitions: vec![partition], ..Default::default() };
    Ok(DescribeQuorumResponse {
        topics: vec![topic],
        nodes: if version >= 2 { vec![Node { node_id, ..Default::default() }] } else { Vec::new() },
        ..Default::default()
    })
}

fn unknown(topics: Vec<AskedTopic>) -> Vec<TopicData> {
    let partitions = |topic: &AskedTopic| {
        let partitions = topic.partitions.iter().map(|partition| PartitionData {
            partition_index: partition.partition_index,
            error_code: ErrorCode::UnknownTopicOrPartition.code(),
            ..Default::default()
        });
        partitions.collect()
    };
    let topics = topics.into_iter().map(|topic| TopicData {
        partitions: partitions(&topic),
        topic_name: topic.topic_name,
        ..Default::default()
    });
    topics.collect()
}
