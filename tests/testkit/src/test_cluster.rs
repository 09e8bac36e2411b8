//! An embedded broker that a test can stop, crash and start again.

use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rkafka_broker_core::{Broker, BrokerConfig, BrokerError, BrokerHandle};
use tokio::sync::oneshot;

use crate::create_topic;

/// How long a start waits for a port that the broker had before to be free again.
const PORT_LIMIT: Duration = Duration::from_secs(60);

/// A change of the broker's settings.
type Change = Box<dyn Fn(BrokerConfig) -> BrokerConfig + Send>;

/// What is to be started.
#[must_use]
pub struct TestClusterBuilder {
    topics: Vec<(String, i32)>,
    changes: Vec<Change>,
    on_disk: bool,
}

impl std::fmt::Debug for TestClusterBuilder {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("TestClusterBuilder")
            .field("topics", &self.topics)
            .field("on_disk", &self.on_disk)
            .finish()
    }
}

impl TestClusterBuilder {
    /// Creates a topic at the start.
    pub fn topic(mut self, name: &str, partitions: i32) -> Self {
        self.topics.push((name.to_owned(), partitions));
        self
    }

    /// Changes the broker's settings, at every start.
    pub fn broker(mut self, change: impl Fn(BrokerConfig) -> BrokerConfig + Send + 'static) -> Self {
        self.changes.push(Box::new(change));
        self
    }

    /// Keeps the records in a temporary folder, so that they outlive a restart, and not in memory.
    pub fn on_disk(mut self) -> Self {
        self.on_disk = true;
        self
    }

    /// Starts the broker.
    ///
    /// # Panics
    /// It does not start, or a topic cannot be created.
    pub async fn start(self) -> TestCluster {
        let folder = self.on_disk.then(|| tempfile::tempdir().expect("a temporary folder"));
        let (orders, inbox) = mpsc::channel();
        let (ready, started) = oneshot::channel();
        let mut host =
            Host { changes: self.changes, data: folder.as_ref().map(|folder| folder.path().join("data")), port: 0 };
        let thread = std::thread::Builder::new()
            .name("test-cluster".to_owned())
            .spawn(move || host.run(&inbox, ready))
            .expect("a thread for the broker");
        let bootstrap = started.await.expect("the broker's thread lives").expect("the broker starts");
        let cluster = TestCluster { orders, thread: Some(thread), bootstrap, folder };
        for (name, partitions) in self.topics {
            let bootstrap = cluster.bootstrap();
            let created = tokio::task::spawn_blocking(move || create_topic(&bootstrap, &name, partitions, &[]));
            created.await.expect("the topic is created");
        }
        cluster
    }
}

/// An embedded broker on a free port of 127.0.0.1, on threads of its own. Dropped, it stops in good order and its
/// records are gone.
#[derive(Debug)]
pub struct TestCluster {
    orders: mpsc::Sender<(Order, oneshot::Sender<Result<(), String>>)>,
    thread: Option<JoinHandle<()>>,
    bootstrap: String,
    folder: Option<tempfile::TempDir>,
}

#[derive(Debug, Clone, Copy)]
enum Order {
    Stop,
    Crash,
    Start,
}

impl TestCluster {
    /// Starts a broker that keeps everything in memory.
    ///
    /// # Panics
    /// It does not start.
    pub async fn start() -> Self {
        Self::builder().start().await
    }

    /// A broker with settings, topics or files.
    pub fn builder() -> TestClusterBuilder {
        TestClusterBuilder { topics: Vec::new(), changes: Vec::new(), on_disk: false }
    }

    /// The address for `bootstrap.servers`; it stays the same over restarts.
    pub fn bootstrap(&self) -> String {
        self.bootstrap.clone()
    }

    /// Where the broker keeps its files.
    ///
    /// # Panics
    /// It keeps none.
    pub fn data_dir(&self) -> PathBuf {
        let folder = self.folder.as_ref().map(tempfile::TempDir::path).map(Path::to_owned);
        folder.expect("only a cluster that was built with `on_disk` has files").join("data")
    }

    /// Stops the broker in good order.
    ///
    /// # Panics
    /// It does not stop in good order.
    pub async fn stop(&self) {
        self.order(Order::Stop).await;
    }

    /// Stops the broker from one moment to the next, without leaving anything in order. What it had given to the
    /// system is kept, as with `kill -9`.
    ///
    /// # Panics
    /// The broker's thread is gone.
    pub async fn crash(&self) {
        self.order(Order::Crash).await;
    }

