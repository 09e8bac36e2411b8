//! Where partitions should be: as few moves as spread them evenly. A machine without a cluster.

use std::collections::BTreeMap;

use super::Replicas;

/// A broker that partitions may be put on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broker {
    /// Its id.
    pub id: i32,
    /// The rack it stands in.
    pub rack: Option<String>,
}

/// Places the partitions on these brokers.
///
/// **Invariant.** Each has as many replicas as it had, or as `factor` says, all on different brokers of these; whatever is
/// balanced already stays as it is.
///
/// # Errors
/// There are too few brokers.
pub fn place(now: &Replicas, brokers: &[Broker], factor: Option<usize>) -> Result<Replicas, String> {
    let mut plan = now.clone();
    for (partition, replicas) in &mut plan {
        let wanted = factor.unwrap_or(replicas.len()).max(1);
        if wanted > brokers.len() {
            let there = super::super::items::count(brokers.len(), "broker");
            return Err(format!("{partition} is to have {wanted} replicas, and only {there} may have them"));
        }
        replicas.retain(|id| brokers.iter().any(|broker| broker.id == *id));
        replicas.truncate(wanted);
    }
    let mut board = Board { brokers, plan };
    board.fill(now, factor);
    board.spread();
    board.lead(now);
    Ok(board.plan)
}

struct Board<'a> {
    brokers: &'a [Broker],
    plan: Replicas,
}

