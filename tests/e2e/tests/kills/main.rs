//! Consumers that are killed (`kill -9`) at the worst moment: at most once doubles nothing, at least once loses nothing,
//! exactly once does neither.
//!
//! The consumer is a process of its own: this program, started again as the test `worker`. What it does with a record is
//! a line in a file, or, exactly once, a record in another topic. It stops where dying does the most harm and says so;
//! every other time it is killed whenever it comes.

mod worker;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rkafka::client::ClientSettings as _;
use rkafka::consumer::{Consumer, ConsumerConfig, IsolationLevel, OffsetReset, Start, TopicPartition};
use rkafka::producer::{Producer, ProducerConfig, Record};
use rkafka_testkit::{TestCluster, eventually, pause};
use worker::Mode;

const RECORDS: i64 = 240;
const PARTITIONS: i32 = 2;
const ROUNDS: u32 = 8;

/// Kills the process where the test fails.
struct Worker(Child);

impl Worker {
    fn start(mode: Mode, bootstrap: &str, folder: &Path, round: Option<u32>) -> Self {
        let mut command = Command::new(std::env::current_exe().expect("the test's own path"));
        command
            .args(["--exact", "worker::worker", "--nocapture"])
            .env(worker::MODE, mode.name())
            .env(worker::BOOTSTRAP, bootstrap)
            .env(worker::FOLDER, folder)
            // It ends with this process, by the end of its stdin.
            .stdin(Stdio::piped())
            .stdout(Stdio::null());
        if let Some(round) = round {
            command.env(worker::ROUND, round.to_string());
        }
        Self(command.spawn().expect("the worker starts"))
    }

