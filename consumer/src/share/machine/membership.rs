//! A member of a share group (KIP-932), as a machine: one heartbeat joins, keeps, changes and leaves the membership.
//!
//! The member chooses its own id and keeps it for its life (KIP-1082). The broker answers with the member's epoch, the
//! time until the next heartbeat, and the assignment where that changed. Errors lead where Java's
//! `ShareMembershipManager` goes: a fenced member joins again, a lost coordinator is looked for again.

use std::time::{Duration, Instant};

use rkafka_protocol::ErrorCode;

use super::session::Place;

/// The epoch by which a member joins.
const JOIN_EPOCH: i32 = 0;
/// The epoch by which a member leaves.
const LEAVE_EPOCH: i32 = -1;
/// How long a pause between two attempts grows.
const BACKOFF_DOUBLINGS_MAX: u32 = 10;

/// Where a member is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Nothing is subscribed.
    Unsubscribed,
    /// Wants to be let in.
    Joining,
    /// Is a member.
    Stable,
    /// Tells the group that it goes, because the application no longer subscribes or no longer asks for records.
    Leaving,
    /// Fell out because the application did not come back within `max.poll.interval.ms`; joins when it does.
    Stale,
    /// The group does not take it.
    Failed,
    /// Closed.
    Left,
}

impl Phase {
    /// Whether a member may go from one phase to another.
    #[cfg(test)]
    pub(crate) fn may_become(self, next: Self) -> bool {
        use Phase::{Failed, Joining, Leaving, Left, Stable, Stale, Unsubscribed};
        match self {
            Unsubscribed => matches!(next, Joining | Left),
            Joining => matches!(next, Stable | Leaving | Stale | Failed | Unsubscribed | Left),
            Stable => matches!(next, Joining | Leaving | Failed),
            Leaving => matches!(next, Unsubscribed | Stale | Joining | Left),
            Stale => matches!(next, Joining | Unsubscribed | Left),
            Failed => matches!(next, Left),
            Left => false,
        }
    }
}

/// What a member is told at its birth.
#[derive(Debug, Clone)]
pub(crate) struct MemberTerms {
    pub(crate) rack: Option<String>,
    pub(crate) max_poll_interval: Duration,
    pub(crate) retry_backoff: Duration,
    pub(crate) retry_backoff_max: Duration,
}

/// A heartbeat to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Heartbeat {
    pub(crate) member_epoch: i32,
    /// Told when joining only.
    pub(crate) rack: Option<String>,
    /// `None` where the broker knows them.
    pub(crate) topics: Option<Vec<String>>,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// Send a heartbeat, and say what came of it by [`Membership::on_heartbeat`].
    Beat(Heartbeat),
    /// These are the partitions from now on.
    Assign(Vec<Place>),
    /// The group does not take this member. Nothing more will happen.
    Fail(ErrorCode, Option<String>),
    /// Something that does not end the membership, but that the application must know.
    Tell(ErrorCode, Option<String>),
}

/// What a broker answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) member_epoch: i32,
    pub(crate) interval: Duration,
    /// `None` where it did not change.
    pub(crate) assignment: Option<Vec<Place>>,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The broker refused.
    Refused(ErrorCode, Option<String>),
    /// No broker answered. The coordinator is looked for again by who sends.
    Lost,
}

/// What became of the last heartbeat is not known yet, or there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum InFlight {
    Nothing,
    /// With the topics of this revision, where they were told.
    Beat {
        epoch: i32,
        revision: u64,
    },
}

/// One member of a share group.
#[derive(Debug)]
pub(crate) struct Membership {
    terms: MemberTerms,
    phase: Phase,
    /// Where leaving leads.
    after_leaving: Phase,
    epoch: i32,
    topics: Vec<String>,
    /// Counts the changes of `topics`.
    revision: u64,
    /// The revision that the broker knows.
    told: Option<u64>,
    in_flight: InFlight,
    next_beat: Instant,
    failures: u32,
    last_poll: Instant,
    assignment: Vec<Place>,
    pending: Vec<Action>,
    /// Whether the group may have heard of this member, and has not forgotten it.
    maybe_known: bool,
    closing: bool,
}

