//! Deleting topics. Source: DeleteTopics (API key 20), KIP-4; KIP-516 for ids.

use std::time::Duration;

use rkafka_client_core::{Error, ErrorCode, Result, retry};
use rkafka_protocol::messages::delete_topics_request::DeleteTopicState;
use rkafka_protocol::messages::{DeleteTopicsRequest, DeleteTopicsResponse};

use super::PerItem;
use crate::Admin;

impl Admin {
    /// Deletes topics and all their records.
    ///
    /// A topic that is not there is an error of its own, [`ErrorCode::UnknownTopicOrPartition`]; the others are deleted
    /// all the same. After a lost answer the request is sent again, so a topic may be reported as missing that this
    /// very call deleted.
    ///
    /// Cancel safety: the request may have been carried out.
    ///
    /// # Errors
    /// The cluster cannot be reached within `default.api.timeout.ms`. What concerns one topic is in its item.
    pub async fn delete_topics(&self, topics: &[impl AsRef<str> + Sync]) -> Result<PerItem<()>> {
        let names: Vec<String> = topics.iter().map(|topic| topic.as_ref().to_owned()).collect();
        let response = retry(self.policy(), |_| async {
            let timeout_ms = i32::try_from(self.timeout().min(Duration::from_secs(60)).as_millis()).unwrap_or(i32::MAX);
            // Up to version 5 the names stand in a list of their own.
            let response: DeleteTopicsResponse = if self.controller_knows::<DeleteTopicsRequest>(6).await? {
                let topics = names
                    .iter()
                    .map(|name| DeleteTopicState { name: Some(name.clone()), ..Default::default() })
                    .collect();
                self.controller_request(DeleteTopicsRequest { topics, timeout_ms, ..Default::default() }).await?
            } else {
                let request = DeleteTopicsRequest { topic_names: names.clone(), timeout_ms, ..Default::default() };
                self.controller_request(request).await?
            };
            match response.responses.iter().find(|topic| topic.error_code == ErrorCode::NotController.code()) {
                Some(_) => Err(Error::broker_error(ErrorCode::NotController)),
                None => Ok(response),
            }
        })
        .await?;
        Ok(response
            .responses
            .into_iter()
            .map(|topic| {
                let name = topic.name.unwrap_or_default();
                let outcome = Error::check_with(topic.error_code, topic.error_message.as_deref())
                    .map_err(|error| error.with_topic(name.clone()));
                (name, outcome)
            })
            .collect())
    }
}
