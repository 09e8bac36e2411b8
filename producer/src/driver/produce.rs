//! The produce request and its answer.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use rkafka_client_core::{Broker, HostPort};
use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use rkafka_protocol::messages::produce_response::PartitionProduceResponse;
use rkafka_protocol::messages::{ProduceRequest, ProduceResponse};
use uuid::Uuid;

use crate::machine::batch::{Payload, PayloadBytes};
use crate::partition::Partition;
use crate::shared::Shared;

/// A batch in a request.
pub(super) struct Sent {
    pub(super) partition: Arc<Partition>,
    pub(super) id: u64,
    pub(super) payload: Arc<Payload>,
    /// When the batch's first record was accepted.
    pub(super) created: Instant,
    /// The topic's id as the request says it. The topic may be made anew before the answer comes.
    pub(super) topic_id: Uuid,
}

/// The first version that names topics by their ids (KIP-516).
const FIRST_WITH_TOPIC_ID: i16 = 13;

/// The first version by which the broker adds the partition to the transaction (KIP-890).
const FIRST_THAT_ADDS_PARTITIONS: i16 = 12;

/// The request, its batches by reference, and the newest version that can say it.
pub(super) fn request(shared: &Shared, batches: &[Sent]) -> (ProduceRequest, i16) {
    let mut topic_data: Vec<TopicProduceData> = Vec::with_capacity(1);
    let mut version_max = i16::MAX;
    for Sent { partition, payload, topic_id, .. } in batches {
        let data = PartitionProduceData {
            index: partition.index,
            records: Some(Bytes::from_owner(PayloadBytes(payload.clone()))),
            ..PartitionProduceData::default()
        };
        if let Some(topic) = topic_data.iter_mut().rev().find(|topic| topic.name == *partition.topic) {
            topic.partition_data.push(data);
            continue;
        }
        if topic_id.is_nil() {
            version_max = FIRST_WITH_TOPIC_ID - 1;
        }
        topic_data.push(TopicProduceData {
            name: partition.topic.to_string(),
            topic_id: *topic_id,
            partition_data: vec![data],
            ..TopicProduceData::default()
        });
    }
    if shared.coordination.as_ref().is_some_and(|coordination| !coordination.is_implicit()) {
        version_max = version_max.min(FIRST_THAT_ADDS_PARTITIONS - 1);
    }
    let request = ProduceRequest {
        transactional_id: shared.coordination.as_ref().map(|coordination| coordination.id.to_string()),
        acks: shared.config.acks.code(),
        timeout_ms: i32::try_from(shared.client.config().request_timeout.as_millis()).unwrap_or(i32::MAX),
        topic_data,
        ..ProduceRequest::default()
    };
    (request, version_max)
}

/// What the answer says of each batch, in their order. `None` where it says nothing.
pub(super) fn results<'r>(
    batches: &'r [Sent],
    response: &'r ProduceResponse,
) -> impl Iterator<Item = Option<&'r PartitionProduceResponse>> {
    let all = response
        .responses
        .iter()
        .flat_map(|topic| topic.partition_responses.iter().map(move |partition| (topic, partition)))
        .collect::<Vec<_>>();
    batches.iter().enumerate().map(move |(at, sent)| {
        let fits = |topic: &rkafka_protocol::messages::produce_response::TopicProduceResponse, index: i32| {
            index == sent.partition.index
                && if topic.name.is_empty() {
                    topic.topic_id == sent.topic_id
                } else {
                    topic.name == *sent.partition.topic
                }
        };
        // Brokers answer mostly in the order of the request.
        let same_place = all.get(at).filter(|(topic, partition)| fits(topic, partition.index));
        let found = same_place.or_else(|| all.iter().find(|(topic, partition)| fits(topic, partition.index)));
        found.map(|(_, partition)| *partition)
    })
}

/// Takes over the leader that a refusal names (KIP-951), or has the metadata fetched.
pub(super) fn learn_leader(
    shared: &Shared,
    partition: &Partition,
    response: &ProduceResponse,
    result: &PartitionProduceResponse,
) {
    let code = ErrorCode::from_code(result.error_code);
    if !code.is_stale_metadata() {
        return;
    }
    let endpoints = response
        .node_endpoints
        .iter()
        .filter_map(|node| {
            let port = u16::try_from(node.port).ok()?;
            Some(Broker::new(node.node_id, HostPort::new(&*node.host, port), node.rack.clone()))
        })
        .collect::<Vec<_>>();
    let leader = &result.current_leader;
    let known = leader.leader_id >= 0
        && shared.client.apply_leader_hint(
            &partition.topic,
            partition.index,
            leader.leader_id,
            leader.leader_epoch,
            &endpoints,
        );
    if !known {
        shared.client.invalidate(&partition.topic, partition.index);
    }
}
