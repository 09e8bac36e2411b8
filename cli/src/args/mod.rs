//! What can be typed. What is meant by it is worked out in `commands`.

mod acls;
mod broker;
mod cluster;
mod config;
mod configs;
mod connection;
mod consume;
mod groups;
mod output;
mod partitions;
mod placement;
mod produce;
mod profile;
mod quotas;
mod storage;
mod topics;
mod transactions;
mod users;

pub use acls::{AclFilter, AclResources, Acls, AclsCommand, CreateAcls, DeleteAcls, ListAcls};
pub use broker::{Broker, BrokerCommand, BrokerRun};
pub use cluster::{Cluster, ClusterCommand, DeleteRecords, OfCluster, Offsets, Records, RecordsCommand};
pub use config::{Config, ConfigCommand, Explain};
pub use configs::{
    AlterConfigs, Configs, ConfigsCommand, DescribeConfigs, GetTopicConfig, TopicConfig, TopicConfigCommand,
    resource_name,
};
pub use connection::{Connection, TIME_DIGITS, duration, time};
pub use consume::Consume;
pub use groups::{
    DeleteGroupOffsets, DeleteGroups, DescribeGroups, Groups, GroupsCommand, GroupsLag, ListGroups, RemoveMembers,
    ResetGroup, parsed,
};
pub use output::{Color, Consent, Form, Output, Paint};
pub use partitions::Partitions;
pub use placement::{
    CancelMoves, ElectLeaders, Election, ExecuteMoves, Placement, PlacementCommand, PlanMoves, Reassign,
    ReassignCommand, VerifyMoves,
};
pub use produce::{KcatProduce, OnError, Produce};
pub use profile::{Profile, ProfileCommand};
pub use quotas::{AlterQuotas, DeleteQuotas, ListQuotas, QuotaEntity, Quotas, QuotasCommand};
pub use storage::{FormatStorage, Storage, StorageCommand, StorageInfo};
pub use topics::{
    AlterTopic, CreateTopic, DeleteTopics, DescribeTopics, ListTopics, Topics, TopicsCommand, TrimTopics,
};

pub use transactions::{
    AbortTransactions, DescribeTransactions, FindHanging, ListTransactions, TransactionProducers, Transactions,
    TransactionsCommand,
};
pub use users::{DeleteUsers, DescribeUsers, ListUsers, SetUser, Users, UsersCommand};

use clap::{Parser, Subcommand};

/// Kafka on the command line: produce, consume, topics, and a broker of its own.
#[derive(Debug, Parser)]
#[command(name = "rkafka", bin_name = "rkafka", version, disable_help_subcommand = true, after_help = EXIT_CODES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXIT_CODES: &str = "\
Exit codes: 0 done (also when the reader of a pipe closed it); 1 failed, or failed in part; 2 wrong usage or setting;
3 no broker reached, or none answered in time; 4 topic, partition, group or
what else was named not found; 5 not authenticated or not
authorized; 130, 143 ended by Ctrl-C or SIGTERM after finishing what was under way.
Records go to stdout, everything else to stderr.";

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Send lines, files or stdin to a topic
    Produce(Produce),
    /// Print the records of topics
    Consume(Consume),
    /// List, create, describe, alter and delete topics, and their settings
    #[command(alias = "topic")]
    Topics(Topics),
    /// List and describe groups, show their lag, move their offsets, delete them
    #[command(alias = "group")]
    Groups(Groups),
    /// Print and change settings of topics, brokers, groups and client metrics
    Configs(Configs),
    /// List, create and delete the rules of who may do what
    #[command(alias = "acl")]
    Acls(Acls),
    /// List, set and take away the limits of users, clients and addresses
    #[command(alias = "quota")]
    Quotas(Quotas),
    /// List, create, change and delete users who log in by SCRAM
    #[command(alias = "user")]
    Users(Users),
    /// Print offsets of partitions: their start, their end, or those of a time
    #[command(alias = "offset")]
    Offsets(Offsets),
    /// Delete records
    #[command(alias = "record")]
    Records(Records),
    /// Move partitions between brokers, elect their leaders
    #[command(alias = "partition")]
    Partitions(Placement),
    /// Print what the cluster is made of: brokers, versions, quorum, features, log directories
    Cluster(Cluster),
    /// List and describe transactions, find those that hang, abort them
    #[command(alias = "transaction", alias = "txn")]
    Transactions(Transactions),
    /// Run a broker
    Broker(Broker),
    /// Format and look at the data directories of brokers, as kafka-storage does
    Storage(Storage),
    /// Say which settings are in force, and where each was given
    Config(Config),
    /// Do as kcat does: its letters, its lines, its exit codes
    ///
    /// The same is had by a first flag that is one of kcat's modes (-P, -C, -L, -Q, -G), or by calling this program
    /// kcat or kafkacat. Exit codes are kcat's: 0, or 1 for whatever failed.
    #[command(disable_help_flag = true)]
    Kcat {
        /// kcat's flags and files; -h shows them
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<std::ffi::OsString>,
    },
    /// Print a script that completes commands and flags in a shell
    ///
    /// bash: source <(rkafka completion bash). zsh: rkafka completion zsh > a directory of $fpath/_rkafka. fish: rkafka
    /// completion fish > ~/.config/fish/completions/rkafka.fish.
    Completion {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Write the manual's pages into a directory, for man -l or a MANPATH
    Man {
        /// The directory, which must be there
        directory: std::path::PathBuf,
    },
    /// Keep settings under a name: list, show, set, use, delete
    #[command(alias = "profiles")]
    Profile(Profile),
}
