//! Clients of ours in a process of their own: this program, started again as the test `worker_of_our_own`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rkafka::client::{ClientSettings as _, CommittedOffset, GroupMetadata, TopicPartition};
use rkafka::consumer::{Consumer, ConsumerConfig, IsolationLevel, OffsetReset, Start};
use rkafka::producer::{
    CompressionType, DeliveryResult, Producer, ProducerConfig, ProducerError, Record, TransactionError,
    TransactionalProducer,
};
use rkafka_history::{Action, Isolation, Phase};
use rkafka_testkit::{eventually, pause};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

use super::diary::{Begun, Diary};
use super::{GROUPS, PARTITIONS, RECORDS, TRANSACTIONS, partition_name};
use crate::support::{LIMIT, in_time};

const BOOTSTRAP: &str = "RKAFKA_TEST_BOOTSTRAP";
const FILE: &str = "RKAFKA_TEST_FILE";
/// Which life of the worker this is.
const LIFE: &str = "RKAFKA_TEST_LIFE";

/// How many records a transaction has.
const RECORDS_OF_TRANSACTION: u32 = 8;
/// Between two rounds of records, and between two transactions.
const PACE: Duration = Duration::from_millis(40);

/// The command that runs the worker, which appends to `file`.
pub(super) fn command(bootstrap: &str, file: &Path, life: usize) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("the test's own path"));
    command.args(["--exact", "kills::worker::worker_of_our_own", "--nocapture"]);
    command.env(BOOTSTRAP, bootstrap).env(FILE, file).env(LIFE, life.to_string());
    command
}

/// What the clients of the process share.
struct Load {
    bootstrap: String,
    file: PathBuf,
    life: String,
    stopped: AtomicBool,
}

impl Load {
    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    fn diary(&self, name: &str) -> Diary {
        Diary::open(&self.file, &format!("{name}#{}", self.life))
    }
}

/// How a record ended, for a history.
fn told(result: &DeliveryResult) -> (Phase, Option<i64>) {
    match result {
        Ok(written) => (Phase::Ok, Some(written.offset)),
        Err(error) => (refused(error), None),
    }
}

fn refused(error: &ProducerError) -> Phase {
    if error.maybe_written() { Phase::Info } else { Phase::Fail }
}

/// A record on its way. It ends once, by its callback or because it was not accepted.
struct Sent {
    partition: i32,
    topic: &'static str,
    value: String,
    transaction: Option<String>,
}

impl Sent {
    fn action(&self, offset: Option<i64>) -> Action {
        Action::Send {
            partition: partition_name(self.topic, self.partition),
            value: self.value.clone(),
            offset,
            transaction: self.transaction.clone(),
        }
    }

    fn begin(self, diary: &Diary) -> (Begun, Arc<Self>) {
        (diary.begin(self.action(None)), Arc::new(self))
    }
}

/// Changes to a producer's settings.
type Change = fn(ProducerConfig) -> ProducerConfig;

/// Settings of producers without transactions, by their names.
const PLAIN: [(&str, Change); 3] = [
    ("patient", |config| config),
    // Gives records up before a leader that is gone has a successor, so that some have no known fate.
    ("hasty", |config| config.request_timeout(Duration::from_millis(1500)).delivery_timeout(Duration::from_secs(4))),
    ("compressing", |config| config.batch_size(1_000_usize).compression_type(CompressionType::Lz4)),
];

async fn send_records(load: Arc<Load>, name: &'static str, settings: Change) {
    let config = ProducerConfig::new().bootstrap_servers(&*load.bootstrap).buffer_memory(512 * 1024_usize);
    let producer = Producer::new(settings(config)).await.expect("a producer");
    let diary = load.diary(name);
    let mut number = 0;
    while !load.is_stopped() {
        for _ in 0..5 {
            let (value, partition) = (format!("{}-{number}", diary.process), number % PARTITIONS);
            number += 1;
            let sent = Sent { partition, topic: RECORDS, value, transaction: None };
            let (begun, sent) = sent.begin(&diary);
            // Shared, for the callback is gone where the record is not accepted.
            let begun = Arc::new(std::sync::Mutex::new(Some(begun)));
            let (later, of) = (begun.clone(), sent.clone());
            let record = Record::to(RECORDS).partition(partition).value(&sent.value);
            let accepted = producer.send_with(record, move |result| {
                let (phase, offset) = told(&result);
                if let Some(begun) = later.lock().expect("no panic").take() {
                    begun.end(phase, of.action(offset));
                }
            });
            if let Err(error) = accepted.await
                && let Some(begun) = begun.lock().expect("no panic").take()
            {
                begun.end(refused(&error), sent.action(None));
            }
        }
        pause(PACE).await;
    }
    in_time("the last records", producer.close(LIMIT)).await.expect("closed");
    diary.note(Action::Closed {});
}

