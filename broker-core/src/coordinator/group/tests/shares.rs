//! Share groups of KIP-932: one step at a time, and random schedules.
//!
//! At each step what is persisted is what a replay of the log makes ([`World::check`]), and nobody is told of a partition
//! of which the share coordinator has no state. When all is calm, each partition that is subscribed to has a member, and
//! each member a partition.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::share_group_heartbeat_request::ShareGroupHeartbeatRequest;
use rkafka_protocol::messages::share_group_heartbeat_response::ShareGroupHeartbeatResponse;

use super::super::share::ShareGroup;
use super::super::{GroupError, HeartbeatingClient, NewSharePartition, SharePartitions, append_error};
use super::consumers::{joining, topic_id};
use super::world::{GROUP, World, commit_request, join_request};

type Named = BTreeMap<String, Vec<i32>>;

fn beating(member_id: &str, epoch: i32, topics: Option<&[&str]>) -> ShareGroupHeartbeatRequest {
    ShareGroupHeartbeatRequest {
        group_id: GROUP.to_owned(),
        member_id: member_id.to_owned(),
        member_epoch: epoch,
        subscribed_topic_names: topics.map(|topics| topics.iter().map(|topic| (*topic).to_owned()).collect()),
        ..Default::default()
    }
}

impl World {
    /// A heartbeat as the driver takes it: the share coordinator makes states first.
    fn share_beat(&mut self, request: &ShareGroupHeartbeatRequest) -> Result<ShareGroupHeartbeatResponse, GroupError> {
        let mut initialized = SharePartitions::new();
        for NewSharePartition { topic_id, partition, .. } in self.shard.new_share_partitions(request) {
            initialized.entry(topic_id).or_default().insert(partition);
        }
        let client = HeartbeatingClient {
            version: 1,
            client_id: "client".to_owned(),
            client_host: "/127.0.0.1".to_owned(),
            new_member_id: String::new(),
        };
        let outcome = self.shard.decide_share_heartbeat(self.now, request, &client, &initialized)?;
        if !outcome.records.is_empty() {
            self.append(-1, &outcome.records).map_err(|error| GroupError::plain(append_error(error)))?;
        }
        let (response, after) = outcome.reply;
        let effects = self.shard.after(self.now, after);
        self.settle(effects);
        self.check_share_group();
        Ok(response)
    }

    fn share_join(&mut self, member_id: &str, topics: &[&str]) -> (i32, Named) {
        let response = self.share_beat(&beating(member_id, 0, Some(topics))).expect("a member");
        let named = self.share_named(&response).expect("who joins is told");
        (response.member_epoch, named)
    }

    fn share_go_on(&mut self, member_id: &str, epoch: i32) -> (i32, Option<Named>) {
        let response = self.share_beat(&beating(member_id, epoch, None)).expect("a member");
        (response.member_epoch, self.share_named(&response))
    }

    fn share_named(&self, response: &ShareGroupHeartbeatResponse) -> Option<Named> {
        let topics = response.assignment.as_ref()?.topic_partitions.iter();
        let name = |id| self.shard.image.topic_by_id(id).map(|topic| topic.name.to_string());
        Some(topics.filter_map(|topic| Some((name(topic.topic_id)?, topic.partitions.clone()))).collect())
    }

    fn share(&self) -> &ShareGroup {
        self.shard.persisted.share(GROUP).expect("a share group")
    }

    fn check_share_group(&self) {
        let Some(group) = self.shard.persisted.share(GROUP) else { return };
        for (id, member) in &group.members {
            for (topic, partitions) in &member.current.assigned {
                // A topic that was deleted is told of until the member's next heartbeat.
                let exists = self.shard.image.topic_by_id(*topic).is_some();
                let has_state = |partition: &i32| group.states.has(*topic, *partition);
                assert!(!exists || partitions.iter().all(has_state), "{id} has {topic} without a state: {group:?}");
            }
        }
        assert!(group.targets.keys().all(|id| group.members.contains_key(id)), "{group:?}");
        if !group.members.is_empty() {
            let timers = self.shard.consumer_timers.get(GROUP).expect("members have sessions");
            let deadline = timers.deadline_ms().expect("members have sessions");
            assert!(timers.noted_deadline_ms.is_some_and(|noted| noted <= deadline), "{timers:?}");
        }
    }
}

