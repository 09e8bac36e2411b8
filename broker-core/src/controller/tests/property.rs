//! Brokers come, go, crash and lose what they had not synced; leaders move, in-sync replicas and replicas change; and no
//! decision lets one lead that lacks what was acknowledged, unless that is told of.

use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::super::AskedElection;
use super::world::World;
use crate::config::BrokerConfig;

const BROKERS: i32 = 5;

fn step(world: &mut World, lossy: bool, (kind, a, b): (u8, u8, u8)) {
    let broker = i32::from(a) % BROKERS + 1;
    let other = i32::from(b) % BROKERS + 1;
    let keys = world.keys();
    let key = keys[usize::from(b) % keys.len()];
    match kind % 20 {
        0 => {
            world.start(broker);
        }
        1 => world.kill(broker, if lossy { usize::from(b) % 4 } else { 0 }),
        2 => world.brokers.get_mut(&broker).unwrap().wants_stop = true,
        3 => {
            let by = Duration::from_secs(u64::from(b) % 12);
            world.advance(by);
        }
        4 => world.fail_over(),
        5 => {
            let rotated = |from: i32, count: i32| (0..count).map(move |step| (from + step) % BROKERS + 1).collect();
            let target = (b % 5 > 0).then(|| rotated(broker, i32::from(b) % 3 + 1));
            world.reassign(key, target);
        }
        6 => {
            let asked = if a % 3 == 0 && world.config.unclean_leader_election_enable {
                AskedElection::Unclean
            } else {
                AskedElection::Preferred
            };
            world.elect(asked);
        }
        7 | 8 => world.propose(broker, key, 0),
        9 => world.propose(broker, key, other),
        10..=12 => world.produce(broker, key),
        13..=15 => world.fetch(broker, key),
        16 | 17 => world.catch_up(broker),
        18 => {
            world.catch_up(broker);
            world.heartbeat(broker);
        }
        _ => {
            // Everybody is well for a while.
            for id in 1..=BROKERS {
                world.start(id);
                world.catch_up(id);
                world.heartbeat(id);
                world.catch_up(id);
            }
            for key in keys {
                for id in (1..=BROKERS).chain(1..=BROKERS) {
                    world.fetch(id, key);
                }
                (1..=BROKERS).for_each(|id| world.propose(id, key, 0));
            }
        }
    }
    world.check();
}

fn settings() -> impl Strategy<Value = (bool, bool, i32)> {
    (any::<bool>(), any::<bool>(), 1..4i32)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, rng_seed: RngSeed::Fixed(7), ..ProptestConfig::default() })]
    #[test]
    fn who_leads_has_what_was_acknowledged(
        (elr, unclean, min_isr) in settings(),
        steps in proptest::collection::vec(any::<(u8, u8, u8)>(), 1..250),
    ) {
        let config = BrokerConfig::new().unclean_leader_election_enable(unclean).min_insync_replicas(min_isr);
        let mut world = World::new(BROKERS, elr, config);
        prop_assert!(world.create("a", 2, 3) && world.create("b", 1, 2));
        // Without eligible leaders a replica that is the last in sync is believed, even if it lost its end.
        steps.into_iter().for_each(|it| step(&mut world, elr, it));

        // Once all are back and well, every partition is led, and all of its replicas are in sync.
        for round in 0..6 {
            if round == 2 {
                world.expire_sessions();
            }
            (0..3).for_each(|_| step(&mut world, false, (19, 0, 0)));
        }
        world.elect(AskedElection::Preferred);
        for key in world.keys() {
            let partition = world.image.topic_by_id(key.0).unwrap().partition(key.1).unwrap();
            prop_assert!(partition.isr.len() == partition.replicas.len() && !partition.is_reassigning(), "{partition:?}");
            prop_assert!(partition.elr.is_empty() && partition.last_known_elr.is_empty(), "{partition:?}");
            prop_assert_eq!(partition.leader, partition.replicas[0]);
        }
    }
}
