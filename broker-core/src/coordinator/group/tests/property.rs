//! Random schedules of clients, clocks, failing appends and falling coordinators.
//!
//! Offsets are committed in transactions and without, deleted and forgotten by age between.
//!
//! At each step the persisted part is what a replay of the log makes ([`World::check`]); each generation has one plan;
//! what was acknowledged is there. When all is calm again, every client that lives is a member of one stable group.

use std::collections::BTreeMap;

use proptest::prelude::*;
use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::offset_delete_request::{
    OffsetDeleteRequest, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};

use super::super::{ClassicState, WaiterId};
use super::world::{GROUP, TOPIC, World, join_request};

const CLIENTS: usize = 5;
/// The first so many clients are static members.
const STATICS: usize = 2;
const PARTITIONS: i32 = 3;
const PRODUCERS: i64 = 3;

#[derive(Debug, Clone)]
enum Step {
    Start(usize),
    /// The client says goodbye.
    Leave(usize),
    /// The client is gone, and its connection with it or not.
    Crash(usize, bool),
    Heartbeat(usize),
    /// A member asks to join again, as at a change of its subscription.
    Rejoin(usize),
    Commit(usize, i32),
    /// A producer commits in its transaction, for a member or, as old ones do, for nobody.
    CommitInTransaction(usize, bool, i64, i32),
    /// The transaction of a producer is committed or aborted.
    Mark(i64, bool),
    /// Somebody looks for expired offsets, so many days later.
    Expire(i64),
    DeleteOffset(i32),
    DeleteGroup,
    Pass(i64),
    FailAppends(bool),
    /// The coordinator falls.
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let client = 0..CLIENTS;
    prop_oneof![
        5 => client.clone().prop_map(Step::Start),
        2 => client.clone().prop_map(Step::Leave),
        2 => (client.clone(), any::<bool>()).prop_map(|(client, hangs_up)| Step::Crash(client, hangs_up)),
        6 => client.clone().prop_map(Step::Heartbeat),
        1 => client.clone().prop_map(Step::Rejoin),
        4 => (client.clone(), 0..PARTITIONS).prop_map(|(client, partition)| Step::Commit(client, partition)),
        4 => (client, any::<bool>(), 0..PRODUCERS, 0..PARTITIONS)
            .prop_map(|(client, says, producer, partition)| Step::CommitInTransaction(client, says, producer, partition)),
        3 => (0..PRODUCERS, any::<bool>()).prop_map(|(producer, commit)| Step::Mark(producer, commit)),
        1 => (0i64..10).prop_map(Step::Expire),
        1 => (0..PARTITIONS).prop_map(Step::DeleteOffset),
        1 => Just(Step::DeleteGroup),
        6 => (1i64..15_000).prop_map(Step::Pass),
        1 => any::<bool>().prop_map(Step::FailAppends),
        1 => Just(Step::Restart),
    ]
}

#[derive(Debug, Clone, PartialEq)]
enum Mood {
    Off,
    /// It will join at the next opportunity.
    Eager,
    Joining(WaiterId),
    Syncing(WaiterId),
    Member,
}

#[derive(Debug, Clone)]
struct Client {
    instance: Option<&'static str>,
    member_id: String,
    generation: i32,
    mood: Mood,
}

struct Play {
    world: World,
    clients: Vec<Client>,
    /// Each generation's plan, as the first who was told it says.
    plans: BTreeMap<i32, String>,
    plan_count: u64,
    /// The last acknowledged offset of each partition, and the next to commit. Offsets that are committed later are
    /// larger, so that of two the larger one was written later.
    acknowledged: BTreeMap<i32, i64>,
    /// What transactions have written that are not over.
    pending: BTreeMap<i64, BTreeMap<i32, i64>>,
    next_offset: i64,
    has_restarted: bool,
}