impl Board<'_> {
    fn load(&self, first_only: bool) -> BTreeMap<i32, usize> {
        let mut load: BTreeMap<i32, usize> = self.brokers.iter().map(|broker| (broker.id, 0)).collect();
        for replicas in self.plan.values() {
            for id in replicas.iter().take(if first_only { 1 } else { replicas.len() }) {
                *load.entry(*id).or_default() += 1;
            }
        }
        load
    }

    fn rack(&self, id: i32) -> Option<&str> {
        self.brokers.iter().find(|broker| broker.id == id).and_then(|broker| broker.rack.as_deref())
    }

    /// How many of these replicas stand in the rack of a broker. One whose rack is not known stands alone.
    fn in_rack_of(&self, id: i32, replicas: &[i32]) -> usize {
        let rack = self.rack(id);
        replicas.iter().filter(|other| rack.is_some() && self.rack(**other) == rack).count()
    }

    /// Gives each partition the replicas that it lacks: where no other stands in the rack, then where the fewest are.
    fn fill(&mut self, now: &Replicas, factor: Option<usize>) {
        let mut load = self.load(false);
        let partitions: Vec<_> = self.plan.keys().cloned().collect();
        for partition in partitions {
            let mut replicas = self.plan.get(&partition).cloned().unwrap_or_default();
            let wanted = factor.unwrap_or_else(|| now.get(&partition).map_or(1, Vec::len)).max(1);
            while replicas.len() < wanted {
                let free = self.brokers.iter().map(|broker| broker.id).filter(|id| !replicas.contains(id));
                let Some(best) = free.min_by_key(|id| (self.in_rack_of(*id, &replicas), load.get(id).copied(), *id))
                else {
                    break;
                };
                replicas.push(best);
                *load.entry(best).or_default() += 1;
            }
            self.plan.insert(partition, replicas);
        }
    }

    /// Moves replicas from where there are most to where there are fewest, as long as that makes it more even. Each move
    /// does, so that it ends.
    fn spread(&mut self) {
        loop {
            let load = self.load(false);
            let mut pairs: Vec<(usize, i32, i32)> = Vec::new();
            for (from, many) in &load {
                for (to, few) in &load {
                    if many.saturating_sub(*few) >= 2 {
                        pairs.push((many - few, *from, *to));
                    }
                }
            }
            pairs.sort_by_key(|(difference, from, to)| (std::cmp::Reverse(*difference), *from, *to));
            let step = pairs.into_iter().find_map(|(_, from, to)| self.movable(from, to));
            let Some((partition, at, to)) = step else { return };
            if let Some(replicas) = self.plan.get_mut(&partition) {
                replicas[at] = to;
            }
        }
    }

    /// A replica that may go from one broker to another: better one that does not lead, and none that would stand with
    /// another in a rack where it does not now.
    fn movable(&self, from: i32, to: i32) -> Option<(rkafka::admin::TopicPartition, usize, i32)> {
        let can = self.plan.iter().filter_map(|(partition, replicas)| {
            let at = replicas.iter().position(|id| *id == from)?;
            if replicas.contains(&to) {
                return None;
            }
            let others: Vec<i32> = replicas.iter().copied().filter(|id| *id != from).collect();
            (self.in_rack_of(to, &others) <= self.in_rack_of(from, &others)).then(|| (partition.clone(), at, to))
        });
        can.max_by_key(|(partition, at, _)| (*at != 0, std::cmp::Reverse(partition.clone())))
    }

    /// Changes which replica comes first where one broker leads more than its share, which moves nothing: better in a
    /// partition that changes anyway.
    fn lead(&mut self, now: &Replicas) {
        loop {
            let load = self.load(true);
            let leads = |id: &i32| load.get(id).copied().unwrap_or_default();
            let mut best: Option<((usize, bool), rkafka::admin::TopicPartition, usize)> = None;
            for (partition, replicas) in &self.plan {
                let Some(first) = replicas.first() else { continue };
                for (at, other) in replicas.iter().enumerate().skip(1) {
                    let gain = leads(first).saturating_sub(leads(other));
                    let worth = (gain, now.get(partition) != Some(replicas));
                    if gain >= 2 && best.as_ref().is_none_or(|(most, ..)| worth > *most) {
                        best = Some((worth, partition.clone(), at));
                    }
                }
            }
            let Some((_, partition, at)) = best else { return };
            if let Some(replicas) = self.plan.get_mut(&partition) {
                replicas.swap(0, at);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::test_runner::{RngSeed, TestRunner};
    use rkafka::admin::TopicPartition;

    use super::*;

    /// Brokers of partitions and whether they stand in falling order; how many brokers there are; how many are wanted.
    type Input = (Vec<(std::collections::BTreeSet<i32>, bool)>, usize, Option<usize>);

    fn brokers(racks: &[Option<&str>]) -> Vec<Broker> {
        (1..).zip(racks).map(|(id, rack)| Broker { id, rack: rack.map(str::to_owned) }).collect()
    }

    fn at(places: &[&[i32]]) -> Replicas {
        (0..).zip(places).map(|(number, ids)| (TopicPartition::new("t", number), ids.to_vec())).collect()
    }

    #[test]
    fn what_is_balanced_stays() {
        let now = at(&[&[1, 2], &[2, 3], &[3, 1]]);
        assert_eq!(place(&now, &brokers(&[None; 3]), None), Ok(now));
    }

    #[test]
    fn a_broker_that_goes_is_emptied_and_the_rest_stays() {
        let now = at(&[&[1, 2], &[2, 3], &[3, 1], &[1, 3]]);
        let plan = place(&now, &brokers(&[None; 3])[..2], None).unwrap();
        let sorted = |replicas: &Vec<i32>| replicas.contains(&1) && replicas.contains(&2) && replicas.len() == 2;
        assert!(plan.values().all(sorted), "{plan:?}");
        assert_eq!(plan[&TopicPartition::new("t", 0)], [1, 2], "it needs no change");
        let too_many = place(&now, &brokers(&[None; 3])[..1], None).unwrap_err();
        assert!(too_many.contains("t-0") && too_many.contains("only 1 broker "), "{too_many}");
    }

    #[test]
    fn new_brokers_take_their_share_and_racks_are_kept_apart() {
        let now = at(&[&[1], &[1], &[1], &[1]]);
        let plan = place(&now, &brokers(&[None; 4]), None).unwrap();
        let mut leaders: Vec<i32> = plan.values().map(|replicas| replicas[0]).collect();
        leaders.sort_unstable();
        assert_eq!(leaders, [1, 2, 3, 4]);
        let racks = brokers(&[Some("a"), Some("a"), Some("b"), Some("b")]);
        let plan = place(&now, &racks, Some(2)).unwrap();
        for replicas in plan.values() {
            assert_eq!(replicas.iter().filter(|id| **id <= 2).count(), 1, "{plan:?}");
        }
    }

    #[test]
    fn whatever_there_is_becomes_even_and_then_stays() {
        let partition = (prop::collection::btree_set(1..9i32, 1..4), any::<bool>());
        let input = (prop::collection::vec(partition, 1..30), 3..8usize, prop::option::of(1..4usize));
        let config =
            ProptestConfig { cases: 200, rng_seed: RngSeed::Fixed(1), failure_persistence: None, ..Default::default() };
        let check = |(partitions, count, factor): Input| {
            let now: Replicas = (0..)
                .zip(partitions)
                .map(|(number, (ids, reversed))| {
                    let mut ids: Vec<i32> = ids.into_iter().collect();
                    if reversed {
                        ids.reverse();
                    }
                    (TopicPartition::new("t", number), ids)
                })
                .collect();
            let brokers = brokers(&vec![None; count]);
            let plan = place(&now, &brokers, factor).unwrap();
            for (partition, replicas) in &plan {
                prop_assert_eq!(replicas.len(), factor.unwrap_or(now[partition].len()));
                let mut distinct = replicas.clone();
                distinct.sort_unstable();
                distinct.dedup();
                prop_assert_eq!(distinct.len(), replicas.len());
                prop_assert!(replicas.iter().all(|id| brokers.iter().any(|broker| broker.id == *id)));
            }
            let load = Board { brokers: &brokers, plan: plan.clone() }.load(false);
            let (most, least) = (load.values().max().unwrap(), load.values().min().unwrap());
            prop_assert!(most - least <= 1, "{load:?}");
            prop_assert_eq!(place(&plan, &brokers, None), Ok(plan));
            Ok(())
        };
        TestRunner::new(config).run(&input, check).unwrap();
    }
}
