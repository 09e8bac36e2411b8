//! The settings of topics: which there are, what they may be, and what they make of a log's settings.

use std::collections::BTreeMap;

use rkafka_config::Setting;

use rkafka_protocol::records::{Codec, Compression};

use crate::config::{BrokerCompressionType, BrokerConfig, MessageTimestampType, milliseconds};
pub(crate) use crate::kafka_settings::ConfigType;
use crate::log::{CleanupPolicy, LogConfig, ThrottledReplicas, TimestampType};

/// One setting that a topic may have.
pub(crate) struct TopicSetting {
    pub name: &'static str,
    pub kind: ConfigType,
    /// The broker's setting that holds where the topic has none, `None` where no setting of this broker does.
    pub broker_name: Option<&'static str>,
    pub documentation: &'static str,
    default: fn(&BrokerConfig) -> String,
    apply: fn(&str, &mut LogConfig) -> Result<(), String>,
}

/// Reads a number that lies in a range.
fn number<T: std::str::FromStr + PartialOrd + std::fmt::Display>(text: &str, least: T, most: T) -> Result<T, String> {
    let number: T = text.trim().parse().map_err(|_| format!("it is not a number from {least} to {most}"))?;
    if !(&least..=&most).contains(&&number) {
        // Kafka's words for the one bound that matters.
        return Err(if number < least {
            format!("Value must be at least {least}")
        } else {
            format!("Value must be no more than {most}")
        });
    }
    Ok(number)
}

/// Reads a codec's level.
fn level(text: &str, compression: Compression) -> Result<i32, String> {
    let level = number(text, i32::MIN, i32::MAX)?;
    Codec::with_level(compression, level).map(|_| level).map_err(|error| error.to_string())
}

