//! The broker as the transaction coordinator's host, and the door by which requests that write to partitions have their
//! transaction looked after.

use std::pin::Pin;

use rkafka_protocol::ErrorCode;

use super::runtime::WrittenMarkers;
use super::{PartitionsMode, ProducerIdentity, TopicPartitions, TransactionHost};
use crate::log::TransactionMarker;
use crate::{BrokerState, InternalLog as _};

/// The feature that says which transactions a cluster has.
pub(crate) const TRANSACTION_VERSION: &str = "transaction.version";
/// The highest level of it: each transaction has an epoch of its own (KIP-890, part 2).
pub(crate) const TRANSACTION_VERSION_MAX: i16 = 2;

/// What a client that writes to a partition in a transaction knows of transactions. Kafka tells by the version of its
/// request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TransactionSupport {
    /// It has added the partition, and does not know `TRANSACTION_ABORTABLE`.
    Plain,
    /// It has added the partition.
    Abortable,
    /// It adds the partition by writing to it.
    AddsByWriting,
}

impl TransactionSupport {
    /// Of the client of a Produce request.
    pub fn of_produce(version: i16) -> Self {
        match version {
            ..=10 => Self::Plain,
            11 => Self::Abortable,
            _ => Self::AddsByWriting,
        }
    }

    /// Of the client of a TxnOffsetCommit request.
    pub fn of_txn_offset_commit(version: i16) -> Self {
        match version {
            ..=3 => Self::Plain,
            4 => Self::Abortable,
            _ => Self::AddsByWriting,
        }
    }

    /// Whether its transactions have each an epoch of their own.
    pub fn bumps_epochs(self) -> bool {
        self == Self::AddsByWriting
    }

    /// The error that such a client understands.
    fn error(self, error: ErrorCode) -> ErrorCode {
        match error {
            ErrorCode::ProducerFenced => ErrorCode::InvalidProducerEpoch,
            ErrorCode::TransactionAbortable if self == Self::Plain => ErrorCode::InvalidTxnState,
            other => other,
        }
    }
}

impl BrokerState {
    /// Sees to it that partitions are in a producer's transaction, before the first record of the transaction is written
    /// there. Answers the error of each partition that is not. The order matters: first
    /// [`crate::replication::Partition::begin_verification`], then this, then the append with the guard.
    ///
    /// # Errors
    /// What holds for all partitions, in words that the client understands: `INVALID_PRODUCER_ID_MAPPING`,
    /// `INVALID_PRODUCER_EPOCH`, `CONCURRENT_TRANSACTIONS` while the transaction before is not over, `NOT_COORDINATOR`,
    /// `COORDINATOR_NOT_AVAILABLE`.
    pub(crate) async fn admit_to_transaction(
        &self,
        transactional_id: &str,
        producer: ProducerIdentity,
        partitions: &TopicPartitions,
        support: TransactionSupport,
    ) -> Result<Vec<(String, i32, ErrorCode)>, ErrorCode> {
        if !self.config.transaction_partition_verification_enable && !support.bumps_epochs() {
            return Ok(Vec::new());
        }
        let mode = if support.bumps_epochs() {
            PartitionsMode::Add { version: TRANSACTION_VERSION_MAX }
        } else {
            PartitionsMode::Verify
        };
        // When this returns, the note is committed that the partitions are in the transaction, on which records there rest:
        // nobody else would end it there.
        let admitted = self.transactions.add_or_verify(self, transactional_id, producer, partitions, mode).await;
        let mut refused = admitted.map_err(|error| support.error(error))?;
        for (_, _, error) in &mut refused {
            *error = support.error(*error);
        }
        Ok(refused)
    }
}

impl BrokerState {
    /// Writes a marker into partitions that this broker leads, and waits until it is committed. Answers each of them, in
    /// their order.
    pub(crate) async fn write_markers_here(
        &self,
        marker: &TransactionMarker,
        to: Vec<(String, i32)>,
    ) -> Vec<(String, i32, Result<(), ErrorCode>)> {
        // All are appended before any is waited for.
        let append = |(topic, index): (String, i32)| {
            let point = self.append_transaction_marker(&topic, index, marker);
            (topic, index, point)
        };
        let appended: Vec<_> = to.into_iter().map(append).collect();
        let mut written = Vec::with_capacity(appended.len());
        for (topic, index, point) in appended {
            let result = match point {
                Ok(point) => self.committed(&topic, index, point).await,
                Err(error) => Err(error),
            };
            written.push((topic, index, result));
        }
        written
    }
}

impl TransactionHost for BrokerState {
    fn new_producer_id(&self) -> Result<i64, ErrorCode> {
        self.producer_ids.take().ok_or(ErrorCode::CoordinatorLoadInProgress)
    }

    fn reserve_producer_ids(&self) -> Pin<Box<dyn Future<Output = Result<(), ErrorCode>> + Send + '_>> {
        Box::pin(async {
            BrokerState::reserve_producer_ids(self).await.map_err(|error| {
                tracing::error!(%error, "no producer ids can be had");
                ErrorCode::CoordinatorNotAvailable
            })
        })
    }

    fn transaction_version(&self) -> i16 {
        self.image().features().get(TRANSACTION_VERSION).copied().unwrap_or(0)
    }

    fn write_markers<'a>(&'a self, marker: &'a TransactionMarker, to: &'a TopicPartitions) -> WrittenMarkers<'a> {
        let mut all = Vec::new();
        for (topic, partitions) in to {
            all.extend(partitions.iter().map(|index| (topic.clone(), *index)));
        }
        Box::pin(self.write_markers_here(marker, all))
    }
}
