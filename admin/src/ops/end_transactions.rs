//! Ending transactions by hand. Sources: InitProducerId (API key 22), by which a coordinator fences the producer and aborts
//! what it had open (KIP-588, Java's `fenceProducers`); WriteTxnMarkers (key 27), for a transaction that no coordinator
//! knows (KIP-664).

use rkafka_client_core::{Error, ErrorCode, ErrorKind, Result, TopicPartition};
use rkafka_protocol::messages::write_txn_markers_request::{WritableTxnMarker, WritableTxnMarkerTopic};
use rkafka_protocol::messages::{
    InitProducerIdRequest, InitProducerIdResponse, WriteTxnMarkersRequest, WriteTxnMarkersResponse,
};

use super::{HangingTransaction, PerItem, with_partition};
use crate::Admin;
use crate::driver::{Answers, Operation, Place};
use crate::operation::operation;

/// A transaction to abort in one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AbortTransactionSpec {
    /// The partition.
    pub partition: TopicPartition,
    /// The id of its producer.
    pub producer_id: i64,
    /// The producer's epoch.
    pub producer_epoch: i16,
    /// The epoch of the coordinator, as the partition knows it; 0 where it knows none.
    pub coordinator_epoch: i32,
}

impl AbortTransactionSpec {
    /// The transaction of this producer in a partition.
    pub fn new(
        partition: impl Into<TopicPartition>,
        producer_id: i64,
        producer_epoch: i16,
        coordinator_epoch: i32,
    ) -> Self {
        Self { partition: partition.into(), producer_id, producer_epoch, coordinator_epoch }
    }
}

impl From<&HangingTransaction> for AbortTransactionSpec {
    fn from(hanging: &HangingTransaction) -> Self {
        Self::new(
            hanging.partition.clone(),
            hanging.producer_id,
            hanging.producer_epoch,
            // No marker was ever written there: 0 is above none that a coordinator has.
            hanging.coordinator_epoch.unwrap_or(0),
        )
    }
}

/// Who a transactional producer is after it was fenced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct FencedProducer {
    /// Its producer id.
    pub producer_id: i64,
    /// Its epoch now; who has an older one writes no more.
    pub producer_epoch: i16,
}

operation! {
    /// What [`Admin::abort_transaction`] gives.
    pub struct AbortTransaction => () {
        spec: AbortTransactionSpec,
    }
}

operation! {
    /// What [`Admin::fence_producers`] gives.
    pub struct FenceProducers => PerItem<FencedProducer> {
        transactional_ids: Vec<String>,
    }
}

operation! {
    /// What [`Admin::force_terminate_transaction`] gives.
    pub struct ForceTerminateTransaction => () {
        transactional_id: String,
    }
}

struct Marker<'a>(&'a AbortTransactionSpec);

impl Operation for Marker<'_> {
    type Key = TopicPartition;
    type Value = ();
    type Request = WriteTxnMarkersRequest;

    fn place(&self, partition: &TopicPartition) -> Place {
        Place::Leader(partition.clone())
    }

    fn request(&self, _version: i16, _partition: &[TopicPartition]) -> Result<WriteTxnMarkersRequest> {
        let Self(spec) = self;
        let topic = WritableTxnMarkerTopic {
            name: spec.partition.topic.to_string(),
            partition_indexes: vec![spec.partition.partition],
            ..Default::default()
        };
        let marker = WritableTxnMarker {
            producer_id: spec.producer_id,
            producer_epoch: spec.producer_epoch,
            transaction_result: false,
            topics: vec![topic],
            coordinator_epoch: spec.coordinator_epoch,
            ..Default::default()
        };
        Ok(WriteTxnMarkersRequest { markers: vec![marker], ..Default::default() })
    }

    fn read(&self, _partition: &[TopicPartition], response: WriteTxnMarkersResponse) -> Answers<TopicPartition, ()> {
        let topics = response.markers.into_iter().flat_map(|marker| marker.topics);
        let partitions = topics.flat_map(|topic| {
            let name = topic.name;
            topic
                .partitions
                .into_iter()
                .map(move |one| (TopicPartition::new(name.as_str(), one.partition_index), Error::check(one.error_code)))
        });
        Ok(partitions.collect())
    }

    fn about(&self, partition: &TopicPartition, error: Error) -> Error {
        with_partition(partition, error)
    }
}

