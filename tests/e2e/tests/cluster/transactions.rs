//! Exactly once over three brokers, while the brokers of the transaction's coordinator, of the group's coordinator and of
//! the partitions are killed and come back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rkafka::client::{Client, ClientConfig, TopicPartition};
use rkafka::consumer::{Consumer, ConsumerRecord, IsolationLevel, Start};
use rkafka::producer::{ProducerError, Record, Transaction, TransactionalProducer};
use rkafka::protocol::messages::UpdateFeaturesRequest;
use rkafka::protocol::messages::update_features_request::FeatureUpdateKey;
use rkafka::{ExactlyOnce, Processor};
use rkafka_testkit::{eventually, pause};

use crate::trio::{GROUP, TRANSACTION, Trio, consumer_config, in_background, in_time, producer, producer_config};

const IN: &str = "in";
const OUT: &str = "out";
const PARTITIONS: i32 = 3;
const COPY: &str = "copy";
/// How many records each round brings.
const RECORDS: i64 = 150;

/// What the workers have done.
#[derive(Default)]
struct Done {
    transactions: AtomicUsize,
    /// How often a worker had to begin anew.
    failures: AtomicUsize,
    is_over: AtomicBool,
}

async fn until_over(done: &Done) {
    while !done.is_over.load(Ordering::SeqCst) {
        pause(Duration::from_millis(20)).await;
    }
}

struct Copying(Arc<Done>);

impl Processor<ProducerError> for Copying {
    async fn process(
        &mut self,
        records: &[ConsumerRecord],
        transaction: &Transaction<'_>,
    ) -> Result<(), ProducerError> {
        for record in records {
            let copy = Record::to(OUT).value(record.value().unwrap_or_default());
            // The commit waits for all of them.
            drop(transaction.send(copy).await?);
        }
        self.0.transactions.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

/// Copies records, each batch in a transaction with its offsets. Where it fails, another one takes its place.
async fn worker(bootstrap: String, id: String, done: Arc<Done>) {
    while !done.is_over.load(Ordering::SeqCst) {
        let config = consumer_config(&bootstrap)
            .group_id(COPY)
            .enable_auto_commit(false)
            .isolation_level(IsolationLevel::ReadCommitted)
            .max_poll_records(10_usize);
        let Ok(mut consumer) = Consumer::connect(config).await else { continue };
        consumer.subscribe([IN]).expect("subscribed");
        let config = producer_config(&bootstrap).transactional_id(id.clone());
        let Ok(producer) = TransactionalProducer::new(config).await else { continue };
        let mut copying = ExactlyOnce::new(consumer, producer).expect("its settings");
        let mut processor = Copying(Arc::clone(&done));
        let run = copying.drive(until_over(&done), &mut processor);
        if run.await.is_err() {
            done.failures.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// How many of the group's offsets are committed.
async fn committed(bootstrap: &str) -> Result<i64, String> {
    let consumer = Consumer::connect(consumer_config(bootstrap).group_id(COPY)).await.map_err(|it| it.to_string())?;
    let places: Vec<_> = (0..PARTITIONS).map(|partition| TopicPartition::new(IN, partition)).collect();
    let found = consumer.committed(&places).await.map_err(|error| error.to_string())?;
    Ok(found.into_iter().filter_map(|(_, at)| at).map(|at| at.offset).sum())
}

/// Reads what is committed of the copies, each of which must be there once.
async fn judge(bootstrap: &str, expected: i64) {
    let config = consumer_config(bootstrap).isolation_level(IsolationLevel::ReadCommitted);
    let mut consumer = Consumer::connect(config).await.expect("a consumer");
    consumer.assign((0..PARTITIONS).map(|partition| (OUT, partition, Start::Beginning))).expect("assigned");
    let mut counts = BTreeMap::<i64, usize>::new();
    while let Some(record) = in_time("the end", consumer.recv_until_end()).await.expect("a record") {
        let value = std::str::from_utf8(record.value().expect("a value")).expect("text");
        *counts.entry(value.parse().expect("a number")).or_default() += 1;
    }
    let twice: Vec<_> = counts.iter().filter(|(_, count)| **count > 1).collect();
    let lost: Vec<_> = (0..expected).filter(|number| !counts.contains_key(number)).collect();
    assert!(twice.is_empty() && lost.is_empty(), "twice: {twice:?}, lost: {lost:?}");
}

async fn set_transaction_version(bootstrap: &str, level: i16) {
    let client = Client::connect(ClientConfig::new().bootstrap_servers(bootstrap)).await.expect("a client");
    let update = FeatureUpdateKey {
        feature: "transaction.version".to_owned(),
        max_version_level: level,
        upgrade_type: 2,
        ..Default::default()
    };
    let request = UpdateFeaturesRequest { timeout_ms: 10_000, feature_updates: vec![update], ..Default::default() };
    let answer = in_time("the feature", client.request_any(request)).await.expect("an answer");
    assert_eq!(answer.error_code, 0, "{:?}", answer.error_message);
}

/// Which broker dies.
#[derive(Debug, Clone, Copy)]
enum Victim {
    TransactionCoordinator,
    Leader,
    GroupCoordinator,
}

async fn copies_exactly_once(transaction_version: i16) {
    let mut trio = Trio::start().await;
    trio.topic(IN, PARTITIONS).await;
    trio.topic(OUT, PARTITIONS).await;
    if transaction_version < 2 {
        set_transaction_version(&trio.bootstrap(), transaction_version).await;
    }
    let done = Arc::new(Done::default());
    let workers: Vec<_> = (0..2)
        .map(|number| in_background(worker(trio.bootstrap(), format!("copy-{number}"), Arc::clone(&done))))
        .collect();
    let producer = producer(&trio.bootstrap()).await;
    let mut next = 0;
    for victim in
        [Victim::TransactionCoordinator, Victim::Leader, Victim::GroupCoordinator, Victim::TransactionCoordinator]
    {
        let dies = match victim {
            Victim::TransactionCoordinator => trio.coordinator(TRANSACTION, "copy-0").await,
            Victim::Leader => trio.leader(OUT, 0).await,
            Victim::GroupCoordinator => trio.coordinator(GROUP, COPY).await,
        };
        for half in 0..2 {
            for number in next..next + RECORDS / 2 {
                let value = number.to_string();
                drop(in_time("room", producer.send(Record::to(IN).value(&value))).await.expect("accepted"));
            }
            next += RECORDS / 2;
            if half == 0 {
                let before = done.transactions.load(Ordering::SeqCst);
                eventually("transactions are under way", || async {
                    let now = done.transactions.load(Ordering::SeqCst);
                    if now > before + 1 { Ok(()) } else { Err(format!("{now}")) }
                })
                .await;
                trio.kill(dies);
            }
        }
        in_time("all is written", producer.flush()).await;
        let bootstrap = trio.bootstrap();
        eventually("all is copied", || async {
            match committed(&bootstrap).await {
                Ok(found) if found == next => Ok(()),
                other => Err(format!("{victim:?} {dies}: {other:?} of {next}")),
            }
        })
        .await;
        judge(&bootstrap, next).await;
        trio.revive(dies).await;
    }
    done.is_over.store(true, Ordering::SeqCst);
    for worker in workers {
        in_time("a worker's end", worker).await.expect("no panic");
    }
    judge(&trio.bootstrap(), next).await;
    drop(producer);
    trio.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_record_is_copied_once_whoever_dies() {
    copies_exactly_once(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_record_is_copied_once_whoever_dies_with_transactions_of_version_1() {
    copies_exactly_once(1).await;
}
