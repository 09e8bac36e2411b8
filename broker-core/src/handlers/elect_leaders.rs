//! API: ElectLeaders (43)
//! Versions: 0-2
//! Behaviour: a broker that is alone leads every partition, and is the preferred leader of each: no election is needed.
//! Asked for all partitions, the answer names none, as in Kafka.
//! Deviations: none known.
//! KIPs: 183, 460

use std::sync::Arc;

use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::elect_leaders_response::{PartitionResult, ReplicaElectionResult};
use rkafka_protocol::messages::{ElectLeadersRequest, ElectLeadersResponse};

use super::{HandlerError, RequestContext};
use crate::{BrokerState, MetadataImage};

const PREFERRED: i8 = 0;
const UNCLEAN: i8 = 1;

/// Answers which elections were needed.
///
/// # Errors
/// None.
pub async fn handle(
    broker: &Arc<BrokerState>,
    _context: &RequestContext,
    request: ElectLeadersRequest,
    version: i16,
) -> Result<ElectLeadersResponse, HandlerError> {
    if version >= 1 && !matches!(request.election_type, PREFERRED | UNCLEAN) {
        return Ok(ElectLeadersResponse { error_code: ErrorCode::InvalidRequest.code(), ..Default::default() });
    }
    let image = broker.image();
    let results = request.topic_partitions.unwrap_or_default().into_iter().map(|asked| ReplicaElectionResult {
        partition_result: asked
            .partitions
            .iter()
            .map(|partition_id| {
                let (error, message) = outcome(&image, &asked.topic, *partition_id);
                PartitionResult {
                    partition_id: *partition_id,
                    error_code: error.code(),
                    error_message: Some(message),
                    ..Default::default()
                }
            })
            .collect(),
        topic: asked.topic,
        ..Default::default()
    });
    Ok(ElectLeadersResponse { replica_election_results: results.collect(), ..Default::default() })
}

fn outcome(image: &MetadataImage, topic: &str, partition: i32) -> (ErrorCode, String) {
    let Some(found) = image.topic(topic) else {
        return (ErrorCode::UnknownTopicOrPartition, format!("No such topic as {topic}"));
    };
    match found.partition(partition) {
        None => (ErrorCode::UnknownTopicOrPartition, format!("No such partition as {topic}-{partition}")),
        Some(_) => (ErrorCode::ElectionNotNeeded, ErrorCode::ElectionNotNeeded.message().to_owned()),
    }
}
