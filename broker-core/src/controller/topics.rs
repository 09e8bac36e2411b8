//! Decisions about topics: which records a request makes, and what it is answered. Nothing here changes anything.

use std::collections::{BTreeMap, BTreeSet};

use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use rkafka_protocol::messages::create_topics_request::{CreatableReplicaAssignment, CreatableTopic};
use rkafka_protocol::messages::delete_topics_request::DeleteTopicState;
use rkafka_protocol::messages::{ConfigRecord, PartitionRecord, RemoveTopicRecord, TopicRecord};
use uuid::Uuid;

use super::image::{ConfigResource, MetadataImage, NO_LEADER, TopicImage};
use super::placement::place;
use super::records::MetadataRecord;
use super::view::View;
use super::{Decision, Refusal, broker_config, topic_config, topic_name};

/// Kafka's limit on the partitions that one request may create.
const PARTITIONS_PER_REQUEST_MAX: usize = 10_000;

/// A topic that a request creates (or would create, when it only asks).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CreatedTopic {
    pub id: Uuid,
    pub partitions: i32,
    pub replication_factor: i16,
    pub configs: BTreeMap<String, String>,
}

fn refuse<T>(error: ErrorCode, message: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal { error, message: message.into() })
}

/// Decides about the topics of one CreateTopics request. `new_id` gives an id that no topic has had.
pub(crate) fn create(
    view: &View<'_>,
    topics: &[CreatableTopic],
    new_id: &mut dyn FnMut() -> Uuid,
) -> Decision<Vec<Result<CreatedTopic, Refusal>>> {
    let mut records = Vec::new();
    let mut replies = Vec::with_capacity(topics.len());
    let mut partitions_left = PARTITIONS_PER_REQUEST_MAX;
    let mut names: BTreeSet<&str> = BTreeSet::new();
    for topic in topics {
        let twice = topics.iter().filter(|other| other.name == topic.name).count() > 1;
        let reply = if twice {
            refuse(ErrorCode::InvalidRequest, "Duplicate topic name.")
        } else {
            check_name(view.image, &names, &topic.name).and_then(|()| plan(view, topic, new_id)).and_then(|plan| {
                match partitions_left.checked_sub(plan.replicas.len()) {
                    Some(left) => partitions_left = left,
                    None => {
                        return refuse(
                            ErrorCode::PolicyViolation,
                            "Excessively large number of partitions per request.",
                        );
                    }
                }
                Ok(plan)
            })
        };
        replies.push(reply.map(|Plan { id, replicas, configs }| {
            names.insert(&topic.name);
            records.extend(topic_records(view, &topic.name, id, &replicas, &configs));
            CreatedTopic {
                id,
                partitions: i32::try_from(replicas.len()).unwrap_or(i32::MAX),
                replication_factor: replicas.first().map_or(-1, |replicas| replicas.len() as i16),
                configs,
            }
        }));
    }
    Decision { records, reply: replies }
}

/// The records that make a topic.
pub(crate) fn topic_records(
    view: &View<'_>,
    name: &str,
    id: Uuid,
    replicas: &[Vec<i32>],
    configs: &BTreeMap<String, String>,
) -> Vec<MetadataRecord> {
    let mut records = Vec::with_capacity(1 + configs.len() + replicas.len());
    records.push(MetadataRecord::Topic(TopicRecord { name: name.to_owned(), topic_id: id, ..Default::default() }));
    records.extend(configs.iter().map(|(key, value)| {
        MetadataRecord::Config(ConfigRecord {
            resource_type: ConfigResource::Topic.number(),
            resource_name: name.to_owned(),
            name: key.clone(),
            value: Some(value.clone()),
            ..Default::default()
        })
    }));
    records.extend((0..).zip(replicas).map(|(index, replicas)| partition_record(view, id, index, replicas)));
    records
}

/// Those that can be in sync at once are so; the first of them leads.
fn in_sync(view: &View<'_>, replicas: &[i32]) -> Vec<i32> {
    replicas.iter().filter(|broker| view.is_active(**broker)).copied().collect()
}

