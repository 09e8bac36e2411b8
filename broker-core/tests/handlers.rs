//! The answers of the handlers, the refusals above all, as a client reads them.

mod common;

use std::time::Duration;

use common::{
    Client, batch, create_topics, fetch_request, idempotent_batch, produce_request, read_values, start_in_memory,
};
use rkafka_broker_core::Broker;
use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use rkafka_protocol::messages::delete_topics_request::DeleteTopicState;
use rkafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use rkafka_protocol::messages::fetch_request::FetchTopic;
use rkafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use rkafka_protocol::messages::metadata_request::MetadataRequestTopic;
use rkafka_protocol::messages::offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use rkafka_protocol::messages::{
    CreatePartitionsRequest, DeleteTopicsRequest, DescribeClusterRequest, DescribeConfigsRequest,
    DescribeLogDirsRequest, DescribeTopicPartitionsRequest, IncrementalAlterConfigsRequest, InitProducerIdRequest,
    ListPartitionReassignmentsRequest, MetadataRequest, OffsetForLeaderEpochRequest,
};
use rkafka_protocol::records::{BatchBuilder, BatchOptions, Codec, Compression, Compressor, NO_HEADERS, encode_batch};
use uuid::Uuid;

fn idempotent() -> InitProducerIdRequest {
    InitProducerIdRequest { transactional_id: None, ..Default::default() }
}

fn metadata_of(name: &str, create: bool) -> MetadataRequest {
    MetadataRequest {
        topics: Some(vec![MetadataRequestTopic { name: Some(name.to_owned()), ..Default::default() }]),
        allow_auto_topic_creation: create,
        ..Default::default()
    }
}

#[tokio::test]
async fn produce_refuses_what_kafka_refuses() {
    let broker = start_in_memory().await;
    let mut client = Client::connect(&broker).await;
    client.create_topic("t", 1, &[("max.message.bytes", "200")]).await;
    let good = batch(&["good"]);
    let mut broken = good.clone();
    *broken.last_mut().unwrap() ^= 1;
    let mut old = good.clone();
    old[16] = 1;
    let two = [good.clone(), good.clone()].concat();
    let far_ahead = encode_batch(Vec::new(), BatchOptions::default(), 4_000_000_000_000, [(None, Some(&b"v"[..]))]);
    let mut transactional = idempotent_batch(1, 0, 0, "v");
    transactional[22] |= 0x10;
    let cases = [
        (broken, ErrorCode::CorruptMessage),
        (good[..30].to_vec(), ErrorCode::CorruptMessage),
        (good[..good.len() - 1].to_vec(), ErrorCode::CorruptMessage),
        (old, ErrorCode::InvalidRecord),
        (two, ErrorCode::InvalidRecord),
        (Vec::new(), ErrorCode::InvalidRecord),
        (batch(&["x".repeat(500).as_str()]), ErrorCode::MessageTooLarge),
        (far_ahead.unwrap().into_bytes(), ErrorCode::InvalidTimestamp),
        (transactional, ErrorCode::TransactionalIdAuthorizationFailed),
    ];
    for (records, error) in cases {
        let answer = client.produce("t", 0, records).await;
        assert_eq!(ErrorCode::from_code(answer.error_code), error);
        assert_eq!(answer.base_offset, -1);
        assert!(answer.error_message.is_some());
    }
    assert_eq!(client.produce("t", 1, good.clone()).await.error_code, ErrorCode::UnknownTopicOrPartition.code());
    assert_eq!(client.produce("u", 0, good.clone()).await.error_code, ErrorCode::UnknownTopicOrPartition.code());
    let strange_acks = client.call(&produce_request("t", 0, good.clone(), 5), 9).await;
    let answer = &strange_acks.responses[0].partition_responses[0];
    assert_eq!(answer.error_code, ErrorCode::InvalidRequiredAcks.code());
    let with_id = client.call(&produce_request("", 0, good.clone(), 1), 13).await;
    assert_eq!(with_id.responses[0].partition_responses[0].error_code, ErrorCode::UnknownTopicId.code());
    // After all of this the log is as it was.
    let answer = client.produce("t", 0, good).await;
    assert_eq!((answer.error_code, answer.base_offset, answer.log_start_offset), (0, 0, 0));
}

