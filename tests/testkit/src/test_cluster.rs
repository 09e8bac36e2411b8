//! Embedded brokers that a test can stop, crash and start again.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rkafka_broker_core::{Broker, BrokerConfig, BrokerError, BrokerHandle, Cluster};
use tokio::sync::oneshot;

use crate::create_topic;

/// How long a start waits for a port that the broker had before to be free again.
const PORT_LIMIT: Duration = Duration::from_secs(60);

/// A change of the broker's settings.
type Change = Arc<dyn Fn(BrokerConfig) -> BrokerConfig + Send + Sync>;

/// What is to be started.
#[must_use]
pub struct TestClusterBuilder {
    topics: Vec<(String, i32)>,
    changes: Vec<Change>,
    on_disk: bool,
    brokers: u16,
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

    /// So many brokers with ids from 1 on, each a controller too. Topics have as many replicas as there are brokers, but for
    /// those that say otherwise.
    pub fn brokers(mut self, count: u16) -> Self {
        self.brokers = count.max(1);
        self
    }

    /// Changes the settings of each broker, at every start.
    pub fn broker(mut self, change: impl Fn(BrokerConfig) -> BrokerConfig + Send + Sync + 'static) -> Self {
        self.changes.push(Arc::new(change));
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
        let mut host = Host {
            changes: self.changes,
            data: folder.as_ref().map(|folder| folder.path().join("data")),
            ports: vec![0; usize::from(self.brokers)],
        };
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

/// An embedded broker, or several, on free ports of 127.0.0.1, on threads of their own. Dropped, they stop in good order
/// and their records are gone.
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
    StopOne(i32),
    CrashOne(i32),
    StartOne(i32),
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
        TestClusterBuilder { topics: Vec::new(), changes: Vec::new(), on_disk: false, brokers: 1 }
    }

    /// The addresses for `bootstrap.servers`; they stay the same over restarts.
    pub fn bootstrap(&self) -> String {
        self.bootstrap.clone()
    }

    /// Where the broker keeps its files; of several, each has a folder in there, named by its id.
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

    /// Stops one of several brokers in good order: what it leads is led by others first.
    ///
    /// # Panics
    /// It does not run, or does not stop in good order.
    pub async fn stop_broker(&self, id: i32) {
        self.order(Order::StopOne(id)).await;
    }

    /// Stops one of several brokers from one moment to the next, as [`TestCluster::crash`] does.
    ///
    /// # Panics
    /// It does not run.
    pub async fn crash_broker(&self, id: i32) {
        self.order(Order::CrashOne(id)).await;
    }

