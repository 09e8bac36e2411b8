//! API: DescribeTopicPartitions (75)
//! Versions: 0
//! Behaviour: topics in the order of their names, at most `ResponsePartitionLimit` partitions (and
//! `max.request.partition.size.limit`) at a time,
//! with a cursor to go on from.
//! Everybody may do everything with each.
//! Deviations: none known.
//! KIPs: 966

use std::sync::Arc;

use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::describe_topic_partitions_response::{
    Cursor, DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use rkafka_protocol::messages::{DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse};

use super::{HandlerError, RequestContext};
use crate::BrokerState;
use crate::controller::{PartitionImage, TopicImage, invalid_topic_name_reason, is_internal};

/// Answers where partitions lie.
///
/// # Errors
/// None.
pub async fn handle(
    broker: &Arc<BrokerState>,
    _context: &RequestContext,
    request: DescribeTopicPartitionsRequest,
    _version: i16,
) -> Result<DescribeTopicPartitionsResponse, HandlerError> {
    let image = broker.image();
    let most = usize::try_from(broker.config.max_request_partition_size_limit).unwrap_or(usize::MAX).max(1);
    let mut left = usize::try_from(request.response_partition_limit).unwrap_or(0).clamp(1, most);
    let (from, first) = match &request.cursor {
        Some(cursor) => (cursor.topic_name.as_str(), usize::try_from(cursor.partition_index).unwrap_or(0)),
        None => ("", 0),
    };
    let mut names: Vec<String> = if request.topics.is_empty() {
        image.topics_from(from).map(|topic| topic.name.to_string()).collect()
    } else {
        request.topics.into_iter().map(|topic| topic.name).filter(|name| name.as_str() >= from).collect()
    };
    names.sort_unstable();
    names.dedup();
    let mut topics = Vec::new();
    let mut next_cursor = None;
    for name in names {
        let skip = if name == from { first } else { 0 };
        if left == 0 {
            next_cursor = Some(Cursor { topic_name: name, partition_index: 0, ..Default::default() });
            break;
        }
        let Some(topic) = image.topic(&name) else {
            topics.push(unknown(name));
            continue;
        };
        let partitions: Vec<_> = (0..).zip(&topic.partitions).skip(skip).take(left).collect();
        left -= partitions.len();
        let behind = skip + partitions.len();
        topics.push(describe(topic, &partitions));
        if behind < topic.partitions.len() {
            let partition_index = i32::try_from(behind).unwrap_or(i32::MAX);
            next_cursor = Some(Cursor { topic_name: name, partition_index, ..Default::default() });
            break;
        }
    }
    Ok(DescribeTopicPartitionsResponse { topics, next_cursor, ..Default::default() })
}

fn unknown(name: String) -> DescribeTopicPartitionsResponseTopic {
    let error = if invalid_topic_name_reason(&name).is_some() {
        ErrorCode::InvalidTopicException
    } else {
        ErrorCode::UnknownTopicOrPartition
    };
    DescribeTopicPartitionsResponseTopic {
        error_code: error.code(),
        is_internal: is_internal(&name),
        name: Some(name),
        ..Default::default()
    }
}

fn describe(topic: &TopicImage, partitions: &[(i32, &PartitionImage)]) -> DescribeTopicPartitionsResponseTopic {
    DescribeTopicPartitionsResponseTopic {
        name: Some(topic.name.to_string()),
        topic_id: topic.id,
        is_internal: topic.is_internal(),
        topic_authorized_operations: super::metadata::TOPIC_OPERATIONS,
        partitions: partitions
            .iter()
            .map(|(partition_index, partition)| DescribeTopicPartitionsResponsePartition {
                partition_index: *partition_index,
                leader_id: partition.leader,
                leader_epoch: partition.leader_epoch,
                replica_nodes: partition.replicas.clone(),
                isr_nodes: partition.isr.clone(),
                eligible_leader_replicas: Some(partition.elr.clone()),
                last_known_elr: Some(partition.last_known_elr.clone()),
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    }
}
