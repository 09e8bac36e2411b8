//! Static members (KIP-345, KIP-814).

use rkafka_protocol::ErrorCode;

use super::super::ClassicState::{PreparingRebalance, Stable};
use super::world::{INITIAL_DELAY_MS, SESSION_MS, World, join_request, protocol};

/// A stable group of static members "a" and "b": their ids, the leader first as it happens.
fn stable_pair(world: &mut World) -> [(String, &'static str); 2] {
    let waits = ["a", "b"].map(|instance| world.join_as(&join_request("", Some(instance)), 9));
    world.pass(2 * i64::from(INITIAL_DELAY_MS));
    let [a, b] = waits.map(|waiter| world.joined(waiter).unwrap());
    assert_eq!((a.error_code, a.generation_id), (0, 1));
    let leader = a.leader.clone();
    let plan = [(a.member_id.as_str(), "for a"), (b.member_id.as_str(), "for b")];
    for id in [&a.member_id, &b.member_id] {
        world.sync(id, 1, if *id == leader { &plan } else { &[] });
    }
    assert_eq!(world.state(), Some(Stable));
    [(a.member_id, "a"), (b.member_id, "b")]
}

#[test]
fn a_restarted_static_member_takes_its_place_without_a_rebalance() {
    let mut world = World::new();
    let pair = stable_pair(&mut world);
    for (old, instance) in &pair {
        let waiter = world.join_as(&join_request("", Some(instance)), 9);
        let response = world.joined(waiter).unwrap();
        assert_eq!((response.error_code, response.generation_id), (0, 1));
        assert_ne!(&response.member_id, old);
        assert_eq!(response.skip_assignment, response.leader == response.member_id, "only a leader would assign");
        assert_eq!(world.state(), Some(Stable));
        let sync = world.sync(&response.member_id, 1, &[]);
        assert_eq!(world.synced(sync).unwrap().assignment, format!("for {instance}"));
        assert_eq!(world.heartbeat(old, Some(instance), 1), Err(ErrorCode::FencedInstanceId));
        assert_eq!(world.heartbeat(old, None, 1), Err(ErrorCode::UnknownMemberId));
        assert_eq!(world.heartbeat(&response.member_id, Some(instance), 1), Ok(()));
    }
}

#[test]
fn an_older_client_does_not_learn_that_it_leads() {
    let mut world = World::new();
    let pair = stable_pair(&mut world);
    let leader = world.group().unwrap().leader.clone().unwrap();
    let (old, instance) = pair.iter().find(|(id, _)| *id == leader).unwrap();
    let waiter = world.join_as(&join_request("", Some(instance)), 8);
    let response = world.joined(waiter).unwrap();
    assert_eq!(&response.leader, old);
    assert!(response.members.is_empty() && !response.skip_assignment);
}

#[test]
fn only_a_change_of_the_chosen_protocol_rebalances() {
    let mut world = World::new();
    let with_protocols = |names: [&str; 2]| {
        let mut request = join_request("", Some("a"));
        request.protocols = names.map(protocol).to_vec();
        request
    };
    let waiter = world.join_as(&with_protocols(["range", "sticky"]), 9);
    world.pass(i64::from(INITIAL_DELAY_MS));
    let response = world.joined(waiter).unwrap();
    world.sync(&response.member_id, 1, &[]);
    let waiter = world.join_as(&with_protocols(["range", "other"]), 9);
    assert_eq!(world.joined(waiter).unwrap().generation_id, 1);
    assert_eq!(world.state(), Some(Stable));
    let waiter = world.join_as(&with_protocols(["other", "range"]), 9);
    let response = world.joined(waiter).unwrap();
    assert_eq!((response.generation_id, response.protocol_name.as_deref()), (2, Some("other")));
}

#[test]
fn a_failed_append_gives_the_old_member_its_place_back() {
    let mut world = World::new();
    let [(old, instance), _] = stable_pair(&mut world);
    world.fail_appends = true;
    let waiter = world.join_as(&join_request("", Some(instance)), 9);
    assert_eq!(world.joined(waiter).unwrap().error_code, ErrorCode::NotCoordinator.code());
    assert_eq!(world.heartbeat(&old, Some(instance), 1), Ok(()));
    assert_eq!(world.state(), Some(Stable));
}

#[test]
fn the_old_self_that_waits_is_fenced() {
    let mut world = World::new();
    let first = world.join_as(&join_request("", Some("a")), 9);
    let second = world.join_as(&join_request("", Some("a")), 9);
    assert_eq!(world.joined(first).unwrap().error_code, ErrorCode::FencedInstanceId.code());
    world.pass(2 * i64::from(INITIAL_DELAY_MS));
    let response = world.joined(second).unwrap();
    assert_eq!((response.error_code, response.members.len()), (0, 1));
}

#[test]
fn an_absent_static_member_keeps_its_place_until_its_session_ends() {
    let mut world = World::new();
    let [(a, _), (b, _)] = stable_pair(&mut world);
    let mut changed = join_request(&a, Some("a"));
    changed.protocols[0].metadata = super::world::subscription(&["other"]);
    let waiter = world.join_as(&changed, 9);
    assert_eq!(world.state(), Some(PreparingRebalance));
    world.pass(i64::from(SESSION_MS) - 1);
    assert!(world.group().unwrap().members.contains_key(&b));
    world.pass(1);
    assert_eq!(world.joined(waiter).unwrap().members.len(), 1);
}

#[test]
fn an_administrator_removes_by_instance() {
    let mut world = World::new();
    stable_pair(&mut world);
    let response = world.leave(&[("", Some("a")), ("", Some("nobody")), ("wrong", Some("b"))]);
    let codes: Vec<_> = response.members.iter().map(|member| ErrorCode::from_code(member.error_code)).collect();
    assert_eq!(codes, [ErrorCode::None, ErrorCode::UnknownMemberId, ErrorCode::FencedInstanceId]);
    assert_eq!(world.group().unwrap().members.len(), 1);
}
