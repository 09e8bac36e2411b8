//! Schedules that are drawn by chance, each from its seed.

use super::world::{Violation, Weather, World};
use crate::planted::{self, Bug};
use crate::raft::random::Random;

/// How many schedules each run of the tests looks at; `RKAFKA_RAFT_SEEDS` asks for more.
const SEEDS: u64 = 60;

fn seeds() -> u64 {
    std::env::var("RKAFKA_RAFT_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(SEEDS)
}

/// A minute of troubles, then everything heals. Answers the trace.
fn schedule(seed: u64) -> Result<u64, Violation> {
    let mut random = Random::new(seed);
    let voters = [1, 3, 3, 3, 5][random.below(5) as usize];
    let observers = random.below(2) as i32;
    let mut world = World::new(seed, voters, observers, [1, 600][random.below(2) as usize])?;
    let nodes = i64::from(voters + observers);
    world.weather = Weather {
        loss: [0, 10, 100][random.below(3) as usize],
        doubling: [0, 50][random.below(2) as usize],
        damage: [0, 0, 30][random.below(3) as usize],
        delay_ms: [2, 20, 200][random.below(3) as usize],
    };
    let pace = [300, 1_000, 3_000][random.below(3) as usize];
    while world.at < 60_000 {
        let id = 1 + random.below(nodes) as i32;
        let other = 1 + random.below(nodes) as i32;
        match random.below(20) {
            0..=1 => world.crash(id),
            2..=5 => {
                let down: Vec<i32> =
                    world.slots.iter().filter(|(_, slot)| slot.node.is_none()).map(|(id, _)| *id).collect();
                if let Some(id) = down.get(random.below(down.len() as i64) as usize) {
                    world.start(*id)?;
                }
            }
            // A stop and a start in one, as of a process that is restarted at once.
            6 => {
                let id = world.leader().unwrap_or(id);
                world.crash(id);
                world.start(id)?;
            }
            7 => {
                world.cut.insert((id, other));
            }
            8 => {
                let id = world.leader().unwrap_or(id);
                for other in 1..=nodes as i32 {
                    world.cut.insert((id, other));
                    if random.below(2) == 0 {
                        world.cut.insert((other, id));
                    }
                }
            }
            9..=10 => world.cut.clear(),
            11 => world.pause(id, random.below(6_000)),
            12..=13 => world.snapshot(id)?,
            _ => {
                let leaders: Vec<i32> = world
                    .slots
                    .iter()
                    .filter(|(_, slot)| slot.node.as_ref().is_some_and(|node| node.is_leader()))
                    .map(|(id, _)| *id)
                    .collect();
                for id in leaders {
                    for _ in 0..random.below(4) {
                        world.append(id)?;
                    }
                }
            }
        }
        world.steps = 0;
        let pause = random.below(pace);
        world.run_until(world.at + pause)?;
    }
    world.heal_and_check()?;
    Ok(world.trace())
}

/// The first seed that shows something wrong, and what.
fn first_violation(seeds: std::ops::Range<u64>) -> Option<(u64, Violation)> {
    seeds.into_iter().find_map(|seed| schedule(seed).err().map(|violation| (seed, violation)))
}

#[test]
fn no_schedule_breaks_the_quorum() {
    assert_eq!(first_violation(0..seeds()), None);
}

#[test]
fn a_seed_is_the_same_schedule_each_time() {
    assert_eq!(schedule(7), schedule(7));
    assert_ne!(schedule(7), schedule(8));
}

/// Plants a bug, and says that the schedules find it within so many seeds.
fn is_found(bug: Bug, within: u64) {
    let _planted = planted::plant(bug);
    let found = first_violation(0..within);
    assert!(found.is_some(), "{bug:?} is found by none of {within} schedules");
}

#[test]
fn a_leader_that_resumes_its_epoch_is_found() {
    is_found(Bug::RaftLeaderResumesEpoch, 60);
}

#[test]
fn a_vote_that_is_not_on_the_disk_is_found() {
    is_found(Bug::RaftVoteNotPersisted, 60);
}

#[test]
fn a_leader_that_counts_what_it_has_not_synced_is_found() {
    is_found(Bug::RaftLeaderCountsUnsynced, 60);
}

#[test]
fn a_voter_that_acknowledges_what_it_has_not_synced_is_found() {
    is_found(Bug::RaftVoterAcknowledgesUnsynced, 60);
}

#[test]
fn votes_without_a_look_at_the_log_are_found() {
    is_found(Bug::RaftVoteIgnoresLog, 60);
}

#[test]
fn truncation_to_the_high_watermark_is_found() {
    is_found(Bug::RaftTruncatesToHighWatermark, 60);
}

#[test]
fn records_that_are_appended_unchecked_are_found() {
    is_found(Bug::RaftAppendsUnchecked, 60);
}
