//! The node's place in the quorum of the metadata log, the image that is committed, and the decisions of the active
//! controller.
//!
//! Every node has one: a controller votes, and may become the active one; a broker that is none follows the log.

mod snapshots;

pub(crate) use snapshots::records_of as snapshot_records;

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use bytes::Bytes;
use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::{DescribeQuorumRequest, DescribeQuorumResponse};
use rkafka_protocol::records::{BatchIter, BatchOptions, DecompressArena, RecordError, encode_batch};
use rkafka_protocol::wire::EncodeError;
use thiserror::Error;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::Instant;

use super::active::ActiveController;
use super::view::View;
use super::{Decision, MetadataImage, MetadataRecord, records};
use crate::config::{Retention, milliseconds};
use crate::locks::{lock, read, write};
use crate::log::{LogConfig, OpenState};
use crate::raft::{
    Action, AppendRefused, CallFailed, CallId, DiskLog, LeaderAndEpoch, Now, RaftConfig, RaftError, RaftLog, RaftNode,
    RaftRequest, RaftResponse, RequestId, SnapshotSchedule, Voter,
};
use crate::storage::Storage;
use crate::{BrokerConfig, Clock};

/// The directory of the metadata log inside the first log directory, as KRaft has it.
pub(crate) const DIRECTORY: &str = "__cluster_metadata-0";
/// How much of the log is read at once while it is replayed.
const REPLAY_BYTES: usize = 1024 * 1024;
/// How long a controller rests that could not do what was due.
const TICK_BACKOFF: Duration = Duration::from_millis(100);

