//! Starting and stopping a broker, which is all that an application that embeds one needs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rkafka_config::ConfigError;
use rkafka_net::{Dial, HostPort, Listener, SlabPool, TcpDial};
use rkafka_protocol::messages::{FeatureLevelRecord, PartitionChangeRecord};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::assignments::run_assignments;
use crate::config::BrokerConfig;
use crate::controller::{
    Controller, ControllerError, Decision, ELR_FEATURE, MetadataImage, MetadataRecord, View, controller_record,
    one_min_isr, registration_record as as_record, run_quorum,
};
use crate::data_dirs::{DataDirError, DataDirs};
use crate::disk_work;
use crate::format::bootstrap_levels;
use crate::forwarding::{Nodes, pause};
use crate::handlers::api_versions::FEATURES;
use crate::isr_changes::{isr_changes, run_isr_changes};
use crate::log::LogError;
use crate::metadata::run_applier;
use crate::peer::NetworkPeers;
use crate::registration::{
    controller_registration, leave, register, registration, run_controller_registration, run_heartbeats,
};
use crate::server::{self, Advertised, Connection, Endpoint, ListenerError};
use crate::storage::Storage;
use crate::telemetry::PushedTelemetry;
use crate::{BrokerState, Clock};

/// Memory of read buffers that is kept for later connections, in bytes.
const SLABS_RETAINED_BYTES: usize = 64 * 1024 * 1024;

/// How long a controller that stops waits for another to lead, and how often it looks.
const HAND_OVER_MAX: Duration = Duration::from_secs(2);
const HAND_OVER_LOOK: Duration = Duration::from_millis(10);

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
    /// The broker did not become part of the cluster.
    #[error("the broker was not registered within {limit:?} (initial.broker.registration.timeout.ms): {reason}")]
    Registration {
        /// How long it was tried.
        limit: Duration,
        /// What stood in the way.
        reason: String,
    },
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
        BrokerBuilder::new(config)
    }

    /// Starts a broker with these settings on the present tokio runtime. It serves when this returns.
    ///
    /// # Errors
    /// The settings, the ports or the data directories cannot be used; see [`BrokerError`].
    pub async fn start(config: BrokerConfig) -> Result<BrokerHandle, BrokerError> {
        BrokerBuilder::new(config).start().await
    }
}

/// Settings of a broker that is about to start.
#[derive(Debug)]
#[must_use]
pub struct BrokerBuilder {
    config: BrokerConfig,
    clock: Clock,
    storage: Option<Arc<dyn Storage>>,
    dialer: Arc<dyn Dial>,
    bound: BTreeMap<String, Listener>,
}

impl BrokerBuilder {
    fn new(config: BrokerConfig) -> Self {
        let (clock, dialer) = (Clock::system(), Arc::new(TcpDial));
        Self { config, clock, storage: None, dialer, bound: BTreeMap::new() }
    }

    /// Reaches other nodes of the cluster by another way than the network, as a simulation does.
    pub fn dialer(mut self, dialer: Arc<dyn Dial>) -> Self {
        self.dialer = dialer;
        self
    }

