//! The member: runs the membership machine, sends what it asks for, and calls the application's hooks.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use rkafka_assignor::{Member, TopicPartitions};
use rkafka_client_core::{CoordinatorKind, Error, ErrorKind, Lane, Topics};
use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use rkafka_protocol::messages::leave_group_request::MemberIdentity;
use rkafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use rkafka_protocol::messages::{HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest, SyncGroupRequest};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use crate::clock;
use crate::config::assignor;
use crate::driver::committer::{CommitOrder, committable};
use crate::error::ConsumerError;
use crate::framing;
use crate::handle::ConsumerHandle;
use crate::listener::RebalanceListener;
use crate::machine::membership::classic::{Action, Classic, ClassicConfig, Failure, Joined, JoinedMember};
use crate::shared::{Mode, Shared};
use crate::subscription::{Start, TopicPartition};
use crate::wire;

/// What Java calls the protocol type of consumers.
const PROTOCOL_TYPE: &str = "consumer";
/// How much longer than the rebalance timeout a JoinGroup may take, as in Java.
const JOIN_GRACE: std::time::Duration = std::time::Duration::from_secs(5);

/// What the member is told by others.
#[derive(Debug)]
pub(crate) enum MemberNews {
    /// The subscription changed.
    SubscriptionChanged,
    /// A topic has other partitions than were shared out.
    TopicsChanged,
    /// The coordinator refused a commit.
    CommitRefused { generation: i32, code: ErrorCode },
    /// Leave, and end. Told what became of the last commit when that is done.
    Close(oneshot::Sender<Result<(), ConsumerError>>),
}

/// What came of an action.
enum Event {
    Coordinator(Result<(), Failure>),
    Join(Result<Joined, Failure>),
    Assigned(Result<Vec<(String, Bytes)>, Failure>),
    Sync(Result<Bytes, Failure>),
    Installed(Result<(), ConsumerError>),
    Heartbeat(i32, Result<(), Failure>),
    Revoked(Result<(), ConsumerError>),
    Left,
}

pub(crate) struct MemberTask {
    pub(crate) shared: Arc<Shared>,
    pub(crate) news: mpsc::UnboundedReceiver<MemberNews>,
    pub(crate) listener: Option<Arc<dyn RebalanceListener>>,
}

impl MemberTask {
    /// Runs until the member has left, or cannot be one.
    pub(crate) async fn run(mut self) -> mpsc::UnboundedReceiver<MemberNews> {
        let config = &self.shared.config;
        let mut machine = Classic::new(
            ClassicConfig {
                is_static: config.group_instance_id.is_some(),
                session_timeout: config.session_timeout,
                heartbeat_interval: config.heartbeat_interval,
                max_poll_interval: config.max_poll_interval,
                retry_backoff: config.client.retry_backoff,
            },
            clock::now(),
        );
        let mut events: JoinSet<Event> = JoinSet::new();
        let mut closing: Option<oneshot::Sender<Result<(), ConsumerError>>> = None;
        let mut last_commit = Ok(());
        let mut seen_polls = self.shared.polls.load(Ordering::Relaxed);
        let mut was_in_call = false;
        loop {
            let shared = Arc::clone(&self.shared);
            let mut woken = std::pin::pin!(shared.member.notified());
            woken.as_mut().enable();
            let now = clock::now();
            let polls = shared.polls.load(Ordering::Relaxed);
            let in_call = shared.lock().waker.is_some();
            // Who was in a call at the last look may have come out of it at any time since: counted from now, the
            // interval may end late by one look, and never early.
            if in_call || was_in_call || polls != seen_polls {
                machine.on_poll(now);
            }
            (seen_polls, was_in_call) = (polls, in_call);
            while let Some(action) = machine.poll_action(now) {
                self.publish(&machine);
                self.start(action, &mut events);
            }
            self.publish(&machine);
            if machine.is_done() {
                break;
            }
            tokio::select! {
                Some(event) = events.join_next() => match event {
                    Ok(Event::Revoked(committed)) => {
                        // Of one that was made before it was to leave the application was told by the log.
                        last_commit = if closing.is_some() { committed } else { Ok(()) };
                        machine.on_revoked();
                    }
                    Ok(event) => self.take_in(&mut machine, event),
                    Err(error) => tracing::error!(%error, "a task of the group member broke off"),
                },
                Some(news) = self.news.recv() => match news {
                    MemberNews::SubscriptionChanged => machine.on_subscription_changed(),
                    MemberNews::TopicsChanged => machine.on_subscription_changed(),
                    MemberNews::CommitRefused { generation, code } => {
                        machine.on_commit_refused(clock::now(), generation, code);
                    }
                    MemberNews::Close(done) => {
                        closing = Some(done);
                        machine.on_close();
                    }
                },
                () = woken => {}
                () = clock::sleep_until(machine.deadline()) => {}
            }
        }
        if let Some(closing) = closing {
            let _ = closing.send(last_commit);
        }
        self.news
    }

