//! What all connections of a broker share.

use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Once, OnceLock, RwLock};
use std::time::Duration;

use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::CreateTopicsRequest;
use rkafka_protocol::messages::create_topics_request::CreatableTopic;
use rkafka_protocol::messages::delete_topics_request::DeleteTopicState;
use tokio::sync::watch;
use tokio::time::timeout_at;
use uuid::Uuid;

use crate::assignments::Assignments;
use crate::config::{BrokerConfig, milliseconds};
use crate::controller::{
    Committed, ConfigResource, Controller, ControllerError, CreatedTopic, Decision, DeletedTopic, MetadataImage,
    PartitionImage, Refusal, Reports, TopicChange, TopicImage, View, broker_config, create_topics, delete_topics,
    topic_config,
};
use crate::coordinator::share::SHARE_STATE_TOPIC;
use crate::coordinator::transaction::RemoteTransactions;
use crate::coordinator::{GroupCoordinator, TransactionCoordinator};
use crate::data_dirs::DataDirs;
use crate::fetch::FetchSessions;
use crate::forwarding::ask_controller;
use crate::locks::{lock, read, write};
use crate::log::TransactionMarker;
use crate::metadata::{AppliedMetadata, ProducerIds};
use crate::peer::{PeerClient, Purpose};
use crate::replication::{
    AlterPartitionSink, Close, FetcherContext, FetcherSettings, Fetchers, IsrProposal, Opening, Partition, Registry,
    Throttles,
};
use crate::server::{Advertised, Endpoint};
use crate::share::ShareLeader;
use crate::telemetry::Telemetry;
use crate::{Clock, InternalLog, LogPoint, OFFSETS_TOPIC, TRANSACTIONS_TOPIC};

fn is_follower(node: i32, partition: &PartitionImage) -> bool {
    partition.leader != node && partition.replicas.contains(&node)
}

/// From how many partitions on their files are synced all at once when the broker stops.
const SYNC_EVERYTHING_FROM: usize = 100;

/// Kafka's replication factor of internal topics.
const INTERNAL_REPLICATION_FACTOR: i16 = 3;
/// How long the creation of a topic may take that a client asked for by the way.
const CREATE_WITHIN: Duration = Duration::from_secs(5);
/// The version in which brokers of this cluster ask for topics.
const CREATE_TOPICS: i16 = 7;

/// A running broker, as its handlers see it.
#[derive(Debug)]
#[non_exhaustive]
pub struct BrokerState {
    /// The settings that the broker was started with.
    pub config: BrokerConfig,
    /// The settings that hold now.
    effective: RwLock<Arc<BrokerConfig>>,
    /// The broker's clock.
    pub clock: Clock,
    pub(crate) dirs: DataDirs,
    pub(crate) controller: Arc<Controller>,
    /// The other nodes of the cluster.
    pub(crate) peers: Arc<dyn PeerClient>,
    /// Whether the controller keeps the broker from serving; true until it is registered.
    pub(crate) fenced: watch::Sender<bool>,
    /// What of the controller's decisions is known here, and done.
    pub(crate) metadata: AppliedMetadata,
    pub(crate) endpoints: Vec<Endpoint>,
    /// Where this node is found as a controller.
    pub(crate) controller_endpoints: Vec<Endpoint>,
    /// The consumer groups.
    pub(crate) groups: GroupCoordinator,
    pub(crate) fetch_sessions: FetchSessions,
    /// The transactional ids.
    pub(crate) transactions: TransactionCoordinator,
    /// What other brokers are asked about transactions.
    pub(crate) remote_transactions: RemoteTransactions,
    /// The share groups on this broker's partitions.
    pub(crate) shares: ShareLeader,
    /// The metrics that clients push.
    pub(crate) telemetry: Telemetry,
    pub(crate) broker_epoch: Arc<AtomicI64>,
    pub(crate) registry: Registry,
    /// Where changes of the set in sync are asked for.
    pub(crate) isr_changes: OnceLock<Arc<dyn AlterPartitionSink>>,
    /// What operators must know of.
    pub(crate) reports: Reports,
    /// Replicas whose directories are to be told to the controller.
    pub(crate) assignments: Assignments,
    /// What holds replication back.
    pub(crate) throttles: Throttles,
    /// What fetches the partitions that this broker follows; not there while the broker is alone.
    fetchers: OnceLock<Fetchers>,
    /// Held while partitions go, and while something is noted about one that must not become another's.
    partition_changes: Mutex<()>,
    pub(crate) producer_ids: ProducerIds,
    pub(crate) connections: AtomicUsize,
    /// Whether it was told that there are no coordinators.
    without_coordinators: Once,
}

