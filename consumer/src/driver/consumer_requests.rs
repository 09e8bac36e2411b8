//! The requests of a member by the protocol of consumer groups (KIP-848).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rkafka_client_core::{Lane, Topics};
use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::ConsumerGroupHeartbeatRequest;
use rkafka_protocol::messages::consumer_group_heartbeat_request::TopicPartitions;
use uuid::Uuid;

use super::classic_requests::{failure, group_id, millis, refusal};
use crate::machine::membership::Failure;
use crate::machine::membership::terms::{Beat, BeatAnswer};
use crate::shared::Shared;
use crate::wire;

/// The first version with patterns.
const FIRST_VERSION_WITH_PATTERN: i16 = 1;

/// What to do where the brokers do not know the protocol.
const UNSUPPORTED: &str = "the brokers do not offer group.protocol=consumer (KIP-848): set group.protocol=classic, or use brokers of Kafka 4.0 or newer";
const UNSUPPORTED_PATTERN: &str = "the brokers do not take patterns under group.protocol=consumer (ConsumerGroupHeartbeat version 1): subscribe to topics by name, set group.protocol=classic, or use brokers of Kafka 4.0 or newer";

/// Sends a beat.
pub(crate) async fn beat(shared: &Shared, beat: Beat) -> Result<BeatAnswer, Failure> {
    let config = &shared.config;
    let asks_for_pattern = beat.pattern.is_some();
    let build = |version: i16| ConsumerGroupHeartbeatRequest {
        group_id: group_id(shared),
        member_id: beat.member_id,
        member_epoch: beat.epoch,
        instance_id: config.group_instance_id.clone(),
        rack_id: config.client.client_rack.clone().filter(|_| beat.full),
        rebalance_timeout_ms: if beat.full { millis(config.max_poll_interval) } else { -1 },
        subscribed_topic_names: beat.topics,
        // Where it is too old for one, taking back a pattern is nothing to tell, and another fails to encode.
        subscribed_topic_regex: beat
            .pattern
            .filter(|pattern| version >= FIRST_VERSION_WITH_PATTERN || !pattern.is_empty()),
        server_assignor: config.group_remote_assignor.clone().filter(|_| beat.full),
        topic_partitions: beat.owned.map(|owned| {
            owned
                .into_iter()
                .map(|(topic_id, partitions)| TopicPartitions { topic_id, partitions, ..TopicPartitions::default() })
                .collect()
        }),
        ..ConsumerGroupHeartbeatRequest::default()
    };
    let unsupported = if asks_for_pattern { UNSUPPORTED_PATTERN } else { UNSUPPORTED };
    let response = wire::coordinator_request(shared, Lane::Offsets, i16::MAX, None, build)
        .await
        .map_err(|error| explained(failure(shared, &error), None, unsupported))?;
    refusal(shared, response.error_code, None)
        .map_err(|failure| explained(failure, response.error_message.as_deref(), unsupported))?;
    Ok(BeatAnswer {
        member_id: response.member_id,
        epoch: response.member_epoch,
        interval: Duration::from_millis(u64::try_from(response.heartbeat_interval_ms).unwrap_or_default()),
        assignment: response.assignment.map(|assignment| {
            let mut places: BTreeMap<Uuid, Vec<i32>> = BTreeMap::new();
            for topic in assignment.topic_partitions {
                places.entry(topic.topic_id).or_default().extend(topic.partitions);
            }
            places
        }),
    })
}

/// Adds what the broker says, or where it knows no such request, what is to be done.
fn explained(failure: Failure, said: Option<&str>, unsupported: &str) -> Failure {
    match failure {
        Failure::Refused { code, member_id, .. } => {
            let what_to_do = (code == ErrorCode::UnsupportedVersion).then_some(unsupported);
            Failure::Refused { code, member_id, message: said.or(what_to_do).map(str::to_owned) }
        }
        Failure::Lost => Failure::Lost,
    }
}

/// Tells the coordinator of the leaving.
pub(crate) async fn leave(shared: &Shared, member_id: String, epoch: i32) -> Result<(), Failure> {
    let build = |_version: i16| ConsumerGroupHeartbeatRequest {
        group_id: group_id(shared),
        member_id,
        member_epoch: epoch,
        instance_id: shared.config.group_instance_id.clone(),
        rebalance_timeout_ms: -1,
        ..ConsumerGroupHeartbeatRequest::default()
    };
    let response = wire::coordinator_request(shared, Lane::Offsets, i16::MAX, None, build).await.map_err(|error| {
        tracing::debug!(%error, "the group was not told that the member leaves; it will see by the session timeout");
        failure(shared, &error)
    })?;
    refusal(shared, response.error_code, None)
}

/// The names of topics, as far as they are known.
pub(crate) async fn names(shared: &Shared, ids: Vec<Uuid>) -> Vec<(Uuid, Arc<str>)> {
    let mut cluster = shared.client.cluster();
    if ids.iter().any(|id| cluster.topic_by_id(*id).is_none()) {
        match shared.client.refresh(Topics::Ids(ids.clone())).await {
            Ok(fresh) => cluster = fresh,
            Err(error) => tracing::debug!(%error, "the names of assigned topics are asked for again"),
        }
    }
    let name = |id: &Uuid| cluster.topic_by_id(*id).map(|topic| (*id, Arc::from(topic.name.as_str())));
    ids.iter().filter_map(name).collect()
}
