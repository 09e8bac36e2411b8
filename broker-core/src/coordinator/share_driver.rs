//! The driver's part that is about share groups: it goes between the group coordinator, which knows who is in a group
//! and on which partitions the group is, and the share coordinator, which keeps what the group has done with them.
//!
//! Neither waits for the other under its lock. What the group coordinator notes of a partition comes after its state is
//! there, and goes before its state does: whatever happens between, a partition that is noted has a state or begins
//! anew, and what is left over is found again by whoever deletes the group.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::share_group_describe_response::DescribedGroup;
use rkafka_protocol::messages::share_group_heartbeat_request::ShareGroupHeartbeatRequest;
use rkafka_protocol::messages::share_group_heartbeat_response::ShareGroupHeartbeatResponse;
use uuid::Uuid;

use super::GroupCoordinator;
use super::group::{GroupError, HeartbeatingClient, SharePartitions};
use super::runtime::Slot;
use super::share::ShareKey;
use crate::{BrokerState, InternalLog};

impl GroupCoordinator {
    /// Takes a ShareGroupHeartbeat.
    ///
    /// Cancel safe: a partition's state that was made for a heartbeat that was not taken changes nothing.
    ///
    /// # Errors
    /// As [`GroupShard::decide_share_heartbeat`](super::GroupShard::decide_share_heartbeat); `NOT_COORDINATOR` where a
    /// coordinator's partition cannot be read or written.
    pub(crate) async fn share_heartbeat(
        &self,
        broker: &BrokerState,
        request: &ShareGroupHeartbeatRequest,
        client: &HeartbeatingClient,
    ) -> Result<ShareGroupHeartbeatResponse, GroupError> {
        let new = self.step(broker, &request.group_id, |slot| {
            slot.shard.see(broker.image());
            Ok::<_, GroupError>(slot.shard.new_share_partitions(request))
        });
        let new = new.await?;
        let group_id: Arc<str> = Arc::from(request.group_id.as_str());
        let mut initialized = SharePartitions::new();
        for new in new {
            let key = ShareKey { group_id: Arc::clone(&group_id), topic_id: new.topic_id, partition: new.partition };
            if new.begins_anew {
                broker.shares.delete_state(broker, &key).await.map_err(GroupError::plain)?;
            }
            broker.shares.coordinator.ensure(broker, &key).await.map_err(GroupError::plain)?;
            initialized.entry(new.topic_id).or_default().insert(new.partition);
        }
        self.step(broker, &request.group_id, |slot| {
            slot.shard.see(broker.image());
            let now = self.moment();
            let outcome = slot.shard.decide_share_heartbeat(now, request, client, &initialized)?;
            let (response, after) = self.commit_outcome(broker, slot, outcome)?;
            let effects = slot.shard.after(now, after);
            self.settle(broker, slot, effects);
            Ok(response)
        })
        .await
    }

    /// A share group with its members.
    ///
    /// # Errors
    /// `NOT_COORDINATOR` where the partition cannot be read.
    pub(crate) async fn describe_share(
        &self,
        log: &dyn InternalLog,
        group_id: &str,
    ) -> Result<DescribedGroup, ErrorCode> {
        self.step(log, group_id, |slot| {
            slot.shard.see(log.image());
            Ok(slot.shard.describe_share(group_id))
        })
        .await
    }

    /// The partitions that a share group is on, with the names of their topics.
    ///
    /// # Errors
    /// `GROUP_ID_NOT_FOUND`; `NOT_COORDINATOR` where the partition cannot be read.
    pub(crate) async fn share_states(
        &self,
        log: &dyn InternalLog,
        group_id: &str,
    ) -> Result<BTreeMap<Uuid, (String, BTreeSet<i32>)>, GroupError> {
        self.step(log, group_id, |slot| Ok(slot.shard.share_states(group_id))).await
    }

