//! Fetch (1) on listeners for controllers: the metadata log, for other controllers and for brokers. A controller that
//! asks from an offset says that it has on its disk what is before (KIP-595, KIP-630).

use std::sync::Arc;

use rkafka_protocol::messages::{FetchRequest, FetchResponse};

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
    request: FetchRequest,
    _version: i16,
) -> Result<FetchResponse, HandlerError> {
    match broker.controller.answer(RaftRequest::Fetch(request)).await {
        Ok(RaftResponse::Fetch(response)) => Ok(response),
        Ok(_) => Err(HandlerError::Close("the quorum answered another request".to_owned())),
        Err(error) => Err(HandlerError::Close(error.to_string())),
    }
}
