//! API: DeleteAcls (31)
//! Versions: 1-3
//! Behaviour: there is no authorizer, so the answer is `SECURITY_DISABLED`, as that of a Kafka broker without
//! `authorizer.class.name`. MirrorMaker 2 asks, and takes that answer.
//! Deviations: none known.
//! KIPs: 140, 290

use std::sync::Arc;

use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::delete_acls_response::DeleteAclsFilterResult;
use rkafka_protocol::messages::{DeleteAclsRequest, DeleteAclsResponse};

use super::{HandlerError, RequestContext};
use crate::BrokerState;

/// Says that there is no authorizer.
///
/// # Errors
/// None.
pub async fn handle(
    _broker: &Arc<BrokerState>,
    _context: &RequestContext,
    request: DeleteAclsRequest,
    _version: i16,
) -> Result<DeleteAclsResponse, HandlerError> {
    let filter_results = request.filters.iter().map(|_| DeleteAclsFilterResult {
        error_code: ErrorCode::SecurityDisabled.code(),
        error_message: Some("No Authorizer is configured.".to_owned()),
        ..Default::default()
    });
    Ok(DeleteAclsResponse { filter_results: filter_results.collect(), ..Default::default() })
}