    /// Whether a share group is on a partition.
    ///
    /// # Errors
    /// `NOT_COORDINATOR` where the partition of `__consumer_offsets` cannot be read.
    pub(crate) async fn is_share_partition(&self, log: &dyn InternalLog, key: &ShareKey) -> Result<bool, ErrorCode> {
        let is_on = |slot: &mut Slot| Ok(slot.shard.is_share_partition(&key.group_id, key.topic_id, key.partition));
        self.step(log, &key.group_id, is_on).await
    }

    /// Lets a share group without members begin at these offsets; a group that is not there is made. Answers what went
    /// wrong with each partition.
    ///
    /// # Errors
    /// `GROUP_ID_NOT_FOUND` for a group of another kind; `NON_EMPTY_GROUP`; `NOT_COORDINATOR`.
    pub(crate) async fn alter_share_offsets(
        &self,
        broker: &BrokerState,
        group_id: &str,
        offsets: &BTreeMap<(Uuid, i32), i64>,
    ) -> Result<BTreeMap<(Uuid, i32), ErrorCode>, GroupError> {
        let mut partitions = SharePartitions::new();
        for (topic_id, partition) in offsets.keys() {
            partitions.entry(*topic_id).or_default().insert(*partition);
        }
        self.step(broker, group_id, |slot| {
            slot.shard.see(broker.image());
            let outcome = slot.shard.decide_alter_share_states(group_id, &partitions)?;
            self.commit_outcome(broker, slot, outcome).map_err(GroupError::plain)
        })
        .await?;
        let group_id: Arc<str> = Arc::from(group_id);
        let mut failed = BTreeMap::new();
        for ((topic_id, partition), offset) in offsets {
            let key = ShareKey { group_id: Arc::clone(&group_id), topic_id: *topic_id, partition: *partition };
            if let Err(error) = broker.shares.alter_state(broker, &key, *offset).await {
                failed.insert((*topic_id, *partition), error);
            }
        }
        Ok(failed)
    }

    /// Deletes what a share group without members has done with topics, or with all that it is on. Answers the topics.
    ///
    /// # Errors
    /// `GROUP_ID_NOT_FOUND`, `NON_EMPTY_GROUP`, `NOT_COORDINATOR`; what was not deleted then is so by the next call.
    pub(crate) async fn delete_share_offsets(
        &self,
        broker: &BrokerState,
        group_id: &str,
        topics: Option<&BTreeSet<Uuid>>,
    ) -> Result<BTreeSet<Uuid>, GroupError> {
        let gone = self.step(broker, group_id, |slot| {
            slot.shard.see(broker.image());
            let outcome = slot.shard.decide_delete_share_states(group_id, topics)?;
            self.commit_outcome(broker, slot, outcome).map_err(GroupError::plain)
        });
        let gone = gone.await?;
        let shared_id: Arc<str> = Arc::from(group_id);
        for (topic_id, partitions) in &gone {
            for partition in partitions {
                let key = ShareKey { group_id: Arc::clone(&shared_id), topic_id: *topic_id, partition: *partition };
                broker.shares.delete_state(broker, &key).await.map_err(GroupError::plain)?;
            }
        }
        self.step(broker, group_id, |slot| {
            let outcome = slot.shard.decide_share_states_deleted(group_id, &gone)?;
            self.commit_outcome(broker, slot, outcome).map_err(GroupError::plain)
        })
        .await?;
        Ok(gone.into_keys().collect())
    }

    /// Deletes a group that has no members, of any kind, and all that was kept for it.
    ///
    /// # Errors
    /// As [`GroupCoordinator::delete`].
    pub(crate) async fn delete_any(&self, broker: &BrokerState, group_id: &str) -> Result<(), ErrorCode> {
        let is_share = self.step(broker, group_id, |slot| Ok::<_, ErrorCode>(slot.shard.is_share(group_id)));
        if is_share.await? {
            self.delete_share_offsets(broker, group_id, None).await.map_err(|error| error.code)?;
        }
        self.delete(broker, group_id).await
    }
}
