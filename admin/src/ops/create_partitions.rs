//! Adding partitions. Source: CreatePartitions (API key 37), KIP-195.

use std::collections::BTreeMap;

use rkafka_client_core::{Error, Result};
use rkafka_protocol::messages::create_partitions_request::{CreatePartitionsAssignment, CreatePartitionsTopic};
use rkafka_protocol::messages::{CreatePartitionsRequest, CreatePartitionsResponse};

use super::PerItem;
use crate::Admin;
use crate::driver::{Answers, Operation, Place};
use crate::operation::operation;

/// How many partitions a topic is to have.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NewPartitions {
    /// How many there are to be in all, those that there are included.
    pub total: i32,
    /// The brokers of each partition that is added, the preferred leader first; `None` lets the controller choose.
    pub assignments: Option<Vec<Vec<i32>>>,
}

impl NewPartitions {
    /// As many partitions in all, those that there are included.
    pub const fn increase_to(total: i32) -> Self {
        Self { total, assignments: None }
    }

    /// Sets the brokers of each partition that is added, the preferred leader first.
    #[must_use]
    pub fn assignments(mut self, brokers: Vec<Vec<i32>>) -> Self {
        self.assignments = Some(brokers);
        self
    }
}

operation! {
    /// What [`Admin::create_partitions`] gives.
    pub struct CreatePartitions => PerItem<()> {
        topics: BTreeMap<String, NewPartitions>,
    }
    options {
        /// Whether the broker only checks everything, and adds nothing. Default: it adds.
        validate_only: bool = false,
    }
}

struct Job<'a> {
    topics: &'a BTreeMap<String, NewPartitions>,
    timeout_ms: i32,
    validate_only: bool,
}

impl Operation for Job<'_> {
    type Key = String;
    type Value = ();
    type Request = CreatePartitionsRequest;

    fn place(&self, _topic: &String) -> Place {
        Place::Controller
    }

    fn request(&self, _version: i16, names: &[String]) -> Result<CreatePartitionsRequest> {
        let topics = names.iter().filter_map(|name| Some((name, self.topics.get(name)?)));
        let topics = topics.map(|(name, wanted)| CreatePartitionsTopic {
            name: name.clone(),
            count: wanted.total,
            assignments: wanted.assignments.as_ref().map(|partitions| {
                let assignment = |brokers: &Vec<i32>| CreatePartitionsAssignment {
                    broker_ids: brokers.clone(),
                    ..Default::default()
                };
                partitions.iter().map(assignment).collect()
            }),
            ..Default::default()
        });
        Ok(CreatePartitionsRequest {
            topics: topics.collect(),
            timeout_ms: self.timeout_ms,
            validate_only: self.validate_only,
            ..Default::default()
        })
    }

    fn read(&self, _names: &[String], response: CreatePartitionsResponse) -> Answers<String, ()> {
        let read = |topic: rkafka_protocol::messages::create_partitions_response::CreatePartitionsTopicResult| {
            (topic.name, Error::check_with(topic.error_code, topic.error_message.as_deref()))
        };
        Ok(response.results.into_iter().map(read).collect())
    }

    fn about(&self, topic: &String, error: Error) -> Error {
        error.with_topic(topic)
    }
}

impl CreatePartitions<'_> {
    async fn run(self) -> Result<PerItem<()>> {
        let job = Job {
            topics: &self.topics,
            timeout_ms: self.admin.broker_time(self.limit),
            validate_only: self.validate_only,
        };
        self.admin.run(&job, self.topics.keys().cloned(), self.limit).await
    }
}

impl Admin {
    /// Adds partitions to topics. Records with keys that were in one partition may go to another from then on; partitions
    /// are never taken away.
    ///
    /// ```no_run
    /// # use rkafka_admin::{Admin, NewPartitions};
    /// # async fn run(admin: Admin) -> Result<(), rkafka_admin::Error> {
    /// let outcomes = admin.create_partitions([("orders", NewPartitions::increase_to(12))]).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Cancel safety: the partitions may have been added.
    ///
    /// # Errors
    /// See [`Admin`]. What concerns one topic is in its item.
    pub fn create_partitions(
        &self,
        topics: impl IntoIterator<Item = (impl Into<String>, NewPartitions)>,
    ) -> CreatePartitions<'_> {
        CreatePartitions::new(self, topics.into_iter().map(|(topic, wanted)| (topic.into(), wanted)).collect())
    }
}
