//! Transactions as applications see them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rkafka_client_core::metrics::MetricsSnapshot;
use rkafka_client_core::{Client, CommittedOffset, GroupMetadata, TopicPartition};

use crate::coordination::Coordination;
use crate::machine::transaction::{End, Offsets, Stage, Transactions};
use crate::metrics::{Operation, Timed};
use crate::shared::Shared;
use crate::{
    Delivery, DeliveryResult, Producer, ProducerConfig, ProducerError, ProducerOptions, Record, TopicHandle,
    TransactionError, TrySendError,
};

/// A producer whose records are committed or aborted as a whole, over partitions and topics (KIP-98), together with the
/// offsets of a group that they were made from (KIP-447).
///
/// ```no_run
/// use rkafka_producer::{ClientSettings, ProducerConfig, Record, TransactionalProducer};
///
/// # async fn pay() -> Result<(), Box<dyn std::error::Error>> {
/// let config = ProducerConfig::new().bootstrap_servers("localhost:9092").transactional_id("payments-1");
/// let mut producer = TransactionalProducer::new(config).await?;
///
/// let transaction = producer.begin().await?;
/// let _ = transaction.send(Record::to("debits").key("alice").value("10")).await?;
/// let _ = transaction.send(Record::to("credits").key("bob").value("10")).await?;
/// // Waits for both; where one was not delivered, neither will be seen.
/// transaction.commit().await?;
/// # Ok(())
/// # }
/// ```
///
/// There is one transaction at a time, and nothing can be sent outside of one or after its end:
///
/// ```compile_fail,E0499
/// # async fn twice(mut producer: rkafka_producer::TransactionalProducer) -> Result<(), rkafka_producer::TransactionError> {
/// let first = producer.begin().await?;
/// let second = producer.begin().await?; // The first is not over.
/// first.commit().await
/// # }
/// ```
///
/// ```compile_fail,E0382
/// # async fn late(mut producer: rkafka_producer::TransactionalProducer) -> Result<(), Box<dyn std::error::Error>> {
/// let transaction = producer.begin().await?;
/// transaction.commit().await?;
/// transaction.send(rkafka_producer::Record::to("t")).await?; // It is over.
/// # Ok(())
/// # }
/// ```
///
/// ```compile_fail,E0382
/// # async fn again(mut producer: rkafka_producer::TransactionalProducer) -> Result<(), rkafka_producer::TransactionError> {
/// let transaction = producer.begin().await?;
/// transaction.commit().await?;
/// transaction.abort().await
/// # }
/// ```
///
/// # Errors, and what to do about them
/// [`TransactionError::is_abortable`]: abort and begin anew. [`TransactionError::is_fatal`]: make another producer.
///
/// # Who it is
/// `transactional.id` names the producer over restarts. A new one with the same id fences the one before: that one's
/// transaction is aborted, and whatever it does afterwards fails with [`TransactionError::Fenced`].
pub struct TransactionalProducer {
    producer: Producer,
    coordination: Arc<Coordination>,
}

impl fmt::Debug for TransactionalProducer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("TransactionalProducer")
            .field("transactional_id", &self.coordination.id)
            .field("client", self.client())
            .finish_non_exhaustive()
    }
}

impl TransactionalProducer {
    /// Connects to the cluster, fences the producer that had the `transactional.id` before, and waits until that one's
    /// transaction is over. Topics may be created as with [`Producer::new`].
    ///
    /// Not quite cancel safe: where this future is dropped, the other producer may be fenced already.
    ///
    /// # Errors
    /// A setting cannot be used, or `transactional.id` is not set; no bootstrap server answers, or no coordinator within
    /// `max.block.ms`; the id is not for this client.
    pub async fn new(config: ProducerConfig) -> Result<Self, TransactionError> {
        Self::with_options(config, ProducerOptions::default()).await
    }

