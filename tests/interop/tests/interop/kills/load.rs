//! The load, and what the producers were told.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rkafka::client::{ClientSettings as _, CommittedOffset, GroupMetadata, TopicPartition};
use rkafka::producer::{CompressionType, Producer, ProducerConfig, Record, TransactionError, TransactionalProducer};
use rkafka_testkit::{eventually, pause};

use super::{Load, PARTITIONS, RECORDS, TRANSACTIONS};
use crate::support::{LIMIT, in_time};

/// How many records a transaction has.
pub(super) const RECORDS_OF_TRANSACTION: u32 = 8;

/// What a producer was told of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// Nothing yet.
    Pending,
    /// It is at this offset; -1 where the broker knew it already and did not say where.
    Written(i64),
    /// It may be in the log.
    Unknown,
    /// It is not in the log.
    NotWritten,
}

/// What one producer sent.
pub(super) struct Ledger {
    pub(super) name: &'static str,
    /// Changes to the producer's settings.
    settings: fn(ProducerConfig) -> ProducerConfig,
    /// The fates by the records' numbers, and how often a record had a second one.
    pub(super) fates: Mutex<(Vec<Fate>, u64)>,
}

impl Ledger {
    fn new(name: &'static str, settings: fn(ProducerConfig) -> ProducerConfig) -> Self {
        Self { name, settings, fates: Mutex::default() }
    }

    /// With the default settings.
    pub(super) fn patient() -> Self {
        Self::new("patient", |config| config)
    }

    /// Gives records up before a leader that is gone has a successor, so that some have no known fate.
    pub(super) fn hasty() -> Self {
        Self::new("hasty", |config| {
            config.request_timeout(Duration::from_millis(1500)).delivery_timeout(Duration::from_secs(4))
        })
    }

    /// With small batches, compressed.
    pub(super) fn compressing() -> Self {
        Self::new("compressing", |config| config.batch_size(1_000_usize).compression_type(CompressionType::Lz4))
    }

    /// The number of the next record.
    fn open(&self) -> usize {
        let fates = &mut self.fates.lock().expect("no panic").0;
        fates.push(Fate::Pending);
        fates.len() - 1
    }

    fn note(&self, number: usize, fate: Fate) {
        let mut fates = self.fates.lock().expect("no panic");
        if std::mem::replace(&mut fates.0[number], fate) != Fate::Pending {
            fates.1 += 1;
        }
    }
}

fn failed(maybe_written: bool) -> Fate {
    if maybe_written { Fate::Unknown } else { Fate::NotWritten }
}

pub(super) async fn send_records(load: Arc<Load>, ledger: Arc<Ledger>) {
    let config = ProducerConfig::new().bootstrap_servers(&*load.bootstrap).buffer_memory(512 * 1024_usize);
    let producer = Producer::new((ledger.settings)(config)).await.expect("a producer");
    while !load.is_stopped() {
        for _ in 0..5 {
            let number = ledger.open();
            let value = format!("{} {number} {}", ledger.name, "x".repeat(60));
            let record = Record::to(RECORDS).partition(number as i32 % PARTITIONS).value(&value);
            let (told, counted) = (ledger.clone(), load.clone());
            let accepted = producer.send_with(record, move |result| match result {
                Ok(written) => {
                    told.note(number, Fate::Written(written.offset));
                    counted.acknowledged.fetch_add(1, Ordering::Relaxed);
                }
                Err(error) => told.note(number, failed(error.maybe_written())),
            });
            if let Err(error) = accepted.await {
                ledger.note(number, failed(error.maybe_written()));
            }
        }
        pause(Duration::from_millis(10)).await;
    }
    in_time("the last records", producer.close(LIMIT)).await.expect("closed");
}

/// How a transaction ended, as far as its producer knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Committed,
    Aborted,
    Unknown,
}

/// What one transactional producer did, over all its lives.
pub(super) struct Transactions {
    pub(super) id: &'static str,
    pub(super) ends: Mutex<Vec<End>>,
    /// How many producers there were, one after another.
    pub(super) lives: Mutex<u32>,
}

impl Transactions {
    pub(super) fn new(id: &'static str) -> Self {
        Self { id, ends: Mutex::default(), lives: Mutex::default() }
    }
}

async fn transactional(load: &Load, ledger: &Transactions) -> TransactionalProducer {
    *ledger.lives.lock().expect("no panic") += 1;
    eventually("a transactional producer", || async {
        let config = ProducerConfig::new().bootstrap_servers(&*load.bootstrap).transactional_id(ledger.id);
        TransactionalProducer::new(config).await.map_err(|error| error.to_string())
    })
    .await
}

/// The offset that a transaction commits for its group: that of the one after it.
pub(super) fn offset_of(number: usize) -> i64 {
    number as i64 + 1
}

pub(super) async fn make_transactions(load: Arc<Load>, ledger: Arc<Transactions>) {
    let mut producer = transactional(&load, &ledger).await;
    while !load.is_stopped() {
        let number = ledger.ends.lock().expect("no panic").len();
        let (end, is_lost) = one_transaction(&mut producer, ledger.id, number).await;
        ledger.ends.lock().expect("no panic").push(end);
        if end == End::Committed {
            load.acknowledged.fetch_add(u64::from(RECORDS_OF_TRANSACTION), Ordering::Relaxed);
        }
        if is_lost {
            drop(producer);
            producer = transactional(&load, &ledger).await;
        }
        pause(Duration::from_millis(10)).await;
    }
    in_time("the last transaction", producer.close(LIMIT)).await.expect("closed");
}

/// Makes one transaction, of which every fifth is aborted; says how it ended, and whether the producer is lost.
async fn one_transaction(producer: &mut TransactionalProducer, id: &str, number: usize) -> (End, bool) {
    let ended = async {
        let transaction = producer.begin().await?;
        for index in 0..RECORDS_OF_TRANSACTION {
            let value = format!("{id} {number} {index}");
            let partition = (number as i32).wrapping_add(index as i32) % PARTITIONS;
            let record = Record::to(TRANSACTIONS).partition(partition).value(&value);
            if let Err(error) = transaction.send(record).await {
                let lost = transaction.abort().await;
                return lost.and(Err(TransactionError::Record(error)));
            }
        }
        let place = TopicPartition::new(RECORDS, 0);
        let offsets = [(place, CommittedOffset::new(offset_of(number)))];
        let taken = transaction.send_offsets(offsets, GroupMetadata::new(id)).await;
        match taken {
            Ok(()) if number % 5 != 4 => transaction.commit().await.map(|()| true),
            Ok(()) => transaction.abort().await.map(|()| false),
            Err(error) => transaction.abort().await.and(Err(error)),
        }
    };
    match ended.await {
        Ok(true) => (End::Committed, false),
        Ok(false) => (End::Aborted, false),
        Err(error) => {
            let is_lost = error.is_fatal();
            match producer.last_was_committed().await {
                Ok(true) if error.may_have_been_written() => (End::Committed, is_lost),
                Ok(_) => (End::Aborted, is_lost),
                Err(_) if error.may_have_been_written() => (End::Unknown, true),
                Err(_) => (End::Aborted, true),
            }
        }
    }
}
