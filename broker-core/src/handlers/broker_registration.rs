//! API: BrokerRegistration (62)
//! Versions: 0-4
//! Behaviour: a broker tells who it is and where; its epoch is the offset of that in the metadata log. It is fenced until it has
//! caught up. Only on listeners for controllers.
//! Deviations: the only controller of a cluster takes no other broker if it is a broker itself.
//! KIPs: 631, 841, 858, 966

use std::sync::Arc;

use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::{BrokerRegistrationRequest, BrokerRegistrationResponse};

use super::{HandlerError, RequestContext};
use crate::BrokerState;

/// Decides as the active controller.
///
/// # Errors
/// None.
pub async fn handle(
    broker: &Arc<BrokerState>,
    _context: &RequestContext,
    request: BrokerRegistrationRequest,
    version: i16,
) -> Result<BrokerRegistrationResponse, HandlerError> {
    if broker.config.is_alone() {
        // It keeps its partitions without others in mind: it would neither follow nor tell who is in sync.
        tracing::warn!(
            broker = request.broker_id,
            "another broker is refused: the only controller of this cluster is a broker itself, and takes no others; \
             give it the role `controller` alone, or name three controllers in `controller.quorum.voters`"
        );
        return Ok(BrokerRegistrationResponse {
            error_code: ErrorCode::InvalidRegistration.code(),
            ..Default::default()
        });
    }
    let decided = broker.controller.submit_to(|active, view, now| active.register(view, &request, version, now)).await;
    Ok(match decided {
        Ok(committed) => committed.reply,
        Err(error) => BrokerRegistrationResponse { error_code: error.code().code(), ..Default::default() },
    })
}
