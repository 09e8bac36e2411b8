//! What every assignor owes to every group, on random groups.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use rkafka_assignor::{
    Assignment, Assignor, CooperativeSticky, Member, Range, RebalanceProtocol, RoundRobin, Sticky, TopicPartition,
    TopicPartitions, Uniform, by_name,
};

const TOPICS: [&str; 4] = ["a", "b", "c", "d"];

/// A group of up to eight members over up to four topics; claims of ownership may be stale, doubled or nonsense.
fn group() -> impl Strategy<Value = (Vec<Member>, TopicPartitions)> {
    let counts = proptest::collection::vec(0..9_i32, TOPICS.len());
    let member = (
        proptest::collection::vec(any::<bool>(), TOPICS.len()),
        proptest::option::of(0..5_u8),
        proptest::collection::vec((0..TOPICS.len(), -1..10_i32), 0..12),
        proptest::option::of(0..3_i32),
    );
    (counts, proptest::collection::vec(member, 1..8), any::<bool>()).prop_map(|(counts, members, same)| {
        let topics = TOPICS.into_iter().zip(counts).collect();
        let members = members
            .into_iter()
            .enumerate()
            .map(|(index, (subscribed, instance, owned, generation))| {
                let chosen = TOPICS.into_iter().zip(subscribed).filter(|(_, yes)| *yes || same).map(|(topic, _)| topic);
                let owned = owned.into_iter().map(|(topic, number)| (TOPICS[topic].to_owned(), number)).collect();
                let member = Member::new(format!("member-{index}"), chosen).with_owned(owned, generation);
                match instance {
                    Some(instance) => member.with_instance_id(format!("instance-{instance}-{index}")),
                    None => member,
                }
            })
            .collect();
        (members, topics)
    })
}

const RACKS: [&str; 3] = ["x", "y", "z"];

/// As [`group`], with racks of members and of replicas.
fn group_in_racks() -> impl Strategy<Value = (Vec<Member>, TopicPartitions)> {
    let of_replicas =
        proptest::collection::vec(proptest::collection::btree_set(0..RACKS.len(), 0..3), 9 * TOPICS.len());
    let of_members = proptest::collection::vec(proptest::option::of(0..RACKS.len()), 8);
    (group(), of_replicas, of_members).prop_map(|((mut members, mut topics), of_replicas, of_members)| {
        for (member, rack) in members.iter_mut().zip(of_members) {
            member.rack = rack.map(|rack| RACKS[rack].to_owned());
        }
        for (topic, of_topic) in TOPICS.into_iter().zip(of_replicas.chunks(9)) {
            let names = |racks: &BTreeSet<usize>| racks.iter().map(|rack| RACKS[*rack].to_owned()).collect();
            topics.insert_racks(topic, of_topic.iter().map(names).collect());
        }
        (members, topics)
    })
}

/// Whether a replica is in the rack of the member; `None` where the member has no rack.
fn is_near(member: &Member, topics: &TopicPartitions, (topic, partition): &TopicPartition) -> Option<bool> {
    member.rack.as_ref().map(|rack| topics.racks(topic, *partition).contains(rack))
}

/// Every partition of a subscribed topic.
fn expected(members: &[Member], topics: &TopicPartitions) -> BTreeSet<TopicPartition> {
    let subscribed: BTreeSet<&String> = members.iter().flat_map(|member| &member.topics).collect();
    subscribed
        .into_iter()
        .flat_map(|topic| (0..topics.count(topic)).map(move |partition| (topic.clone(), partition)))
        .collect()
}

/// The owners, after checking that nobody shares a partition and that everybody subscribes to what it got.
fn owners(members: &[Member], assignment: &Assignment) -> BTreeMap<TopicPartition, String> {
    assert_eq!(assignment.iter().count(), members.len());
    let mut owners = BTreeMap::new();
    for member in members {
        for partition in assignment.of(&member.id) {
            assert!(member.topics.contains(&partition.0), "{} does not subscribe to {partition:?}", member.id);
            let before = owners.insert(partition.clone(), member.id.clone());
            assert_eq!(before, None, "{partition:?} has two owners");
        }
    }
    owners
}

