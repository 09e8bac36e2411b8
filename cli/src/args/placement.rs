//! `rkafka partitions`, and the same as `rkafka cluster elect` and `rkafka cluster reassign`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use super::{Connection, Consent, Form, Partitions, duration};

/// Move partitions between brokers, and elect their leaders.
#[derive(Debug, Args)]
pub struct Placement {
    #[command(subcommand)]
    pub command: PlacementCommand,
}

/// What to do with partitions.
#[derive(Debug, Subcommand)]
pub enum PlacementCommand {
    /// Move partitions to other brokers
    Reassign(Reassign),
    /// Elect leaders
    #[command(alias = "elect")]
    ElectLeaders(ElectLeaders),
}

/// Move partitions to other brokers: make a plan, execute it, verify that it is done, or cancel it.
#[derive(Debug, Args)]
pub struct Reassign {
    #[command(subcommand)]
    pub command: ReassignCommand,
}

/// What to do with moves.
#[derive(Debug, Subcommand)]
pub enum ReassignCommand {
    /// Work out where partitions should be, and print it; nothing is moved
    #[command(alias = "generate")]
    Plan(PlanMoves),
    /// Begin to move partitions as a plan says
    #[command(alias = "apply")]
    Execute(ExecuteMoves),
    /// Print how far a plan is, or all moves that are under way
    #[command(aliases = ["status", "list"])]
    Verify(VerifyMoves),
    /// Stop moves that are under way, and leave partitions where they were
    Cancel(CancelMoves),
}

/// Work out where partitions should be.
///
/// The brokers get as many partitions each, replicas stand in different racks where that can be, and no more moves than
/// that takes. Only partitions whose replicas change are printed; -o json prints them as `execute` and Kafka's
/// kafka-reassign-partitions.sh read them.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("which").required(true).multiple(true))]
pub struct PlanMoves {
    /// The topics, or partitions of them as TOPIC:0,4-7
    #[arg(value_name = "TOPIC", group = "which")]
    pub topics: Vec<Partitions>,

    /// All topics, those too that Kafka keeps for itself
    #[arg(long, group = "which", conflicts_with = "topics")]
    pub all: bool,

    /// The brokers to have them, as 1,2,3 [default: all]
    #[arg(long, alias = "broker-list", value_name = "BROKERS", value_delimiter = ',')]
    pub to: Vec<i32>,

    /// Brokers that are to have none of them, as 4
    #[arg(long, value_name = "BROKERS", value_delimiter = ',')]
    pub without: Vec<i32>,

    /// How many replicas each is to have [default: as many as now]
    #[arg(short = 'r', long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub replication_factor: Option<u16>,

    #[command(flatten)]
    pub form: Form,

    #[command(flatten)]
    pub connection: Connection,
}

/// Begin to move partitions as a plan says.
///
/// What is printed on stdout is the plan that leads back. Moves go on by themselves; `verify` tells when they are done.
#[derive(Debug, Args)]
pub struct ExecuteMoves {
    /// The plan, as `plan -o json` prints it; `-` is stdin, which needs --yes
    #[arg(value_name = "FILE")]
    pub plan: PathBuf,

    /// Also while other moves are under way; those of the same partitions are changed
    #[arg(long)]
    pub additional: bool,

    #[command(flatten)]
    pub consent: Consent,

    #[command(flatten)]
    pub connection: Connection,
}

/// Print how far a plan is: exit code 0 when all of it is done, 1 while it is not.
///
/// Without a plan it prints all moves that are under way.
#[derive(Debug, Args)]
pub struct VerifyMoves {
    /// The plan; `-` is stdin
    #[arg(value_name = "FILE")]
    pub plan: Option<PathBuf>,

    /// Wait until it is done, but for no longer than this, as 10m
    #[arg(long, value_name = "TIME", value_parser = duration, requires = "plan")]
    pub wait: Option<Duration>,

    #[command(flatten)]
    pub form: Form,

    #[command(flatten)]
    pub connection: Connection,
}

/// Stop moves that are under way.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("which").required(true).multiple(false))]
pub struct CancelMoves {
    /// Those of this plan; `-` is stdin, which needs --yes
    #[arg(value_name = "FILE", group = "which")]
    pub plan: Option<PathBuf>,

    /// All
    #[arg(long, group = "which")]
    pub all: bool,

    #[command(flatten)]
    pub consent: Consent,

    #[command(flatten)]
    pub connection: Connection,
}

/// Who is to lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Election {
    /// The first of the replicas, if it is in sync
    Preferred,
    /// Any replica that is alive, where none is in sync: records that only others have are lost
    Unclean,
}

/// Elect leaders of partitions that have none, or another than the first of their replicas.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("which").required(true).multiple(false))]
pub struct ElectLeaders {
    /// The topics, or partitions of them as TOPIC:0,4-7
    #[arg(value_name = "TOPIC", group = "which", num_args = 1..)]
    pub topics: Vec<Partitions>,

    /// All that need it
    #[arg(long, alias = "all-topic-partitions", group = "which")]
    pub all: bool,

    /// Who is to lead; `unclean` asks for consent
    #[arg(
        long = "type",
        alias = "election-type",
        value_enum,
        value_name = "TYPE",
        default_value = "preferred",
        ignore_case = true
    )]
    pub election: Election,

    #[command(flatten)]
    pub consent: Consent,

    #[command(flatten)]
    pub connection: Connection,
}
