//! Questions about offsets: ListOffsets and OffsetForLeaderEpoch to a leader, OffsetFetch to the group's coordinator.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use rkafka_client_core::{Error, ErrorKind, Lane, Target};
use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use rkafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use rkafka_protocol::messages::offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use rkafka_protocol::messages::{ListOffsetsRequest, OffsetFetchRequest, OffsetForLeaderEpochRequest};

use super::topic_ids::TopicIds;
use crate::config::GroupProtocol;
use crate::error::ConsumerError;
use crate::machine::positions::{EARLIEST_LOCAL_TIMESTAMP, LATEST_TIERED_TIMESTAMP, MAX_TIMESTAMP};
use crate::shared::Shared;
use crate::subscription::{CommittedOffset, TopicPartition};
use crate::wire;

/// The first version of OffsetFetch that asks for groups rather than for one.
const FIRST_VERSION_OF_GROUPS: i16 = 8;
/// The first version in which a member of KIP-848 says who asks.
const FIRST_VERSION_OF_MEMBERS: i16 = 9;

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

/// A question to a partition's leader: where does an epoch end in its log?
#[derive(Debug, Clone)]
pub(crate) struct EpochQuery {
    pub(crate) topic: Arc<str>,
    pub(crate) partition: i32,
    /// The epoch of the leader that is asked.
    pub(crate) leader_epoch: i32,
    /// The epoch whose end is asked for.
    pub(crate) epoch: i32,
}

type Answer<T> = Result<Option<T>, ErrorCode>;

/// What was answered, by topic and partition: something, nothing, or an error.
#[derive(Debug)]
pub(crate) struct Answers<T>(HashMap<String, HashMap<i32, Answer<T>>>);

impl<T> Answers<T> {
    fn new() -> Self {
        Self(HashMap::new())
    }

    fn insert(&mut self, topic: &str, partition: i32, answer: Answer<T>) {
        match self.0.get_mut(topic) {
            Some(partitions) => drop(partitions.insert(partition, answer)),
            None => drop(self.0.insert(topic.to_owned(), HashMap::from([(partition, answer)]))),
        }
    }

    pub(crate) fn get(&self, topic: &str, partition: i32) -> Option<&Answer<T>> {
        self.0.get(topic)?.get(&partition)
    }

    pub(crate) fn remove(&mut self, topic: &str, partition: i32) -> Option<Answer<T>> {
        self.0.get_mut(topic)?.remove(&partition)
    }

    /// Adds the answers of another broker.
    pub(crate) fn extend(&mut self, others: Self) {
        for (topic, partitions) in others.0 {
            self.0.entry(topic).or_default().extend(partitions);
        }
    }

    pub(crate) fn map<U>(self, to: impl Fn(T) -> U + Copy) -> Answers<U> {
        let partitions = |partitions: HashMap<i32, Answer<T>>| {
            partitions.into_iter().map(|(partition, answer)| (partition, answer.map(|found| found.map(to)))).collect()
        };
        Answers(self.0.into_iter().map(|(topic, of_topic)| (topic, partitions(of_topic))).collect())
    }
}

impl<T> Default for Answers<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// The version of ListOffsets from which on a timestamp has a meaning of its own, and what that is.
fn least_version(timestamp: i64) -> Option<(i16, &'static str)> {
    match timestamp {
        MAX_TIMESTAMP => Some((7, "records with the largest timestamp (KIP-734, Kafka 3.0)")),
        EARLIEST_LOCAL_TIMESTAMP => Some((8, "the earliest offsets on its own disks (KIP-405, Kafka 3.6)")),
        LATEST_TIERED_TIMESTAMP => Some((9, "the last offsets in remote storage (KIP-1005, Kafka 3.9)")),
        _ => None,
    }
}

/// Asks one broker. Partitions must not repeat. A broker that is too old for a question is not asked.
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
    if let Some((least, what)) = queries.iter().filter_map(|query| least_version(query.timestamp)).max() {
        let connection = shared.client.connection(&Target::Node(broker), Lane::Control).await?;
        let version = connection.versions().highest::<ListOffsetsRequest>(i16::MAX)?;
        if version < least {
            let reason = format!(
                "broker {broker} cannot be asked for {what}: that is ListOffsets {least}, and it knows {version}"
            );
            return Err(Error::new(ErrorKind::UnsupportedVersion, reason));
        }
    }
    let response = wire::broker_request(shared, broker, request).await?;
    let mut answers = Answers::new();
    for topic in response.topics {
        for partition in topic.partitions {
            let answer = ErrorCode::check(partition.error_code).map(|()| {
                (partition.offset >= 0).then_some(Found {
                    offset: partition.offset,
                    timestamp: partition.timestamp,
                    leader_epoch: partition.leader_epoch,
                })
            });
            answers.insert(&topic.name, partition.partition_index, answer);
        }
    }
    Ok(answers)
}

