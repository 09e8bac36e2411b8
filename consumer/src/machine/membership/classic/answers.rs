//! What the member hears: the answers of the coordinator, and of the driver about its own steps.

use std::collections::BTreeSet;
use std::time::Instant;

use bytes::Bytes;
use rkafka_assignor::Remembered;
use rkafka_protocol::ErrorCode;

use super::{Classic, State};
use crate::machine::membership::terms::{Failure, Joined};
use crate::subscription::TopicPartition;

impl Classic {
    /// The coordinator was found, or not.
    pub(crate) fn on_coordinator(&mut self, now: Instant, found: Result<(), Failure>) {
        self.finding = false;
        match found {
            Ok(()) => {
                self.coordinator_known = true;
                self.last_heard = now;
                self.not_before = None;
                // A session may run out while no coordinator is known: the next one hears from us at once.
                self.next_heartbeat = now;
            }
            Err(Failure::Refused {
                code: code @ (ErrorCode::GroupAuthorizationFailed | ErrorCode::InvalidGroupId),
                message,
                ..
            }) => self.fail(code, message),
            Err(_) => self.back_off(now),
        }
    }

    /// The answer to JoinGroup.
    pub(crate) fn on_join(&mut self, now: Instant, answer: Result<Joined, Failure>) {
        if self.state != State::Joining {
            return;
        }
        self.busy = false;
        match answer {
            Ok(joined) => {
                self.heard(now);
                self.next_heartbeat = now + self.config.heartbeat_interval;
                self.generation = joined.generation;
                self.is_leader = joined.member_id == joined.leader_id && !joined.member_id.is_empty();
                self.member_id = joined.member_id;
                self.protocol = joined.protocol;
                self.pending_assignments.clear();
                self.is_kept = joined.skip_assignment;
                self.state = if self.is_leader {
                    self.pending_members = joined.members;
                    State::Assigning
                } else {
                    State::Syncing
                };
            }
            Err(Failure::Refused { code: ErrorCode::MemberIdRequired, member_id: Some(member_id), .. }) => {
                // KIP-394: the id comes first, and the same request again with it.
                self.heard(now);
                if !self.member_id.is_empty() {
                    // It was there already: whatever this is, it is not to be asked in a tight loop.
                    self.back_off(now);
                }
                self.member_id = member_id;
                self.state = State::Unjoined;
            }
            Err(failure) => {
                self.state = State::Unjoined;
                let was_known = !self.member_id.is_empty();
                self.on_failure(now, &failure);
                if !was_known && self.state == State::Unjoined {
                    self.back_off(now);
                }
            }
        }
    }

    /// The leader's assignment, by member id.
    pub(crate) fn on_assigned(&mut self, assignments: Vec<(String, Bytes)>) {
        if self.state == State::Assigning {
            self.busy = false;
            self.pending_assignments = assignments;
            self.state = if self.generation < 0 { State::Unjoined } else { State::Syncing };
        }
    }

    /// The answer to SyncGroup.
    pub(crate) fn on_sync(&mut self, now: Instant, answer: Result<Vec<TopicPartition>, Failure>) {
        if self.state != State::Syncing {
            return;
        }
        self.busy = false;
        match answer {
            Ok(_) if self.generation < 0 => self.state = State::Unjoined,
            Ok(_) if self.closing.is_some() => {
                self.heard(now);
                self.state = State::Unjoined;
            }
            Ok(assignment) => {
                self.heard(now);
                let partitions = assignment.iter().map(|place| (place.topic.to_string(), place.partition)).collect();
                self.remembered = Some(Remembered { generation: self.generation, partitions });
                let target: BTreeSet<TopicPartition> = assignment.into_iter().collect();
                let gone: BTreeSet<_> = self.owned.difference(&target).cloned().collect();
                self.target = Some(target);
                if gone.is_empty() {
                    self.state = State::Installing;
                } else {
                    // What is given up here is given to others in the next round.
                    self.rejoin_wanted = true;
                    self.begin_revoking(gone, false);
                }
            }
            Err(Failure::Refused { code: ErrorCode::RebalanceInProgress, .. }) => {
                self.heard(now);
                self.state = State::Unjoined;
            }
            Err(failure) => {
                self.state = State::Unjoined;
                self.on_failure(now, &failure);
            }
        }
    }

    /// The assignment is in place.
    pub(crate) fn on_installed(&mut self) {
        if self.state == State::Installing {
            self.busy = false;
            self.owned.extend(self.target.take().unwrap_or_default());
            self.lost = false;
            if self.failure.is_some() {
                self.state = State::Failed;
            } else if self.generation < 0 {
                // The identity was lost meanwhile.
                self.drop_what_is_lost();
            } else {
                self.state = State::Stable;
            }
        }
    }

