//! API: DescribeConfigs (32)
//! Versions: 1-4
//! Behaviour: the settings of topics and of this broker, each with where its value comes from, and on demand its
//! synonyms and its documentation. There is no setting in the answer that this broker does not act on.
//! Deviations: broker loggers, client metrics and groups have no settings here.
//! KIPs: 226, 569

use std::collections::BTreeMap;
use std::sync::Arc;

use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use rkafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use rkafka_protocol::messages::{DescribeConfigsRequest, DescribeConfigsResponse};

use super::{HandlerError, RequestContext};
use crate::controller::topic_config::{TOPIC_SETTINGS, TopicSetting, broker_entries};
use crate::controller::{ConfigResource, Refusal, invalid_topic_name_reason};
use crate::{BrokerConfig, BrokerState};

const SOURCE_TOPIC: i8 = 1;
const SOURCE_STATIC_BROKER: i8 = 4;
const SOURCE_DEFAULT: i8 = 5;
const TYPE_TEXT: i8 = 2;

/// Describes settings.
///
/// # Errors
/// None.
pub async fn handle(
    broker: &Arc<BrokerState>,
    _context: &RequestContext,
    request: DescribeConfigsRequest,
    _version: i16,
) -> Result<DescribeConfigsResponse, HandlerError> {
    let results = request.resources.iter().map(|resource| {
        let described = match ConfigResource::from_number(resource.resource_type) {
            ConfigResource::Topic => describe_topic(broker, &resource.resource_name),
            ConfigResource::Broker => describe_broker(broker, &resource.resource_name),
            other => Err(Refusal {
                error: ErrorCode::InvalidRequest,
                message: format!("Resource type {} has no settings here.", other.number()),
            }),
        };
        let result = DescribeConfigsResult {
            resource_type: resource.resource_type,
            resource_name: resource.resource_name.clone(),
            ..Default::default()
        };
        match described {
            Ok(configs) => DescribeConfigsResult { configs: select(configs, resource, &request), ..result },
            Err(refusal) => DescribeConfigsResult {
                error_code: refusal.error.code(),
                error_message: Some(refusal.message),
                ..result
            },
        }
    });
    Ok(DescribeConfigsResponse { results: results.collect(), ..Default::default() })
}

/// Keeps what was asked for.
fn select(
    mut configs: Vec<DescribeConfigsResourceResult>,
    resource: &DescribeConfigsResource,
    request: &DescribeConfigsRequest,
) -> Vec<DescribeConfigsResourceResult> {
    if let Some(keys) = &resource.configuration_keys {
        configs.retain(|config| keys.contains(&config.name));
    }
    for config in &mut configs {
        if !request.include_synonyms {
            config.synonyms.clear();
        }
        if !request.include_documentation {
            config.documentation = None;
        }
    }
    configs
}

/// Every setting of a topic with its value and where that comes from.
pub(super) fn describe_topic_settings<'a>(
    broker: &'a BrokerState,
    set: Option<&'a BTreeMap<String, String>>,
) -> impl Iterator<Item = (&'static TopicSetting, String, i8)> + 'a {
    TOPIC_SETTINGS.iter().map(move |setting| match set.and_then(|set| set.get(setting.name)) {
        Some(value) => (setting, value.clone(), SOURCE_TOPIC),
        None => {
            let source = if setting.is_set_by(&broker.config) { SOURCE_STATIC_BROKER } else { SOURCE_DEFAULT };
            (setting, setting.default(&broker.config), source)
        }
    })
}

fn describe_topic(broker: &BrokerState, name: &str) -> Result<Vec<DescribeConfigsResourceResult>, Refusal> {
    let image = broker.image();
    if let Some(message) = invalid_topic_name_reason(name) {
        return Err(Refusal { error: ErrorCode::InvalidTopicException, message });
    }
    if image.topic(name).is_none() {
        let error = ErrorCode::UnknownTopicOrPartition;
        return Err(Refusal { error, message: error.message().to_owned() });
    }
    let set = image.configs(ConfigResource::Topic, name);
    Ok(describe_topic_settings(broker, set.map(|set| &**set))
        .map(|(setting, value, source)| {
            let synonym = |name: &str, value: String, source| DescribeConfigsSynonym {
                name: name.to_owned(),
                value: Some(value),
                source,
                ..Default::default()
            };
            let mut synonyms = Vec::new();
            if source == SOURCE_TOPIC {
                synonyms.push(synonym(setting.name, value.clone(), SOURCE_TOPIC));
            }
            if let Some(broker_name) = setting.broker_name {
                if setting.is_set_by(&broker.config) {
                    synonyms.push(synonym(broker_name, setting.default(&broker.config), SOURCE_STATIC_BROKER));
                }
                synonyms.push(synonym(broker_name, setting.default(&BrokerConfig::new()), SOURCE_DEFAULT));
            }
            DescribeConfigsResourceResult {
                name: setting.name.to_owned(),
                value: Some(value),
                config_source: source,
                synonyms,
                config_type: setting.kind as i8,
                documentation: Some(setting.documentation.to_owned()),
                ..Default::default()
            }
        })
        .collect())
}

fn describe_broker(broker: &BrokerState, name: &str) -> Result<Vec<DescribeConfigsResourceResult>, Refusal> {
    let refuse = |message: String| Err(Refusal { error: ErrorCode::InvalidRequest, message });
    if name.is_empty() {
        // The defaults of all brokers that are set while they run: none are.
        return Ok(Vec::new());
    }
    match name.parse::<i32>() {
        Ok(id) if id == broker.config.node_id => {}
        Ok(id) => {
            return refuse(format!("Unexpected broker id, expected {} but received {id}", broker.config.node_id));
        }
        Err(_) => return refuse(format!("Broker id must be an integer, but it is: {name}")),
    }
    let docs = BrokerConfig::describe();
    Ok(broker_entries(&broker.config)
        .into_iter()
        .map(|entry| {
            let source = if entry.is_default { SOURCE_DEFAULT } else { SOURCE_STATIC_BROKER };
            let doc = docs.iter().find(|doc| doc.name == entry.name);
            DescribeConfigsResourceResult {
                name: entry.name.to_owned(),
                value: Some(entry.value.clone()),
                read_only: true,
                config_source: source,
                is_sensitive: doc.is_some_and(|doc| doc.secret),
                synonyms: vec![DescribeConfigsSynonym {
                    name: entry.name.to_owned(),
                    value: Some(entry.value),
                    source,
                    ..Default::default()
                }],
                config_type: TYPE_TEXT,
                documentation: doc.map(|doc| doc.doc.clone()),
                ..Default::default()
            }
        })
        .collect())
}
