//! The producer as applications see it.

use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rkafka_client_core::metrics::{ClientKind, MetricsSnapshot};
use rkafka_client_core::{Client, ErrorKind, Topics};
use rkafka_protocol::ErrorCode;

use crate::interceptor::Chain;
use crate::metrics::Operation;
use crate::shared::Shared;
use crate::topic::Topic;
use crate::{
    Delivery, DeliveryResult, ProducerConfig, ProducerError, ProducerOptions, Record, TrySendError, clock, driver,
};

/// Sends records to a Kafka cluster. Clones are the same producer, and one serves every thread and task.
///
/// A record is written into the open batch of its partition within [`Producer::send`]; tasks on the runtime that the
/// producer was made on send the batches, one task and one connection per broker.
///
/// # The end
/// [`Producer::close`] sends what was accepted and says whether all of it arrived. Where the last clone is dropped
/// without it, what was accepted is still sent, without lingering and with retries, for at most `delivery.timeout.ms`,
/// as long as the runtime lives; nobody but the [`Delivery`] of a record tells of it. A runtime that ends takes along
/// what is not sent: the deliveries that are left say [`ProducerError::Closed`].
#[derive(Clone)]
pub struct Producer {
    handle: Arc<Handle>,
}

struct Handle {
    shared: Arc<Shared>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.begin_close();
    }
}

impl fmt::Debug for Producer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Producer").field("client", &self.handle.shared.client).finish_non_exhaustive()
    }
}

/// A topic that was looked up: sending through it costs no look-up per record.
#[derive(Clone)]
pub struct TopicHandle {
    producer: Producer,
    topic: Arc<Topic>,
}

impl fmt::Debug for TopicHandle {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("TopicHandle").field("topic", &self.topic.name).finish_non_exhaustive()
    }
}

impl Producer {
    /// Connects to the cluster and starts the producer's tasks on the present tokio runtime. Topics that are not there
    /// may be created by sending to them, where the brokers allow it (`auto.create.topics.enable`), as with Java's
    /// producer; [`Producer::with_options`] turns that off. Cancel safe.
    ///
    /// # Errors
    /// A setting cannot be used, or settings do not go together; no bootstrap server answers.
    pub async fn new(config: ProducerConfig) -> Result<Self, ProducerError> {
        Self::with_options(config, ProducerOptions::default()).await
    }

    /// As [`Producer::new`], with what only code can give: a partitioner, and what else a client can be told (whether
    /// topics may be created, what opens connections), which `ClientOptions` alone say too.
    ///
    /// # Errors
    /// As [`Producer::new`].
    pub async fn with_options(
        config: ProducerConfig,
        options: impl Into<ProducerOptions>,
    ) -> Result<Self, ProducerError> {
        not_transactional(&config)?;
        Self::open(config, options.into()).await
    }

    /// A producer that may be transactional.
    pub(crate) async fn open(config: ProducerConfig, options: ProducerOptions) -> Result<Self, ProducerError> {
        let config = config.check_untyped()?;
        config.validate()?;
        let client = Client::connect_with(config.client.clone(), options.client.kind(ClientKind::Producer)).await?;
        Self::start(Shared::new(client, true, config, options.partitioner, options.interceptors)?)
    }

    /// A producer over a client that is there already, whose settings stand in the place of `config.client` and whose
    /// metadata they share. Closing the producer leaves the client as it is. Needs a tokio runtime around it.
    ///
    /// # Errors
    /// A setting cannot be used, or settings do not go together.
    pub fn over(client: Client, config: ProducerConfig) -> Result<Self, ProducerError> {
        Self::over_with(client, config, ProducerOptions::default())
    }

    /// As [`Producer::over`], with what only code can give; `options.client` is of the client that is there, and says
    /// nothing here.
    ///
    /// # Errors
    /// As [`Producer::over`].
    pub fn over_with(client: Client, config: ProducerConfig, options: ProducerOptions) -> Result<Self, ProducerError> {
        not_transactional(&config)?;
        Self::open_over(client, config, options)
    }

