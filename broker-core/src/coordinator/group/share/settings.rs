//! The settings of the membership in share groups, the broker's and those of single groups.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::BrokerConfig;
use crate::controller::MetadataImage;
use crate::coordinator::group::consumer::{of_group, within};

/// What the group coordinator needs of the broker's settings for share groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShareGroupSettings {
    /// `group.share.session.timeout.ms`.
    pub session_timeout_ms: i32,
    /// `group.share.min.session.timeout.ms` to `group.share.max.session.timeout.ms`.
    pub session_timeout_ms_range: RangeInclusive<i32>,
    /// `group.share.heartbeat.interval.ms`.
    pub heartbeat_interval_ms: i32,
    /// `group.share.min.heartbeat.interval.ms` to `group.share.max.heartbeat.interval.ms`.
    pub heartbeat_interval_ms_range: RangeInclusive<i32>,
    /// `group.share.assignment.interval.ms`.
    pub assignment_interval_ms: i32,
    /// `group.share.min.assignment.interval.ms` to `group.share.max.assignment.interval.ms`.
    pub assignment_interval_ms_range: RangeInclusive<i32>,
    /// `group.share.max.size`.
    pub max_size: usize,
}

impl ShareGroupSettings {
    /// The settings among the broker's.
    pub fn of(config: &BrokerConfig) -> Self {
        let milliseconds = |duration: Duration| i32::try_from(duration.as_millis()).unwrap_or(i32::MAX);
        let range = |least, most| milliseconds(least)..=milliseconds(most);
        Self {
            session_timeout_ms: milliseconds(config.group_share_session_timeout),
            session_timeout_ms_range: range(
                config.group_share_min_session_timeout,
                config.group_share_max_session_timeout,
            ),
            heartbeat_interval_ms: milliseconds(config.group_share_heartbeat_interval),
            heartbeat_interval_ms_range: range(
                config.group_share_min_heartbeat_interval,
                config.group_share_max_heartbeat_interval,
            ),
            assignment_interval_ms: milliseconds(config.group_share_assignment_interval),
            assignment_interval_ms_range: range(
                config.group_share_min_assignment_interval,
                config.group_share_max_assignment_interval,
            ),
            max_size: usize::try_from(config.group_share_max_size).unwrap_or(usize::MAX),
        }
    }

    /// How long the session of a group's members lasts without a heartbeat.
    pub(super) fn session_timeout_ms(&self, group_id: &str, image: &MetadataImage) -> i64 {
        let own = of_group(group_id, "share.session.timeout.ms", image);
        i64::from(within(own, self.session_timeout_ms, &self.session_timeout_ms_range))
    }

    /// How often a group's members are to send heartbeats.
    pub(super) fn heartbeat_interval_ms(&self, group_id: &str, image: &MetadataImage) -> i32 {
        let own = of_group(group_id, "share.heartbeat.interval.ms", image);
        within(own, self.heartbeat_interval_ms, &self.heartbeat_interval_ms_range)
    }

    /// How long a target assignment stays before there is another.
    pub(super) fn assignment_interval_ms(&self, group_id: &str, image: &MetadataImage) -> i64 {
        let own = of_group(group_id, "share.assignment.interval.ms", image);
        i64::from(within(own, self.assignment_interval_ms, &self.assignment_interval_ms_range))
    }
}
