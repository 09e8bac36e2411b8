//! The requests about the cluster as a whole: quorum, features, elections, reassignments, ACLs, what can be configured.

mod common;

use common::{Client, start_in_memory};
use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::alter_partition_reassignments_request::{ReassignablePartition, ReassignableTopic};
use rkafka_protocol::messages::create_acls_request::AclCreation;
use rkafka_protocol::messages::describe_quorum_request::{PartitionData, TopicData};
use rkafka_protocol::messages::elect_leaders_request::TopicPartitions;
use rkafka_protocol::messages::update_features_request::FeatureUpdateKey;
use rkafka_protocol::messages::{
    AlterPartitionReassignmentsRequest, CreateAclsRequest, DescribeAclsRequest, DescribeClusterRequest,
    DescribeQuorumRequest, ElectLeadersRequest, ListConfigResourcesRequest, ListPartitionReassignmentsRequest,
    MetadataRequest, UnregisterBrokerRequest, UpdateFeaturesRequest,
};

#[tokio::test]
async fn the_quorum_is_this_node() {
    let broker = start_in_memory().await;
    let mut client = Client::connect(&broker).await;
    let ask = |topic: &str| DescribeQuorumRequest {
        topics: vec![TopicData {
            topic_name: topic.to_owned(),
            partitions: vec![PartitionData::default()],
            ..Default::default()
        }],
        ..Default::default()
    };
    for version in 0..=2 {
        let answer = client.call(&ask("__cluster_metadata"), version).await;
        let partition = &answer.topics[0].partitions[0];
        assert_eq!((answer.error_code, partition.error_code, partition.leader_id), (0, 0, 1));
        assert!(partition.high_watermark > 0 && partition.leader_epoch > 0);
        assert_eq!(partition.current_voters.len(), 1);
        assert_eq!(partition.current_voters[0].log_end_offset, partition.high_watermark);
    }
    let before = client.call(&ask("__cluster_metadata"), 2).await.topics[0].partitions[0].high_watermark;
    client.create_topic("more", 1, &[]).await;
    let after = client.call(&ask("__cluster_metadata"), 2).await.topics[0].partitions[0].high_watermark;
    assert!(after > before);
    let answer = client.call(&ask("other"), 2).await;
    assert_eq!(answer.topics[0].partitions[0].error_code, ErrorCode::UnknownTopicOrPartition.code());
}

#[tokio::test]
async fn features_change_all_or_none() {
    let broker = start_in_memory().await;
    let mut client = Client::connect(&broker).await;
    let present = broker.state().image().features()["metadata.version"];
    let ask = |level, feature: &str| UpdateFeaturesRequest {
        feature_updates: vec![FeatureUpdateKey {
            feature: feature.to_owned(),
            max_version_level: level,
            ..Default::default()
        }],
        ..Default::default()
    };
    for version in 0..=2 {
        assert_eq!(client.call(&ask(present, "metadata.version"), version).await.error_code, 0);
        for bad in [ask(99, "metadata.version"), ask(1, "nope"), ask(present - 1, "metadata.version")] {
            let answer = client.call(&bad, version).await;
            assert_eq!(answer.error_code, ErrorCode::InvalidUpdateVersion.code());
            assert!(answer.error_message.unwrap().starts_with("The update failed for all features"));
        }
    }
    assert_eq!(broker.state().image().features()["metadata.version"], present);
}

