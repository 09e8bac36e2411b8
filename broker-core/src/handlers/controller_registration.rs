//! API: ControllerRegistration (70)
//! Versions: 0
//! Behaviour: a controller says where it is and which features it knows; that is in the metadata log before the answer goes.
//! Only on listeners for controllers.
//! KIPs: 919

use std::sync::Arc;

use rkafka_protocol::messages::{ControllerRegistrationRequest, ControllerRegistrationResponse};

use super::{HandlerError, RequestContext};
use crate::BrokerState;
use crate::controller::register_controller;

/// Decides as the active controller.
///
/// # Errors
/// None.
pub async fn handle(
    broker: &Arc<BrokerState>,
    _context: &RequestContext,
    request: ControllerRegistrationRequest,
    _version: i16,
) -> Result<ControllerRegistrationResponse, HandlerError> {
    Ok(match broker.controller.submit(|_| register_controller(&request)).await {
        Ok(committed) => committed.reply,
        Err(error) => ControllerRegistrationResponse {
            error_code: error.code().code(),
            error_message: Some(error.to_string()),
            ..Default::default()
        },
    })
}