#[tokio::test]
async fn idempotent_producers_are_held_to_their_sequence() {
    let broker = start_in_memory().await;
    let mut client = Client::connect(&broker).await;
    client.create_topic("t", 1, &[]).await;
    let id = client.call(&idempotent(), 5).await.producer_id;
    let mut other = Client::connect(&broker).await;
    assert_ne!(other.call(&idempotent(), 5).await.producer_id, id);
    for sequence in 0..6 {
        let answer = client.produce("t", 0, idempotent_batch(id, 1, sequence, "v")).await;
        assert_eq!((answer.error_code, answer.base_offset), (0, i64::from(sequence)));
    }
    let retry = client.produce("t", 0, idempotent_batch(id, 1, 3, "v")).await;
    assert_eq!((retry.error_code, retry.base_offset), (0, 3));
    let gap = client.produce("t", 0, idempotent_batch(id, 1, 9, "v")).await;
    assert_eq!(gap.error_code, ErrorCode::OutOfOrderSequenceNumber.code());
    let stale = client.produce("t", 0, idempotent_batch(id, 0, 0, "v")).await;
    assert_eq!(stale.error_code, ErrorCode::InvalidProducerEpoch.code());
    assert_eq!(client.values("t", 0, 0).await.len(), 6);
}

#[tokio::test]
async fn every_codec_comes_back_as_it_went() {
    let broker = start_in_memory().await;
    let mut client = Client::connect(&broker).await;
    client.create_topic("t", 1, &[]).await;
    let mut expected = Vec::new();
    for compression in [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd]
    {
        let mut builder = BatchBuilder::new(Vec::new(), BatchOptions::default());
        let value = format!("{compression:?}").repeat(50);
        builder.append(1_700_000_000_000, None, Some(value.as_bytes()), NO_HEADERS).unwrap();
        let sealed = builder.seal(Codec::new(compression), &mut Compressor::new()).unwrap();
        assert_eq!(client.produce("t", 0, sealed.into_bytes()).await.error_code, 0);
        expected.push(value);
    }
    assert_eq!(client.values("t", 0, 0).await, expected);
}

#[tokio::test]
async fn fetch_answers_within_its_bounds() {
    let broker = start_in_memory().await;
    let mut client = Client::connect(&broker).await;
    client.create_topic("t", 1, &[]).await;
    for number in 0..10 {
        client.produce("t", 0, batch(&[&format!("{number}a"), &format!("{number}b")])).await;
    }
    // A fetch in the middle of a batch gets the whole batch.
    let data = client.fetch("t", 0, 5).await;
    assert_eq!(read_values(data.records.as_ref().unwrap())[0], (4, "2a".to_owned()));
    assert_eq!((data.high_watermark, data.last_stable_offset, data.log_start_offset), (20, 20, 0));
    // The first batch comes even where it is larger than asked for, and then no second.
    let mut small = fetch_request("t", 0, 0, 0, 1);
    small.topics[0].partitions[0].partition_max_bytes = 1;
    let response = client.call(&small, 12).await;
    assert_eq!(read_values(response.responses[0].partitions[0].records.as_ref().unwrap()).len(), 2);
    let at_end = client.fetch("t", 0, 20).await;
    assert_eq!((at_end.error_code, at_end.records.unwrap().len()), (0, 0));
    for offset in [21, -5] {
        let data = client.fetch("t", 0, offset).await;
        assert_eq!(data.error_code, ErrorCode::OffsetOutOfRange.code());
    }
    let mut newer_epoch = fetch_request("t", 0, 0, 0, 1);
    newer_epoch.topics[0].partitions[0].current_leader_epoch = 7;
    let response = client.call(&newer_epoch, 12).await;
    assert_eq!(response.responses[0].partitions[0].error_code, ErrorCode::UnknownLeaderEpoch.code());
    let mut in_session = fetch_request("t", 0, 0, 0, 1);
    (in_session.session_id, in_session.session_epoch) = (5, 1);
    assert_eq!(client.call(&in_session, 12).await.error_code, ErrorCode::FetchSessionIdNotFound.code());
    let mut by_id = fetch_request("", 0, 0, 0, 1);
    let topic_id = broker.state().image().topic("t").unwrap().id;
    by_id.topics[0] = FetchTopic { topic_id, ..by_id.topics[0].clone() };
    let response = client.call(&by_id, 18).await;
    assert_eq!(response.responses[0].topic_id, topic_id);
    assert_eq!(response.responses[0].partitions[0].high_watermark, 20);
    by_id.topics[0].topic_id = Uuid::from_u128(12345);
    let response = client.call(&by_id, 18).await;
    assert_eq!(response.responses[0].partitions[0].error_code, ErrorCode::UnknownTopicId.code());
}

