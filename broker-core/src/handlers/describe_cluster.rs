//! API: DescribeCluster (60)
//! Versions: 0-2
//! Behaviour: the brokers with the endpoints of the listener that was asked; on a listener for controllers, the controllers.
//! Endpoints of the other kind are not told of.
//! Everybody may do everything, and is told so.
//! Deviations: none known.
//! KIPs: 700, 919, 1073

use std::sync::Arc;

use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::describe_cluster_response::DescribeClusterBroker;
use rkafka_protocol::messages::{DescribeClusterRequest, DescribeClusterResponse};

use super::{HandlerError, RequestContext};
use crate::{BrokerState, MetadataImage};

/// The kinds of endpoints that can be asked for.
const BROKERS: i8 = 1;
const CONTROLLERS: i8 = 2;
/// What there is to be allowed on a cluster, as bits by Kafka's numbers: CREATE, ALTER, DESCRIBE, CLUSTER_ACTION,
/// DESCRIBE_CONFIGS, ALTER_CONFIGS, IDEMPOTENT_WRITE.
pub(super) const CLUSTER_OPERATIONS: i32 = 1 << 5 | 1 << 7 | 1 << 8 | 1 << 9 | 1 << 10 | 1 << 11 | 1 << 12;

/// Answers who the brokers are, or the controllers.
///
/// # Errors
/// None.
pub async fn handle(
    broker: &Arc<BrokerState>,
    context: &RequestContext,
    request: DescribeClusterRequest,
    version: i16,
) -> Result<DescribeClusterResponse, HandlerError> {
    if let Some((error, message)) = mismatch(context, &request, version) {
        let error_message = Some(message);
        return Ok(DescribeClusterResponse { error_code: error.code(), error_message, ..Default::default() });
    }
    let image = broker.image();
    let told = if request.include_cluster_authorized_operations { CLUSTER_OPERATIONS } else { i32::MIN };
    let (endpoint_type, controller_id, nodes) = if context.is_for_controllers {
        (CONTROLLERS, broker.controller.leader_id().unwrap_or(-1), controllers(context, &image))
    } else {
        let brokers = super::metadata::brokers(broker, context, &image);
        let brokers = brokers.map(|(broker_id, host, port, rack)| DescribeClusterBroker {
            broker_id,
            host,
            port,
            rack,
            ..Default::default()
        });
        (BROKERS, broker.any_active_broker(&image), brokers.collect())
    };
    Ok(DescribeClusterResponse {
        cluster_authorized_operations: told,
        cluster_id: broker.cluster_id().to_owned(),
        endpoint_type,
        controller_id,
        brokers: nodes,
        ..Default::default()
    })
}

/// Why the kind of endpoints that is asked for is not told of here, in Kafka's words.
fn mismatch(context: &RequestContext, request: &DescribeClusterRequest, version: i16) -> Option<(ErrorCode, String)> {
    let asked = if version == 0 { BROKERS } else { request.endpoint_type };
    let name = |kind: i8| match kind {
        BROKERS => Some("BROKER"),
        CONTROLLERS => Some("CONTROLLER"),
        _ => None,
    };
    let here = if context.is_for_controllers { CONTROLLERS } else { BROKERS };
    let error = |error| if version == 0 { ErrorCode::InvalidRequest } else { error };
    match name(asked) {
        None => Some((error(ErrorCode::UnsupportedEndpointType), format!("Unsupported endpoint type {asked}"))),
        Some(_) if asked == here => None,
        Some(wanted) => {
            let here = name(here).unwrap_or_default();
            let message = format!(
                "The request was sent to an endpoint of type {here}, but we wanted an endpoint of type {wanted}"
            );
            Some((error(ErrorCode::MismatchedEndpointType), message))
        }
    }
}

/// The controllers that registered, with the endpoints of the listener that was asked.
fn controllers(context: &RequestContext, image: &MetadataImage) -> Vec<DescribeClusterBroker> {
    let registered = image.controllers().iter().filter_map(|(id, controller)| {
        let endpoint = controller.endpoints.iter().find(|endpoint| *endpoint.name == *context.listener)?;
        Some(DescribeClusterBroker {
            broker_id: *id,
            host: endpoint.host.clone(),
            port: i32::from(endpoint.port),
            ..Default::default()
        })
    });
    registered.collect()
}
