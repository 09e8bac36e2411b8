//! The admin client itself: a client, and what every operation needs of it.

use std::future::Future;
use std::time::Duration;

use rkafka_client_core::{Client, Error, ErrorKind, Result, RetryPolicy};

use crate::AdminConfig;

/// An admin client. Cheap to clone; clones share their connections.
///
/// Each operation is a value with `timeout` and its options, which is carried out when it is awaited:
/// `admin.create_topics([topic]).validate_only(true).await`. It goes to the broker that it belongs to (the controller, a
/// coordinator, a leader, each broker), and is tried again there or elsewhere where that can help, until the timeout,
/// `default.api.timeout.ms` by default. What is unknown to the cluster is reported soon, after a few attempts at most.
///
/// **Results.** Where an operation is about several items, each has a result of its own ([`PerItem`](crate::PerItem)),
/// also one that no broker said anything of in time. The operation as a whole fails only where that is so of all of them:
/// the cluster cannot be reached, knows no such request ([`ErrorKind::UnsupportedVersion`]), or the client is closed.
///
/// **Cancel safety.** Operations that read can be dropped at any time. One that changes something may have been carried
/// out, in part or whole, when it is dropped or times out; [`Error::maybe_written`] says so of an error. A change whose
/// answer was lost is sent again, so that it may find its own doing: a topic that exists already, for example.
#[derive(Debug, Clone)]
pub struct Admin {
    client: Client,
}

impl Admin {
    /// Connects to a cluster.
    ///
    /// Cancel safe: nothing is left behind.
    ///
    /// # Errors
    /// A setting that cannot be taken, or no bootstrap server that answers.
    pub async fn connect(config: AdminConfig) -> Result<Self> {
        config.validate()?;
        Ok(Self { client: Client::connect(config.client).await? })
    }

    /// An admin client over the connections of `client`.
    pub const fn from_client(client: Client) -> Self {
        Self { client }
    }

    /// The client beneath, for requests that have no method here.
    pub const fn client(&self) -> &Client {
        &self.client
    }

    /// Retries for as long as `limit`.
    pub(crate) fn policy(&self, limit: Duration) -> RetryPolicy {
        RetryPolicy::new(self.client.config().retry_policy(), limit)
    }

    /// How long an operation may take that says nothing else, its retries included.
    pub(crate) fn timeout(&self) -> Duration {
        self.client.config().default_api_timeout
    }

    /// How long a broker may take for a request, in milliseconds: it has to answer before the connection is given up.
    pub(crate) fn broker_time(&self, limit: Duration) -> i32 {
        let time = self.client.config().request_timeout.min(limit);
        i32::try_from(time.as_millis()).unwrap_or(i32::MAX)
    }

    /// Bounds what is made of several steps, of which each has the whole time.
    pub(crate) async fn within<T>(&self, limit: Duration, steps: impl Future<Output = Result<T>>) -> Result<T> {
        match tokio::time::timeout(limit, steps).await {
            Ok(result) => result,
            Err(_) => {
                Err(Error::new(ErrorKind::Timeout, format!("no success within {limit:?}")).with_maybe_written(true))
            }
        }
    }
}
