//! Brokers and controllers as they registered themselves.

use std::collections::BTreeMap;

use rkafka_protocol::messages::register_broker_record::{BrokerEndpoint, BrokerFeature};
use rkafka_protocol::messages::register_controller_record::{ControllerEndpoint, ControllerFeature};
use rkafka_protocol::messages::{BrokerRegistrationChangeRecord, RegisterBrokerRecord, RegisterControllerRecord};
use uuid::Uuid;

/// Where a listener of a node is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointImage {
    /// The listener's name.
    pub name: String,
    /// The host, as it is told to others.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Kafka's number of the security protocol; 0 is `PLAINTEXT`.
    pub security_protocol: i16,
}

/// The levels of a feature that a node knows, both of them included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FeatureRange {
    /// The lowest.
    pub min: i16,
    /// The highest.
    pub max: i16,
}

impl FeatureRange {
    /// Whether a level is among them. Level 0, that of a feature that is not finalized, always is.
    pub fn contains(self, level: i16) -> bool {
        level == 0 || (self.min..=self.max).contains(&level)
    }
}

/// A broker as it registered itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerImage {
    /// Counts the registrations of all brokers: the offset of the registration in the metadata log.
    pub epoch: i64,
    /// Differs with each start of the broker.
    pub incarnation_id: Uuid,
    /// Where its listeners are.
    pub endpoints: Vec<EndpointImage>,
    /// The features that it knows.
    pub features: BTreeMap<String, FeatureRange>,
    /// The rack, if it has one.
    pub rack: Option<String>,
    /// Whether it may neither lead nor be in sync: it has not caught up with the metadata, or is not heard of.
    pub fenced: bool,
    /// Whether it is about to stop and gives its partitions away.
    pub in_controlled_shutdown: bool,
    /// The ids of its data directories, also of those that are gone and that partitions may lie in.
    pub log_dirs: Vec<Uuid>,
    /// Those of `log_dirs` that take no new replicas; `None` where the broker has not told.
    pub cordoned_log_dirs: Option<Vec<Uuid>>,
}

impl BrokerImage {
    /// Whether it may lead partitions and become a member of in-sync replicas.
    pub fn is_active(&self) -> bool {
        !self.fenced && !self.in_controlled_shutdown
    }

    pub(super) fn from_record(record: &RegisterBrokerRecord) -> Self {
        let endpoints = record.end_points.iter().map(|endpoint| EndpointImage {
            name: endpoint.name.clone(),
            host: endpoint.host.clone(),
            port: endpoint.port,
            security_protocol: endpoint.security_protocol,
        });
        let range = |feature: &BrokerFeature| FeatureRange {
            min: feature.min_supported_version,
            max: feature.max_supported_version,
        };
        Self {
            epoch: record.broker_epoch,
            incarnation_id: record.incarnation_id,
            endpoints: endpoints.collect(),
            features: record.features.iter().map(|feature| (feature.name.clone(), range(feature))).collect(),
            rack: record.rack.clone(),
            fenced: record.fenced,
            in_controlled_shutdown: record.in_controlled_shutdown,
            log_dirs: record.log_dirs.clone(),
            cordoned_log_dirs: record.cordoned_log_dirs.clone(),
        }
    }

    pub(super) fn to_record(&self, broker_id: i32) -> RegisterBrokerRecord {
        let endpoints = self.endpoints.iter().map(|endpoint| BrokerEndpoint {
            name: endpoint.name.clone(),
            host: endpoint.host.clone(),
            port: endpoint.port,
            security_protocol: endpoint.security_protocol,
            ..Default::default()
        });
        let features = self.features.iter().map(|(name, range)| BrokerFeature {
            name: name.clone(),
            min_supported_version: range.min,
            max_supported_version: range.max,
            ..Default::default()
        });
        RegisterBrokerRecord {
            broker_id,
            incarnation_id: self.incarnation_id,
            broker_epoch: self.epoch,
            end_points: endpoints.collect(),
            features: features.collect(),
            rack: self.rack.clone(),
            fenced: self.fenced,
            in_controlled_shutdown: self.in_controlled_shutdown,
            log_dirs: self.log_dirs.clone(),
            cordoned_log_dirs: self.cordoned_log_dirs.clone(),
            ..Default::default()
        }
    }

    pub(super) fn change(&mut self, record: &BrokerRegistrationChangeRecord) {
        // 0 says that it stays as it is.
        if record.fenced != 0 {
            self.fenced = record.fenced > 0;
        }
        // Only another registration ends a controlled shutdown.
        self.in_controlled_shutdown |= record.in_controlled_shutdown != 0;
        if !record.log_dirs.is_empty() {
            self.log_dirs.clone_from(&record.log_dirs);
        }
        if record.cordoned_log_dirs.is_some() {
            self.cordoned_log_dirs.clone_from(&record.cordoned_log_dirs);
        }
    }
}

/// A controller as it registered itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControllerImage {
    /// Differs with each start of the controller.
    pub incarnation_id: Uuid,
    /// Where its listeners are.
    pub endpoints: Vec<EndpointImage>,
    /// The features that it knows.
    pub features: BTreeMap<String, FeatureRange>,
}

impl ControllerImage {
    pub(super) fn from_record(record: &RegisterControllerRecord) -> Self {
        let endpoints = record.end_points.iter().map(|endpoint| EndpointImage {
            name: endpoint.name.clone(),
            host: endpoint.host.clone(),
            port: endpoint.port,
            security_protocol: endpoint.security_protocol,
        });
        let range = |feature: &ControllerFeature| FeatureRange {
            min: feature.min_supported_version,
            max: feature.max_supported_version,
        };
        Self {
            incarnation_id: record.incarnation_id,
            endpoints: endpoints.collect(),
            features: record.features.iter().map(|feature| (feature.name.clone(), range(feature))).collect(),
        }
    }

    pub(super) fn to_record(&self, controller_id: i32) -> RegisterControllerRecord {
        let endpoints = self.endpoints.iter().map(|endpoint| ControllerEndpoint {
            name: endpoint.name.clone(),
            host: endpoint.host.clone(),
            port: endpoint.port,
            security_protocol: endpoint.security_protocol,
            ..Default::default()
        });
        let features = self.features.iter().map(|(name, range)| ControllerFeature {
            name: name.clone(),
            min_supported_version: range.min,
            max_supported_version: range.max,
            ..Default::default()
        });
        RegisterControllerRecord {
            controller_id,
            incarnation_id: self.incarnation_id,
            end_points: endpoints.collect(),
            features: features.collect(),
            ..Default::default()
        }
    }
}
