//! What a producer is made with beside its settings: what only code can give.

use std::fmt;
use std::sync::Arc;

use rkafka_client_core::ClientOptions;

use crate::interceptor::{Interceptors, ProducerInterceptor};
use crate::partitioner::CustomPartitioner;

/// What a producer is made with beside its settings. [`ClientOptions`] alone convert into it.
#[derive(Clone)]
#[non_exhaustive]
pub struct ProducerOptions {
    /// What the client underneath is made with. Default: brokers may create topics that are sent to, as with Java's
    /// producer.
    pub client: ClientOptions,
    /// Chooses the partition of records that name none, in the place of the setting `partitioner`, which must then not
    /// be set. Default: none.
    pub partitioner: Option<Arc<dyn CustomPartitioner>>,
    /// See every record on its way out, and what became of it. Default: none.
    pub interceptors: Interceptors,
}

impl fmt::Debug for ProducerOptions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ProducerOptions")
            .field("client", &self.client)
            .field("has_partitioner", &self.partitioner.is_some())
            .field("interceptors", &self.interceptors)
            .finish()
    }
}

impl Default for ProducerOptions {
    fn default() -> Self {
        ClientOptions::default().allow_auto_create_topics(true).into()
    }
}

impl From<ClientOptions> for ProducerOptions {
    fn from(client: ClientOptions) -> Self {
        Self { client, partitioner: None, interceptors: Interceptors::default() }
    }
}

impl ProducerOptions {
    /// Says what the client underneath is made with.
    #[must_use]
    pub fn client(mut self, client: ClientOptions) -> Self {
        self.client = client;
        self
    }

    /// Gives the producer a partitioner of the application's own.
    ///
    /// ```
    /// use rkafka_producer::{ProducerOptions, Record, TopicPartitions};
    ///
    /// // Orders of a value go by the last byte of their key, everything else as if there were no partitioner.
    /// let options = ProducerOptions::default().partitioner(|record: &Record<'_>, topic: &TopicPartitions<'_>| {
    ///     let last = *record.key?.last()?;
    ///     Some(u32::from(last) % topic.count())
    /// });
    /// # let _ = options;
    /// ```
    #[must_use]
    pub fn partitioner(mut self, partitioner: impl CustomPartitioner) -> Self {
        self.partitioner = Some(Arc::new(partitioner));
        self
    }

    /// Gives the producer an interceptor, which comes behind those that were given before.
    #[must_use]
    pub fn interceptor(mut self, interceptor: impl ProducerInterceptor) -> Self {
        self.interceptors.push(interceptor);
        self
    }
}
