//! API: DeleteGroups (42)
//! Versions: 0-2
//! Behaviour: deletes groups that have no members, with their offsets.
//! Deviations: none known.
//! KIPs: 229

use std::sync::Arc;

use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::delete_groups_response::DeletableGroupResult;
use rkafka_protocol::messages::{DeleteGroupsRequest, DeleteGroupsResponse};

use super::{HandlerError, RequestContext};
use crate::BrokerState;

/// Deletes groups.
///
/// # Errors
/// None; errors are in the answer.
pub async fn handle(
    broker: &Arc<BrokerState>,
    _context: &RequestContext,
    request: DeleteGroupsRequest,
    _version: i16,
) -> Result<DeleteGroupsResponse, HandlerError> {
    let mut results = Vec::new();
    for group_id in request.groups_names {
        let error = broker.groups.delete_any(broker, &group_id).await.err().unwrap_or(ErrorCode::None);
        results.push(DeletableGroupResult { group_id, error_code: error.code(), ..Default::default() });
    }
    Ok(DeleteGroupsResponse { results, ..Default::default() })
}
