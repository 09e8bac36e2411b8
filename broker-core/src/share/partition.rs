//! What one share group has done with the records of one partition.

use std::collections::BTreeMap;
use std::sync::Arc;

/// What holds for a group's records, by the names of the group's settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShareSettings {
    /// `share.record.lock.duration.ms`: how long a member keeps what it acquired.
    pub record_lock_duration_ms: i64,
    /// `share.delivery.count.limit`: after so many deliveries a record that comes back is archived.
    pub delivery_count_limit: i16,
    /// `share.partition.max.record.locks`: how many records may be in flight on a partition.
    pub max_record_locks: i64,
}

/// What became of a record, in the numbers of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(i8)]
pub enum DeliveryState {
    /// It may be acquired.
    Available = 0,
    /// It was processed.
    Acknowledged = 2,
    /// It was rejected, was delivered too often, or was not a record at all.
    Archived = 4,
}

impl DeliveryState {
    /// The state that has this number in a record of the share coordinator.
    pub fn of_code(code: i8) -> Option<Self> {
        match code {
            0 => Some(Self::Available),
            2 => Some(Self::Acknowledged),
            4 => Some(Self::Archived),
            _ => None,
        }
    }
}

/// A run of offsets with one fate, as the share coordinator keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PersistedBatch {
    /// The first offset.
    pub first_offset: i64,
    /// The last offset, which belongs to the run.
    pub last_offset: i64,
    /// What became of the records.
    pub state: DeliveryState,
    /// How often they were delivered.
    pub delivery_count: i16,
}

/// All that outlives a restart: acquisition locks do not.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PersistedState {
    /// The share-partition start offset (SPSO): all below is done with.
    pub start_offset: i64,
    /// Runs above the start, ascending, without overlap. Offsets between two of them are available, never delivered.
    pub batches: Vec<PersistedBatch>,
}

/// What a step wants to come true. It is decided first, persisted by the driver, and put in force by
/// [`SharePartition::apply`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StateChange {
    /// The new fates, ascending. Empty where only locks were prolonged.
    pub batches: Vec<PersistedBatch>,
    /// Offsets whose lock goes on until the given time.
    pub(super) renewed: Vec<(i64, i64, i64)>,
}

