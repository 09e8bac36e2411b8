//! The consumer protocol of KIP-848 as foreign clients speak it.

use std::collections::BTreeSet;
use std::path::Path;

use rkafka_testkit::{eventually, on_both, skipped};

use crate::python::python;
use crate::support::{CONSOLE_CONSUMER, CONSUMER_GROUPS, has_java, run, send_values, start_tool, tool};

/// The numbers that a console consumer has printed; Java's warnings go to the same file.
fn numbers(log: &Path) -> BTreeSet<u32> {
    let printed = std::fs::read_to_string(log).unwrap_or_default();
    printed.lines().filter_map(|line| line.parse().ok()).collect()
}

/// Waits until Kafka's own tool shows so many members of the group, each with so many partitions.
async fn wait_for_shares(bootstrap: &str, group: &str, members: usize, partitions: &str) {
    eventually("shares", || async {
        let describe = ["--bootstrap-server", bootstrap, "--describe", "--group", group, "--members"];
        let described = tool(CONSUMER_GROUPS, &describe, b"").await;
        let shares: Vec<&str> = described
            .lines()
            .filter(|line| line.starts_with(group))
            .filter_map(|line| line.split_whitespace().nth(4))
            .collect();
        let as_expected = shares.len() == members && shares.iter().all(|share| *share == partitions);
        if as_expected { Ok(()) } else { Err(described) }
    })
    .await;
}

on_both! {
    async fn java_members_of_either_protocol_share_a_group(cluster: &Cluster) {
        if !has_java("consumer_protocol::java_members_of_either_protocol_share_a_group").await {
            return;
        }
        let bootstrap = cluster.bootstrap();
        let (topic, group) = (cluster.topic("upgrade", 4, &[]).await, cluster.unique("upgrade"));
        let folder = tempfile::tempdir().expect("a folder");
        let arguments = |protocol: &'static str| {
            let common = ["--bootstrap-server", &bootstrap, "--topic", &topic, "--group", &group, "--from-beginning"];
            let mut all: Vec<String> = common.iter().map(|one| (*one).to_owned()).collect();
            let mut properties = vec![format!("group.protocol={protocol}")];
            if protocol == "classic" {
                properties.push("heartbeat.interval.ms=500".to_owned());
                properties.push("session.timeout.ms=6000".to_owned());
            }
            for property in properties {
                all.extend(["--command-property".to_owned(), property]);
            }
            all
        };
        let start = |protocol, name: &str| {
            let (arguments, log) = (arguments(protocol), folder.path().join(name));
            async move {
                let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
                (start_tool(CONSOLE_CONSUMER, &arguments, &log).await, log)
            }
        };
        // A classic group, which a member of the new protocol joins.
        let (mut classic, first_log) = start("classic", "first").await;
        wait_for_shares(&bootstrap, &group, 1, "4").await;
        let (consumer, second_log) = start("consumer", "second").await;
        wait_for_shares(&bootstrap, &group, 2, "2").await;
        let list = ["--bootstrap-server", &bootstrap, "--list", "--type"];
        let listed = tool(CONSUMER_GROUPS, &list, b"").await;
        let line = listed.lines().find(|line| line.starts_with(&group)).expect("the group is listed").to_owned();
        assert!(line.contains("Consumer"), "{line}");
        send_values(&bootstrap, &topic, 4, (0..400).map(|number| number.to_string())).await;
        eventually("all records", || async {
            let (first, second) = (numbers(&first_log), numbers(&second_log));
            let all = first.len() + second.len() == 400 && first.is_disjoint(&second);
            if all { Ok(()) } else { Err(format!("{} and {}", first.len(), second.len())) }
        })
        .await;

        // The classic member dies: the group is one of the new protocol only.
        classic.kill().expect("killed");
        wait_for_shares(&bootstrap, &group, 1, "4").await;
        let (mut classic, third_log) = start("classic", "third").await;
        wait_for_shares(&bootstrap, &group, 2, "2").await;
        // The member of the new protocol leaves in good order, and the group is classic again.
        consumer.signal("TERM");
        wait_for_shares(&bootstrap, &group, 1, "4").await;
        let listed = tool(CONSUMER_GROUPS, &list, b"").await;
        let line = listed.lines().find(|line| line.starts_with(&group)).expect("the group is listed").to_owned();
        assert!(line.contains("Classic"), "{line}");
        send_values(&bootstrap, &topic, 4, (400..440).map(|number| number.to_string())).await;
        eventually("the rest", || async {
            let read = numbers(&third_log);
            if (400..440).all(|number| read.contains(&number)) { Ok(()) } else { Err(format!("{read:?}")) }
        })
        .await;
        classic.kill().expect("killed");
    }
}

