//! API: ListGroups (16)
//! Versions: 0-5
//! Behaviour: all groups, or those of the states and types asked for, without regard to case.
//! Deviations: none known.
//! KIPs: 518, 848

use std::sync::Arc;

use rkafka_protocol::messages::{ListGroupsRequest, ListGroupsResponse};

use super::{HandlerError, RequestContext};
use crate::BrokerState;

/// Lists groups.
///
/// # Errors
/// None; errors are in the answer.
pub async fn handle(
    broker: &Arc<BrokerState>,
    _context: &RequestContext,
    request: ListGroupsRequest,
    version: i16,
) -> Result<ListGroupsResponse, HandlerError> {
    Ok(match broker.groups.list(&**broker, &request.states_filter, &request.types_filter).await {
        Ok(mut groups) => {
            for group in &mut groups {
                // Older versions cannot say these.
                if version < 4 {
                    group.group_state = String::new();
                }
                if version < 5 {
                    group.group_type = String::new();
                }
            }
            ListGroupsResponse { groups, ..Default::default() }
        }
        Err(error) => ListGroupsResponse { error_code: error.code(), ..Default::default() },
    })
}