    /// Lets the others see under which identity to commit.
    fn publish(&self, machine: &Classic) {
        let identity = machine.identity().map(|(generation, member_id)| (generation, member_id.to_owned()));
        let mut state = self.shared.lock();
        if state.identity != identity {
            state.identity = identity;
            drop(state);
            self.shared.member.notify_waiters();
        }
    }

    fn take_in(&self, machine: &mut Classic, event: Event) {
        let now = clock::now();
        match event {
            Event::Coordinator(found) => machine.on_coordinator(now, found),
            Event::Join(answer) => machine.on_join(now, answer),
            Event::Assigned(Ok(assignments)) => machine.on_assigned(assignments),
            // As good as a coordinator that does not answer: join again after a backoff.
            Event::Assigned(Err(failure)) => {
                machine.on_assigned(Vec::new());
                machine.on_sync(now, Err(failure));
            }
            Event::Sync(answer) => machine.on_sync(now, answer),
            Event::Installed(result) => {
                machine.on_installed();
                if let Err(error) = result {
                    self.shared.lock().fail(error);
                    machine.on_close();
                }
            }
            Event::Heartbeat(generation, answer) => machine.on_heartbeat(now, generation, answer),
            Event::Revoked(_) => machine.on_revoked(),
            Event::Left => machine.on_left(),
        }
    }

    fn start(&self, action: Action, events: &mut JoinSet<Event>) {
        let shared = Arc::clone(&self.shared);
        let listener = self.listener.clone();
        match action {
            Action::FindCoordinator => {
                events.spawn(async move {
                    let group_id = shared.config.group_id.clone().unwrap_or_default();
                    let found = shared.client.coordinator(CoordinatorKind::Group, &group_id).await;
                    Event::Coordinator(found.map(drop).map_err(|error| failure(&shared, &error)))
                });
            }
            Action::Join { member_id } => {
                events.spawn(async move { Event::Join(join(&shared, member_id).await) });
            }
            Action::Assign { protocol, members } => {
                events.spawn(async move { Event::Assigned(assign(&shared, &protocol, members).await) });
            }
            Action::Sync { generation, member_id, protocol, assignments } => {
                events.spawn(
                    async move { Event::Sync(sync(&shared, generation, member_id, protocol, assignments).await) },
                );
            }
            Action::Install { generation, assignment, is_leader } => {
                events.spawn(async move {
                    tracing::info!(generation, is_leader, "the group gave an assignment");
                    Event::Installed(install(&shared, listener, assignment, is_leader).await)
                });
            }
            Action::Heartbeat { generation, member_id } => {
                events.spawn(async move {
                    let answer = beat(&shared, generation, member_id).await;
                    Event::Heartbeat(generation, answer)
                });
            }
            Action::Revoke { lost } => {
                events.spawn(async move { Event::Revoked(revoke(&shared, listener, lost).await) });
            }
            Action::Leave { member_id, reason } => {
                events.spawn(async move {
                    leave(&shared, member_id, reason).await;
                    Event::Left
                });
            }
            Action::Fail(code) => {
                let group_id = self.shared.config.group_id.clone().unwrap_or_default();
                self.shared.lock().fail(ConsumerError::Group { group_id, code });
            }
        }
    }
}

fn group_id(shared: &Shared) -> String {
    shared.config.group_id.clone().unwrap_or_default()
}

/// What an error of a request means for the machine.
fn failure(shared: &Shared, error: &Error) -> Failure {
    tracing::debug!(%error, group_id = group_id(shared), "a request to the group's coordinator failed");
    match error.code() {
        Some(code) => Failure::refused(code),
        None if error.kind() == ErrorKind::UnsupportedVersion => Failure::refused(ErrorCode::UnsupportedVersion),
        None => Failure::Lost,
    }
}

/// What an error code of an answer means for the machine.
fn refusal(shared: &Shared, code: i16, member_id: Option<String>) -> Result<(), Failure> {
    ErrorCode::check(code).map_err(|code| {
        if matches!(code, ErrorCode::NotCoordinator | ErrorCode::CoordinatorNotAvailable) {
            wire::forget_coordinator(shared);
        }
        Failure::Refused { code, member_id }
    })
}

fn millis(duration: std::time::Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}

