//! API: ListTransactions (66)
//! Versions: 0-2
//! Behaviour: the transactional ids that pass all filters: by state, by producer id, by how long a transaction has taken,
//! by a regular expression that matches the whole id. Names of states that are none are told back.
//! Deviations: the syntax of patterns is that of the crate `regex`, which is RE2's but for a few escapes.
//! KIPs: 664, 994, 1152

use std::sync::Arc;

use rkafka_protocol::messages::{ListTransactionsRequest, ListTransactionsResponse};

use super::{HandlerError, RequestContext};
use crate::BrokerState;
use crate::coordinator::transaction::ListFilter;

/// Lists transactional ids.
///
/// # Errors
/// None.
pub async fn handle(
    broker: &Arc<BrokerState>,
    _context: &RequestContext,
    request: ListTransactionsRequest,
    _version: i16,
) -> Result<ListTransactionsResponse, HandlerError> {
    let (filter, unknown_state_filters) = match ListFilter::of(&request) {
        Ok(filter) => filter,
        Err(error) => return Ok(ListTransactionsResponse { error_code: error.code(), ..Default::default() }),
    };
    let listed = broker.transactions.list(&**broker, &filter).await;
    Ok(match listed {
        Ok(transaction_states) => {
            ListTransactionsResponse { unknown_state_filters, transaction_states, ..Default::default() }
        }
        Err(error) => ListTransactionsResponse { error_code: error.code(), ..Default::default() },
    })
}
