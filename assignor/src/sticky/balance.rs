//! Giving partitions to subscribers so that no shift of one partition could make the loads more even.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};

use super::racks::Racks;
use crate::group::Group;

/// A partition that a member holds.
#[derive(Debug, Clone, Copy)]
struct Held {
    partition: i32,
    /// It owned the partition before; such a partition is the last to be taken from it.
    owned_before: bool,
}

/// Who holds what so far. Members and topics are named by their positions in the group.
pub(super) struct Balancer<'a> {
    group: &'a Group<'a>,
    racks: Option<&'a Racks<'a>>,
    /// By member, then by topic; no empty lists are kept.
    held: Vec<BTreeMap<usize, Vec<Held>>>,
    loads: Vec<usize>,
    /// By topic and partition number: it has a holder.
    taken: Vec<Vec<bool>>,
    /// What each member has where all is even, and how many have one more.
    share: usize,
    extra: usize,
}

impl<'a> Balancer<'a> {
    pub(super) fn new(group: &'a Group<'a>, racks: Option<&'a Racks<'a>>) -> Self {
        let taken: Vec<Vec<bool>> = group
            .topics
            .iter()
            .map(|topic| vec![false; usize::try_from(topic.partition_count).unwrap_or_default()])
            .collect();
        let (total, members) = (taken.iter().map(Vec::len).sum::<usize>(), group.members.len());
        Self {
            group,
            racks,
            held: vec![BTreeMap::new(); members],
            loads: vec![0; members],
            taken,
            share: total.checked_div(members).unwrap_or_default(),
            extra: total.checked_rem(members).unwrap_or_default(),
        }
    }

    pub(super) fn is_taken(&self, topic: usize, partition: i32) -> bool {
        usize::try_from(partition).is_ok_and(|number| self.taken[topic].get(number).copied().unwrap_or_default())
    }

    /// Whether one partition more leaves a member within an even share.
    pub(super) fn has_room(&self, member: usize) -> bool {
        let load = self.loads[member];
        load < self.share
            || load == self.share && self.loads.iter().filter(|load| **load > self.share).count() < self.extra
    }

    pub(super) fn subscribes(&self, member: usize, topic: usize) -> bool {
        self.group.topics[topic].subscribers.binary_search(&member).is_ok()
    }

    /// Lets a member keep a partition that it owned before.
    pub(super) fn keep(&mut self, member: usize, topic: usize, partition: i32) {
        self.put(member, topic, Held { partition, owned_before: true });
    }

    fn put(&mut self, member: usize, topic: usize, held: Held) {
        if let Some(taken) =
            usize::try_from(held.partition).ok().and_then(|partition| self.taken[topic].get_mut(partition))
        {
            *taken = true;
        }
        self.held[member].entry(topic).or_default().push(held);
        self.loads[member] += 1;
    }

    /// Gives partitions without a holder to subscribers in whose rack a replica lives, within an even share: those first
    /// that the fewest could have.
    pub(super) fn deal_by_racks(&mut self) {
        let Some(racks) = self.racks else { return };
        let mut open: Vec<(Vec<usize>, usize, i32)> = Vec::new();
        for (topic, of_topic) in self.group.topics.iter().enumerate() {
            for partition in (0..of_topic.partition_count).filter(|&partition| !self.is_taken(topic, partition)) {
                let subscribers = of_topic.subscribers.iter().copied();
                let home: Vec<usize> = subscribers.filter(|&member| racks.is_home(member, topic, partition)).collect();
                if !home.is_empty() {
                    open.push((home, topic, partition));
                }
            }
        }
        open.sort_by_key(|(home, topic, partition)| (home.len(), *topic, *partition));
        for (home, topic, partition) in open {
            let with_room = home.into_iter().filter(|&member| self.has_room(member));
            if let Some(member) = with_room.min_by_key(|&member| (self.loads[member], member)) {
                self.put(member, topic, Held { partition, owned_before: false });
            }
        }
    }

    /// Gives every partition without a holder to the subscriber with the smallest load, topics with the fewest
    /// subscribers first, for they have the least choice.
    pub(super) fn deal_the_rest(&mut self) {
        let mut topics: Vec<usize> = (0..self.group.topics.len()).collect();
        topics.sort_by_key(|&topic| (self.group.topics[topic].subscribers.len(), topic));
        for topic in topics {
            let mut by_load: BinaryHeap<Reverse<(usize, usize)>> = self.group.topics[topic]
                .subscribers
                .iter()
                .map(|&member| Reverse((self.loads[member], member)))
                .collect();
            for partition in 0..self.group.topics[topic].partition_count {
                if self.is_taken(topic, partition) {
                    continue;
                }
                let Some(Reverse((_, member))) = by_load.pop() else { break };
                self.put(member, topic, Held { partition, owned_before: false });
                by_load.push(Reverse((self.loads[member], member)));
            }
        }
    }

