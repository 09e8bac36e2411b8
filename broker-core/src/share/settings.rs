//! The settings of a share group: what the broker says, and what was set for the group.

use std::time::Duration;

use rkafka_config::parse_iso_duration;

use super::ShareSettings;
use crate::config::milliseconds;
use crate::controller::ConfigResource;
use crate::{BrokerConfig, BrokerState};

/// `share.auto.offset.reset`: where a group begins on a partition that it has never been on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OffsetReset {
    Earliest,
    Latest,
    /// At the first record that is no older than this.
    ByDuration(Duration),
}

impl OffsetReset {
    /// Reads Kafka's spelling: `earliest`, `latest`, or `by_duration:` with an ISO-8601 duration in days, hours, minutes
    /// and seconds.
    pub fn parse(text: &str) -> Option<Self> {
        match text.trim() {
            "earliest" => Some(Self::Earliest),
            "latest" => Some(Self::Latest),
            other => parse_iso_duration(other.strip_prefix("by_duration:")?).map(Self::ByDuration),
        }
    }
}

/// What holds for one share group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct GroupShareSettings {
    pub machine: ShareSettings,
    pub offset_reset: OffsetReset,
    /// `share.isolation.level=read_committed`.
    pub read_committed: bool,
}

impl GroupShareSettings {
    /// The settings of a group in force right now.
    pub fn of(broker: &BrokerState, group_id: &str) -> Self {
        let image = broker.image();
        let set = image.configs(ConfigResource::Group, group_id);
        Self::from_set(&broker.config, |name| set.and_then(|set| set.get(name)).map(String::as_str))
    }

    fn from_set<'a>(config: &BrokerConfig, set: impl Fn(&str) -> Option<&'a str>) -> Self {
        let number = |name: &str| set(name).and_then(|text| text.trim().parse::<i64>().ok());
        let lock_ms = number("share.record.lock.duration.ms")
            .unwrap_or(milliseconds(config.group_share_record_lock_duration))
            .clamp(
                milliseconds(config.group_share_min_record_lock_duration),
                milliseconds(config.group_share_max_record_lock_duration),
            );
        let count_limit =
            number("share.delivery.count.limit").unwrap_or(i64::from(config.group_share_delivery_count_limit));
        let locks = number("share.partition.max.record.locks")
            .unwrap_or(i64::from(config.group_share_partition_max_record_locks));
        Self {
            machine: ShareSettings {
                record_lock_duration_ms: lock_ms,
                delivery_count_limit: i16::try_from(count_limit).unwrap_or(i16::MAX),
                max_record_locks: locks,
            },
            offset_reset: set("share.auto.offset.reset").and_then(OffsetReset::parse).unwrap_or(OffsetReset::Latest),
            read_committed: set("share.isolation.level") == Some("read_committed"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_group_begins_is_spelled_as_kafka_does() {
        assert_eq!(OffsetReset::parse("earliest"), Some(OffsetReset::Earliest));
        assert_eq!(OffsetReset::parse("latest"), Some(OffsetReset::Latest));
        let by = |text| match OffsetReset::parse(text) {
            Some(OffsetReset::ByDuration(ago)) => Some(ago.as_secs()),
            _ => None,
        };
        assert_eq!(by("by_duration:P1DT2H3M4S"), Some(93_784));
        assert_eq!(by("by_duration:PT10M"), Some(600));
        for bad in ["by_duration:", "by_duration:P", "by_duration:PT", "by_duration:P1H", "by_duration:PT1", "none", ""]
        {
            assert_eq!(OffsetReset::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_group_has_its_own_settings_within_the_brokers_bounds() {
        let config = BrokerConfig::new();
        let of = |name: &'static str, value: &'static str| {
            GroupShareSettings::from_set(&config, move |asked| (asked == name).then_some(value))
        };
        let none = GroupShareSettings::from_set(&config, |_| None);
        assert_eq!(none.machine.record_lock_duration_ms, 30_000);
        assert_eq!((none.machine.delivery_count_limit, none.machine.max_record_locks), (5, 2_000));
        assert_eq!((none.offset_reset, none.read_committed), (OffsetReset::Latest, false));
        assert_eq!(of("share.record.lock.duration.ms", "20000").machine.record_lock_duration_ms, 20_000);
        assert_eq!(of("share.record.lock.duration.ms", "1").machine.record_lock_duration_ms, 15_000);
        assert!(of("share.isolation.level", "read_committed").read_committed);
    }
}