fn named(topics: &[(&str, &[i32])]) -> Named {
    topics.iter().map(|(name, partitions)| ((*name).to_owned(), partitions.to_vec())).collect()
}

#[test]
fn members_have_their_assignment_at_once_and_share_partitions() {
    let mut world = World::new();
    world.topic("a", 2);
    assert_eq!(world.share_join("m1", &["a"]), (1, named(&[("a", &[0, 1])])));
    // A second member within the assignment interval is given nothing yet.
    assert_eq!(world.share_join("m2", &["a"]).1, named(&[]));
    world.pass(1_000);
    let (epoch, of_first) = world.share_go_on("m1", 1);
    let (_, of_second) = world.share_go_on("m2", 1);
    let (of_first, of_second) = (of_first.expect("it changed"), of_second.expect("it changed"));
    assert_eq!((of_first["a"].len(), of_second["a"].len()), (1, 1));
    assert_ne!(of_first, of_second);
    // Nothing changes, and nothing is said.
    assert_eq!(world.share_go_on("m1", epoch), (epoch, None));
    let end = world.log.len();
    assert_eq!(world.share_go_on("m1", epoch), (epoch, None));
    assert_eq!(world.log.len(), end, "a heartbeat without news writes nothing");
    world.pass(1_000);
    let (_, third) = world.share_join("m3", &["a"]);
    assert_eq!(third["a"].len(), 1, "three members share two partitions");
    let (epoch, kept) = world.share_go_on("m1", epoch);
    assert_eq!(kept, None, "who shares has the same as before");
    assert_eq!(world.shard.describe_share(GROUP).group_state, "Stable");
    // A member that goes leaves its partitions to the others, with their next heartbeats.
    let left = world.share_beat(&beating("m3", -1, None)).unwrap();
    assert_eq!((left.member_epoch, left.assignment), (-1, None));
    world.pass(1_000);
    world.share_beat(&beating("m2", -1, None)).unwrap();
    let (after, now) = world.share_go_on("m1", epoch);
    assert_eq!(now, Some(named(&[("a", &[0, 1])])));
    // The answer with the new epoch may have been lost; it is told again once something changes.
    assert_eq!(world.share_go_on("m1", epoch), (after, None));
}

#[test]
fn sessions_end_and_begin_again_after_a_restart() {
    let mut world = World::new();
    world.topic("a", 1);
    world.share_join("m1", &["a"]);
    world.pass(40_000);
    world.share_go_on("m1", 1);
    world.restart();
    world.pass(44_000);
    assert_eq!(world.share().members.len(), 1);
    world.pass(2_000);
    assert!(world.share().members.is_empty());
    assert_eq!(world.shard.describe_share(GROUP).group_state, "Empty");
    let error = world.share_beat(&beating("m1", 1, None)).unwrap_err();
    assert_eq!(error.code, ErrorCode::UnknownMemberId);
    assert!(world.shard.decide_expiry(world.now, GROUP).is_none(), "an empty share group stays");
}

