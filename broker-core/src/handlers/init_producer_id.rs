//! API: InitProducerId (22)
//! Versions: 0-5
//! Behaviour: a producer id that nobody has had, for an idempotent producer. Ids come from the controller in blocks of
//! a thousand; a block is in the metadata log before its first id is given away.
//! Deviations: transactions are not there, so a request with a transactional id is refused by `UNSUPPORTED_VERSION`.
//! KIPs: 98, 360, 588

use std::sync::Arc;

use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::{InitProducerIdRequest, InitProducerIdResponse};

use super::{HandlerError, RequestContext};
use crate::BrokerState;

/// Gives a producer id.
///
/// # Errors
/// None.
pub async fn handle(
    broker: &Arc<BrokerState>,
    _context: &RequestContext,
    request: InitProducerIdRequest,
    _version: i16,
) -> Result<InitProducerIdResponse, HandlerError> {
    let id = match request.transactional_id.as_deref() {
        Some("") => Err(ErrorCode::InvalidRequest),
        Some(transactional_id) => {
            tracing::warn!(transactional_id, "a producer wants transactions, which this broker does not have");
            Err(ErrorCode::UnsupportedVersion)
        }
        None => broker.next_producer_id().map_err(|error| {
            tracing::error!(%error, "no producer ids can be had");
            ErrorCode::CoordinatorNotAvailable
        }),
    };
    Ok(InitProducerIdResponse {
        error_code: id.err().unwrap_or(ErrorCode::None).code(),
        producer_id: id.unwrap_or(-1),
        producer_epoch: if id.is_ok() { 0 } else { -1 },
        ..Default::default()
    })
}
