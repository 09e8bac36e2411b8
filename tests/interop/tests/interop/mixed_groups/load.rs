//! Records that are sent and offsets that are asked for while a group goes through what it goes through.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rkafka::client::ClientSettings as _;
use rkafka::consumer::{Consumer, TopicPartition};
use rkafka::producer::Record;
use rkafka_testkit::pause;
use tokio::task::JoinHandle;

use super::clock;
use super::history::Sample;
use crate::support::{consumer_config, in_time, producer};

/// Between two records, and between two looks at what is committed.
const PACE: Duration = Duration::from_millis(8);
const LOOK: Duration = Duration::from_millis(150);

/// Tasks that go on until they are ended.
pub(crate) struct Load {
    stopped: Arc<AtomicBool>,
    sender: JoinHandle<BTreeMap<i32, Vec<String>>>,
}

impl Load {
    /// Sends numbers to the partitions in turn.
    pub(crate) fn begin(bootstrap: &str, topic: &str, partitions: i32) -> Self {
        let stopped = Arc::new(AtomicBool::new(false));
        let sender = in_background(send(bootstrap.to_owned(), topic.to_owned(), partitions, Arc::clone(&stopped)));
        Self { stopped, sender }
    }

    /// The values that were acknowledged, by partition and in the order of sending.
    pub(crate) async fn end(self) -> BTreeMap<i32, Vec<String>> {
        self.stopped.store(true, Ordering::Relaxed);
        in_time("the last acknowledgements", self.sender).await.expect("no panic")
    }
}

#[expect(clippy::disallowed_methods, reason = "records are sent beside the test")]
fn in_background<T: Send + 'static>(task: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    tokio::spawn(task)
}

async fn send(
    bootstrap: String,
    topic: String,
    partitions: i32,
    stopped: Arc<AtomicBool>,
) -> BTreeMap<i32, Vec<String>> {
    let producer = producer(&bootstrap, "none").await;
    let mut deliveries = Vec::new();
    let mut number = 0;
    while !stopped.load(Ordering::Relaxed) {
        let partition = number % partitions;
        let value = number.to_string();
        let delivery = producer.send(Record::to(&topic).partition(partition).value(&value)).await.expect("accepted");
        deliveries.push((partition, value, delivery));
        number += 1;
        pause(PACE).await;
    }
    let mut sent: BTreeMap<i32, Vec<String>> = BTreeMap::new();
    for (partition, value, delivery) in deliveries {
        delivery.await.unwrap_or_else(|error| panic!("{value} is not written: {error}"));
        sent.entry(partition).or_default().push(value);
    }
    sent
}

/// Looks at what a group has committed.
pub(super) struct Sampler {
    stopped: Arc<AtomicBool>,
    looking: JoinHandle<Vec<Sample>>,
}

impl Sampler {
    pub(super) fn begin(bootstrap: &str, group: &str, topic: &str, partitions: i32) -> Self {
        let stopped = Arc::new(AtomicBool::new(false));
        let config = consumer_config(bootstrap)
            .group_id(group)
            .request_timeout(Duration::from_secs(3))
            .default_api_timeout(Duration::from_secs(4));
        let places: Vec<_> = (0..partitions).map(|partition| TopicPartition::new(topic, partition)).collect();
        let until = Arc::clone(&stopped);
        let looking = in_background(async move {
            let consumer = Consumer::connect(config).await.expect("a consumer");
            let mut samples = Vec::new();
            while !until.load(Ordering::Relaxed) {
                let asked = clock();
                // Nobody may be there to answer.
                if let Ok(committed) = consumer.committed(&places).await {
                    let answered = clock();
                    samples.extend(committed.into_iter().filter_map(|(place, at)| {
                        let offset = at?.offset;
                        Some(Sample { asked, answered, partition: place.partition, offset })
                    }));
                }
                pause(LOOK).await;
            }
            samples
        });
        Self { stopped, looking }
    }

    pub(super) async fn end(self) -> Vec<Sample> {
        self.stopped.store(true, Ordering::Relaxed);
        in_time("the last look", self.looking).await.expect("no panic")
    }
}