fn partition_record(view: &View<'_>, topic_id: Uuid, partition_id: i32, replicas: &[i32]) -> MetadataRecord {
    let isr = in_sync(view, replicas);
    MetadataRecord::Partition(PartitionRecord {
        partition_id,
        topic_id,
        replicas: replicas.to_vec(),
        leader: isr.first().copied().unwrap_or(NO_LEADER),
        isr,
        leader_epoch: 0,
        partition_epoch: 0,
        directories: view.default_directories(replicas),
        ..Default::default()
    })
}

fn check_name(image: &MetadataImage, beside: &BTreeSet<&str>, name: &str) -> Result<(), Refusal> {
    if let Some(reason) = topic_name::invalid_reason(name) {
        return refuse(ErrorCode::InvalidTopicException, reason);
    }
    if name == "__cluster_metadata" {
        return refuse(ErrorCode::TopicAuthorizationFailed, "Topic __cluster_metadata belongs to the controller.");
    }
    if image.topic(name).is_some() {
        return refuse(ErrorCode::TopicAlreadyExists, format!("Topic '{name}' already exists."));
    }
    if topic_name::may_collide(name) {
        let known = image.topics().map(|topic| &*topic.name);
        if let Some(other) = known.chain(beside.iter().copied()).find(|other| topic_name::collides(name, other)) {
            return refuse(
                ErrorCode::InvalidTopicException,
                format!("Topic '{name}' collides with existing topic: {other}"),
            );
        }
    }
    Ok(())
}

/// A topic that can be made: its id, the replicas of each partition, and the settings.
struct Plan {
    id: Uuid,
    replicas: Vec<Vec<i32>>,
    configs: BTreeMap<String, String>,
}

fn plan(view: &View<'_>, topic: &CreatableTopic, new_id: &mut dyn FnMut() -> Uuid) -> Result<Plan, Refusal> {
    let image = view.image;
    let mut configs = BTreeMap::new();
    for config in &topic.configs {
        if let Err(reason) = topic_config::check(&config.name, config.value.as_deref()) {
            return refuse(ErrorCode::InvalidConfig, reason);
        }
        let value = config.value.clone().unwrap_or_default();
        if configs.insert(config.name.clone(), value).is_some() {
            return refuse(ErrorCode::InvalidRequest, format!("Duplicate config name: {}", config.name));
        }
    }
    let broker = broker_config::effective(view.config, image);
    topic_config::check_together(&broker, &configs).or_else(|reason| refuse(ErrorCode::InvalidConfig, reason))?;
    if !topic.assignments.is_empty() {
        if topic.replication_factor != -1 {
            return refuse(
                ErrorCode::InvalidRequest,
                "A manual partition assignment was specified, but replication factor was not set to -1.",
            );
        }
        if topic.num_partitions != -1 {
            return refuse(
                ErrorCode::InvalidRequest,
                "A manual partition assignment was specified, but numPartitions was not set to -1.",
            );
        }
        return Ok(Plan { id: new_id(), replicas: assigned_replicas(view, &topic.assignments)?, configs });
    }
    if topic.replication_factor < -1 || topic.replication_factor == 0 {
        return refuse(
            ErrorCode::InvalidReplicationFactor,
            "Replication factor must be larger than 0, or -1 to use the default value.",
        );
    }
    if topic.num_partitions < -1 || topic.num_partitions == 0 {
        return refuse(ErrorCode::InvalidPartitions, "Number of partitions was set to an invalid non-positive value.");
    }
    let partitions = if topic.num_partitions == -1 { view.config.num_partitions } else { topic.num_partitions };
    let partitions = usize::try_from(partitions).unwrap_or(1);
    if partitions > PARTITIONS_PER_REQUEST_MAX {
        return refuse(ErrorCode::PolicyViolation, "Excessively large number of partitions per request.");
    }
    let factor =
        if topic.replication_factor == -1 { view.config.default_replication_factor } else { topic.replication_factor };
    let id = new_id();
    let replicas = place(image, partitions, factor, seed_of(id, 0)).map_err(|refusal| Refusal {
        message: format!("Unable to replicate the partition {factor} time(s): {}", refusal.message),
        ..refusal
    })?;
    Ok(Plan { id, replicas, configs })
}

