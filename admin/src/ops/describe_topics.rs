//! Partitions of topics, with leaders and replicas. Source: DescribeTopicPartitions (API key 75, KIP-966), page by page;
//! where the broker does not know it, and for ids, Metadata (key 3).

use std::collections::BTreeSet;

use rkafka_client_core::{Error, ErrorCode, ErrorKind, Result};
use rkafka_protocol::messages::describe_topic_partitions_request::{Cursor, TopicRequest};
use rkafka_protocol::messages::describe_topic_partitions_response::{
    DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use rkafka_protocol::messages::metadata_request::MetadataRequestTopic;
use rkafka_protocol::messages::metadata_response::MetadataResponseTopic;
use rkafka_protocol::messages::{
    DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse, MetadataRequest, MetadataResponse,
};

use super::PerItem;
use crate::driver::{Answers, Operation, Place};
use crate::operation::operation;
use crate::single::To;
use crate::{AclOperation, Admin, TopicId};

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
    /// What this client may do with it; `None` where it was not asked for, or the broker did not say.
    pub authorized_operations: Option<BTreeSet<AclOperation>>,
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
    /// Those of them that may lead although they are not in sync, for they have all that was committed (KIP-966); `None`
    /// from brokers before Kafka 4.0, and where the topic was asked for by its id.
    pub eligible_leader_replicas: Option<Vec<i32>>,
    /// The last that were known to be so (KIP-966), where none is left; `None` as above.
    pub last_known_elr: Option<Vec<i32>>,
}

operation! {
    /// What [`Admin::describe_topics`] gives.
    pub struct DescribeTopics => PerItem<TopicDescription> {
        names: Vec<String>,
    }
    options {
        /// Whether to say what this client may do with each topic. Default: not.
        include_authorized_operations: bool = false,
        /// How many partitions a broker may put into one answer; more come with further requests. Default: 2000, which
        /// is also the most that a broker puts into one unless its `max.request.partition.size.limit` says otherwise.
        partition_limit_per_response: i32 = 2_000,
    }
}

operation! {
    /// What [`Admin::describe_topics_by_id`] gives.
    pub struct DescribeTopicsById => PerItem<TopicDescription, TopicId> {
        ids: Vec<TopicId>,
    }
    options {
        /// Whether to say what this client may do with each topic. Default: not.
        include_authorized_operations: bool = false,
    }
}

impl DescribeTopics<'_> {
    async fn run(self) -> Result<PerItem<TopicDescription>> {
        let limit = self.limit;
        let admin = self.admin;
        admin.within(limit, self.in_pages()).await
    }

    async fn in_pages(self) -> Result<PerItem<TopicDescription>> {
        // A broker goes through them in this order.
        let names: BTreeSet<String> = self.names.iter().cloned().collect();
        let mut done: PerItem<TopicDescription> = PerItem::new();
        let mut cursor: Option<Cursor> = None;
        while !names.is_empty() {
            let wanted = names.iter().filter(|name| cursor.as_ref().is_none_or(|from| **name >= from.topic_name));
            let topics: Vec<TopicRequest> =
                wanted.map(|name| TopicRequest { name: name.clone(), ..Default::default() }).collect();
            let build = |_| DescribeTopicPartitionsRequest {
                topics: topics.clone(),
                response_partition_limit: self.partition_limit_per_response,
                cursor: cursor.clone(),
                ..Default::default()
            };
            let page = self.admin.ask(To::Any, self.limit, &[], build, Ok).await;
            let page: DescribeTopicPartitionsResponse = match page {
                Err(error) if error.kind() == ErrorKind::UnsupportedVersion && cursor.is_none() => {
                    return self.by_metadata().await;
                }
                page => page?,
            };
            for topic in page.topics {
                self.take(&mut done, topic);
            }
            let Some(next) = page.next_cursor else { break };
            let (topic_name, partition_index) = (next.topic_name, next.partition_index);
            if cursor
                .as_ref()
                .is_some_and(|before| (&before.topic_name, before.partition_index) >= (&topic_name, partition_index))
            {
                return Err(Error::new(ErrorKind::Protocol, "the broker's pages of partitions lead back"));
            }
            cursor = Some(Cursor { topic_name, partition_index, ..Default::default() });
        }
        for name in names {
            done.entry(name.clone()).or_insert_with(|| {
                Err(Error::new(ErrorKind::Protocol, "the broker's answer says nothing of it").with_topic(name))
            });
        }
        for topic in done.values_mut().flatten() {
            topic.partitions.sort_by_key(|partition| partition.partition);
        }
        Ok(done)
    }

    fn take(&self, done: &mut PerItem<TopicDescription>, topic: DescribeTopicPartitionsResponseTopic) {
        let name = topic.name.unwrap_or_default();
        if let Err(error) = Error::check(topic.error_code) {
            done.insert(name.clone(), Err(error.with_topic(name)));
            return;
        }
        let partitions = topic.partitions.into_iter().map(from_page);
        match done.get_mut(&name) {
            Some(Ok(known)) => known.partitions.extend(partitions),
            _ => {
                let description = TopicDescription {
                    name: name.clone(),
                    id: (!topic.topic_id.is_nil()).then_some(topic.topic_id),
                    internal: topic.is_internal,
                    partitions: partitions.collect(),
                    authorized_operations: AclOperation::from_bits(topic.topic_authorized_operations)
                        .filter(|_| self.include_authorized_operations),
                };
                done.insert(name, Ok(description));
            }
        }
    }

    async fn by_metadata(&self) -> Result<PerItem<TopicDescription>> {
        let job = ByName { authorized: self.include_authorized_operations };
        self.admin.run(&job, self.names.clone(), self.limit).await
    }
}

