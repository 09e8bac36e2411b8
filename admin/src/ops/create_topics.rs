//! Creating topics. Source: CreateTopics (API key 19), KIP-4; KIP-525 for what comes back.

use std::time::Duration;

use rkafka_client_core::{Error, ErrorCode, Result, retry};
use rkafka_protocol::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use rkafka_protocol::messages::{CreateTopicsRequest, CreateTopicsResponse};

use super::PerItem;
use crate::{Admin, TopicId};

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

/// How topics are created.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct CreateTopicsOptions {
    /// Let the broker check everything and create nothing.
    pub validate_only: bool,
}

impl CreateTopicsOptions {
    /// Lets the broker check everything and create nothing.
    #[must_use]
    pub const fn validate_only(mut self, validate_only: bool) -> Self {
        self.validate_only = validate_only;
        self
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
}

impl Admin {
    /// Creates topics.
    ///
    /// A topic that exists is an error of its own, [`ErrorCode::TopicAlreadyExists`]; the others are created all the
    /// same. After a lost answer the request is sent again, so a topic may be reported as existing that this very call
    /// created.
    ///
    /// Cancel safety: the request may have been carried out.
    ///
    /// # Errors
    /// The cluster cannot be reached within `default.api.timeout.ms`. What concerns one topic is in its item.
    pub async fn create_topics(
        &self,
        topics: &[NewTopic],
        options: CreateTopicsOptions,
    ) -> Result<PerItem<CreatedTopic>> {
        let response = retry(self.policy(), |_| async {
            let request = CreateTopicsRequest {
                topics: topics.iter().map(NewTopic::to_wire).collect(),
                timeout_ms: i32::try_from(self.timeout().min(Duration::from_secs(60)).as_millis()).unwrap_or(i32::MAX),
                validate_only: options.validate_only,
                ..Default::default()
            };
            let response: CreateTopicsResponse = self.controller_request(request).await?;
            // Only what says that the controller has moved is worth asking anew as a whole.
            match response.topics.iter().find(|topic| topic.error_code == ErrorCode::NotController.code()) {
                Some(_) => Err(Error::broker_error(ErrorCode::NotController)),
                None => Ok(response),
            }
        })
        .await?;
        Ok(response
            .topics
            .into_iter()
            .map(|topic| {
                let outcome = Error::check_with(topic.error_code, topic.error_message.as_deref())
                    .map_err(|error| error.with_topic(topic.name.clone()))
                    .map(|()| CreatedTopic {
                        id: (!topic.topic_id.is_nil()).then_some(topic.topic_id),
                        partitions: (topic.num_partitions >= 0).then_some(topic.num_partitions),
                        replication_factor: (topic.replication_factor >= 0).then_some(topic.replication_factor),
                    });
                (topic.name, outcome)
            })
            .collect())
    }
}
