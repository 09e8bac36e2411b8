//! `rkafka topics delete`.

use rkafka::admin::Admin;

use super::super::items::{Act, count};
use super::{Outcome, distinct, failure};
use crate::args::DeleteTopics;
use crate::exit::{Exit, Failure};
use crate::report;

/// Deletes what is there of the topics, once that is agreed to.
pub async fn run(admin: &Admin, args: &DeleteTopics) -> Result<Exit, Failure> {
    let mut outcome = Outcome::default();
    let names = distinct(&args.topics);
    let mut described = admin.describe_topics(&names).await?;
    let mut found = Vec::new();
    for name in names {
        match described.remove(name) {
            Some(Ok(topic)) => found.push((name, topic.partitions.len())),
            Some(Err(error)) => outcome.failed(&failure(admin, name, error).await),
            None => outcome.failed(&Failure::failed(format!("the broker said nothing about topic `{name}`"))),
        }
    }
    if found.is_empty() {
        return Ok(outcome.exit());
    }
    let plan = found.iter().map(|(name, partitions)| {
        format!("would delete topic `{name}`, {}, and all its records", count(*partitions, "partition"))
    });
    if !Act::DELETE.agreed(&args.consent, &plan.collect::<Vec<_>>())? {
        // What is there is no failure: it would be deleted.
        found.iter().for_each(|_| outcome.succeeded());
        return Ok(outcome.exit());
    }
    let names: Vec<&str> = found.iter().map(|(name, _)| *name).collect();
    let mut results = admin.delete_topics(&names).await?;
    for name in names {
        match results.remove(name) {
            Some(Ok(())) => {
                outcome.succeeded();
                if !args.connection.quiet {
                    report::note(&format!("deleted topic `{name}`"));
                }
            }
            Some(Err(error)) => outcome.failed(&failure(admin, name, error).await),
            None => outcome.failed(&Failure::failed(format!("the broker did not say whether it deleted `{name}`"))),
        }
    }
    Ok(outcome.exit())
}
