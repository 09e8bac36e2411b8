//! Starting and stopping a broker, which is all that an application that embeds one needs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rkafka_config::ConfigError;
use rkafka_net::{HostPort, Listener, SlabPool};
use rkafka_protocol::messages::register_broker_record::{BrokerEndpoint, BrokerFeature};
use rkafka_protocol::messages::{FeatureLevelRecord, PartitionChangeRecord, RegisterBrokerRecord};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::config::BrokerConfig;
use crate::controller::{Controller, ControllerError, Decision, MetadataImage, MetadataRecord};
use crate::coordinator::transaction::{TRANSACTION_VERSION, TRANSACTION_VERSION_MAX};
use crate::data_dirs::{DataDirError, DataDirs};
use crate::handlers::api_versions::{FEATURES, GROUP_VERSION, METADATA_VERSION, SHARE_VERSION};
use crate::log::LogError;
use crate::metadata::run_applier;
use crate::server::{self, Connection, Endpoint, ListenerError};
use crate::storage::Storage;
use crate::telemetry::PushedTelemetry;
use crate::{BrokerState, Clock};

/// Memory of read buffers that is kept for later connections, in bytes.
const SLABS_RETAINED_BYTES: usize = 64 * 1024 * 1024;

/// Why a broker does not start, or did not stop in good order.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BrokerError {
    /// A setting is out of its bound, or in conflict with another.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A listener cannot be had as it is written.
    #[error(transparent)]
    Listener(#[from] ListenerError),
    /// A listener's port cannot be taken.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// The address.
        address: String,
        /// Why.
        source: std::io::Error,
    },
    /// The data directories cannot be used.
    #[error(transparent)]
    DataDirs(#[from] DataDirError),
    /// The metadata cannot be read or written.
    #[error("{0}")]
    Metadata(String),
    /// A log cannot be read or written.
    #[error(transparent)]
    Log(#[from] LogError),
}

impl From<ControllerError> for BrokerError {
    fn from(error: ControllerError) -> Self {
        Self::Metadata(error.to_string())
    }
}

/// Where a broker begins.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use rkafka_broker_core::{Broker, BrokerConfig};
///
/// let config = BrokerConfig::new().in_memory(true).listeners("PLAINTEXT://127.0.0.1:0");
/// let broker = Broker::start(config).await?;
/// println!("point any Kafka client at {}", broker.bootstrap());
/// broker.shutdown().await?;
/// # Ok::<(), rkafka_broker_core::BrokerError>(())
/// # }).unwrap();
/// ```
#[derive(Debug)]
pub struct Broker;

impl Broker {
    /// A broker with settings of its own, one by one: [`BrokerBuilder::start`] starts it.
    ///
    /// Unlike [`BrokerConfig::new`], this begins with what suits a program that embeds a broker: all in memory, any free
    /// port of `127.0.0.1`, and a first member of a group that need not wait three seconds for others
    /// (`group.initial.rebalance.delay.ms=0`).
    pub fn builder() -> BrokerBuilder {
        let config = BrokerConfig::new()
            .in_memory(true)
            .listeners("PLAINTEXT://127.0.0.1:0")
            .group_initial_rebalance_delay(Duration::ZERO);
        BrokerBuilder { config, clock: Clock::system(), storage: None }
    }

    /// Starts a broker with these settings on the present tokio runtime. It serves when this returns.
    ///
    /// # Errors
    /// The settings, the ports or the data directories cannot be used; see [`BrokerError`].
    pub async fn start(config: BrokerConfig) -> Result<BrokerHandle, BrokerError> {
        BrokerBuilder { config, clock: Clock::system(), storage: None }.start().await
    }
}

/// Settings of a broker that is about to start.
#[derive(Debug)]
#[must_use]
pub struct BrokerBuilder {
    config: BrokerConfig,
    clock: Clock,
    storage: Option<Arc<dyn Storage>>,
}

impl BrokerBuilder {
    /// Replaces all settings.
    pub fn config(mut self, config: BrokerConfig) -> Self {
        self.config = config;
        self
    }

    /// Changes the settings.
    pub fn with(mut self, change: impl FnOnce(BrokerConfig) -> BrokerConfig) -> Self {
        self.config = change(self.config);
        self
    }

    /// Takes the time from another clock, as a simulation does.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Keeps the files in another storage, as a test of failures does. `log.dirs` then names directories in it.
    pub fn storage(mut self, storage: Arc<dyn Storage>) -> Self {
        self.storage = Some(storage);
        self
    }

    /// Starts the broker on the present tokio runtime. It serves when this returns.
    ///
    /// Nothing outlives a start that is given up half-way, but for the data directories that it may have made.
    ///
    /// # Errors
    /// As [`Broker::start`].
    pub async fn start(self) -> Result<BrokerHandle, BrokerError> {
        let Self { config, clock, storage } = self;
        config.validate()?;
        let addresses = server::listener_addresses(&config)?;
        let mut listeners = Vec::with_capacity(addresses.len());
        let mut ports = Vec::with_capacity(addresses.len());
        for address in &addresses {
            let host = if address.host.is_empty() { "0.0.0.0" } else { &address.host };
            let failed = |source| BrokerError::Bind { address: format!("{host}:{}", address.port), source };
            let listener = Listener::bind(&HostPort::new(host, address.port)).await.map_err(failed)?;
            ports.push(listener.local_addr().map_err(failed)?.port());
            listeners.push(listener);
        }
        let endpoints = server::advertised(&config, &addresses, &ports)?;
        let state = Arc::new(open(config, clock, storage, endpoints).await?);
        let (stop, stopped) = watch::channel(false);
        let slabs = SlabPool::new(SLABS_RETAINED_BYTES);
        let numbers = Arc::new(AtomicU64::new(1));
        let permits = server::connections_max(&state.config).min(Semaphore::MAX_PERMITS);
        let permits = Arc::new(Semaphore::new(permits));
        let mut tasks = JoinSet::new();
        let mut seed = Connection {
            broker: Arc::clone(&state),
            slabs,
            limits: server::Limits::of(&state.config),
            listener: addresses.first().map_or_else(|| "".into(), |address| Arc::clone(&address.name)),
            number: 0,
            client_host: String::new(),
            client_port: 0,
            stop: stopped.clone(),
        };
        let first_listener = Arc::clone(&seed.listener);
        for (listener, address) in listeners.into_iter().zip(&addresses) {
            seed.listener = Arc::clone(&address.name);
            tasks.spawn(server::accept_all(listener, seed.clone(), Arc::clone(&numbers), Arc::clone(&permits)));
        }
        seed.listener = first_listener;
        tasks.spawn(run_applier(Arc::clone(&state), stopped.clone()));
        tasks.spawn(run_groups(Arc::clone(&state), stopped.clone()));
        tasks.spawn(run_transaction_timers(Arc::clone(&state), stopped.clone()));
        tasks.spawn(server::clean_logs(Arc::clone(&state), stopped.clone()));
        tasks.spawn(server::maintain(Arc::clone(&state), stopped));
        server::recover_in_background(&state, &stop.subscribe());
        tasks.spawn(stop_when_disks_fail(Arc::clone(&state), stop.clone()));
        tracing::info!(
            node_id = state.config.node_id,
            cluster_id = state.cluster_id(),
            listeners = ?state.endpoints,
            "the broker serves"
        );
        Ok(BrokerHandle { state, stop, tasks, seed, numbers })
    }
}

/// Loads the groups, ends their sessions and rebalances when their time has come, and deletes what has expired, until
/// the broker stops.
async fn run_groups(state: Arc<BrokerState>, mut stop: watch::Receiver<bool>) {
    tokio::select! {
        biased;
        _ = stop.wait_for(|stop| *stop) => {}
        () = async {
            let groups = &state.groups;
            tokio::join!(groups.load_all(&*state), groups.run_timers(&*state), groups.run_expiry(&*state), state.shares.run_timers(&state));
        } => {}
    }
}

/// Stops serving when the disk fails that holds the metadata: clients then look for another broker, and are told nothing
/// that the metadata cannot keep. Kafka ends its process there, which is not for a library to do.
async fn stop_when_disks_fail(state: Arc<BrokerState>, stop: watch::Sender<bool>) {
    let mut fatal = state.dirs.fatal.subscribe();
    let mut stopped = stop.subscribe();
    tokio::select! {
        biased;
        _ = stopped.wait_for(|stop| *stop) => {}
        reason = fatal.wait_for(Option::is_some) => {
            drop(reason);
            tracing::error!("the broker stops, for the directory of its metadata failed");
            stop.send_replace(true);
        }
    }
}

/// Ends transactions when their time has come, until the broker stops.
async fn run_transaction_timers(state: Arc<BrokerState>, mut stop: watch::Receiver<bool>) {
    tokio::select! {
        biased;
        _ = stop.wait_for(|stop| *stop) => {}
        () = state.transactions.run_timers(&*state) => {}
    }
}

/// Opens directories and metadata, and registers the broker.
async fn open(
    config: BrokerConfig,
    clock: Clock,
    storage: Option<Arc<dyn Storage>>,
    endpoints: Vec<Endpoint>,
) -> Result<BrokerState, BrokerError> {
    let dirs = DataDirs::open(&config, storage, &mut BrokerState::new_id)?;
    let clean = dirs.were_left_clean();
    let (metadata_dir, _) = dirs.metadata_dir();
    let controller = Controller::open(
        Arc::clone(&dirs.storage),
        metadata_dir,
        config.node_id,
        dirs.metadata_state(),
        clock.now_ms(),
    )?;
    {
        let image = controller.image();
        let registered = image.brokers().get(&config.node_id).map_or(&[][..], |broker| &broker.log_dirs);
        dirs.scan(&image, registered)?;
    }
    dirs.mark_in_use()?;
    let directory_ids = dirs.registered_ids();
    let decided = controller.submit(clock.now_ms(), |image| {
        let epoch = image.next_offset();
        let mut records = first_records(image);
        records.push(MetadataRecord::RegisterBroker(RegisterBrokerRecord {
            broker_id: config.node_id,
            incarnation_id: BrokerState::new_id(),
            broker_epoch: epoch,
            end_points: endpoints
                .iter()
                .map(|endpoint| BrokerEndpoint {
                    name: endpoint.name.to_string(),
                    host: endpoint.host.clone(),
                    port: endpoint.port,
                    security_protocol: 0,
                    ..Default::default()
                })
                .collect(),
            features: FEATURES
                .iter()
                .map(|(name, least, most)| BrokerFeature {
                    name: (*name).to_owned(),
                    min_supported_version: *least,
                    max_supported_version: *most,
                    ..Default::default()
                })
                .collect(),
            rack: config.broker_rack.clone(),
            fenced: false,
            log_dirs: directory_ids,
            ..Default::default()
        }));
        if !clean {
            records.extend(new_leader_epochs(image, config.node_id));
        }
        Decision { records, reply: epoch }
    });
    let epoch = decided.await?.reply;
    // Nothing follows from what was decided before there was a broker.
    controller.next_committed().await;
    let state = BrokerState::new(config, clock, dirs, controller, endpoints);
    state.broker_epoch.store(epoch, Ordering::Relaxed);
    Ok(state)
}

/// What the metadata of a new cluster begins with.
fn first_records(image: &MetadataImage) -> Vec<MetadataRecord> {
    if image.features().contains_key("metadata.version") {
        return Vec::new();
    }
    let levels = [
        ("metadata.version", METADATA_VERSION),
        ("group.version", GROUP_VERSION),
        ("share.version", SHARE_VERSION),
        (TRANSACTION_VERSION, TRANSACTION_VERSION_MAX),
    ];
    let record = |(name, feature_level): (&str, i16)| {
        MetadataRecord::FeatureLevel(FeatureLevelRecord { name: name.to_owned(), feature_level, ..Default::default() })
    };
    levels.into_iter().map(record).collect()
}

/// After a stop that was not in good order, records may be lost that consumers have seen. A new leader epoch for each
/// partition lets them find out where the old one ended (KIP-320).
fn new_leader_epochs(image: &MetadataImage, leader: i32) -> impl Iterator<Item = MetadataRecord> + '_ {
    image.topics().flat_map(move |topic| {
        (0..).take(topic.partitions.len()).map(move |partition_id| {
            MetadataRecord::PartitionChange(PartitionChangeRecord {
                partition_id,
                topic_id: topic.id,
                leader,
                ..Default::default()
            })
        })
    })
}

