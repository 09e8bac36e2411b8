//! API: CreatePartitions (37)
//! Versions: 0-3
//! Behaviour: adds partitions to topics, with as many replicas as the first one has; they are in the metadata log, synced,
//! before the answer goes.
//! Deviations: `timeout.ms` is not needed, for the answer is never late.
//! KIPs: 195, 599

use std::sync::Arc;

use rkafka_protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use rkafka_protocol::messages::{CreatePartitionsRequest, CreatePartitionsResponse};

use super::{HandlerError, RequestContext};
use crate::BrokerState;
use crate::controller::{Decision, View, create_partitions};

/// Adds partitions.
///
/// # Errors
/// None.
pub async fn handle(
    broker: &Arc<BrokerState>,
    _context: &RequestContext,
    request: CreatePartitionsRequest,
    _version: i16,
) -> Result<CreatePartitionsResponse, HandlerError> {
    let replies = broker.submit(|image| {
        let decision = create_partitions(&View::new(image, &broker.config), &request.topics);
        if request.validate_only { Decision { records: Vec::new(), ..decision } } else { decision }
    });
    let results = match replies.await {
        Ok(replies) => request
            .topics
            .into_iter()
            .zip(replies)
            .map(|(topic, reply)| CreatePartitionsTopicResult {
                name: topic.name,
                error_code: reply.as_ref().map_or_else(|refusal| refusal.error.code(), |()| 0),
                error_message: reply.err().map(|refusal| refusal.message),
                ..Default::default()
            })
            .collect(),
        Err(error) => {
            tracing::error!(%error, "partitions cannot be created");
            let topics = request.topics.into_iter();
            topics
                .map(|topic| CreatePartitionsTopicResult {
                    name: topic.name,
                    error_code: error.code().code(),
                    error_message: Some(error.to_string()),
                    ..Default::default()
                })
                .collect()
        }
    };
    Ok(CreatePartitionsResponse { results, ..Default::default() })
}
