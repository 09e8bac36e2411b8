//! `sticky` and `cooperative-sticky`: as balanced as the subscriptions allow, and moving little.

mod balance;

use std::collections::{BTreeMap, BTreeSet};

use crate::group::Group;
use crate::{
    AssignError, Assignment, Assignor, Member, RebalanceProtocol, Remembered, TopicPartitions, order, user_data,
};

use balance::Balancer;

/// Balanced as far as the subscriptions allow, and keeping what members own (KIP-54), under the eager protocol.
///
/// The guarantees are those of Java's `StickyAssignor`, the very choice is not: both give every partition to one
/// subscriber; no member has two partitions more than another that could take one of its partitions, directly or
/// through others; and a member keeps what it owned unless balance takes it away. Where all subscribe to the same
/// topics the number of partitions that move is the least possible.
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
        assign_sticky(members, topics, false)
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
        assign_sticky(members, topics, true)
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

pub(crate) fn assign_sticky(
    members: &[Member],
    topics: &TopicPartitions,
    withhold_claimed: bool,
) -> Result<Assignment, AssignError> {
    let group = Group::new(members, topics)?;
    let claims = Claims::of(&group);
    let mut balancer = Balancer::new(&group);
    for (&(topic, partition), claim) in &claims.by_partition {
        if let Some(owner) = claim.owner.filter(|&owner| balancer.subscribes(owner, topic)) {
            balancer.keep(owner, topic, partition);
        }
    }
    balancer.deal_the_rest();
    balancer.even_out();

    let mut by_position: Vec<Vec<(usize, i32)>> = balancer.into_held();
    if withhold_claimed {
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