async fn transactional(load: &Load, id: &str) -> TransactionalProducer {
    eventually("a transactional producer", || async {
        let config = ProducerConfig::new().bootstrap_servers(&*load.bootstrap).transactional_id(id);
        let config = config.transaction_timeout(Duration::from_secs(30));
        TransactionalProducer::new(config).await.map_err(|error| error.to_string())
    })
    .await
}

async fn make_transactions(load: Arc<Load>, id: &'static str) {
    let diary = load.diary(id);
    let mut producer = transactional(&load, id).await;
    let mut number = 0;
    while !load.is_stopped() {
        number += 1;
        let is_lost = one_transaction(&mut producer, &diary, id, number).await;
        if is_lost {
            drop(producer);
            producer = transactional(&load, id).await;
        }
        pause(PACE).await;
    }
    in_time("the last transaction", producer.close(LIMIT)).await.expect("closed");
    diary.note(Action::Closed {});
}

/// Makes one transaction, of which every fifth is aborted; says whether the producer is lost.
async fn one_transaction(producer: &mut TransactionalProducer, diary: &Diary, id: &str, number: i32) -> bool {
    let name = format!("{}-{number}", diary.process);
    let mut commit = None;
    let ended = async {
        let transaction = producer.begin().await?;
        for index in 0..RECORDS_OF_TRANSACTION {
            let partition = number.wrapping_add(index as i32) % PARTITIONS;
            let value = format!("{name}-{index}");
            let sent = Sent { partition, topic: TRANSACTIONS, value, transaction: Some(name.clone()) };
            let (begun, sent) = sent.begin(diary);
            let begun = Arc::new(std::sync::Mutex::new(Some(begun)));
            let (later, of) = (begun.clone(), sent.clone());
            let record = Record::to(TRANSACTIONS).partition(partition).value(&sent.value);
            let accepted = transaction.send_with(record, move |result| {
                let (phase, offset) = told(&result);
                if let Some(begun) = later.lock().expect("no panic").take() {
                    begun.end(phase, of.action(offset));
                }
            });
            if let Err(error) = accepted.await {
                if let Some(begun) = begun.lock().expect("no panic").take() {
                    begun.end(refused(&error), sent.action(None));
                }
                let lost = transaction.abort().await;
                return lost.and(Err(TransactionError::Record(error)));
            }
        }
        let offset = (diary_life(diary) * 1_000_000 + i64::from(number)).saturating_add(1);
        let offsets = BTreeMap::from([(partition_name(RECORDS, 0), offset)]);
        let committing = Action::CommitOffsets { group: id.to_owned(), offsets, transaction: Some(name.clone()) };
        let begun = diary.begin(committing.clone());
        let place = TopicPartition::new(RECORDS, 0);
        let taken = transaction.send_offsets([(place, CommittedOffset::new(offset))], GroupMetadata::new(id)).await;
        begun.end(if taken.is_ok() { Phase::Ok } else { Phase::Info }, committing);
        match taken {
            Ok(()) if number % 5 != 4 => {
                commit = Some(diary.begin(Action::Commit { transaction: name.clone() }));
                transaction.commit().await
            }
            Ok(()) => {
                let begun = diary.begin(Action::Abort { transaction: name.clone() });
                let aborted = transaction.abort().await;
                let phase = if aborted.is_ok() { Phase::Ok } else { Phase::Info };
                begun.end(phase, Action::Abort { transaction: name.clone() });
                aborted
            }
            Err(error) => transaction.abort().await.and(Err(error)),
        }
    };
    let ended = ended.await;
    let (phase, is_lost) = match &ended {
        Ok(()) => (Phase::Ok, false),
        Err(error) => match producer.last_was_committed().await {
            Ok(true) if error.may_have_been_written() => (Phase::Ok, error.is_fatal()),
            Ok(_) => (Phase::Fail, error.is_fatal()),
            Err(_) if error.may_have_been_written() => (Phase::Info, true),
            Err(_) => (Phase::Fail, true),
        },
    };
    if let Some(commit) = commit {
        commit.end(phase, Action::Commit { transaction: name });
    }
    is_lost
}

