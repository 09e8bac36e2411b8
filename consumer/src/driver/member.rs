//! The member: runs the membership machine, sends what it asks for, and calls the application's hooks.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use rkafka_client_core::CoordinatorKind;
use rkafka_protocol::ErrorCode;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::classic_requests::{self, Joining, failure, group_id};
use super::{consumer_requests, partitions};
use crate::clock;
use crate::config::GroupProtocol;
use crate::error::ConsumerError;
use crate::framing;
use crate::listener::RebalanceListener;
use crate::machine::membership::consumer::ConsumerMemberConfig;
use crate::machine::membership::terms::{BeatAnswer, ClassicConfig, Joined};
use crate::machine::membership::{Action, Classic, ConsumerMember, Failure, Membership, Wanted};
use crate::shared::{Mode, Shared};
use crate::subscription::GroupMembershipOperation;

/// The application's hooks.
pub(crate) struct Hooks(pub(crate) Arc<dyn RebalanceListener>);

impl std::fmt::Debug for Hooks {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Hooks")
    }
}

/// What the member is told by others.
#[derive(Debug)]
pub(crate) enum MemberNews {
    /// These hooks are called from now on.
    Hooks(Hooks),
    /// The subscription changed.
    SubscriptionChanged,
    /// A topic has other partitions than were shared out.
    TopicsChanged,
    /// The coordinator refused a commit.
    CommitRefused { generation: i32, code: ErrorCode },
    /// Leave, and end. Told what became of the last commit when that is done.
    Close(GroupMembershipOperation, oneshot::Sender<Result<(), ConsumerError>>),
}

/// What came of an action.
enum Event {
    Coordinator(Result<(), Failure>),
    Join(Result<Joined, Failure>),
    Assigned(Result<Vec<(String, Bytes)>, Failure>),
    Sync(Result<Bytes, Failure>),
    Installed,
    Heartbeat(i32, Result<(), Failure>),
    Beat(i32, Result<BeatAnswer, Failure>),
    Names(Vec<(Uuid, Arc<str>)>),
    Revoked(Result<(), ConsumerError>),
    Left(Result<(), Failure>),
}

pub(crate) struct MemberTask {
    pub(crate) shared: Arc<Shared>,
    pub(crate) news: mpsc::UnboundedReceiver<MemberNews>,
    pub(crate) listener: Option<Arc<dyn RebalanceListener>>,
}