#[tokio::test]
async fn a_fetch_that_waits_is_woken_by_an_append() {
    let broker = start_in_memory().await;
    let mut consumer = Client::connect(&broker).await;
    consumer.create_topic("t", 2, &[]).await;
    let mut producer = Client::connect(&broker).await;
    // It would wait for much longer than this test does.
    consumer.send(&fetch_request("t", 1, 0, 3_600_000, 1), 12).await;
    let correlation_id = consumer.last_correlation_id();
    producer.produce("t", 0, batch(&["elsewhere"])).await;
    assert!(
        tokio::time::timeout(Duration::from_millis(50), consumer.stream.peek(&mut [0])).await.is_err(),
        "an append to another partition answered the fetch"
    );
    producer.produce("t", 1, batch(&["here"])).await;
    let response = consumer.receive::<rkafka_protocol::messages::FetchRequest>(12, correlation_id).await;
    assert_eq!(read_values(response.responses[0].partitions[0].records.as_ref().unwrap())[0].1, "here");
}

#[tokio::test]
async fn a_fetch_waits_for_its_least_bytes_and_no_longer_than_it_may() {
    let broker = start_in_memory().await;
    let mut consumer = Client::connect(&broker).await;
    consumer.create_topic("t", 1, &[]).await;
    let mut producer = Client::connect(&broker).await;
    let one = batch(&["0123456789"]);
    let size = one.len() as i32;
    consumer.send(&fetch_request("t", 0, 0, 3_600_000, size * 3), 12).await;
    let correlation_id = consumer.last_correlation_id();
    for _ in 0..3 {
        producer.produce("t", 0, one.clone()).await;
    }
    let response = consumer.receive::<rkafka_protocol::messages::FetchRequest>(12, correlation_id).await;
    assert_eq!(response.responses[0].partitions[0].records.as_ref().unwrap().len(), one.len() * 3);
    // Nothing comes, so what is there is answered when the time is over.
    let response = consumer.call(&fetch_request("t", 0, 2, 20, size * 9), 12).await;
    assert_eq!(response.responses[0].partitions[0].records.as_ref().unwrap().len(), one.len());
}

#[tokio::test]
async fn a_fetch_that_waits_ends_with_its_topic_and_its_client() {
    let broker = start_in_memory().await;
    let mut consumer = Client::connect(&broker).await;
    consumer.create_topic("t", 1, &[]).await;
    consumer.produce("t", 0, batch(&["a"])).await;
    consumer.send(&fetch_request("t", 0, 1, 3_600_000, 1), 12).await;
    let correlation_id = consumer.last_correlation_id();
    let mut admin = Client::connect(&broker).await;
    let mut gone = Client::connect(&broker).await;
    gone.send(&fetch_request("t", 0, 1, 3_600_000, 1), 12).await;
    while broker.state().connection_count() < 3 {
        tokio::task::yield_now().await;
    }
    drop(gone);
    while broker.state().connection_count() > 2 {
        tokio::task::yield_now().await;
    }
    let delete = DeleteTopicsRequest { topic_names: vec!["t".to_owned()], ..Default::default() };
    assert_eq!(admin.call(&delete, 5).await.responses[0].error_code, 0);
    let response = consumer.receive::<rkafka_protocol::messages::FetchRequest>(12, correlation_id).await;
    assert_eq!(response.responses[0].partitions[0].error_code, ErrorCode::UnknownTopicOrPartition.code());
}

#[tokio::test]
async fn list_offsets_knows_its_special_times() {
    let broker = start_in_memory().await;
    let mut client = Client::connect(&broker).await;
    client.create_topic("t", 1, &[]).await;
    for offset in [-1, -2, -3, 0] {
        let found = client.list_offset("t", 0, offset).await;
        assert_eq!((found.error_code, found.offset), (0, if offset == -3 || offset == 0 { -1 } else { 0 }));
    }
    for (number, time) in [(0, 1_000), (1, 3_000), (2, 2_000)] {
        let value = format!("{number}");
        let records = [(None, Some(value.as_bytes()))];
        let batch = encode_batch(Vec::new(), BatchOptions::default(), time, records).unwrap().into_bytes();
        assert_eq!(client.produce("t", 0, batch).await.error_code, 0);
    }
    let cases = [(-1, 3), (-2, 0), (-3, 1), (-4, 0), (-5, -1), (-6, -1), (0, 0), (1_001, 1), (3_001, -1)];
    for (time, offset) in cases {
        let found = client.list_offset("t", 0, time).await;
        assert_eq!((found.error_code, found.offset), (0, offset), "{time}");
    }
    assert_eq!(client.list_offset("t", 0, -7).await.error_code, ErrorCode::UnsupportedVersion.code());
    assert_eq!(client.list_offset("t", 5, -1).await.error_code, ErrorCode::UnknownTopicOrPartition.code());
}

