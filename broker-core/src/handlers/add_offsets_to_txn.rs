//! API: AddOffsetsToTxn (25)
//! Versions: 0-4
//! Behaviour: the partition of `__consumer_offsets` that keeps a group's offsets comes into a producer's transaction.
//! Producers of transactions of version 2 do not ask for it: TxnOffsetCommit adds it.
//! Deviations: none known.
//! KIPs: 98, 588, 890

use std::sync::Arc;

use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::{AddOffsetsToTxnRequest, AddOffsetsToTxnResponse};

use super::{HandlerError, RequestContext};
use crate::BrokerState;
use crate::coordinator::transaction::{PartitionsMode, ProducerIdentity, TopicPartitions};
use crate::internal_log::OFFSETS_TOPIC;

/// The first version whose clients know `PRODUCER_FENCED`.
const FIRST_WITH_FENCED: i16 = 2;

/// Adds a group's offsets to a transaction.
///
/// # Errors
/// None.
pub async fn handle(
    broker: &Arc<BrokerState>,
    _context: &RequestContext,
    request: AddOffsetsToTxnRequest,
    version: i16,
) -> Result<AddOffsetsToTxnResponse, HandlerError> {
    let error = match add(broker, &request).await {
        Ok(()) => ErrorCode::None,
        Err(ErrorCode::ProducerFenced) if version < FIRST_WITH_FENCED => ErrorCode::InvalidProducerEpoch,
        Err(error) => error,
    };
    Ok(AddOffsetsToTxnResponse { error_code: error.code(), ..Default::default() })
}

async fn add(broker: &Arc<BrokerState>, request: &AddOffsetsToTxnRequest) -> Result<(), ErrorCode> {
    let partition = broker.groups.partition_of(&**broker, &request.group_id).await?;
    let producer = ProducerIdentity { id: request.producer_id, epoch: request.producer_epoch };
    let partitions = TopicPartitions::from([(OFFSETS_TOPIC.to_owned(), [partition].into())]);
    let mode = PartitionsMode::Add { version: 0 };
    let added = broker.transactions.add_or_verify(&**broker, &request.transactional_id, producer, &partitions, mode);
    added.await.map(drop)
}
