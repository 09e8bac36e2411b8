//! A transactional producer that does what it is told, and no more: it repeats only what the broker puts off.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, SystemTime};

use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use rkafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use rkafka_protocol::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use rkafka_protocol::messages::{
    AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, EndTxnRequest, InitProducerIdRequest, ProduceRequest,
    TxnOffsetCommitRequest,
};
use rkafka_protocol::records::{Attributes, BatchOptions, encode_batch};

use crate::raw::check;
use crate::{RawClient, RawError, pause};

/// How often something is asked again that the broker puts off, 10 ms apart.
const RETRIES: usize = 6_000;

/// Which transactions a producer speaks (KIP-890).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransactionProtocol {
    /// It tells the coordinator of partitions before it writes to them, and keeps its epoch.
    V1,
    /// It adds partitions by writing to them, and has a new epoch for each transaction.
    V2,
}

impl TransactionProtocol {
    fn pick(self, v1: i16, v2: i16) -> i16 {
        match self {
            Self::V1 => v1,
            Self::V2 => v2,
        }
    }
}

/// A transactional producer. Each method is one step of a transaction, and may be called again with the same arguments
/// where it is not known what became of it: the same sequence numbers are sent then.
#[derive(Debug, Clone)]
pub struct RawProducer {
    transactional_id: String,
    protocol: TransactionProtocol,
    timeout: Duration,
    /// The producer id.
    pub id: i64,
    /// Its epoch.
    pub epoch: i16,
    sequences: HashMap<(String, i32), i32>,
    /// What the coordinator was told of, with version 1.
    added: HashSet<(String, i32)>,
}

/// Whether the same request may be sent again a little later.
fn is_put_off(error: &RawError) -> bool {
    matches!(
        error.code(),
        Some(
            ErrorCode::ConcurrentTransactions
                | ErrorCode::CoordinatorLoadInProgress
                | ErrorCode::CoordinatorNotAvailable
                | ErrorCode::NotCoordinator
                | ErrorCode::NotEnoughReplicas
                | ErrorCode::NotLeaderOrFollower
        )
    )
}

/// Asks until the answer is another than "later". A macro, for an `AsyncFnMut` would not be `Send`.
macro_rules! until_done {
    ($ask:expr) => {{
        let mut left = RETRIES;
        loop {
            let answer: Result<_, RawError> = async { $ask }.await;
            match answer {
                Err(error) if left > 0 && is_put_off(&error) => {
                    left -= 1;
                    pause(Duration::from_millis(10)).await;
                }
                answer => break answer,
            }
        }
    }};
}

impl RawProducer {
    /// Takes a transactional id. What an earlier producer of it began is aborted.
    ///
    /// # Errors
    /// The broker's, or the connection's.
    pub async fn init(
        client: &mut RawClient,
        transactional_id: &str,
        protocol: TransactionProtocol,
        timeout: Duration,
    ) -> Result<Self, RawError> {
        let request = InitProducerIdRequest {
            transactional_id: Some(transactional_id.to_owned()),
            transaction_timeout_ms: i32::try_from(timeout.as_millis()).expect("a short timeout"),
            ..Default::default()
        };
        let (id, epoch) = until_done!({
            client.find_coordinator(1, transactional_id).await?;
            let response = client.call(&request, 5).await?;
            check("InitProducerId", response.error_code)?;
            Ok((response.producer_id, response.producer_epoch))
        })?;
        let transactional_id = transactional_id.to_owned();
        Ok(Self { transactional_id, protocol, timeout, id, epoch, sequences: HashMap::new(), added: HashSet::new() })
    }

    /// Takes the id anew, as a producer does that was started again.
    ///
    /// # Errors
    /// As [`RawProducer::init`].
    pub async fn init_again(&mut self, client: &mut RawClient) -> Result<(), RawError> {
        *self = Self::init(client, &self.transactional_id, self.protocol, self.timeout).await?;
        Ok(())
    }

    /// Writes one record into each of some partitions of a topic, in one request.
    ///
    /// # Errors
    /// The first of the broker's, or the connection's.
    pub async fn produce(
        &mut self,
        client: &mut RawClient,
        topic: &str,
        values: &[(i32, &str)],
    ) -> Result<(), RawError> {
        let new = values.iter().map(|(partition, _)| *partition);
        let new: Vec<i32> = new.filter(|partition| !self.added.contains(&(topic.to_owned(), *partition))).collect();
        if self.protocol == TransactionProtocol::V1 && !new.is_empty() {
            until_done!(self.add(client, topic, &new).await)?;
            self.added.extend(new.into_iter().map(|partition| (topic.to_owned(), partition)));
        }
        let now_ms = now_ms();
        // A partition that has answered is not asked again, or a repetition would be out of order.
        let mut left: Vec<(i32, &str)> = values.to_vec();
        until_done!({
            let mut first_error = Ok(());
            let mut done = Vec::new();
            for (partition, code) in self.send(client, topic, &left, now_ms).await? {
                match check("Produce", code) {
                    Ok(()) => done.push(partition),
                    Err(error) => first_error = first_error.and(Err(error)),
                }
            }
            left.retain(|(partition, _)| !done.contains(partition));
            first_error
        })?;
        // Not before all is there: until then the caller may say all of it again.
        for (partition, _) in values {
            *self.sequences.entry((topic.to_owned(), *partition)).or_insert(0) += 1;
        }
        Ok(())
    }

