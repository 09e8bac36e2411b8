//! API: DeleteTopics (20)
//! Versions: 1-6
//! Behaviour: the topics are gone from the metadata log, synced, and their logs from the disk, before the answer goes.
//! Fetches that wait for them are woken.
//! Deviations: Kafka removes the logs a minute later. `timeout.ms` is not needed, for the answer is never late.
//! KIPs: 4, 516, 599

use std::sync::Arc;

use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::delete_topics_request::DeleteTopicState;
use rkafka_protocol::messages::delete_topics_response::DeletableTopicResult;
use rkafka_protocol::messages::{DeleteTopicsRequest, DeleteTopicsResponse};

use super::{HandlerError, RequestContext};
use crate::BrokerState;

/// The first version that may name topics by id.
const FIRST_WITH_TOPIC_ID: i16 = 6;

/// Deletes topics.
///
/// # Errors
/// None.
pub async fn handle(
    broker: &Arc<BrokerState>,
    _context: &RequestContext,
    request: DeleteTopicsRequest,
    version: i16,
) -> Result<DeleteTopicsResponse, HandlerError> {
    let asked = if version >= FIRST_WITH_TOPIC_ID {
        request.topics
    } else {
        let named = |name| DeleteTopicState { name: Some(name), ..Default::default() };
        request.topic_names.into_iter().map(named).collect()
    };
    if !broker.config.delete_topic_enable {
        // Kafka answers so, and not by an error message of its own.
        let error = if version < 3 { ErrorCode::InvalidRequest } else { ErrorCode::TopicDeletionDisabled };
        let refused = |topic: DeleteTopicState| DeletableTopicResult {
            name: topic.name,
            topic_id: topic.topic_id,
            error_code: error.code(),
            ..Default::default()
        };
        return Ok(DeleteTopicsResponse { responses: asked.into_iter().map(refused).collect(), ..Default::default() });
    }
    let responses = match broker.delete_topics(&asked).await {
        Ok(deleted) => deleted
            .into_iter()
            .map(|topic| DeletableTopicResult {
                name: topic.name,
                topic_id: topic.id,
                error_code: topic.result.as_ref().map_or_else(|refusal| refusal.error.code(), |()| 0),
                error_message: topic.result.err().map(|refusal| refusal.message),
                ..Default::default()
            })
            .collect(),
        Err(error) => {
            tracing::error!(%error, "topics cannot be deleted");
            let refused = |topic: DeleteTopicState| DeletableTopicResult {
                name: topic.name,
                topic_id: topic.topic_id,
                error_code: error.code().code(),
                error_message: Some(error.to_string()),
                ..Default::default()
            };
            asked.into_iter().map(refused).collect()
        }
    };
    Ok(DeleteTopicsResponse { responses, ..Default::default() })
}
