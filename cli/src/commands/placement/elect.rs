//! `rkafka partitions elect-leaders`.

use rkafka::admin::{Admin, ElectionType, ErrorCode, TopicDescription, TopicPartition};

use super::super::items::{Act, Outcome};
use super::super::offsets::existing;
use crate::args::{ElectLeaders, Election};
use crate::exit::{Exit, Failure};
use crate::report;

/// Elects leaders, or says where one would be elected.
pub async fn run(admin: &Admin, args: &ElectLeaders) -> Result<Exit, Failure> {
    let mut outcome = Outcome::default();
    let wanted = if args.all {
        None
    } else {
        let found = existing(admin, &args.topics, &mut outcome).await?;
        if found.is_empty() {
            return Ok(outcome.exit());
        }
        Some(found.into_iter().collect::<Vec<_>>())
    };
    let unclean = args.election == Election::Unclean;
    if args.consent.dry_run || (unclean && !args.consent.yes) {
        let plan = plan(admin, wanted.as_deref(), unclean).await?;
        if plan.is_empty() {
            report::note("no partition needs it");
            return Ok(outcome.exit());
        }
        let act = Act { ask: "Elect", done: "elected", does: "elects" };
        if !act.agreed(&args.consent, &plan)? {
            plan.iter().for_each(|_| outcome.succeeded());
            return Ok(outcome.exit());
        }
    }
    let kind = if unclean { ElectionType::Unclean } else { ElectionType::Preferred };
    let results = admin.elect_leaders(kind, wanted).await?;
    let mut elected = 0;
    for (partition, result) in results {
        match result {
            Ok(()) => {
                outcome.succeeded();
                elected += 1;
                if !args.connection.quiet {
                    report::note(&format!("elected a leader of {partition}"));
                }
            }
            Err(error) if error.code() == Some(ErrorCode::ElectionNotNeeded) => {
                outcome.succeeded();
                if args.connection.verbose > 0 {
                    report::note(&format!("{partition} has the leader that it should have"));
                }
            }
            Err(error) => outcome.failed(&Failure::from(error)),
        }
    }
    if elected == 0 && outcome.exit() == Exit::Ok && !args.connection.quiet {
        report::note("no partition needs it");
    }
    Ok(outcome.exit())
}

/// A line for each partition that would get a leader.
async fn plan(admin: &Admin, wanted: Option<&[TopicPartition]>, unclean: bool) -> Result<Vec<String>, Failure> {
    let names: Vec<String> = match wanted {
        Some(partitions) => {
            let mut names: Vec<String> = partitions.iter().map(|one| one.topic.to_string()).collect();
            names.dedup();
            names
        }
        None => admin.list_topics().await?.into_iter().map(|topic| topic.name).collect(),
    };
    let mut lines = Vec::new();
    for topic in admin.describe_topics(&names).await?.into_values().flatten() {
        lines.extend(of_topic(&topic, wanted, unclean));
    }
    Ok(lines)
}

fn of_topic(topic: &TopicDescription, wanted: Option<&[TopicPartition]>, unclean: bool) -> Vec<String> {
    let mut lines = Vec::new();
    for one in &topic.partitions {
        let partition = TopicPartition::new(topic.name.as_str(), one.partition);
        if wanted.is_some_and(|wanted| !wanted.contains(&partition)) {
            continue;
        }
        match (unclean, one.leader, one.replicas.first()) {
            (true, None, _) => lines.push(format!("would elect a leader of {partition}, which may lose records")),
            (false, leader, Some(first)) if leader != Some(*first) => {
                let now = leader.map_or_else(|| "nobody".to_owned(), |leader| format!("broker {leader}"));
                let line = if one.in_sync_replicas.contains(first) {
                    format!("would elect broker {first} to lead {partition} in the place of {now}")
                } else {
                    format!("would not elect broker {first} to lead {partition}: it is not in sync")
                };
                lines.push(line);
            }
            _ => {}
        }
    }
    lines
}
