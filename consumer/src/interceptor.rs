//! Interceptors: code of the application's own that sees what a consumer is given, and what its group commits.

use std::any::type_name;
use std::error::Error;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::batch::Batch;
use crate::subscription::{CommittedOffset, TopicPartition};

/// Sees each batch before the application is given it or the first of its records, and each commit that was made. As
/// Java's `ConsumerInterceptor`, given as an object by [`ConsumerOptions::interceptor`](crate::ConsumerOptions::interceptor)
/// in the place of a class by `interceptor.classes`.
///
/// Interceptors run one after the other, in the order in which they were given. One that fails or panics is logged and
/// passed over. Batches are read where they lie and cannot be changed, where Java's interceptors may give other records;
/// keys and values are bytes, for deserializers come after, where Java's come before. Without interceptors nothing costs
/// anything; with them, one call per batch.
///
/// ```
/// use std::error::Error;
/// use rkafka_consumer::{Batch, ConsumerInterceptor, ConsumerOptions};
///
/// struct Audit;
///
/// impl ConsumerInterceptor for Audit {
///     fn on_consume(&self, batch: &Batch) -> Result<(), Box<dyn Error + Send + Sync>> {
///         println!("{} records of {}", batch.declared_records(), batch.topic());
///         Ok(())
///     }
/// }
///
/// let options = ConsumerOptions::new().interceptor(Audit);
/// # let _ = options;
/// ```
pub trait ConsumerInterceptor: Send + Sync + 'static {
    /// Called in the application's call for records: it must not block. A batch of which a part is given again, after a
    /// pause or a seek, is seen again.
    ///
    /// # Errors
    /// Whatever goes wrong: it is logged, and the application is given the batch all the same.
    fn on_consume(&self, batch: &Batch) -> Result<(), Box<dyn Error + Send + Sync>> {
        let _ = batch;
        Ok(())
    }

    /// Called once for each commit that the group has taken, automatic ones included, before whoever waits for it is told;
    /// from a task of the consumer, so that it must not block. Not for offsets that a producer commits in a transaction.
    ///
    /// # Errors
    /// Whatever goes wrong: it is logged, and the commit holds.
    fn on_commit(&self, offsets: &[(TopicPartition, CommittedOffset)]) -> Result<(), Box<dyn Error + Send + Sync>> {
        let _ = offsets;
        Ok(())
    }

    /// Called once, when the consumer is closed.
    fn close(&self) {}
}

/// The interceptors of a consumer, in order, each with its type's name for the log.
#[derive(Clone, Default)]
pub(crate) struct Interceptors(Vec<(&'static str, Arc<dyn ConsumerInterceptor>)>);

impl fmt::Debug for Interceptors {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

impl Interceptors {
    /// Puts one behind those that are there.
    pub(crate) fn push<I: ConsumerInterceptor>(&mut self, interceptor: I) {
        self.0.push((type_name::<I>(), Arc::new(interceptor)));
    }

    #[inline]
    pub(crate) fn on_consume(&self, batch: &Batch) {
        self.call("on_consume", |one| one.on_consume(batch));
    }

    pub(crate) fn on_commit(&self, offsets: &[(TopicPartition, CommittedOffset)]) {
        self.call("on_commit", |one| one.on_commit(offsets));
    }

    pub(crate) fn close(&self) {
        self.call("close", |one| {
            one.close();
            Ok(())
        });
    }

    fn call(
        &self,
        what: &'static str,
        call: impl Fn(&dyn ConsumerInterceptor) -> Result<(), Box<dyn Error + Send + Sync>>,
    ) {
        for (name, interceptor) in &self.0 {
            match catch_unwind(AssertUnwindSafe(|| call(&**interceptor))) {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(interceptor = name, what, %error, "an interceptor failed"),
                Err(_) => tracing::error!(interceptor = name, what, "an interceptor panicked"),
            }
        }
    }
}
