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
    let one = |group_id: String| {
        let error = broker.groups.delete(&**broker, &group_id).err().unwrap_or(ErrorCode::None);
        DeletableGroupResult { group_id, error_code: error.code(), ..Default::default() }
    };
    let results = request.groups_names.into_iter().map(one).collect();
    Ok(DeleteGroupsResponse { results, ..Default::default() })
}