/// The version from which on a consumer may ask for the ends of epochs: before, only brokers might.
const FIRST_EPOCH_VERSION_OF_CONSUMERS: i16 = 3;

/// Asks one broker where epochs end in its log: the end offset, and the epoch that ends there. Partitions must not repeat.
/// A broker that is too old says `UNSUPPORTED_VERSION` of each.
pub(crate) async fn ends_of_epochs(
    shared: &Shared,
    broker: i32,
    queries: &[EpochQuery],
) -> Result<Answers<(i64, i32)>, Error> {
    let mut answers = Answers::new();
    let connection = shared.client.connection(&Target::Node(broker), Lane::Control).await?;
    let version = connection.versions().highest::<OffsetForLeaderEpochRequest>(i16::MAX);
    let version = match version {
        Ok(version) if version >= FIRST_EPOCH_VERSION_OF_CONSUMERS => version,
        _ => {
            for query in queries {
                answers.insert(&query.topic, query.partition, Err(ErrorCode::UnsupportedVersion));
            }
            return Ok(answers);
        }
    };
    let mut topics: BTreeMap<&str, Vec<OffsetForLeaderPartition>> = BTreeMap::new();
    for query in queries {
        topics.entry(&query.topic).or_default().push(OffsetForLeaderPartition {
            partition: query.partition,
            current_leader_epoch: query.leader_epoch,
            leader_epoch: query.epoch,
            ..OffsetForLeaderPartition::default()
        });
    }
    let request = OffsetForLeaderEpochRequest {
        replica_id: -1,
        topics: topics
            .into_iter()
            .map(|(topic, partitions)| OffsetForLeaderTopic {
                topic: topic.to_owned(),
                partitions,
                ..OffsetForLeaderTopic::default()
            })
            .collect(),
        ..OffsetForLeaderEpochRequest::default()
    };
    let response = connection.request(request, version, shared.config.client.request_timeout).await?;
    for topic in response.topics {
        for one in topic.partitions {
            let answer = ErrorCode::check(one.error_code)
                .map(|()| (one.end_offset >= 0 && one.leader_epoch >= 0).then_some((one.end_offset, one.leader_epoch)));
            answers.insert(&topic.topic, one.partition, answer);
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
    let ids = TopicIds::of(shared, topics.keys().map(String::as_str));
    let of_topics = ids.clone();
    let member = shared.lock().identity.clone();
    let is_consumer_protocol = shared.config.group_protocol == GroupProtocol::Consumer;
    let build = move |version: i16| {
        // Transactions that are not decided yet may hold offsets of this group: those are waited for (KIP-447).
        let mut request = OffsetFetchRequest { require_stable: version >= 7, ..OffsetFetchRequest::default() };
        if version >= FIRST_VERSION_OF_GROUPS {
            // A member of KIP-848 says so, so that the coordinator can tell that it is behind.
            let (member_epoch, member_id) = match member {
                Some((epoch, member_id)) if is_consumer_protocol && version >= FIRST_VERSION_OF_MEMBERS => {
                    (epoch, Some(member_id))
                }
                _ => (-1, None),
            };
            request.groups.push(OffsetFetchRequestGroup {
                group_id,
                member_id,
                member_epoch,
                topics: Some(
                    topics
                        .into_iter()
                        .map(|(name, partition_indexes)| OffsetFetchRequestTopics {
                            topic_id: of_topics.id(&name),
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
    let response =
        wire::coordinator_request(shared, Lane::Offsets, ids.max_version(), None, build).await.map_err(client_error)?;
    let refused = |code: i16| {
        Error::check(code).map_err(|source| {
            if source.is_stale_metadata() {
                wire::forget_coordinator(shared);
            }
            client_error(source)
        })
    };
    refused(response.error_code)?;
    let mut answers = Answers::new();
    let mut take = |topic: &str, partition: i32, code: i16, offset: i64, epoch: i32, metadata: Option<String>| {
        let answer = ErrorCode::check(code).map(|()| {
            (offset >= 0).then(|| {
                CommittedOffset::new(offset)
                    .with_leader_epoch(Some(epoch).filter(|epoch| *epoch >= 0))
                    .with_metadata(metadata.unwrap_or_default())
            })
        });
        answers.insert(topic, partition, answer);
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
                    ids.name(&topic.name, topic.topic_id),
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
