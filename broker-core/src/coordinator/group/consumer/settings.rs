//! The settings of consumer groups, the broker's and those of single groups.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::BrokerConfig;
use crate::config::ConsumerGroupMigrationPolicy;
use crate::controller::{ConfigResource, MetadataImage};

/// Kafka's number for configurations that belong to a group.
const GROUP_RESOURCE: i8 = 32;

/// What consumer groups need of the broker's settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerGroupSettings {
    /// `group.consumer.session.timeout.ms`.
    pub session_timeout_ms: i32,
    /// `group.consumer.min.session.timeout.ms` to `group.consumer.max.session.timeout.ms`.
    pub session_timeout_ms_range: RangeInclusive<i32>,
    /// `group.consumer.heartbeat.interval.ms`.
    pub heartbeat_interval_ms: i32,
    /// `group.consumer.min.heartbeat.interval.ms` to `group.consumer.max.heartbeat.interval.ms`.
    pub heartbeat_interval_ms_range: RangeInclusive<i32>,
    /// `group.consumer.assignment.interval.ms`.
    pub assignment_interval_ms: i32,
    /// `group.consumer.min.assignment.interval.ms` to `group.consumer.max.assignment.interval.ms`.
    pub assignment_interval_ms_range: RangeInclusive<i32>,
    /// `group.consumer.max.size`.
    pub max_size: usize,
    /// `group.consumer.assignors`, the default first. Never empty.
    pub assignors: Vec<String>,
    /// `group.consumer.migration.policy`.
    pub migration_policy: ConsumerGroupMigrationPolicy,
}

impl ConsumerGroupSettings {
    /// The settings among the broker's.
    pub fn of(config: &BrokerConfig) -> Self {
        let milliseconds = |duration: Duration| i32::try_from(duration.as_millis()).unwrap_or(i32::MAX);
        let range = |least, most| milliseconds(least)..=milliseconds(most);
        Self {
            session_timeout_ms: milliseconds(config.group_consumer_session_timeout),
            session_timeout_ms_range: range(
                config.group_consumer_min_session_timeout,
                config.group_consumer_max_session_timeout,
            ),
            heartbeat_interval_ms: milliseconds(config.group_consumer_heartbeat_interval),
            heartbeat_interval_ms_range: range(
                config.group_consumer_min_heartbeat_interval,
                config.group_consumer_max_heartbeat_interval,
            ),
            assignment_interval_ms: milliseconds(config.group_consumer_assignment_interval),
            assignment_interval_ms_range: range(
                config.group_consumer_min_assignment_interval,
                config.group_consumer_max_assignment_interval,
            ),
            max_size: usize::try_from(config.group_consumer_max_size).unwrap_or(usize::MAX),
            assignors: config.group_consumer_assignors.clone(),
            migration_policy: config.group_consumer_migration_policy,
        }
    }

    /// How long the session of a group's members lasts without a heartbeat.
    pub(super) fn session_timeout_ms(&self, group_id: &str, image: &MetadataImage) -> i64 {
        let own = of_group(group_id, "consumer.session.timeout.ms", image);
        i64::from(within(own, self.session_timeout_ms, &self.session_timeout_ms_range))
    }

    /// How often a group's members are to send heartbeats.
    pub(super) fn heartbeat_interval_ms(&self, group_id: &str, image: &MetadataImage) -> i32 {
        let own = of_group(group_id, "consumer.heartbeat.interval.ms", image);
        within(own, self.heartbeat_interval_ms, &self.heartbeat_interval_ms_range)
    }

    /// How long a target assignment stays before there is another.
    pub(super) fn assignment_interval_ms(&self, group_id: &str, image: &MetadataImage) -> i64 {
        let own = of_group(group_id, "consumer.assignment.interval.ms", image);
        i64::from(within(own, self.assignment_interval_ms, &self.assignment_interval_ms_range))
    }

    pub(super) fn has_assignor(&self, name: &str) -> bool {
        self.assignors.iter().any(|known| known == name)
    }

    pub(super) fn default_assignor(&self) -> &str {
        self.assignors.first().map_or("uniform", String::as_str)
    }

    /// Whether a classic group may become a consumer group.
    pub(super) fn may_upgrade(&self) -> bool {
        use ConsumerGroupMigrationPolicy::{Bidirectional, Upgrade};
        matches!(self.migration_policy, Bidirectional | Upgrade)
    }

    /// Whether a consumer group may become a classic group.
    pub(super) fn may_downgrade(&self) -> bool {
        use ConsumerGroupMigrationPolicy::{Bidirectional, Downgrade};
        matches!(self.migration_policy, Bidirectional | Downgrade)
    }
}

/// What was set for one group. A value that is no number is passed over; it was checked when it was set.
pub(in crate::coordinator::group) fn of_group(group_id: &str, name: &str, image: &MetadataImage) -> Option<i32> {
    image.configs(ConfigResource::from_number(GROUP_RESOURCE), group_id)?.get(name)?.parse().ok()
}

/// A group's own value within the broker's bounds, which may have changed since it was set; else the broker's value.
pub(in crate::coordinator::group) fn within(own: Option<i32>, default: i32, range: &RangeInclusive<i32>) -> i32 {
    own.map_or(default, |own| own.max(*range.start()).min(*range.end()))
}