impl Play {
    fn new() -> Self {
        let client = |index: usize| Client {
            instance: (index < STATICS).then(|| ["one", "two"][index]),
            member_id: String::new(),
            generation: -1,
            mood: Mood::Off,
        };
        Self {
            world: World::new(),
            clients: (0..CLIENTS).map(client).collect(),
            plans: BTreeMap::new(),
            plan_count: 0,
            acknowledged: BTreeMap::new(),
            pending: BTreeMap::new(),
            next_offset: 0,
            has_restarted: false,
        }
    }

    fn play(&mut self, step: &Step) {
        match *step {
            Step::Start(index) => {
                if self.clients[index].mood == Mood::Off {
                    self.clients[index].member_id.clear();
                    self.clients[index].mood = Mood::Eager;
                }
            }
            Step::Leave(index) => {
                let client = self.clients[index].clone();
                if !matches!(client.mood, Mood::Off) && !client.member_id.is_empty() {
                    self.world.leave(&[(&client.member_id, client.instance)]);
                    self.clients[index].mood = Mood::Off;
                }
            }
            Step::Crash(index, hangs_up) => {
                if let (Mood::Joining(waiter) | Mood::Syncing(waiter), true) = (&self.clients[index].mood, hangs_up) {
                    self.world.forget(*waiter);
                }
                self.clients[index].mood = Mood::Off;
            }
            Step::Heartbeat(index) => self.heartbeat(index),
            Step::Rejoin(index) => {
                if self.clients[index].mood == Mood::Member {
                    self.clients[index].mood = Mood::Eager;
                }
            }
            Step::Commit(index, partition) => self.commit(index, partition),
            Step::CommitInTransaction(index, says, producer, partition) => {
                self.commit_in_transaction(index, says, producer, partition);
            }
            Step::Mark(producer, commit) => self.mark(producer, commit),
            Step::Expire(days) => self.expire(days),
            Step::DeleteOffset(partition) => self.delete_offset(partition),
            Step::DeleteGroup => self.delete_group(),
            Step::Pass(milliseconds) => self.world.pass(milliseconds),
            Step::FailAppends(fail) => self.world.fail_appends = fail,
            Step::Restart => {
                self.has_restarted = true;
                self.world.restart();
                for client in &mut self.clients {
                    if matches!(client.mood, Mood::Joining(_) | Mood::Syncing(_)) {
                        client.mood = Mood::Eager;
                    }
                }
            }
        }
        self.let_clients_act();
        self.check_offsets();
    }

    fn check_offsets(&self) {
        for partition in 0..PARTITIONS {
            let expected = self.acknowledged.get(&partition).copied().unwrap_or(-1);
            assert_eq!(self.world.committed(partition), expected, "what was acknowledged is there, and nothing else");
            let is_pending = self.is_pending(partition);
            let stable = if is_pending { Err(ErrorCode::UnstableOffsetCommit) } else { Ok(expected) };
            assert_eq!(self.world.stable_offset(partition), stable);
        }
    }

    fn is_pending(&self, partition: i32) -> bool {
        self.pending.values().any(|written| written.contains_key(&partition))
    }

    fn commit_in_transaction(&mut self, index: usize, says: bool, producer: i64, partition: i32) {
        let client = self.clients[index].clone();
        if says && client.mood != Mood::Member {
            return;
        }
        let member =
            if says { (client.member_id.as_str(), client.instance, client.generation) } else { ("", None, -1) };
        self.next_offset += 1;
        match self.world.commit_in_transaction(producer, member, partition, self.next_offset) {
            Ok(()) => {
                self.pending.entry(producer).or_default().insert(partition, self.next_offset);
            }
            Err(ErrorCode::NotCoordinator) => assert!(self.world.fail_appends),
            Err(error) => {
                assert!(says, "{error:?} to nobody");
                self.turned_away(index, error);
            }
        }
    }

