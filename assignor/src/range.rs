//! `range`: neighbouring partitions of each topic to neighbouring members, near their replicas where that costs nothing.

use std::collections::{BTreeMap, BTreeSet};

use crate::group::{Group, GroupTopic};
use crate::{AssignError, Assignment, Assignor, Member, RebalanceProtocol, TopicPartitions};

/// Java's `RangeAssignor`, the default of `partition.assignment.strategy`.
///
/// Topic by topic, the members that subscribe to it are put in order (static members first, by `group.instance.id`,
/// then member ids) and each takes the next run of partitions; the first `partitions % members` of them take one more.
/// Topics with equally many partitions and the same subscribers are thereby co-partitioned.
///
/// Where members have racks (`client.rack`, KIP-881) and the partitions of a topic are not all in the same racks, each
/// member first takes of its share what has a replica in its own rack, a member without a rack what comes first; the
/// rest is dealt as above. Of co-partitioned topics a member takes partitions of one number together, where they all
/// have a replica in its rack. No member's share is another for it, and the answer is Java's.
#[derive(Debug, Clone, Copy, Default)]
pub struct Range;

impl Assignor for Range {
    fn name(&self) -> &str {
        "range"
    }

    fn protocols(&self) -> &'static [RebalanceProtocol] {
        &[RebalanceProtocol::Eager]
    }

    fn assign(&self, members: &[Member], topics: &TopicPartitions) -> Result<Assignment, AssignError> {
        let group = Group::new(members, topics)?;
        let mut dealings: Vec<Dealing<'_>> =
            group.topics.iter().map(|topic| Dealing::new(topic, &group.members, topics)).collect();
        if dealings.iter().any(|dealing| dealing.looks_at_racks) {
            deal_by_racks(&mut dealings);
        }
        let mut assignment = Assignment::empty_for(members);
        for mut dealing in dealings {
            dealing.deal(|_, _, _| true);
            for (position, mut partitions) in dealing.given {
                partitions.sort_unstable();
                for partition in partitions {
                    assignment.give(&group.members[position].id, dealing.topic.name, partition);
                }
            }
        }
        Ok(assignment)
    }
}

