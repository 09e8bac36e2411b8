//! The load driver: one client, one mode, one line of JSON. CPU seconds per million records is the figure that holds on
//! a shared machine.
//!
//! ```text
//! driver-rkafka produce BOOTSTRAP TOPIC COUNT SIZE ACKS LINGER_MS BATCH_BYTES CODEC IDEMPOTENT(0/1)
//! driver-rkafka consume BOOTSTRAP TOPIC COUNT
//! driver-rkafka latency BOOTSTRAP TOPIC COUNT SIZE
//! ```
//!
//! The payload is the file that `BENCH_PAYLOAD` names, cut into records of SIZE bytes; LINGER_MS `-` leaves the client's
//! own defaults. Exit code 3 with `unsupported` in the line says that the mode is not there.
#![expect(clippy::print_stdout, reason = "its result is a line on stdout")]
#![expect(clippy::print_stderr, reason = "its failure is a line on stderr")]

mod consume;
mod latency;
mod measure;
mod produce;

use std::process::ExitCode;

/// Any failure ends the driver with its text.
pub type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments.as_slice() {
        ["produce", bootstrap, topic, count, size, acks, linger, batch, codec, idempotent] => {
            produce::run(bootstrap, topic, count, size, &produce::Shape { acks, linger, batch, codec, idempotent })
        }
        ["consume", bootstrap, topic, count] => consume::run(bootstrap, topic, count),
        ["latency", bootstrap, topic, count, size] => latency::run(bootstrap, topic, count, size),
        [mode @ "txn", ..] => {
            println!("{{\"client\":\"rkafka\",\"mode\":\"{mode}\",\"unsupported\":\"not there yet\"}}");
            return ExitCode::from(3);
        }
        _ => Err("usage: driver-rkafka produce|consume|latency BOOTSTRAP TOPIC COUNT ..".into()),
    };
    match done {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("driver-rkafka: {error}");
            ExitCode::FAILURE
        }
    }
}
