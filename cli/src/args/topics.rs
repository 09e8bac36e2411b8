//! `rkafka topics`.

use clap::{Args, Subcommand};

use super::{Connection, Consent, Form, Output, Paint};

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
