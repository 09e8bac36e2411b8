//! What can go wrong, and what is said of it.

use std::time::Duration;

use rkafka::client::ErrorCode;
use rkafka::consumer::{Consumer, ConsumerError, Start};
use rkafka::producer::{Producer, ProducerError, Record, TrySendError};
use rkafka_testkit::{TestCluster, create_topic, on_both};

use crate::support::{consumer_config, in_time, next_values, producer, producer_config, reader};

on_both! {
    async fn a_record_that_is_too_large_is_refused_and_the_next_is_not(cluster: &Cluster) {
        let topic = cluster.topic("small", 1, &[("max.message.bytes", "2000")]).await;
        let config = producer_config(&cluster.bootstrap()).max_request_size(10_000_usize);
        let producer = Producer::new(config).await.expect("a producer");
        // Of what is above the client's own limit, nothing is sent.
        match producer.send(Record::to(&topic).value(&[0; 10_001])).await {
            Err(error @ ProducerError::RecordTooLarge { .. }) => {
                assert!(error.to_string().contains("`max.request.size`") && !error.is_retriable(), "{error}");
            }
            other => panic!("not refused: {other:?}"),
        }
        // The broker refuses what is above the topic's.
        let large = producer.send(Record::to(&topic).value(&[0; 5_000])).await.expect("accepted");
        match in_time("the refusal", large).await {
            Err(error @ ProducerError::Refused { code: ErrorCode::MessageTooLarge, .. }) => {
                assert!(!error.maybe_written(), "{error}");
            }
            other => panic!("not refused: {other:?}"),
        }
        let small = producer.send(Record::to(&topic).value("small")).await.expect("accepted");
        assert_eq!(in_time("an acknowledgement", small).await.expect("written").offset, 0);
    }
}

on_both! {
    async fn records_that_fit_alone_are_not_refused_together(cluster: &Cluster) {
        let topic = cluster.topic("small-batches", 1, &[("max.message.bytes", "2000")]).await;
        let config = producer_config(&cluster.bootstrap()).linger(Duration::from_millis(100));
        let producer = Producer::new(config).await.expect("a producer");
        let mut deliveries = Vec::new();
        for number in 0..100 {
            let value = format!("{number} {}", "x".repeat(500));
            deliveries.push(producer.send(Record::to(&topic).value(&value)).await.expect("accepted"));
        }
        for (number, delivery) in (0..).zip(deliveries) {
            let written = in_time("an acknowledgement", delivery).await.expect("a batch that is too large is split");
            assert_eq!(written.offset, number);
        }
    }
}

on_both! {
    async fn addresses_of_the_dead_are_passed_over(cluster: &Cluster) {
        let topic = cluster.topic("alive", 1, &[]).await;
        let bootstrap = format!("127.0.0.1:1,localhost:2,{}", cluster.bootstrap());
        let producer = in_time("the producer", producer(&bootstrap)).await;
        drop(producer.send(Record::to(&topic).value("here")).await.expect("accepted"));
        let mut consumer = in_time("the consumer", reader(&bootstrap, &topic, 1, Start::Beginning)).await;
        assert_eq!(next_values(&mut consumer, 1).await, ["here"]);
    }
}

#[tokio::test]
async fn nobody_answering_is_one_line_that_names_the_address() {
    for bootstrap in ["127.0.0.1:1", "127.0.0.1:1,127.0.0.1:2", "no-such-host.invalid:9092"] {
        let first = bootstrap.split(',').next().unwrap_or_default();
        let config = producer_config(bootstrap);
        let error = in_time("the producer", Producer::new(config)).await.expect_err("nobody is there").to_string();
        assert!(error.contains(first) && error.lines().count() == 1, "{error}");
        let config = consumer_config(bootstrap);
        let error = in_time("the consumer", Consumer::connect(config)).await.expect_err("nobody is there").to_string();
        assert!(error.contains(first) && error.lines().count() == 1, "{error}");
    }
}

