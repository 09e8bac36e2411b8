//! Courses of a cluster, step by step, as Kafka's controller goes them.

use std::time::Duration;

use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::assign_replicas_to_dirs_request::{DirectoryData, PartitionData, TopicData};
use rkafka_protocol::messages::{
    AllocateProducerIdsRequest, AssignReplicasToDirsRequest, BrokerHeartbeatRequest, BrokerRegistrationRequest,
    ControllerRegistrationRequest,
};
use uuid::Uuid;

use super::super::directories::assign_directories;
use super::super::nodes::{allocate_producer_ids, register_controller};
use super::super::report::Reports;
use super::super::*;
use super::world::{CLUSTER, World};
use crate::config::BrokerConfig;

fn world(min_isr: i32) -> World {
    World::new(4, true, BrokerConfig::new().min_insync_replicas(min_isr))
}

fn order(world: &World) -> Vec<i32> {
    world.partition("t", 0).replicas.clone()
}

fn alive(world: &mut World, ids: &[i32]) {
    for id in ids {
        world.catch_up(*id);
        world.heartbeat(*id);
        world.catch_up(*id);
    }
}

/// Only these are heard of while a session passes.
fn only(world: &mut World, ids: &[i32]) {
    for _ in 0..5 {
        world.advance(Duration::from_secs(3));
        alive(world, ids);
    }
}

#[test]
fn a_broker_that_is_not_heard_of_leads_no_more_and_is_eligible_while_too_few_are_in_sync() {
    let mut world = world(2);
    assert!(world.create("t", 1, 3));
    let replicas = order(&world);
    let [first, second, third] = replicas[..] else { panic!() };
    let rest: Vec<i32> = (1..=4).filter(|id| *id != first).collect();
    only(&mut world, &rest);
    let now = world.partition("t", 0).clone();
    assert_eq!((now.leader, now.isr, now.elr, now.leader_epoch), (second, vec![second, third], vec![], 1));
    assert!(world.image.broker(first).unwrap().fenced);
    // With one left in sync, the one that left has everything, and may still lead.
    let rest: Vec<i32> = rest.into_iter().filter(|id| *id != second).collect();
    only(&mut world, &rest);
    let now = world.partition("t", 0).clone();
    assert_eq!((now.leader, now.isr, now.elr), (third, vec![third], vec![second]));
    let rest: Vec<i32> = rest.into_iter().filter(|id| *id != third).collect();
    only(&mut world, &rest);
    let now = world.partition("t", 0).clone();
    assert_eq!((now.leader, now.isr, now.last_known_elr), (NO_LEADER, vec![], vec![third]));
    assert_eq!(now.elr, if second < third { vec![second, third] } else { vec![third, second] });
    // The first one is not eligible, for it left while there were enough; the second is.
    alive(&mut world, &[first]);
    assert_eq!(world.partition("t", 0).leader, NO_LEADER);
    alive(&mut world, &[second]);
    let now = world.partition("t", 0).clone();
    assert_eq!((now.leader, now.isr, now.elr), (second, vec![second], vec![third]));
    assert!(now.last_known_elr.is_empty() && !now.recovering && world.unclean == 0);
}

#[test]
fn an_unclean_stop_ends_eligibility_and_a_clean_one_does_not() {
    for clean in [true, false] {
        let mut world = world(2);
        assert!(world.create("t", 1, 1));
        let leader = order(&world)[0];
        if clean {
            world.brokers.get_mut(&leader).unwrap().wants_stop = true;
            for _ in 0..3 {
                alive(&mut world, &[1, 2, 3, 4]);
            }
            assert!(!world.brokers[&leader].running);
        } else {
            world.kill(leader, 0);
            // It is not let in while the controller takes it for alive.
            assert!(!world.start(leader));
            world.expire_sessions();
        }
        let rest: Vec<i32> = (1..=4).filter(|id| *id != leader).collect();
        alive(&mut world, &rest);
        assert_eq!(world.partition("t", 0).leader, NO_LEADER);
        assert!(world.start(leader));
        let now = world.partition("t", 0).clone();
        // Of one replica one must be in sync at most, whatever the setting says.
        assert_eq!((now.isr, now.elr), (vec![], if clean { vec![leader] } else { vec![] }));
        alive(&mut world, &[leader]);
        let now = world.partition("t", 0).clone();
        // The last leader leads again in any case, and it is told where that may have lost something.
        assert_eq!((now.leader, now.recovering), (leader, !clean));
        assert_eq!(world.unclean, u64::from(!clean));
    }
}

