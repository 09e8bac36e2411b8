//! The assignors of a client beside Java's own, on random groups over several rebalances: what both decide, and that
//! either reads what the other wrote.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use rkafka::consumer::assignor::{Assignor, Member, Remembered, TopicPartition, TopicPartitions, by_name};
use rkafka::protocol::messages::consumer_protocol_subscription::TopicPartition as OwnedTopic;
use rkafka::protocol::messages::{ConsumerProtocolAssignment, ConsumerProtocolSubscription};
use rkafka::protocol::wire::{Message, Reader, Writer};

use crate::support::{has_java, tool};

const TOPICS: [&str; 4] = ["a", "b", "c", "d"];
const RACKS: [&str; 3] = ["x", "y", "z"];
const GROUPS: u64 = 150;
const ROUNDS: i32 = 4;

/// Random numbers by a seed (splitmix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) >> 33).expect("31 bits") % bound
    }

    fn one_in(&mut self, chances: usize) -> bool {
        self.below(chances) == 0
    }
}

/// A member over its life.
#[derive(Clone)]
struct Person {
    id: String,
    instance: Option<String>,
    rack: Option<String>,
    topics: Vec<String>,
    remembered: Option<Remembered>,
    /// The version of the subscriptions that its client writes.
    version: i16,
}

/// A group in one rebalance, and what was made of it.
struct Case {
    assignor: &'static dyn Assignor,
    generation: i32,
    topics: BTreeMap<String, Vec<Vec<String>>>,
    people: Vec<Person>,
    members: Vec<Member>,
    ours: BTreeMap<String, Vec<TopicPartition>>,
    /// What Java's leader takes from our subscriptions: generation, rack, partitions.
    read: BTreeMap<String, (i32, String, Vec<TopicPartition>)>,
    javas: BTreeMap<String, Vec<TopicPartition>>,
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2);
    digits.map(|two| u8::from_str_radix(std::str::from_utf8(two).expect("ASCII"), 16).expect("hex")).collect()
}

/// What a member joins with.
fn subscription(person: &Person, assignor: &dyn Assignor, dice: &mut Dice) -> Vec<u8> {
    let mut user_data = assignor.user_data(person.remembered.as_ref());
    if assignor.name() == "sticky" && person.version == 0 {
        // So old a client has the first version of the user data too, which has no generation.
        user_data = user_data.map(|bytes| bytes[..bytes.len() - 4].to_vec());
    }
    if dice.one_in(40) {
        user_data = Some(vec![1, 2, 3]);
    }
    let is_cooperative = assignor.name() == "cooperative-sticky";
    let mut owned: BTreeMap<String, Vec<i32>> = BTreeMap::new();
    for (topic, partition) in person.remembered.iter().filter(|_| is_cooperative).flat_map(|last| &last.partitions) {
        owned.entry(topic.clone()).or_default().push(*partition);
    }
    let message = ConsumerProtocolSubscription {
        topics: person.topics.clone(),
        user_data: user_data.map(Into::into),
        owned_partitions: owned.into_iter().map(|(topic, partitions)| OwnedTopic { topic, partitions }).collect(),
        generation_id: person.remembered.as_ref().map_or(-1, |last| last.generation),
        rack_id: person.rack.clone(),
    };
    let version = if is_cooperative { person.version.max(1) } else { person.version };
    let mut writer = Writer::new();
    writer.i16(version);
    message.encode(&mut writer, version).expect("a subscription");
    writer.into_vec()
}

fn read<M: Message>(bytes: Vec<u8>) -> M {
    let mut reader = Reader::new(bytes.into());
    let version = reader.i16().expect("a version");
    M::decode(&mut reader, version).expect("a message")
}

/// What a leader of ours takes from a subscription.
fn member(id: &str, instance: Option<&str>, bytes: Vec<u8>, assignor: &dyn Assignor) -> Member {
    let told: ConsumerProtocolSubscription = read(bytes);
    let owned = told.owned_partitions.into_iter().flat_map(|topic| {
        let name = topic.topic;
        topic.partitions.into_iter().map(move |partition| (name.clone(), partition))
    });
    let mut member = Member::new(id, told.topics)
        .with_owned(owned.collect(), Some(told.generation_id).filter(|generation| *generation >= 0));
    member.instance_id = instance.map(str::to_owned);
    member.rack = told.rack_id;
    assignor.read_user_data(&mut member, told.user_data.as_deref());
    member
}

