//! Groups that change their kind while they have members (KIP-848).

use bytes::Bytes;
use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::consumer_group_heartbeat_request::ConsumerGroupHeartbeatRequest;
use rkafka_protocol::messages::consumer_protocol_assignment::{ConsumerProtocolAssignment, TopicPartition};
use rkafka_protocol::wire::{Message, Reader, encode_to_vec};

use super::super::ClassicState;
use super::consumers::joining;
use super::world::{GROUP, TOPIC, World, join_request};
use crate::config::ConsumerGroupMigrationPolicy;

fn plan(partitions: &[i32]) -> String {
    let message = ConsumerProtocolAssignment {
        assigned_partitions: vec![TopicPartition { topic: TOPIC.to_owned(), partitions: partitions.to_vec() }],
        user_data: Some(Bytes::new()),
    };
    let mut bytes = vec![0, 0];
    bytes.extend(encode_to_vec(&message, 0).unwrap());
    String::from_utf8(bytes).expect("small numbers are text")
}

fn read(assignment: &Bytes) -> Vec<i32> {
    let mut reader = Reader::new(assignment.clone());
    assert_eq!(reader.i16().unwrap(), 0, "the version of the member's subscription");
    let message = ConsumerProtocolAssignment::decode(&mut reader, 0).unwrap();
    message.assigned_partitions.into_iter().flat_map(|topic| topic.partitions).collect()
}

impl World {
    /// A stable classic group of one member that has both partitions of the topic: its id and the generation.
    fn classic_with_all(&mut self) -> (String, i32) {
        self.topic(TOPIC, 2);
        let (id, waiter) = self.come();
        self.pass(10_000);
        let generation = self.joined(waiter).expect("joined").generation_id;
        let waiter = self.sync(&id, generation, &[(&id, &plan(&[0, 1]))]);
        assert_eq!(read(&self.synced(waiter).expect("synced").assignment), [0, 1]);
        (id, generation)
    }

    /// A classic member joins again and asks for its assignment: the new generation and what it has.
    fn rejoin_and_sync(&mut self, id: &str) -> (i32, Vec<i32>) {
        let waiter = self.join_as(&join_request(id, None), 9);
        let joined = self.joined(waiter).expect("answered at once");
        assert_eq!((joined.error_code, joined.leader.as_str()), (0, ""));
        let waiter = self.sync(id, joined.generation_id, &[]);
        let synced = self.synced(waiter).expect("answered at once");
        assert_eq!(synced.error_code, 0);
        (joined.generation_id, read(&synced.assignment))
    }
}

#[test]
fn a_classic_group_goes_up_and_down_with_its_members_in_it() {
    let mut world = World::new();
    let (old, generation) = world.classic_with_all();

    // A member of the consumer protocol joins. The classic one is told to join again, and gives up half.
    let (epoch, given) = world.come_848("new", &[TOPIC]);
    assert_eq!((epoch, given.len()), (generation + 1, 0));
    assert!(world.group().is_none(), "the classic group is no more");
    assert_eq!(world.shard.list(&[], &[])[0].group_type, "Consumer");
    assert_eq!(world.heartbeat(&old, None, generation), Err(ErrorCode::RebalanceInProgress));
    let (generation, kept) = world.rejoin_and_sync(&old);
    assert_eq!((generation, kept.len()), (epoch, 1));
    assert_eq!(world.heartbeat(&old, None, generation), Ok(()));
    let (epoch, given) = world.go_on("new", epoch, &[]);
    assert_eq!(given.expect("the other half")[TOPIC].len(), 1);
    assert_eq!(
        world.shard.describe_consumer(GROUP).members.iter().map(|one| i32::from(one.member_type)).sum::<i32>(),
        1
    );
    world.restart();
    assert_eq!(world.heartbeat(&old, None, generation), Ok(()));

    // The last member of the consumer protocol leaves, and the group is classic again.
    let leave = ConsumerGroupHeartbeatRequest { member_epoch: -1, ..joining("new", &[TOPIC]) };
    world.beat(&leave).expect("gone");
    assert!(world.shard.persisted.consumer(GROUP).is_none());
    assert_eq!(world.state(), Some(ClassicState::PreparingRebalance));
    assert_eq!(world.heartbeat(&old, None, epoch), Err(ErrorCode::RebalanceInProgress));
    let waiter = world.join_as(&join_request(&old, None), 9);
    let joined = world.joined(waiter).expect("it is alone");
    assert_eq!((joined.error_code, joined.leader), (0, old));
    assert!(joined.generation_id > epoch);
}