#[test]
fn bad_heartbeats_are_refused_in_kafkas_words() {
    let mut world = World::new();
    world.topic("a", 1);
    let mut refused = |request: ShareGroupHeartbeatRequest| {
        let error = world.share_beat(&request).unwrap_err();
        (error.code, error.message)
    };
    let invalid = |message: &str| (ErrorCode::InvalidRequest, message.to_owned());
    assert_eq!(refused(beating(" ", 0, Some(&["a"]))), invalid("MemberId can't be empty."));
    let blank_group = ShareGroupHeartbeatRequest { group_id: String::new(), ..beating("m", 0, Some(&["a"])) };
    assert_eq!(refused(blank_group), invalid("GroupId can't be empty."));
    let blank_rack = ShareGroupHeartbeatRequest { rack_id: Some(String::new()), ..beating("m", 0, Some(&["a"])) };
    assert_eq!(refused(blank_rack), invalid("RackId can't be empty."));
    assert_eq!(refused(beating("m", 0, None)), invalid("SubscribedTopicNames must be set in first request."));
    assert_eq!(refused(beating("m", 0, Some(&[]))), invalid("SubscribedTopicNames must be set in first request."));
    assert_eq!(refused(beating("m", -2, None)), invalid("MemberEpoch is invalid."));
    let not_found = (ErrorCode::GroupIdNotFound, format!("Share group {GROUP} not found."));
    assert_eq!(refused(beating("m", 1, None)), not_found);
    assert_eq!(refused(beating("m", -1, None)), not_found);
    world.share_join("m", &["a"]);
    assert_eq!(world.share_beat(&beating("n", 1, None)).unwrap_err().code, ErrorCode::UnknownMemberId);
    assert_eq!(world.share_beat(&beating("n", -1, None)).unwrap_err().code, ErrorCode::UnknownMemberId);
    let fenced = world.share_beat(&beating("m", 7, None)).unwrap_err();
    assert_eq!(fenced.code, ErrorCode::FencedMemberEpoch);
    assert!(fenced.message.starts_with("The share group member has a greater member epoch (7) than the one known by"));
    world.shard.settings.share.max_size = 1;
    let full = world.share_beat(&beating("n", 0, Some(&["a"]))).unwrap_err();
    assert_eq!(full.code, ErrorCode::GroupMaxSizeReached);
    assert_eq!(full.message, "The share group has reached its maximum capacity of 1 members.");
    assert_eq!(world.share_join("m", &["a"]).0, 1, "a member may begin anew");
}

#[test]
fn a_group_is_of_one_kind() {
    let mut world = World::new();
    world.topic("a", 1);
    world.share_join("m", &["a"]);
    let error = world.beat(&joining("n", &["a"])).unwrap_err();
    assert_eq!(error.code, ErrorCode::GroupIdNotFound);
    let waiter = world.join_as(&join_request("", None), 9);
    assert_eq!(world.joined(waiter).unwrap().error_code, ErrorCode::InconsistentGroupProtocol.code());
    let commit = commit_request("", -1, 0, 5);
    assert_eq!(world.shard.decide_commit(world.now, &commit, 9).unwrap_err(), ErrorCode::GroupIdNotFound);
    let listed = world.shard.list(&[], &["share".to_owned()]);
    assert_eq!((listed.len(), listed[0].group_type.as_str(), listed[0].protocol_type.as_str()), (1, "Share", "share"));
    assert!(world.shard.list(&[], &["consumer".to_owned()]).is_empty());
    assert_eq!(world.shard.decide_delete(GROUP).unwrap_err(), ErrorCode::NonEmptyGroup);

    let mut world = World::new();
    world.topic("a", 1);
    world.come_848("m", &["a"]);
    let error = world.share_beat(&beating("n", 0, Some(&["a"]))).unwrap_err();
    assert_eq!(
        (error.code, error.message),
        (ErrorCode::GroupIdNotFound, format!("Group {GROUP} is not a share group."))
    );
}

