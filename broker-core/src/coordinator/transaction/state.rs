//! The states of a transactional id, and which may follow which.

/// Where a transactional id stands, as Kafka names and numbers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TransactionState {
    /// A producer has the id, and has not begun a transaction.
    Empty = 0,
    /// Partitions are in the transaction.
    Ongoing = 1,
    /// It was decided that the transaction commits; markers are being written.
    PrepareCommit = 2,
    /// It was decided that the transaction aborts; markers are being written.
    PrepareAbort = 3,
    /// All commit markers are written.
    CompleteCommit = 4,
    /// All abort markers are written.
    CompleteAbort = 5,
    /// The id has expired. Never in the log: a tombstone stands there.
    Dead = 6,
    /// A producer is being fenced. Never in the log: `PrepareAbort` with a higher epoch stands there.
    PrepareEpochFence = 7,
}

use TransactionState::{
    CompleteAbort, CompleteCommit, Dead, Empty, Ongoing, PrepareAbort, PrepareCommit, PrepareEpochFence,
};

impl TransactionState {
    /// Every state.
    pub const ALL: [Self; 8] =
        [Empty, Ongoing, PrepareCommit, PrepareAbort, CompleteCommit, CompleteAbort, Dead, PrepareEpochFence];

    /// The state that Kafka gives this number.
    pub fn from_id(id: i8) -> Option<Self> {
        Self::ALL.into_iter().find(|state| *state as i8 == id)
    }

    /// The state of this name, whose letters count as they are.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }

    /// The name as clients see it.
    pub fn name(self) -> &'static str {
        match self {
            Empty => "Empty",
            Ongoing => "Ongoing",
            PrepareCommit => "PrepareCommit",
            PrepareAbort => "PrepareAbort",
            CompleteCommit => "CompleteCommit",
            CompleteAbort => "CompleteAbort",
            Dead => "Dead",
            PrepareEpochFence => "PrepareEpochFence",
        }
    }

    /// Whether this state may come after `previous`.
    ///
    /// An abort may follow a state without a transaction: transactions of version 2 abort what may never have begun, so
    /// that the epoch goes up (KIP-890).
    pub fn may_follow(self, previous: Self) -> bool {
        match self {
            Empty => matches!(previous, Empty | CompleteCommit | CompleteAbort),
            Ongoing => matches!(previous, Ongoing | Empty | CompleteCommit | CompleteAbort),
            PrepareCommit => previous == Ongoing,
            PrepareAbort => {
                matches!(previous, Ongoing | PrepareEpochFence | Empty | CompleteCommit | CompleteAbort)
            }
            CompleteCommit => previous == PrepareCommit,
            CompleteAbort => previous == PrepareAbort,
            Dead => matches!(previous, Empty | CompleteCommit | CompleteAbort),
            PrepareEpochFence => previous == Ongoing,
        }
    }

    /// Whether it was decided how the transaction ends, and not every partition has heard of it.
    pub fn is_ending(self) -> bool {
        matches!(self, PrepareCommit | PrepareAbort)
    }

    /// Whether the id may be forgotten when nobody uses it any more.
    pub fn may_expire(self) -> bool {
        matches!(self, Empty | CompleteCommit | CompleteAbort)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_find_their_state() {
        for state in TransactionState::ALL {
            assert_eq!(TransactionState::from_id(state as i8), Some(state));
            assert_eq!(TransactionState::from_name(state.name()), Some(state));
        }
        assert_eq!(TransactionState::from_id(8), None);
        assert_eq!(TransactionState::from_name("ongoing"), None);
    }

    #[test]
    fn what_is_decided_is_not_undone() {
        for next in TransactionState::ALL {
            assert_eq!(next.may_follow(PrepareCommit), next == CompleteCommit, "{next:?}");
            assert_eq!(next.may_follow(PrepareAbort), next == CompleteAbort, "{next:?}");
            assert!(!next.may_follow(Dead), "{next:?}");
        }
    }
}
