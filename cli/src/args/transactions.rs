//! `rkafka transactions`.

use std::time::Duration;

use clap::{Args, Subcommand};
use rkafka::admin::TransactionState;

use super::{Connection, Consent, Form, Partitions, duration, parsed};

/// List and describe transactions, find and abort those that hang.
#[derive(Debug, Args)]
pub struct Transactions {
    #[command(subcommand)]
    pub command: TransactionsCommand,
}

/// What to do with transactions.
#[derive(Debug, Subcommand)]
pub enum TransactionsCommand {
    /// List the transactional ids with their states
    List(ListTransactions),
    /// Print state, producer, age and partitions of transactions
    Describe(DescribeTransactions),
    /// Print who writes to partitions, and in which open transactions
    #[command(alias = "describe-producers")]
    Producers(TransactionProducers),
    /// Print transactions that no coordinator will ever end
    FindHanging(FindHanging),
    /// End what is open of transactions, by their transactional ids
    Abort(AbortTransactions),
}

/// List the transactional ids with their states.
#[derive(Debug, Args)]
pub struct ListTransactions {
    /// Only those in this state, such as Ongoing (may be repeated)
    #[arg(long, value_name = "STATE", value_parser = parsed::<TransactionState>)]
    pub state: Vec<TransactionState>,

    /// Only those of this producer id (may be repeated)
    #[arg(long, value_name = "ID")]
    pub producer_id: Vec<i64>,

    /// Only those that have been open for longer than this, as 10m
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub longer_than: Option<Duration>,

    #[command(flatten)]
    pub form: Form,

    #[command(flatten)]
    pub connection: Connection,
}

/// Print state, producer, age and partitions of transactions.
#[derive(Debug, Args)]
pub struct DescribeTransactions {
    /// The transactional ids
    #[arg(required = true)]
    pub ids: Vec<String>,

    #[command(flatten)]
    pub form: Form,

    #[command(flatten)]
    pub connection: Connection,
}

/// Print who writes to partitions.
#[derive(Debug, Args)]
pub struct TransactionProducers {
    /// The topics, or partitions of them as TOPIC:0,4-7
    #[arg(required = true, value_name = "TOPIC")]
    pub topics: Vec<Partitions>,

    #[command(flatten)]
    pub form: Form,

    #[command(flatten)]
    pub connection: Connection,
}

/// Print transactions that no coordinator will ever end.
#[derive(Debug, Args)]
pub struct FindHanging {
    /// The topics, or partitions of them as TOPIC:0,4-7; all where none is named
    #[arg(value_name = "TOPIC")]
    pub topics: Vec<Partitions>,

    /// Only what is older than this, which is the brokers' transaction.max.timeout.ms [default: 15m]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub max_transaction_timeout: Option<Duration>,

    #[command(flatten)]
    pub form: Form,

    #[command(flatten)]
    pub connection: Connection,
}

/// End what is open of transactions.
#[derive(Debug, Args)]
#[command(after_help = "The producer that uses the id is fenced: it can write no more.")]
pub struct AbortTransactions {
    /// The transactional ids
    #[arg(required = true)]
    pub ids: Vec<String>,

    #[command(flatten)]
    pub consent: Consent,

    #[command(flatten)]
    pub connection: Connection,
}
