//! API: DescribeQuorum (55)
//! Versions: 0-2
//! Behaviour: the quorum of `__cluster_metadata` as its leader sees it: voters, observers, how far each has come and when
//! it was last heard of. `kafka-metadata-quorum describe --status` and `--replication` use it.
//! Deviations: none known.
//! KIPs: 595, 836, 853

use std::sync::Arc;

use rkafka_protocol::messages::{DescribeQuorumRequest, DescribeQuorumResponse};

use super::{HandlerError, RequestContext};
use crate::BrokerState;

/// Describes the quorum.
///
/// # Errors
/// The node stops.
pub async fn handle(
    broker: &Arc<BrokerState>,
    _context: &RequestContext,
    request: DescribeQuorumRequest,
    version: i16,
) -> Result<DescribeQuorumResponse, HandlerError> {
    let described = broker.controller.describe_quorum(&request, version);
    described.ok_or_else(|| HandlerError::Close("the broker is stopping".to_owned()))
}
