//! API: FetchSnapshot (59)
//! Versions: 0-1
//! Behaviour: a part of a snapshot of the metadata, by its position. Only on listeners for controllers.
//! KIPs: 630, 853

use std::sync::Arc;

use rkafka_protocol::messages::{FetchSnapshotRequest, FetchSnapshotResponse};

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
    request: FetchSnapshotRequest,
    _version: i16,
) -> Result<FetchSnapshotResponse, HandlerError> {
    match broker.controller.answer(RaftRequest::FetchSnapshot(request)).await {
        Ok(RaftResponse::FetchSnapshot(response)) => Ok(response),
        Ok(_) => Err(HandlerError::Close("the quorum answered another request".to_owned())),
        Err(error) => Err(HandlerError::Close(error.to_string())),
    }
}
