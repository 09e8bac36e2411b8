//! Random histories of a log that does all as it should: nothing is found in them. The same with one fault planted: it is
//! found.

mod model;

use model::{Plant, Step, plant, run};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};
use rkafka_history::{History, Kind};

/// The same runs each time, unless somebody asks for others by `PROPTEST_RNG_SEED`, or for more by `PROPTEST_CASES`.
fn runner() -> TestRunner {
    let config = Config::default();
    let rng_seed = match config.rng_seed {
        RngSeed::Random => RngSeed::Fixed(1),
        fixed @ RngSeed::Fixed(_) => fixed,
    };
    TestRunner::new(Config { rng_seed, source_file: Some(file!()), ..config })
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(
        (0_u8..100, any::<u8>(), any::<u8>()).prop_map(|(what, one, two)| Step { what, one, two }),
        20..200,
    )
}

#[test]
fn what_a_sound_log_does_is_no_anomaly() {
    let mut committed = 0;
    let outcome = runner().run(&steps(), |steps| {
        let report = History::new(run(&steps)).expect("a history").judge();
        prop_assert!(report.is_valid(), "{report}");
        Ok(())
    });
    outcome.unwrap();
    let all = (0..40).map(|seed| (0..200).map(move |n: u32| Step::from_number(seed * 1000 + n)).collect::<Vec<_>>());
    for steps in all {
        let summary = History::new(run(&steps)).expect("a history").judge().summary;
        committed += summary.committed.min(1) * summary.in_doubt_and_seen.min(1) * summary.aborted.min(1);
    }
    assert!(committed > 20, "too little happens in these histories: {committed} of 40 with all kinds of transactions");
}

#[test]
fn a_planted_fault_is_found() {
    let mut planted = [0_u32; Plant::ALL.len()];
    let counted = std::cell::RefCell::new(&mut planted);
    let outcome = runner().run(&(steps(), any::<u16>()), |(steps, which)| {
        for (number, fault) in Plant::ALL.into_iter().enumerate() {
            let Some(events) = plant(run(&steps), fault, usize::from(which)) else { continue };
            counted.borrow_mut()[number] += 1;
            let report = History::new(events).expect("a history").judge();
            let found = fault.names().iter().any(|kind: &Kind| report.count(*kind) > 0);
            prop_assert!(found, "{fault:?} is not found\n{report}");
        }
        Ok(())
    });
    outcome.unwrap();
    assert!(planted.iter().all(|count| *count >= 20), "how often each could be planted: {planted:?}");
}