    /// Takes a listener that is bound already for the one of this name, so that its port is known before the start.
    pub fn bound(mut self, listener_name: &str, listener: Listener) -> Self {
        self.bound.insert(listener_name.to_ascii_uppercase(), listener);
        self
    }

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
        let Self { config, clock, storage, dialer, bound } = self;
        config.validate()?;
        let addresses = server::listener_addresses(&config)?;
        let mut listeners = Vec::with_capacity(addresses.len());
        let mut ports = Vec::with_capacity(addresses.len());
        let mut bound = bound;
        for address in &addresses {
            let host = if address.host.is_empty() { "0.0.0.0" } else { &address.host };
            let failed = |source| BrokerError::Bind { address: format!("{host}:{}", address.port), source };
            let listener = match bound.remove(&*address.name) {
                Some(listener) => listener,
                None => Listener::bind(&HostPort::new(host, address.port)).await.map_err(failed)?,
            };
            ports.push(listener.local_addr().map_err(failed)?.port());
            listeners.push(listener);
        }
        let advertised = server::advertised(&config, &addresses, &ports)?;
        let (state, previous_epoch) = open(config, clock, storage, dialer, advertised)?;
        let state = Arc::new(state);
        let (stop, stopped) = watch::channel(false);
        let slabs = SlabPool::new(SLABS_RETAINED_BYTES);
        let numbers = Arc::new(AtomicU64::new(1));
        let permits = server::connections_max(&state.config).min(Semaphore::MAX_PERMITS);
        let permits = Arc::new(Semaphore::new(permits));
        let mut seed = Connection {
            broker: Arc::clone(&state),
            slabs,
            limits: server::Limits::of(&state.config),
            listener: addresses.first().map_or_else(|| "".into(), |address| Arc::clone(&address.name)),
            is_for_controllers: false,
            number: 0,
            client_host: String::new(),
            client_port: 0,
            stop: stopped.clone(),
        };
        let first_listener = Arc::clone(&seed.listener);
        // Dropped before its time, the handle stops what it has begun.
        let (quorum_stop, _) = watch::channel(false);
        let mut handle = BrokerHandle {
            state,
            stop,
            tasks: JoinSet::new(),
            quorum: JoinSet::new(),
            quorum_stop,
            seed: seed.clone(),
            numbers,
        };
        let (state, numbers) = (Arc::clone(&handle.state), Arc::clone(&handle.numbers));
        let mut take =
            |tasks: &mut JoinSet<()>, listener, address: &server::ListenerAddress, stop: watch::Receiver<bool>| {
                seed.listener = Arc::clone(&address.name);
                seed.is_for_controllers = address.is_for_controllers;
                seed.stop = stop;
                tasks.spawn(server::accept_all(listener, seed.clone(), Arc::clone(&numbers), Arc::clone(&permits)));
            };
        // Other nodes need this controller before it has a leader, and until the broker in it has handed over.
        let quorum_stopped = handle.quorum_stop.subscribe();
        let (for_controllers, for_clients): (Vec<_>, Vec<_>) =
            listeners.into_iter().zip(&addresses).partition(|(_, address)| address.is_for_controllers);
        for (listener, address) in for_controllers {
            take(&mut handle.quorum, listener, address, quorum_stopped.clone());
        }
        handle.quorum.spawn(run_quorum(
            Arc::clone(&state.controller),
            Arc::clone(&state.peers),
            state.config.controller_quorum_request_timeout,
            quorum_stopped,
        ));
        if !state.config.is_alone() {
            if state.config.is_controller() {
                let stopped = handle.quorum_stop.subscribe();
                handle.quorum.spawn(run_controller_registration(Arc::clone(&state), stopped));
            }
            join_cluster(&state, previous_epoch).await?;
        }
        let tasks = &mut handle.tasks;
        tasks.spawn(run_applier(Arc::clone(&state), stopped.clone()));
        if state.config.is_broker() {
            for (listener, address) in for_clients {
                take(tasks, listener, address, stopped.clone());
            }
            tasks.spawn(run_groups(Arc::clone(&state), stopped.clone()));
            tasks.spawn(run_transaction_timers(Arc::clone(&state), stopped.clone()));
            tasks.spawn(server::clean_logs(Arc::clone(&state), stopped.clone()));
            tasks.spawn(server::maintain(Arc::clone(&state), stopped.clone()));
            server::recover_in_background(&state, &handle.stop.subscribe());
            if !state.config.is_alone() {
                let (sink, proposals) = isr_changes();
                // Set once: a broker starts once.
                let _ = state.isr_changes.set(sink);
                tasks.spawn(run_isr_changes(Arc::clone(&state), proposals, stopped.clone()));
                state.follow_with(Arc::clone(&state.peers), stopped.clone());
                tasks.spawn(run_assignments(Arc::clone(&state), stopped.clone()));
                tasks.spawn(run_heartbeats(Arc::clone(&state), stopped));
                unfenced(&state).await?;
            }
        }
        handle.seed.listener = first_listener;
        handle.tasks.spawn(stop_when_disks_fail(Arc::clone(&state), handle.stop.clone(), handle.quorum_stop.clone()));
        tracing::info!(
            node_id = state.config.node_id,
            cluster_id = state.cluster_id(),
            listeners = ?state.endpoints,
            "the broker serves"
        );
        Ok(handle)
    }
}

