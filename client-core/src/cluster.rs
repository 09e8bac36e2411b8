//! What is known of the cluster at one moment.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use rkafka_net::HostPort;
use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::MetadataResponse;
use rkafka_protocol::messages::metadata_response::{MetadataResponsePartition, MetadataResponseTopic};
use uuid::Uuid;

use crate::Endpoint;

/// A broker.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Broker {
    /// Its id.
    pub node_id: i32,
    /// Where it listens.
    pub address: HostPort,
    /// Its rack or zone (`broker.rack`).
    pub rack: Option<String>,
}

impl Broker {
    /// A broker.
    pub fn new(node_id: i32, address: HostPort, rack: Option<String>) -> Self {
        Self { node_id, address, rack }
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        Endpoint { node_id: Some(self.node_id), address: self.address.clone() }
    }
}

/// A partition of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Partition {
    /// Its number.
    pub index: i32,
    /// The broker that leads it, if there is one.
    pub leader: Option<i32>,
    /// How many leaders it has had; -1 where the broker is too old to say.
    pub leader_epoch: i32,
    /// The brokers that have it.
    pub replicas: Vec<i32>,
    /// Those of them that are in sync.
    pub isr: Vec<i32>,
    /// Those of them that are offline.
    pub offline: Vec<i32>,
    /// What is wrong with it, if anything.
    pub error: Option<ErrorCode>,
    /// How often in a row an older leader was told of.
    rewinds: u8,
}

/// How often in a row a leader epoch must be told of that is older than the one known, before it is taken: brokers that
/// are behind catch up, and one whose cluster has lost its metadata does not.
const REWINDS_MAX: u8 = 5;

/// A topic.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// Its id (KIP-516); nil where the broker is too old to say.
    pub id: Uuid,
    /// Whether Kafka keeps it for itself.
    pub is_internal: bool,
    /// Its partitions, ascending.
    pub partitions: Vec<Partition>,
}

impl Topic {
    /// The partition with this number.
    pub fn partition(&self, index: i32) -> Option<&Partition> {
        // Numbers are dense unless a broker says something strange.
        match usize::try_from(index).ok().and_then(|at| self.partitions.get(at)) {
            Some(partition) if partition.index == index => Some(partition),
            _ => self.partitions.iter().find(|partition| partition.index == index),
        }
    }
}

/// The cluster as it was when metadata last came. A snapshot: it never changes, and is shared.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cluster {
    brokers: BTreeMap<i32, Broker>,
    controller: Option<i32>,
    cluster_id: Option<String>,
    topics: HashMap<String, Arc<Topic>>,
    names: HashMap<Uuid, String>,
    errors: HashMap<String, ErrorCode>,
}

impl Cluster {
    /// Every broker, by ascending id.
    pub fn brokers(&self) -> impl ExactSizeIterator<Item = &Broker> {
        self.brokers.values()
    }

    /// The broker with this id.
    pub fn broker(&self, node_id: i32) -> Option<&Broker> {
        self.brokers.get(&node_id)
    }

    /// The broker that requests to the controller go to.
    pub fn controller(&self) -> Option<i32> {
        self.controller
    }

    /// The cluster's id.
    pub fn cluster_id(&self) -> Option<&str> {
        self.cluster_id.as_deref()
    }

    /// Every topic that has been asked for, in no order.
    pub fn topics(&self) -> impl Iterator<Item = &Arc<Topic>> {
        self.topics.values()
    }

    /// The topic with this name.
    pub fn topic(&self, name: &str) -> Option<&Arc<Topic>> {
        self.topics.get(name)
    }

    /// The topic with this id.
    pub fn topic_by_id(&self, id: Uuid) -> Option<&Arc<Topic>> {
        self.names.get(&id).and_then(|name| self.topics.get(name))
    }

    /// Why the topic with this name is not here, if it was asked for: UNKNOWN_TOPIC_OR_PARTITION, for example.
    pub fn topic_error(&self, name: &str) -> Option<ErrorCode> {
        self.errors.get(name).copied()
    }

    /// A partition.
    pub fn partition(&self, topic: &str, index: i32) -> Option<&Partition> {
        self.topic(topic)?.partition(index)
    }

    /// The broker that leads a partition, and its epoch.
    pub fn leader(&self, topic: &str, index: i32) -> Option<(&Broker, i32)> {
        let partition = self.partition(topic, index)?;
        Some((self.broker(partition.leader?)?, partition.leader_epoch))
    }