impl BrokerState {
    pub(crate) fn new(
        config: BrokerConfig,
        clock: Clock,
        dirs: DataDirs,
        controller: Arc<Controller>,
        peers: Arc<dyn PeerClient>,
        advertised: Advertised,
    ) -> Self {
        let throttles = Throttles::of(&config);
        Self {
            groups: GroupCoordinator::new(&config, clock.clone()),
            effective: RwLock::new(Arc::new(broker_config::effective(&config, &controller.image()))),
            shares: ShareLeader::new(
                usize::try_from(config.group_share_max_share_sessions).unwrap_or(usize::MAX),
                clock.clone(),
            ),
            fetch_sessions: FetchSessions::new(
                usize::try_from(config.max_incremental_fetch_session_cache_slots).unwrap_or(0),
            ),
            transactions: TransactionCoordinator::new(&config, clock.clone()),
            remote_transactions: RemoteTransactions::default(),
            config,
            clock,
            dirs,
            metadata: AppliedMetadata::new(controller.image()),
            controller,
            peers,
            fenced: watch::Sender::new(true),
            endpoints: advertised.to_clients,
            controller_endpoints: advertised.to_controllers,
            telemetry: Telemetry::default(),
            broker_epoch: Arc::new(AtomicI64::new(-1)),
            registry: Registry::default(),
            isr_changes: OnceLock::new(),
            assignments: Assignments::default(),
            reports: Reports::default(),
            throttles,
            fetchers: OnceLock::new(),
            partition_changes: Mutex::new(()),
            producer_ids: ProducerIds::default(),
            connections: AtomicUsize::new(0),
            without_coordinators: Once::new(),
        }
    }

    /// What exists in the cluster, as far as this broker knows. The image itself never changes.
    pub fn image(&self) -> Arc<MetadataImage> {
        self.metadata.image()
    }

    /// How many replicas an internal topic gets: as many as its setting says, and where nothing is set Kafka's three, but no
    /// more than the cluster has brokers.
    pub(crate) fn internal_replication_factor(&self, topic: &str) -> i16 {
        let set = match topic {
            OFFSETS_TOPIC => self.config.offsets_topic_replication_factor,
            TRANSACTIONS_TOPIC => self.config.transaction_state_log_replication_factor,
            SHARE_STATE_TOPIC => self.config.share_coordinator_state_topic_replication_factor,
            _ => -1,
        };
        if set >= 1 {
            return set;
        }
        let brokers = self.image().brokers().len().max(self.config.voters().len());
        INTERNAL_REPLICATION_FACTOR.min(i16::try_from(brokers).unwrap_or(i16::MAX)).max(1)
    }

    /// Whether share groups are served. Their coordinators do not move yet with the leaders of their partitions, so that
    /// only a broker that is alone has them.
    pub(crate) fn has_coordinators(&self) -> bool {
        let is_alone = self.config.is_alone();
        if !is_alone {
            self.without_coordinators.call_once(|| {
                tracing::warn!(
                    "share groups are refused (COORDINATOR_NOT_AVAILABLE): they are not there yet on a cluster of several \
                     nodes"
                );
            });
        }
        is_alone
    }

    /// A broker that takes requests for the controller, which any does: the active controller where it is a broker too.
    pub(crate) fn any_active_broker(&self, image: &MetadataImage) -> i32 {
        let is_active = |id: &i32| image.broker(*id).is_some_and(|broker| !broker.fenced);
        let leader = self.controller.leader_id().filter(is_active);
        let own = Some(self.config.node_id).filter(is_active);
        leader.or(own).or_else(|| image.brokers().keys().copied().find(is_active)).unwrap_or(-1)
    }

    /// The number of this broker's registration; -1 before there is one.
    pub(crate) fn broker_epoch(&self) -> i64 {
        self.broker_epoch.load(Ordering::Relaxed)
    }

