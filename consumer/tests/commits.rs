//! What is committed in each mode, against the embedded broker.

use std::error::Error;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rkafka_consumer::{
    ClientSettings, CommittedOffset, Consumer, ConsumerConfig, ConsumerError, ConsumerInterceptor, ConsumerOptions,
    ConsumerRecord, OffsetReset, Start, TopicPartition,
};
use rkafka_testkit::{RawClient, RawProducer, TestCluster, TransactionProtocol, eventually};

const LIMIT: Duration = Duration::from_secs(60);

async fn cluster() -> TestCluster {
    TestCluster::builder()
        .topic("t", 1)
        .broker(|config| config.group_initial_rebalance_delay(Duration::ZERO))
        .start()
        .await
}

/// Five transactions of two records each: a marker lies behind each pair.
async fn fill(cluster: &TestCluster) {
    let mut client = RawClient::connect(&cluster.bootstrap()).await.unwrap();
    let mut producer = RawProducer::init(&mut client, "filler", TransactionProtocol::V2, LIMIT).await.unwrap();
    for number in 0..5 {
        let (one, two) = (format!("{}", 2 * number), format!("{}", 2 * number + 1));
        producer.produce(&mut client, "t", &[(0, &one)]).await.unwrap();
        producer.produce(&mut client, "t", &[(0, &two)]).await.unwrap();
        producer.end(&mut client, true).await.unwrap();
    }
}

fn config(cluster: &TestCluster) -> ConsumerConfig {
    ConsumerConfig::new()
        .bootstrap_servers(cluster.bootstrap())
        .group_id("g")
        .auto_offset_reset(OffsetReset::Earliest)
        .auto_commit_interval(Duration::from_secs(3600))
}

async fn take(consumer: &mut Consumer, count: usize) -> Vec<ConsumerRecord> {
    let mut records = Vec::new();
    while records.len() < count {
        records.push(tokio::time::timeout(LIMIT, consumer.recv()).await.expect("a record").unwrap());
    }
    records
}

async fn committed(consumer: &Consumer) -> Option<CommittedOffset> {
    let place = TopicPartition::new("t", 0);
    consumer.committed(&[place]).await.unwrap().remove(0).1
}

async fn committed_offset(consumer: &Consumer) -> Option<i64> {
    committed(consumer).await.map(|one| one.offset)
}

// Shows: enable.auto.offset.store.
#[tokio::test]
async fn only_what_is_marked_is_committed_and_never_beyond_a_gap() {
    let cluster = cluster().await;
    fill(&cluster).await;
    let mut consumer = Consumer::connect(config(&cluster).enable_auto_offset_store(false)).await.unwrap();
    consumer.subscribe(["t"]).unwrap();
    // Offsets 0 1 (2) 3 4 (5) 6 7 (8) 9 10 (11) 12 13 (14).
    let records = take(&mut consumer, 10).await;
    assert_eq!(records.iter().map(ConsumerRecord::offset).collect::<Vec<_>>(), [0, 1, 3, 4, 6, 7, 9, 10, 12, 13]);
    consumer.commit().await.unwrap();
    assert_eq!(committed_offset(&consumer).await, Some(0), "nothing is marked");
    for done in [1, 2, 5] {
        consumer.mark_done(&records[done]).unwrap();
    }
    consumer.commit().await.unwrap();
    assert_eq!(committed_offset(&consumer).await, Some(0), "record 0 is not done");
    consumer.mark_done(&records[0]).unwrap();
    consumer.commit().await.unwrap();
    let at = committed(&consumer).await.unwrap();
    assert_eq!((at.offset, at.leader_epoch), (4, records[0].leader_epoch()), "over the marker at 2");
    consumer.mark_done(&records[0]).unwrap();
    for record in &records {
        consumer.mark_done(record).unwrap();
    }
    // Where all is done the markers at the end are passed as well, as soon as they were read.
    assert!(consumer.recv_until_end().await.unwrap().is_none());
    consumer.commit_async().unwrap().await.unwrap();
    assert_eq!(committed_offset(&consumer).await, Some(15));
    // What was handed out before a seek is not for what comes after it.
    consumer.seek("t", 0, Start::Beginning).unwrap();
    let again = take(&mut consumer, 2).await;
    let outdated = consumer.mark_done(&records[9]).unwrap_err();
    assert!(matches!(&outdated, ConsumerError::Outdated { .. }), "{outdated}");
    consumer.mark_done(&again[0]).unwrap();
    consumer.close().await.unwrap();
    let consumer = Consumer::connect(config(&cluster)).await.unwrap();
    assert_eq!(committed_offset(&consumer).await, Some(1), "the close commits what is marked");
    let error = consumer.mark_done(&again[1]).unwrap_err();
    assert!(matches!(&error, ConsumerError::NotMarking { .. }), "{error}");
}

