//! The member: runs the membership machine and sends its heartbeats.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rkafka_client_core::{CoordinatorKind, Error, ErrorKind, Lane, Target};
use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::{ShareGroupHeartbeatRequest, ShareGroupHeartbeatResponse};

use crate::clock;
use crate::share::error::ShareConsumerError;
use crate::share::machine::membership::{Action, Answer, Failure, Heartbeat, MemberTerms, Membership};
use crate::share::machine::session::Place;
use crate::share::shared::Shared;

/// What is taken for the time between two heartbeats where a broker does not tell.
const INTERVAL_MIN: Duration = Duration::from_millis(100);

type Beat = Pin<Box<dyn Future<Output = Result<Answer, Failure>> + Send>>;

/// Runs until the member has left.
pub(crate) async fn run(shared: Arc<Shared>, leaves: tokio::sync::oneshot::Receiver<()>) {
    let config = &shared.config;
    let mut machine = Membership::new(
        MemberTerms {
            rack: config.client.client_rack.clone(),
            max_poll_interval: config.max_poll_interval,
            retry_backoff: config.client.retry_backoff,
            retry_backoff_max: config.client.retry_backoff_max,
        },
        clock::now(),
    );
    let mut leaves = Some(leaves);
    let mut beat: Option<Beat> = None;
    let mut seen_polls = 0;
    let mut was_in_call = false;
    loop {
        let mut woken = std::pin::pin!(shared.member.notified());
        woken.as_mut().enable();
        let now = clock::now();
        let polls = shared.polls.load(Ordering::Relaxed);
        let (topics, in_call) = {
            let state = shared.lock();
            (state.topics.clone(), state.waker.is_some())
        };
        machine.on_subscription(now, topics);
        // Who was in a call at the last look may have come out of it at any time since: counted from now, the interval
        // may end late by one look, and never early.
        if in_call || was_in_call || polls != seen_polls {
            machine.on_poll(now);
        }
        (seen_polls, was_in_call) = (polls, in_call);
        while let Some(action) = machine.poll_action(now) {
            match action {
                Action::Beat(heartbeat) => beat = Some(Box::pin(send(Arc::clone(&shared), heartbeat))),
                Action::Assign(places) => assign(&shared, places),
                Action::Fail(code, message) => {
                    let error = refused(&shared, code, message);
                    shared.lock().fail(error);
                }
                Action::Tell(code, message) => {
                    let error = refused(&shared, code, message);
                    shared.lock().tell(error);
                }
            }
        }
        if machine.is_done() {
            return;
        }
        let deadline = machine.deadline();
        tokio::select! {
            result = async { match &mut beat {
                Some(beat) => beat.await,
                None => std::future::pending().await,
            } } => {
                beat = None;
                machine.on_heartbeat(clock::now(), result);
            }
            _ = async { match &mut leaves {
                Some(leaves) => leaves.await,
                None => std::future::pending().await,
            } } => {
                leaves = None;
                machine.on_close(clock::now());
            }
            () = woken => {}
            () = clock::sleep_until(deadline) => {}
        }
    }
}

fn refused(shared: &Shared, code: ErrorCode, message: Option<String>) -> ShareConsumerError {
    ShareConsumerError::Group { group_id: shared.group_id.clone(), code, message }
}

fn assign(shared: &Shared, places: Vec<Place>) {
    tracing::debug!(group = %shared.group_id, member = %shared.member_id, partitions = places.len(), "assigned");
    shared.metrics.assigned(clock::now());
    shared.lock().assignment = places.into_iter().collect();
    shared.steward.notify_one();
}

async fn send(shared: Arc<Shared>, heartbeat: Heartbeat) -> Result<Answer, Failure> {
    let forget = || shared.client.invalidate_coordinator(CoordinatorKind::Group, &shared.group_id);
    match ask(&shared, heartbeat).await {
        Ok(response) => {
            let code = ErrorCode::from_code(response.error_code);
            if code.is_none() {
                return Ok(read(response));
            }
            if matches!(code, ErrorCode::NotCoordinator | ErrorCode::CoordinatorNotAvailable) {
                forget();
            }
            tracing::debug!(group = %shared.group_id, %code, "a heartbeat was refused");
            Err(Failure::Refused(code, response.error_message))
        }
        Err(error) => {
            tracing::debug!(group = %shared.group_id, %error, "a heartbeat failed");
            match error.kind() {
                ErrorKind::UnsupportedVersion => {
                    let why = "the broker has no share groups; they need Kafka 4.1 and the feature share.version";
                    Err(Failure::Refused(ErrorCode::UnsupportedVersion, Some(why.to_owned())))
                }
                ErrorKind::Broker(code) if !code.is_retriable() => Err(Failure::Refused(code, Some(error.to_string()))),
                _ => {
                    forget();
                    Err(Failure::Lost)
                }
            }
        }
    }
}

async fn ask(shared: &Shared, heartbeat: Heartbeat) -> Result<ShareGroupHeartbeatResponse, Error> {
    let target = Target::Coordinator(CoordinatorKind::Group, shared.group_id.clone());
    let connection = shared.client.connection(&target, Lane::Group).await?;
    let request = ShareGroupHeartbeatRequest {
        group_id: shared.group_id.clone(),
        member_id: shared.member_id.clone(),
        member_epoch: heartbeat.member_epoch,
        rack_id: heartbeat.rack,
        subscribed_topic_names: heartbeat.topics,
        ..ShareGroupHeartbeatRequest::default()
    };
    let sent = clock::now();
    shared.metrics.heartbeat_sent(sent);
    let answer = connection.request(request, i16::MAX, shared.config.client.request_timeout).await;
    let now = clock::now();
    if answer.is_ok() {
        shared.metrics.heartbeat_answered(now, now.saturating_duration_since(sent));
    }
    answer
}

fn read(response: ShareGroupHeartbeatResponse) -> Answer {
    let interval = Duration::from_millis(u64::try_from(response.heartbeat_interval_ms).unwrap_or(0));
    let places = |assignment: rkafka_protocol::messages::share_group_heartbeat_response::Assignment| {
        let topics = assignment.topic_partitions.into_iter();
        topics
            .flat_map(|topic| {
                let topic_id = topic.topic_id;
                topic.partitions.into_iter().map(move |partition| Place { topic_id, partition })
            })
            .collect()
    };
    Answer {
        member_epoch: response.member_epoch,
        interval: interval.max(INTERVAL_MIN),
        assignment: response.assignment.map(places),
    }
}
