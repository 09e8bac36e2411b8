//! `rkafka users`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use rkafka::admin::ScramMechanism;

use super::{Connection, Consent, Form, parsed};

/// List, create, change and delete users who log in by SCRAM.
#[derive(Debug, Args)]
pub struct Users {
    #[command(subcommand)]
    pub command: UsersCommand,
}

/// What to do with users.
#[derive(Debug, Subcommand)]
pub enum UsersCommand {
    /// Print all users and how they log in
    List(ListUsers),
    /// Print how users log in
    Describe(DescribeUsers),
    /// Add a user, or another mechanism to one
    Create(SetUser),
    /// Set a password, whether there was one or not
    Alter(SetUser),
    /// Take the passwords of users away
    Delete(DeleteUsers),
}

/// Print all users.
#[derive(Debug, Args)]
pub struct ListUsers {
    #[command(flatten)]
    pub form: Form,

    #[command(flatten)]
    pub connection: Connection,
}

/// Print how users log in.
#[derive(Debug, Args)]
pub struct DescribeUsers {
    /// The users
    #[arg(required = true)]
    pub users: Vec<String>,

    #[command(flatten)]
    pub form: Form,

    #[command(flatten)]
    pub connection: Connection,
}

/// Set a password. It is hashed here: the cluster is never told it.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("secret").required(true).multiple(false))]
pub struct SetUser {
    /// The user
    pub user: String,

    /// How the password is hashed: SCRAM-SHA-256 or SCRAM-SHA-512
    #[arg(short = 'm', long, value_name = "MECHANISM", default_value = "SCRAM-SHA-512", value_parser = parsed::<ScramMechanism>)]
    pub mechanism: ScramMechanism,

    /// In how many rounds, from 4096 to 16384
    #[arg(long, value_name = "N", default_value = "4096", value_parser = clap::value_parser!(i32).range(4096..=16384))]
    pub iterations: i32,

    /// A file whose first line is the password; `-` is stdin
    #[arg(long, value_name = "FILE", group = "secret")]
    pub password_file: Option<PathBuf>,

    /// The password; whoever may list this machine's processes can read it there
    #[arg(long, value_name = "PASSWORD", group = "secret", allow_hyphen_values = true)]
    pub password: Option<String>,

    /// Say what would be done, and do nothing
    #[arg(long)]
    pub dry_run: bool,

    #[command(flatten)]
    pub connection: Connection,
}

/// Take the passwords of users away.
#[derive(Debug, Args)]
pub struct DeleteUsers {
    /// The users
    #[arg(required = true)]
    pub users: Vec<String>,

    /// Only those of this mechanism
    #[arg(short = 'm', long, value_name = "MECHANISM", value_parser = parsed::<ScramMechanism>)]
    pub mechanism: Option<ScramMechanism>,

    #[command(flatten)]
    pub consent: Consent,

    #[command(flatten)]
    pub connection: Connection,
}
