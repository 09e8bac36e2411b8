//! A coordinator of classic groups in a few lines. It does what Kafka's does, at once where that waits for a timer. What
//! it knows is in the log once a generation has its assignment, and that is all that another coordinator has.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use rkafka_assignor::Assignor;
use rkafka_protocol::ErrorCode;

use super::network::Answer;
use super::people::Life;
use crate::framing;
use crate::machine::membership::terms::{Action, Failure, Joined, JoinedMember};
use crate::subscription::TopicPartition;

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

#[derive(Debug, Clone)]
struct Entry {
    life: Life,
    instance: Option<String>,
    metadata: Bytes,
    /// Joined, and waits for the others.
    is_joining: bool,
    /// Waits for the leader's assignment.
    is_syncing: bool,
    /// The connection that waits is there to be answered.
    is_connected: bool,
    /// A static member that came back with another subscription, which nobody looked at.
    is_overlooked: bool,
    assignment: Bytes,
}

/// What is in the log.
#[derive(Debug, Default, Clone)]
struct Logged {
    phase: Phase,
    generation: i32,
    leader: String,
    members: BTreeMap<String, Entry>,
    /// The partitions that the leader shared out.
    shared_out: BTreeMap<String, i32>,
    /// Whether a static member came back since.
    has_returned: bool,
}

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asker<'a> {
    pub(super) life: Life,
    pub(super) instance: Option<&'a str>,
    pub(super) topics: &'a BTreeSet<String>,
    /// The partitions that it shared out last.
    pub(super) shared_out: &'a BTreeMap<String, i32>,
}

/// The coordinator.
#[derive(Debug, Default)]
pub(super) struct ClassicCoordinator {
    now: Logged,
    logged: Logged,
    issued: u32,
    /// What goes out.
    pub(super) answers: Vec<(Life, Answer)>,
    /// Whom it took for gone.
    pub(super) dropped: Vec<Life>,
}

