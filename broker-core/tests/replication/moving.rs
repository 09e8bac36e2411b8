//! Replicas that are added, removed and moved.

use std::time::Duration;

use rkafka_broker_core::BrokerConfig;
use rkafka_protocol::messages::alter_partition_reassignments_request::{ReassignablePartition, ReassignableTopic};
use rkafka_protocol::messages::{AlterPartitionReassignmentsRequest, ListPartitionReassignmentsRequest};

use crate::support::{Three, eventually, values};

async fn reassign(three: &Three, topic: &str, index: i32, replicas: Option<&[i32]>) -> i16 {
    let partition =
        ReassignablePartition { partition_index: index, replicas: replicas.map(<[i32]>::to_vec), ..Default::default() };
    let topic = ReassignableTopic { name: topic.to_owned(), partitions: vec![partition], ..Default::default() };
    let request = AlterPartitionReassignmentsRequest { timeout_ms: 30_000, topics: vec![topic], ..Default::default() };
    let altered = three.call(&request, 0).await;
    assert_eq!(altered.error_code, 0, "{altered:?}");
    altered.responses[0].partitions[0].error_code
}

async fn is_moving(three: &Three) -> bool {
    let request = ListPartitionReassignmentsRequest { timeout_ms: 30_000, topics: None, ..Default::default() };
    !three.call(&request, 0).await.topics.is_empty()
}

