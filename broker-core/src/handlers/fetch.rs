//! API: Fetch (1)
//! Versions: 4-18
//! Behaviour: whole batches as they lie in the log, the first of an answer even where it is larger than what was asked
//! for (KIP-74). A fetch that finds less than `min.bytes` waits until records come, the topic goes, or `max.wait.ms` is
//! over. Sessions (KIP-227) are kept up to `max.incremental.fetch.session.cache.slots`, with Kafka's rules of who gives
//! way, and name topics by id or by name, never both.
//! The leader answers, and from version 11 on any replica, up to its own high watermark. A follower reads to the end of
//! the log, and by its offset the leader knows what it has.
//! With `replica.selector.class=org.apache.kafka.common.replica.RackAwareReplicaSelector` a consumer that names its rack is
//! sent to the replica in sync of that rack which has the most, unless that is the leader's own (KIP-392). Followers that are
//! not in sync are held back by `leader.replication.throttled.rate`.
//! Deviations: the cache of sessions is one, and not eight that share the slots.
//! KIPs: 73, 74, 98, 227, 320, 392, 516, 595, 903, 951

use std::sync::Arc;
use std::time::Duration;

use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::fetch_response::{FetchableTopicResponse, LeaderIdAndEpoch, NodeEndpoint};
use rkafka_protocol::messages::{FetchRequest, FetchResponse};
use tokio::time::timeout_at;

use super::leader_hints::{Endpoint, LeaderHints};
use super::{HandlerError, RequestContext};
use crate::BrokerState;
use crate::config::RACK_AWARE_SELECTOR;
use crate::controller::{MetadataImage, TopicImage};
use crate::fetch::{NO_SESSION, Pass, SharedSession, Topic, TopicKey, Turn, Wants, locked};

/// The first version by which consumers may read any replica (KIP-392).
const FIRST_OF_ANY_REPLICA: i16 = 11;
/// The first version that names topics by id.
const FIRST_WITH_TOPIC_ID: i16 = 13;
/// The first version whose clients know `KAFKA_STORAGE_ERROR`.
const FIRST_WITH_STORAGE_ERROR: i16 = 6;
/// The first version whose clients can read zstd.
const FIRST_WITH_ZSTD: i16 = 10;
/// The first version that tells who leads, where this broker does not (KIP-951).
const FIRST_WITH_LEADER: i16 = 16;
const READ_COMMITTED: i8 = 1;
/// A fetch does not wait for longer than this at a time, whatever it asks for.
const WAIT_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Reads records, and waits for them where there are too few.
///
/// # Errors
/// None.
pub async fn handle(
    broker: &Arc<BrokerState>,
    context: &RequestContext,
    mut request: FetchRequest,
    version: i16,
) -> Result<FetchResponse, HandlerError> {
    let uses_topic_ids = version >= FIRST_WITH_TOPIC_ID;
    let replica_id = if version >= 15 { request.replica_state.replica_id } else { request.replica_id };
    let follower = (replica_id >= 0).then_some((replica_id, request.replica_state.replica_epoch));
    let opened = broker.fetch_sessions.open(&mut request, uses_topic_ids, follower.is_some(), broker.clock.now_ms());
    let (session, turn) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            let (session_id, epoch) = (request.session_id, request.session_epoch);
            tracing::debug!(session_id, epoch, error = error.name(), "a fetch does not go on in its session");
            return Ok(FetchResponse { error_code: error.code(), ..Default::default() });
        }
    };
    let wants = Wants {
        max_bytes: usize::try_from(request.max_bytes.min(broker.config.fetch_max_bytes)).unwrap_or(0),
        read_committed: request.isolation_level == READ_COMMITTED,
        follower,
        leader_only: follower.is_some() || version < FIRST_OF_ANY_REPLICA,
        reads_zstd: version >= FIRST_WITH_ZSTD,
        only_new: matches!(turn, Turn::Incremental { .. }),
        rack: rack_of(broker, &request, version).filter(|_| follower.is_none()),
    };
    let min_bytes = usize::try_from(request.min_bytes).unwrap_or(0).min(wants.max_bytes);
    let max_wait = Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0)).min(WAIT_MAX);
    let pass = read(broker, &session, turn, &wants, min_bytes, max_wait).await;

    let mut state = locked(&session);
    if let Turn::Incremental { id, epoch } = turn
        && state.session.epoch != epoch
    {
        let error_code = ErrorCode::InvalidFetchSessionEpoch.code();
        return Ok(FetchResponse { error_code, session_id: id, ..Default::default() });
    }
    state.note(&pass);
    let mut responses: Vec<FetchableTopicResponse> = Vec::new();
    let mut last_key: Option<&TopicKey> = None;
    let image = broker.image();
    let mut hints = LeaderHints::default();
    let mut throttled_bytes = 0_usize;
    for (slot, mut data) in pass.found {
        let Some((entry, topic)) = state.session.at(slot) else { continue };
        if wants.follower.is_some() && entry.handle.as_ref().is_some_and(|found| found.is_throttled_as_leader()) {
            throttled_bytes += data.records.as_ref().map_or(0, |records| records.len());
        }
        if version < FIRST_WITH_STORAGE_ERROR && data.error_code == ErrorCode::KafkaStorageError.code() {
            data.error_code = ErrorCode::NotLeaderOrFollower.code();
        }
        if version >= FIRST_WITH_LEADER
            && let Some(topic) = moved_topic(&image, topic, data.error_code)
            && let Some((leader_id, leader_epoch)) = hints.of(topic, data.partition_index)
        {
            data.current_leader = LeaderIdAndEpoch { leader_id, leader_epoch, ..Default::default() };
        }
        match responses.last_mut() {
            Some(response) if last_key == Some(&topic.key) => response.partitions.push(data),
            _ => {
                let (name, id) = match &topic.key {
                    TopicKey::Name(name) => (name.clone(), uuid::Uuid::nil()),
                    TopicKey::Id(id) => (String::new(), *id),
                };
                responses.push(FetchableTopicResponse {
                    topic: name,
                    topic_id: id,
                    partitions: vec![data],
                    ..Default::default()
                });
            }
        }
        last_key = Some(&topic.key);
    }
    drop(state);
    broker.throttles.leader.record(throttled_bytes, broker.clock.now_ms());
    let session_id = match turn {
        Turn::Whole { wants_session: false } => NO_SESSION,
        Turn::Whole { wants_session: true } => {
            broker.fetch_sessions.keep(&session, follower.is_some(), broker.clock.now_ms())
        }
        Turn::Incremental { id, .. } => id,
    };
    let endpoints = hints.endpoints(broker, context).into_iter();
    let node_endpoints = endpoints.map(|Endpoint { node_id, host, port, rack }| NodeEndpoint {
        node_id,
        host,
        port,
        rack,
        ..Default::default()
    });
    let node_endpoints = node_endpoints.collect();
    Ok(FetchResponse { session_id, responses, node_endpoints, ..Default::default() })
}

