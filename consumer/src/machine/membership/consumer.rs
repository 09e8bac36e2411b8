//! The protocol of consumer groups (KIP-848, `group.protocol=consumer`) as a machine: one request, ConsumerGroupHeartbeat,
//! joins, beats, tells what is owned and brings what should be.
//!
//! What the coordinator assigns is moved to in steps: what goes is revoked, then what comes is begun with, and what is
//! owned after each is told at once. What is new meanwhile is taken up after the step. A fenced member loses everything
//! and joins again under the same member id.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rkafka_protocol::ErrorCode;
use uuid::Uuid;

use super::terms::{Action, Beat, BeatAnswer, Failure, Wanted, tells_of_leaving};
use crate::subscription::{GroupMembershipOperation, TopicPartition};

/// The member epoch by which a member leaves.
const LEAVE_EPOCH: i32 = -1;
/// The member epoch by which a static member leaves that will be back.
const LEAVE_STATIC_EPOCH: i32 = -2;
/// How often a member beats before the coordinator has said.
const FIRST_INTERVAL: Duration = Duration::from_secs(5);

/// What the member is told at the start.
#[derive(Debug, Clone)]
pub(crate) struct ConsumerMemberConfig {
    /// Made by the client, and kept for the member's life (KIP-1082).
    pub(crate) member_id: String,
    /// Whether `group.instance.id` is set.
    pub(crate) is_static: bool,
    pub(crate) max_poll_interval: Duration,
    pub(crate) retry_backoff: Duration,
}

/// Where the member stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Not in the group, and wants to be.
    Joining,
    /// In the group.
    Joined,
    /// Left for the application does not poll, until it does.
    Stale,
    /// Tells the coordinator that it leaves.
    Leaving,
    /// Has left for good.
    Left,
    /// Cannot be a member any more.
    Failed,
}

/// What is being done with partitions.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    None,
    /// The hook is to be called, or runs, for what goes.
    Revoking {
        places: BTreeSet<(Uuid, i32)>,
        lost: bool,
        begun: bool,
    },
    /// The hook is to be called, or runs, for what comes.
    Installing {
        places: BTreeMap<(Uuid, i32), TopicPartition>,
        begun: bool,
    },
}

/// One member of a consumer group.
#[derive(Debug)]
pub(crate) struct ConsumerMember {
    config: ConsumerMemberConfig,
    state: State,
    member_id: String,
    /// 0 while not in the group.
    epoch: i32,
    wanted: Wanted,
    /// What the coordinator knows of this member: what was in the last beat that it answered.
    known: Option<Known>,
    in_flight: Option<Known>,
    /// What should be owned; `None` before the first assignment.
    target: Option<BTreeSet<(Uuid, i32)>>,
    owned: BTreeMap<(Uuid, i32), TopicPartition>,
    names: HashMap<Uuid, Arc<str>>,
    resolving: bool,
    resolve_after: Option<Instant>,
    step: Step,
    /// What is owned belongs to others by now.
    is_void: bool,
    coordinator_known: bool,
    finding: bool,
    interval: Duration,
    next_beat: Instant,
    not_before: Option<Instant>,
    last_poll: Instant,
    leaving: bool,
    closing: Option<GroupMembershipOperation>,
    failure: Option<(ErrorCode, Option<String>)>,
    failure_told: bool,
}

/// What a beat tells.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Known {
    wanted: Wanted,
    owned: BTreeSet<(Uuid, i32)>,
}

impl ConsumerMember {
    /// A member that wants to join, to read what is wanted.
    pub(crate) fn new(config: ConsumerMemberConfig, wanted: Wanted, now: Instant) -> Self {
        Self {
            member_id: config.member_id.clone(),
            config,
            state: State::Joining,
            epoch: 0,
            wanted,
            known: None,
            in_flight: None,
            target: None,
            owned: BTreeMap::new(),
            names: HashMap::new(),
            resolving: false,
            resolve_after: None,
            step: Step::None,
            is_void: false,
            coordinator_known: false,
            finding: false,
            interval: FIRST_INTERVAL,
            next_beat: now,
            not_before: None,
            last_poll: now,
            leaving: false,
            closing: None,
            failure: None,
            failure_told: false,
        }
    }

    #[cfg(test)]
    pub(crate) fn state(&self) -> State {
        self.state
    }

    /// The member id and epoch to commit under; `None` outside of the group.
    pub(crate) fn identity(&self) -> Option<(i32, &str)> {
        (self.state == State::Joined).then_some((self.epoch, self.member_id.as_str()))
    }

    /// Whether nothing more will happen.
    pub(crate) fn is_done(&self) -> bool {
        self.state == State::Left || (self.state == State::Failed && self.failure_told && self.owned.is_empty())
    }

