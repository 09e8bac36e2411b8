//! `rkafka offsets` and `rkafka records delete`.

use std::collections::BTreeMap;

use rkafka::admin::{Admin, ErrorCode, IsolationLevel, OffsetSpec, RecordsToDelete, TopicPartition};
use serde_json::json;

use super::items::{Act, Outcome, unsaid};
use crate::args::{Connection, Consent, DeleteRecords, Form, Offsets, Partitions, Records, RecordsCommand, time};
use crate::exit::{Exit, Failure};
use crate::format::listing::{Column, Listing, always};
use crate::{connect, report};

const COLUMNS: &[Column] = &[always("topic"), always("partition"), always("offset"), always("timestamp")];

/// Prints the offsets.
pub async fn run(args: Offsets) -> Result<Exit, Failure> {
    let (spec, isolation) = match args.at.as_str() {
        "start" | "earliest" | "beginning" => (OffsetSpec::Earliest, IsolationLevel::ReadUncommitted),
        "end" | "latest" => (OffsetSpec::Latest, IsolationLevel::ReadUncommitted),
        "stable" => (OffsetSpec::Latest, IsolationLevel::ReadCommitted),
        "newest" => (OffsetSpec::MaxTimestamp, IsolationLevel::ReadUncommitted),
        text => match time(text, super::now_ms()) {
            Ok(time) => (OffsetSpec::Timestamp(time), IsolationLevel::ReadUncommitted),
            Err(error) => return Err(Failure::usage(format!("--at: {error}; or start, end, stable or newest"))),
        },
    };
    let admin = connect::admin(&args.connection).await?;
    let mut outcome = Outcome::default();
    let partitions = existing(&admin, &args.topics, &mut outcome).await?;
    let mut listing = Listing::new(COLUMNS);
    if !partitions.is_empty() {
        let asked = partitions.into_iter().map(|partition| (partition, spec));
        for (partition, result) in admin.list_offsets(asked).isolation_level(isolation).await? {
            match result {
                Ok(listed) => {
                    outcome.succeeded();
                    let (topic, number) = (&*partition.topic, partition.partition);
                    let values = [json!(topic), json!(number), json!(listed.offset), json!(listed.timestamp)];
                    listing.row(format!("{topic}:{number}"), values);
                }
                Err(error) => outcome.failed(&Failure::from(error)),
            }
        }
    }
    outcome.end(&listing, &args.form)
}

/// The partitions of these topics. What is not there is a failure.
pub async fn existing(
    admin: &Admin,
    topics: &[Partitions],
    outcome: &mut Outcome,
) -> Result<std::collections::BTreeSet<TopicPartition>, Failure> {
    let mut described = admin.describe_topics(topics.iter().map(|wanted| &wanted.topic)).await?;
    let mut found = std::collections::BTreeSet::new();
    for wanted in topics {
        let name = &wanted.topic;
        let topic = match described.get_mut(name) {
            Some(Ok(topic)) => topic,
            Some(Err(error)) => {
                outcome.failed(&super::topics::failure(admin, name, error.clone()).await);
                continue;
            }
            None => {
                outcome.failed(&unsaid(&format!("topic `{name}`")));
                continue;
            }
        };
        let there: Vec<i32> = topic.partitions.iter().map(|partition| partition.partition).collect();
        for number in wanted.numbers.as_ref().unwrap_or(&there) {
            if there.contains(number) {
                found.insert(TopicPartition::new(name.as_str(), *number));
            } else {
                let message = format!("topic `{name}` has no partition {number}; it has {}", there.len());
                outcome.failed(&Failure::new(Exit::NotFound, message));
            }
        }
    }
    Ok(found)
}

const LEFT: &[Column] = &[always("topic"), always("partition"), always("low_watermark")];

/// The connection's options of `rkafka records`.
pub const fn connection(args: &Records) -> &Connection {
    let RecordsCommand::Delete(args) = &args.command;
    &args.connection
}

/// Runs `rkafka records`.
pub async fn records(args: Records) -> Result<Exit, Failure> {
    let RecordsCommand::Delete(args) = args.command;
    delete(&args).await
}

async fn delete(args: &DeleteRecords) -> Result<Exit, Failure> {
    let mut places = BTreeMap::new();
    for place in &args.places {
        let partition = TopicPartition::new(place.topic.as_str(), place.partition);
        let what = place.offset.map_or(RecordsToDelete::All, RecordsToDelete::Before);
        if places.insert(partition.clone(), what).is_some() {
            return Err(Failure::usage(format!("{partition} is named twice")));
        }
    }
    let admin = connect::admin(&args.connection).await?;
    let mut outcome = Outcome::default();
    let wanted: Vec<Partitions> = places
        .keys()
        .map(|one| Partitions { topic: one.topic.to_string(), numbers: Some(vec![one.partition]) })
        .collect();
    let there = existing(&admin, &wanted, &mut outcome).await?;
    places.retain(|partition, _| there.contains(partition));
    remove(&admin, places, &args.consent, &args.form, args.connection.quiet, outcome).await
}

/// Deletes the oldest records of partitions, once that is agreed to, and prints where they begin then.
pub async fn remove(
    admin: &Admin,
    places: BTreeMap<TopicPartition, RecordsToDelete>,
    consent: &Consent,
    form: &Form,
    quiet: bool,
    mut outcome: Outcome,
) -> Result<Exit, Failure> {
    if places.is_empty() {
        return outcome.end(&Listing::new(LEFT), form);
    }
    let plan: Vec<String> = places
        .iter()
        .map(|(partition, what)| match what {
            RecordsToDelete::Before(offset) => format!("would delete the records of {partition} before {offset}"),
            _ => format!("would delete all records of {partition}"),
        })
        .collect();
    if !Act::DELETE.agreed(consent, &plan)? {
        places.iter().for_each(|_| outcome.succeeded());
        return Ok(outcome.exit());
    }
    let mut listing = Listing::new(LEFT);
    for (partition, result) in admin.delete_records(places).await? {
        match result {
            Ok(low) => {
                outcome.succeeded();
                let (topic, number) = (&*partition.topic, partition.partition);
                listing.row(format!("{topic}:{number}"), [json!(topic), json!(number), json!(low)]);
                if !quiet {
                    report::note(&format!("{partition} now begins at {low}"));
                }
            }
            Err(error) if error.code() == Some(ErrorCode::OffsetOutOfRange) => {
                outcome.failed(&Failure::failed(format!("{partition}: there is no such offset; it ends before that")));
            }
            // It names the partition.
            Err(error) => outcome.failed(&Failure::from(error)),
        }
    }
    outcome.end(&listing, form)
}