    /// Starts the broker again after [`TestCluster::stop`] or [`TestCluster::crash`], at the same address.
    ///
    /// # Panics
    /// It does not start.
    pub async fn start_again(&self) {
        self.order(Order::Start).await;
    }

    /// Stops the broker in good order and starts it again.
    ///
    /// # Panics
    /// It does not stop in good order, or does not start.
    pub async fn restart(&self) {
        self.stop().await;
        self.start_again().await;
    }

    async fn order(&self, order: Order) {
        let (reply, done) = oneshot::channel();
        self.orders.send((order, reply)).expect("the broker's thread lives");
        if let Err(why) = done.await.expect("the broker's thread lives") {
            panic!("{order:?}: {why}");
        }
    }
}

impl Drop for TestCluster {
    fn drop(&mut self) {
        let (reply, _) = oneshot::channel();
        drop(self.orders.send((Order::Stop, reply)));
        // The thread ends when nobody can give orders any more.
        self.orders = mpsc::channel().0;
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking(), "the broker's thread panicked");
        }
    }
}

/// What lives on the broker's thread.
struct Host {
    changes: Vec<Change>,
    data: Option<PathBuf>,
    port: u16,
}

impl Host {
    fn run(
        &mut self,
        inbox: &mpsc::Receiver<(Order, oneshot::Sender<Result<(), String>>)>,
        ready: oneshot::Sender<Result<String, String>>,
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = match runtime {
            Ok(runtime) => runtime,
            Err(error) => return drop(ready.send(Err(error.to_string()))),
        };
        let mut broker = match runtime.block_on(self.start()) {
            Ok(broker) => Some(broker),
            Err(error) => return drop(ready.send(Err(error))),
        };
        let bootstrap = broker.as_ref().map(BrokerHandle::bootstrap).unwrap_or_default();
        self.port = bootstrap.rsplit(':').next().and_then(|port| port.parse().ok()).unwrap_or_default();
        drop(ready.send(Ok(bootstrap)));
        while let Ok((order, reply)) = inbox.recv() {
            let result = match order {
                Order::Stop => match broker.take() {
                    Some(broker) => runtime.block_on(broker.shutdown()).map_err(|error| error.to_string()),
                    None => Ok(()),
                },
                Order::Crash => {
                    let _entered = runtime.enter();
                    drop(broker.take());
                    Ok(())
                }
                Order::Start if broker.is_some() => Err("it runs already".to_owned()),
                Order::Start => runtime.block_on(self.start()).map(|started| broker = Some(started)),
            };
            drop(reply.send(result));
        }
    }

    #[expect(clippy::disallowed_methods, reason = "waits for a port to be free again")]
    async fn start(&self) -> Result<BrokerHandle, String> {
        let begun = Instant::now();
        loop {
            let mut config = BrokerConfig::new()
                .listeners(format!("PLAINTEXT://127.0.0.1:{}", self.port))
                .group_initial_rebalance_delay(Duration::ZERO)
                // As the reference has them, so that a test need not wait long for a member that is gone.
                .group_min_session_timeout(Duration::from_secs(1))
                .group_consumer_min_session_timeout(Duration::from_secs(1))
                .group_consumer_min_heartbeat_interval(Duration::from_millis(100))
                .offsets_topic_num_partitions(4);
            config = match &self.data {
                Some(data) => config.log_dirs(vec![data.display().to_string()]),
                None => config.in_memory(true),
            };
            for change in &self.changes {
                config = change(config);
            }
            match Broker::start(config).await {
                Ok(broker) => return Ok(broker),
                // A client's own end of a connection may have the port for a moment.
                Err(BrokerError::Bind { .. }) if self.port != 0 && begun.elapsed() < PORT_LIMIT => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Err(error) => return Err(error.to_string()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_cluster_on_disk_keeps_its_topics_over_stops_and_crashes() {
        let cluster = TestCluster::builder().topic("kept", 3).on_disk().start().await;
        let bootstrap = cluster.bootstrap();
        cluster.restart().await;
        cluster.crash().await;
        cluster.start_again().await;
        assert_eq!(cluster.bootstrap(), bootstrap);
        assert!(cluster.data_dir().join("__cluster_metadata-0").is_dir());
        let address = bootstrap.clone();
        let refused = tokio::task::spawn_blocking(move || create_topic(&address, "kept", 1, &[])).await;
        assert!(refused.is_err(), "the topic is there already");
    }
}
