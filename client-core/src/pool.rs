//! Connections by broker and lane, and the pauses between attempts to reach a broker.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::runtime::Handle;
use tokio::time::Instant;

use crate::link::{Outcome, Trial};
use crate::{BrokerVersions, ClientConfig, Connection, Endpoint, Error, Link, Result, Shared, clock};

/// What a connection is for. Requests of one lane share a connection to each broker, and wait for each other; those of
/// different lanes never do, so that a request which waits long at the broker stands in nobody's way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Lane {
    /// Metadata, coordinators, topics, and all else that is answered at once.
    #[default]
    Control,
    /// Groups: joining waits for the others.
    Group,
    /// Transactions.
    Transaction,
    /// Offsets: asking for and committing them must not wait for a group that rebalances.
    Offsets,
    /// One of the application's own.
    Other(u32),
}

#[derive(Debug, Default)]
struct Node {
    /// Failures in a row, and when the next attempt may begin.
    failures: u32,
    not_before: Option<Instant>,
    versions: Option<Arc<BrokerVersions>>,
    /// The connection that was opened last: when, and what became of it.
    last: Option<(Instant, Arc<Trial>)>,
}

impl Node {
    /// Takes notice of what became of the connection that was opened last. A broker that takes connections and ends them
    /// is not to be asked in a tight loop: what could be opened is a failure all the same where no answer came over it.
    fn note_last(&mut self, config: &ClientConfig) {
        let Some((opened, trial)) = &self.last else { return };
        match trial.outcome() {
            Outcome::Open => return,
            Outcome::Answered => self.failures = 0,
            Outcome::Fruitless => {
                let pause = config.reconnect_policy().delay(self.failures, &mut rand::rng());
                self.not_before = Some(clock::later(*opened, pause));
                self.failures = self.failures.saturating_add(1);
            }
        }
        self.last = None;
    }
}

/// The place of one connection. Who holds the lock opens it.
#[derive(Debug, Default)]
struct Slot {
    held: tokio::sync::Mutex<Option<Connection>>,
    /// How many attempts have failed, and how the last one did.
    failed: Mutex<(u64, Option<Error>)>,
}

