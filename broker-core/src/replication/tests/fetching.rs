//! The fetch session of a follower, and the tasks that drive it, against a leader that is written out.

use std::sync::atomic::AtomicI64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rkafka_protocol::ApiKey;
use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::fetch_response::{EpochEndOffset, FetchableTopicResponse, PartitionData};
use rkafka_protocol::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use rkafka_protocol::messages::{FetchRequest, FetchResponse, ListOffsetsRequest, ListOffsetsResponse};
use rkafka_protocol::records::{BatchOptions, encode_batch};
use rkafka_protocol::wire::{Message, decode_whole, encode_to_vec};
use tokio::sync::{mpsc, oneshot, watch};
use uuid::Uuid;

use super::super::fetcher::Fetcher;
use super::super::{FetcherContext, FetcherSettings, Fetchers, LogDir, Opening, Partition, Throttles};
use crate::log::{LogConfig, OpenState, ThrottledReplicas};
use crate::peer::{Peer, PeerClient, PeerError, PeerFuture, PeerRequest, Purpose};
use crate::storage::MemStorage;
use crate::{BrokerConfig, Clock};

const NODE: i32 = 1;
const LEADER: i32 = 2;
const EPOCH: i32 = 4;

fn follower(index: i32) -> Arc<Partition> {
    let opening = Opening {
        storage: Arc::new(MemStorage::new()),
        dir: format!("/data/t-{index}").into(),
        log_dir: LogDir::new("/data".into(), 16, None),
        config: LogConfig { message_timestamp_after_max_ms: i64::MAX, ..LogConfig::default() },
        state: OpenState::clean(),
    };
    let partition = Partition::new("t".into(), Uuid::from_u128(7), index, opening);
    partition.become_follower(LEADER, EPOCH);
    partition
}

/// A batch of one record as a leader has it.
fn batch(offset: i64, epoch: i32) -> Vec<u8> {
    encode_batch(Vec::new(), BatchOptions::at(offset, epoch), 0, [(None, Some(&b"value"[..]))]).unwrap().into_bytes()
}

fn batches(offsets: std::ops::Range<i64>, epoch: i32) -> Vec<u8> {
    offsets.flat_map(|offset| batch(offset, epoch)).collect()
}

fn throttles(rate: i64) -> Throttles {
    Throttles::of(&BrokerConfig::new().follower_replication_throttled_rate(rate))
}

fn settings() -> FetcherSettings {
    FetcherSettings::of(&BrokerConfig::new())
}

fn fetcher() -> Fetcher {
    Fetcher::new(NODE, LEADER, settings(), throttles(i64::MAX).follower)
}

fn data(index: i32, records: Vec<u8>, high_watermark: i64) -> PartitionData {
    PartitionData { partition_index: index, high_watermark, records: Some(records.into()), ..Default::default() }
}

fn answer(session_id: i32, partitions: Vec<PartitionData>) -> FetchResponse {
    let topic = FetchableTopicResponse { topic_id: Uuid::from_u128(7), partitions, ..Default::default() };
    FetchResponse { session_id, responses: vec![topic], ..Default::default() }
}

/// Partition, offset, and epoch of the last record, of all that is asked for.
fn asked(request: &FetchRequest) -> Vec<(i32, i64, i32)> {
    let partitions = request.topics.iter().flat_map(|topic| &topic.partitions);
    partitions.map(|it| (it.partition, it.fetch_offset, it.last_fetched_epoch)).collect()
}

fn forgotten(request: &FetchRequest) -> Vec<i32> {
    request.forgotten_topics_data.iter().flat_map(|topic| topic.partitions.clone()).collect()
}

