//! API: OffsetCommit (8)
//! Versions: 2-10
//! Behaviour: answers once the offsets are in `__consumer_offsets`. A commit without a member is taken while the group
//! has none. Partitions that do not exist are refused one by one.
//! Deviations: none known.
//! KIPs: 211, 320, 345, 848, 1043

use std::sync::Arc;

use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::offset_commit_request::OffsetCommitRequestTopic;
use rkafka_protocol::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use rkafka_protocol::messages::{OffsetCommitRequest, OffsetCommitResponse};

use super::{HandlerError, RequestContext};
use crate::{BrokerState, MetadataImage};

/// The first version that names topics by their ids.
const FIRST_VERSION_WITH_TOPIC_IDS: i16 = 10;

/// Commits offsets.
///
/// # Errors
/// None; errors are in the answer.
pub async fn handle(
    broker: &Arc<BrokerState>,
    _context: &RequestContext,
    mut request: OffsetCommitRequest,
    version: i16,
) -> Result<OffsetCommitResponse, HandlerError> {
    let image = broker.image();
    let mut response = OffsetCommitResponse::default();
    let asked = std::mem::take(&mut request.topics);
    for topic in asked {
        let (known, refused) = sift(&image, topic, version);
        request.topics.extend(known);
        response.topics.extend(refused);
    }
    if !request.topics.is_empty() || response.topics.is_empty() {
        match broker.groups.commit(&**broker, &request, version).await {
            Ok(answered) => response.topics.extend(answered.topics),
            Err(error) => response.topics.extend(request.topics.iter().map(|topic| refuse(topic, error))),
        }
    }
    // A topic whose partitions exist in part was answered in two parts.
    response.topics.sort_by(|a, b| (&a.name, a.topic_id).cmp(&(&b.name, b.topic_id)));
    response.topics.dedup_by(|later, kept| {
        let same = later.name == kept.name && later.topic_id == kept.topic_id;
        if same {
            kept.partitions.append(&mut later.partitions);
        }
        same
    });
    Ok(response)
}

/// The part of a topic's request that can be committed, with the topic's name, and the answer to the part that cannot.
fn sift(
    image: &MetadataImage,
    mut topic: OffsetCommitRequestTopic,
    version: i16,
) -> (Option<OffsetCommitRequestTopic>, Option<OffsetCommitResponseTopic>) {
    let (found, error) = if version >= FIRST_VERSION_WITH_TOPIC_IDS {
        (image.topic_by_id(topic.topic_id), ErrorCode::UnknownTopicId)
    } else {
        (image.topic(&topic.name), ErrorCode::UnknownTopicOrPartition)
    };
    let Some(found) = found else { return (None, Some(refuse(&topic, error))) };
    topic.name = found.name.to_string();
    let partitions = std::mem::take(&mut topic.partitions);
    let (known, unknown) = partitions.into_iter().partition(|one| found.partition(one.partition_index).is_some());
    let refused = OffsetCommitRequestTopic { partitions: unknown, ..topic.clone() };
    let refused = Some(refused).filter(|topic| !topic.partitions.is_empty());
    topic.partitions = known;
    let known = Some(topic).filter(|topic| !topic.partitions.is_empty());
    (known, refused.map(|topic| refuse(&topic, ErrorCode::UnknownTopicOrPartition)))
}

fn refuse(topic: &OffsetCommitRequestTopic, error: ErrorCode) -> OffsetCommitResponseTopic {
    let one = |partition_index: i32| OffsetCommitResponsePartition {
        partition_index,
        error_code: error.code(),
        ..Default::default()
    };
    OffsetCommitResponseTopic {
        name: topic.name.clone(),
        topic_id: topic.topic_id,
        partitions: topic.partitions.iter().map(|partition| one(partition.partition_index)).collect(),
        ..Default::default()
    }
}
