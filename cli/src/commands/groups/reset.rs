//! `rkafka groups reset`.

use std::collections::{BTreeMap, BTreeSet};

use rkafka::admin::{Admin, CommittedOffset, GroupType, OffsetSpec, TopicPartition};
use serde_json::json;

use super::super::items::{Outcome, count, failure};
use super::super::offsets::existing;
use super::offsets::{Committed, ask, committed};
use super::target::Target;
use super::{members, title};
use crate::args::{Partitions, ResetGroup};
use crate::exit::{Exit, Failure};
use crate::format::listing::{Column, Listing, always};
use crate::report;

const COLUMNS: &[Column] =
    &[always("group"), always("topic"), always("partition"), always("offset"), always("new_offset"), always("end")];

/// Shows where the offsets of a group would go, and moves them when told to.
pub async fn run(admin: &Admin, args: &ResetGroup) -> Result<Exit, Failure> {
    let target = Target::from_args(args, super::super::now_ms())?;
    let says_partitions = matches!(target, Target::File(_) | Target::Group(_));
    if args.topics.is_empty() && !args.all_topics && !says_partitions {
        return Err(Failure::usage("say which offsets: --topic TOPIC, --topic TOPIC:0,1 or --all-topics"));
    }
    let mut outcome = Outcome::default();
    let known = super::all(admin, &mut outcome).await?;
    let here = match known.get(&args.group) {
        Some(listing) => {
            let group = members::describe(admin, listing).await?;
            if !group.members.is_empty() {
                return Err(members::in_use(&args.group, &group.members));
            }
            committed(admin, listing, &mut outcome).await?
        }
        // As with Kafka's tool, a group begins with its offsets; but one that was mistyped has none to be moved.
        None if args.all_topics || matches!(target, Target::Current | Target::Shift(_)) => {
            return Err(super::not_found(&args.group, known.keys().map(String::as_str)));
        }
        None => Committed::new(),
    };
    let there = match &target {
        Target::Group(other) => match known.get(other) {
            Some(listing) => committed(admin, listing, &mut outcome).await?,
            None => return Err(super::not_found(other, known.keys().map(String::as_str))),
        },
        _ => Committed::new(),
    };
    let share = known.get(&args.group).is_some_and(|listing| listing.kind == Some(GroupType::Share));
    let partitions = partitions(admin, args, &target, &here, &there, &mut outcome).await?;
    let moves = moves(admin, &target, &here, &there, partitions, &mut outcome).await?;
    if args.execute && !moves.is_empty() {
        let moved = apply(admin, &args.group, share, &moves, &mut outcome).await?;
        if !args.connection.quiet {
            report::note(&format!("moved group `{}` in {}", args.group, count(moved.len(), "partition")));
        }
        print(args, &here, moves.into_iter().filter(|one| moved.contains(&one.partition)))?;
        return Ok(outcome.exit());
    }
    moves.iter().for_each(|_| outcome.succeeded());
    print(args, &here, moves)?;
    if !args.connection.quiet {
        if !known.contains_key(&args.group) {
            report::note(&format!("group `{}` is not there yet; this would be its first offsets", args.group));
        }
        report::note("nothing was changed; --execute does it");
    }
    Ok(outcome.exit())
}

/// An offset that moves.
struct Move {
    partition: TopicPartition,
    to: i64,
    end: i64,
}

/// The partitions that are meant.
async fn partitions(
    admin: &Admin,
    args: &ResetGroup,
    target: &Target,
    here: &Committed,
    there: &Committed,
    outcome: &mut Outcome,
) -> Result<BTreeSet<TopicPartition>, Failure> {
    let committed = |offsets: &Committed| -> BTreeSet<TopicPartition> {
        offsets.iter().filter(|(_, offset)| offset.is_some()).map(|(one, _)| one.clone()).collect()
    };
    let all = match target {
        Target::File(offsets) => offsets.keys().cloned().collect(),
        Target::Group(_) => committed(there),
        _ => committed(here),
    };
    if args.topics.is_empty() {
        if all.is_empty() {
            outcome.failed(&Failure::failed(format!("group `{}` has committed nothing", args.group)));
        }
        return Ok(all);
    }
    if matches!(target, Target::File(_) | Target::Group(_)) {
        let meant = |one: &TopicPartition| {
            let is = |wanted: &Partitions| {
                *wanted.topic == *one.topic
                    && wanted.numbers.as_ref().is_none_or(|numbers| numbers.contains(&one.partition))
            };
            args.topics.iter().any(is)
        };
        return Ok(all.into_iter().filter(meant).collect());
    }
    existing(admin, &args.topics, outcome).await
}