    /// What to do next, if anything.
    pub(crate) fn poll_action(&mut self, now: Instant) -> Option<Action> {
        if self.state == State::Joined && self.closing.is_none() && now >= self.poll_expiry() {
            return self.fall_out();
        }
        self.advance();
        if let Some(action) = self.begin_step() {
            return Some(action);
        }
        match self.state {
            State::Left => return None,
            State::Failed => {
                if self.step != Step::None || self.failure_told {
                    return None;
                }
                self.failure_told = true;
                return self.failure.clone().map(|(code, message)| Action::Fail { code, message });
            }
            _ => {}
        }
        if let Some(operation) = self.closing
            && self.step == Step::None
            && !self.leaving
        {
            // What a static member may do without a word is to say that it will be back (KIP-1092).
            let tells = tells_of_leaving(operation, self.config.is_static) || self.config.is_static;
            let is_known = self.epoch > 0 || (self.state == State::Joining && self.in_flight.is_some());
            if !tells || !is_known || !self.coordinator_known {
                self.state = State::Left;
                return None;
            }
            self.state = State::Leaving;
            return Some(self.leave(operation, "the consumer is being closed"));
        }
        if !matches!(self.state, State::Joining | State::Joined) || self.not_before.is_some_and(|at| now < at) {
            return None;
        }
        self.not_before = None;
        if let Some(action) = self.resolve(now) {
            return Some(action);
        }
        if !self.coordinator_known {
            if self.finding {
                return None;
            }
            self.finding = true;
            return Some(Action::FindCoordinator);
        }
        if !self.may_beat() || (now < self.next_beat && !self.has_news()) {
            return None;
        }
        Some(self.beat(now))
    }