#[tokio::test]
async fn leader_epochs_end_where_the_log_does() {
    let broker = start_in_memory().await;
    let mut client = Client::connect(&broker).await;
    client.create_topic("t", 1, &[]).await;
    client.produce("t", 0, batch(&["a", "b"])).await;
    let ask = |current_leader_epoch, leader_epoch| OffsetForLeaderEpochRequest {
        replica_id: -1,
        topics: vec![OffsetForLeaderTopic {
            topic: "t".to_owned(),
            partitions: vec![OffsetForLeaderPartition {
                partition: 0,
                current_leader_epoch,
                leader_epoch,
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    let answer = client.call(&ask(-1, 0), 4).await.topics[0].partitions[0].clone();
    assert_eq!((answer.error_code, answer.leader_epoch, answer.end_offset), (0, 0, 2));
    let answer = client.call(&ask(-1, 3), 4).await.topics[0].partitions[0].clone();
    assert_eq!((answer.error_code, answer.leader_epoch, answer.end_offset), (0, -1, -1));
    let answer = client.call(&ask(3, 0), 4).await.topics[0].partitions[0].clone();
    assert_eq!(answer.error_code, ErrorCode::UnknownLeaderEpoch.code());
}

#[tokio::test]
async fn metadata_tells_and_creates() {
    let broker = start_in_memory().await;
    let mut client = Client::connect(&broker).await;
    for version in 0..=13 {
        let request =
            MetadataRequest { topics: if version == 0 { Some(Vec::new()) } else { None }, ..Default::default() };
        let response = client.call(&request, version).await;
        let port = i32::from(broker.bootstrap().rsplit_once(':').unwrap().1.parse::<u16>().unwrap());
        assert_eq!((response.brokers[0].host.as_str(), response.brokers[0].port), ("127.0.0.1", port));
        assert!(response.topics.is_empty());
    }
    let absent = client.call(&metadata_of("new", false), 12).await;
    assert_eq!(absent.topics[0].error_code, ErrorCode::UnknownTopicOrPartition.code());
    let bad = client.call(&metadata_of("a b", true), 12).await;
    assert_eq!(bad.topics[0].error_code, ErrorCode::InvalidTopicException.code());
    let created = client.call(&metadata_of("new", true), 12).await;
    assert_eq!((created.topics[0].error_code, created.topics[0].partitions.len()), (0, 1));
    let by_id = MetadataRequest {
        topics: Some(vec![MetadataRequestTopic {
            name: None,
            topic_id: created.topics[0].topic_id,
            ..Default::default()
        }]),
        ..Default::default()
    };
    assert_eq!(client.call(&by_id, 12).await.topics[0].name.as_deref(), Some("new"));

    let strict = Broker::builder().with(|config| config.auto_create_topics_enable(false)).start().await.unwrap();
    let mut client = Client::connect(&strict).await;
    let refused = client.call(&metadata_of("new", true), 12).await;
    assert_eq!(refused.topics[0].error_code, ErrorCode::UnknownTopicOrPartition.code());
}

#[tokio::test]
async fn topics_are_created_grown_described_and_deleted() {
    let broker = start_in_memory().await;
    let mut client = Client::connect(&broker).await;
    let validate = rkafka_protocol::messages::CreateTopicsRequest { validate_only: true, ..create_topics("t", 3, &[]) };
    assert_eq!(client.call(&validate, 7).await.topics[0].num_partitions, 3);
    assert!(broker.state().image().topic("t").is_none());
    let created = client.call(&create_topics("t", 3, &[("retention.ms", "1000")]), 7).await;
    // No message, as Kafka has it: clients (aiokafka) hold that a topic with a message was not created.
    assert_eq!((created.topics[0].error_code, created.topics[0].error_message.as_deref()), (0, None));
    let again = client.call(&create_topics("t", 3, &[]), 7).await;
    assert_eq!(again.topics[0].error_code, ErrorCode::TopicAlreadyExists.code());
    let grow = |count| CreatePartitionsRequest {
        topics: vec![CreatePartitionsTopic { name: "t".to_owned(), count, assignments: None, ..Default::default() }],
        ..Default::default()
    };
    for (count, error) in [(2, ErrorCode::InvalidPartitions), (3, ErrorCode::InvalidPartitions), (5, ErrorCode::None)] {
        assert_eq!(client.call(&grow(count), 3).await.results[0].error_code, error.code());
    }
    assert_eq!(client.produce("t", 4, batch(&["new"])).await.error_code, 0);

    let describe = DescribeTopicPartitionsRequest { response_partition_limit: 4, ..Default::default() };
    let first = client.call(&describe, 0).await;
    assert_eq!(first.topics[0].partitions.len(), 4);
    let cursor = first.next_cursor.unwrap();
    let cursor = rkafka_protocol::messages::describe_topic_partitions_request::Cursor {
        topic_name: cursor.topic_name,
        partition_index: cursor.partition_index,
        ..Default::default()
    };
    let rest = client.call(&DescribeTopicPartitionsRequest { cursor: Some(cursor), ..describe }, 0).await;
    assert_eq!((rest.topics[0].partitions[0].partition_index, rest.next_cursor), (4, None));

    let dirs = client.call(&DescribeLogDirsRequest { topics: None, ..Default::default() }, 4).await;
    assert_eq!(dirs.results[0].topics[0].partitions.len(), 5);

    let id = broker.state().image().topic("t").unwrap().id;
    let by_id = |topic_id| DeleteTopicsRequest {
        topics: vec![DeleteTopicState { name: None, topic_id, ..Default::default() }],
        ..Default::default()
    };
    let unknown = client.call(&by_id(Uuid::from_u128(9999)), 6).await;
    assert_eq!(unknown.responses[0].error_code, ErrorCode::UnknownTopicId.code());
    let deleted = client.call(&by_id(id), 6).await;
    assert_eq!((deleted.responses[0].error_code, deleted.responses[0].name.as_deref()), (0, Some("t")));
    let gone = client.call(&by_id(id), 6).await;
    assert_eq!(gone.responses[0].error_code, ErrorCode::UnknownTopicId.code());
    assert_eq!(client.produce("t", 0, batch(&["late"])).await.error_code, ErrorCode::UnknownTopicOrPartition.code());
}

#[tokio::test]
async fn no_reassignment_is_under_way_and_nothing_is_said_of_it() {
    let broker = start_in_memory().await;
    let mut client = Client::connect(&broker).await;
    let answer = client.call(&ListPartitionReassignmentsRequest::default(), 0).await;
    assert_eq!((answer.error_code, answer.error_message), (0, None));
    assert!(answer.topics.is_empty());
}

#[tokio::test]
async fn settings_are_described_changed_and_in_force() {
    let broker = start_in_memory().await;
    let mut client = Client::connect(&broker).await;
    client.create_topic("t", 1, &[]).await;
    let large = batch(&["x".repeat(1000).as_str()]);
    assert_eq!(client.produce("t", 0, large.clone()).await.error_code, 0);
    let alter = |resource_type, resource_name: &str, name: &str, operation, value: Option<&str>| {
        let change = AlterableConfig {
            name: name.to_owned(),
            config_operation: operation,
            value: value.map(str::to_owned),
            ..Default::default()
        };
        let resource = AlterConfigsResource {
            resource_type,
            resource_name: resource_name.to_owned(),
            configs: vec![change],
            ..Default::default()
        };
        IncrementalAlterConfigsRequest { resources: vec![resource], ..Default::default() }
    };
    let set = alter(2, "t", "max.message.bytes", 0, Some("500"));
    assert_eq!(client.call(&set, 1).await.responses[0].error_code, 0);
    assert_eq!(client.produce("t", 0, large.clone()).await.error_code, ErrorCode::MessageTooLarge.code());
    let unset = alter(2, "t", "max.message.bytes", 1, None);
    assert_eq!(client.call(&unset, 1).await.responses[0].error_code, 0);
    assert_eq!(client.produce("t", 0, large).await.error_code, 0);
    let refused = [
        (alter(2, "t", "no.such", 0, Some("1")), ErrorCode::InvalidConfig),
        (alter(2, "t", "segment.bytes", 0, Some("1")), ErrorCode::InvalidConfig),
        (alter(2, "t", "segment.ms", 2, Some("1")), ErrorCode::InvalidConfig),
        (alter(2, "t", "cleanup.policy", 0, Some("shrink")), ErrorCode::InvalidConfig),
        (alter(2, "u", "segment.ms", 0, Some("1")), ErrorCode::UnknownTopicOrPartition),
        (alter(4, "1", "num.partitions", 0, Some("2")), ErrorCode::InvalidRequest),
        (alter(8, "x", "a", 0, Some("2")), ErrorCode::InvalidRequest),
    ];
    for (request, error) in refused {
        let answer = client.call(&request, 1).await.responses[0].clone();
        assert_eq!(ErrorCode::from_code(answer.error_code), error, "{:?}", answer.error_message);
    }
    let describe = |resource_type, name: &str| DescribeConfigsRequest {
        resources: vec![DescribeConfigsResource {
            resource_type,
            resource_name: name.to_owned(),
            configuration_keys: Some(vec!["segment.ms".to_owned(), "node.id".to_owned()]),
            ..Default::default()
        }],
        include_synonyms: true,
        include_documentation: true,
        ..Default::default()
    };
    client.call(&alter(2, "t", "segment.ms", 0, Some("7000")), 1).await;
    let topic = client.call(&describe(2, "t"), 4).await.results[0].clone();
    assert_eq!(topic.configs[0].value.as_deref(), Some("7000"));
    assert_eq!((topic.configs[0].config_source, topic.configs[0].synonyms.len()), (1, 2));
    let this = client.call(&describe(4, "1"), 4).await.results[0].clone();
    assert_eq!((this.configs[0].name.as_str(), this.configs[0].value.as_deref()), ("node.id", Some("1")));
    assert_eq!(client.call(&describe(4, "2"), 4).await.results[0].error_code, ErrorCode::InvalidRequest.code());
    assert_eq!(
        client.call(&describe(2, "u"), 4).await.results[0].error_code,
        ErrorCode::UnknownTopicOrPartition.code()
    );
    let cluster = client.call(&DescribeClusterRequest { endpoint_type: 1, ..Default::default() }, 2).await;
    assert_eq!((cluster.error_code, cluster.brokers.len()), (0, 1));
}

#[tokio::test]
async fn the_older_way_to_change_settings_replaces_them_all() {
    use rkafka_protocol::messages::AlterConfigsRequest;
    use rkafka_protocol::messages::alter_configs_request::{AlterConfigsResource, AlterableConfig};
    let broker = start_in_memory().await;
    let mut client = Client::connect(&broker).await;
    client.create_topic("t", 1, &[("segment.ms", "7000"), ("max.message.bytes", "500")]).await;
    let alter = |name: &str, configs: &[(&str, Option<&str>)], validate_only| AlterConfigsRequest {
        resources: vec![AlterConfigsResource {
            resource_type: 2,
            resource_name: name.to_owned(),
            configs: configs
                .iter()
                .map(|(name, value)| AlterableConfig {
                    name: (*name).to_owned(),
                    value: value.map(str::to_owned),
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        }],
        validate_only,
        ..Default::default()
    };
    let large = batch(&["x".repeat(1000).as_str()]);
    let refused = [
        (alter("t", &[("no.such", Some("1"))], false), ErrorCode::InvalidConfig),
        (alter("t", &[("segment.ms", None)], false), ErrorCode::InvalidConfig),
        (alter("u", &[], false), ErrorCode::UnknownTopicOrPartition),
    ];
    for (request, error) in refused {
        let answer = client.call(&request, 2).await.responses[0].clone();
        assert_eq!(ErrorCode::from_code(answer.error_code), error, "{:?}", answer.error_message);
    }
    assert_eq!(client.call(&alter("t", &[], true), 0).await.responses[0].error_code, 0);
    // What was refused, or only checked, changed nothing.
    assert_eq!(client.produce("t", 0, large.clone()).await.error_code, ErrorCode::MessageTooLarge.code());
    for version in 0..=2 {
        let answer = client.call(&alter("t", &[("segment.ms", Some("8000"))], false), version).await;
        assert_eq!(answer.responses[0].error_code, 0, "{:?}", answer.responses[0].error_message);
        assert_eq!(answer.responses[0].resource_name, "t");
    }
    // The one that was not named has its default again.
    assert_eq!(client.produce("t", 0, large).await.error_code, 0);
    let describe = DescribeConfigsRequest {
        resources: vec![DescribeConfigsResource {
            resource_type: 2,
            resource_name: "t".to_owned(),
            configuration_keys: Some(vec!["segment.ms".to_owned()]),
            ..Default::default()
        }],
        ..Default::default()
    };
    let topic = client.call(&describe, 4).await.results[0].clone();
    assert_eq!(topic.configs[0].value.as_deref(), Some("8000"));
}
