//! Which records this member has from one broker, and what was said of them.
//!
//! Records are kept as runs of offsets per partition. A run is held until something is said of it; what was said flies
//! with the next request; what has landed is forgotten. A run whose lock runs out before is forgotten as well, for the
//! broker gives it to another member, and an acknowledgement of it would be refused together with all that travels with
//! it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use rkafka_protocol::ErrorCode;

use super::hold::Hold;
use super::session::Place;
use crate::share::acknowledgement::{AcknowledgeError, AcknowledgeType};

/// There is no record at the offset: what the protocol says of holes.
pub(crate) const GAP: i8 = 0;

/// The commit of what the consumer says on its own account: nobody waits for it, and nobody is told of its failure.
pub(crate) const NOBODY: u64 = u64::MAX;

/// What is with a run of offsets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing was said.
    Held,
    /// This is to be sent. The number is that of the commit which waits for it.
    Said(i8, u64),
    /// This was sent.
    Flying(i8, u64),
}

impl State {
    fn commit(self) -> Option<u64> {
        match self {
            Self::Held => None,
            Self::Said(_, commit) | Self::Flying(_, commit) => Some(commit),
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Run {
    last: i64,
    lock_until: Instant,
    state: State,
}

/// A run of offsets of which the same is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Saying {
    pub(crate) first_offset: i64,
    pub(crate) last_offset: i64,
    pub(crate) code: i8,
}

/// What became of things said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) place: Place,
    /// First and last offsets, ascending.
    pub(crate) offsets: Vec<(i64, i64)>,
    pub(crate) result: Result<(), AcknowledgeError>,
    /// The first commit that waits for any of it.
    pub(crate) commit: u64,
}

/// A chunk that is with the application's side.
#[derive(Debug)]
struct Note {
    hold: Arc<Hold>,
    first: i64,
    last: i64,
    /// From then on too little of the lock is left to hand anything out.
    hand_out_until: Instant,
    /// Offsets below it were accepted implicitly.
    accepted: i64,
}

#[derive(Debug, Default)]
struct Holding {
    runs: BTreeMap<i64, Run>,
    notes: Vec<Note>,
}

impl Holding {
    /// Sees that no run reaches over `offset` from below.
    fn split(&mut self, offset: i64) {
        let Some((_, run)) = self.runs.range_mut(..offset).next_back() else { return };
        if run.last >= offset {
            let upper = *run;
            run.last = offset - 1;
            self.runs.insert(offset, upper);
        }
    }

    /// The runs within two offsets, which begin and end there.
    fn within(&mut self, first: i64, last: i64) -> impl Iterator<Item = (&i64, &mut Run)> {
        self.split(first);
        self.split(last.saturating_add(1));
        self.runs.range_mut(first..=last.max(first))
    }

    /// Says something of all within two offsets of which nothing was said yet.
    fn say_of_held(&mut self, first: i64, last: i64, code: i8, commit: u64) -> bool {
        let mut is_any = false;
        if first <= last {
            for (_, run) in self.within(first, last).filter(|(_, run)| run.state == State::Held) {
                run.state = State::Said(code, commit);
                is_any = true;
            }
        }
        is_any
    }

    /// Takes out what `take` says, as runs of offsets with the first commit that waits for any of it.
    fn remove(&mut self, mut take: impl FnMut(i64, &Run) -> bool) -> (Vec<(i64, i64)>, u64) {
        let (mut offsets, mut commit): (Vec<(i64, i64)>, u64) = (Vec::new(), NOBODY);
        self.runs.retain(|first, run| {
            let goes = take(*first, run);
            if goes {
                commit = commit.min(run.state.commit().unwrap_or(NOBODY));
                match offsets.last_mut() {
                    Some((_, last)) if *last + 1 == *first => *last = run.last,
                    _ => offsets.push((*first, run.last)),
                }
            }
            !goes
        });
        (offsets, commit)
    }
}

/// The records that this member has from one broker.
#[derive(Debug)]
pub(crate) struct Ledger {
    is_implicit: bool,
    /// The commit that what is said from now on belongs to.
    commit: u64,
    holdings: BTreeMap<Place, Holding>,
    outcomes: Vec<Outcome>,
}

impl Ledger {
    pub(crate) fn new(is_implicit: bool, commit: u64) -> Self {
        Self { is_implicit, commit, holdings: BTreeMap::new(), outcomes: Vec::new() }
    }

