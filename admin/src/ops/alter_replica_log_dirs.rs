//! Moving replicas between the directories of their brokers. Source: AlterReplicaLogDirs (API key 34), KIP-113.

use std::collections::BTreeMap;

use rkafka_client_core::{Error, Result};
use rkafka_protocol::messages::alter_replica_log_dirs_request::{AlterReplicaLogDir, AlterReplicaLogDirTopic};
use rkafka_protocol::messages::{AlterReplicaLogDirsRequest, AlterReplicaLogDirsResponse};

use super::{PerItem, TopicPartitionReplica};
use crate::Admin;
use crate::driver::{Answers, Operation, Place};
use crate::operation::operation;

operation! {
    /// What [`Admin::alter_replica_log_dirs`] gives.
    pub struct AlterReplicaLogDirs => PerItem<(), TopicPartitionReplica> {
        targets: BTreeMap<TopicPartitionReplica, String>,
    }
}

struct Job<'a> {
    targets: &'a BTreeMap<TopicPartitionReplica, String>,
}

impl Operation for Job<'_> {
    type Key = TopicPartitionReplica;
    type Value = ();
    type Request = AlterReplicaLogDirsRequest;

    fn place(&self, replica: &TopicPartitionReplica) -> Place {
        Place::Node(replica.broker)
    }

    fn request(&self, _version: i16, replicas: &[TopicPartitionReplica]) -> Result<AlterReplicaLogDirsRequest> {
        let mut dirs: BTreeMap<&str, BTreeMap<&str, Vec<i32>>> = BTreeMap::new();
        for replica in replicas {
            let Some(path) = self.targets.get(replica) else { continue };
            dirs.entry(path).or_default().entry(&replica.topic).or_default().push(replica.partition);
        }
        let topic = |(name, partitions): (&str, Vec<i32>)| AlterReplicaLogDirTopic {
            name: name.to_owned(),
            partitions,
            ..Default::default()
        };
        let dirs = dirs.into_iter().map(|(path, topics)| AlterReplicaLogDir {
            path: path.to_owned(),
            topics: topics.into_iter().map(topic).collect(),
            ..Default::default()
        });
        Ok(AlterReplicaLogDirsRequest { dirs: dirs.collect(), ..Default::default() })
    }

    fn read(
        &self,
        replicas: &[TopicPartitionReplica],
        response: AlterReplicaLogDirsResponse,
    ) -> Answers<TopicPartitionReplica, ()> {
        // All of a request are on one broker.
        let broker = replicas.first().map_or(-1, |replica| replica.broker);
        let replicas = response.results.into_iter().flat_map(|topic| {
            let name = topic.topic_name;
            topic.partitions.into_iter().map(move |one| {
                let replica = TopicPartitionReplica::new(name.as_str(), one.partition_index, broker);
                (replica, Error::check(one.error_code))
            })
        });
        Ok(replicas.collect())
    }

    fn about(&self, replica: &TopicPartitionReplica, error: Error) -> Error {
        error.with_partition(&*replica.topic, replica.partition)
    }
}

impl AlterReplicaLogDirs<'_> {
    async fn run(self) -> Result<PerItem<(), TopicPartitionReplica>> {
        let job = Job { targets: &self.targets };
        self.admin.run(&job, self.targets.keys().cloned(), self.limit).await
    }
}

impl Admin {
    /// Moves replicas to other directories of their brokers, by absolute paths as `log.dirs` has them. The answer says that
    /// a move has begun; [`Admin::describe_replica_log_dirs`] tells when it is done. Of a replica that its broker does not
    /// have, the broker notes where it is to go once it is there, and answers
    /// [`ReplicaNotAvailable`](crate::ErrorCode::ReplicaNotAvailable).
    ///
    /// Cancel safety: moves may have begun.
    ///
    /// # Errors
    /// See [`Admin`]. What concerns one replica is in its item.
    pub fn alter_replica_log_dirs(
        &self,
        targets: impl IntoIterator<Item = (TopicPartitionReplica, impl Into<String>)>,
    ) -> AlterReplicaLogDirs<'_> {
        AlterReplicaLogDirs::new(self, targets.into_iter().map(|(replica, path)| (replica, path.into())).collect())
    }
}
