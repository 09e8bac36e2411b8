//! Three brokers in one process: elected, registered, replicated, and what becomes of it when one dies.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use common::{Client, PATIENCE, batch, create_topics, produce_request};
use rkafka_broker_core::Cluster;
use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::describe_quorum_request::{PartitionData, TopicData};
use rkafka_protocol::messages::metadata_request::MetadataRequestTopic;
use rkafka_protocol::messages::metadata_response::MetadataResponse;
use rkafka_protocol::messages::produce_response::PartitionProduceResponse;
use rkafka_protocol::messages::{
    CreateTopicsRequest, DescribeQuorumRequest, FindCoordinatorRequest, HeartbeatRequest, InitProducerIdRequest,
    MetadataRequest,
};

/// The kinds of coordinators that FindCoordinator knows.
const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;

async fn three() -> Cluster {
    let short = |config: rkafka_broker_core::BrokerConfig| {
        config
            .broker_session_timeout(Duration::from_secs(3))
            .broker_heartbeat_interval(Duration::from_millis(500))
            .default_replication_factor(3)
            .min_insync_replicas(2)
    };
    tokio::time::timeout(PATIENCE, Cluster::brokers(3).with(short).start()).await.expect("in time").expect("it starts")
}

async fn client(cluster: &Cluster, id: i32) -> Client {
    Client::connect(cluster.node(id).unwrap()).await
}

async fn metadata(client: &mut Client, topic: &str) -> MetadataResponse {
    let topics = vec![MetadataRequestTopic { name: Some(topic.to_owned()), ..Default::default() }];
    client.call(&MetadataRequest { topics: Some(topics), ..Default::default() }, 12).await
}