    /// Has the controller decide, and waits until the records are committed and this broker has done what follows from
    /// them.
    ///
    /// Not cancel safe: where the future is dropped, the decision may be committed or not.
    ///
    /// # Errors
    /// Nothing was decided.
    pub(crate) async fn submit<R>(
        &self,
        decide: impl FnOnce(&MetadataImage) -> Decision<R>,
    ) -> Result<R, ControllerError> {
        let Committed { reply, up_to } = self.controller.submit(decide).await?;
        self.metadata.applied(up_to).await;
        Ok(reply)
    }

    /// How many leaders were elected that may lack what was committed, while this node was the active controller.
    pub fn unclean_leader_elections(&self) -> u64 {
        self.reports.unclean_elections()
    }

    /// The cluster's id, in Kafka's base64 form.
    pub fn cluster_id(&self) -> &str {
        &self.dirs.cluster_id
    }

    /// How many connections are open.
    pub fn connection_count(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Where the clients of a listener find this broker: host and port.
    pub(crate) fn endpoint(&self, listener: &str) -> (&str, u16) {
        let found = self.endpoints.iter().find(|endpoint| &*endpoint.name == listener).or(self.endpoints.first());
        found.map_or(("", 0), |endpoint| (&endpoint.host, endpoint.port))
    }

    /// A new random id that is none of those that Kafka keeps for itself, nor begins with a dash in its base64 form,
    /// which would look like an option to command-line tools.
    pub(crate) fn new_id() -> Uuid {
        loop {
            let id = Uuid::new_v4();
            if id.as_u128() >= 100 && id.as_bytes()[0] >> 2 != 62 {
                return id;
            }
        }
    }

    /// The partition that a topic's image has at `index`. Where this broker has no replica of it, the answer is one that
    /// can neither be read nor written and that nobody else has.
    pub(crate) fn partition_of(&self, topic: &TopicImage, index: i32) -> Option<Arc<Partition>> {
        topic.partition(index)?;
        let key = (topic.id, index);
        if let Some(partition) = self.registry.get(key) {
            return Some(partition);
        }
        let mut elsewhere = None;
        let found = self.registry.get_or_insert(key, || {
            let image = self.image();
            // The caller's image may be older than a deletion, or than the end of this replica, whose directory must not
            // come back.
            let role = image.topic_by_id(topic.id)?.partition(index)?;
            if !role.replicas.contains(&self.config.node_id) {
                elsewhere = Some(role.leader_epoch);
                return None;
            }
            let (dir, log_dir, state) = self.dirs.place(&topic.name, index);
            let set = image.configs(ConfigResource::Topic, &topic.name);
            let opening = Opening {
                storage: Arc::clone(&self.dirs.storage),
                dir,
                log_dir,
                config: topic_config::log_config(&self.effective_config(), set.map(|set| &**set)),
                state,
            };
            let throttled = (opening.config.leader_throttled.clone(), opening.config.follower_throttled.clone());
            let partition = Partition::new(Arc::clone(&topic.name), topic.id, index, opening);
            partition.note_throttled(self.config.node_id, &throttled.0, &throttled.1);
            self.assume_role(&partition, role);
            Some(partition)
        });
        found.or_else(|| {
            let log_dir = Arc::clone(&self.dirs.dirs().first()?.log_dir);
            Some(Partition::without_replica(Arc::clone(&topic.name), topic.id, index, elsewhere?, log_dir))
        })
    }

    /// Has a partition take over the role that the metadata gives to this broker. Says whether a new leader epoch began.
    pub(crate) fn assume_role(&self, partition: &Partition, role: &PartitionImage) -> bool {
        let lag_max_ms = milliseconds(self.config.replica_lag_time_max);
        partition.assume(self.config.node_id, role, lag_max_ms, self.clock.now_ms())
    }

    /// Whether nobody has asked for the partition's log since the start.
    pub(crate) fn is_asleep(&self, topic: &TopicImage, index: i32) -> bool {
        self.registry.get((topic.id, index)).is_none_or(|partition| partition.is_asleep())
    }

    /// Has the partitions that this broker follows fetched from their leaders from now on, until it stops. Needs a
    /// runtime; a broker that is alone needs none of it.
    pub(crate) fn follow_with(&self, peers: Arc<dyn PeerClient>, stop: watch::Receiver<bool>) {
        let fetchers = self.fetchers.get_or_init(|| {
            Fetchers::new(FetcherContext {
                node: self.config.node_id,
                storage: Arc::clone(&self.dirs.storage),
                peers,
                broker_epoch: Arc::clone(&self.broker_epoch),
                clock: self.clock.clone(),
                settings: FetcherSettings::of(&self.config),
                throttle: Arc::clone(&self.throttles.follower),
                per_leader: self.config.num_replica_fetchers,
                within: self.config.replica_socket_timeout,
                stop,
            })
        });
        let image = self.image();
        for topic in image.topics() {
            for (index, partition) in (0..).zip(&topic.partitions) {
                if is_follower(self.config.node_id, partition)
                    && let Some(partition) = self.partition_of(topic, index)
                {
                    fetchers.follow(&partition);
                }
            }
        }
    }

    /// Takes the roles over that the metadata gives to this broker.
    pub(crate) fn apply_roles(&self, changed: &[TopicChange]) {
        let mut any_removed = false;
        for change in changed.iter().flat_map(TopicChange::partitions) {
            if !change.after.replicas.contains(&self.config.node_id) {
                any_removed |= self.remove_replica(change.topic, change.index);
                continue;
            }
            if !self.config.is_alone() {
                self.check_directory(change.topic, change.index, change.after);
            }
            // Where this broker leads alone, or has no replica, the partition is made when somebody asks for it.
            let known = self.registry.get((change.topic.id, change.index));
            let partition = match known {
                Some(partition) => {
                    self.assume_role(&partition, change.after);
                    partition
                }
                None if is_follower(self.config.node_id, change.after) && self.fetchers.get().is_some() => {
                    let Some(partition) = self.partition_of(change.topic, change.index) else { continue };
                    partition
                }
                None => continue,
            };
            if let Some(fetchers) = self.fetchers.get() {
                fetchers.follow(&partition);
            }
        }
        // Before a replica can come again.
        if any_removed && let Err(error) = self.dirs.write_checkpoints([]) {
            tracing::error!(%error, "the checkpoints of replicas that went stay");
        }
    }

    /// Removes this broker's replica of a partition with its log; false where it has none. The checkpoints of it stay until
    /// they are written next.
    pub(crate) fn remove_replica(&self, topic: &TopicImage, index: i32) -> bool {
        let key = (topic.id, index);
        if !self.dirs.has(&topic.name, index) && self.registry.get(key).is_none() {
            return false;
        }
        // While the cleaner notes nothing of it.
        let _no_notes = self.change_partitions();
        if let Some(fetchers) = self.fetchers.get() {
            fetchers.forget(key);
        }
        if let Some(partition) = self.registry.remove(key) {
            partition.become_stranger(i32::MAX);
            if let Err(error) = partition.close(Close::Abandon) {
                tracing::warn!(topic = %topic.name, index, %error, "a partition that goes did not close well");
            }
        }
        match self.dirs.remove(&topic.name, topic.id, index) {
            Ok(()) => tracing::info!(topic = %topic.name, partition = index, "the replica and its log are removed"),
            Err(error) => tracing::error!(topic = %topic.name, index, %error, "the log of a partition that goes stays"),
        }
        true
    }

    /// Asks the controller to take those out of the set in sync that lag.
    pub(crate) fn shrink_isrs(&self) {
        let now_ms = self.clock.now_ms();
        for partition in self.known_partitions() {
            if let Some(proposal) = partition.propose_shrinkage(now_ms) {
                self.propose_isr(&partition, proposal);
            }
        }
    }

    /// Asks the controller for a change of the set in sync.
    pub(crate) fn propose_isr(&self, partition: &Arc<Partition>, proposal: IsrProposal) {
        match self.isr_changes.get() {
            Some(sink) => sink.propose(partition, proposal),
            None => {
                // Before the broker has found its controller. The next fetch of the follower asks again.
                let _ = partition.isr_answered(&proposal, &Err(ErrorCode::OperationNotAttempted));
            }
        }
    }

    /// Whether the controller would have a broker, with the epoch in which it fetches, in sync: it is registered with that
    /// epoch, neither fenced nor about to stop.
    pub(crate) fn is_isr_eligible(&self, broker: i32, epoch: i64) -> bool {
        let image = self.image();
        image.brokers().get(&broker).is_some_and(|known| known.is_active() && (epoch < 0 || epoch == known.epoch))
    }

    /// The partition of this name.
    ///
    /// # Errors
    /// `UNKNOWN_TOPIC_OR_PARTITION`.
    pub(crate) fn partition(&self, topic: &str, index: i32) -> Result<Arc<Partition>, ErrorCode> {
        let image = self.image();
        let topic = image.topic(topic).ok_or(ErrorCode::UnknownTopicOrPartition)?;
        self.partition_of(topic, index).ok_or(ErrorCode::UnknownTopicOrPartition)
    }

    /// Ends a producer's transaction in one partition, as the transaction coordinator has decided. In
    /// `__consumer_offsets` the offsets of the transaction become visible, or are forgotten, before this returns.
    ///
    /// # Errors
    /// `UNKNOWN_TOPIC_OR_PARTITION`; `INVALID_PRODUCER_EPOCH` and `TRANSACTION_COORDINATOR_FENCED` for a marker that
    /// comes too late; `KAFKA_STORAGE_ERROR`, after which the marker is to be written again.
    pub(crate) fn append_transaction_marker(
        &self,
        topic: &str,
        partition: i32,
        marker: &TransactionMarker,
    ) -> Result<LogPoint, ErrorCode> {
        if topic == OFFSETS_TOPIC {
            self.groups.write_marker(self, partition, marker)
        } else {
            self.append_marker(topic, partition, marker, self.clock.now_ms())
        }
    }

    /// The partitions that somebody has asked for since the start.
    pub(crate) fn known_partitions(&self) -> Vec<Arc<Partition>> {
        self.registry.all()
    }

    /// Writes what is known of the logs' recovery points and starts to the checkpoints.
    pub(crate) fn write_checkpoints(&self) -> Result<(), crate::log::LogError> {
        self.dirs.note_high_watermarks(self.known_partitions().into_iter().filter_map(|partition| {
            let high_watermark = partition.watermark_to_keep()?;
            Some((partition.topic.to_string(), partition.index, high_watermark))
        }));
        let known = self.known_partitions().into_iter().filter_map(|partition| {
            let (recovery_point, start) = partition.if_open(|log| (log.recovery_point(), log.log_start_offset()))?;
            Some((partition.topic.to_string(), partition.index, recovery_point, start))
        });
        self.dirs.write_checkpoints(known.collect::<Vec<_>>())
    }

    /// To be held while partitions go, or stay for a moment.
    pub(crate) fn change_partitions(&self) -> MutexGuard<'_, ()> {
        lock(&self.partition_changes)
    }

