//! Consumer groups of KIP-848: one step at a time.

use std::collections::BTreeMap;
use std::sync::Arc;

use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::consumer_group_heartbeat_request::{
    ConsumerGroupHeartbeatRequest, TopicPartitions as OwnedTopic,
};
use rkafka_protocol::messages::consumer_group_heartbeat_response::ConsumerGroupHeartbeatResponse;
use rkafka_protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;
use rkafka_protocol::messages::{PartitionRecord, RemoveTopicRecord, TopicRecord};
use uuid::Uuid;

use super::super::consumer::{ConsumerGroup, ConsumerGroupSettings};
use super::super::{GroupError, HeartbeatingClient, append_error};
use super::world::{GROUP, World, commit_request};
use crate::controller::{MetadataImage, MetadataRecord};

pub(super) const REVOKE_MS: i32 = 60_000;

/// Partitions by the name of their topic.
pub(super) type Named = BTreeMap<String, Vec<i32>>;

pub(super) fn topic_id(name: &str) -> Uuid {
    Uuid::from_u128(name.bytes().fold(1000, |id, byte| id * 256 + u128::from(byte)))
}

impl World {
    fn change_image(&mut self, records: &[MetadataRecord]) {
        let mut image = MetadataImage::clone(&self.shard.image);
        for record in records {
            let offset = image.next_offset();
            image.replay(offset, record);
        }
        self.shard.see(Arc::new(image));
    }

    /// Makes a topic, or adds partitions to it.
    pub fn topic(&mut self, name: &str, partitions: i32) {
        let has = self.shard.image.topic(name).map_or(0, |topic| topic.partitions.len() as i32);
        let mut records = Vec::new();
        if self.shard.image.topic(name).is_none() {
            records.push(MetadataRecord::Topic(TopicRecord {
                name: name.to_owned(),
                topic_id: topic_id(name),
                ..Default::default()
            }));
        }
        let partition = |partition_id| PartitionRecord { partition_id, topic_id: topic_id(name), ..Default::default() };
        records.extend((has..partitions).map(|index| MetadataRecord::Partition(partition(index))));
        self.change_image(&records);
    }

    pub fn remove_topic(&mut self, name: &str) {
        let record = RemoveTopicRecord { topic_id: topic_id(name), ..Default::default() };
        self.change_image(&[MetadataRecord::RemoveTopic(record)]);
    }

    pub fn consumer(&self) -> &ConsumerGroup {
        self.shard.persisted.consumer(GROUP).expect("a consumer group")
    }

    pub fn beat(
        &mut self,
        request: &ConsumerGroupHeartbeatRequest,
    ) -> Result<ConsumerGroupHeartbeatResponse, GroupError> {
        let client = HeartbeatingClient {
            version: 1,
            client_id: "client".to_owned(),
            client_host: "/127.0.0.1".to_owned(),
            new_member_id: "new".to_owned(),
        };
        let outcome = self.shard.decide_consumer_heartbeat(self.now, request, &client)?;
        if !outcome.records.is_empty() {
            self.append(-1, &outcome.records).map_err(|error| GroupError::plain(append_error(error)))?;
        }
        let (response, after) = outcome.reply;
        let effects = self.shard.after(self.now, after);
        self.settle(effects);
        Ok(response)
    }

    /// Joins with these topics; answers the member epoch and what was given.
    pub fn come_848(&mut self, member_id: &str, topics: &[&str]) -> (i32, Named) {
        let response = self.beat(&joining(member_id, topics)).expect("a member");
        (response.member_epoch, self.named(&response))
    }

    /// A heartbeat that says what the member owns; answers the epoch and the assignment, if there is a new one.
    pub fn go_on(&mut self, member_id: &str, epoch: i32, owned: &[(&str, &[i32])]) -> (i32, Option<Named>) {
        let response = self.beat(&owning(member_id, epoch, owned)).expect("a member");
        let assignment = response.assignment.is_some().then(|| self.named(&response));
        (response.member_epoch, assignment)
    }

