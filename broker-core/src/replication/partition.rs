//! One partition: its log, the bounds that readers may go to, and who waits for more.

use std::cell::RefCell;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicI64, Ordering};
use std::sync::{Arc, RwLock, Weak};

use bytes::Bytes;
use rkafka_protocol::ErrorCode;
use uuid::Uuid;

use super::log_dir::LogDir;
use super::opening::Opening;
use super::outcome::{AppendFailure, Appended, PartitionRead, ReadFailure};
use super::role::{Role, RoleWord};
use super::throttle::Throttled;
use super::waiters::{Waiter, Waiters};
use crate::log::{AppendError, AppendInfo, Log, LogConfig, LogError, RecordRules, RecordValidator, VerificationGuard};
use crate::planted::{self, Bug};
use crate::storage::is_out_of_space;

#[derive(Debug)]
pub(super) enum LogState {
    /// Nobody has asked for the log yet.
    Unopened(Box<Opening>),
    Open(Box<Log>),
    /// The log could not be opened; why.
    Failed(String),
    /// The partition is gone, or the broker stops.
    Closed,
}

/// What lies under the partition's lock.
#[derive(Debug)]
pub(super) struct State {
    pub log: LogState,
    pub role: Role,
}

/// How a partition ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Close {
    /// As it stands; the next open recovers it.
    Abandon,
    /// With everything synced, so that the next open needs no recovery.
    Clean,
    /// As [`Close::Clean`], but for the syncs, which the caller does for many partitions at once.
    Unsynced,
}

thread_local! {
    /// Buffers and codecs for the walk over a producer's records.
    static VALIDATOR: RefCell<RecordValidator> = RefCell::new(RecordValidator::default());
}

/// A partition of which this broker has a replica.
#[derive(Debug)]
pub(crate) struct Partition {
    pub topic: Arc<str>,
    pub topic_id: Uuid,
    pub index: i32,
    pub(super) role: RoleWord,
    pub(super) state: RwLock<State>,
    log_dir: Arc<LogDir>,
    pub(super) throttled: Throttled,
    /// `min.insync.replicas`.
    min_insync_replicas: AtomicI32,
    /// The offset behind the last record that readers may see; -1 until the log is open.
    high_watermark: AtomicI64,
    /// Up to where a read_committed consumer may read; never beyond the high watermark, -1 until the log is open.
    last_stable_offset: AtomicI64,
    log_start_offset: AtomicI64,
    /// How far the log counts as this broker's own copy: to its end, or with group commit to what is synced; -1 until
    /// the log is open.
    own_end: AtomicI64,
    /// Whether this broker leads, and there are other replicas.
    has_followers: AtomicBool,
    /// When a flush is due that nobody waits for, in milliseconds since the epoch; `i64::MAX` for none.
    flush_due_ms: AtomicI64,
    /// True while the partition is queued for its directory's thread, which syncs for group commit.
    is_sync_queued: AtomicBool,
    /// True once the directory knows that there may be open files, until it has them closed.
    has_files: AtomicBool,
    /// Whether the log was used since the directory last looked.
    is_used: AtomicBool,
    me: Weak<Partition>,
    /// Set when the partition ends, and never taken back.
    closed: AtomicBool,
    /// Who waits for the high watermark, or for the end of the partition's role.
    pub(super) waiters: Waiters,
    /// Followers' fetches, which wait for the end of the log.
    pub(super) follower_waiters: Waiters,
}

impl Partition {
    /// A partition whose log is opened when it is first needed. It has no role until it is told.
    pub fn new(topic: Arc<str>, topic_id: Uuid, index: i32, opening: Opening) -> Arc<Self> {
        let (log_dir, least) = (Arc::clone(&opening.log_dir), opening.config.min_insync_replicas);
        Self::build(topic, topic_id, index, log_dir, least, LogState::Unopened(Box::new(opening)))
    }

    /// A partition of which this broker has no replica, and so no log: whoever asks is told so. It counts as ended, for a
    /// replica that comes is another one.
    pub fn without_replica(
        topic: Arc<str>,
        topic_id: Uuid,
        index: i32,
        leader_epoch: i32,
        log_dir: Arc<LogDir>,
    ) -> Arc<Self> {
        let partition = Self::build(topic, topic_id, index, log_dir, 1, LogState::Closed);
        partition.closed.store(true, Ordering::Release);
        partition.become_stranger(leader_epoch);
        partition
    }