    /// As [`Producer::over_with`], of a producer that may be transactional.
    pub(crate) fn open_over(
        client: Client,
        mut config: ProducerConfig,
        options: ProducerOptions,
    ) -> Result<Self, ProducerError> {
        config = config.check_untyped()?;
        config.client = client.config().clone();
        Self::start(Shared::new(client, false, config, options.partitioner, options.interceptors)?)
    }

    fn start(shared: Arc<Shared>) -> Result<Self, ProducerError> {
        driver::start(&shared);
        Ok(Self { handle: Arc::new(Handle { shared }) })
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.handle.shared
    }

    /// The settings.
    pub fn config(&self) -> &ProducerConfig {
        &self.shared().config
    }

    /// What the producer measures of itself and of its connections, under the names of Java's producer, and the stages
    /// of a batch's way; `docs/metrics.md` lists them. The metrics of connections are in groups of the kind that the
    /// client has, which is another where the producer is [over](Producer::over) a client that was there before.
    ///
    /// It costs a lock per metric: for now and then, not for every record.
    pub fn metrics(&self) -> MetricsSnapshot {
        let shared = self.shared();
        shared.client.metrics().merged(shared.metrics.snapshot(clock::now()))
    }

    /// The client that the producer sends through.
    pub fn client(&self) -> &Client {
        &self.shared().client
    }

    /// Accepts a record. It waits only where `buffer.memory` is full, and for the metadata of a topic that is new to this
    /// producer, for `max.block.ms` at most; else it is ready at once. What comes back tells of the record's fate:
    /// await it, or drop it to fire and forget.
    ///
    /// Records of one partition are sent in the order in which they were accepted. Cancel safe: where this future is
    /// dropped before it is ready, the record was not accepted.
    ///
    /// # Errors
    /// The record was not accepted: it is too large, names a partition that is not there, has no encoding; the topic
    /// did not become known or memory free within `max.block.ms`; the producer is closed.
    pub async fn send(&self, record: Record<'_>) -> Result<Delivery, ProducerError> {
        if let Some(chain) = &self.shared().interceptors {
            return Box::pin(self.send_intercepted(chain, &record, None)).await;
        }
        match self.try_once(&record) {
            Ok(delivery) => Ok(delivery),
            Err(TrySendError::Refused(error)) if !is_cured_by_metadata(&error) => Err(self.refused(error)),
            Err(_) => {
                let sent = self.send_slowly(&record, self.shared().topic(record.topic)).await;
                sent.map_err(|error| self.refused(error))
            }
        }
    }

    /// As [`Producer::send`], past the interceptors; to the topic of a handle, where there is one.
    #[cold]
    async fn send_intercepted(
        &self,
        chain: &Arc<Chain>,
        record: &Record<'_>,
        topic: Option<&Arc<Topic>>,
    ) -> Result<Delivery, ProducerError> {
        let changed = chain.on_send(record);
        let topic = topic.cloned().unwrap_or_else(|| self.shared().topic(&changed.topic));
        let sent = self.send_slowly(&changed.as_record(), topic).await;
        match sent {
            Ok(delivery) => {
                chain.accepted(changed, &delivery);
                Ok(delivery)
            }
            Err(error) => {
                chain.refused(&changed, &error);
                Err(self.refused(error))
            }
        }
    }

