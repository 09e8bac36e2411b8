//! `rkafka config`.

use clap::{Args, Subcommand};

use super::{Connection, Form};

/// Say which settings are in force, and where each was given.
#[derive(Debug, Args)]
pub struct Config {
    #[command(subcommand)]
    pub command: ConfigCommand,
}

/// What to say of settings.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Print every setting with its value and where that was given
    Explain(Explain),
}

/// Print every setting with its value and where that was given.
///
/// Nothing is connected to. Secrets are hidden. What is strongest comes first: flags, -X, the environment (RKAFKA_BROKERS,
/// RKAFKA_X_LINGER_MS), .rkafka.toml in this directory, the profile, the file of -F, the defaults.
#[derive(Debug, Args)]
pub struct Explain {
    /// Only these settings
    pub names: Vec<String>,

    /// Only what was given somewhere
    #[arg(long)]
    pub given: bool,

    #[command(flatten)]
    pub form: Form,

    #[command(flatten)]
    pub connection: Connection,
}
