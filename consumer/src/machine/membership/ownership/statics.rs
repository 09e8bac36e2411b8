//! Static members: who is back within its session moves nothing, and of two with one instance id one is told.

use proptest::prelude::*;

use super::world::World;
use super::{Instance, Kind, config};

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![Just(Kind::Eager), Just(Kind::EagerSticky), Just(Kind::Cooperative), Just(Kind::Consumer)]
}

proptest! {
    #![proptest_config(config(100))]

    #[test]
    fn a_restart_within_the_session_moves_nothing(
        kind in kind(), who in 0..3_usize, order in proptest::collection::vec(any::<u16>(), 200),
    ) {
        let mut world = World::new(kind, &[Instance::Own; 3]);
        (0..3).for_each(|who| world.start(who));
        world.settle(true)?;
        let (shares, moves) = (world.shares(), world.people.iter().map(|person| person.moves).collect::<Vec<_>>());
        world.close(who);
        world.run()?;
        for pick in order {
            world.step(0, pick, 2)?;
        }
        prop_assert!(world.people[who].machine.is_none(), "it has left");
        prop_assert!(world.people[who].has.is_empty());
        world.start(who);
        world.settle(true)?;
        prop_assert_eq!(world.shares(), shares);
        for (other, person) in world.people.iter().enumerate().filter(|(other, _)| *other != who) {
            prop_assert_eq!(person.moves, moves[other], "{} was disturbed", other);
        }
        world.come_to_rest()?;
    }

    #[test]
    fn of_two_with_one_instance_id_one_is_told(kind in kind(), order in proptest::collection::vec(any::<u16>(), 300)) {
        let mut world = World::new(kind, &[Instance::Shared; 2]);
        world.start(0);
        world.settle(true)?;
        world.start(1);
        for pick in order {
            world.step(0, pick, 20)?;
        }
        // By the classic protocol the newer fences the older, by KIP-848 the older must leave first.
        let (stays, goes) = if kind == Kind::Consumer { (0, 1) } else { (1, 0) };
        prop_assert!(world.people[goes].machine.is_none(), "it is told");
        prop_assert!(world.people[stays].machine.is_some());
        prop_assert_eq!(world.shares()[stays].len(), world.topics.places().len());
    }
}