/// What the places of new partitions are drawn by: a topic's id is random, so that no other chance is needed.
pub(crate) fn seed_of(topic: Uuid, partitions: usize) -> u64 {
    let (high, low) = topic.as_u64_pair();
    high ^ low ^ u64::try_from(partitions).unwrap_or(0)
}

fn assigned_replicas(view: &View<'_>, assignments: &[CreatableReplicaAssignment]) -> Result<Vec<Vec<i32>>, Refusal> {
    let mut by_index: BTreeMap<i32, &[i32]> = BTreeMap::new();
    for assignment in assignments {
        if by_index.insert(assignment.partition_index, &assignment.broker_ids).is_some() {
            return refuse(
                ErrorCode::InvalidReplicaAssignment,
                format!("Found multiple manual partition assignments for partition {}", assignment.partition_index),
            );
        }
    }
    if !by_index.keys().copied().eq(0..i32::try_from(by_index.len()).unwrap_or(i32::MAX)) {
        return refuse(
            ErrorCode::InvalidReplicaAssignment,
            "partitions should be a consecutive 0-based integer sequence",
        );
    }
    let replicas: Vec<Vec<i32>> = by_index.values().map(|brokers| brokers.to_vec()).collect();
    let factor = replicas.first().map_or(0, Vec::len);
    check_assignment(view, &replicas, factor, 0)?;
    Ok(replicas)
}

/// Checks the replicas that somebody chose for the partitions from `first` on.
fn check_assignment(view: &View<'_>, assignment: &[Vec<i32>], factor: usize, first: usize) -> Result<(), Refusal> {
    for (index, replicas) in (first..).zip(assignment) {
        if !replicas.is_empty() && replicas.len() != factor {
            return refuse(
                ErrorCode::InvalidReplicaAssignment,
                format!(
                    "The manual partition assignment includes a partition with {} replica(s), but this is not \
                     consistent with previous partitions, which have {factor} replica(s).",
                    replicas.len()
                ),
            );
        }
        check_replicas(view.image, replicas)?;
        if in_sync(view, replicas).is_empty() {
            return refuse(
                ErrorCode::InvalidReplicaAssignment,
                format!(
                    "All brokers specified in the manual partition assignment for partition {index} are fenced or in \
                     controlled shutdown."
                ),
            );
        }
    }
    Ok(())
}

/// Checks that a partition can lie on these brokers.
///
/// # Errors
/// `INVALID_REPLICA_ASSIGNMENT`: there are none, one is named twice, or one is not registered.
pub(crate) fn check_replicas(image: &MetadataImage, replicas: &[i32]) -> Result<(), Refusal> {
    if replicas.is_empty() {
        return refuse(
            ErrorCode::InvalidReplicaAssignment,
            "The manual partition assignment includes an empty replica list.",
        );
    }
    let mut seen = BTreeSet::new();
    for broker in replicas {
        if !image.brokers().contains_key(broker) {
            return refuse(
                ErrorCode::InvalidReplicaAssignment,
                format!("The manual partition assignment includes broker {broker}, but no such broker is registered."),
            );
        }
        if !seen.insert(broker) {
            return refuse(
                ErrorCode::InvalidReplicaAssignment,
                format!("The manual partition assignment includes the broker {broker} more than once."),
            );
        }
    }
    Ok(())
}

/// Decides about the topics of one CreatePartitions request.
pub(crate) fn create_partitions(
    view: &View<'_>,
    topics: &[CreatePartitionsTopic],
) -> Decision<Vec<Result<(), Refusal>>> {
    let mut records = Vec::new();
    let reply = topics
        .iter()
        .map(|request| {
            if topics.iter().filter(|other| other.name == request.name).count() > 1 {
                return refuse(ErrorCode::InvalidRequest, "Duplicate topic name.");
            }
            let (topic, added) = plan_partitions(view, request)?;
            let first = i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX);
            records.extend(
                (first..).zip(&added).map(|(index, replicas)| partition_record(view, topic.id, index, replicas)),
            );
            Ok(())
        })
        .collect();
    Decision { records, reply }
}

