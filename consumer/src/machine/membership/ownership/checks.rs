//! Who has what, by the people and by the coordinator.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::Kind;
use super::network::Coordinator;
use super::people::{Life, Person, Place, Topics};
use super::world::World;
use crate::subscription::TopicPartition;

/// What a coordinator thinks of one member.
struct Share {
    member_id: String,
    life: Life,
    assigned: BTreeSet<Place>,
    /// Not its own any more, and not yet another's.
    revoking: BTreeSet<Place>,
}

fn shares(coordinator: &Coordinator, topics: &Topics) -> Vec<Share> {
    match coordinator {
        Coordinator::Classic(classic) => {
            let share = |(member_id, life, places): (&str, Life, Vec<_>)| {
                let id = |topic: &str| topics.0.get(topic).map(|(id, _)| *id);
                let place = |place: TopicPartition| Some((id(&place.topic)?, place.partition));
                let assigned = places.into_iter().filter_map(place).collect();
                Share { member_id: member_id.to_owned(), life, assigned, revoking: BTreeSet::new() }
            };
            classic.shares().map(share).collect()
        }
        Coordinator::Consumer(consumer) => {
            let share = |(member_id, life, assigned, revoking): (&str, _, _, _)| Share {
                member_id: member_id.to_owned(),
                life,
                assigned,
                revoking,
            };
            consumer.shares().map(share).collect()
        }
    }
}

fn places(person: &Person) -> BTreeSet<Place> {
    person.has.iter().map(|(place, held)| (held.id, place.partition)).collect()
}

impl World {
    /// What must hold at any time of who has what.
    pub(super) fn check_owners(&self) -> Result<(), TestCaseError> {
        let shares = shares(&self.coordinator, &self.topics);
        let mut owners: BTreeMap<Place, Vec<usize>> = BTreeMap::new();
        for (who, person) in self.people.iter().enumerate().filter(|(_, person)| !person.is_dropped) {
            let (own, others): (Vec<_>, Vec<_>) = shares.iter().partition(|share| share.life == (who, person.life));
            for place in places(person) {
                let is_own = own.iter().any(|share| share.assigned.contains(&place) || share.revoking.contains(&place));
                let given_to = others.iter().find(|share| share.assigned.contains(&place) && !is_own);
                prop_assert!(
                    given_to.is_none(),
                    "{:?} is with {} and was given to {:?}",
                    place,
                    who,
                    given_to.map(|share| &share.member_id)
                );
                owners.entry(place).or_default().push(who);
            }
        }
        for (place, owners) in owners {
            prop_assert!(owners.len() < 2, "{:?} is with {:?}", place, owners);
        }
        prop_assert!(self.wrongs.is_empty(), "{:?}", self.wrongs);
        Ok(())
    }

    /// Where nothing moves any more, everyone is in the group and has what the coordinator thinks it has.
    pub(super) fn check_at_rest(&self) -> Result<(), TestCaseError> {
        let shares = shares(&self.coordinator, &self.topics);
        for (who, person) in self.people.iter().enumerate() {
            let Some(machine) = &person.machine else { continue };
            let share = shares.iter().find(|share| share.member_id == machine.member_id());
            let Some(share) = share else {
                prop_assert!(false, "{} is not in the group: {:?}", who, machine);
                continue;
            };
            prop_assert_eq!(share.life, (who, person.life), "the member is another");
            prop_assert_eq!(&share.assigned, &places(person), "{} has other partitions: {:?}", who, machine);
            prop_assert!(share.revoking.is_empty(), "{} has still to give up {:?}", who, share.revoking);
        }
        Ok(())
    }

    /// What the members have between them once they have done what the last rebalance told them.
    pub(super) fn shared_out(&self) -> BTreeSet<Place> {
        let all = self.topics.places();
        match &self.coordinator {
            // It looks at the topics itself.
            Coordinator::Consumer(_) => all,
            // One that died with what it was to give up, before it joined again so that others are given it, and is back
            // without a rebalance: nobody knows that there is something to share out, in Java's groups neither.
            Coordinator::Classic(classic) if self.kind == Kind::Cooperative && classic.has_returned() => {
                shares(&self.coordinator, &self.topics).into_iter().flat_map(|share| share.assigned).collect()
            }
            Coordinator::Classic(classic) => {
                let counts = classic.shared_out();
                let was_there = |(id, partition): &Place| {
                    let name = self.topics.name_of(*id);
                    name.and_then(|name| counts.get(name)).is_some_and(|count| partition < count)
                };
                all.into_iter().filter(was_there).collect()
            }
        }
    }
}
