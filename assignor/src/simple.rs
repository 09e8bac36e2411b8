//! `simple`: the server's assignor of share groups (KIP-932).

use std::collections::{BTreeMap, BTreeSet, HashSet};

use crate::sticky::{How, assign_sticky};
use crate::{AssignError, Assignment, Assignor, Member, RebalanceProtocol, TopicPartitions};

/// Every partition goes to at least one subscriber, and every subscriber gets at least one partition.
///
/// Members of a share group may have a partition together. While there are enough partitions for all, each goes to one
/// member, as balanced as the subscriptions allow; members who would have none then share the partitions that have the
/// fewest members. The guarantees are those of Kafka's `SimpleAssignor`, the very choice is not. A member keeps what
/// [`Member::owned`] says, which is the target assignment that was, unless balance takes it away.
#[derive(Debug, Clone, Copy, Default)]
pub struct Simple;

impl Assignor for Simple {
    fn name(&self) -> &str {
        "simple"
    }

    fn protocols(&self) -> &'static [RebalanceProtocol] {
        &[RebalanceProtocol::Cooperative]
    }

    fn assign(&self, members: &[Member], topics: &TopicPartitions) -> Result<Assignment, AssignError> {
        let mut members: Vec<Member> = members.to_vec();
        members.sort_by(|one, other| one.id.cmp(&other.id));
        // Of those who have a partition together, the first counts as its owner in the part that shares nothing.
        let mut claimed = HashSet::new();
        let sole: Vec<Member> = members
            .iter()
            .map(|member| {
                let own = member.owned.iter().filter(|partition| claimed.insert((*partition).clone())).cloned();
                let own = own.collect();
                member.clone().with_owned(own, None)
            })
            .collect();
        let mut assignment = assign_sticky(&sole, topics, How::default())?;
        let mut sharers: BTreeMap<(String, i32), usize> = BTreeMap::new();
        for (_, partitions) in assignment.iter() {
            for partition in partitions {
                *sharers.entry(partition.clone()).or_default() += 1;
            }
        }
        for member in &members {
            if !assignment.of(&member.id).is_empty() {
                continue;
            }
            let subscribed: BTreeSet<&str> = member.topics.iter().map(String::as_str).collect();
            let mut candidates = sharers.iter().filter(|((topic, _), _)| subscribed.contains(topic.as_str()));
            let Some(fewest) = candidates.clone().map(|(_, count)| *count).min() else { continue };
            let is_owned = |partition: &(String, i32)| member.owned.contains(partition);
            let mut least = candidates.clone().filter(|(_, count)| **count == fewest);
            let kept = least.find(|(partition, _)| is_owned(partition));
            let chosen = kept.or_else(|| candidates.find(|(_, count)| **count == fewest));
            let Some((topic, partition)) = chosen.map(|(partition, _)| partition.clone()) else { continue };
            assignment.give(&member.id, &topic, partition);
            *sharers.entry((topic, partition)).or_default() += 1;
        }
        Ok(assignment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(count: usize, topics: &[&str]) -> Vec<Member> {
        (0..count).map(|index| Member::new(format!("m{index:03}"), topics.iter().copied())).collect()
    }

    /// How many members each partition has.
    fn sharers(assignment: &Assignment) -> BTreeMap<(String, i32), usize> {
        let mut counts = BTreeMap::new();
        for partition in assignment.iter().flat_map(|(_, partitions)| partitions) {
            *counts.entry(partition.clone()).or_default() += 1;
        }
        counts
    }

    #[test]
    fn every_partition_and_every_member_has_its_share() {
        for member_count in 1..12usize {
            for partition_count in 1..8i32 {
                let topics = TopicPartitions::from([("a", partition_count), ("b", 2)]);
                let assignment = Simple.assign(&members(member_count, &["a", "b"]), &topics).unwrap();
                let counts = sharers(&assignment);
                assert_eq!(counts.len(), partition_count as usize + 2, "no partition is left out");
                let of_members = || assignment.iter().map(|(_, partitions)| partitions.len());
                assert!(of_members().max().unwrap() - of_members().min().unwrap() <= 1, "{assignment:?}");
                assert!(of_members().min().unwrap() >= 1, "{assignment:?}");
                assert!(counts.values().max().unwrap() - counts.values().min().unwrap() <= 1, "{assignment:?}");
            }
        }
    }

    #[test]
    fn who_subscribes_to_other_topics_gets_those() {
        let topics = TopicPartitions::from([("a", 1), ("b", 3)]);
        let group = [Member::new("m0", ["a"]), Member::new("m1", ["a"]), Member::new("m2", ["b", "gone"])];
        let assignment = Simple.assign(&group, &topics).unwrap();
        let a = [("a".to_owned(), 0)];
        assert_eq!((assignment.of("m0"), assignment.of("m1")), (&a[..], &a[..]));
        assert_eq!(assignment.of("m2").len(), 3);
        let nothing = Simple.assign(&[Member::new("m0", ["gone"])], &topics).unwrap();
        assert!(nothing.of("m0").is_empty());
    }

    #[test]
    fn members_keep_what_they_have_where_all_is_in_balance() {
        let topics = TopicPartitions::from([("a", 3)]);
        let first = Simple.assign(&members(7, &["a"]), &topics).unwrap();
        let owning = members(7, &["a"]).into_iter().map(|member| {
            let owned = first.of(&member.id).to_vec();
            member.with_owned(owned, None)
        });
        let mut owning: Vec<Member> = owning.collect();
        owning.reverse();
        assert_eq!(Simple.assign(&owning, &topics).unwrap(), first);
    }
}
