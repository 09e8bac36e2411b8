//! API: DescribeGroups (15)
//! Versions: 0-6
//! Behaviour: a group's state and members, with their subscriptions once it is stable. A group that is not there is
//! dead, and from version 6 on `GROUP_ID_NOT_FOUND`.
//! Deviations: none known.
//! KIPs: 345, 430, 1043

use std::sync::Arc;

use rkafka_protocol::messages::describe_groups_response::DescribedGroup;
use rkafka_protocol::messages::{DescribeGroupsRequest, DescribeGroupsResponse};

use super::{HandlerError, RequestContext};
use crate::BrokerState;

/// What everybody may do with a group where nothing is forbidden, as bits of Kafka's `AclOperation` codes: read (3),
/// delete (6), describe (8), describe its configs (10), alter them (11).
pub(super) const ALL_OPERATIONS: i32 = 1 << 3 | 1 << 6 | 1 << 8 | 1 << 10 | 1 << 11;

/// Describes groups.
///
/// # Errors
/// None; errors are in the answer.
pub async fn handle(
    broker: &Arc<BrokerState>,
    _context: &RequestContext,
    request: DescribeGroupsRequest,
    version: i16,
) -> Result<DescribeGroupsResponse, HandlerError> {
    let mut groups = Vec::new();
    for group_id in request.groups {
        let mut group = match broker.groups.describe(&**broker, &group_id, version).await {
            Ok(group) => group,
            Err(error) => DescribedGroup { group_id, error_code: error.code(), ..Default::default() },
        };
        if request.include_authorized_operations && group.error_code == 0 {
            group.authorized_operations = ALL_OPERATIONS;
        }
        if version < 4 {
            // Older versions cannot say these.
            group.members.iter_mut().for_each(|member| member.group_instance_id = None);
        }
        groups.push(group);
    }
    Ok(DescribeGroupsResponse { groups, ..Default::default() })
}
