//! Offsets of partitions by what is asked for. Source: ListOffsets (API key 2), KIP-79, KIP-734 for the largest timestamp,
//! KIP-405 and KIP-1005 for tiered storage, KIP-1023 for the earliest that is not yet uploaded.

use std::collections::BTreeMap;

use rkafka_client_core::{Error, ErrorKind, Result, TopicPartition};
use rkafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use rkafka_protocol::messages::{ListOffsetsRequest, ListOffsetsResponse};

use super::{PerItem, with_partition};
use crate::Admin;
use crate::driver::{Answers, Operation, Place};
use crate::operation::operation;

/// Which offset of a partition is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OffsetSpec {
    /// The first there is.
    Earliest,
    /// The one behind the last.
    Latest,
    /// The first whose record has this timestamp or a later one, in milliseconds since 1970; none where there is no such
    /// record.
    Timestamp(i64),
    /// That of the record with the largest timestamp (KIP-734); none in an empty partition. Needs Kafka 3.0.
    MaxTimestamp,
    /// The first that is on the broker's own disk (KIP-405). Needs Kafka 3.4.
    EarliestLocal,
    /// The last that is in the tiered storage (KIP-1005). Needs Kafka 3.9.
    LatestTiered,
    /// The first that is not yet in the tiered storage (KIP-1023). Needs Kafka 4.2.
    EarliestPendingUpload,
}

impl OffsetSpec {
    fn code(self) -> i64 {
        match self {
            Self::Latest => -1,
            Self::Earliest => -2,
            Self::MaxTimestamp => -3,
            Self::EarliestLocal => -4,
            Self::LatestTiered => -5,
            Self::EarliestPendingUpload => -6,
            Self::Timestamp(timestamp) => timestamp,
        }
    }

    /// The oldest version that can say it.
    fn version_min(self) -> i16 {
        match self {
            Self::Latest | Self::Earliest | Self::Timestamp(_) => 1,
            Self::MaxTimestamp => 7,
            Self::EarliestLocal => 8,
            Self::LatestTiered => 9,
            Self::EarliestPendingUpload => 11,
        }
    }
}

/// Which records count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum IsolationLevel {
    /// Those of open transactions too.
    #[default]
    ReadUncommitted,
    /// Only those before the first that belongs to an open transaction.
    ReadCommitted,
}

/// An offset that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListedOffset {
    /// The offset; `None` where no record is as asked for.
    pub offset: Option<i64>,
    /// The timestamp of its record, where it was asked for by one; `None` where not.
    pub timestamp: Option<i64>,
    /// The leader epoch of its record; `None` where the broker did not say.
    pub leader_epoch: Option<i32>,
}

operation! {
    /// What [`Admin::list_offsets`] gives.
    pub struct ListOffsets => PerItem<ListedOffset, TopicPartition> {
        partitions: BTreeMap<TopicPartition, OffsetSpec>,
    }
    options {
        /// Which records count. Default: all.
        isolation_level: IsolationLevel = IsolationLevel::ReadUncommitted,
    }
}

struct Job<'a> {
    partitions: &'a BTreeMap<TopicPartition, OffsetSpec>,
    isolation_level: IsolationLevel,
    timeout_ms: i32,
}

impl Operation for Job<'_> {
    type Key = TopicPartition;
    type Value = ListedOffset;
    type Request = ListOffsetsRequest;

    fn place(&self, partition: &TopicPartition) -> Place {
        Place::Leader(partition.clone())
    }

    fn check(&self, version: i16, partition: &TopicPartition) -> Result<()> {
        match self.partitions.get(partition) {
            Some(spec) if version < spec.version_min() => {
                let message = format!("the broker cannot look for {spec:?}; it needs a newer Kafka");
                Err(Error::new(ErrorKind::UnsupportedVersion, message))
            }
            _ => Ok(()),
        }
    }

    fn request(&self, _version: i16, partitions: &[TopicPartition]) -> Result<ListOffsetsRequest> {
        let mut topics: BTreeMap<&str, Vec<ListOffsetsPartition>> = BTreeMap::new();
        for partition in partitions {
            let Some(spec) = self.partitions.get(partition) else { continue };
            topics.entry(&partition.topic).or_default().push(ListOffsetsPartition {
                partition_index: partition.partition,
                current_leader_epoch: -1,
                timestamp: spec.code(),
                ..Default::default()
            });
        }
        let topics = topics.into_iter().map(|(name, partitions)| ListOffsetsTopic {
            name: name.to_owned(),
            partitions,
            ..Default::default()
        });
        Ok(ListOffsetsRequest {
            replica_id: -1,
            isolation_level: match self.isolation_level {
                IsolationLevel::ReadUncommitted => 0,
                IsolationLevel::ReadCommitted => 1,
            },
            topics: topics.collect(),
            timeout_ms: self.timeout_ms,
            ..Default::default()
        })
    }

    fn read(
        &self,
        _partitions: &[TopicPartition],
        response: ListOffsetsResponse,
    ) -> Answers<TopicPartition, ListedOffset> {
        let partitions = response.topics.into_iter().flat_map(|topic| {
            let name = topic.name;
            topic.partitions.into_iter().map(move |one| {
                let outcome = Error::check(one.error_code).map(|()| ListedOffset {
                    offset: (one.offset >= 0).then_some(one.offset),
                    timestamp: (one.timestamp >= 0).then_some(one.timestamp),
                    leader_epoch: (one.leader_epoch >= 0).then_some(one.leader_epoch),
                });
                (TopicPartition::new(name.as_str(), one.partition_index), outcome)
            })
        });
        Ok(partitions.collect())
    }

    fn about(&self, partition: &TopicPartition, error: Error) -> Error {
        with_partition(partition, error)
    }
}

impl ListOffsets<'_> {
    async fn run(self) -> Result<PerItem<ListedOffset, TopicPartition>> {
        let job = Job {
            partitions: &self.partitions,
            isolation_level: self.isolation_level,
            timeout_ms: self.admin.broker_time(self.limit),
        };
        self.admin.run(&job, self.partitions.keys().cloned(), self.limit).await
    }
}

impl Admin {
    /// Offsets of partitions: the earliest, the latest, that of a time.
    ///
    /// ```no_run
    /// # use rkafka_admin::{Admin, OffsetSpec, TopicPartition};
    /// # async fn run(admin: Admin) -> Result<(), rkafka_admin::Error> {
    /// let ends = admin.list_offsets([(TopicPartition::new("orders", 0), OffsetSpec::Latest)]).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// See [`Admin`]. What concerns one partition is in its item; a topic or partition that is not there is
    /// [`UnknownTopicOrPartition`](crate::ErrorCode::UnknownTopicOrPartition), soon.
    pub fn list_offsets(
        &self,
        partitions: impl IntoIterator<Item = (impl Into<TopicPartition>, OffsetSpec)>,
    ) -> ListOffsets<'_> {
        ListOffsets::new(self, partitions.into_iter().map(|(partition, spec)| (partition.into(), spec)).collect())
    }
}
