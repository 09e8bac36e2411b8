//! Decisions about settings that may be changed while the broker runs: those of topics, brokers, groups, and
//! subscriptions to the metrics of clients.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use rkafka_protocol::messages::{ClearElrRecord, ConfigRecord};

use super::client_metrics_config::{self, CLIENT_METRICS_SETTINGS, Wrong};
use super::group_config::GroupSetting;
use super::image::{ConfigResource, MetadataImage};
use super::records::MetadataRecord;
use super::topic_config::{ConfigType, TopicSetting};
use super::view::{ELR_FEATURE, MIN_ISR};
use super::{Decision, Refusal, broker_config, topic_config};
use crate::config::BrokerConfig;

/// Decides about the resources of one IncrementalAlterConfigs request.
pub(crate) fn alter(
    image: &MetadataImage,
    broker: &BrokerConfig,
    resources: &[AlterConfigsResource],
) -> Decision<Vec<Result<(), Refusal>>> {
    let mut records = Vec::new();
    let reply = resources
        .iter()
        .map(|resource| {
            let same = |other: &&AlterConfigsResource| {
                (other.resource_type, &other.resource_name) == (resource.resource_type, &resource.resource_name)
            };
            if resources.iter().filter(same).count() > 1 {
                return refuse(ErrorCode::InvalidRequest, "Each resource must appear at most once.");
            }
            records.extend(alter_one(image, broker, resource)?);
            Ok(())
        })
        .collect();
    forget_eligible(image, &mut records);
    Decision { records, reply }
}

/// Who is an eligible leader was decided by another `min.insync.replicas`, and may lack what is committed by the new one.
fn forget_eligible(image: &MetadataImage, records: &mut Vec<MetadataRecord>) {
    if image.feature_level(ELR_FEATURE) < 1 {
        return;
    }
    let mut topics: BTreeSet<String> = BTreeSet::new();
    for record in &*records {
        if let MetadataRecord::Config(record) = record
            && record.name == MIN_ISR
        {
            // The empty name means all topics.
            let of_topic = record.resource_type == ConfigResource::Topic.number();
            topics.insert(if of_topic { record.resource_name.clone() } else { String::new() });
        }
    }
    if topics.contains("") {
        topics = BTreeSet::from([String::new()]);
    }
    let cleared = topics
        .into_iter()
        .map(|topic_name| MetadataRecord::ClearElr(ClearElrRecord { topic_name, ..Default::default() }));
    records.extend(cleared);
}

/// While there are eligible leaders, `min.insync.replicas` is the same for all brokers, and always said.
fn check_min_isr(image: &MetadataImage, name: &str, changes: &BTreeMap<&str, Option<String>>) -> Result<(), Refusal> {
    match changes.get(MIN_ISR) {
        Some(_) if image.feature_level(ELR_FEATURE) < 1 => Ok(()),
        Some(_) if !name.is_empty() => {
            refuse(ErrorCode::InvalidConfig, "Broker-level min.insync.replicas cannot be altered while ELR is enabled.")
        }
        Some(None) => refuse(
            ErrorCode::InvalidConfig,
            "Cluster-level min.insync.replicas cannot be removed while ELR is enabled.",
        ),
        Some(Some(_)) | None => Ok(()),
    }
}

fn refuse<T>(error: ErrorCode, message: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal { error, message: message.into() })
}

fn alter_one(
    image: &MetadataImage,
    fixed: &BrokerConfig,
    resource: &AlterConfigsResource,
) -> Result<Vec<MetadataRecord>, Refusal> {
    let kind = ConfigResource::from_number(resource.resource_type);
    let name = &resource.resource_name;
    // The controller is asked for all brokers.
    let is_known_broker = || name.parse::<i32>().is_ok_and(|id| image.broker(id).is_some());
    if kind != ConfigResource::Broker || !is_known_broker() {
        check_resource(image, fixed, kind, name)?;
    }
    let effective = broker_config::effective(fixed, image);
    let present = image.configs(kind, name);
    let mut changes: BTreeMap<&str, Option<String>> = BTreeMap::new();
    for config in &resource.configs {
        let change = changed_value(kind, &effective, present.and_then(|values| values.get(&config.name)), config)?;
        if changes.insert(&config.name, change).is_some() {
            return refuse(ErrorCode::InvalidRequest, format!("Error due to duplicate config keys: {}", config.name));
        }
    }
    if kind == ConfigResource::Broker {
        check_min_isr(image, name, &changes)?;
        check_broker(image, fixed, name, &changes)?;
    }
    if kind == ConfigResource::Topic {
        let values = changed(present, &changes);
        topic_config::check_together(&effective, &values).or_else(|reason| refuse(ErrorCode::InvalidConfig, reason))?;
    }
    Ok(changes
        .into_iter()
        .filter(|(name, value)| present.and_then(|values| values.get(*name)) != value.as_ref())
        .map(|(key, value)| {
            MetadataRecord::Config(ConfigRecord {
                resource_type: resource.resource_type,
                resource_name: name.clone(),
                name: key.to_owned(),
                value,
                ..Default::default()
            })
        })
        .collect())
}

