//! The course of a rebalance: preparing, completing, and what the clock does to it.

use bytes::Bytes;
use rkafka_protocol::ErrorCode;

use super::classic::{ClassicGroup, JoinTimer, join_error, sync_error};
use super::{ClassicState, Then, Turn};

impl ClassicGroup {
    /// Begins a rebalance where there is none, or ends the one that is if nobody is missing.
    pub fn rebalance_or_complete(&mut self, turn: &mut Turn<'_>) {
        if self.state().may_become(ClassicState::PreparingRebalance) {
            self.prepare_rebalance(turn);
        } else {
            self.complete_if_all_joined(turn);
        }
    }

    /// Ends the gathering if nobody is missing. The first rebalance of a group always lasts its time, for nobody knows
    /// yet who will come.
    pub fn complete_if_all_joined(&mut self, turn: &mut Turn<'_>) {
        if self.state() == ClassicState::PreparingRebalance && !self.is_first_rebalance() && self.all_have_joined() {
            self.complete_join(turn);
        }
    }

    /// Begins a rebalance: whoever waits for an assignment is told to join again.
    pub fn prepare_rebalance(&mut self, turn: &mut Turn<'_>) {
        if self.state() == ClassicState::CompletingRebalance {
            self.fail_assignment(ErrorCode::RebalanceInProgress, turn);
        }
        self.pending_sync.clear();
        self.sync_ends_ms = None;
        let now_ms = turn.now.monotonic_ms;
        let timeout_ms = self.rebalance_timeout_ms();
        if self.state() == ClassicState::Empty {
            let delay_ms = turn.settings.initial_rebalance_delay_ms;
            let left_ms = timeout_ms.saturating_sub(delay_ms).max(0);
            self.new_member_came = false;
            let at_ms = now_ms.saturating_add(i64::from(delay_ms));
            self.join_timer = Some(JoinTimer { at_ms, initial: Some((delay_ms, left_ms)) });
            self.enter(ClassicState::PreparingRebalance, turn.now);
            return;
        }
        self.enter(ClassicState::PreparingRebalance, turn.now);
        if self.all_have_joined() {
            self.complete_join(turn);
        } else {
            let at_ms = now_ms.saturating_add(i64::from(timeout_ms));
            self.join_timer = Some(JoinTimer { at_ms, initial: None });
        }
    }

    /// Ends the gathering: who has not come is out (static members keep their place), and the next generation begins.
    pub fn complete_join(&mut self, turn: &mut Turn<'_>) {
        if self.state() != ClassicState::PreparingRebalance {
            return;
        }
        self.join_timer = None;
        let absent = |member: &super::member::Member| member.join_waiter.is_none() && !member.is_static();
        let absent: Vec<String> = self.members.values().filter(|one| absent(one)).map(|one| one.id.clone()).collect();
        for member_id in absent {
            tracing::info!(group = %self.id, member = %member_id, "member removed: it did not join the rebalance in time");
            if let Some(member) = self.remove(&member_id) {
                Self::dismiss(member, turn, ErrorCode::UnknownMemberId);
            }
        }
        if self.members.is_empty() {
            return self.become_empty(turn);
        }
        let leader_came =
            self.leader.as_ref().and_then(|id| self.members.get(id)).is_some_and(|member| member.join_waiter.is_some());
        if !leader_came {
            match self.members.values().find(|member| member.join_waiter.is_some()) {
                Some(member) => self.leader = Some(member.id.clone()),
                None => {
                    // Only static members are left and none came. Their sessions will end, or one will come back.
                    let at_ms = turn.now.monotonic_ms.saturating_add(i64::from(self.rebalance_timeout_ms()));
                    self.join_timer = Some(JoinTimer { at_ms, initial: None });
                    return;
                }
            }
        }
        self.next_generation();
        self.protocol = self.select_protocol();
        self.subscribed = self.subscribed_topics();
        self.enter(ClassicState::CompletingRebalance, turn.now);
        tracing::info!(group = %self.id, generation = self.generation, members = self.members.len(), "group has joined");
        let ids: Vec<String> = self.members.keys().cloned().collect();
        for id in ids {
            let response = self.joined(&id);
            let Some(member) = self.members.get_mut(&id) else { continue };
            Self::answer_join(member, turn, response);
            member.keep_alive(turn.now.monotonic_ms);
            member.is_new = false;
            self.pending_sync.insert(id);
        }
        let patience_ms = i64::from(self.rebalance_timeout_ms());
        self.sync_ends_ms = Some(turn.now.monotonic_ms.saturating_add(patience_ms));
    }

