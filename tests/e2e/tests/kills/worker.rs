//! The process that is killed.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rkafka::ExactlyOnce;
use rkafka::client::ClientSettings as _;
use rkafka::consumer::{
    Consumer, ConsumerConfig, ConsumerRecord, IsolationLevel, OffsetReset, ParallelConsumer, ParallelOptions,
};
use rkafka::producer::{ProducerConfig, ProducerError, Record, TransactionalProducer};

pub const MODE: &str = "RKAFKA_TEST_MODE";
pub const BOOTSTRAP: &str = "RKAFKA_TEST_BOOTSTRAP";
pub const FOLDER: &str = "RKAFKA_TEST_FOLDER";
pub const ROUND: &str = "RKAFKA_TEST_ROUND";
/// The file with a line for each record that was dealt with.
pub const EFFECTS: &str = "effects";
/// The file that is there when the worst moment has come.
pub const MOMENT: &str = "moment";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    AtMostOnce,
    AtLeastOnce,
    Automatic,
    Marked,
    ExactlyOnce,
}

impl Mode {
    const ALL: [Self; 5] = [Self::AtMostOnce, Self::AtLeastOnce, Self::Automatic, Self::Marked, Self::ExactlyOnce];

    pub fn name(self) -> String {
        format!("{self:?}")
    }
}

#[derive(Debug, Clone)]
struct Work {
    bootstrap: String,
    folder: PathBuf,
    round: Option<u32>,
    done: Arc<AtomicUsize>,
}

impl Work {
    fn config(&self) -> ConsumerConfig {
        ConsumerConfig::new()
            .bootstrap_servers(self.bootstrap.clone())
            .group_id("g")
            // Whoever comes after a dead one has its name, and so its partitions, at once.
            .group_instance_id("worker".to_owned())
            .auto_offset_reset(OffsetReset::Earliest)
            .max_poll_records(6_usize)
    }

    async fn consumer(&self, config: ConsumerConfig) -> Consumer {
        let mut consumer = Consumer::connect(config).await.expect("a consumer");
        consumer.subscribe(["in"]).expect("subscribed");
        consumer
    }

    /// What dealing with a record leaves behind.
    fn effect(&self, record: &ConsumerRecord) {
        let line = format!("{}\n", String::from_utf8_lossy(record.value().unwrap_or_default()));
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(self.folder.join(EFFECTS)).unwrap();
        file.write_all(line.as_bytes()).unwrap();
        self.done.fetch_add(1, Ordering::SeqCst);
    }

    /// Waits for its end where so much was done, in the rounds that are for that.
    fn worst_moment(&self, after: usize) {
        let is_meant = self.round.is_some_and(|round| round.is_multiple_of(2));
        if is_meant && self.done.load(Ordering::SeqCst) >= after {
            std::fs::write(self.folder.join(MOMENT), b"").unwrap();
            loop {
                std::thread::park();
            }
        }
    }

    /// In the rounds that are not, it must be slow enough to be killed in the midst of it.
    async fn slowly(&self) {
        if self.round.is_some() {
            rkafka_testkit::pause(Duration::from_millis(5)).await;
        }
    }

    async fn at_most_once(self) {
        let mut consumer = self.consumer(self.config().enable_auto_commit(false)).await;
        let mut records = Vec::new();
        loop {
            records.clear();
            consumer.recv_many(&mut records).await.expect("records");
            consumer.commit().await.expect("committed");
            for record in &records {
                // Committed, and not all of it is done.
                self.worst_moment(8);
                self.effect(record);
                self.slowly().await;
            }
        }
    }

    async fn at_least_once(self) {
        let mut consumer = self.consumer(self.config().enable_auto_commit(false)).await;
        let mut records = Vec::new();
        loop {
            records.clear();
            consumer.recv_many(&mut records).await.expect("records");
            for record in &records {
                self.effect(record);
                self.slowly().await;
            }
            // Done, and not committed.
            self.worst_moment(12);
            consumer.commit().await.expect("committed");
        }
    }

    async fn automatic(self) {
        let mut consumer = self.consumer(self.config().auto_commit_interval(Duration::from_millis(3))).await;
        loop {
            let record = consumer.recv().await.expect("a record");
            // Commits go on meanwhile: none of them may be of this record.
            if self.round.is_some_and(|round| round.is_multiple_of(2)) && self.done.load(Ordering::SeqCst) >= 10 {
                rkafka_testkit::pause(Duration::from_millis(50)).await;
            }
            self.worst_moment(10);
            self.effect(&record);
            self.slowly().await;
        }
    }

    async fn marked(self) {
        let config = self.config().enable_auto_offset_store(false).auto_commit_interval(Duration::from_millis(3));
        let options = ParallelOptions::default().workers(4);
        let mut consumer = ParallelConsumer::connect(config, options).await.expect("a consumer");
        consumer.subscribe(["in"]).expect("subscribed");
        let run = consumer.run(move |record| {
            let work = self.clone();
            async move {
                let number: u64 = String::from_utf8_lossy(record.value().unwrap_or_default()).parse().unwrap();
                // Some take long, and others that came after them are done and marked before.
                rkafka_testkit::pause(Duration::from_millis(if number % 10 < 2 { 40 } else { 1 })).await;
                if number % 10 < 2 {
                    work.worst_moment(15);
                }
                work.effect(&record);
                work.slowly().await;
                Ok::<_, String>(())
            }
        });
        run.await.expect("it never ends");
    }

    async fn exactly_once(self) {
        let config = self.config().enable_auto_commit(false).isolation_level(IsolationLevel::ReadCommitted);
        let consumer = self.consumer(config).await;
        let config = ProducerConfig::new().bootstrap_servers(self.bootstrap.clone()).transactional_id("worker");
        let producer = TransactionalProducer::new(config).await.expect("a producer");
        let mut exactly_once = ExactlyOnce::new(consumer, producer).expect("its settings");
        let run = exactly_once.run(async |records, transaction| {
            let mut deliveries = Vec::new();
            for record in records {
                let copy = Record::to("out").value(record.value().unwrap_or_default());
                deliveries.push(transaction.send(copy).await?);
                self.done.fetch_add(1, Ordering::SeqCst);
                self.slowly().await;
            }
            for delivery in deliveries {
                delivery.await?;
            }
            // Written, and not committed.
            self.worst_moment(12);
            Ok::<_, ProducerError>(())
        });
        run.await.expect("it never ends");
    }
}

/// Nothing by itself: the process that the other tests start.
#[test]
fn worker() {
    let Ok(name) = std::env::var(MODE) else { return };
    std::thread::spawn(|| {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        std::process::exit(1);
    });
    let mode = Mode::ALL.into_iter().find(|mode| mode.name() == name).expect("a mode");
    let work = Work {
        bootstrap: std::env::var(BOOTSTRAP).expect("a cluster"),
        folder: std::env::var_os(FOLDER).expect("a folder").into(),
        round: std::env::var(ROUND).ok().map(|round| round.parse().expect("a number")),
        done: Arc::default(),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        match mode {
            Mode::AtMostOnce => work.at_most_once().await,
            Mode::AtLeastOnce => work.at_least_once().await,
            Mode::Automatic => work.automatic().await,
            Mode::Marked => work.marked().await,
            Mode::ExactlyOnce => work.exactly_once().await,
        }
    });
}