#[test]
fn waiting_requests_are_told_to_come_again_when_a_group_goes_up() {
    let mut world = World::new();
    world.topic(TOPIC, 1);
    let (id, waiter) = world.come();
    world.come_848("new", &[TOPIC]);
    assert_eq!(world.joined(waiter).expect("told").error_code, ErrorCode::RebalanceInProgress.code());
    let (_, has) = world.rejoin_and_sync(&id);
    assert!(has.len() <= 1);
}

#[test]
fn policies_forbid_either_way() {
    let mut world = World::new();
    world.set_848(|settings| settings.migration_policy = ConsumerGroupMigrationPolicy::Downgrade);
    world.classic_with_all();
    let error = world.beat(&joining("new", &[TOPIC])).expect_err("no upgrade");
    assert_eq!(error.code, ErrorCode::GroupIdNotFound);
    assert_eq!(
        error.message,
        "Cannot upgrade classic group group to consumer group because online upgrade is disabled."
    );

    let mut world = World::new();
    world.topic(TOPIC, 1);
    world.set_848(|settings| settings.migration_policy = ConsumerGroupMigrationPolicy::Disabled);
    world.come_848("new", &[TOPIC]);
    let waiter = world.join_as(&join_request("", None), 9);
    let refused = world.joined(waiter).expect("refused");
    assert_eq!(refused.error_code, ErrorCode::InconsistentGroupProtocol.code());

    let mut world = World::new();
    world.set_848(|settings| settings.migration_policy = ConsumerGroupMigrationPolicy::Upgrade);
    let (old, _) = world.classic_with_all();
    world.come_848("new", &[TOPIC]);
    world.rejoin_and_sync(&old);
    let leave = ConsumerGroupHeartbeatRequest { member_epoch: -1, ..joining("new", &[TOPIC]) };
    world.beat(&leave).expect("gone");
    assert_eq!(world.consumer().members.len(), 1, "it stays a consumer group");
    world.pass(2_000);
    assert_eq!(world.rejoin_and_sync(&old).1, [0, 1]);
}

#[test]
fn empty_groups_become_what_is_asked_for() {
    let mut world = World::new();
    world.topic(TOPIC, 1);
    world.come_848("new", &[TOPIC]);
    let leave = ConsumerGroupHeartbeatRequest { member_epoch: -1, ..joining("new", &[TOPIC]) };
    world.beat(&leave).expect("gone");
    let (id, waiter) = world.come();
    assert!(world.shard.persisted.consumer(GROUP).is_none());
    world.pass(10_000);
    let generation = world.joined(waiter).expect("joined").generation_id;
    world.sync(&id, generation, &[]);
    world.leave(&[(&id, None)]);
    assert_eq!(world.come_848("new", &[TOPIC]).1[TOPIC], [0]);
    assert!(world.shard.persisted.group(GROUP).is_some_and(|group| group.metadata.is_none()));
}

#[test]
fn a_static_member_goes_back_to_the_classic_protocol_alone() {
    let mut world = World::new();
    world.topic(TOPIC, 2);
    let request = ConsumerGroupHeartbeatRequest { instance_id: Some("i".to_owned()), ..joining("new", &[TOPIC]) };
    world.beat(&request).expect("a member");
    let waiter = world.join_as(&join_request("", Some("i")), 9);
    assert!(world.shard.persisted.consumer(GROUP).is_none(), "nobody speaks the consumer protocol any more");
    let joined = world.joined(waiter).expect("in its old place");
    assert_eq!(joined.error_code, 0);
    let waiter = world.sync(&joined.member_id, joined.generation_id, &[]);
    assert_eq!(read(&world.synced(waiter).expect("synced").assignment), [0, 1]);
    assert_eq!(world.state(), Some(ClassicState::Stable));
}

#[test]
fn nothing_changes_where_the_records_cannot_be_written() {
    let mut world = World::new();
    let (old, generation) = world.classic_with_all();
    world.fail_appends = true;
    assert_eq!(world.beat(&joining("new", &[TOPIC])).expect_err("not written").code, ErrorCode::NotCoordinator);
    assert_eq!(world.heartbeat(&old, None, generation), Ok(()));
    world.fail_appends = false;
    world.come_848("new", &[TOPIC]);
    world.fail_appends = true;
    let waiter = world.join_as(&join_request(&old, None), 9);
    assert_eq!(world.joined(waiter).expect("told").error_code, ErrorCode::NotCoordinator.code());
    world.fail_appends = false;
    world.rejoin_and_sync(&old);
}
