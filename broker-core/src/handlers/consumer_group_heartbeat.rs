//! API: ConsumerGroupHeartbeat (68)
//! Versions: 0-1
//! Behaviour: refused by `UNSUPPORTED_VERSION`, as Kafka refuses it where `group.coordinator.rebalance.protocols` does
//! not name `consumer`. Kafka offers the API even then, and newer librdkafka counts on it: a coordinator that does not
//! offer version 1 is for it a broken one, and it looks for another without end and without a word to its caller.
//! Deviations: consumers must use `group.protocol=classic`.
//! KIPs: 848

use std::sync::Arc;

use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};

use super::{HandlerError, RequestContext};
use crate::BrokerState;

/// Says that groups are of the classic protocol here.
///
/// # Errors
/// None.
pub async fn handle(
    _broker: &Arc<BrokerState>,
    _context: &RequestContext,
    _request: ConsumerGroupHeartbeatRequest,
    _version: i16,
) -> Result<ConsumerGroupHeartbeatResponse, HandlerError> {
    Ok(ConsumerGroupHeartbeatResponse {
        error_code: ErrorCode::UnsupportedVersion.code(),
        error_message: Some("this broker has no consumer group protocol; set group.protocol=classic".to_owned()),
        ..Default::default()
    })
}
