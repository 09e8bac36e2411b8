//! API: DescribeShareGroupOffsets (90)
//! Versions: 0-1
//! Behaviour: where a share group is on the partitions that are asked for, or on all that it is on: the first offset that
//! is not done with, and how many behind it are not (from version 1). Both are -1 where the group has not done anything
//! yet.
//! Deviations: none known.
//! KIPs: 932, 1226

use std::sync::Arc;

use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::describe_share_group_offsets_request::DescribeShareGroupOffsetsRequestGroup;
use rkafka_protocol::messages::describe_share_group_offsets_response::{
    DescribeShareGroupOffsetsResponseGroup, DescribeShareGroupOffsetsResponsePartition,
    DescribeShareGroupOffsetsResponseTopic,
};
use rkafka_protocol::messages::{DescribeShareGroupOffsetsRequest, DescribeShareGroupOffsetsResponse};
use uuid::Uuid;

use super::share_group_heartbeat::is_enabled;
use super::{HandlerError, RequestContext};
use crate::BrokerState;
use crate::coordinator::share::{ShareKey, UNINITIALIZED_START};

/// What is answered where nothing is known.
const UNKNOWN: i64 = -1;

/// Describes offsets.
///
/// # Errors
/// None; errors are in the answer.
pub async fn handle(
    broker: &Arc<BrokerState>,
    _context: &RequestContext,
    request: DescribeShareGroupOffsetsRequest,
    _version: i16,
) -> Result<DescribeShareGroupOffsetsResponse, HandlerError> {
    let mut groups = Vec::with_capacity(request.groups.len());
    for asked in request.groups {
        let group_id = asked.group_id.clone();
        let refused = |error: ErrorCode, message: String| DescribeShareGroupOffsetsResponseGroup {
            group_id: group_id.clone(),
            error_code: error.code(),
            error_message: Some(message),
            ..Default::default()
        };
        groups.push(if !is_enabled(broker) {
            refused(ErrorCode::UnsupportedVersion, "this cluster has no share groups (share.version is 0)".to_owned())
        } else if asked.group_id.is_empty() {
            refused(ErrorCode::InvalidGroupId, ErrorCode::InvalidGroupId.message().to_owned())
        } else {
            group(broker, asked).await.unwrap_or_else(|(error, message)| refused(error, message))
        });
    }
    Ok(DescribeShareGroupOffsetsResponse { groups, ..Default::default() })
}

async fn group(
    broker: &BrokerState,
    asked: DescribeShareGroupOffsetsRequestGroup,
) -> Result<DescribeShareGroupOffsetsResponseGroup, (ErrorCode, String)> {
    let group_id: Arc<str> = Arc::from(asked.group_id.as_str());
    let mut wanted: Vec<(String, Option<Uuid>, Vec<i32>)> = Vec::new();
    match asked.topics {
        Some(topics) => {
            let image = broker.image();
            for topic in topics {
                let topic_id = image.topic(&topic.topic_name).map(|topic| topic.id);
                wanted.push((topic.topic_name, topic_id, topic.partitions));
            }
        }
        None => {
            let states = broker.groups.share_states(broker, &asked.group_id).await;
            let states = states.map_err(|error| (error.code, error.message))?;
            let all =
                states.into_iter().map(|(id, (name, partitions))| (name, Some(id), partitions.into_iter().collect()));
            wanted.extend(all);
        }
    }
    let mut topics = Vec::with_capacity(wanted.len());
    for (topic_name, topic_id, indexes) in wanted {
        let mut partitions = Vec::with_capacity(indexes.len());
        for index in indexes {
            let found = match topic_id {
                Some(topic_id) => {
                    let key = ShareKey { group_id: Arc::clone(&group_id), topic_id, partition: index };
                    partition(broker, &key).await
                }
                None => Err(ErrorCode::UnknownTopicOrPartition),
            };
            partitions.push(found.unwrap_or_else(|error| DescribeShareGroupOffsetsResponsePartition {
                partition_index: index,
                start_offset: UNKNOWN,
                lag: UNKNOWN,
                error_code: error.code(),
                error_message: Some(error.message().to_owned()),
                ..Default::default()
            }));
        }
        topics.push(DescribeShareGroupOffsetsResponseTopic {
            topic_name,
            topic_id: topic_id.unwrap_or_default(),
            partitions,
            ..Default::default()
        });
    }
    Ok(DescribeShareGroupOffsetsResponseGroup { group_id: asked.group_id, topics, ..Default::default() })
}

async fn partition(
    broker: &BrokerState,
    key: &ShareKey,
) -> Result<DescribeShareGroupOffsetsResponsePartition, ErrorCode> {
    let (_, state) = broker.shares.coordinator.read(broker, key).await?;
    let begun = state.filter(|state| state.offsets.start_offset != UNINITIALIZED_START);
    let start_offset = begun.as_ref().map_or(UNKNOWN, |state| state.offsets.start_offset);
    let lag = match &begun {
        Some(state) if state.delivery_complete_count >= 0 => {
            let image = broker.image();
            let topic = image.topic_by_id(key.topic_id).ok_or(ErrorCode::UnknownTopicOrPartition)?;
            let partition = broker.partition_of(topic, key.partition).ok_or(ErrorCode::UnknownTopicOrPartition)?;
            let end = partition.with_log(broker.clock.now_ms(), crate::log::Log::high_watermark)?;
            let done = i64::from(state.delivery_complete_count);
            end.saturating_sub(start_offset).saturating_sub(done).max(0)
        }
        _ => UNKNOWN,
    };
    Ok(DescribeShareGroupOffsetsResponsePartition {
        partition_index: key.partition,
        start_offset,
        leader_epoch: begun.map_or(0, |state| state.leader_epoch.max(0)),
        lag,
        ..Default::default()
    })
}