async fn join(shared: &Shared, member_id: String) -> Result<Joined, Failure> {
    let config = &shared.config;
    let topics = match &shared.lock().mode {
        Mode::Group(subscription) => subscription.topics.clone(),
        _ => Vec::new(),
    };
    let metadata = framing::subscription(topics, config.client.client_rack.clone());
    let build = |version: i16| JoinGroupRequest {
        group_id: group_id(shared),
        session_timeout_ms: millis(config.session_timeout),
        rebalance_timeout_ms: millis(config.max_poll_interval),
        member_id,
        // Without KIP-345 the member cannot be a static one: the request says so by failing to encode.
        group_instance_id: config.group_instance_id.clone(),
        protocol_type: PROTOCOL_TYPE.to_owned(),
        protocols: config
            .partition_assignment_strategy
            .iter()
            .filter_map(|name| assignor(name))
            .map(|assignor| JoinGroupRequestProtocol {
                name: assignor.name().to_owned(),
                metadata: metadata.clone(),
                ..JoinGroupRequestProtocol::default()
            })
            .collect(),
        reason: (version >= 8).then(|| "the consumer joins".to_owned()),
        ..JoinGroupRequest::default()
    };
    let timeout = Some(config.max_poll_interval.saturating_add(JOIN_GRACE));
    let response = wire::coordinator_request(shared, Lane::Group, i16::MAX, timeout, build)
        .await
        .map_err(|error| failure(shared, &error))?;
    refusal(shared, response.error_code, Some(response.member_id.clone()))?;
    Ok(Joined {
        generation: response.generation_id,
        member_id: response.member_id,
        leader_id: response.leader,
        protocol: response.protocol_name.unwrap_or_default(),
        skip_assignment: response.skip_assignment,
        members: response
            .members
            .into_iter()
            .map(|member| JoinedMember {
                member_id: member.member_id,
                instance_id: member.group_instance_id,
                metadata: member.metadata,
            })
            .collect(),
    })
}

/// Shares the partitions out, as the leader.
async fn assign(shared: &Shared, protocol: &str, joined: Vec<JoinedMember>) -> Result<Vec<(String, Bytes)>, Failure> {
    let Some(assignor) = assignor(protocol) else {
        tracing::error!(protocol, "the coordinator chose an assignor that this member did not offer");
        return Err(Failure::refused(ErrorCode::InconsistentGroupProtocol));
    };
    let mut members = Vec::with_capacity(joined.len());
    for one in joined {
        match framing::read_subscription(one.metadata) {
            Ok(subscription) => {
                let mut member = Member::new(one.member_id, subscription.topics);
                if let Some(instance_id) = one.instance_id {
                    member = member.with_instance_id(instance_id);
                }
                members.push(member);
            }
            Err(error) => {
                tracing::error!(member_id = one.member_id, %error, "a member's subscription cannot be read");
                return Err(Failure::refused(ErrorCode::InconsistentGroupProtocol));
            }
        }
    }
    let mut topics: Vec<String> = members.iter().flat_map(|member| member.topics.iter().cloned()).collect();
    topics.sort();
    topics.dedup();
    let mut cluster = shared.client.cluster();
    if topics.iter().any(|topic| cluster.topic(topic).is_none()) {
        cluster =
            shared.client.refresh(Topics::named(topics.clone())).await.map_err(|error| failure(shared, &error))?;
    }
    let counts: HashMap<String, usize> = topics
        .into_iter()
        .map(|topic| {
            let count = cluster.topic(&topic).map_or(0, |topic| topic.partitions.len());
            (topic, count)
        })
        .collect();
    let partitions: TopicPartitions =
        counts.iter().map(|(topic, count)| (topic.clone(), i32::try_from(*count).unwrap_or(i32::MAX))).collect();
    let assignment = assignor.assign(&members, &partitions).map_err(|error| {
        tracing::error!(%error, "the partitions cannot be shared out");
        Failure::refused(ErrorCode::InconsistentGroupProtocol)
    })?;
    shared.lock().shared_out = Some(counts);
    Ok(assignment
        .into_map()
        .into_iter()
        .map(|(member_id, partitions)| (member_id, framing::assignment(&partitions)))
        .collect())
}

async fn sync(
    shared: &Shared,
    generation: i32,
    member_id: String,
    protocol: String,
    assignments: Vec<(String, Bytes)>,
) -> Result<Bytes, Failure> {
    let build = |version: i16| SyncGroupRequest {
        group_id: group_id(shared),
        generation_id: generation,
        member_id,
        group_instance_id: shared.config.group_instance_id.clone(),
        protocol_type: (version >= 5).then(|| PROTOCOL_TYPE.to_owned()),
        protocol_name: (version >= 5).then_some(protocol),
        assignments: assignments
            .into_iter()
            .map(|(member_id, assignment)| SyncGroupRequestAssignment {
                member_id,
                assignment,
                ..SyncGroupRequestAssignment::default()
            })
            .collect(),
        ..SyncGroupRequest::default()
    };
    let timeout = Some(shared.config.max_poll_interval.saturating_add(JOIN_GRACE));
    let response = wire::coordinator_request(shared, Lane::Group, i16::MAX, timeout, build)
        .await
        .map_err(|error| failure(shared, &error))?;
    refusal(shared, response.error_code, None)?;
    Ok(response.assignment)
}

