//! The settings of consumer groups, the broker's and those of single groups.

use crate::BrokerConfig;
use crate::config::ConsumerGroupMigrationPolicy;
use crate::coordinator::group::timings::GroupTimings;

/// What consumer groups need of the broker's settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerGroupSettings {
    /// `group.consumer.session.timeout.ms`, `group.consumer.heartbeat.interval.ms` and
    /// `group.consumer.assignment.interval.ms`, each with its least and most.
    pub timings: GroupTimings,
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
        let names =
            ["consumer.session.timeout.ms", "consumer.heartbeat.interval.ms", "consumer.assignment.interval.ms"];
        let times = [
            (
                config.group_consumer_session_timeout,
                config.group_consumer_min_session_timeout,
                config.group_consumer_max_session_timeout,
            ),
            (
                config.group_consumer_heartbeat_interval,
                config.group_consumer_min_heartbeat_interval,
                config.group_consumer_max_heartbeat_interval,
            ),
            (
                config.group_consumer_assignment_interval,
                config.group_consumer_min_assignment_interval,
                config.group_consumer_max_assignment_interval,
            ),
        ];
        Self {
            timings: GroupTimings::new(names, times),
            max_size: usize::try_from(config.group_consumer_max_size).unwrap_or(usize::MAX),
            assignors: config.group_consumer_assignors.clone(),
            migration_policy: config.group_consumer_migration_policy,
        }
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
