//! What follows from a history, for the checks to look things up in.

use std::collections::{BTreeMap, HashMap};

use crate::event::{Action, Isolation, Phase};
use crate::history::{History, Operation};
use crate::report::Summary;

/// A record that was sent.
#[derive(Debug)]
pub(crate) struct Send<'a> {
    pub(crate) process: usize,
    pub(crate) partition: &'a str,
    pub(crate) value: &'a str,
    /// Where the broker said that it is.
    pub(crate) told: Option<i64>,
    pub(crate) phase: Phase,
    pub(crate) begun: u64,
    ended: u64,
    pub(crate) transaction: Option<usize>,
}

/// How a transaction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Committed,
    Aborted,
    Unknown,
    /// Nobody was told, and something of it was seen: so it was committed.
    Seen,
}

#[derive(Debug)]
pub(crate) struct Transaction<'a> {
    pub(crate) name: &'a str,
    pub(crate) outcome: Outcome,
    /// When its commit began and when it was known to be committed; never, where it was not.
    pub(crate) commit_begun: u64,
    committed: u64,
}

/// Whether something is to be seen by those who are shown what is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Once this time has come.
    Surely(u64),
    Maybe,
    Never,
}

/// A record that was read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Point<'a> {
    pub(crate) offset: i64,
    pub(crate) value: &'a str,
    /// Which poll it came with: an index into the operations.
    pub(crate) poll: usize,
    pub(crate) isolation: Isolation,
    pub(crate) transaction: Option<usize>,
}

/// What a process read of a partition without being sent elsewhere in between.
#[derive(Debug)]
pub(crate) struct Run<'a> {
    pub(crate) process: usize,
    pub(crate) partition: &'a str,
    /// Where it began; the first record's offset, where that was not said.
    pub(crate) start: i64,
    pub(crate) points: Vec<Point<'a>>,
}

/// What was read at an offset.
#[derive(Debug)]
pub(crate) struct Cell<'a> {
    /// The first value; another one is an anomaly.
    pub(crate) value: &'a str,
    /// When it was first read, and by whom.
    pub(crate) read: u64,
    pub(crate) reader: usize,
    /// Whether somebody read it who is shown what is committed only.
    pub(crate) is_committed: bool,
}

/// Offsets that somebody committed for a group, of one partition.
#[derive(Debug)]
pub(crate) struct Commit {
    pub(crate) process: usize,
    pub(crate) offset: i64,
    pub(crate) begun: u64,
    ended: u64,
    phase: Phase,
    transaction: Option<usize>,
}

/// An answer to what a group has committed of a partition.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) process: usize,
    pub(crate) offset: Option<i64>,
    pub(crate) begun: u64,
    pub(crate) ended: u64,
}

/// A group's partition.
pub(crate) type Place<'a> = (&'a str, &'a str);

#[derive(Debug)]
pub(crate) struct Facts<'a> {
    pub(crate) history: &'a History,
    /// In the order in which they were begun.
    pub(crate) sends: Vec<Send<'a>>,
    pub(crate) by_value: HashMap<&'a str, usize>,
    pub(crate) transactions: Vec<Transaction<'a>>,
    pub(crate) runs: Vec<Run<'a>>,
    pub(crate) log: BTreeMap<&'a str, BTreeMap<i64, Cell<'a>>>,
    /// Where each value was read, without repetition.
    pub(crate) places: HashMap<&'a str, Vec<(&'a str, i64)>>,
    /// Who had read which partition to its end, and since when the end is known to be the end.
    pub(crate) drained: Vec<(usize, &'a str, u64)>,
    pub(crate) commits: BTreeMap<Place<'a>, Vec<Commit>>,
    pub(crate) told: BTreeMap<Place<'a>, Vec<Told>>,
}

impl<'a> Facts<'a> {
    pub(crate) fn of(history: &'a History) -> Self {
        let mut facts = Self {
            history,
            sends: Vec::new(),
            by_value: HashMap::new(),
            transactions: Vec::new(),
            runs: Vec::new(),
            log: BTreeMap::new(),
            places: HashMap::new(),
            drained: Vec::new(),
            commits: BTreeMap::new(),
            told: BTreeMap::new(),
        };
        let mut names = HashMap::new();
        let mut current = HashMap::new();
        for (index, operation) in history.operations.iter().enumerate() {
            facts.take(index, operation, &mut names, &mut current);
        }
        facts.conclude();
        facts
    }

