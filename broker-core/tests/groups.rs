//! Groups over a broker's connection, by raw frames in every version.

use bytes::Bytes;
use rkafka_broker_core::{Broker, BrokerConfig, BrokerHandle};
use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::create_topics_request::{CreatableTopic, CreateTopicsRequest};
use rkafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use rkafka_protocol::messages::leave_group_request::MemberIdentity;
use rkafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use rkafka_protocol::messages::offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use rkafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use rkafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use rkafka_protocol::messages::{
    DeleteGroupsRequest, DescribeGroupsRequest, FindCoordinatorRequest, HeartbeatRequest, JoinGroupRequest,
    JoinGroupResponse, LeaveGroupRequest, ListGroupsRequest, OffsetCommitRequest, OffsetDeleteRequest,
    OffsetFetchRequest, SyncGroupRequest,
};
use rkafka_protocol::wire::{Message, Reader, Request, Writer};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::task::JoinHandle;
use uuid::Uuid;

const TOPIC: &str = "topic";
const NONE: i16 = 0;

struct Client {
    stream: DuplexStream,
    correlation_id: i32,
    #[expect(dead_code, reason = "the connection lives as long as its client")]
    served: JoinHandle<()>,
}

impl Client {
    #[expect(clippy::disallowed_methods, reason = "the test drives the broker's end of the connection")]
    fn new(broker: &BrokerHandle) -> Self {
        let (stream, other) = tokio::io::duplex(1 << 20);
        Self { stream, correlation_id: 0, served: tokio::spawn(broker.serve(other)) }
    }

    async fn send<R: Request>(&mut self, version: i16, request: &R) {
        self.correlation_id += 1;
        let mut writer = Writer::new();
        writer.begin_frame();
        writer.i16(R::KEY as i16);
        writer.i16(version);
        writer.i32(self.correlation_id);
        writer.nullable_string(Some("raw"), false, true, "client_id").unwrap();
        if R::header_version(version) >= 2 {
            writer.unsigned_varint(0);
        }
        request.encode(&mut writer, version).unwrap();
        writer.end_frame().unwrap();
        self.stream.write_all(&writer.into_vec()).await.unwrap();
    }

    async fn receive<R: Request>(&mut self, version: i16) -> R::Response {
        let length = self.stream.read_u32().await.unwrap_or_else(|error| panic!("{} {version}: {error}", R::NAME));
        let mut frame = vec![0; length as usize];
        self.stream.read_exact(&mut frame).await.unwrap();
        let mut reader = Reader::new(Bytes::from(frame));
        assert_eq!(reader.i32().unwrap(), self.correlation_id);
        if R::response_header_version(version) >= 1 {
            assert_eq!(reader.unsigned_varint().unwrap(), 0);
        }
        let response = R::Response::decode(&mut reader, version).unwrap();
        reader.finish(R::Response::NAME).unwrap();
        response
    }

    async fn call<R: Request>(&mut self, version: i16, request: &R) -> R::Response {
        self.send(version, request).await;
        self.receive::<R>(version).await
    }

    async fn create_topic(&mut self) -> Uuid {
        let topic =
            CreatableTopic { name: TOPIC.to_owned(), num_partitions: 2, replication_factor: 1, ..Default::default() };
        let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 1000, ..Default::default() };
        let response = self.call(7, &request).await;
        assert_eq!(response.topics[0].error_code, NONE);
        response.topics[0].topic_id
    }

    /// Joins a group as its only member, with the id that the broker asks for.
    async fn join_alone(&mut self, group: &str, version: i16) -> JoinGroupResponse {
        let mut request = join(group);
        let mut response = self.call(version, &request).await;
        if response.error_code == ErrorCode::MemberIdRequired.code() {
            assert!(version >= 4);
            request.member_id = response.member_id;
            response = self.call(version, &request).await;
        }
        assert_eq!(response.error_code, NONE, "version {version}");
        assert_eq!(response.leader, response.member_id);
        response
    }
}

