//! The client: what it knows of the cluster, and how requests get to where they belong.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rand::seq::SliceRandom;
use rkafka_net::{Dial, TcpDial};
use rkafka_protocol::messages::MetadataResponse;
use rkafka_protocol::wire::Request;
use tokio::sync::watch;

use crate::coordinator::Coordinators;
use crate::metadata::{self, Metadata};
use crate::metrics::{ClientKind, MetricsSnapshot};
use crate::pool::Pool;
use crate::{
    Broker, BrokerVersions, ClientConfig, Cluster, Connection, CoordinatorKind, Endpoint, Error, ErrorKind, Lane, Link,
    Result, RetryPolicy, Shared, Topics,
};

/// What a client is made with beside its settings.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ClientOptions {
    /// Whether a broker may create a topic that is asked for and is not there, if its own settings let it
    /// (`allow.auto.create.topics`). Default: it may not.
    pub allow_auto_create_topics: bool,
    /// What opens connections. Default: TCP.
    pub dialer: Arc<dyn Dial>,
    /// What kind of client it is, for the names of its metrics' groups. Default: [`ClientKind::Admin`].
    pub kind: ClientKind,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self { allow_auto_create_topics: false, dialer: Arc::new(TcpDial), kind: ClientKind::Admin }
    }
}

impl ClientOptions {
    /// Says whether topics may be created by asking for them.
    #[must_use]
    pub fn allow_auto_create_topics(mut self, allow: bool) -> Self {
        self.allow_auto_create_topics = allow;
        self
    }

    /// Says what opens connections.
    #[must_use]
    pub fn dialer(mut self, dialer: Arc<dyn Dial>) -> Self {
        self.dialer = dialer;
        self
    }

    /// Says what kind of client it is, for its metrics.
    #[must_use]
    pub fn kind(mut self, kind: ClientKind) -> Self {
        self.kind = kind;
        self
    }
}

/// Where a request goes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Target {
    /// Any broker: one that is connected and has little to do, if there is one.
    Any,
    /// The broker with this id.
    Node(i32),
    /// The broker that requests to the controller go to.
    Controller,
    /// The coordinator of this key.
    Coordinator(CoordinatorKind, String),
}

/// How a request is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RequestOptions {
    /// The connection it takes. Default: [`Lane::Control`].
    pub lane: Lane,
    /// How long the answer may take. Default: `request.timeout.ms`.
    pub timeout: Option<Duration>,
    /// The newest version to use. Default: the newest that both sides know.
    pub max_version: i16,
}

impl Default for RequestOptions {
    fn default() -> Self {
        Self { lane: Lane::Control, timeout: None, max_version: i16::MAX }
    }
}

impl RequestOptions {
    /// Says which connection the request takes.
    #[must_use]
    pub fn lane(mut self, lane: Lane) -> Self {
        self.lane = lane;
        self
    }

    /// Says how long the answer may take.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Says what the newest version to use is.
    #[must_use]
    pub fn max_version(mut self, version: i16) -> Self {
        self.max_version = version;
        self
    }
}

pub(crate) struct Inner {
    pub(crate) shared: Arc<Shared>,
    pub(crate) options: ClientOptions,
    pub(crate) pool: Pool,
    pub(crate) metadata: Arc<Metadata>,
    coordinators: Coordinators,
    closed: AtomicBool,
}

impl Inner {
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// The brokers to try, best first: connected and little to do, then unconnected by chance, then those that could not
    /// be reached a moment ago or that somebody else is waiting for.
    pub(crate) fn candidates(&self, lane: Lane) -> Vec<Endpoint> {
        let mut endpoints: Vec<Endpoint> = self.metadata.cluster().brokers().map(Broker::endpoint).collect();
        endpoints.shuffle(&mut rand::rng());
        endpoints.sort_by_cached_key(|endpoint| match self.pool.load(endpoint, lane) {
            Some(load) => (0, load),
            None if self.pool.is_in_backoff(endpoint) || self.pool.is_opening(endpoint, lane) => (2, 0),
            None => (1, 0),
        });
        endpoints
    }

