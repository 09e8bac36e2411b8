//! API: Envelope (58)
//! Versions: 0
//! Behaviour: a broker hands on what a client asked of it and only the active controller can answer. The answer is in the
//! answer. A node that is not the active controller says `NOT_CONTROLLER`, and the broker looks for the one that is. Only
//! on listeners for controllers.
//! Deviations: the principal of the client is not looked at, for there is no authorizer.
//! KIPs: 590

use std::net::{Ipv4Addr, Ipv6Addr};
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use rkafka_protocol::messages::{EnvelopeRequest, EnvelopeResponse};
use rkafka_protocol::wire::Writer;
use rkafka_protocol::{ApiKey, ErrorCode};

use super::{DispatchError, HandlerError, Incoming, RequestContext, dispatch, is_forwarded};
use crate::BrokerState;

type Answer<'a> = Pin<Box<dyn Future<Output = Result<Option<Writer>, DispatchError>> + Send + 'a>>;

/// Answers the request that is in the request.
///
/// # Errors
/// None.
pub async fn handle(
    broker: &Arc<BrokerState>,
    context: &RequestContext,
    request: EnvelopeRequest,
    _version: i16,
) -> Result<EnvelopeResponse, HandlerError> {
    let refused = |error: ErrorCode| EnvelopeResponse { error_code: error.code(), ..Default::default() };
    if !broker.controller.is_active() {
        return Ok(refused(ErrorCode::NotController));
    }
    let Ok(incoming) = Incoming::read(request.request_data) else { return Ok(refused(ErrorCode::InvalidRequest)) };
    if !is_forwarded(incoming.key) || incoming.key == ApiKey::Envelope as i16 {
        return Ok(refused(ErrorCode::InvalidRequest));
    }
    let mut context = context.clone();
    context.client_id = incoming.client_id.clone().unwrap_or_default();
    context.client_host = client_host(&request.client_host_address);
    Ok(match answer(broker, &context, incoming).await {
        Ok(Some(response)) => EnvelopeResponse {
            // Without the length that goes before a frame.
            response_data: Some(Bytes::from(response.into_vec()).slice(4..)),
            ..Default::default()
        },
        Ok(None) => EnvelopeResponse::default(),
        Err(error) => {
            tracing::warn!(%error, "a forwarded request cannot be answered");
            refused(ErrorCode::InvalidRequest)
        }
    })
}

/// In a box, for what dispatches a request calls what dispatches the one in it.
fn answer<'a>(broker: &'a Arc<BrokerState>, context: &'a RequestContext, incoming: Incoming) -> Answer<'a> {
    Box::pin(dispatch(broker, context, incoming))
}

/// The address as Kafka shows it.
fn client_host(bytes: &[u8]) -> String {
    if let Ok(four) = <[u8; 4]>::try_from(bytes) {
        format!("/{}", Ipv4Addr::from(four))
    } else if let Ok(sixteen) = <[u8; 16]>::try_from(bytes) {
        format!("/{}", Ipv6Addr::from(sixteen))
    } else {
        String::new()
    }
}
