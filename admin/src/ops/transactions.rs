//! Transactions, as their coordinators know them. Sources: ListTransactions (API key 66) and DescribeTransactions (key 65),
//! KIP-664, KIP-994 for durations, KIP-1152 for patterns.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rkafka_client_core::{Error, ErrorCode, Result, TopicPartition};
use rkafka_protocol::messages::{
    DescribeTransactionsRequest, DescribeTransactionsResponse, ListTransactionsRequest, ListTransactionsResponse,
};

use super::PerItem;
use super::describe_classic_groups::partitions;
use crate::Admin;
use crate::codes::names;
use crate::driver::{Answers, Operation, Place};
use crate::operation::operation;
use crate::single::parted;

names! {
    /// The state of a transaction.
    pub enum TransactionState {
        /// There is none yet.
        Empty = "Empty",
        /// It is open.
        Ongoing = "Ongoing",
        /// It is being committed.
        PrepareCommit = "PrepareCommit",
        /// It is being aborted.
        PrepareAbort = "PrepareAbort",
        /// It was committed.
        CompleteCommit = "CompleteCommit",
        /// It was aborted.
        CompleteAbort = "CompleteAbort",
        /// It is about to be aborted, and its producer is fenced.
        PrepareEpochFence = "PrepareEpochFence",
        /// The producer's id is about to be forgotten.
        Dead = "Dead",
    }
}

/// A transactional producer in a list.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct TransactionListing {
    /// Its `transactional.id`.
    pub transactional_id: String,
    /// Its producer id.
    pub producer_id: i64,
    /// The state of its last transaction.
    pub state: TransactionState,
}

/// Transactional producers, and the brokers that could not tell theirs.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct TransactionListings {
    /// The producers, by `transactional.id`.
    pub transactions: Vec<TransactionListing>,
    /// Brokers that did not answer, and why. The producers that they coordinate are missing above.
    pub errors: BTreeMap<i32, Error>,
}

/// A transactional producer with its transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TransactionDescription {
    /// The broker that coordinates it.
    pub coordinator: Option<i32>,
    /// The state of its last transaction.
    pub state: TransactionState,
    /// Its producer id.
    pub producer_id: i64,
    /// Its epoch.
    pub producer_epoch: i16,
    /// How long a transaction of its may stay open.
    pub transaction_timeout: Duration,
    /// When its transaction began, in milliseconds since 1970; `None` where none is open.
    pub start_time: Option<i64>,
    /// The partitions in its transaction.
    pub partitions: BTreeSet<TopicPartition>,
}

operation! {
    /// What [`Admin::list_transactions`] gives.
    pub struct ListTransactions => TransactionListings {}
    options {
        /// Only those in these states. Default: in any.
        filter_states: BTreeSet<TransactionState> = BTreeSet::new(),
        /// Only those of producers with these ids. Default: of any.
        filter_producer_ids: BTreeSet<i64> = BTreeSet::new(),
        /// Only those that have been open for longer. Default: any. Needs Kafka 3.8.
        filter_on_duration: Option<Duration> = None,
        /// Only those whose `transactional.id` this pattern (RE2) matches as a whole. Default: any. Needs Kafka 4.1.
        filter_on_pattern: Option<String> = None,
    }
}

operation! {
    /// What [`Admin::describe_transactions`] gives.
    pub struct DescribeTransactions => PerItem<TransactionDescription> {
        transactional_ids: Vec<String>,
    }
}

