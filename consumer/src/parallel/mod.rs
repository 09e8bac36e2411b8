//! Many records worked on at once, in order where order matters, and committed safely.

mod gate;
mod handler;
mod run;

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use rkafka_config::ConfigError;

use crate::config::ConsumerConfig;
use crate::consumer::Consumer;
use crate::error::{ConsumerError, Result};
use crate::handle::ConsumerHandle;
use crate::listener::RebalanceListener;
use crate::record::ConsumerRecord;
use crate::retry::{DeadLetterError, LastResort, Retries};
use crate::subscription::TopicPartition;
use gate::{Gate, GateListener};
pub use handler::{Failure, RecordHandler, TypedFailure, TypedHandler};

/// The least pause between two attempts to bury a record.
const BURIAL_PAUSE_MIN: Duration = Duration::from_millis(100);

/// Which records are worked on one after another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Order {
    /// Those with the same key in the same partition. Those without a key are in the order of their partition, for nothing
    /// says that they do not belong together.
    #[default]
    Key,
    /// Those of the same partition.
    Partition,
    /// None: every record is for itself.
    Unordered,
}

/// How a [`ParallelConsumer`] works.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ParallelOptions {
    /// Which records are worked on one after another. The default is [`Order::Key`].
    pub order: Order,
    /// How many records are worked on at once, at most. The default is 16.
    pub workers: usize,
    /// How many records are taken from the consumer and not done with, at most. The default is 10 000.
    pub records_max: usize,
    /// How many bytes those records have, at most, or one record more. The default is 64 MiB. A record keeps the batch in
    /// memory that it came in.
    pub bytes_max: usize,
    /// How long what is worked on may go on when its partition is to be given up, before it is broken off. `None`, the
    /// default: half of `max.poll.interval.ms`, for which the rebalance waits.
    pub revocation_timeout: Option<Duration>,
    /// How long one attempt may take before it is broken off, as a failure. `None`, the default: for ever. While a record
    /// is worked on, the consumer stays in its group however long that takes: `max.poll.interval.ms` does not count.
    pub handler_timeout: Option<Duration>,
    /// How often a record is tried. The default is [`Retries::none`]. What comes after the record in its lane waits
    /// meanwhile, and nothing else.
    pub retries: Retries,
    /// What is done with a record after the last attempt. The default is [`LastResort::Stop`].
    pub last_resort: LastResort,
}

impl Default for ParallelOptions {
    fn default() -> Self {
        Self {
            order: Order::Key,
            workers: 16,
            records_max: 10_000,
            bytes_max: 67_108_864,
            revocation_timeout: None,
            handler_timeout: None,
            retries: Retries::none(),
            last_resort: LastResort::Stop,
        }
    }
}

