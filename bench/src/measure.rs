//! Payload, clocks and the line that reports them.
#![expect(clippy::disallowed_methods, reason = "this is a stopwatch")]

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use crate::Outcome;

/// The file that `BENCH_PAYLOAD` names.
pub fn payload() -> Outcome<Vec<u8>> {
    let path = std::env::var("BENCH_PAYLOAD").map_err(|_| "BENCH_PAYLOAD names no file")?;
    std::fs::read(&path).map_err(|error| format!("{path}: {error}").into())
}

/// Now.
pub fn now() -> Instant {
    Instant::now()
}

/// CPU seconds of this process so far: all of them, and the part spent in the kernel.
fn cpu() -> (f64, f64) {
    let all = clock_gettime(ClockId::ProcessCPUTime);
    let all = all.tv_sec as f64 + all.tv_nsec as f64 / 1e9;
    // Fields 14 and 15 of /proc/self/stat are user and system time in hundredths; field 2 may hold spaces.
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let ticks: Vec<f64> = text
        .rsplit_once(") ")
        .map_or("", |(_, rest)| rest)
        .split(' ')
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse().ok())
        .collect();
    let system = if let [user, system] = ticks[..] { all * system / (user + system).max(1.0) } else { 0.0 };
    (all, system)
}

/// A stretch of time.
pub struct Phase {
    /// When it began.
    pub begin: Instant,
    cpu: (f64, f64),
}

impl Phase {
    /// Begins.
    pub fn start() -> Self {
        Self { begin: now(), cpu: cpu() }
    }

    /// The report of what happened since; `more` are further fields, each with a comma before it.
    pub fn report(&self, mode: &str, records: usize, bytes: usize, took: Duration, more: &str) -> String {
        let (all, system) = cpu();
        let (all, system) = (all - self.cpu.0, (system - self.cpu.1).max(0.0));
        let seconds = took.as_secs_f64();
        format!(
            "{{\"client\":\"rkafka\",\"version\":\"{}\",\"mode\":\"{mode}\",\"records\":{records},\"bytes\":{bytes},\
             \"seconds\":{seconds:.6},\"records_per_s\":{:.1},\"mb_per_s\":{:.3},\"cpu_user_s\":{:.3},\
             \"cpu_sys_s\":{system:.3}{more}}}",
            env!("CARGO_PKG_VERSION"),
            records as f64 / seconds,
            bytes as f64 / seconds / 1e6,
            all - system
        )
    }
}

/// Median and tail of some times, as fields whose names begin with `prefix`.
pub fn quantiles(prefix: &str, times: &mut [Duration]) -> String {
    times.sort_unstable();
    let mut fields = String::new();
    for (name, part) in [("p50", 500), ("p99", 990), ("p999", 999)] {
        let at = (times.len() * part / 1000).min(times.len() - 1);
        write!(fields, ",\"{prefix}{name}_us\":{:.1}", times[at].as_nanos() as f64 / 1e3).expect("a String takes all");
    }
    fields
}
