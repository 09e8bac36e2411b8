//! A log as it should be, its clients, and faults to plant in what they say.

mod faults;

use std::collections::BTreeMap;

use rkafka_history::{Action, Event, Isolation, Phase};

pub use faults::{Plant, plant};

const PARTITIONS: usize = 3;
/// The first two read what is committed, the third reads everything.
const READERS: usize = 3;

/// One thing that happens; what exactly, follows from what is possible.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    pub what: u8,
    pub one: u8,
    pub two: u8,
}

impl Step {
    /// A step out of a number, for histories that need no shrinking.
    pub fn from_number(number: u32) -> Self {
        let mixed = (u64::from(number) + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9).to_be_bytes();
        Self { what: mixed[0] % 100, one: mixed[1], two: mixed[2] }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Committed,
    Aborted,
}

/// What lies at an offset: a record, or the end of a transaction.
#[derive(Debug)]
enum Entry {
    Record { value: String, transaction: Option<usize> },
    Marker,
}

#[derive(Debug, Default)]
struct Producer {
    /// The open transaction, and the offset to commit with it.
    transaction: Option<(usize, Option<i64>)>,
}

#[derive(Debug, Default)]
struct World {
    events: Vec<Event>,
    logs: [Vec<Entry>; PARTITIONS],
    states: Vec<State>,
    producers: [Producer; 2],
    positions: [[usize; PARTITIONS]; READERS],
    committed: BTreeMap<String, i64>,
    values: u64,
    ids: u64,
    time: u64,
}

/// The history of a world in which these steps happened, to its orderly end.
pub fn run(steps: &[Step]) -> Vec<Event> {
    let mut world = World::default();
    for step in steps {
        world.step(*step);
    }
    for producer in 0..2 {
        world.end_transaction(producer, 255);
    }
    world.read_everything();
    world.events
}

fn partition(number: usize) -> String {
    format!("t-{number}")
}

fn transaction_name(number: usize) -> String {
    format!("T{number}")
}

impl World {
    fn step(&mut self, step: Step) {
        let Step { what, one, two } = step;
        let at = usize::from(one) % PARTITIONS;
        match what {
            0..25 => self.send_plainly(at, two),
            25..50 => self.send_within(usize::from(two) % 2, at, two / 2),
            50..62 => self.end_transaction(usize::from(one) % 2, two),
            62..68 => self.commit_within(usize::from(one) % 2),
            68..72 => self.commit_plainly(two),
            72..75 => self.ask(["plain", "group0", "group1"][usize::from(one) % 3]),
            75..95 => self.poll(usize::from(two) % READERS, at, 1 + usize::from(two / 8) % 5),
            _ => {
                let reader = usize::from(two) % READERS;
                let to = usize::from(two / 4) % (self.end(reader, at) + 1);
                self.positions[reader][at] = to;
                self.assign(&format!("reader{reader}"), at, to);
            }
        }
    }

    fn say(&mut self, process: &str, id: u64, phase: Phase, action: Action) {
        self.time += 10;
        self.events.push(Event { process: process.to_owned(), id, time: self.time, phase, action });
    }

    fn begin(&mut self, process: &str, action: Action) -> u64 {
        self.ids += 1;
        self.say(process, self.ids, Phase::Invoke, action);
        self.ids
    }

    /// Says both the beginning and the end.
    fn whole(&mut self, process: &str, begun: Action, phase: Phase, ended: Action) {
        let id = self.begin(process, begun);
        self.say(process, id, phase, ended);
    }

    fn append(&mut self, at: usize, value: &str, transaction: Option<usize>) -> i64 {
        self.logs[at].push(Entry::Record { value: value.to_owned(), transaction });
        self.logs[at].len() as i64 - 1
    }

    fn send(&mut self, process: &str, at: usize, transaction: Option<usize>, phase: Phase, is_written: bool) {
        self.values += 1;
        let value = format!("v{}", self.values);
        let action = |offset| Action::Send {
            partition: partition(at),
            value: value.clone(),
            offset,
            transaction: transaction.map(transaction_name),
        };
        let id = self.begin(process, action(None));
        let offset = is_written.then(|| self.append(at, &value, transaction));
        self.say(process, id, phase, action(offset.filter(|_| phase == Phase::Ok)));
    }

    fn send_plainly(&mut self, at: usize, how: u8) {
        let process = format!("plain{}", how % 2);
        match how / 2 {
            0..100 => self.send(&process, at, None, Phase::Ok, true),
            100..110 => self.send(&process, at, None, Phase::Info, true),
            110..120 => self.send(&process, at, None, Phase::Info, false),
            _ => self.send(&process, at, None, Phase::Fail, false),
        }
    }

    fn transaction(&mut self, producer: usize) -> usize {
        if let Some((transaction, _)) = self.producers[producer].transaction {
            return transaction;
        }
        self.states.push(State::Open);
        self.producers[producer].transaction = Some((self.states.len() - 1, None));
        self.states.len() - 1
    }

    fn send_within(&mut self, producer: usize, at: usize, how: u8) {
        let transaction = self.transaction(producer);
        self.send(&format!("producer{producer}"), at, Some(transaction), Phase::Ok, true);
        if how < 4 {
            // One that is not acknowledged dooms it.
            self.send(&format!("producer{producer}"), at, Some(transaction), Phase::Info, how < 2);
            self.end_transaction(producer, 255);
        }
    }

