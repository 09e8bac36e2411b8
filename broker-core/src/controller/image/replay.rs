//! What each record makes of an image. Only this changes one, whether a record was just decided or is read back.

use std::sync::Arc;

use uuid::Uuid;

use super::{BrokerImage, ConfigResource, ControllerImage, MetadataImage, PartitionImage, TopicImage};
use crate::controller::records::MetadataRecord;

impl MetadataImage {
    /// Takes one record in.
    ///
    /// A record about something that is not there is passed over: the log is replayed as it is.
    pub(crate) fn replay(&mut self, offset: i64, record: &MetadataRecord) {
        match record {
            MetadataRecord::Topic(record) => {
                let topic =
                    TopicImage { name: record.name.as_str().into(), id: record.topic_id, partitions: Vec::new() };
                self.put(topic);
            }
            MetadataRecord::Partition(record) => self.change_topic(record.topic_id, |topic| {
                // Partitions are numbered without holes, and a topic's records come in order.
                if usize::try_from(record.partition_id) == Ok(topic.partitions.len()) {
                    topic.partitions.push(PartitionImage::from_record(record));
                }
            }),
            MetadataRecord::PartitionChange(record) => self.change_topic(record.topic_id, |topic| {
                let index = usize::try_from(record.partition_id).ok();
                if let Some(partition) = index.and_then(|index| topic.partitions.get_mut(index)) {
                    partition.change(record);
                }
            }),
            MetadataRecord::RemoveTopic(record) => {
                if let Some(topic) = self.topics_by_id.remove(&record.topic_id) {
                    self.topics.remove(&topic.name);
                    self.configs.remove(&(ConfigResource::Topic, topic.name.to_string()));
                }
            }
            MetadataRecord::ClearElr(record) => self.clear_elr(&record.topic_name),
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
                self.brokers.insert(record.broker_id, Arc::new(BrokerImage::from_record(record)));
            }
            MetadataRecord::UnregisterBroker(record) => {
                self.brokers.remove(&record.broker_id);
            }
            MetadataRecord::BrokerRegistrationChange(record) => {
                if let Some(broker) = self.brokers.get_mut(&record.broker_id) {
                    Arc::make_mut(broker).change(record);
                }
            }
            MetadataRecord::RegisterController(record) => {
                self.controllers.insert(record.controller_id, Arc::new(ControllerImage::from_record(record)));
            }
            // The records of a transaction of Kafka's (KIP-868) come in one batch, which is in the log or is not.
            MetadataRecord::NoOp(_) | MetadataRecord::BeginTransaction(_) | MetadataRecord::EndTransaction(_) => {}
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

    fn change_topic(&mut self, id: Uuid, change: impl FnOnce(&mut TopicImage)) {
        // Taken out of both maps, so that only the first change after a publication copies the topic.
        let Some(topic) = self.topics_by_id.remove(&id) else { return };
        self.topics.remove(&topic.name);
        let mut topic = Arc::unwrap_or_clone(topic);
        change(&mut topic);
        self.put(topic);
    }

    /// Forgets the eligible leader replicas of one topic, or of all under the empty name.
    fn clear_elr(&mut self, name: &str) {
        let has_some = |topic: &TopicImage| {
            topic.partitions.iter().any(|partition| !partition.elr.is_empty() || !partition.last_known_elr.is_empty())
        };
        let ids: Vec<Uuid> = self
            .topics
            .values()
            .filter(|topic| (name.is_empty() || *topic.name == *name) && has_some(topic))
            .map(|topic| topic.id)
            .collect();
        for id in ids {
            self.change_topic(id, |topic| topic.partitions.iter_mut().for_each(PartitionImage::forget_elr));
        }
    }
}