/// The rack whose replicas had better be read (KIP-392), where the leader is to look for them.
fn rack_of(broker: &BrokerState, request: &FetchRequest, version: i16) -> Option<Arc<str>> {
    let is_looked_for = broker.config.replica_selector_class.as_deref() == Some(RACK_AWARE_SELECTOR);
    (is_looked_for && version >= FIRST_OF_ANY_REPLICA && !request.rack_id.is_empty())
        .then(|| Arc::from(request.rack_id.as_str()))
}

/// Reads until there are records enough, something urgent came up, or the time is over.
async fn read(
    broker: &BrokerState,
    session: &SharedSession,
    turn: Turn,
    wants: &Wants,
    min_bytes: usize,
    max_wait: Duration,
) -> Pass {
    let waiter = Arc::clone(&locked(session).waiter);
    let deadline = broker.clock.now() + max_wait;
    let mut is_over = max_wait.is_zero();
    let mut waiting = None;
    loop {
        // What comes from here on is counted.
        waiter.arm();
        let pass = {
            let mut state = locked(session);
            if let Turn::Incremental { epoch, .. } = turn
                && state.session.epoch != epoch
            {
                waiter.pass_on();
                return Pass::default();
            }
            state.read(broker, wants)
        };
        if pass.bytes >= min_bytes || pass.is_urgent || pass.readable == 0 || is_over {
            return pass;
        }
        if waiting.is_none() {
            let (wait, was_registered) = Waiting::begin(session);
            waiting = Some(wait);
            if !was_registered {
                // What came before the registration was counted by nobody.
                continue;
            }
        }
        is_over = timeout_at(deadline, waiter.woken(min_bytes - pass.bytes)).await.is_err();
    }
}

/// Ends the wait of a fetch, however that ends.
struct Waiting<'a>(&'a SharedSession);

impl<'a> Waiting<'a> {
    /// Begins to wait, and says whether the session was registered with its partitions before.
    fn begin(session: &'a SharedSession) -> (Self, bool) {
        let mut state = locked(session);
        let was_registered = state.is_registered();
        state.begin_wait();
        (Self(session), was_registered)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        locked(self.0).end_wait();
    }
}

/// The topic of a partition that could not be read here for want of leadership.
fn moved_topic<'a>(image: &'a MetadataImage, topic: &Topic, error_code: i16) -> Option<&'a Arc<TopicImage>> {
    let moved = [ErrorCode::NotLeaderOrFollower.code(), ErrorCode::FencedLeaderEpoch.code()];
    if !moved.contains(&error_code) {
        return None;
    }
    match &topic.key {
        TopicKey::Name(name) => image.topic(name),
        TopicKey::Id(id) => image.topic_by_id(*id),
    }
}
