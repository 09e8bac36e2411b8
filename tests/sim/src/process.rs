//! A run as a process of its own, and what it prints.

use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::Outcome;

/// What makes `chance.c` take over, and what it begins with.
pub const CHANCE: &str = "RKAFKA_SIM_CHANCE";

/// How long a run may take by the clock on the wall, and the code that it ends with where it takes longer.
const LIMIT: Duration = Duration::from_secs(600);
const STOPPED: i32 = 75;

/// Ends this process where it takes too long: a task that never rests does not let the simulation's clock go on.
#[expect(clippy::disallowed_methods, reason = "a run that spins is ended by the clock on the wall")]
pub fn limit() {
    std::thread::spawn(|| {
        std::thread::sleep(LIMIT);
        std::process::exit(STOPPED);
    });
}

/// What a process told about its run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// The hash of all that happened.
    pub hash: String,
    /// How long it took by its own clock, in milliseconds.
    pub virtual_ms: u64,
    /// All that it said of itself.
    pub summary: String,
    /// What must not be and was; or how the process ended, where it did not end well.
    pub violations: Vec<String>,
}

/// What a process prints of its run.
pub fn print(seed: u64, outcome: &Outcome) -> String {
    let (sent, acked, read) = outcome.records;
    let mut text = format!(
        "seed={seed} hash={:016x} virtual_ms={} events={} sent={sent} acked={acked} read={read} faults={} elections={}\n",
        outcome.hash,
        outcome.virtual_us / 1000,
        outcome.events,
        outcome.faults,
        outcome.elections,
    );
    for violation in &outcome.violations {
        text.push_str("VIOLATION ");
        text.push_str(&violation.replace('\n', " "));
        text.push('\n');
    }
    text
}

/// Runs a seed in a process of its own: `program run SEED`, perhaps with a planted bug.
///
/// # Errors
/// The process cannot be started.
pub fn run(program: &Path, seed: u64, bug: Option<&str>) -> io::Result<Report> {
    let mut command = Command::new(program);
    command.arg("run").arg(seed.to_string()).args(bug).env(CHANCE, seed.to_string());
    let output = command.stdin(Stdio::null()).output()?;
    if output.status.code() == Some(STOPPED) {
        let violations = vec![format!("no end within {LIMIT:?} of real time: something spins")];
        return Ok(Report { seed, violations, ..Report::default() });
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let mut report = Report { seed, ..Report::default() };
    for line in text.lines() {
        if let Some(violation) = line.strip_prefix("VIOLATION ") {
            report.violations.push(violation.to_owned());
        } else if line.starts_with("seed=") {
            report.summary = line.to_owned();
            let value = |key: &str| line.split(' ').find_map(|pair| pair.strip_prefix(key)).unwrap_or_default();
            report.hash = value("hash=").to_owned();
            report.virtual_ms = value("virtual_ms=").parse().unwrap_or(0);
        }
    }
    if report.summary.is_empty() {
        let said = String::from_utf8_lossy(&output.stderr);
        let last: Vec<&str> = said.lines().rev().take(12).collect();
        let last: Vec<&str> = last.into_iter().rev().collect();
        report.violations.push(format!("the process ended with {}: {}", output.status, last.join(" | ")));
    }
    Ok(report)
}
