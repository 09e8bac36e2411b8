//! API: ShareAcknowledge (79)
//! Versions: 1-2
//! Behaviour: takes what a member says of the records that it has: accepted, released, rejected, no record at all, or
//! still in work (KIP-1222). All of a partition's acknowledgements are taken, once they are kept, or none. Epoch -1 ends
//! the share session, and what the member still has comes back.
//! Deviations: none.
//! KIPs: 932, 1222

use std::sync::Arc;

use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::share_acknowledge_response::{PartitionData, ShareAcknowledgeTopicResponse};
use rkafka_protocol::messages::{ShareAcknowledgeRequest, ShareAcknowledgeResponse};

use super::share_fetch::acknowledge;
use super::share_group_heartbeat::is_enabled;
use super::{HandlerError, RequestContext};
use crate::BrokerState;
use crate::coordinator::share::ShareKey;
use crate::share::{Acknowledgement, GroupShareSettings, SessionKey};

/// Takes acknowledgements.
///
/// # Errors
/// None.
pub async fn handle(
    broker: &Arc<BrokerState>,
    _context: &RequestContext,
    request: ShareAcknowledgeRequest,
    _version: i16,
) -> Result<ShareAcknowledgeResponse, HandlerError> {
    let refuse = |error: ErrorCode, why: Option<String>| {
        Ok(ShareAcknowledgeResponse { error_code: error.code(), error_message: why, ..Default::default() })
    };
    if !is_enabled(broker) {
        let why = "this cluster has no share groups (share.version is 0)".to_owned();
        return refuse(ErrorCode::UnsupportedVersion, Some(why));
    }
    let (Some(group_id), Some(member_id)) = (&request.group_id, &request.member_id) else {
        return refuse(ErrorCode::InvalidRequest, Some("acknowledging needs a group and a member".to_owned()));
    };
    if group_id.is_empty() || member_id.is_empty() {
        return refuse(ErrorCode::InvalidRequest, Some("the group and the member must not be empty".to_owned()));
    }
    let key: SessionKey = (Arc::from(group_id.as_str()), Arc::from(member_id.as_str()));
    let stepped = broker.shares.sessions().acknowledge(&key, request.share_session_epoch);
    let step = match stepped {
        Ok(step) => step,
        Err(error) => return refuse(error.code(), None),
    };
    let settings = GroupShareSettings::of(broker, group_id);
    let mut responses = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for partition in &topic.partitions {
            let index = partition.partition_index;
            let batches: Vec<_> = partition
                .acknowledgement_batches
                .iter()
                .map(|batch| Acknowledgement {
                    first_offset: batch.first_offset,
                    last_offset: batch.last_offset,
                    types: &batch.acknowledge_types,
                })
                .collect();
            let at = (topic.topic_id, index);
            let result = acknowledge(broker, &key, at, &batches, request.is_renew_ack, &settings).await;
            let (error, error_message) = result.err().unwrap_or((ErrorCode::None, None));
            let error_code = error.code();
            partitions.push(PartitionData { partition_index: index, error_code, error_message, ..Default::default() });
        }
        responses.push(ShareAcknowledgeTopicResponse { topic_id: topic.topic_id, partitions, ..Default::default() });
    }
    for (topic_id, partition) in step.released {
        let key = ShareKey { group_id: Arc::clone(&key.0), topic_id, partition };
        broker.shares.release(broker, &key, member_id);
    }
    let lock_ms = i32::try_from(settings.machine.record_lock_duration_ms).unwrap_or(i32::MAX);
    Ok(ShareAcknowledgeResponse { acquisition_lock_timeout_ms: lock_ms, responses, ..Default::default() })
}
