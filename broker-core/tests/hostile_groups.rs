//! Requests about groups that no honest client sends: each has a clear answer, and the broker goes on.

mod common;

use std::collections::BTreeMap;

use common::{Client, batch, start_in_memory};
use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::consumer_group_heartbeat_request::TopicPartitions;
use rkafka_protocol::messages::delete_share_group_offsets_request::DeleteShareGroupOffsetsRequestTopic;
use rkafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use rkafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use rkafka_protocol::messages::share_acknowledge_request::{
    AcknowledgePartition, AcknowledgeTopic, AcknowledgementBatch,
};
use rkafka_protocol::messages::share_fetch_request::{FetchPartition, FetchTopic};
use rkafka_protocol::messages::{
    ConsumerGroupHeartbeatRequest, DeleteShareGroupOffsetsRequest, HeartbeatRequest, JoinGroupRequest,
    OffsetCommitRequest, ShareAcknowledgeRequest, ShareFetchRequest, ShareGroupHeartbeatRequest, SyncGroupRequest,
};
use uuid::Uuid;

/// First and last offset of an acknowledgement, and how many types it says.
type Batch = (i64, i64, usize);

fn consumer(group: &str, member: &str, epoch: i32) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest {
        group_id: group.to_owned(),
        member_id: member.to_owned(),
        member_epoch: epoch,
        instance_id: None,
        rack_id: None,
        rebalance_timeout_ms: i32::MAX,
        subscribed_topic_names: Some(vec!["t".to_owned()]),
        subscribed_topic_regex: None,
        server_assignor: None,
        topic_partitions: Some(Vec::new()),
        ..Default::default()
    }
}

fn share(group: &str, member: &str, epoch: i32) -> ShareGroupHeartbeatRequest {
    ShareGroupHeartbeatRequest {
        group_id: group.to_owned(),
        member_id: member.to_owned(),
        member_epoch: epoch,
        rack_id: None,
        subscribed_topic_names: Some(vec!["t".to_owned()]),
        ..Default::default()
    }
}

