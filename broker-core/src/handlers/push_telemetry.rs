//! API: PushTelemetry (72)
//! Versions: 0-0
//! Behaviour: takes the metrics of a client that asked for its subscription, once in its interval and up to
//! `telemetry.max.bytes`; they are told to the log, and kept for a while for the program that embeds the broker.
//! Deviations: always offered, where Kafka needs a plugin that takes the metrics. What is unpacked may be sixteen times as
//! large as `telemetry.max.bytes`.
//! KIPs: 714, 1076

use std::sync::Arc;

use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::{PushTelemetryRequest, PushTelemetryResponse};

use super::{HandlerError, RequestContext};
use crate::BrokerState;
use crate::telemetry::Push;

/// Takes a client's metrics.
///
/// # Errors
/// None; errors are in the answer.
pub async fn handle(
    broker: &Arc<BrokerState>,
    context: &RequestContext,
    request: PushTelemetryRequest,
    _version: i16,
) -> Result<PushTelemetryResponse, HandlerError> {
    let push = Push {
        client_instance_id: request.client_instance_id,
        subscription_id: request.subscription_id,
        terminating: request.terminating,
        compression_type: request.compression_type,
        // A frame's memory is not to be held for as long as a few bytes of it are kept.
        metrics: bytes::Bytes::copy_from_slice(&request.metrics),
    };
    let pushed = broker.telemetry.push(broker, &push, &context.client_info());
    let error_code = pushed.err().map_or(0, ErrorCode::code);
    Ok(PushTelemetryResponse { error_code, ..Default::default() })
}