macro_rules! with {
    ($($(#[$doc:meta])* $field:ident: $of:ty;)*) => {
        impl ParallelOptions {
            $($(#[$doc])*
            #[must_use]
            pub fn $field(mut self, $field: $of) -> Self {
                self.$field = $field;
                self
            })*
        }
    };
}

with! {
    /// Says which records are worked on one after another.
    order: Order;
    /// Says how many records are worked on at once, 1 at least.
    workers: usize;
    /// Says how many records are taken from the consumer and not done with, 1 at least.
    records_max: usize;
    /// Says how many bytes those records have.
    bytes_max: usize;
    /// Says how long what is worked on may go on when its partition is to be given up.
    revocation_timeout: Option<Duration>;
    /// Says how long one attempt may take.
    handler_timeout: Option<Duration>;
    /// Says how often a record is tried.
    retries: Retries;
    /// Says what is done with a record after the last attempt.
    last_resort: LastResort;
}

/// Why [`ParallelConsumer::run`] came back. What was not done with is not committed, and comes again with the next run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ParallelError<E: fmt::Display + fmt::Debug> {
    /// The consumer: trouble of a partition, after which the others go on, or an error that is fatal.
    #[error(transparent)]
    Consumer(#[from] ConsumerError),
    /// The handler failed for the last time, and [`LastResort::Stop`] is what comes then.
    #[error("{partition} at offset {offset}: {failure} (attempts: {attempts})")]
    Handler {
        /// The record's partition.
        partition: TopicPartition,
        /// The record's offset: a seek beyond it gives it up.
        offset: i64,
        /// How often it was tried.
        attempts: u32,
        /// The last failure.
        failure: Failure<E>,
    },
    /// A record cannot be buried, and another attempt would not help.
    #[error("{partition} at offset {offset}: {source}")]
    DeadLetter {
        /// The record's partition.
        partition: TopicPartition,
        /// The record's offset.
        offset: i64,
        /// Why.
        source: DeadLetterError,
    },
}

/// Works on many records at once: as many as there are workers, in order per key (or [`Order`]), each in a task of its
/// own. A record is marked as done when its handler succeeds, in whatever order; what is committed, by the interval, on a
/// rebalance and on close, never goes beyond one that is not. So each record is dealt with once at least.
///
/// The consumer needs `enable.auto.offset.store=false`. With `enable.auto.commit=false` the application commits what is
/// done, by [`ConsumerHandle::commit`].
///
/// On a rebalance what waits of the partitions that go is dropped, and what is worked on has
/// [`revocation_timeout`](ParallelOptions::revocation_timeout) to come to its end; then what is done is committed. What was
/// done ahead of a record that was dropped is done again by whoever has the partition next. Where partitions were lost,
/// work on them is broken off.
///
/// ```no_run
/// use rkafka_consumer::{
///     ClientSettings, ConsumerConfig, ParallelConsumer, ParallelError, ParallelOptions,
/// };
///
/// # async fn work() -> Result<(), ParallelError<std::io::Error>> {
/// let config = ConsumerConfig::new()
///     .bootstrap_servers("localhost:9092")
///     .group_id("orders")
///     .enable_auto_offset_store(false);
/// let mut consumer = ParallelConsumer::connect(config, ParallelOptions::default().workers(64)).await?;
/// consumer.subscribe(["orders"])?;
/// consumer
///     .run(|order| async move {
///         println!("{:?}", order.value());
///         Ok::<_, std::io::Error>(())
///     })
///     .await
/// # }
/// ```
#[derive(Debug)]
pub struct ParallelConsumer {
    consumer: Consumer,
    options: ParallelOptions,
    gate: Arc<Gate>,
}

impl ParallelConsumer {
    /// Connects a consumer and works by it. Cancel safe.
    ///
    /// # Errors
    /// As [`Consumer::connect`] and [`new`](Self::new).
    pub async fn connect(config: ConsumerConfig, options: ParallelOptions) -> Result<Self> {
        check(&config)?;
        Ok(Self::of(Consumer::connect(config).await?, options))
    }

    /// Works by this consumer, which has not subscribed yet.
    ///
    /// # Errors
    /// `enable.auto.offset.store` is not false; it has subscribed, so that rebalances cannot be heard of any more.
    pub fn new(consumer: Consumer, options: ParallelOptions) -> Result<Self> {
        check(consumer.config())?;
        if consumer.has_been_member() {
            return Err(ConsumerError::Conflict { operation: "parallel processing" });
        }
        Ok(Self::of(consumer, options))
    }

    fn of(consumer: Consumer, options: ParallelOptions) -> Self {
        Self { consumer, options, gate: Arc::default() }
    }

    /// As [`Consumer::subscribe`].
    ///
    /// # Errors
    /// As [`Consumer::subscribe`].
    pub fn subscribe<Topic: Into<String>>(&mut self, topics: impl IntoIterator<Item = Topic>) -> Result<()> {
        self.consumer.subscribe_with(topics, GateListener::new(&self.gate, None))
    }

    /// As [`Consumer::subscribe_with`]. When the hooks are told that partitions go, nothing of them is worked on any more.
    ///
    /// # Errors
    /// As [`Consumer::subscribe_with`].
    pub fn subscribe_with<Topic: Into<String>>(
        &mut self,
        topics: impl IntoIterator<Item = Topic>,
        listener: impl RebalanceListener,
    ) -> Result<()> {
        self.consumer.subscribe_with(topics, GateListener::new(&self.gate, Some(Box::new(listener))))
    }

    /// As [`Consumer::assign`].
    ///
    /// # Errors
    /// As [`Consumer::assign`].
    pub fn assign<Topic: Into<Arc<str>>>(
        &mut self,
        partitions: impl IntoIterator<Item = (Topic, i32, crate::Start)>,
    ) -> Result<()> {
        self.consumer.assign(partitions)
    }

    /// A handle of the consumer, such as to commit, seek or pause.
    pub fn handle(&self) -> ConsumerHandle {
        self.consumer.handle()
    }

    /// Works on records until something fails that the options have no answer to.
    ///
    /// Cancel safe: where this future is dropped, what is worked on is broken off, and comes again with the next run.
    ///
    /// # Errors
    /// As [`run_until`](Self::run_until); it never comes back otherwise.
    pub async fn run<E, F, Fut>(&mut self, handler: F) -> Result<(), ParallelError<E>>
    where
        E: fmt::Display + fmt::Debug + Send + 'static,
        F: Fn(ConsumerRecord) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), E>> + Send + 'static,
    {
        self.run_until(std::future::pending(), handler).await
    }

    /// Works on records until `stop` completes: what is worked on then comes to its end, and what waits is left for
    /// the next run. Cancel safe as [`run`](Self::run).
    ///
    /// # Errors
    /// The consumer failed, or one of its partitions; the handler failed for the last time, under [`LastResort::Stop`]; a
    /// record cannot be buried. What is worked on comes to its end before this comes back.
    pub async fn run_until<E, F, Fut>(
        &mut self,
        stop: impl Future<Output = ()>,
        handler: F,
    ) -> Result<(), ParallelError<E>>
    where
        E: fmt::Display + fmt::Debug + Send + 'static,
        F: Fn(ConsumerRecord) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), E>> + Send + 'static,
    {
        self.drive(stop, handler::Closure(handler)).await
    }

    /// [`run_until`](Self::run_until) with a handler of its own type. Cancel safe as [`run`](Self::run).
    ///
    /// # Errors
    /// As [`run_until`](Self::run_until).
    pub async fn drive<H: RecordHandler>(
        &mut self,
        stop: impl Future<Output = ()>,
        handler: H,
    ) -> Result<(), ParallelError<H::Error>> {
        run::drive(&mut self.consumer, &self.options, &self.gate, Arc::new(handler), stop).await
    }

    /// As [`Consumer::close`]: what is done is committed, where `enable.auto.commit` is on. Where the future is dropped, the
    /// closing goes on.
    ///
    /// # Errors
    /// As [`Consumer::close`].
    pub async fn close(self) -> Result<()> {
        self.consumer.close().await
    }
}

fn check(config: &ConsumerConfig) -> Result<(), ConfigError> {
    if config.enable_auto_offset_store {
        return Err(ConfigError::Conflict {
            name: "enable.auto.offset.store".to_owned(),
            other: "ParallelConsumer".to_owned(),
            reason: "records are done in another order than they come in: set it to false".to_owned(),
        });
    }
    Ok(())
}
