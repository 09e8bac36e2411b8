//! The machine of one `__consumer_offsets` partition.
//!
//! It has two parts. What the log says ([`persisted`]) changes by [`GroupShard::replay`] alone; requests about it are
//! decided without changing anything (`decide_*`), and their [`Outcome`] counts once its records are appended and
//! replayed. The living part ([`classic`]) is who is a member right now, who waits, and when time is up; it is not in
//! the log, and follows the transitions of [`ClassicState`]. Where a living step must be in the log before anybody may
//! hear of it, [`Effects`] hold a [`Write`], and the step is finished by [`GroupShard::written`].

mod admin;
mod classic;
mod consumer;
mod join;
mod member;
mod offsets;
mod persisted;
mod rebalance;
mod records;
mod shard;
mod share;
mod state;
mod sync;
#[cfg(test)]
mod tests;
mod timings;

use std::collections::BTreeMap;

use bytes::Bytes;
use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::group_metadata_value::GroupMetadataValue;
use rkafka_protocol::messages::join_group_response::JoinGroupResponse;
use rkafka_protocol::messages::sync_group_response::SyncGroupResponse;

pub(super) use super::partitions::append_error;
pub use super::partitions::{Moment, Outcome, RecordPlace};
use crate::config::int_milliseconds;
use crate::{BrokerConfig, InternalRecord};
pub(super) use classic::{join_error, sync_error};
use consumer::{TimerChange, coordinated_write};
use member::Member;

pub use consumer::{After, ConsumerGroupSettings, GroupError, HeartbeatingClient};
pub use join::JoinContext;
pub use offsets::{Expired, TransactionalCommit};
pub use records::ReplayError;
pub use shard::GroupShard;
pub use share::{NewSharePartition, ShareGroupSettings, SharePartitions};
pub use state::ClassicState;
pub use timings::GroupTimings;

/// Who waits for a late answer: a number that the driver gives out.
pub type WaiterId = u64;

/// What of the broker's settings the machine needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupSettings {
    /// `group.min.session.timeout.ms`.
    pub session_timeout_ms_min: i32,
    /// `group.max.session.timeout.ms`.
    pub session_timeout_ms_max: i32,
    /// `group.initial.rebalance.delay.ms`.
    pub initial_rebalance_delay_ms: i32,
    /// `group.max.size`.
    pub max_size: usize,
    /// Those of consumer groups.
    pub consumer: ConsumerGroupSettings,
    /// Those of share groups.
    pub share: ShareGroupSettings,
    /// `offset.metadata.max.bytes`, which Kafka compares with the number of UTF-16 code units.
    pub offset_metadata_max_length: usize,
    /// `offsets.retention.minutes`, in milliseconds.
    pub offsets_retention_ms: i64,
}

impl GroupSettings {
    /// The group settings among the broker's.
    pub fn of(config: &BrokerConfig) -> Self {
        Self {
            session_timeout_ms_min: int_milliseconds(config.group_min_session_timeout),
            session_timeout_ms_max: int_milliseconds(config.group_max_session_timeout),
            initial_rebalance_delay_ms: int_milliseconds(config.group_initial_rebalance_delay),
            max_size: usize::try_from(config.group_max_size).unwrap_or(usize::MAX),
            consumer: ConsumerGroupSettings::of(config),
            share: ShareGroupSettings::of(config),
            offset_metadata_max_length: usize::try_from(config.offset_metadata_max_bytes).unwrap_or(0),
            offsets_retention_ms: crate::config::milliseconds(config.offsets_retention),
        }
    }
}

/// A late answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// To a JoinGroup.
    Join(JoinGroupResponse),
    /// To a SyncGroup.
    Sync(SyncGroupResponse),
}

/// What is to be done after a living step: answers that may go out now, and records to append.
#[derive(Debug, Default)]
pub struct Effects {
    /// Answers that are ready.
    pub replies: Vec<(WaiterId, Reply)>,
    /// To be appended in this order, and each to be reported by [`GroupShard::written`].
    pub writes: Vec<Write>,
}

/// Records of a living step. It must be handed back to [`GroupShard::written`], whatever came of it.
#[derive(Debug)]
#[must_use]
pub struct Write {
    records: Result<Vec<InternalRecord>, ErrorCode>,
    then: Then,
}

impl Write {
    /// The records to append, all or none.
    ///
    /// # Errors
    /// They cannot be written in Kafka's format; the write is to be reported with this error.
    pub fn records(&self) -> Result<&[InternalRecord], ErrorCode> {
        self.records.as_deref().map_err(|error| *error)
    }
}

/// How a living step goes on once its record is in the log.
#[derive(Debug)]
enum Then {
    /// A group was made by its first join.
    Created { group: String },
    /// The leader's assignment.
    Assigned { group: String, generation: i32, assignments: BTreeMap<String, Bytes> },
    /// The last member is gone.
    Emptied { group: String, generation: i32 },
    /// A step of a consumer group or a share group. `removing` are the members that a timer takes out.
    Consumer { after: Box<After>, removing: Vec<String> },
    /// A static member has a new id. `leader_told` is the leader that older clients are told.
    Replaced { group: String, member_id: String, old: Box<Member>, leader_told: Option<String> },
}

/// One call's time, settings and results.
struct Turn<'a> {
    now: Moment,
    settings: &'a GroupSettings,
    effects: &'a mut Effects,
}

impl Turn<'_> {
    fn reply_join(&mut self, waiter: WaiterId, response: JoinGroupResponse) {
        self.effects.replies.push((waiter, Reply::Join(response)));
    }

    fn reply_sync(&mut self, waiter: WaiterId, response: SyncGroupResponse) {
        self.effects.replies.push((waiter, Reply::Sync(response)));
    }

    fn write_group(&mut self, group_id: &str, value: &GroupMetadataValue, then: Then) {
        let records = records::group(group_id, value).map(|record| vec![record]).map_err(|error| {
            tracing::error!(group = group_id, %error, "the group cannot be written");
            ErrorCode::UnknownServerError
        });
        self.effects.writes.push(Write { records, then });
    }
}