/// Why the metadata could not be read or changed.
#[derive(Debug, Error)]
pub(crate) enum ControllerError {
    /// This node is not the active controller, or was not any more when the records were to be committed.
    #[error("node {node_id} is not the active controller{}", leader_text(*.leader_id))]
    NotController {
        /// This node.
        node_id: i32,
        /// Who is, as far as this node knows.
        leader_id: Option<i32>,
    },
    /// The metadata log cannot be read, written or closed.
    #[error(transparent)]
    Raft(#[from] RaftError),
    /// A batch of the metadata log cannot be read or made.
    #[error("a batch of the metadata log is not valid: {0}")]
    Batch(#[from] RecordError),
    /// A record of the metadata log cannot be read.
    #[error("the record at offset {offset} of the metadata log cannot be read: {source}")]
    Record {
        /// The record's offset.
        offset: i64,
        /// What is wrong.
        source: records::RecordError,
    },
    /// A record cannot be written.
    #[error("a metadata record cannot be written: {0}")]
    Encode(#[from] EncodeError),
    /// The active controller did not answer, or not in time.
    #[error("{0}")]
    NoAnswer(String),
    /// The node stops, or its metadata log failed.
    #[error("the metadata log is closed: {0}")]
    Closed(String),
}

fn leader_text(leader_id: Option<i32>) -> String {
    leader_id.map_or_else(|| ", and nobody is right now".to_owned(), |id| format!("; node {id} is"))
}

impl ControllerError {
    /// What a client is told.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::NotController { .. } => ErrorCode::NotController,
            Self::NoAnswer(_) => ErrorCode::RequestTimedOut,
            _ => ErrorCode::KafkaStorageError,
        }
    }
}

/// A decision whose records are committed.
#[derive(Debug)]
pub(crate) struct Committed<R> {
    pub reply: R,
    /// The offset behind what the reply rests on: the decision's records, or the image that it was made on where it has
    /// none.
    pub up_to: i64,
}

/// A request that the quorum's machine wants sent.
#[derive(Debug)]
pub(crate) struct Call {
    pub id: CallId,
    pub to: i32,
    pub request: RaftRequest,
}

#[derive(Debug)]
struct Inner {
    raft: RaftNode<DiskLog>,
    /// What is committed, as far as it is replayed.
    committed: Arc<MetadataImage>,
    /// Behind the last record that is.
    committed_to: i64,
    /// When that record was written.
    committed_ms: i64,
    /// When the next snapshot is due.
    schedule: SnapshotSchedule,
    /// Whether one is being written.
    is_writing_snapshot: bool,
    /// Where this node's epoch as the leader begins, until all before it is committed.
    becomes: Option<(i32, i64)>,
    active: Option<Active>,
    /// Requests of other nodes that wait for their answers.
    asked: BTreeMap<RequestId, oneshot::Sender<RaftResponse>>,
    asked_last: u64,
}

/// What the active controller has beside the log.
#[derive(Debug)]
struct Active {
    epoch: i32,
    /// The image of all that was decided, committed or not. Decisions are made on it.
    decided: MetadataImage,
    /// What was decided and is not committed.
    pending: VecDeque<Pending>,
    /// Who waits for an offset to be committed. When they are dropped, it will not be by this controller.
    waiting: Vec<(i64, oneshot::Sender<()>)>,
    /// Sessions of brokers, and what is done when nobody asks.
    machine: ActiveController,
}

/// One batch of decisions.
#[derive(Debug)]
struct Pending {
    /// The image that it makes.
    image: Arc<MetadataImage>,
    /// The offset behind it.
    end: i64,
    bytes: u64,
    date_ms: i64,
}

/// The node's controller. See the module.
#[derive(Debug)]
pub(crate) struct Controller {
    node_id: i32,
    config: BrokerConfig,
    cluster_id: String,
    /// What a new cluster begins with.
    first_records: Vec<MetadataRecord>,
    clock: Clock,
    /// The zero of the monotonic clock.
    began: Instant,
    /// `None` once it is closed.
    inner: Mutex<Option<Inner>>,
    /// Why it was closed, where that was a failure.
    failure: Mutex<Option<String>>,
    /// Until when nothing is done by itself, after the disk was full.
    rests_until: Mutex<Option<Instant>>,
    published: RwLock<Arc<MetadataImage>>,
    /// The images that were committed and that nobody has acted upon yet, in their order.
    committed: Mutex<VecDeque<Arc<MetadataImage>>>,
    /// Told when there is one more.
    more: Notify,
    calls: mpsc::UnboundedSender<Call>,
    /// Until the driver takes it.
    calls_inbox: Mutex<Option<mpsc::UnboundedReceiver<Call>>>,
    /// Told when the machine wants to be asked at another time.
    rearmed: Notify,
    leader: watch::Sender<LeaderAndEpoch>,
    /// The epoch in which this node is the active controller.
    active: watch::Sender<Option<i32>>,
}

impl Controller {
    /// Opens the metadata log. The only voter of a quorum is the active controller when this returns, with all of the log
    /// replayed.
    pub fn open(
        storage: Arc<dyn Storage>,
        log_dir: &Path,
        config: &BrokerConfig,
        cluster_id: &str,
        first_records: Vec<MetadataRecord>,
        state: OpenState,
        clock: Clock,
    ) -> Result<Self, ControllerError> {
        let began = clock.now();
        let node_id = config.node_id;
        let raft_config = raft_config(config, cluster_id);
        let now = Now { monotonic_ms: 0, date_ms: clock.now_ms() };
        let log_config = LogConfig {
            max_message_bytes: 8 * 1024 * 1024,
            segment_bytes: config.metadata_log_segment_bytes.max(1) as u64,
            segment_ms: milliseconds(config.metadata_log_segment_ms),
            ..LogConfig::default()
        };
        let log = DiskLog::open(storage, log_dir.join(DIRECTORY), log_config, state, now.date_ms)?;
        let raft = RaftNode::open(raft_config, log, now)?;
        let inner = Inner {
            committed: Arc::default(),
            committed_to: 0,
            committed_ms: 0,
            schedule: SnapshotSchedule::new(
                u64::try_from(config.metadata_log_max_record_bytes_between_snapshots).unwrap_or(u64::MAX),
                milliseconds(config.metadata_log_max_snapshot_interval),
            ),
            is_writing_snapshot: false,
            becomes: None,
            active: None,
            asked: BTreeMap::new(),
            asked_last: 0,
            raft,
        };
        let (calls, calls_inbox) = mpsc::unbounded_channel();
        let controller = Self {
            node_id,
            config: config.clone(),
            cluster_id: cluster_id.to_owned(),
            first_records,
            clock,
            began,
            inner: Mutex::new(Some(inner)),
            failure: Mutex::default(),
            rests_until: Mutex::default(),
            published: RwLock::default(),
            committed: Mutex::default(),
            more: Notify::new(),
            calls,
            calls_inbox: Mutex::new(Some(calls_inbox)),
            rearmed: Notify::new(),
            leader: watch::Sender::default(),
            active: watch::Sender::default(),
        };
        controller.with(|inner, _| {
            let newest = inner.raft.log().snapshots().last().copied();
            if let Some(newest) = newest {
                controller.load_snapshot(inner, newest)?;
            }
            Ok(())
        })?;
        Ok(controller)
    }

