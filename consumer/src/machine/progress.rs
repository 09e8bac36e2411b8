//! How far the application is in one partition, readable without a lock.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicI64, AtomicU8, Ordering};

use super::marks::Marks;

/// Records may be handed out.
const FLOWING: u8 = 0;
/// The partition is paused.
const PAUSED: u8 = 1;
/// The partition is about to be given up.
const HELD: u8 = 2;
/// A seek or a revocation has ended this progress.
const ENDED: u8 = 4;

/// How far the application is in one partition, from one assignment or seek to the next. A batch carries its
/// partition's progress with it, so that handing out a record takes no lock; one `Progress` is never used again after
/// a seek or a revocation, so that what was fetched before cannot move what came after.
///
/// The offsets only tell how far the application is: nobody reads memory on the word of one, so relaxed order is
/// enough. Reading a value that is a record old commits less than was processed, never more.
#[derive(Debug)]
pub(crate) struct Progress {
    /// The next offset that the application will be given, or -1 while no offset is known.
    position: AtomicI64,
    /// Everything before this offset has been dealt with: the application has come back for more.
    processed: AtomicI64,
    /// The leader epoch of the batch at hand, or -1.
    leader_epoch: AtomicI32,
    /// Why no record may be handed out: `PAUSED`, `HELD` and `ENDED`, or none of them.
    flags: AtomicU8,
    /// What the application has marked as done.
    marks: Arc<Marks>,
}

impl Default for Progress {
    fn default() -> Self {
        Self {
            position: AtomicI64::new(-1),
            processed: AtomicI64::new(-1),
            leader_epoch: AtomicI32::new(-1),
            flags: AtomicU8::new(FLOWING),
            marks: Arc::default(),
        }
    }
}

impl Progress {
    /// A progress under which earlier marks stay good.
    pub(crate) fn with_marks(marks: Arc<Marks>) -> Self {
        Self { marks, ..Self::default() }
    }

    /// What the application has marked as done.
    pub(crate) fn marks(&self) -> &Arc<Marks> {
        &self.marks
    }

    /// Starts at `offset`, with nothing before it left to do.
    pub(crate) fn start(&self, offset: i64, leader_epoch: i32) {
        self.position.store(offset, Ordering::Relaxed);
        self.processed.store(offset, Ordering::Relaxed);
        self.leader_epoch.store(leader_epoch, Ordering::Relaxed);
        self.marks.start(offset, leader_epoch);
    }

    /// The next offset that the application will be given, or `None` while no offset is known.
    pub(crate) fn position(&self) -> Option<i64> {
        Some(self.position.load(Ordering::Acquire)).filter(|offset| *offset >= 0)
    }

    /// The offset before which everything has been dealt with, or `None` while no offset is known.
    pub(crate) fn processed(&self) -> Option<i64> {
        Some(self.processed.load(Ordering::Relaxed)).filter(|offset| *offset >= 0)
    }

    /// The leader epoch of the last batch that was begun, or -1.
    pub(crate) fn leader_epoch(&self) -> i32 {
        self.leader_epoch.load(Ordering::Relaxed)
    }

    /// Says which batch is at hand.
    pub(crate) fn begin_batch(&self, leader_epoch: i32) {
        self.leader_epoch.store(leader_epoch, Ordering::Relaxed);
    }

    /// Says that everything before `next_offset` has been handed to the application. Who sees the position sees what
    /// was handed out, so that nothing that is not marked is passed over.
    pub(crate) fn hand_out(&self, next_offset: i64) {
        self.marks.hand_out(next_offset);
        self.pass(next_offset);
    }

    /// Says that there is nothing before `next_offset` to hand out any more.
    pub(crate) fn pass(&self, next_offset: i64) {
        self.position.store(next_offset, Ordering::Release);
    }

    /// Says that the application has dealt with all that it was handed.
    pub(crate) fn settle(&self) {
        self.processed.store(self.position.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// Ends this progress: nothing more is handed out under it.
    pub(crate) fn end(&self) {
        self.flags.fetch_or(ENDED, Ordering::AcqRel);
    }

    /// Pauses the partition or lets it go on.
    pub(crate) fn set_paused(&self, paused: bool) {
        self.set(PAUSED, paused);
    }

    /// Holds the partition back while it is about to be given up.
    pub(crate) fn set_held(&self, held: bool) {
        self.set(HELD, held);
    }

    fn set(&self, flag: u8, on: bool) {
        if on {
            self.flags.fetch_or(flag, Ordering::AcqRel);
        } else {
            self.flags.fetch_and(!flag, Ordering::AcqRel);
        }
    }

    /// Whether it has not ended.
    pub(crate) fn is_live(&self) -> bool {
        self.flags.load(Ordering::Acquire) & ENDED == 0
    }

    /// Whether records may be handed out under it now.
    pub(crate) fn is_flowing(&self) -> bool {
        self.flags.load(Ordering::Acquire) == FLOWING
    }
}
