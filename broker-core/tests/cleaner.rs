//! The log cleaner of a running broker: topics of users and the broker's own, with clients going on.

mod common;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use common::{Client, PATIENCE, config_at, fetch_request};
use rkafka_broker_core::{Broker, BrokerConfig};
use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use rkafka_protocol::messages::find_coordinator_request::FindCoordinatorRequest;
use rkafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use rkafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use rkafka_protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;
use rkafka_protocol::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use rkafka_protocol::messages::{
    ConsumerGroupDescribeRequest, ConsumerGroupHeartbeatRequest, DeleteRecordsRequest, DescribeTransactionsRequest,
    EndTxnRequest, IncrementalAlterConfigsRequest, InitProducerIdRequest, InitProducerIdResponse,
    ListTransactionsRequest, OffsetCommitRequest, OffsetFetchRequest, TxnOffsetCommitRequest,
};
use rkafka_protocol::records::{BatchIter, BatchOptions, DecompressArena, encode_batch};

const TOPIC: &str = "t";
const OFFSETS: &str = "__consumer_offsets";
const TRANSACTIONS: &str = "__transaction_state";
/// The time of the first record of a test.
const FIRST_MS: i64 = 1_700_000_000_000;
const COMPACTED: [(&str, &str); 3] =
    [("cleanup.policy", "compact"), ("segment.ms", "1000"), ("min.cleanable.dirty.ratio", "0.01")];

fn config(dir: &Path) -> BrokerConfig {
    let mut config = config_at(dir);
    for (name, value) in [
        ("offsets.topic.num.partitions", "1"),
        ("transaction.state.log.num.partitions", "1"),
        ("log.cleaner.backoff.ms", "20"),
        ("group.initial.rebalance.delay.ms", "0"),
    ] {
        config.set(name, value).unwrap();
    }
    config
}