fn keys(owners: &BTreeMap<TopicPartition, String>) -> BTreeSet<TopicPartition> {
    owners.keys().cloned().collect()
}

/// The partitions that a member truly owned: claimed by it alone in the latest generation, existing and subscribed.
fn truly_owned(members: &[Member], topics: &TopicPartitions) -> BTreeMap<TopicPartition, String> {
    expected(members, topics)
        .into_iter()
        .filter_map(|partition| {
            let claimants: Vec<&Member> = members.iter().filter(|member| member.owned.contains(&partition)).collect();
            let latest = claimants.iter().map(|member| member.generation.unwrap_or(-1)).max()?;
            let mut of_latest = claimants.iter().filter(|member| member.generation.unwrap_or(-1) == latest);
            let owner = of_latest.next().filter(|_| of_latest.next().is_none())?;
            owner.topics.contains(&partition.0).then(|| (partition, owner.id.clone()))
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn every_partition_goes_to_one_subscriber_whatever_the_order((members, topics) in group(), turn in 0..8_usize) {
        for name in ["range", "roundrobin", "sticky", "cooperative-sticky"] {
            let assignor = by_name(name).expect("a known assignor");
            let assignment = assignor.assign(&members, &topics).expect("an assignment");
            let owners = owners(&members, &assignment);
            if !assignor.protocols().contains(&RebalanceProtocol::Cooperative) {
                prop_assert_eq!(keys(&owners), expected(&members, &topics), "{}", name);
            }
            let mut turned = members.clone();
            turned.rotate_left(turn % members.len());
            for member in &mut turned {
                member.topics.reverse();
                member.owned.reverse();
            }
            prop_assert_eq!(assignor.assign(&turned, &topics).expect("an assignment"), assignment, "{}", name);
        }
    }

    #[test]
    fn range_is_even_within_each_topic((members, topics) in group()) {
        let assignment = Range.assign(&members, &topics).expect("an assignment");
        for topic in TOPICS {
            let subscribers = members.iter().filter(|member| member.topics.iter().any(|name| name == topic));
            let loads: Vec<usize> = subscribers
                .map(|member| assignment.of(&member.id).iter().filter(|(name, _)| name == topic).count())
                .collect();
            let spread = loads.iter().max().unwrap_or(&0) - loads.iter().min().unwrap_or(&0);
            prop_assert!(spread <= 1, "{}: {:?}", topic, loads);
        }
    }

    #[test]
    fn roundrobin_and_sticky_are_even_where_all_subscribe_to_the_same((mut members, topics) in group()) {
        for member in &mut members {
            member.topics = TOPICS.map(str::to_owned).to_vec();
        }
        for assignor in [&RoundRobin as &dyn Assignor, &Sticky] {
            let assignment = assignor.assign(&members, &topics).expect("an assignment");
            let loads: Vec<usize> = assignment.iter().map(|(_, partitions)| partitions.len()).collect();
            let spread = loads.iter().max().unwrap_or(&0) - loads.iter().min().unwrap_or(&0);
            prop_assert!(spread <= 1, "{}: {:?}", assignor.name(), loads);
        }
    }

    #[test]
    fn sticky_leaves_no_partition_that_should_move((members, topics) in group()) {
        let assignment = Sticky.assign(&members, &topics).expect("an assignment");
        for giver in &members {
            for (topic, _) in assignment.of(&giver.id) {
                for receiver in members.iter().filter(|member| member.topics.contains(topic)) {
                    let (gives, receives) = (assignment.of(&giver.id).len(), assignment.of(&receiver.id).len());
                    prop_assert!(gives <= receives + 1, "{} has {}, {} has {}", giver.id, gives, receiver.id, receives);
                }
            }
        }
    }

    /// Racks take nothing from what is promised without them.
    #[test]
    fn sticky_with_racks_is_as_even_as_without((members, topics) in group_in_racks()) {
        let assignment = Sticky.assign(&members, &topics).expect("an assignment");
        prop_assert_eq!(keys(&owners(&members, &assignment)), expected(&members, &topics));
        for giver in &members {
            for (topic, _) in assignment.of(&giver.id) {
                for receiver in members.iter().filter(|member| member.topics.contains(topic)) {
                    let (gives, receives) = (assignment.of(&giver.id).len(), assignment.of(&receiver.id).len());
                    prop_assert!(gives <= receives + 1, "{} has {}, {} has {}", giver.id, gives, receiver.id, receives);
                }
            }
        }
        // And those who have no racks do not notice that partitions have.
        let mut rackless = members.clone();
        for member in &mut rackless {
            member.rack = None;
        }
        let mut nowhere = topics.clone();
        for topic in TOPICS {
            nowhere.insert_racks(topic, Vec::new());
        }
        prop_assert_eq!(Sticky.assign(&rackless, &topics), Sticky.assign(&rackless, &nowhere));
    }

    /// What is far from its member cannot be had nearer: whoever could is full of what is near.
    #[test]
    fn sticky_gives_what_is_near_where_a_share_allows((mut members, topics) in group_in_racks()) {
        for member in &mut members {
            member.topics = TOPICS.map(str::to_owned).to_vec();
            member.owned = Vec::new();
        }
        let assignment = Sticky.assign(&members, &topics).expect("an assignment");
        let racks: Vec<_> = TOPICS.iter().flat_map(|topic| (0..topics.count(topic)).map(|p| topics.racks(topic, p))).collect();
        let all: BTreeSet<&String> = racks.iter().copied().flatten().collect();
        let differ = racks.iter().any(|racks| racks.iter().collect::<BTreeSet<_>>() != all);
        for holder in members.iter().filter(|_| differ) {
            let far = |partition: &&TopicPartition| is_near(holder, &topics, partition) == Some(false);
            for partition in assignment.of(&holder.id).iter().filter(far) {
                for near in members.iter().filter(|member| is_near(member, &topics, partition) == Some(true)) {
                    let all_near = assignment.of(&near.id).iter().all(|held| is_near(near, &topics, held) == Some(true));
                    prop_assert!(all_near, "{} could have {:?} of {}: {:?}", near.id, partition, holder.id, assignment);
                }
            }
        }
    }

    /// A group in which nothing changes comes to rest, wherever it began.
    #[test]
    fn sticky_with_racks_comes_to_rest((mut members, topics) in group_in_racks()) {
        let mut last = None;
        for generation in 10..14 {
            let assignment = Sticky.assign(&members, &topics).expect("an assignment");
            for member in &mut members {
                member.owned = assignment.of(&member.id).to_vec();
                member.generation = Some(generation);
            }
            if last.replace(assignment.clone()) == Some(assignment) {
                return Ok(());
            }
        }
        prop_assert!(false, "it moves for ever: {:?}", last);
    }

    #[test]
    fn sticky_moves_the_least_where_all_subscribe_to_the_same((mut members, topics) in group()) {
        for member in &mut members {
            member.topics = TOPICS.map(str::to_owned).to_vec();
        }
        let before = truly_owned(&members, &topics);
        let assignment = Sticky.assign(&members, &topics).expect("an assignment");
        let after = owners(&members, &assignment);
        let kept = before.iter().filter(|(partition, owner)| after.get(*partition) == Some(owner)).count();

        // The most that can be kept: each member up to the smaller share, and as many members as have an extra
        // partition in the even assignment keep one more.
        let (share, extra) = (after.len() / members.len(), after.len() % members.len());
        let owned: Vec<usize> =
            members.iter().map(|member| before.values().filter(|owner| **owner == member.id).count()).collect();
        let best = owned.iter().map(|&count| count.min(share)).sum::<usize>()
            + owned.iter().filter(|&&count| count > share).count().min(extra);
        prop_assert_eq!(kept, best);
    }

    #[test]
    fn uniform_owes_what_sticky_does((members, topics) in group()) {
        // The coordinator's assignor differs in where the ownership comes from, not in what it decides.
        let uniform = Uniform.assign(&members, &topics).expect("an assignment");
        prop_assert_eq!(keys(&owners(&members, &uniform)), expected(&members, &topics));
        prop_assert_eq!(uniform, Sticky.assign(&members, &topics).expect("an assignment"));
    }

    #[test]
    fn sticky_keeps_its_own_answer((members, topics) in group()) {
        let first = Sticky.assign(&members, &topics).expect("an assignment");
        let settled: Vec<Member> = members
            .iter()
            .map(|member| member.clone().with_owned(first.of(&member.id).to_vec(), Some(7)))
            .collect();
        prop_assert_eq!(Sticky.assign(&settled, &topics).expect("an assignment"), first);
    }

    #[test]
    fn cooperative_rounds_never_share_and_soon_settle((members, topics) in group()) {
        let first = CooperativeSticky.assign(&members, &topics).expect("an assignment");
        for (partition, owner) in owners(&members, &first) {
            let owner = members.iter().find(|member| member.id == owner).expect("a member");
            let claimed_by_other = members.iter().any(|other| other.id != owner.id && other.owned.contains(&partition));
            prop_assert!(!claimed_by_other || owner.owned.contains(&partition), "{:?} has two owners", partition);
        }
        // Each member now owns what it was given, nothing else, and joins again.
        let rejoined: Vec<Member> = members
            .iter()
            .map(|member| member.clone().with_owned(first.of(&member.id).to_vec(), Some(7)))
            .collect();
        let second = CooperativeSticky.assign(&rejoined, &topics).expect("an assignment");
        let third_members: Vec<Member> = members
            .iter()
            .map(|member| member.clone().with_owned(second.of(&member.id).to_vec(), Some(8)))
            .collect();
        let third = CooperativeSticky.assign(&third_members, &topics).expect("an assignment");
        prop_assert_eq!(keys(&owners(&members, &third)), expected(&members, &topics));
    }
}

#[test]
fn a_new_member_of_a_large_group_takes_its_share_and_no_more() {
    let topics = TopicPartitions::from([("a", 600), ("b", 400)]);
    let founders: Vec<Member> = (0..9).map(|index| Member::new(format!("m-{index}"), ["a", "b"])).collect();
    let first = Sticky.assign(&founders, &topics).expect("an assignment");
    let mut members: Vec<Member> =
        founders.iter().map(|member| member.clone().with_owned(first.of(&member.id).to_vec(), Some(1))).collect();
    members.push(Member::new("new", ["a", "b"]));

    let second = Sticky.assign(&members, &topics).expect("an assignment");
    assert_eq!(second.of("new").len(), 100);
    for founder in &founders {
        let kept = second.of(&founder.id).iter().filter(|partition| first.of(&founder.id).contains(partition)).count();
        assert_eq!((kept, second.of(&founder.id).len()), (100, 100), "{}", founder.id);
    }

    // The cooperative twin withholds just the hundred that move.
    let cooperative = CooperativeSticky.assign(&members, &topics).expect("an assignment");
    assert!(cooperative.of("new").is_empty());
    assert_eq!(cooperative.iter().map(|(_, partitions)| partitions.len()).sum::<usize>(), 900);
}

#[test]
fn unknown_names_have_no_assignor() {
    assert!(by_name("uniform").is_none());
    assert_eq!(by_name("range").map(|assignor| assignor.name()), Some("range"));
}
