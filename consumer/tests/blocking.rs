//! The blocking face: inside and outside of a runtime, woken, iterated, closed and dropped.

use std::time::Duration;

use rkafka_consumer::{ClientSettings, ConsumerConfig, ConsumerError, OffsetReset, Start, TopicPartition, blocking};
use rkafka_testkit::{RawClient, RawProducer, TestCluster, TransactionProtocol};

const LONG: Duration = Duration::from_secs(60);

/// A broker that runs on a runtime of its own, with 20 records.
fn cluster() -> (tokio::runtime::Runtime, TestCluster) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let cluster = runtime.block_on(async {
        let cluster = TestCluster::builder()
            .topic("t", 1)
            .broker(|config| config.group_initial_rebalance_delay(Duration::ZERO))
            .start()
            .await;
        let mut client = RawClient::connect(&cluster.bootstrap()).await.unwrap();
        let mut producer = RawProducer::init(&mut client, "filler", TransactionProtocol::V2, LONG).await.unwrap();
        for number in 0..20 {
            producer.produce(&mut client, "t", &[(0, &number.to_string())]).await.unwrap();
        }
        producer.end(&mut client, true).await.unwrap();
        cluster
    });
    (runtime, cluster)
}

fn config(cluster: &TestCluster) -> ConsumerConfig {
    ConsumerConfig::new()
        .bootstrap_servers(cluster.bootstrap())
        .group_id("g")
        .auto_offset_reset(OffsetReset::Earliest)
        .max_poll_records(7_usize)
        .auto_commit_interval(Duration::from_secs(3600))
}

fn poll_all(consumer: &mut blocking::Consumer, count: usize) -> Vec<i64> {
    let mut offsets = Vec::new();
    while offsets.len() < count {
        let records = consumer.poll(LONG).unwrap();
        assert!(records.len() <= 7);
        offsets.extend(records.iter().map(|record| record.offset()));
    }
    offsets
}

fn committed(consumer: &blocking::Consumer) -> Option<i64> {
    let committed = consumer.committed(&[TopicPartition::new("t", 0)]).unwrap();
    committed[0].1.as_ref().map(|at| at.offset)
}

fn everything(cluster: &TestCluster) {
    let mut consumer = blocking::Consumer::connect(config(cluster)).unwrap();
    consumer.subscribe(["t"]).unwrap();
    assert_eq!(poll_all(&mut consumer, 20), (0..20).collect::<Vec<_>>());
    assert!(consumer.poll(Duration::from_millis(20)).unwrap().is_empty(), "the time is over");
    consumer.commit().unwrap();
    assert!(committed(&consumer) >= Some(20));
    let place = TopicPartition::new("t", 0);
    assert_eq!(consumer.partitions_for("t").unwrap(), std::slice::from_ref(&place));
    assert_eq!(consumer.beginning_offsets(std::slice::from_ref(&place)).unwrap(), [(place, 0)]);
    consumer.seek("t", 0, Start::Offset(5)).unwrap();
    let batch = consumer.poll_batch(LONG).unwrap().expect("a batch");
    assert_eq!(batch.first_offset(), 5);

    // The iterator takes ahead of the application; what it has not given out is not committed.
    consumer.seek("t", 0, Start::Offset(3)).unwrap();
    let taken: Vec<i64> = consumer.records().take(2).map(|record| record.unwrap().offset()).collect();
    assert_eq!(taken, [3, 4]);
    consumer.commit().unwrap();
    assert_eq!(committed(&consumer), Some(5));
    let taken: Vec<i64> = consumer.records().take(2).map(|record| record.unwrap().offset()).collect();
    assert_eq!(taken, [5, 6], "nothing is lost or doubled");
    consumer.close().unwrap();

    let mut consumer = blocking::Consumer::connect(config(cluster)).unwrap();
    assert_eq!(committed(&consumer), Some(7), "the close commits what was given out");
    // Woken from elsewhere: a poll fails, an iterator ends.
    consumer.assign([("t", 0, Start::End)]).unwrap();
    let waker = consumer.waker();
    let thread = std::thread::spawn(move || waker.wake());
    let woken = consumer.poll(LONG).unwrap_err();
    assert!(matches!(&woken, ConsumerError::Wakeup), "{woken}");
    thread.join().unwrap();
    consumer.waker().wake();
    assert_eq!(consumer.records().count(), 0);
    let unknown = consumer.seek("nowhere", 0, Start::End).unwrap_err();
    assert!(matches!(&unknown, ConsumerError::NotAssigned { .. }), "{unknown}");
    // Dropped: it leaves in the background, and its thread ends.
    drop(consumer);
}

/// What the iterator had taken ahead was put back by a seek, after which nothing could be marked any more.
#[test]
fn what_was_given_can_be_marked_after_the_rest_was_put_back() {
    let (_runtime, cluster) = cluster();
    let mut consumer = blocking::Consumer::connect(config(&cluster).enable_auto_offset_store(false)).unwrap();
    consumer.assign([("t", 0, Start::Beginning)]).unwrap();
    let given: Vec<_> = consumer.records().take(3).map(Result::unwrap).collect();
    consumer.mark_done(&given[0]).unwrap();
    consumer.commit().unwrap();
    assert_eq!(committed(&consumer), Some(1));
    consumer.mark_done(&given[1]).unwrap();
    consumer.mark_done(&given[2]).unwrap();
    consumer.commit().unwrap();
    assert_eq!(committed(&consumer), Some(3));
    assert_eq!(consumer.records().next().unwrap().unwrap().offset(), 3);
}

#[test]
fn outside_of_a_runtime() {
    let (_runtime, cluster) = cluster();
    everything(&cluster);
}

#[test]
fn inside_of_a_runtime() {
    let (runtime, cluster) = cluster();
    runtime.block_on(async { everything(&cluster) });
    let single = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    single.block_on(async {
        let mut consumer = blocking::Consumer::connect(config(&cluster).group_id("other")).unwrap();
        consumer.subscribe(["t"]).unwrap();
        assert_eq!(poll_all(&mut consumer, 20).len(), 20);
    });
}

#[test]
fn one_that_is_dropped_leaves_its_group() {
    let (_runtime, cluster) = cluster();
    let mut first = blocking::Consumer::connect(config(&cluster).session_timeout(LONG)).unwrap();
    first.subscribe(["t"]).unwrap();
    assert_eq!(poll_all(&mut first, 20).len(), 20);
    drop(first);
    let mut second = blocking::Consumer::connect(config(&cluster)).unwrap();
    second.subscribe(["t"]).unwrap();
    // The group does not wait for a session to end, and what the first one did not come back from comes again.
    assert!(!second.poll(LONG / 2).unwrap().is_empty());
}

#[test]
fn a_cluster_that_is_not_there_is_an_error() {
    let config = ConsumerConfig::new().bootstrap_servers("127.0.0.1:1").default_api_timeout(Duration::from_millis(300));
    let error = blocking::Consumer::connect(config).unwrap_err();
    assert!(matches!(&error, ConsumerError::Client { .. }), "{error}");
}
