//! Consume, process, produce: each record exactly once.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use rkafka_client_core::{CommittedOffset, ConfigError, GroupMetadata, TopicPartition};
use rkafka_consumer::{Consumer, ConsumerConfig, ConsumerError, ConsumerRecord, IsolationLevel};
use rkafka_producer::{Transaction, TransactionError, TransactionalProducer};
use thiserror::Error;

/// Why [`ExactlyOnce::run`] came back. Nothing of the records at hand was committed, unless
/// [`TransactionError::may_have_been_written`] says otherwise; called again, it goes on with what is not committed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ExactlyOnceError<E> {
    /// The consumer: trouble of a partition, after which the others go on, or an error that is fatal.
    #[error(transparent)]
    Consumer(#[from] ConsumerError),
    /// The producer: an error that [is fatal](TransactionError::is_fatal), or one that another attempt would meet again.
    #[error(transparent)]
    Transaction(#[from] TransactionError),
    /// The application's own; the transaction was aborted.
    #[error(transparent)]
    Process(E),
}

/// What is done with records, as a type: for [`ExactlyOnce::drive`]. Async closures are processors too.
///
/// ```
/// use rkafka::Processor;
/// use rkafka::consumer::ConsumerRecord;
/// use rkafka::producer::{ProducerError, Record, Transaction};
///
/// struct Copy {
///     to: String,
/// }
///
/// impl Processor<ProducerError> for Copy {
///     async fn process(
///         &mut self,
///         records: &[ConsumerRecord],
///         transaction: &Transaction<'_>,
///     ) -> Result<(), ProducerError> {
///         for record in records {
///             let _ = transaction.send(Record::to(&self.to).value(record.value().unwrap_or_default())).await?;
///         }
///         Ok(())
///     }
/// }
/// ```
pub trait Processor<E> {
    /// Deals with `records`, and sends what comes of it into the transaction. It need not be cancel safe towards the
    /// transaction, which is aborted where this is dropped.
    ///
    /// # Errors
    /// The application's own; the transaction is then aborted.
    fn process(
        &mut self,
        records: &[ConsumerRecord],
        transaction: &Transaction<'_>,
    ) -> impl Future<Output = Result<(), E>>;
}

impl<E, F> Processor<E> for F
where
    F: AsyncFnMut(&[ConsumerRecord], &Transaction<'_>) -> Result<(), E>,
{
    async fn process(&mut self, records: &[ConsumerRecord], transaction: &Transaction<'_>) -> Result<(), E> {
        self(records, transaction).await
    }
}

/// Reads records, has them processed, and commits what was sent for them together with their offsets in one transaction
/// (KIP-98, KIP-447): whoever reads the results with `isolation.level=read_committed` finds each record's effect once,
/// however often anything is killed in between. What processing does elsewhere than in the transaction, it may do more
/// than once.
///
/// Where a transaction is aborted, the consumer goes back to what is committed, and the records come again. So it is
/// where the processing fails or panics: the transaction is aborted, and the next run is given the same records.
///
/// # Records that can never be processed
/// A record that fails each time would hold up its partition for ever. Whoever processes it has two ways on, both
/// within the transaction: to skip it, for its offset is committed with those of the others, or to send it to a
/// dead-letter topic through the transaction, where it then is exactly once. The same goes for records that cannot be
/// deserialized:
///
/// ```no_run
/// # use rkafka::ExactlyOnce;
/// # use rkafka::consumer::Deserialize;
/// # use rkafka::producer::{ProducerError, Record};
/// # async fn bill(mut worker: ExactlyOnce) -> Result<(), Box<dyn std::error::Error>> {
/// let amounts = Deserialize::<Option<String>, i64>::default();
/// worker
///     .run(async |orders, transaction| {
///         for order in orders {
///             let sent = match amounts.read(order.clone()).await {
///                 Ok(amount) => transaction.send(Record::to("bills").value(&amount.value.to_string())).await?,
///                 Err(error) => {
///                     let value = error.record().value().unwrap_or_default();
///                     transaction.send(Record::to("orders.dead").value(value)).await?
///                 }
///             };
///             drop(sent);
///         }
///         Ok::<_, ProducerError>(())
///     })
///     .await?;
/// # Ok(())
/// # }
/// ```
///
/// # All of it
/// ```no_run
/// use rkafka::ExactlyOnce;
/// use rkafka::client::ClientSettings;
/// use rkafka::consumer::{Consumer, ConsumerConfig, IsolationLevel, OffsetReset};
/// use rkafka::producer::{ProducerConfig, ProducerError, Record, TransactionalProducer};
///
/// # async fn bill() -> Result<(), Box<dyn std::error::Error>> {
/// let config = ConsumerConfig::new()
///     .bootstrap_servers("localhost:9092")
///     .group_id("billing")
///     .auto_offset_reset(OffsetReset::Earliest)
///     .enable_auto_commit(false)
///     .isolation_level(IsolationLevel::ReadCommitted);
/// let mut consumer = Consumer::connect(config).await?;
/// consumer.subscribe(["orders"])?;
/// let config = ProducerConfig::new().bootstrap_servers("localhost:9092").transactional_id("billing-1");
/// let producer = TransactionalProducer::new(config).await?;
///
/// ExactlyOnce::new(consumer, producer)?
///     .run(async |orders, transaction| {
///         for order in orders {
///             let bill = order.value().unwrap_or_default();
///             // Not awaited: the commit waits for all of them.
///             let _ = transaction.send(Record::to("bills").value(bill)).await?;
///         }
///         Ok::<_, ProducerError>(())
///     })
///     .await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct ExactlyOnce {
    consumer: Consumer,
    producer: TransactionalProducer,
    /// Records were taken that are not committed.
    is_ahead: bool,
}

impl ExactlyOnce {
    /// Puts a consumer and a producer together. The consumer needs a group and its subscription, `enable.auto.commit=false`
    /// and `isolation.level=read_committed`.
    ///
    /// # Errors
    /// The consumer's settings are others.
    pub fn new(consumer: Consumer, producer: TransactionalProducer) -> Result<Self, ConfigError> {
        check(consumer.config())?;
        Ok(Self { consumer, producer, is_ahead: false })
    }

    /// The consumer, such as to subscribe to other topics between two runs.
    pub fn consumer(&mut self) -> &mut Consumer {
        &mut self.consumer
    }

    /// Runs until something fails that another attempt cannot mend: [`ExactlyOnce::run_until`] without an end, and as cancel safe.
    ///
    /// # Errors
    /// As [`ExactlyOnce::run_until`]; it never comes back otherwise.
    pub async fn run<E>(
        &mut self,
        process: impl AsyncFnMut(&[ConsumerRecord], &Transaction<'_>) -> Result<(), E>,
    ) -> Result<(), ExactlyOnceError<E>> {
        self.run_until(std::future::pending(), process).await
    }

    /// [`ExactlyOnce::drive`] with a closure. Its future cannot go to another thread where the closure refers to anything
    /// (a limit of today's async closures): what is to be spawned is driven by a [`Processor`] of its own type. Cancel safe as
    /// [`ExactlyOnce::drive`].
    ///
    /// # Errors
    /// As [`ExactlyOnce::drive`].
    pub async fn run_until<E>(
        &mut self,
        stop: impl Future<Output = ()>,
        mut process: impl AsyncFnMut(&[ConsumerRecord], &Transaction<'_>) -> Result<(), E>,
    ) -> Result<(), ExactlyOnceError<E>> {
        self.drive(stop, &mut process).await
    }

    /// Takes records, `max.poll.records` at most, and has them processed with a transaction to send into, again and
    /// again, until `stop` completes between two transactions. A transaction lasts as long as its processing, which
    /// `transaction.timeout.ms` and `max.poll.interval.ms` bound.
    ///
    /// Aborted transactions that may succeed the next time (a rebalance has taken the partitions, a record was not
    /// acknowledged in time) are repeated by themselves, after `retry.backoff.ms`, which grows.
    ///
    /// Cancel safe: where this future is dropped, the open transaction is aborted, and the next call begins with the
    /// records that are not committed.
    ///
    /// # Errors
    /// The processor failed; the consumer failed, or one of its partitions; a transaction failed that would fail again.
    pub async fn drive<E>(
        &mut self,
        stop: impl Future<Output = ()>,
        processor: &mut impl Processor<E>,
    ) -> Result<(), ExactlyOnceError<E>> {
        let mut stop = pin!(stop);
        let mut records = Vec::new();
        let mut failures = 0;
        loop {
            if self.is_ahead {
                self.consumer.rewind_to_committed()?;
                self.is_ahead = false;
            }
            records.clear();
            let before = self.consumer.group_metadata()?;
            tokio::select! {
                biased;
                () = &mut stop => return Ok(()),
                taken = self.consumer.recv_many(&mut records) => taken?,
            };
            self.is_ahead = true;
            let group = self.consumer.group_metadata()?;
            if group != before {
                // The records may be of the generation before: under the name of this one nobody would be fenced.
                continue;
            }
            match self.attempt(&records, group, processor).await {
                Ok(()) => {
                    self.is_ahead = false;
                    failures = 0;
                }
                Err(ExactlyOnceError::Transaction(error)) if error.is_retriable() => {
                    self.pause(failures).await;
                    failures = failures.saturating_add(1);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// One transaction.
    async fn attempt<E>(
        &mut self,
        records: &[ConsumerRecord],
        group: GroupMetadata,
        processor: &mut impl Processor<E>,
    ) -> Result<(), ExactlyOnceError<E>> {
        let offsets = self.offsets(records);
        let transaction = self.producer.begin().await?;
        if let Err(error) = processor.process(records, &transaction).await {
            // Where the transaction was lost already, that is why.
            let reason = transaction.error();
            let aborted = transaction.abort().await;
            return Err(match reason {
                Some(reason) => reason.into(),
                None => {
                    aborted?;
                    ExactlyOnceError::Process(error)
                }
            });
        }
        if let Err(error) = transaction.send_offsets(offsets, group).await {
            transaction.abort().await?;
            return Err(error.into());
        }
        Ok(transaction.commit().await?)
    }

    /// Where the group goes on after these records.
    fn offsets(&self, records: &[ConsumerRecord]) -> Vec<(TopicPartition, CommittedOffset)> {
        let mut offsets: Vec<(TopicPartition, CommittedOffset)> = Vec::new();
        for record in records.iter().rev() {
            let place = TopicPartition::new(record.topic_arc(), record.partition());
            if !offsets.iter().any(|(of, _)| *of == place) {
                let next = CommittedOffset::new(record.offset().saturating_add(1));
                offsets.push((place, next.with_leader_epoch(record.leader_epoch())));
            }
        }
        offsets
    }

    #[expect(clippy::disallowed_methods, reason = "waits between two attempts")]
    async fn pause(&self, failures: u32) {
        let config = self.producer.client().config();
        let pause = config.retry_backoff.saturating_mul(1 << failures.min(16));
        tokio::time::sleep(pause.min(config.retry_backoff_max)).await;
    }

    /// Closes both, the producer first, each for `deadline` at most. Where the future is dropped, both are closed as if they
    /// were dropped themselves.
    ///
    /// # Errors
    /// What the first one that failed says.
    pub async fn close(self, deadline: Duration) -> Result<(), ExactlyOnceError<std::convert::Infallible>> {
        let produced = self.producer.close(deadline).await;
        self.consumer.close().await?;
        Ok(produced?)
    }

    /// Gives the consumer and the producer back.
    pub fn into_parts(self) -> (Consumer, TransactionalProducer) {
        (self.consumer, self.producer)
    }
}

fn check(config: &ConsumerConfig) -> Result<(), ConfigError> {
    let conflict = |name: &str, reason: &str| {
        Err(ConfigError::Conflict { name: name.to_owned(), other: "ExactlyOnce".to_owned(), reason: reason.to_owned() })
    };
    if config.group_id.as_deref().unwrap_or_default().is_empty() {
        return conflict("group.id", "what was done is remembered as the offsets of a group: set group.id");
    }
    if config.enable_auto_commit {
        return conflict("enable.auto.commit", "offsets are committed with the transaction: set it to false");
    }
    if config.isolation_level != IsolationLevel::ReadCommitted {
        return conflict(
            "isolation.level",
            "records of aborted transactions are not to be processed: set read_committed",
        );
    }
    Ok(())
}
