//! API: DescribeConfigs (32)
//! Versions: 1-4
//! Behaviour: the settings of topics, of this broker, of all brokers (the empty name), of groups and of subscriptions to
//! the metrics of clients, each with where its value comes from, and on demand its synonyms, the strongest first, and
//! its documentation. There is no setting in the answer that this broker does not act on.
//! Deviations: brokers' loggers have no settings here. A value in the broker's file that is the default counts as the
//! default.
//! KIPs: 226, 569, 714, 848, 1142

use std::collections::BTreeMap;
use std::sync::Arc;

use rkafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use rkafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use rkafka_protocol::messages::{DescribeConfigsRequest, DescribeConfigsResponse};

use super::{HandlerError, RequestContext};
use crate::controller::broker_config::{
    self, Levels, SOURCE_ALL_BROKERS, SOURCE_CLIENT_METRICS, SOURCE_DEFAULT, SOURCE_GROUP, SOURCE_TOPIC,
};
use crate::controller::client_metrics_config::CLIENT_METRICS_SETTINGS;
use crate::controller::topic_config::{TOPIC_SETTINGS, TopicSetting};
use crate::controller::{ConfigResource, check_resource, group_config};
use crate::kafka_settings::ConfigType;
use crate::{BrokerConfig, BrokerState, MetadataImage};

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
    let described = Described::new(broker);
    let results = request.resources.iter().map(|resource| {
        let kind = ConfigResource::from_number(resource.resource_type);
        let name = &resource.resource_name;
        let result = DescribeConfigsResult {
            resource_type: resource.resource_type,
            resource_name: name.clone(),
            ..Default::default()
        };
        match check_resource(&described.image, &broker.config, kind, name) {
            Ok(()) => {
                DescribeConfigsResult { configs: select(described.settings(kind, name), resource, &request), ..result }
            }
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

/// What all descriptions of one answer have in common.
pub(super) struct Described {
    image: Arc<MetadataImage>,
    effective: Arc<BrokerConfig>,
    levels: Levels,
}

impl Described {
    pub fn new(broker: &BrokerState) -> Self {
        let image = broker.image();
        let levels = Levels::new(&broker.config, &image);
        Self { effective: broker.effective_config(), levels, image }
    }

    /// Every setting of a topic with its value and where that comes from.
    pub fn topic_settings<'a>(
        &'a self,
        set: Option<&'a BTreeMap<String, String>>,
    ) -> impl Iterator<Item = (&'static TopicSetting, String, i8)> + 'a {
        TOPIC_SETTINGS.iter().map(move |setting| match set.and_then(|set| set.get(setting.name)) {
            Some(value) => (setting, value.clone(), SOURCE_TOPIC),
            None => {
                let source = setting.broker_name.map_or(SOURCE_DEFAULT, |name| self.levels.source(name));
                (setting, setting.default(&self.effective), source)
            }
        })
    }

    fn settings(&self, kind: ConfigResource, name: &str) -> Vec<DescribeConfigsResourceResult> {
        let set = self.image.configs(kind, name).map(Arc::as_ref);
        match kind {
            ConfigResource::Topic => self.of_topic(set),
            ConfigResource::Broker if name.is_empty() => of_all_brokers(set),
            ConfigResource::Broker => self.of_broker(),
            ConfigResource::Group => self.of_group(set),
            ConfigResource::ClientMetrics => of_client_metrics(set),
            ConfigResource::Other(_) => Vec::new(),
        }
    }

    fn of_topic(&self, set: Option<&BTreeMap<String, String>>) -> Vec<DescribeConfigsResourceResult> {
        let described = self.topic_settings(set).map(|(setting, value, source)| {
            let own = (source == SOURCE_TOPIC).then(|| synonym(setting.name, &value, SOURCE_TOPIC));
            let synonyms = own.into_iter().chain(self.broker_synonyms(setting.broker_name)).collect();
            described(setting.name, Some(value), setting.kind, synonyms, setting.documentation, source)
        });
        described.collect()
    }

    fn of_broker(&self) -> Vec<DescribeConfigsResourceResult> {
        let docs = BrokerConfig::describe();
        let entries = self.effective.entries().into_iter();
        let described = entries.map(|entry| {
            let doc = docs.iter().find(|doc| doc.name == entry.name);
            let secret = doc.is_some_and(|doc| doc.secret);
            let value = Some(entry.value).filter(|value| !secret && !broker_config::is_none(entry.name, value));
            let mut synonyms: Vec<_> = self.broker_synonyms(Some(entry.name)).collect();
            if secret {
                synonyms.iter_mut().for_each(|synonym| synonym.value = None);
            }
            let kind = broker_config::kind_of(entry.name);
            let text = doc.map_or("", |doc| &doc.doc);
            let source = self.levels.source(entry.name);
            let described = described(entry.name, value, kind, synonyms, text, source);
            DescribeConfigsResourceResult {
                read_only: !broker_config::is_dynamic(entry.name),
                is_sensitive: secret,
                ..described
            }
        });
        described.collect()
    }

    fn of_group(&self, set: Option<&BTreeMap<String, String>>) -> Vec<DescribeConfigsResourceResult> {
        let described = group_config::all().map(|setting| {
            let own = set.and_then(|set| set.get(setting.name));
            let first = own.map(|value| synonym(setting.name, value, SOURCE_GROUP));
            let source = match setting.broker_name() {
                _ if own.is_some() => SOURCE_GROUP,
                Some(name) => self.levels.source(name),
                None => SOURCE_DEFAULT,
            };
            let value = own.cloned().unwrap_or_else(|| setting.default(&self.effective));
            let synonyms = first.into_iter().chain(self.broker_synonyms(setting.broker_name())).collect();
            described(setting.name, Some(value), setting.kind, synonyms, setting.documentation, source)
        });
        described.collect()
    }

    fn broker_synonyms(&self, name: Option<&str>) -> impl Iterator<Item = DescribeConfigsSynonym> {
        let synonyms = name.map(|name| self.levels.synonyms(name)).unwrap_or_default();
        synonyms.into_iter().map(|found| synonym(found.name, &found.value, found.source))
    }
}

fn of_all_brokers(set: Option<&BTreeMap<String, String>>) -> Vec<DescribeConfigsResourceResult> {
    let docs = BrokerConfig::describe();
    let described = set.into_iter().flatten().map(|(name, value)| {
        let text = docs.iter().find(|doc| doc.name == name).map_or("", |doc| &doc.doc);
        let synonyms = vec![synonym(name, value, SOURCE_ALL_BROKERS)];
        described(name, Some(value.clone()), broker_config::kind_of(name), synonyms, text, SOURCE_ALL_BROKERS)
    });
    described.collect()
}

fn of_client_metrics(set: Option<&BTreeMap<String, String>>) -> Vec<DescribeConfigsResourceResult> {
    let described = CLIENT_METRICS_SETTINGS.iter().map(|setting| {
        let own = set.and_then(|set| set.get(setting.name));
        let synonyms = own.map(|value| synonym(setting.name, value, SOURCE_CLIENT_METRICS)).into_iter().collect();
        let source = if own.is_some() { SOURCE_CLIENT_METRICS } else { SOURCE_DEFAULT };
        let value = own.cloned().unwrap_or_else(|| setting.default.to_owned());
        described(setting.name, Some(value), setting.kind, synonyms, setting.documentation, source)
    });
    described.collect()
}

fn synonym(name: &str, value: &str, source: i8) -> DescribeConfigsSynonym {
    DescribeConfigsSynonym { name: name.to_owned(), value: Some(value.to_owned()), source, ..Default::default() }
}

fn described(
    name: &str,
    value: Option<String>,
    kind: ConfigType,
    synonyms: Vec<DescribeConfigsSynonym>,
    documentation: &str,
    config_source: i8,
) -> DescribeConfigsResourceResult {
    DescribeConfigsResourceResult {
        name: name.to_owned(),
        value,
        config_source,
        synonyms,
        config_type: kind as i8,
        documentation: Some(documentation.to_owned()),
        ..Default::default()
    }
}
