//! One shard, its log, partitions that take markers as real ones do, and a clock that the test turns.

use std::collections::BTreeMap;

use rkafka_protocol::ErrorCode;

use super::super::{
    Decision, InitRequest, ProducerIdentity, Step, TopicPartitions, Transaction, TransactionSettings, TransactionShard,
    TransactionState, records,
};
use crate::InternalRecord;
use crate::coordinator::Moment;

pub(super) const ID: &str = "tx";
pub(super) const TOPIC: &str = "topic";
pub(super) const TIMEOUT_MS: i32 = 60_000;
pub(super) const SERVER: i16 = 2;

/// A partition as a transaction sees it: the open transaction's producer, and what was decided of earlier ones.
#[derive(Debug, Clone, Default)]
pub(super) struct Partition {
    /// The epoch of the last record or marker, by producer id.
    pub epochs: BTreeMap<i64, i16>,
    pub open: Option<(ProducerIdentity, u64)>,
    /// Which transactions were decided how.
    pub decided: Vec<(u64, bool)>,
}

pub(super) struct World {
    pub shard: TransactionShard,
    pub log: Vec<InternalRecord>,
    pub now: Moment,
    pub fail_appends: bool,
    pub fail_markers: bool,
    pub partitions: BTreeMap<i32, Partition>,
    pub next_producer_id: i64,
}

fn settings() -> TransactionSettings {
    TransactionSettings { timeout_ms_max: 900_000, expiration_ms: 604_800_000, expiration_check_ms: 3_600_000 }
}

impl World {
    pub fn new() -> Self {
        let now = Moment { monotonic_ms: 0, date_ms: 1_700_000_000_000 };
        let mut shard = TransactionShard::new(settings());
        shard.start(now);
        Self {
            shard,
            log: Vec::new(),
            now,
            fail_appends: false,
            fail_markers: false,
            partitions: BTreeMap::new(),
            next_producer_id: 1_000,
        }
    }

    /// A producer that has the id from an earlier life.
    pub fn seed(&mut self, producer: ProducerIdentity) {
        let mut transaction = Transaction::unborn(producer.id, TIMEOUT_MS, self.now.date_ms);
        transaction.producer_epoch = producer.epoch;
        self.log.push(records::state(ID, &transaction, SERVER).unwrap());
        self.restart();
    }

    /// A machine that reads the log from its start.
    fn replayed(&self) -> TransactionShard {
        let mut shard = TransactionShard::new(settings());
        for record in &self.log {
            shard.replay(record.key.clone(), record.value.clone()).unwrap();
        }
        shard
    }

    /// The state is what a replay of the log makes.
    pub fn check(&self) {
        assert_eq!(self.shard.transactions(), self.replayed().transactions());
    }

    pub fn restart(&mut self) {
        self.shard = self.replayed();
        self.shard.start(self.now);
    }

    pub fn pass(&mut self, milliseconds: i64) {
        self.now.monotonic_ms += milliseconds;
        self.now.date_ms += milliseconds;
    }

    pub fn transaction(&self) -> &Transaction {
        self.shard.transaction(ID).unwrap()
    }

    pub fn state(&self) -> TransactionState {
        self.transaction().state
    }

    fn apply(&mut self, step: Option<Step>) -> Result<(), ErrorCode> {
        let Some(step) = step else { return Ok(()) };
        if self.fail_appends {
            return Err(ErrorCode::NotCoordinator);
        }
        let before = self.shard.transaction(&step.transactional_id).cloned();
        self.log.push(step.record.clone());
        self.shard.replay(step.record.key.clone(), step.record.value.clone()).unwrap();
        self.shard.stepped(self.now, &step);
        let after = self.shard.transaction(&step.transactional_id).unwrap();
        if let Some(before) = before {
            assert!(after.state.may_follow(before.state), "{before:?} {after:?}");
            let goes_on = after.producer_id == before.producer_id && after.producer_epoch >= before.producer_epoch;
            assert!(goes_on || after.producer_epoch == 0, "epochs go up: {before:?} {after:?}");
        }
        self.check();
        Ok(())
    }