    /// As [`TransactionalProducer::new`], with what only code can give.
    ///
    /// # Errors
    /// As [`TransactionalProducer::new`].
    pub async fn with_options(
        config: ProducerConfig,
        options: impl Into<ProducerOptions>,
    ) -> Result<Self, TransactionError> {
        check_id(&config)?;
        Self::ready(Producer::open(config, options.into()).await).await
    }

    /// A producer over a client that is there already, as [`Producer::over`].
    ///
    /// # Errors
    /// As [`TransactionalProducer::new`].
    pub async fn over(client: Client, config: ProducerConfig) -> Result<Self, TransactionError> {
        Self::over_with(client, config, ProducerOptions::default()).await
    }

    /// As [`TransactionalProducer::over`], with what only code can give, as [`Producer::over_with`].
    ///
    /// # Errors
    /// As [`TransactionalProducer::new`].
    pub async fn over_with(
        client: Client,
        config: ProducerConfig,
        options: ProducerOptions,
    ) -> Result<Self, TransactionError> {
        check_id(&config)?;
        Self::ready(Producer::open_over(client, config, options)).await
    }

    async fn ready(producer: Result<Producer, ProducerError>) -> Result<Self, TransactionError> {
        let doing = "beginning as a transactional producer";
        let producer = producer.map_err(|error| match error {
            ProducerError::Config(error) => TransactionError::Config(error),
            ProducerError::Client(source) => TransactionError::Client { doing, source },
            other => TransactionError::Record(other),
        })?;
        let Some(coordination) = producer.shared().coordination.clone() else {
            return Err(TransactionError::Closed { may_have_been_written: false });
        };
        let this = Self { producer, coordination };
        let timed = this.time(Operation::TransactionInit);
        this.wait(doing, |machine| (machine.stage() != Stage::Initializing).then_some(())).await?;
        drop(timed);
        this.check()?;
        Ok(this)
    }

    /// The settings.
    pub fn config(&self) -> &ProducerConfig {
        self.producer.config()
    }

    /// The client that the producer sends through.
    pub fn client(&self) -> &Client {
        self.producer.client()
    }

