//! API: OffsetDelete (47)
//! Versions: 0
//! Behaviour: deletes committed offsets, but none of a topic that a member of the group subscribes to.
//! Deviations: none known.
//! KIPs: 496

use std::sync::Arc;

use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::offset_delete_response::{OffsetDeleteResponsePartition, OffsetDeleteResponseTopic};
use rkafka_protocol::messages::{OffsetDeleteRequest, OffsetDeleteResponse};

use super::{HandlerError, RequestContext};
use crate::BrokerState;

/// Deletes offsets.
///
/// # Errors
/// None; errors are in the answer.
pub async fn handle(
    broker: &Arc<BrokerState>,
    _context: &RequestContext,
    mut request: OffsetDeleteRequest,
    _version: i16,
) -> Result<OffsetDeleteResponse, HandlerError> {
    let image = broker.image();
    let mut refused = Vec::new();
    for topic in &mut request.topics {
        let exists = |index: i32| image.topic(&topic.name).is_some_and(|found| found.partition(index).is_some());
        let (known, unknown) = std::mem::take(&mut topic.partitions)
            .into_iter()
            .partition::<Vec<_>, _>(|partition| exists(partition.partition_index));
        topic.partitions = known;
        let error_code = ErrorCode::UnknownTopicOrPartition.code();
        let one = |partition_index| OffsetDeleteResponsePartition { partition_index, error_code };
        let partitions: Vec<_> = unknown.into_iter().map(|partition| one(partition.partition_index)).collect();
        refused.push(partitions);
    }
    match broker.groups.delete_offsets(&**broker, &request).await {
        Ok(mut response) => {
            for (topic, refused) in response.topics.iter_mut().zip(refused) {
                topic.partitions.extend(refused);
            }
            Ok(response)
        }
        Err(error) => Ok(OffsetDeleteResponse {
            error_code: error.code(),
            topics: Vec::<OffsetDeleteResponseTopic>::new(),
            ..Default::default()
        }),
    }
}
