//! The settings of brokers that are changed while they run (KIP-226): which may be, what they make of the settings that
//! the broker was started with, and where each value comes from.
//!
//! A setting is changed for one broker, or for all of them under the empty name; the first goes before the second, and
//! both before what the broker was started with.

use std::collections::BTreeMap;
use std::sync::Arc;

use rkafka_config::{Entry, Settings};

use super::image::{ConfigResource, MetadataImage};
use super::topic_config::TOPIC_SETTINGS;
use crate::config::BrokerConfig;
use crate::kafka_settings::{self, ConfigType};

/// Where a value comes from, with Kafka's numbers.
pub(crate) const SOURCE_TOPIC: i8 = 1;
pub(crate) const SOURCE_BROKER: i8 = 2;
pub(crate) const SOURCE_ALL_BROKERS: i8 = 3;
pub(crate) const SOURCE_STATIC: i8 = 4;
pub(crate) const SOURCE_DEFAULT: i8 = 5;
pub(crate) const SOURCE_CLIENT_METRICS: i8 = 7;
pub(crate) const SOURCE_GROUP: i8 = 8;

/// What is changed while the broker runs beside the settings of the logs: who acts on these asks for the present value.
const ASKED_FOR_ANEW: &[&str] = &[
    "follower.replication.throttled.rate",
    "leader.replication.throttled.rate",
    "log.cleaner.backoff.ms",
    "log.cleaner.dedupe.buffer.size",
    "log.cleaner.io.max.bytes.per.second",
    "producer.id.expiration.ms",
];

/// Whether a setting is changed while the broker runs: Kafka does, and here it is in force at once, because the logs of
/// all partitions get their settings anew, and the others are asked for when they are needed.
pub(crate) fn is_dynamic(name: &str) -> bool {
    let of_logs = || TOPIC_SETTINGS.iter().any(|setting| setting.broker_name == Some(name));
    kafka_settings::find(name).is_some_and(|(_, dynamic)| dynamic) && (ASKED_FOR_ANEW.contains(&name) || of_logs())
}

/// Kafka's type of a broker's setting. What Kafka does not have is a text.
pub(crate) fn kind_of(name: &str) -> ConfigType {
    kafka_settings::find(name).map_or(ConfigType::Text, |(kind, _)| kind)
}

/// The settings that hold now: those of the start, changed by what was set for all brokers, and then for this one.
pub(crate) fn effective(fixed: &BrokerConfig, image: &MetadataImage) -> BrokerConfig {
    let of = |name: &str| image.configs(ConfigResource::Broker, name).map(Arc::as_ref);
    let node = fixed.node_id.to_string();
    let (config, failures) = overlaid(fixed, [of(""), of(&node)]);
    for failure in failures {
        // Values are checked before they are recorded; one from another Kafka's log may still be beyond us.
        tracing::warn!(%failure, "a setting of this broker is passed over");
    }
    config
}

/// The settings with those of each level over them, the last one the strongest; and what could not be taken.
pub(super) fn overlaid(
    fixed: &BrokerConfig,
    levels: [Option<&BTreeMap<String, String>>; 2],
) -> (BrokerConfig, Vec<String>) {
    let (mut config, mut failures) = (fixed.clone(), Vec::new());
    for (name, value) in levels.into_iter().flatten().flatten() {
        if !is_dynamic(name) {
            failures.push(format!("`{name}` cannot be changed while the broker runs"));
        } else if let Err(error) = config.set(name, value) {
            failures.push(error.to_string());
        }
    }
    (config, failures)
}

/// One value of a setting, and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Synonym {
    pub name: &'static str,
    pub value: String,
    pub source: i8,
}

/// The values of a broker's settings at every level.
pub(crate) struct Levels {
    of_this: Option<Arc<BTreeMap<String, String>>>,
    of_all: Option<Arc<BTreeMap<String, String>>>,
    fixed: BTreeMap<&'static str, Entry>,
}

impl Levels {
    /// The levels of the broker with these settings at its start.
    pub fn new(fixed: &BrokerConfig, image: &MetadataImage) -> Self {
        let of = |name: &str| image.configs(ConfigResource::Broker, name).cloned();
        let entries = Settings::entries(fixed).into_iter();
        Self {
            of_this: of(&fixed.node_id.to_string()),
            of_all: of(""),
            fixed: entries.map(|entry| (entry.name, entry)).collect(),
        }
    }

