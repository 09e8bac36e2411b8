//! API: AssignReplicasToDirs (73)
//! Versions: 0-0
//! Behaviour: a broker tells in which of its directories its replicas are, where that is another one than the controller
//! knows. A replica in a lost directory is in sync no more. One that nobody led, for its directory was gone, is not led by
//! this alone: what is in the other directory may be less. Only on listeners for controllers.
//! Deviations: none known.
//! KIPs: 858

use std::sync::Arc;

use rkafka_protocol::messages::{AssignReplicasToDirsRequest, AssignReplicasToDirsResponse};

use super::{HandlerError, RequestContext};
use crate::BrokerState;
use crate::controller::assign_directories;

/// Decides as the active controller.
///
/// # Errors
/// None.
pub async fn handle(
    broker: &Arc<BrokerState>,
    _context: &RequestContext,
    request: AssignReplicasToDirsRequest,
    _version: i16,
) -> Result<AssignReplicasToDirsResponse, HandlerError> {
    let decided = broker.controller.submit_to(|_, view, _| assign_directories(view, &request)).await;
    Ok(match decided {
        Ok(committed) => committed.reply,
        Err(error) => AssignReplicasToDirsResponse { error_code: error.code().code(), ..Default::default() },
    })
}
