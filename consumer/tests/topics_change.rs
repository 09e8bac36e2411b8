//! Topics that change beneath a consumer, and groups that change beneath a batch, in both protocols of membership.

use std::collections::BTreeMap;
use std::time::Duration;

use rkafka_consumer::{
    ClientSettings, Consumer, ConsumerConfig, ConsumerError, ConsumerRecord, GroupProtocol, OffsetReset,
    PartitionError, Start, TopicPartition,
};
use rkafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use rkafka_protocol::messages::create_topics_request::CreatableTopic;
use rkafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use rkafka_protocol::messages::{CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest, ProduceRequest};
use rkafka_protocol::records::{BatchOptions, encode_batch};
use rkafka_testkit::{RawClient, TestCluster, pause};

const LIMIT: Duration = Duration::from_secs(60);

async fn cluster() -> (TestCluster, RawClient) {
    let cluster = TestCluster::builder()
        .topic("t", 2)
        .broker(|config| {
            config.group_initial_rebalance_delay(Duration::ZERO).group_min_session_timeout(Duration::from_millis(100))
        })
        .start()
        .await;
    let client = RawClient::connect(&cluster.bootstrap()).await.unwrap();
    (cluster, client)
}

fn config(cluster: &TestCluster, protocol: GroupProtocol) -> ConsumerConfig {
    let config = ConsumerConfig::new()
        .bootstrap_servers(cluster.bootstrap())
        .group_id("g")
        .group_protocol(protocol)
        .auto_offset_reset(OffsetReset::Earliest)
        .metadata_max_age(Duration::from_millis(300));
    match protocol {
        GroupProtocol::Classic => config.heartbeat_interval(Duration::from_millis(50)),
        GroupProtocol::Consumer => config,
    }
}

/// Writes these values in one batch.
async fn write(client: &mut RawClient, partition: i32, values: std::ops::Range<u32>) {
    let values: Vec<String> = values.map(|value| value.to_string()).collect();
    let records = values.iter().map(|value| (None, Some(value.as_bytes())));
    let batch = encode_batch(Vec::new(), BatchOptions::default(), 1_700_000_000_000, records).unwrap().into_bytes();
    let of_partition =
        PartitionProduceData { index: partition, records: Some(batch.into()), ..PartitionProduceData::default() };
    let of_topic =
        TopicProduceData { name: "t".to_owned(), partition_data: vec![of_partition], ..TopicProduceData::default() };
    let request =
        ProduceRequest { acks: -1, timeout_ms: 60_000, topic_data: vec![of_topic], ..ProduceRequest::default() };
    let answer = client.call(&request, 9).await.unwrap();
    assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
}

