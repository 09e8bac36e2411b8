//! API: CreateTopics (19)
//! Versions: 2-7
//! Behaviour: topics with their partitions and settings are in the metadata log, synced, before the answer goes. Names,
//! counts, manual assignments and settings are checked as Kafka does, with its words.
//! Deviations: only settings that this broker acts on can be given; others (tiered storage) are
//! refused as unknown. Names that would collide are also looked for among the topics of the request. `timeout.ms` is not
//! needed, for the answer is never late.
//! KIPs: 4, 195, 516, 525, 599

use std::sync::Arc;

use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::create_topics_response::{CreatableTopicConfigs, CreatableTopicResult};
use rkafka_protocol::messages::{CreateTopicsRequest, CreateTopicsResponse};

use super::describe_configs::Described;
use super::{HandlerError, RequestContext};
use crate::BrokerState;

/// Creates topics.
///
/// # Errors
/// None.
pub async fn handle(
    broker: &Arc<BrokerState>,
    _context: &RequestContext,
    request: CreateTopicsRequest,
    _version: i16,
) -> Result<CreateTopicsResponse, HandlerError> {
    let topics = match broker.create_topics(&request.topics, request.validate_only).await {
        Ok(replies) => {
            let described = Described::new(broker);
            let results = request.topics.iter().zip(replies).map(|(asked, reply)| match reply {
                Ok(created) => CreatableTopicResult {
                    name: asked.name.clone(),
                    topic_id: if request.validate_only { uuid::Uuid::nil() } else { created.id },
                    // The schema's default is an empty message, which clients take for a failure; Kafka answers null.
                    error_message: None,
                    num_partitions: created.partitions,
                    replication_factor: created.replication_factor,
                    configs: Some(
                        described
                            .topic_settings(Some(&created.configs))
                            .map(|(setting, value, source)| CreatableTopicConfigs {
                                name: setting.name.to_owned(),
                                value: Some(value),
                                config_source: source,
                                ..Default::default()
                            })
                            .collect(),
                    ),
                    ..Default::default()
                },
                Err(refusal) => refused(&asked.name, refusal.error, refusal.message),
            });
            results.collect()
        }
        Err(error) => {
            tracing::error!(%error, "topics cannot be created");
            let (code, message) = (error.code(), error.to_string());
            let topics = request.topics.iter();
            topics.map(|asked| refused(&asked.name, code, message.clone())).collect()
        }
    };
    Ok(CreateTopicsResponse { topics, ..Default::default() })
}

fn refused(name: &str, error: ErrorCode, message: String) -> CreatableTopicResult {
    CreatableTopicResult {
        name: name.to_owned(),
        error_code: error.code(),
        error_message: Some(message),
        num_partitions: -1,
        replication_factor: -1,
        configs: Some(Vec::new()),
        ..Default::default()
    }
}
