//! What is on its way between the people and the coordinator, and what becomes of it.

use rkafka_assignor::{Assignor, Member, TopicPartitions};
use rkafka_protocol::ErrorCode;

use super::model_classic::{Asker, ClassicCoordinator};
use super::model_consumer::ConsumerCoordinator;
use super::people::{Held, Life, Place, Topics};
use super::world::World;
use super::{Kind, assignor};
use crate::framing;
use crate::machine::membership::terms::{Action, BeatAnswer, Failure, Joined, JoinedMember};
use crate::machine::membership::{Classic, Membership};
use crate::subscription::TopicPartition;

/// What comes back from the coordinator.
#[derive(Debug, Clone)]
pub(super) enum Answer {
    Join(Result<Joined, Failure>),
    Sync(Result<Vec<TopicPartition>, Failure>),
    Heartbeat(i32, Result<(), Failure>),
    Beat(i32, Result<BeatAnswer, Failure>),
    Left(Result<(), Failure>),
    /// To a commit of this generation; the error, if any.
    Commit(i32, Option<ErrorCode>),
}

/// A commit of what was read.
#[derive(Debug, Clone)]
pub(super) struct Commit {
    pub(super) generation: i32,
    pub(super) member_id: String,
    pub(super) positions: Vec<(Place, i64)>,
}

#[derive(Debug)]
pub(super) enum Open {
    /// A request on its way, or a step with partitions.
    Ask(Action),
    Commit(Commit),
    /// An answer on its way.
    Answer(Answer),
}

/// Either coordinator.
#[derive(Debug)]
pub(super) enum Coordinator {
    Classic(ClassicCoordinator),
    Consumer(ConsumerCoordinator),
}

impl Coordinator {
    /// What goes out.
    fn answers(&mut self) -> Vec<(Life, Answer)> {
        match self {
            Self::Classic(classic) => std::mem::take(&mut classic.answers),
            Self::Consumer(consumer) => std::mem::take(&mut consumer.answers),
        }
    }
}

/// The answer to a request that says this.
fn answer_to(open: &Open, failure: Failure) -> Option<Answer> {
    Some(match open {
        Open::Ask(Action::Join { .. }) | Open::Answer(Answer::Join(_)) => Answer::Join(Err(failure)),
        Open::Ask(Action::Sync { .. }) | Open::Answer(Answer::Sync(_)) => Answer::Sync(Err(failure)),
        Open::Ask(Action::Heartbeat { generation, .. }) | Open::Answer(Answer::Heartbeat(generation, _)) => {
            Answer::Heartbeat(*generation, Err(failure))
        }
        Open::Ask(Action::Beat(beat)) => Answer::Beat(beat.epoch, Err(failure)),
        Open::Answer(Answer::Beat(epoch, _)) => Answer::Beat(*epoch, Err(failure)),
        Open::Ask(Action::Leave { .. }) | Open::Answer(Answer::Left(_)) => Answer::Left(Err(failure)),
        Open::Commit(Commit { generation, .. }) | Open::Answer(Answer::Commit(generation, _)) => {
            let code = match failure {
                Failure::Refused { code, .. } => Some(code),
                Failure::Lost => None,
            };
            Answer::Commit(*generation, code)
        }
        // What happens within the process is neither lost nor refused.
        Open::Ask(_) => return None,
    })
}

impl World {
    /// Lets one thing that is under way arrive.
    pub(super) fn deliver(&mut self, index: usize) {
        let (life, open) = self.open.remove(index);
        match open {
            Open::Ask(action) => self.ask(life, action),
            Open::Commit(commit) => self.arrive(life, Open::Commit(commit)),
            Open::Answer(answer) => self.answer(life, answer),
        }
    }

    /// One thing that is under way is lost, after it arrived or before.
    pub(super) fn lose(&mut self, index: usize, arrives: bool) {
        let (life, open) = self.open.remove(index);
        let Some(failed) = answer_to(&open, Failure::Lost) else { return self.open.push((life, open)) };
        if arrives && !matches!(open, Open::Answer(_)) {
            let waits = matches!(open, Open::Ask(Action::Join { .. } | Action::Sync { .. }));
            let known = self.open.len();
            self.arrive(life, open);
            // Whatever the coordinator answers to it, now or later, goes nowhere.
            let others = self.open.split_off(known).into_iter().filter(|(other, _)| *other != life);
            self.open.extend(others.collect::<Vec<_>>());
            if let (Coordinator::Classic(classic), true) = (&mut self.coordinator, waits) {
                classic.disconnect(life);
            }
        }
        self.answer(life, failed);
    }

