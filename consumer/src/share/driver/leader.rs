//! Who talks to one broker: over a connection of its own, for the share session lasts as long as the connection.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rkafka_client_core::{Broker, Error, ErrorKind, HostPort, Link};
use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::{
    ShareAcknowledgeRequest, ShareAcknowledgeResponse, ShareFetchRequest, ShareFetchResponse,
    share_acknowledge_request, share_fetch_request, share_fetch_response,
};
use uuid::Uuid;

use crate::clock;
use crate::share::acknowledgement::AcknowledgeError;
use crate::share::batch::Acquired;
use crate::share::config::AcquireMode;
use crate::share::error::ShareConsumerError;
use crate::share::machine::ledger::Saying;
use crate::share::machine::session::{Answer, Order, PartitionAnswer, Place};
use crate::share::shared::Shared;
use crate::share::unpack::ShareChunk;

/// The first version that knows acquire modes (KIP-1206) and renewals (KIP-1222).
const FIRST_VERSION_WITH_MODES: i16 = 2;

/// What to do next.
enum Step {
    /// Send this, with room for so many bytes.
    Send(Order, usize),
    Wait(Option<Instant>),
    Over,
}

/// Runs until the session is closed and nothing is wanted of the broker. Gives the broker.
pub(crate) async fn run(shared: Arc<Shared>, broker: i32) -> i32 {
    let mut link: Option<Link> = None;
    loop {
        let mut woken = std::pin::pin!(shared.leaders.notified());
        woken.as_mut().enable();
        let step = step(&shared, broker);
        shared.publish();
        match step {
            Step::Over => {
                shared.steward.notify_one();
                return broker;
            }
            Step::Wait(deadline) => tokio::select! {
                () = woken => {}
                () = clock::sleep_until(deadline) => {}
            },
            Step::Send(order, room) => {
                perform(&shared, broker, &mut link, order, room).await;
                shared.lock().note_answered(broker);
                // By `record_limit` it is another broker's turn.
                shared.leaders.notify_waiters();
            }
        }
    }
}

fn step(shared: &Shared, broker: i32) -> Step {
    let now = clock::now();
    let mut state = shared.lock();
    let hunger = state.hunger(&shared.config, broker, now);
    let room = state.room(&shared.config);
    let Some(session) = state.sessions.get_mut(&broker) else { return Step::Over };
    let order = session.next(now, hunger);
    let deadline = session.deadline();
    let is_over = session.is_closed() || (session.is_idle() && session.ledger.is_empty());
    match order {
        Some(order) => {
            if matches!(order, Order::Fetch { .. }) {
                state.note_asked(broker);
            }
            Step::Send(order, room)
        }
        None if is_over => {
            state.sessions.remove(&broker);
            Step::Over
        }
        None => Step::Wait(deadline),
    }
}

/// An answer of either request.
enum Reply {
    Fetched(ShareFetchResponse),
    Acknowledged(ShareAcknowledgeResponse),
    /// Nothing was sent, for the broker cannot renew locks.
    NoRenewals,
}

async fn perform(shared: &Shared, broker: i32, link: &mut Option<Link>, order: Order, room: usize) {
    let result = watched(shared, broker, exchange(shared, broker, link, order, room)).await;
    let now = clock::now();
    let is_failed = result.is_err();
    match result {
        Ok(Reply::Fetched(response)) => take_fetched(shared, broker, response, now),
        Ok(Reply::Acknowledged(response)) => {
            let answer = acknowledged(response);
            if let Some(session) = shared.lock().sessions.get_mut(&broker) {
                session.on_answer(now, answer);
            }
        }
        Ok(Reply::NoRenewals) => {
            if let Some(session) = shared.lock().sessions.get_mut(&broker) {
                session.on_no_renewals();
            }
        }
        Err(error) => {
            tracing::debug!(broker, %error, "a share session ended");
            let mut state = shared.lock();
            if let Some(session) = state.sessions.get_mut(&broker) {
                session.on_lost(now, &error.to_string());
            }
            if error.kind() == ErrorKind::UnsupportedVersion {
                state.fail(ShareConsumerError::Client { doing: "fetching for a share group", source: error });
            }
        }
    }
    // A session that ended begins anew over a new connection, for the old one's end would end it again.
    let is_at_beginning = shared.lock().sessions.get(&broker).is_none_or(|session| session.is_at_beginning());
    if is_failed || is_at_beginning {
        *link = None;
    }
    shared.publish();
}

