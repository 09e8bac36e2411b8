//! Groups: partitions are shared, offsets are kept, and members come and go.

use std::collections::BTreeSet;
use std::time::Duration;

use rkafka::consumer::{Consumer, ConsumerConfig, Start, TopicPartition};
use rkafka::producer::Record;
use rkafka_testkit::{Cluster, TestCluster, eventually, on_both};

use crate::support::{consumer_config, in_time, next, next_values, producer};

fn member_config(bootstrap: &str, group: &str) -> ConsumerConfig {
    consumer_config(bootstrap)
        .group_id(group.to_owned())
        .session_timeout(Duration::from_secs(6))
        .heartbeat_interval(Duration::from_millis(200))
}

async fn member(config: ConsumerConfig, topic: &str) -> Consumer {
    let mut consumer = Consumer::connect(config).await.expect("a consumer");
    consumer.subscribe([topic]).expect("subscribed");
    consumer
}

/// Sends `count` records, one after another to each partition, and waits until they are written.
async fn send(bootstrap: &str, topic: &str, partitions: i32, numbers: std::ops::Range<i32>) {
    let producer = producer(bootstrap).await;
    let mut deliveries = Vec::new();
    for number in numbers {
        let record = Record::to(topic).partition(number % partitions);
        deliveries.push(producer.send(record.value(&number.to_string())).await.expect("accepted"));
    }
    for delivery in deliveries {
        in_time("an acknowledgement", delivery).await.expect("written");
    }
}

/// Reads with every member until together they have these partitions, each in one place only.
async fn settle(members: &mut [&mut Consumer], shares: &[usize]) {
    let mut settled = 0;
    // A member must come back for records for a rebalance to go on.
    for _ in 0..6_000 {
        for member in members.iter_mut() {
            if let Ok(Err(error)) = tokio::time::timeout(Duration::from_millis(10), member.recv()).await {
                panic!("{error}");
            }
        }
        let assigned: Vec<Vec<TopicPartition>> = members.iter().map(|member| member.assignment()).collect();
        let distinct: BTreeSet<_> = assigned.iter().flatten().collect();
        let counts: Vec<usize> = assigned.iter().map(Vec::len).collect();
        let as_expected = counts == shares && distinct.len() == shares.iter().sum::<usize>();
        settled = if as_expected { settled + 1 } else { 0 };
        if settled == 3 {
            return;
        }
    }
    panic!("the group did not settle on {shares:?}: {:?}", members.iter().map(|m| m.assignment()).collect::<Vec<_>>());
}

on_both! {
    // Shows: group.id.
    async fn members_share_partitions_and_take_over(cluster: &Cluster) {
        let (topic, group) = (cluster.topic("shared", 4, &[]).await, cluster.unique("shared"));
        let mut first = member(member_config(&cluster.bootstrap(), &group), &topic).await;
        settle(&mut [&mut first], &[4]).await;
        let mut second = member(member_config(&cluster.bootstrap(), &group), &topic).await;
        settle(&mut [&mut first, &mut second], &[2, 2]).await;

        send(&cluster.bootstrap(), &topic, 4, 0..400).await;
        let (of_first, of_second) =
            tokio::join!(next_values(&mut first, 200), next_values(&mut second, 200));
        let all: BTreeSet<String> = of_first.iter().chain(&of_second).cloned().collect();
        assert_eq!(all, (0..400).map(|number| number.to_string()).collect(), "each record is seen by one member");

        // It commits and leaves, and the other goes on where it was.
        in_time("the close", second.close()).await.expect("closed");
        settle(&mut [&mut first], &[4]).await;
        send(&cluster.bootstrap(), &topic, 4, 400..800).await;
        let rest: BTreeSet<String> = next_values(&mut first, 400).await.into_iter().collect();
        assert_eq!(rest, (400..800).map(|number| number.to_string()).collect());
    }
}

on_both! {
    async fn a_member_that_dies_is_replaced(cluster: &Cluster) {
        let (topic, group) = (cluster.topic("dying", 2, &[]).await, cluster.unique("dying"));
        send(&cluster.bootstrap(), &topic, 2, 0..100).await;
        let (bootstrap, of_dying, its_topic) = (cluster.bootstrap(), group.clone(), topic.clone());
        // A runtime that is shut down takes the member's tasks with it: nothing is committed, nobody leaves.
        let doomed = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
            let seen = runtime.block_on(async {
                let mut dying = member(member_config(&bootstrap, &of_dying), &its_topic).await;
                let first = next_values(&mut dying, 10).await;
                in_time("the commit", dying.commit()).await.expect("committed");
                next_values(&mut dying, 10).await;
                std::mem::forget(dying);
                first
            });
            runtime.shutdown_background();
            seen
        });
        let committed: BTreeSet<String> = doomed.join().expect("the member").into_iter().collect();
        let mut heir = member(member_config(&cluster.bootstrap(), &group), &topic).await;
        let rest: BTreeSet<String> = next_values(&mut heir, 90).await.into_iter().collect();
        assert_eq!(committed.len() + rest.len(), 100);
        assert!(committed.is_disjoint(&rest), "what was committed is not read again, and the rest is");
    }
}

