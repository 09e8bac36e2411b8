//! `rkafka transactions`.

use std::collections::BTreeSet;

use rkafka::admin::{Admin, TransactionDescription, TransactionState};
use serde_json::{Value, json};

use super::items::{Act, Outcome, distinct, failure, unsaid};
use super::offsets::existing;
use crate::args::{
    AbortTransactions, Connection, DescribeTransactions, FindHanging, ListTransactions, TransactionProducers,
    Transactions, TransactionsCommand,
};
use crate::exit::{Exit, Failure};
use crate::format::listing::{Column, Listing, always, wide};
use crate::{connect, report};

/// Runs the command.
pub async fn run(args: Transactions) -> Result<Exit, Failure> {
    let admin = connect::admin(connection(&args)).await?;
    match args.command {
        TransactionsCommand::List(args) => list(&admin, &args).await,
        TransactionsCommand::Describe(args) => describe(&admin, &args).await,
        TransactionsCommand::Producers(args) => producers(&admin, &args).await,
        TransactionsCommand::FindHanging(args) => find_hanging(&admin, &args).await,
        TransactionsCommand::Abort(args) => abort(&admin, &args).await,
    }
}

/// The connection's options, whichever the command is.
pub const fn connection(args: &Transactions) -> &Connection {
    match &args.command {
        TransactionsCommand::List(args) => &args.connection,
        TransactionsCommand::Describe(args) => &args.connection,
        TransactionsCommand::Producers(args) => &args.connection,
        TransactionsCommand::FindHanging(args) => &args.connection,
        TransactionsCommand::Abort(args) => &args.connection,
    }
}

const LIST: &[Column] = &[always("transaction"), always("state"), always("producer_id")];

async fn list(admin: &Admin, args: &ListTransactions) -> Result<Exit, Failure> {
    let states: BTreeSet<TransactionState> = args.state.iter().copied().collect();
    let producers: BTreeSet<i64> = args.producer_id.iter().copied().collect();
    let listings = admin
        .list_transactions()
        .filter_states(states)
        .filter_producer_ids(producers)
        .filter_on_duration(args.longer_than)
        .await?;
    let mut outcome = Outcome::default();
    for (broker, error) in listings.errors {
        outcome.failed(&failure(&format!("the transactions of broker {broker}"), error));
    }
    let mut listing = Listing::new(LIST);
    for one in listings.transactions {
        outcome.succeeded();
        let values = [json!(one.transactional_id), json!(one.state.name()), json!(one.producer_id)];
        listing.row(&one.transactional_id, values);
    }
    outcome.end(&listing, &args.form)
}

fn title(id: &str) -> String {
    format!("transactional id `{id}`")
}

/// What is known of each id, in their order. Each that is not there is a failure.
async fn described<'a>(
    admin: &Admin,
    ids: &'a [String],
    outcome: &mut Outcome,
) -> Result<Vec<(&'a str, TransactionDescription)>, Failure> {
    let ids = distinct(ids);
    let mut results = admin.describe_transactions(&ids).await?;
    let mut found = Vec::new();
    for id in ids {
        match results.remove(id) {
            Some(Ok(description)) => found.push((id, description)),
            Some(Err(error)) => outcome.failed(&failure(&title(id), error)),
            None => outcome.failed(&unsaid(&title(id))),
        }
    }
    Ok(found)
}

const DESCRIBE: &[Column] = &[
    always("transaction"),
    always("state"),
    always("producer_id"),
    always("producer_epoch"),
    always("timeout_ms"),
    always("start_ms"),
    wide("coordinator"),
    always("partitions"),
];

async fn describe(admin: &Admin, args: &DescribeTransactions) -> Result<Exit, Failure> {
    let mut outcome = Outcome::default();
    let mut listing = Listing::new(DESCRIBE);
    for (id, one) in described(admin, &args.ids, &mut outcome).await? {
        outcome.succeeded();
        let partitions = one.partitions.iter().map(|one| json!(format!("{}:{}", one.topic, one.partition)));
        let partitions: Value = partitions.collect();
        listing.row(
            id,
            [
                json!(id),
                json!(one.state.name()),
                json!(one.producer_id),
                json!(one.producer_epoch),
                json!(u64::try_from(one.transaction_timeout.as_millis()).unwrap_or(u64::MAX)),
                json!(one.start_time),
                json!(one.coordinator),
                partitions,
            ],
        );
    }
    outcome.end(&listing, &args.form)
}