    fn build(
        topic: Arc<str>,
        topic_id: Uuid,
        index: i32,
        log_dir: Arc<LogDir>,
        min_insync_replicas: i32,
        log: LogState,
    ) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            topic,
            topic_id,
            index,
            role: RoleWord::new(),
            log_dir,
            throttled: Throttled::default(),
            min_insync_replicas: AtomicI32::new(min_insync_replicas),
            state: RwLock::new(State { log, role: Role::None }),
            high_watermark: AtomicI64::new(-1),
            last_stable_offset: AtomicI64::new(-1),
            log_start_offset: AtomicI64::new(-1),
            own_end: AtomicI64::new(-1),
            has_followers: AtomicBool::new(false),
            flush_due_ms: AtomicI64::new(i64::MAX),
            is_sync_queued: AtomicBool::new(false),
            has_files: AtomicBool::new(false),
            is_used: AtomicBool::new(false),
            me: Weak::clone(me),
            closed: AtomicBool::new(false),
            waiters: Waiters::default(),
            follower_waiters: Waiters::default(),
        })
    }

    /// As [`Partition::new`], of which this broker has the only replica.
    #[cfg(test)]
    pub fn alone(topic: Arc<str>, topic_id: Uuid, index: i32, leader_epoch: i32, opening: Opening) -> Arc<Self> {
        let partition = Self::new(topic, topic_id, index, opening);
        partition.become_leader(&super::Leadership::alone(0, leader_epoch), 0);
        partition
    }

    /// Lets `read` look at the log, opening it first where needed.
    ///
    /// # Errors
    /// `KAFKA_STORAGE_ERROR` where the log cannot be opened, `NOT_LEADER_OR_FOLLOWER` where it is closed.
    pub fn with_log<R>(&self, now_ms: i64, read: impl FnOnce(&Log) -> R) -> Result<R, ErrorCode> {
        self.check_dir()?;
        self.note_use();
        {
            let state = self.state.read().map_err(|_| ErrorCode::KafkaStorageError)?;
            match &state.log {
                LogState::Open(log) => return Ok(read(log)),
                LogState::Failed(_) => return Err(ErrorCode::KafkaStorageError),
                LogState::Closed => return Err(ErrorCode::NotLeaderOrFollower),
                LogState::Unopened(_) => {}
            }
        }
        self.with_log_mut(now_ms, |log| read(log))
    }

    /// Lets `change` change the log, opening it first where needed, and publishes the bounds that come of it.
    ///
    /// A panic inside leaves the lock poisoned, and the partition answers `KAFKA_STORAGE_ERROR` from then on.
    ///
    /// # Errors
    /// As [`Partition::with_log`].
    pub fn with_log_mut<R>(&self, now_ms: i64, change: impl FnOnce(&mut Log) -> R) -> Result<R, ErrorCode> {
        self.with_state(now_ms, |log, _| change(log)).map(|(result, _)| result)
    }

    /// As [`Partition::with_log_mut`], with the role that this broker has meanwhile. Says too whether readers may see
    /// more by it.
    pub(super) fn with_state<R>(
        &self,
        now_ms: i64,
        change: impl FnOnce(&mut Log, &mut Role) -> R,
    ) -> Result<(R, bool), ErrorCode> {
        self.check_dir()?;
        self.note_use();
        let mut state = self.state.write().map_err(|_| ErrorCode::KafkaStorageError)?;
        let state = &mut *state;
        if let LogState::Unopened(opening) = &state.log
            && let Some(opened) = self.open(opening, &mut state.role, now_ms)
        {
            state.log = opened;
        }
        match &mut state.log {
            LogState::Open(log) => {
                let result = change(log, &mut state.role);
                let moved = self.publish(log, &mut state.role);
                Ok((result, moved))
            }
            LogState::Failed(_) | LogState::Unopened(_) => Err(ErrorCode::KafkaStorageError),
            LogState::Closed => Err(ErrorCode::NotLeaderOrFollower),
        }
    }

    fn note_use(&self) {
        self.is_used.store(true, Ordering::Relaxed);
        if !self.has_files.load(Ordering::Relaxed) && !self.has_files.swap(true, Ordering::AcqRel) {
            self.log_dir.opens_files(Weak::clone(&self.me));
        }
    }

    /// Closes the files, which are opened again when they are needed; false where the log was used since the last call,
    /// or is in use now.
    pub fn release_files(&self) -> bool {
        if self.is_used.swap(false, Ordering::Relaxed) {
            return false;
        }
        let Ok(mut state) = self.state.try_write() else { return false };
        if let LogState::Open(log) = &mut state.log {
            log.release_files();
        }
        self.has_files.store(false, Ordering::Release);
        true
    }

    /// Lets all know what became of the log: its bounds, and that its disk failed. Says whether readers may see more.
    fn publish(&self, log: &mut Log, role: &mut Role) -> bool {
        if let Some(reason) = log.offline_reason() {
            self.log_dir.fail(reason);
        }
        // With group commit the disk is what is waited for.
        let own_end = if log.config().group_commit { log.synced_end() } else { log.log_end_offset() };
        if let Role::Leader(book) = role {
            let least = log.config().min_insync_replicas;
            if let Some(replicated) = book.high_watermark(own_end, log.log_end_offset(), least) {
                log.set_high_watermark(replicated);
            }
        }
        let high_watermark = log.high_watermark();
        self.own_end.store(own_end, Ordering::Release);
        self.log_start_offset.store(log.log_start_offset(), Ordering::Release);
        let before = self.high_watermark.swap(high_watermark, Ordering::AcqRel);
        self.last_stable_offset.store(log.last_stable_offset(), Ordering::Release);
        before < high_watermark
    }

    /// As [`Partition::publish`], where the log is open; and whether there are other replicas.
    pub(super) fn publish_state(&self, state: &mut State) -> bool {
        if let LogState::Open(log) = &mut state.log { self.publish(log, &mut state.role) } else { false }
    }

    /// Notes whether there are followers to wait for.
    pub(super) fn note_followers(&self, has_followers: bool) {
        self.has_followers.store(has_followers, Ordering::Release);
    }

    /// Whether this broker leads, and there are other replicas. Takes no lock.
    pub fn is_replicated(&self) -> bool {
        self.has_followers.load(Ordering::Acquire)
    }

    /// Wakes everybody, for a role is over.
    pub(super) fn wake_all(&self) {
        self.waiters.wake();
        self.follower_waiters.wake();
    }

    /// Whether the disk works.
    ///
    /// # Errors
    /// `KAFKA_STORAGE_ERROR`, until the broker starts again.
    pub fn check_dir(&self) -> Result<(), ErrorCode> {
        match self.log_dir.failure() {
            None => Ok(()),
            Some(_) => Err(ErrorCode::KafkaStorageError),
        }
    }

    /// `None` where there was no room to open the log, which may be tried again.
    fn open(&self, opening: &Opening, role: &mut Role, now_ms: i64) -> Option<LogState> {
        match opening.open(self, role, now_ms) {
            Ok(log) => Some(LogState::Open(Box::new(log))),
            Err(error) => {
                tracing::error!(topic = %self.topic, partition = self.index, %error, "the log cannot be opened");
                match &error {
                    LogError::Io { source, .. } if is_out_of_space(source) => return None,
                    LogError::Io { .. } | LogError::Offline { .. } => self.log_dir.fail(&error.to_string()),
                    LogError::OffsetOutOfRange { .. } | LogError::Corrupt { .. } => {}
                }
                Some(LogState::Failed(error.to_string()))
            }
        }
    }

    /// Appends a batch of a producer: checks, patches and writes it as it is, unless it must be compressed otherwise, and
    /// wakes who waits for records.
    /// The write goes to the page cache, so it runs here and now: a thread to hand it to would cost more than it does.
    ///
    /// A batch that begins a transaction needs the `guard` of [`Partition::begin_verification`].
    ///
    /// # Errors
    /// Kafka's error, with words for the producer. Nothing of `records` is in the log then.
    pub fn append(
        &self,
        records: &mut [u8],
        guard: Option<VerificationGuard>,
        now_ms: i64,
    ) -> Result<Appended, AppendFailure> {
        let rules = self.with_log(now_ms, |log| RecordRules::of(log.config())).map_err(AppendFailure::of)?;
        // Records are walked before the log is locked, which others wait for.
        let name = format_args!("{}-{}", self.topic, self.index);
        let rewritten = VALIDATOR.with_borrow_mut(|validator| validator.validate(records, &rules, now_ms, name));
        let mut rewritten = rewritten
            .map_err(|error| AppendFailure { log_start_offset: self.bounds().1, ..AppendFailure::from(error) })?;
        let records = rewritten.as_deref_mut().unwrap_or(records);
        self.append_with(None, Some(records.len()), now_ms, |log, leader_epoch| {
            log.append_as_leader(records, guard, leader_epoch, now_ms)
        })
    }

    /// Appends batches that this broker made itself, from what it knew as the leader of `in_epoch`. One that belongs to a
    /// transaction needs a `guard` as a producer's does, where it may be the first.
    ///
    /// # Errors
    /// As [`Partition::append`]; `NOT_LEADER_OR_FOLLOWER` also where this broker leads in a later epoch.
    pub fn append_internal(
        &self,
        in_epoch: i32,
        records: &mut [u8],
        guard: Option<VerificationGuard>,
        now_ms: i64,
    ) -> Result<Appended, AppendFailure> {
        self.append_with(Some(in_epoch), Some(records.len()), now_ms, |log, leader_epoch| {
            log.append_internal(records, guard, leader_epoch, now_ms)
        })
    }

    /// Appends, in any epoch or only in one, and wakes who waits for `bytes`, or everybody where more than they become
    /// readable by it.
    pub(super) fn append_with(
        &self,
        in_epoch: Option<i32>,
        bytes: Option<usize>,
        now_ms: i64,
        append: impl FnOnce(&mut Log, i32) -> Result<AppendInfo, AppendError>,
    ) -> Result<Appended, AppendFailure> {
        let appended = self.with_state(now_ms, |log, role| {
            let Role::Leader(book) = role else { return Err(AppendFailure::of(ErrorCode::NotLeaderOrFollower)) };
            if in_epoch.is_some_and(|epoch| epoch != book.leader_epoch()) {
                return Err(AppendFailure::of(ErrorCode::NotLeaderOrFollower));
            }
            book.note_time(now_ms);
            match append(log, book.leader_epoch()) {
                Ok(info) => {
                    let is_unsynced = log.config().group_commit && log.synced_end() < log.log_end_offset();
                    let appended = Appended { info, leader_epoch: book.leader_epoch() };
                    Ok((appended, log.config().flush_ms, is_unsynced, book.is_alone()))
                }
                Err(error) => {
                    Err(AppendFailure { log_start_offset: log.log_start_offset(), ..AppendFailure::from(error) })
                }
            }
        });
        let (appended, moved) = appended.map_err(AppendFailure::of)?;
        let (appended, flush_ms, sync, is_alone) = appended?;
        if appended.rolled || flush_ms < i64::MAX {
            let due_ms = if appended.rolled { now_ms } else { now_ms.saturating_add(flush_ms) };
            self.flush_due_ms.fetch_min(due_ms, Ordering::AcqRel);
        }
        if sync {
            self.sync_soon();
        }
        if !appended.duplicate {
            if !is_alone {
                self.follower_waiters.wake_for(bytes.map_or(u64::MAX, |bytes| bytes as u64));
            }
            // With followers or group commit, readers see it later.
            match bytes {
                _ if !moved => {}
                Some(bytes) => self.waiters.wake_for(bytes as u64),
                None => self.waiters.wake(),
            }
        }
        Ok(appended)
    }

    /// Has the log synced by its directory's thread.
    fn sync_soon(&self) {
        if !self.is_sync_queued.swap(true, Ordering::AcqRel)
            && let Some(me) = self.me.upgrade()
        {
            self.log_dir.sync_soon(me);
        }
    }

    /// The directory's thread does what [`Partition::sync_soon`] asked for.
    pub fn sync_queued(&self) -> Result<(), LogError> {
        // Before the flush looks at the log: what is appended after that look must queue again.
        self.is_sync_queued.store(false, Ordering::Release);
        self.flush()
    }

    /// Whether readers may see, and producers count on, all below `offset` as it was appended in `leader_epoch`. Takes no
    /// lock.
    pub fn is_committed(&self, leader_epoch: i32, offset: i64) -> bool {
        // In this order: a high watermark that was read before the epoch is seen to stand is of that epoch.
        self.high_watermark.load(Ordering::Acquire) >= offset
            && (self.role.led_epoch() == Some(leader_epoch) || planted::is(Bug::WaitOutlivesLeadership))
    }

    /// Whether this broker's own copy of all below `offset` is what the settings ask for.
    pub fn is_kept(&self, offset: i64) -> bool {
        self.own_end.load(Ordering::Acquire) >= offset
    }

    /// Waits until readers may see all below `offset`, an offset up to which the log was appended to in `leader_epoch`.
    /// Without followers and group commit that is so at once.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// `KAFKA_STORAGE_ERROR` where the disk failed, `NOT_LEADER_OR_FOLLOWER` where this broker leads no longer, or in
    /// another epoch: whether the records are there is not known then.
    pub async fn committed(&self, leader_epoch: i32, offset: i64) -> Result<(), ErrorCode> {
        self.wait_until(leader_epoch, || self.is_committed(leader_epoch, offset)).await
    }

    /// As [`Partition::committed`], but for this broker's own copy alone: what `acks=1` asks for.
    ///
    /// # Errors
    /// As [`Partition::committed`].
    pub async fn kept(&self, leader_epoch: i32, offset: i64) -> Result<(), ErrorCode> {
        self.wait_until(leader_epoch, || self.is_kept(offset)).await
    }

    /// As [`Partition::committed`], and sees to it that enough replicas are in sync: what `acks=all` asks for.
    ///
    /// # Errors
    /// As [`Partition::committed`]; `NOT_ENOUGH_REPLICAS_AFTER_APPEND` where replicas went out of sync since the append.
    pub async fn acknowledged(&self, leader_epoch: i32, offset: i64) -> Result<(), ErrorCode> {
        self.committed(leader_epoch, offset).await?;
        match self.shortage() {
            Some(_) => Err(ErrorCode::NotEnoughReplicasAfterAppend),
            None => Ok(()),
        }
    }

    pub(super) async fn wait_until(&self, leader_epoch: i32, is_done: impl Fn() -> bool) -> Result<(), ErrorCode> {
        if is_done() {
            return Ok(());
        }
        let waiter = Registered::new(&self.waiters);
        loop {
            // What happens from here on wakes; what happened before is looked for first.
            waiter.waiter.arm();
            if is_done() {
                return Ok(());
            }
            self.check_dir()?;
            if self.role.led_epoch() != Some(leader_epoch) && !planted::is(Bug::WaitOutlivesLeadership) {
                return Err(ErrorCode::NotLeaderOrFollower);
            }
            match self.state.read().map(|state| matches!(state.log, LogState::Closed)) {
                Ok(false) => {}
                Ok(true) => return Err(ErrorCode::NotLeaderOrFollower),
                Err(_) => return Err(ErrorCode::KafkaStorageError),
            }
            waiter.woken().await;
        }
    }

    /// Reads whole batches from `offset` on, up to the high watermark, or with `read_committed` up to the last stable
    /// offset; then the answer has the aborted transactions too.
    ///
    /// # Errors
    /// `OFFSET_OUT_OF_RANGE` with the bounds, `KAFKA_STORAGE_ERROR`, `NOT_LEADER_OR_FOLLOWER`, `CORRUPT_MESSAGE`.
    pub fn read(
        &self,
        offset: i64,
        max_bytes: usize,
        min_one_batch: bool,
        read_committed: bool,
        now_ms: i64,
    ) -> Result<PartitionRead, ReadFailure> {
        // A consumer at the end, which is where most polls find it, needs no lock. The last stable offset is read first,
        // for it never is beyond the high watermark.
        let last_stable_offset = self.last_stable_offset.load(Ordering::Acquire);
        let high_watermark = self.high_watermark.load(Ordering::Acquire);
        let end = if read_committed { last_stable_offset } else { high_watermark };
        if end >= 0 && (end..=high_watermark).contains(&offset) && self.log_dir.failure().is_none() {
            return Ok(PartitionRead {
                records: Bytes::new(),
                high_watermark,
                last_stable_offset,
                log_start_offset: self.log_start_offset.load(Ordering::Acquire),
                aborted: read_committed.then(Vec::new),
            });
        }
        let read = self.with_log(now_ms, |log| {
            let (high_watermark, last_stable_offset) = (log.high_watermark(), log.last_stable_offset());
            let log_start_offset = log.log_start_offset();
            let end = if read_committed { last_stable_offset } else { high_watermark };
            let read = log.read(offset, max_bytes, end, min_one_batch).and_then(|read| {
                let aborted = match read_committed {
                    true => Some(log.aborted_transactions(offset, read.next_offset)?),
                    false => None,
                };
                Ok((read.records, aborted))
            });
            match read {
                Ok((records, aborted)) => {
                    Ok(PartitionRead { records, high_watermark, last_stable_offset, log_start_offset, aborted })
                }
                Err(error) => {
                    if !matches!(error, LogError::OffsetOutOfRange { .. }) {
                        tracing::error!(topic = %self.topic, partition = self.index, offset, %error, "cannot read");
                    }
                    let error = ErrorCode::from_code(error.kafka_error_code());
                    Err(ReadFailure { error, high_watermark, last_stable_offset, log_start_offset })
                }
            }
        });
        read.unwrap_or_else(|error| Err(ReadFailure::new(error)))
    }

    /// The high watermark and the first offset of the log, without a lock; -1 where the log is not open, or its disk
    /// failed.
    pub fn bounds(&self) -> (i64, i64) {
        if self.log_dir.failure().is_some() {
            return (-1, -1);
        }
        (self.high_watermark.load(Ordering::Acquire), self.log_start_offset.load(Ordering::Acquire))
    }

    /// An answer that has the bounds of the log and no records of it.
    pub fn read_nothing(&self) -> PartitionRead {
        let last_stable_offset = self.last_stable_offset.load(Ordering::Acquire);
        let (high_watermark, log_start_offset) = self.bounds();
        PartitionRead { records: Bytes::new(), high_watermark, last_stable_offset, log_start_offset, aborted: None }
    }

    /// Whether the partition has ended. Another may have its name.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Where the log of a client parts from this one, as the epoch and its end here: a client whose last record is of
    /// `last_fetched_epoch`, and that asks for `fetch_offset` next (KIP-595). `None` where it does not.
    ///
    /// # Errors
    /// `OFFSET_OUT_OF_RANGE` where the epoch is not known, or the offset lies below the log.
    pub fn divergence(
        &self,
        last_fetched_epoch: i32,
        fetch_offset: i64,
        now_ms: i64,
    ) -> Result<Option<(i32, i64)>, ReadFailure> {
        let found = self.with_log(now_ms, |log| {
            let out_of_range = ReadFailure {
                error: ErrorCode::OffsetOutOfRange,
                high_watermark: log.high_watermark(),
                last_stable_offset: log.last_stable_offset(),
                log_start_offset: log.log_start_offset(),
            };
            if fetch_offset < log.log_start_offset() {
                return Err(out_of_range);
            }
            let end = if last_fetched_epoch == self.leader_epoch() {
                Some((last_fetched_epoch, log.log_end_offset()))
            } else {
                log.end_offset_for_epoch(last_fetched_epoch)
            };
            let (epoch, end_offset) = end.ok_or(out_of_range)?;
            Ok((epoch < last_fetched_epoch || end_offset < fetch_offset).then_some((epoch, end_offset)))
        });
        found.unwrap_or_else(|error| Err(ReadFailure::new(error)))
    }

    /// Registers a fetch that waits, of a follower or not. The caller reads once more after this, and removes it in the
    /// end.
    pub fn add_waiter(&self, waiter: &Arc<Waiter>, is_follower: bool) {
        if is_follower { &self.follower_waiters } else { &self.waiters }.add(waiter);
    }

    /// Takes a fetch out that waited.
    pub fn remove_waiter(&self, waiter: &Arc<Waiter>, is_follower: bool) {
        if is_follower { &self.follower_waiters } else { &self.waiters }.remove(waiter);
    }

    /// `min.insync.replicas`.
    pub fn min_insync_replicas(&self) -> i32 {
        self.min_insync_replicas.load(Ordering::Relaxed)
    }

    /// Puts new settings in force.
    pub fn set_config(&self, config: LogConfig) {
        self.min_insync_replicas.store(config.min_insync_replicas, Ordering::Relaxed);
        if let Ok(mut state) = self.state.write() {
            match &mut state.log {
                LogState::Open(log) => log.set_config(config),
                LogState::Unopened(opening) => opening.config = config,
                LogState::Failed(_) | LogState::Closed => {}
            }
        }
    }

    /// Lets `look` look at the log as it is, if it is open, and changes nothing.
    pub fn look<R>(&self, look: impl FnOnce(&Log) -> R) -> Option<R> {
        match &self.state.read().ok()?.log {
            LogState::Open(log) => Some(look(log)),
            _ => None,
        }
    }

    /// Looks at the log only if it is open and its disk works: what is asleep stays so.
    pub fn if_open<R>(&self, change: impl FnOnce(&mut Log) -> R) -> Option<R> {
        self.check_dir().ok()?;
        let mut state = self.state.write().ok()?;
        let state = &mut *state;
        let LogState::Open(log) = &mut state.log else { return None };
        let own_end = self.own_end.load(Ordering::Relaxed);
        let result = change(log);
        let moved = self.publish(log, &mut state.role);
        // Who asked for this broker's own copy only waits for no high watermark.
        if moved || own_end < self.own_end.load(Ordering::Relaxed) {
            self.waiters.wake();
        }
        Some(result)
    }

    /// Whether nobody has asked for the log yet, so that it costs no memory and no files.
    pub fn is_asleep(&self) -> bool {
        self.state.read().is_ok_and(|state| matches!(state.log, LogState::Unopened(_)))
    }

    /// Whether a flush is due that nobody waits for; true once.
    pub fn take_flush_due(&self, now_ms: i64) -> bool {
        self.flush_due_ms.load(Ordering::Acquire) <= now_ms
            && self.flush_due_ms.swap(i64::MAX, Ordering::AcqRel) <= now_ms
    }

    /// Makes everything durable. The sync itself runs without the partition's lock, so that appends go on; it blocks for
    /// as long as the disk takes, so it belongs on a thread that may.
    ///
    /// # Errors
    /// The log, and with it its directory, went offline.
    pub fn flush(&self) -> Result<(), LogError> {
        let flushed = self.try_flush();
        if flushed.is_err() || self.log_dir.failure().is_some() {
            // Who waits for the records to be durable waits in vain.
            self.wake_all();
        }
        flushed
    }

    fn try_flush(&self) -> Result<(), LogError> {
        let Some(task) = self.if_open(Log::prepare_flush).transpose()?.flatten() else { return Ok(()) };
        let result = task.run();
        self.if_open(|log| log.complete_flush(task, result)).transpose().map(drop)
    }

    /// Ends the partition: nothing can be appended or read any more. After an end that is not
    /// [`Close::Abandon`] the log needs no recovery.
    /// Answers the recovery point and the start of a log that was open.
    ///
    /// # Errors
    /// The log could not be left in good order.
    pub fn close(&self, how: Close) -> Result<Option<(i64, i64)>, LogError> {
        let state = match self.state.write() {
            Ok(mut state) => std::mem::replace(&mut state.log, LogState::Closed),
            // A panic while the log was changed: what is on the disk is for the recovery to judge.
            Err(poisoned) => {
                poisoned.into_inner().log = LogState::Closed;
                let reason = "a change of the log did not come to its end".to_owned();
                return Err(LogError::Offline { dir: PathBuf::from(format!("{}-{}", self.topic, self.index)), reason });
            }
        };
        self.high_watermark.store(-1, Ordering::Release);
        self.last_stable_offset.store(-1, Ordering::Release);
        self.own_end.store(-1, Ordering::Release);
        self.closed.store(true, Ordering::Release);
        self.wake_all();
        if self.log_dir.failure().is_some() {
            // Nothing is to be written there any more; the next start recovers what it finds.
            return Ok(None);
        }
        match state {
            LogState::Open(log) if how != Close::Abandon => {
                let log_start_offset = log.log_start_offset();
                let end = if how == Close::Unsynced { log.close_clean_unsynced() } else { log.close_clean() };
                Ok(Some((end?, log_start_offset)))
            }
            LogState::Failed(reason) if how != Close::Abandon => {
                Err(LogError::Offline { dir: PathBuf::from(format!("{}-{}", self.topic, self.index)), reason })
            }
            _ => Ok(None),
        }
    }
}

/// A waiter that leaves its partition's list however the wait ends.
struct Registered<'a> {
    waiters: &'a Waiters,
    waiter: Arc<Waiter>,
}

impl<'a> Registered<'a> {
    fn new(waiters: &'a Waiters) -> Self {
        let waiter = Arc::new(Waiter::default());
        waiters.add(&waiter);
        Self { waiters, waiter }
    }

    async fn woken(&self) {
        self.waiter.woken(1).await;
    }
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        self.waiters.remove(&self.waiter);
    }
}