impl MemberTask {
    /// Runs until the member has left, or cannot be one.
    pub(crate) async fn run(mut self) -> mpsc::UnboundedReceiver<MemberNews> {
        let mut machine: Option<Membership> = None;
        let mut events: JoinSet<Event> = JoinSet::new();
        let mut closing: Option<oneshot::Sender<Result<(), ConsumerError>>> = None;
        // Whether the member leaves because nothing is subscribed any more: it may be followed by another.
        let mut pausing = false;
        let mut last_commit = Ok(());
        let mut seen_polls = self.shared.polls.load(Ordering::Relaxed);
        let mut was_in_call = false;
        loop {
            let shared = Arc::clone(&self.shared);
            // Which topics a pattern means is known once the cluster's topics are.
            if machine.is_none()
                && closing.is_none()
                && let Some(wanted) = wanted(&shared)
            {
                machine = Some(membership(&shared, wanted));
            }
            let mut woken = std::pin::pin!(shared.member.notified());
            woken.as_mut().enable();
            let now = clock::now();
            let polls = shared.polls.load(Ordering::Relaxed);
            let in_call = shared.lock().waker.is_some();
            // Who was in a call at the last look may have come out of it at any time since: counted from now, the
            // interval may end late by one look, and never early.
            if let Some(machine) = &mut machine
                && (in_call || was_in_call || polls != seen_polls)
            {
                machine.on_poll(now);
            }
            (seen_polls, was_in_call) = (polls, in_call);
            let deadline = match &mut machine {
                Some(member) => {
                    while let Some(action) = member.poll_action(now) {
                        self.publish(Some(member));
                        self.start(action, &mut events);
                    }
                    self.publish(Some(member));
                    if member.is_done() {
                        if !pausing || closing.is_some() {
                            break;
                        }
                        // Answers that are still on their way were for the member that is gone.
                        (machine, events, pausing) = (None, JoinSet::new(), false);
                        self.publish(None);
                        shared.lock().shared_out = None;
                        continue;
                    }
                    member.deadline()
                }
                None if closing.is_some() => break,
                None => None,
            };
            tokio::select! {
                Some(event) = events.join_next() => match (event, &mut machine) {
                    (Ok(Event::Revoked(committed)), Some(machine)) => {
                        // Of one that failed before it was to leave the application was told by the log. A close tells of
                        // the first that failed since it was called, also where the member has yet to hear of it.
                        if closing.is_some() || shared.lock().commit_by.is_some() {
                            last_commit = std::mem::replace(&mut last_commit, Ok(())).and(committed);
                        }
                        machine.on_revoked();
                    }
                    (Ok(event), Some(machine)) => self.take_in(machine, event),
                    (Err(error), _) => tracing::error!(%error, "a task of the group member broke off"),
                    (Ok(_), None) => {}
                },
                Some(news) = self.news.recv() => match (news, &mut machine) {
                    (MemberNews::Hooks(Hooks(listener)), _) => self.listener = Some(listener),
                    (MemberNews::SubscriptionChanged, Some(machine)) => {
                        if is_unsubscribed(&shared) {
                            pausing = true;
                            machine.on_close(GroupMembershipOperation::Default);
                        } else if let Some(wanted) = wanted(&shared) {
                            machine.on_subscription(wanted);
                        }
                    }
                    (MemberNews::TopicsChanged, Some(machine)) => machine.on_topics_changed(),
                    (MemberNews::CommitRefused { generation, code }, Some(machine)) => {
                        machine.on_commit_refused(clock::now(), generation, code);
                    }
                    (MemberNews::Close(operation, done), machine) => {
                        closing = Some(done);
                        if let Some(machine) = machine {
                            machine.on_close(operation);
                        }
                    }
                    (_, None) => {}
                },
                () = woken => {}
                () = clock::sleep_until(deadline) => {}
            }
        }
        if let Some(closing) = closing {
            let _ = closing.send(last_commit);
        }
        self.news
    }

    /// Lets the others see under which identity to commit.
    fn publish(&self, machine: Option<&Membership>) {
        let identity = machine.and_then(Membership::identity);
        let identity = identity.map(|(generation, member_id)| (generation, member_id.to_owned()));
        let mut state = self.shared.lock();
        if state.identity != identity {
            state.identity = identity;
            drop(state);
            self.shared.member.notify_waiters();
        }
    }

    fn take_in(&self, machine: &mut Membership, event: Event) {
        let now = clock::now();
        match (event, machine) {
            (Event::Coordinator(found), machine) => machine.on_coordinator(now, found),
            (Event::Installed, machine) => machine.on_installed(),
            (Event::Revoked(_), machine) => machine.on_revoked(),
            (Event::Left(told), machine) => machine.on_left(now, told),
            (Event::Join(answer), Membership::Classic(machine)) => machine.on_join(now, answer),
            (Event::Assigned(Ok(assignments)), Membership::Classic(machine)) => machine.on_assigned(assignments),
            // As good as a coordinator that does not answer: join again after a backoff.
            (Event::Assigned(Err(failure)), Membership::Classic(machine)) => {
                machine.on_assigned(Vec::new());
                machine.on_sync(now, Err(failure));
            }
            (Event::Sync(Ok(assignment)), Membership::Classic(machine)) => match framing::read_assignment(assignment) {
                Ok(partitions) => machine.on_sync(now, Ok(partitions)),
                Err(error) => {
                    let group_id = group_id(&self.shared);
                    self.shared.lock().fail(ConsumerError::BadAssignment { group_id, reason: error.to_string() });
                    machine.on_sync(now, Err(Failure::Lost));
                    machine.on_close(GroupMembershipOperation::Default);
                }
            },
            (Event::Sync(Err(failure)), Membership::Classic(machine)) => machine.on_sync(now, Err(failure)),
            (Event::Heartbeat(generation, answer), Membership::Classic(machine)) => {
                machine.on_heartbeat(now, generation, answer);
            }
            (Event::Beat(epoch, answer), Membership::Consumer(machine)) => machine.on_beat(now, epoch, answer),
            (Event::Names(names), Membership::Consumer(machine)) => machine.on_names(now, names),
            // An answer to what the machine of the other protocol never asks.
            _ => {}
        }
    }