impl ListTransactions<'_> {
    async fn run(self) -> Result<TransactionListings> {
        self.admin.within(self.limit, self.on_each()).await
    }

    async fn on_each(&self) -> Result<TransactionListings> {
        let brokers = self.admin.broker_ids(self.limit).await?;
        let duration = self.filter_on_duration.map(|least| i64::try_from(least.as_millis()).unwrap_or(i64::MAX));
        let build = |_| ListTransactionsRequest {
            state_filters: self.filter_states.iter().map(|state| state.name().to_owned()).collect(),
            producer_id_filters: self.filter_producer_ids.iter().copied().collect(),
            duration_filter: duration.unwrap_or(-1),
            transactional_id_pattern: self.filter_on_pattern.clone(),
            ..Default::default()
        };
        let passing = [ErrorCode::CoordinatorLoadInProgress, ErrorCode::CoordinatorNotAvailable];
        let told = self.admin.ask_brokers(brokers, self.limit, &passing, build, read).await?;
        let (lists, errors) = parted(told)?;
        let mut transactions: Vec<TransactionListing> = lists.into_iter().flatten().collect();
        transactions.sort();
        transactions.dedup_by(|one, other| one.transactional_id == other.transactional_id);
        Ok(TransactionListings { transactions, errors })
    }
}

fn read(response: ListTransactionsResponse) -> Result<Vec<TransactionListing>> {
    Error::check(response.error_code)?;
    let listings = response.transaction_states.into_iter().map(|one| TransactionListing {
        transactional_id: one.transactional_id,
        producer_id: one.producer_id,
        state: TransactionState::read(&one.transaction_state),
    });
    Ok(listings.collect())
}

struct Job;

impl Operation for Job {
    type Key = String;
    type Value = TransactionDescription;
    type Request = DescribeTransactionsRequest;

    fn place(&self, transactional_id: &String) -> Place {
        Place::transaction(transactional_id)
    }

    fn request(&self, _version: i16, transactional_ids: &[String]) -> Result<DescribeTransactionsRequest> {
        Ok(DescribeTransactionsRequest { transactional_ids: transactional_ids.to_vec(), ..Default::default() })
    }

    fn read(
        &self,
        _transactional_ids: &[String],
        response: DescribeTransactionsResponse,
    ) -> Answers<String, TransactionDescription> {
        let states = response.transaction_states.into_iter().map(|one| {
            let topics = one.topics.iter().map(|topic| (&*topic.topic, &*topic.partitions));
            let description = Error::check(one.error_code).map(|()| TransactionDescription {
                coordinator: None,
                state: TransactionState::read(&one.transaction_state),
                producer_id: one.producer_id,
                producer_epoch: one.producer_epoch,
                transaction_timeout: Duration::from_millis(u64::try_from(one.transaction_timeout_ms).unwrap_or(0)),
                start_time: (one.transaction_start_time_ms >= 0).then_some(one.transaction_start_time_ms),
                partitions: partitions(topics),
            });
            (one.transactional_id, description)
        });
        Ok(states.collect())
    }
}

impl DescribeTransactions<'_> {
    async fn run(self) -> Result<PerItem<TransactionDescription>> {
        let mut described = self.admin.run(&Job, self.transactional_ids, self.limit).await?;
        for (transactional_id, result) in &mut described {
            if let Ok(description) = result {
                let kind = rkafka_client_core::CoordinatorKind::Transaction;
                description.coordinator = self.admin.client().coordinator(kind, transactional_id).await.ok();
            }
        }
        Ok(described)
    }
}

impl Admin {
    /// The transactional producers of the cluster, by `transactional.id`. Needs Kafka 3.0.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// See [`Admin`]. A broker that does not answer is named beside the producers of the others.
    pub fn list_transactions(&self) -> ListTransactions<'_> {
        ListTransactions::new(self)
    }

    /// Describes transactional producers with their transactions. One that is not there is an error of its own
    /// ([`TransactionalIdNotFound`](ErrorCode::TransactionalIdNotFound)). Needs Kafka 3.0.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// See [`Admin`]. What concerns one producer is in its item.
    pub fn describe_transactions(
        &self,
        transactional_ids: impl IntoIterator<Item: AsRef<str>>,
    ) -> DescribeTransactions<'_> {
        DescribeTransactions::new(self, super::strings(transactional_ids))
    }
}
