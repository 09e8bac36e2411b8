//! Share groups over the wire: who gets what, what a fall of the broker makes of it, and what administrators may do.

mod common;

use std::collections::BTreeMap;
use std::path::Path;

use common::{Client, batch, config_at};
use rkafka_broker_core::{Broker, BrokerHandle};
use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::alter_share_group_offsets_request::{
    AlterShareGroupOffsetsRequestPartition, AlterShareGroupOffsetsRequestTopic,
};
use rkafka_protocol::messages::delete_share_group_offsets_request::DeleteShareGroupOffsetsRequestTopic;
use rkafka_protocol::messages::delete_topics_request::DeleteTopicState;
use rkafka_protocol::messages::describe_share_group_offsets_request::DescribeShareGroupOffsetsRequestGroup;
use rkafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use rkafka_protocol::messages::share_acknowledge_request::{
    AcknowledgePartition, AcknowledgeTopic, AcknowledgementBatch,
};
use rkafka_protocol::messages::share_fetch_request::{FetchPartition, FetchTopic};
use rkafka_protocol::messages::share_fetch_response::ShareFetchResponse;
use rkafka_protocol::messages::share_group_heartbeat_response::ShareGroupHeartbeatResponse;
use rkafka_protocol::messages::update_features_request::FeatureUpdateKey;
use rkafka_protocol::messages::{
    AlterShareGroupOffsetsRequest, DeleteGroupsRequest, DeleteShareGroupOffsetsRequest, DeleteTopicsRequest,
    DescribeShareGroupOffsetsRequest, EndTxnRequest, FindCoordinatorRequest, IncrementalAlterConfigsRequest,
    InitProducerIdRequest, ShareAcknowledgeRequest, ShareFetchRequest, ShareGroupDescribeRequest,
    ShareGroupHeartbeatRequest, UpdateFeaturesRequest,
};
use rkafka_protocol::records::{Attributes, BatchOptions, encode_batch};
use uuid::Uuid;

const GROUP: &str = "g";
const ACCEPT: i8 = 1;
const RELEASE: i8 = 2;
const REJECT: i8 = 3;

async fn start(dir: &Path) -> BrokerHandle {
    let mut config = config_at(dir);
    config.set("share.coordinator.state.topic.num.partitions", "3").unwrap();
    Broker::start(config).await.unwrap()
}

/// A member of the group, and the connection of its share session.
struct Member {
    client: Client,
    id: String,
    topic_id: Uuid,
    session_epoch: i32,
    max_wait_ms: i32,
}

impl Member {
    async fn join(broker: &BrokerHandle, id: &str, topic: &str) -> (Self, ShareGroupHeartbeatResponse) {
        let mut client = Client::connect(broker).await;
        let response = client.call(&heartbeat(id, 0, Some(topic)), 1).await;
        assert_eq!(response.error_code, 0, "{:?}", response.error_message);
        let topic_id = broker.state().image().topic(topic).unwrap().id;
        (Self { client, id: id.to_owned(), topic_id, session_epoch: 0, max_wait_ms: 0 }, response)
    }

    async fn try_fetch(&mut self) -> ShareFetchResponse {
        let partitions = vec![FetchPartition { partition_index: 0, ..Default::default() }];
        let topics = vec![FetchTopic { topic_id: self.topic_id, partitions, ..Default::default() }];
        let request = ShareFetchRequest {
            group_id: Some(GROUP.to_owned()),
            member_id: Some(self.id.clone()),
            share_session_epoch: self.session_epoch,
            max_wait_ms: self.max_wait_ms,
            max_bytes: 1 << 20,
            max_records: 500,
            batch_size: 500,
            topics: if self.session_epoch == 0 { topics } else { Vec::new() },
            ..Default::default()
        };
        self.session_epoch += 1;
        self.client.call(&request, 2).await
    }