on_both! {
    // Shows: enable.auto.commit.
    async fn commits_are_kept_and_told(cluster: &Cluster) {
        let (topic, group) = (cluster.topic("kept", 1, &[]).await, cluster.unique("kept"));
        send(&cluster.bootstrap(), &topic, 1, 0..10).await;
        let partition = TopicPartition::new(topic.as_str(), 0);
        let config = member_config(&cluster.bootstrap(), &group).enable_auto_commit(false);
        let mut consumer = member(config.clone(), &topic).await;
        next_values(&mut consumer, 4).await;
        in_time("the commit", consumer.commit()).await.expect("committed");
        let asked = std::slice::from_ref(&partition);
        let told = in_time("the committed offset", consumer.committed(asked)).await.expect("told");
        assert_eq!(told.into_iter().map(|(_, at)| at.map(|at| at.offset)).collect::<Vec<_>>(), [Some(4)]);
        next_values(&mut consumer, 2).await;
        in_time("the close", consumer.close()).await.expect("closed");

        // Without auto commit, what was not committed comes again; with it, `close` commits.
        let mut consumer = member(config, &topic).await;
        assert_eq!(next_values(&mut consumer, 3).await, ["4", "5", "6"]);
        in_time("the close", consumer.close()).await.expect("closed");
        let mut consumer = member(member_config(&cluster.bootstrap(), &group), &topic).await;
        assert_eq!(next_values(&mut consumer, 3).await, ["4", "5", "6"]);
        in_time("the close", consumer.close()).await.expect("closed");

        // The committed offset also serves who assigns partitions by hand.
        let mut consumer =
            Consumer::connect(member_config(&cluster.bootstrap(), &group)).await.expect("a consumer");
        consumer.assign([(topic.as_str(), 0, Start::Committed)]).expect("assigned");
        assert_eq!(next_values(&mut consumer, 3).await, ["7", "8", "9"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn committed_offsets_survive_crashes_of_the_broker() {
    let cluster = TestCluster::builder().topic("orders", 2).on_disk().start().await;
    send(&cluster.bootstrap(), "orders", 2, 0..100).await;
    let config = member_config(&cluster.bootstrap(), "clerks").enable_auto_commit(false);
    let mut seen = BTreeSet::new();
    for round in 0..3 {
        let mut consumer = member(config.clone(), "orders").await;
        seen.extend(next_values(&mut consumer, 20).await);
        in_time("the commit", consumer.commit()).await.expect("committed");
        assert_eq!(seen.len(), 20 * (round + 1), "nothing is read twice");
        if round == 0 {
            in_time("the close", consumer.close()).await.expect("closed");
            cluster.crash().await;
        } else {
            cluster.crash().await;
            drop(consumer);
        }
        cluster.start_again().await;
    }
    let mut consumer = member(config, "orders").await;
    seen.extend(next_values(&mut consumer, 40).await);
    assert_eq!(seen.len(), 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_goes_on_after_the_broker_was_away() {
    let cluster = TestCluster::builder().topic("orders", 2).on_disk().start().await;
    let mut first = member(member_config(&cluster.bootstrap(), "clerks"), "orders").await;
    let mut second = member(member_config(&cluster.bootstrap(), "clerks"), "orders").await;
    settle(&mut [&mut first, &mut second], &[1, 1]).await;
    cluster.crash().await;
    cluster.start_again().await;
    send(&cluster.bootstrap(), "orders", 2, 0..100).await;
    let mut seen = BTreeSet::new();
    while seen.len() < 100 {
        let record = tokio::select! {
            record = next(&mut first) => record,
            record = next(&mut second) => record,
        };
        seen.insert(crate::support::value_text(&record));
    }
    settle(&mut [&mut first, &mut second], &[1, 1]).await;
}

// Shows: group.instance.id.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_static_member_comes_back_to_its_partitions() {
    let cluster = Cluster::embedded().await;
    let topic = cluster.topic("static", 2, &[]).await;
    let config = |name: &str| member_config(&cluster.bootstrap(), "statics").group_instance_id(name.to_owned());
    let mut first = member(config("first"), &topic).await;
    let mut second = member(config("second"), &topic).await;
    settle(&mut [&mut first, &mut second], &[1, 1]).await;
    let (of_first, of_second) = (first.assignment(), second.assignment());
    in_time("the close", second.close()).await.expect("closed");
    let back = tokio::sync::Mutex::new(member(config("second"), &topic).await);
    eventually("the static member's partitions", || async {
        let mut back = back.lock().await;
        drop(tokio::time::timeout(Duration::from_millis(20), back.recv()).await);
        if back.assignment() == of_second { Ok(()) } else { Err(format!("{:?}", back.assignment())) }
    })
    .await;
    assert_eq!(first.assignment(), of_first, "nobody else's partitions were moved");
}
