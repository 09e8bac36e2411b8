//! Questions about offsets: ListOffsets to a leader, OffsetFetch to the group's coordinator.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use rkafka_client_core::{Error, Lane};
use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use rkafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use rkafka_protocol::messages::{ListOffsetsRequest, OffsetFetchRequest};

use crate::error::ConsumerError;
use crate::shared::Shared;
use crate::subscription::{CommittedOffset, TopicPartition};
use crate::wire;

/// The first version of OffsetFetch that asks for groups rather than for one.
const FIRST_VERSION_OF_GROUPS: i16 = 8;
/// Topics by name: OffsetFetch by ids begins with version 10.
const LAST_VERSION_BY_NAME: i16 = 9;

/// A question to a partition's leader.
#[derive(Debug, Clone)]
pub(crate) struct Query {
    pub(crate) topic: Arc<str>,
    pub(crate) partition: i32,
    pub(crate) leader_epoch: i32,
    pub(crate) timestamp: i64,
}

/// What the leader found.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found {
    pub(crate) offset: i64,
    pub(crate) timestamp: i64,
    pub(crate) leader_epoch: i32,
}

pub(crate) type Answers<T> = HashMap<(String, i32), Result<Option<T>, ErrorCode>>;

/// Asks one broker. Partitions must not repeat.
pub(crate) async fn list(shared: &Shared, broker: i32, queries: &[Query]) -> Result<Answers<Found>, Error> {
    let mut topics: BTreeMap<&str, Vec<ListOffsetsPartition>> = BTreeMap::new();
    for query in queries {
        topics.entry(&query.topic).or_default().push(ListOffsetsPartition {
            partition_index: query.partition,
            current_leader_epoch: query.leader_epoch,
            timestamp: query.timestamp,
            ..ListOffsetsPartition::default()
        });
    }
    let request = ListOffsetsRequest {
        replica_id: -1,
        isolation_level: shared.config.isolation_level.code(),
        topics: topics
            .into_iter()
            .map(|(name, partitions)| ListOffsetsTopic {
                name: name.to_owned(),
                partitions,
                ..ListOffsetsTopic::default()
            })
            .collect(),
        timeout_ms: i32::try_from(shared.config.client.request_timeout.as_millis()).unwrap_or(i32::MAX),
        ..ListOffsetsRequest::default()
    };
    let response = wire::broker_request(shared, broker, request).await?;
    let mut answers = HashMap::new();
    for topic in response.topics {
        for partition in topic.partitions {
            let answer = ErrorCode::check(partition.error_code).map(|()| {
                (partition.offset >= 0).then_some(Found {
                    offset: partition.offset,
                    timestamp: partition.timestamp,
                    leader_epoch: partition.leader_epoch,
                })
            });
            answers.insert((topic.name.clone(), partition.partition_index), answer);
        }
    }
    Ok(answers)
}

/// Asks the coordinator what the group has committed.
pub(crate) async fn committed(
    shared: &Shared,
    partitions: &[TopicPartition],
) -> Result<Answers<CommittedOffset>, ConsumerError> {
    let group_id = shared.group_id("asking for committed offsets")?.to_owned();
    let mut topics: BTreeMap<String, Vec<i32>> = BTreeMap::new();
    for place in partitions {
        topics.entry(place.topic.to_string()).or_default().push(place.partition);
    }
    let build = move |version: i16| {
        // Transactions that are not decided yet may hold offsets of this group: those are waited for (KIP-447).
        let mut request = OffsetFetchRequest { require_stable: version >= 7, ..OffsetFetchRequest::default() };
        if version >= FIRST_VERSION_OF_GROUPS {
            request.groups.push(OffsetFetchRequestGroup {
                group_id,
                topics: Some(
                    topics
                        .into_iter()
                        .map(|(name, partition_indexes)| OffsetFetchRequestTopics {
                            name,
                            partition_indexes,
                            ..OffsetFetchRequestTopics::default()
                        })
                        .collect(),
                ),
                ..OffsetFetchRequestGroup::default()
            });
        } else {
            request.group_id = group_id;
            request.topics = Some(
                topics
                    .into_iter()
                    .map(|(name, partition_indexes)| OffsetFetchRequestTopic {
                        name,
                        partition_indexes,
                        ..OffsetFetchRequestTopic::default()
                    })
                    .collect(),
            );
        }
        request
    };
    let client_error = |source| ConsumerError::Client { doing: "asking for committed offsets", source };
    let response = wire::coordinator_request(shared, Lane::Offsets, LAST_VERSION_BY_NAME, None, build)
        .await
        .map_err(client_error)?;
    let refused = |code: i16| {
        Error::check(code).map_err(|source| {
            if source.is_stale_metadata() {
                wire::forget_coordinator(shared);
            }
            client_error(source)
        })
    };
    refused(response.error_code)?;
    let mut answers = HashMap::new();
    let mut take = |topic: &str, partition: i32, code: i16, offset: i64, epoch: i32, metadata: Option<String>| {
        let answer = ErrorCode::check(code).map(|()| {
            (offset >= 0).then(|| {
                CommittedOffset::new(offset)
                    .with_leader_epoch(Some(epoch).filter(|epoch| *epoch >= 0))
                    .with_metadata(metadata.unwrap_or_default())
            })
        });
        answers.insert((topic.to_owned(), partition), answer);
    };
    for topic in response.topics {
        for one in topic.partitions {
            take(
                &topic.name,
                one.partition_index,
                one.error_code,
                one.committed_offset,
                one.committed_leader_epoch,
                one.metadata,
            );
        }
    }
    for group in response.groups {
        refused(group.error_code)?;
        for topic in group.topics {
            for one in topic.partitions {
                take(
                    &topic.name,
                    one.partition_index,
                    one.error_code,
                    one.committed_offset,
                    one.committed_leader_epoch,
                    one.metadata,
                );
            }
        }
    }
    Ok(answers)
}
