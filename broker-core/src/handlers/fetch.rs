//! API: Fetch (1)
//! Versions: 4-18
//! Behaviour: whole batches as they lie in the log, the first of an answer even where it is larger than what was asked
//! for (KIP-74). A fetch that finds less than `min.bytes` waits until records come, the topic goes, or `max.wait.ms` is
//! over.
//! Deviations: there are no fetch sessions; every answer has the session id 0, as Kafka's has when its cache is full
//! (KIP-227), so clients send all partitions each time. There are no followers, so fetches of replicas are refused.
//! KIPs: 74, 98, 227, 320, 392, 516, 951

use std::sync::Arc;
use std::time::Duration;

use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::fetch_request::FetchPartition;
use rkafka_protocol::messages::fetch_response::{AbortedTransaction, FetchableTopicResponse, PartitionData};
use rkafka_protocol::messages::{FetchRequest, FetchResponse};
use tokio::time::timeout_at;
use uuid::Uuid;

use super::{HandlerError, RequestContext};
use crate::BrokerState;
use crate::replication::{Partition, PartitionRead, ReadFailure, Waiter};

/// The first version that names topics by id.
const FIRST_WITH_TOPIC_ID: i16 = 13;
const READ_COMMITTED: i8 = 1;
/// A fetch does not wait for longer than this at a time, whatever it asks for.
const WAIT_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// One partition that is read.
struct Target {
    request: FetchPartition,
    partition: Result<Arc<Partition>, ErrorCode>,
}

/// One topic that is read, as the request names it.
struct TopicTargets {
    name: String,
    id: Uuid,
    targets: Vec<Target>,
}

/// What one pass over the partitions found.
struct Pass {
    topics: Vec<Vec<PartitionData>>,
    bytes: usize,
    has_error: bool,
}

/// Takes the fetch out of its partitions' waiters, however it ends.
struct Registered<'a> {
    topics: &'a [TopicTargets],
    waiter: Arc<Waiter>,
}

impl<'a> Registered<'a> {
    fn new(topics: &'a [TopicTargets]) -> Self {
        let waiter = Arc::new(Waiter::default());
        partitions(topics).for_each(|partition| partition.add_waiter(&waiter));
        Self { topics, waiter }
    }
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        partitions(self.topics).for_each(|partition| partition.remove_waiter(&self.waiter));
    }
}

fn partitions(topics: &[TopicTargets]) -> impl Iterator<Item = &Arc<Partition>> {
    topics.iter().flat_map(|topic| &topic.targets).filter_map(|target| target.partition.as_ref().ok())
}

/// Reads records, and waits for them where there are too few.
///
/// # Errors
/// None.
pub async fn handle(
    broker: &Arc<BrokerState>,
    _context: &RequestContext,
    request: FetchRequest,
    version: i16,
) -> Result<FetchResponse, HandlerError> {
    // Epochs 0 and -1 are full requests; others belong to a session, of which there are none.
    if !matches!(request.session_epoch, 0 | -1) {
        return Ok(FetchResponse { error_code: ErrorCode::FetchSessionIdNotFound.code(), ..Default::default() });
    }
    let replica_id = if version >= 15 { request.replica_state.replica_id } else { request.replica_id };
    let limits = Limits {
        max_bytes: usize::try_from(request.max_bytes.min(broker.config.fetch_max_bytes)).unwrap_or(0),
        read_committed: request.isolation_level == READ_COMMITTED,
    };
    let min_bytes = usize::try_from(request.min_bytes).unwrap_or(0).min(limits.max_bytes.max(1));
    let topics = resolve(broker, request.topics, version, replica_id);
    let mut pass = read_all(broker, &topics, &limits);
    let nothing_asked = topics.iter().all(|topic| topic.targets.is_empty());
    if pass.bytes < min_bytes && !pass.has_error && !nothing_asked && request.max_wait_ms > 0 {
        let wait = Duration::from_millis(u64::from(request.max_wait_ms.unsigned_abs())).min(WAIT_MAX);
        let deadline = broker.clock.now() + wait;
        let registered = Registered::new(&topics);
        loop {
            // What came before the registration wakes nobody, so it is looked for first.
            pass = read_all(broker, &topics, &limits);
            if pass.bytes >= min_bytes || pass.has_error {
                break;
            }
            if timeout_at(deadline, registered.waiter.woken()).await.is_err() {
                pass = read_all(broker, &topics, &limits);
                break;
            }
        }
    }
    let responses = topics.into_iter().zip(pass.topics).map(|(topic, partitions)| FetchableTopicResponse {
        topic: topic.name,
        topic_id: topic.id,
        partitions,
        ..Default::default()
    });
    Ok(FetchResponse { responses: responses.collect(), ..Default::default() })
}

