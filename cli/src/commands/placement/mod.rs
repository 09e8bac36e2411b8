//! `rkafka partitions`, and the same under `rkafka cluster`.

mod elect;
mod execute;
mod file;
mod plan;
mod planner;
mod verify;

use std::collections::BTreeMap;

use rkafka::admin::{Admin, TopicPartition};

use crate::args::{Connection, ElectLeaders, Placement, PlacementCommand, Reassign, ReassignCommand};
use crate::connect;
use crate::exit::{Exit, Failure};

/// The brokers of partitions, the preferred leader first.
type Replicas = BTreeMap<TopicPartition, Vec<i32>>;

/// Runs the command.
pub async fn run(args: Placement) -> Result<Exit, Failure> {
    match args.command {
        PlacementCommand::Reassign(args) => reassign(args).await,
        PlacementCommand::ElectLeaders(args) => elect(&args).await,
    }
}

/// Runs `reassign`.
pub async fn reassign(args: Reassign) -> Result<Exit, Failure> {
    match args.command {
        ReassignCommand::Plan(args) => plan::run(&args).await,
        ReassignCommand::Execute(args) => execute::run(&args).await,
        ReassignCommand::Verify(args) => verify::run(&args).await,
        ReassignCommand::Cancel(args) => execute::cancel(&args).await,
    }
}

/// Runs `elect-leaders`.
pub async fn elect(args: &ElectLeaders) -> Result<Exit, Failure> {
    elect::run(&connect::admin(&args.connection).await?, args).await
}

/// The connection's options, whichever the command is.
pub const fn connection(args: &Placement) -> &Connection {
    match &args.command {
        PlacementCommand::Reassign(args) => connection_of_reassign(args),
        PlacementCommand::ElectLeaders(args) => &args.connection,
    }
}

/// The connection's options of `reassign`.
pub const fn connection_of_reassign(args: &Reassign) -> &Connection {
    match &args.command {
        ReassignCommand::Plan(args) => &args.connection,
        ReassignCommand::Execute(args) => &args.connection,
        ReassignCommand::Verify(args) => &args.connection,
        ReassignCommand::Cancel(args) => &args.connection,
    }
}

/// Where partitions are, without those that come in a move that is under way.
async fn here(
    admin: &Admin,
    partitions: impl IntoIterator<Item = &TopicPartition>,
    outcome: &mut super::items::Outcome,
) -> Result<Replicas, Failure> {
    let mut wanted: BTreeMap<&str, Vec<&TopicPartition>> = BTreeMap::new();
    for partition in partitions {
        wanted.entry(&partition.topic).or_default().push(partition);
    }
    let mut described = if wanted.is_empty() { BTreeMap::new() } else { admin.describe_topics(wanted.keys()).await? };
    let mut found = Replicas::new();
    for (name, partitions) in wanted {
        let topic = match described.remove(name) {
            Some(Ok(topic)) => topic,
            Some(Err(error)) => {
                outcome.failed(&super::topics::failure(admin, name, error).await);
                continue;
            }
            None => {
                outcome.failed(&super::items::unsaid(&format!("topic `{name}`")));
                continue;
            }
        };
        for partition in partitions {
            match topic.partitions.iter().find(|one| one.partition == partition.partition) {
                Some(one) => {
                    found.insert(partition.clone(), one.replicas.clone());
                }
                None => {
                    let message = format!(
                        "topic `{name}` has no partition {}; it has {}",
                        partition.partition,
                        topic.partitions.len()
                    );
                    outcome.failed(&Failure::new(Exit::NotFound, message));
                }
            }
        }
    }
    Ok(found)
}

/// `1,2,3`.
fn list(brokers: &[i32]) -> String {
    brokers.iter().map(i32::to_string).collect::<Vec<_>>().join(",")
}
