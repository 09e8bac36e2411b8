//! Several brokers in one process.

use std::sync::Arc;
use std::time::Duration;

use rkafka_net::{Dial, HostPort, Listener};
use tokio::task::JoinSet;

use crate::broker::{BrokerBuilder, BrokerError, BrokerHandle};
use crate::{Broker, BrokerConfig, Clock};

/// The listeners of each node.
const FOR_CLIENTS: &str = "PLAINTEXT";
const FOR_CONTROLLERS: &str = "CONTROLLER";

type Change = Arc<dyn Fn(BrokerConfig) -> BrokerConfig + Send + Sync>;
type Dialer = Arc<dyn Fn(i32) -> Arc<dyn Dial> + Send + Sync>;

/// Settings of a cluster that is about to start.
#[must_use]
pub struct ClusterBuilder {
    brokers: i32,
    changes: Vec<Change>,
    clock: Clock,
    dialer: Option<Dialer>,
}

impl std::fmt::Debug for ClusterBuilder {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("ClusterBuilder").field("brokers", &self.brokers).finish_non_exhaustive()
    }
}

impl ClusterBuilder {
    /// Changes the settings of each node; its `node.id` is set by then.
    pub fn with(mut self, change: impl Fn(BrokerConfig) -> BrokerConfig + Send + Sync + 'static) -> Self {
        self.changes.push(Arc::new(change));
        self
    }

    /// Takes the time from another clock, as a simulation does.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Has each node, by its id, reach the others by another way than the network, as a test does that cuts links.
    pub fn dialer(mut self, dialer: impl Fn(i32) -> Arc<dyn Dial> + Send + Sync + 'static) -> Self {
        self.dialer = Some(Arc::new(dialer));
        self
    }

    /// Starts all nodes at once on the present tokio runtime. They serve when this returns.
    ///
    /// Nothing outlives a start that is given up half-way.
    ///
    /// # Errors
    /// A node does not start; see [`Broker::start`].
    pub async fn start(self) -> Result<Cluster, BrokerError> {
        let mut bound = Vec::new();
        let mut voters = Vec::new();
        for id in 1..=self.brokers {
            // Both are known before the start, so that a node that starts again is where clients know it.
            let for_clients = bind().await?;
            let for_controllers = bind().await?;
            voters.push(format!("{id}@127.0.0.1:{}", for_controllers.0));
            bound.push((id, for_clients, for_controllers));
        }
        let mut cluster = Cluster { nodes: Vec::new(), configs: Vec::new(), clock: self.clock, dialer: self.dialer };
        let mut starting = JoinSet::new();
        for (id, (client_port, for_clients), (controller_port, for_controllers)) in bound {
            let listeners =
                format!("{FOR_CLIENTS}://127.0.0.1:{client_port},{FOR_CONTROLLERS}://127.0.0.1:{controller_port}");
            let mut config = BrokerConfig::new()
                .in_memory(true)
                .node_id(id)
                .listeners(listeners.as_str())
                .controller_listener_names(FOR_CONTROLLERS)
                .controller_quorum_voters(voters.join(",").as_str())
                .group_initial_rebalance_delay(Duration::ZERO);
            for change in &self.changes {
                config = change(config);
            }
            cluster.configs.push(config.clone());
            let builder = cluster.builder(config);
            let builder = builder.bound(FOR_CLIENTS, for_clients).bound(FOR_CONTROLLERS, for_controllers);
            starting.spawn(async move { (id, builder.start().await) });
        }
        while let Some(started) = starting.join_next().await {
            let (id, node) =
                started.map_err(|error| BrokerError::Metadata(format!("a node did not start: {error}")))?;
            cluster.nodes.push((id, node?));
        }
        cluster.nodes.sort_by_key(|(id, _)| *id);
        Ok(cluster)
    }
}

/// Listens on some port.
async fn bind() -> Result<(u16, Listener), BrokerError> {
    let address = HostPort::new("127.0.0.1", 0);
    let failed = |source| BrokerError::Bind { address: address.to_string(), source };
    let listener = Listener::bind(&address).await.map_err(failed)?;
    let port = listener.local_addr().map_err(failed)?.port();
    Ok((port, listener))
}

/// Brokers in one process that are a cluster: each is a controller too, and keeps its data in memory unless it is told
/// otherwise. Their ids count from 1. Dropped, they stop at once, as a kill would.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use rkafka_broker_core::Cluster;
///
/// let cluster = Cluster::brokers(3).start().await?;
/// println!("point any Kafka client at {}", cluster.bootstrap());
/// cluster.shutdown().await?;
/// # Ok::<(), rkafka_broker_core::BrokerError>(())
/// # }).unwrap();
/// ```
pub struct Cluster {
    nodes: Vec<(i32, BrokerHandle)>,
    configs: Vec<BrokerConfig>,
    clock: Clock,
    dialer: Option<Dialer>,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Cluster").field("nodes", &self.nodes).finish_non_exhaustive()
    }
}

impl Cluster {
    /// A cluster of so many brokers, at least one.
    pub fn brokers(count: i32) -> ClusterBuilder {
        ClusterBuilder { brokers: count.max(1), changes: Vec::new(), clock: Clock::system(), dialer: None }
    }

    fn builder(&self, config: BrokerConfig) -> BrokerBuilder {
        let id = config.node_id;
        let builder = Broker::builder().config(config).clock(self.clock.clone());
        match &self.dialer {
            Some(dialer) => builder.dialer(dialer(id)),
            None => builder,
        }
    }

    /// The addresses for `bootstrap.servers`.
    pub fn bootstrap(&self) -> String {
        self.nodes.iter().map(|(_, node)| node.bootstrap()).collect::<Vec<_>>().join(",")
    }

    /// The node with this id, if it runs.
    pub fn node(&self, id: i32) -> Option<&BrokerHandle> {
        self.nodes.iter().find(|(other, _)| *other == id).map(|(_, node)| node)
    }

    /// The ids of the nodes that run.
    pub fn ids(&self) -> Vec<i32> {
        self.nodes.iter().map(|(id, _)| *id).collect()
    }

    /// Takes a node out of the cluster: dropped, it is killed; [`BrokerHandle::shutdown`] stops it in good order.
    pub fn take(&mut self, id: i32) -> Option<BrokerHandle> {
        let at = self.nodes.iter().position(|(other, _)| *other == id)?;
        Some(self.nodes.remove(at).1)
    }

    /// Starts a node again that was taken out, where it was. What it kept in memory is gone.
    ///
    /// # Errors
    /// As [`Broker::start`]: its port may be another's by now.
    pub async fn start_again(&mut self, id: i32) -> Result<(), BrokerError> {
        let Some(config) = self.configs.iter().find(|config| config.node_id == id) else { return Ok(()) };
        if self.node(id).is_some() {
            return Ok(());
        }
        let node = self.builder(config.clone()).start().await?;
        self.nodes.push((id, node));
        self.nodes.sort_by_key(|(id, _)| *id);
        Ok(())
    }

    /// Stops all nodes in good order, all at once, so that none hands over to another.
    ///
    /// # Errors
    /// A log could not be left in good order. All nodes are stopped anyway.
    pub async fn shutdown(self) -> Result<(), BrokerError> {
        let mut stopping = JoinSet::new();
        for (_, node) in self.nodes {
            stopping.spawn(node.end(false));
        }
        let mut result = Ok(());
        while let Some(stopped) = stopping.join_next().await {
            let stopped = stopped.map_err(|error| BrokerError::Metadata(format!("a node did not stop: {error}")));
            result = result.and(stopped.and_then(|stopped| stopped));
        }
        result
    }
}
