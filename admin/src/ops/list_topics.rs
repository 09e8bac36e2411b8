//! The topics of a cluster. Source: Metadata (API key 3).

use rkafka_client_core::{Result, retry};
use rkafka_protocol::messages::{MetadataRequest, MetadataResponse};

use crate::{Admin, TopicId};

/// A topic in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TopicListing {
    /// Its name.
    pub name: String,
    /// Its id; `None` from brokers before Kafka 2.8.
    pub id: Option<TopicId>,
    /// Whether Kafka keeps it for itself.
    pub internal: bool,
    /// How many partitions it has.
    pub partitions: usize,
}

impl Admin {
    /// The topics that this client may see, by name. Internal ones are among them.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// The cluster cannot be reached within `default.api.timeout.ms`.
    pub async fn list_topics(&self) -> Result<Vec<TopicListing>> {
        let response: MetadataResponse = retry(self.policy(), |_| async {
            let request = MetadataRequest { topics: None, allow_auto_topic_creation: false, ..Default::default() };
            self.any_request(request).await
        })
        .await?;
        let mut topics: Vec<TopicListing> = response
            .topics
            .into_iter()
            .filter(|topic| topic.error_code == 0)
            .filter_map(|topic| {
                Some(TopicListing {
                    name: topic.name?,
                    id: (!topic.topic_id.is_nil()).then_some(topic.topic_id),
                    internal: topic.is_internal,
                    partitions: topic.partitions.len(),
                })
            })
            .collect();
        topics.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(topics)
    }
}
