//! The drivers of followers: a task per leader (times `num.replica.fetchers`) that asks, waits and hands over.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use rkafka_protocol::messages::{ListOffsetsRequest, ListOffsetsResponse};
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use super::fetcher::{Fetcher, FetcherSettings, OutOfRange};
use super::partition::Partition;
use super::registry::PartitionKey;
use super::throttle::Throttle;
use crate::Clock;
use crate::disk_work;
use crate::locks::lock;
use crate::log::{LogConfig, LogError};
use crate::peer::{Peer, PeerClient, PeerError, Purpose};
use crate::storage::Storage;

/// The versions in which brokers of one cluster ask each other.
const FETCH_VERSION: i16 = 17;
const LIST_OFFSETS_VERSION: i16 = 10;
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;

/// What fetchers need of the broker.
#[derive(Debug, Clone)]
pub(crate) struct FetcherContext {
    /// This broker.
    pub node: i32,
    /// Where the replicas lie.
    pub storage: Arc<dyn Storage>,
    /// The way to the others.
    pub peers: Arc<dyn PeerClient>,
    /// The epoch of this broker's registration, as it is now.
    pub broker_epoch: Arc<AtomicI64>,
    pub clock: Clock,
    pub settings: FetcherSettings,
    /// Holds back what is not in sync.
    pub throttle: Arc<Throttle>,
    /// `num.replica.fetchers`.
    pub per_leader: u16,
    /// `replica.socket.timeout.ms`: how long an answer may take.
    pub within: Duration,
    /// True when the broker stops.
    pub stop: watch::Receiver<bool>,
}

/// The fetchers of a broker. Each partition that it follows is with one of them.
#[derive(Debug)]
pub(crate) struct Fetchers {
    context: FetcherContext,
    fetchers: Mutex<BTreeMap<(i32, u16), Arc<Shared>>>,
}

#[derive(Debug)]
struct Shared {
    fetcher: Mutex<Fetcher>,
    /// There is more to ask for.
    more: Notify,
}

impl Fetchers {
    /// No partition is followed yet.
    pub fn new(context: FetcherContext) -> Self {
        Self { context, fetchers: Mutex::default() }
    }

    /// Sees to it that the partition is fetched from whom it follows, and from nobody else. To be called when its role
    /// has changed. Spawns the task of a leader's first partition, so it needs a runtime.
    pub fn follow(&self, partition: &Arc<Partition>) {
        let key = (partition.topic_id, partition.index);
        let at = partition.followed().map(|(leader, _)| (leader, self.number(key)));
        let mut fetchers = lock(&self.fetchers);
        for (other, shared) in fetchers.iter() {
            if Some(*other) != at {
                lock(&shared.fetcher).remove(key);
            }
        }
        let Some((leader, number)) = at else { return };
        let shared = fetchers.entry((leader, number)).or_insert_with(|| {
            let shared = Arc::new(Shared {
                fetcher: Mutex::new(Fetcher::new(
                    self.context.node,
                    leader,
                    self.context.settings,
                    Arc::clone(&self.context.throttle),
                )),
                more: Notify::new(),
            });
            #[expect(clippy::disallowed_methods, reason = "this is the driver of the fetcher")]
            tokio::spawn(run(
                self.context.clone(),
                Arc::clone(&shared),
                Peer::new(leader, Purpose::Replication(number)),
            ));
            shared
        });
        lock(&shared.fetcher).add(partition);
        shared.more.notify_one();
    }

    /// Fetches a partition no more, for it is gone.
    pub fn forget(&self, key: PartitionKey) {
        for shared in lock(&self.fetchers).values() {
            lock(&shared.fetcher).remove(key);
        }
    }

    /// Which of a leader's fetchers a partition is with: always the same.
    fn number(&self, (topic_id, index): PartitionKey) -> u16 {
        let hash = topic_id.as_u128().wrapping_add(u128::from(index.unsigned_abs()));
        u16::try_from(hash % u128::from(self.context.per_leader.max(1))).unwrap_or(0)
    }
}

async fn run(context: FetcherContext, shared: Arc<Shared>, leader: Peer) {
    let mut stop = context.stop.clone();
    tokio::select! {
        biased;
        _ = stop.wait_for(|stop| *stop) => {}
        () = fetch(&context, &shared, leader) => {}
    }
}