    /// The answer to a Heartbeat that was sent in `generation`.
    pub(crate) fn on_heartbeat(&mut self, now: Instant, generation: i32, answer: Result<(), Failure>) {
        self.heartbeat_in_flight = false;
        if generation != self.generation || !self.beats() {
            return;
        }
        match answer {
            Ok(()) => self.heard(now),
            Err(Failure::Refused { code: ErrorCode::RebalanceInProgress, .. }) => {
                self.heard(now);
                match self.state {
                    State::Stable => self.rejoin(),
                    // As soon as the assignment is in place.
                    State::Installing | State::Revoking => self.rejoin_wanted = true,
                    // The member is on its way already.
                    _ => {}
                }
            }
            Err(failure) => self.on_failure(now, &failure),
        }
    }

    /// The group refused a commit by this error: what it says of the membership holds for a heartbeat too.
    pub(crate) fn on_commit_refused(&mut self, now: Instant, generation: i32, code: ErrorCode) {
        if generation == self.generation
            && matches!(
                code,
                ErrorCode::RebalanceInProgress
                    | ErrorCode::IllegalGeneration
                    | ErrorCode::UnknownMemberId
                    | ErrorCode::FencedInstanceId
                    | ErrorCode::NotCoordinator
                    | ErrorCode::CoordinatorNotAvailable
            )
        {
            let in_flight = self.heartbeat_in_flight;
            self.on_heartbeat(now, generation, Err(Failure::refused(code)));
            self.heartbeat_in_flight = in_flight;
        }
    }

    /// What was to be given up is.
    pub(crate) fn on_revoked(&mut self) {
        if self.state != State::Revoking {
            return;
        }
        self.busy = false;
        self.lost = false;
        for place in std::mem::take(&mut self.giving_up) {
            self.owned.remove(&place);
        }
        if self.failure.is_some() {
            self.state = State::Failed;
        } else if self.generation < 0 {
            self.drop_what_is_lost();
        } else if self.target.is_some() && self.closing.is_none() {
            self.state = State::Installing;
        } else {
            self.state = State::Unjoined;
        }
    }

    /// LeaveGroup was answered, or was not.
    pub(crate) fn on_left(&mut self) {
        if self.state == State::Leaving {
            self.left();
        }
    }

    pub(super) fn left(&mut self) {
        self.busy = false;
        self.generation = -1;
        self.member_id.clear();
        self.state = if self.closing.is_some() { State::Left } else { State::Unjoined };
    }

    pub(super) fn heard(&mut self, now: Instant) {
        self.last_heard = now;
        self.not_before = None;
    }

    pub(super) fn back_off(&mut self, now: Instant) {
        self.not_before = Some(now + self.config.retry_backoff);
    }

    /// The identity is void: what was held belongs to others.
    pub(super) fn lose_identity(&mut self, keep_member_id: bool) {
        self.generation = -1;
        if !keep_member_id {
            self.member_id.clear();
        }
        match self.state {
            State::Stable => self.drop_what_is_lost(),
            // Already giving up: the driver may be at it, and its commit will be refused.
            State::Revoking => self.lost = true,
            // The driver puts an assignment in place: it is given up right after.
            State::Installing if self.busy => {}
            // The answer is waited for, so that it is not taken for that of the next round.
            State::Assigning | State::Syncing if self.busy => {}
            State::Leaving | State::Left | State::Failed => {}
            _ => {
                self.busy = false;
                self.state = State::Unjoined;
            }
        }
    }

    fn on_failure(&mut self, now: Instant, failure: &Failure) {
        match failure {
            Failure::Lost => {
                self.coordinator_known = false;
                self.back_off(now);
            }
            Failure::Refused { code, message, .. } => match code {
                ErrorCode::NotCoordinator | ErrorCode::CoordinatorNotAvailable => {
                    self.coordinator_known = false;
                    self.back_off(now);
                }
                ErrorCode::UnknownMemberId => self.lose_identity(false),
                ErrorCode::IllegalGeneration => self.lose_identity(true),
                code if code.is_retriable() || *code == ErrorCode::RebalanceInProgress => self.back_off(now),
                code => self.fail(*code, message.clone()),
            },
        }
    }

    pub(super) fn fail(&mut self, code: ErrorCode, message: Option<String>) {
        self.generation = -1;
        self.failure = Some((code, message));
        match self.state {
            State::Revoking => self.lost = true,
            State::Installing if self.busy => {}
            _ => {
                self.busy = false;
                self.state = State::Failed;
            }
        }
    }
}
