//! API: TxnOffsetCommit (28)
//! Versions: 0-5
//! Behaviour: writes the offsets to `__consumer_offsets` in the producer's transaction; they count once its marker
//! commits them. From version 5 on that adds the partition of `__consumer_offsets` to the transaction, before it must
//! have been added. The member that commits is checked from version 3 on. Partitions that do not exist are refused one
//! by one.
//! Deviations: none known.
//! KIPs: 98, 320, 447, 890

use std::collections::BTreeSet;
use std::sync::Arc;

use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::txn_offset_commit_request::TxnOffsetCommitRequestTopic;
use rkafka_protocol::messages::txn_offset_commit_response::{
    TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};
use rkafka_protocol::messages::{TxnOffsetCommitRequest, TxnOffsetCommitResponse};
use rkafka_protocol::records::NO_SEQUENCE;

use super::{HandlerError, RequestContext};
use crate::coordinator::append_error;
use crate::coordinator::transaction::{ProducerIdentity, TopicPartitions, TransactionSupport};
use crate::{BrokerState, MetadataImage, OFFSETS_TOPIC};

/// The first version whose producers know that a coordinator may be loading; those before would give up their
/// transaction (KAFKA-7296).
const FIRST_VERSION_WITH_LOADING: i16 = 2;

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
    let result = match broker.groups.partition_of(&**broker, &request.group_id).await {
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

/// Sees to it that the partition is in the transaction, where it may not be yet, and commits.
async fn begin(
    broker: &Arc<BrokerState>,
    request: &TxnOffsetCommitRequest,
    partition: i32,
    version: i16,
) -> Result<TxnOffsetCommitResponse, ErrorCode> {
    let support = TransactionSupport::of_txn_offset_commit(version);
    let guard = broker.partition(OFFSETS_TOPIC, partition).and_then(|found| {
        let (id, epoch, now_ms) = (request.producer_id, request.producer_epoch, broker.clock.now_ms());
        found.begin_verification(id, epoch, NO_SEQUENCE, support.bumps_epochs(), now_ms)
    });
    let guard = guard.map_err(append_error)?;
    if guard.is_some() {
        let producer = ProducerIdentity { id: request.producer_id, epoch: request.producer_epoch };
        let partitions = TopicPartitions::from([(OFFSETS_TOPIC.to_owned(), BTreeSet::from([partition]))]);
        let admitted = broker.admit_to_transaction(&request.transactional_id, producer, &partitions, support).await?;
        if let Some((_, _, error)) = admitted.first() {
            return Err(*error);
        }
    }
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
