//! What the member tells the coordinator, and what it hears.
//!
//! A beat names as owned all that the member has, gives up or begins with, **and all that it may begin with before the
//! answer comes**: the coordinator gives to others at once what is no longer to be this member's and not among what it
//! says it owns (Kafka's `CurrentAssignmentBuilder`). Who named only what it has begun with would begin, while the beat
//! is on its way, with what the beat gives away. It is also what tells the coordinator of each assignment that it was
//! heard, so that it never waits for something to be given up that the member was never told of.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use rkafka_protocol::ErrorCode;
use uuid::Uuid;

use super::{ConsumerMember, State, Step};
use crate::machine::membership::terms::{Action, Beat, BeatAnswer, Failure, Wanted};
use crate::subscription::GroupMembershipOperation;

/// The member epoch by which a member leaves.
const LEAVE_EPOCH: i32 = -1;
/// The member epoch by which a static member leaves that will be back.
const LEAVE_STATIC_EPOCH: i32 = -2;

/// What a beat tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Known {
    wanted: Wanted,
    owned: BTreeSet<(Uuid, i32)>,
}

impl ConsumerMember {
    /// What the coordinator should know of this member.
    fn present(&self) -> Known {
        let mut owned: BTreeSet<_> = self.owned.keys().copied().collect();
        if let Step::Installing { places, .. } = &self.step {
            owned.extend(places.keys());
        }
        if self.closing.is_none() {
            owned.extend(self.target.iter().flatten());
        }
        Known { wanted: self.wanted.clone(), owned }
    }

    /// Whether the coordinator should hear at once.
    pub(super) fn has_news(&self) -> bool {
        match &self.known {
            // A join, or what was told last may not have come through: at the next beat.
            None => false,
            Some(known) => *known != self.present(),
        }
    }

    pub(super) fn beat(&mut self, now: Instant) -> Action {
        let present = self.present();
        let joins = self.state == State::Joining;
        let known = self.known.as_ref().filter(|_| !joins);
        let full = known.is_none();
        let is_same = |same: fn(&Known, &Known) -> bool| known.is_some_and(|known| same(known, &present));
        let topics = (!is_same(|known, present| known.wanted.topics == present.wanted.topics))
            .then(|| present.wanted.topics.iter().cloned().collect());
        let pattern = if is_same(|known, present| known.wanted.pattern == present.wanted.pattern) {
            None
        } else {
            present.wanted.pattern.clone().or_else(|| self.told_pattern.then(String::new))
        };
        let owned = (!is_same(|known, present| known.owned == present.owned)).then(|| {
            let mut by_topic: BTreeMap<Uuid, Vec<i32>> = BTreeMap::new();
            for (id, partition) in &present.owned {
                by_topic.entry(*id).or_default().push(*partition);
            }
            by_topic
        });
        self.told_pattern |= present.wanted.pattern.is_some();
        self.in_flight = Some(present);
        self.next_beat = now + self.interval;
        Action::Beat(Beat { member_id: self.member_id.clone(), epoch: self.epoch, full, topics, pattern, owned })
    }

    pub(super) fn leave(&mut self, operation: GroupMembershipOperation, reason: &'static str) -> Action {
        let for_good = operation == GroupMembershipOperation::LeaveGroup || !self.config.is_static;
        let epoch = if for_good { LEAVE_EPOCH } else { LEAVE_STATIC_EPOCH };
        self.leaving = true;
        self.epoch = 0;
        Action::Leave { member_id: self.member_id.clone(), epoch, reason }
    }

    /// The answer to a beat that was sent with `epoch`.
    pub(crate) fn on_beat(&mut self, now: Instant, epoch: i32, answer: Result<BeatAnswer, Failure>) {
        let sent = self.in_flight.take();
        let was_held = self.may_be_held;
        self.may_be_held = match &answer {
            Err(Failure::Refused { code: ErrorCode::UnknownMemberId, .. }) => false,
            // It says nothing of what was told before.
            Err(Failure::Refused { code: ErrorCode::UnreleasedInstanceId, .. }) => was_held,
            _ => true,
        };
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
                    ErrorCode::UnreleasedInstanceId if was_held => {
                        // The answer to an earlier join of its own was lost, or it was fenced: Kafka's coordinator
                        // lets nobody into the place of a static member that has not left, not even itself.
                        tracing::info!(
                            "the instance is held by an earlier join of this member, and is let go of first"
                        );
                        self.must_release = true;
                        self.next_beat = now;
                    }
                    // The other topics go on. The log tells; the fetches of the topic will too.
                    ErrorCode::TopicAuthorizationFailed => self.back_off(now),
                    code if code.is_retriable() => self.back_off(now),
                    // Also UNRELEASED_INSTANCE_ID, as in Java: another process has the place of this static member.
                    code => self.fail(code, message),
                }
            }
        }
    }

    /// What came of telling the coordinator that the member leaves.
    pub(crate) fn on_left(&mut self, now: Instant, told: Result<(), Failure>) {
        self.leaving = false;
        if self.state == State::Leaving {
            self.state = State::Left;
        }
        match told {
            Err(failure) if failure.may_pass() => {
                if self.must_release && self.state == State::Joining {
                    self.coordinator_known = false;
                    self.back_off(now);
                }
            }
            // The place is free, or it is another's and this was told too.
            Ok(()) | Err(_) => (self.may_be_held, self.must_release) = (false, false),
        }
    }
}
