//! `rkafka broker run`.

use std::path::Path;
use std::time::{Duration, Instant};

use rkafka::broker::{Broker, BrokerConfig, BrokerError};
use rkafka::client::HostPort;

use crate::args::{self, BrokerCommand, BrokerRun};
use crate::exit::{Exit, Failure};
use crate::signals::Signals;
use crate::{connect, report};

/// Runs the command.
pub fn run(args: args::Broker) -> Result<Exit, Failure> {
    let BrokerCommand::Run(args) = args.command;
    report::start_log(match args.verbose {
        0 => "warn",
        1 => "info",
        _ => "debug",
    });
    let config = config(&args)?;
    raise_file_limit();
    let workers = std::thread::available_parallelism().map_or(2, usize::from);
    super::block_on(super::threads(workers)?, serve(config))
}

/// Takes as many open files as the system lets this process have, as Java does: a broker has one for each partition in use
/// and one for each connection. Where that fails, the broker makes do with what it has.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

/// The settings: flags before `-X`, `-X` before the file.
fn config(args: &BrokerRun) -> Result<BrokerConfig, Failure> {
    let mut config = BrokerConfig::new();
    if let Some(path) = &args.config {
        config = load(path, args.verbose > 0)?;
    }
    for setting in &args.settings {
        let (name, value) = connect::name_and_value("-X", setting)?;
        config.set(name, value).map_err(|error| Failure::usage(format!("-X {setting}: {error}")))?;
    }
    let sets = |name: &str| args.settings.iter().any(|setting| setting.starts_with(name));
    match &args.listen {
        Some(listen) => listen_on(&mut config, listen)?,
        // Without a word about it, the broker is for programs on this machine.
        None if args.config.is_none() && !sets("listeners=") => listen_on(&mut config, "127.0.0.1:9092")?,
        None => {}
    }
    if args.in_memory {
        connect::set(&mut config, "in.memory", "true")?;
    }
    if let Some(directory) = &args.data_dir {
        let text = directory.to_str().ok_or_else(|| {
            Failure::usage(format!("--data-dir {}: the name of the directory is not UTF-8", directory.display()))
        })?;
        connect::set(&mut config, "log.dirs", text)?;
    }
    config.validate().map_err(Failure::usage)?;
    Ok(config)
}

/// Reads a file of settings, and says what of it is left out; with `all` also what has nothing to change here.
pub fn load(path: &Path, all: bool) -> Result<BrokerConfig, Failure> {
    let file = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| Failure::usage(format!("cannot read {file}: {error}")))?;
    let loaded = BrokerConfig::load_properties(&text).map_err(|error| Failure::usage(format!("{file}, {error}")))?;
    let notes = loaded.notes.iter().filter(|_| all);
    for line in loaded.warnings.iter().chain(notes) {
        report::note(&format!("{file}, {line}"));
    }
    Ok(loaded.config)
}

fn listen_on(config: &mut BrokerConfig, address: &str) -> Result<(), Failure> {
    let bad = || Failure::usage(format!("--listen {address}: write HOST:PORT, such as 127.0.0.1:9092"));
    let parsed: HostPort = address.parse().map_err(|_| bad())?;
    let host = if parsed.host.contains(':') { format!("[{}]", parsed.host) } else { parsed.host };
    connect::set(config, "listeners", &format!("PLAINTEXT://{host}:{}", parsed.port))
}

async fn serve(config: BrokerConfig) -> Result<Exit, Failure> {
    let mut signals = Signals::listen()?;
    let (node, place) = (config.node_id, place(&config));
    let role = if config.is_broker() { "broker" } else { "controller" };
    let begun = now();
    // One of several waits for the others, and may be told to end before they are there.
    let broker = tokio::select! {
        started = Broker::start(config) => started.map_err(no_start)?,
        exit = signals.next() => {
            report::error("stopped before it was ready");
            return Ok(exit);
        }
    };
    let took = now() - begun;
    let address = if role == "broker" { broker.bootstrap() } else { broker.controller_address() };
    report::note(&format!("rkafka {role} {node} ready on {address}, {place}, in {}", millis(took)));
    tokio::select! {
        _ = signals.next() => {}
        // As Kafka: without its metadata the broker ends, for whoever watches over it to start it again.
        reason = broker.failed() => return Err(Failure::failed(format!("the disk of the broker failed: {reason}"))),
    }
    let stop =
        async { broker.shutdown().await.map_err(|error| Failure::failed(format!("the broker stopped: {error}"))) };
    tokio::select! {
        stopped = stop => stopped.map(|()| Exit::Ok),
        exit = signals.next() => {
            report::error("stopped at once; the next start looks through the logs");
            Ok(exit)
        }
    }
}

fn place(config: &BrokerConfig) -> String {
    if config.in_memory { "data in memory".to_owned() } else { format!("data in {}", config.log_dirs.join(", ")) }
}

fn no_start(error: BrokerError) -> Failure {
    let exit = match &error {
        BrokerError::Config(_) | BrokerError::Listener(_) => Exit::Usage,
        _ => Exit::Failed,
    };
    let remedy = match &error {
        BrokerError::Bind { .. } => "; choose another address with --listen, port 0 takes a free one",
        _ => "",
    };
    Failure::new(exit, format!("{error}{remedy}"))
}

fn millis(time: Duration) -> String {
    format!("{} ms", time.as_millis().max(1))
}

#[expect(clippy::disallowed_methods, reason = "the broker's start is timed, and nothing is decided by it")]
fn now() -> Instant {
    Instant::now()
}
