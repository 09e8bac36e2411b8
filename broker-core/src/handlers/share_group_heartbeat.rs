//! API: ShareGroupHeartbeat (76)
//! Versions: 1
//! Behaviour: a member joins (epoch 0), goes on, or leaves (-1). The answer has its epoch, and its assignment where that
//! changed: every partition of the subscribed topics has at least one member, and members share partitions where there
//! are more of them than partitions. The share coordinator keeps a state of each partition before a member is told of it.
//! `UNSUPPORTED_VERSION` where `share.version` is not finalized at 1.
//! Deviations: Kafka makes the states and computes assignments in the background, so that there members are assigned a
//! heartbeat later.
//! KIPs: 932, 1101, 1263

use std::sync::Arc;

use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::{ShareGroupHeartbeatRequest, ShareGroupHeartbeatResponse};

use super::api_versions::SHARE_VERSION;
use super::{HandlerError, RequestContext};
use crate::BrokerState;
use crate::coordinator::HeartbeatingClient;

/// Whether the cluster has share groups: `share.version` says so.
pub(super) fn is_enabled(broker: &BrokerState) -> bool {
    broker.image().features().get("share.version").is_some_and(|level| *level >= SHARE_VERSION)
}

/// Takes a heartbeat.
///
/// # Errors
/// None; errors are in the answer.
pub async fn handle(
    broker: &Arc<BrokerState>,
    context: &RequestContext,
    request: ShareGroupHeartbeatRequest,
    version: i16,
) -> Result<ShareGroupHeartbeatResponse, HandlerError> {
    if !is_enabled(broker) {
        return Ok(ShareGroupHeartbeatResponse {
            error_code: ErrorCode::UnsupportedVersion.code(),
            ..Default::default()
        });
    }
    let client = HeartbeatingClient {
        version,
        client_id: context.client_id.clone(),
        client_host: context.client_host.clone(),
        // Members of share groups bring their own.
        new_member_id: String::new(),
    };
    let result = broker.groups.share_heartbeat(broker, &request, &client).await;
    Ok(result.unwrap_or_else(|error| ShareGroupHeartbeatResponse {
        error_code: error.code.code(),
        error_message: Some(error.message),
        ..Default::default()
    }))
}