    /// Creates topics, or only says what would become of it.
    pub(crate) async fn create_topics(
        &self,
        topics: &[CreatableTopic],
        validate_only: bool,
    ) -> Result<Vec<Result<CreatedTopic, Refusal>>, ControllerError> {
        self.submit(|image| {
            let decision = create_topics(&View::new(image, &self.config), topics, &mut Self::new_id);
            if validate_only { Decision { records: Vec::new(), ..decision } } else { decision }
        })
        .await
    }

    /// Creates topics, by the active controller wherever it is, and waits until this broker knows of them.
    pub(crate) async fn create_topics_anywhere(&self, topics: Vec<CreatableTopic>) -> Vec<Result<(), ErrorCode>> {
        let count = topics.len();
        if self.controller.is_active() {
            return match self.create_topics(&topics, false).await {
                Ok(replies) => replies.into_iter().map(|reply| reply.map(drop).map_err(|it| it.error)).collect(),
                Err(error) => {
                    tracing::error!(%error, "topics that were asked for cannot be created");
                    vec![Err(error.code()); count]
                }
            };
        }
        let request = CreateTopicsRequest { topics, timeout_ms: 30_000, ..Default::default() };
        let deadline = self.clock.now() + CREATE_WITHIN;
        let asked = ask_controller(self, Purpose::Controller, CREATE_TOPICS, &request, deadline).await;
        let Ok(answer) = asked else { return vec![Err(ErrorCode::RequestTimedOut); count] };
        let mut replies = Vec::with_capacity(count);
        for topic in answer.topics {
            let error = ErrorCode::from_code(topic.error_code);
            if error == ErrorCode::None || error == ErrorCode::TopicAlreadyExists {
                let known = self.metadata.until(|image| image.topic(&topic.name).is_some());
                // A client that is told too early asks again.
                let _ = timeout_at(deadline, known).await;
            }
            replies.push(if error == ErrorCode::None { Ok(()) } else { Err(error) });
        }
        replies
    }

