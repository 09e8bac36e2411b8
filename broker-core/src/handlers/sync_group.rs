//! API: SyncGroup (14)
//! Versions: 0-5
//! Behaviour: waits until the leader has brought the assignment and the log has it.
//! Deviations: none known.
//! KIPs: 345, 559

use std::sync::Arc;

use rkafka_protocol::messages::{SyncGroupRequest, SyncGroupResponse};

use super::{HandlerError, RequestContext};
use crate::BrokerState;

/// Answers a member's assignment.
///
/// # Errors
/// None; errors are in the answer.
pub async fn handle(
    broker: &Arc<BrokerState>,
    _context: &RequestContext,
    request: SyncGroupRequest,
    _version: i16,
) -> Result<SyncGroupResponse, HandlerError> {
    Ok(broker.groups.sync(&**broker, &request).await)
}
