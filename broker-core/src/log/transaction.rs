//! The transactions in a log: which are open, which are decided but not replicated, and how a marker ends one (KIP-98).

use std::collections::{BTreeMap, HashMap};

/// What the transaction coordinator has decided about a transaction, to be written into each of its partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransactionMarker {
    /// Whose transaction ends.
    pub producer_id: i64,
    /// The epoch of the marker: that of the transaction's records, or a newer one where the coordinator has bumped it.
    pub producer_epoch: i16,
    /// Epoch of the coordinator. One that is older than that of the producer's last marker is refused.
    pub coordinator_epoch: i32,
    /// True to commit, false to abort.
    pub commit: bool,
    /// `transaction.version` under which the transaction ends. From 2 on each transaction has an epoch of its own, and
    /// the marker's must be greater than that of the records (KIP-890, KIP-1228).
    pub transaction_version: i16,
}

/// An aborted transaction, as the transaction index and the answer to a read_committed fetch have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AbortedTransaction {
    /// Whose transaction it was.
    pub producer_id: i64,
    /// Offset of its first record.
    pub first_offset: i64,
    /// Offset of its marker.
    pub last_offset: i64,
    /// The last stable offset when the marker was written. All transactions that begin below it have their markers in
    /// this segment or an earlier one, so that a search for them may end here.
    pub last_stable_offset: i64,
}

/// Permission to begin a transaction in a log. It is asked for before the coordinator is, and is void as soon as a
/// marker of the producer is written, so that a late answer of the coordinator cannot open a transaction that nobody
/// ends (KIP-890).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct VerificationGuard(u64);

#[derive(Debug, Clone, Copy)]
struct Verification {
    guard: VerificationGuard,
    epoch: i16,
    /// The lowest sequence for which permission was asked. A batch behind it must not come first.
    lowest_sequence: i32,
    supports_epoch_bump: bool,
    asked_at_ms: i64,
}

/// The producers that are about to begin a transaction.
#[derive(Debug, Clone, Default)]
pub(crate) struct Verifications {
    pending: HashMap<i64, Verification>,
    next: u64,
}

/// What is wrong with the permission of a batch that would begin a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unverified {
    /// There is none, or a marker was written since.
    NoGuard,
    /// A batch before it has asked for permission and is not there yet.
    OutOfOrder {
        /// The lowest sequence that has asked.
        expected: i32,
    },
}

impl Verifications {
    /// Asks for permission on behalf of a batch.
    pub fn begin(
        &mut self,
        producer_id: i64,
        epoch: i16,
        sequence: i32,
        supports_epoch_bump: bool,
        now_ms: i64,
    ) -> VerificationGuard {
        let next = &mut self.next;
        let verification = self.pending.entry(producer_id).or_insert_with(|| {
            *next += 1;
            let guard = VerificationGuard(*next);
            Verification { guard, epoch, lowest_sequence: sequence, supports_epoch_bump, asked_at_ms: now_ms }
        });
        if epoch > verification.epoch {
            (verification.epoch, verification.lowest_sequence) = (epoch, sequence);
        } else if epoch == verification.epoch && sequence >= 0 {
            verification.lowest_sequence = match verification.lowest_sequence {
                ..0 => sequence,
                lowest => lowest.min(sequence),
            };
        }
        verification.guard
    }

    /// Judges a batch that would begin a transaction. `has_batches` says whether a batch of the producer is known; a
    /// `sequence` below 0 is that of a coordinator's batch, which has none.
    pub fn check(
        &self,
        producer_id: i64,
        guard: Option<VerificationGuard>,
        sequence: i32,
        has_batches: bool,
    ) -> Result<(), Unverified> {
        let found = self.pending.get(&producer_id).filter(|verification| Some(verification.guard) == guard);
        let Some(verification) = found else { return Err(Unverified::NoGuard) };
        if sequence < 0 {
            return Ok(());
        }
        // A producer of transaction.version 2 begins each epoch at zero, so that without state nothing else is first.
        if verification.supports_epoch_bump && sequence != 0 && !has_batches {
            return Err(Unverified::OutOfOrder { expected: 0 });
        }
        match verification.lowest_sequence {
            expected @ 0.. if sequence > expected => Err(Unverified::OutOfOrder { expected }),
            _ => Ok(()),
        }
    }

    /// Takes back the permission, for it was used or a marker was written.
    pub fn clear(&mut self, producer_id: i64) {
        if !self.pending.is_empty() {
            self.pending.remove(&producer_id);
        }
    }

    /// Takes back all permissions. Those that are given later differ from them.
    pub fn clear_all(&mut self) {
        self.pending.clear();
    }

    /// Takes back the permissions that were never used.
    pub fn remove_expired(&mut self, now_ms: i64, expiration_ms: i64) {
        self.pending.retain(|_, verification| now_ms.saturating_sub(verification.asked_at_ms) < expiration_ms);
    }
}

