//! The topics of a cluster. Source: Metadata (API key 3).

use rkafka_client_core::Result;
use rkafka_protocol::messages::{MetadataRequest, MetadataResponse};

use crate::operation::operation;
use crate::single::To;
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

operation! {
    /// What [`Admin::list_topics`] gives.
    pub struct ListTopics => Vec<TopicListing> {}
}

impl ListTopics<'_> {
    async fn run(self) -> Result<Vec<TopicListing>> {
        let build = |_| MetadataRequest { topics: None, allow_auto_topic_creation: false, ..Default::default() };
        self.admin.ask(To::Any, self.limit, &[], build, read).await
    }
}

fn read(response: MetadataResponse) -> Result<Vec<TopicListing>> {
    let topics = response.topics.into_iter().filter(|topic| topic.error_code == 0).filter_map(|topic| {
        Some(TopicListing {
            name: topic.name?,
            id: (!topic.topic_id.is_nil()).then_some(topic.topic_id),
            internal: topic.is_internal,
            partitions: topic.partitions.len(),
        })
    });
    let mut topics: Vec<TopicListing> = topics.collect();
    topics.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(topics)
}

impl Admin {
    /// The topics that this client may see, by name. Internal ones are among them.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// See [`Admin`].
    pub fn list_topics(&self) -> ListTopics<'_> {
        ListTopics::new(self)
    }
}
