//! API: ConsumerGroupDescribe (69)
//! Versions: 0-1
//! Behaviour: a consumer group's state and epochs, and its members with what they have and what they shall have. Other
//! kinds of groups are `GROUP_ID_NOT_FOUND`.
//! Deviations: none known.
//! KIPs: 848, 1099

use std::sync::Arc;

use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::consumer_group_describe_response::DescribedGroup;
use rkafka_protocol::messages::{ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse};

use super::consumer_group_heartbeat::is_enabled;
use super::describe_groups::ALL_OPERATIONS;
use super::{HandlerError, RequestContext};
use crate::BrokerState;

/// Describes consumer groups.
///
/// # Errors
/// None; errors are in the answer.
pub async fn handle(
    broker: &Arc<BrokerState>,
    _context: &RequestContext,
    request: ConsumerGroupDescribeRequest,
    _version: i16,
) -> Result<ConsumerGroupDescribeResponse, HandlerError> {
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
            let described = broker.groups.describe_consumer(&**broker, &group_id).await;
            described.unwrap_or_else(|error| failed(group_id, error))
        };
        if request.include_authorized_operations && group.error_code == 0 {
            group.authorized_operations = ALL_OPERATIONS;
        }
        groups.push(group);
    }
    Ok(ConsumerGroupDescribeResponse { groups, ..Default::default() })
}