    /// Begins a transaction, after the one before has come to its end where that is still under way. Costs no request.
    /// Cancel safe.
    ///
    /// # Errors
    /// An error that [is fatal](TransactionError::is_fatal); [`TransactionError::Timeout`]: the one before took longer
    /// than `max.block.ms` to end, which goes on, and this can be called again.
    pub async fn begin(&mut self) -> Result<Transaction<'_>, TransactionError> {
        let timed = self.time(Operation::TransactionBegin);
        // One whose end nobody called for, for it was leaked.
        self.change(|machine| machine.end(false));
        self.wait("ending the transaction before", |machine| {
            matches!(machine.stage(), Stage::Ready | Stage::Failed).then_some(())
        })
        .await?;
        self.check()?;
        drop(timed);
        match self.change(Transactions::begin) {
            Some(number) => Ok(Transaction { producer: self, number, is_over: false }),
            None => Err(TransactionError::Closed { may_have_been_written: false }),
        }
    }

    /// Whether the last transaction whose end was called for was committed, once that is certain: for where
    /// [`Transaction::commit`] was cancelled or took too long. Waits for `max.block.ms` at most. Cancel safe.
    ///
    /// # Errors
    /// An error that [is fatal](TransactionError::is_fatal), after which it stays unknown where
    /// [`TransactionError::may_have_been_written`] says so; [`TransactionError::Timeout`]: it is not certain yet.
    pub async fn last_was_committed(&mut self) -> Result<bool, TransactionError> {
        self.wait("ending the transaction before", |machine| (!machine.is_ending()).then_some(())).await?;
        let last = self.coordination.look(|machine| matches!(machine.last_end(), Some(End::Committed)));
        if !last {
            self.check()?;
        }
        Ok(last)
    }

    /// Ends the producer. A transaction that was left behind is aborted. What takes longer than `deadline` is given up;
    /// the coordinator then aborts after `transaction.timeout.ms`. Where this future is dropped, the producer goes on to
    /// close by itself.
    ///
    /// # Errors
    /// [`TransactionError::Timeout`]: the end of a transaction was not told to the coordinator in time.
    pub async fn close(self, deadline: Duration) -> Result<(), TransactionError> {
        let shared = self.producer.shared();
        shared.begin_close();
        let ended = tokio::time::timeout(deadline, async {
            shared.flush().await;
            shared.settled().await;
        })
        .await;
        let error = self.timeout("closing", deadline);
        shared.stop();
        ended.map_err(|_| error)
    }

    /// What the producer measures, as [`Producer::metrics`].
    pub fn metrics(&self) -> MetricsSnapshot {
        self.producer.metrics()
    }

    fn time(&self, operation: Operation) -> Option<Timed<'_>> {
        self.producer.shared().metrics.time(operation)
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        self.producer.shared()
    }

    fn change<R>(&self, change: impl FnOnce(&mut Transactions) -> R) -> R {
        self.producer.shared().with_transactions(&self.coordination, change)
    }

    /// The error that nothing comes after.
    fn check(&self) -> Result<(), TransactionError> {
        self.coordination.look(|machine| match (machine.stage(), machine.error()) {
            (Stage::Failed, Some(error)) => Err(error.clone()),
            (Stage::Failed, None) => Err(TransactionError::Closed { may_have_been_written: false }),
            _ => Ok(()),
        })
    }

    fn timeout(&self, doing: &'static str, waited: Duration) -> TransactionError {
        let (may_have_been_written, detail) =
            self.coordination.look(|machine| (machine.is_in_doubt(), machine.trouble()));
        TransactionError::Timeout { doing, waited, may_have_been_written, detail }
    }

    /// Waits for `max.block.ms` at most, and no longer than there is hope.
    async fn wait<R>(
        &self,
        doing: &'static str,
        seen: impl FnMut(&mut Transactions) -> Option<R>,
    ) -> Result<R, TransactionError> {
        let limit = self.config().max_block;
        tokio::time::timeout(limit, self.coordination.wait_for(seen)).await.map_err(|_| self.timeout(doing, limit))
    }
}

/// A transaction that is open. End it by [`commit`](Self::commit) or [`abort`](Self::abort); dropped before, it is
/// aborted in the background, and the next [`begin`](TransactionalProducer::begin) waits for that.
///
/// Records may be sent from several tasks at once, by reference. Once anything of the transaction failed (a record that
/// was refused or not delivered, an offset that was not taken), nothing more is accepted, and it cannot be committed.
#[must_use = "a transaction that is dropped is aborted"]
pub struct Transaction<'p> {
    producer: &'p mut TransactionalProducer,
    number: u64,
    is_over: bool,
}

impl fmt::Debug for Transaction<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Transaction")
            .field("transactional_id", &self.producer.coordination.id)
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.producer.change(|machine| machine.end(false));
        }
    }
}