impl Membership {
    /// A member of nothing yet.
    pub(crate) fn new(terms: MemberTerms, now: Instant) -> Self {
        Self {
            terms,
            phase: Phase::Unsubscribed,
            after_leaving: Phase::Unsubscribed,
            epoch: JOIN_EPOCH,
            topics: Vec::new(),
            revision: 0,
            told: None,
            in_flight: InFlight::Nothing,
            next_beat: now,
            failures: 0,
            last_poll: now,
            assignment: Vec::new(),
            pending: Vec::new(),
            maybe_known: false,
            closing: false,
        }
    }

    #[cfg(test)]
    pub(crate) fn phase(&self) -> Phase {
        self.phase
    }

    /// Whether nothing more will happen.
    pub(crate) fn is_done(&self) -> bool {
        self.phase == Phase::Left && self.pending.is_empty()
    }

    /// These topics are subscribed from now on; none at all leaves the group.
    pub(crate) fn on_subscription(&mut self, now: Instant, topics: Vec<String>) {
        if self.closing || matches!(self.phase, Phase::Failed | Phase::Left) || topics == self.topics {
            return;
        }
        self.topics = topics;
        self.revision += 1;
        match self.phase {
            Phase::Unsubscribed | Phase::Stale if !self.topics.is_empty() => {
                // The time for the application to ask begins here.
                self.last_poll = now;
                self.join(now);
            }
            Phase::Unsubscribed | Phase::Stale => self.phase = Phase::Unsubscribed,
            Phase::Joining | Phase::Stable if self.topics.is_empty() => self.leave(now, Phase::Unsubscribed),
            // The new topics go out with the next heartbeat, which is now.
            Phase::Stable => self.next_beat = now,
            Phase::Leaving if self.after_leaving != Phase::Left => {
                self.after_leaving = if self.topics.is_empty() { Phase::Unsubscribed } else { Phase::Joining };
            }
            _ => {}
        }
    }

    /// The application asks for records, or waits for them.
    pub(crate) fn on_poll(&mut self, now: Instant) {
        self.last_poll = now;
        if self.phase == Phase::Stale {
            self.join(now);
        } else if self.phase == Phase::Leaving && self.after_leaving == Phase::Stale {
            self.after_leaving = Phase::Joining;
        }
    }

    /// The consumer closes: leave, and be done.
    pub(crate) fn on_close(&mut self, now: Instant) {
        if self.closing {
            return;
        }
        self.closing = true;
        match self.phase {
            Phase::Joining | Phase::Stable => self.leave(now, Phase::Left),
            Phase::Leaving => self.after_leaving = Phase::Left,
            Phase::Unsubscribed | Phase::Stale | Phase::Failed => self.phase = Phase::Left,
            Phase::Left => {}
        }
    }

    /// What to do next, if anything.
    pub(crate) fn poll_action(&mut self, now: Instant) -> Option<Action> {
        if matches!(self.phase, Phase::Joining | Phase::Stable) && now >= self.poll_expiry() {
            tracing::warn!(
                max_poll_interval = ?self.terms.max_poll_interval,
                "the application did not ask for records within max.poll.interval.ms; leaving the share group"
            );
            self.leave(now, Phase::Stale);
        }
        if !self.pending.is_empty() {
            return Some(self.pending.remove(0));
        }
        let beats = matches!(self.phase, Phase::Joining | Phase::Stable | Phase::Leaving);
        if !beats || self.in_flight != InFlight::Nothing || now < self.next_beat {
            return None;
        }
        let epoch = if self.phase == Phase::Leaving { LEAVE_EPOCH } else { self.epoch };
        let tells = self.phase == Phase::Joining || (self.phase == Phase::Stable && self.told != Some(self.revision));
        self.in_flight = InFlight::Beat { epoch, revision: self.revision };
        self.maybe_known = true;
        Some(Action::Beat(Heartbeat {
            member_epoch: epoch,
            rack: self.terms.rack.clone().filter(|_| self.phase == Phase::Joining),
            topics: tells.then(|| self.topics.clone()),
        }))
    }

