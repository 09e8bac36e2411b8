//! Offsets committed in transactions (KIP-447).

use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::offset_delete_request::{
    OffsetDeleteRequest, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};

use super::world::{GROUP, TOPIC, World, join_request};

const NOBODY: (&str, Option<&str>, i32) = ("", None, -1);
const UNSTABLE: Result<i64, ErrorCode> = Err(ErrorCode::UnstableOffsetCommit);

#[test]
fn offsets_show_once_the_marker_commits_them() {
    let mut world = World::new();
    assert_eq!(world.commit_in_transaction(7, NOBODY, 0, 10), Ok(()));
    assert_eq!((world.committed(0), world.stable_offset(0)), (-1, UNSTABLE));
    assert_eq!(world.stable_offset(1), Ok(-1));
    world.restart();
    assert_eq!((world.committed(0), world.stable_offset(0)), (-1, UNSTABLE));
    world.mark(7, true);
    assert_eq!((world.committed(0), world.stable_offset(0)), (10, Ok(10)));
    world.restart();
    assert_eq!(world.stable_offset(0), Ok(10));
}

#[test]
fn an_abort_drops_them() {
    let mut world = World::new();
    assert_eq!(world.commit("", -1, 0, 5), Ok(()));
    assert_eq!(world.commit_in_transaction(7, NOBODY, 0, 10), Ok(()));
    assert_eq!((world.committed(0), world.stable_offset(0)), (5, UNSTABLE));
    world.mark(7, false);
    assert_eq!(world.stable_offset(0), Ok(5));
}

#[test]
fn two_producers_and_a_plain_commit_on_one_partition() {
    let mut world = World::new();
    assert_eq!(world.commit_in_transaction(7, NOBODY, 0, 10), Ok(()));
    assert_eq!(world.commit_in_transaction(8, NOBODY, 0, 20), Ok(()));
    world.mark(7, true);
    assert_eq!((world.committed(0), world.stable_offset(0)), (10, UNSTABLE));
    assert_eq!(world.commit("", -1, 0, 30), Ok(()));
    world.mark(8, true);
    assert_eq!(world.stable_offset(0), Ok(30), "the plain commit was written later");
    world.restart();
    assert_eq!(world.stable_offset(0), Ok(30));
}

#[test]
fn members_are_checked_but_the_course_of_a_rebalance_is_not() {
    let mut world = World::new();
    assert_eq!(world.commit_in_transaction(7, ("m", None, 3), 0, 1), Err(ErrorCode::IllegalGeneration));
    let (ids, generation) = world.stable(2);
    let one = ids[0].as_str();
    assert_eq!(world.commit_in_transaction(7, (one, None, generation), 0, 1), Ok(()));
    assert_eq!(world.commit_in_transaction(7, (one, None, generation - 1), 0, 2), Err(ErrorCode::IllegalGeneration));
    assert_eq!(world.commit_in_transaction(7, (one, None, -1), 0, 2), Err(ErrorCode::IllegalGeneration));
    assert_eq!(world.commit_in_transaction(7, ("m", None, generation), 0, 2), Err(ErrorCode::UnknownMemberId));
    assert_eq!(world.commit_in_transaction(7, (one, Some("i"), generation), 0, 2), Err(ErrorCode::UnknownMemberId));
    // Producers before KIP-447 say nothing of members.
    assert_eq!(world.commit_in_transaction(7, NOBODY, 0, 3), Ok(()));
    let waits: Vec<_> = ids.iter().map(|id| world.join_as(&join_request(id, None), 9)).collect();
    let joined = waits.into_iter().map(|waiter| world.joined(waiter).unwrap().generation_id).max().unwrap();
    assert_eq!(world.commit(one, joined, 0, 4), Err(ErrorCode::RebalanceInProgress));
    assert_eq!(world.commit_in_transaction(7, (one, None, joined), 0, 4), Ok(()));
    world.mark(7, true);
    assert_eq!(world.committed(0), 4);
}

#[test]
fn a_static_members_old_instance_is_fenced() {
    let mut world = World::new();
    let first = world.join_as(&join_request("", Some("i")), 9);
    world.pass(10_000);
    let old = world.joined(first).unwrap();
    world.sync(&old.member_id, old.generation_id, &[(&old.member_id, "a")]);
    let again = world.join_as(&join_request("", Some("i")), 9);
    let new = world.joined(again).unwrap();
    assert_ne!(old.member_id, new.member_id);
    let mut commit = |member: &str| world.commit_in_transaction(7, (member, Some("i"), new.generation_id), 0, 1);
    assert_eq!(commit(&old.member_id), Err(ErrorCode::FencedInstanceId));
    assert_eq!(commit(&new.member_id), Ok(()));
}

#[test]
fn deleting_takes_what_is_pending_along() {
    let mut world = World::new();
    assert_eq!(world.commit_in_transaction(7, NOBODY, 0, 10), Ok(()));
    assert_eq!(world.commit_in_transaction(7, NOBODY, 1, 11), Ok(()));
    let request = OffsetDeleteRequest {
        group_id: GROUP.to_owned(),
        topics: vec![OffsetDeleteRequestTopic {
            name: TOPIC.to_owned(),
            partitions: vec![OffsetDeleteRequestPartition { partition_index: 0 }],
        }],
    };
    let outcome = world.shard.decide_delete_offsets(&request).unwrap();
    assert_eq!(outcome.records.len(), 1);
    world.take_outcome(outcome).unwrap();
    assert_eq!((world.stable_offset(0), world.stable_offset(1)), (Ok(-1), UNSTABLE));

    let outcome = world.shard.decide_delete(GROUP).unwrap();
    world.take_outcome(outcome).unwrap();
    world.mark(7, true);
    assert_eq!((world.committed(0), world.committed(1)), (-1, -1));
    assert!(world.shard.list(&[], &[]).is_empty());
}

#[test]
fn a_group_of_pending_offsets_is_listed_until_it_is_found_empty() {
    let mut world = World::new();
    assert_eq!(world.commit_in_transaction(7, NOBODY, 0, 10), Ok(()));
    assert_eq!(world.shard.list(&[], &[]).len(), 1);
    assert_eq!(world.expire(), 0);
    world.mark(7, false);
    // As in Kafka, the group that the commit made is there until somebody looks for empty ones.
    assert_eq!(world.shard.list(&[], &[]).len(), 1);
    assert_eq!(world.commit_in_transaction(7, ("m", None, 5), 0, 10), Err(ErrorCode::UnknownMemberId));
    assert_eq!(world.expire(), 1);
    assert!(world.shard.list(&[], &[]).is_empty());
}
