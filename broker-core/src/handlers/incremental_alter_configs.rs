//! API: IncrementalAlterConfigs (44)
//! Versions: 0-1
//! Behaviour: sets and removes the settings of topics, brokers (one, or all under the empty name), groups and
//! subscriptions to the metrics of clients; they are in the metadata log, synced, and in force before the answer goes.
//! Deviations: of the brokers' settings those of logs can be changed, and others that Kafka changes cannot; unknown
//! ones, which Kafka keeps, are refused. Any broker takes what is for another. Brokers' loggers cannot be set.
//! KIPs: 226, 339, 714, 848

use std::sync::Arc;

use rkafka_protocol::messages::incremental_alter_configs_request::AlterConfigsResource;
use rkafka_protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse;
use rkafka_protocol::messages::{IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse};

use super::{HandlerError, RequestContext};
use crate::BrokerState;
use crate::controller::{Decision, MetadataImage, Refusal, alter_configs};

/// Changes settings.
///
/// # Errors
/// None.
pub async fn handle(
    broker: &Arc<BrokerState>,
    _context: &RequestContext,
    request: IncrementalAlterConfigsRequest,
    _version: i16,
) -> Result<IncrementalAlterConfigsResponse, HandlerError> {
    let resources = request.resources;
    let named = resources.iter().map(|resource| (resource.resource_type, resource.resource_name.clone())).collect();
    let replies = change(broker, named, request.validate_only, |_| resources.clone()).await;
    let responses = resources.into_iter().zip(replies).map(|(resource, reply)| AlterConfigsResourceResponse {
        error_code: reply.as_ref().map_or_else(|refusal| refusal.error.code(), |()| 0),
        error_message: reply.err().map(|refusal| refusal.message),
        resource_type: resource.resource_type,
        resource_name: resource.resource_name,
        ..Default::default()
    });
    Ok(IncrementalAlterConfigsResponse { responses: responses.collect(), ..Default::default() })
}

/// Makes the changes that `changes` asks for in view of the present image. `named` are the type
/// and the name of each resource, in the order of the changes and of the answers.
pub(super) async fn change(
    broker: &BrokerState,
    named: Vec<(i8, String)>,
    validate_only: bool,
    changes: impl FnOnce(&MetadataImage) -> Vec<AlterConfigsResource>,
) -> Vec<Result<(), Refusal>> {
    let replies = broker.submit(|image| {
        let decision = alter_configs(image, &broker.config, &changes(image));
        if validate_only { Decision { records: Vec::new(), ..decision } } else { decision }
    });
    replies.await.unwrap_or_else(|error| {
        tracing::error!(%error, "settings cannot be changed");
        let refusal = Refusal { error: error.code(), message: error.to_string() };
        vec![Err(refusal); named.len()]
    })
}
