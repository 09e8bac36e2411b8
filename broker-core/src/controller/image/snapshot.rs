//! An image as the records that make it, in Kafka's order: what a snapshot of the metadata log holds.

use rkafka_protocol::messages::{ConfigRecord, FeatureLevelRecord, ProducerIdsRecord, TopicRecord};

use super::{MetadataImage, TopicImage};
use crate::controller::METADATA_VERSION_FEATURE;
use crate::controller::records::MetadataRecord;

impl MetadataImage {
    /// The records that make this image when they are replayed into an empty one. They are made as they are asked for,
    /// so that a large image need not be in memory twice.
    pub(crate) fn records(&self) -> impl Iterator<Item = MetadataRecord> + '_ {
        self.feature_records()
            .chain(self.brokers.iter().map(|(id, broker)| MetadataRecord::RegisterBroker(broker.to_record(*id))))
            .chain(self.controllers.iter().map(|(id, it)| MetadataRecord::RegisterController(it.to_record(*id))))
            .chain(self.topics.values().flat_map(|topic| topic_records(topic)))
            .chain(self.config_records())
            .chain((self.next_producer_id > 0).then(|| {
                let next_producer_id = self.next_producer_id;
                MetadataRecord::ProducerIds(ProducerIdsRecord {
                    broker_id: -1,
                    broker_epoch: -1,
                    next_producer_id,
                    ..Default::default()
                })
            }))
    }

    /// The image that a snapshot of the log before `end_offset` holds.
    pub(crate) fn from_snapshot(end_offset: i64, records: impl IntoIterator<Item = MetadataRecord>) -> Self {
        let mut image = Self::default();
        for record in records {
            image.replay(end_offset.saturating_sub(1), &record);
        }
        image.advance_to(end_offset);
        image
    }

    /// The level of the metadata itself comes first, for it says how the rest is read.
    fn feature_records(&self) -> impl Iterator<Item = MetadataRecord> + '_ {
        let of_metadata = self.features.get_key_value(METADATA_VERSION_FEATURE);
        let others = self.features.iter().filter(|(name, _)| *name != METADATA_VERSION_FEATURE);
        of_metadata.into_iter().chain(others).map(|(name, level)| {
            MetadataRecord::FeatureLevel(FeatureLevelRecord {
                name: name.clone(),
                feature_level: *level,
                ..Default::default()
            })
        })
    }

    fn config_records(&self) -> impl Iterator<Item = MetadataRecord> + '_ {
        self.configs.iter().flat_map(|((resource, resource_name), values)| {
            values.iter().map(|(name, value)| {
                MetadataRecord::Config(ConfigRecord {
                    resource_type: resource.number(),
                    resource_name: resource_name.clone(),
                    name: name.clone(),
                    value: Some(value.clone()),
                    ..Default::default()
                })
            })
        })
    }
}

fn topic_records(topic: &TopicImage) -> impl Iterator<Item = MetadataRecord> + '_ {
    let name = topic.name.to_string();
    let first = MetadataRecord::Topic(TopicRecord { name, topic_id: topic.id, ..Default::default() });
    let partitions = (0..).zip(&topic.partitions);
    std::iter::once(first)
        .chain(partitions.map(|(index, partition)| MetadataRecord::Partition(partition.to_record(topic.id, index))))
}