// Shows: topic.metadata.propagation.max.ms.
#[tokio::test]
async fn a_topic_that_is_not_there_is_named() {
    let cluster = TestCluster::builder().broker(|config| config.auto_create_topics_enable(false)).start().await;
    let config = producer_config(&cluster.bootstrap()).max_block(Duration::from_millis(500));
    let producer = Producer::new(config).await.expect("a producer");
    match in_time("the error", producer.send(Record::to("nowhere").value("lost"))).await {
        Err(error @ ProducerError::UnknownTopic { .. }) => {
            assert!(error.to_string().contains("`nowhere`") && !error.maybe_written(), "{error}");
        }
        other => panic!("not unknown: {other:?}"),
    }
    let config = consumer_config(&cluster.bootstrap()).topic_metadata_propagation_max(Duration::from_millis(200));
    let mut consumer = Consumer::connect(config).await.expect("a consumer");
    consumer.assign([("nowhere", 0, Start::Beginning)]).expect("assigned");
    match in_time("the error", consumer.recv()).await {
        Err(error @ ConsumerError::UnknownTopicOrPartition { .. }) => {
            assert!(error.to_string().contains("nowhere-0") && !error.is_fatal(), "{error}");
        }
        other => panic!("not unknown: {other:?}"),
    }
    // Once it is there, both go on.
    let bootstrap = cluster.bootstrap();
    tokio::task::spawn_blocking(move || create_topic(&bootstrap, "nowhere", 1, &[])).await.expect("created");
    drop(in_time("the topic", producer.send(Record::to("nowhere").value("found"))).await.expect("accepted"));
    assert_eq!(next_values(&mut consumer, 1).await, ["found"]);
}

on_both! {
    async fn a_partition_that_is_not_there_is_named(cluster: &Cluster) {
        let topic = cluster.topic("two", 2, &[]).await;
        let producer = producer(&cluster.bootstrap()).await;
        match in_time("the error", producer.send(Record::to(&topic).partition(2).value("lost"))).await {
            Err(ProducerError::UnknownPartition { partition: 2, partitions: 2, .. }) => {}
            other => panic!("not unknown: {other:?}"),
        }
    }
}

on_both! {
    async fn topics_are_created_by_sending_where_brokers_allow_it(cluster: &Cluster) {
        let topic = cluster.unique("by-sending");
        let producer = producer(&cluster.bootstrap()).await;
        drop(in_time("the topic", producer.send(Record::to(&topic).value("first"))).await.expect("accepted"));
        in_time("the close", producer.close(crate::support::LIMIT)).await.expect("closed");
        let mut consumer = reader(&cluster.bootstrap(), &topic, 1, Start::Beginning).await;
        // More than one partition on a real Kafka: the first may be an empty one.
        if !cluster.is_real() {
            assert_eq!(next_values(&mut consumer, 1).await, ["first"]);
        }
    }
}

#[tokio::test]
async fn a_full_buffer_waits_and_says_so_and_loses_nothing() {
    let cluster = TestCluster::builder().topic("slow", 1).on_disk().start().await;
    let config = producer_config(&cluster.bootstrap())
        .buffer_memory(256 * 1024_usize)
        .batch_size(16 * 1024_usize)
        .max_block(Duration::from_millis(500));
    let producer = Producer::new(config).await.expect("a producer");
    let topic = producer.topic("slow").await.expect("the topic");
    cluster.stop().await;
    let value = [7; 1000];
    let mut deliveries = Vec::new();
    let full = loop {
        match topic.try_send(&topic.record().value(&value)) {
            Ok(delivery) => deliveries.push(delivery),
            Err(error) => break error,
        }
        assert!(deliveries.len() < 1000, "256 KiB do not hold a thousand records");
    };
    assert!(matches!(full, TrySendError::Full) && full.is_retriable(), "{full:?}");
    match in_time("the error", topic.send(topic.record().value(&value))).await {
        Err(error @ ProducerError::BufferFull { .. }) => assert!(!error.maybe_written(), "{error}"),
        other => panic!("not full: {other:?}"),
    }
    assert!(deliveries.len() > 100, "only {} records fit", deliveries.len());
    cluster.start_again().await;
    let count = deliveries.len();
    for delivery in deliveries {
        in_time("an acknowledgement", delivery).await.expect("written");
    }
    let mut consumer = reader(&cluster.bootstrap(), "slow", 1, Start::Beginning).await;
    assert_eq!(next_values(&mut consumer, count).await.len(), count);
    assert!(
        in_time("the end", consumer.recv_until_end()).await.expect("no error").is_none(),
        "what was refused is not there"
    );
}