/// A running broker. Dropping it stops it at once, as a kill would; [`BrokerHandle::shutdown`] stops it in good order.
#[derive(Debug)]
pub struct BrokerHandle {
    state: Arc<BrokerState>,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
    seed: Connection,
    numbers: Arc<AtomicU64>,
}

impl BrokerHandle {
    /// The address for `bootstrap.servers`: `host:port` of the first listener, as clients are told it.
    pub fn bootstrap(&self) -> String {
        self.state.endpoints.first().map_or_else(String::new, |endpoint| {
            if endpoint.host.contains(':') {
                format!("[{}]:{}", endpoint.host, endpoint.port)
            } else {
                format!("{}:{}", endpoint.host, endpoint.port)
            }
        })
    }

    /// The metrics that clients pushed lately (KIP-714), the oldest first: the last 1024 of them at most, and 16 MiB.
    ///
    /// Clients push what the settings of client-metrics resources ask for, as `kafka-client-metrics` sets them.
    pub fn pushed_telemetry(&self) -> Vec<PushedTelemetry> {
        self.state.telemetry.pushed()
    }

    /// What the broker's connections share, for looking in.
    pub fn state(&self) -> &Arc<BrokerState> {
        &self.state
    }

    /// Serves a client over a stream that came by another way than the listeners, such as one half of
    /// [`tokio::io::duplex`]. The connection counts as one of the first listener's. Ends with the stream or the broker.
    pub fn serve<S>(&self, stream: S) -> impl Future<Output = ()> + Send + use<S>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut connection = self.seed.clone();
        connection.number = self.numbers.fetch_add(1, Ordering::Relaxed);
        connection.client_host = "/127.0.0.1".to_owned();
        server::serve(connection, stream)
    }

    /// Waits until the disk fails that holds the metadata (the first of `log.dirs`), and answers how. The broker serves
    /// nobody any more then, and is to be shut down. A failure of another directory ends only the partitions in it.
    ///
    /// Cancel safe.
    pub async fn failed(&self) -> String {
        let mut fatal = self.state.dirs.fatal.subscribe();
        match fatal.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or_default(),
            // The sender lives as long as the state.
            Err(_) => std::future::pending().await,
        }
    }

    /// Stops in good order: connections are closed, every log is synced and left so that the next start needs no
    /// recovery.
    ///
    /// Not cancel safe: given up half-way, the broker stops as if it were dropped.
    ///
    /// # Errors
    /// A log could not be left in good order. The broker is stopped anyway, and the next start recovers.
    pub async fn shutdown(mut self) -> Result<(), BrokerError> {
        self.stop.send_replace(true);
        while self.tasks.join_next().await.is_some() {}
        let state = Arc::clone(&self.state);
        let closed = tokio::task::spawn_blocking(move || close_clean(&state)).await;
        closed.unwrap_or_else(|error| Err(BrokerError::Metadata(format!("the broker did not stop well: {error}"))))
    }
}

fn close_clean(state: &BrokerState) -> Result<(), BrokerError> {
    state.open_unrecovered();
    state.close_partitions(true)?;
    state.controller.close(true)?;
    state.dirs.mark_clean(state.broker_epoch.load(Ordering::Relaxed))?;
    tracing::info!(node_id = state.config.node_id, "the broker stopped");
    Ok(())
}

impl Drop for BrokerHandle {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        self.tasks.abort_all();
        // Tasks on other threads may be in the middle of a request. After this, nothing of it reaches the logs, so that
        // the directories can be opened anew.
        if let Err(error) = self.state.close_partitions(false) {
            tracing::debug!(%error, "a log did not close");
        }
        if let Err(error) = self.state.controller.close(false) {
            tracing::debug!(%error, "the metadata log did not close");
        }
        self.state.dirs.unlock();
    }
}