    /// The offsets that were acquired, each with how often it was delivered.
    async fn fetch(&mut self) -> BTreeMap<i64, i16> {
        let response = self.try_fetch().await;
        assert_eq!(response.error_code, 0, "{:?}", response.error_message);
        let mut acquired = BTreeMap::new();
        for partition in response.responses.iter().flat_map(|topic| &topic.partitions) {
            assert_eq!(partition.error_code, 0, "{:?}", partition.error_message);
            for range in &partition.acquired_records {
                acquired.extend((range.first_offset..=range.last_offset).map(|offset| (offset, range.delivery_count)));
            }
        }
        acquired
    }

    async fn acknowledge(&mut self, first_offset: i64, types: &[i8]) -> ErrorCode {
        let batch = AcknowledgementBatch {
            first_offset,
            last_offset: first_offset + i64::try_from(types.len()).unwrap() - 1,
            acknowledge_types: types.to_vec(),
            ..Default::default()
        };
        let partitions = vec![AcknowledgePartition {
            partition_index: 0,
            acknowledgement_batches: vec![batch],
            ..Default::default()
        }];
        let request = ShareAcknowledgeRequest {
            group_id: Some(GROUP.to_owned()),
            member_id: Some(self.id.clone()),
            share_session_epoch: self.session_epoch,
            topics: vec![AcknowledgeTopic { topic_id: self.topic_id, partitions, ..Default::default() }],
            ..Default::default()
        };
        self.session_epoch += 1;
        let response = self.client.call(&request, 2).await;
        assert_eq!(response.error_code, 0, "{:?}", response.error_message);
        ErrorCode::from_code(response.responses[0].partitions[0].error_code)
    }
}

fn heartbeat(id: &str, epoch: i32, topic: Option<&str>) -> ShareGroupHeartbeatRequest {
    ShareGroupHeartbeatRequest {
        group_id: GROUP.to_owned(),
        member_id: id.to_owned(),
        member_epoch: epoch,
        subscribed_topic_names: topic.map(|topic| vec![topic.to_owned()]),
        ..Default::default()
    }
}

async fn set(client: &mut Client, name: &str, value: &str) {
    let config = AlterableConfig { name: name.to_owned(), value: Some(value.to_owned()), ..Default::default() };
    let resource = AlterConfigsResource {
        resource_type: 32,
        resource_name: GROUP.to_owned(),
        configs: vec![config],
        ..Default::default()
    };
    let request = IncrementalAlterConfigsRequest { resources: vec![resource], ..Default::default() };
    assert_eq!(client.call(&request, 1).await.responses[0].error_code, 0);
}

/// Start and lag of each partition that the group is on.
async fn offsets(client: &mut Client) -> Result<Vec<(i64, i64)>, ErrorCode> {
    let group =
        DescribeShareGroupOffsetsRequestGroup { group_id: GROUP.to_owned(), topics: None, ..Default::default() };
    let request = DescribeShareGroupOffsetsRequest { groups: vec![group], ..Default::default() };
    let group = client.call(&request, 1).await.groups.remove(0);
    ErrorCode::check(group.error_code)?;
    let partitions = group.topics.iter().flat_map(|topic| &topic.partitions);
    Ok(partitions.map(|partition| (partition.start_offset, partition.lag)).collect())
}

async fn alter(client: &mut Client, topic: &str, offset: i64) -> (ErrorCode, Option<ErrorCode>) {
    let partition = AlterShareGroupOffsetsRequestPartition { start_offset: offset, ..Default::default() };
    let request = AlterShareGroupOffsetsRequest {
        group_id: GROUP.to_owned(),
        topics: vec![AlterShareGroupOffsetsRequestTopic {
            topic_name: topic.to_owned(),
            partitions: vec![partition],
            ..Default::default()
        }],
        ..Default::default()
    };
    let response = client.call(&request, 0).await;
    let partition = response.responses.first().map(|topic| ErrorCode::from_code(topic.partitions[0].error_code));
    (ErrorCode::from_code(response.error_code), partition)
}

