//! Settings of topics, brokers, groups and all else that has some. Source: DescribeConfigs (API key 32), KIP-133, KIP-226,
//! KIP-569 for types and documentation, KIP-714 and KIP-848 for the newer kinds.

use std::borrow::Borrow;
use std::fmt;

use rkafka_client_core::{Error, Result};
use rkafka_protocol::messages::create_topics_response::CreatableTopicConfigs;
use rkafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use rkafka_protocol::messages::describe_configs_response::DescribeConfigsResourceResult;
use rkafka_protocol::messages::{DescribeConfigsRequest, DescribeConfigsResponse};

use super::PerItem;
use crate::Admin;
use crate::codes::codes;
use crate::driver::{Answers, Operation, Place};
use crate::operation::operation;

codes! {
    /// What kind of thing has settings.
    pub enum ConfigResourceType: i8 {
        /// A topic.
        Topic = 2 "TOPIC",
        /// A broker, by its id; the empty name stands for what all brokers have in common.
        Broker = 4 "BROKER",
        /// The loggers of a broker, by its id, with their levels (KIP-412).
        BrokerLogger = 8 "BROKER_LOGGER",
        /// A subscription to clients' metrics (KIP-714).
        ClientMetrics = 16 "CLIENT_METRICS",
        /// A group (KIP-848).
        Group = 32 "GROUP",
    }
}

/// A thing that has settings.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConfigResource {
    /// What it is.
    pub kind: ConfigResourceType,
    /// Its name; for a broker its id.
    pub name: String,
}

impl ConfigResource {
    /// The thing of this kind with this name.
    pub fn new(kind: ConfigResourceType, name: impl Into<String>) -> Self {
        Self { kind, name: name.into() }
    }

    /// A topic.
    pub fn topic(name: impl Into<String>) -> Self {
        Self::new(ConfigResourceType::Topic, name)
    }

    /// A broker.
    pub fn broker(id: i32) -> Self {
        Self::new(ConfigResourceType::Broker, id.to_string())
    }

    /// What all brokers have in common, beneath what one has of its own.
    pub fn all_brokers() -> Self {
        Self::new(ConfigResourceType::Broker, "")
    }

    /// The loggers of a broker.
    pub fn broker_logger(id: i32) -> Self {
        Self::new(ConfigResourceType::BrokerLogger, id.to_string())
    }

    /// A group.
    pub fn group(id: impl Into<String>) -> Self {
        Self::new(ConfigResourceType::Group, id)
    }

    /// A subscription to clients' metrics.
    pub fn client_metrics(name: impl Into<String>) -> Self {
        Self::new(ConfigResourceType::ClientMetrics, name)
    }

    /// A broker knows its own settings best, and its loggers alone.
    pub(super) fn place(&self, otherwise: Place) -> Place {
        match self.kind {
            ConfigResourceType::Broker | ConfigResourceType::BrokerLogger => {
                self.name.parse().map_or(otherwise, Place::Node)
            }
            _ => otherwise,
        }
    }

    pub(super) fn about(&self, error: Error) -> Error {
        match self.kind {
            ConfigResourceType::Topic => error.with_topic(&self.name),
            _ => error,
        }
    }
}

impl fmt::Display for ConfigResource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.kind, if self.name.is_empty() { "<default>" } else { &self.name })
    }
}

/// A setting with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConfigEntry {
    /// Kafka's name of it.
    pub name: String,
    /// Its value; `None` where it is secret, or null.
    pub value: Option<String>,
    /// Where the value comes from.
    pub source: ConfigSource,
    /// Whether it cannot be changed while the broker runs.
    pub read_only: bool,
    /// Whether the value is secret.
    pub sensitive: bool,
    /// What kind of value it has; `None` from brokers before Kafka 2.6, and of a topic just created.
    pub kind: Option<ConfigType>,
    /// All that say something of it, the one that counts first; empty where it was not asked for.
    pub synonyms: Vec<ConfigSynonym>,
    /// What it means; `None` where it was not asked for, or the broker did not say.
    pub documentation: Option<String>,
}

/// One of the places that say something of a setting.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConfigSynonym {
    /// Kafka's name of the setting there: a topic's `retention.ms` is a broker's `log.retention.ms`.
    pub name: String,
    /// Its value there; `None` where it is secret, or null.
    pub value: Option<String>,
    /// What place that is.
    pub source: ConfigSource,
}

codes! {
    /// Where the value of a setting comes from.
    pub enum ConfigSource: i8 {
        /// Set for this topic.
        Topic = 1 "DYNAMIC_TOPIC_CONFIG",
        /// Set for this broker while it runs.
        Broker = 2 "DYNAMIC_BROKER_CONFIG",
        /// Set for all brokers while they run.
        BrokersDefault = 3 "DYNAMIC_DEFAULT_BROKER_CONFIG",
        /// From the broker's file.
        File = 4 "STATIC_BROKER_CONFIG",
        /// Kafka's own default.
        Default = 5 "DEFAULT_CONFIG",
        /// Set for this logger of a broker while it runs.
        BrokerLogger = 6 "DYNAMIC_BROKER_LOGGER_CONFIG",
        /// Set for this subscription to clients' metrics.
        ClientMetrics = 7 "DYNAMIC_CLIENT_METRICS_CONFIG",
        /// Set for this group.
        Group = 8 "DYNAMIC_GROUP_CONFIG",
    }
}

