//! What this broker is to a partition, and how that changes: the controller says so, by the metadata log.

use std::sync::atomic::{AtomicI64, Ordering};

use rkafka_protocol::ErrorCode;

use super::leader::{IsrDecision, IsrProposal, LeaderBook, Leadership};
use super::partition::{LogState, Partition};
use crate::controller::PartitionImage;
use crate::planted::{self, Bug};

/// What this broker is to a partition. It lies under the lock of the log, so that nothing is appended in a role that is
/// over.
#[derive(Debug)]
pub(super) enum Role {
    Leader(Box<LeaderBook>),
    /// The broker that leads; -1 while there is none.
    Follower(i32),
    /// The broker is none of the replicas, or has not been told yet.
    None,
}

const NO_ROLE: i64 = 0;
const FOLLOWER: i64 = 1;
const LEADER: i64 = 2;

/// Role and leader epoch in one word, for those who only ask. It changes under the lock of the log.
#[derive(Debug)]
pub(super) struct RoleWord(AtomicI64);

impl RoleWord {
    pub fn new() -> Self {
        Self(AtomicI64::new(Self::word(NO_ROLE, -1)))
    }

    fn word(kind: i64, epoch: i32) -> i64 {
        (i64::from(epoch) << 2) | kind
    }

    pub fn epoch(&self) -> i32 {
        (self.0.load(Ordering::Acquire) >> 2) as i32
    }

    /// The epoch in which this broker leads.
    pub fn led_epoch(&self) -> Option<i32> {
        let word = self.0.load(Ordering::Acquire);
        (word & 3 == LEADER).then_some((word >> 2) as i32)
    }

    pub fn is_follower(&self) -> bool {
        self.0.load(Ordering::Acquire) & 3 == FOLLOWER
    }

    fn set(&self, kind: i64, epoch: i32) {
        self.0.store(Self::word(kind, epoch), Ordering::Release);
    }
}

impl Partition {
    /// The epoch of the leader, whoever that is; -1 before anybody said.
    pub fn leader_epoch(&self) -> i32 {
        self.role.epoch()
    }

    /// The epoch in which this broker leads.
    ///
    /// # Errors
    /// `NOT_LEADER_OR_FOLLOWER`.
    pub fn led_epoch(&self) -> Result<i32, ErrorCode> {
        self.role.led_epoch().ok_or(ErrorCode::NotLeaderOrFollower)
    }

    /// Whether this broker leads.
    ///
    /// # Errors
    /// `NOT_LEADER_OR_FOLLOWER`.
    pub fn check_leader(&self) -> Result<(), ErrorCode> {
        self.led_epoch().map(drop)
    }

    /// Whether this broker has a replica that can be read.
    ///
    /// # Errors
    /// `NOT_LEADER_OR_FOLLOWER`.
    pub fn check_replica(&self) -> Result<(), ErrorCode> {
        if self.role.led_epoch().is_some() || self.role.is_follower() {
            Ok(())
        } else {
            Err(ErrorCode::NotLeaderOrFollower)
        }
    }

    /// Checks the epoch that a client believes the leader to have; -1 says that it does not know.
    ///
    /// # Errors
    /// `FENCED_LEADER_EPOCH`, `UNKNOWN_LEADER_EPOCH`.
    pub fn check_epoch(&self, current_leader_epoch: i32) -> Result<(), ErrorCode> {
        match current_leader_epoch {
            -1 => Ok(()),
            older if older < self.leader_epoch() => Err(ErrorCode::FencedLeaderEpoch),
            newer if newer > self.leader_epoch() => Err(ErrorCode::UnknownLeaderEpoch),
            _ => Ok(()),
        }
    }

    /// Takes over the role that the metadata gives to this broker, `node`. What is older than what is known changes
    /// nothing. Says whether a new epoch began.
    pub fn assume(&self, node: i32, image: &PartitionImage, lag_max_ms: i64, now_ms: i64) -> bool {
        if image.leader == node {
            let leadership = Leadership {
                node,
                leader_epoch: image.leader_epoch,
                partition_epoch: image.partition_epoch,
                replicas: image.replicas.clone(),
                isr: image.isr.clone(),
                lag_max_ms,
            };
            self.become_leader(&leadership, now_ms)
        } else if image.replicas.contains(&node) {
            self.become_follower(image.leader, image.leader_epoch)
        } else {
            self.become_stranger(image.leader_epoch)
        }
    }

    /// Leads from now on, or learns how the set in sync has changed since. What is older than what is known changes
    /// nothing. Says whether a new epoch began.
    ///
    /// Who waits for a write of an earlier epoch is answered `NOT_LEADER_OR_FOLLOWER`: another may have led in between.
    pub fn become_leader(&self, leadership: &Leadership, now_ms: i64) -> bool {
        let Ok(mut state) = self.state.write() else { return false };
        let known_epoch = self.role.epoch();
        if leadership.leader_epoch < known_epoch {
            return false;
        }
        let mut is_new = leadership.leader_epoch > known_epoch;
        match &mut state.role {
            Role::Leader(book) if !is_new => book.update(leadership, now_ms),
            // One epoch has one leader; a follower that is told otherwise was told wrong.
            Role::Follower(leader) if !is_new && *leader >= 0 => return false,
            role => {
                is_new = true;
                *role = Role::Leader(Box::new(LeaderBook::new(leadership, now_ms)));
                self.role.set(LEADER, leadership.leader_epoch);
            }
        }
        let state_now = &mut *state;
        if let Role::Leader(book) = &mut state_now.role {
            self.note_followers(!book.is_alone());
            if let (LogState::Open(log), true) = (&mut state_now.log, is_new) {
                log.begin_leader_epoch(leadership.leader_epoch);
                book.begin_at(log.log_end_offset());
            }
        }
        self.publish_state(state_now);
        drop(state);
        self.wake_all();
        is_new
    }

