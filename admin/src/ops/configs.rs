//! Settings of topics. Source: DescribeConfigs (API key 32), KIP-133, KIP-226.

use rkafka_client_core::{Error, Result, retry};
use rkafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use rkafka_protocol::messages::{DescribeConfigsRequest, DescribeConfigsResponse};

use super::PerItem;
use crate::Admin;

/// The number that stands for a topic among the kinds of things that have settings.
const RESOURCE_TOPIC: i8 = 2;

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
}

/// Where the value of a setting comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigSource {
    /// Set for this topic.
    Topic,
    /// Set for this broker while it runs.
    Broker,
    /// Set for all brokers while they run.
    BrokersDefault,
    /// From the broker's file.
    File,
    /// Kafka's own default.
    Default,
    /// Another, or the broker did not say.
    Other(i8),
}

impl From<i8> for ConfigSource {
    fn from(source: i8) -> Self {
        match source {
            1 => Self::Topic,
            2 => Self::Broker,
            3 => Self::BrokersDefault,
            4 => Self::File,
            5 => Self::Default,
            other => Self::Other(other),
        }
    }
}

impl Admin {
    /// The settings of topics, with where each comes from.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// The cluster cannot be reached within `default.api.timeout.ms`. What concerns one topic is in its item.
    pub async fn describe_topic_configs(&self, topics: &[impl AsRef<str> + Sync]) -> Result<PerItem<Vec<ConfigEntry>>> {
        let response: DescribeConfigsResponse = retry(self.policy(), |_| async {
            let resources = topics
                .iter()
                .map(|topic| DescribeConfigsResource {
                    resource_type: RESOURCE_TOPIC,
                    resource_name: topic.as_ref().to_owned(),
                    configuration_keys: None,
                    ..Default::default()
                })
                .collect();
            self.any_request(DescribeConfigsRequest { resources, ..Default::default() }).await
        })
        .await?;
        Ok(response
            .results
            .into_iter()
            .map(|result| {
                let name = result.resource_name;
                let outcome = Error::check_with(result.error_code, result.error_message.as_deref())
                    .map_err(|error| error.with_topic(name.clone()))
                    .map(|()| {
                        result
                            .configs
                            .into_iter()
                            .map(|config| ConfigEntry {
                                name: config.name,
                                value: config.value,
                                source: config.config_source.into(),
                                read_only: config.read_only,
                                sensitive: config.is_sensitive,
                            })
                            .collect()
                    });
                (name, outcome)
            })
            .collect())
    }
}
