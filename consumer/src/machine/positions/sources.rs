//! Whom a partition is fetched from: its leader, or the replica that the leader named (KIP-392).

use std::sync::Arc;
use std::time::Instant;

use uuid::Uuid;

use super::{PartitionError, Positions, Stage, TopicView};

impl Positions {
    /// Takes in who leads what. Gives the partitions whose records are gone, for their topic was deleted and made anew:
    /// they begin by `auto.offset.reset`, or stop with the error.
    pub(crate) fn on_metadata<'a>(
        &mut self,
        mut view: impl FnMut(&str) -> Option<&'a TopicView>,
    ) -> Vec<(Arc<str>, i32, Option<PartitionError>)> {
        let mut made_anew = Vec::new();
        for (name, topic) in &mut self.topics {
            let Some(view) = view(name) else { continue };
            if topic.former.contains(&view.id) {
                continue;
            }
            if topic.id != view.id && !topic.id.is_nil() && !view.id.is_nil() {
                topic.former.push(topic.id);
                made_anew.extend(topic.slots.keys().map(|partition| (Arc::clone(name), *partition)));
            }
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
        let begin = |(topic, partition)| {
            let error = self.begin_anew(&topic, partition);
            (topic, partition, error)
        };
        made_anew.into_iter().map(begin).collect()
    }

    /// Ends the life of a partition whose topic was deleted: offsets of the new one have nothing to do with its own.
    fn begin_anew(&mut self, topic: &Arc<str>, partition: i32) -> Option<PartitionError> {
        let (target, incarnation) = (Self::reset_target(self.reset), self.incarnate());
        let slot = self.slot_mut(topic, partition)?;
        if let Stage::Stopped = slot.stage {
            return None;
        }
        let offset = slot.progress.position();
        slot.progress.marks().end();
        slot.restart(incarnation, Arc::default());
        (slot.origin, slot.preferred) = (None, None);
        (slot.high_watermark, slot.last_stable_offset, slot.log_start_offset) = (None, None, None);
        tracing::info!(topic = &**topic, partition, offset, "the topic was deleted and made anew");
        slot.stage = match (&slot.stage, target) {
            // Nothing was read yet.
            (Stage::Seeking(target) | Stage::LookingUp(target), _) => Stage::Seeking(*target),
            (_, Some(target)) => Stage::Seeking(target),
            (_, None) => Stage::Stopped,
        };
        let is_stopped = matches!(slot.stage, Stage::Stopped);
        let (offset, diverging_offset, diverging_epoch) = (offset.unwrap_or(0), None, None);
        is_stopped.then_some(PartitionError::LogTruncated { offset, diverging_offset, diverging_epoch })
    }

    /// The id by which a topic is read, where it is known.
    pub(crate) fn topic_id(&self, topic: &str) -> Option<Uuid> {
        self.topics.get(topic).map(|topic| topic.id).filter(|id| !id.is_nil())
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
