//! `rkafka partitions reassign execute` and `cancel`.

use std::collections::{BTreeMap, BTreeSet};

use rkafka::admin::{Admin, Error, TopicPartition};

use super::super::items::{Act, Outcome, unsaid};
use super::{Replicas, file, here, list};
use crate::args::{CancelMoves, ExecuteMoves};
use crate::exit::{Exit, Failure};
use crate::{connect, report};

/// Begins the moves of a plan, where all of it can be done.
pub async fn run(args: &ExecuteMoves) -> Result<Exit, Failure> {
    let plan = file::read(&args.plan)?;
    let admin = connect::admin(&args.connection).await?;
    let mut outcome = Outcome::default();
    let now = here(&admin, plan.keys(), &mut outcome).await?;
    if outcome.exit() != Exit::Ok {
        report::note("nothing was moved");
        return Ok(outcome.exit());
    }
    let there: BTreeSet<i32> = admin.describe_cluster().await?.brokers.iter().map(|broker| broker.id).collect();
    if let Some((partition, id)) =
        plan.iter().find_map(|(partition, replicas)| Some((partition, replicas.iter().find(|id| !there.contains(id))?)))
    {
        let ids: Vec<i32> = there.into_iter().collect();
        let message = format!("{partition} is to be on broker {id}, which is not there; there are {}", list(&ids));
        return Err(Failure::failed(message));
    }
    let moving = admin.list_partition_reassignments(None).await?;
    if let (Some(partition), false) = (moving.keys().next(), args.additional) {
        return Err(Failure::failed(format!(
            "moves are under way, such as that of {partition}; `verify` shows them, --additional begins others all the same"
        )));
    }
    let mut moves = plan;
    moves.retain(|partition, replicas| moving.contains_key(partition) || now.get(partition) != Some(replicas));
    if moves.is_empty() {
        if !args.connection.quiet {
            report::note("all is where the plan has it");
        }
        return Ok(Exit::Ok);
    }
    let from = |partition: &TopicPartition| now.get(partition).map(|replicas| list(replicas)).unwrap_or_default();
    let would = moves
        .iter()
        .map(|(partition, replicas)| format!("would move {partition} from {} to {}", from(partition), list(replicas)));
    let act = Act { ask: "Move", done: "moved", does: "moves" };
    if !act.agreed(&args.consent, &would.collect::<Vec<_>>())? {
        return Ok(Exit::Ok);
    }
    let back: Replicas =
        now.iter().filter(|(one, _)| moves.contains_key(one)).map(|(a, b)| (a.clone(), b.clone())).collect();
    report::answer(&file::text(&back))?;
    let targets = moves.iter().map(|(partition, replicas)| (partition.clone(), Some(replicas.clone())));
    let results = admin.alter_partition_reassignments(targets).await?;
    let said = |partition: &TopicPartition| {
        format!(
            "moving {partition} from {} to {}",
            from(partition),
            moves.get(partition).map_or_else(String::new, |to| list(to))
        )
    };
    settle(moves.keys(), results, args.connection.quiet, said, &mut outcome);
    Ok(outcome.exit())
}

/// Says what became of each partition.
fn settle<'a>(
    partitions: impl IntoIterator<Item = &'a TopicPartition>,
    mut results: BTreeMap<TopicPartition, Result<(), Error>>,
    quiet: bool,
    said: impl Fn(&TopicPartition) -> String,
    outcome: &mut Outcome,
) {
    for partition in partitions {
        match results.remove(partition) {
            Some(Ok(())) => {
                outcome.succeeded();
                if !quiet {
                    report::note(&said(partition));
                }
            }
            // It names the partition.
            Some(Err(error)) => outcome.failed(&Failure::from(error)),
            None => outcome.failed(&unsaid(&partition.to_string())),
        }
    }
}

/// Stops moves.
pub async fn cancel(args: &CancelMoves) -> Result<Exit, Failure> {
    let plan = args.plan.as_deref().map(file::read).transpose()?;
    let admin: Admin = connect::admin(&args.connection).await?;
    let mut moving = admin.list_partition_reassignments(None).await?;
    if let Some(plan) = &plan {
        moving.retain(|partition, _| plan.contains_key(partition));
    }
    if moving.is_empty() {
        if !args.connection.quiet {
            report::note(if plan.is_some() { "nothing of the plan is being moved" } else { "nothing is being moved" });
        }
        return Ok(Exit::Ok);
    }
    let would = moving.iter().map(|(partition, state)| {
        let stays: Vec<i32> = state.replicas.iter().copied().filter(|id| !state.adding.contains(id)).collect();
        format!("would cancel the move of {partition}, which stays on {}", list(&stays))
    });
    let act = Act { ask: "Cancel", done: "cancelled", does: "cancels" };
    if !act.agreed(&args.consent, &would.collect::<Vec<_>>())? {
        return Ok(Exit::Ok);
    }
    let mut outcome = Outcome::default();
    let targets = moving.keys().map(|partition| (partition.clone(), None));
    let results = admin.alter_partition_reassignments(targets).await?;
    let said = |partition: &TopicPartition| format!("cancelled the move of {partition}");
    settle(moving.keys(), results, args.connection.quiet, said, &mut outcome);
    Ok(outcome.exit())
}