    /// When [`Membership::poll_action`] should be asked again although nothing came in.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Joining | Phase::Stable if self.in_flight == InFlight::Nothing => {
                Some(self.next_beat.min(self.poll_expiry()))
            }
            Phase::Joining | Phase::Stable => Some(self.poll_expiry()),
            Phase::Leaving if self.in_flight == InFlight::Nothing => Some(self.next_beat),
            _ => None,
        }
    }

    /// What came of a heartbeat.
    pub(crate) fn on_heartbeat(&mut self, now: Instant, result: Result<Answer, Failure>) {
        let InFlight::Beat { epoch, revision } = std::mem::replace(&mut self.in_flight, InFlight::Nothing) else {
            return;
        };
        if self.phase == Phase::Leaving {
            if epoch == LEAVE_EPOCH {
                // Whatever the answer is: who is not told goes when its session ends.
                self.left(now);
            } else if let Ok(answer) = result {
                // The answer to a heartbeat from before; the farewell goes out now.
                self.epoch = answer.member_epoch;
            }
            return;
        }
        match result {
            Ok(answer) => self.on_answer(now, answer, revision),
            Err(Failure::Lost) => self.retry(now),
            Err(Failure::Refused(code, message)) => self.on_refusal(now, code, message),
        }
    }

    fn on_answer(&mut self, now: Instant, answer: Answer, revision: u64) {
        if !matches!(self.phase, Phase::Joining | Phase::Stable) {
            return;
        }
        self.failures = 0;
        self.epoch = answer.member_epoch;
        self.phase = Phase::Stable;
        self.told = Some(revision);
        self.next_beat = if revision == self.revision { now + answer.interval } else { now };
        if let Some(mut assignment) = answer.assignment {
            assignment.sort_unstable();
            assignment.dedup();
            self.assign(assignment);
        }
    }

    fn on_refusal(&mut self, now: Instant, code: ErrorCode, message: Option<String>) {
        match code {
            ErrorCode::FencedMemberEpoch | ErrorCode::UnknownMemberId => {
                self.assign(Vec::new());
                self.join(now);
            }
            // The group is gone with all that it knew; one of this name is made anew. A group of another kind refuses
            // that as well.
            ErrorCode::GroupIdNotFound if self.phase == Phase::Stable => {
                self.assign(Vec::new());
                self.join(now);
            }
            ErrorCode::TopicAuthorizationFailed => {
                self.pending.push(Action::Tell(code, message));
                self.retry(now);
            }
            code if code.is_retriable() => self.retry(now),
            code => {
                self.assign(Vec::new());
                self.phase = Phase::Failed;
                self.pending.push(Action::Fail(code, message));
            }
        }
    }

    fn join(&mut self, now: Instant) {
        self.phase = Phase::Joining;
        self.epoch = JOIN_EPOCH;
        self.told = None;
        self.next_beat = now;
        self.failures = 0;
    }

    fn leave(&mut self, now: Instant, then: Phase) {
        self.assign(Vec::new());
        if !self.maybe_known {
            self.phase = then;
            return;
        }
        self.phase = Phase::Leaving;
        self.after_leaving = then;
        self.next_beat = now;
    }

    fn left(&mut self, now: Instant) {
        self.phase = self.after_leaving;
        self.maybe_known = false;
        self.epoch = JOIN_EPOCH;
        self.told = None;
        if self.phase == Phase::Joining {
            self.join(now);
        }
    }

    fn retry(&mut self, now: Instant) {
        let grown = self.terms.retry_backoff.saturating_mul(1 << self.failures.min(BACKOFF_DOUBLINGS_MAX));
        self.next_beat = now + grown.min(self.terms.retry_backoff_max);
        self.failures = self.failures.saturating_add(1);
    }

    fn assign(&mut self, assignment: Vec<Place>) {
        if assignment != self.assignment {
            self.assignment.clone_from(&assignment);
            self.pending.push(Action::Assign(assignment));
        }
    }

    fn poll_expiry(&self) -> Instant {
        self.last_poll + self.terms.max_poll_interval
    }
}

#[cfg(test)]
#[path = "membership_tests.rs"]
mod tests;