/// Gives out what has a replica in the rack of a member that still lacks some of its share.
fn deal_by_racks(dealings: &mut [Dealing<'_>]) {
    // Co-partitioned are topics of the same subscribers and as many partitions, not counting those whose subscribers
    // have no racks. Java keeps them together also where only some of them need to look at racks.
    let mut alike: BTreeMap<(&[usize], usize), Vec<usize>> = BTreeMap::new();
    for (index, dealing) in dealings.iter().enumerate() {
        alike.entry((&dealing.topic.subscribers, dealing.partition_racks.len())).or_default().push(index);
    }
    let groups: Vec<Vec<usize>> = alike.into_values().collect();
    for indexes in groups {
        match indexes[..] {
            [single] => {
                if dealings[single].looks_at_racks {
                    dealings[single].deal(Dealing::in_rack);
                }
            }
            _ => deal_together(dealings, &indexes),
        }
    }
}

/// Deals the partitions of one number of all these topics to one member, number by number.
fn deal_together(dealings: &mut [Dealing<'_>], indexes: &[usize]) {
    let Some(first) = indexes.first().map(|&index| &dealings[index]) else { return };
    let mut waiting: Vec<usize> = first.topic.subscribers.clone();
    for number in 0..first.partition_racks.len() {
        let Ok(partition) = i32::try_from(number) else { break };
        let takes_all = |&position: &usize| {
            indexes
                .iter()
                .map(|&index| &dealings[index])
                .all(|dealing| dealing.in_rack(position, partition) && dealing.room(position) > 0)
        };
        let Some(position) = waiting.iter().copied().find(takes_all) else { continue };
        for &index in indexes {
            dealings[index].give(position, partition);
        }
        if indexes.iter().all(|&index| dealings[index].room(position) == 0) {
            waiting.retain(|&other| other != position);
            if waiting.is_empty() {
                break;
            }
        }
    }
}

/// A topic whose partitions are being given out.
struct Dealing<'a> {
    topic: &'a GroupTopic<'a>,
    /// The racks of the subscribers that have one.
    member_racks: BTreeMap<usize, &'a str>,
    /// The racks of each partition's replicas; nothing where no subscriber has a rack.
    partition_racks: Vec<BTreeSet<&'a str>>,
    /// Whether racks make a difference: some partition lives in a subscriber's rack, and not all live in the same.
    looks_at_racks: bool,
    left: Vec<i32>,
    given: BTreeMap<usize, Vec<i32>>,
    share: usize,
    /// How many members may still have one more than `share`.
    extra_left: usize,
}

impl<'a> Dealing<'a> {
    fn new(topic: &'a GroupTopic<'a>, members: &[&'a Member], topics: &'a TopicPartitions) -> Self {
        let count = usize::try_from(topic.partition_count).unwrap_or(0);
        let rack = |position: usize| members[position].rack.as_deref().filter(|rack| !rack.is_empty());
        let member_racks: BTreeMap<usize, &str> =
            topic.subscribers.iter().filter_map(|&position| Some((position, rack(position)?))).collect();
        let partition_racks: Vec<BTreeSet<&str>> = if member_racks.is_empty() {
            Vec::new()
        } else {
            let racks = |partition| topics.racks(topic.name, partition).iter().map(String::as_str).collect();
            (0..topic.partition_count).map(racks).collect()
        };
        let all_racks: BTreeSet<&str> = partition_racks.iter().flatten().copied().collect();
        let looks_at_racks = member_racks.values().any(|rack| all_racks.contains(rack))
            && partition_racks.iter().any(|racks| *racks != all_racks);
        let subscriber_count = topic.subscribers.len().max(1);
        Self {
            topic,
            member_racks,
            partition_racks,
            looks_at_racks,
            left: (0..topic.partition_count).collect(),
            given: BTreeMap::new(),
            share: count / subscriber_count,
            extra_left: count % subscriber_count,
        }
    }

    /// Whether a member would read the partition in its own rack, or has no rack.
    fn in_rack(&self, position: usize, partition: i32) -> bool {
        let racks = usize::try_from(partition).ok().and_then(|number| self.partition_racks.get(number));
        self.member_racks.get(&position).is_none_or(|rack| racks.is_some_and(|racks| racks.contains(rack)))
    }

    /// How many partitions a member may still take.
    fn room(&self, position: usize) -> usize {
        let most = self.share + usize::from(self.extra_left > 0);
        most.saturating_sub(self.given.get(&position).map_or(0, Vec::len))
    }

    /// Each member in turn takes of what is left what suits it, as far as it has room.
    fn deal(&mut self, suits: impl Fn(&Self, usize, i32) -> bool) {
        for &position in &self.topic.subscribers {
            let suiting = self.left.iter().copied().filter(|&partition| suits(self, position, partition));
            let taken: Vec<i32> = suiting.take(self.room(position)).collect();
            self.record(position, &taken);
        }
    }

    fn give(&mut self, position: usize, partition: i32) {
        self.record(position, &[partition]);
    }

    fn record(&mut self, position: usize, taken: &[i32]) {
        let Some(last) = taken.last() else { return };
        // What is taken ascends, and so does what is left.
        self.left.retain(|partition| partition > last || taken.binary_search(partition).is_err());
        let given = self.given.entry(position).or_default();
        given.extend(taken);
        if given.len() > self.share {
            // Java counts one off whenever a member has more than the share after it took something.
            self.extra_left = self.extra_left.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn racks(of: &[&str]) -> Vec<Vec<String>> {
        of.iter().map(|racks| racks.split(',').map(str::to_owned).collect()).collect()
    }

    fn numbers(assignment: &Assignment, member: &str) -> Vec<i32> {
        assignment.of(member).iter().map(|(_, partition)| *partition).collect()
    }

    #[test]
    fn members_take_what_is_in_their_rack_and_no_more_than_their_share() {
        let members = [Member::new("m-1", ["t"]).with_rack("b"), Member::new("m-2", ["t"]).with_rack("a")];
        let mut topics = TopicPartitions::from([("t", 4)]);
        topics.insert_racks("t", racks(&["a", "a", "b", "a"]));
        let assignment = Range.assign(&members, &topics).expect("an assignment");
        assert_eq!((numbers(&assignment, "m-1"), numbers(&assignment, "m-2")), (vec![2, 3], vec![0, 1]));
    }

    #[test]
    fn racks_that_all_partitions_have_change_nothing() {
        let members = [Member::new("m-1", ["t"]).with_rack("b"), Member::new("m-2", ["t"]).with_rack("a")];
        let mut topics = TopicPartitions::from([("t", 2)]);
        topics.insert_racks("t", racks(&["a,b", "b,a"]));
        let assignment = Range.assign(&members, &topics).expect("an assignment");
        assert_eq!((numbers(&assignment, "m-1"), numbers(&assignment, "m-2")), (vec![0], vec![1]));
    }

    #[test]
    fn co_partitioned_topics_stay_so() {
        let members = [Member::new("m-1", ["t", "u"]).with_rack("b"), Member::new("m-2", ["t", "u"]).with_rack("a")];
        let mut topics = TopicPartitions::from([("t", 2), ("u", 2)]);
        topics.insert_racks("t", racks(&["a", "b"]));
        topics.insert_racks("u", racks(&["a", "b"]));
        let assignment = Range.assign(&members, &topics).expect("an assignment");
        assert_eq!((numbers(&assignment, "m-1"), numbers(&assignment, "m-2")), (vec![1, 1], vec![0, 0]));
    }
}
