//! API: BeginQuorumEpoch (53)
//! Versions: 0-1
//! Behaviour: the controller that was elected says so, and this node follows it. Only on listeners for controllers.
//! KIPs: 595, 853

use std::sync::Arc;

use rkafka_protocol::messages::{BeginQuorumEpochRequest, BeginQuorumEpochResponse};

use super::{HandlerError, RequestContext};
use crate::BrokerState;
use crate::raft::{RaftRequest, RaftResponse};

/// Hands the request to the quorum's machine.
///
/// # Errors
/// The node stops.
pub async fn handle(
    broker: &Arc<BrokerState>,
    _context: &RequestContext,
    request: BeginQuorumEpochRequest,
    _version: i16,
) -> Result<BeginQuorumEpochResponse, HandlerError> {
    match broker.controller.answer(RaftRequest::BeginQuorumEpoch(request)).await {
        Ok(RaftResponse::BeginQuorumEpoch(response)) => Ok(response),
        Ok(_) => Err(HandlerError::Close("the quorum answered another request".to_owned())),
        Err(error) => Err(HandlerError::Close(error.to_string())),
    }
}
