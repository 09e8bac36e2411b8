//! Decisions about settings that may be changed while the broker runs: those of topics.

use std::collections::BTreeMap;

use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::ConfigRecord;
use rkafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};

use super::image::{ConfigResource, MetadataImage};
use super::records::MetadataRecord;
use super::topic_config::{ConfigType, TopicSetting};
use super::{Decision, Refusal, topic_config};
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
    Decision { records, reply }
}

fn refuse<T>(error: ErrorCode, message: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal { error, message: message.into() })
}

fn alter_one(
    image: &MetadataImage,
    broker: &BrokerConfig,
    resource: &AlterConfigsResource,
) -> Result<Vec<MetadataRecord>, Refusal> {
    match ConfigResource::from_number(resource.resource_type) {
        ConfigResource::Topic => {}
        ConfigResource::Broker => {
            return refuse(
                ErrorCode::InvalidRequest,
                "The settings of this broker cannot be changed while it runs; change its properties and start it anew.",
            );
        }
        other => {
            let message = format!("Resource type {} has no settings here.", other.number());
            return refuse(ErrorCode::InvalidRequest, message);
        }
    }
    let topic = &resource.resource_name;
    if image.topic(topic).is_none() {
        return refuse(ErrorCode::UnknownTopicOrPartition, ErrorCode::UnknownTopicOrPartition.message());
    }
    let present = image.configs(ConfigResource::Topic, topic);
    let mut changes: BTreeMap<&str, Option<String>> = BTreeMap::new();
    for config in &resource.configs {
        let change = changed_value(broker, present.and_then(|values| values.get(&config.name)), config)?;
        if changes.insert(&config.name, change).is_some() {
            return refuse(ErrorCode::InvalidRequest, format!("Error due to duplicate config keys: {}", config.name));
        }
    }
    Ok(changes
        .into_iter()
        .filter(|(name, value)| present.and_then(|values| values.get(*name)) != value.as_ref())
        .map(|(name, value)| {
            MetadataRecord::Config(ConfigRecord {
                resource_type: resource.resource_type,
                resource_name: topic.clone(),
                name: name.to_owned(),
                value,
                ..Default::default()
            })
        })
        .collect())
}

/// The value that a setting has after the change, `None` for its default.
fn changed_value(
    broker: &BrokerConfig,
    present: Option<&String>,
    config: &AlterableConfig,
) -> Result<Option<String>, Refusal> {
    const SET: i8 = 0;
    const DELETE: i8 = 1;
    const APPEND: i8 = 2;
    const SUBTRACT: i8 = 3;
    let name = &config.name;
    let Some(setting) = TopicSetting::find(name) else {
        return refuse(ErrorCode::InvalidConfig, format!("Unknown topic config name: {name}"));
    };
    let value = match config.config_operation {
        DELETE => return Ok(None),
        SET => config.value.clone(),
        operation @ (APPEND | SUBTRACT) => {
            if setting.kind != ConfigType::List {
                let word = if operation == APPEND { "APPEND" } else { "SUBTRACT" };
                return refuse(
                    ErrorCode::InvalidConfig,
                    format!("Can't {word} to key {name} because its type is not LIST."),
                );
            }
            let present = present.cloned().unwrap_or_else(|| setting.default(broker));
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
    match topic_config::check(name, value.as_deref()) {
        Ok(()) => Ok(value),
        Err(reason) => refuse(ErrorCode::InvalidConfig, reason),
    }
}
