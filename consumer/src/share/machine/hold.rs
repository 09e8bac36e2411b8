//! What the application's side and the ledger both know of one chunk of acquired records, readable without a lock.

use std::sync::atomic::{AtomicI64, Ordering};

use super::session::Place;

/// The cursor of a hold that is over: nothing more may be handed out.
const OVER: i64 = i64::MIN;

/// The acquired records of one partition that came in one answer, from being fetched to being dealt with.
///
/// The application's side moves the cursor, a record or a batch at a time. Whoever ends the hold, because the lock is
/// about to run out or the session with the broker is gone, takes the cursor away: of a record that is being handed out
/// at that moment, either the one or the other side has it.
#[derive(Debug)]
pub(crate) struct Hold {
    pub(crate) broker: i32,
    /// Which of the sessions with this broker it belongs to.
    pub(crate) session: u64,
    pub(crate) place: Place,
    /// Offsets below it were handed out.
    cursor: AtomicI64,
    /// The application has come back from offsets below it.
    settled: AtomicI64,
}

impl Hold {
    pub(crate) fn new(broker: i32, session: u64, place: Place, first_offset: i64) -> Self {
        Self { broker, session, place, cursor: AtomicI64::new(first_offset), settled: AtomicI64::new(first_offset) }
    }

    /// Hands out what lies below `next_offset`. `false` where the hold is over, and nothing is handed out.
    #[inline]
    pub(crate) fn hand_out(&self, next_offset: i64) -> bool {
        let at = self.cursor.load(Ordering::Relaxed);
        at != OVER
            && self.cursor.compare_exchange(at, next_offset.max(at), Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// The offset below which all was handed out, or `None` where the hold is over.
    pub(crate) fn cursor(&self) -> Option<i64> {
        Some(self.cursor.load(Ordering::Relaxed)).filter(|at| *at != OVER)
    }

    /// The application has come back from what lies below `next_offset`, which it was handed before. It may say so of a
    /// hold that is over.
    #[inline]
    pub(crate) fn settle(&self, next_offset: i64) {
        self.settled.store(next_offset, Ordering::Relaxed);
    }

    /// The offset below which the application has come back from everything.
    pub(crate) fn settled(&self) -> i64 {
        self.settled.load(Ordering::Relaxed)
    }

    /// Ends the hold. Gives the offset below which all was handed out; `None` where it was over before.
    pub(crate) fn end(&self) -> Option<i64> {
        Some(self.cursor.swap(OVER, Ordering::Relaxed)).filter(|at| *at != OVER)
    }
}