    /// Deletes topics, with their logs.
    pub(crate) async fn delete_topics(
        &self,
        topics: &[DeleteTopicState],
    ) -> Result<Vec<DeletedTopic>, ControllerError> {
        self.submit(|image| delete_topics(image, topics)).await
    }

    /// The settings that hold now: those of the start, changed by those that were set since.
    pub fn effective_config(&self) -> Arc<BrokerConfig> {
        Arc::clone(&read(&self.effective))
    }

    /// Puts the present settings of this broker in force in all logs.
    pub(crate) fn apply_broker_config(&self) {
        {
            // Under the lock, so that of two changes at a time the later one is not undone.
            let mut effective = write(&self.effective);
            *effective = Arc::new(broker_config::effective(&self.config, &self.image()));
            self.throttles.apply(&effective);
        }
        for topic in self.image().topics() {
            self.apply_topic_config(&topic.name);
        }
    }

    /// Puts the present settings of a topic in force in its logs.
    pub(crate) fn apply_topic_config(&self, name: &str) {
        let image = self.image();
        let Some(topic) = image.topic(name) else { return };
        let set = image.configs(ConfigResource::Topic, name);
        let config = topic_config::log_config(&self.effective_config(), set.map(|set| &**set));
        for index in (0..).take(topic.partitions.len()) {
            if let Some(partition) = self.registry.get((topic.id, index)) {
                let node = self.config.node_id;
                partition.note_throttled(node, &config.leader_throttled, &config.follower_throttled);
                partition.set_config(config.clone());
            }
        }
    }