/// Every setting that a topic may have, by name.
pub(crate) const TOPIC_SETTINGS: &[TopicSetting] = &[
    TopicSetting {
        name: "cleanup.policy",
        kind: ConfigType::List,
        broker_name: Some("log.cleanup.policy"),
        documentation: "What becomes of old records: `delete` removes segments by time and size, `compact` keeps the last \
                        record of each key; both may be said, and nothing keeps everything.",
        default: |broker| broker.log_cleanup_policy.join(","),
        apply: |text, log| CleanupPolicy::parse(text).map(|policy| log.cleanup_policy = policy),
    },
    TopicSetting {
        name: "compression.gzip.level",
        kind: ConfigType::Int,
        broker_name: Some("compression.gzip.level"),
        documentation: "The level of gzip where `compression.type=gzip`: 1 to 9, or -1 for the codec's own.",
        default: |broker| broker.compression_gzip_level.to_string(),
        apply: |text, log| level(text, Compression::Gzip).map(|level| log.compression_gzip_level = level),
    },
    TopicSetting {
        name: "compression.lz4.level",
        kind: ConfigType::Int,
        broker_name: Some("compression.lz4.level"),
        documentation: "The level of lz4 where `compression.type=lz4`. Only 9 is there, by which Kafka means fast LZ4.",
        default: |broker| broker.compression_lz4_level.to_string(),
        apply: |text, _| level(text, Compression::Lz4).map(drop),
    },
    TopicSetting {
        name: "compression.type",
        kind: ConfigType::Text,
        broker_name: Some("compression.type"),
        documentation: "How batches are compressed in the log: `uncompressed`, `gzip`, `snappy`, `lz4` or `zstd`; \
                        `producer` leaves each as it came.",
        default: |broker| broker.compression_type.to_string(),
        apply: |text, log| {
            let kind = text
                .trim()
                .parse::<BrokerCompressionType>()
                .map_err(|_| format!("it must be {}", BrokerCompressionType::expected("")))?;
            log.compression = kind.compression();
            Ok(())
        },
    },
    TopicSetting {
        name: "compression.zstd.level",
        kind: ConfigType::Int,
        broker_name: Some("compression.zstd.level"),
        documentation: "The level of zstd where `compression.type=zstd`: -131072 to 22.",
        default: |broker| broker.compression_zstd_level.to_string(),
        apply: |text, log| level(text, Compression::Zstd).map(|level| log.compression_zstd_level = level),
    },
    TopicSetting {
        name: "delete.retention.ms",
        kind: ConfigType::Long,
        broker_name: Some("log.cleaner.delete.retention.ms"),
        documentation: "How long a tombstone stays in a compacted topic after the cleaner has first kept it.",
        default: |broker| milliseconds(broker.log_cleaner_delete_retention).to_string(),
        apply: |text, log| number(text, 0, i64::MAX).map(|ms| log.delete_retention_ms = ms),
    },
    TopicSetting {
        name: "file.delete.delay.ms",
        kind: ConfigType::Long,
        broker_name: Some("log.segment.delete.delay.ms"),
        documentation: "How long the files of segments that retention has taken out of the log stay on the disk.",
        default: |broker| milliseconds(broker.log_segment_delete_delay).to_string(),
        apply: |text, log| number(text, 0, i64::MAX).map(|ms| log.file_delete_delay_ms = ms),
    },
    TopicSetting {
        name: "flush.messages",
        kind: ConfigType::Long,
        broker_name: Some("log.flush.interval.messages"),
        documentation: "An append that leaves this many records unsynced syncs them before it is acknowledged.",
        default: |broker| broker.log_flush_interval_messages.to_string(),
        apply: |text, log| number(text, 1, i64::MAX).map(|count| log.flush_messages = count),
    },
    TopicSetting {
        name: "flush.ms",
        kind: ConfigType::Long,
        broker_name: Some("log.flush.interval.ms"),
        documentation: "How long a record may be in the log and not synced, in milliseconds.",
        default: |broker| broker.log_config().flush_ms.to_string(),
        apply: |text, log| number(text, 0, i64::MAX).map(|ms| log.flush_ms = ms),
    },
    TopicSetting {
        name: "follower.replication.throttled.replicas",
        kind: ConfigType::List,
        broker_name: None,
        documentation: "The replicas that `follower.replication.throttled.rate` holds back while they are not in sync, as \
                        `partition:broker` with commas between them, or `*` for all.",
        default: |_| String::new(),
        apply: |text, log| ThrottledReplicas::parse(text).map(|replicas| log.follower_throttled = replicas),
    },
    TopicSetting {
        name: "index.interval.bytes",
        kind: ConfigType::Int,
        broker_name: Some("log.index.interval.bytes"),
        documentation: "About how many bytes of log lie between two entries of an index.",
        default: |broker| broker.log_index_interval_bytes.to_string(),
        apply: |text, log| number(text, 0, i32::MAX).map(|bytes| log.index_interval_bytes = bytes as u32),
    },
    TopicSetting {
        name: "leader.replication.throttled.replicas",
        kind: ConfigType::List,
        broker_name: None,
        documentation: "The replicas whose followers `leader.replication.throttled.rate` holds back while these are not in \
                        sync, as `partition:broker` with commas between them, or `*` for all.",
        default: |_| String::new(),
        apply: |text, log| ThrottledReplicas::parse(text).map(|replicas| log.leader_throttled = replicas),
    },
    TopicSetting {
        name: "max.compaction.lag.ms",
        kind: ConfigType::Long,
        broker_name: Some("log.cleaner.max.compaction.lag.ms"),
        documentation: "How long a record of a compacted topic stays uncompacted at most.",
        default: |broker| milliseconds(broker.log_cleaner_max_compaction_lag).to_string(),
        apply: |text, log| number(text, 1, i64::MAX).map(|ms| log.max_compaction_lag_ms = ms),
    },
    TopicSetting {
        name: "max.message.bytes",
        kind: ConfigType::Int,
        broker_name: Some("message.max.bytes"),
        documentation: "The largest batch of records that a producer may send.",
        default: |broker| broker.message_max_bytes.to_string(),
        apply: |text, log| number(text, 0, i32::MAX).map(|bytes| log.max_message_bytes = bytes as u32),
    },
    TopicSetting {
        name: "message.timestamp.after.max.ms",
        kind: ConfigType::Long,
        broker_name: Some("log.message.timestamp.after.max.ms"),
        documentation: "How far ahead of the broker's clock a record's time may be.",
        default: |broker| milliseconds(broker.log_message_timestamp_after_max).to_string(),
        apply: |text, log| number(text, 0, i64::MAX).map(|ms| log.message_timestamp_after_max_ms = ms),
    },
    TopicSetting {
        name: "message.timestamp.before.max.ms",
        kind: ConfigType::Long,
        broker_name: Some("log.message.timestamp.before.max.ms"),
        documentation: "How far behind the broker's clock a record's time may be.",
        default: |broker| milliseconds(broker.log_message_timestamp_before_max).to_string(),
        apply: |text, log| number(text, 0, i64::MAX).map(|ms| log.message_timestamp_before_max_ms = ms),
    },
    TopicSetting {
        name: "message.timestamp.type",
        kind: ConfigType::Text,
        broker_name: Some("log.message.timestamp.type"),
        documentation: "Which time a record bears: `CreateTime` or `LogAppendTime`.",
        default: |broker| broker.log_message_timestamp_type.to_string(),
        apply: |text, log| {
            log.message_timestamp_type = match text {
                "CreateTime" => TimestampType::CreateTime,
                "LogAppendTime" => TimestampType::LogAppendTime,
                _ => return Err(format!("it must be {}", MessageTimestampType::expected(""))),
            };
            Ok(())
        },
    },
    TopicSetting {
        name: "min.cleanable.dirty.ratio",
        kind: ConfigType::Double,
        broker_name: Some("log.cleaner.min.cleanable.ratio"),
        documentation: "How much of a compacted log must be uncleaned before it is cleaned, from 0 to 1.",
        default: |broker| broker.log_cleaner_min_cleanable_ratio.to_string(),
        apply: |text, log| number(text, 0.0, 1.0).map(|ratio| log.min_cleanable_dirty_ratio = ratio),
    },
    TopicSetting {
        name: "min.compaction.lag.ms",
        kind: ConfigType::Long,
        broker_name: Some("log.cleaner.min.compaction.lag.ms"),
        documentation: "How long a record of a compacted topic stays uncompacted at least.",
        default: |broker| milliseconds(broker.log_cleaner_min_compaction_lag).to_string(),
        apply: |text, log| number(text, 0, i64::MAX).map(|ms| log.min_compaction_lag_ms = ms),
    },
    TopicSetting {
        name: "min.insync.replicas",
        kind: ConfigType::Int,
        broker_name: Some("min.insync.replicas"),
        documentation: "How many replicas must be in sync for a write with `acks=all` to be taken.",
        default: |broker| broker.min_insync_replicas.to_string(),
        apply: |text, log| number(text, 1, i32::MAX).map(|replicas| log.min_insync_replicas = replicas),
    },
    TopicSetting {
        name: "retention.bytes",
        kind: ConfigType::Long,
        broker_name: Some("log.retention.bytes"),
        documentation: "How large a partition's log may get before its oldest segments are removed; -1 for no limit.",
        default: |broker| broker.log_retention_bytes.to_string(),
        apply: |text, log| number(text, -1, i64::MAX).map(|bytes| log.retention_bytes = bytes),
    },
    TopicSetting {
        name: "retention.ms",
        kind: ConfigType::Long,
        broker_name: Some("log.retention.ms"),
        documentation: "How old a log segment may get before it is removed; -1 for no limit.",
        default: |broker| broker.retention_ms().to_string(),
        apply: |text, log| number(text, -1, i64::MAX).map(|ms| log.retention_ms = ms),
    },
    TopicSetting {
        name: "segment.bytes",
        kind: ConfigType::Int,
        broker_name: Some("log.segment.bytes"),
        documentation: "A log segment that would grow beyond this is closed and a new one begun.",
        default: |broker| broker.log_segment_bytes.to_string(),
        apply: |text, log| number(text, 1_048_576, i32::MAX).map(|bytes| log.segment_bytes = bytes as u64),
    },
    TopicSetting {
        name: "segment.index.bytes",
        kind: ConfigType::Int,
        broker_name: Some("log.index.size.max.bytes"),
        documentation: "The largest an index file may become.",
        default: |broker| broker.log_index_size_max_bytes.to_string(),
        apply: |text, log| number(text, 4, i32::MAX).map(|bytes| log.segment_index_bytes = bytes as u32),
    },
    TopicSetting {
        name: "segment.jitter.ms",
        kind: ConfigType::Long,
        broker_name: Some("log.roll.jitter.ms"),
        documentation: "Up to how much earlier than by its age a log segment is closed.",
        default: |broker| milliseconds(broker.log_roll_jitter_ms.unwrap_or(broker.log_roll_jitter_hours)).to_string(),
        apply: |text, log| number(text, 0, i64::MAX).map(|ms| log.segment_jitter_ms = ms),
    },
    TopicSetting {
        name: "segment.ms",
        kind: ConfigType::Long,
        broker_name: Some("log.roll.ms"),
        documentation: "How old a log segment may get before it is closed.",
        default: |broker| milliseconds(broker.log_roll_ms.unwrap_or(broker.log_roll_hours)).to_string(),
        apply: |text, log| number(text, 1, i64::MAX).map(|ms| log.segment_ms = ms),
    },
    TopicSetting {
        name: "unclean.leader.election.enable",
        kind: ConfigType::Boolean,
        broker_name: Some("unclean.leader.election.enable"),
        documentation: "Whether a replica that may lack acknowledged records leads where no other can; they are lost then.",
        default: |broker| broker.unclean_leader_election_enable.to_string(),
        apply: |text, log| {
            let enabled = text.trim().to_ascii_lowercase().parse();
            enabled
                .map(|enabled| log.unclean_leader_election = enabled)
                .map_err(|_| "it is neither true nor false".to_owned())
        },
    },
];

