//! API: DeleteRecords (21)
//! Versions: 0-2
//! Behaviour: the log of each partition begins at the offset asked for from now on (-1: at its end), which is in the
//! checkpoint before the answer goes; segments that lie wholly before it are removed.
//! Deviations: `timeout.ms` is not needed, for the answer is never late.
//! KIPs: 107

use std::sync::Arc;

use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::delete_records_response::{DeleteRecordsPartitionResult, DeleteRecordsTopicResult};
use rkafka_protocol::messages::{DeleteRecordsRequest, DeleteRecordsResponse};

use super::{HandlerError, RequestContext};
use crate::BrokerState;

/// Stands for the high watermark.
const HIGH_WATERMARK: i64 = -1;

/// Deletes the oldest records of partitions.
///
/// # Errors
/// None.
pub async fn handle(
    broker: &Arc<BrokerState>,
    _context: &RequestContext,
    request: DeleteRecordsRequest,
    _version: i16,
) -> Result<DeleteRecordsResponse, HandlerError> {
    let mut topics: Vec<DeleteRecordsTopicResult> = request
        .topics
        .into_iter()
        .map(|topic| {
            let partitions = topic.partitions.iter().map(|partition| {
                let deleted = delete(broker, &topic.name, partition.partition_index, partition.offset);
                DeleteRecordsPartitionResult {
                    partition_index: partition.partition_index,
                    low_watermark: deleted.unwrap_or(-1),
                    error_code: deleted.err().unwrap_or(ErrorCode::None).code(),
                    ..Default::default()
                }
            });
            let partitions = partitions.collect();
            DeleteRecordsTopicResult { name: topic.name, partitions, ..Default::default() }
        })
        .collect();
    if let Err(error) = broker.write_checkpoints() {
        tracing::error!(%error, "the starts of the logs cannot be written down");
        let all = topics.iter_mut().flat_map(|topic| &mut topic.partitions);
        all.filter(|partition| partition.error_code == 0).for_each(|partition| {
            partition.error_code = ErrorCode::KafkaStorageError.code();
            partition.low_watermark = -1;
        });
    }
    Ok(DeleteRecordsResponse { topics, ..Default::default() })
}

fn delete(broker: &BrokerState, topic: &str, index: i32, offset: i64) -> Result<i64, ErrorCode> {
    if crate::controller::is_internal(topic) {
        // Kafka's internal topics are compacted, and records may be deleted of others only.
        return Err(ErrorCode::PolicyViolation);
    }
    let partition = broker.partition(topic, index)?;
    partition.with_log_mut(broker.clock.now_ms(), |log| {
        let policy = log.config().cleanup_policy;
        if policy.compact && !policy.delete {
            // Kafka's rule: of such a topic the last value of each key is never lost.
            return Err(ErrorCode::PolicyViolation);
        }
        let before = if offset == HIGH_WATERMARK { log.high_watermark() } else { offset };
        log.delete_records(before).map_err(|error| {
            tracing::debug!(topic, partition = index, offset, %error, "records were not deleted");
            ErrorCode::from_code(error.kafka_error_code())
        })
    })?
}