struct Limits {
    max_bytes: usize,
    read_committed: bool,
}

fn resolve(
    broker: &BrokerState,
    topics: Vec<rkafka_protocol::messages::fetch_request::FetchTopic>,
    version: i16,
    replica_id: i32,
) -> Vec<TopicTargets> {
    let image = broker.image();
    let by_id = version >= FIRST_WITH_TOPIC_ID;
    let unknown = if by_id { ErrorCode::UnknownTopicId } else { ErrorCode::UnknownTopicOrPartition };
    let resolved = topics.into_iter().map(|topic| {
        let found = if by_id { image.topic_by_id(topic.topic_id) } else { image.topic(&topic.topic) };
        let targets = topic.partitions.into_iter().map(|request| {
            let partition = match found {
                _ if replica_id >= 0 => Err(ErrorCode::NotLeaderOrFollower),
                None => Err(unknown),
                Some(found) => broker.partition_of(found, request.partition).ok_or(ErrorCode::UnknownTopicOrPartition),
            };
            let partition =
                partition.and_then(|partition| partition.check_epoch(request.current_leader_epoch).map(|()| partition));
            Target { request, partition }
        });
        TopicTargets { name: topic.topic, id: topic.topic_id, targets: targets.collect() }
    });
    resolved.collect()
}

fn read_all(broker: &BrokerState, topics: &[TopicTargets], limits: &Limits) -> Pass {
    let mut pass = Pass { topics: Vec::with_capacity(topics.len()), bytes: 0, has_error: false };
    let now_ms = broker.clock.now_ms();
    for topic in topics {
        let mut partitions = Vec::with_capacity(topic.targets.len());
        for target in &topic.targets {
            let request = &target.request;
            let left = limits.max_bytes.saturating_sub(pass.bytes);
            let max_bytes = usize::try_from(request.partition_max_bytes).unwrap_or(0).min(left);
            let read = match &target.partition {
                Ok(partition) => {
                    let is_first = pass.bytes == 0;
                    partition.read(request.fetch_offset, max_bytes, is_first, limits.read_committed, now_ms)
                }
                Err(error) => Err(ReadFailure::new(*error)),
            };
            pass.bytes += read.as_ref().map_or(0, |read| read.records.len());
            pass.has_error |= read.is_err();
            partitions.push(partition_data(request.partition, read));
        }
        pass.topics.push(partitions);
    }
    pass
}

fn partition_data(index: i32, read: Result<PartitionRead, ReadFailure>) -> PartitionData {
    let data = PartitionData { partition_index: index, ..Default::default() };
    match read {
        Ok(read) => PartitionData {
            high_watermark: read.high_watermark,
            last_stable_offset: read.last_stable_offset,
            log_start_offset: read.log_start_offset,
            aborted_transactions: read.aborted.map(|aborted| aborted.iter().map(aborted_transaction).collect()),
            records: Some(read.records),
            ..data
        },
        Err(failure) => PartitionData {
            error_code: failure.error.code(),
            high_watermark: failure.high_watermark,
            last_stable_offset: failure.last_stable_offset,
            log_start_offset: failure.log_start_offset,
            aborted_transactions: None,
            records: Some(bytes::Bytes::new()),
            ..data
        },
    }
}

fn aborted_transaction(aborted: &crate::log::AbortedTransaction) -> AbortedTransaction {
    AbortedTransaction { producer_id: aborted.producer_id, first_offset: aborted.first_offset, ..Default::default() }
}
