//! Groups of several machines against a coordinator of each protocol, over virtual time and any schedule: joins, crashes,
//! static members and two of one instance id, requests and answers that are lost or late, applications that do not poll,
//! sessions that end, coordinators that move and have only what is in the log, topics that grow, go and come again,
//! subscriptions that change.
//!
//! At any time: no partition is with two members, none is with one while the coordinator gave it to another, none is
//! begun with twice or given up without being had, nobody joins anew with anything left, no commit takes a partition
//! back. In the end: everyone is in the group and has what the coordinator assigned to it, each partition is with one
//! member, who has read on from what was committed.
//!
//! What it cannot see is what only takes longer, for the schedule goes on: a release of an instance that is given up after
//! one loss is asked for again once the join is refused, a rebalance that a member was told of while it put an assignment
//! in place and forgot is told with the next heartbeat. Tests of their own have the first (`consumer_tests`).
//!
//! What is not here: a request that arrives after its sender took it for lost and went on. A commit or a heartbeat of
//! KIP-848 has nothing by which a coordinator could tell; connections end first.

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use rkafka_assignor::{Assignor, CooperativeSticky, Range, Sticky};

use world::World;

mod checks;
mod model_classic;
mod model_consumer;
mod network;
mod people;
mod statics;
mod world;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Eager,
    EagerSticky,
    Cooperative,
    Consumer,
}

/// Whether one of the people has a `group.instance.id`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Instance {
    None,
    Own,
    /// The same as others, by mistake.
    Shared,
}

fn assignor(kind: Kind) -> &'static dyn Assignor {
    match kind {
        Kind::Eager => &Range,
        Kind::EagerSticky => &Sticky,
        _ => &CooperativeSticky,
    }
}

fn people() -> impl Strategy<Value = Vec<Instance>> {
    let instance = prop_oneof![3 => Just(Instance::None), 2 => Just(Instance::Own), 1 => Just(Instance::Shared)];
    proptest::collection::vec(instance, 1..5)
}

fn script() -> impl Strategy<Value = Vec<(u8, u16, u16)>> {
    proptest::collection::vec((0..30_u8, any::<u16>(), 0..400_u16), 0..400)
}

fn play(kind: Kind, people: &[Instance], script: Vec<(u8, u16, u16)>) -> Result<(), TestCaseError> {
    let mut world = World::new(kind, people);
    (0..people.len()).for_each(|who| world.start(who));
    world.run()?;
    for (operation, pick, wait) in script {
        world.step(operation, pick, wait)?;
    }
    world.come_to_rest()
}

fn config(cases: u32) -> ProptestConfig {
    let given = std::env::var("PROPTEST_RNG_SEED").ok().and_then(|seed| seed.parse().ok());
    ProptestConfig { cases, rng_seed: RngSeed::Fixed(given.unwrap_or(1)), ..ProptestConfig::default() }
}

proptest! {
    // The same schedules each time, so that nobody's change is held up by a schedule that nobody has seen;
    // `PROPTEST_RNG_SEED` gives others.
    #![proptest_config(config(300))]

    #[test]
    fn of_an_eager_group(people in people(), script in script()) {
        play(Kind::Eager, &people, script)?;
    }

    #[test]
    fn of_an_eager_and_sticky_group(people in people(), script in script()) {
        play(Kind::EagerSticky, &people, script)?;
    }

    #[test]
    fn of_a_cooperative_group(people in people(), script in script()) {
        play(Kind::Cooperative, &people, script)?;
    }

    #[test]
    fn of_a_group_of_the_consumer_protocol(people in people(), script in script()) {
        play(Kind::Consumer, &people, script)?;
    }
}
