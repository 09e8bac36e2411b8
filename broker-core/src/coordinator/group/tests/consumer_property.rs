//! Random schedules of consumers of KIP-848: they come, go, lose answers, lag behind, change what they read; topics
//! come, grow and go; appends fail; the coordinator falls.
//!
//! After each step the persisted part is what a replay of the log makes and no partition has two members
//! ([`World::check`]), and no client reads what another one may read. When all is calm, each partition of a subscribed
//! topic has one reader, and where all read the same the shares differ by one at most.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::consumer_group_heartbeat_request::{
    ConsumerGroupHeartbeatRequest, TopicPartitions as OwnedTopic,
};
use uuid::Uuid;

use super::consumers::{REVOKE_MS, joining};
use super::world::{GROUP, World};

const CLIENTS: usize = 4;
/// The first so many clients are static members.
const STATICS: usize = 1;
const TOPICS: [&str; 3] = ["a", "ab", "b"];
/// What a client may read: names, or a pattern.
const READS: [(&[&str], Option<&str>); 5] =
    [(&["a"], None), (&["a", "ab", "b"], None), (&["b", "ab"], None), (&[], Some("a.*")), (&["b"], Some("a"))];

#[derive(Debug, Clone)]
enum Step {
    Start(usize, usize),
    /// A heartbeat whose answer arrives or is lost.
    Beat(usize, bool),
    /// The client gives up what it was told to.
    Obey(usize),
    Leave(usize),
    Crash(usize),
    Read(usize, usize),
    Grow(usize, i32),
    Remove(usize),
    Pass(i64),
    FailAppends(bool),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let client = 0..CLIENTS;
    let reads = 0..READS.len();
    prop_oneof![
        5 => (client.clone(), reads.clone()).prop_map(|(client, reads)| Step::Start(client, reads)),
        12 => (client.clone(), prop::bool::weighted(0.85)).prop_map(|(client, arrives)| Step::Beat(client, arrives)),
        8 => client.clone().prop_map(Step::Obey),
        1 => client.clone().prop_map(Step::Leave),
        1 => client.clone().prop_map(Step::Crash),
        2 => (client, reads).prop_map(|(client, reads)| Step::Read(client, reads)),
        2 => (0..TOPICS.len(), 1..6_i32).prop_map(|(topic, partitions)| Step::Grow(topic, partitions)),
        1 => (0..TOPICS.len()).prop_map(Step::Remove),
        5 => (1i64..20_000).prop_map(Step::Pass),
        1 => any::<bool>().prop_map(Step::FailAppends),
        1 => Just(Step::Restart),
    ]
}

type Held = BTreeSet<(Uuid, i32)>;

#[derive(Debug, Clone, Default)]
struct Client {
    /// Empty while it does not run.
    id: String,
    epoch: i32,
    reads: usize,
    owned: Held,
    /// The last assignment, until it has given up what that takes away.
    told: Option<Held>,
    /// To be said with the next heartbeat.
    says_all: bool,
}

struct Course {
    world: World,
    clients: Vec<Client>,
    started: usize,
}

