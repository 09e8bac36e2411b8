//! API: FindCoordinator (10)
//! Versions: 0-6
//! Behaviour: a group, a transactional id, or a share group's partition (`group:topicId:partition`) is coordinated by the
//! leader of its partition of `__consumer_offsets`, `__transaction_state` or `__share_group_state`, which is told with
//! its address of the listener that was asked; the first question makes the topic.
//! Deviations: on a cluster of several nodes there are no share coordinators yet: `COORDINATOR_NOT_AVAILABLE`.
//! KIPs: 98, 699, 932

use std::sync::Arc;

use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::find_coordinator_response::Coordinator;
use rkafka_protocol::messages::{FindCoordinatorRequest, FindCoordinatorResponse};

use super::metadata::brokers;
use super::share_group_heartbeat::is_enabled;
use super::{HandlerError, RequestContext};
use crate::coordinator::partition_for;
use crate::coordinator::share::SHARE_STATE_TOPIC;
use crate::log::checkpoints::uuid_from_base64;
use crate::{BrokerState, MetadataImage, OFFSETS_TOPIC, TRANSACTIONS_TOPIC};

/// The first version that asks for several keys.
const FIRST_VERSION_WITH_KEYS: i16 = 4;
const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;
const SHARE: i8 = 2;

/// The first version that may ask for the share coordinator (KIP-932).
const FIRST_VERSION_WITH_SHARE: i16 = 6;

/// Answers who coordinates groups, transactional ids, or share groups' partitions.
///
/// # Errors
/// None; errors of keys are in the answer.
pub async fn handle(
    broker: &Arc<BrokerState>,
    context: &RequestContext,
    request: FindCoordinatorRequest,
    version: i16,
) -> Result<FindCoordinatorResponse, HandlerError> {
    let keys = if version >= FIRST_VERSION_WITH_KEYS { request.coordinator_keys } else { vec![request.key] };
    let readiness = readiness(broker, request.key_type, version).await;
    let image = broker.image();
    let one = |key: String| match find(broker, context, &image, &readiness, request.key_type, &key) {
        Ok((node_id, host, port)) => Coordinator { key, node_id, host, port, ..Default::default() },
        Err((error, message)) => Coordinator {
            key,
            node_id: -1,
            port: -1,
            error_code: error.code(),
            error_message: Some(message),
            ..Default::default()
        },
    };
    let mut coordinators: Vec<Coordinator> = keys.into_iter().map(one).collect();
    if version >= FIRST_VERSION_WITH_KEYS {
        return Ok(FindCoordinatorResponse { coordinators, ..Default::default() });
    }
    let only = coordinators.pop().unwrap_or_default();
    Ok(FindCoordinatorResponse {
        error_code: only.error_code,
        error_message: only.error_message,
        node_id: only.node_id,
        host: only.host,
        port: only.port,
        ..Default::default()
    })
}

/// Why a coordinator cannot be told.
type NoCoordinator = (ErrorCode, String);

/// The leader of the partition that is responsible for a key: id, host, port.
fn find(
    broker: &BrokerState,
    context: &RequestContext,
    image: &MetadataImage,
    readiness: &Result<(&'static str, i32), NoCoordinator>,
    key_type: i8,
    key: &str,
) -> Result<(i32, String, i32), NoCoordinator> {
    let (topic, count) = readiness.clone()?;
    // The keys of the share coordinator have a form.
    if key_type == SHARE && !is_share_key(key) {
        return Err((ErrorCode::InvalidRequest, format!("Invalid share coordinator key: {key}")));
    }
    let index = partition_for(key, count);
    let leader = image.topic(topic).and_then(|found| found.partition(index)).map(|partition| partition.leader);
    let found = brokers(broker, context, image).find(|(id, ..)| Some(*id) == leader);
    found.map(|(id, host, port, _)| (id, host, port)).ok_or_else(|| {
        (ErrorCode::CoordinatorNotAvailable, format!("no broker leads partition {index} of {topic} right now"))
    })
}

/// Whether a key is a group, the id of a topic and a partition. Groups may have colons in their names.
fn is_share_key(key: &str) -> bool {
    let mut parts = key.rsplitn(3, ':');
    let is_partition = parts.next().is_some_and(|text| text.parse::<i32>().is_ok_and(|number| number >= 0));
    let is_topic = parts.next().is_some_and(|text| uuid_from_base64(text).is_some());
    is_partition && is_topic && parts.next().is_some_and(|group_id| !group_id.is_empty())
}

/// The coordinator's topic, and how many partitions it has.
async fn readiness(broker: &BrokerState, key_type: i8, version: i16) -> Result<(&'static str, i32), NoCoordinator> {
    if key_type == SHARE && !broker.has_coordinators() {
        let message = "share groups are not there yet on a cluster of several nodes";
        return Err((ErrorCode::CoordinatorNotAvailable, message.to_owned()));
    }
    match key_type {
        GROUP => broker.groups.ensure_ready(broker).await.map(|count| (OFFSETS_TOPIC, count)).map_err(|error| {
            (error, "the topic __consumer_offsets could not be made; the broker's log says why".to_owned())
        }),
        TRANSACTION => {
            broker.transactions.ensure_ready(broker).await.map(|count| (TRANSACTIONS_TOPIC, count)).map_err(|error| {
                (error, "the topic __transaction_state could not be made; the broker's log says why".to_owned())
            })
        }
        SHARE if version < FIRST_VERSION_WITH_SHARE => {
            let message = format!("version {version} cannot ask for a share coordinator; version 6 can");
            Err((ErrorCode::InvalidRequest, message))
        }
        SHARE if !is_enabled(broker) => {
            let message = "this cluster has no share groups (share.version is 0)".to_owned();
            Err((ErrorCode::InvalidRequest, message))
        }
        SHARE => broker.shares.coordinator.ensure_ready(broker).await.map(|count| (SHARE_STATE_TOPIC, count)).map_err(
            |error| (error, "the topic __share_group_state could not be made; the broker's log says why".to_owned()),
        ),
        other => Err((ErrorCode::InvalidRequest, format!("there is no type of coordinator with the number {other}"))),
    }
}