    /// When [`ConsumerMember::poll_action`] should be asked again although nothing came in.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let member = matches!(self.state, State::Joining | State::Joined);
        let after_pause = |at: Instant| self.not_before.map_or(at, |pause| pause.max(at));
        let beat = (self.coordinator_known && self.may_beat()).then(|| after_pause(self.next_beat));
        let pause = self.not_before.filter(|_| member && self.in_flight.is_none() && !self.finding);
        let poll = (self.state == State::Joined && self.closing.is_none()).then(|| self.poll_expiry());
        let resolve = self.resolve_after.filter(|_| member && !self.resolving).map(after_pause);
        [beat, pause, poll, resolve].into_iter().flatten().min()
    }

    /// Whether a beat may go out. Who has yet to give up what it lost does not join.
    fn may_beat(&self) -> bool {
        let has_place = match self.state {
            State::Joined => true,
            State::Joining => self.step == Step::None && !self.is_void && !self.leaving,
            _ => false,
        };
        has_place && self.in_flight.is_none()
    }

    fn poll_expiry(&self) -> Instant {
        self.last_poll + self.config.max_poll_interval
    }

    /// Decides the next step with partitions, where none is under way.
    fn advance(&mut self) {
        if self.step != Step::None {
            return;
        }
        if self.owned.is_empty() {
            self.is_void = false;
        }
        let gives_up_all = self.is_void || self.closing.is_some() || self.state == State::Failed;
        if gives_up_all {
            if !self.owned.is_empty() {
                let lost = self.is_void || self.state != State::Joined;
                self.step = Step::Revoking { places: self.owned.keys().copied().collect(), lost, begun: false };
            }
            return;
        }
        if self.state != State::Joined {
            return;
        }
        let Some(target) = &self.target else { return };
        let gone: BTreeSet<_> = self.owned.keys().filter(|place| !target.contains(place)).copied().collect();
        if !gone.is_empty() {
            self.step = Step::Revoking { places: gone, lost: false, begun: false };
            return;
        }
        let new = target.iter().filter(|place| !self.owned.contains_key(place));
        let places: BTreeMap<_, _> = new
            .filter_map(|(id, partition)| {
                let name = self.names.get(id)?;
                Some(((*id, *partition), TopicPartition { topic: Arc::clone(name), partition: *partition }))
            })
            .collect();
        if !places.is_empty() {
            self.step = Step::Installing { places, begun: false };
        }
    }

    fn begin_step(&mut self) -> Option<Action> {
        match &mut self.step {
            Step::Revoking { places, lost, begun } if !*begun => {
                *begun = true;
                let partitions = places.iter().filter_map(|place| self.owned.get(place).cloned()).collect();
                Some(Action::Revoke { partitions, lost: *lost })
            }
            Step::Installing { places, begun } if !*begun => {
                *begun = true;
                let added = places.values().cloned().collect();
                Some(Action::Install { generation: self.epoch, added, is_leader: false })
            }
            _ => None,
        }
    }

    /// Has the names of assigned topics looked for that are not known.
    fn resolve(&mut self, now: Instant) -> Option<Action> {
        if self.resolving || self.resolve_after.is_some_and(|at| now < at) {
            return None;
        }
        self.resolve_after = None;
        let unknown: BTreeSet<Uuid> =
            self.target.iter().flatten().map(|(id, _)| *id).filter(|id| !self.names.contains_key(id)).collect();
        if unknown.is_empty() {
            return None;
        }
        self.resolving = true;
        Some(Action::Resolve(unknown.into_iter().collect()))
    }

    /// What the coordinator should know of this member.
    fn present(&self) -> Known {
        Known { wanted: self.wanted.clone(), owned: self.owned.keys().copied().collect() }
    }

    /// Whether the coordinator should hear at once.
    fn has_news(&self) -> bool {
        match &self.known {
            // A join, or what was told last may not have come through: at the next beat.
            None => false,
            Some(known) => {
                known.wanted != self.wanted
                    || known.owned.len() != self.owned.len()
                    || !self.owned.keys().all(|place| known.owned.contains(place))
            }
        }
    }

    fn beat(&mut self, now: Instant) -> Action {
        let present = self.present();
        let joins = self.state == State::Joining;
        let known = self.known.as_ref().filter(|_| !joins);
        let full = known.is_none();
        let is_same = |same: fn(&Known, &Known) -> bool| known.is_some_and(|known| same(known, &present));
        let topics = (!is_same(|known, present| known.wanted.topics == present.wanted.topics))
            .then(|| present.wanted.topics.iter().cloned().collect());
        let had_pattern = known.is_some_and(|known| known.wanted.pattern.is_some());
        let pattern = if is_same(|known, present| known.wanted.pattern == present.wanted.pattern) {
            None
        } else {
            present.wanted.pattern.clone().or_else(|| had_pattern.then(String::new))
        };
        let owned = (!is_same(|known, present| known.owned == present.owned)).then(|| {
            let mut by_topic: BTreeMap<Uuid, Vec<i32>> = BTreeMap::new();
            for (id, partition) in &present.owned {
                by_topic.entry(*id).or_default().push(*partition);
            }
            by_topic
        });
        self.in_flight = Some(present);
        self.next_beat = now + self.interval;
        Action::Beat(Beat { member_id: self.member_id.clone(), epoch: self.epoch, full, topics, pattern, owned })
    }

    fn leave(&mut self, operation: GroupMembershipOperation, reason: &'static str) -> Action {
        let for_good = operation == GroupMembershipOperation::LeaveGroup || !self.config.is_static;
        let epoch = if for_good { LEAVE_EPOCH } else { LEAVE_STATIC_EPOCH };
        self.leaving = true;
        self.epoch = 0;
        Action::Leave { member_id: self.member_id.clone(), epoch, reason }
    }

    /// The application has not polled for `max.poll.interval.ms`: the partitions are better off with others.
    fn fall_out(&mut self) -> Option<Action> {
        tracing::warn!(
            max_poll_interval_ms = self.config.max_poll_interval.as_millis() as u64,
            "the application has not polled within max.poll.interval.ms: leaving the group until it does"
        );
        self.lose();
        self.state = State::Stale;
        if !self.coordinator_known {
            return self.poll_after_fall();
        }
        let reason = "the application has not polled within max.poll.interval.ms";
        Some(self.leave(GroupMembershipOperation::Default, reason))
    }

    /// The coordinator cannot be told: it will see.
    fn poll_after_fall(&mut self) -> Option<Action> {
        self.advance();
        self.begin_step()
    }

    /// The identity is void, and what is owned belongs to others.
    fn lose(&mut self) {
        self.epoch = 0;
        self.known = None;
        self.target = None;
        self.is_void = !self.owned.is_empty() || matches!(self.step, Step::Installing { begun: true, .. });
        match &mut self.step {
            Step::Revoking { lost, .. } => *lost = true,
            Step::Installing { begun: false, .. } => self.step = Step::None,
            _ => {}
        }
        self.state = State::Joining;
    }

    fn fail(&mut self, code: ErrorCode, message: Option<String>) {
        self.lose();
        self.failure = Some((code, message));
        self.state = State::Failed;
    }

    /// The application polls, or waits in a poll.
    pub(crate) fn on_poll(&mut self, now: Instant) {
        self.last_poll = now;
        if self.state == State::Stale {
            self.state = State::Joining;
            self.next_beat = now;
        }
    }

    /// The subscription is another.
    pub(crate) fn on_subscription(&mut self, wanted: Wanted) {
        self.wanted = wanted;
    }

    /// The consumer closes: give up, leave as `operation` says, be done.
    pub(crate) fn on_close(&mut self, operation: GroupMembershipOperation) {
        self.closing = Some(operation);
        if self.state == State::Stale {
            self.state = State::Joining;
        }
    }

    /// The coordinator was found, or not.
    pub(crate) fn on_coordinator(&mut self, now: Instant, found: Result<(), Failure>) {
        self.finding = false;
        match found {
            Ok(()) => {
                self.coordinator_known = true;
                self.not_before = None;
                self.next_beat = now;
            }
            Err(Failure::Refused {
                code: code @ (ErrorCode::GroupAuthorizationFailed | ErrorCode::InvalidGroupId),
                message,
                ..
            }) => self.fail(code, message),
            Err(_) => self.back_off(now),
        }
    }

    fn back_off(&mut self, now: Instant) {
        self.not_before = Some(now + self.config.retry_backoff);
        self.next_beat = now + self.config.retry_backoff;
    }

    /// The answer to a beat that was sent with `epoch`.
    pub(crate) fn on_beat(&mut self, now: Instant, epoch: i32, answer: Result<BeatAnswer, Failure>) {
        let sent = self.in_flight.take();
        if !matches!(self.state, State::Joining | State::Joined) || epoch != self.epoch {
            // Of an earlier life.
            return;
        }
        match answer {
            Ok(answer) => {
                self.known = sent;
                if let Some(member_id) = answer.member_id.filter(|member_id| !member_id.is_empty()) {
                    self.member_id = member_id;
                }
                self.epoch = answer.epoch;
                self.state = State::Joined;
                if !answer.interval.is_zero() {
                    self.interval = answer.interval;
                }
                self.next_beat = now + self.interval;
                if let Some(assignment) = answer.assignment {
                    let places = assignment
                        .into_iter()
                        .flat_map(|(id, partitions)| partitions.into_iter().map(move |partition| (id, partition)));
                    let target: BTreeSet<_> = places.collect();
                    let ids: BTreeSet<Uuid> = target.iter().chain(self.owned.keys()).map(|(id, _)| *id).collect();
                    self.names.retain(|id, _| ids.contains(id));
                    self.target = Some(target);
                }
            }
            Err(Failure::Lost) => {
                // Whether it came through is not known, so all is told again.
                self.known = None;
                self.coordinator_known = false;
                self.back_off(now);
            }
            Err(Failure::Refused { code, message, .. }) => {
                self.known = None;
                match code {
                    ErrorCode::NotCoordinator | ErrorCode::CoordinatorNotAvailable => {
                        self.coordinator_known = false;
                        self.back_off(now);
                    }
                    ErrorCode::FencedMemberEpoch | ErrorCode::UnknownMemberId => {
                        tracing::info!(%code, epoch, "the member was fenced, and joins again");
                        self.lose();
                        self.next_beat = now;
                        if epoch == 0 {
                            // It was about to join: not to be asked in a tight loop.
                            self.back_off(now);
                        }
                    }
                    // The other topics go on. The log tells; the fetches of the topic will too.
                    ErrorCode::TopicAuthorizationFailed => self.back_off(now),
                    code if code.is_retriable() => self.back_off(now),
                    // Also UNRELEASED_INSTANCE_ID, as in Java: another life of this static member has not left.
                    code => self.fail(code, message),
                }
            }
        }
    }

    /// The names of topics that were asked for, those that are known; the others are asked for again after a backoff.
    pub(crate) fn on_names(&mut self, now: Instant, names: Vec<(Uuid, Arc<str>)>) {
        self.resolving = false;
        self.names.extend(names);
        let all_known = self.target.iter().flatten().all(|(id, _)| self.names.contains_key(id));
        self.resolve_after = (!all_known).then(|| now + self.config.retry_backoff);
    }

    /// The group refused a commit by this error: a beat will tell what is the matter.
    pub(crate) fn on_commit_refused(&mut self, now: Instant, epoch: i32, code: ErrorCode) {
        if epoch != self.epoch || self.state != State::Joined {
            return;
        }
        match code {
            ErrorCode::NotCoordinator | ErrorCode::CoordinatorNotAvailable => self.coordinator_known = false,
            ErrorCode::UnknownMemberId | ErrorCode::StaleMemberEpoch | ErrorCode::FencedMemberEpoch => {
                self.next_beat = now;
            }
            _ => {}
        }
    }

    /// What was to be given up is.
    pub(crate) fn on_revoked(&mut self) {
        if let Step::Revoking { places, .. } = std::mem::replace(&mut self.step, Step::None) {
            places.iter().for_each(|place| drop(self.owned.remove(place)));
        }
    }

    /// What was to be begun with is.
    pub(crate) fn on_installed(&mut self) {
        if let Step::Installing { places, .. } = std::mem::replace(&mut self.step, Step::None) {
            self.owned.extend(places);
        }
    }

    /// The leaving was answered, or was not.
    pub(crate) fn on_left(&mut self) {
        self.leaving = false;
        if self.state == State::Leaving {
            self.state = State::Left;
        }
    }
}