impl Slot {
    fn failed(&self) -> MutexGuard<'_, (u64, Option<Error>)> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The connections of a client.
#[derive(Debug)]
pub(crate) struct Pool {
    shared: Arc<Shared>,
    /// Where connections live, whichever runtime asks for them: one that ends must not take them along.
    home: Handle,
    nodes: Mutex<HashMap<Endpoint, Node>>,
    slots: Mutex<HashMap<(Endpoint, Lane), Arc<Slot>>>,
}

impl Pool {
    /// Must be called on the runtime on which connections are to live.
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, home: Handle::current(), nodes: Mutex::default(), slots: Mutex::default() }
    }

    /// The connection to a broker in a lane, opened if there is none. Those who ask at once wait for one attempt, and
    /// share its failure: else the last of many would wait for as many timeouts.
    /// Cancel safe: an attempt that is given up is made again by the next who asks.
    pub(crate) async fn connection(&self, endpoint: &Endpoint, lane: Lane) -> Result<Connection> {
        let slot = {
            let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(slots.entry((endpoint.clone(), lane)).or_default())
        };
        let failures = slot.failed().0;
        let mut held = slot.held.lock().await;
        if let Some(connection) = held.as_ref().filter(|connection| !connection.is_closed()) {
            return Ok(connection.clone());
        }
        if let (now, Some(error)) = &*slot.failed()
            && *now != failures
        {
            return Err(error.clone());
        }
        let link = self.link(endpoint).await.inspect_err(|error| {
            let mut failed = slot.failed();
            *failed = (failed.0.wrapping_add(1), Some(error.clone()));
        })?;
        let connection = self.share(link);
        *held = Some(connection.clone());
        Ok(connection)
    }

    /// Opens a connection to where nothing is known yet.
    pub(crate) async fn first(&self, endpoint: &Endpoint) -> Result<Connection> {
        self.dial(endpoint, 0).await.map(|link| self.share(link))
    }

    fn share(&self, link: Link) -> Connection {
        let _home = self.home.enter();
        Connection::new(link, self.shared.config.connections_max_idle)
    }

    async fn dial(&self, endpoint: &Endpoint, failures: u32) -> Result<Link> {
        let (shared, endpoint) = (Arc::clone(&self.shared), endpoint.clone());
        clock::run_on(&self.home, async move { Link::connect_after(&shared, &endpoint, failures).await }).await
    }

    /// Takes over the connection that the client found the cluster by, once its answer has told which broker that is: one
    /// dial and one ApiVersions less before the first record.
    pub(crate) fn adopt(&self, endpoint: &Endpoint, lane: Lane, connection: &Connection) {
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        nodes.entry(endpoint.clone()).or_default().versions = Some(Arc::clone(connection.versions()));
        drop(nodes);
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = slots.entry((endpoint.clone(), lane)).or_default();
        if let Ok(mut held) = slot.held.try_lock()
            && held.as_ref().is_none_or(Connection::is_closed)
        {
            *held = Some(connection.at(endpoint.clone()));
        }
    }

    /// A connection of its own, after the pause that a failure before it asks for (`reconnect.backoff.ms`).
    pub(crate) async fn link(&self, endpoint: &Endpoint) -> Result<Link> {
        let (failures, not_before) = {
            let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
            let node = nodes.entry(endpoint.clone()).or_default();
            node.note_last(&self.shared.config);
            (node.failures, node.not_before)
        };
        if let Some(not_before) = not_before {
            tokio::time::sleep_until(not_before).await;
        }
        let mut result = self.dial(endpoint, failures).await;
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        let node = nodes.entry(endpoint.clone()).or_default();
        match &mut result {
            // How often it failed is forgotten with the first answer.
            Ok(link) => {
                node.not_before = None;
                node.versions = Some(Arc::clone(link.versions()));
                node.last = Some((clock::now(), link.watch()));
            }
            // Of several who tried at once only the first counts.
            Err(_) if node.not_before == not_before => {
                let delay = self.shared.config.reconnect_policy().delay(node.failures, &mut rand::rng());
                node.failures = node.failures.saturating_add(1);
                node.not_before = Some(clock::later(clock::now(), delay));
            }
            Err(_) => {}
        }
        result
    }

    /// What a broker said that it can do, when a connection to it was last opened.
    pub(crate) fn versions(&self, endpoint: &Endpoint) -> Option<Arc<BrokerVersions>> {
        let nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        nodes.get(endpoint).and_then(|node| node.versions.clone())
    }

    /// Whether the last attempt to reach the broker failed and the pause after it is not over.
    pub(crate) fn is_in_backoff(&self, endpoint: &Endpoint) -> bool {
        let nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        nodes.get(endpoint).and_then(|node| node.not_before).is_some_and(|not_before| clock::now() < not_before)
    }

    /// Whether there is a live connection to the broker, and how many requests wait on it.
    pub(crate) fn load(&self, endpoint: &Endpoint, lane: Lane) -> Option<usize> {
        let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let held = slots.get(&(endpoint.clone(), lane))?.held.try_lock().ok()?;
        held.as_ref().filter(|connection| !connection.is_closed()).map(Connection::in_flight)
    }

    /// Whether a connection to the broker is being opened, which may take as long as a broker takes that does not answer.
    pub(crate) fn is_opening(&self, endpoint: &Endpoint, lane: Lane) -> bool {
        let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.get(&(endpoint.clone(), lane)).is_some_and(|slot| slot.held.try_lock().is_err())
    }

    /// Drops what belongs to brokers that are no longer there, so that a cluster that moves about leaves nothing behind.
    pub(crate) fn retain(&self, keep: impl Fn(&Endpoint) -> bool) {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner).retain(|(endpoint, _), _| keep(endpoint));
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner).retain(|endpoint, _| keep(endpoint));
    }

    /// Drops every connection.
    pub(crate) fn close(&self) {
        self.retain(|_| false);
    }
}
