//! What a follower asks one leader for, and what it does with the answers: the machine of a fetcher, for all partitions
//! that it follows there. It keeps the fetch session (KIP-227), so that only what is new goes over the wire.

use std::collections::BTreeMap;
use std::sync::Arc;

use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic, ReplicaState};
use rkafka_protocol::messages::fetch_response::PartitionData;
use rkafka_protocol::messages::{FetchRequest, FetchResponse};

use super::following::{Fetched, FollowFailure, FollowerPosition};
use super::partition::Partition;
use super::registry::PartitionKey;
use super::throttle::Throttle;
use crate::config::{BrokerConfig, milliseconds};
use crate::fetch::{INITIAL_EPOCH, NO_SESSION, next_epoch};

/// How a fetcher asks: `replica.fetch.*`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FetcherSettings {
    /// `replica.fetch.wait.max.ms`.
    pub wait_max_ms: i32,
    /// `replica.fetch.min.bytes`.
    pub min_bytes: i32,
    /// `replica.fetch.max.bytes`, of each partition.
    pub max_bytes: i32,
    /// `replica.fetch.response.max.bytes`.
    pub response_max_bytes: i32,
    /// `replica.fetch.backoff.ms`: how long a partition rests after an error.
    pub backoff_ms: i64,
}

/// How long a partition rests that is held back, before it is looked at again.
const THROTTLED_MS: i64 = 100;

impl FetcherSettings {
    /// As the broker's settings say.
    pub fn of(config: &BrokerConfig) -> Self {
        Self {
            wait_max_ms: i32::try_from(milliseconds(config.replica_fetch_wait_max)).unwrap_or(i32::MAX),
            min_bytes: config.replica_fetch_min_bytes,
            max_bytes: config.replica_fetch_max_bytes,
            response_max_bytes: config.replica_fetch_response_max_bytes,
            backoff_ms: milliseconds(config.replica_fetch_backoff),
        }
    }
}

/// A partition that is followed.
#[derive(Debug)]
struct Followed {
    partition: Arc<Partition>,
    /// Not asked for before this time.
    resume_ms: i64,
    /// What the leader's session has been told; `None` where the partition is not in it.
    told: Option<FollowerPosition>,
    /// Whether all that was committed when the leader answered last is here.
    is_caught_up: bool,
}

/// A partition whose end lies outside of the leader's log, so that the leader's bounds are to be asked for.
#[derive(Debug)]
pub(crate) struct OutOfRange {
    pub partition: Arc<Partition>,
    pub leader_epoch: i32,
}

/// What a fetcher follows at one leader.
#[derive(Debug)]
pub(crate) struct Fetcher {
    /// This broker.
    node: i32,
    leader: i32,
    settings: FetcherSettings,
    /// Holds back what is not caught up (`follower.replication.throttled.rate`).
    throttle: Arc<Throttle>,
    /// In order, so that the same happens whenever the same is asked.
    partitions: BTreeMap<PartitionKey, Followed>,
    session_id: i32,
    session_epoch: i32,
    /// In the session, and not followed any more.
    forgotten: Vec<PartitionKey>,
}

impl Fetcher {
    pub fn new(node: i32, leader: i32, settings: FetcherSettings, throttle: Arc<Throttle>) -> Self {
        Self {
            node,
            leader,
            settings,
            throttle,
            partitions: BTreeMap::new(),
            session_id: NO_SESSION,
            session_epoch: INITIAL_EPOCH,
            forgotten: Vec::new(),
        }
    }

    /// Follows a partition, at once if it rested.
    pub fn add(&mut self, partition: &Arc<Partition>) {
        let key = (partition.topic_id, partition.index);
        let followed = self.partitions.entry(key).or_insert_with(|| Followed {
            partition: Arc::clone(partition),
            resume_ms: i64::MIN,
            told: None,
            is_caught_up: false,
        });
        followed.partition = Arc::clone(partition);
        followed.resume_ms = i64::MIN;
    }

    /// Follows a partition no more.
    pub fn remove(&mut self, key: PartitionKey) {
        if self.partitions.remove(&key).is_some_and(|followed| followed.told.is_some()) {
            self.forgotten.push(key);
        }
    }

