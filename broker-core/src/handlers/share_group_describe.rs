//! API: ShareGroupDescribe (77)
//! Versions: 1
//! Behaviour: a share group's state and epochs, and its members with what they have. Other kinds of groups are
//! `GROUP_ID_NOT_FOUND`.
//! Deviations: none known.
//! KIPs: 932

use std::sync::Arc;

use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::share_group_describe_response::DescribedGroup;
use rkafka_protocol::messages::{ShareGroupDescribeRequest, ShareGroupDescribeResponse};

use super::describe_groups::ALL_OPERATIONS;
use super::share_group_heartbeat::is_enabled;
use super::{HandlerError, RequestContext};
use crate::BrokerState;

/// Describes share groups.
///
/// # Errors
/// None; errors are in the answer.
pub async fn handle(
    broker: &Arc<BrokerState>,
    _context: &RequestContext,
    request: ShareGroupDescribeRequest,
    _version: i16,
) -> Result<ShareGroupDescribeResponse, HandlerError> {
    let is_enabled = is_enabled(broker);
    let mut groups = Vec::with_capacity(request.group_ids.len());
    for group_id in request.group_ids {
        let failed = |group_id: String, error: ErrorCode| DescribedGroup {
            group_id,
            error_code: error.code(),
            ..Default::default()
        };
        let mut group = if !is_enabled {
            failed(group_id, ErrorCode::UnsupportedVersion)
        } else if group_id.is_empty() {
            failed(group_id, ErrorCode::InvalidGroupId)
        } else {
            let described = broker.groups.describe_share(&**broker, &group_id).await;
            described.unwrap_or_else(|error| failed(group_id, error))
        };
        if request.include_authorized_operations && group.error_code == 0 {
            group.authorized_operations = ALL_OPERATIONS;
        }
        groups.push(group);
    }
    Ok(ShareGroupDescribeResponse { groups, ..Default::default() })
}