    /// As [`Producer::try_send`], past the interceptors; `attempt` tries once.
    #[cold]
    fn try_intercepted(
        &self,
        chain: &Arc<Chain>,
        record: &Record<'_>,
        attempt: impl FnOnce(&Record<'_>) -> Result<Delivery, TrySendError>,
    ) -> Result<Delivery, TrySendError> {
        let changed = chain.on_send(record);
        let sent = attempt(&changed.as_record());
        match &sent {
            Ok(delivery) => chain.accepted(changed, delivery),
            Err(TrySendError::Refused(error)) => chain.refused(&changed, error),
            Err(_) => {}
        }
        sent.map_err(|error| self.not_sent(error))
    }

    /// Accepts a record if that is possible at once. The record is only borrowed, so that nothing is lost where it is
    /// not.
    ///
    /// # Errors
    /// [`TrySendError::Full`]: `buffer.memory` is full. [`TrySendError::NoMetadata`]: the topic is new to this producer,
    /// which now asks for its metadata. Else as [`Producer::send`]; a partition that is not there yet as far as the
    /// metadata goes is not asked for.
    pub fn try_send(&self, record: &Record<'_>) -> Result<Delivery, TrySendError> {
        if let Some(chain) = &self.shared().interceptors {
            return self.try_intercepted(chain, record, |record| self.try_once(record));
        }
        self.try_once(record).map_err(|error| self.not_sent(error))
    }

    pub(crate) fn try_once(&self, record: &Record<'_>) -> Result<Delivery, TrySendError> {
        let shared = self.shared();
        let Some(topic) = shared.known_topic(record.topic) else {
            return Err(if shared.is_open() {
                self.ask_for(shared.topic(record.topic))
            } else {
                ProducerError::Closed { maybe_written: false }.into()
            });
        };
        let result = shared.append(&topic, record, false);
        if matches!(result, Err(TrySendError::NoMetadata)) {
            return Err(self.ask_for(topic));
        }
        result
    }

    /// Takes note of a record that was refused.
    #[cold]
    pub(crate) fn refused(&self, error: ProducerError) -> ProducerError {
        let (metrics, now) = (&self.shared().metrics, clock::now());
        metrics.refused(now);
        if matches!(error, ProducerError::BufferFull { .. }) {
            metrics.exhausted(now);
        }
        error
    }

    /// As [`Producer::refused`]; what can be tried again is not refused.
    #[cold]
    fn not_sent(&self, error: TrySendError) -> TrySendError {
        match error {
            TrySendError::Refused(error) => TrySendError::Refused(self.refused(error)),
            other => other,
        }
    }

    #[cold]
    fn ask_for(&self, topic: Arc<Topic>) -> TrySendError {
        let producer = self.clone();
        let limit = self.config().max_block;
        // One task asks, however often a caller tries meanwhile.
        if topic.begin_asking() {
            driver::spawn(self.shared(), async move {
                let resolved = producer.resolve(&topic, clock::now(), limit).await;
                topic.end_asking();
                if let Err(error) = resolved {
                    tracing::warn!(%error, "no metadata");
                }
            });
        }
        TrySendError::NoMetadata
    }

    /// As [`Producer::send`], and calls `callback` with the record's fate, once, from a task of the producer: it must
    /// not block. It may send. This costs an allocation per record.
    ///
    /// # Errors
    /// As [`Producer::send`]; the callback is then not called.
    pub async fn send_with(
        &self,
        record: Record<'_>,
        callback: impl FnOnce(DeliveryResult) + Send + 'static,
    ) -> Result<(), ProducerError> {
        self.send(record).await?.call_back(callback);
        Ok(())
    }

    /// Looks a topic up, for sending without a look-up per record. Waits for its metadata as [`Producer::send`] does.
    /// Cancel safe.
    ///
    /// # Errors
    /// The topic did not become known within `max.block.ms`, or must not be seen.
    pub async fn topic(&self, name: &str) -> Result<TopicHandle, ProducerError> {
        let topic = self.shared().topic(name);
        if topic.count() == 0 {
            self.await_metadata(&topic, clock::now(), self.config().max_block).await?;
        }
        Ok(TopicHandle { producer: self.clone(), topic })
    }

    /// Sends what was accepted before this call, without lingering, and waits until each record is acknowledged or has
    /// failed, which `delivery.timeout.ms` bounds. Whether they arrived is told by their deliveries. Cancel safe.
    pub async fn flush(&self) {
        let _timed = self.shared().metrics.time(Operation::Flush);
        self.shared().flush().await;
    }

    /// Ends the producer: nothing more is accepted, by any clone, what was accepted is sent, and its tasks end. What is
    /// not acknowledged within `deadline` is given up: its deliveries say [`ProducerError::Closed`]. Where this future is
    /// dropped, the producer goes on to close without a deadline.
    ///
    /// # Errors
    /// [`ProducerError::CloseTimeout`]: batches were given up.
    pub async fn close(&self, deadline: Duration) -> Result<(), ProducerError> {
        let shared = self.shared();
        shared.begin_close();
        let in_time = tokio::time::timeout(deadline, shared.flush()).await.is_ok();
        let batches = shared.stop();
        if in_time || batches == 0 { Ok(()) } else { Err(ProducerError::CloseTimeout { batches, deadline }) }
    }

    /// Waits for metadata or memory, each time trying anew.
    #[cold]
    pub(crate) async fn send_slowly(&self, record: &Record<'_>, topic: Arc<Topic>) -> Result<Delivery, ProducerError> {
        let shared = self.shared();
        let (begun, limit) = (clock::now(), self.config().max_block);
        let mut is_fresh = false;
        loop {
            match shared.append(&topic, record, false) {
                Ok(delivery) => return Ok(delivery),
                // The topic may have grown since its metadata came: it is asked for once.
                Err(TrySendError::Refused(error)) if is_cured_by_metadata(&error) && !is_fresh => {
                    self.await_metadata(&topic, begun, limit).await?;
                    is_fresh = true;
                }
                Err(TrySendError::Refused(error)) => return Err(error),
                Err(TrySendError::NoMetadata) => self.await_metadata(&topic, begun, limit).await?,
                Err(TrySendError::Full) => {
                    let left = limit.saturating_sub(clock::since(begun));
                    match tokio::time::timeout(left, self.wait_for_memory(record, &topic)).await {
                        Ok(Ok(delivery)) => return Ok(delivery),
                        // What comes in the way of a record that has room is looked at as before.
                        Ok(Err(_)) => {}
                        Err(_) => {
                            return Err(ProducerError::BufferFull { limit: shared.memory.limit(), waited: limit });
                        }
                    }
                }
            }
        }
    }

    /// Waits for memory, in turn with all others who do, and takes it. The error is not that it is full.
    async fn wait_for_memory(&self, record: &Record<'_>, topic: &Topic) -> Result<Delivery, TrySendError> {
        let shared = self.shared();
        let waiting = shared.memory.wait();
        let _timed = shared.metrics.waits_for_memory();
        // Lingering batches leave now.
        shared.wake_all();
        let _turn = waiting.turn().await;
        loop {
            let mut freed = pin!(waiting.freed());
            freed.as_mut().enable();
            // Memory that was freed before `enable` is found here; what this try has closed leaves at once.
            match shared.append(topic, record, true) {
                Err(TrySendError::Full) => freed.await,
                result => return result,
            }
        }
    }

    /// As [`Producer::resolve`], for somebody who waits.
    async fn await_metadata(&self, topic: &Arc<Topic>, begun: Instant, limit: Duration) -> Result<(), ProducerError> {
        let _timed = self.shared().metrics.time(Operation::Metadata);
        self.resolve(topic, begun, limit).await
    }

    /// Waits until the topic has partitions.
    async fn resolve(&self, topic: &Arc<Topic>, begun: Instant, limit: Duration) -> Result<(), ProducerError> {
        let shared = self.shared();
        let mut failures = 0;
        let mut detail = None;
        loop {
            let left = limit.saturating_sub(clock::since(begun));
            let refresh = tokio::time::timeout(left, shared.client.refresh(Topics::named([&*topic.name])));
            let refreshed = tokio::select! {
                refreshed = refresh => refreshed,
                // The client may be others' too, and then does not end with this producer.
                () = shared.until_stopped() => return Err(ProducerError::Closed { maybe_written: false }),
            };
            match refreshed {
                Err(_) => return Err(self.unknown(topic, limit, detail)),
                Ok(Err(error)) if !error.is_retriable() => {
                    let closed = error.kind() == ErrorKind::Closed || !shared.is_open();
                    return Err(if closed { ProducerError::Closed { maybe_written: false } } else { error.into() });
                }
                Ok(Err(error)) => detail = Some(error.to_string().into()),
                Ok(Ok(cluster)) => {
                    shared.apply_topic(topic, |mailbox| driver::start_sender(shared, mailbox));
                    if topic.count() > 0 {
                        return Ok(());
                    }
                    let code = cluster.topic_error(&topic.name).unwrap_or(ErrorCode::UnknownTopicOrPartition);
                    if !code.is_retriable() {
                        return Err(rkafka_client_core::Error::broker_error(code).with_topic(&*topic.name).into());
                    }
                    detail = Some(code.name().into());
                }
            }
            let pause = shared.client.config().retry_policy().delay(failures, &mut rand::rng());
            failures = failures.saturating_add(1);
            // The last pause is as long as there is time: the error says how long the topic was waited for.
            let left = limit.saturating_sub(clock::since(begun));
            tokio::select! {
                () = clock::sleep(pause.min(left)) => {}
                () = shared.until_stopped() => return Err(ProducerError::Closed { maybe_written: false }),
            }
            if pause >= left {
                return Err(self.unknown(topic, limit, detail));
            }
        }
    }

    fn unknown(&self, topic: &Topic, waited: Duration, detail: Option<Arc<str>>) -> ProducerError {
        ProducerError::UnknownTopic { topic: topic.name.clone(), waited, detail }
    }
}

/// Records outside of a transaction are not for a producer with an id.
fn not_transactional(config: &ProducerConfig) -> Result<(), ProducerError> {
    match &config.transactional_id {
        None => Ok(()),
        Some(_) => Err(ProducerError::Config(rkafka_config::ConfigError::Conflict {
            name: "transactional.id".to_owned(),
            other: "Producer".to_owned(),
            reason: "it is for a `TransactionalProducer`: make one, or leave the id out".to_owned(),
        })),
    }
}

/// Whether newer metadata may let the record in.
pub(crate) fn is_cured_by_metadata(error: &ProducerError) -> bool {
    matches!(error, ProducerError::UnknownPartition { .. })
}

impl TopicHandle {
    /// The topic's name.
    pub fn name(&self) -> &str {
        &self.topic.name
    }

