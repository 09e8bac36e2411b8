//! The machine that keeps what share groups have done with partitions, from one restart to the next.

use std::collections::HashMap;

use bytes::Bytes;
use rkafka_protocol::messages::share_snapshot_value::ShareSnapshotValue;
use rkafka_protocol::messages::share_update_value::ShareUpdateValue;
use rkafka_protocol::wire::EncodeError;
use uuid::Uuid;

use super::ShareKey;
use super::records::{self, ShareRecord};
use crate::InternalRecord;
use crate::coordinator::partitions::{Moment, Outcome, RecordPlace, Shard};
use crate::share::{PersistedState, SharePartition};

/// The internal topic of the share coordinator.
pub(crate) const SHARE_STATE_TOPIC: &str = "__share_group_state";

/// The start offset of a partition of which nobody has said yet where the group begins.
pub(crate) const UNINITIALIZED_START: i64 = -1;

/// What is kept of a group on a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ShareState {
    /// Counts how often the state was made anew, as an administrator does who alters the offsets.
    pub state_epoch: i32,
    /// The leader epoch of the partition at the last write.
    pub leader_epoch: i32,
    /// How many offsets behind the start are done with, which the lag needs; -1 before the first write.
    pub delivery_complete_count: i32,
    /// The offsets; the start is [`UNINITIALIZED_START`] where the group has not begun.
    pub offsets: PersistedState,
    snapshot_epoch: i32,
    created_ms: i64,
}

/// One partition of `__share_group_state`.
#[derive(Debug, Default)]
pub(crate) struct ShareStateShard {
    states: HashMap<ShareKey, ShareState>,
}

impl ShareStateShard {
    /// What is kept under this key.
    pub fn state(&self, key: &ShareKey) -> Option<&ShareState> {
        self.states.get(key)
    }

    /// Begins to keep a state, or begins anew with a higher state epoch.
    ///
    /// # Errors
    /// The group's name is too long for a record.
    pub fn decide_initialize(
        &self,
        now: Moment,
        key: &ShareKey,
        start_offset: i64,
    ) -> Result<Outcome<()>, EncodeError> {
        let old = self.states.get(key);
        let value = ShareSnapshotValue {
            snapshot_epoch: old.map_or(0, |old| old.snapshot_epoch.wrapping_add(1)),
            state_epoch: old.map_or(0, |old| old.state_epoch.wrapping_add(1)),
            leader_epoch: old.map_or(-1, |old| old.leader_epoch),
            start_offset,
            delivery_complete_count: if start_offset < 0 { -1 } else { 0 },
            create_timestamp: now.date_ms,
            write_timestamp: now.date_ms,
            ..Default::default()
        };
        Ok(Outcome { records: vec![records::snapshot(key, Some(&value))?], reply: () })
    }

    /// Keeps what the leader of the partition has decided.
    ///
    /// # Errors
    /// As [`ShareStateShard::decide_initialize`].
    pub fn decide_write(
        &self,
        now: Moment,
        key: &ShareKey,
        leader_epoch: i32,
        partition: &SharePartition,
    ) -> Result<Outcome<()>, EncodeError> {
        let old = self.states.get(key);
        let offsets = partition.persisted();
        let value = ShareSnapshotValue {
            snapshot_epoch: old.map_or(0, |old| old.snapshot_epoch.wrapping_add(1)),
            state_epoch: old.map_or(0, |old| old.state_epoch),
            leader_epoch,
            start_offset: offsets.start_offset,
            delivery_complete_count: partition.delivery_complete_count(),
            create_timestamp: old.map_or(now.date_ms, |old| old.created_ms),
            write_timestamp: now.date_ms,
            state_batches: offsets.batches.iter().map(records::to_snapshot).collect(),
            ..Default::default()
        };
        Ok(Outcome { records: vec![records::snapshot(key, Some(&value))?], reply: () })
    }

    /// Forgets a state.
    ///
    /// # Errors
    /// As [`ShareStateShard::decide_initialize`].
    pub fn decide_delete(&self, key: &ShareKey) -> Result<Outcome<()>, EncodeError> {
        let records = match self.states.contains_key(key) {
            true => vec![records::snapshot(key, None)?],
            false => Vec::new(),
        };
        Ok(Outcome { records, reply: () })
    }

    /// What forgets all states of a topic.
    ///
    /// # Errors
    /// As [`ShareStateShard::decide_initialize`].
    pub fn decide_forget_topic(&self, topic_id: Uuid) -> Result<Vec<InternalRecord>, EncodeError> {
        let of_topic = self.states.keys().filter(|key| key.topic_id == topic_id);
        of_topic.map(|key| records::snapshot(key, None)).collect()
    }

    fn take_snapshot(&mut self, key: ShareKey, value: &ShareSnapshotValue) {
        let offsets =
            PersistedState { start_offset: value.start_offset, batches: records::of_snapshot(&value.state_batches) };
        let state = ShareState {
            state_epoch: value.state_epoch,
            leader_epoch: value.leader_epoch,
            delivery_complete_count: value.delivery_complete_count,
            offsets,
            snapshot_epoch: value.snapshot_epoch,
            created_ms: value.create_timestamp,
        };
        self.states.insert(key, state);
    }

    fn take_update(&mut self, key: &ShareKey, value: &ShareUpdateValue) {
        // An update without its snapshot belongs to a state that was taken away.
        let Some(state) = self.states.get_mut(key) else { return };
        let mut partition = SharePartition::restored(&state.offsets);
        for batch in records::of_update(&value.state_batches) {
            partition.apply_persisted(&batch);
        }
        partition.move_start(value.start_offset);
        state.leader_epoch = value.leader_epoch;
        state.delivery_complete_count = value.delivery_complete_count;
        state.offsets = partition.persisted();
    }
}

impl Shard for ShareStateShard {
    const TOPIC: &'static str = SHARE_STATE_TOPIC;
    type Settings = ();

    fn blank(_settings: &()) -> Self {
        Self::default()
    }

    fn take(&mut self, _place: RecordPlace, key: Bytes, value: Option<Bytes>) -> Result<(), String> {
        match ShareRecord::read(key, value).map_err(|error| error.to_string())? {
            ShareRecord::Snapshot(key, Some(value)) => self.take_snapshot(key, &value),
            ShareRecord::Snapshot(key, None) => drop(self.states.remove(&key)),
            ShareRecord::Update(key, Some(value)) => self.take_update(&key, &value),
            ShareRecord::Update(_, None) => {}
            ShareRecord::Other(kind) => tracing::debug!(kind, "a record of an unknown type was skipped"),
        }
        Ok(())
    }

    fn begin(&mut self, _now: Moment) {}

    fn next_deadline_ms(&self) -> Option<i64> {
        None
    }
}