async fn create(client: &mut RawClient) {
    let topic =
        CreatableTopic { name: "t".to_owned(), num_partitions: 2, replication_factor: 1, ..CreatableTopic::default() };
    let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 60_000, ..CreateTopicsRequest::default() };
    // It is taken as there until all of it is gone.
    let made = async {
        while client.call(&request, 5).await.unwrap().topics[0].error_code != 0 {
            pause(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LIMIT, made).await.expect("the topic is made anew");
}

async fn delete(client: &mut RawClient) {
    let request =
        DeleteTopicsRequest { topic_names: vec!["t".to_owned()], timeout_ms: 60_000, ..DeleteTopicsRequest::default() };
    assert_eq!(client.call(&request, 5).await.unwrap().responses[0].error_code, 0);
}

/// The next record; that a partition is not there for a moment is passed over.
async fn next(consumer: &mut Consumer) -> ConsumerRecord {
    let record = async {
        loop {
            match consumer.recv().await {
                Ok(record) => return record,
                Err(ConsumerError::UnknownTopicOrPartition { .. } | ConsumerError::Client { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
    };
    tokio::time::timeout(LIMIT, record).await.expect("a record")
}

fn value(record: &ConsumerRecord) -> u32 {
    std::str::from_utf8(record.value().unwrap()).unwrap().parse().unwrap()
}

async fn made_anew(mut consumer: Consumer, client: &mut RawClient) {
    write(client, 0, 0..5).await;
    for expected in 0..5 {
        assert_eq!(value(&next(&mut consumer).await), expected);
    }
    consumer.commit().await.unwrap();
    delete(client).await;
    create(client).await;
    // More than there were: the old position would be in the middle of them.
    write(client, 0, 100..108).await;
    for expected in 100..108 {
        assert_eq!(value(&next(&mut consumer).await), expected);
    }
    consumer.commit().await.unwrap();
    let committed = consumer.committed(&[TopicPartition::new("t", 0)]).await.unwrap();
    assert_eq!(committed[0].1.as_ref().map(|at| at.offset), Some(8));
    delete(client).await;
    // What is there no more cannot be committed, and holds up nothing.
    tokio::time::timeout(Duration::from_secs(20), consumer.close()).await.expect("close has an end").ok();
    create(client).await;
}

#[tokio::test]
async fn a_topic_that_was_made_anew_is_read_from_its_beginning() {
    let (cluster, mut client) = cluster().await;
    for protocol in [GroupProtocol::Classic, GroupProtocol::Consumer] {
        let config = config(&cluster, protocol).group_id(format!("{protocol:?}"));
        let mut consumer = Consumer::connect(config).await.unwrap();
        consumer.subscribe(["t"]).unwrap();
        made_anew(consumer, &mut client).await;
    }
    let mut consumer = Consumer::connect(config(&cluster, GroupProtocol::Classic)).await.unwrap();
    consumer.assign([("t", 0, Start::Beginning)]).unwrap();
    made_anew(consumer, &mut client).await;
}

#[tokio::test]
async fn without_a_reset_a_topic_that_was_made_anew_is_told() {
    let (cluster, mut client) = cluster().await;
    let config = config(&cluster, GroupProtocol::Classic).auto_offset_reset(OffsetReset::None);
    let mut consumer = Consumer::connect(config).await.unwrap();
    write(&mut client, 0, 0..5).await;
    consumer.assign([("t", 0, Start::Beginning)]).unwrap();
    for expected in 0..5 {
        assert_eq!(value(&next(&mut consumer).await), expected);
    }
    delete(&mut client).await;
    create(&mut client).await;
    write(&mut client, 0, 100..108).await;
    let told = async {
        loop {
            match consumer.recv().await {
                Err(ConsumerError::Partition { source: PartitionError::LogTruncated { offset, .. }, .. }) => {
                    return offset;
                }
                Err(ConsumerError::UnknownTopicOrPartition { .. } | ConsumerError::Client { .. }) => {}
                other => panic!("{other:?}"),
            }
        }
    };
    assert_eq!(tokio::time::timeout(LIMIT, told).await.expect("an error"), 5);
    consumer.seek("t", 0, Start::Beginning).unwrap();
    assert_eq!(value(&next(&mut consumer).await), 100);
}

#[tokio::test]
async fn partitions_that_are_added_are_read() {
    for protocol in [GroupProtocol::Classic, GroupProtocol::Consumer] {
        let (cluster, mut client) = cluster().await;
        let mut consumer = Consumer::connect(config(&cluster, protocol)).await.unwrap();
        consumer.subscribe(["t"]).unwrap();
        write(&mut client, 0, 0..1).await;
        assert_eq!(value(&next(&mut consumer).await), 0);
        let topic = CreatePartitionsTopic {
            name: "t".to_owned(),
            count: 5,
            assignments: None,
            ..CreatePartitionsTopic::default()
        };
        let request =
            CreatePartitionsRequest { topics: vec![topic], timeout_ms: 60_000, ..CreatePartitionsRequest::default() };
        assert_eq!(client.call(&request, 3).await.unwrap().results[0].error_code, 0);
        for partition in 2..5 {
            write(&mut client, partition, 10 * partition as u32..10 * partition as u32 + 1).await;
        }
        let mut seen = Vec::new();
        for _ in 2..5 {
            seen.push(value(&next(&mut consumer).await));
        }
        seen.sort_unstable();
        assert_eq!(seen, [20, 30, 40], "what was written before they were seen is read too");
        consumer.close().await.unwrap();
    }
}

/// Waits until so many partitions are assigned.
async fn until_assigned(consumer: &mut Consumer, count: usize) {
    let assigned = async {
        while consumer.assignment().len() != count {
            // That a partition is missing for a moment is told, too.
            let _ = tokio::time::timeout(Duration::from_millis(50), consumer.recv()).await;
        }
    };
    tokio::time::timeout(LIMIT, assigned).await.expect("the group shares out anew");
}

#[tokio::test]
async fn a_topic_that_is_deleted_is_taken_away_and_comes_back() {
    for protocol in [GroupProtocol::Classic, GroupProtocol::Consumer] {
        let (cluster, mut client) = cluster().await;
        let mut consumer = Consumer::connect(config(&cluster, protocol)).await.unwrap();
        consumer.subscribe(["t"]).unwrap();
        until_assigned(&mut consumer, 2).await;
        delete(&mut client).await;
        until_assigned(&mut consumer, 0).await;
        create(&mut client).await;
        until_assigned(&mut consumer, 2).await;
        write(&mut client, 0, 7..8).await;
        assert_eq!(value(&next(&mut consumer).await), 7);
        consumer.close().await.unwrap();
    }
}

/// A member that is in the middle of a batch when another one joins: who goes on goes on there.
#[tokio::test]
async fn a_rebalance_in_the_middle_of_a_batch_loses_and_doubles_nothing() {
    for protocol in [GroupProtocol::Classic, GroupProtocol::Consumer] {
        let (cluster, mut client) = cluster().await;
        for partition in 0..2 {
            write(&mut client, partition, 0..50).await;
        }
        let mut first = Consumer::connect(config(&cluster, protocol)).await.unwrap();
        first.subscribe(["t"]).unwrap();
        let mut seen: BTreeMap<(i32, i64), u32> = BTreeMap::new();
        let mut note = |record: &ConsumerRecord| *seen.entry((record.partition(), record.offset())).or_default() += 1;
        for _ in 0..60 {
            // In the middle of the second batch.
            note(&next(&mut first).await);
        }
        let mut second = Consumer::connect(config(&cluster, protocol)).await.unwrap();
        second.subscribe(["t"]).unwrap();
        let done = async {
            while first.assignment().len() != 1 || second.assignment().len() != 1 {
                for consumer in [&mut first, &mut second] {
                    // One record at a time, with time for the group between.
                    if let Ok(record) = tokio::time::timeout(Duration::from_millis(100), consumer.recv()).await {
                        note(&record.unwrap());
                    }
                }
            }
            for consumer in [&mut first, &mut second] {
                while let Some(record) = consumer.recv_until_end().await.unwrap() {
                    note(&record);
                }
            }
        };
        tokio::time::timeout(LIMIT, done).await.expect("the group settles");
        assert_eq!(seen.len(), 100, "{protocol:?}: all were read");
        assert!(seen.values().all(|times| *times == 1), "{protocol:?}: each once");
    }
}