impl Transaction<'_> {
    /// Accepts a record into the transaction, as [`Producer::send`]. What comes back tells of its place in the log: that
    /// it was written, not that it is committed. It need not be awaited, for [`commit`](Self::commit) does. Cancel safe:
    /// where this future is dropped before it is ready, the record was not accepted, and the transaction is as it was.
    ///
    /// # Errors
    /// As [`Producer::send`]; the transaction can then only be aborted, as in Java.
    /// [`ProducerError::TransactionAborted`]: that is so already.
    pub async fn send(&self, record: Record<'_>) -> Result<Delivery, ProducerError> {
        self.judge(self.producer.producer.send(record).await)
    }

    /// Accepts a record if that is possible at once, as [`Producer::try_send`].
    ///
    /// # Errors
    /// As [`Producer::try_send`]. A record that may be taken a moment later leaves the transaction as it was.
    pub fn try_send(&self, record: &Record<'_>) -> Result<Delivery, TrySendError> {
        self.judge_try(self.producer().try_send(record))
    }

    /// As [`Self::judge`]; a record that may be taken a moment later was not refused.
    pub(crate) fn judge_try(&self, result: Result<Delivery, TrySendError>) -> Result<Delivery, TrySendError> {
        if let Err(TrySendError::Refused(error)) = &result {
            self.producer.change(|machine| machine.on_record_refused(error));
        }
        result
    }

    /// As [`send`](Self::send), and calls `callback` with the record's fate, as [`Producer::send_with`]. Cancel safe.
    ///
    /// # Errors
    /// As [`send`](Self::send); the callback is then not called.
    pub async fn send_with(
        &self,
        record: Record<'_>,
        callback: impl FnOnce(DeliveryResult) + Send + 'static,
    ) -> Result<(), ProducerError> {
        self.judge(self.producer.producer.send_with(record, callback).await)
    }

    /// The producer beneath.
    pub(crate) fn producer(&self) -> &Producer {
        &self.producer.producer
    }

    /// A record that was refused dooms the transaction.
    pub(crate) fn judge<T>(&self, result: Result<T, ProducerError>) -> Result<T, ProducerError> {
        result.inspect_err(|error| self.producer.change(|machine| machine.on_record_refused(error)))
    }

    /// Accepts records one after the other, as [`Producer::send_many`]. Cancel safe, as that is.
    ///
    /// # Errors
    /// As [`send`](Self::send), of the first record that was not accepted.
    pub async fn send_many<'r>(
        &self,
        records: impl IntoIterator<Item = Record<'r>>,
        deliveries: &mut Vec<Delivery>,
    ) -> Result<usize, ProducerError> {
        self.judge(self.producer().send_many(records, deliveries).await)
    }

    /// Looks a topic up, for sending into this transaction without a look-up per record. Waits for its metadata as
    /// [`send`](Self::send) does. Cancel safe.
    ///
    /// # Errors
    /// As [`Producer::topic`]; the transaction is then as it was.
    pub async fn topic(&self, name: &str) -> Result<TransactionTopic<'_>, ProducerError> {
        Ok(TransactionTopic { transaction: self, topic: self.producer().topic(name).await? })
    }

    /// Waits until each record that was accepted before is acknowledged or has failed. [`commit`](Self::commit) does so
    /// by itself. Cancel safe.
    pub async fn flush(&self) {
        self.producer.producer.flush().await;
    }

    /// Commits offsets of a group if, and only if, the transaction is committed: for each partition that of the next
    /// record to read. `group` is the consumer's `group_metadata()`, taken after the records were: a member whose
    /// partitions are another's by now is refused (KIP-447). The group must not commit these offsets by itself
    /// (`enable.auto.commit=false`).
    ///
    /// Where this future is dropped, the offsets may become part of the transaction all the same.
    ///
    /// # Errors
    /// An error that is [abortable](TransactionError::is_abortable) or [fatal](TransactionError::is_fatal).
    /// [`TransactionError::Timeout`]: no coordinator has taken them within `max.block.ms`; a commit waits for them.
    pub async fn send_offsets(
        &self,
        offsets: impl IntoIterator<Item = (TopicPartition, CommittedOffset)>,
        group: GroupMetadata,
    ) -> Result<(), TransactionError> {
        let offsets = offsets.into_iter().collect::<Vec<_>>();
        if offsets.is_empty() {
            return Ok(());
        }
        let _timed = self.producer.time(Operation::TransactionSendOffsets);
        let ticket = self.producer.change(|machine| machine.add_offsets(Offsets { group, offsets }));
        self.producer.wait("committing offsets with the transaction", |machine| machine.take_result(ticket)).await?
    }

    /// Why the transaction can only be aborted; `None` while it may be committed.
    pub fn error(&self) -> Option<TransactionError> {
        self.producer.coordination.look(|machine| machine.error().cloned())
    }

    /// Sends what was accepted, waits until all of it is acknowledged, and commits: consumers with
    /// `isolation.level=read_committed` see all of it then.
    ///
    /// Once this future was polled, the transaction is being committed, also where it is dropped:
    /// [`TransactionalProducer::last_was_committed`] tells what came of it.
    ///
    /// # Errors
    /// [Abortable](TransactionError::is_abortable): a record was not delivered, or the like; nothing is committed, and
    /// the transaction is being aborted by itself. [Fatal](TransactionError::is_fatal). [`TransactionError::Timeout`]:
    /// it takes longer than `max.block.ms`, and goes on. Whether it may be committed in spite of the error is said by
    /// [`TransactionError::may_have_been_written`].
    pub async fn commit(mut self) -> Result<(), TransactionError> {
        self.is_over = true;
        let shared = self.producer.producer.shared().clone();
        let _timed = shared.metrics.time(Operation::TransactionCommit);
        self.producer.change(|machine| machine.end(machine.stage() == Stage::Open));
        let number = self.number;
        let ended = self.producer.wait("committing the transaction", |machine| {
            let end = machine.end_of(number).cloned();
            end.or_else(|| (machine.stage() == Stage::Failed).then_some(End::Aborted(machine.error().cloned())))
        });
        match ended.await? {
            End::Committed => Ok(()),
            End::Aborted(Some(error)) => Err(error),
            End::Aborted(None) => Err(TransactionError::Closed { may_have_been_written: false }),
        }
    }

    /// Drops what was not sent, waits for what is under way, and aborts: no consumer with
    /// `isolation.level=read_committed` will see any of it.
    ///
    /// Once this future was polled, the transaction is being aborted, also where it is dropped.
    ///
    /// # Errors
    /// An error that [is fatal](TransactionError::is_fatal): the transaction is not committed all the same.
    /// [`TransactionError::Timeout`]: it takes longer than `max.block.ms`, and goes on.
    pub async fn abort(mut self) -> Result<(), TransactionError> {
        self.is_over = true;
        let shared = self.producer.producer.shared().clone();
        let _timed = shared.metrics.time(Operation::TransactionAbort);
        self.producer.change(|machine| machine.end(false));
        self.producer.wait("aborting the transaction", |machine| (!machine.is_ending()).then_some(())).await?;
        self.producer.check()
    }
}

