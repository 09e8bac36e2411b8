//! API: OffsetFetch (9)
//! Versions: 1-10
//! Behaviour: committed offsets of one group, or of several from version 8 on; of all topics where none are named. A
//! partition without a commit is answered with offset -1, whether or not it exists.
//! Deviations: none known.
//! KIPs: 88, 320, 447, 709, 848

use std::sync::Arc;

use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use rkafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions, OffsetFetchResponseTopic,
    OffsetFetchResponseTopics,
};
use rkafka_protocol::messages::{OffsetFetchRequest, OffsetFetchResponse};

use super::{HandlerError, RequestContext};
use crate::{BrokerState, MetadataImage};

/// The first version that can say that the whole request failed.
const FIRST_VERSION_WITH_ERROR: i16 = 2;
/// The first version that asks for several groups.
const FIRST_VERSION_WITH_GROUPS: i16 = 8;
/// The first version that names topics by their ids.
const FIRST_VERSION_WITH_TOPIC_IDS: i16 = 10;

/// Answers committed offsets.
///
/// # Errors
/// None; errors are in the answer.
pub async fn handle(
    broker: &Arc<BrokerState>,
    _context: &RequestContext,
    request: OffsetFetchRequest,
    version: i16,
) -> Result<OffsetFetchResponse, HandlerError> {
    if version >= FIRST_VERSION_WITH_GROUPS {
        let image = broker.image();
        let mut groups = Vec::new();
        for group in request.groups {
            groups.push(fetch(broker, &image, group, request.require_stable, version).await);
        }
        return Ok(OffsetFetchResponse { groups, ..Default::default() });
    }
    let topics = request.topics.map(|topics| {
        let one = |topic: rkafka_protocol::messages::offset_fetch_request::OffsetFetchRequestTopic| {
            OffsetFetchRequestTopics {
                name: topic.name,
                partition_indexes: topic.partition_indexes,
                ..Default::default()
            }
        };
        topics.into_iter().map(one).collect()
    });
    let asked = OffsetFetchRequestGroup { group_id: request.group_id, topics, ..Default::default() };
    let group = fetch(broker, &broker.image(), asked, request.require_stable, version).await;
    let error_code = if version >= FIRST_VERSION_WITH_ERROR { group.error_code } else { 0 };
    Ok(OffsetFetchResponse {
        error_code,
        topics: group.topics.into_iter().map(old_topic).collect(),
        ..Default::default()
    })
}

async fn fetch(
    broker: &Arc<BrokerState>,
    image: &MetadataImage,
    mut group: OffsetFetchRequestGroup,
    require_stable: bool,
    version: i16,
) -> OffsetFetchResponseGroup {
    let mut refused = Vec::new();
    if version >= FIRST_VERSION_WITH_TOPIC_IDS
        && let Some(topics) = &mut group.topics
    {
        topics.retain_mut(|topic| match image.topic_by_id(topic.topic_id) {
            Some(found) => {
                topic.name = found.name.to_string();
                true
            }
            None => {
                refused.push(failed(topic, ErrorCode::UnknownTopicId));
                false
            }
        });
    }
    let mut answered = match broker.groups.fetch_offsets(&**broker, &group, require_stable).await {
        Ok(answered) => answered,
        Err(error) => {
            let topics = group.topics.iter().flatten().map(|topic| failed(topic, error)).collect();
            let error_code = error.code();
            OffsetFetchResponseGroup { group_id: group.group_id, topics, error_code, ..Default::default() }
        }
    };
    if version >= FIRST_VERSION_WITH_TOPIC_IDS && group.topics.is_none() {
        // All topics were asked for, and are answered by ids; one that was deleted has none any more.
        answered.topics.retain_mut(|topic| {
            let found = image.topic(&topic.name);
            found.inspect(|found| topic.topic_id = found.id).is_some()
        });
    }
    answered.topics.extend(refused);
    answered
}

fn failed(topic: &OffsetFetchRequestTopics, error: ErrorCode) -> OffsetFetchResponseTopics {
    let one = |partition_index: i32| OffsetFetchResponsePartitions {
        partition_index,
        committed_offset: -1,
        committed_leader_epoch: -1,
        metadata: Some(String::new()),
        error_code: error.code(),
        ..Default::default()
    };
    OffsetFetchResponseTopics {
        name: topic.name.clone(),
        topic_id: topic.topic_id,
        partitions: topic.partition_indexes.iter().map(|index| one(*index)).collect(),
        ..Default::default()
    }
}

fn old_topic(topic: OffsetFetchResponseTopics) -> OffsetFetchResponseTopic {
    let one = |partition: OffsetFetchResponsePartitions| OffsetFetchResponsePartition {
        partition_index: partition.partition_index,
        committed_offset: partition.committed_offset,
        committed_leader_epoch: partition.committed_leader_epoch,
        metadata: partition.metadata,
        error_code: partition.error_code,
        ..Default::default()
    };
    OffsetFetchResponseTopic {
        name: topic.name,
        partitions: topic.partitions.into_iter().map(one).collect(),
        ..Default::default()
    }
}
