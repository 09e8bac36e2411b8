//! `sticky` and `cooperative-sticky`: as balanced as the subscriptions allow, and moving little.

mod balance;
mod racks;

use std::collections::{BTreeMap, BTreeSet};

use crate::group::Group;
use crate::{
    AssignError, Assignment, Assignor, Member, RebalanceProtocol, Remembered, TopicPartitions, order, user_data,
};

use balance::Balancer;
use racks::Racks;

/// Balanced as far as the subscriptions allow, and keeping what members own (KIP-54), under the eager protocol.
///
/// The guarantees are those of Java's `StickyAssignor`, the very choice is not: both give every partition to one
/// subscriber; no member has two partitions more than another that could take one of its partitions, directly or
/// through others; and a member keeps what it owned unless balance takes it away. Where all subscribe to the same
/// topics the number of partitions that move is the least possible.
///
/// Where members have racks (`client.rack`, KIP-881) and the partitions are not all in the same racks, a partition goes
/// to a subscriber with a replica in its own rack, as far as the loads stay as even as they would be without; a member
/// keeps what has no replica in its rack only where nobody can have it nearer.
///
/// Eager members own nothing when they join, so [`Member::owned`] must come from the assignor's user data.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sticky;

impl Assignor for Sticky {
    fn name(&self) -> &str {
        "sticky"
    }

    fn protocols(&self) -> &'static [RebalanceProtocol] {
        &[RebalanceProtocol::Eager]
    }

    fn assign(&self, members: &[Member], topics: &TopicPartitions) -> Result<Assignment, AssignError> {
        assign_sticky(members, topics, How { looks_at_racks: true, withholds_claimed: false })
    }

    fn user_data(&self, remembered: Option<&Remembered>) -> Option<Vec<u8>> {
        remembered.map(user_data::write_sticky)
    }

    /// What eager members own when they join is nothing, so that only what they remember counts.
    fn read_user_data(&self, member: &mut Member, user_data: Option<&[u8]>) {
        (member.owned, member.generation) = user_data.and_then(user_data::read_sticky).unwrap_or_default();
    }
}

/// The choice of [`Sticky`], handed out in two steps (KIP-429): a partition that another member still claims is left
/// with nobody in this round. Its owner sees that it lost it, revokes it and joins again; the round that follows gives
/// it to the new owner. So no partition ever has two owners, and the others never stop.
#[derive(Debug, Clone, Copy, Default)]
pub struct CooperativeSticky;

impl Assignor for CooperativeSticky {
    fn name(&self) -> &str {
        "cooperative-sticky"
    }

    fn protocols(&self) -> &'static [RebalanceProtocol] {
        &[RebalanceProtocol::Cooperative, RebalanceProtocol::Eager]
    }

    fn assign(&self, members: &[Member], topics: &TopicPartitions) -> Result<Assignment, AssignError> {
        assign_sticky(members, topics, How { looks_at_racks: true, withholds_claimed: true })
    }

    fn user_data(&self, remembered: Option<&Remembered>) -> Option<Vec<u8>> {
        Some(user_data::write_cooperative(remembered))
    }

    /// Members whose subscription has no place for the generation yet tell it here.
    fn read_user_data(&self, member: &mut Member, user_data: Option<&[u8]>) {
        if member.generation.is_none() {
            member.generation = user_data.and_then(user_data::read_cooperative);
        }
    }
}

/// What the assignors that keep differ in.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct How {
    /// Those of clients do; those of the coordinator have not since Kafka 4.0.
    pub(crate) looks_at_racks: bool,
    /// What another member still claims is left with nobody.
    pub(crate) withholds_claimed: bool,
}

pub(crate) fn assign_sticky(members: &[Member], topics: &TopicPartitions, how: How) -> Result<Assignment, AssignError> {
    let group = Group::new(members, topics)?;
    let racks = if how.looks_at_racks { Racks::of(&group, topics) } else { None };
    let claims = Claims::of(&group);
    let mut balancer = Balancer::new(&group, racks.as_ref());
    let mut abroad = Vec::new();
    for (&(topic, partition), claim) in &claims.by_partition {
        if let Some(owner) = claim.owner.filter(|&owner| balancer.subscribes(owner, topic)) {
            if racks.as_ref().is_some_and(|racks| racks.is_abroad(owner, topic, partition)) {
                abroad.push((owner, topic, partition));
            } else {
                balancer.keep(owner, topic, partition);
            }
        }
    }
    balancer.deal_by_racks();
    // What nobody can have nearer stays where it is: given to somebody else it would move with every rebalance.
    for (owner, topic, partition) in abroad {
        if balancer.has_room(owner) && !balancer.is_taken(topic, partition) {
            balancer.keep(owner, topic, partition);
        }
    }
    balancer.deal_the_rest();
    balancer.even_out();

    let mut by_position: Vec<Vec<(usize, i32)>> = balancer.into_held();
    if how.withholds_claimed {
        for (position, held) in by_position.iter_mut().enumerate() {
            held.retain(|key| claims.by_partition.get(key).is_none_or(|claim| claim.claimants.contains(&position)));
        }
    }
    let mut assignment = Assignment::empty_for(members);
    for (member, mut held) in group.members.iter().zip(by_position) {
        // Topics are numbered in Java's string order already.
        held.sort_unstable();
        for (topic, partition) in held {
            assignment.give(&member.id, group.topics[topic].name, partition);
        }
    }
    Ok(assignment)
}

/// Who says that it owns what.
struct Claims {
    by_partition: BTreeMap<(usize, i32), Claim>,
}

#[derive(Default)]
struct Claim {
    claimants: BTreeSet<usize>,
    /// The claimant of the latest generation; nobody where two claim it in the same generation (KIP-792).
    owner: Option<usize>,
    generation: i32,
}

impl Claims {
    /// Claims to partitions that exist and that somebody subscribes to; the others no longer matter.
    fn of(group: &Group<'_>) -> Self {
        let mut by_partition: BTreeMap<(usize, i32), Claim> = BTreeMap::new();
        for (position, member) in group.members.iter().enumerate() {
            let generation = member.generation.unwrap_or(-1);
            for (topic_name, partition) in &member.owned {
                let Ok(topic) =
                    group.topics.binary_search_by(|topic| order::java_string(topic.name, topic_name.as_str()))
                else {
                    continue;
                };
                if !(0..group.topics[topic].partition_count).contains(partition) {
                    continue;
                }
                let claim = by_partition.entry((topic, *partition)).or_default();
                if !claim.claimants.insert(position) {
                    continue;
                }
                if claim.claimants.len() == 1 || generation > claim.generation {
                    claim.owner = Some(position);
                    claim.generation = generation;
                } else if generation == claim.generation {
                    claim.owner = None;
                }
            }
        }
        Self { by_partition }
    }
}
