//! The course of groups of dynamic members.

use rkafka_protocol::ErrorCode;

use super::super::ClassicState::{self, CompletingRebalance, PreparingRebalance, Stable};
use super::world::{GROUP, INITIAL_DELAY_MS, REBALANCE_MS, SESSION_MS, World, join_request, protocol};

const NONE: i16 = 0;

#[test]
fn two_members_join_sync_and_share() {
    let mut world = World::new();
    let (one, one_waits) = world.come();
    world.pass(1_000);
    let (two, two_waits) = world.come();
    assert_eq!(world.state(), Some(PreparingRebalance));
    world.pass(i64::from(INITIAL_DELAY_MS) - 1_001);
    assert_eq!(world.joined(one_waits), None, "the first rebalance lasts its time");
    // The second member came while it lasted, so it is put off once.
    world.pass(i64::from(INITIAL_DELAY_MS) + 1);
    let first = world.joined(one_waits).unwrap();
    let second = world.joined(two_waits).unwrap();
    assert_eq!((first.generation_id, second.generation_id), (1, 1));
    assert_eq!((first.leader.as_str(), first.members.len()), (one.as_str(), 2));
    assert_eq!((second.leader.as_str(), second.members.len()), (one.as_str(), 0));
    assert_eq!(first.protocol_name.as_deref(), Some("range"));

    let two_syncs = world.sync(&two, 1, &[]);
    assert_eq!(world.synced(two_syncs), None, "the leader has not spoken");
    let one_syncs = world.sync(&one, 1, &[(&one, "a"), (&two, "b")]);
    assert_eq!(world.synced(one_syncs).unwrap().assignment, "a");
    assert_eq!(world.synced(two_syncs).unwrap().assignment, "b");
    assert_eq!(world.state(), Some(Stable));
    assert_eq!(world.heartbeat(&one, None, 1), Ok(()));
    let again = world.sync(&two, 1, &[]);
    assert_eq!(world.synced(again).unwrap().assignment, "b");
}

#[test]
fn a_late_member_sets_off_a_rebalance_that_waits_for_all() {
    let mut world = World::new();
    let (ids, generation) = world.stable(2);
    let (late, late_waits) = world.come();
    assert_eq!(world.state(), Some(PreparingRebalance));
    assert_eq!(world.heartbeat(&ids[0], None, generation), Err(ErrorCode::RebalanceInProgress));
    let waits: Vec<_> = ids.iter().map(|id| world.join_as(&join_request(id, None), 9)).collect();
    // The moment the last has come, all are told.
    for waiter in waits.into_iter().chain([late_waits]) {
        assert_eq!(world.joined(waiter).unwrap().generation_id, generation + 1);
    }
    assert_eq!(world.state(), Some(CompletingRebalance));
    assert_eq!(world.heartbeat(&late, None, generation), Err(ErrorCode::IllegalGeneration));
}

#[test]
fn who_does_not_rejoin_in_time_is_out() {
    let mut world = World::new();
    let (ids, generation) = world.stable(2);
    let leader_waits = world.join_as(&join_request(&ids[0], None), 9);
    for _ in 0..REBALANCE_MS / 5_000 {
        world.pass(5_000);
        let _ = world.heartbeat(&ids[1], None, generation);
    }
    let response = world.joined(leader_waits).unwrap();
    assert_eq!((response.generation_id, response.members.len()), (generation + 1, 1));
    assert_eq!(world.heartbeat(&ids[1], None, generation), Err(ErrorCode::UnknownMemberId));
}

#[test]
fn a_dead_leader_is_replaced() {
    let mut world = World::new();
    let (ids, generation) = world.stable(3);
    for _ in 0..3 {
        world.pass(i64::from(SESSION_MS) / 2);
        for id in &ids[1..] {
            let _ = world.heartbeat(id, None, generation);
        }
    }
    assert_eq!(world.state(), Some(PreparingRebalance));
    let waits: Vec<_> = ids[1..].iter().map(|id| world.join_as(&join_request(id, None), 9)).collect();
    let answers: Vec<_> = waits.into_iter().map(|waiter| world.joined(waiter).unwrap()).collect();
    assert!(ids[1..].contains(&answers[0].leader));
    assert_eq!(answers.iter().map(|answer| answer.members.len()).sum::<usize>(), 2);
    assert_eq!(world.heartbeat(&ids[0], None, generation), Err(ErrorCode::UnknownMemberId));
}

