//! What the settings of a membership do, against the embedded broker.

use std::time::Duration;

use rkafka_consumer::{
    ClientSettings, Consumer, ConsumerConfig, ConsumerError, GroupProtocol, OffsetReset, TopicPartition,
};
use rkafka_testkit::TestCluster;

const LIMIT: Duration = Duration::from_secs(60);

fn config(cluster: &TestCluster) -> ConsumerConfig {
    ConsumerConfig::new()
        .bootstrap_servers(cluster.bootstrap())
        .group_id("g")
        .auto_offset_reset(OffsetReset::Earliest)
        .metadata_max_age(Duration::from_millis(100))
}

/// Polls until the assignment is as wanted, or an error comes.
async fn assigned(consumer: &mut Consumer, wanted: impl Fn(&[TopicPartition]) -> bool) -> Result<(), ConsumerError> {
    let settled = async {
        loop {
            if let Ok(Err(error)) = tokio::time::timeout(Duration::from_millis(20), consumer.recv()).await {
                return Err(error);
            }
            if wanted(&consumer.assignment()) {
                return Ok(());
            }
        }
    };
    tokio::time::timeout(LIMIT, settled).await.expect("an assignment or an error")
}

// Shows: session.timeout.ms.
#[tokio::test]
async fn the_session_timeout_is_what_the_group_is_asked_for() {
    let ten = Duration::from_secs(10);
    let cluster = TestCluster::builder()
        .topic("t", 1)
        .broker(move |config| {
            config
                .group_initial_rebalance_delay(Duration::ZERO)
                .group_min_session_timeout(ten)
                .group_max_session_timeout(ten)
        })
        .start()
        .await;
    for (timeout, is_taken) in [(ten - Duration::from_millis(1), false), (ten, true), (ten + ten, false)] {
        let mut consumer = Consumer::connect(config(&cluster).session_timeout(timeout)).await.unwrap();
        consumer.subscribe(["t"]).unwrap();
        match assigned(&mut consumer, |places| places.len() == 1).await {
            Ok(()) => assert!(is_taken, "{timeout:?}"),
            Err(error) => assert!(!is_taken && error.to_string().contains("INVALID_SESSION_TIMEOUT"), "{error}"),
        }
        consumer.close().await.ok();
    }
}

// Shows: group.remote.assignor.
#[tokio::test]
async fn the_coordinator_is_asked_for_an_assignor() {
    let cluster = TestCluster::builder().topic("t", 1).start().await;
    let of = |assignor: &str| {
        config(&cluster).group_protocol(GroupProtocol::Consumer).group_remote_assignor(assignor.to_owned())
    };
    let mut consumer = Consumer::connect(of("nobody")).await.unwrap();
    consumer.subscribe(["t"]).unwrap();
    let error = assigned(&mut consumer, |places| !places.is_empty()).await.unwrap_err();
    assert!(error.is_fatal() && error.to_string().contains("UNSUPPORTED_ASSIGNOR"), "{error}");
    let mut consumer = Consumer::connect(of("range")).await.unwrap();
    consumer.subscribe(["t"]).unwrap();
    assigned(&mut consumer, |places| places.len() == 1).await.unwrap();
}

// Shows: exclude.internal.topics.
#[tokio::test]
async fn patterns_pass_over_kafkas_own_topics_unless_told_otherwise() {
    let cluster = TestCluster::builder()
        .topic("t", 1)
        .broker(|config| config.group_initial_rebalance_delay(Duration::ZERO).offsets_topic_num_partitions(2))
        .start()
        .await;
    let is_internal = |place: &TopicPartition| &*place.topic == "__consumer_offsets";
    let mut consumer = Consumer::connect(config(&cluster).exclude_internal_topics(false)).await.unwrap();
    consumer.subscribe_pattern("t|__consumer_.*").unwrap();
    assigned(&mut consumer, |places| places.len() == 3 && places.iter().any(is_internal)).await.unwrap();
    consumer.close().await.unwrap();
    let mut consumer = Consumer::connect(config(&cluster).group_id("other")).await.unwrap();
    consumer.subscribe_pattern("t|__consumer_.*").unwrap();
    assigned(&mut consumer, |places| !places.is_empty()).await.unwrap();
    assert_eq!(consumer.assignment(), [TopicPartition::new("t", 0)]);
}