    /// How many partitions the topic has.
    pub fn partitions(&self) -> u32 {
        self.topic.count()
    }

    /// A record for this topic.
    pub fn record(&self) -> Record<'_> {
        Record::to(&self.topic.name)
    }

    /// As [`Producer::send`], to this topic, whatever topic the record names.
    ///
    /// # Errors
    /// As [`Producer::send`].
    pub async fn send(&self, record: Record<'_>) -> Result<Delivery, ProducerError> {
        if let Some(chain) = &self.producer.shared().interceptors {
            return Box::pin(self.producer.send_intercepted(chain, &record, Some(&self.topic))).await;
        }
        match self.try_once(&record) {
            Ok(delivery) => Ok(delivery),
            Err(TrySendError::Refused(error)) if !is_cured_by_metadata(&error) => Err(self.producer.refused(error)),
            Err(_) => {
                let sent = self.producer.send_slowly(&record, self.topic.clone()).await;
                sent.map_err(|error| self.producer.refused(error))
            }
        }
    }

    /// As [`Producer::try_send`], to this topic, whatever topic the record names.
    ///
    /// # Errors
    /// As [`Producer::try_send`].
    pub fn try_send(&self, record: &Record<'_>) -> Result<Delivery, TrySendError> {
        if let Some(chain) = &self.producer.shared().interceptors {
            return self.producer.try_intercepted(chain, record, |record| self.try_once(record));
        }
        self.try_once(record).map_err(|error| self.producer.not_sent(error))
    }

    fn try_once(&self, record: &Record<'_>) -> Result<Delivery, TrySendError> {
        let result = self.producer.shared().append(&self.topic, record, false);
        if matches!(result, Err(TrySendError::NoMetadata)) {
            return Err(self.producer.ask_for(self.topic.clone()));
        }
        result
    }
}
