//! API: InitProducerId (22)
//! Versions: 0-5
//! Behaviour: without a transactional id, a producer id that nobody has had. Ids come from the controller in blocks of a
//! thousand; a block is in the metadata log before its first id is given away. With one, the producer that has it from now
//! on: its epoch goes up, which fences those before it. A producer that names itself goes on, and may ask twice. An open
//! transaction is aborted first, and the answer is `CONCURRENT_TRANSACTIONS` meanwhile.
//! Deviations: version 6 (two-phase commit, KIP-939) is not there; Kafka 4.3 does not offer it by default either.
//! KIPs: 98, 360, 588, 890

use std::sync::Arc;

use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::{InitProducerIdRequest, InitProducerIdResponse};

use super::{HandlerError, RequestContext};
use crate::BrokerState;
use crate::coordinator::transaction::{InitRequest, ProducerIdentity, TransactionHost};

/// The first version whose clients know `PRODUCER_FENCED`.
const FIRST_WITH_FENCED: i16 = 4;

/// Gives a producer id.
///
/// # Errors
/// None.
pub async fn handle(
    broker: &Arc<BrokerState>,
    _context: &RequestContext,
    request: InitProducerIdRequest,
    version: i16,
) -> Result<InitProducerIdResponse, HandlerError> {
    let producer = match request.transactional_id.as_deref() {
        Some(transactional_id) => init(broker, transactional_id, &request).await,
        None => plain(broker).await,
    };
    let error = match producer {
        Ok(_) => ErrorCode::None,
        Err(ErrorCode::ProducerFenced) if version < FIRST_WITH_FENCED => ErrorCode::InvalidProducerEpoch,
        Err(error) => error,
    };
    let producer = producer.unwrap_or(ProducerIdentity::NONE);
    Ok(InitProducerIdResponse {
        error_code: error.code(),
        producer_id: producer.id,
        producer_epoch: producer.epoch,
        ..Default::default()
    })
}

/// An id for a producer without transactions.
async fn plain(broker: &BrokerState) -> Result<ProducerIdentity, ErrorCode> {
    TransactionHost::reserve_producer_ids(broker).await?;
    broker.new_producer_id().map(|id| ProducerIdentity { id, epoch: 0 })
}

async fn init(
    broker: &Arc<BrokerState>,
    transactional_id: &str,
    request: &InitProducerIdRequest,
) -> Result<ProducerIdentity, ErrorCode> {
    let named = ProducerIdentity { id: request.producer_id, epoch: request.producer_epoch };
    let expected = match named {
        ProducerIdentity::NONE => None,
        ProducerIdentity { id: -1, .. } | ProducerIdentity { epoch: -1, .. } => return Err(ErrorCode::InvalidRequest),
        named => Some(named),
    };
    let request = InitRequest { transactional_id, timeout_ms: request.transaction_timeout_ms, expected };
    broker.transactions.init_producer_id(&**broker, &request).await
}