    /// The image of what is committed. It does not change; the next call may give another.
    pub fn image(&self) -> Arc<MetadataImage> {
        Arc::clone(&read(&self.published))
    }

    /// Why the metadata log takes no records any more, if it failed.
    pub fn offline_reason(&self) -> Option<String> {
        lock(&self.failure).clone()
    }

    /// Who leads the quorum, as far as this node knows.
    pub fn leader(&self) -> watch::Receiver<LeaderAndEpoch> {
        self.leader.subscribe()
    }

    /// The active controller, as far as this node knows.
    pub fn leader_id(&self) -> Option<i32> {
        self.leader.borrow().leader_id
    }

    /// Whether this node is the active controller.
    pub fn is_active(&self) -> bool {
        self.active.borrow().is_some()
    }

    /// Answers DescribeQuorum as this node sees it; `None` once it is closed.
    pub fn describe_quorum(&self, request: &DescribeQuorumRequest, version: i16) -> Option<DescribeQuorumResponse> {
        let now = self.now();
        lock(&self.inner).as_ref().map(|inner| inner.raft.describe_quorum(now, request, version))
    }

    /// The next image that was committed, to be acted upon; waits where there is none. Every image comes once, in the
    /// order of the log. Cancel safe.
    pub async fn next_committed(&self) -> Arc<MetadataImage> {
        loop {
            if let Some(image) = lock(&self.committed).pop_front() {
                return image;
            }
            self.more.notified().await;
        }
    }

    /// Takes what is committed for acted upon, as a broker does that has not begun yet; answers the image.
    pub fn skip_committed(&self) -> Arc<MetadataImage> {
        lock(&self.committed).clear();
        self.image()
    }

    /// Decides as the active controller, on all that was decided before, and waits until the records are committed. What
    /// follows from them is up to whoever asks for [`Controller::next_committed`].
    ///
    /// Not cancel safe: where the future is dropped, the decision may be committed or not.
    ///
    /// # Errors
    /// [`ControllerError::NotController`]: where it comes after a wait, another controller may have committed the records
    /// all the same. Otherwise nothing was changed.
    pub async fn submit<R>(
        &self,
        decide: impl FnOnce(&MetadataImage) -> Decision<R>,
    ) -> Result<Committed<R>, ControllerError> {
        self.submit_to(|_, view, _| decide(view.image)).await
    }

