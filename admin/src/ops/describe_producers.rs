//! Producers of partitions. Source: DescribeProducers (API key 61), KIP-664.

use std::collections::BTreeSet;

use rkafka_client_core::{Error, Result, TopicPartition};
use rkafka_protocol::messages::describe_producers_request::TopicRequest;
use rkafka_protocol::messages::{DescribeProducersRequest, DescribeProducersResponse};

use super::{PerItem, by_topic, with_partition};
use crate::Admin;
use crate::driver::{Answers, Operation, Place};
use crate::operation::operation;

/// What a partition remembers of a producer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProducerState {
    /// Its id.
    pub producer_id: i64,
    /// Its epoch.
    pub producer_epoch: i32,
    /// The sequence number of its last record; -1 where there is none.
    pub last_sequence: i32,
    /// When it wrote last, in milliseconds since 1970; -1 where it has not.
    pub last_timestamp: i64,
    /// The epoch of the coordinator that ended its last transaction here; `None` where there was none.
    pub coordinator_epoch: Option<i32>,
    /// The first offset of its transaction that is open here, if there is one.
    pub transaction_start_offset: Option<i64>,
}

operation! {
    /// What [`Admin::describe_producers`] gives.
    pub struct DescribeProducers => PerItem<Vec<ProducerState>, TopicPartition> {
        partitions: BTreeSet<TopicPartition>,
    }
    options {
        /// The broker to ask, which may be a follower. Default: each partition's leader.
        broker: Option<i32> = None,
    }
}

struct Job {
    broker: Option<i32>,
}

impl Operation for Job {
    type Key = TopicPartition;
    type Value = Vec<ProducerState>;
    type Request = DescribeProducersRequest;

    fn place(&self, partition: &TopicPartition) -> Place {
        self.broker.map_or_else(|| Place::Leader(partition.clone()), Place::Node)
    }

    fn request(&self, _version: i16, partitions: &[TopicPartition]) -> Result<DescribeProducersRequest> {
        let topics = by_topic(partitions).into_iter();
        let topic = |(name, partition_indexes)| TopicRequest { name, partition_indexes, ..Default::default() };
        Ok(DescribeProducersRequest { topics: topics.map(topic).collect(), ..Default::default() })
    }

    fn read(
        &self,
        _partitions: &[TopicPartition],
        response: DescribeProducersResponse,
    ) -> Answers<TopicPartition, Vec<ProducerState>> {
        let partitions = response.topics.into_iter().flat_map(|topic| {
            let name = topic.name;
            topic.partitions.into_iter().map(move |one| {
                let producers = one.active_producers.into_iter().map(|producer| ProducerState {
                    producer_id: producer.producer_id,
                    producer_epoch: producer.producer_epoch,
                    last_sequence: producer.last_sequence,
                    last_timestamp: producer.last_timestamp,
                    coordinator_epoch: (producer.coordinator_epoch >= 0).then_some(producer.coordinator_epoch),
                    transaction_start_offset: (producer.current_txn_start_offset >= 0)
                        .then_some(producer.current_txn_start_offset),
                });
                let outcome = Error::check_with(one.error_code, one.error_message.as_deref());
                (TopicPartition::new(name.as_str(), one.partition_index), outcome.map(|()| producers.collect()))
            })
        });
        Ok(partitions.collect())
    }

    fn about(&self, partition: &TopicPartition, error: Error) -> Error {
        with_partition(partition, error)
    }
}

impl DescribeProducers<'_> {
    async fn run(self) -> Result<PerItem<Vec<ProducerState>, TopicPartition>> {
        self.admin.run(&Job { broker: self.broker }, self.partitions, self.limit).await
    }
}

impl Admin {
    /// What partitions remember of producers, with transactions that are open. Needs Kafka 2.8.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// See [`Admin`]. What concerns one partition is in its item.
    pub fn describe_producers(
        &self,
        partitions: impl IntoIterator<Item = impl Into<TopicPartition>>,
    ) -> DescribeProducers<'_> {
        DescribeProducers::new(self, partitions.into_iter().map(Into::into).collect())
    }
}