impl TopicSetting {
    /// The setting of this name.
    pub fn find(name: &str) -> Option<&'static TopicSetting> {
        TOPIC_SETTINGS.iter().find(|setting| setting.name == name)
    }

    /// The value that holds where the topic has none.
    pub fn default(&self, broker: &BrokerConfig) -> String {
        (self.default)(broker)
    }

    /// Checks a value.
    ///
    /// # Errors
    /// Why the setting cannot have it, in Kafka's form of words.
    pub fn check(&self, value: &str) -> Result<(), String> {
        if value.trim().is_empty() && self.kind.is_number() || !self.kind.reads(value) {
            return Err(format!("Invalid value {value} for configuration {}: {}", self.name, self.kind.refusal()));
        }
        (self.apply)(value, &mut LogConfig::default())
            .map_err(|reason| format!("Invalid value {value} for configuration {}: {reason}", self.name))
    }
}

/// Checks a setting that somebody wants a topic to have.
///
/// # Errors
/// In Kafka's words: there is no such setting, or it cannot have the value.
pub(crate) fn check(name: &str, value: Option<&str>) -> Result<(), String> {
    let setting = TopicSetting::find(name).ok_or_else(|| format!("Unknown topic config name: {name}"))?;
    let value = value.ok_or_else(|| format!("Null value not supported for topic configs: {name}"))?;
    setting.check(value)
}

