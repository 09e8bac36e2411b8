//! API: ListOffsets (2)
//! Versions: 1-11
//! Behaviour: the first offset whose record is as new as asked for, or the earliest (-2), the latest (-1), that of the
//! newest record (-3), or the earliest that lies on this broker's disk (-4), which is the earliest, for there is no
//! tiered storage: the latest tiered (-5) and the earliest that waits for its upload (-6) are answered by -1.
//! The leader answers. A new one says `OFFSET_NOT_AVAILABLE` until its high watermark has come to where its epoch began.
//! Followers are told of all that is in the log.
//! Deviations: none known.
//! KIPs: 79, 98, 207, 320, 405, 734, 1005, 1023

use std::collections::BTreeMap;
use std::sync::Arc;

use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::list_offsets_request::ListOffsetsPartition;
use rkafka_protocol::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use rkafka_protocol::messages::{ListOffsetsRequest, ListOffsetsResponse};

use super::{HandlerError, RequestContext};
use crate::BrokerState;
use crate::log::{Log, LogError};

const READ_COMMITTED: i8 = 1;
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const LATEST_TIERED: i64 = -5;
const EARLIEST_PENDING_UPLOAD: i64 = -6;

/// The replica id by which tools read any replica.
const DEBUGGER: i32 = -2;
/// The first version whose clients know `OFFSET_NOT_AVAILABLE`.
const FIRST_WITH_OFFSET_NOT_AVAILABLE: i16 = 5;

/// Who asks, and so how far it may see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reader {
    Client { read_committed: bool },
    Follower,
    Debugger,
}

impl Reader {
    fn is_client(self) -> bool {
        matches!(self, Self::Client { .. })
    }
}

/// Time, offset and leader epoch; -1 for each that there is none of.
type Found = (i64, i64, i32);

/// Finds offsets.
///
/// # Errors
/// None.
pub async fn handle(
    broker: &Arc<BrokerState>,
    _context: &RequestContext,
    request: ListOffsetsRequest,
    version: i16,
) -> Result<ListOffsetsResponse, HandlerError> {
    let mut asked: BTreeMap<(&str, i32), usize> = BTreeMap::new();
    for topic in &request.topics {
        for partition in &topic.partitions {
            *asked.entry((&topic.name, partition.partition_index)).or_default() += 1;
        }
    }
    let reader = match request.replica_id {
        DEBUGGER => Reader::Debugger,
        0.. => Reader::Follower,
        _ => Reader::Client { read_committed: request.isolation_level == READ_COMMITTED },
    };
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            let twice = asked.get(&(topic.name.as_str(), partition.partition_index)).is_some_and(|count| *count > 1);
            let found = if twice {
                Err(ErrorCode::InvalidRequest)
            } else {
                find(broker, &topic.name, partition, reader, version)
            };
            let (timestamp, offset, leader_epoch) = found.unwrap_or((-1, -1, -1));
            ListOffsetsPartitionResponse {
                partition_index: partition.partition_index,
                error_code: found.err().unwrap_or(ErrorCode::None).code(),
                timestamp,
                offset,
                leader_epoch: if version >= 4 { leader_epoch } else { -1 },
                ..Default::default()
            }
        });
        ListOffsetsTopicResponse { name: topic.name.clone(), partitions: partitions.collect(), ..Default::default() }
    });
    Ok(ListOffsetsResponse { topics: topics.collect(), ..Default::default() })
}

fn find(
    broker: &BrokerState,
    topic: &str,
    asked: &ListOffsetsPartition,
    reader: Reader,
    version: i16,
) -> Result<Found, ErrorCode> {
    let partition = broker.partition(topic, asked.partition_index)?;
    partition.check_epoch(asked.current_leader_epoch)?;
    if reader != Reader::Debugger {
        partition.check_leader()?;
    }
    let least_version = match asked.timestamp {
        MAX_TIMESTAMP => 7,
        EARLIEST_LOCAL => 8,
        LATEST_TIERED => 9,
        EARLIEST_PENDING_UPLOAD => 11,
        ..EARLIEST_PENDING_UPLOAD => i16::MAX,
        _ => 1,
    };
    if version < least_version {
        return Err(ErrorCode::UnsupportedVersion);
    }
    let epoch = partition.leader_epoch();
    let found = partition.with_log(broker.clock.now_ms(), |log| find_in_log(log, asked.timestamp, reader, epoch))?;
    let found = found.map_err(|error| {
        tracing::error!(topic, partition = asked.partition_index, %error, "cannot look for an offset");
        ErrorCode::from_code(error.kafka_error_code())
    })?;
    let is_settled =
        matches!(asked.timestamp, EARLIEST | EARLIEST_LOCAL) || (asked.timestamp != LATEST && found.1 >= 0);
    if reader.is_client() && !is_settled && partition.is_behind_its_epoch() {
        // An earlier leader may have told more than this one may tell yet (KIP-207).
        return Err(if version < FIRST_WITH_OFFSET_NOT_AVAILABLE {
            ErrorCode::LeaderNotAvailable
        } else {
            ErrorCode::OffsetNotAvailable
        });
    }
    Ok(found)
}

fn find_in_log(log: &Log, timestamp: i64, reader: Reader, leader_epoch: i32) -> Result<Found, LogError> {
    let end = match reader {
        Reader::Client { read_committed: true } => log.last_stable_offset(),
        Reader::Client { read_committed: false } => log.high_watermark(),
        Reader::Follower | Reader::Debugger => log.log_end_offset(),
    };
    let found = match timestamp {
        LATEST => return Ok((-1, end, leader_epoch)),
        EARLIEST | EARLIEST_LOCAL => {
            let start = log.log_start_offset();
            let epoch = log.epochs().epoch_for_offset(start).unwrap_or(-1);
            return Ok((-1, start, epoch));
        }
        LATEST_TIERED | EARLIEST_PENDING_UPLOAD => None,
        MAX_TIMESTAMP => log.max_timestamp()?,
        timestamp => log.offset_for_timestamp(timestamp)?,
    };
    // What a consumer of this isolation level cannot read yet is not there for it.
    let found = found.filter(|found| found.offset < end);
    Ok(found.map_or((-1, -1, -1), |found| (found.timestamp_ms, found.offset, found.leader_epoch)))
}
