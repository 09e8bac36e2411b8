//! Offsets committed in transactions, over the wire: unstable until the marker, and what a restart makes of them.

mod common;

use common::Client;
use rkafka_broker_core::{Broker, BrokerConfig, BrokerHandle};
use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::find_coordinator_request::FindCoordinatorRequest;
use rkafka_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use rkafka_protocol::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use rkafka_protocol::messages::{
    AddOffsetsToTxnRequest, EndTxnRequest, InitProducerIdRequest, InitProducerIdResponse, OffsetFetchRequest,
    TxnOffsetCommitRequest,
};

const GROUP: &str = "g";

async fn start(dir: &str) -> BrokerHandle {
    let mut config = BrokerConfig::new().listeners("PLAINTEXT://127.0.0.1:0").log_dirs(dir);
    config.set("offsets.topic.num.partitions", "2").unwrap();
    Broker::start(config).await.unwrap()
}

async fn init(client: &mut Client, transactional_id: &str) -> InitProducerIdResponse {
    let request = FindCoordinatorRequest {
        key_type: 1,
        coordinator_keys: vec![transactional_id.to_owned()],
        ..Default::default()
    };
    assert_eq!(client.call(&request, 6).await.coordinators[0].error_code, 0);
    let request = InitProducerIdRequest {
        transactional_id: Some(transactional_id.to_owned()),
        transaction_timeout_ms: 60_000,
        ..Default::default()
    };
    let response = client.call(&request, 5).await;
    assert_eq!(response.error_code, 0);
    response
}

fn commit(id: &str, producer: &InitProducerIdResponse, partition: i32, offset: i64) -> TxnOffsetCommitRequest {
    let partition = TxnOffsetCommitRequestPartition {
        partition_index: partition,
        committed_offset: offset,
        committed_metadata: Some("note".to_owned()),
        ..Default::default()
    };
    TxnOffsetCommitRequest {
        transactional_id: id.to_owned(),
        group_id: GROUP.to_owned(),
        producer_id: producer.producer_id,
        producer_epoch: producer.producer_epoch,
        topics: vec![TxnOffsetCommitRequestTopic {
            name: "t".to_owned(),
            partitions: vec![partition],
            ..Default::default()
        }],
        ..Default::default()
    }
}

async fn commit_error(client: &mut Client, request: &TxnOffsetCommitRequest, version: i16) -> ErrorCode {
    let response = client.call(request, version).await;
    ErrorCode::from_code(response.topics[0].partitions[0].error_code)
}

async fn end(
    client: &mut Client,
    id: &str,
    producer: &InitProducerIdResponse,
    committed: bool,
    version: i16,
) -> InitProducerIdResponse {
    let request = EndTxnRequest {
        transactional_id: id.to_owned(),
        producer_id: producer.producer_id,
        producer_epoch: producer.producer_epoch,
        committed,
        ..Default::default()
    };
    let response = client.call(&request, version).await;
    assert_eq!(response.error_code, 0);
    if version < 5 {
        return producer.clone();
    }
    InitProducerIdResponse {
        producer_id: response.producer_id,
        producer_epoch: response.producer_epoch,
        ..Default::default()
    }
}

async fn fetch(client: &mut Client, require_stable: bool, partition: i32) -> Result<i64, ErrorCode> {
    let topic =
        OffsetFetchRequestTopics { name: "t".to_owned(), partition_indexes: vec![partition], ..Default::default() };
    let group = OffsetFetchRequestGroup { group_id: GROUP.to_owned(), topics: Some(vec![topic]), ..Default::default() };
    let request = OffsetFetchRequest { groups: vec![group], require_stable, ..Default::default() };
    let response = client.call(&request, 9).await;
    let fetched = &response.groups[0].topics[0].partitions[0];
    ErrorCode::check(fetched.error_code).map(|()| fetched.committed_offset)
}

const UNSTABLE: Result<i64, ErrorCode> = Err(ErrorCode::UnstableOffsetCommit);

