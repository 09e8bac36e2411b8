//! The clients: our own, unchanged, over the simulated network.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rkafka::admin::{Admin, NewTopic};
use rkafka::client::{Client, ClientConfig, ClientOptions, ClientSettings, ErrorCode};
use rkafka::consumer::{Consumer, ConsumerConfig, OffsetReset, Start};
use rkafka::producer::{Acks, Producer, ProducerConfig, Record};

use crate::history::{History, Payload};
use crate::net::{HostId, Net, address};
use crate::node::{BROKERS, EPOCH_MS, PORT};
use crate::plan::Plan;
use crate::rng::Rng;

/// The topic that everybody uses.
pub const TOPIC: &str = "t";
/// How long a record may take. Longer than any time of faults, so that a failure tells of something.
const DELIVERY: Duration = Duration::from_secs(120);

/// What the clients and the simulation share.
#[derive(Debug, Default)]
pub struct Shared {
    history: Mutex<History>,
    /// Whether the topic is there.
    pub is_created: AtomicBool,
    /// Whether producers are to send nothing more.
    pub is_over: AtomicBool,
    /// How many records wait for their fate.
    pub waiting: AtomicU64,
    /// Up to where the reader has read, by partition.
    positions: Mutex<BTreeMap<i32, i64>>,
    /// What a last reader found, once it is done.
    pub found: Mutex<Option<BTreeMap<(i32, i64), Payload>>>,
}

impl Shared {
    /// What clients saw.
    pub fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Up to where the reader has read.
    pub fn position(&self, partition: i32) -> i64 {
        let positions = self.positions.lock().unwrap_or_else(PoisonError::into_inner);
        positions.get(&partition).copied().unwrap_or(0)
    }
}

fn servers() -> String {
    (1..=BROKERS).map(|id| address(id, PORT).to_string()).collect::<Vec<_>>().join(",")
}

fn options(net: &Net, host: HostId) -> ClientOptions {
    ClientOptions::default().dialer(net.dialer(host))
}

#[expect(clippy::disallowed_methods, reason = "clients of a simulation wait by virtual time")]
async fn pause(duration: Duration) {
    tokio::time::sleep(duration).await;
}

/// Creates the topic, however long that takes.
pub async fn create_topic(net: Net, host: HostId, plan: Plan, shared: Arc<Shared>) {
    let topic = NewTopic::new(TOPIC).partitions(plan.partitions).replication_factor(3);
    let topic = topic.config("min.insync.replicas", "2");
    loop {
        let config = ClientConfig::new().bootstrap_servers(servers());
        if let Ok(client) = Client::connect_with(config, options(&net, host)).await {
            let created = Admin::from_client(client).create_topics([&topic]).await;
            for (_, outcome) in created.into_iter().flatten() {
                match outcome {
                    Ok(_) => shared.is_created.store(true, Ordering::Relaxed),
                    Err(error) if error.code() == Some(ErrorCode::TopicAlreadyExists) => {
                        shared.is_created.store(true, Ordering::Relaxed);
                    }
                    Err(error) => tracing::info!(%error, "the topic is not there yet"),
                }
            }
        }
        if shared.is_created.load(Ordering::Relaxed) {
            return;
        }
        pause(Duration::from_millis(200)).await;
    }
}