    /// Starts one of several brokers again, at the same address.
    ///
    /// # Panics
    /// It does not start.
    pub async fn start_broker_again(&self, id: i32) {
        self.order(Order::StartOne(id)).await;
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

/// What lives on the brokers' thread.
struct Host {
    changes: Vec<Change>,
    data: Option<PathBuf>,
    /// Where each broker is found by clients; 0 before the first start.
    ports: Vec<u16>,
}

/// What runs.
enum Running {
    Nothing,
    One(Box<BrokerHandle>),
    Several(Cluster),
}

impl Running {
    fn bootstrap(&self) -> String {
        match self {
            Self::Nothing => String::new(),
            Self::One(broker) => broker.bootstrap(),
            Self::Several(cluster) => cluster.bootstrap(),
        }
    }

    async fn stop(self) -> Result<(), String> {
        let stopped = match self {
            Self::Nothing => Ok(()),
            Self::One(broker) => broker.shutdown().await,
            Self::Several(cluster) => cluster.shutdown().await,
        };
        stopped.map_err(|error| error.to_string())
    }

    /// Takes one of several out.
    fn take(&mut self, id: i32) -> Result<BrokerHandle, String> {
        let taken = if let Self::Several(cluster) = self { cluster.take(id) } else { None };
        taken.ok_or_else(|| format!("broker {id} of several does not run"))
    }
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
        let mut running = match runtime.block_on(self.start()) {
            Ok(running) => running,
            Err(error) => return drop(ready.send(Err(error))),
        };
        let bootstrap = running.bootstrap();
        let port_of = |address: &str| address.rsplit(':').next().and_then(|port| port.parse().ok()).unwrap_or_default();
        self.ports = bootstrap.split(',').map(port_of).collect();
        drop(ready.send(Ok(bootstrap)));
        while let Ok((order, reply)) = inbox.recv() {
            let result = match order {
                Order::Stop => runtime.block_on(std::mem::replace(&mut running, Running::Nothing).stop()),
                Order::Crash => {
                    let _entered = runtime.enter();
                    running = Running::Nothing;
                    Ok(())
                }
                Order::Start if !matches!(running, Running::Nothing) => Err("it runs already".to_owned()),
                Order::Start => runtime.block_on(self.start()).map(|started| running = started),
                Order::StopOne(id) => running
                    .take(id)
                    .and_then(|broker| runtime.block_on(broker.shutdown()).map_err(|error| error.to_string())),
                Order::CrashOne(id) => {
                    let _entered = runtime.enter();
                    running.take(id).map(drop)
                }
                Order::StartOne(id) => match &mut running {
                    Running::Several(cluster) => {
                        runtime.block_on(on_free_ports(async || cluster.start_again(id).await))
                    }
                    _ => Err(format!("broker {id} is not one of several")),
                },
            };
            drop(reply.send(result));
        }
    }

    async fn start(&self) -> Result<Running, String> {
        match *self.ports {
            [port] => {
                let start = async || Broker::start(self.config_of(BrokerConfig::new(), port)).await;
                Ok(Running::One(Box::new(on_free_ports(start).await?)))
            }
            ref ports => self.start_several(ports).await.map(Running::Several),
        }
    }

    fn config_of(&self, config: BrokerConfig, port: u16) -> BrokerConfig {
        let config = config
            .listeners(format!("PLAINTEXT://127.0.0.1:{port}"))
            // As the reference has them, so that a test need not wait long for a member that is gone.
            .group_initial_rebalance_delay(Duration::ZERO)
            .group_min_session_timeout(Duration::from_secs(1))
            .group_consumer_min_session_timeout(Duration::from_secs(1))
            .group_consumer_min_heartbeat_interval(Duration::from_millis(100))
            .offsets_topic_num_partitions(4);
        let config = match &self.data {
            Some(data) => config.log_dirs(vec![data.display().to_string()]),
            None => config.in_memory(true),
        };
        self.changes.iter().fold(config, |config, change| change(config))
    }

    /// Starts brokers that are a cluster.
    async fn start_several(&self, ports: &[u16]) -> Result<Cluster, String> {
        // Ports that stay the same over restarts; somebody else may take one in between, so that it is tried again.
        let begin = async || {
            let held: Vec<TcpListener> = ports
                .iter()
                .filter_map(|port| TcpListener::bind(("127.0.0.1", *port)).ok().filter(|_| *port == 0))
                .collect();
            let free = held.iter().filter_map(|listener| listener.local_addr().ok()).map(|address| address.port());
            let ports: Vec<u16> = if held.is_empty() { ports.to_vec() } else { free.collect() };
            drop(held);
            let factor = i16::try_from(ports.len()).unwrap_or(i16::MAX);
            let changes = self.changes.clone();
            let data = self.data.clone();
            Cluster::brokers(i32::from(factor))
                .with(move |config| {
                    let id = config.node_id;
                    let at = usize::try_from(id - 1).unwrap_or_default();
                    let port = ports.get(at).copied().unwrap_or_default();
                    let for_controllers = config.listeners.get(1).cloned().unwrap_or_default();
                    let data = data.as_ref().map(|data| data.join(id.to_string()));
                    let host = Host { changes: changes.clone(), data, ports: Vec::new() };
                    // The addresses once more, for what is changed must not take away that of the controller.
                    let config = host.config_of(config.in_memory(false).default_replication_factor(factor), port);
                    config.listeners(vec![format!("PLAINTEXT://127.0.0.1:{port}"), for_controllers])
                })
                .start()
                .await
        };
        on_free_ports(begin).await
    }
}

/// Starts something, again for as long as a port is not free: a client's own end of a connection may have it for a moment.
#[expect(clippy::disallowed_methods, reason = "waits for a port to be free again")]
async fn on_free_ports<T>(mut start: impl AsyncFnMut() -> Result<T, BrokerError>) -> Result<T, String> {
    let begun = Instant::now();
    loop {
        match start().await {
            Ok(started) => return Ok(started),
            Err(BrokerError::Bind { .. }) if begun.elapsed() < PORT_LIMIT => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(error) => return Err(error.to_string()),
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

    #[tokio::test]
    async fn one_of_several_goes_and_comes_back() {
        let cluster = TestCluster::builder().brokers(3).on_disk().start().await;
        let bootstrap = cluster.bootstrap();
        assert_eq!(bootstrap.split(',').count(), 3);
        cluster.crash_broker(1).await;
        let address = bootstrap.split(',').nth(1).expect("the second").to_owned();
        tokio::task::spawn_blocking(move || create_topic(&address, "t", 1, &[]))
            .await
            .expect("two of three are enough");
        cluster.start_broker_again(1).await;
        cluster.stop_broker(2).await;
        cluster.start_broker_again(2).await;
        cluster.restart().await;
        assert_eq!(cluster.bootstrap(), bootstrap);
        assert!(cluster.data_dir().join("3/__cluster_metadata-0").is_dir());
    }
}
