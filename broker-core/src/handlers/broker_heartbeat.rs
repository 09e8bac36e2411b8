//! API: BrokerHeartbeat (63)
//! Versions: 0-2
//! Behaviour: a broker is there; one that is not heard of for `broker.session.timeout.ms` is fenced. One that wants to stop has
//! what it leads moved away first. Only on listeners for controllers.
//! KIPs: 631, 858, 966

use std::sync::Arc;

use rkafka_protocol::messages::{BrokerHeartbeatRequest, BrokerHeartbeatResponse};

use super::{HandlerError, RequestContext};
use crate::BrokerState;

/// Decides as the active controller.
///
/// # Errors
/// None.
pub async fn handle(
    broker: &Arc<BrokerState>,
    _context: &RequestContext,
    request: BrokerHeartbeatRequest,
    _version: i16,
) -> Result<BrokerHeartbeatResponse, HandlerError> {
    let decided = broker.controller.submit_to(|active, view, now| active.heartbeat(view, &request, now)).await;
    Ok(match decided {
        Ok(committed) => committed.reply,
        Err(error) => BrokerHeartbeatResponse { error_code: error.code().code(), ..Default::default() },
    })
}