fn random_topics(dice: &mut Dice, has_racks: bool) -> BTreeMap<String, Vec<Vec<String>>> {
    let count = 1 + dice.below(TOPICS.len());
    let same = dice.one_in(2).then(|| 1 + dice.below(9));
    let topics = TOPICS.iter().take(count);
    topics
        .map(|topic| {
            let partitions = same.unwrap_or_else(|| 1 + dice.below(12));
            let racks = (0..partitions).map(|_| {
                let replicas = if has_racks { 1 + dice.below(2) } else { 0 };
                let racks: BTreeSet<&str> = (0..replicas).map(|_| RACKS[dice.below(RACKS.len())]).collect();
                racks.into_iter().map(str::to_owned).collect()
            });
            ((*topic).to_owned(), racks.collect())
        })
        .collect()
}

fn random_person(dice: &mut Dice, number: usize, all_alike: bool, has_racks: bool) -> Person {
    // Everybody wants something: where somebody wants nothing, Java's sticky assignors give it partitions all the same.
    let one = dice.below(TOPICS.len());
    let some = TOPICS.iter().enumerate().filter(|(number, _)| all_alike || *number == one || dice.one_in(2));
    let some: Vec<String> = some.map(|(_, topic)| (*topic).to_owned()).collect();
    Person {
        id: format!("member-{:02}", (number * 37) % 100),
        instance: dice.one_in(4).then(|| format!("instance-{number}")),
        rack: (has_racks && !dice.one_in(5)).then(|| RACKS[dice.below(RACKS.len())].to_owned()),
        topics: some,
        remembered: None,
        version: [0, 1, 2, 3, 3, 3, 3, 3][dice.below(8)].max(if has_racks { 3 } else { 0 }),
    }
}

/// The rebalances of one group, decided by us, each from what the members had by ours before.
fn rebalances(assignor: &'static dyn Assignor, dice: &mut Dice, input: &mut String, cases: &mut Vec<Case>) {
    let (has_racks, all_alike) = (assignor.name() != "roundrobin" && !dice.one_in(3), dice.one_in(2));
    let mut topics = random_topics(dice, has_racks);
    let mut people: Vec<Person> =
        (0..1 + dice.below(7)).map(|number| random_person(dice, number, all_alike, has_racks)).collect();
    for generation in 1..=ROUNDS {
        if generation > 1 {
            if people.len() > 1 && dice.one_in(2) {
                people.remove(dice.below(people.len()));
            }
            if dice.one_in(2) {
                let number = 10 * usize::try_from(generation).expect("positive");
                people.push(random_person(dice, number, all_alike, has_racks));
            }
            if dice.one_in(4) {
                // Topics come, and grow; a claim to a partition that is gone would be nonsense, which Java takes for sense.
                for (topic, racks) in random_topics(dice, has_racks) {
                    let known = topics.entry(topic).or_default();
                    known.extend(racks.into_iter().skip(known.len()));
                }
            }
        }
        let mut partitions = TopicPartitions::new();
        writeln!(input, "case {} {} {generation}", cases.len(), assignor.name()).expect("a string");
        for (topic, racks) in &topics {
            partitions.insert(topic.clone(), i32::try_from(racks.len()).expect("few"));
            partitions.insert_racks(topic.clone(), racks.clone());
            let places: Vec<String> =
                racks.iter().map(|racks| if racks.is_empty() { "-".to_owned() } else { racks.join(",") }).collect();
            writeln!(input, "topic {topic} {}", places.join("|")).expect("a string");
        }
        let mut members = Vec::new();
        for person in &people {
            let bytes = subscription(person, assignor, dice);
            let instance = person.instance.as_deref();
            writeln!(input, "member {} {} {}", person.id, instance.unwrap_or("-"), hex(&bytes)).expect("a string");
            members.push(member(&person.id, instance, bytes, assignor));
        }
        writeln!(input, "end").expect("a string");
        let ours = assignor.assign(&members, &partitions).expect("an assignment").into_map();
        let before = people.clone();
        for person in &mut people {
            // One in ten misses what it was given, and comes back with what it had.
            if !dice.one_in(10) {
                let mut partitions = ours[&person.id].clone();
                partitions.sort();
                person.remembered = Some(Remembered { generation, partitions });
            }
        }
        let (read, javas) = (BTreeMap::new(), BTreeMap::new());
        cases.push(Case { assignor, generation, topics: topics.clone(), people: before, members, ours, read, javas });
    }
}

fn place(word: &str) -> TopicPartition {
    let (topic, partition) = word.rsplit_once(':').expect("topic:partition");
    (topic.to_owned(), partition.parse().expect("a number"))
}

