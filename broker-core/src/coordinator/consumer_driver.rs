//! The driver's part that is about consumer groups of KIP-848.

use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::consumer_group_describe_response::DescribedGroup;
use rkafka_protocol::messages::consumer_group_heartbeat_request::ConsumerGroupHeartbeatRequest;
use rkafka_protocol::messages::consumer_group_heartbeat_response::ConsumerGroupHeartbeatResponse;

use super::GroupCoordinator;
use super::group::{GroupError, HeartbeatingClient};
use crate::InternalLog;

impl GroupCoordinator {
    /// Takes a ConsumerGroupHeartbeat.
    ///
    /// # Errors
    /// As [`GroupShard::decide_consumer_heartbeat`](super::GroupShard::decide_consumer_heartbeat); `NOT_COORDINATOR`
    /// where the partition cannot be read or written.
    pub async fn consumer_heartbeat(
        &self,
        log: &dyn InternalLog,
        request: &ConsumerGroupHeartbeatRequest,
        client: &HeartbeatingClient,
    ) -> Result<ConsumerGroupHeartbeatResponse, GroupError> {
        self.step(log, &request.group_id, |slot| {
            slot.shard.see(log.image());
            let now = self.moment();
            let outcome = slot.shard.decide_consumer_heartbeat(now, request, client)?;
            let (response, after) = self.commit_outcome(log, slot, outcome)?;
            let effects = slot.shard.after(now, after);
            self.settle(log, slot, effects);
            Ok(response)
        })
        .await
    }

    /// A consumer group with its members.
    ///
    /// # Errors
    /// `NOT_COORDINATOR` where the partition cannot be read.
    pub async fn describe_consumer(&self, log: &dyn InternalLog, group_id: &str) -> Result<DescribedGroup, ErrorCode> {
        self.step(log, group_id, |slot| {
            slot.shard.see(log.image());
            Ok(slot.shard.describe_consumer(group_id))
        })
        .await
    }
}
