//! Finding transactions that hang: open in a partition, and known to no coordinator (KIP-664). As Kafka's
//! `kafka-transactions.sh find-hanging` does it, of what partitions, coordinators and the two lists between them say.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use rkafka_client_core::{Error, Result, TopicPartition};

use crate::Admin;
use crate::operation::operation;

/// A transaction that hangs in a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HangingTransaction {
    /// The partition.
    pub partition: TopicPartition,
    /// The id of its producer.
    pub producer_id: i64,
    /// The producer's epoch.
    pub producer_epoch: i16,
    /// The epoch of the coordinator that ended the producer's last transaction here; `None` where there was none.
    pub coordinator_epoch: Option<i32>,
    /// Its first offset.
    pub start_offset: i64,
    /// When it was last written to, in milliseconds since 1970.
    pub last_timestamp: i64,
}

/// Transactions that hang, and what could not be looked at.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct HangingTransactions {
    /// The transactions, by partition.
    pub hanging: Vec<HangingTransaction>,
    /// Partitions that could not be looked at, and why.
    pub errors: BTreeMap<TopicPartition, Error>,
}

operation! {
    /// What [`Admin::find_hanging_transactions`] gives.
    pub struct FindHangingTransactions => HangingTransactions {
        partitions: Option<BTreeSet<TopicPartition>>,
    }
    options {
        /// Only partitions that this broker has, and as it knows them. Default: all, as their leaders know them.
        broker: Option<i32> = None,
        /// How long the cluster lets transactions stay open (the brokers' `transaction.max.timeout.ms`); one that was
        /// written to since then may yet be ended by its coordinator, and is not looked at. Default: 15 minutes, as
        /// Kafka's.
        max_transaction_timeout: Duration = Duration::from_secs(15 * 60),
    }
}

impl FindHangingTransactions<'_> {
    async fn run(self) -> Result<HangingTransactions> {
        self.admin.within(self.limit, self.find()).await
    }

    async fn find(&self) -> Result<HangingTransactions> {
        let partitions = match &self.partitions {
            Some(partitions) if self.broker.is_none() => partitions.clone(),
            _ => self.partitions_there().await?,
        };
        let described = self.admin.describe_producers(partitions).broker(self.broker).timeout(self.limit).await?;
        let before =
            now_ms().saturating_sub(i64::try_from(self.max_transaction_timeout.as_millis()).unwrap_or(i64::MAX));
        let (mut open, mut errors) = (Vec::new(), BTreeMap::new());
        for (partition, producers) in described {
            match producers {
                Ok(producers) => open.extend(producers.into_iter().filter_map(|producer| {
                    let start_offset = producer.transaction_start_offset?;
                    (producer.last_timestamp <= before).then(|| HangingTransaction {
                        partition: partition.clone(),
                        producer_id: producer.producer_id,
                        producer_epoch: i16::try_from(producer.producer_epoch).unwrap_or(i16::MAX),
                        coordinator_epoch: producer.coordinator_epoch,
                        start_offset,
                        last_timestamp: producer.last_timestamp,
                    })
                })),
                Err(error) => {
                    errors.insert(partition, error);
                }
            }
        }
        if !open.is_empty() {
            open = self.unknown_to_coordinators(open, &mut errors).await?;
        }
        Ok(HangingTransactions { hanging: open, errors })
    }

    /// The partitions to look at, by what the cluster has.
    async fn partitions_there(&self) -> Result<BTreeSet<TopicPartition>> {
        let topics: BTreeSet<String> = match &self.partitions {
            Some(partitions) => partitions.iter().map(|partition| partition.topic.to_string()).collect(),
            None => {
                let topics = self.admin.list_topics().timeout(self.limit).await?;
                topics.into_iter().map(|topic| topic.name).collect()
            }
        };
        let mut there = BTreeSet::new();
        for (name, description) in self.admin.describe_topics(topics).timeout(self.limit).await? {
            let Ok(description) = description else { continue };
            for partition in description.partitions {
                if self.broker.is_none_or(|broker| partition.replicas.contains(&broker)) {
                    there.insert(TopicPartition::new(name.as_str(), partition.partition));
                }
            }
        }
        if let Some(wanted) = &self.partitions {
            there.retain(|partition| wanted.contains(partition));
        }
        Ok(there)
    }

    /// Those of the open transactions that no coordinator has open in that partition.
    async fn unknown_to_coordinators(
        &self,
        open: Vec<HangingTransaction>,
        errors: &mut BTreeMap<TopicPartition, Error>,
    ) -> Result<Vec<HangingTransaction>> {
        let producers: BTreeSet<i64> = open.iter().map(|one| one.producer_id).collect();
        let listed = self.admin.list_transactions().filter_producer_ids(producers).timeout(self.limit).await?;
        // What a coordinator that did not answer knows, nobody else does: nothing is said of the whole then.
        if let Some(error) = listed.errors.values().next() {
            return Err(error.clone());
        }
        let ids: BTreeMap<i64, String> =
            listed.transactions.into_iter().map(|one| (one.producer_id, one.transactional_id)).collect();
        let described = self.admin.describe_transactions(ids.values()).timeout(self.limit).await?;
        let mut hanging = Vec::new();
        for one in open {
            let known = ids.get(&one.producer_id).and_then(|id| described.get(id));
            match known {
                Some(Ok(transaction)) if transaction.partitions.contains(&one.partition) => {}
                Some(Err(error)) if error.code() != Some(crate::ErrorCode::TransactionalIdNotFound) => {
                    errors.insert(one.partition, error.clone());
                }
                _ => hanging.push(one),
            }
        }
        Ok(hanging)
    }
}

#[expect(clippy::disallowed_methods, reason = "timestamps of records are the clock's")]
fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

impl Admin {
    /// Transactions that are open in one of these partitions (with `None`, of all) and known to no coordinator, so that
    /// nobody ends them and nobody reads beyond them. [`Admin::abort_transaction`] ends one by its
    /// [`AbortTransactionSpec`](crate::AbortTransactionSpec). Needs Kafka 3.0.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// See [`Admin`]; also where a broker cannot tell the transactions that it coordinates, for any of the open ones may
    /// be among them.
    pub fn find_hanging_transactions(&self, partitions: Option<Vec<TopicPartition>>) -> FindHangingTransactions<'_> {
        FindHangingTransactions::new(self, partitions.map(|partitions| partitions.into_iter().collect()))
    }
}
