//! The directories that brokers keep partitions in. Source: DescribeLogDirs (API key 35), KIP-113, KIP-827, KIP-1066.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use rkafka_client_core::{Error, Result, TopicPartition};
use rkafka_protocol::messages::describe_log_dirs_request::DescribableLogDirTopic;
use rkafka_protocol::messages::{DescribeLogDirsRequest, DescribeLogDirsResponse};

use super::{PerItem, by_topic};
use crate::Admin;
use crate::driver::{Answers, Operation, Place};
use crate::operation::operation;

/// A directory of a broker.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogDirDescription {
    /// The partitions in it; also those that are on their way into it, as what they will be.
    pub replicas: BTreeMap<TopicPartition, LogDirReplica>,
    /// The size of its volume in bytes; `None` from brokers before Kafka 3.3, and where it has none.
    pub total_bytes: Option<i64>,
    /// The room that is left on its volume in bytes; `None` likewise.
    pub usable_bytes: Option<i64>,
    /// Whether no new partitions are put into it (KIP-1066).
    pub cordoned: bool,
}

/// A partition in a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogDirReplica {
    /// Its size in bytes.
    pub size: i64,
    /// How far it is behind: of one that is on its way here, behind the one that it replaces; else behind the high
    /// watermark.
    pub offset_lag: i64,
    /// Whether it is on its way here from another directory.
    pub is_future: bool,
}

/// What directories of a broker are like, by their paths; one that is offline is an error of its own.
pub type LogDirs = PerItem<LogDirDescription>;

/// A partition on a broker.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartitionReplica {
    /// The topic's name.
    pub topic: Arc<str>,
    /// The partition's number.
    pub partition: i32,
    /// The broker's id.
    pub broker: i32,
}

impl TopicPartitionReplica {
    /// The replica of a partition on a broker.
    pub fn new(topic: impl Into<Arc<str>>, partition: i32, broker: i32) -> Self {
        Self { topic: topic.into(), partition, broker }
    }

    pub(super) fn partition(&self) -> TopicPartition {
        TopicPartition::new(Arc::clone(&self.topic), self.partition)
    }
}

impl fmt::Display for TopicPartitionReplica {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}-{} on broker {}", self.topic, self.partition, self.broker)
    }
}

/// Which directory a replica is in, and which it is on its way to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ReplicaLogDirInfo {
    /// The directory that it is in, with how far it is behind the high watermark; `None` where the broker has no such
    /// replica.
    pub current: Option<(String, i64)>,
    /// The directory that it is on its way to, with how far that copy is behind.
    pub future: Option<(String, i64)>,
}

operation! {
    /// What [`Admin::describe_log_dirs`] gives.
    pub struct DescribeLogDirs => PerItem<LogDirs, i32> {
        brokers: Vec<i32>,
    }
    options {
        /// Only these partitions. Default: all.
        partitions: Option<Vec<TopicPartition>> = None,
    }
}

operation! {
    /// What [`Admin::describe_replica_log_dirs`] gives.
    pub struct DescribeReplicaLogDirs => PerItem<ReplicaLogDirInfo, TopicPartitionReplica> {
        replicas: BTreeSet<TopicPartitionReplica>,
    }
}

struct Job {
    /// What to ask each broker of.
    wanted: BTreeMap<i32, Option<Vec<TopicPartition>>>,
}

impl Operation for Job {
    type Key = i32;
    type Value = LogDirs;
    type Request = DescribeLogDirsRequest;

    fn place(&self, broker: &i32) -> Place {
        Place::Node(*broker)
    }

    fn request(&self, _version: i16, brokers: &[i32]) -> Result<DescribeLogDirsRequest> {
        let topic = |(topic, partitions)| DescribableLogDirTopic { topic, partitions, ..Default::default() };
        let wanted = brokers.first().and_then(|broker| self.wanted.get(broker)?.as_ref());
        Ok(DescribeLogDirsRequest {
            topics: wanted.map(|partitions| by_topic(partitions).into_iter().map(topic).collect()),
            ..Default::default()
        })
    }