#[test]
fn a_session_names_what_is_new_and_forgets_what_went() {
    let mut fetcher = fetcher();
    assert_eq!(fetcher.request(9, 0), None, "nothing is followed");
    let partitions = [follower(0), follower(1)];
    partitions.iter().for_each(|partition| fetcher.add(partition));
    let first = fetcher.request(9, 0).unwrap();
    assert_eq!((first.session_id, first.session_epoch, first.replica_state.replica_epoch), (0, 0, 9));
    assert_eq!(asked(&first), [(0, 0, -1), (1, 0, -1)]);
    let (out_of_range, appended) =
        fetcher.respond(&answer(5, vec![data(0, batches(0..3, EPOCH), 2), data(1, Vec::new(), 0)]), 0).unwrap();
    assert_eq!((out_of_range.len(), appended.len()), (0, 1));
    assert_eq!((partitions[0].log_end(), partitions[0].bounds().0), (Some(3), 2));

    let second = fetcher.request(9, 0).unwrap();
    assert_eq!((second.session_id, second.session_epoch), (5, 1));
    assert_eq!(asked(&second), [(0, 3, EPOCH)], "the other is where it was");
    fetcher.respond(&answer(5, Vec::new()), 0).unwrap();
    let third = fetcher.request(9, 0).unwrap();
    assert_eq!((third.session_epoch, asked(&third)), (2, Vec::new()), "it waits for both");
    fetcher.respond(&answer(5, Vec::new()), 0).unwrap();
    fetcher.remove((Uuid::from_u128(7), 1));
    let fourth = fetcher.request(9, 0).unwrap();
    assert_eq!((asked(&fourth), forgotten(&fourth)), (Vec::new(), vec![1]));
    // One that follows another by now is not asked for.
    fetcher.respond(&answer(5, Vec::new()), 0).unwrap();
    partitions[0].become_follower(3, EPOCH + 1);
    assert_eq!(fetcher.request(9, 0), None);
}

#[test]
fn what_fails_rests_and_is_asked_for_again() {
    let mut fetcher = fetcher();
    fetcher.add(&follower(0));
    fetcher.add(&follower(1));
    fetcher.request(9, 0).unwrap();
    let error = ErrorCode::NotLeaderOrFollower.code();
    let refused = PartitionData { error_code: error, ..data(0, Vec::new(), -1) };
    fetcher.respond(&answer(5, vec![refused, data(1, Vec::new(), 0)]), 1_000).unwrap();
    let next = fetcher.request(9, 1_000).unwrap();
    assert_eq!((asked(&next), forgotten(&next)), (Vec::new(), vec![0]), "the leader is not to answer for it");
    fetcher.respond(&answer(5, Vec::new()), 1_100).unwrap();
    let rested = fetcher.request(9, 1_000 + settings().backoff_ms).unwrap();
    assert_eq!(asked(&rested), [(0, 0, -1)]);
}

#[test]
fn a_session_that_is_not_there_any_more_begins_anew() {
    let mut fetcher = fetcher();
    fetcher.add(&follower(0));
    fetcher.request(9, 0).unwrap();
    fetcher.respond(&answer(5, vec![data(0, Vec::new(), 0)]), 0).unwrap();
    fetcher.request(9, 0).unwrap();
    // No answer: the session may have gone on or not, so that it is ended by its id.
    fetcher.failed();
    let anew = fetcher.request(9, 0).unwrap();
    assert_eq!((anew.session_id, anew.session_epoch, asked(&anew).len()), (5, 0, 1));
    fetcher.respond(&answer(6, vec![data(0, Vec::new(), 0)]), 0).unwrap();
    assert_eq!(fetcher.request(9, 0).unwrap().session_epoch, 1);
    let error_code = ErrorCode::FetchSessionIdNotFound.code();
    let unknown = FetchResponse { error_code, ..Default::default() };
    assert_eq!(fetcher.respond(&unknown, 0).unwrap_err(), ErrorCode::FetchSessionIdNotFound);
    let anew = fetcher.request(9, 0).unwrap();
    assert_eq!((anew.session_id, anew.session_epoch, asked(&anew).len()), (0, 0, 1));
    // A leader without room for sessions is asked for everything each time.
    for _ in 0..2 {
        fetcher.respond(&answer(0, vec![data(0, Vec::new(), 0)]), 0).unwrap();
        let whole = fetcher.request(9, 0).unwrap();
        assert_eq!((whole.session_id, whole.session_epoch, asked(&whole).len()), (0, 0, 1));
    }
}

#[test]
fn a_log_that_parts_is_cut_and_goes_on_from_there() {
    let mut fetcher = fetcher();
    let partition = follower(0);
    fetcher.add(&partition);
    fetcher.request(9, 0).unwrap();
    fetcher.respond(&answer(5, vec![data(0, batches(0..5, 2), 3)]), 0).unwrap();
    assert_eq!(asked(&fetcher.request(9, 0).unwrap()), [(0, 5, 2)]);
    let diverging_epoch = EpochEndOffset { epoch: 2, end_offset: 4, ..Default::default() };
    let parted = PartitionData { diverging_epoch, ..data(0, Vec::new(), 3) };
    fetcher.respond(&answer(5, vec![parted.clone()]), 0).unwrap();
    assert_eq!(asked(&fetcher.request(9, 0).unwrap()), [(0, 4, 2)]);
    fetcher.respond(&answer(5, vec![data(0, batches(4..6, 3), 4)]), 0).unwrap();
    assert_eq!(asked(&fetcher.request(9, 0).unwrap()), [(0, 6, 3)]);
    // What was asked before somebody else led says nothing any more.
    partition.become_follower(LEADER, EPOCH + 1);
    fetcher.respond(&answer(5, vec![parted]), 0).unwrap();
    assert_eq!(partition.log_end(), Some(6));
}

