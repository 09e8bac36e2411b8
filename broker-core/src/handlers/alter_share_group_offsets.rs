//! API: AlterShareGroupOffsets (91)
//! Versions: 0
//! Behaviour: a share group without members begins at the given offsets; what it did with the partitions before does not
//! count any more. A group that is not there is made. `NON_EMPTY_GROUP` where it has members.
//! Deviations: an offset below -1 is `INVALID_REQUEST`. -1 lets the group begin where `share.auto.offset.reset` says.
//! KIPs: 932

use std::collections::BTreeMap;
use std::sync::Arc;

use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::alter_share_group_offsets_response::{
    AlterShareGroupOffsetsResponsePartition, AlterShareGroupOffsetsResponseTopic,
};
use rkafka_protocol::messages::{AlterShareGroupOffsetsRequest, AlterShareGroupOffsetsResponse};

use super::share_group_heartbeat::is_enabled;
use super::{HandlerError, RequestContext};
use crate::BrokerState;
use crate::coordinator::share::UNINITIALIZED_START;

/// Alters offsets.
///
/// # Errors
/// None; errors are in the answer.
pub async fn handle(
    broker: &Arc<BrokerState>,
    _context: &RequestContext,
    request: AlterShareGroupOffsetsRequest,
    _version: i16,
) -> Result<AlterShareGroupOffsetsResponse, HandlerError> {
    let refuse = |error: ErrorCode, message: String| {
        Ok(AlterShareGroupOffsetsResponse {
            error_code: error.code(),
            error_message: Some(message),
            ..Default::default()
        })
    };
    if !is_enabled(broker) {
        let error = ErrorCode::UnsupportedVersion;
        return refuse(error, "this cluster has no share groups (share.version is 0)".to_owned());
    }
    if request.group_id.is_empty() {
        return refuse(ErrorCode::InvalidGroupId, ErrorCode::InvalidGroupId.message().to_owned());
    }
    let image = broker.image();
    let mut offsets = BTreeMap::new();
    for asked in &request.topics {
        let Some(topic) = image.topic(&asked.topic_name) else { continue };
        for partition in &asked.partitions {
            let index = partition.partition_index;
            if topic.partition(index).is_some() && partition.start_offset >= UNINITIALIZED_START {
                offsets.insert((topic.id, index), partition.start_offset);
            }
        }
    }
    let failed = match broker.groups.alter_share_offsets(broker, &request.group_id, &offsets).await {
        Ok(failed) => failed,
        Err(error) => return refuse(error.code, error.message),
    };
    let mut responses = Vec::with_capacity(request.topics.len());
    for asked in request.topics {
        let topic = image.topic(&asked.topic_name);
        let mut partitions = Vec::with_capacity(asked.partitions.len());
        for partition in &asked.partitions {
            let index = partition.partition_index;
            let error = match topic.filter(|topic| topic.partition(index).is_some()) {
                None => ErrorCode::UnknownTopicOrPartition,
                Some(_) if partition.start_offset < UNINITIALIZED_START => ErrorCode::InvalidRequest,
                Some(topic) => failed.get(&(topic.id, index)).copied().unwrap_or(ErrorCode::None),
            };
            let error_message = (error != ErrorCode::None).then(|| error.message().to_owned());
            partitions.push(AlterShareGroupOffsetsResponsePartition {
                partition_index: index,
                error_code: error.code(),
                error_message,
                ..Default::default()
            });
        }
        responses.push(AlterShareGroupOffsetsResponseTopic {
            topic_name: asked.topic_name,
            topic_id: topic.map(|topic| topic.id).unwrap_or_default(),
            partitions,
            ..Default::default()
        });
    }
    Ok(AlterShareGroupOffsetsResponse { responses, ..Default::default() })
}