#[tokio::test]
async fn batches_and_records_of_batches_are_marked() {
    let cluster = cluster().await;
    fill(&cluster).await;
    let mut consumer = Consumer::connect(config(&cluster).enable_auto_offset_store(false)).await.unwrap();
    consumer.assign([("t", 0, Start::Beginning)]).unwrap();
    let mut batches = Vec::new();
    while batches.len() < 10 {
        batches.push(consumer.next_batch().await.unwrap());
    }
    consumer.mark_batch_done(&batches[1]).unwrap();
    let first = batches[0].own(&batches[0].records().next().unwrap().unwrap());
    consumer.mark_done(&first).unwrap();
    consumer.mark_batch_done(&batches[2]).unwrap();
    consumer.commit().await.unwrap();
    assert_eq!(committed_offset(&consumer).await, Some(4));
}

// Shows: auto.commit.interval.ms.
#[tokio::test]
async fn marks_are_committed_by_the_interval() {
    let cluster = cluster().await;
    fill(&cluster).await;
    let config = config(&cluster).enable_auto_offset_store(false).auto_commit_interval(Duration::from_millis(10));
    let mut consumer = Consumer::connect(config).await.unwrap();
    consumer.subscribe(["t"]).unwrap();
    let records = take(&mut consumer, 5).await;
    consumer.mark_done(&records[1]).unwrap();
    consumer.mark_done(&records[0]).unwrap();
    let consumer = &consumer;
    eventually("two records are committed", || async move {
        let at = committed_offset(consumer).await;
        if at == Some(2) { Ok(()) } else { Err(format!("{at:?}")) }
    })
    .await;
}

#[tokio::test]
async fn a_record_without_its_batch_is_the_same_record() {
    let cluster = cluster().await;
    fill(&cluster).await;
    let mut consumer = Consumer::connect(config(&cluster).enable_auto_offset_store(false)).await.unwrap();
    consumer.assign([("t", 0, Start::Beginning)]).unwrap();
    for (record, expected) in take(&mut consumer, 4).await.into_iter().zip([1, 2, 4, 5]) {
        let detached = record.detach();
        let fields = |record: &ConsumerRecord| {
            (record.topic_partition(), record.committed_offset(), record.timestamp(), record.timestamp_type())
        };
        assert_eq!(fields(&detached), fields(&record));
        assert_eq!((detached.key_bytes(), detached.value_bytes()), (record.key_bytes(), record.value_bytes()));
        drop(record);
        // It stands for the same offsets: those of markers before it as well.
        consumer.mark_done(&detached.detach()).unwrap();
        consumer.commit().await.unwrap();
        assert_eq!(committed_offset(&consumer).await, Some(expected));
    }
}

#[tokio::test]
async fn metadata_and_epoch_go_along() {
    let cluster = cluster().await;
    fill(&cluster).await;
    let mut consumer = Consumer::connect(config(&cluster).enable_auto_offset_store(false)).await.unwrap();
    consumer.subscribe(["t"]).unwrap();
    let records = take(&mut consumer, 4).await;
    let place = records[0].topic_partition();
    let stored = records[2].committed_offset().with_metadata("three are done");
    consumer.store_offsets([(place.clone(), stored.clone())]).unwrap();
    consumer.commit().await.unwrap();
    assert_eq!(committed(&consumer).await, Some(stored));
    let error = consumer.store_offsets([(TopicPartition::new("t", 7), CommittedOffset::new(1))]).unwrap_err();
    assert!(matches!(&error, ConsumerError::NotAssigned { .. }), "{error}");
    // Given offsets are committed whatever is marked.
    consumer.commit_record(&records[0]).await.unwrap();
    assert_eq!(committed(&consumer).await, Some(records[0].committed_offset()));
    let given = CommittedOffset::new(3).with_leader_epoch(Some(0)).with_metadata("here");
    consumer.commit_offsets_async(vec![(place, given.clone())]).unwrap().await.unwrap();
    assert_eq!(committed(&consumer).await, Some(given));
}

