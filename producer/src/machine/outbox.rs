//! Which batches go into the next request to one broker.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use rkafka_client_core::TopicPartition;

use rkafka_protocol::records::RecordError;

use super::accumulator::{Journey, Next, Outgoing, Resolutions};
use super::batch::{Load, Payload};
use super::sequence::{ProducerIdentity, Stamp};
use crate::partition::{ENTRY_OVERHEAD, Listing, Partition};

/// The partitions of one broker that have something to do.
pub(crate) struct Outbox {
    broker: i32,
    active: VecDeque<Listing>,
}

/// What holds for all partitions at the moment of collecting.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Conditions {
    /// The connection.
    pub(crate) route: u64,
    /// Lingering ends: the producer closes, or somebody waits for memory.
    pub(crate) hurry: bool,
    /// The producer id, once there is one.
    pub(crate) identity: Option<ProducerIdentity>,
    /// `max.request.size`, in bytes.
    pub(crate) request_size_max: usize,
}

/// A batch that is ready for the wire.
pub(crate) struct Collect {
    pub(crate) partition: Arc<Partition>,
    pub(crate) id: u64,
    pub(crate) payload: Arc<Payload>,
    pub(crate) journey: Journey,
    pub(crate) is_retry: bool,
}

/// One request's worth of batches, at most one of each partition.
#[derive(Default)]
pub(crate) struct Collected {
    pub(crate) batches: Vec<Collect>,
    /// Batches that have no form for the wire.
    pub(crate) unsendable: Vec<(Arc<Partition>, u64, RecordError)>,
    /// A batch that turned out too large for what was left of the request.
    pub(crate) left_over: Option<Collect>,
    /// A producer id other than this one is needed before more can go.
    pub(crate) wants_identity: Option<Option<i64>>,
    /// Partitions that must become part of the transaction before their batches can go.
    pub(crate) wants_partitions: Vec<TopicPartition>,
}

impl Outbox {
    pub(crate) fn new(broker: i32) -> Self {
        Self { broker, active: VecDeque::new() }
    }

    /// Takes a partition on the list.
    pub(crate) fn accept(&mut self, listing: Listing) {
        self.active.push_back(listing);
    }

    /// Whether no partition has anything to do.
    pub(crate) fn is_idle(&self) -> bool {
        self.active.is_empty()
    }

    /// Some partition on the list.
    pub(crate) fn first(&self) -> Option<&Arc<Partition>> {
        self.active.front().map(|listing| &listing.partition)
    }

    /// Whether a partition has a batch that could go now, were the broker to take it.
    pub(crate) fn has_pressing(&self, now: Instant, hurry: bool) -> bool {
        self.active.iter().any(|Listing { partition, token }| {
            let slot = partition.lock();
            slot.is_listed(self.broker, *token) && slot.queue.has_pressing(now, hurry)
        })
    }

    /// Fails what waited too long, and takes idle partitions off the list. `trouble` is what the connection suffers from.
    pub(crate) fn expire(&mut self, now: Instant, trouble: Option<&Arc<str>>, resolved: &mut Resolutions) {
        let broker = self.broker;
        self.active.retain(|Listing { partition, token }| {
            let mut slot = partition.lock();
            if !slot.is_listed(broker, *token) {
                return false;
            }
            slot.queue.expire(now, trouble, resolved);
            if slot.queue.is_idle() {
                slot.unlist();
                return false;
            }
            true
        });
    }

    /// The batches of the next request, which `seal` makes ready for the wire while no lock is held. The partitions take
    /// turns at being first, so that a request that is full passes over none of them for ever.
    ///
    /// How large a batch is once it is compressed is a guess before: one that then does not fit goes with the next
    /// request.
    pub(crate) fn collect(
        &mut self,
        now: Instant,
        conditions: &Conditions,
        mut seal: impl FnMut(Load, Option<Stamp>) -> Result<Arc<Payload>, RecordError>,
    ) -> Collected {
        let mut collected = Collected::default();
        let mut size = 0;
        for _ in 0..self.active.len() {
            let Some(listing) = self.active.pop_front() else { break };
            let mut slot = listing.partition.lock();
            if !slot.is_listed(self.broker, listing.token) {
                continue;
            }
            let room = conditions.request_size_max.saturating_sub(size);
            // The first batch always goes: one record may fill a request alone.
            if size > 0 && slot.queue.next_size().is_some_and(|next| next + ENTRY_OVERHEAD > room) {
                drop(slot);
                self.active.push_front(listing);
                break;
            }
            match slot.queue.next(now, conditions.route, conditions.hurry, conditions.identity) {
                Next::Send(Outgoing { id, stamp, load, journey, is_retry }) => {
                    drop(slot);
                    let partition = listing.partition.clone();
                    self.active.push_back(listing);
                    let is_new = load.is_raw();
                    let payload = match seal(load, stamp) {
                        Ok(payload) => payload,
                        Err(error) => {
                            collected.unsendable.push((partition, id, error));
                            continue;
                        }
                    };
                    if is_new {
                        partition.observe(&payload);
                    }
                    if size > 0 && payload.len() + ENTRY_OVERHEAD > room {
                        collected.left_over = Some(Collect { partition, id, payload, journey, is_retry });
                        // It stays the first in turn.
                        self.active.rotate_right(1);
                        break;
                    }
                    size += payload.len() + ENTRY_OVERHEAD;
                    collected.batches.push(Collect { partition, id, payload, journey, is_retry });
                    continue;
                }
                Next::Nothing => {}
                Next::NeedAdmission => {
                    let Partition { topic, index, .. } = &*listing.partition;
                    collected.wants_partitions.push(TopicPartition::new(topic.clone(), *index));
                }
                Next::NeedIdentity(other_than) => collected.wants_identity = Some(other_than),
            }
            drop(slot);
            self.active.push_back(listing);
        }
        collected
    }

    /// When to look again although nobody wakes the sender. `can_send` is false while the connection takes no request.
    pub(crate) fn deadline(&self, now: Instant, can_send: bool) -> Option<Instant> {
        self.active
            .iter()
            .filter_map(|listing| {
                let slot = listing.partition.lock();
                let send_at = slot.queue.send_at(now).filter(|_| can_send);
                [send_at, slot.queue.expires_at()].into_iter().flatten().min()
            })
            .min()
    }
}
