//! The states of a classic group and the one table of what may follow what.

/// The state of a classic group, as Kafka names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ClassicState {
    /// It has no members, though it may have committed offsets. A join begins the first rebalance.
    Empty,
    /// A rebalance has begun: members are told to join again, and joins wait until all have come or time is up.
    PreparingRebalance,
    /// All who came have been told the generation; the leader's assignment is awaited.
    CompletingRebalance,
    /// Each member has its assignment.
    Stable,
    /// The group has been deleted and is about to be forgotten.
    Dead,
}

impl ClassicState {
    /// Every state.
    pub const ALL: [Self; 5] =
        [Self::Empty, Self::PreparingRebalance, Self::CompletingRebalance, Self::Stable, Self::Dead];

    /// Whether a group in this state may go to `next`.
    pub const fn may_become(self, next: Self) -> bool {
        use ClassicState::{CompletingRebalance, Dead, Empty, PreparingRebalance, Stable};
        matches!(
            (self, next),
            (Empty | CompletingRebalance | Stable, PreparingRebalance)
                | (PreparingRebalance, CompletingRebalance | Empty)
                | (CompletingRebalance, Stable)
                | (_, Dead)
        )
    }

    /// Kafka's name of the state, as `kafka-consumer-groups --state` prints it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::PreparingRebalance => "PreparingRebalance",
            Self::CompletingRebalance => "CompletingRebalance",
            Self::Stable => "Stable",
            Self::Dead => "Dead",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::ClassicState::{self, CompletingRebalance, Dead, Empty, PreparingRebalance, Stable};

    /// Kafka's `ClassicGroupState`, which lists for each state those that may come before it.
    fn may_come_before(state: ClassicState) -> &'static [ClassicState] {
        match state {
            Empty => &[PreparingRebalance],
            PreparingRebalance => &[Stable, CompletingRebalance, Empty],
            CompletingRebalance => &[PreparingRebalance],
            Stable => &[CompletingRebalance],
            Dead => &[Stable, PreparingRebalance, CompletingRebalance, Empty, Dead],
        }
    }

    #[test]
    fn the_table_is_kafkas_over_all_pairs() {
        for before in ClassicState::ALL {
            for after in ClassicState::ALL {
                let expected = may_come_before(after).contains(&before);
                assert_eq!(before.may_become(after), expected, "{before:?} -> {after:?}");
            }
        }
    }

    #[test]
    fn nothing_comes_after_death() {
        assert!(ClassicState::ALL.iter().all(|next| Dead.may_become(*next) == (*next == Dead)));
    }
}
