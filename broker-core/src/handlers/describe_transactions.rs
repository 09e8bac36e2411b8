//! API: DescribeTransactions (65)
//! Versions: 0
//! Behaviour: the state of each transactional id, its producer and the partitions of its transaction; while that ends,
//! those that have no marker yet.
//! Deviations: none known.
//! KIPs: 664

use std::sync::Arc;

use rkafka_protocol::messages::describe_transactions_response::TransactionState;
use rkafka_protocol::messages::{DescribeTransactionsRequest, DescribeTransactionsResponse};

use super::{HandlerError, RequestContext};
use crate::BrokerState;

/// Describes transactional ids.
///
/// # Errors
/// None; errors of ids are in the answer.
pub async fn handle(
    broker: &Arc<BrokerState>,
    _context: &RequestContext,
    request: DescribeTransactionsRequest,
    _version: i16,
) -> Result<DescribeTransactionsResponse, HandlerError> {
    let mut transaction_states = Vec::with_capacity(request.transactional_ids.len());
    for transactional_id in request.transactional_ids {
        let described = broker.transactions.describe(&**broker, &transactional_id).await;
        transaction_states.push(described.unwrap_or_else(|error| TransactionState {
            error_code: error.code(),
            transactional_id,
            ..Default::default()
        }));
    }
    Ok(DescribeTransactionsResponse { transaction_states, ..Default::default() })
}
