//! The share coordinator: what share groups have done with partitions, kept in `__share_group_state` (KIP-932).

mod records;
mod shard;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard};

use rkafka_protocol::ErrorCode;
use rkafka_protocol::wire::EncodeError;
use uuid::Uuid;

use shard::ShareStateShard;
pub(crate) use shard::{SHARE_STATE_TOPIC, ShareState, UNINITIALIZED_START};

use super::partitions::{Moment, Outcome, Partitions, Slot, append_error};
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
        let read = |slot: &mut Slot<ShareStateShard>| {
            Ok::<_, ErrorCode>((slot.shard.state(key).cloned(), slot.partition, slot.point().leader_epoch))
        };
        let (state, partition, leader_epoch) = self.partitions.step_in(log, &slot, read).await?;
        Ok((SharePlace { slot, partition, leader_epoch }, state))
    }

    /// Whether what was read at `place` may still be gone on with: this broker has led its partition ever since.
    pub fn is_current(&self, log: &dyn InternalLog, place: &SharePlace) -> bool {
        log.led_epoch(SHARE_STATE_TOPIC, place.partition) == Ok(place.leader_epoch)
    }

    /// Waits until all is committed that was kept at `place`. Cancel safe.
    ///
    /// # Errors
    /// `NOT_COORDINATOR` where another broker leads its partition by now; `COORDINATOR_NOT_AVAILABLE` where it takes too
    /// long.
    pub async fn committed(&self, log: &dyn InternalLog, place: &SharePlace) -> Result<(), ErrorCode> {
        let point = self.lock(log, place)?.point();
        self.partitions.committed(log, place.partition, point).await
    }

    fn lock<'a>(
        &self,
        log: &dyn InternalLog,
        place: &'a SharePlace,
    ) -> Result<MutexGuard<'a, Slot<ShareStateShard>>, ErrorCode> {
        let slot = self.partitions.lock(log, &place.slot)?;
        if slot.point().leader_epoch == place.leader_epoch { Ok(slot) } else { Err(ErrorCode::NotCoordinator) }
    }

    /// This broker leads a partition of `__share_group_state` from now on. It is loaded in the background, where
    /// [`ShareCoordinator::run_loads`] runs.
    pub fn elected(&self, partition: i32, leader_epoch: i32) {
        self.partitions.elected(partition, leader_epoch);
    }

    /// This broker does not lead a partition of `__share_group_state` any more, or nobody does.
    pub fn resigned(&self, partition: i32, leader_epoch: i32) {
        self.partitions.resigned(partition, leader_epoch);
    }

    /// Loads what this broker is elected for. Runs until it is dropped; a dropped one may be run anew.
    pub async fn run_loads(&self, log: &dyn InternalLog) {
        self.partitions.run_loads(log).await;
    }

    /// Begins to keep a state where there is none; one that is there stays as it is.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// `NOT_COORDINATOR` where the state can be neither read nor written.
    pub async fn ensure(&self, log: &dyn InternalLog, key: &ShareKey) -> Result<(SharePlace, ShareState), ErrorCode> {
        let (place, _) = self.read(log, key).await?;
        self.step(log, &place, |shard, now| match shard.state(key) {
            Some(_) => Ok(Outcome { records: Vec::new(), reply: () }),
            None => shard.decide_initialize(now, key, UNINITIALIZED_START).map_err(unwritable),
        })?;
        self.committed(log, &place).await?;
        let state = self.lock(log, &place)?.shard.state(key).cloned().ok_or(ErrorCode::NotCoordinator)?;
        Ok((place, state))
    }

    /// Makes sure that states can be kept: the topic is there.
    ///
    /// # Errors
    /// As [`InternalLog::ensure_internal_topic`], in the words of a coordinator.
    pub async fn ensure_ready(&self, log: &dyn InternalLog) -> Result<i32, ErrorCode> {
        self.partitions.ensure_ready(log).await
    }

    /// Loads all states that are not loaded yet.
    ///
    /// Cancel safety: what was loaded stays so.
    pub async fn load_all(&self, log: &dyn InternalLog) {
        self.partitions.load_all(log).await;
    }

    /// Forgets the states of a topic that was deleted, in the partitions that are loaded; [`ShareCoordinator::load_all`]
    /// is to be called first.
    ///
    /// # Errors
    /// `NOT_COORDINATOR` where a partition cannot be written; those before it are done.
    pub fn forget_topic(&self, log: &dyn InternalLog, topic_id: Uuid) -> Result<(), ErrorCode> {
        for slot in self.partitions.loaded_slots() {
            // What another broker leads by now is for that one to do.
            let Ok(mut slot) = self.partitions.lock(log, &slot) else { continue };
            let records = slot.shard.decide_forget_topic(topic_id).map_err(unwritable)?;
            self.partitions.append_many(log, &mut slot, &records).map_err(append_error)?;
        }
        Ok(())
    }

    /// Begins to keep a state, or begins anew.
    ///
    /// # Errors
    /// `NOT_COORDINATOR` where the state cannot be written; as [`ShareCoordinator::committed`].
    pub async fn initialize(
        &self,
        log: &dyn InternalLog,
        place: &SharePlace,
        key: &ShareKey,
        start_offset: i64,
    ) -> Result<(), ErrorCode> {
        self.step(log, place, |shard, now| shard.decide_initialize(now, key, start_offset).map_err(unwritable))?;
        self.committed(log, place).await
    }

    /// Keeps what the leader of the partition has decided, who has read the state in `state_epoch`. It is not to be told
    /// before it is [`ShareCoordinator::committed`].
    ///
    /// # Errors
    /// `FENCED_STATE_EPOCH` where the state has begun anew since, or is no more; `NOT_COORDINATOR` where it cannot be
    /// written.
    pub fn write(
        &self,
        log: &dyn InternalLog,
        place: &SharePlace,
        key: &ShareKey,
        (leader_epoch, state_epoch): (i32, i32),
        partition: &SharePartition,
    ) -> Result<(), ErrorCode> {
        self.step(log, place, |shard, now| {
            if shard.state(key).is_none_or(|state| state.state_epoch != state_epoch) {
                return Err(ErrorCode::FencedStateEpoch);
            }
            shard.decide_write(now, key, leader_epoch, partition).map_err(unwritable)
        })
    }

    /// Forgets a state.
    ///
    /// # Errors
    /// As [`ShareCoordinator::initialize`].
    pub async fn delete(&self, log: &dyn InternalLog, place: &SharePlace, key: &ShareKey) -> Result<(), ErrorCode> {
        self.step(log, place, |shard, _| shard.decide_delete(key).map_err(unwritable))?;
        self.committed(log, place).await
    }

    fn step(
        &self,
        log: &dyn InternalLog,
        place: &SharePlace,
        decide: impl FnOnce(&ShareStateShard, Moment) -> Result<Outcome<()>, ErrorCode>,
    ) -> Result<(), ErrorCode> {
        let mut slot = self.lock(log, place)?;
        let outcome = decide(&slot.shard, self.partitions.moment())?;
        if outcome.records.is_empty() {
            return Ok(());
        }
        self.partitions.append(log, &mut slot, &outcome.records).map_err(append_error)
    }
}

fn unwritable(error: EncodeError) -> ErrorCode {
    tracing::error!(%error, "the state of a share group cannot be written");
    ErrorCode::InvalidRequest
}

/// Where a state is kept: the partition of `__share_group_state`, as it was loaded in one leader epoch.
#[derive(Debug, Clone)]
pub(crate) struct SharePlace {
    slot: Arc<Mutex<Slot<ShareStateShard>>>,
    partition: i32,
    leader_epoch: i32,
}
