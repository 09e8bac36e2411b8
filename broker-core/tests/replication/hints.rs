//! What clients are told that ask the wrong broker, or that had better ask another.

use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use rkafka_protocol::messages::fetch_response::PartitionData;
use rkafka_protocol::messages::{FetchRequest, ProduceRequest};

use crate::common::{batch, fetch_request, produce_request, read_values};
use crate::support::{Three, eventually, values};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_the_wrong_broker_is_told_who_leads_and_where() {
    let three = Three::start(|config| config.broker_rack("somewhere")).await;
    three.create("t", &[&[2, 3]], &[]).await;
    three.produce(2, "t", 0, values(0..1)).await;
    let epoch = three.partition(1, "t", 0).await.unwrap().leader_epoch;
    let address = three.cluster.node(2).unwrap().bootstrap();
    // A follower, and a broker that has no replica.
    for node in [3, 1] {
        let request = produce_request("t", 0, batch(&["x"]), -1);
        let answer = three.client(node).await.call(&request, 10).await;
        let partition = &answer.responses[0].partition_responses[0];
        assert_eq!(partition.error_code, ErrorCode::NotLeaderOrFollower.code(), "{answer:?}");
        assert_eq!((partition.current_leader.leader_id, partition.current_leader.leader_epoch), (2, epoch));
        let endpoint = &answer.node_endpoints[0];
        assert_eq!((endpoint.node_id, format!("{}:{}", endpoint.host, endpoint.port)), (2, address.clone()));
        assert_eq!(endpoint.rack.as_deref(), Some("somewhere"));
        let older: ProduceRequest = produce_request("t", 0, batch(&["x"]), -1);
        let answer = three.client(node).await.call(&older, 9).await;
        assert!(answer.node_endpoints.is_empty(), "it is not in that version");

        let mut fetch = by_id(&three, "t", 0).await;
        // A replica may be read, by a consumer that knows its epoch.
        fetch.topics[0].partitions[0].current_leader_epoch = if node == 3 { epoch - 1 } else { epoch };
        let answer = three.client(node).await.call(&fetch, 17).await;
        let partition = &answer.responses[0].partitions[0];
        let expected =
            if node == 3 && epoch > 0 { ErrorCode::FencedLeaderEpoch } else { ErrorCode::NotLeaderOrFollower };
        if node == 1 || epoch > 0 {
            assert_eq!(partition.error_code, expected.code(), "{answer:?}");
            assert_eq!((partition.current_leader.leader_id, partition.current_leader.leader_epoch), (2, epoch));
            assert_eq!(answer.node_endpoints[0].node_id, 2);
        }
    }
    let mut fine = three.client(2).await;
    let answer = fine.call(&produce_request("t", 0, batch(&["v1"]), -1), 10).await;
    assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
    assert_eq!(answer.responses[0].partition_responses[0].current_leader.leader_id, -1);
    assert!(answer.node_endpoints.is_empty());
    three.shutdown().await;
}

/// A fetch that names its topic by id.
async fn by_id(three: &Three, topic: &str, offset: i64) -> FetchRequest {
    use rkafka_protocol::messages::MetadataRequest;
    use rkafka_protocol::messages::metadata_request::MetadataRequestTopic;
    let topics = vec![MetadataRequestTopic { name: Some(topic.to_owned()), ..Default::default() }];
    let found = three.call(&MetadataRequest { topics: Some(topics), ..Default::default() }, 12).await;
    let partition = FetchPartition {
        partition: 0,
        current_leader_epoch: -1,
        fetch_offset: offset,
        partition_max_bytes: 1 << 20,
        ..Default::default()
    };
    let topic = FetchTopic { topic_id: found.topics[0].topic_id, partitions: vec![partition], ..Default::default() };
    FetchRequest { topics: vec![topic], ..fetch_request("", 0, 0, 0, 1) }
}

async fn fetch_from(three: &Three, node: i32, rack: &str, offset: i64, version: i16) -> PartitionData {
    let mut request = fetch_request("t", 0, offset, 0, 1);
    request.rack_id = rack.to_owned();
    three.client(node).await.call(&request, version).await.responses[0].partitions[0].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_is_sent_to_the_replica_of_its_rack() {
    let racks = |config: rkafka_broker_core::BrokerConfig| {
        let rack = format!("rack-{}", config.node_id);
        config
            .broker_rack(rack.as_str())
            .replica_selector_class("org.apache.kafka.common.replica.RackAwareReplicaSelector")
    };
    let mut three = Three::start(racks).await;
    three.create("t", &[&[1, 2, 3]], &[]).await;
    three.produce(1, "t", 0, values(0..5)).await;
    let sent = fetch_from(&three, 1, "rack-2", 0, 12).await;
    assert_eq!((sent.error_code, sent.preferred_read_replica), (0, 2), "{sent:?}");
    assert!(sent.records.as_ref().is_none_or(|records| records.is_empty()), "it is to read there");
    for rack in ["", "rack-1", "rack-9"] {
        let read = fetch_from(&three, 1, rack, 0, 12).await;
        assert_eq!((read.error_code, read.preferred_read_replica), (0, -1), "{rack}");
        assert_eq!(read_values(read.records.as_ref().unwrap()).len(), 5, "{rack}");
    }
    let at_follower = fetch_from(&three, 2, "rack-2", 0, 12).await;
    assert_eq!((at_follower.error_code, at_follower.preferred_read_replica), (0, -1), "{at_follower:?}");
    let old = fetch_from(&three, 1, "rack-2", 0, 10).await;
    assert_eq!(read_values(old.records.as_ref().unwrap()).len(), 5, "a version that knows no racks");
    // A follower that lags is as good as one that is not there.
    three.isolate_follower(2);
    let produced = three.send(1, "t", 0, "v5", 1).await;
    assert_eq!(produced.error_code, 0);
    let ahead = fetch_from(&three, 1, "rack-2", 6, 12).await;
    assert_eq!((ahead.error_code, ahead.preferred_read_replica), (0, -1), "{ahead:?}");
    three.heal();
    eventually("it has come", async || match fetch_from(&three, 1, "rack-2", 6, 12).await {
        sent if sent.preferred_read_replica == 2 => Ok(()),
        other => Err(other),
    })
    .await;
    three.kill(2);
    eventually("nobody is sent to the dead", async || match fetch_from(&three, 1, "rack-2", 0, 12).await {
        sent if sent.preferred_read_replica == -1 => Ok(()),
        other => Err(other),
    })
    .await;
    three.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_selector_the_leader_is_read() {
    let racks = |config: rkafka_broker_core::BrokerConfig| {
        let rack = format!("rack-{}", config.node_id);
        config.broker_rack(rack.as_str())
    };
    let three = Three::start(racks).await;
    three.create("t", &[&[1, 2, 3]], &[]).await;
    three.produce(1, "t", 0, values(0..5)).await;
    let read = fetch_from(&three, 1, "rack-2", 0, 12).await;
    assert_eq!((read.error_code, read.preferred_read_replica), (0, -1));
    assert_eq!(read_values(read.records.as_ref().unwrap()).len(), 5);
    three.shutdown().await;
}
