//! API: DescribeCluster (60)
//! Versions: 0-2
//! Behaviour: the brokers with the endpoints of the listener that was asked.
//! Everybody may do everything, and is told so.
//! Deviations: none known.
//! KIPs: 700, 919, 1073

use std::sync::Arc;

use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::describe_cluster_response::DescribeClusterBroker;
use rkafka_protocol::messages::{DescribeClusterRequest, DescribeClusterResponse};

use super::{HandlerError, RequestContext};
use crate::BrokerState;

/// Endpoints of brokers, and not of controllers.
const BROKERS: i8 = 1;
/// What there is to be allowed on a cluster, as bits by Kafka's numbers: CREATE, ALTER, DESCRIBE, CLUSTER_ACTION,
/// DESCRIBE_CONFIGS, ALTER_CONFIGS, IDEMPOTENT_WRITE.
pub(super) const CLUSTER_OPERATIONS: i32 = 1 << 5 | 1 << 7 | 1 << 8 | 1 << 9 | 1 << 10 | 1 << 11 | 1 << 12;

/// Answers who the brokers are.
///
/// # Errors
/// None.
pub async fn handle(
    broker: &Arc<BrokerState>,
    context: &RequestContext,
    request: DescribeClusterRequest,
    version: i16,
) -> Result<DescribeClusterResponse, HandlerError> {
    if version >= 1 && request.endpoint_type != BROKERS {
        let error = if request.endpoint_type == 2 {
            ErrorCode::MismatchedEndpointType
        } else {
            ErrorCode::UnsupportedEndpointType
        };
        return Ok(DescribeClusterResponse {
            error_code: error.code(),
            error_message: Some("The request was sent to an endpoint of type BROKER.".to_owned()),
            ..Default::default()
        });
    }
    let image = broker.image();
    let brokers = super::metadata::brokers(broker, context, &image);
    let told = if request.include_cluster_authorized_operations { CLUSTER_OPERATIONS } else { i32::MIN };
    Ok(DescribeClusterResponse {
        cluster_authorized_operations: told,
        cluster_id: broker.cluster_id().to_owned(),
        controller_id: broker.any_active_broker(&image),
        brokers: brokers
            .map(|(broker_id, host, port, rack)| DescribeClusterBroker {
                broker_id,
                host,
                port,
                rack,
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    })
}