    /// What to ask now; `None` where there is nothing to ask for.
    pub fn request(&mut self, broker_epoch: i64, now_ms: i64) -> Option<FetchRequest> {
        let mut asked: Vec<(PartitionKey, FollowerPosition)> = Vec::new();
        let mut is_any = false;
        let mut gone = Vec::new();
        let is_exceeded = self.throttle.is_exceeded(now_ms);
        for (key, followed) in &mut self.partitions {
            if is_exceeded && !followed.is_caught_up && followed.partition.is_throttled_as_follower() {
                followed.resume_ms = followed.resume_ms.max(now_ms.saturating_add(THROTTLED_MS));
            }
            if followed.resume_ms > now_ms {
                if followed.told.take().is_some() {
                    self.forgotten.push(*key);
                }
                continue;
            }
            match followed.partition.follower_position(now_ms) {
                Ok(Some(position)) if position.leader == self.leader => {
                    is_any = true;
                    if followed.told != Some(position) || self.session_epoch == INITIAL_EPOCH {
                        followed.told = Some(position);
                        asked.push((*key, position));
                    }
                }
                Ok(_) => gone.push(*key),
                Err(error) => {
                    if !followed.partition.is_closed() {
                        tracing::debug!(
                            topic = %followed.partition.topic, partition = followed.partition.index,
                            error = error.name(), "a follower's log cannot be had"
                        );
                    }
                    followed.resume_ms = now_ms.saturating_add(self.settings.backoff_ms);
                    if followed.told.take().is_some() {
                        self.forgotten.push(*key);
                    }
                }
            }
        }
        gone.into_iter().for_each(|key| self.remove(key));
        if !is_any {
            return None;
        }
        let mut topics: Vec<FetchTopic> = Vec::new();
        for ((topic_id, index), position) in asked {
            let partition = FetchPartition {
                partition: index,
                current_leader_epoch: position.leader_epoch,
                fetch_offset: position.offset,
                last_fetched_epoch: position.last_epoch,
                log_start_offset: position.log_start_offset,
                partition_max_bytes: self.settings.max_bytes.min(position.max_bytes),
                ..Default::default()
            };
            match topics.last_mut().filter(|topic| topic.topic_id == topic_id) {
                Some(topic) => topic.partitions.push(partition),
                None => topics.push(FetchTopic { topic_id, partitions: vec![partition], ..Default::default() }),
            }
        }
        // What is asked for again is in the session. A leader that is told to forget it as well would do so last, and it
        // would not be fetched any more.
        let partitions = &self.partitions;
        self.forgotten.retain(|key| partitions.get(key).is_none_or(|followed| followed.told.is_none()));
        let mut forgotten: Vec<ForgottenTopic> = Vec::new();
        // A new session has nothing to forget.
        if self.session_epoch != INITIAL_EPOCH {
            for (topic_id, index) in std::mem::take(&mut self.forgotten) {
                match forgotten.last_mut().filter(|topic| topic.topic_id == topic_id) {
                    Some(topic) => topic.partitions.push(index),
                    None => forgotten.push(ForgottenTopic { topic_id, partitions: vec![index], ..Default::default() }),
                }
            }
        }
        self.forgotten.clear();
        Some(FetchRequest {
            replica_state: ReplicaState { replica_id: self.node, replica_epoch: broker_epoch, ..Default::default() },
            max_wait_ms: self.settings.wait_max_ms,
            min_bytes: self.settings.min_bytes,
            max_bytes: self.settings.response_max_bytes,
            session_id: self.session_id,
            session_epoch: self.session_epoch,
            topics,
            forgotten_topics_data: forgotten,
            ..Default::default()
        })
    }

    /// When the first partition that rests is to be asked for again.
    pub fn resume_ms(&self) -> Option<i64> {
        self.partitions.values().map(|followed| followed.resume_ms).min()
    }

    /// There was no answer, so that what the leader knows of the session is not known: the next request names everything,
    /// and ends the session that may be there.
    pub fn failed(&mut self) {
        self.begin_session_anew();
    }

    fn begin_session_anew(&mut self) {
        self.session_epoch = INITIAL_EPOCH;
        self.forgotten.clear();
        for followed in self.partitions.values_mut() {
            followed.told = None;
        }
    }