    /// On Unix this is `kill -9`.
    fn kill(&mut self) {
        self.0.kill().expect("killed");
        self.0.wait().expect("it ends");
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Trial {
    cluster: TestCluster,
    folder: tempfile::TempDir,
    mode: Mode,
}

impl Trial {
    async fn begin(mode: Mode) -> Self {
        let cluster = TestCluster::builder()
            .topic("in", PARTITIONS)
            .topic("out", 1)
            .broker(|config| config.group_initial_rebalance_delay(Duration::ZERO))
            .start()
            .await;
        let producer = Producer::new(ProducerConfig::new().bootstrap_servers(cluster.bootstrap())).await.unwrap();
        for number in 0..RECORDS {
            let (key, value) = (format!("key {}", number % 10), number.to_string());
            let partition = i32::try_from(number % i64::from(PARTITIONS)).unwrap();
            drop(producer.send(Record::to("in").partition(partition).key(&key).value(&value)).await.unwrap());
        }
        producer.close(Duration::from_secs(60)).await.unwrap();
        Self { cluster, folder: tempfile::tempdir().unwrap(), mode }
    }

    fn start(&self, round: Option<u32>) -> Worker {
        let _ = std::fs::remove_file(self.folder.path().join(worker::MOMENT));
        Worker::start(self.mode, &self.cluster.bootstrap(), self.folder.path(), round)
    }

    /// How often the effect of each record is there.
    async fn effects(&self) -> BTreeMap<i64, usize> {
        let mut effects = BTreeMap::new();
        let mut count = |text: &str| *effects.entry(text.parse().expect("a number")).or_default() += 1;
        if self.mode == Mode::ExactlyOnce {
            let config = ConsumerConfig::new()
                .bootstrap_servers(self.cluster.bootstrap())
                .isolation_level(IsolationLevel::ReadCommitted);
            let mut consumer = Consumer::connect(config).await.unwrap();
            consumer.assign([("out", 0, Start::Beginning)]).unwrap();
            while let Some(record) = consumer.recv_until_end().await.unwrap() {
                count(std::str::from_utf8(record.value().unwrap()).unwrap());
            }
        } else {
            let file = std::fs::read_to_string(self.folder.path().join(worker::EFFECTS)).unwrap_or_default();
            file.lines().for_each(&mut count);
        }
        effects
    }

    /// `None` while a transaction of a dead worker holds offsets, which the next worker ends.
    async fn committed(&self) -> Option<i64> {
        let config = ConsumerConfig::new()
            .bootstrap_servers(self.cluster.bootstrap())
            .group_id("g")
            .request_timeout(Duration::from_secs(2))
            .default_api_timeout(Duration::from_secs(2))
            .auto_offset_reset(OffsetReset::Earliest);
        let consumer = Consumer::connect(config).await.ok()?;
        let places: Vec<_> = (0..PARTITIONS).map(|partition| TopicPartition::new("in", partition)).collect();
        let committed = consumer.committed(&places).await.ok()?;
        Some(committed.into_iter().filter_map(|(_, at)| at).map(|at| at.offset).sum())
    }

    async fn run(self) -> BTreeMap<i64, usize> {
        let mut at_the_moment = 0;
        for round in 0..ROUNDS {
            let before = self.effects().await.values().sum::<usize>();
            let mut worker = self.start(Some(round));
            let moment = self.folder.path().join(worker::MOMENT);
            eventually("the worker works", || async {
                let is_there = moment.exists();
                let effects = self.effects().await.values().sum::<usize>();
                let goes_on = is_there || (round % 2 == 1 && effects > before);
                if goes_on || self.committed().await == Some(RECORDS) {
                    Ok(())
                } else {
                    Err(format!("{effects} effects"))
                }
            })
            .await;
            if round % 2 == 1 {
                pause(Duration::from_millis(u64::from(round * 7 % 30))).await;
            }
            worker.kill();
            at_the_moment += usize::from(moment.exists());
        }
        assert!(at_the_moment >= 3, "it was killed at the worst moment {at_the_moment} times");
        assert_ne!(self.committed().await, Some(RECORDS), "there is something left to do");
        let worker = self.start(None);
        eventually("all is committed", || async {
            let committed = self.committed().await;
            if committed == Some(RECORDS) { Ok(()) } else { Err(format!("{committed:?} of {RECORDS}")) }
        })
        .await;
        if self.mode == Mode::AtMostOnce {
            // It commits first: the last batch is still worked on.
            eventually("the last record", || async {
                let last = [RECORDS - 1, RECORDS - 2];
                let effects = self.effects().await;
                if last.iter().all(|one| effects.contains_key(one)) { Ok(()) } else { Err("not yet".to_owned()) }
            })
            .await;
        }
        drop(worker);
        self.effects().await
    }
}

fn lost(effects: &BTreeMap<i64, usize>) -> BTreeSet<i64> {
    (0..RECORDS).filter(|number| !effects.contains_key(number)).collect()
}

fn doubled(effects: &BTreeMap<i64, usize>) -> usize {
    effects.values().filter(|times| **times > 1).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_most_once_doubles_nothing() {
    let effects = Trial::begin(Mode::AtMostOnce).await.run().await;
    assert_eq!(doubled(&effects), 0);
    assert!(!lost(&effects).is_empty(), "the worst moment costs records, or it is none");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_least_once_loses_nothing() {
    let effects = Trial::begin(Mode::AtLeastOnce).await.run().await;
    assert_eq!(lost(&effects), BTreeSet::new());
    assert!(doubled(&effects) > 0, "the worst moment doubles records, or it is none");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_by_the_interval_lose_nothing() {
    let effects = Trial::begin(Mode::Automatic).await.run().await;
    assert_eq!(lost(&effects), BTreeSet::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn marked_records_lose_nothing_in_whatever_order_they_are_done() {
    let effects = Trial::begin(Mode::Marked).await.run().await;
    assert_eq!(lost(&effects), BTreeSet::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exactly_once_neither_loses_nor_doubles() {
    let effects = Trial::begin(Mode::ExactlyOnce).await.run().await;
    assert_eq!((lost(&effects), doubled(&effects)), (BTreeSet::new(), 0));
}
