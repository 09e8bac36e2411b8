//! API: GetTelemetrySubscriptions (71)
//! Versions: 0-0
//! Behaviour: gives a client an instance id, and tells it which metrics to push how often, by the subscriptions that match
//! it (client-metrics resources). A client that asks again within its interval is throttled.
//! Deviations: always offered, where Kafka needs a plugin that takes the metrics.
//! KIPs: 714, 1076

use std::sync::Arc;

use rkafka_protocol::messages::{GetTelemetrySubscriptionsRequest, GetTelemetrySubscriptionsResponse};
use rkafka_protocol::records::Compression;

use super::{HandlerError, RequestContext};
use crate::BrokerState;

/// The codecs that a push may have, the preferred one first.
const ACCEPTED: [Compression; 4] = [Compression::Zstd, Compression::Lz4, Compression::Gzip, Compression::Snappy];

/// Tells a client its subscription.
///
/// # Errors
/// None; errors are in the answer.
pub async fn handle(
    broker: &Arc<BrokerState>,
    context: &RequestContext,
    request: GetTelemetrySubscriptionsRequest,
    _version: i16,
) -> Result<GetTelemetrySubscriptionsResponse, HandlerError> {
    let granted = broker.telemetry.subscribe(broker, request.client_instance_id, &context.client_info());
    Ok(match granted {
        Ok(granted) => GetTelemetrySubscriptionsResponse {
            client_instance_id: granted.client_instance_id,
            subscription_id: granted.subscription_id,
            accepted_compression_types: ACCEPTED
                .iter()
                .filter(|codec| codec.is_enabled())
                .map(|codec| codec.id() as i8)
                .collect(),
            push_interval_ms: granted.push_interval_ms,
            telemetry_max_bytes: broker.config.telemetry_max_bytes,
            delta_temporality: true,
            requested_metrics: granted.metrics,
            ..Default::default()
        },
        Err(error) => GetTelemetrySubscriptionsResponse {
            error_code: error.code(),
            client_instance_id: request.client_instance_id,
            ..Default::default()
        },
    })
}
