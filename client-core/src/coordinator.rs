//! Which broker coordinates a group, a transaction or a share partition.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use rkafka_net::HostPort;
use rkafka_protocol::messages::{FindCoordinatorRequest, FindCoordinatorResponse};

use crate::{Broker, Client, Error, ErrorKind, RequestOptions, Result, Target};

/// What is coordinated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CoordinatorKind {
    /// A group, by its id.
    Group,
    /// A transactional producer, by its `transactional.id`.
    Transaction,
    /// A share partition, by `group:topic-id:partition` (KIP-932).
    Share,
}

impl CoordinatorKind {
    fn key_type(self) -> i8 {
        match self {
            Self::Group => 0,
            Self::Transaction => 1,
            Self::Share => 2,
        }
    }

    /// The oldest version that can say it.
    fn version_min(self) -> i16 {
        match self {
            Self::Group => 0,
            Self::Transaction => 1,
            Self::Share => 6,
        }
    }
}

/// Coordinators that have been found.
#[derive(Debug, Default)]
pub(crate) struct Coordinators {
    found: Mutex<HashMap<(CoordinatorKind, String), i32>>,
}

impl Coordinators {
    fn get(&self, kind: CoordinatorKind, key: &str) -> Option<i32> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).get(&(kind, key.to_owned())).copied()
    }

    fn insert(&self, kind: CoordinatorKind, key: &str, node_id: i32) {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).insert((kind, key.to_owned()), node_id);
    }

    pub(crate) fn forget(&self, kind: CoordinatorKind, key: &str) {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).remove(&(kind, key.to_owned()));
    }

    pub(crate) fn forget_node(&self, node_id: i32) {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).retain(|_, found| *found != node_id);
    }
}

impl Client {
    /// The broker that coordinates `key`, asked for once and remembered until
    /// [`Client::invalidate_coordinator`]. Makes one attempt; [`crate::retry()`] makes more. Cancel safe.
    ///
    /// # Errors
    /// No broker answers, or the answer is an error; COORDINATOR_NOT_AVAILABLE is retriable.
    pub async fn coordinator(&self, kind: CoordinatorKind, key: &str) -> Result<i32> {
        if let Some(node_id) = self.coordinators().get(kind, key) {
            return Ok(node_id);
        }
        let found = self.find_coordinators(kind, &[key]).await?;
        found.into_iter().next().map_or_else(|| Err(missing(key)), |(_, result)| result)
    }

    /// The brokers that coordinate `keys`, with one request where the broker can (version 4, KIP-699), else with one for
    /// each; asked for in any case and remembered. Cancel safe.
    ///
    /// # Errors
    /// No broker answers. What a broker says about one key stands beside that key.
    pub async fn find_coordinators(&self, kind: CoordinatorKind, keys: &[&str]) -> Result<Vec<(String, Result<i32>)>> {
        let connection = self.connection(&Target::Any, RequestOptions::default().lane).await?;
        let version = connection.versions().highest::<FindCoordinatorRequest>(i16::MAX)?;
        if version < kind.version_min() {
            let message = format!("the broker cannot find coordinators of the kind {kind:?}; it needs a newer Kafka");
            return Err(Error::new(ErrorKind::UnsupportedVersion, message).with_broker(connection.endpoint()));
        }
        let timeout = self.config().request_timeout;
        let mut results = Vec::with_capacity(keys.len());
        if version >= 4 {
            let request = FindCoordinatorRequest {
                key_type: kind.key_type(),
                coordinator_keys: keys.iter().map(|key| (*key).to_owned()).collect(),
                ..FindCoordinatorRequest::default()
            };
            let response = connection.request(request, i16::MAX, timeout).await?;
            for key in keys {
                let found = response.coordinators.iter().find(|coordinator| coordinator.key == **key);
                let result = found.ok_or_else(|| missing(key)).and_then(|one| {
                    let answer = (one.error_code, one.error_message.as_deref());
                    self.found(kind, key, answer, (one.node_id, &one.host, one.port))
                });
                results.push(((*key).to_owned(), result));
            }
            return Ok(results);
        }
        for key in keys {
            let request = FindCoordinatorRequest {
                key: (*key).to_owned(),
                key_type: kind.key_type(),
                ..FindCoordinatorRequest::default()
            };
            let one: FindCoordinatorResponse = connection.request(request, i16::MAX, timeout).await?;
            let answer = (one.error_code, one.error_message.as_deref());
            let result = self.found(kind, key, answer, (one.node_id, &one.host, one.port));
            results.push(((*key).to_owned(), result));
        }
        Ok(results)
    }

    fn found(
        &self,
        kind: CoordinatorKind,
        key: &str,
        (code, message): (i16, Option<&str>),
        (node_id, host, port): (i32, &str, i32),
    ) -> Result<i32> {
        Error::check_with(code, message)?;
        let port = u16::try_from(port).map_err(|_| {
            Error::new(ErrorKind::Protocol, format!("the coordinator of `{key}` has the impossible port {port}"))
        })?;
        // The coordinator may be a broker that has come since the metadata was fetched.
        self.learn_broker(Broker::new(node_id, HostPort::new(host, port), None));
        self.coordinators().insert(kind, key, node_id);
        Ok(node_id)
    }

    /// Forgets who coordinates `key`, after NOT_COORDINATOR or a connection that broke.
    pub fn invalidate_coordinator(&self, kind: CoordinatorKind, key: &str) {
        self.coordinators().forget(kind, key);
    }
}

fn missing(key: &str) -> Error {
    Error::new(ErrorKind::Protocol, format!("the broker's answer says nothing of the coordinator of `{key}`"))
}
