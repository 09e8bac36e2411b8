//! What the metadata log says, as a snapshot that is never changed once it is published.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use uuid::Uuid;

mod delta;
mod nodes;
mod partition;
mod replay;
mod snapshot;

pub use delta::{ImageDelta, PartitionChange, TopicChange};
pub use nodes::{BrokerImage, ControllerImage, EndpointImage, FeatureRange};
pub(crate) use partition::LEADER_STAYS;
pub use partition::{DIRECTORY_LOST, DIRECTORY_MIGRATING, DIRECTORY_UNASSIGNED, NO_LEADER, PartitionImage};

/// The kind of resource that a configuration belongs to, with Kafka's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConfigResource {
    /// A topic, 2.
    Topic,
    /// A broker, 4; the empty name stands for all brokers.
    Broker,
    /// A subscription to the metrics of clients, 16 (KIP-714).
    ClientMetrics,
    /// A group, 32 (KIP-848, KIP-932).
    Group,
    /// Any other resource, by Kafka's number.
    Other(i8),
}

impl ConfigResource {
    /// The resource with Kafka's number.
    pub fn from_number(number: i8) -> Self {
        match number {
            2 => Self::Topic,
            4 => Self::Broker,
            16 => Self::ClientMetrics,
            32 => Self::Group,
            other => Self::Other(other),
        }
    }

    /// Kafka's number of the resource.
    pub fn number(self) -> i8 {
        match self {
            Self::Topic => 2,
            Self::Broker => 4,
            Self::ClientMetrics => 16,
            Self::Group => 32,
            Self::Other(number) => number,
        }
    }
}

/// One topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicImage {
    /// The topic's name.
    pub name: Arc<str>,
    /// The topic's id, which no later topic of the same name has.
    pub id: Uuid,
    /// The partitions by their index.
    pub partitions: Vec<PartitionImage>,
}

impl TopicImage {
    /// Whether the topic belongs to the broker itself.
    pub fn is_internal(&self) -> bool {
        is_internal(&self.name)
    }

    /// The partition with this index.
    pub fn partition(&self, index: i32) -> Option<&PartitionImage> {
        self.partitions.get(usize::try_from(index).ok()?)
    }
}

/// Whether a topic of this name belongs to the broker itself, by Kafka's list.
pub fn is_internal(topic: &str) -> bool {
    matches!(topic, "__consumer_offsets" | "__transaction_state" | "__share_group_state")
}

/// The state of the cluster at one offset of the metadata log.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MetadataImage {
    next_offset: i64,
    topics: BTreeMap<Arc<str>, Arc<TopicImage>>,
    topics_by_id: HashMap<Uuid, Arc<TopicImage>>,
    configs: BTreeMap<(ConfigResource, String), Arc<BTreeMap<String, String>>>,
    brokers: BTreeMap<i32, Arc<BrokerImage>>,
    controllers: BTreeMap<i32, Arc<ControllerImage>>,
    features: BTreeMap<String, i16>,
    next_producer_id: i64,
}

impl MetadataImage {
    /// The offset behind the last record that is in the image.
    pub fn next_offset(&self) -> i64 {
        self.next_offset
    }

    /// The topic of this name.
    pub fn topic(&self, name: &str) -> Option<&Arc<TopicImage>> {
        self.topics.get(name)
    }

    /// The topic with this id.
    pub fn topic_by_id(&self, id: Uuid) -> Option<&Arc<TopicImage>> {
        self.topics_by_id.get(&id)
    }

    /// All topics, by name.
    pub fn topics(&self) -> impl ExactSizeIterator<Item = &Arc<TopicImage>> {
        self.topics.values()
    }

    /// The topics from `name` on (or behind it), by name.
    pub fn topics_from<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a Arc<TopicImage>> {
        self.topics
            .range::<str, _>((std::ops::Bound::Included(name), std::ops::Bound::Unbounded))
            .map(|(_, topic)| topic)
    }

    /// What was set for a resource, by name; nothing where all is at its default.
    pub fn configs(&self, resource: ConfigResource, name: &str) -> Option<&Arc<BTreeMap<String, String>>> {
        self.configs.get(&(resource, name.to_owned()))
    }

    /// Everything that was set, by resource.
    pub fn all_configs(&self) -> impl Iterator<Item = (ConfigResource, &str, &Arc<BTreeMap<String, String>>)> {
        self.configs.iter().map(|((resource, name), values)| (*resource, name.as_str(), values))
    }

    /// The names of the resources of one kind that have settings.
    pub fn configured(&self, resource: ConfigResource) -> impl Iterator<Item = &str> {
        let from = (resource, String::new());
        self.configs
            .range(from..)
            .take_while(move |((kind, _), _)| *kind == resource)
            .map(|((_, name), _)| name.as_str())
    }

    /// The brokers by id.
    pub fn brokers(&self) -> &BTreeMap<i32, Arc<BrokerImage>> {
        &self.brokers
    }

    /// The broker with this id.
    pub fn broker(&self, id: i32) -> Option<&Arc<BrokerImage>> {
        self.brokers.get(&id)
    }

    /// The controllers that have registered themselves, by id.
    pub fn controllers(&self) -> &BTreeMap<i32, Arc<ControllerImage>> {
        &self.controllers
    }

    /// The finalized level of one feature, 0 where it is not finalized.
    pub fn feature_level(&self, name: &str) -> i16 {
        self.features.get(name).copied().unwrap_or(0)
    }

    /// The finalized level of each feature; those at level 0 are not among them.
    pub fn features(&self) -> &BTreeMap<String, i16> {
        &self.features
    }

    /// The first producer id that has not been given to any broker.
    pub fn next_producer_id(&self) -> i64 {
        self.next_producer_id
    }
}

#[cfg(test)]
mod tests;
