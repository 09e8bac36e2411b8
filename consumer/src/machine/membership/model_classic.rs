//! A coordinator of classic groups in a few lines, for tests of groups of machines.

use std::collections::BTreeMap;

use bytes::Bytes;
use rkafka_assignor::Assignor;
use rkafka_protocol::ErrorCode;

use super::ownership_tests::{Answer, Life};
use super::terms::{Action, Failure, Joined, JoinedMember};
use crate::framing;

#[derive(Debug, Default, PartialEq, Eq, Clone, Copy)]
enum Phase {
    #[default]
    Empty,
    /// Waits for the members to join.
    Preparing,
    /// Waits for the leader's assignment.
    Completing,
    Stable,
}

#[derive(Debug)]
struct Entry {
    life: Life,
    metadata: Bytes,
    /// Joined, and waits for the others.
    is_joining: bool,
    /// Waits for the leader's assignment.
    is_syncing: bool,
    /// The connection that waits is there to be answered.
    is_connected: bool,
    assignment: Bytes,
}

/// The coordinator.
#[derive(Debug, Default)]
pub(super) struct ClassicCoordinator {
    phase: Phase,
    generation: i32,
    leader: String,
    members: BTreeMap<String, Entry>,
    issued: u32,
    /// What goes out.
    pub(super) answers: Vec<(Life, Answer)>,
    /// Whom it took for gone.
    pub(super) dropped: Vec<Life>,
}

impl ClassicCoordinator {
    pub(super) fn request(&mut self, life: Life, action: Action, assignor: &dyn Assignor) {
        match action {
            Action::Join { member_id, .. } if member_id.is_empty() => {
                self.issued += 1;
                let member_id = Some(format!("m-{}-{}-{}", life.0, life.1, self.issued));
                let code = ErrorCode::MemberIdRequired;
                let refusal = Failure::Refused { code, member_id, message: None };
                self.answers.push((life, Answer::Join(Err(refusal))));
            }
            Action::Join { member_id, generation, owned, remembered } => {
                let user_data = assignor.user_data(remembered.as_ref());
                let metadata = framing::subscription(&["t".to_owned()], &owned, generation, None, user_data);
                self.join(life, member_id, generation, metadata);
            }
            Action::Sync { generation, member_id, assignments, .. } => {
                self.sync(life, generation, &member_id, assignments);
            }
            Action::Heartbeat { generation, member_id } => {
                let answer = match self.check(generation, &member_id) {
                    Ok(()) if self.phase == Phase::Preparing => Err(Failure::refused(ErrorCode::RebalanceInProgress)),
                    checked => checked,
                };
                self.answers.push((life, Answer::Heartbeat(generation, answer)));
            }
            Action::Leave { member_id, .. } => {
                self.remove(&member_id);
                self.answers.push((life, Answer::Left(Ok(()))));
            }
            _ => {}
        }
    }

    fn check(&self, generation: i32, member_id: &str) -> Result<(), Failure> {
        match self.members.get(member_id) {
            None => Err(Failure::refused(ErrorCode::UnknownMemberId)),
            Some(_) if generation != self.generation => Err(Failure::refused(ErrorCode::IllegalGeneration)),
            Some(_) => Ok(()),
        }
    }

    fn join(&mut self, life: Life, member_id: String, generation: i32, metadata: Bytes) {
        match self.members.get_mut(&member_id) {
            None if generation >= 0 => {
                let refusal = Failure::refused(ErrorCode::UnknownMemberId);
                return self.answers.push((life, Answer::Join(Err(refusal))));
            }
            None => {
                let entry = Entry {
                    life,
                    metadata,
                    is_joining: true,
                    is_syncing: false,
                    is_connected: true,
                    assignment: Bytes::new(),
                };
                self.members.insert(member_id, entry);
            }
            Some(entry) => {
                let is_same = entry.metadata == metadata;
                (entry.metadata, entry.is_connected) = (metadata, true);
                let waits = matches!(self.phase, Phase::Completing | Phase::Stable);
                if is_same && waits && (self.phase == Phase::Completing || self.leader != member_id) {
                    // It missed the answer: the generation is the same.
                    let joined = self.joined(&member_id);
                    return self.answers.push((life, Answer::Join(Ok(joined))));
                }
                entry.is_joining = true;
            }
        }
        self.prepare();
    }