#[test]
fn a_leader_that_never_assigns_is_put_out() {
    let mut world = World::new();
    let (one, one_waits) = world.come();
    let (two, _) = world.come();
    world.pass(2 * i64::from(INITIAL_DELAY_MS));
    let generation = world.joined(one_waits).unwrap().generation_id;
    let two_syncs = world.sync(&two, generation, &[]);
    for _ in 0..REBALANCE_MS / 5_000 {
        world.pass(5_000);
        let _ = world.heartbeat(&one, None, generation);
    }
    assert_eq!(world.synced(two_syncs).unwrap().error_code, ErrorCode::RebalanceInProgress.code());
    assert_eq!(world.heartbeat(&one, None, generation), Err(ErrorCode::UnknownMemberId));
    assert_eq!(world.heartbeat(&two, None, generation), Err(ErrorCode::RebalanceInProgress));
}

#[test]
fn leaving_is_answered_one_by_one_and_empties_the_group() {
    let mut world = World::new();
    let (ids, generation) = world.stable(2);
    let response = world.leave(&[(&ids[0], None), ("nobody", None)]);
    let codes: Vec<i16> = response.members.iter().map(|member| member.error_code).collect();
    assert_eq!(codes, [NONE, ErrorCode::UnknownMemberId.code()]);
    assert_eq!(world.heartbeat(&ids[1], None, generation), Err(ErrorCode::RebalanceInProgress));
    world.leave(&[(&ids[1], None)]);
    assert_eq!(world.state(), None, "an empty group is the log's alone");
    let logged = world.shard.persisted.group(GROUP).unwrap().metadata.clone().unwrap();
    assert_eq!((logged.generation, logged.members.len(), logged.protocol), (generation + 1, 0, None));
    let gone = world.leave(&[(&ids[1], None)]);
    assert_eq!(gone.members[0].error_code, ErrorCode::UnknownMemberId.code());
    let (_, waiter) = world.come();
    world.pass(i64::from(INITIAL_DELAY_MS));
    assert_eq!(world.joined(waiter).unwrap().generation_id, generation + 2, "generations go on");
}

#[test]
fn a_failed_append_of_the_assignment_begins_anew() {
    let mut world = World::new();
    let (one, waiter) = world.come();
    world.pass(i64::from(INITIAL_DELAY_MS));
    assert_eq!(world.joined(waiter).unwrap().generation_id, 1);
    world.fail_appends = true;
    let sync = world.sync(&one, 1, &[(&one, "a")]);
    assert_eq!(world.synced(sync).unwrap().error_code, ErrorCode::NotCoordinator.code());
    assert_eq!(world.state(), Some(PreparingRebalance));
    world.fail_appends = false;
    let waiter = world.join_as(&join_request(&one, None), 9);
    assert_eq!(world.joined(waiter).unwrap().generation_id, 2);
    let sync = world.sync(&one, 2, &[(&one, "a")]);
    assert_eq!(world.synced(sync).unwrap().assignment, "a");
}

#[test]
fn a_restart_keeps_members_and_their_assignments() {
    let mut world = World::new();
    let (ids, generation) = world.stable(2);
    world.restart();
    assert_eq!(world.state(), Some(Stable));
    assert_eq!(world.heartbeat(&ids[1], None, generation), Ok(()));
    let sync = world.sync(&ids[1], generation, &[]);
    assert_eq!(world.synced(sync).unwrap().error_code, NONE);
    // Nobody heartbeats any more: both sessions end.
    world.pass(i64::from(REBALANCE_MS));
    assert_eq!(world.state(), None);
    assert!(world.shard.persisted.group(GROUP).unwrap().metadata.as_ref().unwrap().members.is_empty());
}

