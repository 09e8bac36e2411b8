//! What the metadata log says, as a snapshot that is never changed once it is published.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use rkafka_protocol::messages::PartitionRecord;
use uuid::Uuid;

use super::records::MetadataRecord;

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

/// One partition, as the controller has decided it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionImage {
    /// The brokers that hold it, the preferred leader first.
    pub replicas: Vec<i32>,
    /// Those that are in sync.
    pub isr: Vec<i32>,
    /// The leader, -1 for none.
    pub leader: i32,
    /// Counts the leaders.
    pub leader_epoch: i32,
    /// Counts the changes of the partition.
    pub partition_epoch: i32,
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

/// A broker as it registered itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerImage {
    /// Counts the registrations of all brokers.
    pub epoch: i64,
    /// Differs with each start of the broker.
    pub incarnation_id: Uuid,
    /// Name, host and port of each listener.
    pub endpoints: Vec<(String, String, u16)>,
    /// The rack, if it has one.
    pub rack: Option<String>,
    /// Whether it may not lead yet.
    pub fenced: bool,
    /// The ids of its data directories, also of those that are gone and that partitions may lie in.
    pub log_dirs: Vec<Uuid>,
}

/// The state of the cluster at one offset of the metadata log.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MetadataImage {
    next_offset: i64,
    topics: BTreeMap<Arc<str>, Arc<TopicImage>>,
    topics_by_id: HashMap<Uuid, Arc<TopicImage>>,
    configs: BTreeMap<(ConfigResource, String), Arc<BTreeMap<String, String>>>,
    brokers: BTreeMap<i32, BrokerImage>,
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

    /// The names of the resources of one kind that have settings.
    pub fn configured(&self, resource: ConfigResource) -> impl Iterator<Item = &str> {
        let from = (resource, String::new());
        self.configs
            .range(from..)
            .take_while(move |((kind, _), _)| *kind == resource)
            .map(|((_, name), _)| name.as_str())
    }

    /// The brokers by id.
    pub fn brokers(&self) -> &BTreeMap<i32, BrokerImage> {
        &self.brokers
    }

    /// The finalized level of each feature.
    pub fn features(&self) -> &BTreeMap<String, i16> {
        &self.features
    }

    /// The first producer id that has not been given to any broker.
    pub fn next_producer_id(&self) -> i64 {
        self.next_producer_id
    }

    /// Takes one record in. Only this changes an image, whether the record was just decided or is read back.
    ///
    /// A record about something that is not there is passed over: the log is replayed as it is.
    pub(crate) fn replay(&mut self, offset: i64, record: &MetadataRecord) {
        match record {
            MetadataRecord::Topic(record) => {
                let topic =
                    TopicImage { name: record.name.as_str().into(), id: record.topic_id, partitions: Vec::new() };
                self.put(topic);
            }
            MetadataRecord::Partition(record) => self.replay_partition(record),
            MetadataRecord::PartitionChange(record) => {
                self.change_partition(record.topic_id, record.partition_id, |partition| {
                    if let Some(isr) = &record.isr {
                        partition.isr.clone_from(isr);
                    }
                    if let Some(replicas) = &record.replicas {
                        partition.replicas.clone_from(replicas);
                    }
                    // -2 says that the leader stays.
                    if record.leader != -2 {
                        partition.leader = record.leader;
                        partition.leader_epoch += 1;
                    }
                    partition.partition_epoch += 1;
                });
            }
            MetadataRecord::RemoveTopic(record) => {
                if let Some(topic) = self.topics_by_id.remove(&record.topic_id) {
                    self.topics.remove(&topic.name);
                    self.configs.remove(&(ConfigResource::Topic, topic.name.to_string()));
                }
            }
            MetadataRecord::Config(record) => {
                let resource = (ConfigResource::from_number(record.resource_type), record.resource_name.clone());
                let mut values = self.configs.remove(&resource).unwrap_or_default();
                let changed = Arc::make_mut(&mut values);
                match &record.value {
                    Some(value) => changed.insert(record.name.clone(), value.clone()),
                    None => changed.remove(&record.name),
                };
                if !values.is_empty() {
                    self.configs.insert(resource, values);
                }
            }
            MetadataRecord::FeatureLevel(record) => {
                if record.feature_level == 0 {
                    self.features.remove(&record.name);
                } else {
                    self.features.insert(record.name.clone(), record.feature_level);
                }
            }
            MetadataRecord::ProducerIds(record) => self.next_producer_id = record.next_producer_id,
            MetadataRecord::RegisterBroker(record) => {
                let broker = BrokerImage {
                    epoch: record.broker_epoch,
                    incarnation_id: record.incarnation_id,
                    endpoints: record
                        .end_points
                        .iter()
                        .map(|endpoint| (endpoint.name.clone(), endpoint.host.clone(), endpoint.port))
                        .collect(),
                    rack: record.rack.clone(),
                    fenced: record.fenced,
                    log_dirs: record.log_dirs.clone(),
                };
                self.brokers.insert(record.broker_id, broker);
            }
            MetadataRecord::BrokerRegistrationChange(record) => {
                if let Some(broker) = self.brokers.get_mut(&record.broker_id) {
                    // 0 says that it stays as it is.
                    if record.fenced != 0 {
                        broker.fenced = record.fenced > 0;
                    }
                }
            }
            MetadataRecord::NoOp(_) => {}
        }
        self.next_offset = offset.saturating_add(1);
    }

    /// Takes note of records that are the log's own and say nothing about the cluster.
    pub(crate) fn advance_to(&mut self, next_offset: i64) {
        self.next_offset = self.next_offset.max(next_offset);
    }

    fn put(&mut self, topic: TopicImage) {
        let topic = Arc::new(topic);
        self.topics_by_id.insert(topic.id, Arc::clone(&topic));
        self.topics.insert(Arc::clone(&topic.name), topic);
    }

    fn replay_partition(&mut self, record: &PartitionRecord) {
        let Some(topic) = self.topics_by_id.remove(&record.topic_id) else { return };
        self.topics.remove(&topic.name);
        let mut topic = Arc::unwrap_or_clone(topic);
        // Partitions are numbered without holes, and a topic's records come in order.
        if usize::try_from(record.partition_id) == Ok(topic.partitions.len()) {
            topic.partitions.push(PartitionImage {
                replicas: record.replicas.clone(),
                isr: record.isr.clone(),
                leader: record.leader,
                leader_epoch: record.leader_epoch,
                partition_epoch: record.partition_epoch,
            });
        }
        self.put(topic);
    }

    fn change_partition(&mut self, topic_id: Uuid, index: i32, change: impl FnOnce(&mut PartitionImage)) {
        // Taken out of both maps, so that only the first change after a publication copies the topic.
        let Some(topic) = self.topics_by_id.remove(&topic_id) else { return };
        self.topics.remove(&topic.name);
        let mut topic = Arc::unwrap_or_clone(topic);
        if let Some(partition) = usize::try_from(index).ok().and_then(|index| topic.partitions.get_mut(index)) {
            change(partition);
        }
        self.put(topic);
    }
}
