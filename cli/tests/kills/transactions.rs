//! Transactions: each is there as it ended, whole or not at all, and the group's offsets with it.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rkafka_testkit::{RawClient, RawError, RawProducer, TransactionProtocol, create_topic, eventually, pause};

use crate::broker::{Broker, Dice, Kills};

const TOPIC: &str = "numbers";
const PARTITIONS: i32 = 3;
const PRODUCERS: u64 = 4;
const TIMEOUT: Duration = Duration::from_secs(600);

/// What is known of how a transaction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Committed,
    Aborted,
    /// Nobody said: the broker was killed while it was to commit, and the next producer of the id did not ask.
    Unknown,
}

#[derive(Debug)]
struct Ended {
    producer: u64,
    number: u64,
    partitions: Vec<i32>,
    outcome: Outcome,
}

#[derive(Default)]
struct Told {
    ended: Mutex<Vec<Ended>>,
    commits: AtomicU64,
    is_over: AtomicBool,
}

async fn connect(address: &str) -> RawClient {
    eventually("a connection", || async { RawClient::connect(address).await.map_err(|error| error.to_string()) }).await
}

fn group(producer: u64) -> String {
    format!("group {producer}")
}

/// One producer and what is done to it.
struct Load {
    address: String,
    name: u64,
    client: RawClient,
    producer: RawProducer,
    dice: Dice,
}

impl Load {
    async fn begin(address: &str, name: u64, seed: u64) -> Self {
        let protocol = if name.is_multiple_of(2) { TransactionProtocol::V2 } else { TransactionProtocol::V1 };
        loop {
            let mut client = connect(address).await;
            match RawProducer::init(&mut client, &format!("producer {name}"), protocol, TIMEOUT).await {
                Ok(producer) => {
                    let dice = Dice(seed.wrapping_add(name));
                    return Self { address: address.to_owned(), name, client, producer, dice };
                }
                Err(RawError::Connection(_)) => {}
                Err(error) => panic!("producer {name}: {error}"),
            }
        }
    }

    /// Takes the id anew, as often as it takes.
    async fn init_again(&mut self) {
        loop {
            match self.producer.init_again(&mut self.client).await {
                Ok(()) => return,
                Err(RawError::Connection(_)) => self.client = connect(&self.address).await,
                Err(error) => panic!("producer {} begins anew: {error}", self.name),
            }
        }
    }

    /// What comes after a step: `true` to say it again, `false` when it is done. After a broken connection half of the
    /// transactions are given up, which is the error.
    async fn goes_on(&mut self, what: &str, done: Result<(), RawError>) -> Result<bool, ()> {
        match done {
            Ok(()) => Ok(false),
            Err(RawError::Connection(_)) => {
                self.client = connect(&self.address).await;
                if self.dice.below(2) == 0 {
                    self.init_again().await;
                    return Err(());
                }
                Ok(true)
            }
            Err(error) => panic!("producer {}: {what}: {error}", self.name),
        }
    }

    async fn fill(&mut self, number: u64, partitions: &[i32]) -> Result<(), ()> {
        let value = format!("{} {number}", self.name);
        let at_once = if self.dice.below(2) == 0 { 1 } else { partitions.len() };
        for partitions in partitions.chunks(at_once) {
            let values: Vec<(i32, &str)> = partitions.iter().map(|partition| (*partition, value.as_str())).collect();
            loop {
                let done = self.producer.produce(&mut self.client, TOPIC, &values).await;
                if !self.goes_on("produce", done).await? {
                    break;
                }
            }
        }
        loop {
            let (group, offset) = (group(self.name), i64::try_from(number).unwrap());
            let done = self.producer.commit_offset(&mut self.client, &group, (TOPIC, 0), offset).await;
            if !self.goes_on("commit an offset", done).await? {
                return Ok(());
            }
        }
    }

    /// Another producer takes the id in the midst of a transaction, and the older one, which does not know, goes on.
    async fn is_fenced(&mut self, partitions: &[i32]) {
        let mut old = self.producer.clone();
        self.init_again().await;
        let values: Vec<(i32, &str)> = partitions.iter().map(|partition| (*partition, "late")).collect();
        let late = [
            old.produce(&mut self.client, TOPIC, &values).await,
            old.commit_offset(&mut self.client, &group(self.name), (TOPIC, 0), 1 << 40).await,
            old.end(&mut self.client, true).await,
        ];
        for late in late {
            match late {
                Ok(()) => panic!("the older producer {} is not fenced", self.name),
                Err(RawError::Connection(_)) => self.client = connect(&self.address).await,
                Err(RawError::Refused { .. }) => {}
            }
        }
    }

    async fn transaction(&mut self, number: u64, partitions: &[i32]) -> Outcome {
        let commit = self.dice.below(4) > 0;
        if self.fill(number, partitions).await.is_err() {
            return Outcome::Aborted;
        }
        if self.dice.below(50) == 0 {
            self.is_fenced(partitions).await;
            return Outcome::Aborted;
        }
        loop {
            let done = self.producer.end(&mut self.client, commit).await;
            match self.goes_on("end", done).await {
                Ok(true) => {}
                Ok(false) if commit => return Outcome::Committed,
                Err(()) if commit => return Outcome::Unknown,
                Ok(false) | Err(()) => return Outcome::Aborted,
            }
        }
    }

