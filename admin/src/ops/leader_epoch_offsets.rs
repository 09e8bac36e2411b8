//! Where leader epochs end in the log. Source: OffsetForLeaderEpoch (API key 23), KIP-101, KIP-320.

use std::collections::BTreeMap;

use rkafka_client_core::{Error, Result, TopicPartition};
use rkafka_protocol::messages::offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use rkafka_protocol::messages::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};

use super::{PerItem, with_partition};
use crate::Admin;
use crate::driver::{Answers, Operation, Place};
use crate::operation::operation;

/// Where a leader epoch ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct EpochEndOffset {
    /// The largest epoch in the log that is not above the one asked for.
    pub leader_epoch: i32,
    /// The offset behind its last record.
    pub end_offset: i64,
}

operation! {
    /// What [`Admin::list_leader_epoch_offsets`] gives.
    pub struct ListLeaderEpochOffsets => PerItem<Option<EpochEndOffset>, TopicPartition> {
        partitions: BTreeMap<TopicPartition, i32>,
    }
}

struct Job<'a> {
    partitions: &'a BTreeMap<TopicPartition, i32>,
}

impl Operation for Job<'_> {
    type Key = TopicPartition;
    type Value = Option<EpochEndOffset>;
    type Request = OffsetForLeaderEpochRequest;

    fn place(&self, partition: &TopicPartition) -> Place {
        Place::Leader(partition.clone())
    }

    fn request(&self, _version: i16, partitions: &[TopicPartition]) -> Result<OffsetForLeaderEpochRequest> {
        let mut topics: BTreeMap<&str, Vec<OffsetForLeaderPartition>> = BTreeMap::new();
        for partition in partitions {
            let Some(epoch) = self.partitions.get(partition) else { continue };
            topics.entry(&partition.topic).or_default().push(OffsetForLeaderPartition {
                partition: partition.partition,
                current_leader_epoch: -1,
                leader_epoch: *epoch,
                ..Default::default()
            });
        }
        let topics = topics.into_iter().map(|(topic, partitions)| OffsetForLeaderTopic {
            topic: topic.to_owned(),
            partitions,
            ..Default::default()
        });
        Ok(OffsetForLeaderEpochRequest { replica_id: -1, topics: topics.collect(), ..Default::default() })
    }

    fn read(
        &self,
        _partitions: &[TopicPartition],
        response: OffsetForLeaderEpochResponse,
    ) -> Answers<TopicPartition, Option<EpochEndOffset>> {
        let partitions = response.topics.into_iter().flat_map(|topic| {
            let name = topic.topic;
            topic.partitions.into_iter().map(move |one| {
                let end = EpochEndOffset { leader_epoch: one.leader_epoch, end_offset: one.end_offset };
                let outcome = Error::check(one.error_code).map(|()| (one.end_offset >= 0).then_some(end));
                (TopicPartition::new(name.as_str(), one.partition), outcome)
            })
        });
        Ok(partitions.collect())
    }

    fn about(&self, partition: &TopicPartition, error: Error) -> Error {
        with_partition(partition, error)
    }
}

impl ListLeaderEpochOffsets<'_> {
    async fn run(self) -> Result<PerItem<Option<EpochEndOffset>, TopicPartition>> {
        let job = Job { partitions: &self.partitions };
        self.admin.run(&job, self.partitions.keys().cloned(), self.limit).await
    }
}

impl Admin {
    /// Where leader epochs end in the logs of partitions; `None` where the log knows nothing of such an old one.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// See [`Admin`]. What concerns one partition is in its item.
    pub fn list_leader_epoch_offsets(
        &self,
        partitions: impl IntoIterator<Item = (impl Into<TopicPartition>, i32)>,
    ) -> ListLeaderEpochOffsets<'_> {
        let partitions = partitions.into_iter().map(|(partition, epoch)| (partition.into(), epoch));
        ListLeaderEpochOffsets::new(self, partitions.collect())
    }
}
