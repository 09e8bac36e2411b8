//! What can be typed. What is meant by it is worked out in `commands`.

mod broker;
mod connection;
mod consume;
mod groups;
mod output;
mod partitions;
mod produce;
mod topics;

pub use broker::{Broker, BrokerCommand, BrokerRun};
pub use connection::{Connection, duration, time};
pub use consume::Consume;
pub use groups::{
    DeleteGroupOffsets, DeleteGroups, DescribeGroups, Groups, GroupsCommand, GroupsLag, ListGroups, RemoveMembers,
    ResetGroup,
};
pub use output::{Color, Consent, Form, Output, Paint};
pub use partitions::Partitions;
pub use produce::{OnError, Produce};
pub use topics::{CreateTopic, DeleteTopics, DescribeTopics, ListTopics, Topics, TopicsCommand};

use clap::{Parser, Subcommand};

/// Kafka on the command line: produce, consume, topics, and a broker of its own.
#[derive(Debug, Parser)]
#[command(name = "rkafka", version, disable_help_subcommand = true, after_help = EXIT_CODES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXIT_CODES: &str = "\
Exit codes: 0 done (also when the reader of a pipe closed it); 1 failed, or failed in part; 2 wrong usage or setting;
3 no broker reached, or none answered in time; 4 topic, partition or group not found; 5 not authenticated or not
authorized; 130, 143 ended by Ctrl-C or SIGTERM after finishing what was under way.
Records go to stdout, everything else to stderr.";

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Send lines, files or stdin to a topic
    Produce(Produce),
    /// Print the records of topics
    Consume(Consume),
    /// List, create, describe and delete topics
    #[command(alias = "topic")]
    Topics(Topics),
    /// List and describe groups, show their lag, move their offsets, delete them
    #[command(alias = "group")]
    Groups(Groups),
    /// Run a broker
    Broker(Broker),
}