/// Of many commits that nobody waits for, the last one counts.
#[tokio::test]
async fn asynchronous_commits_keep_their_order() {
    let cluster = cluster().await;
    fill(&cluster).await;
    let mut consumer = Consumer::connect(config(&cluster).enable_auto_commit(false)).await.unwrap();
    consumer.subscribe(["t"]).unwrap();
    let records = take(&mut consumer, 10).await;
    let mut last = None;
    for round in 0..20 {
        for record in records.iter().skip(round % 3) {
            let offset = vec![(record.topic_partition(), record.committed_offset())];
            last = Some(consumer.commit_offsets_async(offset).unwrap());
        }
        drop(consumer.commit_async().unwrap());
    }
    let end = vec![(records[0].topic_partition(), records[4].committed_offset())];
    drop(last);
    consumer.commit_offsets_async(end).unwrap().await.unwrap();
    assert_eq!(committed_offset(&consumer).await, Some(7));
    consumer.close().await.unwrap();
}

/// A commit whose future is dropped is made all the same, and in its turn.
#[tokio::test]
async fn dropped_commits_are_made() {
    let cluster = cluster().await;
    fill(&cluster).await;
    let mut consumer = Consumer::connect(config(&cluster).enable_auto_commit(false)).await.unwrap();
    consumer.subscribe(["t"]).unwrap();
    let records = take(&mut consumer, 10).await;
    for (number, record) in records.iter().enumerate() {
        let offsets = [(record.topic_partition(), record.committed_offset())];
        let mut polls = number % 4;
        tokio::select! {
            biased;
            done = consumer.commit_offsets(offsets) => done.unwrap(),
            () = std::future::poll_fn(|context| {
                if polls == 0 {
                    return std::task::Poll::Ready(());
                }
                polls -= 1;
                context.waker().wake_by_ref();
                std::task::Poll::Pending
            }) => {}
        }
        let consumer = &consumer;
        eventually("the commit", || async move {
            let at = committed_offset(consumer).await;
            if at == Some(record.offset() + 1) { Ok(()) } else { Err(format!("{at:?} after {}", record.offset())) }
        })
        .await;
    }
    // Questions change nothing, however often they are dropped.
    let place = [records[0].topic_partition()];
    for _ in 0..20 {
        let _ = tokio::time::timeout(Duration::ZERO, consumer.committed(&place)).await;
        let _ = tokio::time::timeout(Duration::ZERO, consumer.end_offsets(&place)).await;
        let _ = tokio::time::timeout(Duration::ZERO, consumer.partitions_for("t")).await;
    }
    assert_eq!(committed_offset(&consumer).await, Some(14));
    assert!(consumer.recv_until_end().await.unwrap().is_none());
}

/// Counts the commits of an offset.
#[derive(Clone, Default)]
struct Counting(Arc<Mutex<Vec<i64>>>);

impl ConsumerInterceptor for Counting {
    fn on_commit(&self, offsets: &[(TopicPartition, CommittedOffset)]) -> Result<(), Box<dyn Error + Send + Sync>> {
        self.0.lock().unwrap().extend(offsets.iter().map(|(_, at)| at.offset));
        Ok(())
    }
}

/// As in Java: the brokers count the time for which they keep an offset from its last commit, where no group is joined.
#[tokio::test]
async fn the_offset_of_an_idle_partition_is_committed_again() {
    let cluster = cluster().await;
    fill(&cluster).await;
    for stores in [true, false] {
        let commits = Counting::default();
        let config = config(&cluster)
            .group_id(format!("idle-{stores}"))
            .auto_commit_interval(Duration::from_millis(50))
            .enable_auto_offset_store(stores);
        let options = ConsumerOptions::new().interceptor(commits.clone());
        let mut consumer = Consumer::connect_with(config, options).await.unwrap();
        consumer.assign([("t", 0, Start::Beginning)]).unwrap();
        while let Some(record) = consumer.recv_until_end().await.unwrap() {
            if !stores {
                consumer.mark_done(&record).unwrap();
            }
        }
        eventually("it is committed again and again", async || {
            let times = commits.0.lock().unwrap().iter().filter(|offset| **offset == 15).count();
            if times >= 3 { Ok(()) } else { Err(format!("{times} times")) }
        })
        .await;
    }
}