    fn joined(&self, member_id: &str) -> Joined {
        let members = self.members.iter().map(|(id, entry)| JoinedMember {
            member_id: id.clone(),
            instance_id: None,
            metadata: entry.metadata.clone(),
        });
        Joined {
            generation: self.generation,
            member_id: member_id.to_owned(),
            leader_id: self.leader.clone(),
            protocol: "one".to_owned(),
            skip_assignment: false,
            members: if self.leader == member_id { members.collect() } else { Vec::new() },
        }
    }

    /// Begins a rebalance, or goes on with one.
    fn prepare(&mut self) {
        self.phase = Phase::Preparing;
        for entry in self.members.values_mut().filter(|entry| entry.is_syncing) {
            entry.is_syncing = false;
            if entry.is_connected {
                let refusal = Failure::refused(ErrorCode::RebalanceInProgress);
                self.answers.push((entry.life, Answer::Sync(Err(refusal))));
            }
        }
        if self.members.is_empty() {
            self.phase = Phase::Empty;
        } else if self.members.values().all(|entry| entry.is_joining) {
            self.generation += 1;
            self.phase = Phase::Completing;
            if !self.members.contains_key(&self.leader) {
                self.leader = self.members.keys().next().cloned().unwrap_or_default();
            }
            let ids: Vec<String> = self.members.keys().cloned().collect();
            for id in ids {
                let joined = self.joined(&id);
                let Some(entry) = self.members.get_mut(&id) else { continue };
                entry.is_joining = false;
                entry.assignment = Bytes::new();
                if entry.is_connected {
                    self.answers.push((entry.life, Answer::Join(Ok(joined))));
                }
            }
        }
    }

    fn sync(&mut self, life: Life, generation: i32, member_id: &str, assignments: Vec<(String, Bytes)>) {
        let checked = self.check(generation, member_id);
        let refusal = match checked {
            Err(refusal) => Some(refusal),
            Ok(()) if self.phase == Phase::Preparing => Some(Failure::refused(ErrorCode::RebalanceInProgress)),
            Ok(()) => None,
        };
        if let Some(refusal) = refusal {
            return self.answers.push((life, Answer::Sync(Err(refusal))));
        }
        if let Some(entry) = self.members.get_mut(member_id) {
            (entry.is_syncing, entry.is_connected) = (true, true);
        }
        if self.phase == Phase::Completing && member_id == self.leader {
            for (id, assignment) in assignments {
                if let Some(entry) = self.members.get_mut(&id) {
                    entry.assignment = assignment;
                }
            }
            self.phase = Phase::Stable;
        }
        if self.phase == Phase::Stable {
            for entry in self.members.values_mut().filter(|entry| entry.is_syncing) {
                entry.is_syncing = false;
                if entry.is_connected {
                    let places = framing::read_assignment(entry.assignment.clone()).unwrap();
                    self.answers.push((entry.life, Answer::Sync(Ok(places))));
                }
            }
        }
    }

    fn remove(&mut self, member_id: &str) {
        if let Some(entry) = self.members.remove(member_id) {
            self.dropped.push(entry.life);
            self.prepare();
        }
    }

    /// What this member waits for goes nowhere until it asks again.
    pub(super) fn disconnect(&mut self, life: Life) {
        self.members.values_mut().filter(|entry| entry.life == life).for_each(|entry| entry.is_connected = false);
    }

    /// Drops one of the dead, or also of the living; but nobody whose connection waits for an answer.
    pub(super) fn expire(&mut self, pick: usize, alive: &[Life], also_the_living: bool) {
        let spares =
            |entry: &Entry| alive.contains(&entry.life) && (!also_the_living || entry.is_joining || entry.is_syncing);
        let candidates: Vec<String> =
            self.members.iter().filter(|(_, entry)| !spares(entry)).map(|(id, _)| id.clone()).collect();
        if !candidates.is_empty() {
            self.remove(&candidates[pick % candidates.len()]);
        }
    }
}