#[test]
fn administrators_move_and_delete_what_an_empty_group_is_on() {
    let mut world = World::new();
    world.topic("a", 2);
    let id = topic_id("a");
    let one = SharePartitions::from([(id, BTreeSet::from([1]))]);
    assert!(world.shard.share_states(GROUP).is_empty(), "it is not there");
    let outcome = world.shard.decide_alter_share_states(GROUP, &one).unwrap();
    world.take_outcome(outcome).unwrap();
    assert_eq!(world.shard.share_states(GROUP), BTreeMap::from([(id, ("a".to_owned(), BTreeSet::from([1])))]));
    assert_eq!(world.shard.list(&[], &[])[0].group_state, "Empty");
    world.share_join("m", &["a"]);
    let not_empty = |error: GroupError| assert_eq!(error.code, ErrorCode::NonEmptyGroup);
    not_empty(world.shard.decide_alter_share_states(GROUP, &one).unwrap_err());
    not_empty(world.shard.decide_delete_share_states(GROUP, None).unwrap_err());
    world.share_beat(&beating("m", -1, None)).unwrap();

    // A deletion that did not come to its end is found again by the next, and whoever comes meanwhile begins anew.
    let outcome = world.shard.decide_delete_share_states(GROUP, None).unwrap();
    let gone = world.take_outcome(outcome).unwrap();
    assert_eq!(gone, SharePartitions::from([(id, BTreeSet::from([0, 1]))]));
    world.restart();
    let outcome = world.shard.decide_delete_share_states(GROUP, Some(&BTreeSet::from([id]))).unwrap();
    assert_eq!(world.take_outcome(outcome).unwrap(), gone);
    let new = world.shard.new_share_partitions(&beating("m", 0, Some(&["a"])));
    assert!(new.len() == 2 && new.iter().all(|new| new.begins_anew), "{new:?}");
    let outcome = world.shard.decide_share_states_deleted(GROUP, &gone).unwrap();
    world.take_outcome(outcome).unwrap();
    assert!(world.shard.new_share_partitions(&beating("m", 0, Some(&["a"]))).iter().all(|new| !new.begins_anew));
    let outcome = world.shard.decide_delete(GROUP).unwrap();
    world.take_outcome(outcome).unwrap();
    let effects = world.shard.deleted(world.now, GROUP);
    world.settle(effects);
    assert!(world.shard.list(&[], &[]).is_empty());
    assert_eq!(world.shard.describe_share(GROUP).error_code, ErrorCode::GroupIdNotFound.code());
}

#[test]
fn a_topic_that_is_deleted_is_forgotten_and_a_new_one_is_found() {
    let mut world = World::new();
    world.topic("a", 1);
    world.topic("b", 1);
    world.share_join("m", &["a", "b", "c"]);
    world.remove_topic("a");
    let records = world.shard.decide_forget_topic("a", topic_id("a"));
    world.append(-1, &records).unwrap();
    world.check();
    assert_eq!(world.shard.share_states(GROUP).len(), 1);
    world.pass(1_000);
    let (epoch, now) = world.share_go_on("m", 1);
    assert_eq!(now, Some(named(&[("b", &[0])])));
    world.topic("c", 2);
    world.topic("b", 2);
    world.pass(1_000);
    assert_eq!(world.share_go_on("m", epoch).1, Some(named(&[("b", &[0, 1]), ("c", &[0, 1])])));
}

const MEMBERS: [&str; 5] = ["m0", "m1", "m2", "m3", "m4"];
/// One that was deleted does not come again: it would have another id, and the names of this world's topics are theirs.
const TOPICS: [&str; 5] = ["a", "b", "c", "d", "e"];

#[derive(Debug, Clone)]
enum Step {
    Join(usize, u8),
    Beat(usize),
    Leave(usize),
    Topic(usize, i32),
    RemoveTopic(usize),
    Alter(usize),
    DeleteStates(bool),
    DeleteGroup,
    Pass(i64),
    FailAppends(bool),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let member = 0..MEMBERS.len();
    let topic = 0..TOPICS.len();
    prop_oneof![
        5 => (member.clone(), 1u8..32).prop_map(|(member, topics)| Step::Join(member, topics)),
        6 => member.clone().prop_map(Step::Beat),
        2 => member.prop_map(Step::Leave),
        3 => (topic.clone(), 1i32..5).prop_map(|(topic, partitions)| Step::Topic(topic, partitions)),
        1 => topic.clone().prop_map(Step::RemoveTopic),
        1 => topic.prop_map(Step::Alter),
        1 => any::<bool>().prop_map(Step::DeleteStates),
        1 => Just(Step::DeleteGroup),
        4 => (1i64..30_000).prop_map(Step::Pass),
        1 => any::<bool>().prop_map(Step::FailAppends),
        1 => Just(Step::Restart),
    ]
}

fn subset(bits: u8) -> Vec<&'static str> {
    (0..).zip(TOPICS).filter(|(bit, _)| bits >> bit & 1 == 1).map(|(_, topic)| topic).collect()
}

