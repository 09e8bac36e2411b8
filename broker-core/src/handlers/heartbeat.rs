//! API: Heartbeat (12)
//! Versions: 0-4
//! Behaviour: keeps a member's session, and tells it by `REBALANCE_IN_PROGRESS` to join again.
//! Deviations: none known.
//! KIPs: 62, 345

use std::sync::Arc;

use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::{HeartbeatRequest, HeartbeatResponse};

use super::{HandlerError, RequestContext};
use crate::BrokerState;

/// Takes a heartbeat.
///
/// # Errors
/// None; errors are in the answer.
pub async fn handle(
    broker: &Arc<BrokerState>,
    _context: &RequestContext,
    request: HeartbeatRequest,
    _version: i16,
) -> Result<HeartbeatResponse, HandlerError> {
    let error = broker.groups.heartbeat(&**broker, &request).await.err().unwrap_or(ErrorCode::None);
    Ok(HeartbeatResponse { error_code: error.code(), ..Default::default() })
}
