//! API: DescribeAcls (29)
//! Versions: 1-3
//! Behaviour: there is no authorizer, so the answer is `SECURITY_DISABLED`, as that of a Kafka broker without
//! `authorizer.class.name`. MirrorMaker 2 asks, and takes that answer.
//! Deviations: none known.
//! KIPs: 140, 290

use std::sync::Arc;

use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::{DescribeAclsRequest, DescribeAclsResponse};

use super::{HandlerError, RequestContext};
use crate::BrokerState;

/// Says that there is no authorizer.
///
/// # Errors
/// None.
pub async fn handle(
    _broker: &Arc<BrokerState>,
    _context: &RequestContext,
    _request: DescribeAclsRequest,
    _version: i16,
) -> Result<DescribeAclsResponse, HandlerError> {
    Ok(DescribeAclsResponse {
        error_code: ErrorCode::SecurityDisabled.code(),
        error_message: Some("No Authorizer is configured on the broker".to_owned()),
        ..Default::default()
    })
}