#[test]
fn who_wants_to_stop_gives_its_partitions_away_first() {
    let mut world = world(1);
    assert!(world.create("t", 1, 3));
    let [first, second, third] = order(&world)[..] else { panic!() };
    world.brokers.get_mut(&first).unwrap().wants_stop = true;
    alive(&mut world, &[first]);
    assert_eq!((world.partition("t", 0).leader, &world.partition("t", 0).isr), (second, &vec![second, third]));
    assert!(world.brokers[&first].running && world.image.broker(first).unwrap().in_controlled_shutdown);
    // New partitions are not put on it.
    assert!(world.create("u", 12, 3));
    assert!((0..12).all(|index| !world.partition("u", index).replicas.contains(&first)));
    // The others have not all read of it.
    alive(&mut world, &[first]);
    assert!(world.brokers[&first].running);
    let rest: Vec<i32> = (1..=4).filter(|id| *id != first).collect();
    alive(&mut world, &rest);
    alive(&mut world, &rest);
    alive(&mut world, &[first]);
    assert!(!world.brokers[&first].running && world.image.broker(first).unwrap().fenced);
    // It comes back at once, for it is fenced.
    assert!(world.start(first));
    alive(&mut world, &[first]);
    assert!(world.image.broker(first).unwrap().is_active());
    // And leads again once it is in sync and somebody asks.
    let key = world.keys()[0];
    assert_eq!(world.elect(AskedElection::Preferred)[0], ErrorCode::PreferredLeaderNotAvailable.code());
    alive(&mut world, &[second]);
    (0..2).for_each(|_| world.fetch(first, key));
    world.propose(second, key, 0);
    assert_eq!(world.elect(AskedElection::Preferred), [ErrorCode::None.code()]);
    assert_eq!(world.partition("t", 0).leader, first);
}

#[test]
fn leaders_go_back_by_themselves() {
    for enabled in [true, false] {
        let config =
            BrokerConfig::new().auto_leader_rebalance_enable(enabled).leader_imbalance_check_interval_seconds(20);
        let mut world = World::new(3, true, config);
        assert!(world.create("t", 1, 3));
        let [first, second, _] = order(&world)[..] else { panic!() };
        let rest: Vec<i32> = (1..=3).filter(|id| *id != first).collect();
        only(&mut world, &rest);
        alive(&mut world, &[1, 2, 3]);
        let key = world.keys()[0];
        (0..2).for_each(|_| world.fetch(first, key));
        world.propose(second, key, 0);
        assert_eq!((world.partition("t", 0).leader, world.partition("t", 0).isr.len()), (second, 3));
        alive(&mut world, &[1, 2, 3]);
        world.advance(Duration::from_secs(6));
        assert_eq!(world.partition("t", 0).leader, if enabled { first } else { second });
    }
}