#[test]
fn what_cannot_join_is_told_why() {
    let mut world = World::new();
    let mut error = |change: &dyn Fn(&mut rkafka_protocol::messages::JoinGroupRequest)| {
        let mut request = join_request("", None);
        change(&mut request);
        let waiter = world.join_as(&request, 9);
        world.joined(waiter).map(|answer| ErrorCode::from_code(answer.error_code))
    };
    assert_eq!(error(&|request| request.group_id.clear()), Some(ErrorCode::InvalidGroupId));
    assert_eq!(error(&|request| request.group_id = "g".repeat(40_000)), Some(ErrorCode::InvalidGroupId));
    assert_eq!(error(&|request| request.session_timeout_ms = 5_999), Some(ErrorCode::InvalidSessionTimeout));
    assert_eq!(error(&|request| request.session_timeout_ms = 1_800_001), Some(ErrorCode::InvalidSessionTimeout));
    assert_eq!(error(&|request| request.member_id = "made-up".to_owned()), Some(ErrorCode::UnknownMemberId));
    assert_eq!(error(&|request| request.protocols.clear()), Some(ErrorCode::InconsistentGroupProtocol));
    assert_eq!(error(&|request| request.protocol_type.clear()), Some(ErrorCode::InconsistentGroupProtocol));
    assert_eq!(error(&|request| request.protocols[0].name = "p".repeat(40_000)), Some(ErrorCode::InvalidRequest));
    assert!(world.log.is_empty(), "what was refused left nothing behind");

    let (_, _) = world.come();
    let mut other = join_request("", None);
    other.protocol_type = "connect".to_owned();
    let waiter = world.join_as(&other, 9);
    assert_eq!(world.joined(waiter).unwrap().error_code, ErrorCode::InconsistentGroupProtocol.code());
}

#[test]
fn a_full_group_takes_nobody_more() {
    let mut world = World::with_max_size(2);
    let (ids, _) = world.stable(2);
    let waiter = world.join_as(&join_request("", None), 9);
    assert_eq!(world.joined(waiter).unwrap().error_code, ErrorCode::GroupMaxSizeReached.code());
    assert_eq!(world.group().unwrap().members.len(), ids.len());
}

#[test]
fn the_protocol_with_most_votes_is_chosen() {
    let mut world = World::new();
    let mut waits = Vec::new();
    for names in [["range", "sticky"], ["sticky", "range"], ["sticky", "range"]] {
        let mut request = join_request("", None);
        request.protocols = names.iter().map(|name| protocol(name)).collect();
        waits.push(world.join_as(&request, 3));
    }
    world.pass(i64::from(REBALANCE_MS));
    for waiter in waits {
        assert_eq!(world.joined(waiter).unwrap().protocol_name.as_deref(), Some("sticky"));
    }
}

#[test]
fn a_promised_id_that_is_not_used_is_forgotten() {
    let mut world = World::new();
    let waiter = world.join_as(&join_request("", None), 9);
    let id = world.joined(waiter).unwrap().member_id;
    world.pass(i64::from(SESSION_MS) + 1);
    let waiter = world.join_as(&join_request(&id, None), 9);
    assert_eq!(world.joined(waiter).unwrap().error_code, ErrorCode::UnknownMemberId.code());
    assert_eq!(world.shard.list(&[], &[]).len(), 1, "the group stays, empty");
}

#[test]
fn a_promised_id_that_is_not_used_disturbs_nobody() {
    let mut world = World::new();
    let (ids, generation) = world.stable(2);
    for _ in 0..500 {
        let waiter = world.join_as(&join_request("", None), 9);
        assert_eq!(world.joined(waiter).unwrap().error_code, ErrorCode::MemberIdRequired.code());
    }
    for _ in 0..3 {
        world.pass(i64::from(SESSION_MS) / 2);
        for id in &ids {
            assert_eq!(world.heartbeat(id, None, generation), Ok(()));
        }
    }
    let group = world.group().unwrap();
    assert_eq!((group.state(), group.generation, group.pending.len()), (ClassicState::Stable, generation, 0));
}