    pub fn named(&self, response: &ConsumerGroupHeartbeatResponse) -> Named {
        let topics = response.assignment.iter().flat_map(|assignment| &assignment.topic_partitions);
        let name = |id| self.shard.image.topic_by_id(id).map(|topic| topic.name.to_string());
        topics.filter_map(|topic| Some((name(topic.topic_id)?, topic.partitions.clone()))).collect()
    }

    pub fn set_848(&mut self, change: impl FnOnce(&mut ConsumerGroupSettings)) {
        change(&mut self.shard.settings.consumer);
    }
}

pub(super) fn joining(member_id: &str, topics: &[&str]) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest {
        group_id: GROUP.to_owned(),
        member_id: member_id.to_owned(),
        rebalance_timeout_ms: REVOKE_MS,
        subscribed_topic_names: Some(topics.iter().map(|topic| (*topic).to_owned()).collect()),
        topic_partitions: Some(Vec::new()),
        ..Default::default()
    }
}

pub(super) fn owning(member_id: &str, epoch: i32, owned: &[(&str, &[i32])]) -> ConsumerGroupHeartbeatRequest {
    let one = |(topic, partitions): &(&str, &[i32])| OwnedTopic {
        topic_id: topic_id(topic),
        partitions: partitions.to_vec(),
        ..Default::default()
    };
    ConsumerGroupHeartbeatRequest {
        group_id: GROUP.to_owned(),
        member_id: member_id.to_owned(),
        member_epoch: epoch,
        topic_partitions: Some(owned.iter().map(one).collect()),
        ..Default::default()
    }
}

fn named(list: &[(&str, &[i32])]) -> Named {
    list.iter().map(|(topic, partitions)| ((*topic).to_owned(), partitions.to_vec())).collect()
}

#[test]
fn a_partition_moves_once_its_owner_gave_it_up() {
    let mut world = World::new();
    world.topic("t", 2);
    assert_eq!(world.come_848("a", &["t"]), (1, named(&[("t", &[0, 1])])));
    let metadata = &world.consumer().members["a"].metadata;
    assert_eq!((&metadata.instance_id, &metadata.rack_id, &metadata.server_assignor), (&None, &None, &None));
    world.pass(2_000);
    // The second member is in, and waits; the first is told to keep one partition only.
    assert_eq!(world.come_848("b", &["t"]), (2, Named::new()));
    assert_eq!(world.shard.describe_consumer(GROUP).group_state, "Reconciling");
    let (epoch, kept) = world.go_on("a", 1, &[("t", &[0, 1])]);
    assert_eq!((epoch, kept.clone()), (1, Some(named(&[("t", &[0])]))));
    // Nothing changes as long as the first has not said that it gave the other up.
    assert_eq!(world.go_on("b", 2, &[]), (2, None));
    assert_eq!(world.go_on("a", 1, &[("t", &[0, 1])]), (1, None));
    assert_eq!(world.go_on("a", 1, &[("t", &[0])]), (2, None));
    assert_eq!(world.go_on("b", 2, &[]), (2, Some(named(&[("t", &[1])]))));
    assert_eq!(world.shard.describe_consumer(GROUP).group_state, "Stable");
    // And nothing is written as long as nothing changes.
    let written = world.log.len();
    world.go_on("a", 2, &[("t", &[0])]);
    assert_eq!(world.log.len(), written);
}

/// As with Kafka 4.3. What it does not say it has is free at once.
#[test]
fn who_has_yet_more_to_give_up_stays_in_its_epoch() {
    let mut world = World::new();
    world.topic("t", 4);
    world.come_848("a", &["t"]);
    world.come_848("b", &["t"]);
    world.pass(2_000);
    let all = [("t", &[0, 1, 2, 3][..])];
    let (epoch, half) = world.go_on("a", 1, &all);
    let half = half.expect("less than before").remove("t").expect("some");
    assert_eq!((epoch, half.len()), (1, 2));
    world.come_848("c", &["t"]);
    world.come_848("d", &["t"]);
    world.pass(2_000);
    let (epoch, quarter) = world.go_on("a", 1, &[("t", &half)]);
    let quarter = quarter.expect("still less").remove("t").expect("some");
    assert_eq!((epoch, quarter.len()), (1, 1), "the second part is to go too");
    assert_eq!(world.go_on("a", 1, &[("t", &quarter)]), (4, None));
}

