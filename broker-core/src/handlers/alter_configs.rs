//! API: AlterConfigs (33)
//! Versions: 0-2
//! Behaviour: gives topics and brokers exactly the settings that are named; those that they have besides go back to their
//! defaults. Older than IncrementalAlterConfigs, and what many clients still use.
//! Deviations: those of IncrementalAlterConfigs.
//! KIPs: 133, 226

use std::sync::Arc;

use rkafka_protocol::messages::alter_configs_request::AlterConfigsResource;
use rkafka_protocol::messages::alter_configs_response::AlterConfigsResourceResponse;
use rkafka_protocol::messages::incremental_alter_configs_request as incremental;
use rkafka_protocol::messages::{AlterConfigsRequest, AlterConfigsResponse};

use super::incremental_alter_configs::change;
use super::{HandlerError, RequestContext};
use crate::BrokerState;
use crate::controller::{ConfigResource, MetadataImage};

const SET: i8 = 0;
const DELETE: i8 = 1;

/// Replaces settings.
///
/// # Errors
/// None.
pub async fn handle(
    broker: &Arc<BrokerState>,
    _context: &RequestContext,
    request: AlterConfigsRequest,
    _version: i16,
) -> Result<AlterConfigsResponse, HandlerError> {
    let resources = request.resources;
    let named = resources.iter().map(|resource| (resource.resource_type, resource.resource_name.clone())).collect();
    let replies = change(broker, named, request.validate_only, |image| {
        resources.iter().map(|resource| as_changes(image, resource)).collect()
    })
    .await;
    let responses = resources.into_iter().zip(replies).map(|(resource, reply)| AlterConfigsResourceResponse {
        error_code: reply.as_ref().map_or_else(|refusal| refusal.error.code(), |()| 0),
        error_message: reply.err().map(|refusal| refusal.message),
        resource_type: resource.resource_type,
        resource_name: resource.resource_name,
        ..Default::default()
    });
    Ok(AlterConfigsResponse { responses: responses.collect(), ..Default::default() })
}

/// The changes that leave a resource with the settings that are named, and no other.
fn as_changes(image: &MetadataImage, resource: &AlterConfigsResource) -> incremental::AlterConfigsResource {
    let change = |name: &str, config_operation, value| incremental::AlterableConfig {
        name: name.to_owned(),
        config_operation,
        value,
        ..Default::default()
    };
    let set = resource.configs.iter().map(|config| change(&config.name, SET, config.value.clone()));
    let is_named = |name: &str| resource.configs.iter().any(|config| config.name == name);
    let present = image.configs(ConfigResource::from_number(resource.resource_type), &resource.resource_name);
    let unset = present.into_iter().flat_map(|values| values.keys()).filter(|name| !is_named(name));
    incremental::AlterConfigsResource {
        resource_type: resource.resource_type,
        resource_name: resource.resource_name.clone(),
        configs: set.chain(unset.map(|name| change(name, DELETE, None))).collect(),
        ..Default::default()
    }
}