const PRODUCERS: &[Column] = &[
    always("topic"),
    always("partition"),
    always("producer_id"),
    always("producer_epoch"),
    always("last_sequence"),
    always("last_timestamp"),
    wide("coordinator_epoch"),
    always("transaction_start_offset"),
];

async fn producers(admin: &Admin, args: &TransactionProducers) -> Result<Exit, Failure> {
    let mut outcome = Outcome::default();
    let mut listing = Listing::new(PRODUCERS);
    let partitions = existing(admin, &args.topics, &mut outcome).await?;
    if partitions.is_empty() {
        return outcome.end(&listing, &args.form);
    }
    for (partition, result) in admin.describe_producers(partitions).await? {
        let states = match result {
            Ok(states) => states,
            Err(error) => {
                outcome.failed(&Failure::from(error));
                continue;
            }
        };
        outcome.succeeded();
        let (topic, number) = (&*partition.topic, partition.partition);
        for state in states {
            listing.row(
                state.producer_id.to_string(),
                [
                    json!(topic),
                    json!(number),
                    json!(state.producer_id),
                    json!(state.producer_epoch),
                    json!(state.last_sequence),
                    json!(state.last_timestamp),
                    json!(state.coordinator_epoch),
                    json!(state.transaction_start_offset),
                ],
            );
        }
    }
    outcome.end(&listing, &args.form)
}

const HANGING: &[Column] = &[
    always("topic"),
    always("partition"),
    always("producer_id"),
    always("producer_epoch"),
    always("start_offset"),
    always("last_timestamp"),
    wide("coordinator_epoch"),
];

async fn find_hanging(admin: &Admin, args: &FindHanging) -> Result<Exit, Failure> {
    let mut outcome = Outcome::default();
    let partitions = if args.topics.is_empty() {
        None
    } else {
        let there = existing(admin, &args.topics, &mut outcome).await?;
        if there.is_empty() {
            return outcome.end(&Listing::new(HANGING), &args.form);
        }
        Some(there.into_iter().collect())
    };
    let mut operation = admin.find_hanging_transactions(partitions);
    if let Some(limit) = args.max_transaction_timeout {
        operation = operation.max_transaction_timeout(limit);
    }
    let found = operation.await?;
    for error in found.errors.into_values() {
        outcome.failed(&Failure::from(error));
    }
    let mut listing = Listing::new(HANGING);
    for one in found.hanging {
        let (topic, number) = (&*one.partition.topic, one.partition.partition);
        listing.row(
            format!("{topic}:{number}"),
            [
                json!(topic),
                json!(number),
                json!(one.producer_id),
                json!(one.producer_epoch),
                json!(one.start_offset),
                json!(one.last_timestamp),
                json!(one.coordinator_epoch),
            ],
        );
    }
    outcome.end(&listing, &args.form)
}

async fn abort(admin: &Admin, args: &AbortTransactions) -> Result<Exit, Failure> {
    let mut outcome = Outcome::default();
    let found = described(admin, &args.ids, &mut outcome).await?;
    if found.is_empty() {
        return Ok(outcome.exit());
    }
    let plan = found.iter().map(|(id, one)| {
        format!("would abort what is open of transactional id `{id}` ({}), and fence its producer", one.state.name())
    });
    let act = Act { ask: "Abort", done: "aborted", does: "aborts" };
    if !act.agreed(&args.consent, &plan.collect::<Vec<_>>())? {
        found.iter().for_each(|_| outcome.succeeded());
        return Ok(outcome.exit());
    }
    for (id, _) in found {
        match admin.force_terminate_transaction(id).await {
            Ok(()) => {
                outcome.succeeded();
                if !args.connection.quiet {
                    report::note(&format!("aborted what was open of {}", title(id)));
                }
            }
            Err(error) => outcome.failed(&failure(&title(id), error)),
        }
    }
    Ok(outcome.exit())
}
