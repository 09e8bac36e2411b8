//! API: ShareFetch (78)
//! Versions: 1-2
//! Behaviour: acknowledges records of earlier fetches, then acquires what is available in the partitions of the
//! member's share session, whole batches of the log at a time or exactly as many records as asked for (KIP-1206).
//! A partition that the group is
//! not on is `UNKNOWN_TOPIC_OR_PARTITION`. Where there is nothing, waits for new records and for those that come back; who
//! has waited for longest is served first. A request that renews locks (KIP-1222)
//! fetches nothing. The session ends with epoch -1, or with its connection.
//! `UNSUPPORTED_VERSION` where `share.version` is not finalized at 1.
//! Deviations: `batch_size` shapes the acquired ranges only where the batches of the log are smaller.
//! KIPs: 932, 1206, 1222

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::share_fetch_request::AcknowledgementBatch;
use rkafka_protocol::messages::share_fetch_response::{AcquiredRecords, PartitionData, ShareFetchableTopicResponse};
use rkafka_protocol::messages::{ShareFetchRequest, ShareFetchResponse};
use tokio::time::timeout_at;
use uuid::Uuid;

use super::share_group_heartbeat::is_enabled;
use super::{HandlerError, RequestContext};
use crate::BrokerState;
use crate::coordinator::share::ShareKey;
use crate::replication::Waiter;
use crate::share::{Acknowledgement, AcquireLimits, AcquireMode, GroupShareSettings, Led, SessionKey, TopicPartition};

/// A fetch does not wait for longer than this at a time, whatever it asks for.
const WAIT_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Takes a fetch out of its partitions' waiters, however it ends.
struct Registered<'a> {
    led: &'a [Arc<Led>],
    waiter: Arc<Waiter>,
}

impl<'a> Registered<'a> {
    fn new(led: &'a [Arc<Led>]) -> Self {
        let waiter = Arc::new(Waiter::default());
        led.iter().for_each(|led| led.add_waiter(&waiter));
        Self { led, waiter }
    }
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        self.led.iter().for_each(|led| led.remove_waiter(&self.waiter));
    }
}

/// Acknowledges and acquires records.
///
/// Cancel safe: what was acquired for a client that went comes back with its session, or when the lock expires.
///
/// # Errors
/// None.
pub async fn handle(
    broker: &Arc<BrokerState>,
    context: &RequestContext,
    request: ShareFetchRequest,
    _version: i16,
) -> Result<ShareFetchResponse, HandlerError> {
    let refuse = |error: ErrorCode, why: Option<String>| {
        Ok(ShareFetchResponse { error_code: error.code(), error_message: why, ..Default::default() })
    };
    if !is_enabled(broker) {
        let why = "this cluster has no share groups (share.version is 0)".to_owned();
        return refuse(ErrorCode::UnsupportedVersion, Some(why));
    }
    let (Some(group_id), Some(member_id)) = (&request.group_id, &request.member_id) else {
        return refuse(ErrorCode::InvalidRequest, Some("a share fetch needs a group and a member".to_owned()));
    };
    if group_id.is_empty() || member_id.is_empty() {
        return refuse(ErrorCode::InvalidRequest, Some("the group and the member must not be empty".to_owned()));
    }
    let mode = match request.share_acquire_mode {
        0 => AcquireMode::BatchOptimized,
        1 => AcquireMode::RecordLimit,
        other => return refuse(ErrorCode::InvalidRequest, Some(format!("there is no acquire mode {other}"))),
    };
    let key: SessionKey = (Arc::from(group_id.as_str()), Arc::from(member_id.as_str()));
    let (mut named, mut said) = (Vec::new(), Vec::new());
    for topic in &request.topics {
        for partition in &topic.partitions {
            named.push((topic.topic_id, partition.partition_index));
            if !partition.acknowledgement_batches.is_empty() {
                said.push(((topic.topic_id, partition.partition_index), &partition.acknowledgement_batches));
            }
        }
    }
    let forgotten: Vec<TopicPartition> = request
        .forgotten_topics_data
        .iter()
        .flat_map(|topic| topic.partitions.iter().map(|partition| (topic.topic_id, *partition)))
        .collect();
    let stepped = {
        let mut sessions = broker.shares.sessions();
        let (epoch, connection) = (request.share_session_epoch, context.connection_id);
        sessions.fetch(&key, epoch, connection, &named, &forgotten, !said.is_empty())
    };
    let step = match stepped {
        Ok(step) => step,
        Err(error) => return refuse(error.code(), None),
    };
    let settings = GroupShareSettings::of(broker, group_id);
    let mut answer = Answer::default();
    for (at, batches) in said {
        let batches: Vec<_> = batches.iter().map(acknowledgement).collect();
        let result = acknowledge(broker, &key, at, &batches, request.is_renew_ack, &settings).await;
        let (code, why) = result.err().map_or((ErrorCode::None, None), |(error, why)| (error, why));
        answer.has_said = true;
        let partition = answer.partition(at);
        (partition.acknowledge_error_code, partition.acknowledge_error_message) = (code.code(), why);
    }
    for (topic_id, partition) in step.released {
        let key = ShareKey { group_id: Arc::clone(&key.0), topic_id, partition };
        broker.shares.release(broker, &key, member_id);
    }
    if !request.is_renew_ack && request.max_records > 0 {
        let limits = AcquireLimits { mode, max_records: request.max_records, batch_size: request.batch_size };
        fetch(broker, &key, &step.fetch, &request, limits, &settings, &mut answer).await;
    }
    let lock_ms = i32::try_from(settings.machine.record_lock_duration_ms).unwrap_or(i32::MAX);
    Ok(ShareFetchResponse { acquisition_lock_timeout_ms: lock_ms, responses: answer.topics, ..Default::default() })
}