    async fn send(
        &self,
        client: &mut RawClient,
        topic: &str,
        values: &[(i32, &str)],
        now_ms: i64,
    ) -> Result<Vec<(i32, i16)>, RawError> {
        let partitions = values.iter().map(|(partition, value)| {
            let sequence = self.sequences.get(&(topic.to_owned(), *partition)).copied().unwrap_or(0);
            let options = BatchOptions::default()
                .with_producer(self.id, self.epoch, sequence)
                .with_attributes(Attributes::default().with_transactional(true));
            let batch = encode_batch(Vec::new(), options, now_ms, [(None, Some(value.as_bytes()))]).expect("a batch");
            PartitionProduceData { index: *partition, records: Some(batch.into_bytes().into()), ..Default::default() }
        });
        let request = ProduceRequest {
            transactional_id: Some(self.transactional_id.clone()),
            acks: -1,
            timeout_ms: 60_000,
            topic_data: vec![TopicProduceData {
                name: topic.to_owned(),
                partition_data: partitions.collect(),
                ..Default::default()
            }],
            ..Default::default()
        };
        let response = client.call(&request, self.protocol.pick(11, 12)).await?;
        let answers = &response.responses.first().expect("the topic").partition_responses;
        Ok(answers.iter().map(|answer| (answer.index, answer.error_code)).collect())
    }

    /// Writes a record of a transaction that the coordinator was not told of, once.
    ///
    /// # Errors
    /// The broker's, or the connection's.
    pub async fn produce_unannounced(
        &mut self,
        client: &mut RawClient,
        topic: &str,
        partition: i32,
        value: &str,
        timestamp_ms: i64,
    ) -> Result<(), RawError> {
        let answers = self.send(client, topic, &[(partition, value)], timestamp_ms).await?;
        check("Produce", answers.first().expect("the partition").1)
    }

    async fn add(&self, client: &mut RawClient, topic: &str, partitions: &[i32]) -> Result<(), RawError> {
        let topic =
            AddPartitionsToTxnTopic { name: topic.to_owned(), partitions: partitions.to_vec(), ..Default::default() };
        let request = AddPartitionsToTxnRequest {
            v3_and_below_transactional_id: self.transactional_id.clone(),
            v3_and_below_producer_id: self.id,
            v3_and_below_producer_epoch: self.epoch,
            v3_and_below_topics: vec![topic],
            ..Default::default()
        };
        let response = client.call(&request, 3).await?;
        let answers = response.results_by_topic_v3_and_below.first().expect("the topic");
        answers
            .results_by_partition
            .iter()
            .try_for_each(|answer| check("AddPartitionsToTxn", answer.partition_error_code))
    }

    /// Commits an offset of a group with the transaction.
    ///
    /// # Errors
    /// The broker's, or the connection's.
    pub async fn commit_offset(
        &mut self,
        client: &mut RawClient,
        group: &str,
        (topic, partition): (&str, i32),
        offset: i64,
    ) -> Result<(), RawError> {
        if self.protocol == TransactionProtocol::V1 {
            let request = AddOffsetsToTxnRequest {
                transactional_id: self.transactional_id.clone(),
                producer_id: self.id,
                producer_epoch: self.epoch,
                group_id: group.to_owned(),
                ..Default::default()
            };
            until_done!({
                client.find_coordinator(0, group).await?;
                check("AddOffsetsToTxn", client.call(&request, 3).await?.error_code)
            })?;
        }
        let partition = TxnOffsetCommitRequestPartition {
            partition_index: partition,
            committed_offset: offset,
            ..Default::default()
        };
        let request = TxnOffsetCommitRequest {
            transactional_id: self.transactional_id.clone(),
            group_id: group.to_owned(),
            producer_id: self.id,
            producer_epoch: self.epoch,
            topics: vec![TxnOffsetCommitRequestTopic {
                name: topic.to_owned(),
                partitions: vec![partition],
                ..Default::default()
            }],
            ..Default::default()
        };
        until_done!({
            client.find_coordinator(0, group).await?;
            let response = client.call(&request, self.protocol.pick(3, 5)).await?;
            check("TxnOffsetCommit", response.topics.first().expect("the topic").partitions[0].error_code)
        })
    }

    /// Ends the transaction.
    ///
    /// # Errors
    /// The broker's, or the connection's.
    pub async fn end(&mut self, client: &mut RawClient, committed: bool) -> Result<(), RawError> {
        let request = EndTxnRequest {
            transactional_id: self.transactional_id.clone(),
            producer_id: self.id,
            producer_epoch: self.epoch,
            committed,
            ..Default::default()
        };
        let version = self.protocol.pick(4, 5);
        let response = until_done!({
            let response = client.call(&request, version).await?;
            check("EndTxn", response.error_code)?;
            Ok(response)
        })?;
        self.added.clear();
        if self.protocol == TransactionProtocol::V2 {
            (self.id, self.epoch) = (response.producer_id, response.producer_epoch);
            self.sequences.clear();
        }
        Ok(())
    }
}

/// Records that are not of today would be too old for the broker's settings.
#[expect(clippy::disallowed_methods, reason = "a client dates its records")]
fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a date after 1970");
    i64::try_from(since.as_millis()).expect("a date before the year 292 million")
}
