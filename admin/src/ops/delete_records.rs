//! Deleting the oldest records of partitions. Source: DeleteRecords (API key 21), KIP-107.

use std::collections::BTreeMap;

use rkafka_client_core::{Error, Result, TopicPartition};
use rkafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use rkafka_protocol::messages::{DeleteRecordsRequest, DeleteRecordsResponse};

use super::{PerItem, with_partition};
use crate::Admin;
use crate::driver::{Answers, Operation, Place};
use crate::operation::operation;

/// Which records of a partition are to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RecordsToDelete {
    /// Those before this offset.
    Before(i64),
    /// All up to the high watermark.
    All,
}

operation! {
    /// What [`Admin::delete_records`] gives.
    pub struct DeleteRecords => PerItem<i64, TopicPartition> {
        partitions: BTreeMap<TopicPartition, RecordsToDelete>,
    }
}

struct Job<'a> {
    partitions: &'a BTreeMap<TopicPartition, RecordsToDelete>,
    timeout_ms: i32,
}

impl Operation for Job<'_> {
    type Key = TopicPartition;
    type Value = i64;
    type Request = DeleteRecordsRequest;

    fn place(&self, partition: &TopicPartition) -> Place {
        Place::Leader(partition.clone())
    }

    fn request(&self, _version: i16, partitions: &[TopicPartition]) -> Result<DeleteRecordsRequest> {
        let mut topics: BTreeMap<&str, Vec<DeleteRecordsPartition>> = BTreeMap::new();
        for partition in partitions {
            let Some(which) = self.partitions.get(partition) else { continue };
            topics.entry(&partition.topic).or_default().push(DeleteRecordsPartition {
                partition_index: partition.partition,
                offset: match which {
                    RecordsToDelete::Before(offset) => *offset,
                    RecordsToDelete::All => -1,
                },
                ..Default::default()
            });
        }
        let topics = topics.into_iter().map(|(name, partitions)| DeleteRecordsTopic {
            name: name.to_owned(),
            partitions,
            ..Default::default()
        });
        Ok(DeleteRecordsRequest { topics: topics.collect(), timeout_ms: self.timeout_ms, ..Default::default() })
    }

    fn read(&self, _partitions: &[TopicPartition], response: DeleteRecordsResponse) -> Answers<TopicPartition, i64> {
        let partitions = response.topics.into_iter().flat_map(|topic| {
            let name = topic.name;
            topic.partitions.into_iter().map(move |one| {
                let outcome = Error::check(one.error_code).map(|()| one.low_watermark);
                (TopicPartition::new(name.as_str(), one.partition_index), outcome)
            })
        });
        Ok(partitions.collect())
    }

    fn about(&self, partition: &TopicPartition, error: Error) -> Error {
        with_partition(partition, error)
    }
}

impl DeleteRecords<'_> {
    async fn run(self) -> Result<PerItem<i64, TopicPartition>> {
        let job = Job { partitions: &self.partitions, timeout_ms: self.admin.broker_time(self.limit) };
        self.admin.run(&job, self.partitions.keys().cloned(), self.limit).await
    }
}

impl Admin {
    /// Deletes the oldest records of partitions, and gives the first offset that is left of each.
    ///
    /// Cancel safety: the records may have been deleted.
    ///
    /// # Errors
    /// See [`Admin`]. What concerns one partition is in its item, such as an offset beyond the high watermark
    /// ([`OffsetOutOfRange`](crate::ErrorCode::OffsetOutOfRange)).
    pub fn delete_records(
        &self,
        partitions: impl IntoIterator<Item = (impl Into<TopicPartition>, RecordsToDelete)>,
    ) -> DeleteRecords<'_> {
        DeleteRecords::new(self, partitions.into_iter().map(|(partition, which)| (partition.into(), which)).collect())
    }
}
