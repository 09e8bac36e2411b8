//! When the sessions of a consumer group's members end, and how long they may take for a step.

use std::collections::BTreeMap;

/// A change of a member's timers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TimerChange {
    /// Its session begins anew.
    Session { member_id: String, in_ms: i64 },
    /// It is to give up partitions before it can leave this epoch.
    Revoke { member_id: String, epoch: i32, in_ms: i64 },
    /// It has none to give up any more.
    Revoked { member_id: String },
    /// A classic member was told to join again; counted from when it was told first.
    Rejoin { member_id: String, in_ms: i64 },
    /// A classic member has joined, and is to ask for its assignment.
    Sync { member_id: String, in_ms: i64 },
    /// A classic member has asked for its assignment.
    Synced { member_id: String },
    /// It is a member no more.
    Gone { member_id: String },
}

/// The timers of one group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConsumerTimers {
    members: BTreeMap<String, MemberTimers>,
    /// The end of the metadata log that the group's topics were last compared with.
    pub seen_image: i64,
    /// The deadline under which the shard has noted this group.
    pub noted_deadline_ms: Option<i64>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct MemberTimers {
    session_ends_ms: Option<i64>,
    /// With the epoch that the member is to leave.
    revoke_ends: Option<(i64, i32)>,
    rejoin_ends_ms: Option<i64>,
    sync_ends_ms: Option<i64>,
}

impl MemberTimers {
    fn deadline_ms(&self) -> Option<i64> {
        let revoke = self.revoke_ends.map(|(at_ms, _)| at_ms);
        [self.session_ends_ms, revoke, self.rejoin_ends_ms, self.sync_ends_ms].into_iter().flatten().min()
    }
}

/// Why a member's time is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expired {
    /// No heartbeat came.
    Session,
    /// It did not give up its partitions while in this epoch.
    Revoke { epoch: i32 },
    /// It did not join again.
    Rejoin,
    /// It did not ask for its assignment.
    Sync,
}

impl ConsumerTimers {
    /// Takes a change; answers the member's next deadline.
    pub fn apply(&mut self, now_ms: i64, change: TimerChange) -> Option<i64> {
        let at = |in_ms: i64| now_ms.saturating_add(in_ms.max(0));
        match change {
            TimerChange::Session { member_id, in_ms } => {
                let member = self.members.entry(member_id).or_default();
                member.session_ends_ms = Some(at(in_ms));
                return member.session_ends_ms;
            }
            TimerChange::Revoke { member_id, epoch, in_ms } => {
                self.members.entry(member_id).or_default().revoke_ends = Some((at(in_ms), epoch));
                return Some(at(in_ms));
            }
            TimerChange::Revoked { member_id } => {
                if let Some(member) = self.members.get_mut(&member_id) {
                    member.revoke_ends = None;
                }
            }
            TimerChange::Rejoin { member_id, in_ms } => {
                return Some(*self.members.entry(member_id).or_default().rejoin_ends_ms.get_or_insert(at(in_ms)));
            }
            TimerChange::Sync { member_id, in_ms } => {
                let member = self.members.entry(member_id).or_default();
                member.rejoin_ends_ms = None;
                member.sync_ends_ms = Some(at(in_ms));
                return member.sync_ends_ms;
            }
            TimerChange::Synced { member_id } => {
                if let Some(member) = self.members.get_mut(&member_id) {
                    member.sync_ends_ms = None;
                }
            }
            TimerChange::Gone { member_id } => {
                self.members.remove(&member_id);
            }
        }
        None
    }

    /// The earliest deadline of all.
    pub fn deadline_ms(&self) -> Option<i64> {
        self.members.values().filter_map(MemberTimers::deadline_ms).min()
    }

    /// Takes the sessions that have ended, as many as may be.
    pub fn take_ended_sessions(&mut self, now_ms: i64, at_most: usize) -> Vec<String> {
        let ended = |timers: &mut MemberTimers| timers.session_ends_ms.take_if(|at_ms| *at_ms <= now_ms).is_some();
        let ids = self.members.iter_mut().filter_map(|(id, timers)| ended(timers).then(|| id.clone()));
        ids.take(at_most).collect()
    }

    /// Takes one timer that has run out.
    pub fn take_expired(&mut self, now_ms: i64) -> Option<(String, Expired)> {
        let is_over = |at_ms: Option<i64>| at_ms.is_some_and(|at_ms| at_ms <= now_ms);
        let (member_id, timers) = self.members.iter_mut().find(|(_, timers)| is_over(timers.deadline_ms()))?;
        let expired = if is_over(timers.session_ends_ms) {
            timers.session_ends_ms = None;
            Expired::Session
        } else if let Some((_, epoch)) = timers.revoke_ends.take_if(|(at_ms, _)| *at_ms <= now_ms) {
            Expired::Revoke { epoch }
        } else if is_over(timers.rejoin_ends_ms) {
            timers.rejoin_ends_ms = None;
            Expired::Rejoin
        } else {
            timers.sync_ends_ms = None;
            Expired::Sync
        };
        Some((member_id.clone(), expired))
    }
}
