//! ListTransactions and DescribeTransactions.

use std::collections::BTreeSet;

use regex::Regex;
use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::describe_transactions_response::{TopicData, TransactionState as Described};
use rkafka_protocol::messages::list_transactions_request::ListTransactionsRequest;
use rkafka_protocol::messages::list_transactions_response::TransactionState as Listed;

use super::shard::TransactionShard;
use super::state::TransactionState;
use crate::coordinator::Moment;

/// The largest program that a pattern may become, in bytes.
const PATTERN_BYTES_MAX: usize = 1024 * 1024;

/// The filters of a ListTransactions that name no state.
pub type UnknownFilters = Vec<String>;

/// Which transactional ids are asked for.
#[derive(Debug)]
pub struct ListFilter {
    states: Option<Vec<TransactionState>>,
    producer_ids: BTreeSet<i64>,
    longer_than_ms: Option<i64>,
    pattern: Option<Regex>,
}

impl ListFilter {
    /// The filter of a request, and the names in it that are no states.
    ///
    /// # Errors
    /// `INVALID_REGULAR_EXPRESSION` for a pattern that is none, or that would take too much memory.
    pub fn of(request: &ListTransactionsRequest) -> Result<(Self, UnknownFilters), ErrorCode> {
        let mut states = Vec::new();
        let mut unknown = Vec::new();
        for name in &request.state_filters {
            match TransactionState::from_name(name) {
                Some(state) => states.push(state),
                None => unknown.push(name.clone()),
            }
        }
        let pattern = request.transactional_id_pattern.as_deref().filter(|pattern| !pattern.is_empty());
        // Kafka matches the whole id.
        let whole = |pattern: &str| {
            let built = regex::RegexBuilder::new(&format!("^(?:{pattern})$")).size_limit(PATTERN_BYTES_MAX).build();
            built.map_err(|_| ErrorCode::InvalidRegularExpression)
        };
        // A pattern must stand by itself: `a)|(?:b` would close the group that was put around it.
        let pattern = match pattern {
            Some(pattern) => Regex::new(pattern)
                .map_err(|_| ErrorCode::InvalidRegularExpression)
                .and(Ok(pattern))
                .and_then(whole)
                .map(Some)?,
            None => None,
        };
        let filter = Self {
            states: (!request.state_filters.is_empty()).then_some(states),
            producer_ids: request.producer_id_filters.iter().copied().collect(),
            longer_than_ms: (request.duration_filter >= 0).then_some(request.duration_filter),
            pattern,
        };
        Ok((filter, unknown))
    }
}

impl TransactionShard {
    /// The transactional ids that pass the filter.
    pub fn list(&self, now: Moment, filter: &ListFilter) -> Vec<Listed> {
        let passes = self.transactions().iter().filter(|(transactional_id, one)| {
            let has_lasted = |least_ms: i64| now.date_ms.saturating_sub(one.start_ms) > least_ms;
            filter.states.as_ref().is_none_or(|states| states.contains(&one.state))
                && (filter.producer_ids.is_empty() || filter.producer_ids.contains(&one.producer_id))
                && filter.longer_than_ms.is_none_or(has_lasted)
                && filter.pattern.as_ref().is_none_or(|pattern| pattern.is_match(transactional_id))
        });
        passes
            .map(|(transactional_id, one)| Listed {
                transactional_id: transactional_id.clone(),
                producer_id: one.producer_id,
                transaction_state: one.state.name().to_owned(),
                ..Default::default()
            })
            .collect()
    }

    /// A transactional id's state. While a transaction ends, its partitions are those that have no marker yet.
    ///
    /// # Errors
    /// `INVALID_REQUEST` for an empty id, `TRANSACTIONAL_ID_NOT_FOUND`.
    pub fn describe(&self, transactional_id: &str) -> Result<Described, ErrorCode> {
        if transactional_id.is_empty() {
            return Err(ErrorCode::InvalidRequest);
        }
        let one = self.transaction(transactional_id).ok_or(ErrorCode::TransactionalIdNotFound)?;
        let partitions = self.open_partitions(transactional_id, one).iter();
        Ok(Described {
            transactional_id: transactional_id.to_owned(),
            transaction_state: one.state.name().to_owned(),
            transaction_timeout_ms: one.timeout_ms,
            transaction_start_time_ms: one.start_ms,
            producer_id: one.producer_id,
            producer_epoch: one.producer_epoch,
            topics: partitions
                .map(|(topic, partitions)| TopicData {
                    topic: topic.clone(),
                    partitions: partitions.iter().copied().collect(),
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        })
    }
}
