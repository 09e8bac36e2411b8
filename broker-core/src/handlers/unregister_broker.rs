//! API: UnregisterBroker (64)
//! Versions: 0-0
//! Behaviour: forgets a broker that is gone for good; it leaves the in-sync replicas of its partitions, but stays among
//! their replicas until they are reassigned. One that is not registered: `BROKER_ID_NOT_REGISTERED`.
//! Deviations: a broker that answers this request does not forget itself, which is answered by `INVALID_REQUEST`; in
//! Kafka it would register itself again.
//! KIPs: 631

use std::sync::Arc;

use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::{UnregisterBrokerRequest, UnregisterBrokerResponse};

use super::{HandlerError, RequestContext};
use crate::BrokerState;
use crate::controller::{View, unregister_broker};

/// Forgets a broker.
///
/// # Errors
/// None.
pub async fn handle(
    broker: &Arc<BrokerState>,
    _context: &RequestContext,
    request: UnregisterBrokerRequest,
    _version: i16,
) -> Result<UnregisterBrokerResponse, HandlerError> {
    let id = request.broker_id;
    let (error, message) = if id == broker.config.node_id {
        (ErrorCode::InvalidRequest, Some(format!("Broker ID {id} is this broker, which runs")))
    } else {
        match broker.submit(|image| unregister_broker(&View::new(image, &broker.config), id)).await {
            Ok(Ok(())) => (ErrorCode::None, None),
            Ok(Err(refusal)) => (refusal.error, Some(refusal.message)),
            Err(error) => {
                tracing::error!(%error, broker = id, "a broker cannot be forgotten");
                (error.code(), Some(error.to_string()))
            }
        }
    };
    Ok(UnregisterBrokerResponse { error_code: error.code(), error_message: message, ..Default::default() })
}
