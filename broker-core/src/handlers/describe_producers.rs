//! API: DescribeProducers (61)
//! Versions: 0
//! Behaviour: the idempotent and transactional producers that a partition remembers, with the first offset of the open
//! transaction of each, and the coordinator epoch of its last marker.
//! Deviations: none known.
//! KIPs: 664

use std::sync::Arc;

use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::describe_producers_response::{PartitionResponse, ProducerState, TopicResponse};
use rkafka_protocol::messages::{DescribeProducersRequest, DescribeProducersResponse};

use super::{HandlerError, RequestContext};
use crate::BrokerState;

/// Describes producers.
///
/// # Errors
/// None.
pub async fn handle(
    broker: &Arc<BrokerState>,
    _context: &RequestContext,
    request: DescribeProducersRequest,
    _version: i16,
) -> Result<DescribeProducersResponse, HandlerError> {
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partition_indexes.iter().map(|index| {
            let described = describe(broker, &topic.name, *index);
            PartitionResponse {
                partition_index: *index,
                error_code: described.as_ref().err().copied().unwrap_or(ErrorCode::None).code(),
                active_producers: described.unwrap_or_default(),
                ..Default::default()
            }
        });
        let partitions = partitions.collect();
        TopicResponse { name: topic.name, partitions, ..Default::default() }
    });
    Ok(DescribeProducersResponse { topics: topics.collect(), ..Default::default() })
}

fn describe(broker: &BrokerState, topic: &str, index: i32) -> Result<Vec<ProducerState>, ErrorCode> {
    let partition = broker.partition(topic, index)?;
    partition.check_leader()?;
    partition.with_log(broker.clock.now_ms(), |log| {
        log.producers()
            .iter()
            .map(|(producer_id, producer)| ProducerState {
                producer_id,
                producer_epoch: i32::from(producer.epoch),
                last_sequence: producer.last_sequence(),
                last_timestamp: producer.last_timestamp_ms,
                coordinator_epoch: producer.coordinator_epoch,
                current_txn_start_offset: producer.current_txn_first_offset.unwrap_or(-1),
                ..Default::default()
            })
            .collect()
    })
}