#[test]
fn a_member_that_hangs_up_while_it_waits_does_not_hold_up_the_rest() {
    let mut world = World::new();
    let (ids, generation) = world.stable(2);
    let one = world.join_as(&join_request(&ids[0], None), 9);
    world.forget(one);
    let two = world.join_as(&join_request(&ids[1], None), 9);
    assert_eq!(world.joined(two), None, "the first may ask again");
    world.pass(i64::from(SESSION_MS));
    let response = world.joined(two).unwrap();
    assert_eq!((response.generation_id, response.leader), (generation + 1, ids[1].clone()));

    // One that was promised an id may come again with it, and one that cannot know its id is out at once.
    let (promised, waiter) = world.come();
    world.forget(waiter);
    assert!(world.group().unwrap().members.contains_key(&promised));
    let waiter = world.join_as(&join_request(&promised, None), 9);
    assert_eq!(world.joined(waiter), None);
    world.leave(&[(&promised, None)]);
    assert_eq!(world.joined(waiter).unwrap().error_code, ErrorCode::UnknownMemberId.code());
    let nameless = world.join_as(&join_request("", None), 3);
    assert_eq!(world.group().unwrap().members.len(), 2);
    world.forget(nameless);
    assert_eq!(world.group().unwrap().members.len(), 1);
}

#[test]
fn a_second_join_of_a_member_takes_the_place_of_the_first() {
    let mut world = World::new();
    let (ids, _) = world.stable(2);
    let first = world.join_as(&join_request(&ids[0], None), 9);
    let second = world.join_as(&join_request(&ids[0], None), 9);
    assert_eq!(world.joined(first).unwrap().error_code, ErrorCode::RebalanceInProgress.code());
    assert_eq!(world.joined(second), None);
}

#[test]
fn descriptions_and_lists_show_the_state() {
    let mut world = World::new();
    assert_eq!(world.shard.describe(GROUP, 5).group_state, "Dead");
    let missing = world.shard.describe(GROUP, 6);
    assert_eq!(missing.error_code, ErrorCode::GroupIdNotFound.code());
    let (ids, _) = world.stable(2);
    let described = world.shard.describe(GROUP, 6);
    assert_eq!((described.group_state.as_str(), described.protocol_data.as_str()), ("Stable", "range"));
    assert_eq!(described.members.len(), ids.len());
    assert!(described.members.iter().all(|member| !member.member_metadata.is_empty()));
    let states = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    assert_eq!(world.shard.list(&states(&["stable"]), &states(&["classic"])).len(), 1);
    assert_eq!(world.shard.list(&states(&["Empty"]), &[]).len(), 0);
    assert_eq!(world.shard.list(&[], &states(&["consumer"])).len(), 0);
    assert_eq!(ClassicState::ALL.len(), 5);
}

#[test]
fn a_sync_of_another_generation_or_protocol_is_refused() {
    let mut world = World::new();
    let (ids, generation) = world.stable(2);
    let mut error = |member: &str, generation: i32| {
        let waiter = world.sync(member, generation, &[(&ids[0], "stale"), (&ids[1], "stale")]);
        world.synced(waiter).map(|response| ErrorCode::from_code(response.error_code))
    };
    assert_eq!(error(&ids[0], generation - 1), Some(ErrorCode::IllegalGeneration));
    assert_eq!(error("stranger", generation), Some(ErrorCode::UnknownMemberId));

    let waiter = world.waiter();
    let request = rkafka_protocol::messages::SyncGroupRequest {
        group_id: GROUP.to_owned(),
        generation_id: generation,
        member_id: ids[1].clone(),
        protocol_type: Some("consumer".to_owned()),
        protocol_name: Some("sticky".to_owned()),
        ..Default::default()
    };
    let effects = world.shard.sync(world.now, &request, waiter);
    world.settle(effects);
    assert_eq!(world.synced(waiter).unwrap().error_code, ErrorCode::InconsistentGroupProtocol.code());

    // In the next rebalance a leader of the past cannot assign either.
    let waits: Vec<_> = ids.iter().map(|id| world.join_as(&join_request(id, None), 9)).collect();
    assert!(waits.into_iter().all(|waiter| world.joined(waiter).is_some_and(|answer| answer.error_code == NONE)));
    let stale = world.sync(&ids[0], generation, &[(&ids[0], "stale")]);
    assert_eq!(world.synced(stale).unwrap().error_code, ErrorCode::IllegalGeneration.code());
    assert_eq!(world.state(), Some(CompletingRebalance));
}
