//! Whom a partition is fetched from: its leader, or the replica that the leader named (KIP-392).

use std::time::Instant;

use super::{Positions, Stage, TopicView};

impl Positions {
    /// Takes in who leads what.
    pub(crate) fn on_metadata<'a>(&mut self, mut view: impl FnMut(&str) -> Option<&'a TopicView>) {
        for (name, topic) in &mut self.topics {
            let Some(view) = view(name) else { continue };
            topic.id = view.id;
            for (partition, slot) in &mut topic.slots {
                let leader = view.leaders.get(partition).copied();
                if leader.is_some() && leader != slot.leader {
                    // A new leader may be asked at once, and says itself who else may be.
                    slot.not_before = None;
                    slot.preferred = None;
                    if let Stage::Validating(_) = slot.stage {
                        // The answer of the one before counts for nothing: the question goes to the new one.
                        slot.resume_unvalidated();
                    }
                }
                if let Some(leader) = leader {
                    slot.leader = Some(leader);
                } else {
                    slot.leader = None;
                }
                if let Stage::Ready(cursor) | Stage::Validating(cursor) = &mut slot.stage {
                    cursor.topic_id = view.id;
                }
            }
        }
    }

    /// The broker that a partition is fetched from, where it is assigned and that is known.
    pub(crate) fn source(&self, topic: &str, partition: i32) -> Option<i32> {
        self.slot(topic, partition)?.source()
    }

    /// The brokers that assigned partitions are fetched from.
    pub(crate) fn sources(&self) -> std::collections::BTreeSet<i32> {
        self.slots().filter_map(|(_, _, slot)| slot.source()).collect()
    }

    /// Goes back to the leaders of partitions whose preferred replica was named too long ago. Gives when the next is due.
    pub(crate) fn expire_preferences(&mut self, now: Instant) -> Option<Instant> {
        let slots = self.topics.values_mut().flat_map(|topic| topic.slots.values_mut());
        slots
            .filter_map(|slot| {
                slot.preferred = slot.preferred.filter(|(_, until)| *until > now);
                slot.preferred.map(|(_, until)| until)
            })
            .min()
    }

    /// Whether a partition has no known leader, so that metadata should be asked again.
    pub(crate) fn lacks_leader(&self) -> bool {
        self.slots().any(|(_, _, slot)| slot.leader.is_none())
    }

    /// The replica that a partition is read from in the leader's place (KIP-392).
    pub(crate) fn preferred_replica(&self, topic: &str, partition: i32) -> Option<i32> {
        let slot = self.slot(topic, partition)?;
        slot.preferred
            .map(|(replica, _)| replica)
            .filter(|replica| slot.leader.is_some_and(|leader| leader.broker != *replica))
    }
}