#[tokio::test]
async fn offsets_of_a_transaction_wait_for_its_marker_also_over_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().to_str().unwrap();
    let broker = start(dir).await;
    let mut client = Client::connect(&broker).await;
    client.create_topic("t", 2, &[]).await;
    let mut producer = init(&mut client, "a").await;
    assert_eq!(commit_error(&mut client, &commit("a", &producer, 0, 10), 5).await, ErrorCode::None);
    let unknown = commit_error(&mut client, &commit("a", &producer, 7, 10), 5).await;
    assert_eq!(unknown, ErrorCode::UnknownTopicOrPartition);
    assert_eq!((fetch(&mut client, false, 0).await, fetch(&mut client, true, 0).await), (Ok(-1), UNSTABLE));
    producer = end(&mut client, "a", &producer, true, 5).await;
    assert_eq!(fetch(&mut client, true, 0).await, Ok(10), "there is no moment between the end and its offsets");

    assert_eq!(commit_error(&mut client, &commit("a", &producer, 0, 20), 5).await, ErrorCode::None);
    producer = end(&mut client, "a", &producer, false, 5).await;
    assert_eq!(fetch(&mut client, true, 0).await, Ok(10));

    assert_eq!(commit_error(&mut client, &commit("a", &producer, 1, 30), 5).await, ErrorCode::None);
    broker.shutdown().await.unwrap();
    let broker = start(dir).await;
    let mut client = Client::connect(&broker).await;
    assert_eq!((fetch(&mut client, true, 0).await, fetch(&mut client, true, 1).await), (Ok(10), UNSTABLE));
    // A new incarnation of the producer ends the old one's transaction.
    let heir = loop {
        let request = InitProducerIdRequest {
            transactional_id: Some("a".to_owned()),
            transaction_timeout_ms: 60_000,
            ..Default::default()
        };
        let response = client.call(&request, 5).await;
        if response.error_code != ErrorCode::ConcurrentTransactions.code() {
            assert_eq!(response.error_code, 0);
            break response;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(fetch(&mut client, true, 1).await, Ok(-1));
    let fenced = commit_error(&mut client, &commit("a", &producer, 1, 31), 5).await;
    assert_eq!(fenced, ErrorCode::InvalidProducerEpoch);
    assert_eq!(commit_error(&mut client, &commit("a", &heir, 1, 32), 5).await, ErrorCode::None);
    end(&mut client, "a", &heir, true, 5).await;
    assert_eq!(fetch(&mut client, true, 1).await, Ok(32));
    drop(client);
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn older_producers_must_add_the_group_first() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path().to_str().unwrap()).await;
    let mut client = Client::connect(&broker).await;
    client.create_topic("t", 1, &[]).await;
    let producer = init(&mut client, "a").await;
    let request = commit("a", &producer, 0, 10);
    assert_eq!(commit_error(&mut client, &request, 3).await, ErrorCode::InvalidTxnState);
    assert_eq!(commit_error(&mut client, &request, 4).await, ErrorCode::TransactionAbortable);
    assert_eq!(fetch(&mut client, true, 0).await, Ok(-1), "what was refused left nothing behind");
    let add = AddOffsetsToTxnRequest {
        transactional_id: "a".to_owned(),
        producer_id: producer.producer_id,
        producer_epoch: producer.producer_epoch,
        group_id: GROUP.to_owned(),
        ..Default::default()
    };
    assert_eq!(client.call(&add, 4).await.error_code, 0);
    for version in 0..=4 {
        assert_eq!(commit_error(&mut client, &request, version).await, ErrorCode::None, "version {version}");
    }
    end(&mut client, "a", &producer, true, 4).await;
    assert_eq!(fetch(&mut client, true, 0).await, Ok(10));

    let mut nameless = commit("a", &producer, 0, 11);
    nameless.group_id.clear();
    assert_eq!(commit_error(&mut client, &nameless, 4).await, ErrorCode::InvalidGroupId);
    let mut member = commit("a", &producer, 0, 11);
    (member.generation_id, member.member_id) = (3, "m".to_owned());
    assert_eq!(client.call(&add, 4).await.error_code, 0);
    assert_eq!(commit_error(&mut client, &member, 4).await, ErrorCode::UnknownMemberId);
}
