//! What acknowledged means: group commit, disks that fail, disks that are full.

mod common;

use std::path::Path;
use std::sync::Arc;

use common::{Client, batch, fetch_request, produce_request, read_values};
use rkafka_broker_core::storage::faulty::{FaultyStorage, Survival, Trouble};
use rkafka_broker_core::{Broker, BrokerConfig, BrokerHandle};
use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use rkafka_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use rkafka_protocol::messages::{
    DescribeLogDirsRequest, FetchRequest, ListGroupsRequest, MetadataRequest, OffsetCommitRequest, OffsetFetchRequest,
    ProduceRequest,
};

fn config(policy: &str, dirs: &str) -> BrokerConfig {
    let mut config =
        BrokerConfig::new().listeners("PLAINTEXT://127.0.0.1:0").log_dirs(dirs).offsets_topic_num_partitions(2);
    config.set("log.flush.policy", policy).unwrap();
    config
}

async fn start(disk: &FaultyStorage, policy: &str, dirs: &str) -> BrokerHandle {
    Broker::builder().config(config(policy, dirs)).storage(Arc::new(disk.clone())).start().await.unwrap()
}

fn commit(offset: i64) -> OffsetCommitRequest {
    let partition = OffsetCommitRequestPartition { committed_offset: offset, ..Default::default() };
    OffsetCommitRequest {
        group_id: "g".to_owned(),
        generation_id_or_member_epoch: -1,
        topics: vec![OffsetCommitRequestTopic {
            name: "t".to_owned(),
            partitions: vec![partition],
            ..Default::default()
        }],
        ..Default::default()
    }
}

