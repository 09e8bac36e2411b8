//! API: DeleteRecords (21)
//! Versions: 0-2
//! Behaviour: the log of each partition begins at the offset asked for from now on (-1: at its end), which is in the
//! checkpoint before the answer goes; segments that lie wholly before it are removed.
//! The followers' logs follow, and the answer waits until those of living brokers have, or `timeout.ms` is over.
//! Deviations: none known.
//! KIPs: 107

use std::sync::Arc;
use std::time::Duration;

use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::delete_records_response::{DeleteRecordsPartitionResult, DeleteRecordsTopicResult};
use rkafka_protocol::messages::{DeleteRecordsRequest, DeleteRecordsResponse};

use tokio::time::timeout_at;

use super::{HandlerError, RequestContext};
use crate::BrokerState;
use crate::replication::Partition;

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
    let mut awaited = Vec::new();
    let mut topics: Vec<DeleteRecordsTopicResult> = request
        .topics
        .into_iter()
        .enumerate()
        .map(|(topic_at, topic)| {
            let partitions = topic.partitions.iter().enumerate().map(|(partition_at, partition)| {
                let deleted = delete(broker, &topic.name, partition.partition_index, partition.offset);
                let deleted = deleted.map(|deleted| {
                    let start = deleted.start;
                    if deleted.partition.is_replicated() {
                        awaited.push((topic_at, partition_at, deleted));
                    }
                    start
                });
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
    let deadline = broker.clock.now() + Duration::from_millis(u64::try_from(request.timeout_ms).unwrap_or(0));
    for (topic_at, partition_at, Deleted { partition, leader_epoch, start }) in awaited {
        // By the metadata as it is then: who dies meanwhile is not waited for.
        let is_alive = |id: i32| broker.image().broker(id).is_some_and(|known| !known.fenced);
        let done = timeout_at(deadline, partition.deleted_below(leader_epoch, start, is_alive)).await;
        let Some(result) = topics.get_mut(topic_at).and_then(|topic| topic.partitions.get_mut(partition_at)) else {
            continue;
        };
        let error = done.unwrap_or(Err(ErrorCode::RequestTimedOut));
        if let Err(error) = error {
            result.error_code = error.code();
            result.low_watermark = -1;
        }
    }
    Ok(DeleteRecordsResponse { topics, ..Default::default() })
}

/// A partition whose log begins at `start` from now on, as `leader_epoch` has it.
struct Deleted {
    partition: Arc<Partition>,
    leader_epoch: i32,
    start: i64,
}

fn delete(broker: &BrokerState, topic: &str, index: i32, offset: i64) -> Result<Deleted, ErrorCode> {
    if crate::controller::is_internal(topic) {
        // Kafka's internal topics are compacted, and records may be deleted of others only.
        return Err(ErrorCode::PolicyViolation);
    }
    let partition = broker.partition(topic, index)?;
    let leader_epoch = partition.led_epoch()?;
    let start = partition.with_log_mut(broker.clock.now_ms(), |log| {
        let policy = log.config().cleanup_policy;
        if policy.compact && !policy.delete {
            // Kafka's rule: of such a topic the last value of each key is never lost.
            return Err(ErrorCode::PolicyViolation);
        }
        let before = if offset == HIGH_WATERMARK { log.high_watermark() } else { offset };
        if before > log.high_watermark() {
            // What is not known to be replicated is not given up.
            return Err(ErrorCode::OffsetOutOfRange);
        }
        log.delete_records(before).map_err(|error| {
            tracing::debug!(topic, partition = index, offset, %error, "records were not deleted");
            ErrorCode::from_code(error.kafka_error_code())
        })
    })??;
    Ok(Deleted { partition, leader_epoch, start })
}
