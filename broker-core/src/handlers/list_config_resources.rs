//! API: ListConfigResources (74)
//! Versions: 0-1
//! Behaviour: the resources that can have settings: topics and brokers all of them, client metrics and groups those that
//! have some. Version 0 asks for client metrics only.
//! Deviations: brokers' loggers are not among them, for they cannot be set here.
//! KIPs: 1000, 1142

use std::collections::BTreeSet;
use std::sync::Arc;

use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::list_config_resources_response::ConfigResource as Listed;
use rkafka_protocol::messages::{ListConfigResourcesRequest, ListConfigResourcesResponse};

use super::{HandlerError, RequestContext};
use crate::controller::ConfigResource;
use crate::{BrokerState, MetadataImage};

const ALL: [ConfigResource; 4] =
    [ConfigResource::Topic, ConfigResource::Broker, ConfigResource::ClientMetrics, ConfigResource::Group];
/// Kafka's number of a broker's loggers.
const BROKER_LOGGER: i8 = 8;

/// Lists what can have settings.
///
/// # Errors
/// None.
pub async fn handle(
    broker: &Arc<BrokerState>,
    _context: &RequestContext,
    request: ListConfigResourcesRequest,
    version: i16,
) -> Result<ListConfigResourcesResponse, HandlerError> {
    let asked: BTreeSet<ConfigResource> = match &request.resource_types[..] {
        _ if version == 0 => BTreeSet::from([ConfigResource::ClientMetrics]),
        [] => BTreeSet::from(ALL),
        types => types
            .iter()
            .filter(|number| **number != BROKER_LOGGER)
            .map(|number| ConfigResource::from_number(*number))
            .collect(),
    };
    if asked.iter().any(|resource| !ALL.contains(resource)) {
        return Ok(ListConfigResourcesResponse {
            error_code: ErrorCode::UnsupportedVersion.code(),
            ..Default::default()
        });
    }
    let image = broker.image();
    let config_resources = asked.into_iter().flat_map(|resource| {
        names(&image, resource).into_iter().map(move |resource_name| Listed {
            resource_name,
            resource_type: resource.number(),
            ..Default::default()
        })
    });
    Ok(ListConfigResourcesResponse { config_resources: config_resources.collect(), ..Default::default() })
}

fn names(image: &MetadataImage, resource: ConfigResource) -> Vec<String> {
    match resource {
        ConfigResource::Topic => image.topics().map(|topic| topic.name.to_string()).collect(),
        ConfigResource::Broker => image.brokers().keys().map(i32::to_string).collect(),
        other => image.configured(other).map(str::to_owned).collect(),
    }
}
