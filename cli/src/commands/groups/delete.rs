//! `rkafka groups delete` and `delete-offsets`.

use std::collections::BTreeSet;

use rkafka::admin::{Admin, ErrorCode, GroupListing, GroupType, TopicPartition};

use super::super::items::{Act, Outcome, count, failure, unsaid};
use super::{members, offsets as committed, title};
use crate::args::{DeleteGroupOffsets, DeleteGroups};
use crate::exit::{Exit, Failure};
use crate::report;

/// Deletes what is there of the groups and has no members, once that is agreed to.
pub async fn groups(admin: &Admin, args: &DeleteGroups) -> Result<Exit, Failure> {
    let mut outcome = Outcome::default();
    let mut idle: Vec<GroupListing> = Vec::new();
    for listing in super::named(admin, &args.groups, &mut outcome).await? {
        match members::describe(admin, &listing).await {
            Ok(group) if group.members.is_empty() => idle.push(listing),
            Ok(group) => outcome.failed(&members::in_use(&listing.group_id, &group.members)),
            Err(failure) => outcome.failed(&failure),
        }
    }
    if idle.is_empty() {
        return Ok(outcome.exit());
    }
    let plan = idle.iter().map(|group| format!("would delete group `{}` and all it has committed", group.group_id));
    if !Act::DELETE.agreed(&args.consent, &plan.collect::<Vec<_>>())? {
        // What is there is no failure: it would be deleted.
        idle.iter().for_each(|_| outcome.succeeded());
        return Ok(outcome.exit());
    }
    let mut results = admin.delete_groups(idle.iter().map(|group| &group.group_id)).await?;
    for listing in &idle {
        let id = &listing.group_id;
        match results.remove(id) {
            Some(Ok(())) => {
                outcome.succeeded();
                if !args.connection.quiet {
                    report::note(&format!("deleted group `{id}`"));
                }
            }
            // Somebody joined meanwhile.
            Some(Err(error)) if error.code() == Some(ErrorCode::NonEmptyGroup) => {
                match members::describe(admin, listing).await {
                    Ok(group) => outcome.failed(&members::in_use(id, &group.members)),
                    Err(failure) => outcome.failed(&failure),
                }
            }
            Some(Err(error)) => outcome.failed(&failure(&title(id), error)),
            None => outcome.failed(&unsaid(&title(id))),
        }
    }
    Ok(outcome.exit())
}

/// Deletes what a group has committed for topics.
pub async fn offsets(admin: &Admin, args: &DeleteGroupOffsets) -> Result<Exit, Failure> {
    let mut outcome = Outcome::default();
    let Some(listing) = super::named(admin, std::slice::from_ref(&args.group), &mut outcome).await?.pop() else {
        return Ok(outcome.exit());
    };
    let share = listing.kind == Some(GroupType::Share);
    if share && let Some(topic) = args.topics.iter().find(|topic| topic.numbers.is_some()) {
        let message = "a share group gives up whole topics only; name it without partitions";
        return Err(Failure::usage(format!("{}: {message}", topic.topic)));
    }
    let known = committed::committed(admin, &listing, &mut outcome).await?;
    let mut partitions: BTreeSet<TopicPartition> = BTreeSet::new();
    for wanted in &args.topics {
        let of_topic = known.iter().filter(|(one, offset)| *one.topic == *wanted.topic && offset.is_some());
        let found: Vec<TopicPartition> = of_topic
            .map(|(one, _)| one.clone())
            .filter(|one| wanted.numbers.as_ref().is_none_or(|numbers| numbers.contains(&one.partition)))
            .collect();
        let missing: Vec<i32> = match &wanted.numbers {
            None => Vec::new(),
            Some(numbers) => {
                let there = |number: &&i32| found.iter().any(|one| one.partition == **number);
                numbers.iter().filter(|number| !there(number)).copied().collect()
            }
        };
        let none = |what: &str| {
            let message = format!("group `{}` has committed nothing for {what}", args.group);
            Failure::new(Exit::NotFound, message)
        };
        if wanted.numbers.is_none() && found.is_empty() {
            let near = rkafka::config::nearest(&wanted.topic, known.keys().map(|one| &*one.topic));
            let meant = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
            outcome.failed(&none(&format!("topic `{}`{meant}", wanted.topic)));
        }
        for number in missing {
            outcome.failed(&none(&format!("{}-{number}", wanted.topic)));
        }
        partitions.extend(found);
    }
    if partitions.is_empty() {
        return Ok(outcome.exit());
    }
    let plan: Vec<String> =
        partitions.iter().map(|one| format!("would delete the offset of group `{}` in {one}", args.group)).collect();
    if !Act::DELETE.agreed(&args.consent, &plan)? {
        partitions.iter().for_each(|_| outcome.succeeded());
        return Ok(outcome.exit());
    }
    let refused = |error| failure(&title(&args.group), error);
    let mut done = 0;
    if share {
        let topics: BTreeSet<&str> = partitions.iter().map(|one| &*one.topic).collect();
        for (_, result) in admin.delete_share_group_offsets(&args.group, topics).await.map_err(refused)? {
            match result {
                Ok(()) => done += 1,
                Err(error) => outcome.failed(&refused(error)),
            }
        }
    } else {
        for (_, result) in admin.delete_consumer_group_offsets(&args.group, partitions).await.map_err(refused)? {
            match result {
                Ok(()) => done += 1,
                Err(error) => outcome.failed(&refused(error)),
            }
        }
    }
    if done > 0 {
        outcome.succeeded();
        if !args.connection.quiet {
            let what = if share { "topic" } else { "partition" };
            report::note(&format!("deleted the offsets of group `{}` in {}", args.group, count(done, what)));
        }
    }
    Ok(outcome.exit())
}