/// The transactions whose first offset holds back the last stable offset.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Transactions {
    /// First offset and producer id of each open one.
    ongoing: BTreeMap<i64, i64>,
    /// First offset, and offset of the marker, of those that are decided but whose marker is not below the high
    /// watermark yet.
    unreplicated: BTreeMap<i64, i64>,
}

impl Transactions {
    pub fn begin(&mut self, first_offset: i64, producer_id: i64) {
        self.ongoing.insert(first_offset, producer_id);
    }

    /// Ends the transaction that began at `first_offset` by the marker at `marker_offset`, and returns what the last
    /// stable offset is then, as far as open transactions go. `high_watermark` is what is known of it.
    pub fn end(&mut self, first_offset: i64, marker_offset: i64, high_watermark: i64) -> i64 {
        self.ongoing.remove(&first_offset);
        if marker_offset >= high_watermark {
            self.unreplicated.insert(first_offset, marker_offset);
        }
        self.ongoing.first_key_value().map_or(marker_offset + 1, |(first, _)| *first)
    }

    /// Forgets the decided transactions whose markers are below `offset`.
    pub fn replicated_up_to(&mut self, offset: i64) {
        if !self.unreplicated.is_empty() {
            self.unreplicated.retain(|_, marker_offset| *marker_offset >= offset);
        }
    }

    /// The first offset that a read_committed consumer may not see yet, if there is one below the high watermark.
    pub fn first_unstable_offset(&self) -> Option<i64> {
        let ongoing = self.ongoing.first_key_value().map(|(first, _)| *first);
        let unreplicated = self.unreplicated.first_key_value().map(|(first, _)| *first);
        match (ongoing, unreplicated) {
            (Some(ongoing), Some(unreplicated)) => Some(ongoing.min(unreplicated)),
            (ongoing, unreplicated) => ongoing.or(unreplicated),
        }
    }

    /// First offset and producer id of each open transaction, the oldest first.
    pub fn ongoing(&self) -> impl Iterator<Item = (i64, i64)> + '_ {
        self.ongoing.iter().map(|(first, producer_id)| (*first, *producer_id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_unstable_offset_waits_for_the_markers_replication() {
        let mut transactions = Transactions::default();
        assert_eq!(transactions.first_unstable_offset(), None);
        transactions.begin(10, 1);
        transactions.begin(20, 2);
        assert_eq!(transactions.end(10, 30, 25), 20);
        assert_eq!(transactions.first_unstable_offset(), Some(10));
        transactions.replicated_up_to(30);
        assert_eq!(transactions.first_unstable_offset(), Some(10));
        transactions.replicated_up_to(31);
        assert_eq!(transactions.first_unstable_offset(), Some(20));
        assert_eq!(transactions.end(20, 31, 32), 32);
        assert_eq!(transactions.first_unstable_offset(), None);
    }

    #[test]
    fn a_guard_is_void_after_a_marker() {
        let mut verifications = Verifications::default();
        assert_eq!(verifications.check(1, None, 0, false), Err(Unverified::NoGuard));
        let stale = verifications.begin(1, 0, 0, false, 0);
        assert_eq!(verifications.check(1, Some(stale), 0, false), Ok(()));
        verifications.clear(1);
        assert_eq!(verifications.check(1, Some(stale), 0, false), Err(Unverified::NoGuard));
        let fresh = verifications.begin(1, 0, 0, false, 0);
        assert_ne!(fresh, stale);
        assert_eq!(verifications.check(1, Some(stale), 0, false), Err(Unverified::NoGuard));
        assert_eq!(verifications.check(2, Some(fresh), 0, false), Err(Unverified::NoGuard));
        verifications.remove_expired(999, 1000);
        assert_eq!(verifications.check(1, Some(fresh), 0, false), Ok(()));
        verifications.remove_expired(1000, 1000);
        assert_eq!(verifications.check(1, Some(fresh), 0, false), Err(Unverified::NoGuard));
    }

    #[test]
    fn the_lowest_sequence_that_asked_comes_first() {
        let mut verifications = Verifications::default();
        let first = verifications.begin(1, 0, 5, false, 0);
        assert_eq!(verifications.begin(1, 0, 3, false, 0), first);
        let guard = Some(first);
        verifications.begin(1, 0, 7, false, 0);
        assert_eq!(verifications.check(1, guard, 5, false), Err(Unverified::OutOfOrder { expected: 3 }));
        assert_eq!(verifications.check(1, guard, 3, false), Ok(()));
        verifications.begin(1, 1, 4, false, 0);
        assert_eq!(verifications.check(1, guard, 4, false), Ok(()));
        let bumping = Some(verifications.begin(2, 0, 4, true, 0));
        assert_eq!(verifications.check(2, bumping, 4, false), Err(Unverified::OutOfOrder { expected: 0 }));
        assert_eq!(verifications.check(2, bumping, 4, true), Ok(()));
        let coordinator = Some(verifications.begin(3, 0, -1, true, 0));
        assert_eq!(verifications.check(3, coordinator, -1, false), Ok(()));
    }
}
