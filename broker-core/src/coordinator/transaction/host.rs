//! The broker as the transaction coordinator's host, and the door by which requests that write to partitions have their
//! transaction looked after.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::time::Duration;

use futures_util::future::join_all;
use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::add_partitions_to_txn_request::{
    AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction,
};
use rkafka_protocol::messages::add_partitions_to_txn_response::AddPartitionsToTxnResult;
use rkafka_protocol::messages::write_txn_markers_request::{WritableTxnMarker, WritableTxnMarkerTopic};
use rkafka_protocol::messages::write_txn_markers_response::WritableTxnMarkerResult;
use rkafka_protocol::messages::{AddPartitionsToTxnRequest, WriteTxnMarkersRequest};
use rkafka_protocol::wire::Request;

use super::runtime::WrittenMarkers;
use super::{PartitionsMode, ProducerIdentity, TopicPartitions, TransactionHost};
use crate::coordinator::partition_for;
use crate::log::TransactionMarker;
use crate::peer::{Gathering, Peer, PeerClient, Purpose};
use crate::{BrokerState, InternalLog as _, LogPoint, MetadataImage, TRANSACTIONS_TOPIC};

/// The versions in which brokers of this cluster ask each other.
const ADD_PARTITIONS: i16 = 5;
const WRITE_MARKERS: i16 = 2;
/// How long another broker may take for an answer: Kafka's `request.timeout.ms` of brokers.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

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
        let admitted = match self.coordinator_of_transaction(transactional_id).await {
            Ok(node) if node == self.config.node_id => {
                self.transactions.add_or_verify(self, transactional_id, producer, partitions, mode).await
            }
            Ok(node) => self.admit_elsewhere(node, transactional_id, producer, partitions, mode).await,
            Err(error) => Err(error),
        };
        let mut refused = admitted.map_err(|error| support.error(error))?;
        for (_, _, error) in &mut refused {
            *error = support.error(*error);
        }
        Ok(refused)
    }

    /// The broker that coordinates a transactional id.
    async fn coordinator_of_transaction(&self, transactional_id: &str) -> Result<i32, ErrorCode> {
        let index = partition_for(transactional_id, self.transactions.ensure_ready(self).await?);
        let image = self.image();
        let leader = image.topic(TRANSACTIONS_TOPIC).and_then(|topic| topic.partition(index)).map(|found| found.leader);
        leader.filter(|leader| *leader >= 0).ok_or(ErrorCode::CoordinatorNotAvailable)
    }

    /// Asks the coordinator of a transaction that is another broker.
    async fn admit_elsewhere(
        &self,
        node: i32,
        transactional_id: &str,
        producer: ProducerIdentity,
        partitions: &TopicPartitions,
        mode: PartitionsMode,
    ) -> Result<Vec<(String, i32, ErrorCode)>, ErrorCode> {
        let topics = partitions.iter().map(|(name, partitions)| AddPartitionsToTxnTopic {
            name: name.clone(),
            partitions: partitions.iter().copied().collect(),
            ..Default::default()
        });
        let question = AddPartitionsToTxnTransaction {
            transactional_id: transactional_id.to_owned(),
            producer_id: producer.id,
            producer_epoch: producer.epoch,
            verify_only: mode == PartitionsMode::Verify,
            topics: topics.collect(),
            ..Default::default()
        };
        // As in Kafka, one request is about a transactional id once.
        let differ = |one: &AddPartitionsToTxnTransaction, other: &AddPartitionsToTxnTransaction| {
            one.transactional_id != other.transactional_id
        };
        let answered = self.remote_transactions.admissions.ask(node, question, differ, |transactions| async move {
            let request = AddPartitionsToTxnRequest { transactions, ..Default::default() };
            let answer = self.ask_broker(Peer::new(node, Purpose::Admission), ADD_PARTITIONS, &request).await;
            let answer = answer.map_err(|NoAnswer| ErrorCode::CoordinatorNotAvailable)?;
            ErrorCode::check(answer.error_code)?;
            Ok(answer.results_by_transaction)
        });
        let mut refused = Vec::new();
        for topic in answered.await?.topic_results {
            for partition in topic.results_by_partition {
                match ErrorCode::from_code(partition.partition_error_code) {
                    ErrorCode::None => {}
                    // A broker hears of a new topic a moment later than another.
                    ErrorCode::UnknownTopicOrPartition | ErrorCode::OperationNotAttempted => {
                        return Err(ErrorCode::CoordinatorNotAvailable);
                    }
                    error => refused.push((topic.name.clone(), partition.partition_index, error)),
                }
            }
        }
        Ok(refused)
    }

    /// Writes markers into partitions that this broker leads, and waits until they are committed. Answers each partition,
    /// in their order.
    pub(crate) async fn write_markers_here(&self, markers: Vec<MarkerTo>) -> Vec<Result<(), ErrorCode>> {
        // All are appended before any is waited for.
        let appended: Vec<_> = markers
            .into_iter()
            .map(|MarkerTo { marker, topic, partition }| {
                let point = self.append_transaction_marker(&topic, partition, &marker);
                let (point, result) = match point {
                    Ok(point) => (Ok(point), Ok(())),
                    // It may be this very marker that is there already: as long as it is not committed, it may be lost.
                    Err(error @ (ErrorCode::InvalidProducerEpoch | ErrorCode::TransactionCoordinatorFenced)) => {
                        (self.end_of(&topic, partition), Err(error))
                    }
                    Err(error) => (Err(error), Err(error)),
                };
                (topic, partition, point, result)
            })
            .collect();
        let mut written = Vec::with_capacity(appended.len());
        for (topic, partition, point, result) in appended {
            let committed = match point {
                Ok(point) => self.committed(&topic, partition, point).await,
                Err(error) => Err(error),
            };
            written.push(committed.and(result));
        }
        written
    }

    /// How far a partition that this broker leads is written.
    fn end_of(&self, topic: &str, partition: i32) -> Result<LogPoint, ErrorCode> {
        let found = self.partition(topic, partition)?;
        let leader_epoch = found.led_epoch()?;
        let end = found.with_log(self.clock.now_ms(), crate::log::Log::log_end_offset)?;
        Ok(LogPoint { leader_epoch, end })
    }

    /// Has another broker write a marker into partitions that it leads.
    async fn write_markers_elsewhere(
        &self,
        node: i32,
        marker: &TransactionMarker,
        partitions: &[(String, i32)],
    ) -> Vec<Result<(), ErrorCode>> {
        let mut topics = BTreeMap::<&str, Vec<i32>>::new();
        for (topic, partition) in partitions {
            topics.entry(topic).or_default().push(*partition);
        }
        let topics = topics.into_iter().map(|(name, partition_indexes)| WritableTxnMarkerTopic {
            name: name.to_owned(),
            partition_indexes,
            ..Default::default()
        });
        let question = WritableTxnMarker {
            producer_id: marker.producer_id,
            producer_epoch: marker.producer_epoch,
            transaction_result: marker.commit,
            topics: topics.collect(),
            coordinator_epoch: marker.coordinator_epoch,
            // It has few values, all of them small.
            transaction_version: i8::try_from(marker.transaction_version).unwrap_or(i8::MAX),
            ..Default::default()
        };
        let differ = |one: &WritableTxnMarker, other: &WritableTxnMarker| one.producer_id != other.producer_id;
        let answered = self.remote_transactions.markers.ask(node, question, differ, |markers| async move {
            let request = WriteTxnMarkersRequest { markers, ..Default::default() };
            let answer = self.ask_broker(Peer::new(node, Purpose::Markers), WRITE_MARKERS, &request).await;
            answer.map(|answer| answer.markers).map_err(|NoAnswer| ErrorCode::BrokerNotAvailable)
        });
        let answered = match answered.await {
            Ok(answered) => answered,
            Err(error) => return vec![Err(error); partitions.len()],
        };
        let of = |(topic, partition): &(String, i32)| {
            let topic = answered.topics.iter().find(|found| found.name == *topic);
            let found = topic.and_then(|topic| topic.partitions.iter().find(|it| it.partition_index == *partition));
            match found.map(|found| ErrorCode::from_code(found.error_code)) {
                Some(ErrorCode::None) => Ok(()),
                // Whether a partition is no more is for this broker's own metadata to say: the other may not know it yet.
                Some(ErrorCode::UnknownTopicOrPartition) | None => Err(ErrorCode::NotLeaderOrFollower),
                Some(error) => Err(error),
            }
        };
        partitions.iter().map(of).collect()
    }

    /// Asks another broker, and gives up once that one is out of the cluster.
    pub(crate) async fn ask_broker<R: Request>(
        &self,
        peer: Peer,
        version: i16,
        request: &R,
    ) -> Result<R::Response, NoAnswer> {
        let is_out = |image: &MetadataImage| image.broker(peer.node_id).is_none_or(|broker| broker.fenced);
        let peers: &dyn PeerClient = &*self.peers;
        tokio::select! {
            biased;
            answer = peers.call(peer, version, request, ANSWER_WITHIN) => answer.map_err(|error| {
                tracing::debug!(%error, "another broker does not answer");
                NoAnswer
            }),
            () = self.metadata.until(is_out) => {
                tracing::debug!(%peer, "another broker is out of the cluster before it has answered");
                Err(NoAnswer)
            }
        }
    }
}