#[test]
fn who_does_not_give_up_in_time_is_out() {
    let mut world = World::new();
    world.set_848(|settings| settings.timings.session_timeout.default_ms = 1_000_000);
    world.topic("t", 2);
    world.come_848("a", &["t"]);
    world.pass(2_000);
    world.come_848("b", &["t"]);
    world.go_on("a", 1, &[("t", &[0, 1])]);
    world.pass(i64::from(REVOKE_MS) + 1);
    let error = world.beat(&owning("a", 1, &[("t", &[0, 1])])).expect_err("it is out");
    assert_eq!(error.code, ErrorCode::UnknownMemberId);
    let (epoch, assignment) = world.go_on("b", 2, &[]);
    assert_eq!((epoch, assignment), (3, Some(named(&[("t", &[0, 1])]))));
}

#[test]
fn sessions_end_without_heartbeats_and_begin_anew_after_a_restart() {
    let mut world = World::new();
    world.topic("t", 1);
    world.come_848("a", &["t"]);
    world.pass(44_000);
    world.restart();
    world.pass(44_000);
    assert_eq!(world.go_on("a", 1, &[("t", &[0])]), (1, None));
    world.pass(45_001);
    assert!(world.consumer().members.is_empty());
    assert_eq!(world.shard.list(&[], &["consumer".to_owned()])[0].group_state, "Empty");
}

#[test]
fn a_fleet_that_is_gone_goes_in_one_step() {
    let mut world = World::new();
    world.topic("a", 3);
    for at in 0..20 {
        world.come_848(&format!("m{at:02}"), &["a"]);
    }
    world.restart();
    let epoch = world.consumer().epoch;
    world.pass(60_000);
    assert_eq!((world.consumer().members.len(), world.consumer().epoch), (0, epoch + 1));
}

#[test]
fn a_lost_answer_is_given_again_and_other_epochs_are_fenced() {
    let mut world = World::new();
    world.topic("t", 1);
    world.come_848("a", &["t"]);
    world.topic("t", 2);
    world.pass(2_000);
    assert_eq!(world.go_on("a", 1, &[("t", &[0])]), (2, Some(named(&[("t", &[0, 1])]))));
    // The answer was lost, and the member comes with the epoch before.
    assert_eq!(world.go_on("a", 1, &[("t", &[0])]).0, 2);
    let smaller = world.beat(&owning("a", 1, &[("t", &[0, 1, 7])])).expect_err("it owns what it never had");
    assert_eq!(smaller.code, ErrorCode::FencedMemberEpoch);
    let greater = world.beat(&owning("a", 3, &[])).expect_err("an epoch that never was");
    assert_eq!(
        greater.message,
        "The consumer group member has a greater member epoch (3) than the one known by the group coordinator (2). The \
         member must abandon all its partitions and rejoin."
    );
    assert_eq!(world.beat(&owning("x", 1, &[])).expect_err("a stranger").code, ErrorCode::UnknownMemberId);
}

#[test]
fn assignments_are_made_at_intervals() {
    let mut world = World::new();
    world.topic("t", 2);
    world.come_848("a", &["t"]);
    world.pass(100);
    assert_eq!(world.come_848("b", &["t"]), (1, Named::new()));
    assert_eq!(world.shard.describe_consumer(GROUP).group_state, "Assigning");
    world.pass(900);
    assert_eq!(world.go_on("a", 1, &[("t", &[0, 1])]).1, Some(named(&[("t", &[0])])));
}

