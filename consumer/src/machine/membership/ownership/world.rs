//! The world: people, a coordinator, what is on its way, and what must hold at any time and in the end.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use rkafka_protocol::ErrorCode;
use uuid::Uuid;

use super::model_classic::ClassicCoordinator;
use super::model_consumer::ConsumerCoordinator;
use super::network::{Answer, Commit, Coordinator, Open};
use super::people::{Held, Life, Person, Place, Topics};
use super::{Instance, Kind};
use crate::machine::membership::terms::Action;
use crate::machine::membership::{ConsumerMember, Membership};
use crate::subscription::{GroupMembershipOperation, TopicPartition};

/// The topics, of which the second comes and goes.
const NAMES: [&str; 2] = ["t", "u"];
/// How many partitions there are at most.
const MOST: usize = 10;

#[derive(Debug)]
pub(super) struct World {
    pub(super) kind: Kind,
    pub(super) now: Instant,
    pub(super) topics: Topics,
    topics_made: u128,
    pub(super) people: Vec<Person>,
    pub(super) coordinator: Coordinator,
    pub(super) open: Vec<(Life, Open)>,
    pub(super) committed: BTreeMap<Place, i64>,
    has_fallen: bool,
    /// What went wrong at the coordinator.
    pub(super) wrongs: Vec<String>,
}

impl World {
    pub(super) fn new(kind: Kind, instances: &[Instance]) -> Self {
        #[expect(clippy::disallowed_methods, reason = "a base for virtual time: only differences matter")]
        let now = Instant::now();
        let coordinator = if kind == Kind::Consumer {
            Coordinator::Consumer(ConsumerCoordinator::default())
        } else {
            Coordinator::Classic(ClassicCoordinator::default())
        };
        let person = |(who, instance): (usize, &Instance)| Person {
            instance: match instance {
                Instance::None => None,
                Instance::Own => Some(format!("i-{who}")),
                Instance::Shared => Some("shared".to_owned()),
            },
            topics: NAMES.map(str::to_owned).into(),
            ..Person::default()
        };
        let mut world = Self {
            kind,
            now,
            topics: Topics::default(),
            topics_made: 0,
            people: instances.iter().enumerate().map(person).collect(),
            coordinator,
            open: Vec::new(),
            committed: BTreeMap::new(),
            has_fallen: false,
            wrongs: Vec::new(),
        };
        world.make_topic(NAMES[0], 4);
        world.make_topic(NAMES[1], 2);
        world
    }

    fn make_topic(&mut self, name: &str, partitions: i32) {
        self.topics_made += 1;
        self.topics.0.insert(name.to_owned(), (Uuid::from_u128(self.topics_made), partitions));
    }

    fn remove_or_make(&mut self, name: &str) {
        if self.topics.0.remove(name).is_none() {
            self.make_topic(name, 3);
        }
    }

    pub(super) fn start(&mut self, who: usize) {
        if self.people[who].machine.is_none() {
            // Nothing of the life before comes after this one: its connections have ended. A static member that joins late
            // would fence the next one.
            let joins = |open: &Open| matches!(open, Open::Ask(Action::Join { .. } | Action::Beat(_)));
            self.open.retain(|((other, _), open)| *other != who || !joins(open));
        }
        self.people[who].start(self.kind, who, self.now);
    }

    /// Takes up what the machines ask for, and checks what must hold at any time.
    pub(super) fn run(&mut self) -> Result<(), TestCaseError> {
        for who in 0..self.people.len() {
            let person = &mut self.people[who];
            let Some(mut machine) = person.machine.take() else { continue };
            if !person.is_stalled {
                machine.on_poll(self.now);
            }
            let before = self.open.len();
            while let Some(action) = machine.poll_action(self.now) {
                prop_assert!(self.open.len() < before + 10, "asks without end: {:?}", action);
                self.take_up(who, &machine, &action)?;
                self.open.push(((who, self.people[who].life), Open::Ask(action)));
            }
            prop_assert!(machine.deadline().is_none_or(|at| at > self.now), "a driver would spin: {:?}", machine);
            let person = &mut self.people[who];
            if machine.is_done() {
                prop_assert!(person.has.is_empty(), "{} is gone and holds {:?}", who, person.has);
            } else {
                person.machine = Some(machine);
            }
        }
        self.check_owners()
    }

