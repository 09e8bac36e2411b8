//! API: ListPartitionReassignments (46)
//! Versions: 0-0
//! Behaviour: the reassignments that are under way, of the partitions asked for or of all.
//! Deviations: none known.
//! KIPs: 455

use std::sync::Arc;

use rkafka_protocol::messages::{ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse};

use super::{HandlerError, RequestContext};
use crate::BrokerState;
use crate::controller::reassignments;

/// Answers which replicas are moving.
///
/// # Errors
/// None.
pub async fn handle(
    broker: &Arc<BrokerState>,
    _context: &RequestContext,
    request: ListPartitionReassignmentsRequest,
    _version: i16,
) -> Result<ListPartitionReassignmentsResponse, HandlerError> {
    let topics = reassignments(&broker.image(), request.topics.as_deref());
    // The schema's default is an empty message; Kafka answers null.
    Ok(ListPartitionReassignmentsResponse { error_message: None, topics, ..Default::default() })
}
