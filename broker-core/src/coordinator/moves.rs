//! A partition of `__consumer_offsets` moves between two brokers, and clients ask both of them all the while.
//!
//! The log is a model: two replicas, a high watermark that both have to reach, elections at any step, and leaders of old
//! that do not know it yet. Checked is that what was acknowledged, or told to a reader, is there ever after, that nobody
//! waits in vain, and that what a coordinator knows in the end is what a replay of the log makes.

use std::sync::{Arc, Mutex};

use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::join_group_request::{JoinGroupRequest, JoinGroupRequestProtocol};
use rkafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use rkafka_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use rkafka_protocol::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequest, TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::{GroupCoordinator, JoiningClient};
use crate::locks::lock;
use crate::log::TransactionMarker;
use crate::planted::{self, Bug};
use crate::{
    BrokerConfig, Clock, CommittedFuture, InternalLog, InternalRecord, InternalTopicFuture, LogPoint, MetadataImage,
    ReplayedEntry, ReplayedRecord, TransactionalProducer,
};

const GROUP: &str = "group";
const TOPIC: &str = "topic";
/// The only one.
const PARTITION: i32 = 0;

#[derive(Debug, Default)]
struct Replica {
    log: Vec<(i32, ReplayedEntry)>,
    led_in: Option<i32>,
    high_watermark: i64,
}

impl Replica {
    fn end(&self) -> i64 {
        i64::try_from(self.log.len()).unwrap()
    }
}

/// One broker's replica.
#[derive(Debug, Default)]
struct ModelLog {
    replica: Mutex<Replica>,
    changed: watch::Sender<()>,
}

impl ModelLog {
    fn change<R>(&self, change: impl FnOnce(&mut Replica) -> R) -> R {
        let result = change(&mut lock(&self.replica));
        self.changed.send_replace(());
        result
    }

    fn append(&self, leader_epoch: i32, producer_id: i64, records: &[InternalRecord]) -> Result<i64, ErrorCode> {
        self.change(|replica| {
            if replica.led_in != Some(leader_epoch) {
                return Err(ErrorCode::NotLeaderOrFollower);
            }
            let base = replica.end();
            for (offset, record) in (base..).zip(records) {
                let record = ReplayedRecord {
                    offset,
                    producer_id,
                    timestamp_ms: 0,
                    key: Some(record.key.clone()),
                    value: record.value.clone(),
                };
                replica.log.push((leader_epoch, ReplayedEntry::Record(record)));
            }
            Ok(base)
        })
    }

    /// Whether the wait is over, and how.
    fn look(&self, point: LogPoint) -> Option<Result<(), ErrorCode>> {
        let replica = lock(&self.replica);
        let leads = replica.led_in == Some(point.leader_epoch) || planted::is(Bug::WaitOutlivesLeadership);
        match leads {
            true if replica.high_watermark >= point.end => Some(Ok(())),
            true => None,
            false => Some(Err(ErrorCode::NotLeaderOrFollower)),
        }
    }
}

impl InternalLog for ModelLog {
    fn ensure_internal_topic<'a>(&'a self, _topic: &'a str) -> InternalTopicFuture<'a> {
        Box::pin(async { Ok(1) })
    }

    fn image(&self) -> Arc<MetadataImage> {
        Arc::new(MetadataImage::default())
    }

    fn partition_count(&self, _topic: &str) -> Option<i32> {
        Some(1)
    }

    fn led_epoch(&self, _topic: &str, _partition: i32) -> Result<i32, ErrorCode> {
        lock(&self.replica).led_in.ok_or(ErrorCode::NotLeaderOrFollower)
    }

    fn is_committed(&self, _topic: &str, _partition: i32, point: LogPoint) -> bool {
        self.look(point) == Some(Ok(()))
    }

    fn committed<'a>(&'a self, _topic: &'a str, _partition: i32, point: LogPoint) -> CommittedFuture<'a> {
        Box::pin(async move {
            let mut changed = self.changed.subscribe();
            loop {
                if let Some(result) = self.look(point) {
                    return result;
                }
                changed.changed().await.map_err(|_| ErrorCode::NotLeaderOrFollower)?;
            }
        })
    }

    fn kept_partitions(&self, _topic: &str) -> Vec<i32> {
        lock(&self.replica).led_in.map(|_| PARTITION).into_iter().collect()
    }

    fn append_internal(
        &self,
        _topic: &str,
        _partition: i32,
        leader_epoch: i32,
        records: &[InternalRecord],
        _now_ms: i64,
    ) -> Result<i64, ErrorCode> {
        self.append(leader_epoch, -1, records)
    }

    fn append_transactional(
        &self,
        _topic: &str,
        _partition: i32,
        leader_epoch: i32,
        producer: TransactionalProducer,
        records: &[InternalRecord],
        _now_ms: i64,
    ) -> Result<i64, ErrorCode> {
        self.append(leader_epoch, producer.id, records)
    }

