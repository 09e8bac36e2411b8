//! `rkafka configs` and `rkafka topics config`.

use std::str::FromStr;

use clap::{Args, Subcommand};
use rkafka::admin::{ConfigResource, ConfigResourceType};

use super::{Connection, Form};

/// Print and change settings of topics, brokers, groups and client metrics.
#[derive(Debug, Args)]
pub struct Configs {
    #[command(subcommand)]
    pub command: ConfigsCommand,
}

/// What to do with settings.
#[derive(Debug, Subcommand)]
pub enum ConfigsCommand {
    /// Print settings with their values, and where those come from
    Describe(DescribeConfigs),
    /// Change settings
    Alter(AlterConfigs),
}

/// What has settings, as `topic/orders`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource(pub ConfigResource);

impl FromStr for Resource {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || {
            format!(
                "`{text}` has no settings; write topic/NAME, broker/ID, brokers, broker-logger/ID, group/NAME or client-metrics/NAME"
            )
        };
        let id = |name: &str| name.parse::<i32>().ok().filter(|id| *id >= 0).ok_or_else(bad);
        Ok(Self(match text.split_once('/') {
            None if text == "brokers" => ConfigResource::all_brokers(),
            Some((_, "")) | None => return Err(bad()),
            Some(("topic", name)) => ConfigResource::topic(name),
            Some(("broker", name)) => ConfigResource::broker(id(name)?),
            Some(("broker-logger", name)) => ConfigResource::broker_logger(id(name)?),
            Some(("group", name)) => ConfigResource::group(name),
            Some(("client-metrics", name)) => ConfigResource::client_metrics(name),
            Some(_) => return Err(bad()),
        }))
    }
}

/// How messages and lists name what has settings.
pub fn resource_name(resource: &ConfigResource) -> String {
    let kind = match resource.kind {
        ConfigResourceType::Broker if resource.name.is_empty() => return "brokers".to_owned(),
        kind => kind.name().to_ascii_lowercase().replace('_', "-"),
    };
    format!("{kind}/{}", resource.name)
}

/// Print settings with their values, and where those come from.
#[derive(Debug, Args)]
pub struct DescribeConfigs {
    /// Whose: topic/NAME, broker/ID, brokers (what is set for all), broker-logger/ID, group/NAME, client-metrics/NAME
    #[arg(required = true)]
    pub resources: Vec<Resource>,

    /// Also settings that have their default
    #[arg(long)]
    pub all: bool,

    #[command(flatten)]
    pub form: Form,

    #[command(flatten)]
    pub connection: Connection,
}

/// Change settings.
#[derive(Debug, Args)]
pub struct AlterConfigs {
    /// Whose: topic/NAME, broker/ID, brokers (all of them), broker-logger/ID, group/NAME, client-metrics/NAME
    pub resource: Resource,

    /// Give a setting a value (may be repeated)
    #[arg(short = 's', long = "set-config", value_name = "NAME=VALUE", required_unless_present_any = ["unset", "append", "subtract"])]
    pub set: Vec<String>,

    /// Give a setting its default again (may be repeated)
    #[arg(short = 'u', long, value_name = "NAME")]
    pub unset: Vec<String>,

    /// Add to a setting that is a list (may be repeated)
    #[arg(long, value_name = "NAME=VALUE")]
    pub append: Vec<String>,

    /// Take from a setting that is a list (may be repeated)
    #[arg(long, value_name = "NAME=VALUE")]
    pub subtract: Vec<String>,

    /// Let the broker check it, and change nothing
    #[arg(long)]
    pub dry_run: bool,

    #[command(flatten)]
    pub connection: Connection,
}

/// Print and change the settings of a topic.
#[derive(Debug, Args)]
pub struct TopicConfig {
    #[command(subcommand)]
    pub command: TopicConfigCommand,
}

/// What to do with the settings of a topic.
#[derive(Debug, Subcommand)]
pub enum TopicConfigCommand {
    /// Print settings; those that are not the default where none is named
    Get(GetTopicConfig),
    /// Give settings values, as NAME=VALUE
    Set(SetTopicConfig),
    /// Give settings their defaults again
    Unset(SetTopicConfig),
    /// Add to settings that are lists, as NAME=VALUE
    Append(SetTopicConfig),
}

/// Print settings of a topic.
#[derive(Debug, Args)]
pub struct GetTopicConfig {
    /// The topic
    pub topic: String,

    /// The settings
    pub names: Vec<String>,

    /// All settings
    #[arg(long, conflicts_with = "names")]
    pub all: bool,

    #[command(flatten)]
    pub form: Form,

    #[command(flatten)]
    pub connection: Connection,
}

/// Change settings of a topic.
#[derive(Debug, Args)]
pub struct SetTopicConfig {
    /// The topic
    pub topic: String,

    /// The settings
    #[arg(required = true, value_name = "SETTINGS")]
    pub changes: Vec<String>,

    /// Let the broker check it, and change nothing
    #[arg(long)]
    pub dry_run: bool,

    #[command(flatten)]
    pub connection: Connection,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_settings_reads_as_it_is_written() {
        for text in ["topic/a", "broker/1", "brokers", "broker-logger/2", "group/a/b", "client-metrics/m"] {
            assert_eq!(resource_name(&text.parse::<Resource>().unwrap().0), text);
        }
        for bad in ["", "topic", "topic/", "broker/x", "broker/-1", "user/a"] {
            assert!(bad.parse::<Resource>().unwrap_err().contains("topic/NAME"), "{bad}");
        }
    }
}
