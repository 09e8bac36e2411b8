//! API: FindCoordinator (10)
//! Versions: 0-6
//! Behaviour: this broker coordinates every group and every transactional id, at the address of the listener that was
//! asked; the first question makes `__consumer_offsets` or `__transaction_state`.
//! Deviations: there is no share coordinator yet; its keys are answered by `INVALID_REQUEST`, with a message that says so.
//! KIPs: 98, 699, 932

use std::sync::Arc;

use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::find_coordinator_response::Coordinator;
use rkafka_protocol::messages::{FindCoordinatorRequest, FindCoordinatorResponse};

use super::{HandlerError, RequestContext};
use crate::BrokerState;

/// The first version that asks for several keys.
const FIRST_VERSION_WITH_KEYS: i16 = 4;
const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;
const SHARE: i8 = 2;

/// Answers who coordinates a group.
///
/// # Errors
/// None; errors of keys are in the answer.
pub async fn handle(
    broker: &Arc<BrokerState>,
    context: &RequestContext,
    request: FindCoordinatorRequest,
    version: i16,
) -> Result<FindCoordinatorResponse, HandlerError> {
    let keys = if version >= FIRST_VERSION_WITH_KEYS { request.coordinator_keys } else { vec![request.key] };
    let readiness = readiness(broker, request.key_type);
    let (host, port) = broker.endpoint(&context.listener);
    let one = |key: String| match &readiness {
        Ok(()) => Coordinator {
            key,
            node_id: broker.config.node_id,
            host: host.to_owned(),
            port: i32::from(port),
            ..Default::default()
        },
        Err((error, message)) => Coordinator {
            key,
            node_id: -1,
            port: -1,
            error_code: error.code(),
            error_message: Some(message.clone()),
            ..Default::default()
        },
    };
    let mut coordinators: Vec<Coordinator> = keys.into_iter().map(one).collect();
    if version >= FIRST_VERSION_WITH_KEYS {
        return Ok(FindCoordinatorResponse { coordinators, ..Default::default() });
    }
    let only = coordinators.pop().unwrap_or_default();
    Ok(FindCoordinatorResponse {
        error_code: only.error_code,
        error_message: only.error_message,
        node_id: only.node_id,
        host: only.host,
        port: only.port,
        ..Default::default()
    })
}

fn readiness(broker: &BrokerState, key_type: i8) -> Result<(), (ErrorCode, String)> {
    let not_here = |what: &str| {
        (
            ErrorCode::InvalidRequest,
            format!("this broker has no {what} coordinator; it coordinates groups and transactions"),
        )
    };
    match key_type {
        GROUP => broker.groups.ensure_ready(broker).map(|_| ()).map_err(|error| {
            (error, "the topic __consumer_offsets could not be made; the broker's log says why".to_owned())
        }),
        TRANSACTION => broker.transactions.ensure_ready(broker).map(|_| ()).map_err(|error| {
            (error, "the topic __transaction_state could not be made; the broker's log says why".to_owned())
        }),
        SHARE => Err(not_here("share group")),
        other => Err((ErrorCode::InvalidRequest, format!("there is no type of coordinator with the number {other}"))),
    }
}
