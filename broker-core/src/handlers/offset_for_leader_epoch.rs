//! API: OffsetForLeaderEpoch (23)
//! Versions: 2-4
//! Behaviour: the end of the greatest epoch that is not beyond the one asked for, so that a consumer finds out whether
//! its position was truncated away.
//! Deviations: none known.
//! KIPs: 101, 279, 320

use std::sync::Arc;

use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::offset_for_leader_epoch_request::OffsetForLeaderPartition;
use rkafka_protocol::messages::offset_for_leader_epoch_response::{EpochEndOffset, OffsetForLeaderTopicResult};
use rkafka_protocol::messages::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};

use super::{HandlerError, RequestContext};
use crate::BrokerState;

/// Answers where leader epochs end.
///
/// # Errors
/// None.
pub async fn handle(
    broker: &Arc<BrokerState>,
    _context: &RequestContext,
    request: OffsetForLeaderEpochRequest,
    _version: i16,
) -> Result<OffsetForLeaderEpochResponse, HandlerError> {
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|asked| {
            let found = find(broker, &topic.topic, asked);
            let (leader_epoch, end_offset) = found.unwrap_or((-1, -1));
            EpochEndOffset {
                error_code: found.err().unwrap_or(ErrorCode::None).code(),
                partition: asked.partition,
                leader_epoch,
                end_offset,
                ..Default::default()
            }
        });
        let partitions = partitions.collect();
        OffsetForLeaderTopicResult { topic: topic.topic, partitions, ..Default::default() }
    });
    Ok(OffsetForLeaderEpochResponse { topics: topics.collect(), ..Default::default() })
}

fn find(broker: &BrokerState, topic: &str, asked: &OffsetForLeaderPartition) -> Result<(i32, i64), ErrorCode> {
    let partition = broker.partition(topic, asked.partition)?;
    partition.check_epoch(asked.current_leader_epoch)?;
    let epoch = partition.led_epoch()?;
    partition.with_log(broker.clock.now_ms(), |log| {
        if asked.leader_epoch == epoch {
            return (epoch, log.log_end_offset());
        }
        log.end_offset_for_epoch(asked.leader_epoch).unwrap_or((-1, -1))
    })
}
