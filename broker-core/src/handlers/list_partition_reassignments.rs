//! API: ListPartitionReassignments (46)
//! Versions: 0-0
//! Behaviour: none is ever under way, for a broker that is alone has nowhere to move a replica to.
//! Deviations: none known.
//! KIPs: 455

use std::sync::Arc;

use rkafka_protocol::messages::{ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse};

use super::{HandlerError, RequestContext};
use crate::BrokerState;

/// Answers which replicas are moving.
///
/// # Errors
/// None.
pub async fn handle(
    _broker: &Arc<BrokerState>,
    _context: &RequestContext,
    _request: ListPartitionReassignmentsRequest,
    _version: i16,
) -> Result<ListPartitionReassignmentsResponse, HandlerError> {
    // The schema's default is an empty message; Kafka answers null.
    Ok(ListPartitionReassignmentsResponse { error_message: None, ..Default::default() })
}
