//! A member of a group against the embedded broker: what it is told when it leaves, and that it may come back.

use std::time::Duration;

use rkafka_consumer::{ClientSettings, Consumer, ConsumerConfig, ConsumerError, OffsetReset, TopicPartition};
use rkafka_testkit::TestCluster;

async fn cluster() -> TestCluster {
    TestCluster::builder()
        .topic("t", 2)
        .broker(|config| config.group_initial_rebalance_delay(Duration::ZERO))
        .start()
        .await
}

async fn member(cluster: &TestCluster) -> Consumer {
    let config = ConsumerConfig::new()
        .bootstrap_servers(cluster.bootstrap())
        .group_id("g")
        .auto_offset_reset(OffsetReset::Earliest)
        .auto_commit_interval(Duration::from_secs(3600))
        .request_timeout(Duration::from_secs(2));
    Consumer::connect(config).await.unwrap()
}

/// Polls until every partition has a position.
async fn settle(consumer: &mut Consumer) {
    let all = async {
        loop {
            // Nothing comes: the topic is empty.
            let _ = tokio::time::timeout(Duration::from_millis(20), consumer.recv()).await;
            let assignment = consumer.assignment();
            let known = |place: &TopicPartition| consumer.position(&place.topic, place.partition).unwrap().is_some();
            if assignment.len() == 2 && assignment.iter().all(known) {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), all).await.expect("an assignment");
}

#[tokio::test]
async fn close_tells_of_a_last_commit_that_failed() {
    let cluster = cluster().await;
    let mut consumer = member(&cluster).await;
    consumer.subscribe(["t"]).unwrap();
    settle(&mut consumer).await;
    cluster.crash().await;
    let closed = tokio::time::timeout(Duration::from_secs(60), consumer.close()).await.expect("close has an end");
    assert!(matches!(closed, Err(ConsumerError::Client { .. } | ConsumerError::CommitOutdated { .. })), "{closed:?}");
}

#[tokio::test]
async fn who_unsubscribes_leaves_and_may_come_back() {
    let cluster = cluster().await;
    let mut consumer = member(&cluster).await;
    consumer.subscribe(["t"]).unwrap();
    settle(&mut consumer).await;
    consumer.unsubscribe().await.unwrap();
    assert!(consumer.assignment().is_empty() && consumer.subscription().is_empty());

    // The partitions are free at once, and the last commit was made.
    let mut other = member(&cluster).await;
    other.subscribe(["t"]).unwrap();
    settle(&mut other).await;
    let places = other.assignment();
    let committed = other.committed(&places).await.unwrap();
    assert!(committed.iter().all(|(_, offset)| offset.as_ref().is_some_and(|at| at.offset == 0)), "{committed:?}");
    other.close().await.unwrap();

    consumer.subscribe(["t"]).unwrap();
    settle(&mut consumer).await;
    consumer.commit().await.unwrap();
    consumer.close().await.unwrap();
}

#[tokio::test]
async fn unsubscribe_that_is_dropped_goes_on_and_can_be_repeated() {
    let cluster = cluster().await;
    let mut consumer = member(&cluster).await;
    consumer.subscribe(["t"]).unwrap();
    settle(&mut consumer).await;
    for limit_ms in [0, 1, 5] {
        let _ = tokio::time::timeout(Duration::from_millis(limit_ms), consumer.unsubscribe()).await;
    }
    consumer.unsubscribe().await.unwrap();
    consumer.unsubscribe().await.unwrap();
    consumer.subscribe(["t"]).unwrap();
    settle(&mut consumer).await;
    let _ = tokio::time::timeout(Duration::ZERO, consumer.unsubscribe()).await;
    let closed = tokio::time::timeout(Duration::from_secs(10), consumer.close()).await;
    assert!(closed.is_ok(), "the member that has left already is not waited for");
}