/// Offsets that a later life commits are others than those of the lives before it.
fn diary_life(diary: &Diary) -> i64 {
    diary.process.rsplit('#').next().and_then(|life| life.parse().ok()).unwrap_or_default()
}

async fn read_records(load: Arc<Load>) {
    let diary = load.diary("reader");
    let config = ConsumerConfig::new()
        .bootstrap_servers(&*load.bootstrap)
        .isolation_level(IsolationLevel::ReadCommitted)
        .auto_offset_reset(OffsetReset::None);
    let mut consumer = Consumer::connect(config).await.expect("a consumer");
    let topics = [RECORDS, TRANSACTIONS];
    let places = topics.iter().flat_map(|topic| (0..PARTITIONS).map(move |at| (*topic, at)));
    diary.assigned_from_the_beginning(places.clone().map(|(topic, at)| partition_name(topic, at)));
    consumer.assign(places.map(|(topic, at)| (topic, at, Start::Beginning))).expect("assigned");
    while !load.is_stopped() {
        let Ok(batch) = tokio::time::timeout(Duration::from_millis(200), consumer.next_batch()).await else { continue };
        match batch {
            Ok(batch) => {
                let records = batch.records().map(|record| {
                    let record = record.expect("a record");
                    (record.offset, String::from_utf8_lossy(record.value.unwrap_or_default()).into_owned())
                });
                let records: Vec<_> = records.collect();
                let records = BTreeMap::from([(partition_name(batch.topic(), batch.partition()), records)]);
                diary.note(Action::Poll { isolation: Isolation::ReadCommitted, records, transaction: None });
            }
            Err(error) => assert!(!error.is_fatal(), "the reader is told: {error}"),
        }
    }
    consumer.close().await.expect("closed");
    diary.note(Action::Closed {});
}

/// Asks for what the transactions committed for their groups.
async fn ask_for_offsets(load: Arc<Load>) {
    let diary = load.diary("asker");
    let mut askers = Vec::new();
    for group in GROUPS {
        let config = ConsumerConfig::new().bootstrap_servers(&*load.bootstrap).group_id(group);
        let config = config.request_timeout(Duration::from_secs(3)).default_api_timeout(Duration::from_secs(8));
        askers.push((group, Consumer::connect(config).await.expect("a consumer")));
    }
    while !load.is_stopped() {
        for (group, consumer) in &askers {
            ask(&diary, group, consumer).await;
        }
        pause(Duration::from_millis(200)).await;
    }
    diary.note(Action::Closed {});
}

/// Asks once.
pub(super) async fn ask(diary: &Diary, group: &str, consumer: &Consumer) -> bool {
    let action = |offsets| Action::ReadOffsets { group: group.to_owned(), offsets };
    let begun = diary.begin(action(BTreeMap::new()));
    match consumer.committed(&[TopicPartition::new(RECORDS, 0)]).await {
        Ok(committed) => {
            let offset = committed.first().and_then(|(_, at)| at.as_ref()).map(|at| at.offset);
            begun.end(Phase::Ok, action(BTreeMap::from([(partition_name(RECORDS, 0), offset)])));
            true
        }
        Err(_) => {
            begun.end(Phase::Info, action(BTreeMap::new()));
            false
        }
    }
}

/// Nothing, where nobody has started it for what it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn worker_of_our_own() {
    let Ok(bootstrap) = std::env::var(BOOTSTRAP) else { return };
    let file = std::env::var_os(FILE).expect("a file to write to").into();
    let life = std::env::var(LIFE).expect("a number");
    let mut term = signal(SignalKind::terminate()).expect("signals");
    let load = Arc::new(Load { bootstrap, file, life, stopped: AtomicBool::new(false) });
    let mut tasks = JoinSet::new();
    for (name, settings) in PLAIN {
        tasks.spawn(send_records(load.clone(), name, settings));
    }
    tasks.spawn(read_records(load.clone()));
    tasks.spawn(make_transactions(load.clone(), GROUPS[0]));
    tasks.spawn(ask_for_offsets(load.clone()));
    loop {
        tokio::select! {
            _ = term.recv() => load.stopped.store(true, Ordering::Relaxed),
            ended = tasks.join_next() => match ended {
                Some(ended) => ended.expect("no client panics"),
                None => break,
            },
        }
    }
}