async fn committed(client: &mut Client) -> i64 {
    let topic = OffsetFetchRequestTopics { name: "t".to_owned(), partition_indexes: vec![0], ..Default::default() };
    let group = OffsetFetchRequestGroup { group_id: "g".to_owned(), topics: Some(vec![topic]), ..Default::default() };
    let request = OffsetFetchRequest { groups: vec![group], ..Default::default() };
    client.call(&request, 9).await.groups[0].topics[0].partitions[0].committed_offset
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_group_commit_a_loss_of_power_takes_nothing_that_was_acknowledged() {
    for acks in [1, -1] {
        let mut disk = FaultyStorage::new();
        let mut expected = Vec::new();
        for round in 0..3 {
            let broker = start(&disk, "group", "/a").await;
            let mut client = Client::connect(&broker).await;
            if round == 0 {
                client.create_topic("t", 1, &[]).await;
            } else {
                assert_eq!(committed(&mut client).await, round * 10, "a committed offset is lost");
            }
            assert_eq!(client.values("t", 0, 0).await, expected, "an acknowledged record is lost");
            for number in 0..10 {
                let value = format!("{round}-{number}");
                let answer = client.call(&produce_request("t", 0, batch(&[&value]), acks), 9).await;
                assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
                expected.push(value);
            }
            let answer = client.call(&commit((round + 1) * 10), 9).await;
            assert_eq!(answer.topics[0].partitions[0].error_code, 0);
            // What is on the disk now, whatever the broker does later.
            let after = disk.after_crash(Survival::Synced);
            drop(broker);
            disk = after;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_it_a_loss_of_power_may_take_records() {
    // The counterpart, without which the test above might prove nothing.
    let disk = FaultyStorage::new();
    let broker = start(&disk, "interval", "/a").await;
    let mut client = Client::connect(&broker).await;
    client.create_topic("t", 1, &[]).await;
    assert_eq!(client.produce("t", 0, batch(&["v"])).await.error_code, 0);
    let after = disk.after_crash(Survival::Synced);
    drop(broker);
    let broker = start(&after, "interval", "/a").await;
    assert_eq!(Client::connect(&broker).await.values("t", 0, 0).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_sees_or_counts_on_what_is_not_on_the_disk() {
    let disk = FaultyStorage::new();
    let broker = start(&disk, "group", "/a").await;
    let mut client = Client::connect(&broker).await;
    client.create_topic("t", 1, &[]).await;
    assert_eq!(client.produce("t", 0, batch(&["first"])).await.base_offset, 0);
    assert_eq!(client.call(&commit(1), 9).await.topics[0].partitions[0].error_code, 0);

    disk.trouble("/a", Trouble::Stuck);
    let (mut producer, mut late, mut consumer) =
        (Client::connect(&broker).await, Client::connect(&broker).await, Client::connect(&broker).await);
    let mut request = produce_request("t", 0, batch(&["second"]), -1);
    request.timeout_ms = 60_000;
    producer.send(&request, 9).await;
    let mut committer = Client::connect(&broker).await;
    committer.send(&commit(2), 9).await;
    consumer.send(&fetch_request("t", 0, 1, 60_000, 1), 12).await;
    // A producer that does not wait for ever learns that it does not know. Its records may come nevertheless, behind the
    // second one, which was sent before.
    loop {
        request.timeout_ms = 1;
        request.topic_data[0].partition_data[0].records = Some(batch(&["late"]).into());
        let answer = late.call(&request, 9).await;
        let partition = &answer.responses[0].partition_responses[0];
        assert_eq!(partition.error_code, ErrorCode::RequestTimedOut.code());
        let end = broker_log_end(&mut client).await;
        assert_eq!(end, 1, "the end is told of records that may be lost");
        if late.last_correlation_id() >= 3 {
            break;
        }
    }
    assert_eq!(client.values("t", 0, 0).await, ["first"]);

    disk.mend();
    let answer = producer.receive::<ProduceRequest>(9, 1).await;
    assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
    let answer = consumer.receive::<FetchRequest>(12, 1).await;
    assert!(!read_values(answer.responses[0].partitions[0].records.as_ref().unwrap()).is_empty());
    assert_eq!(committer.receive::<OffsetCommitRequest>(9, 1).await.topics[0].partitions[0].error_code, 0);
    assert_eq!(committed(&mut client).await, 2);
    broker.shutdown().await.unwrap();
}

async fn broker_log_end(client: &mut Client) -> i64 {
    client.list_offset("t", 0, -1).await.offset
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_disk_takes_its_directory_and_no_other() {
    for policy in ["group", "interval"] {
        let disk = FaultyStorage::new();
        let broker = start(&disk, policy, "/a,/b").await;
        let mut client = Client::connect(&broker).await;
        client.create_topic("t", 4, &[]).await;
        for partition in 0..4 {
            assert_eq!(client.produce("t", partition, batch(&["v"])).await.error_code, 0);
        }
        let dir_of = |partition: i32| {
            ["/a", "/b"].into_iter().find(|dir| {
                use rkafka_broker_core::storage::Storage;
                disk.exists(&Path::new(dir).join(format!("t-{partition}"))).unwrap()
            })
        };
        let in_b: Vec<i32> = (0..4).filter(|partition| dir_of(*partition) == Some("/b")).collect();
        assert_eq!(in_b.len(), 2, "partitions are spread over the directories");

        disk.trouble("/b", Trouble::Broken);
        for partition in 0..4 {
            let expected = if in_b.contains(&partition) { ErrorCode::KafkaStorageError } else { ErrorCode::None };
            let answer = client.produce("t", partition, batch(&["w"])).await;
            assert_eq!(ErrorCode::from_code(answer.error_code), expected, "{policy}: {:?}", answer.error_message);
        }
        // The disk works again, and nobody knows what became of the bytes: it stays offline.
        disk.mend();
        for partition in in_b.iter().copied() {
            let answer = client.produce("t", partition, batch(&["x"])).await;
            assert_eq!(answer.error_code, ErrorCode::KafkaStorageError.code());
            assert_eq!(client.fetch("t", partition, 0).await.error_code, ErrorCode::KafkaStorageError.code());
        }
        let described = client.call(&DescribeLogDirsRequest { topics: None, ..Default::default() }, 4).await;
        let errors: Vec<(&str, i16, usize)> =
            described.results.iter().map(|result| (&*result.log_dir, result.error_code, result.topics.len())).collect();
        assert_eq!(errors, [("/a", 0, 1), ("/b", ErrorCode::KafkaStorageError.code(), 0)]);
        let metadata = client.call(&MetadataRequest { topics: None, ..Default::default() }, 12).await;
        let topic = metadata.topics.iter().find(|topic| topic.name.as_deref() == Some("t")).unwrap();
        for partition in &topic.partitions {
            let expected = if in_b.contains(&partition.partition_index) {
                (ErrorCode::LeaderNotAvailable.code(), -1, vec![1])
            } else {
                (0, 1, vec![])
            };
            let told = (partition.error_code, partition.leader_id, partition.offline_replicas.clone());
            assert_eq!(told, expected);
        }
        broker.shutdown().await.unwrap();

        // The next broker finds what was acknowledged.
        let broker = start(&disk, policy, "/a,/b").await;
        let mut client = Client::connect(&broker).await;
        for partition in 0..4 {
            let expected: &[&str] = if in_b.contains(&partition) { &["v"] } else { &["v", "w"] };
            let values = client.values("t", partition, 0).await;
            assert!(values.starts_with(&expected.iter().map(|value| (*value).to_owned()).collect::<Vec<_>>()));
            assert_eq!(client.produce("t", partition, batch(&["y"])).await.error_code, 0);
        }
        broker.shutdown().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_without_its_metadata_serves_nobody() {
    let disk = FaultyStorage::new();
    let broker = start(&disk, "group", "/a,/b").await;
    let mut client = Client::connect(&broker).await;
    client.create_topic("t", 2, &[]).await;
    disk.trouble("/a", Trouble::Broken);
    for partition in 0..2 {
        // The broker may be gone before the second answer.
        client.send(&produce_request("t", partition, batch(&["v"]), -1), 9).await;
        if client.frame().await.is_none() {
            break;
        }
    }
    let reason =
        tokio::time::timeout(common::PATIENCE, broker.failed()).await.expect("the broker knows that it failed");
    assert!(reason.contains("/a"), "{reason}");
    assert!(client.frame().await.is_none(), "a failed broker holds its clients");
    let _ = broker.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_writes_serves_reads_and_goes_on_when_there_is_room() {
    for policy in ["group", "interval"] {
        let disk = FaultyStorage::new();
        let broker = start(&disk, policy, "/a").await;
        let mut client = Client::connect(&broker).await;
        client.create_topic("t", 2, &[]).await;
        client.create_topic("new", 1, &[]).await;
        assert_eq!(client.produce("t", 0, batch(&["v"])).await.error_code, 0);
        assert_eq!(client.call(&commit(1), 9).await.topics[0].partitions[0].error_code, 0);
        disk.trouble("/a", Trouble::Full);
        for _ in 0..3 {
            // Partition 1 has no file yet, and the topic `new` no directory.
            for (topic, partition) in [("t", 0), ("t", 1), ("new", 0)] {
                let answer = client.produce(topic, partition, batch(&["w"])).await;
                assert_eq!(answer.error_code, ErrorCode::KafkaStorageError.code());
            }
            assert_ne!(client.call(&commit(2), 9).await.topics[0].partitions[0].error_code, 0);
            assert_eq!(client.values("t", 0, 0).await, ["v"]);
            assert_eq!(committed(&mut client).await, 1);
        }
        disk.mend();
        for (topic, partition) in [("t", 0), ("t", 1), ("new", 0)] {
            let answer = client.produce(topic, partition, batch(&["x"])).await;
            assert_eq!(answer.error_code, 0, "{policy} {topic} {:?}", answer.error_message);
        }
        assert_eq!(client.values("t", 0, 0).await, ["v", "x"]);
        assert_eq!(client.values("t", 1, 0).await, ["x"]);
        assert_eq!(client.call(&commit(3), 9).await.topics[0].partitions[0].error_code, 0);
        broker.shutdown().await.unwrap();
        let broker = start(&disk, policy, "/a").await;
        assert_eq!(Client::connect(&broker).await.values("t", 0, 0).await, ["v", "x"]);
    }
}

/// What a group committed and the disk did not take is not told to its consumers: they would go on behind it, and the next
/// broker would not know.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_coordinator_whose_disk_failed_tells_nothing() {
    let disk = FaultyStorage::new();
    let broker = start(&disk, "group", "/a,/b").await;
    let mut client = Client::connect(&broker).await;
    client.create_topic("t", 1, &[]).await;
    let groups: Vec<String> = (0..10).map(|number| format!("group {number}")).collect();
    for group_id in &groups {
        let request = OffsetCommitRequest { group_id: group_id.clone(), ..commit(5) };
        assert_eq!(client.call(&request, 7).await.topics[0].partitions[0].error_code, 0);
    }
    disk.trouble("/b", Trouble::Stuck);
    let mut waiting = Vec::new();
    for group_id in &groups {
        let mut client = Client::connect(&broker).await;
        client.send(&OffsetCommitRequest { group_id: group_id.clone(), ..commit(6) }, 7).await;
        waiting.push(client);
    }
    // Commits are answered in the end, or their connection is closed, for whoever waits cannot tell whose disk it is.
    disk.trouble("/b", Trouble::Broken);
    for mut client in waiting {
        client.frame().await;
    }
    let mut client = Client::connect(&broker).await;
    let mut failed = 0;
    for group_id in &groups {
        use rkafka_broker_core::storage::Storage;
        let hash = group_id.bytes().fold(0i32, |hash, byte| hash.wrapping_mul(31).wrapping_add(i32::from(byte)));
        let directory = format!("/b/__consumer_offsets-{}", (hash & i32::MAX) % 2);
        let topic = OffsetFetchRequestTopics { name: "t".to_owned(), partition_indexes: vec![0], ..Default::default() };
        let group =
            OffsetFetchRequestGroup { group_id: group_id.clone(), topics: Some(vec![topic]), ..Default::default() };
        let request = OffsetFetchRequest { groups: vec![group], ..Default::default() };
        let answer = client.call(&request, 9).await.groups[0].clone();
        if disk.exists(Path::new(&directory)).unwrap() {
            failed += 1;
            assert_eq!(ErrorCode::from_code(answer.error_code), ErrorCode::NotCoordinator, "{group_id}");
        } else {
            assert_eq!((answer.error_code, answer.topics[0].partitions[0].committed_offset), (0, 6), "{group_id}");
        }
    }
    assert!((1..10).contains(&failed), "{failed} groups lie in the directory");
    let listed = client.call(&ListGroupsRequest::default(), 4).await;
    // The others are there.
    assert_eq!((listed.error_code, listed.groups.len()), (0, 10 - failed));
    broker.shutdown().await.unwrap();
}