    /// Takes over what a broker told.
    pub(crate) fn took(&self, response: &MetadataResponse, everything: bool) -> Result<Arc<Cluster>> {
        Error::check(response.error_code)?;
        self.metadata.note_fetched();
        let before = self.metadata.cluster();
        self.metadata.change(|cluster| Some(cluster.updated(response, everything)).filter(|next| next != cluster));
        let cluster = self.metadata.cluster();
        if !before.brokers().eq(cluster.brokers()) {
            self.pool.retain(|endpoint| {
                endpoint
                    .node_id
                    .and_then(|id| cluster.broker(id))
                    .is_some_and(|known| known.address == endpoint.address)
            });
            before
                .brokers()
                .filter(|gone| cluster.broker(gone.node_id).is_none())
                .for_each(|gone| self.coordinators.forget_node(gone.node_id));
        }
        Ok(cluster)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.metadata.wake();
    }
}

/// Knows a cluster, and sends requests to it. Clones are the same client; when the last is dropped, or one is
/// [closed](Client::close), its connections are.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

impl fmt::Debug for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let config = self.config();
        formatter
            .debug_struct("Client")
            .field("client_id", &config.client_id)
            .field("bootstrap_servers", &config.bootstrap_servers)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// Finds the cluster by `bootstrap.servers`. Each address is tried once; [`crate::retry()`] tries more often. Connections
    /// live on the runtime that this is called on, which must go on running as long as the client is used; requests may be
    /// made from any other. Cancel safe.
    ///
    /// # Errors
    /// A setting cannot be used; or no address answers, and the error says of each what came of it.
    pub async fn connect(config: ClientConfig) -> Result<Self> {
        Self::connect_with(config, ClientOptions::default()).await
    }

    /// As [`Client::connect`], with what else there is to say.
    ///
    /// # Errors
    /// As [`Client::connect`].
    pub async fn connect_with(config: ClientConfig, options: ClientOptions) -> Result<Self> {
        config.validate()?;
        let shared = Arc::new(Shared::new(config, Arc::clone(&options.dialer), options.kind));
        let metadata = Arc::new(Metadata::new());
        let inner = Arc::new(Inner {
            pool: Pool::new(Arc::clone(&shared)),
            shared,
            options,
            metadata: Arc::clone(&metadata),
            coordinators: Coordinators::default(),
            closed: AtomicBool::new(false),
        });
        let response = metadata::bootstrap(&inner, false, &Default::default()).await?;
        inner.took(&response, false)?;
        crate::clock::spawn(metadata::run(Arc::downgrade(&inner), metadata::Running(metadata)));
        Ok(Self { inner })
    }

    /// The settings.
    pub fn config(&self) -> &ClientConfig {
        &self.inner.shared.config
    }

    /// What this client's connections have in common, for [`Link::connect`].
    pub fn shared(&self) -> &Arc<Shared> {
        &self.inner.shared
    }

    /// The retries that the settings ask for: `retry.backoff.ms`, `retry.backoff.max.ms`, `default.api.timeout.ms`.
    pub fn retry_policy(&self) -> RetryPolicy {
        self.config().into()
    }

    /// What the client measures of its connections, under Kafka's names: `connection-count`, `request-rate`,
    /// `outgoing-byte-total` and their kin, of all brokers and of each. Costs a lock per metric; not for every record.
    pub fn metrics(&self) -> MetricsSnapshot {
        self.inner.shared.metrics().snapshot(crate::clock::now().into_std())
    }

    /// How many requests wait for their answers, over all of the client's connections, those that were handed out
    /// included.
    pub fn requests_in_flight(&self) -> usize {
        self.inner.shared.connections.in_flight().load(Ordering::Relaxed)
    }

    /// How long ago a broker told of the cluster last, for the metric `metadata-age`.
    pub fn metadata_age(&self) -> Duration {
        crate::clock::now().saturating_duration_since(self.inner.metadata.fetched())
    }

    pub(crate) fn coordinators(&self) -> &Coordinators {
        &self.inner.coordinators
    }

    /// The cluster as it is known now. Cheap; take it once per batch of work, not once per record.
    pub fn cluster(&self) -> Arc<Cluster> {
        self.inner.metadata.cluster()
    }

    /// Tells of every change of the cluster.
    pub fn cluster_changes(&self) -> watch::Receiver<Arc<Cluster>> {
        self.inner.metadata.subscribe()
    }

    /// Fetches metadata, of `topics` and of those that were asked for before. However many ask at once, one request goes
    /// out. One attempt at each broker; [`crate::retry()`] makes more. A topic that is not there is no error here:
    /// [`Cluster::topic_error`] tells of it. Cancel safe.
    ///
    /// # Errors
    /// No broker answers, or the client is closed (as it is when the runtime that it was made in has shut down); a name is
    /// longer than a request can say.
    pub async fn refresh(&self, topics: Topics) -> Result<Arc<Cluster>> {
        let closed = || Error::new(ErrorKind::Closed, "the client was closed");
        if self.inner.is_closed() {
            return Err(closed());
        }
        if let Topics::Names(names) = &topics
            && let Some(name) = names.iter().find(|name| name.len() > i16::MAX as usize)
        {
            // It would be asked for from now on, and no request could be written any more.
            let (length, begin) = (name.len(), name.chars().take(20).collect::<String>());
            let message = format!("no topic has a name of {length} bytes (`{begin}...`); Kafka takes at most 249");
            return Err(Error::new(ErrorKind::Encode, message));
        }
        self.inner.metadata.ask(topics).await.unwrap_or_else(|_| Err(closed()))
    }

    /// The metadata of a topic, fetched until it is there and each of its partitions has a leader, or
    /// `default.api.timeout.ms` is over. Cancel safe.
    ///
    /// # Errors
    /// The topic is not there or may not be seen, and does not come in time.
    pub async fn topic(&self, name: &str) -> Result<Arc<crate::Topic>> {
        crate::retry(self.retry_policy(), |failures| async move {
            let known = self.cluster();
            let cluster = match known.topic(name) {
                Some(_) if failures == 0 => known,
                _ => self.refresh(Topics::named([name])).await?,
            };
            if let Some(code) = cluster.topic_error(name) {
                return Err(Error::broker_error(code).with_topic(name));
            }
            let unknown = || Error::broker_error(crate::ErrorCode::UnknownTopicOrPartition).with_topic(name);
            let topic = cluster.topic(name).ok_or_else(unknown)?;
            match topic.partitions.iter().find(|partition| partition.leader.is_none()) {
                Some(partition) => {
                    Err(Error::broker_error(crate::ErrorCode::LeaderNotAvailable).with_partition(name, partition.index))
                }
                None => Ok(Arc::clone(topic)),
            }
        })
        .await
    }

    /// Says that what is known of a partition is old, after NOT_LEADER_OR_FOLLOWER for example. The metadata is fetched
    /// soon (`retry.backoff.ms` after the last time at the earliest); [`Client::cluster_changes`] tells when it came.
    pub fn invalidate(&self, topic: &str, partition: i32) {
        tracing::debug!(topic, partition, "metadata is old");
        self.inner.metadata.mark_stale();
    }

    /// No longer fetches metadata of these topics.
    pub fn forget_topics(&self, topics: &[String]) {
        self.inner.metadata.forget(topics);
    }

    /// Takes over the leader that a produce or fetch response names, with the addresses beside it (KIP-951). Says whether
    /// that was news: an epoch that is not newer, and a leader without a known address, are passed over, and the metadata
    /// has to be fetched.
    pub fn apply_leader_hint(
        &self,
        topic: &str,
        partition: i32,
        leader: i32,
        leader_epoch: i32,
        endpoints: &[Broker],
    ) -> bool {
        self.inner.metadata.change(|cluster| cluster.with_leader(topic, partition, leader, leader_epoch, endpoints))
    }

    pub(crate) fn learn_broker(&self, broker: Broker) {
        self.inner.metadata.change(|cluster| match cluster.broker(broker.node_id) {
            Some(known) if known.address == broker.address => None,
            _ => Some(cluster.with_broker(broker)),
        });
    }

    /// The address of a broker.
    ///
    /// # Errors
    /// [`ErrorKind::UnknownBroker`]: the metadata has no such broker.
    pub fn endpoint(&self, node_id: i32) -> Result<Endpoint> {
        let cluster = self.cluster();
        cluster.broker(node_id).map(Broker::endpoint).ok_or_else(|| {
            self.inner.metadata.mark_stale();
            Error::new(ErrorKind::UnknownBroker, format!("no broker with the id {node_id} is known"))
        })
    }

    /// What a broker can do, if a connection to it was ever opened.
    pub fn versions(&self, node_id: i32) -> Option<Arc<BrokerVersions>> {
        self.inner.pool.versions(&self.endpoint(node_id).ok()?)
    }

    /// A connection to a broker that the caller owns, for a producer's or a consumer's records. It is opened anew each
    /// time, after `reconnect.backoff.ms` where the last attempt failed. Cancel safe.
    ///
    /// # Errors
    /// The broker is not known or cannot be reached.
    pub async fn link(&self, node_id: i32) -> Result<Link> {
        self.check_open()?;
        let result = self.inner.pool.link(&self.endpoint(node_id)?).await;
        self.note_failure(result)
    }

    /// The shared connection to a broker in a lane, opened if there is none. Cancel safe.
    ///
    /// # Errors
    /// No such broker is known, or it cannot be reached.
    pub async fn connection(&self, target: &Target, lane: Lane) -> Result<Connection> {
        self.check_open()?;
        let node_id = match target {
            Target::Node(node_id) => *node_id,
            Target::Coordinator(kind, key) => Box::pin(self.coordinator(*kind, key)).await?,
            Target::Controller => match self.cluster().controller() {
                Some(node_id) => node_id,
                None => {
                    self.inner.metadata.mark_stale();
                    return Err(Error::broker_error(crate::ErrorCode::LeaderNotAvailable)
                        .with_broker("the cluster's controller"));
                }
            },
            Target::Any => return self.any_connection(lane).await,
        };
        let result = self.inner.pool.connection(&self.endpoint(node_id)?, lane).await;
        if result.is_err()
            && let Target::Coordinator(kind, key) = target
        {
            self.invalidate_coordinator(*kind, key);
        }
        self.note_failure(result)
    }

    async fn any_connection(&self, lane: Lane) -> Result<Connection> {
        let mut last = Error::new(ErrorKind::Unreachable, "no broker is known");
        for endpoint in self.inner.candidates(lane) {
            match self.inner.pool.connection(&endpoint, lane).await {
                Ok(connection) => return Ok(connection),
                Err(error) => last = error,
            }
        }
        self.note_failure(Err(last))
    }

    /// A broker that cannot be reached may have gone, or moved; the metadata tells.
    fn note_failure<T>(&self, result: Result<T>) -> Result<T> {
        if result.as_ref().is_err_and(Error::is_stale_metadata) {
            self.inner.metadata.mark_stale();
        }
        result
    }

    fn check_open(&self) -> Result<()> {
        if self.inner.is_closed() { Err(Error::new(ErrorKind::Closed, "the client was closed")) } else { Ok(()) }
    }

    /// Sends a request and waits for its answer. One attempt. The error code inside the answer is the caller's to read,
    /// and so are [`Client::invalidate_coordinator`] after NOT_COORDINATOR and [`Client::refresh`] after NOT_CONTROLLER.
    ///
    /// Where this future is dropped, the request may have been sent.
    ///
    /// # Errors
    /// The broker is not known or cannot be reached, knows no such request, does not answer in time, or the connection
    /// broke: [`Error::maybe_written`] says whether it may have got the request.
    pub async fn request_with<R>(&self, target: Target, request: R, options: RequestOptions) -> Result<R::Response>
    where
        R: Request + Send + 'static,
    {
        let connection = self.connection(&target, options.lane).await?;
        let timeout = options.timeout.unwrap_or(self.config().request_timeout);
        let result = connection.request(request, options.max_version, timeout).await;
        if let (Err(error), Target::Coordinator(kind, key)) = (&result, &target)
            && error.is_stale_metadata()
        {
            self.invalidate_coordinator(*kind, key);
        }
        self.note_failure(result)
    }

    /// Sends a request to any broker. As [`Client::request_with`].
    ///
    /// # Errors
    /// As [`Client::request_with`].
    pub async fn request_any<R: Request + Send + 'static>(&self, request: R) -> Result<R::Response> {
        self.request_with(Target::Any, request, RequestOptions::default()).await
    }

    /// Sends a request to the broker with this id. As [`Client::request_with`].
    ///
    /// # Errors
    /// As [`Client::request_with`].
    pub async fn request_to<R: Request + Send + 'static>(&self, node_id: i32, request: R) -> Result<R::Response> {
        self.request_with(Target::Node(node_id), request, RequestOptions::default()).await
    }

    /// Sends a request to the broker that takes requests to the controller. As [`Client::request_with`].
    ///
    /// # Errors
    /// As [`Client::request_with`].
    pub async fn request_controller<R: Request + Send + 'static>(&self, request: R) -> Result<R::Response> {
        self.request_with(Target::Controller, request, RequestOptions::default()).await
    }

    /// Closes this client and all its clones: no request is taken any more, and shared connections close as soon as those
    /// that wait have their answers. Links that were handed out stay with their owners.
    pub fn close(&self) {
        self.inner.closed.store(true, Ordering::Release);
        self.inner.pool.close();
        self.inner.metadata.wake();
    }
}
