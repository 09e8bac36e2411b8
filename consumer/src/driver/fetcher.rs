//! The fetcher of one broker: a connection of its own, and always one fetch in flight while there is room.
//!
//! A broker may keep a fetch for `fetch.max.wait.ms` when its partitions have nothing new, and answers one request of a
//! connection at a time. So a partition that becomes ready meanwhile (by a seek, say) goes over a second connection,
//! which is opened only then: nobody waits behind another's long poll.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rkafka_client_core::{Broker, Error, HostPort, Link};
use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic};
use rkafka_protocol::messages::fetch_response::PartitionData;
use rkafka_protocol::messages::{FetchRequest, FetchResponse};
use uuid::Uuid;

use crate::clock;
use crate::machine::fetch_session::{Answer, FetchSession, Key, Place, Plan, Told};
use crate::machine::inbox::Chunk;
use crate::machine::positions::{Cursor, Fetched};
use crate::metrics::{Tallies, millis};
use crate::shared::Shared;
use crate::unpack::{front, survey};

/// The first version that names topics by id (KIP-516).
const FIRST_VERSION_BY_ID: i16 = 13;
/// The first version that tells where logs diverge (KIP-595).
const FIRST_VERSION_WITH_LAST_EPOCH: i16 = 12;

/// The first version that knows sessions (KIP-227).
const FIRST_VERSION_WITH_SESSION: i16 = 7;
/// The session epoch of a fetch without a session: it names all of its partitions, and is answered of all.
const NO_SESSION_EPOCH: i32 = -1;
/// The first version that tells the client's rack (KIP-392).
const FIRST_VERSION_WITH_RACK: i16 = 11;
/// How long a fetch waits at most while another partition is about to join in.
const UNSETTLED_WAIT: Duration = Duration::from_millis(50);
/// How long the second connection leaves what is ready to the first.
const SECOND_LANE_GRACE: Duration = Duration::from_millis(5);

/// The cursors of one fetch. Dropping it, for the task was ended, puts them back.
struct Flight<'a> {
    shared: &'a Shared,
    cursors: Vec<Cursor>,
    max_bytes: usize,
    max_wait: Duration,
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        if !self.cursors.is_empty() {
            let mut state = self.shared.lock();
            for cursor in self.cursors.drain(..) {
                state.positions.put_back(cursor);
            }
            drop(state);
            // The leader may be another by now, whose fetcher has looked already and found nothing; or it is another
            // epoch, in which the position must be checked first.
            self.shared.fetchers.notify_waiters();
            self.shared.steward.notify_one();
        }
    }
}

/// Fetches from `broker` until the task is ended.
pub(crate) async fn run(shared: Arc<Shared>, broker: i32) {
    let first_in_flight = AtomicBool::new(false);
    tokio::join!(
        lane(&shared, broker, Lane::First(&first_in_flight)),
        lane(&shared, broker, Lane::Second(&first_in_flight)),
    );
}