    /// As [`Controller::submit`], for what brokers say of themselves.
    ///
    /// # Errors
    /// As [`Controller::submit`].
    pub async fn submit_to<R>(
        &self,
        decide: impl FnOnce(&mut ActiveController, &View<'_>, Instant) -> Decision<R>,
    ) -> Result<Committed<R>, ControllerError> {
        let (committed, waiting) = self.decide(decide)?;
        if let Some(waiting) = waiting
            && waiting.await.is_err()
        {
            return Err(self.not_controller());
        }
        Ok(committed)
    }

    /// As [`Controller::submit`], for a controller that is alone, so that its decisions are committed at once.
    ///
    /// # Errors
    /// As [`Controller::submit`].
    pub fn submit_alone<R>(&self, decide: impl FnOnce(&MetadataImage) -> Decision<R>) -> Result<R, ControllerError> {
        let (committed, waiting) = self.decide(|_, view, _| decide(view.image))?;
        if waiting.is_some() { Err(self.not_controller()) } else { Ok(committed.reply) }
    }

    fn not_controller(&self) -> ControllerError {
        ControllerError::NotController { node_id: self.node_id, leader_id: self.leader_id() }
    }

    fn decide<R>(
        &self,
        decide: impl FnOnce(&mut ActiveController, &View<'_>, Instant) -> Decision<R>,
    ) -> Result<(Committed<R>, Option<oneshot::Receiver<()>>), ControllerError> {
        self.with(|inner, now| {
            let moment = self.clock.now();
            let Some(active) = inner.active.as_mut() else { return Err(self.not_controller()) };
            let view = View::new(&active.decided, &self.config);
            let Decision { records, reply } = decide(&mut active.machine, &view, moment);
            self.append(inner, now, &records)?;
            let up_to = match &inner.active {
                Some(active) => active.decided.next_offset(),
                None => return Err(self.not_controller()),
            };
            // Where nobody else votes, it is committed by now.
            self.act(inner)?;
            let waiting = match inner.active.as_mut() {
                _ if inner.committed_to >= up_to => None,
                Some(active) => {
                    let (told, waiting) = oneshot::channel();
                    active.waiting.push((up_to, told));
                    Some(waiting)
                }
                None => return Err(self.not_controller()),
            };
            Ok((Committed { reply, up_to }, waiting))
        })
    }

    /// Appends what was decided, as one batch.
    fn append(&self, inner: &mut Inner, now: Now, records: &[MetadataRecord]) -> Result<(), ControllerError> {
        let Some(active) = inner.active.as_mut().filter(|_| !records.is_empty()) else { return Ok(()) };
        let encoded = records.iter().map(MetadataRecord::encode).collect::<Result<Vec<Bytes>, _>>()?;
        let options = BatchOptions::at(0, active.epoch);
        let values = encoded.iter().map(|value| (None, Some(&value[..])));
        let mut batch = encode_batch(Vec::new(), options, now.date_ms, values)?.into_bytes();
        let bytes = batch.len() as u64;
        let appended = match inner.raft.append(now, active.epoch, &mut batch) {
            Ok(appended) => appended,
            Err(AppendRefused::NotLeader { .. }) => return Err(self.not_controller()),
            Err(AppendRefused::Failed(error)) => return Err(error.into()),
        };
        for (offset, record) in (appended.base_offset..).zip(records) {
            active.decided.replay(offset, record);
        }
        active.pending.push_back(Pending {
            image: Arc::new(active.decided.clone()),
            end: appended.last_offset + 1,
            bytes,
            date_ms: now.date_ms,
        });
        Ok(())
    }

    /// Takes a request of another node of the quorum, and waits for its answer.
    ///
    /// # Errors
    /// There is none, for the node stops.
    pub async fn answer(&self, request: RaftRequest) -> Result<RaftResponse, ControllerError> {
        let answer = self.with(|inner, now| {
            inner.asked_last += 1;
            let id = RequestId(inner.asked_last);
            let (told, answer) = oneshot::channel();
            inner.asked.insert(id, told);
            inner.raft.on_request(now, id, request)?;
            Ok(answer)
        })?;
        answer.await.map_err(|_| ControllerError::Closed("the node stops".to_owned()))
    }

    /// The answer to a [`Call`] came, or none will.
    pub fn answered(&self, id: CallId, answer: Result<RaftResponse, CallFailed>) {
        let _ = self.with(|inner, now| Ok(inner.raft.on_response(now, id, answer)?));
    }

    /// Time has passed.
    pub fn tick(&self) {
        let done = self.with(|inner, now| {
            if inner.raft.deadline().is_some_and(|deadline_ms| deadline_ms <= now.monotonic_ms) {
                inner.raft.tick(now)?;
                self.act(inner)?;
            }
            self.poll(inner, now)
        });
        // What is due stays due while the disk is full, and is not tried all the time.
        *lock(&self.rests_until) = done.is_err().then(|| self.clock.now() + TICK_BACKOFF);
    }

    /// Lets the active controller do what nobody asks for.
    fn poll(&self, inner: &mut Inner, now: Now) -> Result<(), ControllerError> {
        let moment = self.clock.now();
        while let Some(active) = inner.active.as_mut().filter(|active| has_others(&active.decided)) {
            let view = View::new(&active.decided, &self.config);
            if self.config.is_alone() {
                // It is here, and need not say so.
                active.machine.heard_of(self.node_id, moment);
            }
            let Some(records) = active.machine.poll(&view, moment) else { return Ok(()) };
            self.append(inner, now, &records)?;
            self.act(inner)?;
        }
        Ok(())
    }

    /// When [`Controller::tick`] is to be called next.
    pub fn deadline(&self) -> Option<Instant> {
        let inner = lock(&self.inner);
        let inner = inner.as_ref()?;
        let of_quorum = inner.raft.deadline().map(|at| self.moment(at));
        let active = inner.active.as_ref().filter(|active| has_others(&active.decided));
        let of_active = active.map(|active| active.machine.deadline(&View::new(&active.decided, &self.config)));
        let due = of_quorum.into_iter().chain(of_active).chain(self.snapshot_deadline(inner)).min()?;
        Some((*lock(&self.rests_until)).map_or(due, |rests_until| rests_until.max(due)))
    }

    /// Waits until [`Controller::deadline`] may be another one. Cancel safe.
    pub async fn rearmed(&self) {
        self.rearmed.notified().await;
    }

    /// The requests that are to be sent; `None` but for the first time.
    pub fn take_calls(&self) -> Option<mpsc::UnboundedReceiver<Call>> {
        lock(&self.calls_inbox).take()
    }

    /// Begins to leave the quorum in good order: a leader hands over.
    pub fn begin_shutdown(&self) {
        let _ = self.with(|inner, now| Ok(inner.raft.shutdown(now)?));
    }

    /// Whether the quorum goes on without this node.
    pub fn is_dispensable(&self) -> bool {
        lock(&self.inner).as_ref().is_none_or(|inner| inner.raft.is_dispensable())
    }

    /// Ends the log so that nothing can be written to it any more; a `clean` end can be opened without recovery.
    pub fn close(&self, clean: bool) -> Result<(), ControllerError> {
        let inner = lock(&self.inner).take();
        self.active.send_replace(None);
        match inner {
            Some(inner) if clean => Ok(inner.raft.into_log().close(true).map(drop)?),
            _ => Ok(()),
        }
    }

    /// The time, for what stands beside the machine.
    pub fn clock_now(&self) -> Instant {
        self.clock.now()
    }

    /// A time of the machine as the clock has it.
    fn moment(&self, monotonic_ms: i64) -> Instant {
        self.began + Duration::from_millis(u64::try_from(monotonic_ms).unwrap_or(0))
    }

    fn now(&self) -> Now {
        let monotonic = self.clock.now().saturating_duration_since(self.began);
        Now { monotonic_ms: milliseconds(monotonic), date_ms: self.clock.now_ms() }
    }

    /// Lets the machine work, and does what it wants done then. After a failure of the log it is closed.
    fn with<R>(&self, work: impl FnOnce(&mut Inner, Now) -> Result<R, ControllerError>) -> Result<R, ControllerError> {
        let mut guard = lock(&self.inner);
        let Some(inner) = guard.as_mut() else {
            let reason = self.offline_reason().unwrap_or_else(|| "the node stops".to_owned());
            return Err(ControllerError::Closed(reason));
        };
        let before = (inner.raft.deadline(), inner.active.is_some());
        let done = work(inner, self.now()).and_then(|done| self.act(inner).map(|()| done));
        // What brokers say only puts off what waits for them, but for the first word of one.
        let is_snapshot_due = inner.schedule.is_due(self.now().monotonic_ms) && !inner.is_writing_snapshot;
        if (inner.raft.deadline(), inner.active.is_some()) != before || inner.active.is_some() || is_snapshot_due {
            self.rearmed.notify_one();
        }
        match &done {
            Err(ControllerError::Raft(error)) if !error.is_out_of_space() => self.fail(&mut guard, error.to_string()),
            Err(error @ (ControllerError::Record { .. } | ControllerError::Batch(_))) => {
                self.fail(&mut guard, error.to_string());
            }
            _ => {}
        }
        done
    }

    /// Nothing is certain after this: the node must be started again.
    fn fail(&self, inner: &mut Option<Inner>, reason: String) {
        tracing::error!(reason, "the metadata log failed");
        *inner = None;
        *lock(&self.failure) = Some(reason);
        self.active.send_replace(None);
    }

    /// Does what the machine wants done.
    fn act(&self, inner: &mut Inner) -> Result<(), ControllerError> {
        while let Some(action) = inner.raft.poll_action() {
            match action {
                // Without a receiver the node stops.
                Action::Call { id, to, request } => drop(self.calls.send(Call { id, to, request })),
                Action::Reply { id, response } => {
                    if let Some(told) = inner.asked.remove(&id) {
                        // Whoever asked may be gone.
                        let _ = told.send(response);
                    }
                }
                Action::LeaderChanged { now, epoch_start } => self.follow(inner, now, epoch_start),
                Action::Committed(up_to) => self.commit(inner, up_to)?,
                Action::SnapshotLoaded(id) => self.load_snapshot(inner, id)?,
            }
        }
        Ok(())
    }

    fn follow(&self, inner: &mut Inner, now: LeaderAndEpoch, epoch_start: Option<i64>) {
        let leads = now.leader_id == Some(self.node_id);
        if inner.active.as_ref().is_some_and(|active| !leads || active.epoch != now.epoch) {
            tracing::info!(node_id = self.node_id, epoch = now.epoch, "not the active controller any more");
            inner.active = None;
            self.active.send_replace(None);
        }
        inner.becomes = epoch_start.filter(|_| leads).map(|start| (now.epoch, start));
        self.leader.send_if_modified(|known| std::mem::replace(known, now) != now);
    }

    fn commit(&self, inner: &mut Inner, up_to: i64) -> Result<(), ControllerError> {
        match &mut inner.active {
            Some(active) => {
                while active.pending.front().is_some_and(|pending| pending.end <= up_to)
                    && let Some(pending) = active.pending.pop_front()
                {
                    inner.committed = Arc::clone(&pending.image);
                    inner.committed_ms = pending.date_ms;
                    inner.schedule.applied(self.now().monotonic_ms, pending.bytes);
                    self.publish(pending.image);
                }
                inner.committed_to = up_to;
                let waiting = std::mem::take(&mut active.waiting);
                let (done, waiting): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|(end, _)| *end <= up_to);
                active.waiting = waiting;
                for (_, told) in done {
                    let _ = told.send(());
                }
            }
            None => self.replay(inner, up_to)?,
        }
        if let Some((epoch, start)) = inner.becomes
            && inner.committed_to > start
        {
            inner.becomes = None;
            let decided = (*inner.committed).clone();
            let view = View::new(&decided, &self.config);
            let machine = ActiveController::new(&view, &self.cluster_id, self.clock.now());
            let is_new = decided.features().is_empty();
            inner.active = Some(Active { epoch, decided, pending: VecDeque::new(), waiting: Vec::new(), machine });
            if is_new {
                self.append(inner, self.now(), &self.first_records)?;
            }
            tracing::info!(node_id = self.node_id, epoch, "the active controller");
            self.active.send_replace(Some(epoch));
        }
        Ok(())
    }

    /// Takes what was committed into the image. An image is published at the end, and after each batch that removes a
    /// topic, whose name another may have next.
    fn replay(&self, inner: &mut Inner, up_to: i64) -> Result<(), ControllerError> {
        let mut image = (*inner.committed).clone();
        let mut arena = DecompressArena::default();
        while inner.committed_to < up_to {
            let bytes = inner.raft.log().read(inner.committed_to, REPLAY_BYTES, up_to)?;
            let before = inner.committed_to;
            let mut applied = 0;
            for batch in BatchIter::new(&bytes) {
                let batch = batch?;
                inner.committed_to = batch.header().last_offset() + 1;
                if batch.header().attributes.is_control() {
                    continue;
                }
                inner.committed_ms = batch.header().max_timestamp;
                applied += batch.header().total_len() as u64;
                let mut removes = false;
                for record in batch.records(&mut arena)? {
                    let record = record?;
                    let Some(value) = record.value else { continue };
                    let decoded = MetadataRecord::decode(Bytes::copy_from_slice(value))
                        .map_err(|source| ControllerError::Record { offset: record.offset, source })?;
                    removes |= matches!(decoded, MetadataRecord::RemoveTopic(_));
                    image.replay(record.offset, &decoded);
                }
                if removes {
                    self.publish(Arc::new(image.clone()));
                }
            }
            if applied > 0 {
                inner.schedule.applied(self.now().monotonic_ms, applied);
            }
            if inner.committed_to == before {
                break;
            }
        }
        image.advance_to(up_to);
        inner.committed = Arc::new(image);
        self.publish(Arc::clone(&inner.committed));
        Ok(())
    }

    fn publish(&self, image: Arc<MetadataImage>) {
        *write(&self.published) = Arc::clone(&image);
        lock(&self.committed).push_back(image);
        self.more.notify_one();
    }
}

/// Whether there are brokers to watch over besides the one that is alone.
fn has_others(image: &MetadataImage) -> bool {
    image.brokers().len() > 1
}

/// The settings of the quorum.
fn raft_config(config: &BrokerConfig, cluster_id: &str) -> RaftConfig {
    let voters = config.voters().into_iter().map(|(id, host, port)| Voter { id, host, port });
    let bytes = |bytes: i32| usize::try_from(bytes).unwrap_or(usize::MAX);
    RaftConfig {
        cluster_id: Some(cluster_id.to_owned()),
        listener_name: config.controller_listener_names.first().cloned().unwrap_or_else(|| "CONTROLLER".to_owned()),
        election_timeout_ms: milliseconds(config.controller_quorum_election_timeout),
        fetch_timeout_ms: milliseconds(config.controller_quorum_fetch_timeout),
        election_backoff_max_ms: milliseconds(config.controller_quorum_election_backoff_max),
        request_timeout_ms: milliseconds(config.controller_quorum_request_timeout),
        retry_backoff_ms: milliseconds(config.controller_quorum_retry_backoff),
        append_linger_ms: milliseconds(config.controller_quorum_append_linger),
        fetch_max_bytes: bytes(config.controller_quorum_fetch_max_bytes),
        fetch_snapshot_max_bytes: bytes(config.controller_quorum_fetch_snapshot_max_bytes),
        retention_bytes: config.metadata_max_retention_bytes,
        retention_ms: match config.metadata_max_retention_ms {
            Retention::For(time) => milliseconds(time),
            Retention::Unset | Retention::Unlimited => -1,
        },
        ..RaftConfig::new(config.node_id, voters.collect())
    }
}

#[cfg(test)]
impl Controller {
    /// As [`Controller::submit`], for tests without a runtime.
    pub fn submit_now<R>(
        &self,
        _now_ms: i64,
        decide: impl FnOnce(&MetadataImage) -> Decision<R>,
    ) -> Result<R, ControllerError> {
        self.submit_alone(decide)
    }

    /// The image that the log makes when it is replayed from its start.
    pub fn replayed(&self) -> MetadataImage {
        self.with(|inner, _| {
            let (committed, committed_to) = (std::mem::take(&mut inner.committed), inner.committed_to);
            inner.committed_to = 0;
            self.replay(inner, committed_to)?;
            Ok(std::mem::replace(&mut inner.committed, committed))
        })
        .map(Arc::unwrap_or_clone)
        .unwrap()
    }
}