    pub fn init(&mut self, expected: Option<ProducerIdentity>) -> Result<ProducerIdentity, ErrorCode> {
        let request = InitRequest { transactional_id: ID, timeout_ms: TIMEOUT_MS, expected };
        let next = &mut self.next_producer_id;
        let Decision { step, reply } = self.shard.decide_init(self.now, &request, SERVER, &mut || {
            *next += 1;
            Ok(*next)
        })?;
        self.apply(step)?;
        reply
    }

    pub fn add(&mut self, producer: ProducerIdentity, partition: i32, version: i16) -> Result<(), ErrorCode> {
        let asked = TopicPartitions::from([(TOPIC.to_owned(), [partition].into())]);
        let decision = self.shard.decide_add(self.now, ID, producer, &asked, version, SERVER)?;
        self.apply(decision.step)
    }

    pub fn verify(&self, producer: ProducerIdentity, partition: i32) -> Result<(), ErrorCode> {
        let asked = TopicPartitions::from([(TOPIC.to_owned(), [partition].into())]);
        let refused = self.shard.verify(ID, producer, &asked)?;
        refused.first().map_or(Ok(()), |(_, _, error)| Err(*error))
    }

    pub fn end(
        &mut self,
        producer: ProducerIdentity,
        commit: bool,
        version: i16,
    ) -> Result<ProducerIdentity, ErrorCode> {
        let next = &mut self.next_producer_id;
        let decision = self.shard.decide_end(self.now, ID, producer, commit, version, SERVER, &mut || {
            *next += 1;
            Ok(*next)
        })?;
        self.apply(decision.step)?;
        Ok(decision.reply)
    }

    /// Writes the markers that are missing, and closes the transaction if none is left.
    pub fn write_markers(&mut self) {
        let Some(work) = self.shard.take_markers(ID) else { return };
        assert_eq!(self.shard.take_markers(ID), None, "one at a time");
        let marker = ProducerIdentity { id: work.producer_id, epoch: work.producer_epoch };
        let mut left = TopicPartitions::new();
        for index in work.partitions.values().flatten() {
            let partition = self.partitions.entry(*index).or_default();
            if self.fail_markers {
                left.entry(TOPIC.to_owned()).or_default().insert(*index);
                continue;
            }
            let known = partition.epochs.entry(marker.id).or_insert(-1);
            let is_late = if work.transaction_version >= 2 { marker.epoch <= *known } else { marker.epoch < *known };
            if is_late {
                assert_eq!(marker.epoch, *known, "only a marker that is there already is too late");
                assert!(partition.open.is_none_or(|(open, _)| open.id != marker.id));
                continue;
            }
            *known = marker.epoch;
            if let Some((open, transaction)) = partition.open.filter(|(open, _)| open.id == marker.id) {
                assert!(open.epoch <= marker.epoch);
                partition.decided.push((transaction, work.commit));
                partition.open = None;
            }
        }
        self.shard.marked(self.now, ID, left);
        let decided = self.shard.decide_complete(self.now, ID, SERVER).unwrap();
        // A failing append leaves it to the timer.
        let _ = self.apply(decided);
    }

    /// What the timer does.
    pub fn do_due(&mut self) {
        for transactional_id in self.shard.timed_out(self.now) {
            let step = self.shard.decide_timeout(self.now, &transactional_id, SERVER).unwrap();
            if self.apply(step).is_err() {
                self.shard.postpone_timeout(self.now, &transactional_id);
            }
        }
        if !self.shard.unmarked(self.now).is_empty() {
            self.write_markers();
        }
        if self.shard.is_expiration_due(self.now) {
            for (transactional_id, tombstone) in self.shard.decide_expire(self.now) {
                if !self.fail_appends {
                    self.log.push(tombstone.clone());
                    self.shard.replay(tombstone.key, tombstone.value).unwrap();
                    self.shard.forgotten(&transactional_id);
                }
            }
            self.shard.expiration_checked(self.now);
        }
        self.check();
    }
}
