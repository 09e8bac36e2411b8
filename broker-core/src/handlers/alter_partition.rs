//! API: AlterPartition (56)
//! Versions: 2-3
//! Behaviour: a leader asks for other replicas to be in sync. Only its leader may, only brokers that are there and not
//! fenced come in, and only on what the partition is now. Only on listeners for controllers.
//! KIPs: 497, 841, 903

use std::sync::Arc;

use rkafka_protocol::messages::{AlterPartitionRequest, AlterPartitionResponse};

use super::{HandlerError, RequestContext};
use crate::BrokerState;
use crate::controller::alter_partition;

/// Decides as the active controller.
///
/// # Errors
/// None.
pub async fn handle(
    broker: &Arc<BrokerState>,
    _context: &RequestContext,
    request: AlterPartitionRequest,
    version: i16,
) -> Result<AlterPartitionResponse, HandlerError> {
    let decided = broker.controller.submit_to(|_, view, _| alter_partition(view, &request, version)).await;
    Ok(match decided {
        Ok(committed) => committed.reply,
        Err(error) => AlterPartitionResponse { error_code: error.code().code(), ..Default::default() },
    })
}