fn plan_partitions<'a>(
    view: &View<'a>,
    request: &CreatePartitionsTopic,
) -> Result<(&'a TopicImage, Vec<Vec<i32>>), Refusal> {
    let Some(topic) = view.image.topic(&request.name) else {
        return refuse(ErrorCode::UnknownTopicOrPartition, ErrorCode::UnknownTopicOrPartition.message());
    };
    let present = topic.partitions.len();
    let wanted = usize::try_from(request.count).unwrap_or(0);
    if wanted == present {
        return refuse(ErrorCode::InvalidPartitions, format!("Topic already has {present} partition(s)."));
    }
    let Some(more) = wanted.checked_sub(present) else {
        return refuse(
            ErrorCode::InvalidPartitions,
            format!(
                "The topic {} currently has {present} partition(s); {} would not be an increase.",
                request.name, request.count
            ),
        );
    };
    if more > PARTITIONS_PER_REQUEST_MAX {
        return refuse(ErrorCode::PolicyViolation, "Excessively large number of partitions per request.");
    }
    let factor = topic.partitions.first().map_or(1, |partition| partition.replicas.len());
    let added = match &request.assignments {
        None => place(view.image, more, i16::try_from(factor).unwrap_or(i16::MAX), seed_of(topic.id, present))?,
        Some(assignments) if assignments.len() != more => {
            return refuse(
                ErrorCode::InvalidReplicaAssignment,
                format!(
                    "Attempted to add {more} additional partition(s), but only {} assignment(s) were specified.",
                    assignments.len()
                ),
            );
        }
        Some(assignments) => {
            let added: Vec<Vec<i32>> = assignments.iter().map(|assignment| assignment.broker_ids.clone()).collect();
            check_assignment(view, &added, factor, present)?;
            added
        }
    };
    Ok((topic, added))
}

/// What became of one topic of a DeleteTopics request. The name and the id are as far as they are known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DeletedTopic {
    pub name: Option<String>,
    pub id: Uuid,
    pub result: Result<(), Refusal>,
}

/// Decides about the topics of one DeleteTopics request.
pub(crate) fn delete(image: &MetadataImage, topics: &[DeleteTopicState]) -> Decision<Vec<DeletedTopic>> {
    let mut doomed: BTreeSet<Uuid> = BTreeSet::new();
    let mut records = Vec::new();
    let reply = topics
        .iter()
        .map(|asked| {
            let answer = |result| DeletedTopic { name: asked.name.clone(), id: asked.topic_id, result };
            let topic = match (&asked.name, asked.topic_id.is_nil()) {
                (Some(_), false) => {
                    let message = "You may not specify both topic name and topic id.";
                    return answer(refuse(ErrorCode::InvalidRequest, message));
                }
                (None, true) => {
                    return answer(refuse(ErrorCode::InvalidRequest, "Neither topic name nor id were specified."));
                }
                (Some(name), true) => image.topic(name),
                (None, false) => image.topic_by_id(asked.topic_id),
            };
            let Some(topic) = topic else {
                let error =
                    if asked.name.is_some() { ErrorCode::UnknownTopicOrPartition } else { ErrorCode::UnknownTopicId };
                return answer(refuse(error, error.message()));
            };
            let result = if doomed.insert(topic.id) {
                records
                    .push(MetadataRecord::RemoveTopic(RemoveTopicRecord { topic_id: topic.id, ..Default::default() }));
                Ok(())
            } else {
                refuse(ErrorCode::InvalidRequest, "The topic is in the request more than once.")
            };
            DeletedTopic { name: Some(topic.name.to_string()), id: topic.id, result }
        })
        .collect();
    Decision { records, reply }
}