fn classic(group: &str, member: &str) -> JoinGroupRequest {
    let protocol = JoinGroupRequestProtocol { name: "range".to_owned(), ..Default::default() };
    JoinGroupRequest {
        group_id: group.to_owned(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: i32::MAX,
        member_id: member.to_owned(),
        protocol_type: "consumer".to_owned(),
        protocols: vec![protocol],
        ..Default::default()
    }
}

#[tokio::test]
async fn ids_and_numbers_at_their_ends_are_answered() {
    let broker = start_in_memory().await;
    let mut client = Client::connect(&broker).await;
    client.create_topic("t", 2, &[]).await;
    // The longest that the protocol has.
    let long = "x".repeat(32_767);
    for (group, member) in [(long.as_str(), "m"), ("long", long.as_str())] {
        let response = client.call(&consumer(group, member, 0), 1).await;
        assert_eq!(response.error_code, 0, "{:?}", response.error_message);
        let response = client.call(&consumer(group, member, -1), 1).await;
        assert_eq!(response.error_code, 0, "{:?}", response.error_message);
    }
    let joined = client.call(&consumer("g", "m", 0), 1).await;
    assert_eq!((joined.error_code, joined.member_epoch), (0, 1), "{:?}", joined.error_message);
    for (epoch, error) in [
        (i32::MAX, ErrorCode::FencedMemberEpoch),
        (i32::MIN, ErrorCode::InvalidRequest),
        (-3, ErrorCode::InvalidRequest),
        (-2, ErrorCode::InvalidRequest),
    ] {
        let response = client.call(&consumer("g", "m", epoch), 1).await;
        assert_eq!(response.error_code, error.code(), "{epoch}: {:?}", response.error_message);
    }
    // What it owns does not exist: it is told what it has.
    let nowhere = TopicPartitions {
        topic_id: Uuid::from_u128(77),
        partitions: vec![i32::MIN, -1, 0, i32::MAX],
        ..Default::default()
    };
    let request =
        ConsumerGroupHeartbeatRequest { topic_partitions: Some(vec![nowhere; 1_000]), ..consumer("g", "m", 1) };
    let response = client.call(&request, 1).await;
    assert_eq!(response.error_code, 0, "{:?}", response.error_message);
    // Thousands of topics that do not exist, more than a record can say, and a pattern that would take all memory.
    let names = |count: usize| Some((0..count).map(|at| format!("topic-{at}")).collect());
    let request = ConsumerGroupHeartbeatRequest { subscribed_topic_names: names(5_000), ..consumer("g", "m", 1) };
    let response = client.call(&request, 1).await;
    assert_eq!(response.error_code, 0, "{:?}", response.error_message);
    let epoch = response.member_epoch;
    let request = ConsumerGroupHeartbeatRequest { subscribed_topic_names: names(500_000), ..consumer("g", "m", epoch) };
    let response = client.call(&request, 1).await;
    assert_eq!(response.error_code, ErrorCode::UnknownServerError.code(), "{:?}", response.error_message);
    for bomb in ["(a{1000}){1000}".to_owned(), "(".repeat(30_000)] {
        let request = ConsumerGroupHeartbeatRequest { subscribed_topic_regex: Some(bomb), ..consumer("g", "m", epoch) };
        let response = client.call(&request, 1).await;
        assert_eq!(response.error_code, ErrorCode::InvalidRegularExpression.code());
    }
    // Nothing of all that has taken the member out.
    let response = client.call(&consumer("g", "m", epoch), 1).await;
    assert_eq!(response.error_code, 0, "{:?}", response.error_message);
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn groups_of_another_kind_stay_what_they_are() {
    let broker = start_in_memory().await;
    let mut client = Client::connect(&broker).await;
    client.create_topic("t", 1, &[]).await;
    assert_eq!(client.call(&consumer("consumers", "m", 0), 1).await.error_code, 0);
    assert_eq!(client.call(&share("sharers", "m", 0), 1).await.error_code, 0);

    let commit = |group: &str, epoch: i32| OffsetCommitRequest {
        group_id: group.to_owned(),
        member_id: "m".to_owned(),
        generation_id_or_member_epoch: epoch,
        topics: vec![OffsetCommitRequestTopic {
            name: "t".to_owned(),
            partitions: vec![OffsetCommitRequestPartition {
                partition_index: i32::MIN,
                committed_offset: i64::MIN,
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    let response = client.call(&consumer("sharers", "m", 0), 1).await;
    assert_eq!(response.error_code, ErrorCode::GroupIdNotFound.code(), "{:?}", response.error_message);
    let response = client.call(&share("consumers", "m", 0), 1).await;
    assert_eq!(response.error_code, ErrorCode::GroupIdNotFound.code(), "{:?}", response.error_message);
    assert_eq!(client.call(&classic("sharers", ""), 9).await.error_code, ErrorCode::InconsistentGroupProtocol.code());
    for group in ["sharers", "consumers", "nobody"] {
        for epoch in [i32::MIN, -2, -1, 0, 7, i32::MAX] {
            let response = client.call(&commit(group, epoch), 8).await;
            assert_ne!(response.topics[0].partitions[0].error_code, 0, "{group} {epoch}");
            let heartbeat = HeartbeatRequest {
                group_id: group.to_owned(),
                generation_id: epoch,
                member_id: "m".to_owned(),
                ..Default::default()
            };
            assert_ne!(client.call(&heartbeat, 4).await.error_code, 0);
            let sync = SyncGroupRequest {
                group_id: group.to_owned(),
                generation_id: epoch,
                member_id: "m".to_owned(),
                ..Default::default()
            };
            assert_ne!(client.call(&sync, 5).await.error_code, 0);
        }
        let topics = vec![DeleteShareGroupOffsetsRequestTopic { topic_name: "t".to_owned(), ..Default::default() }];
        let delete = DeleteShareGroupOffsetsRequest { group_id: group.to_owned(), topics, ..Default::default() };
        assert_ne!(client.call(&delete, 0).await.error_code, 0, "{group}");
    }
    assert_eq!(client.call(&consumer("consumers", "m", 1), 1).await.error_code, 0);
    assert_eq!(client.call(&share("sharers", "m", 1), 1).await.error_code, 0);
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn acknowledgements_of_all_there_could_be_are_refused_at_once() {
    let broker = start_in_memory().await;
    let mut client = Client::connect(&broker).await;
    client.create_topic("t", 1, &[]).await;
    assert_eq!(client.call(&share("g", "m", 0), 1).await.error_code, 0);
    let topic_id = broker.state().image().topic("t").unwrap().id;
    let fetch = |epoch: i32, partitions: Vec<i32>| ShareFetchRequest {
        group_id: Some("g".to_owned()),
        member_id: Some("m".to_owned()),
        share_session_epoch: epoch,
        max_bytes: i32::MAX,
        max_records: i32::MAX,
        batch_size: i32::MIN,
        topics: vec![FetchTopic {
            topic_id,
            partitions: partitions
                .into_iter()
                .map(|partition_index| FetchPartition { partition_index, ..Default::default() })
                .collect(),
            ..Default::default()
        }],
        ..Default::default()
    };
    // The group begins at the end; what is there later is for it.
    assert_eq!(client.call(&fetch(0, vec![0]), 2).await.error_code, 0);
    client.produce("t", 0, batch(&["one", "two", "three"])).await;
    let response = client.call(&fetch(1, vec![0, 0, i32::MIN, i32::MAX]), 2).await;
    let partitions = &response.responses[0].partitions;
    let errors: BTreeMap<i32, i16> = partitions.iter().map(|one| (one.partition_index, one.error_code)).collect();
    let unknown = ErrorCode::UnknownTopicOrPartition.code();
    assert_eq!(errors, BTreeMap::from([(0, 0), (i32::MIN, unknown), (i32::MAX, unknown)]));
    let acquired = partitions.iter().flat_map(|one| &one.acquired_records);
    assert_eq!(acquired.map(|range| range.last_offset - range.first_offset + 1).sum::<i64>(), 3);

    let acknowledge = |epoch: i32, batches: &[Batch]| ShareAcknowledgeRequest {
        group_id: Some("g".to_owned()),
        member_id: Some("m".to_owned()),
        share_session_epoch: epoch,
        topics: vec![AcknowledgeTopic {
            topic_id,
            partitions: vec![AcknowledgePartition {
                partition_index: 0,
                acknowledgement_batches: batches
                    .iter()
                    .map(|(first_offset, last_offset, types)| AcknowledgementBatch {
                        first_offset: *first_offset,
                        last_offset: *last_offset,
                        acknowledge_types: vec![1; *types],
                        ..Default::default()
                    })
                    .collect(),
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    let (state, request) = (ErrorCode::InvalidRecordState.code(), ErrorCode::InvalidRequest.code());
    let cases: [(&[Batch], i16); 8] = [
        (&[(0, i64::MAX, 1)], state),
        (&[(0, i64::MAX - 1, 1), (i64::MAX, i64::MAX, 1)], state),
        (&[(i64::MAX, i64::MAX, 1)], state),
        (&[(0, i64::MAX, 0)], request),
        (&[(0, i64::MAX, 1_000)], request),
        (&[(i64::MIN, i64::MAX, 1)], request),
        (&[(2, 1, 1)], request),
        (&[(0, 1, 1), (1, 2, 1)], request),
    ];
    let mut epoch = 2;
    for (batches, error) in cases {
        let response = client.call(&acknowledge(epoch, batches), 2).await;
        assert_eq!(response.responses[0].partitions[0].error_code, error, "{batches:?}");
        epoch += 1;
    }
    let response = client.call(&acknowledge(epoch, &[(0, 2, 1)]), 2).await;
    assert_eq!(response.responses[0].partitions[0].error_code, 0);
    broker.shutdown().await.unwrap();
}