/// Another broker gave no answer; what it was asked for may be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoAnswer;

/// What brokers ask each other about transactions.
#[derive(Debug, Default)]
pub(crate) struct RemoteTransactions {
    admissions: Gathering<AddPartitionsToTxnTransaction, AddPartitionsToTxnResult>,
    markers: Gathering<WritableTxnMarker, WritableTxnMarkerResult>,
}

/// A marker, and where it belongs.
#[derive(Debug, Clone)]
pub(crate) struct MarkerTo {
    pub marker: TransactionMarker,
    pub topic: String,
    pub partition: i32,
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

    fn leads_all(&self, partitions: &TopicPartitions) -> bool {
        if self.config.is_alone() {
            return true;
        }
        let image = self.image();
        let is_here = |topic: &str, index: i32| {
            let found = image.topic(topic).and_then(|topic| topic.partition(index));
            found.is_none_or(|found| found.leader == self.config.node_id)
        };
        partitions.iter().all(|(topic, indexes)| indexes.iter().all(|index| is_here(topic, *index)))
    }

    fn write_markers<'a>(&'a self, marker: &'a TransactionMarker, to: &'a TopicPartitions) -> WrittenMarkers<'a> {
        let image = self.image();
        let (mut here, mut elsewhere) = (Vec::new(), BTreeMap::<i32, Vec<(String, i32)>>::new());
        let mut written = Vec::new();
        for (topic, indexes) in to {
            for index in indexes {
                let at = (topic.clone(), *index);
                match image.topic(topic).and_then(|topic| topic.partition(*index)).map(|found| found.leader) {
                    None => written.push((at.0, at.1, Err(ErrorCode::UnknownTopicOrPartition))),
                    Some(leader) if leader == self.config.node_id => here.push(at),
                    Some(leader) if leader >= 0 => elsewhere.entry(leader).or_default().push(at),
                    Some(_) => written.push((at.0, at.1, Err(ErrorCode::LeaderNotAvailable))),
                }
            }
        }
        Box::pin(async move {
            let to = |(topic, partition): &(String, i32)| MarkerTo {
                marker: *marker,
                topic: topic.clone(),
                partition: *partition,
            };
            let write_here = self.write_markers_here(here.iter().map(to).collect());
            let write_elsewhere =
                elsewhere.iter().map(|(node, partitions)| self.write_markers_elsewhere(*node, marker, partitions));
            let (results, others) = tokio::join!(write_here, join_all(write_elsewhere));
            written.extend(here.into_iter().zip(results).map(|((topic, index), result)| (topic, index, result)));
            for (partitions, results) in elsewhere.into_values().zip(others) {
                written
                    .extend(partitions.into_iter().zip(results).map(|((topic, index), result)| (topic, index, result)));
            }
            written
        })
    }
}