#[tokio::test]
async fn what_was_acknowledged_does_not_come_again_over_a_fall() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path()).await;
    let mut admin = Client::connect(&broker).await;
    admin.create_topic("t", 1, &[]).await;
    set(&mut admin, "share.auto.offset.reset", "earliest").await;
    for number in 0..10 {
        assert_eq!(admin.produce("t", 0, batch(&[&number.to_string()])).await.error_code, 0);
    }
    let (mut member, joined) = Member::join(&broker, "m", "t").await;
    let assigned = &joined.assignment.as_ref().unwrap().topic_partitions;
    assert_eq!((joined.member_epoch, assigned.len(), assigned[0].partitions.as_slice()), (1, 1, &[0][..]));
    assert_eq!(member.fetch().await, (0..10).map(|offset| (offset, 1)).collect());
    assert_eq!(member.acknowledge(0, &[ACCEPT; 4]).await, ErrorCode::None);
    assert_eq!(member.acknowledge(4, &[RELEASE, RELEASE, REJECT]).await, ErrorCode::None);
    assert_eq!(member.acknowledge(6, &[ACCEPT]).await, ErrorCode::InvalidRecordState, "it is done with");
    assert_eq!(offsets(&mut admin).await, Ok(vec![(4, 5)]), "4, 5, 7, 8 and 9 are left");
    drop((member, admin, broker));

    let broker = start(dir.path()).await;
    let mut admin = Client::connect(&broker).await;
    assert_eq!(offsets(&mut admin).await, Ok(vec![(4, 5)]));
    let on = admin.call(&heartbeat("m", 1, None), 1).await;
    assert_eq!((on.error_code, on.member_epoch), (0, 1), "the member is still one");
    let (mut member, _) = Member::join(&broker, "m", "t").await;
    // What was given back counts as delivered; what nobody has said anything of does not.
    let again = BTreeMap::from([(4, 2), (5, 2), (7, 1), (8, 1), (9, 1)]);
    assert_eq!(member.fetch().await, again);
    assert_eq!(member.acknowledge(4, &[ACCEPT; 2]).await, ErrorCode::None);
    assert_eq!(member.acknowledge(7, &[ACCEPT; 3]).await, ErrorCode::None);
    assert_eq!(offsets(&mut admin).await, Ok(vec![(10, 0)]));
    drop((member, admin));
    broker.shutdown().await.unwrap();

    let broker = start(dir.path()).await;
    let (mut member, _) = Member::join(&broker, "other", "t").await;
    assert!(member.fetch().await.is_empty());
    drop(member);
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn what_a_member_holds_comes_back_with_its_connection() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path()).await;
    let mut admin = Client::connect(&broker).await;
    admin.create_topic("t", 1, &[]).await;
    set(&mut admin, "share.auto.offset.reset", "earliest").await;
    admin.produce("t", 0, batch(&["a", "b"])).await;
    let (mut first, _) = Member::join(&broker, "first", "t").await;
    let (mut second, _) = Member::join(&broker, "second", "t").await;
    assert_eq!(first.fetch().await, BTreeMap::from([(0, 1), (1, 1)]));
    assert!(second.fetch().await.is_empty(), "no record is with two members");
    assert_eq!(second.acknowledge(0, &[ACCEPT]).await, ErrorCode::InvalidRecordState);
    drop(first);
    let mut got = second.fetch().await;
    while got.is_empty() {
        // The broker notices the end of a connection when it does.
        tokio::task::yield_now().await;
        got = second.fetch().await;
    }
    // As in Kafka, what was lost with a session was not delivered.
    assert_eq!(got, BTreeMap::from([(0, 1), (1, 1)]));
    drop((second, admin));
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_group_that_reads_committed_is_given_no_aborted_or_open_transaction() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path()).await;
    let mut admin = Client::connect(&broker).await;
    admin.create_topic("t", 1, &[]).await;
    set(&mut admin, "share.auto.offset.reset", "earliest").await;
    set(&mut admin, "share.isolation.level", "read_committed").await;
    let find = FindCoordinatorRequest { key_type: 1, coordinator_keys: vec!["x".to_owned()], ..Default::default() };
    assert_eq!(admin.call(&find, 6).await.coordinators[0].error_code, 0);
    let init = InitProducerIdRequest {
        transactional_id: Some("x".to_owned()),
        transaction_timeout_ms: 60_000,
        ..Default::default()
    };
    let producer = admin.call(&init, 5).await;
    let (mut id, mut epoch) = (producer.producer_id, producer.producer_epoch);
    let (mut member, _) = Member::join(&broker, "m", "t").await;
    // Offsets: 0 and 1 aborted, 2 its marker, 3 committed, 4 its marker, 5 plain.
    for (sequence, (values, committed)) in [(&["a", "b"][..], false), (&["c"][..], true)].into_iter().enumerate() {
        let options = BatchOptions::default()
            .with_producer(id, epoch, 0)
            .with_attributes(Attributes::default().with_transactional(true));
        let records = values.iter().map(|value| (None, Some(value.as_bytes())));
        let bytes = encode_batch(Vec::new(), options, 1_700_000_000_000, records).unwrap().into_bytes();
        let mut request = common::produce_request("t", 0, bytes, -1);
        request.transactional_id = Some("x".to_owned());
        let produced = admin.call(&request, 12).await;
        assert_eq!(produced.responses[0].partition_responses[0].error_code, 0, "transaction {sequence}");
        assert!(member.fetch().await.keys().all(|offset| *offset < 3), "an open transaction is not told of");
        let end = EndTxnRequest {
            transactional_id: "x".to_owned(),
            producer_id: id,
            producer_epoch: epoch,
            committed,
            ..Default::default()
        };
        let ended = admin.call(&end, 5).await;
        assert_eq!(ended.error_code, 0);
        (id, epoch) = (ended.producer_id, ended.producer_epoch);
    }
    admin.produce("t", 0, batch(&["d"])).await;
    let (mut other, _) = Member::join(&broker, "n", "t").await;
    let mut seen = Vec::new();
    for member in [&mut member, &mut other] {
        for _ in 0..3 {
            seen.extend(member.fetch().await.into_keys());
        }
    }
    assert!(!seen.contains(&0) && !seen.contains(&1), "aborted records were given: {seen:?}");
    assert!(seen.contains(&3) && seen.contains(&5), "{seen:?}");
    drop((member, other, admin));
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn administrators_see_move_and_delete() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path()).await;
    let mut admin = Client::connect(&broker).await;
    admin.create_topic("t", 1, &[]).await;
    for _ in 0..10 {
        admin.produce("t", 0, batch(&["v"])).await;
    }
    assert_eq!(offsets(&mut admin).await, Ok(Vec::new()));
    // A group that is not there is made, and begins where it was told to.
    assert_eq!(alter(&mut admin, "t", 4).await, (ErrorCode::None, Some(ErrorCode::None)));
    assert_eq!(alter(&mut admin, "none", 4).await.1, Some(ErrorCode::UnknownTopicOrPartition));
    assert_eq!(alter(&mut admin, "t", -2).await.1, Some(ErrorCode::InvalidRequest));
    assert_eq!(offsets(&mut admin).await, Ok(vec![(4, 6)]));
    let (mut member, joined) = Member::join(&broker, "m", "t").await;
    assert_eq!(member.fetch().await, (4..10).map(|offset| (offset, 1)).collect());
    assert_eq!(alter(&mut admin, "t", 0).await, (ErrorCode::NonEmptyGroup, None));
    let delete = DeleteGroupsRequest { groups_names: vec![GROUP.to_owned()], ..Default::default() };
    assert_eq!(admin.call(&delete, 2).await.results[0].error_code, ErrorCode::NonEmptyGroup.code());
    let describe = ShareGroupDescribeRequest { group_ids: vec![GROUP.to_owned()], ..Default::default() };
    let described = admin.call(&describe, 1).await.groups.remove(0);
    assert_eq!((described.group_state.as_str(), described.assignor_name.as_str()), ("Stable", "simple"));
    assert_eq!(described.members[0].assignment.topic_partitions[0].topic_name, "t");
    assert_eq!(described.members[0].member_epoch, joined.member_epoch);

    assert_eq!(admin.call(&heartbeat("m", -1, None), 1).await.member_epoch, -1);
    assert_eq!(alter(&mut admin, "t", 8).await, (ErrorCode::None, Some(ErrorCode::None)));
    // What the member still holds is of a state that is over; a new fetch finds the new one.
    assert_ne!(member.acknowledge(4, &[ACCEPT; 6]).await, ErrorCode::None);
    assert_eq!(offsets(&mut admin).await, Ok(vec![(8, 2)]));
    let (mut heir, _) = Member::join(&broker, "n", "t").await;
    assert_eq!(heir.fetch().await, BTreeMap::from([(8, 1), (9, 1)]));
    admin.call(&heartbeat("n", -1, None), 1).await;
    drop((member, heir));

    let topics = ["t", "none"]
        .map(|name| DeleteShareGroupOffsetsRequestTopic { topic_name: name.to_owned(), ..Default::default() });
    let forget =
        DeleteShareGroupOffsetsRequest { group_id: GROUP.to_owned(), topics: topics.to_vec(), ..Default::default() };
    let codes = |response: rkafka_protocol::messages::DeleteShareGroupOffsetsResponse| {
        response.responses.iter().map(|topic| ErrorCode::from_code(topic.error_code)).collect::<Vec<_>>()
    };
    let unknown = ErrorCode::UnknownTopicOrPartition;
    assert_eq!(codes(admin.call(&forget, 0).await), [ErrorCode::None, unknown]);
    assert_eq!(codes(admin.call(&forget, 0).await), [unknown, unknown]);
    assert_eq!(offsets(&mut admin).await, Ok(Vec::new()));
    assert_eq!(alter(&mut admin, "t", 9).await.0, ErrorCode::None);
    assert_eq!(admin.call(&delete, 2).await.results[0].error_code, 0);
    assert_eq!(admin.call(&delete, 2).await.results[0].error_code, ErrorCode::GroupIdNotFound.code());
    drop(admin);
    broker.shutdown().await.unwrap();

    // Nothing of it is left: the next group of this name begins anew, also after the topic is made again.
    let broker = start(dir.path()).await;
    let mut admin = Client::connect(&broker).await;
    assert_eq!(offsets(&mut admin).await, Ok(Vec::new()));
    let (_, joined) = Member::join(&broker, "m", "t").await;
    assert_eq!(offsets(&mut admin).await, Ok(vec![(-1, -1)]));
    let topic = DeleteTopicState { name: Some("t".to_owned()), ..Default::default() };
    let request = DeleteTopicsRequest { topics: vec![topic], timeout_ms: 1000, ..Default::default() };
    assert_eq!(admin.call(&request, 6).await.responses[0].error_code, 0);
    assert_eq!(offsets(&mut admin).await, Ok(Vec::new()));
    let on = admin.call(&heartbeat("m", joined.member_epoch, Some("t")), 1).await;
    assert_eq!(on.error_code, 0);
    drop(admin);
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn the_share_coordinator_is_found_by_well_formed_keys() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path()).await;
    let mut client = Client::connect(&broker).await;
    let keys = ["g:x:AAAAAAAAAAAAAAAAAAAAAQ:0", "AAAAAAAAAAAAAAAAAAAAAQ:0", "g:short:0", "g:AAAAAAAAAAAAAAAAAAAAAQ:-1"];
    let request = FindCoordinatorRequest {
        key_type: 2,
        coordinator_keys: keys.iter().map(|key| (*key).to_owned()).collect(),
        ..Default::default()
    };
    let found = client.call(&request, 6).await.coordinators;
    let codes: Vec<_> = found.iter().map(|one| ErrorCode::from_code(one.error_code)).collect();
    let invalid = ErrorCode::InvalidRequest;
    assert_eq!(codes, [ErrorCode::None, invalid, invalid, invalid]);
    assert_eq!(found[0].node_id, 1);
    assert!(broker.state().image().topic("__share_group_state").is_some());
    drop(client);
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn who_is_in_no_group_is_given_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path()).await;
    let mut client = Client::connect(&broker).await;
    client.create_topic("t", 1, &[]).await;
    client.produce("t", 0, batch(&["a"])).await;
    let topic_id = broker.state().image().topic("t").unwrap().id;
    let mut stranger = Member { client, id: "s".to_owned(), topic_id, session_epoch: 0, max_wait_ms: 0 };
    let response = stranger.try_fetch().await;
    let error = ErrorCode::from_code(response.responses[0].partitions[0].error_code);
    assert_eq!((response.error_code, error), (0, ErrorCode::UnknownTopicOrPartition));
    assert_eq!(offsets(&mut stranger.client).await, Ok(Vec::new()));
    drop(stranger);
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn without_the_feature_there_are_no_share_groups() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path()).await;
    let mut admin = Client::connect(&broker).await;
    admin.create_topic("t", 1, &[]).await;
    let update = FeatureUpdateKey {
        feature: "share.version".to_owned(),
        max_version_level: 0,
        upgrade_type: 2,
        ..Default::default()
    };
    let request = UpdateFeaturesRequest { timeout_ms: 1000, feature_updates: vec![update], ..Default::default() };
    assert_eq!(admin.call(&request, 2).await.error_code, 0);
    let unsupported = ErrorCode::UnsupportedVersion;
    let refused = admin.call(&heartbeat("m", 0, Some("t")), 1).await;
    assert_eq!(refused.error_code, unsupported.code());
    assert_eq!(offsets(&mut admin).await, Err(unsupported));
    assert_eq!(alter(&mut admin, "t", 0).await.0, unsupported);
    let topic_id = broker.state().image().topic("t").unwrap().id;
    let mut member = Member { client: admin, id: "m".to_owned(), topic_id, session_epoch: 0, max_wait_ms: 0 };
    assert_eq!(member.try_fetch().await.error_code, unsupported.code());
    drop(member);
    broker.shutdown().await.unwrap();
}

