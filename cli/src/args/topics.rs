//! `rkafka topics`.

use clap::{Args, Subcommand};

use super::{Connection, Consent, Form, Output, Paint, Partitions, TopicConfig};

/// List, create, describe and delete topics.
#[derive(Debug, Args)]
pub struct Topics {
    #[command(subcommand)]
    pub command: TopicsCommand,
}

/// What to do with topics.
#[derive(Debug, Subcommand)]
pub enum TopicsCommand {
    /// Print the names of the topics
    List(ListTopics),
    /// Create a topic
    Create(CreateTopic),
    /// Print partitions, leaders, replicas and settings
    Describe(DescribeTopics),
    /// Add partitions to a topic
    Alter(AlterTopic),
    /// Print and change the settings of a topic
    #[command(alias = "configs")]
    Config(TopicConfig),
    /// Delete the oldest records of topics
    #[command(alias = "trim-prefix")]
    Trim(TrimTopics),
    /// Delete topics and all their records
    Delete(DeleteTopics),
}

/// Print the names of the topics.
#[derive(Debug, Args)]
pub struct ListTopics {
    /// Also topics that Kafka keeps for itself
    #[arg(long)]
    pub internal: bool,

    /// How to print
    #[arg(short = 'o', long, value_enum, value_name = "FORM", default_value = "name")]
    pub output: Output,

    #[command(flatten)]
    pub paint: Paint,

    #[command(flatten)]
    pub connection: Connection,
}

/// Create a topic.
#[derive(Debug, Args)]
pub struct CreateTopic {
    /// The topic
    pub topic: String,

    /// How many partitions; the broker's num.partitions where not given
    #[arg(short = 'p', long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
    pub partitions: Option<i32>,

    /// How many replicas; the broker's default.replication.factor where not given
    #[arg(short = 'r', long, value_name = "N", value_parser = clap::value_parser!(i16).range(1..))]
    pub replication_factor: Option<i16>,

    /// Which brokers have the replicas of each partition, as 1:2,2:3: partition 0 on 1 and 2, partition 1 on 2 and 3
    #[arg(
        long, alias = "replica-assignment", value_name = "BROKERS", value_parser = brokers_of_partitions,
        conflicts_with_all = ["partitions", "replication_factor"]
    )]
    pub assignment: Option<Assignment>,

    /// A setting of the topic, such as retention.ms=3600000 (may be repeated)
    #[arg(short = 'c', long = "topic-config", value_name = "NAME=VALUE")]
    pub topic_configs: Vec<String>,

    /// Succeed where the topic is there already
    #[arg(long)]
    pub if_not_exists: bool,

    /// Let the broker check it, and create nothing
    #[arg(long)]
    pub dry_run: bool,

    #[command(flatten)]
    pub connection: Connection,
}

/// Print partitions, leaders, replicas and settings.
#[derive(Debug, Args)]
pub struct DescribeTopics {
    /// The topics; all where none is named
    pub topics: Vec<String>,

    /// Only partitions of which a replica is not in sync
    #[arg(long, alias = "under-replicated-partitions")]
    pub under_replicated: bool,

    /// Only partitions with fewer replicas in sync than min.insync.replicas
    #[arg(long, alias = "under-min-isr-partitions")]
    pub under_min_isr: bool,

    /// Only partitions with just as many replicas in sync as min.insync.replicas
    #[arg(long, alias = "at-min-isr-partitions")]
    pub at_min_isr: bool,

    /// Only partitions without a leader
    #[arg(long, alias = "unavailable-partitions")]
    pub offline: bool,

    #[command(flatten)]
    pub form: Form,

    #[command(flatten)]
    pub connection: Connection,
}

/// Brokers of each partition.
pub type Assignment = std::sync::Arc<Vec<Vec<i32>>>;

fn brokers_of_partitions(text: &str) -> Result<Assignment, String> {
    let broker = |text: &str| text.trim().parse::<i32>().ok().filter(|id| *id >= 0);
    let partitions: Option<Vec<Vec<i32>>> =
        text.split(',').map(|partition| partition.split(':').map(broker).collect()).collect();
    let partitions = partitions.ok_or_else(|| "write the ids of brokers, as 1:2,2:3".to_owned())?;
    Ok(Assignment::new(partitions))
}

/// Add partitions to a topic.
#[derive(Debug, Args)]
#[command(
    after_help = "Which partition a key goes to depends on how many there are: records with the same key as earlier \
ones may go to another partition afterwards, so that their order is lost."
)]
pub struct AlterTopic {
    /// The topic
    pub topic: String,

    /// How many partitions it is to have, which is more than it has
    #[arg(short = 'p', long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
    pub partitions: i32,

    /// Let the broker check it, and change nothing
    #[arg(long)]
    pub dry_run: bool,

    #[command(flatten)]
    pub connection: Connection,
}

/// Delete the oldest records of topics.
#[derive(Debug, Args)]
pub struct TrimTopics {
    /// The topics, or partitions of them as TOPIC:0,4-7
    #[arg(required = true, value_name = "TOPIC")]
    pub topics: Vec<Partitions>,

    /// Those before this go: end (all), an offset, or a time as 2026-01-31T12:00:00Z, 2026-01-31, -7d
    ///
    /// A number of 12 digits and more is a time in milliseconds since 1970.
    #[arg(long, value_name = "WHERE", allow_hyphen_values = true)]
    pub to: String,

    #[command(flatten)]
    pub consent: Consent,

    #[command(flatten)]
    pub form: Form,

    #[command(flatten)]
    pub connection: Connection,
}

/// Delete topics and all their records.
#[derive(Debug, Args)]
pub struct DeleteTopics {
    /// The topics
    #[arg(required = true)]
    pub topics: Vec<String>,

    #[command(flatten)]
    pub consent: Consent,

    #[command(flatten)]
    pub connection: Connection,
}