/// Checks that there is a resource whose settings this node can tell, and change.
///
/// # Errors
/// There is none of this kind, or none of this name.
pub(crate) fn check_resource(
    image: &MetadataImage,
    fixed: &BrokerConfig,
    kind: ConfigResource,
    name: &str,
) -> Result<(), Refusal> {
    match kind {
        ConfigResource::Topic => {
            if let Some(reason) = super::invalid_topic_name_reason(name) {
                return refuse(ErrorCode::InvalidTopicException, reason);
            }
            if image.topic(name).is_none() {
                return refuse(ErrorCode::UnknownTopicOrPartition, format!("The topic '{name}' does not exist."));
            }
        }
        ConfigResource::Broker if name.is_empty() => {}
        ConfigResource::Broker => match name.parse::<i32>() {
            Ok(id) if id == fixed.node_id => {}
            Ok(id) => {
                let message = format!("Unexpected broker id, expected {} but received {id}", fixed.node_id);
                return refuse(ErrorCode::InvalidRequest, message);
            }
            Err(_) => {
                return refuse(ErrorCode::InvalidRequest, format!("Broker id must be an integer, but it is: {name}"));
            }
        },
        ConfigResource::Group if name.is_empty() => {
            return refuse(ErrorCode::InvalidRequest, "Default group resources are not allowed.");
        }
        ConfigResource::ClientMetrics if name.is_empty() => {
            return refuse(ErrorCode::InvalidRequest, "Subscription name can't be empty");
        }
        ConfigResource::Group | ConfigResource::ClientMetrics => {}
        ConfigResource::Other(number) => {
            return refuse(ErrorCode::InvalidRequest, format!("Resource type {number} has no settings here."));
        }
    }
    Ok(())
}

/// The settings of a resource after the changes.
fn changed(
    present: Option<&Arc<BTreeMap<String, String>>>,
    changes: &BTreeMap<&str, Option<String>>,
) -> BTreeMap<String, String> {
    let mut values = present.map(|values| BTreeMap::clone(values)).unwrap_or_default();
    for (name, value) in changes {
        match value {
            Some(value) => values.insert((*name).to_owned(), value.clone()),
            None => values.remove(*name),
        };
    }
    values
}

/// Checks that the settings of this broker would go together after the changes.
fn check_broker(
    image: &MetadataImage,
    fixed: &BrokerConfig,
    name: &str,
    changes: &BTreeMap<&str, Option<String>>,
) -> Result<(), Refusal> {
    let node = fixed.node_id.to_string();
    let levels = ["", &node].map(|level| {
        let present = image.configs(ConfigResource::Broker, level);
        if level == name { changed(present, changes) } else { changed(present, &BTreeMap::new()) }
    });
    let [of_all, of_this] = &levels;
    let (config, _) = broker_config::overlaid(fixed, [Some(of_all), Some(of_this)]);
    config.validate().or_else(|error| refuse(ErrorCode::InvalidRequest, error.to_string()))
}