struct Fence {
    timeout_ms: i32,
}

impl Operation for Fence {
    type Key = String;
    type Value = FencedProducer;
    type Request = InitProducerIdRequest;

    fn place(&self, transactional_id: &String) -> Place {
        Place::transaction(transactional_id)
    }

    fn batch_max(&self, _version: i16) -> usize {
        1
    }

    fn request(&self, _version: i16, transactional_ids: &[String]) -> Result<InitProducerIdRequest> {
        Ok(InitProducerIdRequest {
            transactional_id: transactional_ids.first().cloned(),
            // Nobody begins a transaction with this epoch, so that it matters little.
            transaction_timeout_ms: self.timeout_ms,
            producer_id: -1,
            producer_epoch: -1,
            ..Default::default()
        })
    }

    fn read(&self, transactional_ids: &[String], response: InitProducerIdResponse) -> Answers<String, FencedProducer> {
        let fenced = Error::check(response.error_code)
            .map(|()| FencedProducer { producer_id: response.producer_id, producer_epoch: response.producer_epoch });
        Ok(transactional_ids.first().cloned().map(|id| (id, fenced)).into_iter().collect())
    }

    fn passes(&self, code: ErrorCode) -> bool {
        // The markers of the transaction that was open are being written.
        code == ErrorCode::ConcurrentTransactions
    }
}

fn only<K, T>(results: PerItem<T, K>) -> Result<T> {
    let silent = || Err(Error::new(ErrorKind::Protocol, "no broker answered"));
    results.into_values().next().unwrap_or_else(silent)
}

impl AbortTransaction<'_> {
    async fn run(self) -> Result<()> {
        only(self.admin.run(&Marker(&self.spec), [self.spec.partition.clone()], self.limit).await?)
    }
}

impl FenceProducers<'_> {
    async fn run(self) -> Result<PerItem<FencedProducer>> {
        let job = Fence { timeout_ms: self.admin.broker_time(self.limit) };
        self.admin.run(&job, self.transactional_ids, self.limit).await
    }
}

impl ForceTerminateTransaction<'_> {
    async fn run(self) -> Result<()> {
        let job = Fence { timeout_ms: self.admin.broker_time(self.limit) };
        only(self.admin.run(&job, [self.transactional_id], self.limit).await?).map(drop)
    }
}

impl Admin {
    /// Aborts a transaction in one partition by a marker, past its coordinator. Only for one that hangs: which no
    /// coordinator knows any more, so that nobody reads beyond it ([`Admin::find_hanging_transactions`]). Needs Kafka 3.0.
    ///
    /// Cancel safety: the marker may be written.
    ///
    /// # Errors
    /// See [`Admin`]; also [`InvalidProducerEpoch`](ErrorCode::InvalidProducerEpoch) and
    /// [`TransactionCoordinatorFenced`](ErrorCode::TransactionCoordinatorFenced) for a spec that is old.
    pub fn abort_transaction(&self, spec: AbortTransactionSpec) -> AbortTransaction<'_> {
        AbortTransaction::new(self, spec)
    }

    /// Fences transactional producers: their transactions are aborted, and who runs under these ids now can write no more.
    ///
    /// Cancel safety: the producers may be fenced.
    ///
    /// # Errors
    /// See [`Admin`]. What concerns one producer is in its item.
    pub fn fence_producers(&self, transactional_ids: impl IntoIterator<Item: AsRef<str>>) -> FenceProducers<'_> {
        FenceProducers::new(self, super::strings(transactional_ids))
    }

    /// Aborts the transaction of a producer, prepared ones included (KIP-939), and fences the producer; as
    /// [`Admin::fence_producers`] for one.
    ///
    /// Cancel safety: the transaction may be aborted.
    ///
    /// # Errors
    /// See [`Admin`]; also what the coordinator says of the producer.
    pub fn force_terminate_transaction(&self, transactional_id: impl Into<String>) -> ForceTerminateTransaction<'_> {
        ForceTerminateTransaction::new(self, transactional_id.into())
    }
}