async fn until_moved(three: &Three, topic: &str, index: i32, replicas: &[i32]) {
    three.until(topic, index, &format!("on {replicas:?}"), |it| it.replica_nodes == replicas).await;
    eventually("nothing moves", async || if is_moving(three).await { Err("it does") } else { Ok(()) }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_are_added_moved_and_removed_with_their_logs() {
    let three = Three::on_disk(|config| config).await;
    three.create("t", &[&[1]], &[]).await;
    three.produce(1, "t", 0, values(0..5)).await;
    assert!(!three.has_log(2, "t", 0));
    assert_eq!(reassign(&three, "t", 0, Some(&[1, 2])).await, 0);
    until_moved(&three, "t", 0, &[1, 2]).await;
    three.until_isr("t", 0, &[1, 2]).await;
    three.until_values(2, "t", 0, &values(0..5)).await;
    // All to others, the leader too.
    assert_eq!(reassign(&three, "t", 0, Some(&[3, 2])).await, 0);
    until_moved(&three, "t", 0, &[3, 2]).await;
    let found = three.until("t", 0, "led by one of them", |it| [2, 3].contains(&it.leader_id)).await;
    assert_eq!(three.produce(found.leader_id, "t", 0, values(5..8)).await, 5);
    for node in 2..=3 {
        three.until_values(node, "t", 0, &values(0..8)).await;
    }
    eventually("the log of one that is no replica any more goes", async || {
        if three.has_log(1, "t", 0) { Err("it is there") } else { Ok(()) }
    })
    .await;
    let refused = three.send(1, "t", 0, "no", -1).await;
    assert_eq!(refused.error_code, 6, "{refused:?}");
    assert!(!three.has_log(1, "t", 0), "who is asked by mistake keeps nothing");
    // And back.
    assert_eq!(reassign(&three, "t", 0, Some(&[1])).await, 0);
    until_moved(&three, "t", 0, &[1]).await;
    three.until_leader("t", 0, 1).await;
    assert_eq!(three.produce(1, "t", 0, values(8..9)).await, 8);
    three.until_values(1, "t", 0, &values(0..9)).await;
    eventually("their logs go", async || {
        if three.has_log(2, "t", 0) || three.has_log(3, "t", 0) { Err("they are there") } else { Ok(()) }
    })
    .await;
    three.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reassignment_is_taken_back_while_it_is_under_way() {
    let three = Three::on_disk(|config| config).await;
    three.create("t", &[&[1, 2]], &[]).await;
    three.produce(1, "t", 0, values(0..5)).await;
    three.isolate_follower(3);
    assert_eq!(reassign(&three, "t", 0, Some(&[3])).await, 0);
    assert!(is_moving(&three).await);
    three.until("t", 0, "on all", |it| it.replica_nodes.len() == 3).await;
    assert_eq!(three.produce(1, "t", 0, values(5..6)).await, 5, "it goes on meanwhile");
    assert_eq!(reassign(&three, "t", 0, None).await, 0);
    until_moved(&three, "t", 0, &[1, 2]).await;
    three.heal();
    eventually("the log of the one that was to come goes", async || {
        if three.has_log(3, "t", 0) { Err("it is there") } else { Ok(()) }
    })
    .await;
    assert_eq!(reassign(&three, "t", 0, None).await, 85, "NO_REASSIGNMENT_IN_PROGRESS");
    assert_eq!(three.produce(1, "t", 0, values(6..7)).await, 6);
    for node in 1..=2 {
        three.until_values(node, "t", 0, &values(0..7)).await;
    }
    three.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_went_while_its_broker_was_down_is_set_aside_at_its_start() {
    let mut three = Three::on_disk(|config| config).await;
    three.create("t", &[&[1, 3]], &[]).await;
    three.produce(1, "t", 0, values(0..5)).await;
    three.kill(3);
    three.until_isr("t", 0, &[1]).await;
    assert_eq!(reassign(&three, "t", 0, Some(&[1, 2])).await, 0);
    until_moved(&three, "t", 0, &[1, 2]).await;
    three.start_again(3).await;
    assert!(!three.has_log(3, "t", 0), "it is nobody's");
    // It begins anew when it is given back.
    assert_eq!(reassign(&three, "t", 0, Some(&[1, 3])).await, 0);
    until_moved(&three, "t", 0, &[1, 3]).await;
    three.until_values(3, "t", 0, &values(0..5)).await;
    three.shutdown().await;
}

const TOPIC: i8 = 2;
const BROKER: i8 = 4;

/// A replica of three megabytes that is added while the rate of `side` on `broker` is 50 kB a second; then it is not.
async fn is_held_back(side: &str, broker: i32) {
    let three = Three::start(|config: BrokerConfig| config.replica_fetch_max_bytes(50_000)).await;
    three.create("t", &[&[1]], &[]).await;
    three.create("other", &[&[1, 2, 3]], &[]).await;
    let value = "x".repeat(50_000);
    for _ in 0..60 {
        let produced = three.send(1, "t", 0, &value, 1).await;
        assert_eq!(produced.error_code, 0);
    }
    let rate = format!("{side}.replication.throttled.rate");
    let replicas = format!("{side}.replication.throttled.replicas");
    three.set(BROKER, &broker.to_string(), &rate, "50000").await;
    three.set(TOPIC, "t", &replicas, &format!("0:{broker}")).await;
    three.set(TOPIC, "other", &replicas, "*").await;
    assert_eq!(reassign(&three, "t", 0, Some(&[1, 2])).await, 0);
    eventually("something comes", async || match three.log_end(2, "t", 0).await {
        1.. => Ok(()),
        other => Err(other),
    })
    .await;
    #[expect(clippy::disallowed_methods, reason = "what must not happen takes time")]
    tokio::time::sleep(Duration::from_secs(3)).await;
    let end = three.log_end(2, "t", 0).await;
    assert!((1..40).contains(&end), "{end} of 60 came, at a rate of one a second");
    assert!(is_moving(&three).await);
    // Who is in sync stays it, and is not held back.
    let first = three.produce(1, "other", 0, values(0..20)).await;
    assert_eq!(first, 0);
    three.set(BROKER, &broker.to_string(), &rate, "1000000000").await;
    until_moved(&three, "t", 0, &[1, 2]).await;
    assert_eq!(three.log_end(2, "t", 0).await, 60);
    three.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_holds_back_what_is_moved() {
    is_held_back("leader", 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_holds_itself_back_while_it_is_moved() {
    is_held_back("follower", 2).await;
}
