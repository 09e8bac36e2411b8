//! `rkafka broker`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// Run a broker.
#[derive(Debug, Args)]
pub struct Broker {
    #[command(subcommand)]
    pub command: BrokerCommand,
}

/// What to do with a broker.
#[derive(Debug, Subcommand)]
pub enum BrokerCommand {
    /// Run a broker until Ctrl-C or SIGTERM
    Run(BrokerRun),
}

/// Run a broker until Ctrl-C or SIGTERM.
///
/// No format step: a data directory is made where it is missing. Kafka's default holds here too: writes are NOT synced
/// to disk before they are acknowledged; a killed process loses nothing, a machine without power may lose what the
/// system had not written yet. `-X log.flush.interval.messages=1` syncs every batch.
///
/// One line on stderr says when it is ready. Ctrl-C and SIGTERM stop it in good order; it was asked to, so it exits
/// with 0.
#[derive(Debug, Args)]
pub struct BrokerRun {
    /// Where to listen; port 0 takes a free one, which is printed [default: 127.0.0.1:9092]
    #[arg(long, value_name = "HOST:PORT")]
    pub listen: Option<String>,

    /// Where to keep the data
    #[arg(long, value_name = "DIR", required_unless_present_any = ["in_memory", "config"])]
    pub data_dir: Option<PathBuf>,

    /// Keep everything in memory; nothing is left when the broker ends
    #[arg(long, conflicts_with = "data_dir")]
    pub in_memory: bool,

    /// A file of settings under Kafka's own names (server.properties)
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// A setting by its Kafka name, such as num.partitions=3 (may be repeated)
    #[arg(short = 'X', long = "set", value_name = "NAME=VALUE")]
    pub settings: Vec<String>,

    /// Say more on stderr; twice for still more
    #[arg(short = 'v', long, action = clap::ArgAction::Count)]
    pub verbose: u8,
}