    /// Whether no record is with this member.
    pub(crate) fn is_empty(&self) -> bool {
        self.holdings.is_empty()
    }

    /// What was said from now on belongs to a later commit than what was said before.
    pub(crate) fn begin_commit(&mut self, next: u64) {
        self.commit = next;
    }

    /// Whether anything is on its way that a commit waits for.
    pub(crate) fn is_open(&self, commit: u64) -> bool {
        let runs = self.holdings.values().flat_map(|holding| holding.runs.values());
        runs.filter_map(|run| run.state.commit()).any(|other| other <= commit)
    }

    /// What became of things said since the last call.
    pub(crate) fn take_outcomes(&mut self) -> Vec<Outcome> {
        std::mem::take(&mut self.outcomes)
    }

    /// Records were acquired, and are about to be handed out by `hold`.
    pub(crate) fn acquire(
        &mut self,
        hold: &Arc<Hold>,
        ranges: impl IntoIterator<Item = (i64, i64)>,
        lock_until: Instant,
        hand_out_until: Instant,
    ) {
        let holding = self.holdings.entry(hold.place).or_default();
        let mut span: Option<(i64, i64)> = None;
        for (first, last) in ranges {
            if first < 0 || last < first || last == i64::MAX {
                continue;
            }
            holding.split(first);
            holding.split(last + 1);
            // Records that come again were lost before; nothing that was said of them counts.
            let (offsets, commit) = holding.remove(|at, _| at >= first && at <= last);
            if commit != NOBODY {
                let result = Err(AcknowledgeError::LockExpired);
                self.outcomes.push(Outcome { place: hold.place, offsets, result, commit });
            }
            holding.runs.insert(first, Run { last, lock_until, state: State::Held });
            span = Some(span.map_or((first, last), |(lowest, highest)| (lowest.min(first), highest.max(last))));
        }
        if let Some((first, last)) = span {
            holding.notes.push(Note { hold: Arc::clone(hold), first, last, hand_out_until, accepted: first });
        }
        self.tidy();
    }

    /// The application says something of one record.
    ///
    /// # Errors
    /// The record is not with this member any more, or this was said and sent before.
    pub(crate) fn acknowledge(
        &mut self,
        place: Place,
        offset: i64,
        kind: AcknowledgeType,
    ) -> Result<(), AcknowledgeError> {
        let commit = self.commit;
        let holding = self.holdings.get_mut(&place).ok_or(AcknowledgeError::NotHeld)?;
        let (_, run) = holding.within(offset, offset).next().ok_or(AcknowledgeError::NotHeld)?;
        if matches!(run.state, State::Flying(..) | State::Said(GAP, _)) {
            return Err(AcknowledgeError::NotHeld);
        }
        run.state = State::Said(kind.code(), commit);
        Ok(())
    }

    /// The application says the same of all within two offsets of which nothing was said yet. Answers whether there was
    /// any.
    pub(crate) fn acknowledge_held(&mut self, place: Place, first: i64, last: i64, kind: AcknowledgeType) -> bool {
        let commit = self.commit;
        self.holdings.get_mut(&place).is_some_and(|holding| holding.say_of_held(first, last, kind.code(), commit))
    }

    /// The consumer says on its own account what the application has no part in: holes, and damaged records.
    pub(crate) fn say(&mut self, place: Place, first: i64, last: i64, code: i8) {
        if let Some(holding) = self.holdings.get_mut(&place) {
            holding.say_of_held(first, last, code, NOBODY);
        }
    }

    /// Accepts what the application has come back from, where that is how it accepts.
    pub(crate) fn collect(&mut self) {
        if !self.is_implicit {
            return;
        }
        for holding in self.holdings.values_mut() {
            let mut notes = std::mem::take(&mut holding.notes);
            for note in &mut notes {
                let settled = note.hold.settled();
                if settled > note.accepted {
                    holding.say_of_held(note.accepted, settled - 1, AcknowledgeType::Accept.code(), self.commit);
                    note.accepted = settled;
                }
            }
            holding.notes = notes;
        }
        self.tidy();
    }

