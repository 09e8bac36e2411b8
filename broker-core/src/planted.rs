//! Bugs of the past, planted on purpose, so that tests can show that they would find them.
//!
//! Each stands behind [`is`] at the place where the right code is, as `if planted::is(Bug::X) { wrong } else { right }`.
//! Without the feature `planted-bugs` (and outside of this crate's own tests) the question is the constant `false`, and
//! nothing of the wrong code is left. The feature is never a default one; `cargo xtask tidy` sees to it.
//!
//! A bug is planted for a thread, by a guard: simulated clusters run on one thread each, and tests with other bugs run
//! beside them.

/// A historical bug that can be planted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Bug {
    /// A node that led the quorum when it stopped leads on in the same epoch when it starts again (KAFKA-10527).
    RaftLeaderResumesEpoch,
    /// A vote is answered before it is on the disk, and so given twice.
    RaftVoteNotPersisted,
    /// The leader counts its own records toward the high watermark before they are synced.
    RaftLeaderCountsUnsynced,
    /// A voter fetches on, and so acknowledges, before it has synced.
    RaftVoterAcknowledgesUnsynced,
    /// A new leader commits records of older epochs before one of its own is with a majority (figure 8 of the Raft paper).
    RaftCommitsOlderEpoch,
    /// A vote is given without a look at how far the candidate's log goes.
    RaftVoteIgnoresLog,
    /// A new follower cuts its log at its high watermark, and not where its epochs part from the leader's (KIP-101).
    RaftTruncatesToHighWatermark,
    /// What a fetch brought is appended without a look at checksums and epochs (KAFKA-18723).
    RaftAppendsUnchecked,
    /// A leader that no majority hears goes on leading.
    RaftIgnoresQuorumLoss,
    /// A new follower cuts its log at its high watermark and appends there, whatever its leader has (KIP-101).
    TruncateToWatermark,
    /// A follower cuts its log where its leader's epoch ends, without asking whether it knows that epoch itself
    /// (KIP-279).
    TruncateWithoutOwnEpochs,
    /// A follower joins the set in sync once it has the high watermark of a new leader, which may lie behind what was
    /// acknowledged (KAFKA-7128).
    JoinByWatermarkOnly,
    /// The high watermark moves while fewer replicas are in sync than `min.insync.replicas` says (KAFKA-19996).
    WatermarkUnderMinIsr,
    /// The high watermark waits for the committed set in sync only, and not for whom the controller may have taken in
    /// (KIP-497).
    WatermarkOfCommittedIsr,
    /// A fetch of a broker's earlier life counts for its present one, whose log may be shorter (KIP-903).
    StaleBrokerEpochCounts,
    /// A follower appends a batch without a look at its checksum (KAFKA-18723).
    FollowerSkipsChecksum,
    /// A write that waits in one leader epoch is acknowledged by the high watermark of a later one (KAFKA-20634).
    WaitOutlivesLeadership,
    /// What is known of producers outlives the records that were cut away, so that a retry is taken for a duplicate.
    ProducersOutliveTruncation,
    /// A coordinator that is elected again goes on with what it knew in an earlier epoch.
    CoordinatorKeepsStaleState,
    /// A coordinator answers before what its answer rests on is committed (KAFKA-20634).
    CoordinatorAnswersUncommitted,
    /// A transaction's marker is acknowledged before its offsets are what is fetched (KAFKA-17507).
    MarkerBeforeOffsets,
}

impl Bug {
    /// All of them.
    pub const ALL: &'static [Bug] = &[
        Bug::RaftLeaderResumesEpoch,
        Bug::RaftVoteNotPersisted,
        Bug::RaftLeaderCountsUnsynced,
        Bug::RaftVoterAcknowledgesUnsynced,
        Bug::RaftCommitsOlderEpoch,
        Bug::RaftVoteIgnoresLog,
        Bug::RaftTruncatesToHighWatermark,
        Bug::RaftAppendsUnchecked,
        Bug::RaftIgnoresQuorumLoss,
        Bug::TruncateToWatermark,
        Bug::TruncateWithoutOwnEpochs,
        Bug::JoinByWatermarkOnly,
        Bug::WatermarkUnderMinIsr,
        Bug::WatermarkOfCommittedIsr,
        Bug::StaleBrokerEpochCounts,
        Bug::FollowerSkipsChecksum,
        Bug::WaitOutlivesLeadership,
        Bug::ProducersOutliveTruncation,
        Bug::CoordinatorKeepsStaleState,
        Bug::CoordinatorAnswersUncommitted,
        Bug::MarkerBeforeOffsets,
    ];
}

#[cfg(any(test, feature = "planted-bugs"))]
mod planting {
    use std::cell::Cell;

    use super::Bug;

    thread_local! {
        static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
    }

    /// Whether this bug is planted on this thread.
    #[inline]
    pub fn is(bug: Bug) -> bool {
        PLANTED.get() == Some(bug)
    }

    /// Plants a bug on this thread until the guard is dropped. What was planted before is back then.
    #[must_use = "the bug goes with the guard"]
    pub fn plant(bug: Bug) -> Planted {
        Planted { before: PLANTED.replace(Some(bug)), _not_send: std::marker::PhantomData }
    }

    /// Keeps a bug planted.
    #[derive(Debug)]
    pub struct Planted {
        before: Option<Bug>,
        /// It belongs to the thread that made it.
        _not_send: std::marker::PhantomData<*const ()>,
    }

    impl Drop for Planted {
        fn drop(&mut self) {
            PLANTED.set(self.before);
        }
    }
}

#[cfg(any(test, feature = "planted-bugs"))]
pub use planting::{Planted, is, plant};

/// Whether this bug is planted: never.
#[cfg(not(any(test, feature = "planted-bugs")))]
#[inline(always)]
pub const fn is(_bug: Bug) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bug_goes_with_its_guard() {
        assert!(!is(Bug::RaftVoteIgnoresLog));
        let outer = plant(Bug::RaftVoteIgnoresLog);
        {
            let _inner = plant(Bug::RaftAppendsUnchecked);
            assert!(is(Bug::RaftAppendsUnchecked) && !is(Bug::RaftVoteIgnoresLog));
        }
        assert!(is(Bug::RaftVoteIgnoresLog));
        assert!(!std::thread::spawn(|| is(Bug::RaftVoteIgnoresLog)).join().unwrap());
        drop(outer);
        assert!(Bug::ALL.iter().all(|bug| !is(*bug)));
    }
}
