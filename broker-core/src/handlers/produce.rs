//! API: Produce (0)
//! Versions: 3-13
//! Behaviour: each partition's one batch is checked by its header, its checksum and every record in it, gets its offset,
//! and is appended as it came, or compressed anew where `compression.type` says otherwise. `acks=all` is answered once all replicas in sync have the batch, and with
//! `log.flush.policy=group` `acks=1` and `acks=all` once it is on the disk; by `REQUEST_TIMED_OUT` where `timeout.ms` is over
//! before. Fewer replicas in sync than `min.insync.replicas` (or all, where there are fewer) refuse `acks=all`. With `acks=0` there is no response, and an error closes the connection. Version 0 is advertised for
//! librdkafka's sake (KAFKA-18659), and versions 0 to 2 are refused, as in Kafka 4.
//! A transaction's first batch in a partition waits until the transaction coordinator has the partition in it: before
//! version 12 it must be there, from then on it is added (KIP-890).
//! Deviations: offset deltas that do not count up are mended in uncompressed batches too; compressed bytes that no codec
//! reads are `INVALID_RECORD`, where Kafka says `UNKNOWN_SERVER_ERROR`; a batch may unpack to 128 MiB; the time type
//! LogAppendTime of a producer is refused in every topic; of more than 1000 wrong records the first 1000 are named.
//! KIPs: 98, 467, 516, 890, 951

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::produce_request::PartitionProduceData;
use rkafka_protocol::messages::produce_response::{
    BatchIndexAndErrorMessage, LeaderIdAndEpoch, NodeEndpoint, PartitionProduceResponse, TopicProduceResponse,
};
use rkafka_protocol::messages::{ProduceRequest, ProduceResponse};
use rkafka_protocol::records::{BatchHeader, Compression, MAGIC_V2, RecordError};

use tokio::time::{Instant, timeout_at};

use super::leader_hints::{Endpoint, LeaderHints};
use super::produce_admission::{self, Admissions};
use super::{HandlerError, RequestContext};
use crate::BrokerState;
use crate::controller::TopicImage;
use crate::log::{AppendInfo, VerificationGuard};
use crate::replication::{AppendFailure, Appended, Partition};

/// The first version that names topics by id.
const FIRST_WITH_TOPIC_ID: i16 = 13;
/// The first version whose clients can read zstd.
const FIRST_WITH_ZSTD: i16 = 7;
/// The first version that tells who leads, where this broker does not (KIP-951).
const FIRST_WITH_LEADER: i16 = 10;

/// A batch that is in the log and not yet as safe as its producer wants it, with the place of its answer.
struct Unacknowledged {
    topic_at: usize,
    partition_at: usize,
    partition: Arc<Partition>,
    leader_epoch: i32,
    up_to: i64,
}

/// A buffer for copies larger than this is not kept.
const SCRATCH_KEPT_BYTES: usize = 4 * 1024 * 1024;