impl Course {
    fn new() -> Self {
        let mut world = World::new();
        world.topic("a", 3);
        world.topic("b", 2);
        Self { world, clients: vec![Client::default(); CLIENTS], started: 0 }
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Start(at, reads) if self.clients[*at].id.is_empty() => {
                self.started += 1;
                let id = format!("client-{at}-{:03}", self.started);
                self.clients[*at] = Client { id, reads: *reads, says_all: true, ..Client::default() };
                self.beat(*at, true);
            }
            Step::Start(..) => {}
            Step::Beat(at, arrives) => self.beat(*at, *arrives),
            Step::Obey(at) => self.obey(*at),
            Step::Leave(at) => self.leave(*at),
            // A static one that comes back must wait for the old session's end.
            Step::Crash(at) => self.clients[*at] = Client::default(),
            Step::Read(at, reads) => {
                self.clients[*at].reads = *reads;
                self.clients[*at].says_all = true;
            }
            Step::Grow(topic, partitions) => self.world.topic(TOPICS[*topic], *partitions),
            Step::Remove(topic) => {
                if self.world.shard.image.topic(TOPICS[*topic]).is_some() {
                    self.world.remove_topic(TOPICS[*topic]);
                }
            }
            Step::Pass(milliseconds) => self.world.pass(*milliseconds),
            Step::FailAppends(fail) => self.world.fail_appends = *fail,
            Step::Restart => self.world.restart(),
        }
        self.world.check();
        self.check_clients();
    }

    fn request(&self, at: usize) -> ConsumerGroupHeartbeatRequest {
        let client = &self.clients[at];
        let (names, pattern) = READS[client.reads];
        let mut owned: BTreeMap<Uuid, Vec<i32>> = BTreeMap::new();
        for (topic, partition) in &client.owned {
            owned.entry(*topic).or_default().push(*partition);
        }
        let owned = owned.into_iter();
        let owned = owned.map(|(topic_id, partitions)| OwnedTopic { topic_id, partitions, ..Default::default() });
        let mut request = ConsumerGroupHeartbeatRequest {
            member_epoch: client.epoch,
            topic_partitions: Some(owned.collect()),
            ..joining(&client.id, names)
        };
        request.subscribed_topic_regex = Some(pattern.unwrap_or_default().to_owned());
        request.instance_id = (at < STATICS).then(|| format!("instance-{at}"));
        if client.epoch > 0 && !client.says_all {
            request.subscribed_topic_names = None;
            request.subscribed_topic_regex = None;
            request.rebalance_timeout_ms = -1;
        }
        request
    }

    fn beat(&mut self, at: usize, arrives: bool) {
        if self.clients[at].id.is_empty() {
            return;
        }
        let request = self.request(at);
        let result = self.world.beat(&request);
        let client = &mut self.clients[at];
        if !arrives {
            // Nobody knows what was answered, so the next heartbeat says everything and is answered in full, as with
            // Kafka's consumer. Without that, partitions that came within one epoch would never be heard of.
            client.says_all = true;
            return;
        }
        match result {
            Ok(response) => {
                assert!(response.member_epoch > 0, "{response:?}");
                client.epoch = response.member_epoch;
                client.says_all = false;
                if let Some(assignment) = response.assignment {
                    let topics = assignment.topic_partitions.iter();
                    let held = topics.flat_map(|one| one.partitions.iter().map(|index| (one.topic_id, *index)));
                    // What is new it takes at once. One that says that it owns less than it is about to take may
                    // lose that to another and not hear of it, with Kafka's coordinator as with this one.
                    let held: Held = held.collect();
                    client.owned.extend(held.iter().copied());
                    client.told = Some(held);
                }
            }
            Err(error) => match error.code {
                ErrorCode::UnknownMemberId | ErrorCode::FencedMemberEpoch | ErrorCode::GroupIdNotFound => {
                    *client =
                        Client { id: client.id.clone(), reads: client.reads, says_all: true, ..Client::default() };
                }
                ErrorCode::FencedInstanceId => *client = Client::default(),
                ErrorCode::UnreleasedInstanceId => {}
                // What it asked may be asked again, in full, for nobody knows what was heard of it.
                ErrorCode::NotCoordinator => client.says_all = true,
                other => panic!("{other:?}: {error} to {request:?}"),
            },
        }
    }

    /// It gives up what was taken away.
    fn obey(&mut self, at: usize) {
        if let Some(told) = self.clients[at].told.take() {
            self.clients[at].owned = told;
        }
    }

    fn leave(&mut self, at: usize) {
        if self.clients[at].id.is_empty() || self.clients[at].epoch == 0 {
            return;
        }
        let member_epoch = if at < STATICS { -2 } else { -1 };
        let request = ConsumerGroupHeartbeatRequest { member_epoch, ..self.request(at) };
        // Whatever comes of it, the client is gone.
        let _ = self.world.beat(&request);
        self.clients[at] = Client::default();
    }

    /// Whoever is a member owns no more than the coordinator knows, so that nobody shares.
    fn check_clients(&self) {
        let Some(group) = self.world.shard.persisted.consumer(GROUP) else { return };
        for client in &self.clients {
            let Some(member) = group.members.get(&client.id) else { continue };
            // One that has lost its place and come again may have been told nothing yet.
            if client.epoch == 0 {
                continue;
            }
            let known: Held = [&member.current.assigned, &member.current.revoking]
                .into_iter()
                .flatten()
                .flat_map(|(topic, partitions)| partitions.keys().map(|partition| (*topic, *partition)))
                .collect();
            assert!(client.owned.is_subset(&known), "{client:?} owns more than {member:?}");
        }
    }

    /// Nothing fails any more, and time passes.
    fn calm(&mut self) {
        self.world.fail_appends = false;
        for _ in 0..40 {
            for at in 0..CLIENTS {
                self.beat(at, true);
                self.obey(at);
            }
            self.world.pass(2_000);
            self.world.check();
            self.check_clients();
        }
    }

    fn check_settled(&self) {
        let running: Vec<&Client> = self.clients.iter().filter(|client| !client.id.is_empty()).collect();
        if running.is_empty() {
            return;
        }
        let state = self.world.shard.describe_consumer(GROUP).group_state;
        assert_eq!(state, "Stable", "{:?}", self.world.consumer());
        let image = &self.world.shard.image;
        let reads = |client: &Client, topic: &str| {
            let (names, pattern) = READS[client.reads];
            names.contains(&topic)
                || pattern.is_some_and(|pattern| topic == pattern || pattern == "a.*" && topic.starts_with('a'))
        };
        let mut expected = Held::new();
        for topic in image.topics() {
            if running.iter().any(|client| reads(client, &topic.name)) {
                expected.extend((0..topic.partitions.len() as i32).map(|index| (topic.id, index)));
            }
        }
        let mut owned = Held::new();
        for client in &running {
            for one in &client.owned {
                assert!(owned.insert(*one), "{one:?} has two readers");
                let topic = image.topic_by_id(one.0).expect("a topic that is there");
                assert!(reads(client, &topic.name), "{client:?} does not read {}", topic.name);
            }
        }
        assert_eq!(owned, expected);
        if running.iter().all(|client| client.reads == running[0].reads) {
            let shares: Vec<usize> = running.iter().map(|client| client.owned.len()).collect();
            let spread = shares.iter().max().unwrap_or(&0) - shares.iter().min().unwrap_or(&0);
            assert!(spread <= 1, "{shares:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn consumers_share_nothing_and_settle(steps in proptest::collection::vec(step(), 1..120)) {
        let mut course = Course::new();
        for step in &steps {
            course.take(step);
        }
        course.calm();
        course.check_settled();
    }
}

/// Client 3 waits in its epoch for partitions of client 0, and gets them with an answer that is lost.
#[test]
fn what_came_with_a_lost_answer_is_told_again() {
    let mut course = Course::new();
    for step in [
        Step::Grow(1, 1),
        Step::Start(0, 0),
        Step::Start(1, 3),
        Step::Pass(17_485),
        Step::Start(3, 1),
        Step::Read(0, 0),
        Step::Pass(13_875),
        Step::Leave(0),
        Step::Beat(2, false),
        Step::Pass(13_640),
        Step::Start(0, 0),
        Step::Crash(1),
        Step::Beat(3, false),
    ] {
        course.take(&step);
    }
    course.calm();
    course.check_settled();
}

#[test]
fn the_revocation_timeout_is_longer_than_a_session() {
    // Else the schedules above would hardly meet a session that ends while partitions are to be given up.
    assert!(i64::from(REVOKE_MS) > 45_000);
}
