//! The classic group protocol (JoinGroup, SyncGroup, Heartbeat, LeaveGroup) as a machine, with eager and with
//! cooperative rebalances (KIP-429).
//!
//! Errors lead where Java's `ConsumerCoordinator` goes: a lost coordinator is looked for again, a lost identity is
//! dropped and the partitions count as lost, a fenced static member is done for.

use std::collections::BTreeSet;
use std::time::Instant;

use bytes::Bytes;
use rkafka_assignor::Remembered;
use rkafka_protocol::ErrorCode;

use super::listed;
use super::state::State;
use super::terms::{Action, ClassicConfig, JoinedMember, Wanted, tells_of_leaving};
use crate::subscription::{GroupMembershipOperation, TopicPartition};

mod answers;

/// One member of a classic group.
#[derive(Debug)]
pub(crate) struct Classic {
    pub(super) config: ClassicConfig,
    state: State,
    /// Whether the action of the state was handed out and is not answered.
    busy: bool,
    member_id: String,
    generation: i32,
    protocol: String,
    is_leader: bool,
    /// Whether the assignment that there is stays, and the leader only watches over it (KIP-814).
    is_kept: bool,
    pending_members: Vec<JoinedMember>,
    pending_assignments: Vec<(String, Bytes)>,
    wanted: Wanted,
    /// What was installed and not revoked.
    owned: BTreeSet<TopicPartition>,
    /// Of that, what is being given up, and whether it is lost.
    giving_up: BTreeSet<TopicPartition>,
    lost: bool,
    /// The assignment that is being put in place.
    target: Option<BTreeSet<TopicPartition>>,
    remembered: Option<Remembered>,
    coordinator_known: bool,
    finding: bool,
    /// The coordinator was looked for once more, to be told of the leaving.
    sought: bool,
    heartbeat_in_flight: bool,
    next_heartbeat: Instant,
    last_heard: Instant,
    last_poll: Instant,
    not_before: Option<Instant>,
    /// Fell out for not polling, and joins again when the application polls.
    awaiting_poll: bool,
    rejoin_wanted: bool,
    closing: Option<GroupMembershipOperation>,
    failure: Option<(ErrorCode, Option<String>)>,
    failure_told: bool,
}

