//! Deleting topics. Source: DeleteTopics (API key 20), KIP-4; KIP-516 for ids.

use rkafka_client_core::{Error, ErrorKind, Result};
use rkafka_protocol::messages::delete_topics_request::DeleteTopicState;
use rkafka_protocol::messages::{DeleteTopicsRequest, DeleteTopicsResponse};

use super::PerItem;
use crate::driver::{Answers, Operation, Place};
use crate::operation::operation;
use crate::{Admin, TopicId};

operation! {
    /// What [`Admin::delete_topics`] gives.
    pub struct DeleteTopics => PerItem<()> {
        names: Vec<String>,
    }
}

operation! {
    /// What [`Admin::delete_topics_by_id`] gives.
    pub struct DeleteTopicsById => PerItem<(), TopicId> {
        ids: Vec<TopicId>,
    }
}

struct ByName {
    timeout_ms: i32,
}

impl Operation for ByName {
    type Key = String;
    type Value = ();
    type Request = DeleteTopicsRequest;

    fn place(&self, _topic: &String) -> Place {
        Place::Controller
    }

    fn request(&self, version: i16, names: &[String]) -> Result<DeleteTopicsRequest> {
        let timeout_ms = self.timeout_ms;
        // Up to version 5 the names stand in a list of their own.
        if version < 6 {
            return Ok(DeleteTopicsRequest { topic_names: names.to_vec(), timeout_ms, ..Default::default() });
        }
        let topics =
            names.iter().map(|name| DeleteTopicState { name: Some(name.clone()), ..Default::default() }).collect();
        Ok(DeleteTopicsRequest { topics, timeout_ms, ..Default::default() })
    }

    fn read(&self, _names: &[String], response: DeleteTopicsResponse) -> Answers<String, ()> {
        let topics = response.responses.into_iter().map(|topic| {
            let outcome = Error::check_with(topic.error_code, topic.error_message.as_deref());
            (topic.name.unwrap_or_default(), outcome)
        });
        Ok(topics.collect())
    }

    fn about(&self, topic: &String, error: Error) -> Error {
        error.with_topic(topic)
    }
}

struct ById {
    timeout_ms: i32,
}

impl Operation for ById {
    type Key = TopicId;
    type Value = ();
    type Request = DeleteTopicsRequest;

    fn place(&self, _topic: &TopicId) -> Place {
        Place::Controller
    }

    fn request(&self, version: i16, ids: &[TopicId]) -> Result<DeleteTopicsRequest> {
        if version < 6 {
            let message = "the broker deletes topics by their names only; ids need Kafka 2.8";
            return Err(Error::new(ErrorKind::UnsupportedVersion, message));
        }
        let topics =
            ids.iter().map(|id| DeleteTopicState { name: None, topic_id: *id, ..Default::default() }).collect();
        Ok(DeleteTopicsRequest { topics, timeout_ms: self.timeout_ms, ..Default::default() })
    }

    fn read(&self, _ids: &[TopicId], response: DeleteTopicsResponse) -> Answers<TopicId, ()> {
        let topics = response.responses.into_iter().map(|topic| {
            let outcome = Error::check_with(topic.error_code, topic.error_message.as_deref());
            (topic.topic_id, outcome)
        });
        Ok(topics.collect())
    }

    fn about(&self, id: &TopicId, error: Error) -> Error {
        error.with_topic(id.to_string())
    }
}

impl DeleteTopics<'_> {
    async fn run(self) -> Result<PerItem<()>> {
        let job = ByName { timeout_ms: self.admin.broker_time(self.limit) };
        self.admin.run(&job, self.names, self.limit).await
    }
}

impl DeleteTopicsById<'_> {
    async fn run(self) -> Result<PerItem<(), TopicId>> {
        let job = ById { timeout_ms: self.admin.broker_time(self.limit) };
        self.admin.run(&job, self.ids, self.limit).await
    }
}

impl Admin {
    /// Deletes topics and all their records.
    ///
    /// A topic that is not there is an error of its own,
    /// [`UnknownTopicOrPartition`](crate::ErrorCode::UnknownTopicOrPartition); the others are deleted all the same. After
    /// a lost answer the request is sent again, so a topic may be reported as missing that this very call deleted.
    ///
    /// Cancel safety: the topics may have been deleted.
    ///
    /// # Errors
    /// See [`Admin`]. What concerns one topic is in its item.
    pub fn delete_topics(&self, topics: impl IntoIterator<Item: AsRef<str>>) -> DeleteTopics<'_> {
        DeleteTopics::new(self, super::strings(topics))
    }

    /// As [`Admin::delete_topics`], by ids, so that a topic that was made anew under its name in the meantime stays. Needs
    /// Kafka 2.8.
    ///
    /// Cancel safety: the topics may have been deleted.
    ///
    /// # Errors
    /// See [`Admin`]. What concerns one topic is in its item.
    pub fn delete_topics_by_id(&self, topics: impl IntoIterator<Item = TopicId>) -> DeleteTopicsById<'_> {
        DeleteTopicsById::new(self, topics.into_iter().collect())
    }
}
