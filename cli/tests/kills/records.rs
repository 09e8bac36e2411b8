//! Records and commits outside of transactions.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rkafka::client::ClientSettings as _;
use rkafka::consumer::{CommittedOffset, Consumer, ConsumerConfig, Start, TopicPartition};
use rkafka::producer::{Producer, ProducerConfig, Record};
use rkafka_testkit::{create_topic, eventually, pause};

use crate::broker::{Broker, Kills};

const TOPIC: &str = "numbers";
const PARTITIONS: i32 = 3;
/// So many records are under way at most.
const UNDER_WAY: usize = 2_000;

/// What the load has been told, and so must find again.
#[derive(Default)]
struct Told {
    /// Partition and offset of each acknowledged number; the offset is -1 where the broker did not tell it.
    acknowledged: Mutex<HashMap<u64, (i32, i64)>>,
    committed: AtomicI64,
    tried: AtomicI64,
    is_over: AtomicBool,
}

/// Sends numbers, each once, through all that happens to the broker. `of` producers share the numbers.
async fn produce(bootstrap: String, told: Arc<Told>, first: u64, of: u64) {
    let config = ProducerConfig::new()
        .bootstrap_servers(&bootstrap)
        .linger(Duration::from_millis(1))
        .delivery_timeout(Duration::from_secs(600));
    let producer = Producer::new(config).await.expect("a producer");
    let (deliveries, mut sent) = tokio::sync::mpsc::channel(UNDER_WAY);
    let send = async {
        let deliveries = deliveries;
        let mut number = first;
        while !told.is_over.load(Ordering::Relaxed) {
            let record = Record::to(TOPIC).partition((number % PARTITIONS as u64) as i32);
            let delivery = producer.send(record.value(&number.to_string())).await.expect("accepted");
            deliveries.send((number, delivery)).await.expect("somebody listens");
            number += of;
            if number % 50 < of {
                pause(Duration::from_millis(1)).await;
            }
        }
    };
    let hear = async {
        while let Some((number, delivery)) = sent.recv().await {
            let place = delivery.await.expect("written in the end");
            told.acknowledged.lock().unwrap().insert(number, (place.partition, place.offset));
        }
    };
    tokio::join!(send, hear);
}

/// Commits one offset after the other.
async fn commit(bootstrap: String, told: Arc<Told>) {
    let consumer = group(&bootstrap).await;
    while !told.is_over.load(Ordering::Relaxed) {
        let next = told.tried.fetch_add(1, Ordering::SeqCst) + 1;
        let offset = [(TopicPartition::new(TOPIC, 0), CommittedOffset::new(next))];
        if consumer.commit_offsets(offset).await.is_ok() {
            told.committed.store(next, Ordering::SeqCst);
        }
    }
}

async fn group(bootstrap: &str) -> Consumer {
    let config = ConsumerConfig::new().bootstrap_servers(bootstrap).group_id("g").enable_auto_commit(false);
    let mut consumer = Consumer::connect(config).await.expect("a consumer");
    consumer.assign([(TOPIC, 0, Start::Beginning)]).expect("assigned");
    consumer
}

/// All that was read so far: the numbers of each partition, by offset.
#[derive(Default)]
struct Read {
    next: [i64; PARTITIONS as usize],
    places: HashMap<u64, (i32, i64)>,
}

impl Read {
    /// Reads on from where the last look ended, to the end.
    async fn go_on(&mut self, bootstrap: &str) {
        let config = ConsumerConfig::new().bootstrap_servers(bootstrap);
        let mut consumer = Consumer::connect(config).await.expect("a consumer");
        let starts: Vec<_> = (0..PARTITIONS).map(|p| (TOPIC, p, Start::Offset(self.next[p as usize]))).collect();
        consumer.assign(starts).expect("assigned");
        while let Some(record) = consumer.recv_until_end().await.expect("what was read before is not lost") {
            let number: u64 = String::from_utf8_lossy(record.value().unwrap()).parse().unwrap();
            let place = (record.partition(), record.offset());
            assert!(record.offset() >= self.next[place.0 as usize], "the log has become shorter: {place:?}");
            self.next[place.0 as usize] = place.1 + 1;
            if let Some(before) = self.places.insert(number, place) {
                panic!("{number} is there twice: {before:?} and {place:?}");
            }
        }
        consumer.close().await.expect("closed");
    }

    fn has_all(&self, acknowledged: &HashMap<u64, (i32, i64)>) {
        for (number, (partition, offset)) in acknowledged {
            match self.places.get(number) {
                None => panic!("{number}, acknowledged at {partition}:{offset}, is lost"),
                Some(found) => assert!(
                    found.0 == *partition && (*offset == -1 || found.1 == *offset),
                    "{number} was acknowledged at {partition}:{offset} and is at {found:?}"
                ),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(clippy::print_stderr, reason = "a test says what it found")]
async fn nothing_that_was_acknowledged_is_lost_or_doubled() {
    let Kills { rounds, mut dice } = Kills::of_environment(4);
    let directory = tempfile::tempdir().unwrap();
    let settings = ["log.flush.policy=group", "offsets.topic.num.partitions=4", "log.segment.bytes=1048576"];
    let mut broker = Broker::start(directory.path(), &settings).await;
    let address = broker.address().to_owned();
    create_topic(&address, TOPIC, PARTITIONS, &[]);

    let told = Arc::new(Told::default());
    let mut load = tokio::task::JoinSet::new();
    for first in 0..2 {
        load.spawn(produce(address.clone(), Arc::clone(&told), first, 2));
    }
    load.spawn(commit(address.clone(), Arc::clone(&told)));
    let mut read = Read::default();
    let mut slowest = Duration::ZERO;
    let mut checked = 0;
    for round in 0..rounds {
        eventually("the load goes on", || async {
            let is_on = !told.acknowledged.lock().unwrap().is_empty() || load.is_empty();
            is_on.then_some(()).ok_or_else(|| "no record was acknowledged".to_owned())
        })
        .await;
        pause(Duration::from_millis(dice.below(400))).await;
        broker.kill();
        let (acknowledged, committed) =
            (std::mem::take(&mut *told.acknowledged.lock().unwrap()), told.committed.load(Ordering::SeqCst));
        broker.start_again().await;
        slowest = slowest.max(broker.took);
        read.go_on(&address).await;
        // What was found stays found: a log that becomes shorter, or has a number twice, is noticed by the next look.
        read.has_all(&acknowledged);
        checked += acknowledged.len();
        let group = group(&address).await;
        let found = group.committed(&[TopicPartition::new(TOPIC, 0)]).await.expect("an answer");
        let found = found.first().and_then(|(_, found)| found.as_ref()).map_or(0, |found| found.offset);
        assert!(found >= committed, "round {round}: {committed} was committed, and {found} is found");
        assert!(found <= told.tried.load(Ordering::SeqCst), "an offset that nobody committed");
        group.close().await.expect("closed");
    }
    told.is_over.store(true, Ordering::Relaxed);
    while let Some(ended) = load.join_next().await {
        ended.expect("the load ends well");
    }
    read.go_on(&address).await;
    let acknowledged = told.acknowledged.lock().unwrap().clone();
    read.has_all(&acknowledged);
    checked += acknowledged.len();
    assert_eq!(read.places.len(), checked, "each record that was sent is acknowledged in the end");
    eprintln!(
        "{checked} records, {} commits, slowest start {} ms",
        told.committed.load(Ordering::SeqCst),
        slowest.as_millis()
    );
}