    fn read(&self, brokers: &[i32], response: DescribeLogDirsResponse) -> Answers<i32, LogDirs> {
        let outcome = Error::check(response.error_code);
        let dirs = response.results.into_iter().map(|dir| {
            let replicas = dir.topics.into_iter().flat_map(|topic| {
                let name = topic.name;
                topic.partitions.into_iter().map(move |one| {
                    let replica = LogDirReplica {
                        size: one.partition_size,
                        offset_lag: one.offset_lag,
                        is_future: one.is_future_key,
                    };
                    (TopicPartition::new(name.as_str(), one.partition_index), replica)
                })
            });
            let description = Error::check(dir.error_code).map(|()| LogDirDescription {
                replicas: replicas.collect(),
                total_bytes: (dir.total_bytes >= 0).then_some(dir.total_bytes),
                usable_bytes: (dir.usable_bytes >= 0).then_some(dir.usable_bytes),
                cordoned: dir.is_cordoned,
            });
            (dir.log_dir, description)
        });
        let dirs = outcome.map(|()| dirs.collect());
        Ok(brokers.first().map(|broker| (*broker, dirs)).into_iter().collect())
    }
}

impl DescribeLogDirs<'_> {
    async fn run(self) -> Result<PerItem<LogDirs, i32>> {
        let wanted = self.brokers.iter().map(|broker| (*broker, self.partitions.clone()));
        let job = Job { wanted: wanted.collect() };
        self.admin.run(&job, self.brokers, self.limit).await
    }
}

impl DescribeReplicaLogDirs<'_> {
    async fn run(self) -> Result<PerItem<ReplicaLogDirInfo, TopicPartitionReplica>> {
        let mut wanted: BTreeMap<i32, Vec<TopicPartition>> = BTreeMap::new();
        for replica in &self.replicas {
            wanted.entry(replica.broker).or_default().push(replica.partition());
        }
        let brokers: Vec<i32> = wanted.keys().copied().collect();
        let job = Job { wanted: wanted.into_iter().map(|(broker, partitions)| (broker, Some(partitions))).collect() };
        let told = self.admin.run(&job, brokers, self.limit).await?;
        let find = |replica: &TopicPartitionReplica| match told.get(&replica.broker) {
            Some(Ok(dirs)) => Ok(found(dirs, &replica.partition())),
            Some(Err(error)) => Err(error.clone()),
            None => Err(super::silent(replica)),
        };
        Ok(self.replicas.iter().map(|replica| (replica.clone(), find(replica))).collect())
    }
}

fn found(dirs: &LogDirs, partition: &TopicPartition) -> ReplicaLogDirInfo {
    let mut info = ReplicaLogDirInfo::default();
    for (path, dir) in dirs {
        let Some(replica) = dir.as_ref().ok().and_then(|dir| dir.replicas.get(partition)) else { continue };
        let place = if replica.is_future { &mut info.future } else { &mut info.current };
        *place = Some((path.clone(), replica.offset_lag));
    }
    info
}

impl Admin {
    /// The directories of brokers, with the partitions in them and their sizes.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// See [`Admin`]. What concerns one broker, or one of its directories, is in its item.
    pub fn describe_log_dirs(&self, brokers: impl IntoIterator<Item = i32>) -> DescribeLogDirs<'_> {
        DescribeLogDirs::new(self, brokers.into_iter().collect())
    }

    /// Which directories replicas are in, and which they are on their way to.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// See [`Admin`]. What concerns one replica is in its item.
    pub fn describe_replica_log_dirs(
        &self,
        replicas: impl IntoIterator<Item = TopicPartitionReplica>,
    ) -> DescribeReplicaLogDirs<'_> {
        DescribeReplicaLogDirs::new(self, replicas.into_iter().collect())
    }
}
