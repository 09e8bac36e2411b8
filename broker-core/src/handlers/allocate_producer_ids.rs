//! API: AllocateProducerIds (67)
//! Versions: 0
//! Behaviour: the next thousand producer ids, which are in the metadata log as given away before the answer goes. Only on
//! listeners for controllers.
//! KIPs: 730

use std::sync::Arc;

use rkafka_protocol::messages::{AllocateProducerIdsRequest, AllocateProducerIdsResponse};

use super::{HandlerError, RequestContext};
use crate::BrokerState;
use crate::controller::allocate_producer_ids;

/// Decides as the active controller.
///
/// # Errors
/// None.
pub async fn handle(
    broker: &Arc<BrokerState>,
    _context: &RequestContext,
    request: AllocateProducerIdsRequest,
    _version: i16,
) -> Result<AllocateProducerIdsResponse, HandlerError> {
    let decided = broker.controller.submit_to(|_, view, _| allocate_producer_ids(view, &request)).await;
    Ok(match decided {
        Ok(committed) => committed.reply,
        Err(error) => AllocateProducerIdsResponse { error_code: error.code().code(), ..Default::default() },
    })
}