impl ClassicCoordinator {
    pub(super) fn request(&mut self, asker: Asker<'_>, action: Action, assignor: &dyn Assignor) {
        let life = asker.life;
        match action {
            Action::Join { member_id, generation, owned, remembered } => {
                let topics: Vec<String> = asker.topics.iter().cloned().collect();
                let user_data = assignor.user_data(remembered.as_ref());
                let metadata = framing::subscription(&topics, &owned, generation, None, user_data);
                if let Err(refusal) = self.join(asker, member_id, generation, metadata) {
                    self.answers.push((life, Answer::Join(Err(refusal))));
                }
            }
            Action::Sync { generation, member_id, assignments, .. } => {
                if let Err(refusal) = self.sync(asker, generation, &member_id, assignments) {
                    self.answers.push((life, Answer::Sync(Err(refusal))));
                }
            }
            Action::Heartbeat { generation, member_id } => {
                let answer = match self.check(asker.instance, generation, &member_id) {
                    Ok(()) if self.now.phase == Phase::Preparing => {
                        Err(Failure::refused(ErrorCode::RebalanceInProgress))
                    }
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

    fn static_member(&self, instance: &str) -> Option<String> {
        let of_instance = |entry: &Entry| entry.instance.as_deref() == Some(instance);
        self.now.members.iter().find(|(_, entry)| of_instance(entry)).map(|(id, _)| id.clone())
    }

    /// Whether a member that says that it is of this instance is the one there.
    fn check_static(&self, instance: Option<&str>, member_id: &str) -> Result<(), Failure> {
        let Some(instance) = instance else { return Ok(()) };
        match self.static_member(instance) {
            None => Err(Failure::refused(ErrorCode::UnknownMemberId)),
            Some(id) if id != member_id => Err(Failure::refused(ErrorCode::FencedInstanceId)),
            Some(_) => Ok(()),
        }
    }

    pub(super) fn check(&self, instance: Option<&str>, generation: i32, member_id: &str) -> Result<(), Failure> {
        self.check_static(instance, member_id)?;
        match self.now.members.get(member_id) {
            None => Err(Failure::refused(ErrorCode::UnknownMemberId)),
            Some(_) if generation != self.now.generation => Err(Failure::refused(ErrorCode::IllegalGeneration)),
            Some(_) => Ok(()),
        }
    }

    /// Whether a member may commit.
    pub(super) fn check_commit(
        &self,
        instance: Option<&str>,
        generation: i32,
        member_id: &str,
    ) -> Result<(), ErrorCode> {
        match self.check(instance, generation, member_id) {
            Ok(()) if self.now.phase == Phase::Completing => Err(ErrorCode::RebalanceInProgress),
            Ok(()) => Ok(()),
            Err(Failure::Refused { code, .. }) => Err(code),
            Err(Failure::Lost) => unreachable!("it answers"),
        }
    }

    fn join(&mut self, asker: Asker<'_>, member_id: String, generation: i32, metadata: Bytes) -> Result<(), Failure> {
        let Asker { life, instance, .. } = asker;
        if member_id.is_empty() {
            self.issued += 1;
            let id = format!("m-{}-{}-{}", life.0, life.1, self.issued);
            let Some(instance) = instance else {
                let code = ErrorCode::MemberIdRequired;
                return Err(Failure::Refused { code, member_id: Some(id), message: None });
            };
            if let Some(old) = self.static_member(instance) {
                self.replace(life, &old, id, metadata);
                return Ok(());
            }
            self.enter(asker, id, metadata);
            return Ok(());
        }
        if instance.is_some() {
            self.check_static(instance, &member_id)?;
        }
        match self.now.members.get_mut(&member_id) {
            None if generation >= 0 => Err(Failure::refused(ErrorCode::UnknownMemberId)),
            None => {
                self.enter(asker, member_id, metadata);
                Ok(())
            }
            Some(entry) => {
                let is_same = entry.metadata == metadata;
                (entry.metadata, entry.is_connected) = (metadata, true);
                let waits = matches!(self.now.phase, Phase::Completing | Phase::Stable);
                if is_same && waits && (self.now.phase == Phase::Completing || self.now.leader != member_id) {
                    // It missed the answer: the generation is the same.
                    let joined = self.joined(&member_id);
                    self.answers.push((life, Answer::Join(Ok(joined))));
                    return Ok(());
                }
                entry.is_joining = true;
                self.prepare();
                Ok(())
            }
        }
    }

    fn enter(&mut self, asker: Asker<'_>, member_id: String, metadata: Bytes) {
        let entry = Entry {
            life: asker.life,
            instance: asker.instance.map(str::to_owned),
            metadata,
            is_joining: true,
            is_syncing: false,
            is_connected: true,
            is_overlooked: false,
            assignment: Bytes::new(),
        };
        self.now.members.insert(member_id, entry);
        self.prepare();
    }

    /// A static member is there again, or another one of the same instance (KIP-345, KIP-814).
    fn replace(&mut self, life: Life, old: &str, new: String, metadata: Bytes) {
        let mut entry = self.now.members.remove(old).unwrap();
        if entry.life != life {
            self.dropped.push(entry.life);
        }
        let fenced = Failure::refused(ErrorCode::FencedInstanceId);
        if entry.is_connected && entry.is_joining {
            self.answers.push((entry.life, Answer::Join(Err(fenced.clone()))));
        }
        if entry.is_connected && entry.is_syncing {
            self.answers.push((entry.life, Answer::Sync(Err(fenced))));
        }
        entry.is_overlooked |= topics_of(&entry.metadata) != topics_of(&metadata);
        (entry.life, entry.metadata, entry.is_connected) = (life, metadata, true);
        (entry.is_joining, entry.is_syncing) = (false, false);
        if self.now.leader == old {
            self.now.leader.clone_from(&new);
        }
        self.now.members.insert(new.clone(), entry);
        if self.now.phase == Phase::Stable {
            // Nobody is disturbed.
            self.now.has_returned = true;
            self.logged = self.now.clone();
            let mut joined = self.joined(&new);
            joined.skip_assignment = self.now.leader == new;
            self.answers.push((life, Answer::Join(Ok(joined))));
            return;
        }
        self.now.members.get_mut(&new).unwrap().is_joining = true;
        self.prepare();
    }

    fn joined(&self, member_id: &str) -> Joined {
        let members = self.now.members.iter().map(|(id, entry)| JoinedMember {
            member_id: id.clone(),
            instance_id: entry.instance.clone(),
            metadata: entry.metadata.clone(),
        });
        Joined {
            generation: self.now.generation,
            member_id: member_id.to_owned(),
            leader_id: self.now.leader.clone(),
            protocol: "one".to_owned(),
            skip_assignment: false,
            members: if self.now.leader == member_id { members.collect() } else { Vec::new() },
        }
    }

    /// Begins a rebalance, or goes on with one.
    fn prepare(&mut self) {
        self.now.phase = Phase::Preparing;
        for entry in self.now.members.values_mut().filter(|entry| entry.is_syncing) {
            entry.is_syncing = false;
            if entry.is_connected {
                let refusal = Failure::refused(ErrorCode::RebalanceInProgress);
                self.answers.push((entry.life, Answer::Sync(Err(refusal))));
            }
        }
        if self.now.members.is_empty() {
            self.now.phase = Phase::Empty;
            self.logged = self.now.clone();
        } else if self.now.members.values().all(|entry| entry.is_joining) {
            self.now.generation += 1;
            self.now.has_returned = false;
            self.now.phase = Phase::Completing;
            if !self.now.members.contains_key(&self.now.leader) {
                self.now.leader = self.now.members.keys().next().cloned().unwrap_or_default();
            }
            let ids: Vec<String> = self.now.members.keys().cloned().collect();
            for id in ids {
                let joined = self.joined(&id);
                let entry = self.now.members.get_mut(&id).unwrap();
                (entry.is_joining, entry.is_overlooked) = (false, false);
                entry.assignment = Bytes::new();
                if entry.is_connected {
                    self.answers.push((entry.life, Answer::Join(Ok(joined))));
                }
            }
        }
    }

    fn sync(
        &mut self,
        asker: Asker<'_>,
        generation: i32,
        member_id: &str,
        assignments: Vec<(String, Bytes)>,
    ) -> Result<(), Failure> {
        self.check(asker.instance, generation, member_id)?;
        if self.now.phase == Phase::Preparing {
            return Err(Failure::refused(ErrorCode::RebalanceInProgress));
        }
        if let Some(entry) = self.now.members.get_mut(member_id) {
            (entry.is_syncing, entry.is_connected) = (true, true);
        }
        if self.now.phase == Phase::Completing && member_id == self.now.leader {
            for (id, assignment) in assignments {
                if let Some(entry) = self.now.members.get_mut(&id) {
                    entry.assignment = assignment;
                }
            }
            self.now.phase = Phase::Stable;
            self.now.shared_out.clone_from(asker.shared_out);
            self.logged = self.now.clone();
        }
        if self.now.phase == Phase::Stable {
            for entry in self.now.members.values_mut().filter(|entry| entry.is_syncing) {
                entry.is_syncing = false;
                if entry.is_connected {
                    let places = framing::read_assignment(entry.assignment.clone()).unwrap();
                    self.answers.push((entry.life, Answer::Sync(Ok(places))));
                }
            }
        }
        Ok(())
    }

    fn remove(&mut self, member_id: &str) {
        if let Some(entry) = self.now.members.remove(member_id) {
            self.dropped.push(entry.life);
            if entry.is_syncing && entry.is_connected {
                // Kafka answers nothing to it, and the request times out.
                self.answers.push((entry.life, Answer::Sync(Err(Failure::Lost))));
            }
            self.prepare();
        }
    }

    /// The coordinator falls, and another one reads the log. Answers whom it knows.
    pub(super) fn fall(&mut self) -> Vec<Life> {
        let fallen = std::mem::replace(&mut self.now, self.logged.clone());
        for entry in fallen.members.into_values().filter(|entry| entry.is_connected) {
            let refusal = Failure::refused(ErrorCode::NotCoordinator);
            if entry.is_joining {
                self.answers.push((entry.life, Answer::Join(Err(refusal.clone()))));
            }
            if entry.is_syncing {
                self.answers.push((entry.life, Answer::Sync(Err(refusal))));
            }
        }
        for entry in self.now.members.values_mut() {
            (entry.is_joining, entry.is_syncing) = (false, false);
        }
        self.now.members.values().map(|entry| entry.life).collect()
    }

    /// What each member has by right, by name.
    pub(super) fn shares(&self) -> impl Iterator<Item = (&str, Life, Vec<TopicPartition>)> {
        self.now.members.iter().map(|(id, entry)| {
            // Nothing is in it while the leader's assignment is waited for.
            let nothing = entry.assignment.is_empty();
            let share = if nothing { Vec::new() } else { framing::read_assignment(entry.assignment.clone()).unwrap() };
            (id.as_str(), entry.life, share)
        })
    }

    /// The partitions that the leader shared out.
    pub(super) fn shared_out(&self) -> &BTreeMap<String, i32> {
        &self.now.shared_out
    }

    /// Whether a static member came back since.
    pub(super) fn has_returned(&self) -> bool {
        self.now.has_returned
    }

    /// The static members that came back with another subscription, which Kafka's coordinator does not look at: it
    /// stays with the assignment as long as the assignor is the same.
    pub(super) fn overlooked(&self) -> Vec<Life> {
        self.now.members.values().filter(|entry| entry.is_overlooked).map(|entry| entry.life).collect()
    }

    /// What this member waits for goes nowhere until it asks again.
    pub(super) fn disconnect(&mut self, life: Life) {
        self.now.members.values_mut().filter(|entry| entry.life == life).for_each(|entry| entry.is_connected = false);
    }

    /// Drops one of those who are not spared; but nobody whose connection waits for an answer.
    pub(super) fn expire(&mut self, pick: usize, spared: &BTreeSet<String>) {
        let waits = |entry: &Entry| entry.is_connected && (entry.is_joining || entry.is_syncing);
        let candidates: Vec<String> = self
            .now
            .members
            .iter()
            .filter(|(id, entry)| !spared.contains(*id) && !waits(entry))
            .map(|(id, _)| id.clone())
            .collect();
        if !candidates.is_empty() {
            self.remove(&candidates[pick % candidates.len()]);
        }
    }
}

fn topics_of(metadata: &Bytes) -> Vec<String> {
    framing::read_subscription(metadata.clone()).unwrap().topics
}
