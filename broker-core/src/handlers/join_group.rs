//! API: JoinGroup (11)
//! Versions: 0-9
//! Behaviour: waits until the group has joined, or the member is turned away. From version 4 on a dynamic member is
//! first given its id; a static member that restarted takes its old place, without a rebalance where the group is
//! stable.
//! Deviations: a member whose connection ends while it waits counts as absent until it asks again, where Kafka counts
//! it as joined.
//! KIPs: 62, 134, 345, 389, 394, 559, 800, 814

use std::sync::Arc;

use rkafka_protocol::messages::{JoinGroupRequest, JoinGroupResponse};

use super::{HandlerError, RequestContext};
use crate::BrokerState;
use crate::coordinator::JoiningClient;

/// The first version whose protocol name may be null.
const FIRST_VERSION_WITH_NULL_PROTOCOL: i16 = 7;

/// Lets a member join, and answers when its group has.
///
/// # Errors
/// None; errors are in the answer.
pub async fn handle(
    broker: &Arc<BrokerState>,
    context: &RequestContext,
    request: JoinGroupRequest,
    version: i16,
) -> Result<JoinGroupResponse, HandlerError> {
    let client = JoiningClient { version, client_id: &context.client_id, client_host: &context.client_host };
    let mut response = broker.groups.join(&**broker, &request, client).await;
    if version < FIRST_VERSION_WITH_NULL_PROTOCOL {
        response.protocol_name.get_or_insert_default();
    }
    Ok(response)
}
