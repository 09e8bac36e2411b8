//! The share coordinator: what share groups have done with partitions, kept in `__share_group_state` (KIP-932).

mod records;
mod shard;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex};

use rkafka_protocol::ErrorCode;
use rkafka_protocol::wire::EncodeError;
use uuid::Uuid;

use shard::ShareStateShard;
pub(crate) use shard::{SHARE_STATE_TOPIC, ShareState, UNINITIALIZED_START};

use super::partitions::{Moment, Outcome, Partitions, Slot, append_error, lock};
use crate::log::checkpoints::uuid_to_base64;
use crate::share::SharePartition;
use crate::{Clock, InternalLog};

/// A group on a partition.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ShareKey {
    pub group_id: Arc<str>,
    pub topic_id: Uuid,
    pub partition: i32,
}

impl ShareKey {
    /// What decides which partition of `__share_group_state` is responsible, as Kafka writes it.
    fn coordinator_key(&self) -> String {
        format!("{}:{}:{}", self.group_id, uuid_to_base64(self.topic_id), self.partition)
    }
}

/// The states of all share groups.
#[derive(Debug)]
pub(crate) struct ShareCoordinator {
    partitions: Partitions<ShareStateShard>,
}

impl ShareCoordinator {
    /// One that has loaded nothing yet.
    pub fn new(clock: Clock) -> Self {
        Self { partitions: Partitions::new((), clock) }
    }

    /// The place of a group's state on a partition, and what is kept there.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// `NOT_COORDINATOR` where the state cannot be read.
    pub async fn read(
        &self,
        log: &dyn InternalLog,
        key: &ShareKey,
    ) -> Result<(SharePlace, Option<ShareState>), ErrorCode> {
        let slot = self.partitions.slot_of(log, &key.coordinator_key()).await?;
        let state = lock(&slot).shard.state(key).cloned();
        Ok((SharePlace(slot), state))
    }

    /// Begins to keep a state, or begins anew.
    ///
    /// # Errors
    /// `NOT_COORDINATOR` where the state cannot be written.
    pub fn initialize(
        &self,
        log: &dyn InternalLog,
        place: &SharePlace,
        key: &ShareKey,
        start_offset: i64,
    ) -> Result<(), ErrorCode> {
        self.step(log, place, |shard, now| shard.decide_initialize(now, key, start_offset))
    }

    /// Keeps what the leader of the partition has decided.
    ///
    /// # Errors
    /// As [`ShareCoordinator::initialize`].
    pub fn write(
        &self,
        log: &dyn InternalLog,
        place: &SharePlace,
        key: &ShareKey,
        leader_epoch: i32,
        partition: &SharePartition,
    ) -> Result<(), ErrorCode> {
        self.step(log, place, |shard, now| shard.decide_write(now, key, leader_epoch, partition))
    }

    /// Forgets a state.
    ///
    /// # Errors
    /// As [`ShareCoordinator::initialize`].
    pub fn delete(&self, log: &dyn InternalLog, place: &SharePlace, key: &ShareKey) -> Result<(), ErrorCode> {
        self.step(log, place, |shard, _| shard.decide_delete(key))
    }

    fn step(
        &self,
        log: &dyn InternalLog,
        place: &SharePlace,
        decide: impl FnOnce(&ShareStateShard, Moment) -> Result<Outcome<()>, EncodeError>,
    ) -> Result<(), ErrorCode> {
        let mut slot = lock(&place.0);
        let outcome = decide(&slot.shard, self.partitions.moment()).map_err(|error| {
            tracing::error!(%error, "the state of a share group cannot be written");
            ErrorCode::InvalidRequest
        })?;
        if outcome.records.is_empty() {
            return Ok(());
        }
        self.partitions.append(log, &mut slot, &outcome.records).map_err(append_error)
    }
}

/// Where a state is kept: the partition of `__share_group_state`, loaded.
#[derive(Debug, Clone)]
pub(crate) struct SharePlace(Arc<Mutex<Slot<ShareStateShard>>>);