fn play(world: &mut World, epochs: &mut BTreeMap<usize, (i32, u8)>, removed: &mut BTreeSet<usize>, step: &Step) {
    match *step {
        Step::Join(member, topics) => {
            if let Ok(response) = world.share_beat(&beating(MEMBERS[member], 0, Some(&subset(topics)))) {
                epochs.insert(member, (response.member_epoch, topics));
            }
        }
        Step::Beat(member) => {
            let Some((epoch, topics)) = epochs.get(&member).copied() else { return };
            match world.share_beat(&beating(MEMBERS[member], epoch, None)) {
                Ok(response) => drop(epochs.insert(member, (response.member_epoch, topics))),
                Err(error) if matches!(error.code, ErrorCode::UnknownMemberId | ErrorCode::GroupIdNotFound) => {
                    epochs.remove(&member);
                }
                Err(error) => assert!(world.fail_appends, "{error:?}"),
            }
        }
        Step::Leave(member) => {
            if epochs.remove(&member).is_some() {
                drop(world.share_beat(&beating(MEMBERS[member], -1, None)));
            }
        }
        Step::Topic(topic, partitions) => {
            if !removed.contains(&topic) {
                world.topic(TOPICS[topic], partitions);
            }
        }
        Step::RemoveTopic(topic) => {
            removed.insert(topic);
            world.remove_topic(TOPICS[topic]);
            let records = world.shard.decide_forget_topic(TOPICS[topic], topic_id(TOPICS[topic]));
            let _ = world.append(-1, &records);
        }
        Step::Alter(topic) => {
            let partitions = SharePartitions::from([(topic_id(TOPICS[topic]), BTreeSet::from([0]))]);
            if let Ok(outcome) = world.shard.decide_alter_share_states(GROUP, &partitions) {
                let _ = world.take_outcome(outcome);
            }
        }
        Step::DeleteStates(to_the_end) => {
            let Ok(outcome) = world.shard.decide_delete_share_states(GROUP, None) else { return };
            let Ok(gone) = world.take_outcome(outcome) else { return };
            if to_the_end && let Ok(outcome) = world.shard.decide_share_states_deleted(GROUP, &gone) {
                let _ = world.take_outcome(outcome);
            }
        }
        Step::DeleteGroup => {
            let Ok(outcome) = world.shard.decide_delete(GROUP) else { return };
            if world.take_outcome(outcome).is_ok() {
                let effects = world.shard.deleted(world.now, GROUP);
                world.settle(effects);
            }
        }
        Step::Pass(milliseconds) => world.pass(milliseconds),
        Step::FailAppends(fail) => world.fail_appends = fail,
        Step::Restart => world.restart(),
    }
    world.check();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_schedule_ends_with_every_partition_and_every_member_served(steps in prop::collection::vec(step(), 1..60)) {
        let mut world = World::new();
        let (mut epochs, mut removed) = (BTreeMap::new(), BTreeSet::new());
        for step in &steps {
            play(&mut world, &mut epochs, &mut removed, step);
        }
        world.fail_appends = false;
        // Long enough for the sessions of those to end who are gone without a word.
        for _ in 0..8 {
            world.pass(10_000);
            for member in 0..MEMBERS.len() {
                play(&mut world, &mut epochs, &mut removed, &Step::Beat(member));
            }
        }
        let group = world.shard.persisted.share(GROUP).cloned().unwrap_or_default();
        for (member, (_, topics)) in &epochs {
            let known = &group.members[MEMBERS[*member]];
            let topics = subset(*topics);
            let mut exists = topics.iter().filter_map(|name| world.shard.image.topic(name));
            prop_assert_eq!(exists.next().is_none(), known.current.assigned.is_empty(), "{:?}", group);
        }
        for name in group.subscribed_names() {
            let Some(topic) = world.shard.image.topic(name) else { continue };
            for partition in 0..i32::try_from(topic.partitions.len()).unwrap() {
                let has = |partitions: &BTreeMap<uuid::Uuid, BTreeSet<i32>>| {
                    partitions.get(&topic.id).is_some_and(|partitions| partitions.contains(&partition))
                };
                prop_assert!(group.targets.values().any(has), "{name}-{partition} has nobody: {group:?}");
            }
        }
    }
}
