//! The settings of the membership in share groups, the broker's and those of single groups.

use crate::BrokerConfig;
use crate::coordinator::group::timings::GroupTimings;

/// What the group coordinator needs of the broker's settings for share groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShareGroupSettings {
    /// `group.share.session.timeout.ms`, `group.share.heartbeat.interval.ms` and `group.share.assignment.interval.ms`,
    /// each with its least and most.
    pub timings: GroupTimings,
    /// `group.share.max.size`.
    pub max_size: usize,
}

impl ShareGroupSettings {
    /// The settings among the broker's.
    pub fn of(config: &BrokerConfig) -> Self {
        let names = ["share.session.timeout.ms", "share.heartbeat.interval.ms", "share.assignment.interval.ms"];
        let times = [
            (
                config.group_share_session_timeout,
                config.group_share_min_session_timeout,
                config.group_share_max_session_timeout,
            ),
            (
                config.group_share_heartbeat_interval,
                config.group_share_min_heartbeat_interval,
                config.group_share_max_heartbeat_interval,
            ),
            (
                config.group_share_assignment_interval,
                config.group_share_min_assignment_interval,
                config.group_share_max_assignment_interval,
            ),
        ];
        Self {
            timings: GroupTimings::new(names, times),
            max_size: usize::try_from(config.group_share_max_size).unwrap_or(usize::MAX),
        }
    }
}
