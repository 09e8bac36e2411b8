//! What groups have committed and how far they are behind, and `rkafka groups lag`.

use std::collections::{BTreeMap, BTreeSet};

use rkafka::admin::{Admin, GroupListing, GroupType, OffsetSpec, TopicPartition};
use serde_json::{Value, json};

use super::super::items::{Outcome, failure, unsaid};
use super::members::{self, Group, Member};
use super::title;
use crate::args::GroupsLag;
use crate::exit::{Exit, Failure};
use crate::format::listing::{Column, Listing, always, inside, wide};

/// Where a group is in a partition.
pub struct Position {
    pub partition: TopicPartition,
    /// `None` where nothing is committed.
    pub offset: Option<i64>,
    /// `None` where the partition's end is not known.
    pub end: Option<i64>,
    /// `None` where one of the two is not known.
    pub lag: Option<i64>,
}

/// What a group has committed, by partition; `None` where it has nothing. Also where it says itself how far it is behind.
pub type Committed = BTreeMap<TopicPartition, Option<(i64, Option<i64>)>>;

/// What a group has committed.
pub async fn committed(admin: &Admin, listing: &GroupListing, outcome: &mut Outcome) -> Result<Committed, Failure> {
    let id = &listing.group_id;
    let what = title(id);
    let mut committed = Committed::new();
    let mut keep =
        |partition: TopicPartition, result: Result<Option<(i64, Option<i64>)>, rkafka::admin::Error>| match result {
            Ok(offset) => {
                committed.insert(partition, offset);
            }
            Err(error) => outcome.failed(&failure(&what, error)),
        };
    if listing.kind == Some(GroupType::Share) {
        let offsets = admin.list_share_group_offsets([(id, None)]).await?.remove(id).ok_or_else(|| unsaid(&what))?;
        for (partition, offset) in offsets.map_err(|error| failure(&what, error))? {
            keep(partition, offset.map(|offset| offset.map(|offset| (offset.start_offset, offset.lag))));
        }
    } else {
        let offsets = admin.list_consumer_group_offsets([(id, None)]).await?.remove(id).ok_or_else(|| unsaid(&what))?;
        for (partition, offset) in offsets.map_err(|error| failure(&what, error))? {
            keep(partition, offset.map(|offset| offset.map(|offset| (offset.offset, None))));
        }
    }
    Ok(committed)
}

/// Offsets of partitions by `spec`. What cannot be known is a failure; an offset that is not there is none.
pub async fn ask(
    admin: &Admin,
    partitions: impl IntoIterator<Item = TopicPartition>,
    spec: OffsetSpec,
    outcome: &mut Outcome,
) -> Result<BTreeMap<TopicPartition, Option<i64>>, Failure> {
    let partitions: Vec<(TopicPartition, OffsetSpec)> =
        partitions.into_iter().map(|partition| (partition, spec)).collect();
    if partitions.is_empty() {
        return Ok(BTreeMap::new());
    }
    let mut offsets = BTreeMap::new();
    for (partition, result) in admin.list_offsets(partitions).await? {
        match result {
            Ok(listed) => {
                offsets.insert(partition, listed.offset);
            }
            Err(error) => outcome.failed(&Failure::from(error)),
        }
    }
    Ok(offsets)
}

/// Where a group is in each partition that it has, or has committed for.
pub async fn positions(
    admin: &Admin,
    listing: &GroupListing,
    group: &Group,
    outcome: &mut Outcome,
) -> Result<Vec<Position>, Failure> {
    let committed = committed(admin, listing, outcome).await?;
    let assigned = group.members.iter().flat_map(|member| member.assignment.iter().cloned());
    let partitions: BTreeSet<TopicPartition> = committed.keys().cloned().chain(assigned).collect();
    let ends = ask(admin, partitions.iter().cloned(), OffsetSpec::Latest, outcome).await?;
    let positions = partitions.into_iter().map(|partition| {
        let (offset, told) = committed.get(&partition).copied().flatten().unzip();
        let end = ends.get(&partition).copied().flatten();
        let behind = offset.zip(end).map(|(offset, end): (i64, i64)| end.saturating_sub(offset).max(0));
        Position { lag: told.flatten().or(behind), partition, offset, end }
    });
    Ok(positions.collect())
}

/// How far it is behind in all; `None` where that is known of no partition.
pub fn total(positions: &[Position]) -> Option<i64> {
    positions.iter().filter_map(|position| position.lag).reduce(i64::saturating_add)
}

const COLUMNS: &[Column] = &[
    always("group"),
    always("topic"),
    always("partition"),
    always("offset"),
    always("end"),
    always("lag"),
    always("client_id"),
    wide("member"),
    wide("host"),
    inside("type"),
];

const TOTALS: &[Column] = &[always("group"), always("type"), always("state"), always("members"), always("lag")];

/// Prints how far groups are behind.
pub async fn run(admin: &Admin, args: &GroupsLag) -> Result<Exit, Failure> {
    let mut outcome = Outcome::default();
    let mut listing = Listing::new(if args.total { TOTALS } else { COLUMNS });
    for known in super::named(admin, &args.groups, &mut outcome).await? {
        let group = match members::describe(admin, &known).await {
            Ok(group) => group,
            Err(failure) => {
                outcome.failed(&failure);
                continue;
            }
        };
        let positions = positions(admin, &known, &group, &mut outcome).await?;
        outcome.succeeded();
        let id = &known.group_id;
        let kind = known.kind.map(|kind| kind.to_string());
        if args.total {
            let members = group.members.len();
            let values = [json!(id), json!(kind), json!(group.state), json!(members), json!(total(&positions))];
            listing.row(id, values);
            continue;
        }
        for position in positions {
            let name = format!("{}:{}", position.partition.topic, position.partition.partition);
            let [topic, partition, offset, end, lag, client, member, host] = values(&position, &group.members);
            listing.row(name, [json!(id), topic, partition, offset, end, lag, client, member, host, json!(kind)]);
        }
    }
    outcome.end(&listing, &args.form)
}

/// The values of topic, partition, offset, end, lag, client id, member and host.
pub fn values(position: &Position, members: &[Member]) -> [Value; 8] {
    let member = members.iter().find(|member| member.assignment.contains(&position.partition));
    [
        json!(&*position.partition.topic),
        json!(position.partition.partition),
        json!(position.offset),
        json!(position.end),
        json!(position.lag),
        json!(member.map(|member| &member.client_id)),
        json!(member.map(|member| &member.id)),
        json!(member.map(|member| member.host.trim_start_matches('/'))),
    ]
}
