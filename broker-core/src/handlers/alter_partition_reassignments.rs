//! API: AlterPartitionReassignments (45)
//! Versions: 0-1
//! Behaviour: partitions get other replicas. Those that are added catch up first; when all that are to stay are in sync,
//! the others go. A reassignment that is under way can be replaced, or taken back.
//! Deviations: a partition that is in a request twice is refused the second time. Taking back a reassignment where that
//! loses records (`unclean.leader.election.enable`) is reported as the unclean election that it is.
//! KIPs: 455, 860

use std::sync::Arc;

use rkafka_protocol::messages::{AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse};

use super::{HandlerError, RequestContext};
use crate::BrokerState;
use crate::controller::{View, alter_reassignments};

/// Moves replicas.
///
/// # Errors
/// None.
pub async fn handle(
    broker: &Arc<BrokerState>,
    _context: &RequestContext,
    request: AlterPartitionReassignmentsRequest,
    _version: i16,
) -> Result<AlterPartitionReassignmentsResponse, HandlerError> {
    let altered = broker.submit(|image| alter_reassignments(&View::new(image, &broker.config), &request)).await;
    Ok(altered.unwrap_or_else(|error| {
        tracing::error!(%error, "replicas cannot be moved");
        AlterPartitionReassignmentsResponse {
            allow_replication_factor_change: request.allow_replication_factor_change,
            error_code: error.code().code(),
            error_message: Some(error.to_string()),
            ..Default::default()
        }
    }))
}