/// Asks for a topic until it is as wanted.
async fn until(client: &mut Client, topic: &str, wanted: impl Fn(&MetadataResponse) -> bool) -> MetadataResponse {
    let asking = async {
        loop {
            let found = metadata(client, topic).await;
            if wanted(&found) {
                return found;
            }
            #[expect(clippy::disallowed_methods, reason = "a test that asks again")]
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.expect("the topic becomes as it is wanted")
}

/// Writes a record that all in sync are to have. A follower may rest a moment before it fetches a new partition.
async fn write(client: &mut Client, topic: &str, value: &str) -> PartitionProduceResponse {
    let mut request = produce_request(topic, 0, batch(&[value]), -1);
    request.timeout_ms = 30_000;
    let response = client.call(&request, 9).await;
    response.responses[0].partition_responses[0].clone()
}

fn replicated(name: &str, partitions: i32) -> CreateTopicsRequest {
    let mut request = create_topics(name, partitions, &[]);
    request.topics[0].replication_factor = 3;
    request
}

/// The broker that coordinates a key.
async fn coordinator(client: &mut Client, key_type: i8, key: &str) -> i32 {
    let keys = FindCoordinatorRequest { key_type, coordinator_keys: vec![key.to_owned()], ..Default::default() };
    let asking = async {
        loop {
            let found = client.call(&keys, 4).await.coordinators.remove(0);
            if found.error_code == 0 {
                return found.node_id;
            }
            assert_eq!(found.error_code, ErrorCode::CoordinatorNotAvailable.code());
            #[expect(clippy::disallowed_methods, reason = "a test that asks again")]
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.expect("there is a coordinator")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_brokers_are_one_cluster() {
    let cluster = three().await;
    let (mut coordinators, mut producer_ids) = (BTreeMap::new(), BTreeSet::new());
    for id in 1..=3 {
        let mut client = client(&cluster, id).await;
        // Whoever is asked, the controller decides, and all brokers learn of it.
        let name = format!("from-{id}");
        let created = client.call(&replicated(&name, 3), 7).await;
        assert_eq!(created.topics[0].error_code, 0, "{:?}", created.topics[0].error_message);
        let found = until(&mut client, &name, |found| found.topics[0].error_code == 0).await;
        assert_eq!(found.brokers.iter().map(|broker| broker.node_id).collect::<Vec<_>>(), [1, 2, 3]);
        assert!(found.topics[0].partitions.iter().all(|partition| partition.replica_nodes.len() == 3));
        let quorum = client
            .call(
                &DescribeQuorumRequest {
                    topics: vec![TopicData {
                        topic_name: "__cluster_metadata".to_owned(),
                        partitions: vec![PartitionData::default()],
                        ..Default::default()
                    }],
                    ..Default::default()
                },
                2,
            )
            .await;
        let quorum = &quorum.topics[0].partitions[0];
        assert_eq!((quorum.error_code, quorum.current_voters.len()), (0, 3));
        assert!((1..=3).contains(&quorum.leader_id));
        // Whoever is asked for a coordinator tells the same one.
        for key_type in [GROUP, TRANSACTION] {
            let found = coordinator(&mut client, key_type, "k").await;
            assert_eq!(*coordinators.entry(key_type).or_insert(found), found);
        }
        // Blocks of ids come from the controller.
        let id = client.call(&InitProducerIdRequest { transactional_id: None, ..Default::default() }, 4).await;
        assert_eq!(id.error_code, 0);
        assert!(producer_ids.insert(id.producer_id), "{} was given away twice", id.producer_id);
    }
    for id in [1, 2, 3] {
        let mut client = client(&cluster, id).await;
        let transactional = InitProducerIdRequest {
            transactional_id: Some("k".to_owned()),
            transaction_timeout_ms: 1000,
            ..Default::default()
        };
        let given = client.call(&transactional, 4).await;
        if id == coordinators[&TRANSACTION] {
            assert_eq!(given.error_code, 0);
            assert!(producer_ids.insert(given.producer_id), "{} was given away twice", given.producer_id);
        } else {
            assert_eq!(given.error_code, ErrorCode::NotCoordinator.code());
        }
        let beat = HeartbeatRequest { group_id: "k".to_owned(), member_id: "m".to_owned(), ..Default::default() };
        let expected = if id == coordinators[&GROUP] { ErrorCode::UnknownMemberId } else { ErrorCode::NotCoordinator };
        assert_eq!(client.call(&beat, 4).await.error_code, expected.code());
    }
    cluster.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_dies_is_replaced_and_nothing_acknowledged_is_lost() {
    let mut cluster = three().await;
    let mut any = client(&cluster, 1).await;
    let created = any.call(&replicated("t", 1), 7).await;
    assert_eq!(created.topics[0].error_code, 0, "{:?}", created.topics[0].error_message);
    let found = until(&mut any, "t", |found| found.topics[0].error_code == 0).await;
    let leader = found.topics[0].partitions[0].leader_id;
    let mut at_leader = client(&cluster, leader).await;
    for n in 0..10 {
        let produced = write(&mut at_leader, "t", &format!("v{n}")).await;
        assert_eq!(produced.error_code, 0, "{produced:?}");
    }
    drop(at_leader);
    drop(cluster.take(leader));
    let other = cluster.ids()[0];
    let mut at_other = client(&cluster, other).await;
    let found = until(&mut at_other, "t", |found| {
        let partition = &found.topics[0].partitions[0];
        partition.leader_id >= 0 && partition.leader_id != leader
    })
    .await;
    let mut at_next = client(&cluster, found.topics[0].partitions[0].leader_id).await;
    let produced = write(&mut at_next, "t", "after").await;
    assert_eq!((produced.error_code, produced.base_offset), (0, 10), "{produced:?}");
    let mut expected: Vec<String> = (0..10).map(|n| format!("v{n}")).collect();
    expected.push("after".to_owned());
    assert_eq!(at_next.values("t", 0, 0).await, expected);
    cluster.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_waits_for_a_follower_that_stopped() {
    // Were a leader to wait for one that had everything a moment ago, it would be for this long.
    let patient = |config: rkafka_broker_core::BrokerConfig| {
        config
            .broker_heartbeat_interval(Duration::from_millis(100))
            .default_replication_factor(3)
            .replica_lag_time_max(Duration::from_secs(3600))
    };
    let mut cluster = tokio::time::timeout(PATIENCE, Cluster::brokers(3).with(patient).start()).await.unwrap().unwrap();
    let mut any = client(&cluster, 1).await;
    let created = any.call(&replicated("t", 1), 7).await;
    assert_eq!(created.topics[0].error_code, 0, "{:?}", created.topics[0].error_message);
    let found = until(&mut any, "t", |found| found.topics[0].error_code == 0).await;
    let leader = found.topics[0].partitions[0].leader_id;
    let mut at_leader = client(&cluster, leader).await;
    let produced = write(&mut at_leader, "t", "before").await;
    assert_eq!(produced.error_code, 0, "{produced:?}");
    let follower = cluster.ids().into_iter().find(|id| *id != leader).unwrap();
    drop(any);
    cluster.take(follower).unwrap().shutdown().await.unwrap();
    let produced = write(&mut at_leader, "t", "after").await;
    assert_eq!((produced.error_code, produced.base_offset), (0, 1), "{produced:?}");
    cluster.shutdown().await.unwrap();
}
