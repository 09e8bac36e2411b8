//! API: ConsumerGroupHeartbeat (68)
//! Versions: 0-1
//! Behaviour: a member joins (epoch 0), goes on, leaves (-1), or leaves for a moment as a static member (-2). The answer
//! has its epoch, and its assignment where that changed. A partition goes to its new member once the old one has said
//! that it gave it up, or is gone. Topic patterns match whole names of the topics that there are, and are resolved in
//! the heartbeat that brings them and when topics change.
//! `UNSUPPORTED_VERSION` where `group.version` is not finalized at 1.
//! Deviations: patterns are those of the `regex` crate, which are nearly RE2's. Kafka resolves patterns and computes
//! assignments in the background, so that there they come a heartbeat later.
//! KIPs: 848, 1082, 1101, 1251, 1263

use std::sync::Arc;

use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};
use uuid::Uuid;

use super::api_versions::GROUP_VERSION;
use super::{HandlerError, RequestContext};
use crate::BrokerState;
use crate::coordinator::HeartbeatingClient;

/// Whether the cluster has consumer groups: `group.version` says so.
pub(super) fn is_enabled(broker: &BrokerState) -> bool {
    broker.image().features().get("group.version").is_some_and(|level| *level >= GROUP_VERSION)
}

/// Takes a heartbeat.
///
/// # Errors
/// None; errors are in the answer.
pub async fn handle(
    broker: &Arc<BrokerState>,
    context: &RequestContext,
    request: ConsumerGroupHeartbeatRequest,
    version: i16,
) -> Result<ConsumerGroupHeartbeatResponse, HandlerError> {
    if !is_enabled(broker) {
        return Ok(ConsumerGroupHeartbeatResponse {
            error_code: ErrorCode::UnsupportedVersion.code(),
            ..Default::default()
        });
    }
    let client = HeartbeatingClient {
        version,
        client_id: context.client_id.clone(),
        client_host: context.client_host.clone(),
        new_member_id: Uuid::new_v4().to_string(),
    };
    let result = broker.groups.consumer_heartbeat(&**broker, &request, &client).await;
    Ok(result.unwrap_or_else(|error| ConsumerGroupHeartbeatResponse {
        error_code: error.code.code(),
        error_message: Some(error.message),
        ..Default::default()
    }))
}