#[test]
fn what_is_not_caught_up_is_held_back_and_what_is_goes_on() {
    let throttles = throttles(10);
    let mut fetcher = Fetcher::new(NODE, LEADER, settings(), Arc::clone(&throttles.follower));
    let partitions = [follower(0), follower(1), follower(2)];
    for partition in &partitions {
        fetcher.add(partition);
    }
    for partition in &partitions[..2] {
        partition.note_throttled(NODE, &ThrottledReplicas::None, &ThrottledReplicas::All);
    }
    fetcher.request(9, 0).unwrap();
    let first = vec![data(0, batches(0..1, EPOCH), 100), data(1, batches(0..1, EPOCH), 1), data(2, Vec::new(), 0)];
    fetcher.respond(&answer(5, first), 0).unwrap();
    let next = fetcher.request(9, 0).unwrap();
    assert_eq!(asked(&next), [(1, 1, EPOCH)], "the one that has all is asked for on");
    assert_eq!(forgotten(&next), [0], "and the leader sends nothing of the other");
    fetcher.respond(&answer(5, Vec::new()), 0).unwrap();
    let later = fetcher.request(9, 60_000).unwrap();
    assert_eq!(asked(&later), [(0, 1, EPOCH)], "its time has come");
}

/// A request to a node, and where its answer goes.
type Asked = (Peer, PeerRequest, oneshot::Sender<Result<bytes::Bytes, PeerError>>);

/// Other nodes, played by the test.
#[derive(Debug)]
struct Script(mpsc::UnboundedSender<Asked>);

impl PeerClient for Script {
    fn send(&self, to: Peer, request: PeerRequest) -> PeerFuture<'_> {
        let (tell, told) = oneshot::channel();
        let _ = self.0.send((to, request, tell));
        Box::pin(async move {
            let unreachable = || PeerError::Disconnected { peer: to, reason: "the test is over".to_owned() };
            told.await.unwrap_or_else(|_| Err(unreachable()))
        })
    }
}

struct Stage {
    fetchers: Fetchers,
    asked: mpsc::UnboundedReceiver<Asked>,
    stop: watch::Sender<bool>,
}

fn stage() -> Stage {
    let (script, asked) = mpsc::unbounded_channel();
    let (stop, stopped) = watch::channel(false);
    let context = FetcherContext {
        storage: Arc::new(MemStorage::new()),
        node: NODE,
        peers: Arc::new(Script(script)),
        broker_epoch: Arc::new(AtomicI64::new(9)),
        clock: Clock::simulated(1_000),
        settings: settings(),
        throttle: throttles(i64::MAX).follower,
        per_leader: 1,
        within: Duration::from_secs(30),
        stop: stopped,
    };
    Stage { fetchers: Fetchers::new(context), asked, stop }
}

impl Stage {
    /// The next request, which is due within a minute of a time that does not wait.
    async fn next(&mut self) -> Asked {
        tokio::time::timeout(Duration::from_secs(60), self.asked.recv()).await.expect("a request").expect("a fetcher")
    }

    async fn next_fetch(&mut self) -> (Peer, FetchRequest, oneshot::Sender<Result<bytes::Bytes, PeerError>>) {
        let (peer, request, tell) = self.next().await;
        assert_eq!(request.key, ApiKey::Fetch);
        (peer, decode_whole(request.body, request.version).unwrap(), tell)
    }
}

fn bytes_of<M: Message>(message: &M, version: i16) -> Result<bytes::Bytes, PeerError> {
    Ok(encode_to_vec(message, version).unwrap().into())
}

