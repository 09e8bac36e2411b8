//! How long things take in a group that the coordinator assigns: what the broker says, and what was set for the group.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::config::int_milliseconds;
use crate::controller::{ConfigResource, MetadataImage};

/// A time that a group may have of its own, in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct GroupTime {
    /// The group's setting.
    name: &'static str,
    /// What holds where the group has none.
    pub(super) default_ms: i32,
    /// What the broker allows.
    range_ms: RangeInclusive<i32>,
}

impl GroupTime {
    fn new(name: &'static str, default: Duration, least: Duration, most: Duration) -> Self {
        Self { name, default_ms: int_milliseconds(default), range_ms: int_milliseconds(least)..=int_milliseconds(most) }
    }

    /// A group's own value within the broker's bounds, which may have changed since it was set; else the broker's value.
    /// A value that is no number is passed over; it was checked when it was set.
    fn of_group(&self, group_id: &str, image: &MetadataImage) -> i32 {
        let set = image.configs(ConfigResource::Group, group_id).and_then(|set| set.get(self.name));
        let own: Option<i32> = set.and_then(|text| text.parse().ok());
        own.map_or(self.default_ms, |own| own.max(*self.range_ms.start()).min(*self.range_ms.end()))
    }
}

/// A broker's setting and its least and most.
pub(super) type BoundedTime = (Duration, Duration, Duration);

/// The times of the consumer groups, or of the share groups, of a broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupTimings {
    pub(super) session_timeout: GroupTime,
    heartbeat_interval: GroupTime,
    assignment_interval: GroupTime,
}

impl GroupTimings {
    /// The times by the groups' names for them, with what the broker has: the session timeout, the heartbeat interval
    /// and the assignment interval.
    pub(super) fn new(names: [&'static str; 3], times: [BoundedTime; 3]) -> Self {
        let [session, heartbeat, assignment] = names;
        let [for_session, for_heartbeat, for_assignment] = times;
        let time = |name, (default, least, most)| GroupTime::new(name, default, least, most);
        Self {
            session_timeout: time(session, for_session),
            heartbeat_interval: time(heartbeat, for_heartbeat),
            assignment_interval: time(assignment, for_assignment),
        }
    }

    /// How long the session of a group's members lasts without a heartbeat.
    pub(super) fn session_timeout_ms(&self, group_id: &str, image: &MetadataImage) -> i64 {
        i64::from(self.session_timeout.of_group(group_id, image))
    }

    /// How often a group's members are to send heartbeats.
    pub(super) fn heartbeat_interval_ms(&self, group_id: &str, image: &MetadataImage) -> i32 {
        self.heartbeat_interval.of_group(group_id, image)
    }

    /// How long a target assignment stays before there is another (KIP-1263).
    pub(super) fn assignment_interval_ms(&self, group_id: &str, image: &MetadataImage) -> i64 {
        i64::from(self.assignment_interval.of_group(group_id, image))
    }
}
