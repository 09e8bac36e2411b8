//! API: UnregisterBroker (64)
//! Versions: 0-0
//! Behaviour: a broker that is not registered cannot be forgotten: `BROKER_ID_NOT_REGISTERED`.
//! Deviations: this broker itself is not forgotten while it runs, which is answered by `INVALID_REQUEST`; in Kafka it
//! would register itself again.
//! KIPs: 631

use std::sync::Arc;

use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::{UnregisterBrokerRequest, UnregisterBrokerResponse};

use super::{HandlerError, RequestContext};
use crate::BrokerState;

/// Refuses to forget a broker.
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
    let (error, message) = if broker.image().brokers().contains_key(&id) {
        (ErrorCode::InvalidRequest, format!("Broker ID {id} is this broker, which runs and is the only one"))
    } else {
        (ErrorCode::BrokerIdNotRegistered, format!("Broker ID {id} is not currently registered"))
    };
    Ok(UnregisterBrokerResponse { error_code: error.code(), error_message: Some(message), ..Default::default() })
}
