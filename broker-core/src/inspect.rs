//! Looking into a broker from outside, for tests and simulations: nothing here changes anything, and what is asleep stays
//! so.

use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;

use crate::BrokerState;

/// One replica as it stands on one broker.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Replica {
    /// The topic.
    pub topic: Arc<str>,
    /// Its id.
    pub topic_id: Uuid,
    /// The partition.
    pub partition: i32,
    /// The latest leader epoch that the broker has heard of.
    pub leader_epoch: i32,
    /// Whether the broker leads in it.
    pub is_leader: bool,
    /// The first offset of the log.
    pub log_start: i64,
    /// The offset behind its last record.
    pub log_end: i64,
    /// The offset behind the last record that consumers may see, as far as the broker knows.
    pub high_watermark: i64,
    /// Up to where a consumer may read that wants committed records only.
    pub last_stable_offset: i64,
}

impl BrokerState {
    /// The replicas whose logs are open, by topic and partition.
    pub fn replicas(&self) -> Vec<Replica> {
        let mut replicas: Vec<Replica> = self
            .known_partitions()
            .iter()
            .filter_map(|partition| {
                partition.look(|log| Replica {
                    topic: Arc::clone(&partition.topic),
                    topic_id: partition.topic_id,
                    partition: partition.index,
                    leader_epoch: partition.leader_epoch(),
                    is_leader: partition.led_epoch().is_ok(),
                    log_start: log.log_start_offset(),
                    log_end: log.log_end_offset(),
                    high_watermark: log.high_watermark(),
                    last_stable_offset: log.last_stable_offset(),
                })
            })
            .collect();
        replicas.sort_by(|one, other| (&one.topic, one.partition).cmp(&(&other.topic, other.partition)));
        replicas
    }

    /// Whole batches of a replica as they lie in its log, from the one that holds `offset` on, about `max_bytes` of them
    /// and none at or beyond `end`, and the offset behind them. `None` where the log is not open, or cannot be read
    /// there.
    pub fn replica_bytes(
        &self,
        topic_id: Uuid,
        partition: i32,
        offset: i64,
        max_bytes: usize,
        end: i64,
    ) -> Option<(Bytes, i64)> {
        let partition = self.registry.get((topic_id, partition))?;
        let read = partition.look(|log| log.read(offset, max_bytes, end, true))?.ok()?;
        Some((read.records, read.next_offset))
    }

    /// The epoch in which this node is the active controller; `None` where it is not.
    pub fn active_controller_epoch(&self) -> Option<i32> {
        let leader = *self.controller.leader().borrow();
        (leader.leader_id == Some(self.config.node_id) && self.controller.is_active()).then_some(leader.epoch)
    }
}