    fn append_marker(
        &self,
        _topic: &str,
        _partition: i32,
        marker: &TransactionMarker,
        _now_ms: i64,
    ) -> Result<LogPoint, ErrorCode> {
        self.change(|replica| {
            let leader_epoch = replica.led_in.ok_or(ErrorCode::NotLeaderOrFollower)?;
            let (offset, producer_id, commit) = (replica.end(), marker.producer_id, marker.commit);
            replica.log.push((leader_epoch, ReplayedEntry::Marker { offset, producer_id, commit }));
            Ok(LogPoint { leader_epoch, end: offset + 1 })
        })
    }

    fn read_internal(
        &self,
        _topic: &str,
        _partition: i32,
        from: i64,
        each: &mut dyn FnMut(ReplayedEntry),
    ) -> Result<i64, ErrorCode> {
        let replica = lock(&self.replica);
        // A few at a time, so that much can happen within a load.
        let from = usize::try_from(from).unwrap();
        for (_, entry) in replica.log.iter().skip(from).take(2) {
            each(entry.clone());
        }
        Ok(i64::try_from((from + 2).min(replica.log.len())).unwrap())
    }
}

#[derive(Debug)]
struct Broker {
    log: ModelLog,
    groups: GroupCoordinator,
}

impl Broker {
    fn new() -> Arc<Self> {
        let groups = GroupCoordinator::new(&BrokerConfig::default(), Clock::system());
        Arc::new(Self { log: ModelLog::default(), groups })
    }

    fn elect(&self, epoch: i32) {
        self.log.change(|replica| replica.led_in = Some(epoch));
        self.groups.elected(PARTITION, epoch);
    }

    fn depose(&self, epoch: i32) {
        self.log.change(|replica| replica.led_in = None);
        self.groups.resigned(PARTITION, epoch);
    }

    async fn commit(&self, offset: i64) -> Result<(), ErrorCode> {
        let partition =
            OffsetCommitRequestPartition { partition_index: 0, committed_offset: offset, ..Default::default() };
        let topic =
            OffsetCommitRequestTopic { name: TOPIC.to_owned(), partitions: vec![partition], ..Default::default() };
        let request = OffsetCommitRequest {
            group_id: GROUP.to_owned(),
            generation_id_or_member_epoch: -1,
            topics: vec![topic],
            ..Default::default()
        };
        let response = self.groups.commit(&self.log, &request, 8).await?;
        ErrorCode::check(response.topics[0].partitions[0].error_code)
    }

    /// What is committed; -1 for nothing.
    async fn fetch(&self) -> Result<i64, ErrorCode> {
        let topic =
            OffsetFetchRequestTopics { name: TOPIC.to_owned(), partition_indexes: vec![0], ..Default::default() };
        let request =
            OffsetFetchRequestGroup { group_id: GROUP.to_owned(), topics: Some(vec![topic]), ..Default::default() };
        let response = self.groups.fetch_offsets(&self.log, &request, false).await?;
        ErrorCode::check(response.error_code)?;
        Ok(response.topics[0].partitions[0].committed_offset)
    }
}

/// The follower has what the leader has, and nothing else; then the leader's high watermark moves, and the follower's.
fn replicate(leader: &Broker, follower: &Broker) {
    let log = lock(&leader.log.replica).log.clone();
    let high_watermark = i64::try_from(log.len()).unwrap();
    leader.log.change(|replica| replica.high_watermark = high_watermark);
    follower.log.change(|replica| {
        replica.log = log;
        replica.high_watermark = high_watermark;
    });
}

/// What a client did.
#[derive(Debug)]
enum Done {
    Committed(i64, Result<(), ErrorCode>),
    /// With the least that the answer had to be.
    Fetched(i64, Result<i64, ErrorCode>),
}

async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