#[tokio::test(start_paused = true)]
async fn a_partition_is_fetched_from_whom_it_follows_and_from_nobody_else() {
    let mut stage = stage();
    let partition = follower(0);
    stage.fetchers.follow(&partition);
    let (peer, first, tell) = stage.next_fetch().await;
    assert_eq!(peer, Peer::new(LEADER, Purpose::Replication(0)));
    assert_eq!(
        (asked(&first), first.replica_state.replica_id, first.replica_state.replica_epoch),
        (vec![(0, 0, -1)], 1, 9)
    );
    tell.send(bytes_of(&answer(5, vec![data(0, batches(0..2, EPOCH), 1)]), 17)).unwrap();
    let (_, second, tell) = stage.next_fetch().await;
    assert_eq!(asked(&second), [(0, 2, EPOCH)]);
    // Another leads while the leader keeps the fetch waiting.
    partition.become_follower(3, EPOCH + 1);
    stage.fetchers.follow(&partition);
    let (peer, moved, other) = stage.next_fetch().await;
    assert_eq!((peer.node_id, asked(&moved)), (3, vec![(0, 2, EPOCH)]));
    tell.send(bytes_of(&answer(5, vec![data(0, batches(2..3, EPOCH), 3)]), 17)).unwrap();
    other.send(bytes_of(&answer(8, vec![data(0, batches(2..4, EPOCH + 1), 2)]), 17)).unwrap();
    let (peer, next, tell) = stage.next_fetch().await;
    assert_eq!((peer.node_id, asked(&next)), (3, vec![(0, 4, EPOCH + 1)]), "what the old leader sent came too late");
    // What is gone is asked for no more.
    stage.fetchers.forget((Uuid::from_u128(7), 0));
    tell.send(bytes_of(&answer(8, Vec::new()), 17)).unwrap();
    assert!(tokio::time::timeout(Duration::from_secs(60), stage.asked.recv()).await.is_err());
    stage.stop.send_replace(true);
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_does_not_answer_is_asked_again_after_a_while() {
    let mut stage = stage();
    stage.fetchers.follow(&follower(0));
    let clock = Clock::simulated(0);
    let began = clock.now();
    for _ in 0..3 {
        let (peer, request, tell) = stage.next_fetch().await;
        assert_eq!((request.session_epoch, asked(&request).len()), (0, 1));
        tell.send(Err(PeerError::Disconnected { peer, reason: "it went".to_owned() })).unwrap();
    }
    stage.next_fetch().await;
    let waited = clock.now() - began;
    let backoff = Duration::from_millis(settings().backoff_ms.unsigned_abs());
    // The first time at once, for there was news when the partition came.
    assert!((backoff * 2..backoff * 4).contains(&waited), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_log_outside_of_the_leaders_asks_for_its_bounds() {
    let mut stage = stage();
    let partition = follower(0);
    stage.fetchers.follow(&partition);
    let (.., tell) = stage.next_fetch().await;
    let error_code = ErrorCode::OffsetOutOfRange.code();
    let outside = PartitionData { error_code, ..data(0, Vec::new(), 50) };
    tell.send(bytes_of(&answer(5, vec![outside]), 17)).unwrap();
    let timestamps = Mutex::new(Vec::new());
    for offset in [40, 50] {
        let (_, request, tell) = stage.next().await;
        let version = request.version;
        let asked: ListOffsetsRequest = decode_whole(request.body, version).unwrap();
        let asked = &asked.topics[0].partitions[0];
        assert_eq!(asked.current_leader_epoch, EPOCH);
        timestamps.lock().unwrap().push(asked.timestamp);
        let partition = ListOffsetsPartitionResponse { partition_index: 0, offset, ..Default::default() };
        let topic =
            ListOffsetsTopicResponse { name: "t".to_owned(), partitions: vec![partition], ..Default::default() };
        let bounds = ListOffsetsResponse { topics: vec![topic], ..Default::default() };
        tell.send(bytes_of(&bounds, version)).unwrap();
    }
    assert_eq!(*timestamps.lock().unwrap(), [-2, -1], "its start, then its end");
    let (_, next, _) = stage.next_fetch().await;
    assert_eq!(asked(&next), [(0, 40, -1)]);
    assert_eq!(partition.log_end(), Some(40));
}

#[test]
fn what_comes_back_before_the_leader_was_told_is_not_forgotten() {
    let (partition, mut fetcher) = (follower(0), fetcher());
    fetcher.add(&partition);
    assert_eq!(fetcher.request(1, 0).unwrap().topics.len(), 1);
    fetcher.respond(&FetchResponse { session_id: 9, ..Default::default() }, 0).unwrap();
    fetcher.remove((partition.topic_id, partition.index));
    assert!(fetcher.request(1, 0).is_none(), "nothing is followed");
    partition.become_follower(LEADER, EPOCH + 1);
    fetcher.add(&partition);
    let again = fetcher.request(1, 0).unwrap();
    assert_eq!((again.topics.len(), again.forgotten_topics_data.len()), (1, 0), "{again:?}");
}
