use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use rkafka_protocol::records::{BatchIter, ControlRecord, TransactionResult};

use super::super::LogError;
use super::*;
use crate::storage::faulty::{FaultyStorage, Survival};

/// One batch of the model.
#[derive(Debug, Clone)]
struct Entry {
    base: i64,
    last: i64,
    what: What,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Plain,
    Data { id: i64, epoch: i16, last_sequence: i32, transactional: bool },
    Marker { id: i64, epoch: i16, commit: bool },
}

/// All that was appended and not cut off since; whatever else is to be known is computed from it.
#[derive(Debug, Default)]
struct Model {
    entries: Vec<Entry>,
    high_watermark: i64,
    log_start: i64,
}

/// What the model expects of a producer: epoch, last sequence, first offset of its open transaction.
type Producer = (i16, i32, Option<i64>);

/// What follows from the entries, by the plainest reading of the rules.
#[derive(Debug, Default)]
struct Facts {
    producers: BTreeMap<i64, Producer>,
    /// First offset, offset of the marker if there is one, producer, and whether it is a commit.
    transactions: Vec<(i64, Option<i64>, i64, bool)>,
}

impl Model {
    fn end(&self) -> i64 {
        self.entries.last().map_or(0, |entry| entry.last + 1).max(self.log_start)
    }

    fn facts(&self) -> Facts {
        let mut facts = Facts::default();
        for entry in &self.entries {
            match entry.what {
                What::Plain => {}
                What::Data { id, epoch, last_sequence, transactional } => {
                    let known = facts.producers.entry(id).or_insert((epoch, -1, None));
                    (known.0, known.1) = (epoch, last_sequence);
                    if transactional && known.2.is_none() {
                        known.2 = Some(entry.base);
                        facts.transactions.push((entry.base, None, id, false));
                    }
                }
                What::Marker { id, epoch, commit } => {
                    let known = facts.producers.entry(id).or_insert((epoch, -1, None));
                    if known.0 != epoch {
                        known.1 = -1;
                    }
                    known.0 = epoch;
                    if let Some(first) = known.2.take() {
                        let open = facts.transactions.iter_mut().find(|open| open.0 == first).unwrap();
                        (open.1, open.3) = (Some(entry.base), commit);
                    }
                }
            }
        }
        facts
    }

    fn last_stable_offset(&self, facts: &Facts) -> i64 {
        let undecided = facts.transactions.iter().filter(|open| open.1.is_none_or(|end| end >= self.high_watermark));
        let first = undecided.map(|open| open.0).min();
        first.map_or(self.high_watermark, |first| first.max(self.log_start).min(self.high_watermark))
    }

    /// Offsets that a read_committed consumer gets, in order.
    fn committed(&self, facts: &Facts) -> Vec<i64> {
        let up_to = self.last_stable_offset(facts);
        let mut offsets = Vec::new();
        for entry in self.entries.iter().filter(|entry| entry.last < up_to) {
            let visible = match entry.what {
                What::Plain | What::Data { transactional: false, .. } => true,
                What::Marker { .. } => false,
                What::Data { id, .. } => facts.transactions.iter().any(|(first, end, producer, commit)| {
                    *producer == id && *commit && *first <= entry.base && end.is_some_and(|end| entry.base < end)
                }),
            };
            if visible {
                offsets.extend(entry.base..=entry.last);
            }
        }
        offsets
    }
}

