//! Partitions of topics, with leaders and replicas. Source: Metadata (API key 3), which every broker knows.

use rkafka_client_core::{Error, Result, retry};
use rkafka_protocol::messages::metadata_request::MetadataRequestTopic;
use rkafka_protocol::messages::metadata_response::MetadataResponseTopic;
use rkafka_protocol::messages::{MetadataRequest, MetadataResponse};

use super::PerItem;
use crate::{Admin, TopicId};

/// A topic with its partitions.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TopicDescription {
    /// Its name.
    pub name: String,
    /// Its id; `None` from brokers before Kafka 2.8.
    pub id: Option<TopicId>,
    /// Whether Kafka keeps it for itself.
    pub internal: bool,
    /// Its partitions, by number.
    pub partitions: Vec<PartitionDescription>,
}

/// One partition.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PartitionDescription {
    /// Its number.
    pub partition: i32,
    /// The broker that leads it; `None` while there is none.
    pub leader: Option<i32>,
    /// The leader's epoch; -1 from brokers before Kafka 2.1.
    pub leader_epoch: i32,
    /// The brokers that have it, the preferred leader first.
    pub replicas: Vec<i32>,
    /// Those of them that are in sync.
    pub in_sync_replicas: Vec<i32>,
    /// Those of them that are down.
    pub offline_replicas: Vec<i32>,
}

impl Admin {
    /// Describes topics. A topic that is not there is an error of its own; none is created.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// The cluster cannot be reached within `default.api.timeout.ms`. What concerns one topic is in its item.
    pub async fn describe_topics(&self, topics: &[impl AsRef<str> + Sync]) -> Result<PerItem<TopicDescription>> {
        let response: MetadataResponse = retry(self.policy(), |_| async {
            let wanted = topics
                .iter()
                .map(|topic| MetadataRequestTopic { name: Some(topic.as_ref().to_owned()), ..Default::default() })
                .collect();
            let request =
                MetadataRequest { topics: Some(wanted), allow_auto_topic_creation: false, ..Default::default() };
            self.any_request(request).await
        })
        .await?;
        Ok(response
            .topics
            .into_iter()
            .map(|topic| {
                let name = topic.name.clone().unwrap_or_default();
                let outcome = Error::check(topic.error_code)
                    .map_err(|error| error.with_topic(name.clone()))
                    .map(|()| description(name.clone(), topic));
                (name, outcome)
            })
            .collect())
    }
}

fn description(name: String, topic: MetadataResponseTopic) -> TopicDescription {
    let mut partitions: Vec<PartitionDescription> = topic
        .partitions
        .into_iter()
        .map(|partition| PartitionDescription {
            partition: partition.partition_index,
            leader: (partition.leader_id >= 0).then_some(partition.leader_id),
            leader_epoch: partition.leader_epoch,
            replicas: partition.replica_nodes,
            in_sync_replicas: partition.isr_nodes,
            offline_replicas: partition.offline_replicas,
        })
        .collect();
    partitions.sort_by_key(|partition| partition.partition);
    TopicDescription {
        name,
        id: (!topic.topic_id.is_nil()).then_some(topic.topic_id),
        internal: topic.is_internal,
        partitions,
    }
}
