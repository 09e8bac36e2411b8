//! Producers and consumers for tests, and records that can be compared.

use std::time::Duration;

use rkafka::client::ClientSettings as _;
use rkafka::consumer::{Consumer, ConsumerConfig, ConsumerRecord, OffsetReset, Start};
use rkafka::producer::{Producer, ProducerConfig};

/// How long anything may take before it counts as not happening; far beyond what a busy machine needs.
pub const LIMIT: Duration = Duration::from_secs(120);

/// Name and value of headers.
pub type OwnedHeaders = Vec<(String, Option<Vec<u8>>)>;

/// What an application can see of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub partition: i32,
    pub offset: i64,
    pub timestamp: i64,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: OwnedHeaders,
}

impl From<&ConsumerRecord> for Seen {
    fn from(record: &ConsumerRecord) -> Self {
        let headers = record.headers().into_iter().map(|header| {
            let header = header.expect("headers can be read");
            (header.key_str().expect("names are text").to_owned(), header.value.map(<[u8]>::to_vec))
        });
        Self {
            partition: record.partition(),
            offset: record.offset(),
            timestamp: record.timestamp(),
            key: record.key().map(<[u8]>::to_vec),
            value: record.value().map(<[u8]>::to_vec),
            headers: headers.collect(),
        }
    }
}

pub fn producer_config(bootstrap: &str) -> ProducerConfig {
    ProducerConfig::new().bootstrap_servers(bootstrap)
}

pub async fn producer(bootstrap: &str) -> Producer {
    Producer::new(producer_config(bootstrap)).await.expect("a producer")
}

pub fn consumer_config(bootstrap: &str) -> ConsumerConfig {
    ConsumerConfig::new().bootstrap_servers(bootstrap).auto_offset_reset(OffsetReset::Earliest)
}

/// A consumer that reads all `partitions` of a topic from `start`.
pub async fn reader(bootstrap: &str, topic: &str, partitions: i32, start: Start) -> Consumer {
    let mut consumer = Consumer::connect(consumer_config(bootstrap)).await.expect("a consumer");
    consumer.assign((0..partitions).map(|partition| (topic, partition, start))).expect("partitions can be assigned");
    consumer
}

/// The next record, which must come.
pub async fn next(consumer: &mut Consumer) -> ConsumerRecord {
    in_time("the next record", consumer.recv()).await.expect("a record")
}

/// The next records' values as text.
pub async fn next_values(consumer: &mut Consumer, count: usize) -> Vec<String> {
    let mut values = Vec::with_capacity(count);
    while values.len() < count {
        values.push(value_text(&next(consumer).await));
    }
    values
}

pub fn value_text(record: &ConsumerRecord) -> String {
    String::from_utf8_lossy(record.value().unwrap_or_default()).into_owned()
}

/// Everything in a topic, partition by partition.
pub async fn read_all(bootstrap: &str, topic: &str, partitions: i32) -> Vec<Seen> {
    let mut consumer = reader(bootstrap, topic, partitions, Start::Beginning).await;
    let mut seen = Vec::new();
    while let Some(record) = in_time("the end", consumer.recv_until_end()).await.expect("a record") {
        seen.push(Seen::from(&record));
        assert!(Seen::from(&record.detach()) == Seen::from(&record), "a record without its batch is the same record");
    }
    consumer.close().await.expect("the consumer closes");
    seen.sort_by_key(|seen| (seen.partition, seen.offset));
    seen
}

/// What must happen within [`LIMIT`].
pub async fn in_time<T>(what: &str, future: impl IntoFuture<Output = T>) -> T {
    match tokio::time::timeout(LIMIT, future).await {
        Ok(done) => done,
        Err(_) => panic!("{what}: not within {LIMIT:?}"),
    }
}

/// Runs beside the test.
#[expect(clippy::disallowed_methods, reason = "a test has more than one thing under way")]
pub fn in_background<T: Send + 'static>(
    future: impl Future<Output = T> + Send + 'static,
) -> tokio::task::JoinHandle<T> {
    tokio::spawn(future)
}
