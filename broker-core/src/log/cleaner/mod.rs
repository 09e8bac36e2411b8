//! Log compaction: of each key the last record stays, at its offset, in its order (`cleanup.policy=compact`).
//!
//! A round goes over the log twice. The first pass reads what was appended since the last round and remembers for each
//! key the offset of its last record; when the memory for that is full, the round ends there and the next goes on. The
//! second pass writes the segments anew from the first one on, without the records that a later one of the same key has
//! replaced, and without those of aborted transactions. What goes later, goes by the batch's delete horizon (KIP-534): a
//! tombstone when it has been seen for `delete.retention.ms`, and a transaction's marker that long after its last record.
//!
//! The round reads segments that no longer change and writes files of its own, so it needs no lock; only to swap the
//! files does it have the log to itself ([`Log::swap_cleaned`](super::Log::swap_cleaned)).
//!
//! Segments are cleaned in groups that fit into one. **The last batch of a group always stays**, emptied where all of its
//! records are gone, so that each segment ends where the next one begins: only so a recovery can tell what the cleaner
//! has removed from what a torn disk has lost.

mod group;
mod offset_map;
mod plan;
mod round;
mod swap;
mod transactions;

pub use group::CleanedGroup;
pub use plan::Cleanable;
pub use round::{CleanRound, CleanStats};
pub(super) use swap::complete_swaps;

use super::error::LogError;

/// What the files have at the end of their names that a round writes.
pub(super) const CLEANED_SUFFIX: &str = ".cleaned";
/// What they have once they are whole and about to take the place of the old ones.
pub(super) const SWAP_SUFFIX: &str = ".swap";

/// Why a round has not come to its end. The log is as it was, but for the groups that were swapped before.
#[derive(Debug, thiserror::Error)]
pub enum CleanError {
    /// The log cannot be read, or the cleaned one not be written.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The round was told to stop.
    #[error("the cleaning was stopped")]
    Stopped,
}
