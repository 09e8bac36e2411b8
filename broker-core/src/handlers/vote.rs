//! API: Vote (52)
//! Versions: 0-2
//! Behaviour: a controller that seeks to be elected, or asks whether it would be, is given this node's vote or not; a
//! vote is on the disk before the answer goes. Only on listeners for controllers.
//! KIPs: 595, 853, 996

use std::sync::Arc;

use rkafka_protocol::messages::{VoteRequest, VoteResponse};

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
    request: VoteRequest,
    _version: i16,
) -> Result<VoteResponse, HandlerError> {
    match broker.controller.answer(RaftRequest::Vote(request)).await {
        Ok(RaftResponse::Vote(response)) => Ok(response),
        Ok(_) => Err(HandlerError::Close("the quorum answered another request".to_owned())),
        Err(error) => Err(HandlerError::Close(error.to_string())),
    }
}
