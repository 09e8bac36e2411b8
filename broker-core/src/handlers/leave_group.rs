//! API: LeaveGroup (13)
//! Versions: 0-5
//! Behaviour: takes members out, one answer each from version 3 on; an administrator may name static members by their
//! instance alone.
//! Deviations: none known.
//! KIPs: 345, 800

use std::sync::Arc;

use rkafka_protocol::messages::leave_group_request::MemberIdentity;
use rkafka_protocol::messages::{LeaveGroupRequest, LeaveGroupResponse};

use super::{HandlerError, RequestContext};
use crate::BrokerState;

/// The first version that names several members.
const FIRST_VERSION_WITH_MEMBERS: i16 = 3;

/// Takes members out of their group.
///
/// # Errors
/// None; errors are in the answer.
pub async fn handle(
    broker: &Arc<BrokerState>,
    _context: &RequestContext,
    mut request: LeaveGroupRequest,
    version: i16,
) -> Result<LeaveGroupResponse, HandlerError> {
    if version >= FIRST_VERSION_WITH_MEMBERS {
        return Ok(broker.groups.leave(&**broker, &request).await);
    }
    let member_id = std::mem::take(&mut request.member_id);
    request.members = vec![MemberIdentity { member_id, ..Default::default() }];
    let mut response = broker.groups.leave(&**broker, &request).await;
    if let (0, Some(member)) = (response.error_code, response.members.first()) {
        response.error_code = member.error_code;
    }
    response.members = Vec::new();
    Ok(response)
}