/// Of members that wait, the one that came back first had every record, for all were woken and it was the quickest.
#[tokio::test]
async fn members_that_wait_are_served_in_the_order_of_their_coming() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path()).await;
    let mut admin = Client::connect(&broker).await;
    admin.create_topic("t", 1, &[]).await;
    set(&mut admin, "share.auto.offset.reset", "earliest").await;
    let (told, mut taken) = tokio::sync::mpsc::unbounded_channel();
    let mut waiting = tokio::task::JoinSet::new();
    for id in 0..3_usize {
        let (mut member, _) = Member::join(&broker, &format!("member {id}"), "t").await;
        member.max_wait_ms = 60_000;
        let told = told.clone();
        waiting.spawn(async move {
            loop {
                let acquired = member.fetch().await;
                let (Some(first), Some(last)) = (acquired.keys().next(), acquired.keys().last()) else { continue };
                let accepted = vec![ACCEPT; usize::try_from(last - first + 1).unwrap()];
                assert_eq!(member.acknowledge(*first, &accepted).await, ErrorCode::None);
                told.send((id, acquired.len())).unwrap();
            }
        });
    }
    let mut records = [0; 3];
    for round in 0..30 {
        // Time for those that came back to stand in the queue again.
        #[expect(clippy::disallowed_methods, reason = "nobody tells from outside that a fetch waits")]
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        admin.produce("t", 0, batch(&["a"])).await;
        let (id, count) = taken.recv().await.unwrap();
        assert_eq!(count, 1, "in round {round}");
        records[id] += 1;
    }
    assert!(records.iter().all(|count| *count >= 7), "10 of 30 would be fair: {records:?}");
    // Whoever goes away in the queue holds up nobody.
    waiting.shutdown().await;
    let (mut next, _) = Member::join(&broker, "next", "t").await;
    next.max_wait_ms = 60_000;
    admin.produce("t", 0, batch(&["a"])).await;
    assert_eq!(next.fetch().await.len(), 1);
    drop((next, admin));
    broker.shutdown().await.unwrap();
}