    fn start(&self, action: Action, events: &mut JoinSet<Event>) {
        let shared = Arc::clone(&self.shared);
        let listener = self.listener.clone();
        let is_classic = shared.config.group_protocol == GroupProtocol::Classic;
        match action {
            Action::FindCoordinator => {
                events.spawn(async move {
                    let found = shared.client.coordinator(CoordinatorKind::Group, &group_id(&shared)).await;
                    Event::Coordinator(found.map(drop).map_err(|error| failure(&shared, &error)))
                });
            }
            Action::Join { member_id, generation, owned, remembered } => {
                let joining = Joining { member_id, generation, owned, remembered };
                events.spawn(async move { Event::Join(classic_requests::join(&shared, joining).await) });
            }
            Action::Assign { protocol, members, is_kept } => {
                events.spawn(async move {
                    Event::Assigned(classic_requests::assign(&shared, &protocol, members, is_kept).await)
                });
            }
            Action::Sync { generation, member_id, protocol, assignments } => {
                events.spawn(async move {
                    let answer = classic_requests::sync(&shared, generation, member_id, protocol, assignments).await;
                    Event::Sync(answer)
                });
            }
            Action::Install { generation, added, is_leader } => {
                events.spawn(async move {
                    tracing::info!(generation, is_leader, added = added.len(), "the group gave an assignment");
                    partitions::install(&shared, listener, added, is_leader).await;
                    Event::Installed
                });
            }
            Action::Heartbeat { generation, member_id } => {
                events.spawn(async move {
                    Event::Heartbeat(generation, classic_requests::beat(&shared, generation, member_id).await)
                });
            }
            Action::Beat(beat) => {
                events.spawn(async move { Event::Beat(beat.epoch, consumer_requests::beat(&shared, beat).await) });
            }
            Action::Resolve(ids) => {
                events.spawn(async move { Event::Names(consumer_requests::names(&shared, ids).await) });
            }
            Action::Revoke { partitions, lost } => {
                events.spawn(
                    async move { Event::Revoked(partitions::revoke(&shared, listener, partitions, lost).await) },
                );
            }
            Action::Leave { member_id, epoch, reason } => {
                events.spawn(async move {
                    Event::Left(if is_classic {
                        classic_requests::leave(&shared, member_id, reason).await;
                        Ok(())
                    } else {
                        consumer_requests::leave(&shared, member_id, epoch).await
                    })
                });
            }
            Action::Fail { code, message } => {
                self.shared.lock().fail(ConsumerError::Group { group_id: group_id(&self.shared), code, message });
            }
        }
    }
}

/// What the subscription asks for; `None` where there is none, and while it is not known which topics a pattern means.
fn wanted(shared: &Shared) -> Option<Wanted> {
    match &shared.lock().mode {
        Mode::Group(subscription) if !subscription.is_empty() => subscription.wanted(),
        _ => None,
    }
}

/// Whether nothing is subscribed any more.
fn is_unsubscribed(shared: &Shared) -> bool {
    matches!(&shared.lock().mode, Mode::Group(subscription) if subscription.is_empty())
}

/// A member by the protocol that the settings name.
fn membership(shared: &Shared, wanted: Wanted) -> Membership {
    let (config, now) = (&shared.config, clock::now());
    let is_static = config.group_instance_id.is_some();
    let (max_poll_interval, retry_backoff) = (config.max_poll_interval, config.client.retry_backoff);
    match config.group_protocol {
        GroupProtocol::Classic => {
            let config = ClassicConfig {
                is_static,
                is_cooperative: shared.is_cooperative,
                session_timeout: config.session_timeout,
                heartbeat_interval: config.heartbeat_interval,
                max_poll_interval,
                retry_backoff,
            };
            Membership::Classic(Box::new(Classic::new(config, wanted, now)))
        }
        GroupProtocol::Consumer => {
            let member_id = Uuid::from_u128(rand::random()).to_string();
            let config = ConsumerMemberConfig { member_id, is_static, max_poll_interval, retry_backoff };
            Membership::Consumer(Box::new(ConsumerMember::new(config, wanted, now)))
        }
    }
}
