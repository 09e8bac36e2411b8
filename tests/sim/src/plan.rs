//! What a seed means: how the cluster is set up, what the weather is like, and which faults come how often.

use crate::net::Weather;
use crate::rng::Rng;

/// The faults that there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// One direction between two hosts is cut.
    CutOneWay,
    /// A broker is cut off from the other brokers, and sometimes from the clients too.
    Isolate,
    /// All cuts end.
    Mend,
    /// A connection breaks, perhaps in the middle of a frame.
    Reset,
    /// A broker is killed; its disk keeps all that was written.
    Kill,
    /// A broker loses its power; its disk keeps what was synced.
    PowerLoss,
    /// A broker is killed in the middle of a write.
    Tear,
    /// A broker is stopped in good order.
    Stop,
    /// All brokers are killed at once.
    KillAll,
    /// A broker stands still for a while.
    Pause,
    /// A broker's date jumps.
    Jump,
    /// A broker's disk is full for a while.
    Full,
    /// A broker's disk fails.
    Broken,
    /// The weather changes.
    Weather,
}

/// All faults, each with how often it comes at most among others.
const FAULTS: &[(Fault, u64)] = &[
    (Fault::CutOneWay, 10),
    (Fault::Isolate, 10),
    (Fault::Mend, 12),
    (Fault::Reset, 25),
    (Fault::Kill, 10),
    (Fault::PowerLoss, 6),
    (Fault::Tear, 5),
    (Fault::Stop, 5),
    (Fault::KillAll, 2),
    (Fault::Pause, 10),
    (Fault::Jump, 4),
    (Fault::Full, 3),
    (Fault::Broken, 2),
    (Fault::Weather, 5),
];

/// What a seed means.
#[derive(Debug, Clone)]
pub struct Plan {
    /// How long a step of the hosts is, in microseconds: nobody hears of what another did before the next one.
    pub step_us: u64,
    /// How long there are faults, in microseconds.
    pub faults_us: u64,
    /// How long there is between two faults, in microseconds.
    pub pause_us: std::ops::Range<u64>,
    /// How often each fault comes, among others.
    pub faults: Vec<(Fault, u64)>,
    /// How many partitions the topic has.
    pub partitions: i32,
    /// How many producers there are.
    pub producers: u64,
    /// How long a producer waits between two records, in milliseconds.
    pub think_ms: std::ops::Range<u64>,
    /// After how many milliseconds a segment is closed (`log.roll.ms`).
    pub roll_ms: u64,
    /// Whether what is acknowledged is on the disk (`log.flush.policy=group`).
    pub group_commit: bool,
    /// The weather to begin with.
    pub weather: Weather,
}

impl Plan {
    /// Draws a plan.
    pub fn draw(rng: &mut Rng) -> Self {
        let faults = FAULTS.iter().filter_map(|(fault, most)| {
            // A third of them does not come at all, so that the others come into their own.
            let weight = if rng.permille(330) { 0 } else { rng.within(1..most + 1) };
            (weight > 0).then_some((*fault, weight))
        });
        let faults = faults.collect();
        let least = rng.within(20_000..400_000);
        Self {
            step_us: *rng.choose(&[1_000, 2_000, 3_000, 5_000]).unwrap_or(&1_000),
            faults_us: rng.within(10_000_000..25_000_000),
            pause_us: least..least + rng.within(100_000..3_000_000),
            faults,
            partitions: i32::try_from(rng.within(1..4)).unwrap_or(1),
            producers: rng.within(1..4),
            think_ms: 1..rng.within(5..80),
            roll_ms: *rng.choose(&[500, 3_000, 3_600_000]).unwrap_or(&3_000),
            group_commit: rng.permille(300),
            weather: Self::weather(rng),
        }
    }

    /// Draws a weather.
    pub fn weather(rng: &mut Rng) -> Weather {
        let least = rng.within(50..2_000);
        let width = if rng.permille(200) { 200_000 } else { 5_000 };
        let lost_permille = if rng.permille(300) { rng.within(1..50) } else { 0 };
        Weather { delay_us: least..least + rng.within(1..width), lost_permille }
    }

    /// The weather in which everything heals.
    pub fn calm() -> Weather {
        Weather { delay_us: 100..2_000, lost_permille: 0 }
    }

    /// The next fault.
    pub fn next_fault(&self, rng: &mut Rng) -> Option<Fault> {
        let all: u64 = self.faults.iter().map(|(_, weight)| weight).sum();
        let mut at = rng.within(0..all);
        for (fault, weight) in &self.faults {
            if at < *weight {
                return Some(*fault);
            }
            at -= weight;
        }
        None
    }
}
