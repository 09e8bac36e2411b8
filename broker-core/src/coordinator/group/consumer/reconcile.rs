//! One member's way from what it has to what it shall have, a step at a time (KIP-848).
//!
//! A partition goes to its new member only after the old one has said that it gave it up, or is gone.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use uuid::Uuid;

use super::group::{AssignedPartitions, CurrentAssignment, MemberState, Partitions};

/// What a member's step depends on.
pub(super) struct Reconciliation<'a> {
    /// The epoch of the target assignment.
    pub target_epoch: i32,
    /// What the member shall have.
    pub target: &'a Partitions,
    /// The topics that it subscribes to and that exist. It keeps nothing of others, even before there is a new target.
    pub subscribed: &'a BTreeSet<Uuid>,
    /// The partitions that others have, or have still to give up.
    pub held_by_others: &'a HashSet<(Uuid, i32)>,
    /// What the member says it owns; `None` where it said nothing, and still owns all it had.
    pub owned: Option<&'a Partitions>,
}

impl Reconciliation<'_> {
    /// The member's next step.
    pub fn step(&self, current: &CurrentAssignment) -> CurrentAssignment {
        match current.state {
            MemberState::Stable if current.epoch == self.target_epoch => self.drop_unsubscribed(current),
            MemberState::Stable => self.approach(current, current.epoch),
            MemberState::UnrevokedPartitions if self.owns_any(&current.revoking) => self.drop_unsubscribed(current),
            // Before, or because it has given up all that it was told to. Where more is to go it stays in its epoch, as
            // with Kafka 4.3.
            MemberState::UnrevokedPartitions | MemberState::UnreleasedPartitions => {
                self.approach(current, current.epoch)
            }
            // A newer broker has left it in a state that says nothing here: from what it has to the target.
            MemberState::Unknown => self.approach(current, self.target_epoch),
        }
    }

    fn owns_any(&self, partitions: &AssignedPartitions) -> bool {
        let Some(owned) = self.owned else { return true };
        owned.iter().any(|(topic, owned)| {
            partitions.get(topic).is_some_and(|of_topic| owned.iter().any(|partition| of_topic.contains_key(partition)))
        })
    }

    /// Takes away what the member no longer subscribes to, and nothing else.
    fn drop_unsubscribed(&self, current: &CurrentAssignment) -> CurrentAssignment {
        let mut next = current.clone();
        let gone: Vec<Uuid> = next.assigned.keys().filter(|topic| !self.subscribed.contains(topic)).copied().collect();
        if gone.is_empty() {
            return next;
        }
        let mut dropped = AssignedPartitions::new();
        for topic in gone {
            if let Some(partitions) = next.assigned.remove(&topic) {
                dropped.insert(topic, partitions);
            }
        }
        if self.owns_any(&dropped) {
            next.state = MemberState::UnrevokedPartitions;
            for (topic, partitions) in dropped {
                next.revoking.entry(topic).or_default().extend(partitions);
            }
        }
        next.with_epoch(current.epoch)
    }

    /// A step towards the target: first give up, then take what is free.
    fn approach(&self, current: &CurrentAssignment, epoch: i32) -> CurrentAssignment {
        let (mut assigned, mut revoking) = (AssignedPartitions::new(), AssignedPartitions::new());
        for (topic, partitions) in &current.assigned {
            let target = self.target_of(*topic);
            for (partition, since) in partitions {
                let keeps = target.is_some_and(|target| target.contains(partition));
                let to = if keeps { &mut assigned } else { &mut revoking };
                to.entry(*topic).or_default().insert(*partition, *since);
            }
        }
        if !revoking.is_empty() && self.owns_any(&revoking) {
            let next = CurrentAssignment { state: MemberState::UnrevokedPartitions, assigned, revoking, ..*current };
            return next.with_epoch(epoch);
        }
        let mut waits = false;
        for topic in self.target.keys() {
            for partition in self.target_of(*topic).into_iter().flatten() {
                let has =
                    assigned.get(topic).is_some_and(|of_topic: &BTreeMap<i32, i32>| of_topic.contains_key(partition));
                if has {
                    continue;
                }
                if self.held_by_others.contains(&(*topic, *partition)) {
                    waits = true;
                } else {
                    assigned.entry(*topic).or_default().insert(*partition, self.target_epoch);
                }
            }
        }
        let state = if waits { MemberState::UnreleasedPartitions } else { MemberState::Stable };
        CurrentAssignment { state, assigned, revoking: AssignedPartitions::new(), ..*current }
            .with_epoch(self.target_epoch)
    }

    fn target_of(&self, topic: Uuid) -> Option<&BTreeSet<i32>> {
        self.target.get(&topic).filter(|_| self.subscribed.contains(&topic))
    }
}