    fn mark(&mut self, producer: i64, commit: bool) {
        if self.world.fail_appends {
            return;
        }
        self.world.mark(producer, commit);
        for (partition, offset) in self.pending.remove(&producer).unwrap_or_default() {
            let known = self.acknowledged.get(&partition).copied().unwrap_or(-1);
            if commit && offset > known {
                self.acknowledged.insert(partition, offset);
            }
        }
    }

    fn expire(&mut self, days: i64) {
        self.world.now.date_ms += days * 24 * 60 * 60 * 1000;
        let has_members = self.world.group().is_some_and(|group| !group.members.is_empty());
        self.world.expire();
        let expired: Vec<i32> =
            self.acknowledged.keys().copied().filter(|partition| self.world.committed(*partition) == -1).collect();
        for partition in expired {
            assert!(!has_members, "the members subscribe to the topic");
            assert!(!self.is_pending(partition), "a transaction that is open has written it");
            self.acknowledged.remove(&partition);
        }
        self.plans_may_come_anew();
    }

    fn delete_offset(&mut self, partition: i32) {
        let request = OffsetDeleteRequest {
            group_id: GROUP.to_owned(),
            topics: vec![OffsetDeleteRequestTopic {
                name: TOPIC.to_owned(),
                partitions: vec![OffsetDeleteRequestPartition { partition_index: partition }],
            }],
        };
        let Ok(outcome) = self.world.shard.decide_delete_offsets(&request) else { return };
        if let Ok(response) = self.world.take_outcome(outcome)
            && response.topics[0].partitions[0].error_code == 0
        {
            self.acknowledged.remove(&partition);
            self.pending.values_mut().for_each(|written| {
                written.remove(&partition);
            });
        }
    }

    fn delete_group(&mut self) {
        let Ok(outcome) = self.world.shard.decide_delete(GROUP) else { return };
        if self.world.take_outcome(outcome).is_ok() {
            let effects = self.world.shard.deleted(self.world.now, GROUP);
            self.world.settle(effects);
            self.acknowledged.clear();
            self.pending.clear();
        }
        self.plans_may_come_anew();
    }

    /// A group that is gone begins to count its generations anew.
    fn plans_may_come_anew(&mut self) {
        if self.world.shard.list(&[], &[]).is_empty() {
            self.plans.clear();
        }
    }

    fn heartbeat(&mut self, index: usize) {
        let client = self.clients[index].clone();
        if client.mood != Mood::Member {
            return;
        }
        match self.world.heartbeat(&client.member_id, client.instance, client.generation) {
            Ok(()) => assert_eq!(self.world.group().unwrap().generation, client.generation),
            Err(error) => self.turned_away(index, error),
        }
    }

    fn commit(&mut self, index: usize, partition: i32) {
        let client = self.clients[index].clone();
        if client.mood != Mood::Member {
            return;
        }
        self.next_offset += 1;
        match self.world.commit(&client.member_id, client.generation, partition, self.next_offset) {
            Ok(()) => {
                assert_eq!(self.world.group().unwrap().generation, client.generation);
                self.acknowledged.insert(partition, self.next_offset);
            }
            Err(ErrorCode::NotCoordinator) => assert!(self.world.fail_appends),
            Err(error) => self.turned_away(index, error),
        }
    }

    fn turned_away(&mut self, index: usize, error: ErrorCode) {
        let client = &mut self.clients[index];
        client.mood = match error {
            // The group may have been deleted behind the back of a member that was out of it.
            ErrorCode::UnknownMemberId | ErrorCode::GroupIdNotFound => {
                client.member_id.clear();
                Mood::Eager
            }
            ErrorCode::FencedInstanceId => {
                // An id given in a rebalance that was not through is not in the log, and a coordinator that takes over
                // may know the instance under an older id, in Kafka as here. The client's owner starts it again.
                assert!(self.has_restarted, "nobody else has the instance of {client:?}");
                client.member_id.clear();
                Mood::Eager
            }
            ErrorCode::RebalanceInProgress
            | ErrorCode::IllegalGeneration
            | ErrorCode::MemberIdRequired
            | ErrorCode::NotCoordinator => Mood::Eager,
            other => panic!("{other:?} to {client:?}"),
        };
    }

