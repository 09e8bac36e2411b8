//! What decisions about brokers and partitions look at: the image, and what the settings say of a topic.

use std::collections::BTreeMap;
use std::sync::Arc;

use rkafka_protocol::ErrorCode;
use uuid::Uuid;

use super::Refusal;
use super::image::{
    BrokerImage, ConfigResource, DIRECTORY_LOST, DIRECTORY_MIGRATING, DIRECTORY_UNASSIGNED, MetadataImage,
    PartitionImage, TopicImage,
};
use crate::config::BrokerConfig;

/// The feature that lets replicas be eligible leaders which have left the in-sync replicas (KIP-966).
pub(crate) const ELR_FEATURE: &str = "eligible.leader.replicas.version";
pub(super) const MIN_ISR: &str = "min.insync.replicas";
const UNCLEAN: &str = "unclean.leader.election.enable";

/// The image, and the settings of the controller that decides.
#[derive(Debug, Clone)]
pub(crate) struct View<'a> {
    pub image: &'a MetadataImage,
    pub config: &'a BrokerConfig,
    of_brokers: [Option<Arc<BTreeMap<String, String>>>; 2],
}

/// What the settings say of a topic's elections.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    /// With fewer replicas in sync nothing is committed.
    pub min_isr: usize,
    /// Whether a replica may lead that may lack what was committed, where no other can.
    pub unclean: bool,
    /// Whether replicas are kept in mind that left the in-sync replicas and may still lead.
    pub elr: bool,
}

impl<'a> View<'a> {
    pub fn new(image: &'a MetadataImage, config: &'a BrokerConfig) -> Self {
        // A broker's own setting goes before that of all, as Kafka's controller takes its own.
        let of_brokers = [config.node_id.to_string(), String::new()]
            .map(|name| image.configs(ConfigResource::Broker, &name).cloned());
        Self { image, config, of_brokers }
    }

    /// Whether a broker may lead, and be in sync.
    pub fn is_active(&self, broker: i32) -> bool {
        self.image.broker(broker).is_some_and(|broker| broker.is_active())
    }

    /// Whether eligible leader replicas are kept in mind.
    pub fn has_elr(&self) -> bool {
        self.image.feature_level(ELR_FEATURE) >= 1
    }

    /// Where a new replica on a broker lies, as far as the controller knows.
    pub fn default_directory(&self, broker: i32) -> Uuid {
        match self.image.broker(broker).map(|broker| broker.log_dirs.as_slice()) {
            Some([]) => DIRECTORY_MIGRATING,
            Some([only]) => *only,
            Some(_) | None => DIRECTORY_UNASSIGNED,
        }
    }

    pub(super) fn default_directories(&self, replicas: &[i32]) -> Vec<Uuid> {
        replicas.iter().map(|broker| self.default_directory(*broker)).collect()
    }

    pub(super) fn rules(&self, topic: &TopicImage) -> Rules {
        let of_topic = self.image.configs(ConfigResource::Topic, &topic.name);
        let setting = |name: &str| {
            let levels = std::iter::once(of_topic).chain(self.of_brokers.iter().map(Option::as_ref));
            levels.flatten().find_map(|level| level.get(name)).map(|value| value.trim().to_owned())
        };
        let min_isr = setting(MIN_ISR).and_then(|value| value.parse::<i32>().ok());
        let min_isr = usize::try_from(min_isr.unwrap_or(self.config.min_insync_replicas)).unwrap_or(1);
        let unclean = setting(UNCLEAN).and_then(|value| value.to_ascii_lowercase().parse().ok());
        let factor = topic.partitions.first().map_or(1, |partition| partition.replicas.len());
        Rules {
            // More than there are replicas would never be reached.
            min_isr: min_isr.min(factor).max(1),
            unclean: unclean.unwrap_or(self.config.unclean_leader_election_enable),
            elr: self.has_elr(),
        }
    }

    /// Whether the directory that a broker's replica lies in can be used.
    pub(super) fn is_directory_online(&self, partition: &PartitionImage, broker: i32) -> bool {
        let registered = self.image.broker(broker);
        let Some((directory, registered)) = partition.directory_of(broker).zip(registered) else { return false };
        is_online(registered, directory)
    }

    /// Checks that a request is of the present start of a broker.
    ///
    /// # Errors
    /// `STALE_BROKER_EPOCH`.
    pub(super) fn check_epoch(&self, broker: i32, epoch: i64) -> Result<&'a Arc<BrokerImage>, Refusal> {
        let refuse = |message| Err(Refusal { error: ErrorCode::StaleBrokerEpoch, message });
        match self.image.broker(broker) {
            None => refuse(format!("No broker registration found for broker id {broker}")),
            Some(registered) if registered.epoch != epoch => {
                refuse(format!("Expected broker epoch {}, but got broker epoch {epoch}", registered.epoch))
            }
            Some(registered) => Ok(registered),
        }
    }

    /// The partitions by topic and index.
    pub(super) fn partitions(&self) -> impl Iterator<Item = (&'a Arc<TopicImage>, i32, &'a PartitionImage)> {
        self.image
            .topics()
            .flat_map(|topic| (0..).zip(&topic.partitions).map(move |(index, partition)| (topic, index, partition)))
    }
}

pub(super) fn is_online(broker: &BrokerImage, directory: Uuid) -> bool {
    match directory {
        DIRECTORY_UNASSIGNED | DIRECTORY_MIGRATING => true,
        DIRECTORY_LOST => false,
        // A broker that has told of no directory may have any.
        known => broker.log_dirs.is_empty() || broker.log_dirs.contains(&known),
    }
}
