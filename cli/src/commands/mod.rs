//! What is meant by what was typed: one module per command.

mod acls;
mod broker;
mod cluster;
mod config;
mod configs;
mod consume;
mod groups;
mod items;
mod manual;
mod offsets;
mod placement;
mod produce;
mod profile;
mod quotas;
mod storage;
pub mod topics;
mod transactions;
mod users;

use std::time::{SystemTime, UNIX_EPOCH};

use tokio::runtime::{Builder, Runtime};

use crate::args::{Command, Connection};
use crate::exit::{Exit, Failure};
use crate::report;

/// Runs a command to its end.
pub fn run(command: Command) -> Result<Exit, Failure> {
    match command {
        Command::Produce(args) => {
            start_log(&args.connection);
            block_on(threads(2)?, produce::run(args))
        }
        Command::Consume(args) => {
            start_log(&args.connection);
            block_on(threads(2)?, consume::run(args))
        }
        Command::Topics(args) => {
            start_log(topics::connection(&args));
            block_on(one_thread()?, topics::run(args))
        }
        Command::Groups(args) => {
            start_log(groups::connection(&args));
            block_on(one_thread()?, groups::run(args))
        }
        Command::Configs(args) => {
            start_log(configs::connection(&args));
            block_on(one_thread()?, configs::run(args))
        }
        Command::Acls(args) => {
            start_log(acls::connection(&args));
            block_on(one_thread()?, acls::run(args))
        }
        Command::Quotas(args) => {
            start_log(quotas::connection(&args));
            block_on(one_thread()?, quotas::run(args))
        }
        Command::Users(args) => {
            start_log(users::connection(&args));
            block_on(one_thread()?, users::run(args))
        }
        Command::Offsets(args) => {
            start_log(&args.connection);
            block_on(one_thread()?, offsets::run(args))
        }
        Command::Records(args) => {
            start_log(offsets::connection(&args));
            block_on(one_thread()?, offsets::records(args))
        }
        Command::Partitions(args) => {
            start_log(placement::connection(&args));
            block_on(one_thread()?, placement::run(args))
        }
        Command::Cluster(args) => {
            start_log(cluster::connection(&args));
            block_on(one_thread()?, cluster::run(args))
        }
        Command::Transactions(args) => {
            start_log(transactions::connection(&args));
            block_on(one_thread()?, transactions::run(args))
        }
        Command::Broker(args) => broker::run(args),
        Command::Storage(args) => storage::run(args),
        Command::Config(args) => config::run(&args),
        Command::Kcat { words } => Ok(if crate::kcat::run(words) == 0 { Exit::Ok } else { Exit::Failed }),
        Command::Completion { shell } => manual::completion(shell),
        Command::Man { directory } => manual::pages(&directory),
        Command::Profile(args) => profile::run(args),
    }
}

/// Runs what asks a few questions and prints the answers.
pub fn ask(connection: &Connection, work: impl Future<Output = Result<Exit, Failure>>) -> Result<Exit, Failure> {
    start_log(connection);
    block_on(one_thread()?, work)
}

#[expect(clippy::disallowed_methods, reason = "times before now are typed")]
fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

fn start_log(connection: &Connection) {
    report::start_log(match connection.verbose {
        0 => "off",
        1 => "info",
        _ => "debug",
    });
}

/// Runs `work`, and does not wait for threads that are left, such as one that waits for a line from a terminal.
fn block_on(runtime: Runtime, work: impl Future<Output = Result<Exit, Failure>>) -> Result<Exit, Failure> {
    let exit = runtime.block_on(work);
    runtime.shutdown_background();
    exit
}

/// A runtime for what asks a few questions and prints the answers.
fn one_thread() -> Result<Runtime, Failure> {
    Builder::new_current_thread().enable_all().build().map_err(no_runtime)
}

/// A runtime for what has much to do.
fn threads(count: usize) -> Result<Runtime, Failure> {
    Builder::new_multi_thread().worker_threads(count).enable_all().build().map_err(no_runtime)
}

fn no_runtime(error: std::io::Error) -> Failure {
    Failure::failed(format!("cannot start: {error}"))
}
