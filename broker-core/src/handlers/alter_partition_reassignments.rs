//! API: AlterPartitionReassignments (45)
//! Versions: 0-1
//! Behaviour: the replicas of every partition are this one broker; a request to leave them there is answered at once,
//! one that names other brokers is refused as in Kafka, where they are not registered either.
//! Deviations: none known, with one broker.
//! KIPs: 455, 860

use std::sync::Arc;

use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::alter_partition_reassignments_request::ReassignablePartition;
use rkafka_protocol::messages::alter_partition_reassignments_response::{
    ReassignablePartitionResponse, ReassignableTopicResponse,
};
use rkafka_protocol::messages::{AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse};

use super::{HandlerError, RequestContext};
use crate::controller::{Refusal, check_replicas};
use crate::{BrokerState, MetadataImage};

/// Answers which replicas can move.
///
/// # Errors
/// None.
pub async fn handle(
    broker: &Arc<BrokerState>,
    _context: &RequestContext,
    request: AlterPartitionReassignmentsRequest,
    _version: i16,
) -> Result<AlterPartitionReassignmentsResponse, HandlerError> {
    let image = broker.image();
    let responses = request.topics.into_iter().map(|topic| ReassignableTopicResponse {
        partitions: topic
            .partitions
            .iter()
            .map(|asked| {
                let refused = reassign(&image, &topic.name, asked).err();
                ReassignablePartitionResponse {
                    partition_index: asked.partition_index,
                    error_code: refused.as_ref().map_or(0, |refusal| refusal.error.code()),
                    error_message: refused.map(|refusal| refusal.message),
                    ..Default::default()
                }
            })
            .collect(),
        name: topic.name,
        ..Default::default()
    });
    Ok(AlterPartitionReassignmentsResponse {
        allow_replication_factor_change: request.allow_replication_factor_change,
        responses: responses.collect(),
        ..Default::default()
    })
}

fn reassign(image: &MetadataImage, topic: &str, asked: &ReassignablePartition) -> Result<(), Refusal> {
    let refuse = |error, message| Err(Refusal { error, message });
    let index = asked.partition_index;
    let Some(found) = image.topic(topic) else {
        return refuse(ErrorCode::UnknownTopicOrPartition, format!("Unable to find a topic named {topic}."));
    };
    let Some(partition) = found.partition(index) else {
        return refuse(ErrorCode::UnknownTopicOrPartition, format!("Unable to find partition {topic}:{index}."));
    };
    let Some(replicas) = &asked.replicas else {
        let error = ErrorCode::NoReassignmentInProgress;
        return refuse(error, error.message().to_owned());
    };
    check_replicas(image, replicas)?;
    // With one broker there is one list of known and distinct replicas, so that this is a guard for the day when there
    // are more.
    if *replicas != partition.replicas {
        let message = format!("The replicas of {topic}:{index} cannot be moved from {:?}.", partition.replicas);
        return refuse(ErrorCode::InvalidReplicaAssignment, message);
    }
    Ok(())
}
