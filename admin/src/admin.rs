//! The admin client itself: a client, and what every operation needs of it.

use std::time::Duration;

use rkafka_client_core::{Client, Lane, Result, RetryPolicy, Target};
use rkafka_protocol::wire::Request;

use crate::AdminConfig;

/// An admin client. Cheap to clone; clones share their connections.
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

    pub(crate) fn policy(&self) -> RetryPolicy {
        self.client.retry_policy()
    }

    /// How long an operation may take, its retries included.
    pub(crate) fn timeout(&self) -> Duration {
        self.client.config().default_api_timeout
    }

    pub(crate) async fn any_request<R: Request + Send + 'static>(&self, request: R) -> Result<R::Response> {
        self.client.request_any(request).await
    }

    pub(crate) async fn controller_request<R: Request + Send + 'static>(&self, request: R) -> Result<R::Response> {
        self.client.request_controller(request).await
    }

    /// Whether the broker that takes requests to the controller knows `version` of a request.
    pub(crate) async fn controller_knows<R: Request>(&self, version: i16) -> Result<bool> {
        let connection = self.client.connection(&Target::Controller, Lane::Control).await?;
        Ok(connection.versions().highest::<R>(i16::MAX).is_ok_and(|newest| newest >= version))
    }
}