    /// Moves partitions, directly or along a chain of members, from a member to one that has at least two fewer, until
    /// there is no such pair.
    ///
    /// Members are taken by falling load. When nobody in reach of a member with load `L` has less than `L - 1`, all
    /// that it reaches are settled for good: later chains start at loads of at most `L`, and none of them could end
    /// among the settled, nor can a settled member reach outside.
    pub(super) fn even_out(&mut self) {
        let mut settled = vec![false; self.loads.len()];
        loop {
            let unsettled = || (0..self.loads.len()).filter(|&member| !settled[member]);
            // Ties go to the last member, so that those first in order keep the extra partition.
            let Some(start) = unsettled().max_by_key(|&member| (self.loads[member], member)) else { return };
            let smallest = unsettled().map(|member| self.loads[member]).min().unwrap_or_default();
            let reach = self.reach(start, smallest);
            match reach.end {
                Some(end) if self.loads[end] + 2 <= self.loads[start] => self.shift(&reach, end),
                _ => {
                    for member in reach.visited {
                        settled[member] = true;
                    }
                }
            }
        }
    }

    /// Breadth first from `start` to the members that could take a partition, directly or through others. Stops at the
    /// first whose load is not above `smallest`; else ends with the least loaded in reach.
    fn reach(&self, start: usize, smallest: usize) -> Reach {
        let mut came_by: Vec<Option<(usize, usize)>> = vec![None; self.loads.len()];
        let mut topic_seen = vec![false; self.group.topics.len()];
        let mut visited = vec![start];
        let mut queue = VecDeque::from([start]);
        let mut end: Option<usize> = None;
        while let Some(member) = queue.pop_front() {
            for &topic in self.held[member].keys() {
                if std::mem::replace(&mut topic_seen[topic], true) {
                    continue;
                }
                for &other in &self.group.topics[topic].subscribers {
                    if other == start || came_by[other].is_some() {
                        continue;
                    }
                    came_by[other] = Some((member, topic));
                    visited.push(other);
                    queue.push_back(other);
                    if end.is_none_or(|best| self.loads[other] < self.loads[best]) {
                        end = Some(other);
                    }
                    if self.loads[other] <= smallest {
                        return Reach { came_by, visited, end: Some(other) };
                    }
                }
            }
        }
        Reach { came_by, visited, end }
    }

    /// Passes one partition along each step of the way to `end`.
    fn shift(&mut self, reach: &Reach, end: usize) {
        let mut receiver = end;
        while let Some((giver, topic)) = reach.came_by[receiver] {
            let Some(held) = self.take(giver, receiver, topic) else { return };
            self.loads[giver] -= 1;
            self.put(receiver, topic, Held { partition: held.partition, owned_before: false });
            receiver = giver;
        }
    }

    /// Takes a partition of `topic` from a member for another: one that is nearer to that one than to the first where
    /// there is one, then one that the first did not own before.
    fn take(&mut self, giver: usize, receiver: usize, topic: usize) -> Option<Held> {
        let of_topic = self.held[giver].get_mut(&topic)?;
        let is_home =
            |member: usize, held: &Held| self.racks.is_some_and(|racks| racks.is_home(member, topic, held.partition));
        let fits = |(index, held): &(usize, &Held)| {
            let is_nearer = i8::from(is_home(receiver, held)) - i8::from(is_home(giver, held));
            (is_nearer, !held.owned_before, *index)
        };
        let (index, _) = of_topic.iter().enumerate().max_by_key(fits)?;
        let held = of_topic.remove(index);
        if of_topic.is_empty() {
            self.held[giver].remove(&topic);
        }
        Some(held)
    }

    /// What each member holds, as topic and partition number, in no particular order.
    pub(super) fn into_held(self) -> Vec<Vec<(usize, i32)>> {
        self.held
            .into_iter()
            .map(|by_topic| {
                by_topic
                    .into_iter()
                    .flat_map(|(topic, list)| list.into_iter().map(move |held| (topic, held.partition)))
                    .collect()
            })
            .collect()
    }
}

/// What a search from one member found.
struct Reach {
    /// For each member in reach: who would hand it a partition, and of which topic.
    came_by: Vec<Option<(usize, usize)>>,
    visited: Vec<usize>,
    end: Option<usize>,
}