/// Takes in what Java said, and checks that we read what it wrote.
fn take_in(cases: &mut [Case], printed: &str) {
    let mut current = usize::MAX;
    for line in printed.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["case", number, ..] => current = number.parse().expect("a number"),
            ["read", id, generation, rack, ref owned @ ..] => {
                let owned = owned.iter().map(|word| place(word)).collect();
                let told = (generation.parse().expect("a number"), rack.to_owned(), owned);
                cases[current].read.insert(id.to_owned(), told);
            }
            ["assigned", id, assignment, next] => {
                let case = &mut cases[current];
                let told: ConsumerProtocolAssignment = read(unhex(assignment));
                let partitions = told.assigned_partitions.into_iter().flat_map(|topic| {
                    let name = topic.topic;
                    topic.partitions.into_iter().map(move |partition| (name.clone(), partition))
                });
                let mut partitions: Vec<TopicPartition> = partitions.collect();
                partitions.sort();
                let person = case.people.iter().find(|person| person.id == id).expect("a member of the group");
                let joins = member(id, None, unhex(next), case.assignor);
                assert_eq!(joins.topics, person.topics);
                assert_eq!(joins.rack, person.rack);
                if case.assignor.name().ends_with("sticky") {
                    let mut owned = joins.owned;
                    owned.sort();
                    assert_eq!(
                        (owned, joins.generation),
                        (partitions.clone(), Some(case.generation)),
                        "case {current}"
                    );
                }
                case.javas.insert(id.to_owned(), partitions);
            }
            _ => {}
        }
    }
}

/// How far the loads are apart: the sum over all pairs, as Java measures it.
fn imbalance(given: &BTreeMap<String, Vec<TopicPartition>>) -> usize {
    let loads: Vec<usize> = given.values().map(Vec::len).collect();
    let pairs = (0..loads.len()).flat_map(|one| (0..one).map(move |other| (one, other)));
    pairs.map(|(one, other)| loads[one].abs_diff(loads[other])).sum()
}

impl Case {
    /// Every partition that somebody subscribes to.
    fn wanted(&self) -> BTreeSet<TopicPartition> {
        let subscribed: BTreeSet<&String> = self.members.iter().flat_map(|member| &member.topics).collect();
        let all = self.topics.iter().filter(|(topic, _)| subscribed.contains(topic));
        all.flat_map(|(topic, racks)| {
            (0..i32::try_from(racks.len()).expect("few")).map(|partition| (topic.clone(), partition))
        })
        .collect()
    }

    fn claimants(&self, partition: &TopicPartition) -> Vec<&Member> {
        self.members.iter().filter(|member| member.owned.contains(partition)).collect()
    }

    /// How many partitions stay with the member that alone had them last.
    fn kept(&self, given: &BTreeMap<String, Vec<TopicPartition>>) -> usize {
        let keeps = |partition: &&TopicPartition| {
            let claimants = self.claimants(partition);
            let latest = claimants.iter().map(|member| member.generation.unwrap_or(-1)).max();
            let of_latest: Vec<_> =
                claimants.iter().filter(|member| Some(member.generation.unwrap_or(-1)) == latest).collect();
            matches!(of_latest[..], [owner] if given[&owner.id].contains(partition))
        };
        self.wanted().iter().filter(keeps).count()
    }

    /// How many partitions are read in the rack of one of their replicas.
    fn near(&self, given: &BTreeMap<String, Vec<TopicPartition>>) -> usize {
        let of_member = |member: &Member| {
            let is_near = |(topic, partition): &&TopicPartition| {
                let number = usize::try_from(*partition).expect("positive");
                member.rack.as_ref().is_some_and(|rack| self.topics[topic][number].contains(rack))
            };
            given[&member.id].iter().filter(is_near).count()
        };
        self.members.iter().map(of_member).sum()
    }

    fn has_racks(&self) -> bool {
        self.members.iter().any(|member| member.rack.is_some())
    }

    fn describe(&self) -> String {
        let lines = self.members.iter().map(|member| {
            format!(
                "{} of {:?} in {:?} for {:?} had {:?} of {:?}\n  ours  {:?}\n  Java's {:?}\n",
                member.id,
                member.instance_id,
                member.rack,
                member.topics,
                member.owned,
                member.generation,
                self.ours[&member.id],
                self.javas[&member.id]
            )
        });
        format!("{} {:?}\n{}", self.assignor.name(), self.topics, lines.collect::<String>())
    }