    fn become_empty(&mut self, turn: &mut Turn<'_>) {
        self.next_generation();
        self.protocol = None;
        self.leader = None;
        self.subscribed = self.subscribed_topics();
        self.pending_sync.clear();
        self.sync_ends_ms = None;
        self.enter(ClassicState::Empty, turn.now);
        tracing::info!(group = %self.id, generation = self.generation, "group is empty");
        let value = self.metadata(|_| Bytes::new());
        turn.write_group(&self.id, &value, Then::Emptied { group: self.id.clone(), generation: self.generation });
    }

    fn next_generation(&mut self) {
        self.generation = self.generation.checked_add(1).unwrap_or(0);
        self.pending_sync.clear();
    }

    /// The assignment of this generation will not come: whoever waits for it gets the error.
    pub fn fail_assignment(&mut self, error: ErrorCode, turn: &mut Turn<'_>) {
        for member in self.members.values_mut() {
            member.assignment = Bytes::new();
            if Self::answer_sync(member, turn, sync_error(error)) {
                member.keep_alive(turn.now.monotonic_ms);
            }
        }
    }

    /// A member is out. The others are told by a rebalance, or need not wait for it in the one that is.
    pub fn after_removal(&mut self, turn: &mut Turn<'_>) {
        // Even the first rebalance is over when all who began it are gone.
        let may_end = !self.is_first_rebalance() || self.members.is_empty();
        match self.state() {
            ClassicState::Stable | ClassicState::CompletingRebalance => self.prepare_rebalance(turn),
            ClassicState::PreparingRebalance if may_end && self.all_have_joined() => self.complete_join(turn),
            _ => {}
        }
    }

    /// Does one thing that is due, and answers whether there was one.
    pub fn expire_one(&mut self, turn: &mut Turn<'_>) -> bool {
        let now_ms = turn.now.monotonic_ms;
        let promised = self.pending.len();
        self.pending.retain(|_, ends_ms| *ends_ms > now_ms);
        if self.pending.len() < promised {
            let count = promised - self.pending.len();
            tracing::info!(group = %self.id, count, "promised member ids were not used in time");
            // They never were members: who is at work is not disturbed, and who waits for them need not any more.
            if self.state() == ClassicState::PreparingRebalance {
                self.after_removal(turn);
            }
            return true;
        }
        let ended = |ends: Option<i64>| ends.is_some_and(|ends_ms| ends_ms <= now_ms);
        let due = self.members.values_mut().find(|member| ended(member.session_ends_ms));
        if let Some(member) = due {
            if member.waits() {
                member.session_ends_ms = None;
                return true;
            }
            let member_id = member.id.clone();
            tracing::info!(group = %self.id, member = %member_id, "member removed: its session ended without a heartbeat");
            if let Some(member) = self.remove(&member_id) {
                Self::dismiss(member, turn, ErrorCode::UnknownMemberId);
            }
            self.after_removal(turn);
            return true;
        }
        if let Some(timer) = self.join_timer.filter(|timer| timer.at_ms <= now_ms) {
            self.join_time_is_up(timer, turn);
            return true;
        }
        if ended(self.sync_ends_ms) {
            self.sync_ends_ms = None;
            let late: Vec<String> = std::mem::take(&mut self.pending_sync).into_iter().collect();
            for member_id in &late {
                tracing::info!(group = %self.id, member = %member_id, "member removed: it did not ask for its assignment");
                if let Some(member) = self.remove(member_id) {
                    Self::dismiss(member, turn, ErrorCode::UnknownMemberId);
                }
            }
            if !late.is_empty() && self.state().may_become(ClassicState::PreparingRebalance) {
                self.prepare_rebalance(turn);
            }
            return true;
        }
        false
    }

    fn join_time_is_up(&mut self, timer: JoinTimer, turn: &mut Turn<'_>) {
        self.join_timer = None;
        match timer.initial {
            Some((waited_ms, left_ms)) if self.new_member_came && left_ms != 0 => {
                self.new_member_came = false;
                let delay_ms = turn.settings.initial_rebalance_delay_ms.min(left_ms);
                let at_ms = turn.now.monotonic_ms.saturating_add(i64::from(delay_ms));
                let left_ms = left_ms.saturating_sub(waited_ms).max(0);
                self.join_timer = Some(JoinTimer { at_ms, initial: Some((delay_ms, left_ms)) });
            }
            _ => self.complete_join(turn),
        }
    }

    /// The group is no more: nobody is left to wait.
    pub fn die(&mut self, turn: &mut Turn<'_>) {
        self.enter(ClassicState::Dead, turn.now);
        self.pending.clear();
        for mut member in std::mem::take(&mut self.members).into_values() {
            Self::answer_join(&mut member, turn, join_error("", ErrorCode::CoordinatorNotAvailable));
            Self::answer_sync(&mut member, turn, sync_error(ErrorCode::CoordinatorNotAvailable));
        }
    }
}