/// Which connection to the broker; both know whether the first has a fetch in flight.
#[derive(Clone, Copy)]
enum Lane<'a> {
    First(&'a AtomicBool),
    Second(&'a AtomicBool),
}

async fn lane(shared: &Shared, broker: i32, lane: Lane<'_>) {
    let mut link: Option<Link> = None;
    // What goes over the second connection goes once: a session would only cost the broker a place.
    let mut session = match lane {
        Lane::First(_) => Some(FetchSession::default()),
        Lane::Second(_) => None,
    };
    if let Lane::First(_) = lane {
        // The first fetch finds the connection open: it is made while the offset to begin at is looked up. Where that
        // fails, the fetch tries again and tells.
        link = shared.client.link(broker).await.ok();
    }
    loop {
        let idle_until = link.as_ref().and(shared.config.client.connections_max_idle).map(|idle| clock::now() + idle);
        let mut flight = tokio::select! {
            biased;
            flight = next_flight(shared, broker, lane) => flight,
            () = clock::sleep_until(idle_until) => {
                link = None;
                continue;
            }
        };
        if let Lane::First(in_flight) = lane {
            in_flight.store(true, Ordering::Relaxed);
        }
        let sent = clock::now();
        let fetched = fetch(shared, broker, &mut link, &flight, session.as_mut()).await;
        if let Lane::First(in_flight) = lane {
            in_flight.store(false, Ordering::Relaxed);
        }
        let cursors = std::mem::take(&mut flight.cursors);
        match fetched {
            Ok(Fetch { version, answer, response }) => {
                let now = clock::now();
                shared.metrics.fetch_latency.record(now, millis(now.saturating_duration_since(sent)));
                shared.metrics.fetch_throttle.record(now, f64::from(response.throttle_time_ms));
                take_hints(shared, &cursors, &response);
                let mut tallies = shared.metrics.tallies();
                let session = session.as_mut().filter(|_| version >= FIRST_VERSION_WITH_SESSION);
                let outcomes = outcomes(cursors, version, response, Some(&mut tallies), session.map(|of| (of, answer)));
                shared.accept(broker, outcomes, now);
            }
            Err(error) => {
                tracing::debug!(broker, %error, "a fetch failed");
                link = None;
                shared.accept(broker, cursors.into_iter().map(|cursor| (cursor, Fetched::Lost, None)), clock::now());
            }
        }
        if let Lane::Second(_) = lane {
            // What it brought back is the first lane's again, which may have found nothing to do and sleeps.
            shared.fetchers.notify_waiters();
        }
    }
}

/// Waits until something can be fetched and there is room for it.
async fn next_flight<'a>(shared: &'a Shared, broker: i32, lane: Lane<'_>) -> Flight<'a> {
    loop {
        let mut woken = std::pin::pin!(shared.fetchers.notified());
        woken.as_mut().enable();
        let now = clock::now();
        let deadline = match lane {
            Lane::First(_) => match take(shared, broker, now) {
                Ok(flight) => return flight,
                Err(deadline) => deadline,
            },
            Lane::Second(first_in_flight) => {
                if first_in_flight.load(Ordering::Relaxed) && shared.lock().positions.can_take(broker, now) {
                    // Mostly the fetch in flight is back in no time, and takes everything along.
                    clock::sleep(SECOND_LANE_GRACE).await;
                    if first_in_flight.load(Ordering::Relaxed)
                        && let Ok(flight) = take(shared, broker, clock::now())
                    {
                        return flight;
                    }
                }
                None
            }
        };
        tokio::select! {
            () = woken => {}
            () = clock::sleep_until(deadline) => {}
        }
    }
}

/// Takes what can be fetched now, or tells when to ask again.
fn take(shared: &Shared, broker: i32, now: Instant) -> Result<Flight<'_>, Option<Instant>> {
    let config = &shared.config;
    let mut state = shared.lock();
    let room = state.inbox.room();
    if room == 0 {
        return Err(None);
    }
    let cursors = state.positions.take(broker, now);
    if cursors.is_empty() {
        return Err(state.positions.deadline(now));
    }
    let brokers = state.positions.sources().len().max(1);
    let share = (room / brokers).max(config.max_partition_fetch_bytes);
    let max_wait = if cursors.iter().any(|cursor| !cursor.end_known) {
        // The end of a partition is told at once, so that who reads to the end needs not wait for what does not come.
        Duration::ZERO
    } else if state.positions.is_unsettled(broker) {
        config.fetch_max_wait.min(UNSETTLED_WAIT)
    } else {
        config.fetch_max_wait
    };
    Ok(Flight { shared, cursors, max_bytes: config.fetch_max_bytes.min(share), max_wait })
}

/// An answer to a fetch.
struct Fetch {
    version: i16,
    answer: Answer,
    response: FetchResponse,
}

async fn fetch(
    shared: &Shared,
    broker: i32,
    link: &mut Option<Link>,
    flight: &Flight<'_>,
    mut session: Option<&mut FetchSession>,
) -> Result<Fetch, Error> {
    let link = match link {
        Some(link) => link,
        None => link.insert(shared.client.link(broker).await?),
    };
    // A topic without an id can only be asked for by its name, and one request does the one or the other.
    let by_name = flight.cursors.iter().any(|cursor| cursor.topic_id.is_nil());
    let version = link.version_for::<FetchRequest>(if by_name { FIRST_VERSION_BY_ID - 1 } else { i16::MAX })?;
    let by_id = version >= FIRST_VERSION_BY_ID;
    let wanted: Vec<(Key, Place)> = match session {
        Some(_) => flight.cursors.iter().map(|cursor| (key(cursor, by_id), place(cursor, version))).collect(),
        None => Vec::new(),
    };
    loop {
        let mut session = session.as_mut().filter(|_| version >= FIRST_VERSION_WITH_SESSION);
        let plan = session.as_mut().map(|session| session.begin(&wanted, by_id));
        link.enqueue(&request(shared, flight, version, plan), version)?;
        let limit = shared.config.client.request_timeout.saturating_add(flight.max_wait);
        let Ok(response) = tokio::time::timeout(limit, link.drive()).await else {
            return Err(Error::new(
                rkafka_client_core::ErrorKind::Timeout,
                format!("no answer to a fetch within {limit:?} (request.timeout.ms)"),
            ));
        };
        let response = response?.decode::<FetchRequest>()?;
        let code = ErrorCode::check(response.error_code).err();
        let answer = session.map_or(Answer::Full, |session| session.on_answer(code, response.session_id));
        if answer == Answer::Again {
            tracing::debug!(broker, error = code.map(ErrorCode::name), "the fetch session begins anew");
            continue;
        }
        return Ok(Fetch { version, answer, response });
    }
}