#[tokio::test]
async fn nothing_moves_where_one_broker_has_all() {
    let broker = start_in_memory().await;
    let mut client = Client::connect(&broker).await;
    client.create_topic("here", 2, &[]).await;
    for (topic, partition, expected) in [
        ("here", 1, ErrorCode::ElectionNotNeeded),
        ("here", 2, ErrorCode::UnknownTopicOrPartition),
        ("nope", 0, ErrorCode::UnknownTopicOrPartition),
    ] {
        let request = ElectLeadersRequest {
            topic_partitions: Some(vec![TopicPartitions {
                topic: topic.to_owned(),
                partitions: vec![partition],
                ..Default::default()
            }]),
            ..Default::default()
        };
        let answer = client.call(&request, 2).await;
        assert_eq!(answer.replica_election_results[0].partition_result[0].error_code, expected.code());
    }
    let all = ElectLeadersRequest { topic_partitions: None, ..Default::default() };
    let answer = client.call(&all, 2).await;
    assert_eq!(answer.replica_election_results.len(), 1);
    assert!(answer.replica_election_results[0].partition_result.is_empty());
    let bad = ElectLeadersRequest { election_type: 7, ..Default::default() };
    assert_eq!(client.call(&bad, 2).await.error_code, ErrorCode::InvalidRequest.code());

    for (partition, replicas, expected) in [
        (0, Some(vec![1]), None),
        (0, Some(vec![7]), Some(ErrorCode::InvalidReplicaAssignment)),
        (0, Some(vec![1, 1]), Some(ErrorCode::InvalidReplicaAssignment)),
        (0, Some(Vec::new()), Some(ErrorCode::InvalidReplicaAssignment)),
        (0, None, Some(ErrorCode::NoReassignmentInProgress)),
        (9, Some(vec![1]), Some(ErrorCode::UnknownTopicOrPartition)),
    ] {
        let request = AlterPartitionReassignmentsRequest {
            topics: vec![ReassignableTopic {
                name: "here".to_owned(),
                partitions: vec![ReassignablePartition { partition_index: partition, replicas, ..Default::default() }],
                ..Default::default()
            }],
            ..Default::default()
        };
        let answer = client.call(&request, 1).await;
        let code = answer.responses[0].partitions[0].error_code;
        assert_eq!(code, expected.map_or(0, ErrorCode::code));
    }
    assert!(client.call(&ListPartitionReassignmentsRequest::default(), 0).await.topics.is_empty());
    for (broker_id, expected) in [(9, ErrorCode::BrokerIdNotRegistered), (1, ErrorCode::InvalidRequest)] {
        let request = UnregisterBrokerRequest { broker_id, ..Default::default() };
        assert_eq!(client.call(&request, 0).await.error_code, expected.code());
    }
}

#[tokio::test]
async fn without_an_authorizer_all_is_allowed_and_no_acl_is_kept() {
    let broker = start_in_memory().await;
    let mut client = Client::connect(&broker).await;
    client.create_topic("open", 1, &[]).await;
    let answer = client.call(&DescribeAclsRequest::default(), 3).await;
    assert_eq!(answer.error_code, ErrorCode::SecurityDisabled.code());
    let request = CreateAclsRequest { creations: vec![AclCreation::default(); 2], ..Default::default() };
    let answer = client.call(&request, 3).await;
    assert_eq!(answer.results.len(), 2);
    assert!(answer.results.iter().all(|result| result.error_code == ErrorCode::SecurityDisabled.code()));

    let request =
        DescribeClusterRequest { include_cluster_authorized_operations: true, endpoint_type: 1, ..Default::default() };
    assert_eq!(client.call(&request, 2).await.cluster_authorized_operations, 8096);
    let request = MetadataRequest { topics: None, include_topic_authorized_operations: true, ..Default::default() };
    assert_eq!(client.call(&request, 12).await.topics[0].topic_authorized_operations, 3576);
    let request = MetadataRequest { topics: None, ..Default::default() };
    assert_eq!(client.call(&request, 12).await.topics[0].topic_authorized_operations, i32::MIN);
}

#[tokio::test]
async fn what_can_have_settings_is_listed() {
    let broker = start_in_memory().await;
    let mut client = Client::connect(&broker).await;
    client.create_topic("listed", 1, &[]).await;
    let ask = |types: &[i8]| ListConfigResourcesRequest { resource_types: types.to_vec(), ..Default::default() };
    let all = client.call(&ask(&[]), 1).await;
    let all: Vec<_> = all.config_resources.iter().map(|it| (it.resource_type, it.resource_name.as_str())).collect();
    assert_eq!(all, [(2, "listed"), (4, "1")]);
    assert_eq!(client.call(&ask(&[2]), 1).await.config_resources.len(), 1);
    assert!(client.call(&ask(&[]), 0).await.config_resources.is_empty());
    assert_eq!(client.call(&ask(&[99]), 1).await.error_code, ErrorCode::UnsupportedVersion.code());
}