    /// This cluster with what a response says. `everything` says that all topics were asked for, so that others are gone.
    pub(crate) fn updated(&self, response: &MetadataResponse, everything: bool) -> Self {
        let same = self.cluster_id.is_none() || response.cluster_id.is_none() || self.cluster_id == response.cluster_id;
        // What another cluster's topics were like says nothing of this one's.
        let known = if same { self.topics.clone() } else { HashMap::new() };
        let mut next = Self {
            cluster_id: response.cluster_id.clone().or_else(|| self.cluster_id.clone()),
            controller: Some(response.controller_id).filter(|id| *id >= 0),
            topics: if everything { HashMap::new() } else { known.clone() },
            errors: if everything || !same { HashMap::new() } else { self.errors.clone() },
            ..Self::default()
        };
        for broker in &response.brokers {
            let Ok(port) = u16::try_from(broker.port) else { continue };
            let address = HostPort::new(&*broker.host, port);
            next.brokers.insert(broker.node_id, Broker::new(broker.node_id, address, broker.rack.clone()));
        }
        for topic in &response.topics {
            let code = ErrorCode::from_code(topic.error_code);
            // A topic asked for by an id that nobody knows has no name.
            let Some(name) = topic.name.clone().or_else(|| self.names.get(&topic.topic_id).cloned()) else { continue };
            if !code.is_none() {
                next.errors.insert(name.clone(), code);
                // A leader that is being elected is no reason to forget the partitions.
                if !code.is_stale_metadata()
                    || code == ErrorCode::UnknownTopicOrPartition
                    || code == ErrorCode::UnknownTopicId
                {
                    next.topics.remove(&name);
                } else if let Some(topic) = known.get(&name) {
                    next.topics.insert(name, Arc::clone(topic));
                }
                continue;
            }
            next.errors.remove(&name);
            let merged = merged(&name, topic, known.get(&name));
            next.topics.insert(name, Arc::new(merged));
        }
        next.names = next.topics.values().filter(|topic| !topic.id.is_nil()).map(|t| (t.id, t.name.clone())).collect();
        next
    }

    /// This cluster with another leader of a partition, if that is news (KIP-951).
    pub(crate) fn with_leader(
        &self,
        topic: &str,
        index: i32,
        leader: i32,
        leader_epoch: i32,
        endpoints: &[Broker],
    ) -> Option<Self> {
        let partition = self.partition(topic, index)?;
        if leader < 0 || leader_epoch <= partition.leader_epoch {
            return None;
        }
        let mut next = self.clone();
        for broker in endpoints {
            next.brokers.insert(broker.node_id, broker.clone());
        }
        if !next.brokers.contains_key(&leader) {
            return None;
        }
        let topic = Arc::make_mut(next.topics.get_mut(topic)?);
        let partition = topic.partitions.iter_mut().find(|partition| partition.index == index)?;
        (partition.leader, partition.leader_epoch, partition.error) = (Some(leader), leader_epoch, None);
        partition.rewinds = 0;
        Some(next)
    }

    pub(crate) fn with_broker(&self, broker: Broker) -> Self {
        let mut next = self.clone();
        next.brokers.insert(broker.node_id, broker);
        next
    }

    pub(crate) fn without_topics(&self, names: &[String]) -> Self {
        let mut next = self.clone();
        for name in names {
            next.errors.remove(name);
            if let Some(topic) = next.topics.remove(name) {
                next.names.remove(&topic.id);
            }
        }
        next
    }
}

/// A topic as it came, but not with an older leader than is known: brokers learn of leaders at different times, and an old
/// one would lead back to a broker that has given the partition up. Only where it is told of again and again the cluster
/// itself has gone back. A new id is a new topic, whose epochs begin anew.
fn merged(name: &str, topic: &MetadataResponseTopic, known: Option<&Arc<Topic>>) -> Topic {
    let known = known.filter(|known| known.id.is_nil() || topic.topic_id.is_nil() || known.id == topic.topic_id);
    let mut partitions: Vec<Partition> = topic
        .partitions
        .iter()
        .map(|partition| {
            let fresh = read_partition(partition);
            match known.and_then(|known| known.partition(fresh.index)) {
                Some(known) if fresh.leader_epoch >= 0 && fresh.leader_epoch < known.leader_epoch => {
                    if known.rewinds >= REWINDS_MAX {
                        return fresh;
                    }
                    Partition { rewinds: known.rewinds + 1, ..known.clone() }
                }
                // Without a leader there is no epoch to tell; the next one counts on.
                Some(known) if fresh.leader_epoch < 0 && fresh.leader.is_none() => {
                    Partition { leader_epoch: known.leader_epoch, ..fresh }
                }
                _ => fresh,
            }
        })
        .collect();
    partitions.sort_unstable_by_key(|partition| partition.index);
    partitions.dedup_by_key(|partition| partition.index);
    Topic { name: name.to_owned(), id: topic.topic_id, is_internal: topic.is_internal, partitions }
}

fn read_partition(partition: &MetadataResponsePartition) -> Partition {
    Partition {
        index: partition.partition_index,
        leader: Some(partition.leader_id).filter(|leader| *leader >= 0),
        leader_epoch: partition.leader_epoch,
        replicas: partition.replica_nodes.clone(),
        isr: partition.isr_nodes.clone(),
        offline: partition.offline_replicas.clone(),
        error: ErrorCode::check(partition.error_code).err(),
        rewinds: 0,
    }
}

#[cfg(test)]
#[path = "cluster_tests.rs"]
mod tests;
