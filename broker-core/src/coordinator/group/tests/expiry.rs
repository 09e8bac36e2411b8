//! What expires, and what must not (KIP-211).

use super::world::{GROUP, RETENTION_MS, TOPIC, World, commit_request};

const NOBODY: (&str, Option<&str>, i32) = ("", None, -1);

/// Lets time pass while the members keep their sessions.
fn pass_with_heartbeats(world: &mut World, ids: &[String], generation: i32, milliseconds: i64) {
    // A session of ten seconds and a week of heartbeats would take long; the clocks may go apart.
    world.now.date_ms += milliseconds;
    for id in ids {
        world.heartbeat(id, None, generation).unwrap();
    }
}

#[test]
fn offsets_without_a_group_expire_by_their_commit() {
    let mut world = World::new();
    world.commit("", -1, 0, 5).unwrap();
    world.pass(RETENTION_MS / 2);
    world.commit("", -1, 1, 6).unwrap();
    world.pass(RETENTION_MS / 2 - 1);
    assert_eq!(world.expire(), 0);
    world.pass(1);
    assert_eq!(world.expire(), 1);
    assert_eq!((world.committed(0), world.committed(1)), (-1, 6));
    world.pass(RETENTION_MS / 2);
    assert_eq!(world.expire(), 2, "the offset, and the group that has nothing more");
    assert!(world.shard.list(&[], &[]).is_empty());
    assert_eq!(world.expire(), 0);
}

#[test]
fn offsets_of_an_empty_group_expire_by_the_day_it_became_empty() {
    let mut world = World::new();
    let (ids, generation) = world.stable(1);
    world.commit(&ids[0], generation, 0, 5).unwrap();
    pass_with_heartbeats(&mut world, &ids, generation, 2 * RETENTION_MS);
    assert_eq!(world.expire(), 0, "a member subscribes to the topic");
    world.leave(&[(&ids[0], None)]);
    world.pass(RETENTION_MS - 1);
    assert_eq!(world.expire(), 0);
    world.restart();
    world.pass(1);
    assert_eq!(world.expire(), 2);
    assert!(world.shard.list(&[], &[]).is_empty());
}

#[test]
fn offsets_of_topics_that_nobody_subscribes_to_expire_in_a_stable_group() {
    let mut world = World::new();
    let (ids, generation) = world.stable(1);
    let mut request = commit_request(&ids[0], generation, 0, 5);
    request.topics[0].name = "other".to_owned();
    let outcome = world.shard.decide_commit(world.now, &request, 9).unwrap();
    world.take_outcome(outcome).unwrap();
    world.commit(&ids[0], generation, 0, 5).unwrap();
    pass_with_heartbeats(&mut world, &ids, generation, RETENTION_MS);
    assert_eq!(world.expire(), 1);
    assert_eq!(world.committed(0), 5);
    assert!(world.shard.persisted.offsets.get(GROUP, "other", 0).is_none());
    assert!(world.shard.persisted.offsets.get(GROUP, TOPIC, 0).is_some());
}

#[test]
fn nothing_expires_while_a_group_rebalances() {
    let mut world = World::new();
    let (ids, generation) = world.stable(1);
    let mut request = commit_request(&ids[0], generation, 0, 5);
    request.topics[0].name = "other".to_owned();
    let outcome = world.shard.decide_commit(world.now, &request, 9).unwrap();
    world.take_outcome(outcome).unwrap();
    let (_, _) = world.come();
    world.now.date_ms += 2 * RETENTION_MS;
    assert_eq!(world.expire(), 0);
}

#[test]
fn an_old_clients_own_retention_counts_whatever_the_setting_says() {
    let mut world = World::new();
    let commit = |world: &mut World, partition, retention_ms| {
        let mut request = commit_request("", -1, partition, 5);
        request.retention_time_ms = retention_ms;
        let outcome = world.shard.decide_commit(world.now, &request, 3).unwrap();
        world.take_outcome(outcome).unwrap();
    };
    commit(&mut world, 0, 1_000);
    commit(&mut world, 1, 2 * RETENTION_MS);
    world.pass(1_000);
    assert_eq!(world.expire(), 1);
    world.pass(RETENTION_MS);
    assert_eq!(world.expire(), 0);
    assert_eq!((world.committed(0), world.committed(1)), (-1, 5));
}

#[test]
fn what_an_open_transaction_has_written_stays_and_its_group_with_it() {
    let mut world = World::new();
    world.commit("", -1, 0, 5).unwrap();
    world.commit("", -1, 1, 6).unwrap();
    world.commit_in_transaction(7, NOBODY, 0, 10).unwrap();
    world.pass(2 * RETENTION_MS);
    assert_eq!(world.expire(), 1);
    assert_eq!((world.committed(0), world.committed(1)), (5, -1));
    world.mark(7, true);
    assert_eq!(world.committed(0), 10);
    assert_eq!(world.expire(), 2, "it was committed long ago");

    world.commit_in_transaction(7, NOBODY, 0, 10).unwrap();
    world.pass(2 * RETENTION_MS);
    assert_eq!(world.expire(), 0);
    assert_eq!(world.shard.list(&[], &[]).len(), 1);
}

#[test]
fn an_empty_group_without_offsets_goes_at_once_unless_somebody_is_about_to_join() {
    let mut world = World::new();
    let (ids, _) = world.stable(1);
    assert_eq!(world.expire(), 0);
    world.leave(&[(&ids[0], None)]);
    let waiter = world.join_as(&super::world::join_request("", None), 9);
    let promised = world.joined(waiter).unwrap().member_id;
    assert_eq!(world.expire(), 0);
    let waiter = world.join_as(&super::world::join_request(&promised, None), 9);
    world.pass(10_000);
    assert_eq!(world.joined(waiter).unwrap().error_code, 0);
    world.leave(&[(&promised, None)]);
    assert_eq!(world.expire(), 1);
    assert!(world.shard.list(&[], &[]).is_empty());
}
