//! API: Metadata (3)
//! Versions: 0-13
//! Behaviour: the brokers with the endpoints of the listener that was asked, and the topics asked for, by name or id. A
//! topic that is not there is created where both the request and `auto.create.topics.enable` allow it, and is in the
//! answer at once. A partition in a directory whose disk failed has no leader (`LEADER_NOT_AVAILABLE`) and its replica is
//! offline. There is no authorizer: everybody may do everything, and is told so where it is asked.
//! Deviations: Kafka answers the first question for a topic that it creates with an error and lets the client ask again.
//! KIPs: 4, 204, 290, 430, 516, 700

use std::sync::Arc;

use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::create_topics_request::CreatableTopic;
use rkafka_protocol::messages::metadata_request::MetadataRequestTopic;
use rkafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use rkafka_protocol::messages::{MetadataRequest, MetadataResponse};

use super::describe_cluster::CLUSTER_OPERATIONS;
use super::{HandlerError, RequestContext};
use crate::controller::{TopicImage, invalid_topic_name_reason, is_internal};
use crate::{BrokerState, InternalLog, MetadataImage};

/// What everybody may do with a topic, as bits by Kafka's numbers: READ, WRITE, CREATE, DELETE, ALTER, DESCRIBE,
/// DESCRIBE_CONFIGS, ALTER_CONFIGS.
pub(super) const TOPIC_OPERATIONS: i32 = 1 << 3 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 8 | 1 << 10 | 1 << 11;

/// The first version that answers topics that are asked for by id.
const FIRST_WITH_TOPIC_ID: i16 = 12;

/// Answers who the brokers are and where the partitions lie.
///
/// # Errors
/// None.
pub async fn handle(
    broker: &Arc<BrokerState>,
    context: &RequestContext,
    request: MetadataRequest,
    version: i16,
) -> Result<MetadataResponse, HandlerError> {
    let mut image = broker.image();
    let mut topics = match request.topics.as_deref() {
        // Version 0 has no null: there, no topic means every topic.
        None => all_topics(broker, &image),
        Some([]) if version == 0 => all_topics(broker, &image),
        // These versions have the field for an id, and no answer for it.
        Some(asked)
            if version < FIRST_WITH_TOPIC_ID
                && asked.iter().any(|asked| asked.name.is_none() || !asked.topic_id.is_nil()) =>
        {
            let refused = asked.iter().map(|asked| MetadataResponseTopic {
                error_code: ErrorCode::InvalidRequest.code(),
                name: Some(asked.name.clone().unwrap_or_default()),
                ..Default::default()
            });
            refused.collect()
        }
        Some(asked) => {
            let create = request.allow_auto_topic_creation && broker.config.auto_create_topics_enable;
            if create && create_missing(broker, &image, asked).await {
                image = broker.image();
            }
            asked.iter().map(|asked| answer(broker, &image, asked)).collect::<Vec<_>>()
        }
    };
    if request.include_topic_authorized_operations {
        for topic in topics.iter_mut().filter(|topic| topic.error_code == 0) {
            topic.topic_authorized_operations = TOPIC_OPERATIONS;
        }
    }
    let told = if request.include_cluster_authorized_operations { CLUSTER_OPERATIONS } else { i32::MIN };
    Ok(MetadataResponse {
        cluster_authorized_operations: told,
        brokers: brokers(broker, context, &image)
            .map(|(node_id, host, port, rack)| MetadataResponseBroker {
                node_id,
                host,
                port,
                rack,
                ..Default::default()
            })
            .collect(),
        cluster_id: Some(broker.cluster_id().to_owned()),
        controller_id: broker.any_active_broker(&image),
        topics,
        ..Default::default()
    })
}