/// Sends numbered records, each to a partition by chance, until it is over.
pub async fn produce(net: Net, host: HostId, number: u64, plan: Plan, mut rng: Rng, shared: Arc<Shared>) {
    let config = ProducerConfig::new()
        .bootstrap_servers(servers())
        .client_id(format!("producer-{number}"))
        .acks(Acks::All)
        .linger(Duration::from_millis(rng.within(0..20)))
        .request_timeout(Duration::from_millis(rng.within(1_500..10_000)))
        .max_block(DELIVERY)
        .delivery_timeout(DELIVERY)
        .metadata_max_age(Duration::from_secs(5));
    let producer = loop {
        match Producer::with_options(config.clone(), options(&net, host)).await {
            Ok(producer) => break producer,
            Err(error) => tracing::info!(%error, "no producer yet"),
        }
        pause(Duration::from_millis(100)).await;
    };
    let mut numbers = BTreeMap::<i32, u64>::new();
    while !shared.is_over.load(Ordering::Relaxed) {
        pause(Duration::from_millis(rng.within(plan.think_ms.clone()))).await;
        let partition = i32::try_from(rng.within(0..u64::try_from(plan.partitions).unwrap_or(1))).unwrap_or(0);
        let next = numbers.entry(partition).or_default();
        let payload = Payload { producer: number, number: *next };
        *next += 1;
        let value = payload.to_value(usize::try_from(rng.within(0..200)).unwrap_or(0));
        // A time of its own, for the producer's clock is the kernel's.
        let record = Record::to(TOPIC).partition(partition).value(&value).timestamp(EPOCH_MS);
        shared.history().sent += 1;
        match producer.send(record).await {
            Ok(delivery) => {
                shared.waiting.fetch_add(1, Ordering::Relaxed);
                let shared = Arc::clone(&shared);
                spawn(async move {
                    let result = delivery.await;
                    let mut history = shared.history();
                    match result {
                        Ok(placed) => history.acknowledge(placed.partition, placed.offset, payload),
                        Err(error) => {
                            history.failed += 1;
                            history.violate(format!("a producer gives {payload:?} up: {error}"));
                        }
                    }
                    shared.waiting.fetch_sub(1, Ordering::Relaxed);
                });
            }
            Err(error) => {
                shared.history().failed += 1;
                tracing::info!(%error, "a record is not taken");
            }
        }
    }
    producer.flush().await;
}

#[expect(clippy::disallowed_methods, reason = "whoever waits for a record runs beside its producer")]
fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    drop(tokio::spawn(task));
}

async fn reader(net: &Net, host: HostId, partitions: i32) -> Consumer {
    let config = ConsumerConfig::new()
        .bootstrap_servers(servers())
        .enable_auto_commit(false)
        .auto_offset_reset(OffsetReset::None)
        .metadata_max_age(Duration::from_secs(5))
        .request_timeout(Duration::from_secs(5));
    loop {
        match Consumer::connect_with(config.clone(), options(net, host)).await {
            Ok(mut consumer) => match consumer.assign((0..partitions).map(|n| (TOPIC, n, Start::Offset(0)))) {
                Ok(()) => return consumer,
                Err(error) => tracing::info!(%error, "partitions cannot be assigned"),
            },
            Err(error) => tracing::info!(%error, "no consumer yet"),
        }
        pause(Duration::from_millis(100)).await;
    }
}

/// Reads all partitions from their beginning on, for as long as it is let.
pub async fn consume(net: Net, host: HostId, plan: Plan, shared: Arc<Shared>) {
    let mut consumer = reader(&net, host, plan.partitions).await;
    loop {
        match consumer.recv().await {
            Ok(record) => {
                let (partition, offset) = (record.partition(), record.offset());
                let mut history = shared.history();
                let mut positions = shared.positions.lock().unwrap_or_else(PoisonError::into_inner);
                let next = positions.entry(partition).or_insert(0);
                // Nothing is compacted, and there are no transactions: no offset is left out.
                if offset != *next {
                    history.violate(format!("a consumer goes from {next} to {offset} in partition {partition}"));
                }
                *next = offset + 1;
                history.consume(partition, offset, record.value().unwrap_or_default(), "a consumer");
            }
            Err(error) => {
                shared.history().violate(format!("a consumer fails: {error}"));
                return;
            }
        }
    }
}

/// Reads everything once more, up to the present end, and leaves it in `shared.found`.
pub async fn read_all(net: Net, host: HostId, plan: Plan, ends: BTreeMap<i32, i64>, shared: Arc<Shared>) {
    let mut consumer = reader(&net, host, plan.partitions).await;
    let mut found = BTreeMap::new();
    let mut left: i64 = ends.values().sum();
    while left > 0 {
        match consumer.recv().await {
            Ok(record) => {
                let place = (record.partition(), record.offset());
                let value = record.value().unwrap_or_default();
                shared.history().consume(place.0, place.1, value, "a last consumer");
                if let Some(payload) = Payload::of_value(value) {
                    found.insert(place, payload);
                }
                if ends.get(&place.0).is_some_and(|end| place.1 < *end) {
                    left -= 1;
                }
            }
            Err(error) => {
                shared.history().violate(format!("a last consumer fails: {error}"));
                return;
            }
        }
    }
    *shared.found.lock().unwrap_or_else(PoisonError::into_inner) = Some(found);
}
