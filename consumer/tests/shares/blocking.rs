//! The blocking face: inside and outside of a runtime, woken, closed and dropped.

use rkafka_consumer::{AcknowledgeType, AcknowledgementMode, blocking};

use super::*;

/// A broker that runs on a runtime of its own.
fn cluster_aside() -> (tokio::runtime::Runtime, TestCluster) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let cluster = runtime.block_on(cluster());
    (runtime, cluster)
}

fn connect(cluster: &TestCluster, mode: AcknowledgementMode) -> blocking::ShareConsumer {
    let config = config(cluster).share_acknowledgement_mode(mode).max_poll_records(3_usize);
    let mut consumer = blocking::ShareConsumer::connect(config).unwrap();
    consumer.subscribe(["t"]).unwrap();
    consumer
}

fn everything(cluster: &TestCluster) {
    let mut consumer = connect(cluster, AcknowledgementMode::Explicit);
    let mut seen = Vec::new();
    while seen.len() < 5 {
        let records = consumer.poll(LIMIT).unwrap();
        assert!((1..=3).contains(&records.len()));
        for record in records {
            seen.push(record.offset());
            // The last two are for the next one.
            let kind = if record.offset() < 5 { AcknowledgeType::Accept } else { AcknowledgeType::Release };
            consumer.acknowledge(&record, kind).unwrap();
        }
    }
    assert_eq!(seen[..5], [0, 1, 2, 3, 4]);
    let results = consumer.commit().unwrap();
    assert!(results.iter().all(|result| result.result.is_ok()), "{results:?}");
    assert_eq!(consumer.assignment().len(), 1);
    consumer.close().unwrap();

    let mut consumer = connect(cluster, AcknowledgementMode::Implicit);
    let record = consumer.recv(LIMIT).unwrap().expect("a record");
    assert_eq!(record.offset(), 5);
    let batch = consumer.poll_batch(LIMIT).unwrap().expect("a batch");
    assert_eq!(batch.offsets().collect::<Vec<_>>(), [(6, 6)]);
    consumer.commit_async().unwrap();
    assert!(consumer.poll(Duration::from_millis(20)).unwrap().is_empty(), "the time is over");
    assert!(consumer.recv(Duration::from_millis(20)).unwrap().is_none(), "the time is over");
    // Woken from elsewhere.
    let waker = consumer.waker();
    let thread = std::thread::spawn(move || waker.wake());
    let woken = consumer.poll(LIMIT).unwrap_err();
    assert!(matches!(&woken, ShareConsumerError::Wakeup) && !woken.is_fatal(), "{woken}");
    thread.join().unwrap();
    consumer.unsubscribe().unwrap();
    consumer.close().unwrap();
}

#[test]
fn outside_of_a_runtime() {
    let (_runtime, cluster) = cluster_aside();
    everything(&cluster);
}

#[test]
fn inside_of_a_runtime() {
    let (_runtime, cluster) = cluster_aside();
    let single = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    single.block_on(async { everything(&cluster) });
}

/// What it had comes to another at once, and not when the locks run out.
#[test]
fn one_that_is_dropped_gives_back_what_it_had() {
    let (_runtime, cluster) = cluster_aside();
    let mut first = connect(&cluster, AcknowledgementMode::Implicit);
    assert!(!first.poll(LIMIT).unwrap().is_empty());
    drop(first);
    let mut second = connect(&cluster, AcknowledgementMode::Implicit);
    let record = second.recv(LIMIT / 3).unwrap().expect("a record, before the lock of 30 s is over");
    assert_eq!(record.offset(), 0);
    second.close().unwrap();
}

#[test]
fn a_cluster_that_is_not_there_is_an_error() {
    let config = ShareConsumerConfig::new()
        .bootstrap_servers("127.0.0.1:1")
        .group_id("g")
        .default_api_timeout(Duration::from_millis(300));
    let error = blocking::ShareConsumer::connect(config).unwrap_err();
    assert!(matches!(&error, ShareConsumerError::Client { .. }), "{error}");
}