/// Waits for the controllers, and as a broker registers with the active one and takes up what it has.
async fn join_cluster(state: &BrokerState, previous_epoch: i64) -> Result<(), BrokerError> {
    if !state.config.is_broker() {
        return Ok(());
    }
    register(state, previous_epoch).await?;
    let image = state.controller.skip_committed();
    let registered = image.broker(state.config.node_id).map_or(&[][..], |broker| &broker.log_dirs);
    state.dirs.scan(&image, state.config.node_id, registered)?;
    state.dirs.mark_in_use()?;
    state.metadata.begin(image);
    state.apply_broker_config();
    Ok(())
}

/// Waits until the controller lets the broker serve.
async fn unfenced(state: &BrokerState) -> Result<(), BrokerError> {
    let limit = state.config.initial_broker_registration_timeout;
    let mut fenced = state.fenced.subscribe();
    match timeout(limit, fenced.wait_for(|fenced| !*fenced)).await {
        Ok(_) => Ok(()),
        Err(_) => {
            let reason = "the controller keeps the broker fenced".to_owned();
            Err(BrokerError::Registration { limit, reason })
        }
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
async fn stop_when_disks_fail(state: Arc<BrokerState>, stop: watch::Sender<bool>, quorum_stop: watch::Sender<bool>) {
    let mut fatal = state.dirs.fatal.subscribe();
    let mut stopped = stop.subscribe();
    tokio::select! {
        biased;
        _ = stopped.wait_for(|stop| *stop) => {}
        reason = fatal.wait_for(Option::is_some) => {
            drop(reason);
            tracing::error!("the broker stops, for the directory of its metadata failed");
            stop.send_replace(true);
            quorum_stop.send_replace(true);
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

/// Opens directories and metadata; a broker that is alone is registered when this returns. Answers the epoch that the
/// broker had when it stopped in good order, or -1.
fn open(
    config: BrokerConfig,
    clock: Clock,
    storage: Option<Arc<dyn Storage>>,
    dialer: Arc<dyn Dial>,
    advertised: Advertised,
) -> Result<(BrokerState, i64), BrokerError> {
    let dirs = DataDirs::open(&config, storage, &mut BrokerState::new_id)?;
    let clean = dirs.were_left_clean();
    let previous_epoch = dirs.epoch_of_clean_stop()?;
    let (metadata_dir, _) = dirs.metadata_dir();
    let controller = Arc::new(Controller::open(
        Arc::clone(&dirs.storage),
        metadata_dir,
        &config,
        &dirs.cluster_id,
        first_records(&config, bootstrap_levels(&*dirs.storage, metadata_dir)?),
        dirs.metadata_state(),
        clock.clone(),
    )?);
    let listener = config.inter_broker_listener_name.as_deref().map(str::to_ascii_uppercase);
    let first = advertised.to_clients.first().map(|endpoint| endpoint.name.to_string());
    let listener = listener.or(first).unwrap_or_default();
    let nodes = Arc::new(Nodes::new(&config, &listener, Arc::clone(&controller)));
    let frame_max = usize::try_from(config.socket_request_max_bytes).unwrap_or(usize::MAX);
    let client_id = format!("broker-{}", config.node_id);
    let peers = Arc::new(NetworkPeers::new(dialer, nodes, clock.clone(), client_id, frame_max));
    if !config.is_alone() {
        return Ok((BrokerState::new(config, clock, dirs, controller, peers, advertised), previous_epoch));
    }
    let image = controller.image();
    let registered = image.broker(config.node_id).map_or(&[][..], |broker| &broker.log_dirs);
    dirs.scan(&image, config.node_id, registered)?;
    dirs.mark_in_use()?;
    let state = BrokerState::new(config, clock, dirs, controller, peers, advertised);
    let request = registration(&state, previous_epoch);
    let epoch = state.controller.submit_alone(|image| {
        let epoch = image.next_offset();
        let mut record = as_record(&request);
        record.broker_epoch = epoch;
        let mut records = vec![MetadataRecord::RegisterBroker(record)];
        // Without a listener for controllers nobody can ask for it.
        if !state.controller_endpoints.is_empty() {
            records.push(controller_record(&controller_registration(&state)));
        }
        if !clean {
            records.extend(new_leader_epochs(image, state.config.node_id));
        }
        Decision { records, reply: epoch }
    })?;
    state.broker_epoch.store(epoch, Ordering::Relaxed);
    state.fenced.send_replace(false);
    // Nothing follows from what was decided before there was a broker.
    state.metadata.begin(state.controller.skip_committed());
    state.apply_broker_config();
    Ok((state, previous_epoch))
}

/// What the metadata of a new cluster begins with: the levels that it was formatted with, or the highest.
fn first_records(config: &BrokerConfig, formatted: Option<Vec<(String, i16)>>) -> Vec<MetadataRecord> {
    let highest = || FEATURES.iter().map(|(name, _, most)| ((*name).to_owned(), *most)).collect();
    let levels = formatted.unwrap_or_else(highest);
    let has_elr = levels.iter().any(|(name, level)| name == ELR_FEATURE && *level > 0);
    let empty = MetadataImage::default();
    let min_isr = if has_elr { one_min_isr(&View::new(&empty, config)) } else { Vec::new() };
    let record = |(name, feature_level)| {
        MetadataRecord::FeatureLevel(FeatureLevelRecord { name, feature_level, ..Default::default() })
    };
    levels.into_iter().map(record).chain(min_isr).collect()
}

/// After a stop of a lonely broker that was not in good order, records may be lost that consumers have seen. A new leader epoch for each
/// partition lets them find out where the old one ended (KIP-320).
fn new_leader_epochs(image: &MetadataImage, leader: i32) -> impl Iterator<Item = MetadataRecord> + '_ {
    image.topics().flat_map(move |topic| {
        // What it leads when it is back: of several brokers the controller elects anew whenever one comes.
        let led = (0..).zip(&topic.partitions).filter(move |(_, partition)| partition.leader == leader);
        led.map(move |(partition_id, _)| {
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
    /// What the quorum needs, which stops last.
    quorum: JoinSet<()>,
    quorum_stop: watch::Sender<bool>,
    seed: Connection,
    numbers: Arc<AtomicU64>,
}

impl BrokerHandle {
    /// The address for `bootstrap.servers`: `host:port` of the first listener, as clients are told it. Empty where the
    /// node is no broker.
    pub fn bootstrap(&self) -> String {
        self.state.endpoints.first().map_or_else(String::new, address)
    }

    /// The address for `bootstrap.controllers` (KIP-919): that of the first listener for controllers, empty where there is
    /// none.
    pub fn controller_address(&self) -> String {
        self.state.controller_endpoints.first().map_or_else(String::new, address)
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
    pub async fn shutdown(self) -> Result<(), BrokerError> {
        self.end(true).await
    }

    /// Stops in good order; `leaves` says whether others go on, to whom what it leads is given.
    pub(crate) async fn end(mut self, leaves: bool) -> Result<(), BrokerError> {
        let state = &self.state;
        if leaves && state.config.is_broker() && !state.config.is_alone() && state.controller.offline_reason().is_none()
        {
            leave(state).await;
        }
        self.stop.send_replace(true);
        while self.tasks.join_next().await.is_some() {}
        if leaves {
            hand_over(&self.state).await;
        }
        self.quorum_stop.send_replace(true);
        while self.quorum.join_next().await.is_some() {}
        let state = Arc::clone(&self.state);
        let storage = Arc::clone(&state.dirs.storage);
        let closed = disk_work::run(storage.as_ref(), move || close_clean(&state)).await;
        closed.unwrap_or_else(|error| Err(BrokerError::Metadata(format!("the broker did not stop well: {error}"))))
    }
}

fn address(endpoint: &Endpoint) -> String {
    if endpoint.host.contains(':') {
        format!("[{}]:{}", endpoint.host, endpoint.port)
    } else {
        format!("{}:{}", endpoint.host, endpoint.port)
    }
}

/// Lets another controller lead, and waits a moment until one does.
async fn hand_over(state: &BrokerState) {
    state.controller.begin_shutdown();
    let deadline = state.clock.now() + HAND_OVER_MAX;
    while !state.controller.is_dispensable() && state.clock.now() < deadline {
        pause(HAND_OVER_LOOK).await;
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
