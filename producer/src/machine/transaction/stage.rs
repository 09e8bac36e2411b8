//! Where a producer is in its transactions, and where it may go from there.

/// Where the producer is between two transactions, or in one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The coordinator is asked for a producer id, or for another epoch. It fences whoever had the id before.
    Initializing,
    /// No transaction is open.
    Ready,
    /// Records and offsets are taken.
    Open,
    /// Something of the transaction failed: nothing more is taken or sent, and it can only be aborted.
    Doomed,
    /// It is to be committed: everything that was accepted is sent, then the coordinator is told.
    Committing,
    /// It is to be aborted: what was not sent is dropped, what is under way is waited for, then the coordinator is told.
    Aborting,
    /// Nothing more can be done.
    Failed,
}

impl Stage {
    /// Whether `next` may follow.
    pub(crate) fn may_become(self, next: Self) -> bool {
        use Stage::{Aborting, Committing, Doomed, Failed, Initializing, Open, Ready};
        match self {
            Initializing => matches!(next, Ready | Failed),
            Ready => matches!(next, Open | Failed),
            Open => matches!(next, Doomed | Committing | Aborting | Failed),
            Doomed => matches!(next, Aborting | Failed),
            Committing => matches!(next, Ready | Aborting | Failed),
            Aborting => matches!(next, Ready | Initializing | Failed),
            Failed => false,
        }
    }
}