/// Checks that the settings of a topic go together.
///
/// # Errors
/// Why they do not, in Kafka's words.
pub(crate) fn check_together(broker: &BrokerConfig, topic: &BTreeMap<String, String>) -> Result<(), String> {
    let LogConfig { min_compaction_lag_ms: least, max_compaction_lag_ms: most, .. } = log_config(broker, Some(topic));
    if least <= most {
        return Ok(());
    }
    Err(format!("conflict topic config setting min.compaction.lag.ms ({least}) > max.compaction.lag.ms ({most})"))
}

/// The settings of a topic's logs: those of the broker, changed by those of the topic.
pub(crate) fn log_config(broker: &BrokerConfig, topic: Option<&BTreeMap<String, String>>) -> LogConfig {
    let mut config = broker.log_config();
    for (name, value) in topic.into_iter().flatten() {
        if let Some(setting) = TopicSetting::find(name)
            && let Err(reason) = (setting.apply)(value, &mut config)
        {
            // Values are checked before they are recorded; one from another Kafka's log may still be beyond us.
            tracing::warn!(%name, %value, %reason, "a topic's setting is passed over");
        }
    }
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_allowed() {
        for setting in TOPIC_SETTINGS {
            assert_eq!(setting.check(&setting.default(&BrokerConfig::new())), Ok(()), "{}", setting.name);
        }
    }

    #[test]
    fn names_and_values_are_checked() {
        assert_eq!(check("no.such", Some("1")).unwrap_err(), "Unknown topic config name: no.such");
        assert!(check("segment.bytes", Some("10")).unwrap_err().contains("1048576"));
        assert!(check("segment.bytes", Some("x")).is_err());
        for policy in ["", "compact", "delete", "compact,delete", " delete , compact ", "compact,compact"] {
            assert_eq!(check("cleanup.policy", Some(policy)), Ok(()), "{policy:?}");
        }
        for policy in ["none", "COMPACT", "compact,"] {
            assert!(check("cleanup.policy", Some(policy)).is_err(), "{policy:?}");
        }
        assert!(check("min.cleanable.dirty.ratio", Some("1.1")).is_err());
        assert!(check("min.cleanable.dirty.ratio", Some("NaN")).is_err());
        assert!(check("segment.ms", None).is_err());
    }

    #[test]
    fn a_topics_settings_go_before_the_brokers() {
        let broker = BrokerConfig::new().message_max_bytes(10);
        let topic = BTreeMap::from([("segment.ms".to_owned(), "5".to_owned())]);
        let log = log_config(&broker, Some(&topic));
        assert_eq!((log.max_message_bytes, log.segment_ms), (10, 5));
    }
}
