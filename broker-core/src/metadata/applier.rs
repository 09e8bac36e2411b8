//! The one place where the broker does what follows from the metadata.

use std::sync::Arc;

use rkafka_protocol::messages::RemoveTopicRecord;
use tokio::sync::watch;

use crate::BrokerState;
use crate::MetadataImage;
use crate::controller::{ConfigResource, ImageDelta, MetadataRecord, TopicChange, TopicImage};
use crate::coordinator::share::SHARE_STATE_TOPIC;
use crate::{OFFSETS_TOPIC, TRANSACTIONS_TOPIC};

/// Acts upon the committed metadata, until the broker stops.
pub(crate) async fn run_applier(broker: Arc<BrokerState>, mut stop: watch::Receiver<bool>) {
    tokio::select! {
        biased;
        _ = stop.wait_for(|stop| *stop) => {}
        () = async {
            loop {
                let image = broker.controller.next_committed().await;
                apply(&broker, image).await;
            }
        } => {}
    }
}

/// Lets requests see the image, and does what follows from it. Every image that is committed comes here, so that a topic
/// which was deleted and made anew has lost its logs before the new one is seen.
async fn apply(broker: &BrokerState, image: Arc<MetadataImage>) {
    let up_to = image.next_offset();
    let delta = ImageDelta::between(&broker.metadata.image(), &image);
    if !delta.deleted_topics.is_empty() {
        // A snapshot may jump over the moment at which there was no topic of a name.
        broker.metadata.publish(without_reused_names(&image, &delta));
        delete_topics(broker, &delta.deleted_topics).await;
    }
    broker.metadata.publish(Arc::clone(&image));
    if broker.controller.is_active() {
        broker.reports.tell(&delta);
    }
    broker.apply_roles(&delta.changed_topics);
    rule_out(broker, &delta, &image);
    move_coordinators(broker, &delta);
    apply_configs(broker, &delta.configs);
    broker.metadata.done(up_to);
}

/// The image without the topics whose names others had before.
fn without_reused_names(image: &Arc<MetadataImage>, delta: &ImageDelta) -> Arc<MetadataImage> {
    let names = delta.deleted_topics.iter().filter_map(|topic| image.topic(&topic.name));
    let reused: Vec<_> = names.map(|topic| topic.id).collect();
    if reused.is_empty() {
        return Arc::clone(image);
    }
    let mut without = (**image).clone();
    for topic_id in reused {
        let record = MetadataRecord::RemoveTopic(RemoveTopicRecord { topic_id, ..Default::default() });
        without.replay(image.next_offset() - 1, &record);
    }
    Arc::new(without)
}

/// Removes what is kept of topics that are no more.
async fn delete_topics(broker: &BrokerState, deleted: &[Arc<TopicImage>]) {
    // The offsets of a deleted topic go with it, and what share groups did with it, which needs all groups.
    broker.groups.load_all(broker).await;
    broker.shares.coordinator.load_all(broker).await;
    for topic in deleted {
        broker.shares.forget_topic(topic.id);
        if let Err(error) = broker.shares.coordinator.forget_topic(broker, topic.id) {
            tracing::error!(topic = %topic.name, error = error.name(), "share groups' states of a deleted topic stay");
        }
        if let Err(error) = broker.groups.forget_topic(broker, &topic.name, topic.id) {
            tracing::error!(topic = %topic.name, error = error.name(), "offsets of a deleted topic stay");
        }
    }
    for topic in deleted {
        for index in (0..).take(topic.partitions.len()) {
            broker.remove_replica(topic, index);
        }
    }
    // Before another topic can have the name.
    if let Err(error) = broker.dirs.write_checkpoints([]) {
        tracing::error!(%error, "the checkpoints of deleted partitions stay");
    }
}

/// Has coordinators come and go with the leadership of their partitions. By now the partitions know of it.
fn move_coordinators(broker: &BrokerState, delta: &ImageDelta) {
    let (groups, transactions, shares) = (&broker.groups, &broker.transactions, &broker.shares.coordinator);
    for topic in &delta.deleted_topics {
        for index in (0..).take(topic.partitions.len()) {
            match &*topic.name {
                OFFSETS_TOPIC => groups.resigned(index, i32::MAX),
                TRANSACTIONS_TOPIC => transactions.resigned(index, i32::MAX),
                SHARE_STATE_TOPIC => shares.resigned(index, i32::MAX),
                _ => {}
            }
        }
    }
    for change in delta.changed_topics.iter().flat_map(TopicChange::partitions) {
        let (index, epoch) = (change.index, change.after.leader_epoch);
        if change.before.is_some_and(|before| before.leader_epoch == epoch) {
            continue;
        }
        match (&*change.topic.name, change.after.leader == broker.config.node_id) {
            (OFFSETS_TOPIC, true) => groups.elected(index, epoch),
            (OFFSETS_TOPIC, false) => groups.resigned(index, epoch),
            (TRANSACTIONS_TOPIC, true) => transactions.elected(index, epoch),
            (TRANSACTIONS_TOPIC, false) => transactions.resigned(index, epoch),
            (SHARE_STATE_TOPIC, true) => shares.elected(index, epoch),
            (SHARE_STATE_TOPIC, false) => shares.resigned(index, epoch),
            _ => {}
        }
    }
}

/// Has leaders wait no more for brokers that have left, or are about to.
fn rule_out(broker: &BrokerState, delta: &ImageDelta, image: &MetadataImage) {
    let is_inactive = |id: &&i32| image.broker(**id).is_none_or(|known| !known.is_active());
    let inactive: Vec<i32> =
        delta.changed_brokers.iter().chain(&delta.removed_brokers).filter(is_inactive).copied().collect();
    if inactive.is_empty() {
        return;
    }
    for partition in broker.known_partitions() {
        for id in &inactive {
            partition.rule_out(*id);
        }
    }
}

/// Puts changed settings in force.
fn apply_configs(broker: &BrokerState, changed: &[(ConfigResource, String)]) {
    if changed.iter().any(|(resource, _)| *resource == ConfigResource::Broker) {
        broker.apply_broker_config();
        return;
    }
    for (resource, name) in changed {
        match resource {
            ConfigResource::Topic => broker.apply_topic_config(name),
            // These are looked up where they are needed.
            ConfigResource::Broker
            | ConfigResource::Group
            | ConfigResource::ClientMetrics
            | ConfigResource::Other(_) => {}
        }
    }
}