    /// Ends what time has ended: chunks that must not be handed out any more go back to the broker, and records whose
    /// lock is over are forgotten.
    pub(crate) fn expire(&mut self, now: Instant) {
        for (place, holding) in &mut self.holdings {
            let (due, kept) =
                std::mem::take(&mut holding.notes).into_iter().partition(|note| now >= note.hand_out_until);
            holding.notes = kept;
            let due: Vec<Note> = due;
            for note in due {
                let Some(cursor) = note.hold.end() else { continue };
                holding.say_of_held(cursor.max(note.first), note.last, AcknowledgeType::Release.code(), NOBODY);
                if self.is_implicit && cursor > note.accepted {
                    // It is still being worked on, and can be accepted until the lock is over.
                    holding.notes.push(Note { hand_out_until: far(now), last: cursor - 1, ..note });
                }
            }
            let is_implicit = self.is_implicit;
            holding.remove(|_, run| now >= run.lock_until && matches!(run.state, State::Said(_, NOBODY)));
            let (offsets, commit) = holding.remove(|_, run| {
                let is_told = is_implicit || run.state != State::Held;
                now >= run.lock_until && is_told && !matches!(run.state, State::Flying(..))
            });
            holding.remove(|_, run| now >= run.lock_until && run.state == State::Held);
            if !offsets.is_empty() {
                let result = Err(AcknowledgeError::LockExpired);
                self.outcomes.push(Outcome { place: *place, offsets, result, commit: commit.min(self.commit) });
            }
        }
        self.tidy();
    }

    /// Whether anything is to be sent.
    pub(crate) fn has_said(&self) -> bool {
        self.said().next().is_some()
    }

    /// Whether a lock is to be renewed.
    pub(crate) fn has_renewals(&self) -> bool {
        self.said().any(|(_, code)| code == AcknowledgeType::Renew.code())
    }

    /// The partitions of which something is to be sent, and what.
    pub(crate) fn said(&self) -> impl Iterator<Item = (Place, i8)> {
        self.holdings.iter().flat_map(|(place, holding)| {
            holding.runs.values().filter_map(|run| match run.state {
                State::Said(code, _) => Some((*place, code)),
                _ => None,
            })
        })
    }

    /// Takes all that is to be sent: it flies until [`Ledger::land`] says what became of it.
    pub(crate) fn take_off(&mut self, may_renew: bool) -> BTreeMap<Place, Vec<Saying>> {
        let mut all: BTreeMap<Place, Vec<Saying>> = BTreeMap::new();
        for (place, holding) in &mut self.holdings {
            let mut sayings: Vec<Saying> = Vec::new();
            for (first, run) in &mut holding.runs {
                let State::Said(code, commit) = run.state else { continue };
                if code == AcknowledgeType::Renew.code() && !may_renew {
                    continue;
                }
                run.state = State::Flying(code, commit);
                match sayings.last_mut() {
                    Some(last) if last.code == code && last.last_offset + 1 == *first => last.last_offset = run.last,
                    _ => sayings.push(Saying { first_offset: *first, last_offset: run.last, code }),
                }
            }
            if !sayings.is_empty() {
                all.insert(*place, sayings);
            }
        }
        all
    }

    /// What became of what flies for a partition. Renewed locks last until `lock_until`.
    pub(crate) fn land(&mut self, place: Place, result: Result<(), AcknowledgeError>, lock_until: Instant) {
        let Some(holding) = self.holdings.get_mut(&place) else { return };
        if matches!(&result, Err(AcknowledgeError::Refused { code, .. }) if is_worth_repeating(*code)) {
            for run in holding.runs.values_mut() {
                if let State::Flying(code, commit) = run.state {
                    run.state = State::Said(code, commit);
                }
            }
            return;
        }
        let (mut renewed, mut commit) = (Vec::new(), NOBODY);
        if result.is_ok() {
            for (first, run) in &mut holding.runs {
                if let State::Flying(code, of) = run.state
                    && code == AcknowledgeType::Renew.code()
                {
                    *run = Run { state: State::Held, lock_until, last: run.last };
                    renewed.push((*first, run.last));
                    commit = commit.min(of);
                }
            }
        }
        let (mut offsets, of) = holding.remove(|_, run| matches!(run.state, State::Flying(..)));
        offsets.extend(renewed);
        offsets.sort_unstable();
        if !offsets.is_empty() {
            self.outcomes.push(Outcome { place, offsets, result, commit: commit.min(of) });
        }
        self.tidy();
    }

