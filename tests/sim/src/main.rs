//! `rkafka-sim run SEED [BUG]` runs one seed; `rkafka-sim seeds FIRST COUNT [BUG]` runs many, each in a process of its own.
//!
//! `RUST_LOG=info` tells what happens in a run, by its own clock.

use std::process::ExitCode;
use std::time::Instant;

use rkafka_sim::process;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize| args.get(at).and_then(|text| text.parse::<u64>().ok());
    let result = match (args.first().map(String::as_str), number(1), number(2)) {
        (Some("run"), Some(seed), _) => run(seed, args.get(2).map(String::as_str)),
        (Some("seeds"), Some(first), Some(count)) => seeds(first, count, args.get(3).map(String::as_str)),
        _ => Err("usage: rkafka-sim run SEED [BUG] | rkafka-sim seeds FIRST COUNT [BUG]".to_owned()),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            say(&error);
            ExitCode::from(2)
        }
    }
}

#[expect(clippy::print_stdout, reason = "this is a program that tells its user something")]
fn say(words: &str) {
    println!("{}", words.trim_end());
}

fn run(seed: u64, bug: Option<&str>) -> Result<bool, String> {
    if std::env::var_os(process::CHANCE).is_none() {
        // Chance is taken over when a process starts, and not later.
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        let status = std::process::Command::new(program)
            .args(std::env::args_os().skip(1))
            .env(process::CHANCE, seed.to_string())
            .status();
        return status.map(|status| status.success()).map_err(|error| error.to_string());
    }
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "off".into());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .without_time()
        .with_ansi(false)
        .init();
    process::limit();
    let _planted = bug.map(plant).transpose()?;
    let outcome = rkafka_sim::run(seed).map_err(|error| error.to_string())?;
    say(&process::print(seed, &outcome));
    Ok(outcome.violations.is_empty())
}

#[cfg(feature = "planted-bugs")]
fn plant(name: &str) -> Result<rkafka_broker_core::planted::Planted, String> {
    use rkafka_broker_core::planted::{Bug, plant};
    let bug = Bug::ALL.iter().find(|bug| format!("{bug:?}") == name);
    let bug = bug.ok_or_else(|| format!("there is no bug {name}; there are {:?}", Bug::ALL))?;
    Ok(plant(*bug))
}

#[cfg(not(feature = "planted-bugs"))]
fn plant(name: &str) -> Result<(), String> {
    Err(format!("{name} cannot be planted: built without the feature planted-bugs"))
}

#[expect(clippy::disallowed_methods, reason = "how long it takes is measured by the clock on the wall")]
fn seeds(first: u64, count: u64, bug: Option<&str>) -> Result<bool, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let (began, mut virtual_ms, mut found) = (Instant::now(), 0, 0);
    for seed in first..first.saturating_add(count) {
        let report = process::run(&program, seed, bug).map_err(|error| error.to_string())?;
        virtual_ms += report.virtual_ms;
        say(&report.summary);
        found += u64::from(!report.violations.is_empty());
        for violation in &report.violations {
            say(&format!("  seed {seed}: {violation}"));
        }
    }
    let took = began.elapsed();
    say(&format!(
        "{count} seeds in {took:.1?}, {found} with violations; {:.0} simulated hours per hour",
        f64::from(u32::try_from(virtual_ms / 1000).unwrap_or(0)) / took.as_secs_f64()
    ));
    Ok(found == 0)
}