    fn take_up(&mut self, who: usize, machine: &Membership, action: &Action) -> Result<(), TestCaseError> {
        let person = &mut self.people[who];
        match action {
            Action::Install { added, .. } => {
                person.moves += usize::from(!added.is_empty());
                let ids = match machine {
                    Membership::Consumer(machine) => machine.installing(),
                    Membership::Classic(_) => BTreeMap::new(),
                };
                for place in added {
                    let id = ids.get(place).copied();
                    // By the classic protocol a topic is what has its name.
                    let Some(id) = id.or_else(|| self.topics.0.get(&*place.topic).map(|(id, _)| *id)) else {
                        continue;
                    };
                    let before = person.has.insert(place.clone(), Held { id, position: None });
                    prop_assert!(before.is_none(), "{} begins twice with {:?}", who, place);
                }
            }
            Action::Revoke { partitions, .. } => {
                person.moves += 1;
                for place in partitions {
                    prop_assert!(person.has.contains_key(place), "{} gives up {:?}, which it has not", who, place);
                }
            }
            Action::Join { generation: -1, owned, .. } => {
                prop_assert!(person.has.is_empty() && owned.is_empty(), "{} joins anew and holds", who);
            }
            Action::Beat(beat) if beat.epoch == 0 => {
                prop_assert!(person.has.is_empty(), "{} joins anew and holds", who);
            }
            Action::Fail { code, .. } => {
                let life = (who, person.life);
                let instance = person.instance.as_deref();
                let is_right = match (code, &self.coordinator) {
                    // Another has its place; or a fallen coordinator of a classic group took the id that it gave last
                    // along, for that is in the log once a generation is complete.
                    (ErrorCode::FencedInstanceId, Coordinator::Consumer(_)) => instance == Some("shared"),
                    (ErrorCode::FencedInstanceId, Coordinator::Classic(_)) => {
                        instance == Some("shared") || (instance.is_some() && self.has_fallen)
                    }
                    (ErrorCode::UnreleasedInstanceId, Coordinator::Consumer(consumer)) => {
                        instance.is_some_and(|instance| consumer.holder(instance) != Some(life))
                    }
                    _ => false,
                };
                prop_assert!(is_right, "{:?} is no reason to fail for {}: {:?}", code, who, machine);
            }
            _ => {}
        }
        Ok(())
    }

    /// The member ids of those who live; also of those who are yet to hear theirs.
    fn living(&self) -> BTreeSet<String> {
        let known = self.people.iter().filter_map(|person| Some(person.machine.as_ref()?.member_id().to_owned()));
        let told = self.open.iter().filter_map(|((who, life), open)| match open {
            Open::Answer(Answer::Join(Ok(joined))) if self.people[*who].life == *life => Some(joined.member_id.clone()),
            _ => None,
        });
        known.chain(told).collect()
    }

    /// The session of a member ends, of a dead one or of a slow one; or the rebalance does not wait longer.
    fn expire(&mut self, pick: usize, also_the_living: bool) {
        let spared = if also_the_living { BTreeSet::new() } else { self.living() };
        match &mut self.coordinator {
            Coordinator::Classic(classic) => classic.expire(pick, &spared),
            Coordinator::Consumer(consumer) => consumer.expire(pick, &spared),
        }
        self.note();
    }

    /// Another coordinator has what is in the log.
    fn move_coordinator(&mut self) {
        self.people.iter_mut().for_each(|person| person.must_look = true);
        if let Coordinator::Classic(classic) = &mut self.coordinator {
            self.has_fallen = true;
            for (who, life) in classic.fall() {
                if self.people[who].life == life {
                    self.people[who].is_dropped = false;
                }
            }
            self.note();
        }
    }

    fn grow(&mut self, name: &str) {
        if let Some((_, count)) = self.topics.0.get_mut(name) {
            *count += 1;
        }
    }

    /// The leader's process looks at the topics, as its steward does.
    fn look_at_topics(&mut self, who: usize) {
        let (person, counts) = (&mut self.people[who], self.topics.counts());
        let Some(shared_out) = &mut person.shared_out else { return };
        if counts.iter().any(|(name, count)| shared_out.get(name).is_none_or(|then| then < count)) {
            *shared_out = counts;
            if let Some(machine) = &mut person.machine {
                machine.on_topics_changed();
            }
        }
    }

    fn subscribe(&mut self, who: usize, topics: &[&str]) {
        let person = &mut self.people[who];
        person.topics = topics.iter().map(|topic| (*topic).to_owned()).collect();
        let wanted = person.wanted();
        if let Some(machine) = &mut person.machine {
            machine.on_subscription(wanted);
        }
    }

    fn begin_commit(&mut self, who: usize) {
        let person = &mut self.people[who];
        let identity = person.machine.as_ref().and_then(Membership::identity);
        let Some((generation, member_id)) = identity.filter(|_| !person.commits) else { return };
        let commit = Commit { generation, member_id: member_id.to_owned(), positions: person.positions() };
        person.commits = true;
        self.open.push(((who, person.life), Open::Commit(commit)));
    }

