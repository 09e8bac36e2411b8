//! Random schedules of producers, clocks, failing appends and markers, late requests and falling coordinators.
//!
//! At each step the state is what a replay of the log makes ([`World::check`]), no two producers that were given an
//! identity have the same, and who was fenced changes nothing any more. Each transaction ends one way in all of its
//! partitions, and as its producer was told; with version 2, what was sent in an earlier one reaches none after it.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use rkafka_protocol::ErrorCode;

use super::super::ProducerIdentity;
use super::world::{TIMEOUT_MS, World};

const PARTITIONS: i32 = 3;
const CLIENTS: usize = 2;

#[derive(Debug, Clone)]
enum Step {
    /// The client starts anew, or goes on by its name.
    Init(usize, bool),
    /// The client writes to a partition, in version 1 or 2 as it speaks.
    Write(usize, i32),
    End(usize, bool),
    /// A request of an earlier transaction arrives late.
    LateWrite(usize, i32),
    LateEnd(usize, bool),
    Markers,
    Pass(i64),
    FailAppends(bool),
    FailMarkers(bool),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let client = 0..CLIENTS;
    prop_oneof![
        3 => (client.clone(), any::<bool>()).prop_map(|(client, named)| Step::Init(client, named)),
        8 => (client.clone(), 0..PARTITIONS).prop_map(|(client, partition)| Step::Write(client, partition)),
        5 => (client.clone(), any::<bool>()).prop_map(|(client, commit)| Step::End(client, commit)),
        2 => (client.clone(), 0..PARTITIONS).prop_map(|(client, partition)| Step::LateWrite(client, partition)),
        2 => (client, any::<bool>()).prop_map(|(client, commit)| Step::LateEnd(client, commit)),
        4 => Just(Step::Markers),
        2 => (1i64..i64::from(TIMEOUT_MS)).prop_map(Step::Pass),
        1 => any::<bool>().prop_map(Step::FailAppends),
        1 => any::<bool>().prop_map(Step::FailMarkers),
        1 => Just(Step::Restart),
    ]
}

#[derive(Debug, Clone, Default)]
struct Client {
    now: Option<ProducerIdentity>,
    /// Who it was in the transaction before.
    before: Option<ProducerIdentity>,
    /// The number of its present transaction, and whether it wrote anything in it.
    transaction: u64,
    wrote: bool,
}

struct Play {
    world: World,
    version: i16,
    clients: Vec<Client>,
    given: BTreeSet<(i64, i16)>,
    next_transaction: u64,
    /// What producers were told of their transactions.
    told: BTreeMap<u64, bool>,
}

impl Play {
    fn new(version: i16) -> Self {
        Self {
            world: World::new(),
            version,
            clients: vec![Client::default(); CLIENTS],
            given: BTreeSet::new(),
            next_transaction: 1,
            told: BTreeMap::new(),
        }
    }

    fn give(&mut self, index: usize, producer: ProducerIdentity) {
        let client = &mut self.clients[index];
        client.before = client.now;
        client.now = Some(producer);
        client.transaction = self.next_transaction;
        client.wrote = false;
        self.next_transaction += 1;
    }

    /// Writes as a partition does that asks the coordinator before a transaction's first record.
    fn write(&mut self, producer: ProducerIdentity, partition: i32, transaction: u64) -> Result<(), ErrorCode> {
        let state = self.world.partitions.entry(partition).or_default();
        let is_open = state.open.is_some_and(|(open, _)| open == producer);
        if state.epochs.get(&producer.id).is_some_and(|known| producer.epoch < *known) {
            return Err(ErrorCode::InvalidProducerEpoch);
        }
        if self.version < 2 {
            // The client asks before each transaction's first record, whatever the partition knows.
            self.world.add(producer, partition, 0)?;
            self.world.verify(producer, partition)?;
        } else if !is_open {
            self.world.add(producer, partition, 2)?;
            assert_eq!(self.world.transaction().producer(), producer, "who begins to write has the id");
        }
        let state = self.world.partitions.entry(partition).or_default();
        state.epochs.insert(producer.id, producer.epoch);
        match state.open {
            None => state.open = Some((producer, transaction)),
            Some((open, in_transaction)) => {
                assert_eq!(open, producer, "another transaction is open here");
                assert_eq!(in_transaction, transaction, "a record of one transaction came into another");
            }
        }
        Ok(())
    }