    /// Opens, and so recovers, the logs that nobody has looked at since a stop that was not in good order: the next start
    /// will believe all of them.
    pub(crate) fn open_unrecovered(&self) {
        if self.dirs.were_left_clean() {
            return;
        }
        let now_ms = self.clock.now_ms();
        let image = self.image();
        for topic in image.topics() {
            for index in (0..).take(topic.partitions.len()) {
                if self.dirs.has(&topic.name, index)
                    && let Some(partition) = self.partition_of(topic, index)
                    && let Err(error) = partition.with_log(now_ms, |_| ())
                {
                    // Closing it will fail as well, so that the directories are not called clean.
                    tracing::debug!(topic = %topic.name, partition = index, %error, "the log stays as it is");
                }
            }
        }
    }

    /// Closes every partition, so that nothing can be appended any more.
    pub(crate) fn close_partitions(&self, clean: bool) -> Result<(), crate::log::LogError> {
        let mut first_error = None;
        let mut closed = Vec::new();
        if clean {
            self.dirs.settle(&self.image(), self.config.node_id);
        }
        let partitions = self.registry.close();
        self.dirs.note_high_watermarks(partitions.iter().filter_map(|partition| {
            let high_watermark = partition.watermark_to_keep()?;
            Some((partition.topic.to_string(), partition.index, high_watermark))
        }));
        let how = match clean {
            false => Close::Abandon,
            // One sync of the whole file system is dear where others write to it, and cheap beside thousands of syncs.
            true if partitions.len() >= SYNC_EVERYTHING_FROM && self.dirs.sync_everything()? => Close::Unsynced,
            true => Close::Clean,
        };
        for partition in partitions {
            match partition.close(how) {
                Ok(Some((recovery_point, start))) => {
                    closed.push((partition.topic.to_string(), partition.index, recovery_point, start));
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::error!(topic = %partition.topic, partition = partition.index, %error, "cannot close");
                    first_error.get_or_insert(error);
                }
            }
        }
        if how == Close::Unsynced {
            self.dirs.sync_everything()?;
        }
        if clean {
            self.dirs.write_checkpoints(closed)?;
        }
        first_error.map_or(Ok(()), Err)
    }
}