    pub(super) fn step(&mut self, operation: u8, pick: u16, wait: u16) -> Result<(), TestCaseError> {
        let pick = usize::from(pick);
        let who = pick % self.people.len();
        match operation {
            0..=15 if !self.open.is_empty() => {
                let index = pick % self.open.len();
                // Hooks and the search for names take longer than the network.
                let is_slow = matches!(
                    self.open[index].1,
                    Open::Ask(Action::Resolve(_) | Action::Install { .. } | Action::Revoke { .. })
                );
                if !is_slow || pick / 16 % 4 == 0 {
                    self.deliver(index);
                }
            }
            16 if !self.open.is_empty() => self.lose(pick / 2 % self.open.len(), pick % 2 == 0),
            17 => self.people[who].crash(),
            18 | 19 => self.start(who),
            20 => self.expire(pick / 4, pick % 4 == 0),
            21 => self.move_coordinator(),
            22 => self.close(who),
            23 => self.people[who].is_stalled ^= true,
            24 => self.people.iter_mut().for_each(Person::work),
            25 => self.begin_commit(who),
            26 if self.topics.places().len() < MOST => self.grow(NAMES[pick % 2]),
            // By the classic protocol a topic that is made anew stays with its member, whose positions see to it.
            27 if self.kind == Kind::Consumer => self.remove_or_make(NAMES[1]),
            28 => self.look_at_topics(who),
            29 => self.subscribe(who, &NAMES[..1 + pick / 8 % 2]),
            _ => {}
        }
        self.now += Duration::from_millis(u64::from(wait));
        self.run()
    }

    pub(super) fn close(&mut self, who: usize) {
        if let Some(machine) = &mut self.people[who].machine {
            machine.on_close(GroupMembershipOperation::Default);
        }
    }

    /// What each has.
    pub(super) fn shares(&self) -> Vec<BTreeSet<TopicPartition>> {
        self.people.iter().map(|person| person.has.keys().cloned().collect()).collect()
    }

    /// Nothing is lost any more, and the dead are found out; topics grow once more, in a group that has settled.
    pub(super) fn come_to_rest(&mut self) -> Result<(), TestCaseError> {
        if !self.topics.0.contains_key(NAMES[1]) {
            self.make_topic(NAMES[1], 3);
        }
        let mut instances = BTreeSet::new();
        for who in 0..self.people.len() {
            // Of those with one instance id one is right, and the other was started by mistake.
            if self.people[who].instance.as_ref().is_some_and(|instance| !instances.insert(instance.clone())) {
                self.people[who].crash();
            }
            self.people[who].is_stalled = false;
            // Only where it is another: to be told makes members join anew, and would hide one that had forgotten to.
            if self.people[who].topics.len() < NAMES.len() {
                self.subscribe(who, &NAMES);
            }
        }
        self.settle(false)?;
        NAMES.iter().for_each(|name| self.grow(name));
        self.settle(true)?;
        self.people.iter_mut().for_each(Person::work);
        (0..self.people.len()).for_each(|who| self.begin_commit(who));
        self.settle(true)?;
        for (place, position) in self.people.iter().flat_map(Person::positions) {
            prop_assert!(position > 0, "nobody reads {:?}", place);
            prop_assert_eq!(self.committed.get(&place), Some(&position), "{:?} is not committed", place);
        }
        Ok(())
    }

    /// Goes on until nothing moves any more, with each partition at one. What nobody saw while a static member was away
    /// is shared out with the next change: it counts if it is to be `whole`.
    pub(super) fn settle(&mut self, whole: bool) -> Result<(), TestCaseError> {
        self.start(0);
        self.run()?;
        let (mut quiet, mut moves) = (0, 0);
        for round in 0..400 {
            for _ in 0..self.open.len() {
                self.deliver(0);
                self.run()?;
            }
            self.start(0);
            // A session is longer than an answer takes.
            if round % 4 == 3 {
                self.expire(0, false);
            }
            (0..self.people.len()).for_each(|who| self.look_at_topics(who));
            if let Coordinator::Classic(classic) = &self.coordinator {
                for (who, _) in classic.overlooked() {
                    self.subscribe(who, &NAMES);
                }
            }
            self.now += Duration::from_millis(500);
            self.run()?;
            let has: Vec<Place> = self
                .people
                .iter()
                .flat_map(|person| person.has.iter().map(|(place, held)| (held.id, place.partition)))
                .collect();
            let each: BTreeSet<Place> = has.iter().copied().collect();
            let moved = self.people.iter().map(|person| person.moves).sum();
            let is_whole =
                has.len() == each.len() && each == if whole { self.topics.places() } else { self.shared_out() };
            quiet = if is_whole && !each.is_empty() && moved == moves { quiet + 1 } else { 0 };
            moves = moved;
            if quiet == 20 {
                return self.check_at_rest();
            }
        }
        prop_assert!(false, "does not settle: {:?}", self);
        Ok(())
    }
}

impl ConsumerMember {
    /// The ids of the topics of what is being begun with.
    fn installing(&self) -> BTreeMap<TopicPartition, Uuid> {
        self.beginning_with().map(|((id, _), place)| (place.clone(), *id)).collect()
    }
}