const SCRIPT: &str = r#"
import sys, time
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic, NewPartitions
bootstrap, topic, group = sys.argv[1:]
admin = AdminClient({"bootstrap.servers": bootstrap})
admin.create_topics([NewTopic(topic, 4, 1)])[topic].result(60)
def consumer(**more):
    return Consumer({"bootstrap.servers": bootstrap, "group.id": group, "group.protocol": "consumer",
        "auto.offset.reset": "earliest", "enable.auto.commit": False, **more})
def send(first, last, partitions):
    producer = Producer({"bootstrap.servers": bootstrap})
    for number in range(first, last):
        producer.produce(topic, value=str(number), partition=number % partitions)
    assert producer.flush(60) == 0
seen = []
def poll(consumers, done, what):
    end = time.monotonic() + 120
    while not done():
        assert time.monotonic() < end, (what, [one.assignment() for one in consumers], len(seen))
        for one in consumers:
            message = one.poll(0.05)
            if message is not None:
                assert not message.error(), message.error()
                seen.append(int(message.value()))
shares = lambda consumers: sorted(len(one.assignment()) for one in consumers)
first, second = consumer(), consumer(**{"group.remote.assignor": "range"})
first.subscribe([topic])
poll([first], lambda: shares([first]) == [4], "all partitions")
second.subscribe(["^" + topic + ".*"])
poll([first, second], lambda: shares([first, second]) == [2, 2], "two each")
send(0, 400, 4)
poll([first, second], lambda: len(seen) == 400, "all records")
assert sorted(seen) == list(range(400))
first.commit(asynchronous=False)
second.commit(asynchronous=False)
described = admin.describe_consumer_groups([group])[group].result(60)
assert described.state.name == "STABLE" and len(described.members) == 2, (described.state, described.members)
assert described.type.name == "CONSUMER", described.type
# The topic grows while both are there.
admin.create_partitions([NewPartitions(topic, 6)])[topic].result(60)
poll([first, second], lambda: shares([first, second]) == [3, 3], "three each")
# One leaves, the other has all.
second.close()
poll([first], lambda: shares([first]) == [6], "all partitions again")
send(400, 460, 6)
poll([first], lambda: len(seen) == 460, "the rest")
assert sorted(seen) == list(range(460))
first.commit(asynchronous=False)
committed = first.committed([TopicPartition(topic, at) for at in range(6)], 60)
assert [place.offset for place in committed] == [110, 110, 110, 110, 10, 10], committed
first.close()
described = admin.describe_consumer_groups([group])[group].result(60)
assert described.state.name == "EMPTY", described.state
admin.delete_consumer_groups([group])[group].result(60)
print("done", len(seen))
"#;

on_both! {
    async fn librdkafka_members_share_and_follow_the_topic(cluster: &Cluster) {
        let found = tokio::task::spawn_blocking(python).await.expect("no panic");
        let python = match found {
            Ok(python) => python,
            Err(why) => return skipped("consumer_protocol::librdkafka_members_share_and_follow_the_topic", &why),
        };
        let (topic, group) = (cluster.unique("python-848"), cluster.unique("python-848"));
        let arguments = vec!["-c".to_owned(), SCRIPT.to_owned(), cluster.bootstrap(), topic, group];
        let output = run(python.to_str().expect("text"), arguments, b"").await;
        let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success() && stdout.trim() == "done 460", "on {}:\n{stdout}{stderr}", cluster.name());
    }
}
