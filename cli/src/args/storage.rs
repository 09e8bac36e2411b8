//! `rkafka storage`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// Look at the data directories of a broker, or give them to a cluster before it starts.
#[derive(Debug, Args)]
pub struct Storage {
    #[command(subcommand)]
    pub command: StorageCommand,
}

/// What to do with data directories.
#[derive(Debug, Subcommand)]
pub enum StorageCommand {
    /// Give the directories of a broker's file to a cluster, as kafka-storage does; not needed to start
    ///
    /// A broker makes the directories that it lacks: a node alone takes a random cluster id, and the nodes of
    /// controller.quorum.voters take one that follows from those, the same on all. Who formats one node of a cluster
    /// formats all of them, with one id.
    Format(FormatStorage),
    /// Print a new cluster id
    RandomUuid,
    /// Print what is known of the directories of a broker's file; exit code 1 where something is wrong with them
    Info(StorageInfo),
}

/// Give directories to a cluster.
#[derive(Debug, Args)]
pub struct FormatStorage {
    /// The cluster id, as random-uuid prints it
    #[arg(short = 't', long, value_name = "ID", allow_hyphen_values = true)]
    pub cluster_id: String,

    /// The file of settings (server.properties) that names node.id and log.dirs
    #[arg(short = 'c', long, value_name = "FILE")]
    pub config: PathBuf,

    /// Leave directories as they are that are formatted already, and format the others
    #[arg(short = 'g', long)]
    pub ignore_formatted: bool,

    /// The level of a feature that the cluster begins with, as group.version=1 (may be repeated)
    #[arg(short = 'f', long, value_name = "NAME=LEVEL")]
    pub feature: Vec<String>,
}

/// Print what is known of directories.
#[derive(Debug, Args)]
pub struct StorageInfo {
    /// The file of settings (server.properties) that names log.dirs
    #[arg(short = 'c', long, value_name = "FILE")]
    pub config: PathBuf,
}