    async fn run(mut self, told: Arc<Told>) {
        let mut number = 0;
        while !told.is_over.load(Ordering::Relaxed) {
            number += 1;
            let left_out = i32::try_from(self.dice.below(PARTITIONS as u64 + 1)).unwrap();
            let partitions: Vec<i32> = (0..PARTITIONS).filter(|partition| *partition != left_out).collect();
            let outcome = self.transaction(number, &partitions).await;
            let producer = self.name;
            told.ended.lock().unwrap().push(Ended { producer, number, partitions, outcome });
            if outcome == Outcome::Committed {
                told.commits.fetch_add(1, Ordering::SeqCst);
            }
        }
    }
}

/// All that was read so far of what is committed.
#[derive(Default)]
struct Read {
    next: [i64; PARTITIONS as usize],
    values: HashMap<(i32, String), i64>,
}

impl Read {
    /// Reads on to where all is decided. Says whether that is the end.
    async fn go_on(&mut self, address: &str) -> Result<(), String> {
        let mut client = connect(address).await;
        let mut undecided = Vec::new();
        for partition in 0..PARTITIONS {
            let next = &mut self.next[partition as usize];
            let read = client.read_committed(TOPIC, partition, *next).await.expect("what was read before is not lost");
            *next = read.next_offset;
            for (offset, value) in read.values {
                if let Some(before) = self.values.insert((partition, value.clone()), offset) {
                    panic!("{value} is in partition {partition} twice: at {before} and {offset}");
                }
            }
            if read.last_stable_offset < read.high_watermark {
                undecided.push((partition, read.last_stable_offset, read.high_watermark));
            }
        }
        if undecided.is_empty() { Ok(()) } else { Err(format!("undecided: {undecided:?}")) }
    }

    /// Whether the transaction is there; the answer is as it ended.
    fn has(&self, ended: &Ended) -> bool {
        let value = format!("{} {}", ended.producer, ended.number);
        let found: HashSet<i32> =
            (0..PARTITIONS).filter(|partition| self.values.contains_key(&(*partition, value.clone()))).collect();
        let whole: HashSet<i32> = ended.partitions.iter().copied().collect();
        match ended.outcome {
            Outcome::Committed => assert_eq!(found, whole, "committed: {ended:?}"),
            Outcome::Aborted => assert_eq!(found, HashSet::new(), "aborted: {ended:?}"),
            Outcome::Unknown => assert!(found.is_empty() || found == whole, "in part: {ended:?}, {found:?}"),
        }
        !found.is_empty()
    }
}

#[expect(clippy::print_stderr, reason = "it says what it found")]
async fn kill_transactions(policy: &str) {
    let Kills { rounds, mut dice } = Kills::of_environment(3);
    let directory = tempfile::tempdir().unwrap();
    let policy = format!("log.flush.policy={policy}");
    let settings = [
        policy.as_str(),
        "offsets.topic.num.partitions=4",
        "transaction.state.log.num.partitions=4",
        "log.segment.bytes=1048576",
    ];
    let mut broker = Broker::start(directory.path(), &settings).await;
    let address = broker.address().to_owned();
    let at = address.clone();
    tokio::task::spawn_blocking(move || create_topic(&at, TOPIC, PARTITIONS, &[])).await.unwrap();
    let told = Arc::new(Told::default());
    let mut load = tokio::task::JoinSet::new();
    for name in 0..PRODUCERS {
        let (address, told, seed) = (address.clone(), Arc::clone(&told), dice.below(u64::MAX));
        load.spawn(async move { Load::begin(&address, name, seed).await.run(told).await });
    }
    let mut read = Read::default();
    let mut slowest = Duration::ZERO;
    for _ in 0..rounds {
        let before = told.commits.load(Ordering::SeqCst);
        let enough = before + dice.below(4 * PRODUCERS);
        eventually("the load goes on", || async {
            let commits = told.commits.load(Ordering::SeqCst);
            (commits > enough).then_some(()).ok_or_else(|| format!("{commits} commits"))
        })
        .await;
        pause(Duration::from_millis(dice.below(200))).await;
        broker.kill();
        broker.start_again().await;
        slowest = slowest.max(broker.took);
        // Some are under way.
        let _ = read.go_on(&address).await;
    }
    told.is_over.store(true, Ordering::Relaxed);
    while let Some(ended) = load.join_next().await {
        ended.expect("the load ends well");
    }
    for _ in 0..6_000 {
        if read.go_on(&address).await.is_ok() {
            break;
        }
        pause(Duration::from_millis(10)).await;
    }
    read.go_on(&address).await.expect("nothing hangs");

    let ended = std::mem::take(&mut *told.ended.lock().unwrap());
    let mut last = [-1; PRODUCERS as usize];
    let mut records = 0;
    for transaction in &ended {
        if read.has(transaction) {
            records += transaction.partitions.len();
            let last = &mut last[usize::try_from(transaction.producer).unwrap()];
            *last = i64::try_from(transaction.number).unwrap().max(*last);
        }
    }
    assert_eq!(records, read.values.len(), "nothing else is there");
    let mut client = connect(&address).await;
    for (name, last) in (0..).zip(last) {
        let found = client.committed_offset(&group(name), TOPIC, 0).await.expect("no transaction is open");
        assert_eq!(found, last, "the offset of {}", group(name));
    }
    let count = |outcome| ended.iter().filter(|one| one.outcome == outcome).count();
    eprintln!(
        "{policy}: {} transactions committed, {} aborted, {} unknown; slowest start {} ms",
        count(Outcome::Committed),
        count(Outcome::Aborted),
        count(Outcome::Unknown),
        slowest.as_millis()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transactions_are_there_whole_or_not_at_all() {
    kill_transactions("group").await;
}

/// What was written is in the kernel's hands, and a killed process takes nothing of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transactions_are_there_without_syncs_too() {
    kill_transactions("interval").await;
}