/// What a read_committed consumer makes of the log, from this offset on, by the rule that Kafka's consumers follow.
fn consume(log: &Log, from: i64, max_bytes: usize) -> Vec<i64> {
    let up_to = log.last_stable_offset();
    let mut offsets = Vec::new();
    let mut position = from;
    let mut arena = DecompressArena::default();
    while position < up_to {
        let read = log.read(position, max_bytes, up_to, true).unwrap();
        assert!(read.next_offset > position, "no progress at {position}, last stable offset {up_to}");
        let mut aborted = log.aborted_transactions(position, read.next_offset).unwrap();
        aborted.sort_by_key(|aborted| aborted.first_offset);
        let mut aborted = aborted.into_iter().peekable();
        let mut skipped = BTreeSet::new();
        for batch in BatchIter::new(&read.records) {
            let batch = batch.unwrap();
            let header = *batch.header();
            while let Some(begun) = aborted.next_if(|aborted| aborted.first_offset <= header.last_offset()) {
                skipped.insert(begun.producer_id);
            }
            if header.attributes.is_control() {
                for record in batch.records(&mut arena).unwrap() {
                    let end = ControlRecord::parse(&record.unwrap()).unwrap().end_transaction().unwrap().unwrap();
                    let was_aborted = skipped.remove(&header.producer_id);
                    assert!(
                        end.result == TransactionResult::Abort || !was_aborted,
                        "a committed one is called aborted"
                    );
                }
            } else if !(header.attributes.is_transactional() && skipped.contains(&header.producer_id)) {
                let records = batch.records(&mut arena).unwrap();
                offsets.extend(records.map(|record| record.unwrap().offset).filter(|offset| *offset >= position));
            }
        }
        position = read.next_offset;
    }
    offsets
}