impl StateChange {
    /// Whether there is something that has to be persisted.
    pub fn is_persistent(&self) -> bool {
        !self.batches.is_empty()
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Hold {
    Fate(DeliveryState),
    /// With a member, until its lock expires.
    Acquired {
        member: Arc<str>,
        until_ms: i64,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Span {
    pub last: i64,
    pub delivery_count: i16,
    pub hold: Hold,
}

impl Span {
    fn is_final(&self) -> bool {
        matches!(self.hold, Hold::Fate(DeliveryState::Acknowledged | DeliveryState::Archived))
    }

    fn is_like(&self, other: &Span) -> bool {
        self.delivery_count == other.delivery_count && self.hold == other.hold
    }
}

/// One share group on one partition: a machine.
///
/// Offsets from the start to the end are covered by spans without a hole; what lies behind the end was never acquired.
/// Spans are cut where a step needs it and joined again where neighbours are alike, so their number follows what is
/// going on rather than the number of records.
#[derive(Debug, Clone)]
pub struct SharePartition {
    pub(super) start_offset: i64,
    /// By first offset.
    pub(super) spans: BTreeMap<i64, Span>,
}

impl SharePartition {
    /// A partition whose state was read back; a new one starts with no batches at the offset that
    /// `share.auto.offset.reset` says.
    pub fn restored(state: &PersistedState) -> Self {
        let start_offset = state.start_offset.max(0);
        let mut partition = Self { start_offset, spans: BTreeMap::new() };
        for batch in &state.batches {
            let first = batch.first_offset.max(partition.end_offset());
            if batch.last_offset < first {
                continue;
            }
            if first > partition.end_offset() {
                let gap = Span { last: first - 1, delivery_count: 0, hold: Hold::Fate(DeliveryState::Available) };
                partition.spans.insert(partition.end_offset(), gap);
            }
            let hold = Hold::Fate(batch.state);
            partition.spans.insert(first, Span { last: batch.last_offset, delivery_count: batch.delivery_count, hold });
        }
        partition.join_alike(i64::MIN, i64::MAX);
        partition.advance_start();
        partition
    }

    /// The share-partition start offset: all below is done with.
    pub fn start_offset(&self) -> i64 {
        self.start_offset
    }

    /// The first offset that was never acquired.
    pub fn end_offset(&self) -> i64 {
        self.spans.last_key_value().map_or(self.start_offset, |(_, span)| span.last.saturating_add(1))
    }

    /// Where the next fetch should read: the first available offset.
    pub fn next_fetch_offset(&self) -> i64 {
        let is_available = |span: &Span| span.hold == Hold::Fate(DeliveryState::Available);
        let available = self.spans.iter().find(|(_, span)| is_available(span));
        available.map_or_else(|| self.end_offset(), |(first, _)| *first)
    }

    /// How many offsets lie between the start and the end.
    pub fn in_flight_count(&self) -> i64 {
        self.end_offset() - self.start_offset
    }

    /// Whether a fetch could acquire anything, were there records.
    pub fn can_acquire(&self, settings: &ShareSettings) -> bool {
        self.next_fetch_offset() < self.end_offset() || self.in_flight_count() < settings.max_record_locks
    }

    /// How many offsets from the start on are done with.
    pub fn delivery_complete_count(&self) -> i32 {
        let count: i64 =
            self.spans.iter().filter(|(_, span)| span.is_final()).map(|(first, span)| span.last - first + 1).sum();
        i32::try_from(count).unwrap_or(i32::MAX)
    }

    /// Everything that outlives a restart. What is with a member now is available then, its delivery counted.
    pub fn persisted(&self) -> PersistedState {
        let mut batches: Vec<PersistedBatch> = Vec::new();
        for (first, span) in &self.spans {
            let state = match span.hold {
                Hold::Fate(state) => state,
                // An acquisition is not persisted; neither is its delivery, as in Kafka.
                Hold::Acquired { .. } => DeliveryState::Available,
            };
            let delivery_count = match span.hold {
                Hold::Fate(_) => span.delivery_count,
                Hold::Acquired { .. } => span.delivery_count.saturating_sub(1),
            };
            match batches.last_mut() {
                Some(last) if last.state == state && last.delivery_count == delivery_count => {
                    last.last_offset = span.last;
                }
                _ => {
                    batches.push(PersistedBatch { first_offset: *first, last_offset: span.last, state, delivery_count })
                }
            }
        }
        // Available and never delivered is what any offset is that nothing is known of.
        while batches.last().is_some_and(|last| last.state == DeliveryState::Available && last.delivery_count == 0) {
            batches.pop();
        }
        PersistedState { start_offset: self.start_offset, batches }
    }

    /// When the next lock expires.
    pub fn deadline_ms(&self) -> Option<i64> {
        let until = |span: &Span| match span.hold {
            Hold::Acquired { until_ms, .. } => Some(until_ms),
            Hold::Fate(_) => None,
        };
        self.spans.values().filter_map(until).min()
    }

    /// Gives back what expired locks held: available again, or archived when it was delivered too often.
    pub fn decide_expired(&self, now_ms: i64, settings: &ShareSettings) -> Option<StateChange> {
        let mut batches = Vec::new();
        for (first, span) in &self.spans {
            if matches!(span.hold, Hold::Acquired { until_ms, .. } if until_ms <= now_ms) {
                let state = Self::returned(span.delivery_count, settings);
                let delivery_count = span.delivery_count;
                batches.push(PersistedBatch { first_offset: *first, last_offset: span.last, state, delivery_count });
            }
        }
        (!batches.is_empty()).then(|| StateChange { batches, renewed: Vec::new() })
    }

    /// Gives back what a member holds whose session ends. It was not processed, so its delivery does not count.
    pub fn decide_release(&self, member: &str) -> Option<StateChange> {
        let mut batches = Vec::new();
        for (first, span) in &self.spans {
            if matches!(&span.hold, Hold::Acquired { member: holder, .. } if **holder == *member) {
                batches.push(PersistedBatch {
                    first_offset: *first,
                    last_offset: span.last,
                    state: DeliveryState::Available,
                    delivery_count: span.delivery_count.saturating_sub(1),
                });
            }
        }
        (!batches.is_empty()).then(|| StateChange { batches, renewed: Vec::new() })
    }

    /// Takes out of circulation what must not be delivered, such as records of aborted transactions. What a member holds
    /// stays with it.
    pub fn decide_archive(&self, first: i64, last: i64) -> Option<StateChange> {
        let (first, mut batches) = (first.max(self.start_offset), Vec::new());
        for (span_first, span) in self.overlapping(first, last) {
            if span.hold == Hold::Fate(DeliveryState::Available) {
                batches.push(PersistedBatch {
                    first_offset: span_first.max(first),
                    last_offset: span.last.min(last),
                    state: DeliveryState::Archived,
                    delivery_count: span.delivery_count,
                });
            }
        }
        let end = self.end_offset();
        if last >= end && first <= last {
            let state = DeliveryState::Archived;
            // A hole before it is filled by `apply`, with what is available.
            batches.push(PersistedBatch { first_offset: first.max(end), last_offset: last, state, delivery_count: 0 });
        }
        (!batches.is_empty()).then(|| StateChange { batches, renewed: Vec::new() })
    }

    /// Puts a decided change in force.
    pub fn apply(&mut self, change: &StateChange) {
        for batch in &change.batches {
            self.set(batch.first_offset, batch.last_offset, batch.delivery_count, &Hold::Fate(batch.state));
        }
        for (first, last, until_ms) in &change.renewed {
            self.cut(*first);
            self.cut(last.saturating_add(1));
            for (_, span) in self.spans.range_mut(*first..=*last) {
                if let Hold::Acquired { until_ms: until, .. } = &mut span.hold {
                    *until = *until_ms;
                }
            }
        }
        self.advance_start();
    }

    /// Takes a run for true that was read back.
    pub(crate) fn apply_persisted(&mut self, batch: &PersistedBatch) {
        self.set(batch.first_offset, batch.last_offset, batch.delivery_count, &Hold::Fate(batch.state));
        self.advance_start();
    }

    /// Moves the start forward, whatever became of what lies below it: the log has lost it, or the start was read back.
    pub(crate) fn move_start(&mut self, start_offset: i64) {
        if start_offset <= self.start_offset {
            return;
        }
        self.cut(start_offset);
        self.spans = self.spans.split_off(&start_offset);
        self.start_offset = start_offset;
        self.advance_start();
    }

    /// What a record becomes that comes back unprocessed after so many deliveries.
    pub(super) fn returned(delivery_count: i16, settings: &ShareSettings) -> DeliveryState {
        match delivery_count >= settings.delivery_count_limit {
            true => DeliveryState::Archived,
            false => DeliveryState::Available,
        }
    }

    /// The spans that have offsets of `first..=last`, uncut.
    pub(super) fn overlapping(&self, first: i64, last: i64) -> impl Iterator<Item = (i64, &Span)> {
        let from = self.spans.range(..=first).next_back().map_or(first, |(from, _)| *from);
        let spans = (from <= last).then(|| self.spans.range(from..=last)).into_iter().flatten();
        spans.filter(move |(_, span)| span.last >= first).map(|(from, span)| (*from, span))
    }

    /// Gives a run of offsets its place, growing the end where it lies behind it.
    pub(super) fn set(&mut self, first: i64, last: i64, delivery_count: i16, hold: &Hold) {
        let first = first.max(self.start_offset);
        if first > last {
            return;
        }
        let end = self.end_offset();
        if first > end {
            self.spans
                .insert(end, Span { last: first - 1, delivery_count: 0, hold: Hold::Fate(DeliveryState::Available) });
        }
        self.cut(first);
        self.cut(last.saturating_add(1));
        while let Some((covered, _)) = self.spans.range(first..=last).next() {
            let covered = *covered;
            self.spans.remove(&covered);
        }
        self.spans.insert(first, Span { last, delivery_count, hold: hold.clone() });
        self.join_alike(first, last);
    }

    /// Makes a span begin at `offset`, if one goes across it.
    fn cut(&mut self, offset: i64) {
        if let Some((first, span)) = self.spans.range_mut(..offset).next_back()
            && span.last >= offset
            && *first < offset
        {
            let rest = span.clone();
            span.last = offset - 1;
            self.spans.insert(offset, rest);
        }
    }

    /// Joins the spans around and within `first..=last` that are alike.
    fn join_alike(&mut self, first: i64, last: i64) {
        let from = self.spans.range(..first).next_back().map_or(first, |(from, _)| *from);
        let mut current = from;
        while let Some((at, span)) = self.spans.range(current..).next() {
            let (at, end, span) = (*at, span.last, span.clone());
            if at > last.saturating_add(1) || end == i64::MAX {
                break;
            }
            match self.spans.get(&(end + 1)) {
                Some(next) if next.is_like(&span) => {
                    let joined = next.last;
                    self.spans.remove(&(end + 1));
                    if let Some(span) = self.spans.get_mut(&at) {
                        span.last = joined;
                    }
                    current = at;
                }
                _ => current = end + 1,
            }
        }
    }

    /// Moves the start over what is done with.
    fn advance_start(&mut self) {
        while let Some(entry) = self.spans.first_entry() {
            if !entry.get().is_final() {
                break;
            }
            self.start_offset = entry.get().last.saturating_add(1);
            entry.remove();
        }
    }
}