fn key(cursor: &Cursor, by_id: bool) -> Key {
    let topic_id = if by_id { cursor.topic_id } else { Uuid::nil() };
    Key { topic_id, topic: Arc::clone(&cursor.topic), partition: cursor.partition }
}

fn place(cursor: &Cursor, version: i16) -> Place {
    let tells_last_epoch = version >= FIRST_VERSION_WITH_LAST_EPOCH;
    Place {
        offset: cursor.offset,
        leader_epoch: cursor.leader_epoch,
        last_fetched_epoch: if tells_last_epoch { cursor.last_fetched_epoch } else { -1 },
    }
}

/// Makes the request; without a plan it names everything, and is of no session.
fn request(shared: &Shared, flight: &Flight<'_>, version: i16, plan: Option<Plan>) -> FetchRequest {
    let config = &shared.config;
    let mut topics: Vec<FetchTopic> = Vec::new();
    let mut index: HashMap<&str, usize> = HashMap::new();
    for (at, cursor) in flight.cursors.iter().enumerate() {
        if plan.as_ref().and_then(|plan| plan.named.get(at)) == Some(&false) {
            continue;
        }
        let at = *index.entry(&cursor.topic).or_insert_with(|| {
            topics.push(FetchTopic {
                topic: cursor.topic.to_string(),
                topic_id: cursor.topic_id,
                ..FetchTopic::default()
            });
            topics.len() - 1
        });
        if let Some(topic) = topics.get_mut(at) {
            let place = place(cursor, version);
            topic.partitions.push(FetchPartition {
                partition: cursor.partition,
                current_leader_epoch: place.leader_epoch,
                fetch_offset: place.offset,
                last_fetched_epoch: place.last_fetched_epoch,
                log_start_offset: -1,
                partition_max_bytes: wire_size(config.max_partition_fetch_bytes),
                ..FetchPartition::default()
            });
        }
    }
    let (session_id, session_epoch, forgotten) = match plan {
        Some(plan) => (plan.session_id, plan.session_epoch, plan.forgotten),
        None => (0, NO_SESSION_EPOCH, Vec::new()),
    };
    FetchRequest {
        replica_id: -1,
        max_wait_ms: i32::try_from(flight.max_wait.as_millis()).unwrap_or(i32::MAX),
        min_bytes: config.fetch_min_bytes,
        max_bytes: wire_size(flight.max_bytes),
        isolation_level: config.isolation_level.code(),
        session_id,
        session_epoch,
        forgotten_topics_data: forgotten_topics(forgotten),
        // The leader may name a replica in the same rack to read from (KIP-392).
        rack_id: config.client.client_rack.clone().filter(|_| version >= FIRST_VERSION_WITH_RACK).unwrap_or_default(),
        topics,
        ..FetchRequest::default()
    }
}

fn forgotten_topics(forgotten: Vec<Key>) -> Vec<ForgottenTopic> {
    let mut topics: HashMap<(Arc<str>, Uuid), Vec<i32>> = HashMap::new();
    for key in forgotten {
        topics.entry((key.topic, key.topic_id)).or_default().push(key.partition);
    }
    let forgotten = |((topic, topic_id), partitions): ((Arc<str>, Uuid), Vec<i32>)| ForgottenTopic {
        topic: topic.to_string(),
        topic_id,
        partitions,
        ..ForgottenTopic::default()
    };
    topics.into_iter().map(forgotten).collect()
}

fn wire_size(bytes: usize) -> i32 {
    i32::try_from(bytes).unwrap_or(i32::MAX)
}

/// Takes over the leaders that the response names (KIP-951), so that nobody waits for metadata.
fn take_hints(shared: &Shared, cursors: &[Cursor], response: &FetchResponse) {
    let mut endpoints: Option<Vec<Broker>> = None;
    for topic in &response.responses {
        for data in topic.partitions.iter().filter(|data| data.error_code != 0 && data.current_leader.leader_id >= 0) {
            let of_topic = |cursor: &&Cursor| {
                cursor.partition == data.partition_index
                    && (cursor.topic_id == topic.topic_id || *cursor.topic == *topic.topic)
            };
            let Some(cursor) = cursors.iter().find(of_topic) else { continue };
            let endpoints = endpoints.get_or_insert_with(|| {
                response
                    .node_endpoints
                    .iter()
                    .filter_map(|one| {
                        let address = HostPort::new(one.host.clone(), u16::try_from(one.port).ok()?);
                        Some(Broker::new(one.node_id, address, one.rack.clone()))
                    })
                    .collect()
            });
            let leader = &data.current_leader;
            shared.client.apply_leader_hint(
                &cursor.topic,
                cursor.partition,
                leader.leader_id,
                leader.leader_epoch,
                endpoints,
            );
        }
    }
}

