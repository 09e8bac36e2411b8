//! API: DeleteShareGroupOffsets (92)
//! Versions: 0
//! Behaviour: what a share group without members has done with topics is forgotten. `NON_EMPTY_GROUP` where it has
//! members; `UNKNOWN_TOPIC_OR_PARTITION` for a topic that it is not on.
//! Deviations: none known.
//! KIPs: 932

use std::collections::BTreeSet;
use std::sync::Arc;

use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::delete_share_group_offsets_response::DeleteShareGroupOffsetsResponseTopic;
use rkafka_protocol::messages::{DeleteShareGroupOffsetsRequest, DeleteShareGroupOffsetsResponse};

use super::share_group_heartbeat::is_enabled;
use super::{HandlerError, RequestContext};
use crate::BrokerState;

/// Deletes offsets.
///
/// # Errors
/// None; errors are in the answer.
pub async fn handle(
    broker: &Arc<BrokerState>,
    _context: &RequestContext,
    request: DeleteShareGroupOffsetsRequest,
    _version: i16,
) -> Result<DeleteShareGroupOffsetsResponse, HandlerError> {
    let refuse = |error: ErrorCode, message: String| {
        Ok(DeleteShareGroupOffsetsResponse {
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
    let named = request.topics.iter().filter_map(|topic| image.topic(&topic.topic_name));
    let topics: BTreeSet<_> = named.map(|topic| topic.id).collect();
    let gone = match broker.groups.delete_share_offsets(broker, &request.group_id, Some(&topics)).await {
        Ok(gone) => gone,
        Err(error) => return refuse(error.code, error.message),
    };
    let answer = |topic_name: String| {
        let topic = image.topic(&topic_name);
        let unknown = ErrorCode::UnknownTopicOrPartition;
        let (error, message) = match topic {
            Some(topic) if gone.contains(&topic.id) => (ErrorCode::None, None),
            Some(_) => (unknown, Some("There is no offset information to delete.".to_owned())),
            None => (unknown, Some(unknown.message().to_owned())),
        };
        DeleteShareGroupOffsetsResponseTopic {
            topic_name,
            topic_id: topic.map(|topic| topic.id).unwrap_or_default(),
            error_code: error.code(),
            error_message: message,
            ..Default::default()
        }
    };
    let responses = request.topics.into_iter().map(|topic| answer(topic.topic_name)).collect();
    Ok(DeleteShareGroupOffsetsResponse { responses, ..Default::default() })
}