async fn fetch(
    broker: &Arc<BrokerState>,
    key: &SessionKey,
    partitions: &[TopicPartition],
    request: &ShareFetchRequest,
    limits: AcquireLimits,
    settings: &GroupShareSettings,
    answer: &mut Answer,
) {
    let mut led = Vec::with_capacity(partitions.len());
    let mut has_error = false;
    for (topic_id, partition) in partitions.iter().copied() {
        let share_key = ShareKey { group_id: Arc::clone(&key.0), topic_id, partition };
        match broker.shares.led(broker, &share_key, settings).await {
            Ok(found) => led.push(found),
            Err(error) => {
                answer.partition((topic_id, partition)).error_code = error.code();
                has_error = true;
            }
        }
    }
    let wait = Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0)).min(WAIT_MAX);
    let deadline = broker.clock.now() + wait;
    let max_bytes = usize::try_from(request.max_bytes.min(broker.config.fetch_max_bytes)).unwrap_or(0);
    let registered = Registered::new(&led);
    loop {
        registered.waiter.arm();
        if pass(broker, &registered, &key.1, max_bytes, limits, settings, answer) || has_error || answer.has_said {
            return;
        }
        // A partition that ended is found anew by the next fetch.
        let is_over = led.is_empty() || led.iter().any(|led| led.is_over());
        if is_over || timeout_at(deadline, registered.waiter.woken(1)).await.is_err() {
            return;
        }
    }
}

/// Acquires what there is, of partitions for which nobody has waited for longer. Answers whether anything was, or an error was met.
fn pass(
    broker: &BrokerState,
    fetch: &Registered<'_>,
    member: &Arc<str>,
    max_bytes: usize,
    mut limits: AcquireLimits,
    settings: &GroupShareSettings,
    answer: &mut Answer,
) -> bool {
    let (mut bytes_left, mut has_something) = (max_bytes, false);
    for led in fetch.led.iter().filter(|led| led.is_turn_of(&fetch.waiter)) {
        if limits.max_records <= 0 || (has_something && bytes_left == 0) {
            break;
        }
        let at = (led.key.topic_id, led.key.partition);
        match broker.shares.deliver(broker, led, member, bytes_left, limits, settings) {
            Ok(None) => {}
            Ok(Some(delivery)) => {
                bytes_left = bytes_left.saturating_sub(delivery.records.len());
                let count: i64 = delivery.acquired.iter().map(|range| range.last_offset - range.first_offset + 1).sum();
                limits.max_records = limits.max_records.saturating_sub(i32::try_from(count).unwrap_or(i32::MAX));
                has_something = true;
                let partition = answer.partition(at);
                partition.records = Some(delivery.records);
                partition.acquired_records = delivery
                    .acquired
                    .iter()
                    .map(|range| AcquiredRecords {
                        first_offset: range.first_offset,
                        last_offset: range.last_offset,
                        delivery_count: range.delivery_count,
                        ..Default::default()
                    })
                    .collect();
            }
            Err(error) => {
                answer.partition(at).error_code = error.code();
                has_something = true;
            }
        }
    }
    has_something
}

/// The partitions of an answer, by topic.
#[derive(Default)]
struct Answer {
    topics: Vec<ShareFetchableTopicResponse>,
    topic_places: HashMap<Uuid, usize>,
    partition_places: HashMap<TopicPartition, usize>,
    /// Something was acknowledged, which the member waits to hear.
    has_said: bool,
}

impl Answer {
    fn partition(&mut self, at: TopicPartition) -> &mut PartitionData {
        let (topic_id, index) = at;
        let topics = &mut self.topics;
        let topic = *self.topic_places.entry(topic_id).or_insert_with(|| {
            topics.push(ShareFetchableTopicResponse { topic_id, ..Default::default() });
            topics.len() - 1
        });
        let partitions = &mut topics[topic].partitions;
        let place = *self.partition_places.entry(at).or_insert_with(|| {
            let records = Some(bytes::Bytes::new());
            partitions.push(PartitionData { partition_index: index, records, ..Default::default() });
            partitions.len() - 1
        });
        &mut partitions[place]
    }
}

fn acknowledgement(batch: &AcknowledgementBatch) -> Acknowledgement<'_> {
    Acknowledgement {
        first_offset: batch.first_offset,
        last_offset: batch.last_offset,
        types: &batch.acknowledge_types,
    }
}

/// Takes what a member says of its records in one partition.
pub(super) async fn acknowledge(
    broker: &BrokerState,
    key: &SessionKey,
    (topic_id, partition): TopicPartition,
    batches: &[Acknowledgement<'_>],
    may_renew: bool,
    settings: &GroupShareSettings,
) -> Result<(), (ErrorCode, Option<String>)> {
    Acknowledgement::check_all(batches, may_renew).map_err(|(error, why)| (error, Some(why)))?;
    let share_key = ShareKey { group_id: Arc::clone(&key.0), topic_id, partition };
    let led = broker.shares.led(broker, &share_key, settings).await.map_err(|error| (error, None))?;
    let done = broker.shares.acknowledge(broker, &led, &key.1, batches, settings).await;
    done.map_err(|error| (error, None))
}
