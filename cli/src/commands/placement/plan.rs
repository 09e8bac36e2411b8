//! `rkafka partitions reassign plan`.

use std::collections::BTreeSet;

use rkafka::admin::{Admin, TopicPartition};
use serde_json::json;

use super::super::items::{Outcome, count};
use super::planner::{self, Broker};
use super::{Replicas, file, here};
use crate::args::{Output, PlanMoves};
use crate::exit::{Exit, Failure};
use crate::format::listing::{Column, Listing, always};
use crate::{connect, report};

const COLUMNS: &[Column] = &[always("topic"), always("partition"), always("replicas"), always("target")];

/// Prints where partitions should be. Nothing is moved.
pub async fn run(args: &PlanMoves) -> Result<Exit, Failure> {
    let admin = connect::admin(&args.connection).await?;
    let mut outcome = Outcome::default();
    let brokers = brokers(&admin, args).await?;
    let partitions = partitions(&admin, args, &mut outcome).await?;
    let now = here(&admin, &partitions, &mut outcome).await?;
    // What is being moved is counted where it will be.
    let moving = admin.list_partition_reassignments(None).await?;
    if let Some(partition) = now.keys().find(|partition| moving.contains_key(partition)) {
        let message = format!("{partition} is being moved; `rkafka partitions reassign verify` shows how far it is");
        return Err(Failure::failed(message));
    }
    let mut plan = planner::place(&now, &brokers, args.replication_factor.map(usize::from)).map_err(Failure::usage)?;
    plan.retain(|partition, replicas| now.get(partition) != Some(replicas));
    plan.keys().for_each(|_| outcome.succeeded());
    if args.form.output == Output::Json {
        report::answer(&file::text(&plan))?;
    } else {
        print(args, &now, &plan)?;
    }
    if !args.connection.quiet {
        let moved = moved(&now, &plan);
        report::note(&if plan.is_empty() {
            "all is where it should be".to_owned()
        } else {
            format!("{} to be changed, {} to be copied", count(plan.len(), "partition"), count(moved, "replica"))
        });
    }
    Ok(outcome.exit())
}

/// How many replicas come to brokers that do not have them.
fn moved(now: &Replicas, plan: &Replicas) -> usize {
    let new = |(partition, replicas): (&TopicPartition, &Vec<i32>)| {
        replicas.iter().filter(|id| now.get(partition).is_none_or(|now| !now.contains(id))).count()
    };
    plan.iter().map(new).sum()
}

fn print(args: &PlanMoves, now: &Replicas, plan: &Replicas) -> Result<(), Failure> {
    let mut listing = Listing::new(COLUMNS);
    for (partition, replicas) in plan {
        let (topic, number) = (&*partition.topic, partition.partition);
        let values = [json!(topic), json!(number), json!(now.get(partition)), json!(replicas)];
        listing.row(format!("{topic}:{number}"), values);
    }
    listing.print(&args.form)
}

/// The brokers to have the partitions.
async fn brokers(admin: &Admin, args: &PlanMoves) -> Result<Vec<Broker>, Failure> {
    let there = admin.describe_cluster().await?.brokers;
    let ids: Vec<i32> = there.iter().map(|broker| broker.id).collect();
    if let Some(missing) = args.to.iter().find(|id| !ids.contains(id)) {
        return Err(Failure::failed(format!("there is no broker {missing}; there are {}", super::list(&ids))));
    }
    let wanted = |id: i32| (args.to.is_empty() || args.to.contains(&id)) && !args.without.contains(&id);
    let brokers: Vec<Broker> = there
        .into_iter()
        .filter(|broker| wanted(broker.id))
        .map(|broker| Broker { id: broker.id, rack: broker.rack })
        .collect();
    if brokers.is_empty() { Err(Failure::usage("no broker is left to have the partitions")) } else { Ok(brokers) }
}

async fn partitions(
    admin: &Admin,
    args: &PlanMoves,
    outcome: &mut Outcome,
) -> Result<BTreeSet<TopicPartition>, Failure> {
    if !args.all {
        return super::super::offsets::existing(admin, &args.topics, outcome).await;
    }
    let topics = admin.list_topics().await?;
    let of = |topic: rkafka::admin::TopicListing| {
        let numbers = 0..i32::try_from(topic.partitions).unwrap_or(i32::MAX);
        numbers.map(|number| TopicPartition::new(topic.name.as_str(), number)).collect::<Vec<_>>()
    };
    Ok(topics.into_iter().flat_map(of).collect())
}