fn from_page(partition: DescribeTopicPartitionsResponsePartition) -> PartitionDescription {
    PartitionDescription {
        partition: partition.partition_index,
        leader: (partition.leader_id >= 0).then_some(partition.leader_id),
        leader_epoch: partition.leader_epoch,
        replicas: partition.replica_nodes,
        in_sync_replicas: partition.isr_nodes,
        offline_replicas: partition.offline_replicas,
        eligible_leader_replicas: Some(partition.eligible_leader_replicas.unwrap_or_default()),
        last_known_elr: Some(partition.last_known_elr.unwrap_or_default()),
    }
}

struct ByName {
    authorized: bool,
}

impl Operation for ByName {
    type Key = String;
    type Value = TopicDescription;
    type Request = MetadataRequest;

    fn place(&self, _topic: &String) -> Place {
        Place::Any
    }

    fn request(&self, _version: i16, names: &[String]) -> Result<MetadataRequest> {
        let topics = names.iter().map(|name| MetadataRequestTopic { name: Some(name.clone()), ..Default::default() });
        Ok(MetadataRequest {
            topics: Some(topics.collect()),
            allow_auto_topic_creation: false,
            include_topic_authorized_operations: self.authorized,
            ..Default::default()
        })
    }

    fn read(&self, _names: &[String], response: MetadataResponse) -> Answers<String, TopicDescription> {
        let topics = response.topics.into_iter().map(|topic| {
            let name = topic.name.clone().unwrap_or_default();
            (name, description(topic))
        });
        Ok(topics.collect())
    }

    fn about(&self, topic: &String, error: Error) -> Error {
        error.with_topic(topic)
    }
}

struct ById {
    authorized: bool,
}

impl Operation for ById {
    type Key = TopicId;
    type Value = TopicDescription;
    type Request = MetadataRequest;

    fn place(&self, _topic: &TopicId) -> Place {
        Place::Any
    }

    fn request(&self, version: i16, ids: &[TopicId]) -> Result<MetadataRequest> {
        if version < 12 {
            let message = "the broker describes topics by their names only; ids need Kafka 3.1";
            return Err(Error::new(ErrorKind::UnsupportedVersion, message));
        }
        let topics = ids.iter().map(|id| MetadataRequestTopic { topic_id: *id, name: None, ..Default::default() });
        Ok(MetadataRequest {
            topics: Some(topics.collect()),
            allow_auto_topic_creation: false,
            include_topic_authorized_operations: self.authorized,
            ..Default::default()
        })
    }

    fn read(&self, _ids: &[TopicId], response: MetadataResponse) -> Answers<TopicId, TopicDescription> {
        Ok(response.topics.into_iter().map(|topic| (topic.topic_id, description(topic))).collect())
    }

    fn about(&self, id: &TopicId, error: Error) -> Error {
        error.with_topic(id.to_string())
    }
}

fn description(topic: MetadataResponseTopic) -> Result<TopicDescription> {
    match ErrorCode::from_code(topic.error_code) {
        // The topic is there, and one of its partitions has no leader now, which its description says.
        ErrorCode::None | ErrorCode::LeaderNotAvailable => {}
        code => return Err(Error::broker_error(code)),
    }
    let partitions = topic.partitions.into_iter().map(|partition| PartitionDescription {
        partition: partition.partition_index,
        leader: (partition.leader_id >= 0).then_some(partition.leader_id),
        leader_epoch: partition.leader_epoch,
        replicas: partition.replica_nodes,
        in_sync_replicas: partition.isr_nodes,
        offline_replicas: partition.offline_replicas,
        eligible_leader_replicas: None,
        last_known_elr: None,
    });
    let mut partitions: Vec<PartitionDescription> = partitions.collect();
    partitions.sort_by_key(|partition| partition.partition);
    Ok(TopicDescription {
        name: topic.name.unwrap_or_default(),
        id: (!topic.topic_id.is_nil()).then_some(topic.topic_id),
        internal: topic.is_internal,
        partitions,
        authorized_operations: AclOperation::from_bits(topic.topic_authorized_operations),
    })
}

impl DescribeTopicsById<'_> {
    async fn run(self) -> Result<PerItem<TopicDescription, TopicId>> {
        let job = ById { authorized: self.include_authorized_operations };
        self.admin.run(&job, self.ids, self.limit).await
    }
}

impl Admin {
    /// Describes topics. A topic that is not there is an error of its own at once; none is created.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// See [`Admin`]. What concerns one topic is in its item.
    pub fn describe_topics(&self, topics: impl IntoIterator<Item: AsRef<str>>) -> DescribeTopics<'_> {
        DescribeTopics::new(self, super::strings(topics))
    }

    /// As [`Admin::describe_topics`], by ids (KIP-516). Needs Kafka 3.1.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// See [`Admin`]. What concerns one topic is in its item.
    pub fn describe_topics_by_id(&self, topics: impl IntoIterator<Item = TopicId>) -> DescribeTopicsById<'_> {
        DescribeTopicsById::new(self, topics.into_iter().collect())
    }
}