    fn check(&self) {
        for member in &self.members {
            let mut owned: Vec<TopicPartition> = member.owned.clone();
            owned.sort();
            let (generation, rack, mut javas) = self.read[&member.id].clone();
            javas.sort();
            assert_eq!(
                (generation, rack.as_str(), javas),
                (member.generation.unwrap_or(-1), member.rack.as_deref().unwrap_or("-"), owned),
                "Java reads {} as we do\n{}",
                member.id,
                self.describe()
            );
        }
        let is_cooperative = self.assignor.name() == "cooperative-sticky";
        for given in [&self.ours, &self.javas] {
            let all: Vec<&TopicPartition> = given.values().flatten().collect();
            let each: BTreeSet<TopicPartition> = all.iter().map(|&partition| partition.clone()).collect();
            assert_eq!(all.len(), each.len(), "two owners\n{}", self.describe());
            let wanted = self.wanted();
            assert!(each.is_subset(&wanted), "{}", self.describe());
            assert!(is_cooperative || each == wanted, "not all are given\n{}", self.describe());
        }
        match self.assignor.name() {
            "range" | "roundrobin" => {
                let sorted = |given: &BTreeMap<String, Vec<TopicPartition>>| {
                    let mut given = given.clone();
                    given.values_mut().for_each(|partitions| partitions.sort());
                    given
                };
                assert_eq!(sorted(&self.ours), sorted(&self.javas), "{}", self.describe());
            }
            _ => self.check_sticky(is_cooperative),
        }
    }

    fn all_alike(&self) -> bool {
        self.members.iter().all(|member| member.topics == self.members[0].topics)
    }

    fn check_sticky(&self, is_cooperative: bool) {
        if is_cooperative {
            for (id, partitions) in &self.ours {
                for partition in partitions {
                    let claimants = self.claimants(partition);
                    let free = claimants.is_empty() || claimants.iter().any(|member| member.id == *id);
                    assert!(free, "{partition:?} is claimed by another\n{}", self.describe());
                }
            }
        } else {
            let (uneven, javas) = (imbalance(&self.ours), imbalance(&self.javas));
            assert!(uneven <= javas, "uneven by {uneven}, Java's by {javas}\n{}", self.describe());
        }
        // Where there are racks, some move to be near.
        if self.all_alike() && !self.has_racks() {
            let (kept, javas) = (self.kept(&self.ours), self.kept(&self.javas));
            assert!(kept >= javas, "keeps {kept}, Java {javas}\n{}", self.describe());
        }
    }
}

#[tokio::test]
async fn they_decide_as_javas_do_and_speak_the_same_bytes() {
    if !has_java("assignors::they_decide_as_javas_do_and_speak_the_same_bytes").await {
        return;
    }
    // The same groups each time; others by a seed of one's own.
    let seed = std::env::var("RKAFKA_ASSIGNOR_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let (mut dice, mut input, mut cases) = (Dice(seed), String::new(), Vec::new());
    for _ in 0..GROUPS {
        for name in ["range", "roundrobin", "sticky", "cooperative-sticky"] {
            rebalances(by_name(name).expect("Kafka's"), &mut dice, &mut input, &mut cases);
        }
    }
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/programs/Assignors.java");
    let printed = tool(program, &[], input.as_bytes()).await;
    take_in(&mut cases, &printed);
    for case in &cases {
        assert_eq!((case.javas.len(), case.read.len()), (case.people.len(), case.people.len()));
        case.check();
    }
    // Where members want different topics neither finds the fewest moves each time; ours does not need more on the whole.
    let is_sticky = |case: &&Case| case.assignor.name() == "sticky" && imbalance(&case.ours) == imbalance(&case.javas);
    let sum = |is_comparable: &dyn Fn(&Case) -> bool, count: &dyn Fn(&Case, &BTreeMap<_, _>) -> usize| {
        let comparable = cases.iter().filter(is_sticky).filter(|case| is_comparable(case));
        comparable
            .fold((0, 0), |(ours, javas), case| (ours + count(case, &case.ours), javas + count(case, &case.javas)))
    };
    let kept = sum(&|case| !case.all_alike() && !case.has_racks(), &|case, given| case.kept(given));
    assert!(kept.0 >= kept.1, "seed {seed}: ours keep {}, Java's {}", kept.0, kept.1);
    // With racks Java brings a few more near, and moves more for it.
    let near = sum(&|case| case.has_racks(), &|case, given| case.near(given));
    assert!(near.0 * 100 >= near.1 * 95 && near.1 > 0, "seed {seed}: ours read {} nearby, Java's {}", near.0, near.1);
    let kept = sum(&|case| case.has_racks(), &|case, given| case.kept(given));
    assert!(kept.0 >= kept.1, "seed {seed}: ours keep {} among racks, Java's {}", kept.0, kept.1);
}
