//! API: Fetch (1)
//! Versions: 4-18
//! Behaviour: whole batches as they lie in the log, the first of an answer even where it is larger than what was asked
//! for (KIP-74). A fetch that finds less than `min.bytes` waits until records come, the topic goes, or `max.wait.ms` is
//! over. Sessions (KIP-227) are kept up to `max.incremental.fetch.session.cache.slots`, with Kafka's rules of who gives
//! way, and name topics by id or by name, never both.
//! The leader answers, and from version 11 on any replica, up to its own high watermark. A follower reads to the end of
//! the log, and by its offset the leader knows what it has.
//! Deviations: the cache of sessions is one, and not eight that share the slots. The consumer's rack makes no difference.
//! KIPs: 74, 98, 227, 320, 392, 516, 595, 903, 951

use std::sync::Arc;
use std::time::Duration;

use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::fetch_response::{FetchableTopicResponse, LeaderIdAndEpoch, NodeEndpoint};
use rkafka_protocol::messages::{FetchRequest, FetchResponse};
use tokio::time::timeout_at;

use super::{HandlerError, RequestContext};
use crate::BrokerState;
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
    let mut leaders: Vec<i32> = Vec::new();
    for (slot, mut data) in pass.found {
        let Some((_, topic)) = state.session.at(slot) else { continue };
        if version < FIRST_WITH_STORAGE_ERROR && data.error_code == ErrorCode::KafkaStorageError.code() {
            data.error_code = ErrorCode::NotLeaderOrFollower.code();
        }
        if version >= FIRST_WITH_LEADER
            && let Some(leader) = current_leader(broker, topic, data.partition_index, data.error_code)
        {
            if !leaders.contains(&leader.leader_id) {
                leaders.push(leader.leader_id);
            }
            data.current_leader = leader;
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
    let session_id = match turn {
        Turn::Whole { wants_session: false } => NO_SESSION,
        Turn::Whole { wants_session: true } => {
            broker.fetch_sessions.keep(&session, follower.is_some(), broker.clock.now_ms())
        }
        Turn::Incremental { id, .. } => id,
    };
    let node_endpoints = leaders.into_iter().filter_map(|leader| endpoint(broker, context, leader)).collect();
    Ok(FetchResponse { session_id, responses, node_endpoints, ..Default::default() })
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

/// Who leads a partition that could not be read here for want of leadership.
fn current_leader(broker: &BrokerState, topic: &Topic, partition: i32, error_code: i16) -> Option<LeaderIdAndEpoch> {
    let moved = [ErrorCode::NotLeaderOrFollower.code(), ErrorCode::FencedLeaderEpoch.code()];
    if !moved.contains(&error_code) {
        return None;
    }
    let name = match &topic.key {
        TopicKey::Name(name) => name.as_str(),
        TopicKey::Id(_) => topic.name.as_deref()?,
    };
    let image = broker.image();
    let found = image.topic(name)?.partition(partition)?;
    Some(LeaderIdAndEpoch { leader_id: found.leader, leader_epoch: found.leader_epoch, ..Default::default() })
}

/// Where a broker is reached by the clients of this listener.
fn endpoint(broker: &BrokerState, context: &RequestContext, node_id: i32) -> Option<NodeEndpoint> {
    let image = broker.image();
    let known = image.brokers().get(&node_id);
    let (host, port) = if node_id == broker.config.node_id {
        let (host, port) = broker.endpoint(&context.listener);
        (host.to_owned(), port)
    } else {
        let endpoint = known?.endpoints.iter().find(|endpoint| *endpoint.name == *context.listener)?;
        (endpoint.host.clone(), endpoint.port)
    };
    let rack = known.and_then(|known| known.rack.clone());
    Some(NodeEndpoint { node_id, host, port: i32::from(port), rack, ..Default::default() })
}