#[test]
fn requests_that_cannot_be_meant_so_are_refused_in_kafkas_words() {
    let mut world = World::new();
    let mut refused = |change: &dyn Fn(&mut ConsumerGroupHeartbeatRequest)| {
        let mut request = joining("a", &["t"]);
        change(&mut request);
        let error = world.beat(&request).expect_err("a bad request");
        (error.code, error.message)
    };
    let invalid = |message: &str| (ErrorCode::InvalidRequest, message.to_owned());
    assert_eq!(refused(&|request| request.member_id.clear()), invalid("MemberId can't be empty."));
    assert_eq!(refused(&|request| request.group_id = " ".to_owned()), invalid("GroupId can't be empty."));
    assert_eq!(refused(&|request| request.instance_id = Some(String::new())), invalid("InstanceId can't be empty."));
    assert_eq!(refused(&|request| request.rack_id = Some(String::new())), invalid("RackId can't be empty."));
    assert_eq!(
        refused(&|request| request.rebalance_timeout_ms = -1),
        invalid("RebalanceTimeoutMs must be provided in first request.")
    );
    assert_eq!(
        refused(&|request| request.topic_partitions = None),
        invalid("TopicPartitions must be empty when (re-)joining.")
    );
    assert_eq!(
        refused(&|request| request.subscribed_topic_names = None),
        invalid("Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when (re-)joining.")
    );
    assert_eq!(refused(&|request| request.member_epoch = -2), invalid("InstanceId can't be null."));
    assert_eq!(refused(&|request| request.member_epoch = -3), invalid("MemberEpoch is invalid."));
    assert_eq!(
        refused(&|request| request.server_assignor = Some("mine".to_owned())),
        (
            ErrorCode::UnsupportedAssignor,
            "ServerAssignor mine is not supported. Supported assignors: uniform, range.".to_owned()
        )
    );
    assert_eq!(refused(&|request| request.member_epoch = 4).0, ErrorCode::GroupIdNotFound);
}

#[test]
fn a_full_group_takes_nobody_else() {
    let mut world = World::new();
    world.set_848(|settings| settings.max_size = 1);
    world.topic("t", 1);
    world.come_848("a", &["t"]);
    let error = world.beat(&joining("b", &["t"])).expect_err("full");
    assert_eq!(error.code, ErrorCode::GroupMaxSizeReached);
    assert_eq!(error.message, "The consumer group has reached its maximum capacity of 1 members.");
    world.come_848("a", &["t"]);
}

#[test]
fn a_static_member_comes_back_to_what_it_had() {
    let mut world = World::new();
    world.topic("t", 2);
    let static_as = |member_id: &str| ConsumerGroupHeartbeatRequest {
        instance_id: Some("i".to_owned()),
        ..joining(member_id, &["t"])
    };
    world.beat(&static_as("a-1")).expect("a member");
    let error = world.beat(&static_as("a-2")).expect_err("the place is taken");
    assert_eq!(error.code, ErrorCode::UnreleasedInstanceId);

    let away = ConsumerGroupHeartbeatRequest { member_epoch: -2, ..static_as("a-1") };
    assert_eq!(world.beat(&away).expect("away").member_epoch, -2);
    let epoch = world.consumer().epoch;
    let back = world.beat(&static_as("a-2")).expect("back again");
    assert_eq!((back.member_epoch, world.named(&back)), (1, named(&[("t", &[0, 1])])));
    assert_eq!(world.consumer().epoch, epoch, "there is no rebalance");

    let fenced = ConsumerGroupHeartbeatRequest { member_epoch: 1, ..static_as("a-1") };
    assert_eq!(world.beat(&fenced).expect_err("fenced").code, ErrorCode::FencedInstanceId);

    let away = ConsumerGroupHeartbeatRequest { member_epoch: -2, ..static_as("a-2") };
    world.beat(&away).expect("away");
    world.pass(45_001);
    assert!(world.consumer().members.is_empty(), "who stays away too long is out");
}

#[test]
fn patterns_follow_the_topics() {
    let mut world = World::new();
    world.topic("ab", 1);
    world.topic("abc", 1);
    let request = ConsumerGroupHeartbeatRequest {
        subscribed_topic_names: None,
        subscribed_topic_regex: Some("a.".to_owned()),
        ..joining("a", &[])
    };
    let response = world.beat(&request).expect("a member");
    assert_eq!(world.named(&response), named(&[("ab", &[0])]));
    world.topic("ax", 1);
    world.pass(2_000);
    assert_eq!(world.go_on("a", 1, &[("ab", &[0])]), (2, Some(named(&[("ab", &[0]), ("ax", &[0])]))));
    // The pattern goes with its last member.
    let request = ConsumerGroupHeartbeatRequest {
        subscribed_topic_names: Some(vec!["ab".to_owned()]),
        subscribed_topic_regex: Some(String::new()),
        ..owning("a", 2, &[("ab", &[0]), ("ax", &[0])])
    };
    world.pass(2_000);
    let response = world.beat(&request).expect("a member");
    assert_eq!(world.named(&response), named(&[("ab", &[0])]));
    assert!(world.consumer().patterns.is_empty());
    let bad = ConsumerGroupHeartbeatRequest { subscribed_topic_regex: Some("[".to_owned()), ..joining("b", &[]) };
    assert_eq!(world.beat(&bad).expect_err("no pattern").code, ErrorCode::InvalidRegularExpression);
}