async fn alter(client: &mut Client, kind: i8, resource: &str, key: &str, value: &str) -> (i16, String) {
    let request = IncrementalAlterConfigsRequest {
        resources: vec![AlterConfigsResource {
            resource_type: kind,
            resource_name: resource.to_owned(),
            configs: vec![AlterableConfig {
                name: key.to_owned(),
                value: Some(value.to_owned()),
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    let answer = client.call(&request, 1).await.responses.remove(0);
    (answer.error_code, answer.error_message.unwrap_or_default())
}

/// A batch of one record. Each lies so far behind the one before that it begins a segment of its own.
async fn put(client: &mut Client, n: i64, key: &str, value: Option<&str>) -> i16 {
    let record = [(Some(key.as_bytes()), value.map(str::as_bytes))];
    let batch = encode_batch(Vec::new(), BatchOptions::default(), FIRST_MS + n * 10_000, record).unwrap();
    client.produce(TOPIC, 0, batch.into_bytes()).await.error_code
}

/// All records by their offsets: key and value.
async fn records(client: &mut Client, topic: &str) -> BTreeMap<i64, (String, Option<String>)> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut arena = DecompressArena::default();
    let mut found = BTreeMap::new();
    let mut offset = client.list_offset(topic, 0, -2).await.offset;
    loop {
        let data = client.call(&fetch_request(topic, 0, offset, 0, 1), 12).await.responses[0].partitions[0].clone();
        assert_eq!(data.error_code, 0);
        let before = offset;
        for batch in BatchIter::new(data.records.as_ref().unwrap()).map(Result::unwrap) {
            batch.verify_crc().unwrap();
            for record in batch.records(&mut arena).unwrap().map(Result::unwrap) {
                found.insert(record.offset, (record.key.map(text).unwrap_or_default(), record.value.map(text)));
            }
            offset = batch.header().last_offset() + 1;
        }
        if offset == before {
            assert_eq!(offset, data.high_watermark, "a consumer comes to the end over every hole");
            return found;
        }
    }
}

fn cleaned_to(dir: &Path, topic: &str) -> i64 {
    let text = std::fs::read_to_string(dir.join("cleaner-offset-checkpoint")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{topic} 0 ")));
    line.map_or(0, |offset| offset.parse().unwrap())
}

#[expect(clippy::disallowed_methods, reason = "the test waits for the cleaner, whose clock is the real one")]
async fn until<F: AsyncFnMut() -> bool>(what: &str, mut is_so: F) {
    let wait = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, wait).await.is_ok(), "{what}: it never came");
}

#[tokio::test]
async fn a_compacted_topic_is_cleaned_while_it_is_read_and_goes_on_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(config(dir.path())).await.unwrap();
    let mut client = Client::connect(&broker).await;
    client.create_topic(TOPIC, 1, &COMPACTED).await;
    for n in 0..60 {
        let value = n.to_string();
        assert_eq!(put(&mut client, n, &format!("k{}", n % 4), Some(&value)).await, 0);
        let seen = records(&mut client, TOPIC).await;
        // Whatever is cleaned meanwhile: the last value of each key is there, at its offset.
        for last in (n - 3).max(0)..=n {
            assert_eq!(seen[&last], (format!("k{}", last % 4), Some(last.to_string())));
        }
    }
    until("the closed segments are clean", async || cleaned_to(dir.path(), TOPIC) == 59).await;
    // The active segment stays as it is, and so the value that its record has replaced.
    let expected: Vec<i64> = (55..60).collect();
    assert_eq!(records(&mut client, TOPIC).await.into_keys().collect::<Vec<_>>(), expected);
    broker.shutdown().await.unwrap();

    let broker = Broker::start(config(dir.path())).await.unwrap();
    let mut client = Client::connect(&broker).await;
    assert_eq!(cleaned_to(dir.path(), TOPIC), 59);
    assert_eq!(records(&mut client, TOPIC).await.into_keys().collect::<Vec<_>>(), expected);
    assert_eq!(put(&mut client, 60, "k0", None).await, 0);
    assert_eq!(put(&mut client, 61, "other", Some("1")).await, 0);
    until("what came later is clean", async || cleaned_to(dir.path(), TOPIC) == 61).await;
    let seen = records(&mut client, TOPIC).await;
    assert_eq!(seen.keys().copied().collect::<Vec<_>>(), [57, 58, 59, 60, 61]);
    assert_eq!(seen[&60], ("k0".to_owned(), None), "the tombstone stays for a day");
    drop(client);
    // After a kill too, when everything is recovered.
    drop(broker);
    let broker = Broker::start(config(dir.path())).await.unwrap();
    let mut client = Client::connect(&broker).await;
    assert_eq!(records(&mut client, TOPIC).await, seen);
    let request = DeleteRecordsRequest {
        topics: vec![DeleteRecordsTopic {
            name: TOPIC.to_owned(),
            partitions: vec![DeleteRecordsPartition { partition_index: 0, offset: 58, ..Default::default() }],
            ..Default::default()
        }],
        timeout_ms: 1000,
        ..Default::default()
    };
    let refused = client.call(&request, 2).await.topics[0].partitions[0].error_code;
    assert_eq!(refused, ErrorCode::PolicyViolation.code(), "as Kafka has it for a topic that is only compacted");
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn lags_and_policies_say_what_is_cleaned_and_when() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(config(dir.path())).await.unwrap();
    let mut client = Client::connect(&broker).await;
    // The records are old, so that no lag but that of all time keeps them.
    let mut configs = COMPACTED.to_vec();
    configs[0].1 = "delete";
    configs.extend([("retention.ms", "-1"), ("min.compaction.lag.ms", "9000000000000")]);
    client.create_topic(TOPIC, 1, &configs).await;
    // Beside it one that shows that the cleaner runs.
    client.create_topic("other", 1, &COMPACTED).await;
    let mut others = 0;
    let cleaner_passed = async |client: &mut Client, others: &mut i64| {
        for _ in 0..3 {
            let record = [(Some(&b"k"[..]), Some(&b"v"[..]))];
            let batch = encode_batch(Vec::new(), BatchOptions::default(), FIRST_MS + *others * 10_000, record).unwrap();
            assert_eq!(client.produce("other", 0, batch.into_bytes()).await.error_code, 0);
            *others += 1;
        }
        until("the other topic is clean", async || cleaned_to(dir.path(), "other") == *others - 1).await;
    };
    for n in 0..20 {
        assert_eq!(put(&mut client, n, "k", Some("v")).await, 0);
    }
    cleaner_passed(&mut client, &mut others).await;
    assert_eq!(records(&mut client, TOPIC).await.len(), 20, "nothing is cleaned without the policy");
    assert_eq!(alter(&mut client, 2, TOPIC, "cleanup.policy", "compact").await.0, 0);
    cleaner_passed(&mut client, &mut others).await;
    assert_eq!(records(&mut client, TOPIC).await.len(), 20, "too young");
    // The ratio forbids it, and the other lag overrules that.
    assert_eq!(alter(&mut client, 2, TOPIC, "min.cleanable.dirty.ratio", "1.0").await.0, 0);
    assert_eq!(alter(&mut client, 2, TOPIC, "min.compaction.lag.ms", "1").await.0, 0);
    cleaner_passed(&mut client, &mut others).await;
    assert_eq!(records(&mut client, TOPIC).await.len(), 20, "not dirty enough");
    assert_eq!(alter(&mut client, 2, TOPIC, "max.compaction.lag.ms", "86400000").await.0, 0);
    until("it is overdue", async || cleaned_to(dir.path(), TOPIC) == 19).await;
    assert_eq!(records(&mut client, TOPIC).await.into_keys().collect::<Vec<_>>(), [18, 19]);
    // And back: records without a key are taken, and nothing is cleaned.
    assert_eq!(alter(&mut client, 2, TOPIC, "cleanup.policy", "delete").await.0, 0);
    for n in 20..25 {
        assert_eq!(put(&mut client, n, "k", Some("v")).await, 0);
    }
    cleaner_passed(&mut client, &mut others).await;
    assert_eq!(records(&mut client, TOPIC).await.len(), 7);
    assert_eq!(alter(&mut client, 2, TOPIC, "cleanup.policy", "compact").await.0, 0);
    until("it is clean once more", async || cleaned_to(dir.path(), TOPIC) == 24).await;
    assert_eq!(records(&mut client, TOPIC).await.into_keys().collect::<Vec<_>>(), [23, 24]);
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn the_cleaners_settings_hold_as_soon_as_they_are_changed() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.set("log.cleaner.backoff.ms", "86400000").unwrap();
    config.set("log.cleaner.min.cleanable.ratio", "1.0").unwrap();
    let broker = Broker::start(config).await.unwrap();
    let mut client = Client::connect(&broker).await;
    client.create_topic(TOPIC, 1, &COMPACTED[..2]).await;
    for n in 0..5 {
        assert_eq!(put(&mut client, n, "k", Some("v")).await, 0);
    }
    let broker_id = broker.state().config.node_id.to_string();
    for (name, value) in [("log.cleaner.min.cleanable.ratio", "0.1"), ("log.cleaner.backoff.ms", "20")] {
        assert_eq!(alter(&mut client, 4, &broker_id, name, value).await, (0, String::new()));
    }
    let (error, message) = alter(&mut client, 2, TOPIC, "max.compaction.lag.ms", "5").await;
    assert_eq!((error, message), (0, String::new()));
    let (error, message) = alter(&mut client, 2, TOPIC, "min.compaction.lag.ms", "6").await;
    assert_eq!(error, ErrorCode::InvalidConfig.code());
    assert_eq!(message, "conflict topic config setting min.compaction.lag.ms (6) > max.compaction.lag.ms (5)");
    let conflict = [("min.compaction.lag.ms", "6"), ("max.compaction.lag.ms", "5")];
    let refused = client.call(&common::create_topics("refused", 1, &conflict), 7).await.topics[0].error_code;
    assert_eq!(refused, ErrorCode::InvalidConfig.code());
    until("the cleaner runs by its new settings", async || cleaned_to(dir.path(), TOPIC) == 4).await;
    assert_eq!(records(&mut client, TOPIC).await.into_keys().collect::<Vec<_>>(), [3, 4]);
    broker.shutdown().await.unwrap();
}

/// What is appended after this to a log with `segment.ms=1` begins a segment.
#[expect(clippy::disallowed_methods, reason = "coordinators' records bear the time of the real clock")]
async fn next_segment() {
    tokio::time::sleep(Duration::from_millis(3)).await;
}

async fn init(client: &mut Client, id: &str) -> InitProducerIdResponse {
    let request = InitProducerIdRequest {
        transactional_id: Some(id.to_owned()),
        transaction_timeout_ms: 60_000,
        ..Default::default()
    };
    let mut answer = None;
    until("the transaction before is over", async || {
        let response = client.call(&request, 5).await;
        let done = response.error_code != ErrorCode::ConcurrentTransactions.code()
            && response.error_code != ErrorCode::CoordinatorLoadInProgress.code()
            && response.error_code != ErrorCode::NotCoordinator.code();
        answer = Some(response);
        done
    })
    .await;
    let answer = answer.unwrap();
    assert_eq!(answer.error_code, 0);
    answer
}

async fn find_coordinator(client: &mut Client, key_type: i8, key: &str) {
    let request = FindCoordinatorRequest { key_type, coordinator_keys: vec![key.to_owned()], ..Default::default() };
    assert_eq!(client.call(&request, 6).await.coordinators[0].error_code, 0);
}

async fn commit(client: &mut Client, group: &str, partition: i32, offset: i64) {
    let request = OffsetCommitRequest {
        group_id: group.to_owned(),
        generation_id_or_member_epoch: -1,
        topics: vec![OffsetCommitRequestTopic {
            name: TOPIC.to_owned(),
            partitions: vec![OffsetCommitRequestPartition {
                partition_index: partition,
                committed_offset: offset,
                committed_metadata: Some("m".repeat(4000)),
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    assert_eq!(client.call(&request, 8).await.topics[0].partitions[0].error_code, 0);
}

async fn commit_in_transaction(client: &mut Client, id: &str, offset: i64, committed: bool) {
    next_segment().await;
    let producer = init(client, id).await;
    let request = commit_request(id, &producer, 0, offset);
    assert_eq!(client.call(&request, 5).await.topics[0].partitions[0].error_code, 0);
    end(client, id, &producer, committed).await;
}

fn commit_request(
    id: &str,
    producer: &InitProducerIdResponse,
    partition_index: i32,
    committed_offset: i64,
) -> TxnOffsetCommitRequest {
    TxnOffsetCommitRequest {
        transactional_id: id.to_owned(),
        group_id: "in transactions".to_owned(),
        producer_id: producer.producer_id,
        producer_epoch: producer.producer_epoch,
        topics: vec![TxnOffsetCommitRequestTopic {
            name: TOPIC.to_owned(),
            partitions: vec![TxnOffsetCommitRequestPartition {
                partition_index,
                committed_offset,
                committed_metadata: Some("t".repeat(4000)),
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    }
}

async fn end(client: &mut Client, id: &str, producer: &InitProducerIdResponse, committed: bool) {
    let request = EndTxnRequest {
        transactional_id: id.to_owned(),
        producer_id: producer.producer_id,
        producer_epoch: producer.producer_epoch,
        committed,
        ..Default::default()
    };
    assert_eq!(client.call(&request, 5).await.error_code, 0);
}

async fn heartbeat(client: &mut Client, member: &str, epoch: i32) -> (i16, i32) {
    let request = ConsumerGroupHeartbeatRequest {
        group_id: "new".to_owned(),
        member_id: member.to_owned(),
        member_epoch: epoch,
        rebalance_timeout_ms: 60_000,
        subscribed_topic_names: Some(vec![TOPIC.to_owned()]),
        topic_partitions: Some(Vec::new()),
        ..Default::default()
    };
    let answer = client.call(&request, 1).await;
    (answer.error_code, answer.member_epoch)
}

/// All that the groups' coordinator knows.
async fn known(client: &mut Client) -> Vec<String> {
    let mut known = Vec::new();
    for group in ["a", "b", "in transactions", "new"] {
        let request = OffsetFetchRequest {
            groups: vec![OffsetFetchRequestGroup { group_id: group.to_owned(), topics: None, ..Default::default() }],
            require_stable: true,
            ..Default::default()
        };
        let mut offsets = client.call(&request, 9).await.groups[0].clone();
        offsets.topics.iter_mut().for_each(|topic| topic.partitions.sort_by_key(|partition| partition.partition_index));
        known.push(format!("{offsets:?}"));
    }
    let request = ConsumerGroupDescribeRequest { group_ids: vec!["new".to_owned()], ..Default::default() };
    let group = client.call(&request, 1).await.groups.remove(0);
    assert_eq!(group.error_code, 0);
    let members: Vec<_> =
        group.members.iter().map(|member| (&member.member_id, member.member_epoch, &member.assignment)).collect();
    known.push(format!("{} {} {} {members:?}", group.group_state, group.group_epoch, group.assignment_epoch));
    known
}

#[tokio::test]
async fn the_groups_are_the_same_after_their_log_is_cleaned() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    // As many segments as there are milliseconds.
    config.set("log.cleaner.min.cleanable.ratio", "0.01").unwrap();
    let broker = Broker::start(config.clone()).await.unwrap();
    let mut client = Client::connect(&broker).await;
    client.create_topic(TOPIC, 3, &[]).await;
    find_coordinator(&mut client, 0, "a").await;
    find_coordinator(&mut client, 1, "tx").await;
    let member = "m-m-m";
    until("the group is loaded", async || heartbeat(&mut client, member, 0).await.0 == 0).await;
    assert_eq!(alter(&mut client, 2, OFFSETS, "segment.ms", "1").await, (0, String::new()));
    for n in 0..200 {
        commit(&mut client, "a", n % 3, i64::from(n)).await;
        commit(&mut client, "b", 0, i64::from(n)).await;
        if n % 10 == 5 {
            commit_in_transaction(&mut client, "tx", i64::from(n), n % 20 == 5).await;
        }
    }
    // One that nobody has decided yet.
    let open = init(&mut client, "open").await;
    let request = commit_request("open", &open, 0, 7);
    assert_eq!(client.call(&request, 5).await.topics[0].partitions[0].error_code, 0);
    let before = known(&mut client).await;
    assert!(before[2].contains(&format!("error_code: {}", ErrorCode::UnstableOffsetCommit.code())), "{}", before[2]);
    until("the log is clean", async || cleaned_to(dir.path(), OFFSETS) > 0).await;
    let kept = records(&mut client, OFFSETS).await.len();
    assert!(kept < 400, "{kept} of more than 440");
    assert_eq!(known(&mut client).await, before, "cleaning changes nothing that runs");
    drop(client);
    broker.shutdown().await.unwrap();
    // After a good stop, and after a kill.
    for round in 0..2 {
        let broker = Broker::start(config.clone()).await.unwrap();
        let mut client = Client::connect(&broker).await;
        until("the groups are loaded", async || {
            let known = known(&mut client).await;
            !known.iter().any(|group| group.contains("error_code: 14") || group.contains("error_code: 16"))
        })
        .await;
        assert_eq!(known(&mut client).await, before, "round {round}");
    }
    let broker = Broker::start(config.clone()).await.unwrap();
    let mut client = Client::connect(&broker).await;
    // The transaction is decided by its producer's heir.
    init(&mut client, "open").await;
    let after = known(&mut client).await;
    assert!(!after[2].contains(&format!("error_code: {}", ErrorCode::UnstableOffsetCommit.code())), "{}", after[2]);
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn the_transactions_are_the_same_after_their_log_is_cleaned() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(config(dir.path())).await.unwrap();
    let mut client = Client::connect(&broker).await;
    client.create_topic(TOPIC, 3, &[]).await;
    find_coordinator(&mut client, 0, "in transactions").await;
    for id in ["x", "y", "z"] {
        find_coordinator(&mut client, 1, id).await;
    }
    init(&mut client, "x").await;
    assert_eq!(alter(&mut client, 2, TRANSACTIONS, "segment.ms", "1").await, (0, String::new()));
    assert_eq!(alter(&mut client, 2, TRANSACTIONS, "min.cleanable.dirty.ratio", "0.01").await, (0, String::new()));
    for n in 0..10 {
        for id in ["x", "y", "z"] {
            commit_in_transaction(&mut client, id, n, n % 2 == 0).await;
        }
    }
    next_segment().await;
    init(&mut client, "idle").await;
    next_segment().await;
    let open = init(&mut client, "open").await;
    let request = commit_request("open", &open, 1, 7);
    assert_eq!(client.call(&request, 5).await.topics[0].partitions[0].error_code, 0);
    let described = async |client: &mut Client| {
        let ids = ["x", "y", "z", "idle", "open"].map(str::to_owned).to_vec();
        let described =
            client.call(&DescribeTransactionsRequest { transactional_ids: ids, ..Default::default() }, 0).await;
        let mut listed = client.call(&ListTransactionsRequest::default(), 1).await;
        listed.transaction_states.sort_by(|one, other| one.transactional_id.cmp(&other.transactional_id));
        (described, listed)
    };
    let before = described(&mut client).await;
    // Five keys, and what is in the active segment.
    until("the log is clean", async || records(&mut client, TRANSACTIONS).await.len() < 12).await;
    assert_eq!(described(&mut client).await, before, "cleaning changes nothing that runs");
    drop(client);
    broker.shutdown().await.unwrap();
    for round in 0..2 {
        let broker = Broker::start(config(dir.path())).await.unwrap();
        let mut client = Client::connect(&broker).await;
        until("the transactions are loaded", async || {
            described(&mut client).await.0.transaction_states.iter().all(|state| ![14, 16].contains(&state.error_code))
        })
        .await;
        assert_eq!(described(&mut client).await, before, "round {round}");
    }
    let broker = Broker::start(config(dir.path())).await.unwrap();
    let mut client = Client::connect(&broker).await;
    let heir = init(&mut client, "open").await;
    assert!(heir.producer_id == open.producer_id && heir.producer_epoch > open.producer_epoch);
    broker.shutdown().await.unwrap();
}
