//! API: EndQuorumEpoch (54)
//! Versions: 0-1
//! Behaviour: the controller that led gives up, so that the next election need not wait. Only on listeners for controllers.
//! KIPs: 595, 853

use std::sync::Arc;

use rkafka_protocol::messages::{EndQuorumEpochRequest, EndQuorumEpochResponse};

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
    request: EndQuorumEpochRequest,
    _version: i16,
) -> Result<EndQuorumEpochResponse, HandlerError> {
    match broker.controller.answer(RaftRequest::EndQuorumEpoch(request)).await {
        Ok(RaftResponse::EndQuorumEpoch(response)) => Ok(response),
        Ok(_) => Err(HandlerError::Close("the quorum answered another request".to_owned())),
        Err(error) => Err(HandlerError::Close(error.to_string())),
    }
}
