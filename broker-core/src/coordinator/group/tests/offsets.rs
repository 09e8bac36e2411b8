//! Committed offsets: who may commit, what is refused, what is deleted.

use bytes::Bytes;
use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::offset_delete_request::{
    OffsetDeleteRequest, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use rkafka_protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;

use super::super::{Outcome, RecordPlace};
use super::world::{GROUP, Logged, TOPIC, World, commit_request};

#[test]
fn a_simple_consumer_commits_to_an_empty_group_only() {
    let mut world = World::new();
    assert_eq!(world.commit("", -1, 0, 5), Ok(()));
    assert_eq!(world.committed(0), 5);
    assert_eq!(world.committed(1), -1);
    assert_eq!(world.shard.list(&[], &[])[0].group_state, "Empty");
    let (ids, generation) = world.stable(1);
    assert_eq!(world.commit("", -1, 0, 6), Err(ErrorCode::UnknownMemberId));
    assert_eq!(world.commit(&ids[0], generation, 0, 6), Ok(()));
    assert_eq!(world.commit(&ids[0], generation - 1, 0, 7), Err(ErrorCode::IllegalGeneration));
    assert_eq!(world.commit("stranger", generation, 0, 7), Err(ErrorCode::UnknownMemberId));
    world.restart();
    assert_eq!(world.committed(0), 6);
}

#[test]
fn a_group_that_is_not_there_has_no_generation() {
    let world = World::new();
    let error = |version| world.shard.decide_commit(world.now, &commit_request("m", 3, 0, 1), version).unwrap_err();
    assert_eq!(error(8), ErrorCode::IllegalGeneration);
    assert_eq!(error(9), ErrorCode::GroupIdNotFound);
}

#[test]
fn metadata_may_be_so_long_and_no_longer() {
    let mut world = World::new();
    let mut commit = |metadata: String| {
        let mut request = commit_request("", -1, 0, 1);
        request.topics[0].partitions[0].committed_metadata = Some(metadata);
        let outcome = world.shard.decide_commit(world.now, &request, 9).unwrap();
        let response = world.take_outcome(outcome).unwrap();
        ErrorCode::from_code(response.topics[0].partitions[0].error_code)
    };
    assert_eq!(commit("m".repeat(4096)), ErrorCode::None);
    assert_eq!(commit("m".repeat(4097)), ErrorCode::OffsetMetadataTooLarge);
}

#[test]
fn an_append_that_fails_commits_nothing() {
    let mut world = World::new();
    assert_eq!(world.commit("", -1, 0, 5), Ok(()));
    world.fail_appends = true;
    assert_eq!(world.commit("", -1, 0, 6), Err(ErrorCode::NotCoordinator));
    assert_eq!(world.committed(0), 5);
}

fn delete(topics: &[&str]) -> OffsetDeleteRequest {
    let one = |name: &&str| OffsetDeleteRequestTopic {
        name: (*name).to_owned(),
        partitions: vec![OffsetDeleteRequestPartition { partition_index: 0 }],
    };
    OffsetDeleteRequest { group_id: GROUP.to_owned(), topics: topics.iter().map(one).collect() }
}

#[test]
fn offsets_of_subscribed_topics_stay() {
    let mut world = World::new();
    assert_eq!(world.shard.decide_delete_offsets(&delete(&[TOPIC])).unwrap_err(), ErrorCode::GroupIdNotFound);
    assert_eq!(world.commit("", -1, 0, 5), Ok(()));
    let (ids, _) = world.stable(1);
    let outcome = world.shard.decide_delete_offsets(&delete(&[TOPIC, "other"])).unwrap();
    let codes: Vec<_> = outcome.reply.topics.iter().map(|topic| topic.partitions[0].error_code).collect();
    assert_eq!(codes, [ErrorCode::GroupSubscribedToTopic.code(), 0]);
    assert!(outcome.records.is_empty());
    world.leave(&[(&ids[0], None)]);
    let outcome = world.shard.decide_delete_offsets(&delete(&[TOPIC])).unwrap();
    world.take_outcome(outcome).unwrap();
    assert_eq!(world.committed(0), -1);
}

#[test]
fn a_deleted_group_leaves_nothing() {
    let mut world = World::new();
    assert_eq!(world.shard.decide_delete(GROUP).unwrap_err(), ErrorCode::GroupIdNotFound);
    let (ids, generation) = world.stable(1);
    assert_eq!(world.commit(&ids[0], generation, 0, 5), Ok(()));
    assert_eq!(world.shard.decide_delete(GROUP).unwrap_err(), ErrorCode::NonEmptyGroup);
    world.leave(&[(&ids[0], None)]);
    let outcome = world.shard.decide_delete(GROUP).unwrap();
    world.take_outcome(outcome).unwrap();
    let effects = world.shard.deleted(world.now, GROUP);
    world.settle(effects);
    assert!(world.shard.list(&[], &[]).is_empty());
    let all = OffsetFetchRequestGroup { group_id: GROUP.to_owned(), topics: None, ..Default::default() };
    assert!(world.shard.fetch_offsets(&all, true).unwrap().topics.is_empty());
    assert_eq!(world.shard.decide_delete(GROUP).unwrap_err(), ErrorCode::GroupIdNotFound);
}

#[test]
fn a_deleted_topic_takes_its_offsets_along() {
    let mut world = World::new();
    assert_eq!(world.commit("", -1, 0, 5), Ok(()));
    assert!(world.shard.decide_forget_topic("other", uuid::Uuid::nil()).is_empty());
    let records = world.shard.decide_forget_topic(TOPIC, uuid::Uuid::nil());
    world.take_outcome(Outcome { records, reply: () }).unwrap();
    assert_eq!(world.committed(0), -1);
}

#[test]
fn a_record_that_cannot_be_read_changes_nothing() {
    let mut world = World::new();
    assert_eq!(world.commit("", -1, 0, 5), Ok(()));
    let Logged::Record { record, .. } = world.log[0].clone() else { panic!("a record") };
    let place = RecordPlace { offset: 1, producer_id: -1 };
    assert!(world.shard.replay(place, record.key, Some(Bytes::from_static(&[0, 99]))).is_err());
    assert_eq!(world.committed(0), 5);
    world.check();
}
