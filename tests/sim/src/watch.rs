//! What must hold inside the brokers, looked at after every few steps.

use std::collections::BTreeMap;

use rkafka_broker_core::{BrokerState, Replica};
use twox_hash::XxHash3_64;
use uuid::Uuid;

use crate::net::HostId;

type Place = (Uuid, i32);

/// How much of a log is looked at in one go, in bytes.
const READ_BYTES: usize = 64 * 1024;
/// What lies before the magic byte of a batch: its offset, its length and its leader epoch.
const BATCH_HEAD: usize = 12;

#[derive(Debug, Default)]
struct Committed {
    /// The committed batches: first offset, and a hash of all bytes.
    batches: BTreeMap<i64, u64>,
    /// Up to where the log was committed, as far as a leader has told.
    end: i64,
}

#[derive(Debug, Default)]
struct Seen {
    /// Up to where this replica was compared.
    compared: i64,
    /// Its high watermark, and the epoch in which it led with it.
    watermark: i64,
    led_epoch: Option<i32>,
}

/// What was seen so far.
#[derive(Debug, Default)]
pub struct Watch {
    committed: BTreeMap<Place, Committed>,
    leaders: BTreeMap<(Place, i32), HostId>,
    controllers: BTreeMap<i32, (HostId, u64)>,
    seen: BTreeMap<(HostId, Place), Seen>,
    /// How many leader epochs of partitions, and of the quorum, there were.
    pub elections: u64,
}

impl Watch {
    /// A broker starts anew: what was known of it holds no more.
    pub fn forget(&mut self, node: HostId) {
        self.seen.retain(|(other, _), _| *other != node);
    }

    /// Looks at a broker, in its life number `life`. Says what must not be.
    pub fn look(&mut self, node: HostId, life: u64, state: &BrokerState, wrong: &mut Vec<String>) {
        if let Some(epoch) = state.active_controller_epoch() {
            let known = *self.controllers.entry(epoch).or_insert_with(|| {
                self.elections += 1;
                (node, life)
            });
            if known.0 != node {
                wrong.push(format!("two controllers are active in epoch {epoch}: {} and {node}", known.0));
            } else if known.1 != life {
                wrong.push(format!("controller {node} goes on in epoch {epoch} after a restart"));
            }
        }
        for replica in state.replicas() {
            self.look_at(node, state, &replica, wrong);
        }
    }

    fn look_at(&mut self, node: HostId, state: &BrokerState, replica: &Replica, wrong: &mut Vec<String>) {
        let place = (replica.topic_id, replica.partition);
        let name = format!("{}-{} on {node}", replica.topic, replica.partition);
        if replica.is_leader {
            let leader = *self.leaders.entry((place, replica.leader_epoch)).or_insert_with(|| {
                self.elections += 1;
                node
            });
            if leader != node {
                wrong.push(format!("{name}: {leader} leads in epoch {} too", replica.leader_epoch));
            }
        }
        let newest = self.leaders.range((place, 0)..=(place, i32::MAX)).next_back().map(|((_, epoch), _)| *epoch);
        let committed = self.committed.entry(place).or_default();
        let seen = self.seen.entry((node, place)).or_default();
        // Of the leader of the latest epoch only: one that was deposed may not know it yet.
        if replica.is_leader && newest == Some(replica.leader_epoch) && replica.log_end < committed.end {
            wrong.push(format!(
                "{name}: leads in epoch {} with records up to {}, and {} were committed",
                replica.leader_epoch, replica.log_end, committed.end
            ));
        }
        if replica.log_end < replica.high_watermark {
            wrong.push(format!(
                "{name}: ends at {}, before its high watermark {}",
                replica.log_end, replica.high_watermark
            ));
        }
        let led_epoch = replica.is_leader.then_some(replica.leader_epoch);
        if led_epoch.is_some() && led_epoch == seen.led_epoch && replica.high_watermark < seen.watermark {
            wrong.push(format!(
                "{name}: the high watermark goes from {} back to {}",
                seen.watermark, replica.high_watermark
            ));
        }
        if replica.last_stable_offset > replica.high_watermark {
            wrong.push(format!(
                "{name}: the last stable offset {} is beyond the high watermark",
                replica.last_stable_offset
            ));
        }
        (seen.watermark, seen.led_epoch) = (replica.high_watermark, led_epoch);
        seen.compared = seen.compared.max(replica.log_start).min(replica.log_end);
        while seen.compared < replica.high_watermark {
            let read = state.replica_bytes(
                replica.topic_id,
                replica.partition,
                seen.compared,
                READ_BYTES,
                replica.high_watermark,
            );
            let Some((bytes, next)) = read else { break };
            if next <= seen.compared {
                break;
            }
            for (offset, batch) in batches(&bytes) {
                let hash = XxHash3_64::oneshot(batch);
                if *committed.batches.entry(offset).or_insert(hash) != hash {
                    wrong.push(format!(
                        "{name}: other bytes at offset {offset} than another replica has committed there"
                    ));
                }
            }
            seen.compared = next;
        }
        committed.end = committed.end.max(replica.high_watermark);
    }

    /// Whether every record that is committed is in as many logs as there are brokers.
    pub fn committed_end(&self, topic_id: Uuid, partition: i32) -> i64 {
        self.committed.get(&(topic_id, partition)).map_or(0, |committed| committed.end)
    }
}

/// The batches in `bytes`, each with its first offset.
fn batches(mut bytes: &[u8]) -> Vec<(i64, &[u8])> {
    let mut found = Vec::new();
    while let (Some(offset), Some(len)) = (bytes.first_chunk::<8>(), bytes.get(8..BATCH_HEAD)) {
        let len = len.iter().fold(0_usize, |len, byte| len << 8 | usize::from(*byte)) + BATCH_HEAD;
        let Some((batch, rest)) = bytes.split_at_checked(len) else { break };
        found.push((i64::from_be_bytes(*offset), batch));
        bytes = rest;
    }
    found
}