/// Waits for an answer, and meanwhile ends what time ends: locks run out also while a broker does not answer.
async fn watched(
    shared: &Shared,
    broker: i32,
    exchange: impl Future<Output = Result<Reply, Error>>,
) -> Result<Reply, Error> {
    let mut exchange = std::pin::pin!(exchange);
    loop {
        let expiry = shared.lock().sessions.get(&broker).and_then(|session| session.ledger.deadline());
        tokio::select! {
            result = &mut exchange => return result,
            () = clock::sleep_until(expiry) => {
                if let Some(session) = shared.lock().sessions.get_mut(&broker) {
                    session.expire(clock::now());
                }
                shared.publish();
            }
        }
    }
}

async fn exchange(
    shared: &Shared,
    broker: i32,
    link: &mut Option<Link>,
    order: Order,
    room: usize,
) -> Result<Reply, Error> {
    let link = match link {
        Some(link) => link,
        None => link.insert(shared.client.link(broker).await?),
    };
    let config = &shared.config;
    match order {
        Order::Fetch { epoch, add, forget, sayings, may_wait } => {
            let version = link.version_for::<ShareFetchRequest>(i16::MAX)?;
            let mode = config.share_acquire_mode;
            if version < FIRST_VERSION_WITH_MODES && mode != AcquireMode::BatchOptimized {
                let why = "share.acquire.mode=record_limit needs Kafka 4.2 (KIP-1206); use batch_optimized";
                return Err(Error::new(ErrorKind::UnsupportedVersion, why).with_broker(link.endpoint()));
            }
            let max_wait = if may_wait { config.fetch_max_wait } else { Duration::ZERO };
            let records = i32::try_from(config.max_poll_records).unwrap_or(i32::MAX);
            let request = ShareFetchRequest {
                group_id: Some(shared.group_id.clone()),
                member_id: Some(shared.member_id.clone()),
                share_session_epoch: epoch,
                max_wait_ms: i32::try_from(max_wait.as_millis()).unwrap_or(i32::MAX),
                min_bytes: config.fetch_min_bytes,
                max_bytes: i32::try_from(config.fetch_max_bytes.min(room)).unwrap_or(i32::MAX),
                max_records: records,
                batch_size: records,
                share_acquire_mode: mode.code(),
                topics: fetch_topics(add, sayings),
                forgotten_topics_data: forgotten(forget),
                ..ShareFetchRequest::default()
            };
            link.enqueue(&request, version)?;
            let sent = clock::now();
            let response = answer(link, config.client.request_timeout.saturating_add(max_wait)).await?;
            let response = response.decode::<ShareFetchRequest>()?;
            let now = clock::now();
            shared.metrics.fetched(now, now.saturating_duration_since(sent), response.throttle_time_ms);
            Ok(Reply::Fetched(response))
        }
        Order::Acknowledge { epoch, sayings, renews } => {
            let version = link.version_for::<ShareAcknowledgeRequest>(i16::MAX)?;
            if renews && version < FIRST_VERSION_WITH_MODES {
                return Ok(Reply::NoRenewals);
            }
            let request = ShareAcknowledgeRequest {
                group_id: Some(shared.group_id.clone()),
                member_id: Some(shared.member_id.clone()),
                share_session_epoch: epoch,
                is_renew_ack: renews,
                topics: acknowledge_topics(sayings),
                ..ShareAcknowledgeRequest::default()
            };
            link.enqueue(&request, version)?;
            let response = answer(link, config.client.request_timeout).await?;
            Ok(Reply::Acknowledged(response.decode::<ShareAcknowledgeRequest>()?))
        }
    }
}