    fn commit_within(&mut self, producer: usize) {
        let transaction = self.transaction(producer);
        self.values += 1;
        let offset = self.values as i64;
        let action = Action::CommitOffsets {
            group: format!("group{producer}"),
            offsets: BTreeMap::from([(partition(0), offset)]),
            transaction: Some(transaction_name(transaction)),
        };
        self.whole(&format!("producer{producer}"), action.clone(), Phase::Ok, action);
        self.producers[producer].transaction = Some((transaction, Some(offset)));
    }

    fn end_transaction(&mut self, producer: usize, how: u8) {
        let Some((transaction, offset)) = self.producers[producer].transaction.take() else { return };
        let process = format!("producer{producer}");
        let name = || transaction_name(transaction);
        let (is_commit, phase, state) = match how {
            0..120 => (true, Phase::Ok, State::Committed),
            120..170 => (true, Phase::Info, State::Committed),
            170..190 => (true, Phase::Info, State::Aborted),
            190..200 => (true, Phase::Fail, State::Aborted),
            _ => (false, Phase::Ok, State::Aborted),
        };
        let action =
            if is_commit { Action::Commit { transaction: name() } } else { Action::Abort { transaction: name() } };
        let id = self.begin(&process, action.clone());
        self.states[transaction] = state;
        for log in &mut self.logs {
            let is_in =
                |entry: &Entry| matches!(entry, Entry::Record { transaction: Some(of), .. } if *of == transaction);
            if log.iter().any(is_in) {
                log.push(Entry::Marker);
            }
        }
        if let Some(offset) = offset.filter(|_| state == State::Committed) {
            self.committed.insert(format!("group{producer}"), offset);
        }
        self.say(&process, id, phase, action);
    }

    fn commit_plainly(&mut self, how: u8) {
        self.values += 1;
        let offset = self.values as i64;
        let offsets = BTreeMap::from([(partition(0), offset)]);
        let action = Action::CommitOffsets { group: "plain".to_owned(), offsets, transaction: None };
        let (phase, is_done) = match how {
            0..180 => (Phase::Ok, true),
            180..200 => (Phase::Info, true),
            200..220 => (Phase::Info, false),
            _ => (Phase::Fail, false),
        };
        if is_done {
            self.committed.insert("plain".to_owned(), offset);
        }
        self.whole("committer", action.clone(), phase, action);
    }

    fn ask(&mut self, group: &str) {
        let asked = |offsets| Action::ReadOffsets { group: group.to_owned(), offsets };
        let told = self.committed.get(group).copied();
        self.whole("asker", asked(BTreeMap::new()), Phase::Ok, asked(BTreeMap::from([(partition(0), told)])));
    }

    /// Up to where a reader sees.
    fn end(&self, reader: usize, at: usize) -> usize {
        let open = self.logs[at].iter().position(|entry| match entry {
            Entry::Record { transaction: Some(transaction), .. } => self.states[*transaction] == State::Open,
            _ => false,
        });
        open.filter(|_| reader != 2).unwrap_or(self.logs[at].len())
    }

    fn poll(&mut self, reader: usize, at: usize, most: usize) {
        let (from, end) = (self.positions[reader][at], self.end(reader, at));
        let mut records = Vec::new();
        let mut next = from;
        while next < end && records.len() < most {
            if let Entry::Record { value, transaction } = &self.logs[at][next] {
                let is_shown = transaction.is_none_or(|one| self.states[one] == State::Committed);
                if is_shown || reader == 2 {
                    records.push((next as i64, value.clone()));
                }
            }
            next += 1;
        }
        self.positions[reader][at] = next;
        self.told(&format!("reader{reader}"), reader, at, records);
    }

    fn told(&mut self, process: &str, reader: usize, at: usize, records: Vec<(i64, String)>) {
        let isolation = if reader == 2 { Isolation::ReadUncommitted } else { Isolation::ReadCommitted };
        let records = BTreeMap::from([(partition(at), records)]);
        self.ids += 1;
        self.say(process, self.ids, Phase::Ok, Action::Poll { isolation, records, transaction: None });
    }

    fn assign(&mut self, process: &str, at: usize, to: usize) {
        self.ids += 1;
        let positions = BTreeMap::from([(partition(at), Some(to as i64))]);
        self.say(process, self.ids, Phase::Ok, Action::Assign { positions });
    }

    /// A reader of each kind reads everything, a few records at a time, and everybody asks for offsets.
    fn read_everything(&mut self) {
        for (reader, name) in [(0, "last-committed"), (2, "last-all")] {
            let drained = Action::Drained { partitions: (0..PARTITIONS).map(partition).collect() };
            let id = self.begin(name, drained.clone());
            for at in 0..PARTITIONS {
                self.positions[reader][at] = 0;
                self.assign(name, at, 0);
                while self.positions[reader][at] < self.logs[at].len() {
                    let before = self.events.len();
                    self.poll(reader, at, 3);
                    self.events[before..].iter_mut().for_each(|event| event.process = name.to_owned());
                }
            }
            self.say(name, id, Phase::Ok, drained);
        }
        for group in ["plain", "group0", "group1"] {
            self.ask(group);
        }
    }
}