    fn play(&mut self, step: &Step) {
        match *step {
            Step::Init(index, named) => {
                let expected = self.clients[index].now.filter(|_| named);
                if let Ok(producer) = self.world.init(expected) {
                    let is_new = self.given.insert((producer.id, producer.epoch));
                    let is_retry = expected.is_some();
                    assert!(is_new || is_retry, "{producer:?} was given before");
                    assert!(is_new || self.clients[index].now != Some(producer));
                    self.give(index, producer);
                }
            }
            Step::Write(index, partition) => {
                let Client { now: Some(producer), transaction, .. } = self.clients[index].clone() else { return };
                if self.write(producer, partition, transaction).is_ok() {
                    self.clients[index].wrote = true;
                }
            }
            Step::End(index, commit) => {
                let Client { now: Some(producer), transaction, wrote, .. } = self.clients[index].clone() else {
                    return;
                };
                if let Ok(next) = self.world.end(producer, commit, self.version) {
                    if wrote {
                        self.told.insert(transaction, commit);
                    }
                    if self.version >= 2 {
                        assert_ne!(next, producer);
                        self.given.insert((next.id, next.epoch));
                    }
                    self.give(index, next);
                }
            }
            Step::LateWrite(index, partition) => {
                // With version 1 a late record cannot be told from one in time where the epoch is the same.
                let Client { now, before: Some(before), .. } = self.clients[index].clone() else { return };
                let open = self.world.partitions.get(&partition).and_then(|state| state.open);
                // Where its own transaction waits for the marker, it comes into that one and no other.
                if now != Some(before) && open.is_none_or(|(open, _)| open != before) {
                    let late = self.write(before, partition, u64::MAX);
                    assert!(late.is_err(), "{before:?} is gone, {now:?} came after it");
                }
            }
            Step::LateEnd(index, commit) => {
                let Client { now: Some(now), before: Some(before), .. } = self.clients[index].clone() else { return };
                if now != before {
                    let state = self.world.transaction().clone();
                    // Whatever the answer is, nothing changes.
                    let _ = self.world.end(before, commit, self.version);
                    assert_eq!(*self.world.transaction(), state);
                }
            }
            Step::Markers => self.world.write_markers(),
            Step::Pass(milliseconds) => {
                self.world.pass(milliseconds);
                self.world.do_due();
            }
            Step::FailAppends(fail) => self.world.fail_appends = fail,
            Step::FailMarkers(fail) => self.world.fail_markers = fail,
            Step::Restart => self.world.restart(),
        }
        self.world.check();
        self.check_atomicity();
    }

    fn check_atomicity(&self) {
        let mut ends: BTreeMap<u64, bool> = self.told.clone();
        for (transaction, commit) in self.world.partitions.values().flat_map(|partition| &partition.decided) {
            let end = *ends.entry(*transaction).or_insert(*commit);
            assert_eq!(end, *commit, "transaction {transaction} ends in two ways");
        }
    }

    /// When all is well again, every transaction ends, and no partition has one open.
    fn calm_down(&mut self) {
        self.world.fail_appends = false;
        self.world.fail_markers = false;
        for _ in 0..4 {
            self.world.pass(i64::from(TIMEOUT_MS));
            self.world.do_due();
        }
        for (index, partition) in &self.world.partitions {
            assert_eq!(partition.open, None, "partition {index} holds its readers back");
        }
        self.check_atomicity();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn transactions_are_atomic_and_fenced(
        version in prop_oneof![Just(0i16), Just(2)],
        steps in proptest::collection::vec(step(), 1..80),
    ) {
        let mut play = Play::new(version);
        for step in &steps {
            play.play(step);
        }
        play.calm_down();
    }
}
