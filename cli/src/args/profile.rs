//! `rkafka profile`.

use clap::{Args, Subcommand};

/// Keep settings under a name.
///
/// Profiles stand in ~/.config/rkafka/config.toml (or below XDG_CONFIG_HOME). A value may hold ${NAME} for a variable of
/// the environment, and NAME_command=COMMAND takes the first line that a command prints as the value of NAME.
#[derive(Debug, Args)]
pub struct Profile {
    #[command(subcommand)]
    pub command: ProfileCommand,
}

/// What to do with profiles.
#[derive(Debug, Subcommand)]
pub enum ProfileCommand {
    /// Print the names of the profiles
    List,
    /// Print the settings of a profile, of the one in use where none is named; secrets are hidden
    Show {
        /// The profile
        name: Option<String>,
    },
    /// Set settings of a profile; a profile that is not there is made
    Set {
        /// The profile
        name: String,
        /// Settings, as brokers=HOST:PORT or linger.ms=20
        #[arg(required_unless_present = "unset", value_name = "NAME=VALUE")]
        settings: Vec<String>,
        /// Take a setting away (may be repeated)
        #[arg(long, value_name = "NAME")]
        unset: Vec<String>,
    },
    /// Use a profile where no other is asked for
    Use {
        /// The profile
        name: String,
    },
    /// Delete a profile
    Delete {
        /// The profile
        name: String,
    },
}