    fn ask(&mut self, life: Life, action: Action) {
        let (who, number) = life;
        let (now, kind, topics) = (self.now, self.kind, &self.topics);
        let person = &mut self.people[who];
        let is_alive = person.life == number && person.machine.is_some();
        match (action, person.machine.as_mut().filter(|_| is_alive)) {
            (Action::FindCoordinator, Some(machine)) => {
                person.must_look = false;
                machine.on_coordinator(now, Ok(()));
            }
            (Action::Install { added, is_leader, .. }, Some(machine)) => {
                machine.on_installed();
                if !is_leader {
                    person.shared_out = None;
                }
                for place in added {
                    let held = person.has.get_mut(&place).unwrap();
                    let committed = self.committed.get(&(held.id, place.partition)).copied();
                    held.position = Some(committed.unwrap_or_default());
                }
            }
            (Action::Revoke { partitions, lost }, Some(_)) => {
                if person.commits && !lost {
                    // The commit that is on its way comes first.
                    return self.open.push((life, Open::Ask(Action::Revoke { partitions, lost })));
                }
                self.revoke(life, &partitions, lost);
            }
            (Action::Resolve(ids), Some(Membership::Consumer(machine))) => {
                let names = ids.into_iter().filter_map(|id| Some((id, topics.name_of(id)?.into())));
                machine.on_names(now, names.collect());
            }
            (Action::Assign { members, is_kept, .. }, Some(Membership::Classic(machine))) => {
                person.shared_out = Some(topics.counts());
                if !is_kept {
                    person.worked_out = topics.counts();
                }
                share_out(machine, kind, topics, members, is_kept);
            }
            (
                Action::FindCoordinator
                | Action::Install { .. }
                | Action::Revoke { .. }
                | Action::Resolve(_)
                | Action::Assign { .. }
                | Action::Fail { .. },
                _,
            ) => {}
            // A request may arrive after its sender has died.
            (request, _) => self.arrive(life, Open::Ask(request)),
        }
    }

    fn revoke(&mut self, life: Life, partitions: &[TopicPartition], lost: bool) {
        let person = &self.people[life.0];
        let identity = person.machine.as_ref().and_then(Membership::identity);
        if let (Some((generation, member_id)), false) = (identity, lost) {
            let given_up = |(place, held): (&TopicPartition, &Held)| {
                Some(((held.id, place.partition), held.position?)).filter(|_| partitions.contains(place))
            };
            let positions = person.has.iter().filter_map(given_up).collect();
            let commit = Commit { generation, member_id: member_id.to_owned(), positions };
            let code = self.commit(life, &commit);
            self.committed_or_not(life, generation, code);
        }
        let person = &mut self.people[life.0];
        for place in partitions {
            assert!(person.has.remove(place).is_some(), "gives up what it has");
        }
        if let Some(machine) = &mut person.machine {
            machine.on_revoked();
        }
    }

    /// A request arrives at the coordinator.
    fn arrive(&mut self, life: Life, request: Open) {
        let person = &mut self.people[life.0];
        if person.must_look && person.life == life.1 {
            let refusal = answer_to(&request, Failure::refused(ErrorCode::NotCoordinator));
            return self.open.extend(refusal.map(|answer| (life, Open::Answer(answer))));
        }
        let action = match request {
            Open::Ask(action) => action,
            Open::Commit(commit) => {
                let code = self.commit(life, &commit);
                return self.open.push((life, Open::Answer(Answer::Commit(commit.generation, code))));
            }
            Open::Answer(_) => return,
        };
        // Who joins anew has nothing, and what it is given from here on is its own.
        let joins_anew = match &action {
            Action::Join { generation, member_id, .. } => {
                *generation < 0 && (!member_id.is_empty() || person.instance.is_some())
            }
            Action::Beat(beat) => beat.epoch == 0,
            _ => false,
        };
        if joins_anew && person.life == life.1 && person.has.is_empty() {
            person.is_dropped = false;
        }
        let instance = person.instance.as_deref();
        match &mut self.coordinator {
            Coordinator::Classic(classic) => {
                let (topics, shared_out) = (&person.topics, &person.worked_out);
                let asker = Asker { life, instance, topics, shared_out };
                classic.request(asker, action, assignor(self.kind));
            }
            Coordinator::Consumer(consumer) => consumer.request(life, instance, action, &self.topics),
        }
        self.note();
    }