    /// The broker cannot renew: the records stay with this member as they were, and what else flies is to be sent again.
    pub(crate) fn refuse_renewals(&mut self) {
        for (place, holding) in &mut self.holdings {
            let (mut offsets, mut commit) = (Vec::new(), NOBODY);
            for (first, run) in &mut holding.runs {
                let State::Flying(code, of) = run.state else { continue };
                if code == AcknowledgeType::Renew.code() {
                    run.state = State::Held;
                    offsets.push((*first, run.last));
                    commit = commit.min(of);
                } else {
                    run.state = State::Said(code, of);
                }
            }
            if !offsets.is_empty() {
                let result = Err(AcknowledgeError::RenewUnsupported);
                self.outcomes.push(Outcome { place: *place, offsets, result, commit });
            }
        }
    }

    /// The session is over, or a partition has gone elsewhere: nothing is with this member any more. What was said and
    /// not answered has failed; and so has what would be accepted by coming back, unless the consumer gives it back.
    pub(crate) fn lose(&mut self, only: Option<Place>, gives_back: bool, error: &AcknowledgeError) {
        self.collect();
        for (place, holding) in &mut self.holdings {
            if only.is_some_and(|only| only != *place) {
                continue;
            }
            let mut delivered: Vec<(i64, i64)> = Vec::new();
            for note in std::mem::take(&mut holding.notes) {
                let cursor = note.hold.end().unwrap_or(note.last.saturating_add(1));
                if self.is_implicit && !gives_back && cursor > note.accepted {
                    delivered.push((note.accepted, cursor - 1));
                }
            }
            for (first, last) in delivered {
                holding.say_of_held(first, last, AcknowledgeType::Accept.code(), self.commit);
            }
            let (offsets, commit) = holding.remove(|_, run| run.state != State::Held);
            holding.runs.clear();
            if !offsets.is_empty() {
                self.outcomes.push(Outcome { place: *place, offsets, result: Err(error.clone()), commit });
            }
        }
        self.tidy();
    }

    /// Gives back what waits for the application in a partition that this member does not read any more.
    pub(crate) fn release_waiting(&mut self, place: Place) {
        let Some(holding) = self.holdings.get_mut(&place) else { return };
        for note in std::mem::take(&mut holding.notes) {
            // What was begun is finished: it is with this member, whoever reads the partition.
            if note.hold.cursor() == Some(note.first) && note.hold.end() == Some(note.first) {
                holding.say_of_held(note.first, note.last, AcknowledgeType::Release.code(), NOBODY);
            } else {
                holding.notes.push(note);
            }
        }
    }

    /// When [`Ledger::expire`] has something to do.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let notes = self.holdings.values().flat_map(|holding| holding.notes.iter().map(|note| note.hand_out_until));
        let runs = self.holdings.values().flat_map(|holding| {
            let standing = holding.runs.values().filter(|run| !matches!(run.state, State::Flying(..)));
            standing.map(|run| run.lock_until)
        });
        notes.chain(runs).min()
    }

    /// Whether the application has something that it has not come back from, and that will then be accepted.
    pub(crate) fn awaits_return(&self) -> bool {
        self.is_implicit
            && self.holdings.values().flat_map(|holding| &holding.notes).any(|note| match note.hold.cursor() {
                Some(cursor) => cursor > note.accepted,
                None => note.last >= note.accepted,
            })
    }

    fn tidy(&mut self) {
        let is_implicit = self.is_implicit;
        self.holdings.retain(|_, holding| {
            holding.notes.retain(|note| {
                let is_handed_out = note.hold.cursor().is_some_and(|cursor| cursor > note.last);
                if is_implicit { note.accepted <= note.last } else { !is_handed_out }
            });
            !holding.runs.is_empty()
        });
    }
}

/// Errors of the share coordinator, behind which the record stays with the member: the same may be said again as long
/// as the lock lasts. A partition that has another leader is not among them, for that one knows nothing of the lock.
fn is_worth_repeating(code: ErrorCode) -> bool {
    code.is_retriable()
        && !code.is_stale_metadata()
        && !matches!(code, ErrorCode::ShareSessionNotFound | ErrorCode::InvalidShareSessionEpoch)
}

/// A time that does not come.
fn far(now: Instant) -> Instant {
    now + std::time::Duration::from_secs(365 * 24 * 60 * 60)
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