codes! {
    /// What kind of value a setting has.
    pub enum ConfigType: i8 {
        /// `true` or `false`.
        Boolean = 1 "BOOLEAN",
        /// Text.
        String = 2 "STRING",
        /// A number of 32 bits.
        Int = 3 "INT",
        /// A number of 16 bits.
        Short = 4 "SHORT",
        /// A number of 64 bits.
        Long = 5 "LONG",
        /// A number with a point.
        Double = 6 "DOUBLE",
        /// Several, with commas between.
        List = 7 "LIST",
        /// The name of a Java class.
        Class = 8 "CLASS",
        /// A secret.
        Password = 9 "PASSWORD",
    }
}

impl From<DescribeConfigsResourceResult> for ConfigEntry {
    fn from(config: DescribeConfigsResourceResult) -> Self {
        let synonyms = config.synonyms.into_iter().map(|synonym| ConfigSynonym {
            name: synonym.name,
            value: synonym.value,
            source: synonym.source.into(),
        });
        Self {
            name: config.name,
            value: config.value,
            source: config.config_source.into(),
            read_only: config.read_only,
            sensitive: config.is_sensitive,
            kind: (config.config_type != 0).then(|| config.config_type.into()),
            synonyms: synonyms.collect(),
            documentation: config.documentation,
        }
    }
}

impl From<CreatableTopicConfigs> for ConfigEntry {
    fn from(config: CreatableTopicConfigs) -> Self {
        Self {
            name: config.name,
            value: config.value,
            source: config.config_source.into(),
            read_only: config.read_only,
            sensitive: config.is_sensitive,
            kind: None,
            synonyms: Vec::new(),
            documentation: None,
        }
    }
}

operation! {
    /// What [`Admin::describe_configs`] gives.
    pub struct DescribeConfigs => PerItem<Vec<ConfigEntry>, ConfigResource> {
        resources: Vec<ConfigResource>,
    }
    options {
        /// Whether to name all places that say something of a setting. Default: not.
        include_synonyms: bool = false,
        /// Whether to say what each setting means. Default: not.
        include_documentation: bool = false,
    }
}

struct Job {
    include_synonyms: bool,
    include_documentation: bool,
}

impl Operation for Job {
    type Key = ConfigResource;
    type Value = Vec<ConfigEntry>;
    type Request = DescribeConfigsRequest;

    fn place(&self, resource: &ConfigResource) -> Place {
        resource.place(Place::Any)
    }

    fn request(&self, _version: i16, resources: &[ConfigResource]) -> Result<DescribeConfigsRequest> {
        let resources = resources.iter().map(|resource| DescribeConfigsResource {
            resource_type: resource.kind.code(),
            resource_name: resource.name.clone(),
            configuration_keys: None,
            ..Default::default()
        });
        Ok(DescribeConfigsRequest {
            resources: resources.collect(),
            include_synonyms: self.include_synonyms,
            include_documentation: self.include_documentation,
            ..Default::default()
        })
    }

    fn read(
        &self,
        _resources: &[ConfigResource],
        response: DescribeConfigsResponse,
    ) -> Answers<ConfigResource, Vec<ConfigEntry>> {
        let results = response.results.into_iter().map(|result| {
            let outcome = Error::check_with(result.error_code, result.error_message.as_deref())
                .map(|()| result.configs.into_iter().map(ConfigEntry::from).collect());
            (ConfigResource::new(result.resource_type.into(), result.resource_name), outcome)
        });
        Ok(results.collect())
    }

    fn about(&self, resource: &ConfigResource, error: Error) -> Error {
        resource.about(error)
    }
}

impl DescribeConfigs<'_> {
    async fn run(self) -> Result<PerItem<Vec<ConfigEntry>, ConfigResource>> {
        let job = Job { include_synonyms: self.include_synonyms, include_documentation: self.include_documentation };
        self.admin.run(&job, self.resources, self.limit).await
    }
}

impl Admin {
    /// The settings of topics, brokers, brokers' loggers, groups and subscriptions to metrics, with where each comes from.
    ///
    /// ```no_run
    /// # use rkafka_admin::{Admin, ConfigResource};
    /// # async fn run(admin: Admin) -> Result<(), rkafka_admin::Error> {
    /// let configs = admin.describe_configs([ConfigResource::topic("orders"), ConfigResource::broker(1)]).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// See [`Admin`]. What concerns one resource is in its item.
    pub fn describe_configs(&self, resources: impl IntoIterator<Item: Borrow<ConfigResource>>) -> DescribeConfigs<'_> {
        DescribeConfigs::new(self, resources.into_iter().map(|resource| resource.borrow().clone()).collect())
    }
}