/// Where each partition's offset goes.
async fn moves(
    admin: &Admin,
    target: &Target,
    here: &Committed,
    there: &Committed,
    partitions: BTreeSet<TopicPartition>,
    outcome: &mut Outcome,
) -> Result<Vec<Move>, Failure> {
    let starts = ask(admin, partitions.iter().cloned(), OffsetSpec::Earliest, outcome).await?;
    let known: Vec<TopicPartition> = partitions.into_iter().filter(|one| starts.contains_key(one)).collect();
    let ends = ask(admin, known.iter().cloned(), OffsetSpec::Latest, outcome).await?;
    let at_time = match target {
        Target::Time(time) => ask(admin, known.iter().cloned(), OffsetSpec::Timestamp(*time), outcome).await?,
        _ => BTreeMap::new(),
    };
    let mut moves = Vec::new();
    for partition in known {
        let (Some(Some(start)), Some(Some(end))) = (starts.get(&partition), ends.get(&partition)) else { continue };
        let (start, end) = (*start, *end);
        let now = here.get(&partition).copied().flatten().map(|(offset, _)| offset);
        let wanted = match target {
            Target::Earliest => start,
            Target::Latest => end,
            Target::Current => now.unwrap_or(end),
            Target::Offset(offset) => *offset,
            Target::Time(_) => match at_time.get(&partition) {
                // Without a record of that time or later, all there is was before it.
                Some(offset) => offset.unwrap_or(end),
                None => continue,
            },
            Target::Shift(by) => match now {
                Some(now) => now.saturating_add(*by),
                None => {
                    let message = format!("{partition}: the group has committed nothing to count from");
                    outcome.failed(&Failure::failed(message));
                    continue;
                }
            },
            Target::File(offsets) => offsets.get(&partition).copied().unwrap_or(end),
            Target::Group(_) => there.get(&partition).copied().flatten().map_or(end, |(offset, _)| offset),
        };
        let to = wanted.clamp(start, end);
        if to != wanted {
            report::note(&format!("{partition}: {wanted} is outside of {start} to {end}; {to} is taken"));
        }
        moves.push(Move { partition, to, end });
    }
    Ok(moves)
}

/// Moves the offsets; those that moved.
async fn apply(
    admin: &Admin,
    group: &str,
    share: bool,
    moves: &[Move],
    outcome: &mut Outcome,
) -> Result<BTreeSet<TopicPartition>, Failure> {
    let refused = |error| failure(&title(group), error);
    let results = if share {
        let offsets = moves.iter().map(|one| (one.partition.clone(), one.to));
        admin.alter_share_group_offsets(group, offsets).await
    } else {
        let offsets = moves.iter().map(|one| (one.partition.clone(), CommittedOffset::new(one.to)));
        admin.alter_consumer_group_offsets(group, offsets).await
    };
    let mut moved = BTreeSet::new();
    for (partition, result) in results.map_err(refused)? {
        match result {
            Ok(()) => {
                outcome.succeeded();
                moved.insert(partition);
            }
            Err(error) => outcome.failed(&refused(error)),
        }
    }
    Ok(moved)
}

fn print(args: &ResetGroup, here: &Committed, moves: impl IntoIterator<Item = Move>) -> Result<(), Failure> {
    let mut listing = Listing::new(COLUMNS);
    for one in moves {
        let offset = here.get(&one.partition).copied().flatten().map(|(offset, _)| offset);
        let (topic, number) = (&*one.partition.topic, one.partition.partition);
        let values = [json!(args.group), json!(topic), json!(number), json!(offset), json!(one.to), json!(one.end)];
        listing.row(format!("{topic}:{number}"), values);
    }
    listing.print(&args.form)
}