#[test]
fn a_reassignment_is_complete_when_all_that_stay_are_in_sync() {
    let mut world = world(1);
    assert!(world.create("t", 1, 2));
    let key = world.keys()[0];
    let old = order(&world);
    let new: Vec<i32> = (1..=4).filter(|id| !old.contains(id)).collect();
    assert_eq!(world.reassign(key, Some(new.clone())).0, 0);
    let now = world.partition("t", 0).clone();
    let mut removing = old.clone();
    removing.sort_unstable();
    assert_eq!((&now.adding_replicas, &now.removing_replicas), (&new, &removing));
    assert_eq!(now.replicas, [new.clone(), removing].concat());
    assert_eq!(reassignments(&world.image, None)[0].partitions[0].adding_replicas, new);
    alive(&mut world, &[1, 2, 3, 4]);
    for id in &new {
        (0..2).for_each(|_| world.fetch(*id, key));
    }
    world.propose(old[0], key, 0);
    let now = world.partition("t", 0).clone();
    assert_eq!((now.replicas.clone(), now.isr.clone(), now.is_reassigning()), (new.clone(), new.clone(), false));
    assert!(new.contains(&now.leader) && now.leader_epoch == 1);
    assert!(reassignments(&world.image, None).is_empty());
    // Nothing is under way that could be taken back.
    assert_eq!(world.reassign(key, None).0, ErrorCode::NoReassignmentInProgress.code());
    assert_eq!(world.reassign(key, Some(vec![1, 9])).0, ErrorCode::InvalidReplicaAssignment.code());
    assert_eq!(world.reassign(key, Some(vec![1, 1])).0, ErrorCode::InvalidReplicaAssignment.code());
    assert_eq!(world.reassign(key, Some(vec![])).0, ErrorCode::InvalidReplicaAssignment.code());
    // Taken back, all is as before.
    assert_eq!(world.reassign(key, Some(old)).0, 0);
    assert!(world.partition("t", 0).is_reassigning());
    assert_eq!(world.reassign(key, None).0, 0);
    let now = world.partition("t", 0);
    assert_eq!((&now.replicas, now.is_reassigning(), now.directories.len()), (&new, false, 2));
}

#[test]
fn taking_back_never_loses_records_in_silence() {
    for unclean in [false, true] {
        let mut world = World::new(4, true, BrokerConfig::new().unclean_leader_election_enable(unclean));
        assert!(world.create("t", 1, 1));
        let (key, old) = (world.keys()[0], order(&world)[0]);
        let [new, third, ..] = (1..=4).filter(|id| *id != old).collect::<Vec<i32>>()[..] else { panic!() };
        assert_eq!(world.reassign(key, Some(vec![new, third])).0, 0);
        alive(&mut world, &[1, 2, 3, 4]);
        (0..2).for_each(|_| world.fetch(new, key));
        world.propose(old, key, 0);
        // The old one leaves the in-sync replicas, while there are enough.
        let rest: Vec<i32> = (1..=4).filter(|id| *id != old).collect();
        only(&mut world, &rest);
        assert_eq!((world.partition("t", 0).leader, world.partition("t", 0).elr.len()), (new, 0));
        let (error, message) = world.reassign(key, None);
        if unclean {
            assert_eq!((error, world.partition("t", 0).replicas.clone()), (0, vec![old]));
            world.catch_up(old);
            world.heartbeat(old);
            assert!(world.partition("t", 0).recovering && world.unclean == 1);
        } else {
            assert_eq!(error, ErrorCode::InvalidReplicaAssignment.code());
            assert!(message.unwrap().contains("would require an unclean leader election"));
        }
    }
}

