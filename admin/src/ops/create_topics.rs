//! Creating topics. Source: CreateTopics (API key 19), KIP-4; KIP-525 for what comes back, KIP-599 for the quota.

use std::borrow::Borrow;

use rkafka_client_core::{Error, Result};
use rkafka_protocol::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use rkafka_protocol::messages::{CreateTopicsRequest, CreateTopicsResponse};

use super::PerItem;
use crate::driver::{Answers, Operation, Place};
use crate::operation::operation;
use crate::{Admin, ConfigEntry, TopicId};

/// A topic to create.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// How many partitions; `None` takes the broker's `num.partitions`.
    pub partitions: Option<i32>,
    /// How many replicas; `None` takes the broker's `default.replication.factor`.
    pub replication_factor: Option<i16>,
    /// The brokers of each partition, the preferred leader first. Where given, the two counts follow from it.
    pub assignments: Vec<Vec<i32>>,
    /// Settings by Kafka's names, such as `retention.ms`; the broker's defaults for all others.
    pub configs: Vec<(String, String)>,
}

impl NewTopic {
    /// A topic with the broker's defaults.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            partitions: None,
            replication_factor: None,
            assignments: Vec::new(),
            configs: Vec::new(),
        }
    }

    /// Sets how many partitions.
    #[must_use]
    pub fn partitions(mut self, count: i32) -> Self {
        self.partitions = Some(count);
        self
    }

    /// Sets how many replicas.
    #[must_use]
    pub fn replication_factor(mut self, count: i16) -> Self {
        self.replication_factor = Some(count);
        self
    }

    /// Sets the brokers of each partition, the preferred leader first.
    #[must_use]
    pub fn assignments(mut self, brokers: Vec<Vec<i32>>) -> Self {
        self.assignments = brokers;
        self
    }

    /// Adds a setting.
    #[must_use]
    pub fn config(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.configs.push((name.into(), value.into()));
        self
    }

    fn to_wire(&self) -> CreatableTopic {
        let assigned = !self.assignments.is_empty();
        CreatableTopic {
            name: self.name.clone(),
            // -1 asks for the broker's default (KIP-464), and stands beside assignments too.
            num_partitions: if assigned { -1 } else { self.partitions.unwrap_or(-1) },
            replication_factor: if assigned { -1 } else { self.replication_factor.unwrap_or(-1) },
            assignments: (0..)
                .zip(&self.assignments)
                .map(|(partition_index, brokers)| CreatableReplicaAssignment {
                    partition_index,
                    broker_ids: brokers.clone(),
                    ..Default::default()
                })
                .collect(),
            configs: self
                .configs
                .iter()
                .map(|(name, value)| CreatableTopicConfig {
                    name: name.clone(),
                    value: Some(value.clone()),
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        }
    }
}

/// A topic that was created, or that would be.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CreatedTopic {
    /// Its id; `None` from brokers before Kafka 2.8, and where it was only validated.
    pub id: Option<TopicId>,
    /// How many partitions it has; `None` where the broker did not say.
    pub partitions: Option<i32>,
    /// How many replicas each has; `None` where the broker did not say.
    pub replication_factor: Option<i16>,
    /// Its settings with where each comes from; `None` where this client may not see them, or the broker is older than
    /// Kafka 2.4.
    pub configs: Option<Vec<ConfigEntry>>,
}

operation! {
    /// What [`Admin::create_topics`] gives.
    pub struct CreateTopics => PerItem<CreatedTopic> {
        topics: Vec<NewTopic>,
    }
    options {
        /// Whether the broker only checks everything, and creates nothing. Default: it creates.
        validate_only: bool = false,
    }
}

struct Job<'a> {
    topics: &'a [NewTopic],
    timeout_ms: i32,
    validate_only: bool,
}

impl Operation for Job<'_> {
    type Key = String;
    type Value = CreatedTopic;
    type Request = CreateTopicsRequest;

    fn place(&self, _topic: &String) -> Place {
        Place::Controller
    }

    fn request(&self, _version: i16, names: &[String]) -> Result<CreateTopicsRequest> {
        Ok(CreateTopicsRequest {
            topics: self.topics.iter().filter(|topic| names.contains(&topic.name)).map(NewTopic::to_wire).collect(),
            timeout_ms: self.timeout_ms,
            validate_only: self.validate_only,
            ..Default::default()
        })
    }

    fn read(&self, _names: &[String], response: CreateTopicsResponse) -> Answers<String, CreatedTopic> {
        let topics = response.topics.into_iter().map(|topic| {
            let outcome = Error::check_with(topic.error_code, topic.error_message.as_deref()).map(|()| CreatedTopic {
                id: (!topic.topic_id.is_nil()).then_some(topic.topic_id),
                partitions: (topic.num_partitions >= 0).then_some(topic.num_partitions),
                replication_factor: (topic.replication_factor >= 0).then_some(topic.replication_factor),
                configs: topic
                    .configs
                    .filter(|_| topic.topic_config_error_code == 0)
                    .map(|configs| configs.into_iter().map(ConfigEntry::from).collect()),
            });
            (topic.name, outcome)
        });
        Ok(topics.collect())
    }

    fn about(&self, topic: &String, error: Error) -> Error {
        error.with_topic(topic)
    }
}

impl CreateTopics<'_> {
    async fn run(self) -> Result<PerItem<CreatedTopic>> {
        let job = Job {
            topics: &self.topics,
            timeout_ms: self.admin.broker_time(self.limit),
            validate_only: self.validate_only,
        };
        self.admin.run(&job, self.topics.iter().map(|topic| topic.name.clone()), self.limit).await
    }
}

impl Admin {
    /// Creates topics.
    ///
    /// A topic that exists is an error of its own, [`TopicAlreadyExists`](crate::ErrorCode::TopicAlreadyExists); the
    /// others are created all the same. After a lost answer the request is sent again, so a topic may be reported as
    /// existing that this very call created. A name that is given twice is an error of that name.
    ///
    /// Cancel safety: the topics may have been created.
    ///
    /// # Errors
    /// See [`Admin`]. What concerns one topic is in its item.
    pub fn create_topics(&self, topics: impl IntoIterator<Item: Borrow<NewTopic>>) -> CreateTopics<'_> {
        CreateTopics::new(self, topics.into_iter().map(|topic| topic.borrow().clone()).collect())
    }
}