impl Classic {
    /// A member that wants to join, to read what is wanted.
    pub(crate) fn new(config: ClassicConfig, wanted: Wanted, now: Instant) -> Self {
        Self {
            config,
            state: State::Unjoined,
            busy: false,
            member_id: String::new(),
            generation: -1,
            protocol: String::new(),
            is_leader: false,
            is_kept: false,
            pending_members: Vec::new(),
            pending_assignments: Vec::new(),
            wanted,
            owned: BTreeSet::new(),
            giving_up: BTreeSet::new(),
            lost: false,
            target: None,
            remembered: None,
            coordinator_known: false,
            finding: false,
            sought: false,
            heartbeat_in_flight: false,
            next_heartbeat: now,
            last_heard: now,
            last_poll: now,
            not_before: None,
            awaiting_poll: false,
            rejoin_wanted: false,
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

    /// The member id and generation to commit under; `None` outside of a generation.
    pub(crate) fn identity(&self) -> Option<(i32, &str)> {
        (self.generation >= 0).then_some((self.generation, self.member_id.as_str()))
    }

    /// Whether nothing more will happen.
    pub(crate) fn is_done(&self) -> bool {
        self.state == State::Left || (self.state == State::Failed && self.failure_told && self.owned.is_empty())
    }

    /// Whether a generation is held, so that heartbeats must go out.
    fn beats(&self) -> bool {
        self.generation >= 0
            && matches!(
                self.state,
                State::Assigning | State::Syncing | State::Installing | State::Stable | State::Revoking
            )
    }

    /// What to do next, if anything.
    pub(crate) fn poll_action(&mut self, now: Instant) -> Option<Action> {
        if self.beats() && self.closing.is_none() && now >= self.poll_expiry() {
            return self.fall_out();
        }
        if self.beats() && now >= self.session_expiry() && self.coordinator_known && !self.heartbeat_in_flight {
            // Java: the session timed out without a word from the coordinator, so another one is looked for.
            self.coordinator_known = false;
            self.last_heard = now;
        }
        if self.beats() && self.coordinator_known && !self.heartbeat_in_flight && now >= self.next_heartbeat {
            self.heartbeat_in_flight = true;
            self.next_heartbeat = now + self.config.heartbeat_interval;
            return Some(Action::Heartbeat { generation: self.generation, member_id: self.member_id.clone() });
        }
        if self.busy || self.state == State::Left {
            return None;
        }
        if self.state == State::Revoking {
            self.busy = true;
            return Some(Action::Revoke { partitions: listed(&self.giving_up), lost: self.lost });
        }
        if self.state == State::Failed {
            if !self.owned.is_empty() {
                self.begin_revoking_all(true);
                return self.poll_action(now);
            }
            if self.failure_told {
                return None;
            }
            self.failure_told = true;
            return self.failure.clone().map(|(code, message)| Action::Fail { code, message });
        }
        if let Some(operation) = self.closing
            && !self.owes_an_assignment()
        {
            if self.state != State::Leaving && !self.owned.is_empty() {
                self.begin_revoking_all(self.generation < 0);
                return self.poll_action(now);
            }
            self.state = State::Leaving;
            let tells = tells_of_leaving(operation, self.config.is_static);
            if !tells || self.member_id.is_empty() || (!self.coordinator_known && self.sought && !self.finding) {
                self.left();
                return None;
            }
            if !self.coordinator_known {
                // A member that goes without a word keeps the others waiting for its session's end.
                let begins = !self.finding;
                (self.finding, self.sought) = (true, true);
                // Nothing else is waited for.
                self.not_before = None;
                return begins.then_some(Action::FindCoordinator);
            }
            self.busy = true;
            let reason = "the consumer is being closed";
            return Some(Action::Leave { member_id: self.member_id.clone(), epoch: -1, reason });
        }
        if self.state == State::Installing {
            self.busy = true;
            let added = self.target.iter().flatten().filter(|place| !self.owned.contains(place));
            let added = listed(added);
            return Some(Action::Install { generation: self.generation, added, is_leader: self.is_leader });
        }
        if self.state == State::Assigning {
            self.busy = true;
            let members = std::mem::take(&mut self.pending_members);
            return Some(Action::Assign { protocol: self.protocol.clone(), members, is_kept: self.is_kept });
        }
        if self.state == State::Stable && self.rejoin_wanted {
            self.rejoin();
            return self.poll_action(now);
        }
        if self.awaiting_poll || self.not_before.is_some_and(|at| now < at) {
            return None;
        }
        // The pause is over. Kept, it would stay the deadline of a driver that would not sleep until an answer comes.
        self.not_before = None;
        if !self.coordinator_known {
            if self.finding {
                return None;
            }
            self.finding = true;
            return Some(Action::FindCoordinator);
        }
        match self.state {
            State::Unjoined => {
                let is_lost = self.generation < 0;
                if !self.owned.is_empty() && (is_lost || !self.config.is_cooperative) {
                    self.begin_revoking_all(is_lost);
                    return self.poll_action(now);
                }
                self.state = State::Joining;
                self.busy = true;
                self.rejoin_wanted = false;
                Some(Action::Join {
                    member_id: self.member_id.clone(),
                    generation: self.generation,
                    owned: listed(&self.owned),
                    remembered: self.remembered.clone(),
                })
            }
            State::Syncing => {
                self.busy = true;
                Some(Action::Sync {
                    generation: self.generation,
                    member_id: self.member_id.clone(),
                    protocol: self.protocol.clone(),
                    assignments: std::mem::take(&mut self.pending_assignments),
                })
            }
            _ => None,
        }
    }

    /// When [`Classic::poll_action`] should be asked again although nothing came in.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        // A pause ends nothing while an answer, or the application, is waited for.
        let mut deadline = self.not_before.filter(|_| !self.busy && !self.awaiting_poll && !self.is_done());
        let mut take = |at: Instant| deadline = Some(deadline.map_or(at, |other| other.min(at)));
        if self.beats() {
            if self.coordinator_known && !self.heartbeat_in_flight {
                take(self.next_heartbeat);
                take(self.session_expiry());
            }
            if self.closing.is_none() {
                take(self.poll_expiry());
            }
        }
        deadline
    }

    fn poll_expiry(&self) -> Instant {
        self.last_poll + self.config.max_poll_interval
    }

    fn session_expiry(&self) -> Instant {
        self.last_heard + self.config.session_timeout
    }

    /// The application polls, or waits in a poll.
    pub(crate) fn on_poll(&mut self, now: Instant) {
        self.last_poll = now;
        self.awaiting_poll = false;
    }

    /// The subscription is another.
    pub(crate) fn on_subscription(&mut self, wanted: Wanted) {
        self.wanted = wanted;
        self.rejoin_wanted = true;
    }

    /// The partitions of a subscribed topic are other than they were when they were shared out.
    pub(crate) fn on_topics_changed(&mut self) {
        self.rejoin_wanted = true;
    }

    /// The consumer closes: give up, leave as `operation` says, be done.
    pub(crate) fn on_close(&mut self, operation: GroupMembershipOperation) {
        self.closing = Some(operation);
        // Whoever waits for a JoinGroup or a SyncGroup is not waited for: the coordinator knows the member id.
        if matches!(self.state, State::Joining | State::Assigning | State::Syncing) && !self.owes_an_assignment() {
            self.busy = false;
            self.state = State::Unjoined;
        }
        self.not_before = None;
    }

    /// Whether nobody's commit is taken before this member has told who gets what. A leader that keeps partitions over the
    /// rebalance does that even when it closes, for it has those to commit.
    fn owes_an_assignment(&self) -> bool {
        self.is_leader
            && self.coordinator_known
            && !self.owned.is_empty()
            && matches!(self.state, State::Assigning | State::Syncing)
    }

    fn begin_revoking(&mut self, partitions: BTreeSet<TopicPartition>, lost: bool) {
        self.giving_up = partitions;
        self.lost |= lost;
        self.state = State::Revoking;
        self.busy = false;
    }

    fn begin_revoking_all(&mut self, lost: bool) {
        self.target = None;
        self.begin_revoking(self.owned.clone(), lost);
    }

    /// After the identity was lost: all that is left goes, and then the member joins anew.
    fn drop_what_is_lost(&mut self) {
        self.target = None;
        if self.owned.is_empty() { self.state = State::Unjoined } else { self.begin_revoking_all(true) }
    }

    /// Joins anew, after giving up all (eager), or what is not subscribed any more (cooperative).
    fn rejoin(&mut self) {
        let gone: BTreeSet<_> = if self.config.is_cooperative {
            self.owned.iter().filter(|place| !self.wanted.topics.contains(&*place.topic)).cloned().collect()
        } else {
            self.owned.clone()
        };
        self.target = None;
        if gone.is_empty() { self.state = State::Unjoined } else { self.begin_revoking(gone, false) }
    }

    /// The application has not polled for `max.poll.interval.ms`: the partitions are better off with others.
    fn fall_out(&mut self) -> Option<Action> {
        self.awaiting_poll = true;
        let member_id = std::mem::take(&mut self.member_id);
        tracing::warn!(
            max_poll_interval_ms = self.config.max_poll_interval.as_millis() as u64,
            "the application has not polled within max.poll.interval.ms: leaving the group until it does"
        );
        self.lose_identity(false);
        if self.config.is_static || !self.coordinator_known {
            // Static members are waited for until their session ends.
            return None;
        }
        let reason = "the application has not polled within max.poll.interval.ms";
        Some(Action::Leave { member_id, epoch: -1, reason })
    }
}