type Outcome = (Cursor, Fetched, Option<Chunk>);

/// What the response says of each cursor. What was not asked for is passed over.
fn outcomes(
    cursors: Vec<Cursor>,
    version: i16,
    response: FetchResponse,
    mut tallies: Option<&mut Tallies<'_>>,
    mut session: Option<(&mut FetchSession, Answer)>,
) -> Vec<Outcome> {
    if let Err(code) = ErrorCode::check(response.error_code) {
        return cursors.into_iter().map(|cursor| (cursor, Fetched::Refused(code), None)).collect();
    }
    if response.responses.is_empty() && response.throttle_time_ms > 0 {
        // A quota had the broker leave everything out, in a session and without one.
        return cursors.into_iter().map(|cursor| (cursor, Fetched::Throttled, None)).collect();
    }
    let by_id = version >= FIRST_VERSION_BY_ID;
    let mut answers: HashMap<(Uuid, String, i32), PartitionData> = HashMap::new();
    for topic in response.responses {
        for data in topic.partitions {
            answers.insert((topic.topic_id, topic.topic.clone(), data.partition_index), data);
        }
    }
    cursors
        .into_iter()
        .map(|cursor| {
            let in_answer = if by_id {
                (cursor.topic_id, String::new(), cursor.partition)
            } else {
                (Uuid::nil(), cursor.topic.to_string(), cursor.partition)
            };
            match (answers.remove(&in_answer), &mut session) {
                (Some(data), session) => {
                    if let Some((session, _)) = session {
                        session.note(&key(&cursor, by_id), told(&data));
                    }
                    outcome(cursor, data, tallies.as_deref_mut())
                }
                (None, Some((session, Answer::Incremental))) => {
                    let fetched =
                        session.on_silence(&key(&cursor, by_id)).map_or(Fetched::Lost, |told| Fetched::Read {
                            next_offset: cursor.offset,
                            last_epoch: None,
                            high_watermark: told.high_watermark,
                            last_stable_offset: told.last_stable_offset,
                            log_start_offset: told.log_start_offset,
                            preferred_replica: None,
                        });
                    (cursor, fetched, None)
                }
                (None, _) => {
                    (cursor, Fetched::Malformed("the answer does not speak of the partition".to_owned()), None)
                }
            }
        })
        .collect()
}

/// What the broker will not tell again while it stays the same; an error is always told.
fn told(data: &PartitionData) -> Option<Told> {
    (data.error_code == 0 && data.high_watermark >= 0).then_some(Told {
        high_watermark: data.high_watermark,
        last_stable_offset: data.last_stable_offset,
        log_start_offset: data.log_start_offset,
    })
}

fn outcome(cursor: Cursor, data: PartitionData, tallies: Option<&mut Tallies<'_>>) -> Outcome {
    if let Err(code) = ErrorCode::check(data.error_code) {
        return (cursor, Fetched::Refused(code), None);
    }
    if data.diverging_epoch.end_offset >= 0 {
        let fetched =
            Fetched::Diverged { end_offset: data.diverging_epoch.end_offset, epoch: data.diverging_epoch.epoch };
        return (cursor, fetched, None);
    }
    let records = data.records.unwrap_or_default();
    let survey = survey(&records, cursor.offset);
    if let Some(damage) = survey.damage.filter(|_| survey.whole_bytes == 0) {
        return (cursor, Fetched::Malformed(damage.to_string()), None);
    }
    let fetched = Fetched::Read {
        next_offset: survey.next_offset,
        last_epoch: survey.last_epoch,
        high_watermark: data.high_watermark,
        last_stable_offset: data.last_stable_offset,
        log_start_offset: data.log_start_offset,
        preferred_replica: Some(data.preferred_read_replica).filter(|replica| *replica >= 0),
    };
    let chunk = (survey.whole_bytes > 0).then(|| {
        let mut aborted: Vec<(i64, i64)> = data
            .aborted_transactions
            .unwrap_or_default()
            .into_iter()
            .map(|transaction| (transaction.producer_id, transaction.first_offset))
            .collect();
        aborted.sort_by_key(|(_, first_offset)| *first_offset);
        Chunk {
            topic: Arc::clone(&cursor.topic),
            partition: cursor.partition,
            progress: Arc::clone(&cursor.progress),
            records: front(&records, survey.whole_bytes),
            from: cursor.offset,
            next_offset: survey.next_offset,
            aborted,
            tally: tallies.map(|tallies| tallies.of(&cursor.topic)),
        }
    });
    (cursor, fetched, chunk)
}

#[cfg(test)]
#[path = "fetcher_tests.rs"]
mod tests;