    fn take(
        &mut self,
        index: usize,
        operation: &'a Operation,
        names: &mut HashMap<&'a str, usize>,
        current: &mut HashMap<(usize, &'a str), usize>,
    ) {
        let Operation { process, begun, ended, phase, .. } = *operation;
        let is_done = phase == Phase::Ok;
        match &operation.action {
            Action::Send { partition, value, offset, transaction } => {
                self.by_value.insert(value, self.sends.len());
                let told = offset.filter(|offset| is_done && *offset >= 0);
                let transaction = transaction.as_ref().map(|name| self.transaction(name, names));
                self.sends.push(Send { process, partition, value, told, phase, begun, ended, transaction });
            }
            Action::Poll { isolation, records, transaction } if is_done => {
                let transaction = transaction.as_ref().map(|name| self.transaction(name, names));
                for (partition, records) in records {
                    for (offset, value) in records {
                        let point = Point { offset: *offset, value, poll: index, isolation: *isolation, transaction };
                        self.read(operation, partition, point, current);
                    }
                }
            }
            Action::Assign { positions } if is_done => {
                for (partition, start) in positions {
                    current.remove(&(process, partition.as_str()));
                    if let Some(start) = *start {
                        current.insert((process, partition), self.runs.len());
                        self.runs.push(Run { process, partition, start, points: Vec::new() });
                    }
                }
            }
            Action::Drained { partitions } if is_done => {
                self.drained.extend(partitions.iter().map(|partition| (process, partition.as_str(), begun)));
            }
            Action::Commit { transaction } => {
                let transaction = self.transaction(transaction, names);
                let transaction = &mut self.transactions[transaction];
                transaction.commit_begun = begun;
                // What is aborted already, for the coordinator told so, stays it.
                match phase {
                    Phase::Ok => (transaction.outcome, transaction.committed) = (Outcome::Committed, ended),
                    Phase::Fail => {}
                    Phase::Info | Phase::Invoke => transaction.outcome = Outcome::Unknown,
                }
            }
            Action::Abort { transaction } => {
                let transaction = self.transaction(transaction, names);
                if is_done {
                    self.transactions[transaction].outcome = Outcome::Aborted;
                }
            }
            Action::CommitOffsets { group, offsets, transaction } => {
                let transaction = transaction.as_ref().map(|name| self.transaction(name, names));
                for (partition, offset) in offsets {
                    let commit = Commit { process, offset: *offset, begun, ended, phase, transaction };
                    self.commits.entry((group, partition)).or_default().push(commit);
                }
            }
            Action::ReadOffsets { group, offsets } if is_done => {
                for (partition, offset) in offsets {
                    let told = Told { process, offset: *offset, begun, ended };
                    self.told.entry((group, partition)).or_default().push(told);
                }
            }
            _ => {}
        }
    }

    /// The transaction of that name. Until its commit begins, it is one that was left, and so aborted.
    fn transaction(&mut self, name: &'a str, names: &mut HashMap<&'a str, usize>) -> usize {
        *names.entry(name).or_insert_with(|| {
            let (commit_begun, committed) = (u64::MAX, u64::MAX);
            self.transactions.push(Transaction { name, outcome: Outcome::Aborted, commit_begun, committed });
            self.transactions.len() - 1
        })
    }

    fn read(
        &mut self,
        operation: &Operation,
        partition: &'a str,
        point: Point<'a>,
        current: &mut HashMap<(usize, &'a str), usize>,
    ) {
        let process = operation.process;
        let run = *current.entry((process, partition)).or_insert_with(|| {
            self.runs.push(Run { process, partition, start: point.offset, points: Vec::new() });
            self.runs.len() - 1
        });
        self.runs[run].points.push(point);
        let is_committed = point.isolation == Isolation::ReadCommitted;
        let cell = self.log.entry(partition).or_default().entry(point.offset).or_insert(Cell {
            value: point.value,
            read: operation.ended,
            reader: process,
            is_committed,
        });
        cell.is_committed |= is_committed;
        if operation.ended < cell.read {
            (cell.read, cell.reader) = (operation.ended, process);
        }
        let places = self.places.entry(point.value).or_default();
        if !places.contains(&(partition, point.offset)) {
            places.push((partition, point.offset));
        }
    }

    /// Transactions whose end is not known, and of which something is there, were committed.
    fn conclude(&mut self) {
        for run in &self.runs {
            for point in run.points.iter().filter(|point| point.isolation == Isolation::ReadCommitted) {
                let send = self.by_value.get(point.value).map(|send| &self.sends[*send]);
                if let Some(transaction) = send.and_then(|send| send.transaction) {
                    see(&mut self.transactions[transaction], self.history.operations[point.poll].ended);
                }
            }
        }
        for (place, told) in &self.told {
            let commits = self.commits.get(place).map_or(&[][..], Vec::as_slice);
            for told in told {
                let mut candidates = commits.iter().filter(|commit| Some(commit.offset) == told.offset);
                // If two could have been seen, neither is known to be.
                if let (Some(Commit { transaction: Some(transaction), .. }), None) =
                    (candidates.next(), candidates.next())
                {
                    see(&mut self.transactions[*transaction], told.ended);
                }
            }
        }
    }

    /// What becomes of what is part of a transaction, or of none.
    fn fate(&self, phase: Phase, ended: u64, transaction: Option<usize>) -> Fate {
        let transaction = transaction.map(|transaction| &self.transactions[transaction]);
        match (phase, transaction.map(|transaction| transaction.outcome)) {
            (Phase::Fail, _) | (_, Some(Outcome::Aborted)) => Fate::Never,
            (Phase::Ok, Some(Outcome::Committed | Outcome::Seen)) => {
                Fate::Surely(transaction.map_or(ended, |transaction| transaction.committed.max(ended)))
            }
            (Phase::Ok, None) => Fate::Surely(ended),
            _ => Fate::Maybe,
        }
    }

    pub(crate) fn fate_of_record(&self, send: &Send<'_>) -> Fate {
        self.fate(send.phase, send.ended, send.transaction)
    }

    pub(crate) fn fate_of_commit(&self, commit: &Commit) -> Fate {
        self.fate(commit.phase, commit.ended, commit.transaction)
    }

    /// Since when offsets may count: those of a transaction not before its commit begins.
    pub(crate) fn begun_of(&self, commit: &Commit) -> u64 {
        let transaction = commit.transaction.map(|transaction| &self.transactions[transaction]);
        transaction.map_or(commit.begun, |transaction| transaction.commit_begun)
    }

    /// Whether a reader who comes by must be shown what others read there.
    pub(crate) fn must_be_shown(&self, cell: &Cell<'_>, isolation: Isolation) -> bool {
        if isolation == Isolation::ReadUncommitted || cell.is_committed {
            return true;
        }
        self.by_value.get(cell.value).map(|send| &self.sends[*send]).is_some_and(|send| {
            let fate = self.fate_of_record(send);
            matches!(fate, Fate::Surely(_)) || (send.transaction.is_none() && fate == Fate::Maybe)
        })
    }

    /// Where a record is: where it was read, else where it is said to be.
    pub(crate) fn offset_of(&self, send: &Send<'_>) -> Option<i64> {
        let read = self.places.get(send.value).and_then(|places| places.first());
        read.map(|(_, offset)| *offset).or(send.told)
    }

    pub(crate) fn who(&self, process: usize) -> &'a str {
        &self.history.processes[process]
    }

    pub(crate) fn summary(&self) -> Summary {
        let count = |number: usize| number as u64;
        let sends = |wanted: Phase| count(self.sends.iter().filter(|send| send.phase == wanted).count());
        let ends = |wanted: Outcome| count(self.transactions.iter().filter(|one| one.outcome == wanted).count());
        let unknown = self.sends.iter().filter(|send| matches!(send.phase, Phase::Info | Phase::Invoke));
        let committed = self.history.operations.iter().filter(|operation| {
            operation.phase == Phase::Ok && matches!(operation.action, Action::CommitOffsets { .. })
        });
        let asked =
            self.history.operations.iter().filter(|operation| {
                operation.phase == Phase::Ok && matches!(operation.action, Action::ReadOffsets { .. })
            });
        Summary {
            processes: count(self.history.processes.len()),
            sent: count(self.sends.len()),
            acknowledged: sends(Phase::Ok),
            unknown: count(unknown.clone().count()),
            unknown_and_read: count(unknown.filter(|send| self.places.contains_key(send.value)).count()),
            refused: sends(Phase::Fail),
            read: count(self.runs.iter().map(|run| run.points.len()).sum()),
            committed: ends(Outcome::Committed),
            aborted: ends(Outcome::Aborted),
            in_doubt: ends(Outcome::Unknown) + ends(Outcome::Seen),
            in_doubt_and_seen: ends(Outcome::Seen),
            offsets_committed: count(committed.count()),
            offsets_read: count(asked.count()),
        }
    }
}

fn see(transaction: &mut Transaction<'_>, time: u64) {
    if matches!(transaction.outcome, Outcome::Unknown | Outcome::Seen) {
        transaction.outcome = Outcome::Seen;
        transaction.committed = transaction.committed.min(time);
    }
}
