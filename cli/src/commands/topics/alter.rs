//! `rkafka topics alter`.

use rkafka::admin::{Admin, NewPartitions};

use super::super::items::{count, unsaid};
use super::failure;
use crate::args::AlterTopic;
use crate::exit::{Exit, Failure};
use crate::report;

/// Adds partitions, or lets the broker say whether it would.
pub async fn run(admin: &Admin, args: &AlterTopic) -> Result<Exit, Failure> {
    let name = &args.topic;
    let target = NewPartitions::increase_to(args.partitions);
    let mut results = admin.create_partitions([(name, target)]).validate_only(args.dry_run).await?;
    match results.remove(name) {
        Some(Ok(())) => {}
        Some(Err(error)) => return Err(failure(admin, name, error).await),
        None => return Err(unsaid(&format!("topic `{name}`"))),
    }
    if !args.connection.quiet {
        let number = count(usize::try_from(args.partitions).unwrap_or_default(), "partition");
        let verb = if args.dry_run { "would have" } else { "has" };
        report::note(&format!("topic `{name}` {verb} {number}"));
        let consequence = "records with the same key as earlier ones may go to another partition from now on";
        report::note(&format!("keys move: {consequence}"));
    }
    Ok(Exit::Ok)
}