    /// Takes an answer in: appends, cuts logs, lets partitions rest that had an error. Answers those whose ends lie
    /// outside of the leader's log, and the partitions that were appended to.
    ///
    /// # Errors
    /// The leader's error for the whole request.
    pub fn respond(
        &mut self,
        response: &FetchResponse,
        now_ms: i64,
    ) -> Result<(Vec<OutOfRange>, Vec<Arc<Partition>>), ErrorCode> {
        match ErrorCode::from_code(response.error_code) {
            ErrorCode::None => {}
            error => {
                if error == ErrorCode::FetchSessionIdNotFound {
                    self.session_id = NO_SESSION;
                }
                self.begin_session_anew();
                return Err(error);
            }
        }
        if response.session_id == NO_SESSION {
            // The leader has no room for a session.
            self.session_id = NO_SESSION;
            self.begin_session_epoch();
        } else {
            self.session_epoch =
                if self.session_id == response.session_id { next_epoch(self.session_epoch) } else { 1 };
            self.session_id = response.session_id;
        }
        let (mut out_of_range, mut appended) = (Vec::new(), Vec::new());
        let mut throttled_bytes = 0_usize;
        for topic in &response.responses {
            for data in &topic.partitions {
                let key = (topic.topic_id, data.partition_index);
                let Some(followed) = self.partitions.get_mut(&key) else { continue };
                let Some(position) = followed.told else { continue };
                match apply(&followed.partition, &position, data, now_ms) {
                    Applied::Appended => {
                        let bytes = data.records.as_ref().map_or(0, |records| records.len());
                        if followed.partition.is_throttled_as_follower() {
                            throttled_bytes = throttled_bytes.saturating_add(bytes);
                        }
                        let end = followed.partition.log_end().unwrap_or(position.offset);
                        followed.is_caught_up = end >= data.high_watermark;
                        appended.push(Arc::clone(&followed.partition));
                    }
                    Applied::Done if data.error_code == 0 && data.diverging_epoch.end_offset < 0 => {
                        followed.is_caught_up = position.offset >= data.high_watermark;
                    }
                    Applied::Done => {}
                    Applied::OutOfRange => {
                        followed.resume_ms = now_ms.saturating_add(self.settings.backoff_ms);
                        let partition = Arc::clone(&followed.partition);
                        out_of_range.push(OutOfRange { partition, leader_epoch: position.leader_epoch });
                    }
                    Applied::Rests => followed.resume_ms = now_ms.saturating_add(self.settings.backoff_ms),
                }
            }
        }
        self.throttle.record(throttled_bytes, now_ms);
        Ok((out_of_range, appended))
    }

    fn begin_session_epoch(&mut self) {
        self.session_epoch = INITIAL_EPOCH;
        self.forgotten.clear();
    }
}

enum Applied {
    Appended,
    Done,
    OutOfRange,
    Rests,
}

fn apply(partition: &Partition, position: &FollowerPosition, data: &PartitionData, now_ms: i64) -> Applied {
    let (topic, index) = (&partition.topic, partition.index);
    let done = match ErrorCode::from_code(data.error_code) {
        ErrorCode::None if data.diverging_epoch.end_offset >= 0 => {
            let diverging = (data.diverging_epoch.epoch, data.diverging_epoch.end_offset);
            let parted = partition.truncate_if_at(position, diverging, now_ms);
            parted.map(|_| Applied::Done)
        }
        ErrorCode::None => {
            let records = data.records.as_deref().unwrap_or_default();
            let fetched = Fetched {
                offset: position.offset,
                records,
                high_watermark: data.high_watermark,
                log_start_offset: data.log_start_offset,
            };
            let appended = partition.append_fetched(position.leader_epoch, &fetched, now_ms);
            appended.map(|_| if records.is_empty() { Applied::Done } else { Applied::Appended })
        }
        ErrorCode::OffsetOutOfRange => return Applied::OutOfRange,
        error => {
            // The metadata log brings this broker or its leader up to date; until then it asks from time to time.
            tracing::debug!(%topic, partition = index, leader = position.leader, error = error.name(), "a follower waits");
            return Applied::Rests;
        }
    };
    match done {
        Ok(applied) => applied,
        Err(FollowFailure::Stale) => Applied::Done,
        Err(FollowFailure::Refused(error)) => {
            tracing::error!(
                %topic, partition = index, leader = position.leader, offset = position.offset, %error,
                "what the leader sent is not appended, and is fetched again"
            );
            Applied::Rests
        }
        Err(FollowFailure::Unavailable(error)) => {
            tracing::debug!(%topic, partition = index, error = error.name(), "a follower's log cannot be had");
            Applied::Rests
        }
        Err(FollowFailure::Log(error)) => {
            tracing::error!(%topic, partition = index, %error, "a follower's log cannot be cut");
            Applied::Rests
        }
    }
}
