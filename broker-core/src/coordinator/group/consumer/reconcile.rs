//! One member's way from what it has to what it shall have, a step at a time (KIP-848).
//!
//! A partition goes to its new member only after the old one has said that it gave it up, or is gone.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use rkafka_protocol::ErrorCode;
use uuid::Uuid;

use super::GroupError;
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
    pub fn step(&self, current: &CurrentAssignment) -> Result<CurrentAssignment, GroupError> {
        Ok(match current.state {
            MemberState::Stable if current.epoch == self.target_epoch => self.drop_unsubscribed(current),
            MemberState::Stable => self.approach(current, current.epoch),
            MemberState::UnrevokedPartitions if self.owns_any(&current.revoking) => self.drop_unsubscribed(current),
            // Before, or because it has given up all that it was told to. Where more is to go it stays in its epoch, as
            // with Kafka 4.3.
            MemberState::UnrevokedPartitions | MemberState::UnreleasedPartitions => {
                self.approach(current, current.epoch)
            }
            // A newer broker has left it in a state that says nothing here. Only of who has nothing is it known what
            // it has.
            MemberState::Unknown if self.owned.is_some_and(Partitions::is_empty) => {
                self.approach(current, self.target_epoch)
            }
            MemberState::Unknown => {
                return Err(GroupError::new(
                    ErrorCode::FencedMemberEpoch,
                    "The consumer group member is in a unknown state. The member must abandon all its partitions and \
                     rejoin.",
                ));
            }
        })
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
        let mut revoking = current.revoking.clone();
        for topic in gone {
            if let Some(partitions) = next.assigned.remove(&topic) {
                revoking.entry(topic).or_default().extend(partitions);
            }
        }
        // One that it still owns holds all of them back, as with Kafka 4.3: it says that it is done once it is with all.
        if self.owns_any(&revoking) {
            (next.state, next.revoking) = (MemberState::UnrevokedPartitions, revoking);
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

#[cfg(test)]
mod tests {
    use super::*;

    const LOGS: Uuid = Uuid::from_u128(1);
    const CLICKS: Uuid = Uuid::from_u128(2);

    fn partitions(places: &[(Uuid, i32)]) -> Partitions {
        let mut partitions = Partitions::new();
        for (topic, partition) in places {
            partitions.entry(*topic).or_default().insert(*partition);
        }
        partitions
    }

    fn assigned(places: &[(Uuid, i32)]) -> AssignedPartitions {
        let mut assigned = AssignedPartitions::new();
        for (topic, partition) in places {
            assigned.entry(*topic).or_default().insert(*partition, 3);
        }
        assigned
    }

    /// A step of a member in epoch 3 towards one partition of each topic at 4, subscribed to `topics`.
    fn step(
        current: &CurrentAssignment,
        topics: &[Uuid],
        owned: Option<&[(Uuid, i32)]>,
    ) -> Result<CurrentAssignment, ErrorCode> {
        let owned = owned.map(partitions);
        let reconciliation = Reconciliation {
            target_epoch: 4,
            target: &partitions(&[(LOGS, 0), (CLICKS, 0)]),
            subscribed: &topics.iter().copied().collect(),
            held_by_others: &HashSet::new(),
            owned: owned.as_ref(),
        };
        reconciliation.step(current).map_err(|error| error.code)
    }

    #[test]
    fn a_member_in_an_unknown_state_is_fenced_unless_it_has_nothing() {
        let current = CurrentAssignment {
            epoch: 3,
            previous_epoch: 2,
            state: MemberState::Unknown,
            assigned: assigned(&[(LOGS, 0), (LOGS, 1)]),
            revoking: AssignedPartitions::new(),
        };
        let topics = [LOGS, CLICKS];
        assert_eq!(step(&current, &topics, None), Err(ErrorCode::FencedMemberEpoch), "it still owns what it had");
        assert_eq!(step(&current, &topics, Some(&[(LOGS, 0)])), Err(ErrorCode::FencedMemberEpoch));
        let next = step(&current, &topics, Some(&[])).unwrap();
        assert_eq!((next.epoch, next.state), (4, MemberState::Stable));
        assert_eq!(next.assigned.keys().copied().collect::<Vec<_>>(), [LOGS, CLICKS]);
    }

    #[test]
    fn what_is_not_subscribed_any_more_waits_with_all_that_is_to_be_given_up() {
        let current = CurrentAssignment {
            epoch: 3,
            previous_epoch: 2,
            state: MemberState::UnrevokedPartitions,
            assigned: assigned(&[(LOGS, 0), (CLICKS, 0)]),
            revoking: assigned(&[(LOGS, 1)]),
        };
        // It has not begun with that of the one topic, and not given up that of the other.
        let next = step(&current, &[LOGS], Some(&[(LOGS, 0), (LOGS, 1)])).unwrap();
        assert_eq!((next.epoch, next.state), (3, MemberState::UnrevokedPartitions));
        assert_eq!(next.assigned, assigned(&[(LOGS, 0)]));
        assert_eq!(next.revoking, assigned(&[(LOGS, 1), (CLICKS, 0)]));
    }

    #[test]
    fn what_is_not_subscribed_any_more_is_free_at_once_if_the_member_has_nothing_to_give_up() {
        let current = CurrentAssignment {
            epoch: 4,
            previous_epoch: 3,
            state: MemberState::Stable,
            assigned: assigned(&[(LOGS, 0), (CLICKS, 0)]),
            revoking: AssignedPartitions::new(),
        };
        let next = step(&current, &[LOGS], Some(&[(LOGS, 0)])).unwrap();
        assert_eq!((next.state, &next.revoking), (MemberState::Stable, &AssignedPartitions::new()));
        assert_eq!(next.assigned, assigned(&[(LOGS, 0)]));
    }
}