thread_local! {
    /// Where a batch is copied to that shares its frame with others, for its offset is patched before it is written.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Appends records.
///
/// # Errors
/// With `acks=0`, no response is due, or the connection is closed over an error.
pub async fn handle(
    broker: &Arc<BrokerState>,
    context: &RequestContext,
    request: ProduceRequest,
    version: i16,
) -> Result<ProduceResponse, HandlerError> {
    let ProduceRequest { transactional_id, acks, topic_data, timeout_ms, .. } = request;
    let image = broker.image();
    let now_ms = broker.clock.now_ms();
    let by_id = version >= FIRST_WITH_TOPIC_ID;
    let admissions = match &transactional_id {
        Some(id) => produce_admission::admit(broker, &image, id, &topic_data, by_id, version).await,
        None => Admissions::default(),
    };
    let is_nobodys = transactional_id.is_none() && produce_admission::has_transactional_records(&topic_data);
    let mut first_error = None;
    let mut responses = Vec::with_capacity(topic_data.len());
    let mut unacknowledged = Vec::new();
    let mut seen = BTreeSet::new();
    for topic in topic_data {
        let found = if by_id { image.topic_by_id(topic.topic_id) } else { image.topic(&topic.name) };
        let name = found.map_or(topic.name.as_str(), |found| &found.name);
        let mut partition_responses = Vec::with_capacity(topic.partition_data.len());
        for data in topic.partition_data {
            let index = data.index;
            let result = if !seen.insert((topic.topic_id, topic.name.clone(), index)) {
                refuse(ErrorCode::InvalidRequest, "the partition is in the request more than once")
            } else if !matches!(acks, -1..=1) {
                refuse(ErrorCode::InvalidRequiredAcks, format!("acks={acks} is none of -1, 0 and 1"))
            } else if is_nobodys {
                let message = "the request has records of a transaction, and no transactional id";
                refuse(ErrorCode::TransactionalIdAuthorizationFailed, message)
            } else {
                produce(broker, context, found.map(|found| &**found), data, &admissions, (version, acks), now_ms)
            };
            match &result {
                Ok((appended, partition)) if !is_done(partition, appended, acks) => {
                    unacknowledged.push(Unacknowledged {
                        topic_at: responses.len(),
                        partition_at: partition_responses.len(),
                        partition: Arc::clone(partition),
                        leader_epoch: appended.leader_epoch,
                        up_to: appended.last_offset + 1,
                    });
                }
                Ok(_) => {}
                Err(failure) => {
                    tracing::debug!(topic = name, partition = index, error = %failure.message, "records were refused");
                    first_error.get_or_insert(failure.error);
                }
            }
            partition_responses.push(response_of(index, result.map(|(appended, _)| appended.info)));
        }
        responses.push(TopicProduceResponse {
            name: topic.name,
            topic_id: topic.topic_id,
            partition_responses,
            ..Default::default()
        });
    }
    if acks == 0 {
        return Err(match first_error {
            None => HandlerError::NoResponse,
            Some(error) => HandlerError::Close(format!("produce with acks=0 failed with {}", error.name())),
        });
    }
    if !unacknowledged.is_empty() {
        let wait = Duration::from_millis(u64::try_from(timeout_ms).unwrap_or(0));
        acknowledge(unacknowledged, acks, broker.clock.now() + wait, &mut responses).await;
    }
    let node_endpoints =
        if version >= FIRST_WITH_LEADER { name_leaders(broker, context, by_id, &mut responses) } else { Vec::new() };
    Ok(ProduceResponse { responses, node_endpoints, ..Default::default() })
}

/// Tells who leads the partitions that this broker does not, and where those brokers are (KIP-951).
fn name_leaders(
    broker: &BrokerState,
    context: &RequestContext,
    by_id: bool,
    responses: &mut [TopicProduceResponse],
) -> Vec<NodeEndpoint> {
    let moved = ErrorCode::NotLeaderOrFollower.code();
    if responses.iter().all(|topic| topic.partition_responses.iter().all(|it| it.error_code != moved)) {
        return Vec::new();
    }
    // Of now: the answer may have waited.
    let image = broker.image();
    let mut hints = LeaderHints::default();
    for response in responses {
        let found = if by_id { image.topic_by_id(response.topic_id) } else { image.topic(&response.name) };
        let Some(topic) = found else { continue };
        for partition in response.partition_responses.iter_mut().filter(|it| it.error_code == moved) {
            if let Some((leader_id, leader_epoch)) = hints.of(topic, partition.index) {
                partition.current_leader = LeaderIdAndEpoch { leader_id, leader_epoch, ..Default::default() };
            }
        }
    }
    let endpoints = hints.endpoints(broker, context).into_iter();
    let node =
        |Endpoint { node_id, host, port, rack }| NodeEndpoint { node_id, host, port, rack, ..Default::default() };
    endpoints.map(node).collect()
}

/// Whether a batch is already where its producer wants to know it before it is answered.
fn is_done(partition: &Partition, appended: &Appended, acks: i16) -> bool {
    let up_to = appended.last_offset + 1;
    match acks {
        0 => true,
        1 => partition.is_kept(up_to),
        _ => partition.is_committed(appended.leader_epoch, up_to),
    }
}

/// Waits until the batches are on the disk, with group commit, and with `acks=all` on all replicas in sync. What is not
/// by then is not acknowledged.
async fn acknowledge(
    waiting: Vec<Unacknowledged>,
    acks: i16,
    deadline: Instant,
    responses: &mut [TopicProduceResponse],
) {
    for Unacknowledged { topic_at, partition_at, partition, leader_epoch, up_to } in waiting {
        let done = async {
            match acks {
                1 => partition.kept(leader_epoch, up_to).await,
                _ => partition.acknowledged(leader_epoch, up_to).await,
            }
        };
        let error = match timeout_at(deadline, done).await {
            Ok(Ok(())) => continue,
            Ok(Err(error)) => error,
            Err(_) => ErrorCode::RequestTimedOut,
        };
        let response = responses.get_mut(topic_at).and_then(|topic| topic.partition_responses.get_mut(partition_at));
        if let Some(response) = response {
            let message = Some(format!("the records are not known to be kept: {}", error.message()));
            *response = PartitionProduceResponse {
                index: response.index,
                error_code: error.code(),
                base_offset: -1,
                log_start_offset: -1,
                error_message: message,
                ..Default::default()
            };
        }
    }
}

fn refuse<T>(error: ErrorCode, message: impl Into<String>) -> Result<T, AppendFailure> {
    Err(AppendFailure { error, message: message.into(), log_start_offset: -1, records: Vec::new() })
}

fn response_of(index: i32, result: Result<AppendInfo, AppendFailure>) -> PartitionProduceResponse {
    match result {
        Ok(info) => PartitionProduceResponse {
            index,
            base_offset: info.base_offset,
            log_append_time_ms: info.log_append_time,
            log_start_offset: info.log_start_offset,
            ..Default::default()
        },
        Err(failure) => PartitionProduceResponse {
            index,
            error_code: failure.error.code(),
            base_offset: -1,
            log_start_offset: failure.log_start_offset,
            record_errors: failure
                .records
                .into_iter()
                .map(|(batch_index, message)| BatchIndexAndErrorMessage {
                    batch_index,
                    batch_index_error_message: Some(message),
                    ..Default::default()
                })
                .collect(),
            error_message: Some(failure.message),
            ..Default::default()
        },
    }
}

fn produce(
    broker: &BrokerState,
    context: &RequestContext,
    topic: Option<&TopicImage>,
    data: PartitionProduceData,
    admissions: &Admissions,
    (version, acks): (i16, i16),
    now_ms: i64,
) -> Result<(Appended, Arc<Partition>), AppendFailure> {
    let Some(topic) = topic else {
        let error =
            if version >= FIRST_WITH_TOPIC_ID { ErrorCode::UnknownTopicId } else { ErrorCode::UnknownTopicOrPartition };
        return refuse(error, error.message());
    };
    let Some(partition) = broker.partition_of(topic, data.index) else {
        return refuse(
            ErrorCode::UnknownTopicOrPartition,
            format!("{} has {} partitions, and no {}", topic.name, topic.partitions.len(), data.index),
        );
    };
    // Kafka's own tools that must, say so by their client id.
    if topic.is_internal() && context.client_id != "__admin_client" {
        return refuse(ErrorCode::InvalidTopicException, format!("Cannot append to internal topic {}", topic.name));
    }
    if acks == -1
        && let Some((in_sync, least)) = partition.shortage()
    {
        return refuse(
            ErrorCode::NotEnoughReplicas,
            format!(
                "{}-{} has {in_sync} replicas in sync, and acks=all needs {least} by min.insync.replicas={}",
                topic.name,
                data.index,
                partition.min_insync_replicas()
            ),
        );
    }
    let records = data.records.unwrap_or_default();
    check_records(&records, version)?;
    let guard = match admissions.of(topic, data.index) {
        Ok(guard) => guard,
        Err(error) => return refuse(error, format!("the partition is not in the transaction: {}", error.message())),
    };
    append(&partition, records, guard, now_ms).map(|appended| (appended, partition))
}

/// Kafka's rules for what a Produce request of this version may hold.
fn check_records(records: &Bytes, version: i16) -> Result<(), AppendFailure> {
    if records.is_empty() {
        return refuse(
            ErrorCode::InvalidRecord,
            format!("Produce requests with version {version} must have at least one record batch per partition"),
        );
    }
    if let Some(magic) = records.get(16).filter(|magic| **magic != MAGIC_V2 as u8) {
        return refuse(
            ErrorCode::InvalidRecord,
            format!("Produce requests with version {version} are only allowed to contain magic 2, not {magic}"),
        );
    }
    let header = BatchHeader::read(records).map_err(|error: RecordError| AppendFailure {
        error: ErrorCode::CorruptMessage,
        message: error.to_string(),
        log_start_offset: -1,
        records: Vec::new(),
    })?;
    if header.total_len() < records.len() {
        return refuse(
            ErrorCode::InvalidRecord,
            format!("Produce requests with version {version} are only allowed to contain exactly one record batch"),
        );
    }
    if version < FIRST_WITH_ZSTD && header.attributes.compression() == Ok(Compression::Zstd) {
        return refuse(
            ErrorCode::UnsupportedCompressionType,
            format!("Produce requests with version {version} are not allowed to use ZStandard compression"),
        );
    }
    Ok(())
}

fn append(
    partition: &Partition,
    records: Bytes,
    guard: Option<VerificationGuard>,
    now_ms: i64,
) -> Result<Appended, AppendFailure> {
    match records.try_into_mut() {
        Ok(mut owned) => partition.append(&mut owned, guard, now_ms),
        Err(shared) => SCRATCH.with_borrow_mut(|scratch| {
            scratch.clear();
            scratch.extend_from_slice(&shared);
            let appended = partition.append(scratch, guard, now_ms);
            if scratch.capacity() > SCRATCH_KEPT_BYTES {
                *scratch = Vec::new();
            }
            appended
        }),
    }
}
