//! Seeds of the simulation, as many as there is time for. `RKAFKA_SIM_SEED=n` runs that one, `RKAFKA_SIM_SEEDS=n` asks for
//! more of them.
#![cfg(target_os = "linux")]

use std::path::Path;

use rkafka_sim::process::{Report, run};

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_rkafka-sim"))
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

fn simulate(seed: u64) -> Report {
    let report = run(program(), seed, None).expect("the process starts");
    assert!(
        report.violations.is_empty(),
        "seed {seed} (RUST_LOG=info cargo run -p rkafka-sim -- run {seed}): {}\n  {}",
        report.summary,
        report.violations.join("\n  ")
    );
    report
}

#[test]
fn a_seed_says_everything_that_happens() {
    for seed in [1, 2] {
        let (one, other) = (simulate(seed), simulate(seed));
        assert_eq!(one, other);
        assert!(one.virtual_ms > 10_000, "{}", one.summary);
    }
    assert_ne!(simulate(1).hash, simulate(2).hash);
}

#[test]
fn nothing_acknowledged_is_lost_whatever_breaks() {
    if let Some(seed) = number("RKAFKA_SIM_SEED") {
        simulate(seed);
        return;
    }
    // Two at a time, each in a process of its own.
    let count = number("RKAFKA_SIM_SEEDS").unwrap_or(12);
    let (even, odd): (Vec<u64>, Vec<u64>) = (1..=count).partition(|seed| seed % 2 == 0);
    std::thread::scope(|scope| {
        let workers =
            [even, odd].map(|seeds| scope.spawn(move || seeds.into_iter().for_each(|seed| drop(simulate(seed)))));
        for worker in workers {
            if let Err(panic) = worker.join() {
                std::panic::resume_unwind(panic);
            }
        }
    });
}