    /// Clients take their answers and go on, until nobody can.
    fn let_clients_act(&mut self) {
        for _ in 0..20 {
            let before: Vec<Mood> = self.clients.iter().map(|client| client.mood.clone()).collect();
            for index in 0..CLIENTS {
                self.act(index);
            }
            if self.clients.iter().map(|client| &client.mood).eq(&before) {
                return;
            }
            if self.world.fail_appends {
                // Who is refused by a failing log asks again after a while, not at once.
                return;
            }
        }
        panic!("clients go on for ever: {:?}", self.clients);
    }

    fn act(&mut self, index: usize) {
        let client = self.clients[index].clone();
        match client.mood {
            Mood::Off | Mood::Member => {}
            Mood::Eager => {
                let waiter = self.world.join_as(&join_request(&client.member_id, client.instance), 9);
                self.clients[index].mood = Mood::Joining(waiter);
            }
            Mood::Joining(waiter) => {
                let Some(response) = self.world.joined(waiter) else { return };
                if !response.member_id.is_empty() {
                    self.clients[index].member_id.clone_from(&response.member_id);
                }
                if let Err(error) = ErrorCode::check(response.error_code) {
                    return self.turned_away(index, error);
                }
                self.clients[index].generation = response.generation_id;
                let mut plan = Vec::new();
                if response.leader == response.member_id && !response.skip_assignment {
                    self.plan_count += 1;
                    let text = self.plan_count.to_string();
                    plan = response.members.iter().map(|member| (member.member_id.clone(), text.clone())).collect();
                }
                let plan: Vec<(&str, &str)> = plan.iter().map(|(id, text)| (id.as_str(), text.as_str())).collect();
                let waiter = self.world.sync(&response.member_id, response.generation_id, &plan);
                self.clients[index].mood = Mood::Syncing(waiter);
            }
            Mood::Syncing(waiter) => {
                let Some(response) = self.world.synced(waiter) else { return };
                if let Err(error) = ErrorCode::check(response.error_code) {
                    return self.turned_away(index, error);
                }
                let plan = String::from_utf8(response.assignment.to_vec()).unwrap();
                assert!(!plan.is_empty(), "{client:?} was forgotten by the leader");
                let first = self.plans.entry(client.generation).or_insert_with(|| plan.clone());
                assert_eq!(*first, plan, "generation {} has two plans", client.generation);
                self.clients[index].mood = Mood::Member;
            }
        }
    }

    /// No more perturbations: everybody heartbeats, and time passes.
    fn calm_down(&mut self) {
        self.play(&Step::FailAppends(false));
        for _ in 0..200 {
            for index in 0..CLIENTS {
                self.play(&Step::Heartbeat(index));
            }
            self.play(&Step::Pass(2_000));
        }
        let living: Vec<&Client> = self.clients.iter().filter(|client| client.mood != Mood::Off).collect();
        for client in &living {
            assert_eq!(client.mood, Mood::Member, "{:?}", self.world.group());
        }
        match self.world.group() {
            Some(group) if !living.is_empty() => {
                assert_eq!(group.state(), ClassicState::Stable);
                assert_eq!(group.members.len(), living.len(), "nobody is a member who is not there");
                assert!(living.iter().all(|client| client.generation == group.generation));
            }
            other => {
                assert!(living.is_empty());
                assert!(other.is_none_or(|group| group.state() == ClassicState::Empty && group.members.is_empty()));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn any_schedule_settles_and_loses_nothing(steps in prop::collection::vec(step(), 1..80)) {
        let mut play = Play::new();
        for step in &steps {
            play.play(step);
        }
        play.calm_down();
        play.world.restart();
        play.check_offsets();
    }
}