async fn answer(link: &mut Link, limit: Duration) -> Result<rkafka_client_core::Response, Error> {
    match tokio::time::timeout(limit, link.drive()).await {
        Ok(response) => response,
        Err(_) => {
            let message = format!("no answer within {limit:?} (request.timeout.ms)");
            Err(Error::new(ErrorKind::Timeout, message).with_broker(link.endpoint()))
        }
    }
}

fn fetch_topics(add: Vec<Place>, sayings: BTreeMap<Place, Vec<Saying>>) -> Vec<share_fetch_request::FetchTopic> {
    let mut named: BTreeMap<Place, Vec<Saying>> = add.into_iter().map(|place| (place, Vec::new())).collect();
    named.extend(sayings);
    let mut topics: Vec<share_fetch_request::FetchTopic> = Vec::new();
    for (place, sayings) in named {
        let acknowledgement_batches = sayings
            .into_iter()
            .map(|saying| share_fetch_request::AcknowledgementBatch {
                first_offset: saying.first_offset,
                last_offset: saying.last_offset,
                acknowledge_types: vec![saying.code],
                ..Default::default()
            })
            .collect();
        let partition = share_fetch_request::FetchPartition {
            partition_index: place.partition,
            acknowledgement_batches,
            ..Default::default()
        };
        match topics.last_mut() {
            Some(topic) if topic.topic_id == place.topic_id => topic.partitions.push(partition),
            _ => topics.push(share_fetch_request::FetchTopic {
                topic_id: place.topic_id,
                partitions: vec![partition],
                ..Default::default()
            }),
        }
    }
    topics
}

fn forgotten(places: Vec<Place>) -> Vec<share_fetch_request::ForgottenTopic> {
    let mut topics: BTreeMap<Uuid, Vec<i32>> = BTreeMap::new();
    for place in places {
        topics.entry(place.topic_id).or_default().push(place.partition);
    }
    let topic =
        |(topic_id, partitions)| share_fetch_request::ForgottenTopic { topic_id, partitions, ..Default::default() };
    topics.into_iter().map(topic).collect()
}

fn acknowledge_topics(sayings: BTreeMap<Place, Vec<Saying>>) -> Vec<share_acknowledge_request::AcknowledgeTopic> {
    let mut topics: Vec<share_acknowledge_request::AcknowledgeTopic> = Vec::new();
    for (place, sayings) in sayings {
        let acknowledgement_batches = sayings
            .into_iter()
            .map(|saying| share_acknowledge_request::AcknowledgementBatch {
                first_offset: saying.first_offset,
                last_offset: saying.last_offset,
                acknowledge_types: vec![saying.code],
                ..Default::default()
            })
            .collect();
        let partition = share_acknowledge_request::AcknowledgePartition {
            partition_index: place.partition,
            acknowledgement_batches,
            ..Default::default()
        };
        match topics.last_mut() {
            Some(topic) if topic.topic_id == place.topic_id => topic.partitions.push(partition),
            _ => topics.push(share_acknowledge_request::AcknowledgeTopic {
                topic_id: place.topic_id,
                partitions: vec![partition],
                ..Default::default()
            }),
        }
    }
    topics
}

fn said(code: i16, message: Option<String>) -> Result<(), AcknowledgeError> {
    ErrorCode::check(code).map_err(|code| AcknowledgeError::Refused { code, message })
}

fn lock_of(milliseconds: i32) -> Option<Duration> {
    u64::try_from(milliseconds).ok().filter(|ms| *ms > 0).map(Duration::from_millis)
}

