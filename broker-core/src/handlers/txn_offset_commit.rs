//! API: TxnOffsetCommit (28)
//! Versions: 0-5
//! Behaviour: writes the offsets to `__consumer_offsets` in the producer's transaction; they count once its marker
//! commits them. The member that commits is checked from version 3 on. Partitions that do not exist are refused one by
//! one.
//! Deviations: none known.
//! KIPs: 98, 320, 447, 890

use std::sync::Arc;

use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::txn_offset_commit_request::TxnOffsetCommitRequestTopic;
use rkafka_protocol::messages::txn_offset_commit_response::{
    TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};
use rkafka_protocol::messages::{TxnOffsetCommitRequest, TxnOffsetCommitResponse};

use super::{HandlerError, RequestContext};
use crate::coordinator::append_error;
use crate::{BrokerState, MetadataImage, OFFSETS_TOPIC};

/// The first version whose producers know that a coordinator may be loading; those before would give up their
/// transaction (KAFKA-7296).
const FIRST_VERSION_WITH_LOADING: i16 = 2;

/// The first version that adds the partition of the offsets to the transaction, rather than relying on AddOffsetsToTxn
/// (KIP-890).
const FIRST_VERSION_WITH_IMPLICIT_ADD: i16 = 5;

/// Commits offsets in a transaction.
///
/// # Errors
/// None; errors are in the answer.
pub async fn handle(
    broker: &Arc<BrokerState>,
    _context: &RequestContext,
    mut request: TxnOffsetCommitRequest,
    version: i16,
) -> Result<TxnOffsetCommitResponse, HandlerError> {
    let image = broker.image();
    let mut refused = Vec::new();
    for topic in &mut request.topics {
        refused.push(refuse_unknown(&image, topic));
    }
    let has_known = request.topics.iter().any(|topic| !topic.partitions.is_empty());
    let answered = if has_known || request.topics.is_empty() {
        commit(broker, &request, version).await
    } else {
        Ok(TxnOffsetCommitResponse::default())
    };
    let mut topics = Vec::with_capacity(request.topics.len());
    for (topic, refused) in request.topics.iter().zip(refused) {
        let found = answered.as_ref().map(|answered| answered.topics.iter().find(|one| one.name == topic.name));
        let mut partitions = match found {
            Ok(found) => found.map(|found| found.partitions.clone()).unwrap_or_default(),
            Err(error) => topic.partitions.iter().map(|one| answer(one.partition_index, *error)).collect(),
        };
        partitions.extend(refused);
        topics.push(TxnOffsetCommitResponseTopic { name: topic.name.clone(), partitions, ..Default::default() });
    }
    Ok(TxnOffsetCommitResponse { topics, ..Default::default() })
}

async fn commit(
    broker: &Arc<BrokerState>,
    request: &TxnOffsetCommitRequest,
    version: i16,
) -> Result<TxnOffsetCommitResponse, ErrorCode> {
    let result = match broker.groups.partition_of(&**broker, &request.group_id) {
        Ok(partition) => begin(broker, request, partition, version).await,
        Err(error) => Err(error),
    };
    result.map_err(|error| match error {
        ErrorCode::CoordinatorLoadInProgress if version < FIRST_VERSION_WITH_LOADING => {
            ErrorCode::CoordinatorNotAvailable
        }
        other => other,
    })
}

async fn begin(
    broker: &Arc<BrokerState>,
    request: &TxnOffsetCommitRequest,
    partition: i32,
    version: i16,
) -> Result<TxnOffsetCommitResponse, ErrorCode> {
    let guard = broker.partition(OFFSETS_TOPIC, partition).and_then(|found| {
        let supports_epoch_bump = version >= FIRST_VERSION_WITH_IMPLICIT_ADD;
        let now_ms = broker.clock.now_ms();
        found.begin_verification(request.producer_id, request.producer_epoch, -1, supports_epoch_bump, now_ms)
    });
    let guard = guard.map_err(append_error)?;
    broker.groups.commit_in_transaction(&**broker, request, version, guard).await
}

/// Takes the partitions that do not exist out of a topic, and answers them.
fn refuse_unknown(
    image: &MetadataImage,
    topic: &mut TxnOffsetCommitRequestTopic,
) -> Vec<TxnOffsetCommitResponsePartition> {
    let found = image.topic(&topic.name);
    let exists = |index| found.is_some_and(|found| found.partition(index).is_some());
    let (known, unknown) = std::mem::take(&mut topic.partitions)
        .into_iter()
        .partition::<Vec<_>, _>(|partition| exists(partition.partition_index));
    topic.partitions = known;
    unknown.iter().map(|one| answer(one.partition_index, ErrorCode::UnknownTopicOrPartition)).collect()
}

fn answer(partition_index: i32, error: ErrorCode) -> TxnOffsetCommitResponsePartition {
    TxnOffsetCommitResponsePartition { partition_index, error_code: error.code(), ..Default::default() }
}
