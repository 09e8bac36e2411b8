//! API: EndTxn (26)
//! Versions: 0-5
//! Behaviour: the decision to commit or to abort is written, and then a marker into each partition of the transaction.
//! From version 5 on, each transaction has an epoch of its own: the answer says the next one. A request that comes twice is
//! answered as the first time; one that comes while markers are being written, by `CONCURRENT_TRANSACTIONS`.
//! Deviations: the answer comes once the markers are written, or found impossible to write now, where Kafka's comes before
//! that; the next transaction then need not wait. Markers that other brokers write are waited for a second at most.
//! KIPs: 98, 588, 890

use std::sync::Arc;

use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::{EndTxnRequest, EndTxnResponse};

use super::{HandlerError, RequestContext};
use crate::BrokerState;
use crate::coordinator::transaction::{ProducerIdentity, TRANSACTION_VERSION_MAX};

/// The first version of clients whose transactions have each an epoch of their own.
const FIRST_WITH_EPOCHS: i16 = 5;
/// The first version whose clients know `PRODUCER_FENCED`.
const FIRST_WITH_FENCED: i16 = 2;

/// Ends a transaction.
///
/// # Errors
/// None.
pub async fn handle(
    broker: &Arc<BrokerState>,
    _context: &RequestContext,
    request: EndTxnRequest,
    version: i16,
) -> Result<EndTxnResponse, HandlerError> {
    let producer = ProducerIdentity { id: request.producer_id, epoch: request.producer_epoch };
    let client_version = if version >= FIRST_WITH_EPOCHS { TRANSACTION_VERSION_MAX } else { 0 };
    let id = &request.transactional_id;
    let ended = broker.transactions.end(&**broker, id, producer, request.committed, client_version).await;
    let error = match ended {
        Ok(_) => ErrorCode::None,
        Err(ErrorCode::ProducerFenced) if version < FIRST_WITH_FENCED => ErrorCode::InvalidProducerEpoch,
        Err(error) => error,
    };
    let next = ended.ok().filter(|_| version >= FIRST_WITH_EPOCHS).unwrap_or(ProducerIdentity::NONE);
    Ok(EndTxnResponse {
        error_code: error.code(),
        producer_id: next.id,
        producer_epoch: next.epoch,
        ..Default::default()
    })
}