fn acknowledged(response: ShareAcknowledgeResponse) -> Answer {
    let partitions = response.responses.into_iter().flat_map(|topic| {
        let topic_id = topic.topic_id;
        topic.partitions.into_iter().map(move |data| {
            let code = ErrorCode::from_code(data.error_code);
            PartitionAnswer {
                place: Place { topic_id, partition: data.partition_index },
                // Who leads no more is not asked for records either.
                error: if code.is_stale_metadata() { code } else { ErrorCode::None },
                said: said(data.error_code, data.error_message),
                acquired: Vec::new(),
            }
        })
    });
    Answer {
        error: ErrorCode::from_code(response.error_code),
        message: response.error_message,
        lock: lock_of(response.acquisition_lock_timeout_ms),
        partitions: partitions.collect(),
    }
}

/// What came for one partition: its records, and which of them are this member's.
type Brought = (Bytes, Arc<[Acquired]>);

fn take_fetched(shared: &Shared, broker: i32, response: ShareFetchResponse, now: Instant) {
    take_hints(shared, &response);
    let mut partitions = Vec::new();
    let mut brought: Vec<Brought> = Vec::new();
    for topic in response.responses {
        for data in topic.partitions {
            let place = Place { topic_id: topic.topic_id, partition: data.partition_index };
            let acquired = ranges(&data.acquired_records);
            partitions.push(PartitionAnswer {
                place,
                error: ErrorCode::from_code(data.error_code),
                said: said(data.acknowledge_error_code, data.acknowledge_error_message),
                acquired: acquired.iter().map(|run| (run.first, run.last)).collect(),
            });
            brought.push((data.records.unwrap_or_default(), acquired.into()));
        }
    }
    let answer = Answer {
        error: ErrorCode::from_code(response.error_code),
        message: response.error_message,
        lock: lock_of(response.acquisition_lock_timeout_ms),
        partitions,
    };
    let mut state = shared.lock();
    let Some(session) = state.sessions.get_mut(&broker) else { return };
    let holds = session.on_answer(now, answer);
    let sum = shared.metrics.sum();
    for (hold, (records, acquired)) in holds.into_iter().zip(brought) {
        let Some(hold) = hold else { continue };
        let topic = state.partition(hold.place).topic;
        state.push(ShareChunk { hold, topic, records, acquired, sum: Arc::clone(&sum) });
    }
}

/// What was acquired, ascending; what cannot be is left out.
fn ranges(acquired: &[share_fetch_response::AcquiredRecords]) -> Vec<Acquired> {
    let mut ranges: Vec<Acquired> = acquired
        .iter()
        .filter(|range| 0 <= range.first_offset && range.first_offset <= range.last_offset)
        .filter(|range| range.last_offset < i64::MAX)
        .map(|range| Acquired {
            first: range.first_offset,
            last: range.last_offset,
            delivery_count: range.delivery_count,
        })
        .collect();
    ranges.sort_unstable_by_key(|range| range.first);
    ranges
}

/// Takes over the leaders that the response names, so that nobody waits for metadata.
fn take_hints(shared: &Shared, response: &ShareFetchResponse) {
    let endpoints: Vec<Broker> = response
        .node_endpoints
        .iter()
        .filter_map(|one| {
            let address = HostPort::new(one.host.clone(), u16::try_from(one.port).ok()?);
            Some(Broker::new(one.node_id, address, one.rack.clone()))
        })
        .collect();
    for topic in &response.responses {
        for data in topic.partitions.iter().filter(|data| data.error_code != 0 && data.current_leader.leader_id >= 0) {
            let place = Place { topic_id: topic.topic_id, partition: data.partition_index };
            let name = shared.lock().partition(place).topic;
            let leader = &data.current_leader;
            shared.client.apply_leader_hint(&name, place.partition, leader.leader_id, leader.leader_epoch, &endpoints);
        }
    }
}