async fn fetch(context: &FetcherContext, shared: &Shared, leader: Peer) {
    let backoff = Duration::from_millis(u64::try_from(context.settings.backoff_ms).unwrap_or(0));
    loop {
        let now_ms = context.clock.now_ms();
        let broker_epoch = context.broker_epoch.load(Ordering::Acquire);
        let (request, resume_ms) = {
            let mut fetcher = lock(&shared.fetcher);
            (fetcher.request(broker_epoch, now_ms), fetcher.resume_ms())
        };
        let Some(request) = request else {
            match resume_ms.filter(|resume_ms| *resume_ms > now_ms) {
                Some(resume_ms) => {
                    let wait = Duration::from_millis(u64::try_from(resume_ms - now_ms).unwrap_or(0));
                    // Either way there is something to do.
                    let _ = timeout(wait, shared.more.notified()).await;
                }
                None => shared.more.notified().await,
            }
            continue;
        };
        let answer = context.peers.call(leader, FETCH_VERSION, &request, context.within).await;
        let now_ms = context.clock.now_ms();
        let taken = match answer {
            Ok(response) => lock(&shared.fetcher).respond(&response, now_ms),
            Err(error) => {
                tracing::debug!(leader = leader.node_id, %error, "a leader does not answer its followers");
                lock(&shared.fetcher).failed();
                let _ = timeout(backoff, shared.more.notified()).await;
                continue;
            }
        };
        match taken {
            Ok((out_of_range, appended)) => {
                flush(context, appended).await;
                for found in out_of_range {
                    if let Err(error) = move_into_range(context, leader, &found).await {
                        tracing::warn!(
                            topic = %found.partition.topic, partition = found.partition.index, %error,
                            "the bounds of the leader's log cannot be had"
                        );
                    }
                }
            }
            // The next request begins a session anew, and says how it goes.
            Err(ErrorCode::FetchSessionIdNotFound | ErrorCode::InvalidFetchSessionEpoch) => {}
            Err(error) => {
                tracing::warn!(leader = leader.node_id, error = error.name(), "a leader refuses a follower's fetch");
                let _ = timeout(backoff, shared.more.notified()).await;
            }
        }
    }
}

/// With group commit a copy counts when it is on the disk, and the next fetch tells the leader that it does.
async fn flush(context: &FetcherContext, appended: Vec<Arc<Partition>>) {
    let is_wanted = |partition: &Arc<Partition>| {
        let wants = |log: &mut crate::log::Log| -> bool {
            let config: &LogConfig = log.config();
            config.group_commit && log.synced_end() < log.log_end_offset()
        };
        partition.if_open(wants).unwrap_or(false)
    };
    let unsynced: Vec<_> = appended.into_iter().filter(is_wanted).collect();
    if unsynced.is_empty() {
        return;
    }
    let synced = disk_work::run(context.storage.as_ref(), move || {
        unsynced.iter().try_for_each(|partition| partition.flush().map_err(|error: LogError| error.to_string()))
    });
    if let Ok(Err(error)) | Err(error) = synced.await.map_err(|error| error.to_string()) {
        tracing::error!(%error, "a follower's log cannot be synced");
    }
}

async fn move_into_range(context: &FetcherContext, leader: Peer, found: &OutOfRange) -> Result<(), String> {
    let start = bound(context, leader, found, EARLIEST).await?;
    let end = bound(context, leader, found, LATEST).await?;
    found
        .partition
        .move_into_range(found.leader_epoch, (start, end), context.clock.now_ms())
        .map(drop)
        .map_err(|error| format!("{error:?}"))
}

async fn bound(context: &FetcherContext, leader: Peer, found: &OutOfRange, timestamp: i64) -> Result<i64, String> {
    let partition = ListOffsetsPartition {
        partition_index: found.partition.index,
        current_leader_epoch: found.leader_epoch,
        timestamp,
        ..Default::default()
    };
    let name = found.partition.topic.to_string();
    let topic = ListOffsetsTopic { name, partitions: vec![partition], ..Default::default() };
    let request = ListOffsetsRequest { replica_id: context.node, topics: vec![topic], ..Default::default() };
    let answer: Result<ListOffsetsResponse, PeerError> =
        context.peers.call(leader, LIST_OFFSETS_VERSION, &request, context.within).await;
    let answer = answer.map_err(|error| error.to_string())?;
    let partition = answer.topics.first().and_then(|topic| topic.partitions.first());
    let partition = partition.ok_or("the answer names no partition")?;
    match ErrorCode::from_code(partition.error_code) {
        ErrorCode::None => Ok(partition.offset),
        error => Err(error.name().to_owned()),
    }
}