#[test]
fn registrations_are_refused_as_kafka_does() {
    let mut world = world(1);
    let good = BrokerRegistrationRequest {
        broker_id: 7,
        cluster_id: CLUSTER.to_owned(),
        incarnation_id: Uuid::from_u128(70),
        features: vec![rkafka_protocol::messages::broker_registration_request::Feature {
            name: METADATA_VERSION_FEATURE.to_owned(),
            min_supported_version: 7,
            max_supported_version: 30,
            ..Default::default()
        }],
        log_dirs: vec![Uuid::from_u128(700)],
        ..Default::default()
    };
    let cases = [
        (BrokerRegistrationRequest { cluster_id: "x".to_owned(), ..good.clone() }, ErrorCode::InconsistentClusterId),
        (BrokerRegistrationRequest { log_dirs: vec![], ..good.clone() }, ErrorCode::InvalidRegistration),
        (BrokerRegistrationRequest { log_dirs: vec![Uuid::nil()], ..good.clone() }, ErrorCode::InvalidRegistration),
        (
            BrokerRegistrationRequest { log_dirs: vec![Uuid::from_u128(700); 2], ..good.clone() },
            ErrorCode::InvalidRegistration,
        ),
        // The directory of broker 1.
        (
            BrokerRegistrationRequest { log_dirs: vec![Uuid::from_u128(1_001)], ..good.clone() },
            ErrorCode::InvalidRegistration,
        ),
        (BrokerRegistrationRequest { features: vec![], ..good.clone() }, ErrorCode::InvalidRegistration),
        (BrokerRegistrationRequest { is_migrating_zk_broker: true, ..good.clone() }, ErrorCode::BrokerIdNotRegistered),
        (BrokerRegistrationRequest { broker_id: 1, ..good.clone() }, ErrorCode::DuplicateBrokerRegistration),
        // It does not know the eligible leaders that the cluster has.
        (good.clone(), ErrorCode::UnsupportedVersion),
    ];
    for (request, error) in cases {
        let view = View::new(&world.image, &world.config);
        let decision = world.active.register(&view, &request, 4, world.now);
        assert_eq!((decision.reply.error_code, decision.reply.broker_epoch), (error.code(), -1), "{request:?}");
        assert!(decision.records.is_empty());
    }
    // The same start again amends the registration, and keeps epoch and state.
    let (epoch, incarnation) = (world.brokers[&1].epoch, world.image.broker(1).unwrap().incarnation_id);
    let mut features = good.features.clone();
    features.push(rkafka_protocol::messages::broker_registration_request::Feature {
        name: "eligible.leader.replicas.version".to_owned(),
        max_supported_version: 1,
        ..Default::default()
    });
    let again = BrokerRegistrationRequest {
        broker_id: 1,
        incarnation_id: incarnation,
        features,
        rack: Some("r".to_owned()),
        log_dirs: vec![Uuid::from_u128(1_001)],
        ..good
    };
    let Decision { records, reply } =
        world.active.register(&View::new(&world.image, &world.config), &again, 4, world.now);
    world.apply(&records);
    let broker = world.image.broker(1).unwrap();
    assert_eq!(
        (reply.broker_epoch, broker.epoch, broker.fenced, broker.rack.as_deref()),
        (epoch, epoch, false, Some("r"))
    );

    let stale = BrokerHeartbeatRequest { broker_id: 1, broker_epoch: epoch + 1, ..Default::default() };
    let view = View::new(&world.image, &world.config);
    assert_eq!(world.active.heartbeat(&view, &stale, world.now).reply.error_code, ErrorCode::StaleBrokerEpoch.code());
}

#[test]
fn directories_are_assigned_and_lost() {
    let mut world = world(1);
    assert!(world.create("t", 1, 2));
    let key = world.keys()[0];
    let [first, second] = order(&world)[..] else { panic!() };
    let dir_of = |id: i32| Uuid::from_u128(1_000 + u128::from(id.unsigned_abs()));
    assert_eq!(world.partition("t", 0).directories, [dir_of(first), dir_of(second)]);
    let ask = |world: &World, broker: i32, dir: Uuid, index: i32| {
        let partitions = vec![PartitionData { partition_index: index, ..Default::default() }];
        let topics = vec![TopicData { topic_id: key.0, partitions, ..Default::default() }];
        let request = AssignReplicasToDirsRequest {
            broker_id: broker,
            broker_epoch: world.brokers[&broker].epoch,
            directories: vec![DirectoryData { id: dir, topics, ..Default::default() }],
            ..Default::default()
        };
        let Decision { records, reply } = assign_directories(&View::new(&world.image, &world.config), &request);
        (records, reply.directories[0].topics[0].partitions[0].error_code)
    };
    let stranger = (1..=4).find(|id| ![first, second].contains(id)).unwrap();
    assert_eq!(ask(&world, stranger, dir_of(stranger), 0).1, ErrorCode::NotLeaderOrFollower.code());
    assert_eq!(ask(&world, first, dir_of(first), 5).1, ErrorCode::UnknownTopicOrPartition.code());
    assert!(ask(&world, first, dir_of(first), 0).0.is_empty());
    let (records, error) = ask(&world, first, DIRECTORY_LOST, 0);
    world.apply(&records);
    let now = world.partition("t", 0);
    assert_eq!((error, now.leader, &now.isr, now.directories[0]), (0, second, &vec![second], DIRECTORY_LOST));

    // The disk of the other fails too: it is told by a heartbeat.
    let request = BrokerHeartbeatRequest {
        broker_id: second,
        broker_epoch: world.brokers[&second].epoch,
        current_metadata_offset: world.image.next_offset(),
        offline_log_dirs: vec![dir_of(second)],
        cordoned_log_dirs: Some(vec![]),
        ..Default::default()
    };
    let Decision { records, .. } = world.active.heartbeat(&View::new(&world.image, &world.config), &request, world.now);
    world.apply(&records);
    let now = world.partition("t", 0);
    assert_eq!((now.leader, now.isr.len()), (NO_LEADER, 0));
    assert_eq!(world.image.broker(second).unwrap().cordoned_log_dirs.as_deref(), Some(&[][..]));
}