    /// The values of a setting, the one that holds first.
    pub fn synonyms(&self, name: &str) -> Vec<Synonym> {
        let mut synonyms = Vec::new();
        for name in weaker_names(name) {
            let Some((&name, entry)) = self.fixed.get_key_value(name) else { continue };
            let dynamic = [(&self.of_this, SOURCE_BROKER), (&self.of_all, SOURCE_ALL_BROKERS)];
            for (set, source) in dynamic {
                if let Some(value) = set.as_ref().and_then(|set| set.get(name)) {
                    synonyms.push(Synonym { name, value: value.clone(), source });
                }
            }
            if !entry.is_default {
                synonyms.push(Synonym { name, value: entry.value.clone(), source: SOURCE_STATIC });
            }
            let doc = BrokerConfig::describe().iter().find(|doc| doc.name == name);
            if let Some(default) = doc.map(|doc| &doc.default)
                && !is_none(name, default)
            {
                synonyms.push(Synonym { name, value: default.clone(), source: SOURCE_DEFAULT });
            }
        }
        synonyms
    }

    /// Where the value of a setting comes from.
    pub fn source(&self, name: &str) -> i8 {
        self.synonyms(name).first().map_or(SOURCE_DEFAULT, |synonym| synonym.source)
    }
}

/// Whether a setting's text stands for no value, which Kafka shows as null.
pub(crate) fn is_none(name: &str, value: &str) -> bool {
    match value {
        "" => kind_of(name) != ConfigType::List,
        "-1" => matches!(name, "log.roll.ms" | "log.roll.jitter.ms" | "log.flush.interval.ms"),
        _ => false,
    }
}

/// A setting and those of coarser units that hold where it is not set.
fn weaker_names(name: &str) -> Vec<&str> {
    match name {
        "log.retention.ms" => vec![name, "log.retention.minutes", "log.retention.hours"],
        "log.roll.ms" => vec![name, "log.roll.hours"],
        "log.roll.jitter.ms" => vec![name, "log.roll.jitter.hours"],
        name => vec![name],
    }
}

#[cfg(test)]
mod tests {
    use rkafka_protocol::messages::ConfigRecord;

    use super::*;
    use crate::controller::MetadataRecord;

    fn image(values: &[(&str, &str, &str)]) -> MetadataImage {
        let mut image = MetadataImage::default();
        for (offset, (broker, name, value)) in (0..).zip(values) {
            let record = ConfigRecord {
                resource_type: ConfigResource::Broker.number(),
                resource_name: (*broker).to_owned(),
                name: (*name).to_owned(),
                value: Some((*value).to_owned()),
                ..Default::default()
            };
            image.replay(offset, &MetadataRecord::Config(record));
        }
        image
    }

    #[test]
    fn one_broker_goes_before_all_and_both_before_the_start() {
        let fixed = BrokerConfig::new().message_max_bytes(10).log_segment_bytes(2_000_000);
        let image = image(&[
            ("", "message.max.bytes", "20"),
            ("", "log.retention.ms", "30"),
            ("1", "message.max.bytes", "40"),
            ("2", "log.retention.ms", "50"),
            ("", "num.partitions", "9"),
        ]);
        let config = effective(&fixed, &image);
        assert_eq!((config.message_max_bytes, config.retention_ms(), config.num_partitions), (40, 30, 1));

        let levels = Levels::new(&fixed, &image);
        let sources = |name| levels.synonyms(name).iter().map(|it| (it.value.clone(), it.source)).collect::<Vec<_>>();
        let value = |text: &str, source| (text.to_owned(), source);
        assert_eq!(
            sources("message.max.bytes"),
            [
                value("40", SOURCE_BROKER),
                value("20", SOURCE_ALL_BROKERS),
                value("10", SOURCE_STATIC),
                value("1048588", 5)
            ]
        );
        assert_eq!(sources("log.retention.ms"), [value("30", SOURCE_ALL_BROKERS), value("168", SOURCE_DEFAULT)]);
        assert_eq!(levels.source("log.segment.bytes"), SOURCE_STATIC);
        assert_eq!(levels.source("log.roll.ms"), SOURCE_DEFAULT);
    }

    #[test]
    fn only_what_is_in_force_at_once_is_dynamic() {
        let dynamic = ["log.retention.ms", "message.max.bytes", "log.segment.bytes", "log.cleaner.delete.retention.ms"];
        for name in dynamic.iter().chain(ASKED_FOR_ANEW) {
            assert!(is_dynamic(name), "{name}");
        }
        for name in ["num.partitions", "listeners", "num.io.threads", "log.retention.hours", "no.such"] {
            assert!(!is_dynamic(name), "{name}");
        }
    }
}