/// Runs a schedule; the error is what a check found.
async fn run(seed: u64) -> Result<(), String> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut random = move |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 16) % below
    };
    let brokers = [Broker::new(), Broker::new()];
    let (mut leader, mut epoch, mut next_offset, mut least) = (0usize, 1, 1i64, -1i64);
    brokers[leader].elect(epoch);
    let mut clients = JoinSet::new();
    let take = |clients: &mut JoinSet<Done>, least: &mut i64| -> Result<(), String> {
        while let Some(done) = clients.try_join_next() {
            match done.map_err(|error| error.to_string())? {
                Done::Committed(offset, Ok(())) => *least = offset.max(*least),
                Done::Fetched(at_least, Ok(told)) if told < at_least => {
                    return Err(format!("{at_least} was there, and a reader is told {told}"));
                }
                Done::Fetched(_, Ok(told)) => *least = told.max(*least),
                Done::Committed(_, Err(ErrorCode::NotCoordinator))
                | Done::Fetched(_, Err(ErrorCode::NotCoordinator)) => {}
                other => return Err(format!("{other:?}")),
            }
        }
        Ok(())
    };
    for _ in 0..60 {
        let asked = Arc::clone(&brokers[usize::try_from(random(2)).unwrap()]);
        let other = 1 - leader;
        match random(10) {
            0..=3 => {
                let offset = next_offset;
                next_offset += 1;
                clients.spawn(async move { Done::Committed(offset, asked.commit(offset).await) });
            }
            4..=5 => {
                let at_least = least;
                clients.spawn(async move { Done::Fetched(at_least, asked.fetch().await) });
            }
            // A broker that believes to lead fetches from nobody.
            6 | 7 if lock(&brokers[other].log.replica).led_in.is_none() => {
                replicate(&brokers[leader], &brokers[other]);
            }
            8 => {
                // The old leader learns of it later, by the next step of this kind or the next one.
                epoch += 1;
                leader = other;
                brokers[leader].elect(epoch);
            }
            _ => brokers[other].depose(epoch),
        }
        settle().await;
        take(&mut clients, &mut least)?;
    }
    brokers[1 - leader].depose(epoch);
    replicate(&brokers[leader], &brokers[1 - leader]);
    settle().await;
    take(&mut clients, &mut least)?;
    if !clients.is_empty() {
        return Err(format!("{} requests wait in vain", clients.len()));
    }
    let told = brokers[leader].fetch().await.map_err(|error| error.name().to_owned())?;
    if told < least {
        return Err(format!("{least} was acknowledged or told, and {told} is left"));
    }
    // Who knows nothing but the log knows the same.
    let successor = Broker::new();
    successor.log.change(|replica| {
        let known = lock(&brokers[leader].log.replica);
        (replica.log, replica.high_watermark) = (known.log.clone(), known.high_watermark);
    });
    successor.elect(epoch);
    match successor.fetch().await {
        Ok(replayed) if replayed == told => Ok(()),
        other => Err(format!("{told} is told, and a replay of the log has {other:?}")),
    }
}

fn on_one_thread<R>(future: impl Future<Output = R>) -> R {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(future)
}

/// The first seed that finds something.
fn found_by() -> Option<(u64, String)> {
    (0..300).find_map(|seed| on_one_thread(run(seed)).err().map(|error| (seed, error)))
}

#[test]
fn what_is_acknowledged_or_told_outlives_every_move() {
    assert_eq!(found_by(), None);
}

#[test]
fn planted_bugs_are_found() {
    for bug in [Bug::CoordinatorAnswersUncommitted, Bug::CoordinatorKeepsStaleState, Bug::WaitOutlivesLeadership] {
        let _planted = planted::plant(bug);
        assert!(found_by().is_some(), "{bug:?} is found by no seed");
    }
}

#[test]
fn who_waits_to_join_is_told_that_the_coordinator_has_moved() {
    on_one_thread(async {
        let broker = Broker::new();
        broker.elect(1);
        let request = JoinGroupRequest {
            group_id: GROUP.to_owned(),
            session_timeout_ms: 10_000,
            rebalance_timeout_ms: 60_000,
            protocol_type: "consumer".to_owned(),
            protocols: vec![JoinGroupRequestProtocol { name: "range".to_owned(), ..Default::default() }],
            ..Default::default()
        };
        let client = JoiningClient { version: 3, client_id: "client", client_host: "/127.0.0.1" };
        let (response, ()) = tokio::join!(broker.groups.join(&broker.log, &request, client), async {
            settle().await;
            broker.depose(2);
        });
        assert_eq!(ErrorCode::from_code(response.error_code), ErrorCode::NotCoordinator);
        assert_eq!(broker.fetch().await, Err(ErrorCode::NotCoordinator));
    });
}

/// Commits 1 plainly and 2 in a transaction, ends it, and answers what is told then.
async fn fetched_after_marker() -> i64 {
    let broker = Broker::new();
    broker.elect(1);
    // Nobody else has a replica.
    broker.log.change(|replica| replica.high_watermark = i64::MAX);
    broker.commit(1).await.unwrap();
    let partition = TxnOffsetCommitRequestPartition { partition_index: 0, committed_offset: 2, ..Default::default() };
    let topic =
        TxnOffsetCommitRequestTopic { name: TOPIC.to_owned(), partitions: vec![partition], ..Default::default() };
    let request = TxnOffsetCommitRequest {
        group_id: GROUP.to_owned(),
        producer_id: 7,
        generation_id: -1,
        topics: vec![topic],
        ..Default::default()
    };
    broker.groups.commit_in_transaction(&broker.log, &request, 3, None).await.unwrap();
    assert_eq!(broker.fetch().await, Ok(1));
    let marker = TransactionMarker {
        producer_id: 7,
        producer_epoch: 0,
        coordinator_epoch: 0,
        commit: true,
        transaction_version: 1,
    };
    broker.groups.write_marker(&broker.log, PARTITION, &marker).unwrap();
    broker.fetch().await.unwrap()
}

#[test]
fn once_a_marker_is_written_its_offsets_are_what_is_fetched() {
    assert_eq!(on_one_thread(fetched_after_marker()), 2);
    let _planted = planted::plant(Bug::MarkerBeforeOffsets);
    assert_eq!(on_one_thread(fetched_after_marker()), 1);
}