    /// What the coordinator answers is on its way; whom it dropped has nothing by right.
    pub(super) fn note(&mut self) {
        let answers = self.coordinator.answers();
        self.open.extend(answers.into_iter().map(|(life, answer)| (life, Open::Answer(answer))));
        let dropped = match &mut self.coordinator {
            Coordinator::Classic(classic) => std::mem::take(&mut classic.dropped),
            Coordinator::Consumer(consumer) => std::mem::take(&mut consumer.dropped),
        };
        for (who, life) in dropped {
            if self.people[who].life == life {
                self.people[who].is_dropped = true;
            }
        }
    }

    /// The coordinator decides about a commit.
    fn commit(&mut self, (who, _): Life, commit: &Commit) -> Option<ErrorCode> {
        let Commit { generation, member_id, positions } = commit;
        let instance = self.people[who].instance.as_deref();
        let mut refused = None;
        for (place, position) in positions {
            let checked = match &self.coordinator {
                Coordinator::Classic(classic) => classic.check_commit(instance, *generation, member_id),
                Coordinator::Consumer(consumer) => consumer.check_commit(member_id, *generation, *place),
            };
            match checked {
                Err(code) => refused = Some(code),
                Ok(()) => {
                    let before = self.committed.insert(*place, *position).unwrap_or_default();
                    if before > *position {
                        self.wrongs.push(format!("{who} takes {place:?} from {before} back to {position}"));
                    }
                }
            }
        }
        refused
    }

    fn committed_or_not(&mut self, life: Life, generation: i32, code: Option<ErrorCode>) {
        let (now, person) = (self.now, &mut self.people[life.0]);
        if let (Some(machine), Some(code), true) = (&mut person.machine, code, person.life == life.1) {
            machine.on_commit_refused(now, generation, code);
        }
    }

    fn answer(&mut self, life: Life, answer: Answer) {
        let (now, person) = (self.now, &mut self.people[life.0]);
        if person.life != life.1 {
            return;
        }
        match (answer, &mut person.machine) {
            (Answer::Join(answer), Some(Membership::Classic(machine))) => machine.on_join(now, answer),
            (Answer::Sync(answer), Some(Membership::Classic(machine))) => machine.on_sync(now, answer),
            (Answer::Heartbeat(generation, answer), Some(Membership::Classic(machine))) => {
                machine.on_heartbeat(now, generation, answer);
            }
            (Answer::Beat(epoch, answer), Some(Membership::Consumer(machine))) => machine.on_beat(now, epoch, answer),
            (Answer::Left(told), Some(machine)) => machine.on_left(now, told),
            (Answer::Commit(generation, code), _) => {
                person.commits = false;
                self.committed_or_not(life, generation, code);
            }
            _ => {}
        }
    }
}

/// As the driver shares out for the leader.
fn share_out(machine: &mut Classic, kind: Kind, topics: &Topics, joined: Vec<JoinedMember>, is_kept: bool) {
    if is_kept {
        return machine.on_assigned(Vec::new());
    }
    let assignor: &dyn Assignor = assignor(kind);
    let members: Vec<Member> = joined
        .into_iter()
        .map(|one| {
            let told = framing::read_subscription(one.metadata).unwrap();
            let owned = told.owned_partitions.into_iter().flat_map(|topic| {
                let name = topic.topic;
                topic.partitions.into_iter().map(move |partition| (name.clone(), partition))
            });
            let generation = Some(told.generation_id).filter(|generation| *generation >= 0);
            let mut member = Member::new(one.member_id, told.topics).with_owned(owned.collect(), generation);
            member.instance_id = one.instance_id;
            assignor.read_user_data(&mut member, told.user_data.as_deref());
            member
        })
        .collect();
    let partitions: TopicPartitions = topics.counts().into_iter().collect();
    let mut assignment = assignor.assign(&members, &partitions).unwrap();
    if kind == Kind::Cooperative {
        assignment.withhold_claimed(&members);
    }
    let told = assignment.into_map().into_iter().map(|(id, partitions)| (id, framing::assignment(&partitions)));
    machine.on_assigned(told.collect());
}
