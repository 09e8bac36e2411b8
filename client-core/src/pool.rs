//! Connections by broker and lane, and the pauses between attempts to reach a broker.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

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
}

/// A connection, and what came of the one before it.
#[derive(Debug, Default)]
struct Held {
    connection: Option<Connection>,
    opened: Option<Instant>,
    /// How many in a row ended without a single answer.
    fruitless: u32,
    /// The next is not opened before.
    not_before: Option<Instant>,
}

impl Held {
    fn live(&self) -> Option<&Connection> {
        self.connection.as_ref().filter(|connection| !connection.is_closed())
    }

    fn put(&mut self, connection: Connection) {
        (self.connection, self.opened, self.not_before) = (Some(connection), Some(clock::now()), None);
    }

    /// Lays aside a connection that has ended. A broker that takes connections and ends them is not to be asked in a
    /// tight loop: what could be opened counts as a failure all the same where no answer ever came over it.
    fn note_end(&mut self, config: &ClientConfig) {
        let Some(ended) = self.connection.take() else { return };
        self.fruitless = if ended.has_answered() { 0 } else { self.fruitless.saturating_add(1) };
        let pause = config.reconnect_policy().delay(self.fruitless.saturating_sub(1), &mut rand::rng());
        self.not_before = self.opened.map(|opened| clock::later(opened, pause));
    }
}

/// The place of one connection. Who holds the lock opens it.
#[derive(Debug, Default)]
struct Slot {
    held: tokio::sync::Mutex<Held>,
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
    nodes: Mutex<HashMap<Endpoint, Node>>,
    slots: Mutex<HashMap<(Endpoint, Lane), Arc<Slot>>>,
}

impl Pool {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, nodes: Mutex::default(), slots: Mutex::default() }
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
        if let Some(connection) = held.live() {
            return Ok(connection.clone());
        }
        if let (now, Some(error)) = &*slot.failed()
            && *now != failures
        {
            return Err(error.clone());
        }
        held.note_end(&self.shared.config);
        if let Some(not_before) = held.not_before {
            tokio::time::sleep_until(not_before).await;
        }
        let link = self.link(endpoint).await.inspect_err(|error| {
            let mut failed = slot.failed();
            *failed = (failed.0.wrapping_add(1), Some(error.clone()));
        })?;
        let connection = Connection::new(link, self.shared.config.connections_max_idle);
        held.put(connection.clone());
        Ok(connection)
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
            && held.live().is_none()
        {
            held.put(connection.at(endpoint.clone()));
        }
    }

    /// A connection of its own, after the pause that a failure before it asks for (`reconnect.backoff.ms`).
    pub(crate) async fn link(&self, endpoint: &Endpoint) -> Result<Link> {
        let (failures, not_before) = {
            let nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
            nodes.get(endpoint).map_or((0, None), |node| (node.failures, node.not_before))
        };
        if let Some(not_before) = not_before {
            tokio::time::sleep_until(not_before).await;
        }
        let result = Link::connect_after(&self.shared, endpoint, failures).await;
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        let node = nodes.entry(endpoint.clone()).or_default();
        match &result {
            Ok(link) => {
                *node = Node { failures: 0, not_before: None, versions: Some(Arc::clone(link.versions())) };
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
        held.live().map(Connection::in_flight)
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