/// The type of a setting, and the value that holds where the resource has none.
fn find(kind: ConfigResource, effective: &BrokerConfig, name: &str) -> Result<(ConfigType, String), Refusal> {
    match kind {
        ConfigResource::Topic => match TopicSetting::find(name) {
            Some(setting) => Ok((setting.kind, setting.default(effective))),
            None => refuse(ErrorCode::InvalidConfig, format!("Unknown topic config name: {name}")),
        },
        ConfigResource::Broker => {
            let entry = effective.entries().into_iter().find(|entry| entry.name == name);
            match entry.filter(|_| broker_config::is_dynamic(name)) {
                Some(entry) => Ok((broker_config::kind_of(name), entry.value)),
                None => refuse(ErrorCode::InvalidRequest, format!("Cannot update these configs dynamically: [{name}]")),
            }
        }
        ConfigResource::Group => match GroupSetting::find(name) {
            Some(setting) => Ok((setting.kind, setting.default(effective))),
            None => refuse(ErrorCode::InvalidConfig, format!("Unknown group config name: {name}")),
        },
        ConfigResource::ClientMetrics => match CLIENT_METRICS_SETTINGS.iter().find(|setting| setting.name == name) {
            Some(setting) => Ok((setting.kind, setting.default.to_owned())),
            None => refuse(ErrorCode::InvalidRequest, format!("Unknown client metrics configuration: {name}")),
        },
        ConfigResource::Other(number) => {
            refuse(ErrorCode::InvalidRequest, format!("Resource type {number} has no settings here."))
        }
    }
}

/// The value that a setting has after the change, `None` for its default.
fn changed_value(
    kind: ConfigResource,
    effective: &BrokerConfig,
    present: Option<&String>,
    config: &AlterableConfig,
) -> Result<Option<String>, Refusal> {
    const SET: i8 = 0;
    const DELETE: i8 = 1;
    const APPEND: i8 = 2;
    const SUBTRACT: i8 = 3;
    let name = &config.name;
    let (setting_kind, default) = match find(kind, effective, name) {
        // What is not set can be removed, as in Kafka: `kafka-reassign-partitions --verify` removes throttles that it never
        // set. And what an older broker recorded must be removable.
        Err(_) if config.config_operation == DELETE => return Ok(None),
        found => found?,
    };
    let value = match config.config_operation {
        DELETE => return Ok(None),
        SET => config.value.clone(),
        operation @ (APPEND | SUBTRACT) => {
            if setting_kind != ConfigType::List {
                let word = if operation == APPEND { "APPEND" } else { "SUBTRACT" };
                return refuse(
                    ErrorCode::InvalidConfig,
                    format!("Can't {word} to key {name} because its type is not LIST."),
                );
            }
            let present = present.cloned().unwrap_or(default);
            let mut values: Vec<&str> = present.split(',').filter(|value| !value.is_empty()).collect();
            for value in config.value.as_deref().unwrap_or_default().split(',') {
                if operation == SUBTRACT {
                    values.retain(|known| *known != value);
                } else if !values.contains(&value) {
                    values.push(value);
                }
            }
            Some(values.join(","))
        }
        other => {
            return refuse(ErrorCode::InvalidRequest, format!("Unknown config operation {other} for {name}."));
        }
    };
    check_value(kind, effective, name, value.as_deref())?;
    Ok(value)
}

fn check_value(kind: ConfigResource, effective: &BrokerConfig, name: &str, value: Option<&str>) -> Result<(), Refusal> {
    if kind == ConfigResource::Topic {
        return topic_config::check(name, value).or_else(|reason| refuse(ErrorCode::InvalidConfig, reason));
    }
    let Some(value) = value else {
        return refuse(ErrorCode::InvalidRequest, format!("Null value not supported for : {name}"));
    };
    match kind {
        ConfigResource::Broker => {
            let invalid = |reason: String| {
                refuse(ErrorCode::InvalidRequest, format!("Invalid value {value} for configuration {name}: {reason}"))
            };
            let kind = broker_config::kind_of(name);
            if !kind.reads(value) {
                return invalid(kind.refusal());
            }
            effective.clone().set(name, value).or_else(|error| invalid(error.to_string()))
        }
        ConfigResource::Group => match GroupSetting::find(name) {
            Some(setting) => setting.check(effective, value).or_else(|reason| refuse(ErrorCode::InvalidConfig, reason)),
            None => refuse(ErrorCode::InvalidConfig, format!("Unknown group config name: {name}")),
        },
        _ => client_metrics_config::check(name, value).or_else(|wrong| match wrong {
            Wrong::Request(reason) => refuse(ErrorCode::InvalidRequest, reason),
            Wrong::Value(reason) => refuse(ErrorCode::InvalidConfig, reason),
        }),
    }
}
