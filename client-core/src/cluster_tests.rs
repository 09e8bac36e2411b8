use super::*;
use rkafka_protocol::messages::metadata_response::MetadataResponseBroker;

fn response(epoch: i32, leader: i32, id: u128) -> MetadataResponse {
    let partition = MetadataResponsePartition {
        partition_index: 0,
        leader_id: leader,
        leader_epoch: epoch,
        replica_nodes: vec![1, 2],
        isr_nodes: vec![leader],
        ..Default::default()
    };
    let topic = MetadataResponseTopic {
        name: Some("t".to_owned()),
        topic_id: Uuid::from_u128(id),
        partitions: vec![partition],
        ..Default::default()
    };
    let broker = |node_id| MetadataResponseBroker { node_id, host: "h".to_owned(), port: 9092, ..Default::default() };
    MetadataResponse {
        brokers: vec![broker(1), broker(2)],
        cluster_id: Some("c".to_owned()),
        controller_id: 1,
        topics: vec![topic],
        ..Default::default()
    }
}

fn leader(cluster: &Cluster) -> Option<(i32, i32)> {
    cluster.leader("t", 0).map(|(broker, epoch)| (broker.node_id, epoch))
}

#[test]
fn no_older_leader_comes_back() {
    let cluster = Cluster::default().updated(&response(5, 1, 7), false);
    assert_eq!(leader(&cluster), Some((1, 5)));
    assert_eq!(leader(&cluster.updated(&response(4, 2, 7), false)), Some((1, 5)), "older");
    assert_eq!(leader(&cluster.updated(&response(6, 2, 7), false)), Some((2, 6)), "newer");
    assert_eq!(leader(&cluster.updated(&response(0, 2, 8), false)), Some((2, 0)), "another topic of the same name");
    assert_eq!(leader(&cluster.updated(&response(-1, 2, 0), false)), Some((2, -1)), "a broker that has no epochs");
    let mut elsewhere = response(0, 2, 7);
    elsewhere.cluster_id = Some("other".to_owned());
    assert_eq!(leader(&cluster.updated(&elsewhere, false)), Some((2, 0)), "another cluster");
}

#[test]
fn a_cluster_that_has_gone_back_is_believed_in_the_end() {
    let mut cluster = Cluster::default().updated(&response(5, 1, 7), false);
    for _ in 0..5 {
        cluster = cluster.updated(&response(3, 2, 7), false);
        assert_eq!(leader(&cluster), Some((1, 5)));
    }
    assert_eq!(leader(&cluster.updated(&response(5, 1, 7), false).updated(&response(3, 2, 7), false)), Some((1, 5)));
    assert_eq!(leader(&cluster.updated(&response(3, 2, 7), false)), Some((2, 3)));
    // No leader at all is no epoch, however often it is told.
    let mut leaderless = cluster;
    for _ in 0..10 {
        leaderless = leaderless.updated(&response(-1, -1, 7), false);
        let partition = leaderless.partition("t", 0).map(|partition| (partition.leader, partition.leader_epoch));
        assert_eq!(partition, Some((None, 5)));
    }
    assert_eq!(
        leaderless.updated(&response(4, 2, 7), false).partition("t", 0).map(|known| known.leader_epoch),
        Some(5)
    );
}

#[test]
fn hints_count_when_they_are_newer_and_lead_somewhere() {
    let cluster = Cluster::default().updated(&response(5, 1, 7), false);
    assert!(cluster.with_leader("t", 0, 2, 5, &[]).is_none());
    assert!(cluster.with_leader("t", 0, -1, 9, &[]).is_none());
    assert!(cluster.with_leader("t", 0, 3, 6, &[]).is_none(), "no address");
    assert!(cluster.with_leader("t", 1, 2, 6, &[]).is_none(), "no partition");
    let next = cluster.with_leader("t", 0, 3, 6, &[Broker::new(3, HostPort::new("h3", 1), None)]).unwrap();
    assert_eq!(leader(&next), Some((3, 6)));
    assert_eq!(
        leader(&next.updated(&response(5, 1, 7), false)),
        None,
        "epoch 6 holds, though its broker is not listed"
    );
}

#[test]
fn topics_that_are_gone_are_named() {
    let cluster = Cluster::default().updated(&response(5, 1, 7), false);
    let mut gone = response(0, 0, 0);
    gone.topics[0].error_code = ErrorCode::UnknownTopicOrPartition.code();
    gone.topics[0].partitions.clear();
    let next = cluster.updated(&gone, false);
    assert!(next.topic("t").is_none() && next.topic_by_id(Uuid::from_u128(7)).is_none());
    assert_eq!(next.topic_error("t"), Some(ErrorCode::UnknownTopicOrPartition));
    let back = next.updated(&response(1, 1, 9), false);
    assert_eq!((back.topic_error("t"), leader(&back)), (None, Some((1, 1))));
    gone.topics[0].error_code = ErrorCode::LeaderNotAvailable.code();
    assert!(cluster.updated(&gone, false).topic("t").is_some(), "a leader is being elected");
    gone.topics.clear();
    assert!(cluster.updated(&gone, true).topic("t").is_none() && cluster.updated(&gone, false).topic("t").is_some());
}