    /// Follows another broker from now on, -1 while nobody leads. What is older than what is known changes nothing. Says
    /// whether a new epoch began.
    pub fn become_follower(&self, leader: i32, leader_epoch: i32) -> bool {
        self.give_up_leading(Role::Follower(leader), FOLLOWER, leader_epoch)
    }

    /// Has no replica from now on.
    pub fn become_stranger(&self, leader_epoch: i32) -> bool {
        self.give_up_leading(Role::None, NO_ROLE, leader_epoch)
    }

    fn give_up_leading(&self, role: Role, kind: i64, leader_epoch: i32) -> bool {
        let Ok(mut state) = self.state.write() else { return false };
        let known_epoch = self.role.epoch();
        if leader_epoch < known_epoch || (leader_epoch == known_epoch && matches!(state.role, Role::Leader(_))) {
            return false;
        }
        state.role = role;
        if planted::is(Bug::TruncateToWatermark)
            && leader_epoch > known_epoch
            && let LogState::Open(log) = &mut state.log
        {
            let _ = log.truncate_to(log.high_watermark(), 0);
        }
        self.role.set(kind, leader_epoch);
        self.note_followers(false);
        drop(state);
        self.wake_all();
        leader_epoch > known_epoch
    }

    /// The broker that this one follows, with the epoch; `None` for a leader, and while nobody leads.
    pub fn followed(&self) -> Option<(i32, i32)> {
        let state = self.state.read().ok()?;
        match state.role {
            Role::Follower(leader) if leader >= 0 => Some((leader, self.role.epoch())),
            _ => None,
        }
    }

    /// Lets `look` look into the leader's book; `None` where this broker does not lead.
    pub(super) fn with_book_read<R>(&self, look: impl FnOnce(&LeaderBook) -> R) -> Option<R> {
        match &self.state.read().ok()?.role {
            Role::Leader(book) => Some(look(book)),
            Role::Follower(_) | Role::None => None,
        }
    }

    /// Lets `change` change the leader's book, and publishes what comes of it; `None` where this broker does not
    /// lead, or the log is not open.
    pub(super) fn with_book<R>(&self, change: impl FnOnce(&mut LeaderBook, &crate::log::Log) -> R) -> Option<R> {
        let mut state = self.state.write().ok()?;
        let state = &mut *state;
        let (LogState::Open(log), Role::Leader(book)) = (&mut state.log, &mut state.role) else { return None };
        let result = change(book, log);
        let woken = self.publish_state(state);
        if woken {
            self.waiters.wake();
        }
        Some(result)
    }

    /// The controller would not have a follower in sync any more.
    pub fn rule_out(&self, follower: i32) {
        if self.is_replicated() {
            self.with_book(|book, _| book.rule_out(follower));
        }
    }

    /// Whether the controller has a replica in sync; false where this broker does not lead.
    pub fn is_in_sync(&self, replica: i32) -> bool {
        self.with_book_read(|book| book.is_in_sync(replica)).unwrap_or(false)
    }

    /// The follower that a consumer had better read from `offset` on, of those that are `near` (KIP-392); `None` for this
    /// broker itself, and where it does not lead.
    pub fn preferred_follower(&self, offset: i64, near: impl Fn(i32) -> bool) -> Option<i32> {
        if !self.is_replicated() {
            return None;
        }
        self.with_book_read(|book| book.preferred_follower(offset, near))?
    }

    /// Proposes to take followers out of the set in sync that lag (`replica.lag.time.max.ms`). To be asked every half of
    /// that time.
    pub fn propose_shrinkage(&self, now_ms: i64) -> Option<IsrProposal> {
        if !self.is_replicated() {
            return None;
        }
        self.with_book(|book, log| book.propose_shrinkage(log.log_end_offset(), now_ms)).flatten()
    }

    /// Takes in the controller's answer to a proposal. Answers the proposal where it is to be sent once more.
    pub fn isr_answered(&self, proposal: &IsrProposal, answer: &Result<IsrDecision, ErrorCode>) -> Option<IsrProposal> {
        if self.role.led_epoch() != Some(proposal.leader_epoch) {
            return None;
        }
        self.with_book(|book, _| book.answered(proposal, answer)).flatten()
    }

    /// The high watermark to be remembered: of a partition with other replicas, whose log is open.
    pub fn watermark_to_keep(&self) -> Option<i64> {
        let is_one_of_several = self.is_replicated() || self.role.is_follower();
        let (high_watermark, _) = self.bounds();
        (is_one_of_several && high_watermark >= 0).then_some(high_watermark)
    }

    /// Whether so few replicas are in sync that writes with `acks=all` are refused: how many are, and how many must be.
    pub fn shortage(&self) -> Option<(usize, usize)> {
        if !self.is_replicated() {
            return None;
        }
        self.with_book_read(|book| {
            let least = book.least_in_sync(self.min_insync_replicas());
            (book.isr().len() < least).then_some((book.isr().len(), least))
        })?
    }
}
