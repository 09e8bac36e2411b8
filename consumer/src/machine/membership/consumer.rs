//! The protocol of consumer groups (KIP-848, `group.protocol=consumer`) as a machine: one request, ConsumerGroupHeartbeat,
//! joins, beats, tells what is owned and brings what should be.
//!
//! What the coordinator assigns is moved to in steps: what goes is revoked, then what comes is begun with. What is new
//! meanwhile is taken up after the step. A fenced member loses everything and joins again under the same member id.
//! What is told of it all is in [`beats`], what is done with partitions in [`steps`].

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rkafka_protocol::ErrorCode;
use uuid::Uuid;

use super::terms::{Action, Failure, Wanted, tells_of_leaving};
use crate::subscription::{GroupMembershipOperation, TopicPartition};
use beats::Known;
use steps::Step;

mod beats;
mod steps;

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
    /// Whether a pattern was told since the member was made, so that it must be taken back where there is none now.
    told_pattern: bool,
    /// Whether the coordinator may have this member for what was told earlier, though it is not `Joined`.
    may_be_held: bool,
    /// Whether this static member has to let go of its own instance before it can join.
    must_release: bool,
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
    /// The coordinator was looked for once more, to be told of the leaving.
    sought: bool,
    interval: Duration,
    next_beat: Instant,
    not_before: Option<Instant>,
    last_poll: Instant,
    leaving: bool,
    closing: Option<GroupMembershipOperation>,
    failure: Option<(ErrorCode, Option<String>)>,
    failure_told: bool,
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
            told_pattern: false,
            may_be_held: false,
            must_release: false,
            target: None,
            owned: BTreeMap::new(),
            names: HashMap::new(),
            resolving: false,
            resolve_after: None,
            step: Step::None,
            is_void: false,
            coordinator_known: false,
            finding: false,
            sought: false,
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

    #[cfg(test)]
    pub(crate) fn member_id(&self) -> &str {
        &self.member_id
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
            let is_known = self.epoch > 0 || self.may_be_held || self.in_flight.is_some();
            if !tells || !is_known || (!self.coordinator_known && self.sought && !self.finding) {
                self.state = State::Left;
                return None;
            }
            if !self.coordinator_known {
                // A member that goes without a word keeps the others waiting for its session's end.
                let begins = !self.finding;
                (self.finding, self.sought) = (true, true);
                // Nothing else is waited for.
                (self.not_before, self.resolve_after) = (None, None);
                return begins.then_some(Action::FindCoordinator);
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
        if self.must_release {
            return Some(self.leave(GroupMembershipOperation::Default, "the instance was not left"));
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
}