/// The brokers as the clients of this listener find them: id, host, port, rack.
pub(super) fn brokers<'a>(
    broker: &'a BrokerState,
    context: &'a RequestContext,
    image: &'a MetadataImage,
) -> impl Iterator<Item = (i32, String, i32, Option<String>)> + 'a {
    let active = image.brokers().iter().filter(|(_, registered)| !registered.fenced);
    active.map(|(id, registered)| {
        let of_listener = registered.endpoints.iter().find(|it| *it.name == *context.listener);
        let (host, port) = match of_listener {
            Some(endpoint) if *id != broker.config.node_id => (endpoint.host.as_str(), endpoint.port),
            _ => broker.endpoint(&context.listener),
        };
        (*id, host.to_owned(), i32::from(port), registered.rack.clone())
    })
}

fn all_topics(broker: &BrokerState, image: &MetadataImage) -> Vec<MetadataResponseTopic> {
    image.topics().map(|topic| describe(broker, image, topic)).collect()
}

/// Creates the topics that are asked for by name and not there. Says whether there was one.
async fn create_missing(broker: &BrokerState, image: &MetadataImage, asked: &[MetadataRequestTopic]) -> bool {
    let missing = asked.iter().filter_map(|asked| asked.name.as_deref()).filter(|name| image.topic(name).is_none());
    let (internal, plain): (Vec<&str>, Vec<&str>) = missing.partition(|name| is_internal(name));
    for name in &internal {
        if let Err(error) = broker.ensure_internal_topic(name).await {
            tracing::warn!(topic = name, %error, "an internal topic was not made");
        }
    }
    let topics: Vec<CreatableTopic> = plain
        .iter()
        .map(|name| CreatableTopic {
            name: (*name).to_owned(),
            num_partitions: -1,
            replication_factor: -1,
            ..Default::default()
        })
        .collect();
    let creates = !(internal.is_empty() && topics.is_empty());
    if !topics.is_empty() {
        broker.create_topics_anywhere(topics).await;
    }
    creates
}

fn answer(broker: &BrokerState, image: &MetadataImage, asked: &MetadataRequestTopic) -> MetadataResponseTopic {
    // As in Kafka an id counts, whatever is said of the name beside it.
    let found = match (&asked.name, asked.topic_id.is_nil()) {
        (_, false) => image.topic_by_id(asked.topic_id),
        (Some(name), true) => image.topic(name),
        (None, true) => None,
    };
    let error = match (found, asked.name.as_deref()) {
        (Some(topic), _) => return describe(broker, image, topic),
        (None, Some(name)) if invalid_topic_name_reason(name).is_some() => ErrorCode::InvalidTopicException,
        (None, Some(_)) => ErrorCode::UnknownTopicOrPartition,
        (None, None) => ErrorCode::UnknownTopicId,
    };
    MetadataResponseTopic {
        error_code: error.code(),
        name: asked.name.clone(),
        topic_id: asked.topic_id,
        is_internal: asked.name.as_deref().is_some_and(is_internal),
        ..Default::default()
    }
}

fn describe(broker: &BrokerState, image: &MetadataImage, topic: &TopicImage) -> MetadataResponseTopic {
    MetadataResponseTopic {
        name: Some(topic.name.to_string()),
        topic_id: topic.id,
        is_internal: topic.is_internal(),
        partitions: (0..)
            .zip(&topic.partitions)
            .map(|(partition_index, partition)| {
                let is_offline = broker.dirs.is_offline(&topic.name, partition_index);
                // Of the disks of others this broker hears by the metadata.
                let is_lost = |id: &i32| match *id == broker.config.node_id {
                    true => is_offline,
                    false => image.broker(*id).is_none_or(|registered| registered.fenced),
                };
                let has_leader = partition.leader >= 0 && !is_lost(&partition.leader);
                let error = if has_leader { ErrorCode::None } else { ErrorCode::LeaderNotAvailable };
                MetadataResponsePartition {
                    error_code: error.code(),
                    partition_index,
                    leader_id: if has_leader { partition.leader } else { -1 },
                    leader_epoch: partition.leader_epoch,
                    replica_nodes: partition.replicas.clone(),
                    isr_nodes: partition.isr.clone(),
                    offline_replicas: partition.replicas.iter().filter(|id| is_lost(id)).copied().collect(),
                    ..Default::default()
                }
            })
            .collect(),
        ..Default::default()
    }
}