async fn beat(shared: &Shared, generation: i32, member_id: String) -> Result<(), Failure> {
    let build = |_version: i16| HeartbeatRequest {
        group_id: group_id(shared),
        generation_id: generation,
        member_id,
        group_instance_id: shared.config.group_instance_id.clone(),
        ..HeartbeatRequest::default()
    };
    let timeout = Some(shared.config.session_timeout.min(shared.config.client.request_timeout));
    let response = wire::coordinator_request(shared, Lane::Offsets, i16::MAX, timeout, build)
        .await
        .map_err(|error| failure(shared, &error))?;
    refusal(shared, response.error_code, None)
}

async fn leave(shared: &Shared, member_id: String, reason: &'static str) {
    let build = |version: i16| {
        let mut request = LeaveGroupRequest { group_id: group_id(shared), ..LeaveGroupRequest::default() };
        if version >= 3 {
            request.members.push(MemberIdentity {
                member_id,
                reason: (version >= 5).then(|| reason.to_owned()),
                ..MemberIdentity::default()
            });
        } else {
            request.member_id = member_id;
        }
        request
    };
    if let Err(error) = wire::coordinator_request(shared, Lane::Offsets, i16::MAX, None, build).await {
        tracing::debug!(%error, "the group was not told that the member leaves; it will see by the session timeout");
    }
}

async fn install(
    shared: &Arc<Shared>,
    listener: Option<Arc<dyn RebalanceListener>>,
    assignment: Bytes,
    is_leader: bool,
) -> Result<(), ConsumerError> {
    let partitions = framing::read_assignment(assignment)
        .map_err(|error| ConsumerError::BadAssignment { group_id: group_id(shared), reason: error.to_string() })?;
    let wanted: Vec<_> =
        partitions.iter().map(|place| (Arc::clone(&place.topic), place.partition, Start::Committed)).collect();
    {
        let mut state = shared.lock();
        state.held = true;
        state.positions.assign(&wanted);
        state.inbox.purge();
        if !is_leader {
            state.shared_out = None;
        }
    }
    shared.steward.notify_one();
    if let Some(listener) = listener {
        let handle = ConsumerHandle::of(shared);
        hook(async move { listener.on_assigned(&handle, &partitions).await }).await;
    }
    let mut state = shared.lock();
    state.held = false;
    state.wake();
    drop(state);
    shared.fetchers.notify_waiters();
    Ok(())
}

async fn revoke(
    shared: &Arc<Shared>,
    listener: Option<Arc<dyn RebalanceListener>>,
    lost: bool,
) -> Result<(), ConsumerError> {
    let partitions: Vec<TopicPartition> = {
        let mut state = shared.lock();
        state.held = true;
        state.positions.hold();
        state.wake();
        state.positions.assignment().into_iter().map(TopicPartition::from).collect()
    };
    let lost = lost || !application_is_back(shared).await;
    let (handle, places) = (ConsumerHandle::of(shared), partitions);
    if let Some(listener) = listener.filter(|_| !places.is_empty()) {
        hook(async move {
            if lost {
                listener.on_lost(&handle, &places).await;
            } else {
                listener.on_revoked(&handle, &places).await;
            }
        })
        .await;
    }
    let mut committed = Ok(());
    if !lost && shared.config.enable_auto_commit {
        let returned = !shared.lock().dropped;
        let offsets = committable(shared, returned);
        let (reply, answer) = oneshot::channel();
        let order = CommitOrder::new(shared, offsets, shared.config.client.request_timeout, Some(reply));
        if shared.commits.send(order).is_ok()
            && let Ok(Err(error)) = answer.await
        {
            tracing::warn!(%error, "the offsets were not committed before the partitions were given up");
            committed = Err(error);
        }
    }
    let mut state = shared.lock();
    state.positions.assign(&[]);
    state.inbox.purge();
    state.held = false;
    state.wake();
    committed
}

/// Waits until the application has come back for more; `false` where the membership is lost before.
async fn application_is_back(shared: &Shared) -> bool {
    loop {
        let mut woken = std::pin::pin!(shared.member.notified());
        woken.as_mut().enable();
        {
            let state = shared.lock();
            if state.identity.is_none() {
                return false;
            }
            if !state.in_hand {
                return true;
            }
        }
        woken.await;
    }
}

/// Runs a hook in a task of its own, so that a panic in it stays there.
async fn hook(run: impl Future<Output = ()> + Send + 'static) {
    if let Err(error) = clock::spawn(run).await {
        tracing::error!(%error, "a rebalance hook broke off");
    }
}
