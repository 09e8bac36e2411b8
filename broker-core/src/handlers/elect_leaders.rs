//! API: ElectLeaders (43)
//! Versions: 0-2
//! Behaviour: gives partitions to their preferred leaders, or a leader to those that have none, be it one that may lack
//! what was committed. Asked for all partitions, the answer names all topics, and leaves out the partitions that needed no
//! election, as in Kafka.
//! Deviations: none known.
//! KIPs: 183, 460

use std::sync::Arc;

use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::elect_leaders_response::{PartitionResult, ReplicaElectionResult};
use rkafka_protocol::messages::{ElectLeadersRequest, ElectLeadersResponse};

use super::{HandlerError, RequestContext};
use crate::BrokerState;
use crate::controller::{AskedElection, View, elect_leaders};

const PREFERRED: i8 = 0;
const UNCLEAN: i8 = 1;

/// Elects leaders.
///
/// # Errors
/// None.
pub async fn handle(
    broker: &Arc<BrokerState>,
    _context: &RequestContext,
    request: ElectLeadersRequest,
    version: i16,
) -> Result<ElectLeadersResponse, HandlerError> {
    let asked = match request.election_type {
        // Version 0 knows no other.
        _ if version == 0 => AskedElection::Preferred,
        PREFERRED => AskedElection::Preferred,
        UNCLEAN => AskedElection::Unclean,
        other => return Ok(unknown_election(request, other)),
    };
    let partitions = request.topic_partitions.as_deref();
    let elected = broker.submit(|image| elect_leaders(&View::new(image, &broker.config), asked, partitions)).await;
    Ok(match elected {
        Ok(replica_election_results) => ElectLeadersResponse { replica_election_results, ..Default::default() },
        Err(error) => {
            tracing::error!(%error, "no leaders can be elected");
            ElectLeadersResponse { error_code: error.code().code(), ..Default::default() }
        }
    })
}

fn unknown_election(request: ElectLeadersRequest, election_type: i8) -> ElectLeadersResponse {
    let error_code = ErrorCode::InvalidRequest.code();
    let result = |partition_id| PartitionResult {
        partition_id,
        error_code,
        error_message: Some(format!("Unknown election type {election_type}")),
        ..Default::default()
    };
    let topics = request.topic_partitions.unwrap_or_default().into_iter().map(|topic| ReplicaElectionResult {
        topic: topic.topic,
        partition_result: topic.partitions.into_iter().map(result).collect(),
        ..Default::default()
    });
    ElectLeadersResponse { error_code, replica_election_results: topics.collect(), ..Default::default() }
}