fn config() -> BrokerConfig {
    let mut config = BrokerConfig::new().in_memory(true).listeners("PLAINTEXT://127.0.0.1:0");
    config.set("group.initial.rebalance.delay.ms", "0").unwrap();
    config.set("offsets.topic.num.partitions", "3").unwrap();
    config
}

fn join(group: &str) -> JoinGroupRequest {
    JoinGroupRequest {
        group_id: group.to_owned(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 10_000,
        protocol_type: "consumer".to_owned(),
        protocols: vec![JoinGroupRequestProtocol {
            name: "range".to_owned(),
            metadata: Bytes::from_static(b"\0\0\0\0\0\x01\0\x05other\xff\xff\xff\xff"),
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn sync(group: &str, joined: &JoinGroupResponse, assignment: &'static [u8]) -> SyncGroupRequest {
    SyncGroupRequest {
        group_id: group.to_owned(),
        generation_id: joined.generation_id,
        member_id: joined.member_id.clone(),
        assignments: vec![SyncGroupRequestAssignment {
            member_id: joined.member_id.clone(),
            assignment: Bytes::from_static(assignment),
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn commit(group: &str, topic_id: Uuid, version: i16, offset: i64) -> OffsetCommitRequest {
    let partition = |partition_index| OffsetCommitRequestPartition {
        partition_index,
        committed_offset: offset,
        committed_metadata: Some("note".to_owned()),
        ..Default::default()
    };
    OffsetCommitRequest {
        group_id: group.to_owned(),
        topics: vec![OffsetCommitRequestTopic {
            name: if version < 10 { TOPIC.to_owned() } else { String::new() },
            topic_id: if version < 10 { Uuid::nil() } else { topic_id },
            partitions: vec![partition(0), partition(9)],
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn fetch(group: &str, topic_id: Uuid, version: i16) -> OffsetFetchRequest {
    if version < 8 {
        let topic =
            OffsetFetchRequestTopic { name: TOPIC.to_owned(), partition_indexes: vec![0, 1], ..Default::default() };
        return OffsetFetchRequest { group_id: group.to_owned(), topics: Some(vec![topic]), ..Default::default() };
    }
    let topic = OffsetFetchRequestTopics {
        name: if version < 10 { TOPIC.to_owned() } else { String::new() },
        topic_id: if version < 10 { Uuid::nil() } else { topic_id },
        partition_indexes: vec![0, 1],
        ..Default::default()
    };
    let one = |group_id: &str, topics| OffsetFetchRequestGroup {
        group_id: group_id.to_owned(),
        topics,
        ..Default::default()
    };
    OffsetFetchRequest { groups: vec![one(group, Some(vec![topic])), one("nobody", None)], ..Default::default() }
}

/// What a fetch of partitions 0 and 1 says, whatever its version.
async fn fetched(client: &mut Client, group: &str, topic_id: Uuid, version: i16) -> Vec<i64> {
    let response = client.call(version, &fetch(group, topic_id, version)).await;
    assert_eq!(response.error_code, NONE);
    if version < 8 {
        return response.topics[0].partitions.iter().map(|partition| partition.committed_offset).collect();
    }
    assert_eq!((response.groups.len(), response.groups[1].topics.len()), (2, 0));
    response.groups[0].topics[0].partitions.iter().map(|partition| partition.committed_offset).collect()
}

#[tokio::test]
async fn a_coordinator_is_found_in_every_version() {
    let broker = Broker::start(config()).await.unwrap();
    let mut client = Client::new(&broker);
    for version in 0..=6 {
        for key_type in if version == 0 { 0..=0 } else { 0..=3 } {
            let mut request = FindCoordinatorRequest { key_type, ..Default::default() };
            if version >= 4 {
                request.coordinator_keys = vec!["one".to_owned(), "two".to_owned()];
            } else {
                request.key = "one".to_owned();
            }
            let response = client.call(version, &request).await;
            let found: Vec<(i16, i32, i32)> = if version >= 4 {
                response.coordinators.iter().map(|one| (one.error_code, one.node_id, one.port)).collect()
            } else {
                vec![(response.error_code, response.node_id, response.port)]
            };
            assert_eq!(found.len(), if version >= 4 { 2 } else { 1 });
            for (error, node_id, port) in found {
                if key_type <= 1 {
                    assert_eq!((error, node_id), (NONE, 1));
                    assert!(broker.bootstrap().ends_with(&format!(":{port}")));
                } else {
                    assert_eq!((error, node_id), (ErrorCode::InvalidRequest.code(), -1));
                }
            }
        }
    }
}

#[tokio::test]
async fn offsets_are_committed_and_fetched_in_every_version() {
    let broker = Broker::start(config()).await.unwrap();
    let mut client = Client::new(&broker);
    let topic_id = client.create_topic().await;
    for version in 2..=10 {
        let group = format!("group-{version}");
        let response = client.call(version, &commit(&group, topic_id, version, i64::from(version))).await;
        let codes: Vec<i16> = response.topics[0].partitions.iter().map(|one| one.error_code).collect();
        assert_eq!(codes.len(), 2, "partition 0 is there, partition 9 is not");
        assert!(codes.contains(&NONE) && codes.contains(&ErrorCode::UnknownTopicOrPartition.code()), "{codes:?}");
        for fetch_version in 1..=10 {
            let offsets = fetched(&mut client, &group, topic_id, fetch_version).await;
            assert_eq!(offsets, [i64::from(version), -1], "{version} {fetch_version}");
        }
    }
    let unknown = client.call(10, &commit("group", Uuid::from_u128(7), 10, 1)).await;
    assert_eq!(unknown.topics[0].partitions[0].error_code, ErrorCode::UnknownTopicId.code());
}

#[tokio::test]
async fn a_member_joins_syncs_heartbeats_and_leaves_in_every_version() {
    let broker = Broker::start(config()).await.unwrap();
    let mut client = Client::new(&broker);
    for version in 0..=9 {
        let group = format!("group-{version}");
        let joined = client.join_alone(&group, version).await;
        assert_eq!((joined.generation_id, joined.protocol_name.as_deref()), (1, Some("range")));
        assert_eq!(joined.members.len(), 1);
        let synced = client.call(version.min(5), &sync(&group, &joined, b"plan")).await;
        assert_eq!((synced.error_code, synced.assignment.as_ref()), (NONE, b"plan".as_slice()));
        let mut beat = HeartbeatRequest {
            group_id: group.clone(),
            generation_id: 1,
            member_id: joined.member_id.clone(),
            ..Default::default()
        };
        assert_eq!(client.call(version.min(4), &beat).await.error_code, NONE);
        beat.generation_id = 2;
        assert_eq!(client.call(version.min(4), &beat).await.error_code, ErrorCode::IllegalGeneration.code());

        let describe = DescribeGroupsRequest {
            groups: vec![group.clone(), "nobody".to_owned()],
            include_authorized_operations: version >= 3,
            ..Default::default()
        };
        let described = client.call(version.min(6), &describe).await;
        assert_eq!((described.groups[0].group_state.as_str(), described.groups[0].members.len()), ("Stable", 1));
        assert_eq!(described.groups[1].group_state, "Dead");

        let leave_version = version.min(5);
        let mut leave = LeaveGroupRequest { group_id: group.clone(), ..Default::default() };
        if leave_version >= 3 {
            let member_id = joined.member_id.clone();
            leave.members = vec![MemberIdentity { member_id, ..Default::default() }];
        } else {
            leave.member_id = joined.member_id.clone();
        }
        assert_eq!(client.call(leave_version, &leave).await.error_code, NONE);
        let again = client.call(leave_version, &leave).await;
        let error = again.members.first().map_or(again.error_code, |member| member.error_code);
        assert_eq!(error, ErrorCode::UnknownMemberId.code());
    }
    for version in 0..=5 {
        let listed = client.call(version, &ListGroupsRequest::default()).await;
        assert_eq!((listed.error_code, listed.groups.len()), (NONE, 10));
    }
    for version in 0..=2 {
        let groups_names = vec![format!("group-{version}"), "nobody".to_owned()];
        let deleted = client.call(version, &DeleteGroupsRequest { groups_names, ..Default::default() }).await;
        let codes: Vec<i16> = deleted.results.iter().map(|one| one.error_code).collect();
        assert_eq!(codes, [NONE, ErrorCode::GroupIdNotFound.code()]);
    }
}

#[tokio::test]
async fn refusals_can_be_said_in_every_version() {
    let broker = Broker::start(config()).await.unwrap();
    let mut client = Client::new(&broker);
    for version in 0..=9 {
        let request = JoinGroupRequest { session_timeout_ms: 1, ..join("group") };
        let response = client.call(version, &request).await;
        assert_eq!(response.error_code, ErrorCode::InvalidSessionTimeout.code());
        let response = client.call(version.min(5), &sync("group", &JoinGroupResponse::default(), b"")).await;
        assert_eq!(response.error_code, ErrorCode::UnknownMemberId.code());
    }
    let delete = OffsetDeleteRequest {
        group_id: "nobody".to_owned(),
        topics: vec![OffsetDeleteRequestTopic {
            name: TOPIC.to_owned(),
            partitions: vec![OffsetDeleteRequestPartition { partition_index: 0 }],
        }],
    };
    assert_eq!(client.call(0, &delete).await.error_code, ErrorCode::GroupIdNotFound.code());
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_ends_while_its_member_waits_does_not_hold_up_the_group() {
    let broker = Broker::start(config()).await.unwrap();
    let (mut one, mut two) = (Client::new(&broker), Client::new(&broker));
    let joined = one.join_alone("group", 3).await;
    one.call(3, &sync("group", &joined, b"plan")).await;
    // Somebody without an id begins a rebalance that waits for the first member, and hangs up.
    two.send(3, &join("group")).await;
    let beat = HeartbeatRequest {
        group_id: "group".to_owned(),
        generation_id: joined.generation_id,
        member_id: joined.member_id.clone(),
        ..Default::default()
    };
    while one.call(3, &beat).await.error_code != ErrorCode::RebalanceInProgress.code() {
        tokio::task::yield_now().await;
    }
    drop(two);
    let request = JoinGroupRequest { member_id: joined.member_id.clone(), ..join("group") };
    loop {
        let described = DescribeGroupsRequest { groups: vec!["group".to_owned()], ..Default::default() };
        if one.call(3, &described).await.groups[0].members.len() == 1 {
            break;
        }
        tokio::task::yield_now().await;
    }
    let again = one.call(3, &request).await;
    assert_eq!((again.error_code, again.generation_id, again.members.len()), (NONE, 2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_session_ends_by_the_clock() {
    let broker = Broker::start(config()).await.unwrap();
    let mut client = Client::new(&broker);
    let joined = client.join_alone("group", 9).await;
    client.call(5, &sync("group", &joined, b"plan")).await;
    tokio::time::advance(std::time::Duration::from_millis(10_001)).await;
    loop {
        let request = DescribeGroupsRequest { groups: vec!["group".to_owned()], ..Default::default() };
        if client.call(5, &request).await.groups[0].group_state == "Empty" {
            break;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_restarted_broker_knows_offsets_and_members() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config().in_memory(false);
    config.set("log.dirs", dir.path().to_str().unwrap()).unwrap();
    let broker = Broker::start(config.clone()).await.unwrap();
    let mut client = Client::new(&broker);
    let topic_id = client.create_topic().await;
    let response = client.call(9, &commit("offsets", topic_id, 9, 42)).await;
    assert_eq!(response.topics[0].partitions.iter().filter(|one| one.error_code == NONE).count(), 1);
    let joined = client.join_alone("group", 9).await;
    client.call(5, &sync("group", &joined, b"plan")).await;
    drop(client);
    broker.shutdown().await.unwrap();

    let broker = Broker::start(config).await.unwrap();
    let mut client = Client::new(&broker);
    assert_eq!(fetched(&mut client, "offsets", topic_id, 9).await, [42, -1]);
    let synced = client.call(5, &sync("group", &joined, b"")).await;
    assert_eq!((synced.error_code, synced.assignment.as_ref()), (NONE, b"plan".as_slice()));
    broker.shutdown().await.unwrap();
}
