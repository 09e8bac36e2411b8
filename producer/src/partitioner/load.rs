//! How often a partition becomes the sticky one: the less waits for it, the more often (KIP-794).

use std::time::Duration;

/// What the settings say of the sticky partitioner.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Adaptation {
    /// `partitioner.adaptive.partitioning.enable`.
    pub(crate) enabled: bool,
    /// `partitioner.availability.timeout.ms`; zero is off.
    pub(crate) availability_timeout: Duration,
}

/// The shares of a topic's partitions, as Java's `BuiltInPartitioner` has them: the weight of a partition is the longest
/// queue's length plus one, less its own queue's length.
#[derive(Debug, Default)]
pub(crate) struct LoadTable {
    /// The sum of the weights up to and with a partition's, and the partition. Empty where every partition has the same
    /// share.
    sums: Vec<(u64, u32)>,
}

impl LoadTable {
    /// Takes over the partitions that may be chosen, with how many batches wait in each, of `count` partitions.
    pub(crate) fn rebuild(&mut self, count: u32, queues: impl IntoIterator<Item = (u32, u32)>) {
        self.sums.clear();
        self.sums.extend(queues.into_iter().map(|(index, waiting)| (u64::from(waiting), index)));
        let longest = self.sums.iter().map(|(waiting, _)| *waiting).max().unwrap_or(0);
        let are_equal = self.sums.iter().all(|(waiting, _)| *waiting == longest);
        if are_equal && self.sums.len() == count as usize {
            self.sums.clear();
        }
        let mut sum = 0;
        for (waiting, _) in &mut self.sums {
            sum += longest + 1 - *waiting;
            *waiting = sum;
        }
    }

    /// The partition that a number chooses, evenly spread numbers each by its share; `None` where all have the same, or
    /// none may be chosen.
    pub(crate) fn pick(&self, random: u64) -> Option<u32> {
        let (total, _) = self.sums.last()?;
        let at = random % total;
        let found = self.sums.partition_point(|(sum, _)| *sum <= at);
        self.sums.get(found).map(|(_, index)| *index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn table(count: u32, queues: &[(u32, u32)]) -> LoadTable {
        let mut table = LoadTable::default();
        table.rebuild(9, [(3, 7), (4, 1)]);
        table.rebuild(count, queues.iter().copied());
        table
    }

    #[test]
    fn the_longer_the_queue_the_smaller_the_share() {
        // KIP-794's own example: queues of 0, 3 and 1 batches make 4, 1 and 3 of 8.
        let table = table(3, &[(0, 0), (1, 3), (2, 1)]);
        let picks = (0..8).map(|random| table.pick(random).unwrap()).collect::<Vec<_>>();
        assert_eq!(picks, [0, 0, 0, 0, 1, 2, 2, 2]);
        assert_eq!(table.pick(8 + 4), Some(1));
    }

    #[test]
    fn equal_queues_leave_it_to_chance_unless_a_partition_is_left_out() {
        assert_eq!(table(3, &[(0, 2), (1, 2), (2, 2)]).pick(5), None);
        assert_eq!(table(3, &[]).pick(5), None);
        let two = table(3, &[(0, 2), (2, 2)]);
        assert_eq!([0, 1, 2].map(|random| two.pick(random)), [Some(0), Some(2), Some(0)]);
        assert_eq!(table(2, &[(1, 7)]).pick(123), Some(1), "the only one that is left");
    }

    proptest! {
        #[test]
        fn every_share_is_javas(queues in proptest::collection::vec(0u32..50, 1..40), left_out in 0u32..3) {
            let numbered = (0..).zip(queues.iter().copied()).collect::<Vec<(u32, u32)>>();
            let count = queues.len() as u32 + left_out;
            let table = table(count, &numbered);
            let longest = queues.iter().copied().max().unwrap();
            let weights = queues.iter().map(|waiting| u64::from(longest + 1 - waiting)).collect::<Vec<_>>();
            let total = weights.iter().sum::<u64>();
            let mut picks = vec![0; queues.len()];
            for random in 0..total {
                match table.pick(random) {
                    Some(index) => picks[index as usize] += 1,
                    None => {
                        prop_assert!(left_out == 0 && queues.iter().all(|waiting| *waiting == longest));
                        return Ok(());
                    }
                }
            }
            prop_assert_eq!(picks, weights);
        }

        #[test]
        fn no_length_is_too_much(queues in proptest::collection::vec((any::<u32>(), any::<u32>()), 0..9), random: u64) {
            let pick = table(9, &queues).pick(random);
            prop_assert!(pick.is_none_or(|pick| queues.iter().any(|(index, _)| *index == pick)));
        }
    }
}
