//! What a producer measures, against what its broker saw, on a clock that does not wait.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use rkafka_producer::{CompressionType, Producer, ProducerConfig, Record, producer_specs};
use rkafka_protocol::{ApiKey, ErrorCode};

use crate::broker::Act;
use crate::net::{Net, pause, spawn};

const MS: Duration = Duration::from_millis(1);

/// A producer that knows its topic and has its id, so that nothing but what is tested takes time.
async fn ready(net: &Arc<Net>, config: ProducerConfig) -> Producer {
    let producer = net.producer(config).await;
    producer.topic("t").await.unwrap();
    pause(10 * MS).await;
    producer
}

fn debug(mut config: ProducerConfig) -> ProducerConfig {
    config.set("metrics.recording.level", "DEBUG").unwrap();
    config
}

fn value(producer: &Producer, name: &str) -> f64 {
    let metrics = producer.metrics();
    metrics.value(name, "producer-metrics").unwrap_or_else(|| panic!("{name} is not there"))
}

fn of_topic(producer: &Producer, name: &str) -> f64 {
    producer.metrics().value_of(name, "producer-topic-metrics", "topic", "t").unwrap_or(0.0)
}

async fn send(producer: &Producer, partition: i32, values: &[&str]) {
    for value in values {
        drop(producer.send(Record::to("t").partition(partition).value(*value)).await.unwrap());
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_sent_and_how_long_each_stage_takes() {
    let net = Net::new(1, 2);
    net.cluster.on_produce(|_| Act::AnswerAfter(200 * MS));
    let producer = ready(&net, debug(net.config().linger(50 * MS))).await;
    for partition in [0, 1] {
        send(&producer, partition, &["one", "two", "a longer one"][..3 - partition as usize]).await;
    }
    pause(100 * MS).await;
    assert_eq!(value(&producer, "requests-in-flight"), 1.0);
    let held = value(&producer, "buffer-total-bytes") - value(&producer, "buffer-available-bytes");
    assert!(held >= 2.0 * 1024.0, "{held}");
    producer.flush().await;
    assert_eq!(value(&producer, "requests-in-flight"), 0.0);
    assert_eq!(value(&producer, "buffer-available-bytes"), value(&producer, "buffer-total-bytes"));
    let produced = net.cluster.state().produced.clone();
    assert_eq!(produced.len(), 1);
    let sizes = produced[0].batches.iter().map(|batch| batch.2 as f64).collect::<Vec<_>>();
    let (sum, max) = (sizes.iter().sum::<f64>(), sizes.iter().copied().fold(0.0, f64::max));
    let metrics = producer.metrics();
    let value = |name: &str| metrics.value(name, "producer-metrics").unwrap_or_else(|| panic!("{name} is not there"));
    let of_topic = |name: &str| metrics.value_of(name, "producer-topic-metrics", "topic", "t").unwrap();
    assert_eq!((value("record-send-total"), value("records-per-request-avg")), (5.0, 5.0));
    assert_eq!((value("batch-size-avg"), value("batch-size-max")), (sum / 2.0, max));
    assert_eq!((of_topic("record-send-total"), of_topic("byte-total")), (5.0, sum));
    // Without compression, a batch is its 61 bytes and its records.
    assert_eq!(value("record-size-avg"), (sum - 122.0) / 5.0);
    // Of the longest value: length, attributes, two deltas, no key, length and 12 bytes of value, no headers.
    assert_eq!(value("record-size-max"), 19.0);
    assert_eq!((value("compression-rate-avg"), of_topic("compression-rate")), (1.0, 1.0));
    for (name, time) in [
        ("record-queue-time", 50.0),
        ("batch-linger-time", 50.0),
        ("batch-turn-time", 0.0),
        ("request-encode-time", 0.0),
        ("request-outbuf-time", 0.0),
        ("request-latency", 200.0),
        ("request-round-trip-time", 200.0),
        ("batch-delivery-time", 250.0),
    ] {
        for end in ["avg", "max"] {
            let measured = value(&format!("{name}-{end}"));
            // Timers of tokio are as exact as a millisecond.
            assert!((measured - time).abs() <= 2.0, "{name}-{end} is {measured}");
        }
    }
    let p99 = value("request-round-trip-time-p99");
    assert!((200.0..=216.0).contains(&p99), "{p99}");
    let node = metrics.value_of("request-latency-max", "producer-node-metrics", "node-id", "node-0").unwrap();
    assert_eq!(node, value("request-latency-max"));
    let sent = metrics.value_of("outgoing-byte-total", "producer-node-metrics", "node-id", "node-0").unwrap();
    assert!(sent >= produced[0].size as f64);
    assert!(value("metadata-age") > 0.2 && value("metadata-age") < 1.0);
    // Every declared metric is there, and no other of the producer's own.
    let declared = producer_specs().map(|spec| spec.name()).collect::<BTreeSet<_>>();
    let clients = rkafka_client_core::metrics::client_specs().map(|spec| spec.name());
    let there = metrics.iter().map(|metric| metric.name()).collect::<BTreeSet<_>>();
    assert_eq!(there, declared.iter().copied().chain(clients).collect());
    // Rates look back over the present sample and one that counts as empty; the sum is the total of a minute.
    let rate = value("record-send-rate");
    assert!((5.0 / 31.0..=5.0 / 30.0).contains(&rate), "{rate}");
    pause(Duration::from_secs(60)).await;
    assert_eq!(producer.metrics().value("record-send-rate", "producer-metrics"), Some(0.0));
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_waits_for_its_turn() {
    let net = Net::new(1, 1);
    net.cluster.on_produce(|_| Act::AnswerAfter(300 * MS));
    let producer = ready(&net, net.config().max_in_flight(1_u32)).await;
    send(&producer, 0, &["first"]).await;
    pause(100 * MS).await;
    send(&producer, 0, &["second"]).await;
    producer.flush().await;
    let turn = value(&producer, "batch-turn-time-max");
    assert!((turn - 200.0).abs() <= 2.0, "{turn}");
    assert!(value(&producer, "batch-linger-time-max") <= 1.0);
}

#[tokio::test(start_paused = true)]
async fn compression_is_a_share() {
    let net = Net::new(1, 1);
    let producer = ready(&net, net.config().compression_type(CompressionType::Gzip)).await;
    send(&producer, 0, &["x".repeat(10_000).as_str()]).await;
    producer.flush().await;
    let size = net.cluster.state().produced[0].batches[0].2 as f64;
    assert_eq!(value(&producer, "batch-size-max"), size);
    assert_eq!(value(&producer, "compression-rate-avg"), size / (value(&producer, "record-size-max") + 61.0));
}

#[tokio::test(start_paused = true)]
async fn retries_errors_splits_and_throttling_are_counted() {
    let net = Net::new(1, 1);
    net.cluster.on_produce(|nth| match nth {
        0 => Act::Refuse(ErrorCode::NotLeaderOrFollower),
        1 => Act::Throttle(400 * MS),
        _ => Act::Do,
    });
    let producer = ready(&net, net.config().linger(5 * MS)).await;
    send(&producer, 0, &["1", "2", "3"]).await;
    producer.flush().await;
    assert_eq!((value(&producer, "record-retry-total"), of_topic(&producer, "record-retry-total")), (3.0, 3.0));
    assert_eq!(value(&producer, "record-send-total"), 6.0, "each attempt counts, as in Java");
    assert_eq!(value(&producer, "produce-throttle-time-max"), 400.0);
    assert_eq!(value(&producer, "produce-throttle-time-avg"), 200.0);
    assert_eq!(value(&producer, "record-error-total"), 0.0);
    assert!(value(&producer, "record-queue-time-max") <= 8.0, "the first attempt counts");
    net.cluster.state().records_max = 2;
    send(&producer, 0, &["4", "5", "6", "7"]).await;
    producer.flush().await;
    assert_eq!(value(&producer, "batch-split-total"), 1.0);
    assert_eq!(value(&producer, "record-retry-total"), 3.0, "the halves are no retries");
    net.cluster.on_produce(|_| Act::Refuse(ErrorCode::InvalidRecord));
    send(&producer, 0, &["8", "9"]).await;
    producer.flush().await;
    assert_eq!((value(&producer, "record-error-total"), of_topic(&producer, "record-error-total")), (2.0, 2.0));
    // A record that is not accepted is an error of the producer, and not of the topic.
    producer.send(Record::to("t").partition(9).value("x")).await.unwrap_err();
    assert_eq!((value(&producer, "record-error-total"), of_topic(&producer, "record-error-total")), (3.0, 2.0));
}

#[tokio::test(start_paused = true)]
async fn waiting_is_measured() {
    let net = Net::new(1, 1);
    net.cluster.on_produce(|_| Act::Silence);
    let producer = ready(&net, net.config().buffer_memory(2048_usize).max_block(500 * MS)).await;
    let large = "x".repeat(1900);
    send(&producer, 0, &[large.as_str()]).await;
    let waiting = producer.clone();
    let sent = spawn(async move { waiting.send(Record::to("t").value("y".repeat(1500).as_str())).await.is_err() });
    pause(100 * MS).await;
    assert_eq!(value(&producer, "waiting-threads"), 1.0);
    assert!(sent.await.unwrap());
    assert_eq!((value(&producer, "waiting-threads"), value(&producer, "buffer-exhausted-total")), (0.0, 1.0));
    let waited = value(&producer, "bufferpool-wait-time-ns-total") / 1e6;
    assert!((waited - 500.0).abs() <= 2.0, "{waited}");
    let share = value(&producer, "bufferpool-wait-ratio");
    assert!((share - 0.5 / 30.0).abs() < 0.002, "{share}");
    assert_eq!(value(&producer, "record-error-total"), 1.0);
    let before = value(&producer, "metadata-wait-time-ns-total");
    producer.topic("nowhere").await.unwrap_err();
    let waited = (value(&producer, "metadata-wait-time-ns-total") - before) / 1e6;
    assert!((waited - 500.0).abs() <= 5.0, "{waited}");
    let _ = tokio::time::timeout(300 * MS, producer.flush()).await;
    let flushed = value(&producer, "flush-time-ns-total") / 1e6;
    assert!((flushed - 300.0).abs() <= 2.0, "{flushed}: a flush that is given up counts too");
}

#[tokio::test(start_paused = true)]
async fn the_steps_of_a_transaction_are_timed() {
    let net = Net::new(1, 1);
    net.cluster.script(|call| match call.key {
        ApiKey::InitProducerId => Act::AnswerAfter(70 * MS),
        ApiKey::EndTxn => Act::AnswerAfter(90 * MS),
        _ => Act::Do,
    });
    let mut producer = net.transactional(net.config()).await;
    let transaction = producer.begin().await.unwrap();
    drop(transaction.send(Record::to("t").value("x")).await.unwrap());
    transaction.commit().await.unwrap();
    let transaction = producer.begin().await.unwrap();
    drop(transaction.send(Record::to("t").value("y")).await.unwrap());
    transaction.abort().await.unwrap();
    let metrics = producer.metrics();
    let ms = |name: &str| metrics.value(name, "producer-metrics").unwrap() / 1e6;
    let within = |name: &str, least: f64| {
        let time = ms(name);
        assert!(time >= least && time < least + 40.0, "{name} is {time}");
    };
    within("txn-init-time-ns-total", 70.0);
    within("txn-commit-time-ns-total", 90.0);
    assert!(ms("txn-abort-time-ns-total") < 150.0 && ms("txn-begin-time-ns-total") < 1.0);
    assert_eq!(ms("txn-send-offsets-time-ns-total"), 0.0);
}
