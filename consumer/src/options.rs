//! What a consumer is given in code, beside its settings.

use std::sync::Arc;

use rkafka_assignor::Assignor;
use rkafka_client_core::ClientOptions;

use crate::interceptor::{ConsumerInterceptor, Interceptors};

/// What a consumer is given in code, beside its settings.
#[derive(Debug, Clone, Default)]
pub struct ConsumerOptions {
    pub(crate) client: ClientOptions,
    pub(crate) assignors: Vec<Arc<dyn Assignor>>,
    pub(crate) interceptors: Interceptors,
}

impl ConsumerOptions {
    /// Nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What there is to say of connections.
    #[must_use]
    pub fn client(mut self, client: ClientOptions) -> Self {
        self.client = client;
        self
    }

    /// An assignor of the application's own, for `partition.assignment.strategy` to name. It comes before one of Kafka's
    /// with the same name. Every member that may lead the group must have it. Under the cooperative protocol a partition
    /// that another member still owns is held back from whom it is given to until that one has given it up, so that the
    /// assignor need not look at it.
    #[must_use]
    pub fn assignor(mut self, assignor: impl Assignor + 'static) -> Self {
        self.assignors.push(Arc::new(assignor));
        self
    }

    /// What sees each batch and each commit, behind those that were given before.
    #[must_use]
    pub fn interceptor(mut self, interceptor: impl ConsumerInterceptor) -> Self {
        self.interceptors.push(interceptor);
        self
    }
}

impl From<ClientOptions> for ConsumerOptions {
    fn from(client: ClientOptions) -> Self {
        Self { client, ..Self::default() }
    }
}
