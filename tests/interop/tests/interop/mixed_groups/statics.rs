//! Static members (KIP-345): who comes back in time moves nothing, and of two lives at a time one is refused.

use rkafka::client::{Client, ClientConfig};
use rkafka::protocol::messages::ConsumerGroupDescribeRequest;
use rkafka_testkit::{Cluster, eventually, on_both};

use super::group::{Group, LONG_SESSION, PARTITIONS, Protocol};
use super::history::Event;
use super::load::Load;
use super::member::{Kind, Member};
use super::{AUTOMATIC, has_all_kinds, say, turns};
use crate::support::in_time;

async fn static_members(cluster: &Cluster, protocol: Protocol, test: &str) {
    if !has_all_kinds(test).await {
        return;
    }
    let (topic, id) = (cluster.topic("static", PARTITIONS, &[]).await, cluster.unique("static"));
    let bootstrap = cluster.bootstrap();
    let mut group = Group::begin(&bootstrap, &topic, &id, LONG_SESSION).await;
    let instance = |name| ("group.instance.id", name);
    group.add(Kind::Java, "java", protocol, &[instance("java")]);
    group.add(Kind::Ours, "ours", protocol, &[instance("ours")]);
    group.add(Kind::Python, "python", protocol, &[instance("python")]);
    group.add(Kind::Ours, "automatic", protocol, &[&AUTOMATIC[..], &[instance("automatic")]].concat());
    let load = Load::begin(&bootstrap, &topic, PARTITIONS);
    group.start_all();
    group.settled("at first").await;
    let count = group.members.len();
    for turn in 0..turns(count) {
        let victim = turn % count;
        let epoch = group_epoch(&group, protocol).await;
        let known: Vec<_> = group.members.iter().map(|one| (one.owned(), one.moves())).collect();
        // A consumer group believes in one that was killed until its session ends, and takes no other for it.
        let is_killed = protocol != Protocol::Consumer && (turn + turn / count) % 2 == 1;
        if is_killed {
            group.members[victim].kill();
        } else {
            group.members[victim].stop().await;
        }
        group.goes_on_without(victim).await;
        group.start(victim);
        let when = format!("after {} was away", group.members[victim].name);
        group.settled(&when).await;
        for (at, (member, (owned, moves))) in group.members.iter().zip(known).enumerate() {
            assert_eq!(member.owned(), owned, "{} {when} on {}", member.name, cluster.name());
            assert!(at == victim || member.moves() == moves, "{} was moved {when}", member.name);
        }
        assert_eq!(group_epoch(&group, protocol).await, epoch, "the group does not rebalance {when}");
    }
    doubles(&mut group, protocol).await;
    let sent = load.end().await;
    let summary = group.finish(&sent).await;
    say(&format!("{test} on {}: {summary:?}", cluster.name()));
}

/// The generation of a classic group, as its members tell it, or the epoch of a consumer group, as the broker does.
async fn group_epoch(group: &Group, protocol: Protocol) -> Option<i32> {
    if protocol != Protocol::Consumer {
        return group.members.iter().filter_map(Member::epoch).max();
    }
    let client = Client::connect(ClientConfig::new().bootstrap_servers(&*group.bootstrap)).await.expect("a client");
    let request = ConsumerGroupDescribeRequest { group_ids: vec![group.id.clone()], ..Default::default() };
    let described = in_time("the group", client.request_controller(request)).await.expect("an answer");
    Some(described.groups.first().expect("the group").group_epoch)
}

/// A second life beside the first, of another kind: in a classic group it ends the first, in a consumer group it is
/// refused, as Kafka has it.
async fn doubles(group: &mut Group, protocol: Protocol) {
    for (kind, of) in [(Kind::Ours, 0), (Kind::Java, 1)] {
        let name = group.members[of].name.clone();
        group.add(kind, &format!("double of {name}"), protocol, &[("group.instance.id", &name)]);
        let double = group.members.len() - 1;
        group.start(double);
        let (ends, why): (_, &[&str]) = match protocol {
            Protocol::Classic(_) => (of, &["FENCED_INSTANCE_ID", "FencedInstanceIdException"]),
            Protocol::Consumer => (double, &["UNRELEASED_INSTANCE_ID", "UnreleasedInstanceIdException"]),
        };
        let members = std::sync::Mutex::new(&mut group.members);
        eventually("one of two lives ends", || async {
            let mut members = members.lock().expect("no panic");
            members[ends].refresh();
            let fatal = members[ends].events().iter().find_map(|(_, event)| match event {
                Event::Fatal(why) => Some(why.clone()),
                _ => None,
            });
            match fatal {
                Some(said) if why.iter().any(|why| said.contains(why)) => Ok(()),
                _ => Err(format!("{fatal:?}; {}", members.iter().map(Member::lately).collect::<Vec<_>>().join("\n"))),
            }
        })
        .await;
        group.members[ends].stop().await;
        group.settled(&format!("when {} has one life again", group.members[of].name)).await;
    }
}

on_both! {
    async fn by_range(cluster: &Cluster) {
        static_members(cluster, Protocol::Classic("range"), "mixed_groups::statics::by_range").await;
    }
}

on_both! {
    async fn by_the_consumer_protocol(cluster: &Cluster) {
        static_members(cluster, Protocol::Consumer, "mixed_groups::statics::by_the_consumer_protocol").await;
    }
}