#[test]
fn what_a_topic_had_goes_with_it() {
    let mut world = World::new();
    world.topic("t", 1);
    world.topic("u", 1);
    world.come_848("a", &["t", "u"]);
    world.remove_topic("t");
    world.pass(2_000);
    assert_eq!(world.go_on("a", 1, &[("t", &[0]), ("u", &[0])]).1, Some(named(&[("u", &[0])])));
    assert_eq!(world.go_on("a", 1, &[("u", &[0])]), (2, None));
}

#[test]
fn offsets_are_committed_and_fetched_by_members_of_the_epoch() {
    let mut world = World::new();
    world.topic("topic", 2);
    world.come_848("a", &["topic"]);
    world.topic("topic", 3);
    world.pass(2_000);
    world.go_on("a", 1, &[("topic", &[0, 1])]);
    let commit = |world: &World, member: &str, epoch, partition, version| {
        let outcome = world.shard.decide_commit(world.now, &commit_request(member, epoch, partition, 5), version)?;
        ErrorCode::check(outcome.reply.topics[0].partitions[0].error_code)
    };
    assert_eq!(commit(&world, "a", 2, 2, 9), Ok(()));
    // It may not have heard of epoch 2 yet, and commits what it had before.
    assert_eq!(commit(&world, "a", 1, 0, 9), Ok(()));
    assert_eq!(commit(&world, "a", 1, 2, 9), Err(ErrorCode::StaleMemberEpoch));
    assert_eq!(commit(&world, "a", 3, 0, 9), Err(ErrorCode::StaleMemberEpoch));
    assert_eq!(commit(&world, "b", 2, 0, 9), Err(ErrorCode::UnknownMemberId));
    assert_eq!(commit(&world, "a", 2, 0, 8), Err(ErrorCode::UnsupportedVersion));
    let fetch = |world: &World, member_id: Option<&str>, member_epoch| {
        let request = OffsetFetchRequestGroup {
            group_id: GROUP.to_owned(),
            member_id: member_id.map(str::to_owned),
            member_epoch,
            ..Default::default()
        };
        world.shard.fetch_offsets(&request, false).map(|_| ())
    };
    assert_eq!(fetch(&world, None, -1), Ok(()));
    assert_eq!(fetch(&world, Some("a"), 2), Ok(()));
    assert_eq!(fetch(&world, Some("a"), 1), Err(ErrorCode::StaleMemberEpoch));
    assert_eq!(fetch(&world, Some("b"), 2), Err(ErrorCode::UnknownMemberId));
}

#[test]
fn a_group_with_members_is_not_deleted_and_one_without_leaves_nothing() {
    let mut world = World::new();
    world.topic("t", 1);
    world.come_848("a", &["t"]);
    assert_eq!(world.shard.decide_delete(GROUP).err(), Some(ErrorCode::NonEmptyGroup));
    let described = world.shard.describe(GROUP, 6);
    assert_eq!(described.error_code, ErrorCode::GroupIdNotFound.code());
    let leave = ConsumerGroupHeartbeatRequest { member_epoch: -1, ..joining("a", &["t"]) };
    assert_eq!(world.beat(&leave).expect("gone").member_epoch, -1);
    let outcome = world.shard.decide_delete(GROUP).expect("an empty group");
    world.take_outcome(outcome).expect("deleted");
    let effects = world.shard.deleted(world.now, GROUP);
    world.settle(effects);
    assert!(world.shard.persisted.group(GROUP).is_none());
    assert_eq!(world.shard.describe_consumer(GROUP).error_code, ErrorCode::GroupIdNotFound.code());
}