#[test]
fn nodes_get_producer_ids_and_controllers_register() {
    let mut world = world(1);
    let ask = |world: &mut World, broker_epoch| {
        let request = AllocateProducerIdsRequest { broker_id: 2, broker_epoch, ..Default::default() };
        let Decision { records, reply } = allocate_producer_ids(&View::new(&world.image, &world.config), &request);
        world.apply(&records);
        (reply.error_code, reply.producer_id_start, reply.producer_id_len)
    };
    let epoch = world.brokers[&2].epoch;
    assert_eq!((ask(&mut world, epoch), ask(&mut world, epoch)), ((0, 0, 1000), (0, 1000, 1000)));
    assert_eq!(ask(&mut world, -1).0, ErrorCode::StaleBrokerEpoch.code());
    let request =
        ControllerRegistrationRequest { controller_id: 9, incarnation_id: Uuid::from_u128(8), ..Default::default() };
    let Decision { records, reply } = register_controller(&request);
    world.apply(&records);
    assert_eq!((reply.error_code, world.image.controllers()[&9].incarnation_id), (0, Uuid::from_u128(8)));
}

#[test]
fn a_broker_is_forgotten() {
    let mut world = world(1);
    assert!(world.create("t", 1, 2));
    let [first, second] = order(&world)[..] else { panic!() };
    let Decision { records, reply } = unregister_broker(&View::new(&world.image, &world.config), first);
    assert!(reply.is_ok());
    world.apply(&records);
    assert!(world.image.broker(first).is_none());
    assert_eq!((world.partition("t", 0).leader, &world.partition("t", 0).isr), (second, &vec![second]));
    let again = unregister_broker(&View::new(&world.image, &world.config), first).reply.unwrap_err();
    assert_eq!(again.message, format!("Broker ID {first} is not currently registered"));
}

#[test]
fn unclean_elections_are_counted() {
    let mut world = World::new(3, true, BrokerConfig::new().unclean_leader_election_enable(true));
    assert!(world.create("t", 1, 2));
    let [first, second] = order(&world)[..] else { panic!() };
    let rest: Vec<i32> = (1..=3).filter(|id| *id != second).collect();
    only(&mut world, &rest);
    let before = world.image.clone();
    // The one that is in sync stops uncleanly; the other lacks something, but may lead.
    world.kill(first, 0);
    alive(&mut world, &[second]);
    let rest: Vec<i32> = (1..=3).filter(|id| *id != first).collect();
    only(&mut world, &rest);
    let now = world.partition("t", 0);
    assert_eq!((now.leader, now.isr.clone(), now.recovering), (second, vec![second], true));
    let reports = Reports::default();
    reports.tell(&ImageDelta::between(&before, &world.image));
    assert_eq!(reports.unclean_elections(), 1);
}
