//! One assigned partition.

use std::sync::Arc;
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::{Cursor, Leader, Target};
use crate::machine::marks::Marks;
use crate::machine::progress::Progress;

/// Where a partition's cursor is.
#[derive(Debug)]
pub(super) enum Stage {
    /// An offset must be looked up before anything can be fetched.
    Seeking(Target),
    /// The lookup is under way.
    LookingUp(Target),
    /// May go into the next fetch of the leader, once the position is known to be in the leader's log.
    Ready(Cursor),
    /// The leader is asked whether the position is in its log (KIP-320).
    Validating(Cursor),
    /// In a fetch in flight.
    InFlight,
    /// Nothing is fetched until a seek: the application was told why.
    Stopped,
}

#[derive(Debug)]
pub(super) struct Slot {
    pub(super) incarnation: u64,
    pub(super) stage: Stage,
    /// Counts the assignments: while it is the same, nobody else can have had the partition.
    pub(super) tenure: u64,
    pub(super) paused: bool,
    /// Nothing is fetched or handed out: the partition is about to be given up, or its hook has yet to run.
    pub(super) held: bool,
    pub(super) progress: Arc<Progress>,
    pub(super) leader: Option<Leader>,
    /// The epoch of the leader that is known to have everything up to the position.
    pub(super) validated: Option<i32>,
    /// How often metadata was older than the position, in a row.
    pub(super) behind: u8,
    pub(super) retry_backoff: Duration,
    /// The replica that the leader named to read from (KIP-392), and until when that holds.
    pub(super) preferred: Option<(i32, Instant)>,
    pub(super) high_watermark: Option<i64>,
    pub(super) last_stable_offset: Option<i64>,
    pub(super) log_start_offset: Option<i64>,
    pub(super) not_before: Option<Instant>,
    /// A count that grows with every response that brought records, so that who was served last waits longest.
    pub(super) served: u64,
    /// Where reading began: the first offset that became known since the assignment or the last seek. What the group
    /// has not committed since is read again from here.
    pub(super) origin: Option<i64>,
}

impl Slot {
    /// Begins a new life of the partition.
    pub(super) fn restart(&mut self, incarnation: u64, marks: Arc<Marks>) {
        self.progress.end();
        self.progress = Arc::new(Progress::with_marks(marks));
        self.progress.set_paused(self.paused);
        self.progress.set_held(self.held);
        self.incarnation = incarnation;
        self.not_before = None;
        self.validated = None;
        self.behind = 0;
    }

    /// Puts the cursor at an offset that is known, or has it looked up.
    pub(super) fn place(&mut self, topic: Arc<str>, partition: i32, topic_id: Uuid, target: Target) {
        self.stage = match target {
            Target::Offset { offset, last_epoch } => {
                self.origin.get_or_insert(offset);
                if self.progress.marks().handed() > offset {
                    // A reset has led back behind what was handed out: those records are no more.
                    self.progress.marks().end();
                    self.progress = Arc::new(Progress::default());
                    self.progress.set_paused(self.paused);
                    self.progress.set_held(self.held);
                }
                self.progress.start(offset, last_epoch);
                Stage::Ready(Cursor {
                    topic,
                    topic_id,
                    partition,
                    offset,
                    leader_epoch: -1,
                    last_fetched_epoch: last_epoch,
                    end_known: false,
                    incarnation: self.incarnation,
                    progress: Arc::clone(&self.progress),
                })
            }
            lookup => Stage::Seeking(lookup),
        };
    }

    /// The broker to fetch from.
    pub(super) fn source(&self) -> Option<i32> {
        self.leader.map(|leader| self.preferred.map_or(leader.broker, |(replica, _)| replica))
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.not_before.is_none_or(|at| at <= now)
    }
}