/// A topic that was looked up, in a transaction: sending through it costs no look-up per record.
#[derive(Debug, Clone)]
pub struct TransactionTopic<'t> {
    transaction: &'t Transaction<'t>,
    topic: TopicHandle,
}

impl TransactionTopic<'_> {
    /// The topic's name.
    pub fn name(&self) -> &str {
        self.topic.name()
    }

    /// How many partitions the topic has.
    pub fn partitions(&self) -> u32 {
        self.topic.partitions()
    }

    /// A record for this topic.
    pub fn record(&self) -> Record<'_> {
        self.topic.record()
    }

    /// As [`Transaction::send`], to this topic, whatever topic the record names. Cancel safe.
    ///
    /// # Errors
    /// As [`Transaction::send`].
    pub async fn send(&self, record: Record<'_>) -> Result<Delivery, ProducerError> {
        self.transaction.judge(self.topic.send(record).await)
    }

    /// As [`Transaction::try_send`], to this topic, whatever topic the record names.
    ///
    /// # Errors
    /// As [`Transaction::try_send`].
    pub fn try_send(&self, record: &Record<'_>) -> Result<Delivery, TrySendError> {
        self.transaction.judge_try(self.topic.try_send(record))
    }
}

fn check_id(config: &ProducerConfig) -> Result<(), TransactionError> {
    if config.transactional_id.is_some() {
        return Ok(());
    }
    Err(TransactionError::Config(rkafka_config::ConfigError::Conflict {
        name: "transactional.id".to_owned(),
        other: "TransactionalProducer".to_owned(),
        reason: "a transactional producer needs an id: set `transactional.id`".to_owned(),
    }))
}
