//! Which partitions are read, from where, and up to where.

use std::collections::{BTreeSet, HashMap};

use rkafka::admin::Admin;
use rkafka::consumer::{ConsumerHandle, Start, TopicPartition};

use super::range::{From, Range, Until};
use crate::args::Consume;
use crate::commands::topics;
use crate::exit::{Exit, Failure};
use crate::report;

/// A partition that is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The partition.
    pub partition: TopicPartition,
    /// Where reading starts.
    pub start: Start,
    /// The offset to stop before; `i64::MAX` for never.
    pub until: i64,
}

/// The partitions of the topics, or those of them that are asked for.
///
/// # Errors
/// A topic or a partition is not there.
pub async fn partitions(admin: &Admin, args: &Consume) -> Result<Vec<TopicPartition>, Failure> {
    let mut described = admin.describe_topics(&args.topics).await?;
    let mut found = BTreeSet::new();
    for name in &args.topics {
        let topic = match described.get_mut(name) {
            Some(Ok(topic)) => topic,
            Some(Err(error)) => return Err(topics::failure(admin, name, error.clone()).await),
            None => return Err(topics::not_found(admin, name).await),
        };
        let there: Vec<i32> = topic.partitions.iter().map(|partition| partition.partition).collect();
        if let Some(missing) = args.partitions.iter().find(|wanted| !there.contains(wanted)) {
            let last = there.last().copied().unwrap_or_default();
            let message = format!("topic `{name}` has no partition {missing}; its last is {last}");
            return Err(Failure::new(Exit::NotFound, message));
        }
        let wanted = there.into_iter().filter(|id| args.partitions.is_empty() || args.partitions.contains(id));
        found.extend(wanted.map(|partition| TopicPartition::new(name.as_str(), partition)));
    }
    Ok(found.into_iter().collect())
}

/// Which broker leads each partition of the topics, as it is at the start.
///
/// # Errors
/// The cluster does not answer.
pub async fn leaders(admin: &Admin, args: &Consume) -> Result<HashMap<TopicPartition, i32>, Failure> {
    let topics = match args.regex {
        true => admin.list_topics().await?.into_iter().map(|topic| topic.name).collect(),
        false => args.topics.clone(),
    };
    let described = admin.describe_topics(&topics).await?;
    let topics = described.into_iter().filter_map(|(name, topic)| Some((name, topic.ok()?)));
    let leaders = topics.flat_map(|(name, topic)| {
        topic.partitions.into_iter().filter_map(move |partition| {
            Some((TopicPartition::new(name.as_str(), partition.partition), partition.leader?))
        })
    });
    Ok(leaders.collect())
}

/// Finds out where reading starts and stops in each partition. Those where nothing is to be read are left out.
pub async fn places(
    handle: &ConsumerHandle,
    partitions: Vec<TopicPartition>,
    range: Range,
    quiet: bool,
) -> Result<Vec<Place>, Failure> {
    let from = range.from.unwrap_or(From::Beginning);
    let start = match (from, range.until) {
        (From::Beginning, Until::Never) => Some(Start::Beginning),
        (From::End | From::BeforeEnd(0), Until::Never) => Some(Start::End),
        (From::BeforeEnd(back), Until::Never) => Some(Start::RelativeToEnd(-back)),
        _ => None,
    };
    if let Some(start) = start {
        let place = |partition| Place { partition, start, until: i64::MAX };
        return Ok(partitions.into_iter().map(place).collect());
    }
    let beginnings = handle.beginning_offsets(&partitions).await?;
    let ends = handle.end_offsets(&partitions).await?;
    let starts_at = match from {
        From::Time(time) => Some(at_time(handle, &partitions, time).await?),
        _ => None,
    };
    let stops_at = match range.until {
        Until::Time(time) => Some(at_time(handle, &partitions, time).await?),
        _ => None,
    };
    let mut places = Vec::with_capacity(partitions.len());
    for (index, partition) in partitions.into_iter().enumerate() {
        let (beginning, end) = (offset_of(&beginnings, index), offset_of(&ends, index));
        let start = match from {
            From::Beginning => beginning,
            From::End => end,
            From::BeforeEnd(back) => end.saturating_sub(back).max(beginning),
            From::Time(_) => found(&starts_at, index).unwrap_or(end),
            From::Offset(offset) => {
                if !quiet && offset < beginning {
                    report::note(&format!("{partition} begins at offset {beginning}; reading starts there"));
                }
                if !quiet && offset > end {
                    report::note(&format!("{partition} ends at offset {end}; reading starts there"));
                }
                offset.clamp(beginning, end.max(beginning))
            }
        };
        let until = match range.until {
            Until::Never => i64::MAX,
            Until::End => end,
            Until::Offset(offset) => offset,
            Until::Time(_) => found(&stops_at, index).unwrap_or(end),
        };
        if start < until {
            places.push(Place { partition, start: Start::Offset(start), until });
        }
    }
    Ok(places)
}

/// For each partition the first offset that is not older than the time.
async fn at_time(
    handle: &ConsumerHandle,
    partitions: &[TopicPartition],
    time: i64,
) -> Result<Vec<Option<i64>>, Failure> {
    let times: Vec<_> = partitions.iter().map(|partition| (partition.clone(), time)).collect();
    let found = handle.offsets_for_times(&times).await?;
    Ok(found.into_iter().map(|(_, found)| found.map(|found| found.offset)).collect())
}

fn offset_of(offsets: &[(TopicPartition, i64)], index: usize) -> i64 {
    offsets.get(index).map_or(0, |(_, offset)| *offset)
}

fn found(offsets: &Option<Vec<Option<i64>>>, index: usize) -> Option<i64> {
    offsets.as_ref().and_then(|offsets| offsets.get(index).copied().flatten())
}