fn check(log: &Log, model: &Model) {
    let facts = model.facts();
    assert_eq!(log.log_end_offset(), model.end());
    assert_eq!(log.high_watermark(), model.high_watermark);
    assert_eq!(log.last_stable_offset(), model.last_stable_offset(&facts));
    let known: BTreeMap<i64, Producer> = log
        .producers()
        .iter()
        .map(|(id, entry)| (id, (entry.epoch, entry.last_sequence(), entry.current_txn_first_offset)))
        .collect();
    assert_eq!(known, facts.producers);
    let open = facts.transactions.iter().filter(|open| open.1.is_none()).map(|open| (open.0, open.2));
    assert_eq!(log.producers().ongoing_transactions().collect::<Vec<_>>(), open.collect::<Vec<_>>());
    let committed = model.committed(&facts);
    for from in model.log_start..=model.end() {
        let expected: Vec<i64> = committed.iter().copied().filter(|offset| *offset >= from).collect();
        for max_bytes in [1, 1 << 20] {
            assert_eq!(consume(log, from, max_bytes), expected, "from {from}");
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    Plain(usize),
    Data { id: i64, count: usize },
    Repeat,
    Marker { id: i64, commit: bool, bump: bool },
    LateMarker(i64),
    StaleGuard(i64),
    HighWatermark(usize),
    Truncate(usize),
    Delete(usize),
    Flush,
    ReopenClean,
    Crash(Survival),
}

/// Producers 0 and 1 are transactional, 2 is a coordinator that writes without sequences, 3 is idempotent only.
fn step() -> impl Strategy<Value = Step> {
    let survival = prop_oneof![Just(Survival::All), Just(Survival::Synced), Just(Survival::Zeroed)];
    prop_oneof![
        2 => (1..4usize).prop_map(Step::Plain),
        8 => (0..4i64, 1..4usize).prop_map(|(id, count)| Step::Data { id, count }),
        1 => Just(Step::Repeat),
        6 => (0..3i64, any::<bool>(), any::<bool>())
            .prop_map(|(id, commit, bump)| Step::Marker { id, commit, bump }),
        1 => (0..3i64).prop_map(Step::LateMarker),
        1 => (0..2i64).prop_map(Step::StaleGuard),
        5 => (0..=100usize).prop_map(Step::HighWatermark),
        1 => (0..=100usize).prop_map(Step::Truncate),
        1 => (0..=100usize).prop_map(Step::Delete),
        1 => Just(Step::Flush),
        1 => Just(Step::ReopenClean),
        2 => survival.prop_map(Step::Crash),
    ]
}

struct World {
    disk: FaultyStorage,
    config: LogConfig,
    log: Log,
    model: Model,
    last_sent: Option<(Vec<u8>, i64)>,
}

impl World {
    fn new() -> Self {
        let disk = FaultyStorage::new();
        let config = LogConfig { segment_bytes: 500, index_interval_bytes: 150, ..LogConfig::default() };
        let storage: Arc<dyn Storage> = Arc::new(disk.clone());
        let log = open_in(&storage, &config, OpenState::clean()).0;
        World { disk, config, log, model: Model::default(), last_sent: None }
    }

    fn push(&mut self, info: AppendInfo, what: What) {
        self.model.entries.push(Entry { base: info.base_offset, last: info.last_offset, what });
    }

    /// Opens what is on the disk, and cuts the model to what is found.
    fn open(&mut self, clean: bool, recovery_point: i64) {
        let state = OpenState {
            clean_shutdown: clean,
            recovery_point,
            log_start_offset: self.model.log_start,
            high_watermark: self.model.high_watermark,
            cleaned_to: 0,
        };
        let storage: Arc<dyn Storage> = Arc::new(self.disk.clone());
        self.log = open_in(&storage, &self.config, state).0;
        let end = self.log.log_end_offset();
        self.model.entries.retain(|entry| entry.last < end);
        self.model.high_watermark = self.model.high_watermark.min(end);
        self.last_sent = None;
    }

    fn epoch(&self, id: i64) -> i16 {
        self.log.producers().get(id).map_or(0, |entry| entry.epoch)
    }

    fn apply(&mut self, step: Step) {
        let epoch = |world: &Self, id| world.epoch(id);
        match step {
            Step::Plain(count) => {
                let info = self.log.append_as_leader(&mut batch(count, 20), None, 0, NOW_MS).unwrap();
                self.push(info, What::Plain);
            }
            Step::Data { id, count } => {
                let epoch = epoch(self, id);
                let sequence = self.log.producers().get(id).map_or(0, |entry| entry.last_sequence() + 1);
                let last_sequence = if id == 2 { -1 } else { sequence + count as i32 - 1 };
                let mut records = match id {
                    2 => transactional(id, epoch, None, count),
                    3 => idempotent(id, epoch, sequence, count),
                    _ => transactional(id, epoch, Some(sequence), count),
                };
                let sent = records.clone();
                let info = append_verified(&mut self.log, &mut records, 0).unwrap();
                self.push(info, What::Data { id, epoch, last_sequence, transactional: id != 3 });
                if id != 2 {
                    self.last_sent = Some((sent, info.base_offset));
                }
            }
            Step::Repeat => {
                let Some((mut sent, base_offset)) = self.last_sent.clone() else { return };
                // It is known even if its transaction has ended; a marker with a newer epoch forgets it.
                if BatchHeader::read(&sent).unwrap().producer_epoch
                    == epoch(self, BatchHeader::read(&sent).unwrap().producer_id)
                {
                    let info = self.log.append_as_leader(&mut sent, None, 0, NOW_MS).unwrap();
                    assert!(info.duplicate && info.base_offset == base_offset);
                }
            }
            Step::Marker { id, commit, bump } => {
                let version = if bump { 2 } else { 1 };
                let epoch = epoch(self, id) + i16::from(bump);
                let marker = TransactionMarker { transaction_version: version, ..marker(id, epoch, commit) };
                let info = self.log.append_marker(&marker, 0, NOW_MS).unwrap();
                self.push(info, What::Marker { id, epoch, commit });
            }
            Step::LateMarker(id) => {
                let Some(entry) = self.log.producers().get(id) else { return };
                let (epoch, is_open) = (entry.epoch, entry.current_txn_first_offset.is_some());
                let late = if is_open { epoch } else { epoch - 1 };
                let marker = TransactionMarker { transaction_version: 2, ..marker(id, late, true) };
                let refused = self.log.append_marker(&marker, 0, NOW_MS).unwrap_err();
                assert_eq!(refused.kafka_error_code(), if late < 0 { 87 } else { 47 });
            }
            Step::StaleGuard(id) => {
                let epoch = epoch(self, id);
                let sequence = self.log.producers().get(id).map_or(0, |entry| entry.last_sequence() + 1);
                let guard = self.log.begin_verification(id, epoch, sequence, false, NOW_MS);
                self.apply(Step::Marker { id, commit: false, bump: false });
                let late =
                    self.log.append_as_leader(&mut transactional(id, epoch, Some(sequence), 1), guard, 0, NOW_MS);
                assert_eq!(late.unwrap_err().kafka_error_code(), 48);
            }
            Step::HighWatermark(percent) => {
                let (now, end) = (self.model.high_watermark, self.model.end());
                // Followers fetch whole batches.
                let reached = now + (end - now) * percent as i64 / 100;
                let batches = self.model.entries.iter().take_while(|entry| entry.last < reached);
                self.model.high_watermark = batches.last().map_or(now, |entry| now.max(entry.last + 1));
                let before = self.log.last_stable_offset();
                self.log.set_high_watermark(self.model.high_watermark);
                assert!(self.log.last_stable_offset() >= before);
            }
            Step::Truncate(percent) => {
                let target = self.model.log_start + (self.model.end() - self.model.log_start) * percent as i64 / 100;
                if target <= self.model.log_start {
                    return;
                }
                let end = self.log.truncate_to(target, NOW_MS).unwrap();
                self.model.entries.retain(|entry| entry.last < target);
                if self.model.entries.last().is_none_or(|entry| entry.last + 1 < self.model.log_start) {
                    // Nothing is left of the log, and so nothing is known of producers.
                    self.model.entries.clear();
                }
                self.model.high_watermark = self.model.high_watermark.min(end);
                self.last_sent = None;
            }
            Step::Delete(percent) => {
                // What a lost snapshot knew of deleted batches cannot be found again, so it is made durable first.
                self.log.flush().unwrap();
                let before =
                    self.model.log_start + (self.model.high_watermark - self.model.log_start) * percent as i64 / 100;
                if before > self.model.log_start {
                    self.model.log_start = self.log.delete_records(before).unwrap();
                }
                assert!(matches!(
                    self.log.delete_records(self.model.end() + 1),
                    Err(LogError::OffsetOutOfRange { .. })
                ));
                self.log.flush().unwrap();
            }
            Step::Flush => assert_eq!(self.log.flush().unwrap(), self.model.end()),
            Step::ReopenClean => {
                let storage: Arc<dyn Storage> = Arc::new(FaultyStorage::new());
                let other = open_in(&storage, &self.config, OpenState::clean()).0;
                std::mem::replace(&mut self.log, other).close_clean().unwrap();
                self.disk = self.disk.after_crash(Survival::Synced);
                self.open(true, 0);
            }
            Step::Crash(survival) => {
                let recovery_point = self.log.recovery_point();
                self.disk = self.disk.after_crash(survival);
                self.open(false, recovery_point);
                assert!(self.log.log_end_offset() >= recovery_point);
            }
        }
    }
}

fn run(steps: Vec<Step>) {
    let mut world = World::new();
    for step in steps {
        let shown = format!("{step:?}");
        let before = world.log.last_stable_offset();
        let cuts = matches!(step, Step::Truncate(_) | Step::Crash(_) | Step::ReopenClean);
        world.apply(step);
        assert!(cuts || world.log.last_stable_offset() >= before, "the last stable offset goes back at {shown}");
        check(&world.log, &world.model);
        if world.model.log_start == 0 {
            assert_derived_from_bytes(&world.log, &world.disk);
        }
    }
}

proptest! {
    #[test]
    fn a_committed_reader_sees_what_is_committed(steps in prop::collection::vec(step(), 1..40)) {
        run(steps);
    }
}

#[test]
fn an_open_transaction_outlives_a_lost_snapshot_and_its_segments() {
    let marker = || Step::Marker { id: 0, commit: false, bump: false };
    run(vec![
        Step::Data { id: 0, count: 1 },
        Step::Plain(1),
        Step::Data { id: 0, count: 1 },
        Step::Data { id: 1, count: 1 },
        marker(),
        Step::Flush,
        Step::Crash(Survival::All),
        // Begins a segment, whose bytes and snapshot are lost.
        marker(),
        Step::Crash(Survival::Zeroed),
        marker(),
        Step::Plain(1),
        Step::HighWatermark(86),
        Step::Delete(84),
        Step::ReopenClean,
    ]);
}

#[test]
fn a_truncation_into_the_batch_of_the_logs_start_leaves_nothing() {
    run(vec![
        Step::Plain(3),
        Step::HighWatermark(100),
        Step::Delete(34),
        Step::Plain(9),
        Step::Truncate(9),
        Step::Plain(1),
    ]);
}

#[test]
fn decided_transactions_hold_back_the_stable_offset_after_a_restart() {
    run(vec![
        Step::Data { id: 1, count: 1 },
        Step::Marker { id: 1, commit: true, bump: false },
        Step::HighWatermark(50),
        Step::Plain(3),
        Step::Plain(3),
        Step::Plain(3),
        Step::ReopenClean,
        Step::HighWatermark(100),
    ]);
}
