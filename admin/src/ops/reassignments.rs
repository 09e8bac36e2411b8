//! Moving partitions to other brokers. Sources: AlterPartitionReassignments (API key 45) and ListPartitionReassignments
//! (key 46), KIP-455, KIP-860.

use std::collections::BTreeMap;

use rkafka_client_core::{Error, Result, TopicPartition};
use rkafka_protocol::messages::alter_partition_reassignments_request::{ReassignablePartition, ReassignableTopic};
use rkafka_protocol::messages::list_partition_reassignments_request::ListPartitionReassignmentsTopics;
use rkafka_protocol::messages::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse, ListPartitionReassignmentsRequest,
    ListPartitionReassignmentsResponse,
};

use super::{PerItem, by_topic, with_partition};
use crate::Admin;
use crate::driver::{Answers, Operation, Place};
use crate::operation::operation;
use crate::single::To;

/// A partition that is being moved.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PartitionReassignment {
    /// The brokers that have it now, those that come and go included.
    pub replicas: Vec<i32>,
    /// Those of them that come.
    pub adding: Vec<i32>,
    /// Those of them that go.
    pub removing: Vec<i32>,
}

operation! {
    /// What [`Admin::alter_partition_reassignments`] gives.
    pub struct AlterPartitionReassignments => PerItem<(), TopicPartition> {
        targets: BTreeMap<TopicPartition, Option<Vec<i32>>>,
    }
    options {
        /// Whether a partition may get more or fewer replicas than it has (KIP-860). Default: it may. Forbidding it needs
        /// Kafka 4.1.
        allow_replication_factor_change: bool = true,
    }
}

struct Job<'a> {
    targets: &'a BTreeMap<TopicPartition, Option<Vec<i32>>>,
    timeout_ms: i32,
    allow_replication_factor_change: bool,
}

impl Operation for Job<'_> {
    type Key = TopicPartition;
    type Value = ();
    type Request = AlterPartitionReassignmentsRequest;

    fn place(&self, _partition: &TopicPartition) -> Place {
        Place::Controller
    }

    fn request(&self, _version: i16, partitions: &[TopicPartition]) -> Result<AlterPartitionReassignmentsRequest> {
        let mut topics: BTreeMap<&str, Vec<ReassignablePartition>> = BTreeMap::new();
        for partition in partitions {
            let Some(replicas) = self.targets.get(partition) else { continue };
            topics.entry(&partition.topic).or_default().push(ReassignablePartition {
                partition_index: partition.partition,
                replicas: replicas.clone(),
                ..Default::default()
            });
        }
        let topics = topics.into_iter().map(|(name, partitions)| ReassignableTopic {
            name: name.to_owned(),
            partitions,
            ..Default::default()
        });
        Ok(AlterPartitionReassignmentsRequest {
            timeout_ms: self.timeout_ms,
            allow_replication_factor_change: self.allow_replication_factor_change,
            topics: topics.collect(),
            ..Default::default()
        })
    }

    fn read(
        &self,
        _partitions: &[TopicPartition],
        response: AlterPartitionReassignmentsResponse,
    ) -> Answers<TopicPartition, ()> {
        Error::check_with(response.error_code, response.error_message.as_deref())?;
        let partitions = response.responses.into_iter().flat_map(|topic| {
            let name = topic.name;
            topic.partitions.into_iter().map(move |one| {
                let outcome = Error::check_with(one.error_code, one.error_message.as_deref());
                (TopicPartition::new(name.as_str(), one.partition_index), outcome)
            })
        });
        Ok(partitions.collect())
    }

    fn about(&self, partition: &TopicPartition, error: Error) -> Error {
        with_partition(partition, error)
    }
}

operation! {
    /// What [`Admin::list_partition_reassignments`] gives.
    pub struct ListPartitionReassignments => BTreeMap<TopicPartition, PartitionReassignment> {
        partitions: Option<Vec<TopicPartition>>,
    }
}

impl AlterPartitionReassignments<'_> {
    async fn run(self) -> Result<PerItem<(), TopicPartition>> {
        let job = Job {
            targets: &self.targets,
            timeout_ms: self.admin.broker_time(self.limit),
            allow_replication_factor_change: self.allow_replication_factor_change,
        };
        self.admin.run(&job, self.targets.keys().cloned(), self.limit).await
    }
}

impl ListPartitionReassignments<'_> {
    async fn run(self) -> Result<BTreeMap<TopicPartition, PartitionReassignment>> {
        let timeout_ms = self.admin.broker_time(self.limit);
        let topic = |(name, partition_indexes)| ListPartitionReassignmentsTopics {
            name,
            partition_indexes,
            ..Default::default()
        };
        let build = |_| ListPartitionReassignmentsRequest {
            timeout_ms,
            topics: self.partitions.as_ref().map(|partitions| by_topic(partitions).into_iter().map(topic).collect()),
            ..Default::default()
        };
        self.admin.ask(To::Controller, self.limit, &[], build, read).await
    }
}

fn read(response: ListPartitionReassignmentsResponse) -> Result<BTreeMap<TopicPartition, PartitionReassignment>> {
    Error::check_with(response.error_code, response.error_message.as_deref())?;
    let partitions = response.topics.into_iter().flat_map(|topic| {
        let name = topic.name;
        topic.partitions.into_iter().map(move |one| {
            let reassignment = PartitionReassignment {
                replicas: one.replicas,
                adding: one.adding_replicas,
                removing: one.removing_replicas,
            };
            (TopicPartition::new(name.as_str(), one.partition_index), reassignment)
        })
    });
    Ok(partitions.collect())
}

impl Admin {
    /// Moves partitions to these brokers, the preferred leader first; `None` cancels a move that is under way. The answer
    /// says that a move has begun; [`Admin::list_partition_reassignments`] tells of those that are not done.
    ///
    /// Cancel safety: moves may have begun.
    ///
    /// # Errors
    /// See [`Admin`]. What concerns one partition is in its item, such as a move that is not there to be cancelled
    /// ([`NoReassignmentInProgress`](crate::ErrorCode::NoReassignmentInProgress)).
    pub fn alter_partition_reassignments(
        &self,
        targets: impl IntoIterator<Item = (impl Into<TopicPartition>, Option<Vec<i32>>)>,
    ) -> AlterPartitionReassignments<'_> {
        let targets = targets.into_iter().map(|(partition, brokers)| (partition.into(), brokers));
        AlterPartitionReassignments::new(self, targets.collect())
    }

    /// The partitions that are being moved, of these or, with `None`, of all.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// See [`Admin`].
    pub fn list_partition_reassignments(
        &self,
        partitions: Option<Vec<TopicPartition>>,
    ) -> ListPartitionReassignments<'_> {
        ListPartitionReassignments::new(self, partitions)
    }
}
