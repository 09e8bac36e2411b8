//! A broker in a few lines, over streams in memory, and consumers that it serves.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rkafka_client_core::{ClientOptions, ClientSettings, Dial, DialOptions, HostPort};
use rkafka_net::{DialFuture, Stream as NetStream};
use rkafka_protocol::messages::api_versions_response::ApiVersion;
use rkafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use rkafka_protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use rkafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use rkafka_protocol::messages::offset_for_leader_epoch_response::{EpochEndOffset, OffsetForLeaderTopicResult};
use rkafka_protocol::messages::{
    ApiVersionsRequest, ApiVersionsResponse, FetchRequest, FetchResponse, ListOffsetsRequest, ListOffsetsResponse,
    MetadataRequest, MetadataResponse, RequestHeader, ResponseHeader, list_offsets_response,
};
use rkafka_protocol::messages::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};
use rkafka_protocol::records::{BatchBuilder, BatchOptions, Codec, Compression, Compressor, NO_HEADERS, encode_batch};
use rkafka_protocol::wire::{Message, Reader, Request, Writer};
use rkafka_protocol::{ApiKey, ErrorCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::Notify;

use super::super::*;
use super::coordinator::{Fate, Offsets};

/// What the fetch session has of each partition, and the end that was told of it.
pub(super) type Known = BTreeMap<i32, (FetchPartition, Option<i64>)>;

/// The id of the fetch session.
pub(super) const SESSION: i32 = 7;

/// One topic `t` whose partitions hold batches of two records.
#[derive(Debug, Default)]
pub(super) struct Broker {
    /// The number of records by partition.
    pub(super) ends: Mutex<Vec<i64>>,
    pub(super) appended: Notify,
    pub(super) fetches: std::sync::atomic::AtomicU64,
    /// The partition and base offset of a batch whose last byte is another.
    pub(super) corrupt: Mutex<Option<(i32, i64)>>,
    /// The leader epoch of every partition; -1 where there is no leader just now.
    pub(super) epoch: std::sync::atomic::AtomicI32,
    /// Takes requests and answers none.
    pub(super) mute: std::sync::atomic::AtomicBool,
    /// How large the requests for records were allowed to be answered: `min_bytes`, `max_wait_ms`, `max_bytes`, and of
    /// one partition.
    pub(super) asked: Mutex<(i32, i32, i32, i32)>,
    /// The isolation level and the rack of the last request for records.
    pub(super) asked_as: Mutex<(i8, String)>,
    /// The fetch session, where there is one: its next epoch, and what it has.
    pub(super) session: Mutex<Option<(i32, Known)>>,
    /// How many partitions the requests for records named.
    pub(super) named: std::sync::atomic::AtomicU64,
    /// Batches are compressed.
    pub(super) compresses: std::sync::atomic::AtomicBool,
    /// The topic's id; nil where the broker knows none.
    pub(super) topic_id: Mutex<uuid::Uuid>,
    /// What it keeps for a group.
    pub(super) group: Offsets,
    /// A replica of partition 0 in the consumer's rack, which the leader names as far as it has what is asked for.
    pub(super) follower: Mutex<Option<Follower>>,
    /// Which broker gave records from which offset on.
    pub(super) served: Mutex<Vec<(i32, i64)>>,
    /// How often the leader named the follower.
    pub(super) namings: std::sync::atomic::AtomicU64,
}

/// The id of the leader of everything, and that of the follower.
const LEADER: i32 = 1;
const FOLLOWER: i32 = 2;

/// A follower, with so many records.
#[derive(Debug, Clone, Copy)]
pub(super) struct Follower {
    pub(super) end: i64,
    /// It takes no connection, and has dropped those that it had.
    pub(super) is_gone: bool,
}

impl Broker {
    pub(super) fn with(ends: &[i64]) -> Arc<Self> {
        Arc::new(Self { ends: Mutex::new(ends.to_vec()), ..Self::default() })
    }

    pub(super) fn append(&self, partition: usize, records: i64) {
        self.ends.lock().unwrap()[partition] += records;
        self.appended.notify_waiters();
    }

    pub(super) fn ends(&self) -> Vec<i64> {
        self.ends.lock().unwrap().clone()
    }

    pub(super) fn follow(&self, end: i64, is_gone: bool) {
        *self.follower.lock().unwrap() = Some(Follower { end, is_gone });
        self.appended.notify_waiters();
    }

    fn is_gone(&self, node: i32) -> bool {
        node == FOLLOWER && self.follower.lock().unwrap().is_none_or(|follower| follower.is_gone)
    }

    pub(super) fn read(&self, node: i32, request: &FetchRequest) -> (FetchResponse, bool) {
        let follower = *self.follower.lock().unwrap();
        let (mut ends, mut any) = (self.ends(), false);
        if let (FOLLOWER, Some(follower)) = (node, follower) {
            ends[0] = follower.end;
        }
        let epoch = self.epoch.load(Ordering::SeqCst);
        let responses = request
            .topics
            .iter()
            .map(|topic| FetchableTopicResponse {
                topic: topic.topic.clone(),
                topic_id: topic.topic_id,
                partitions: topic
                    .partitions
                    .iter()
                    .map(|asked| {
                        let end = ends[asked.partition as usize];
                        if asked.current_leader_epoch >= 0 && asked.current_leader_epoch != epoch {
                            any = true;
                            let is_newer = asked.current_leader_epoch > epoch;
                            let code =
                                if is_newer { ErrorCode::UnknownLeaderEpoch } else { ErrorCode::FencedLeaderEpoch };
                            let partition_index = asked.partition;
                            return PartitionData {
                                partition_index,
                                error_code: code.code(),
                                ..PartitionData::default()
                            };
                        }
                        let has_it = |follower: Follower| !follower.is_gone && follower.end >= asked.fetch_offset;
                        if node == LEADER && !request.rack_id.is_empty() && follower.is_some_and(has_it) {
                            any = true;
                            self.namings.fetch_add(1, Ordering::SeqCst);
                            return PartitionData {
                                partition_index: asked.partition,
                                high_watermark: end,
                                preferred_read_replica: FOLLOWER,
                                ..PartitionData::default()
                            };
                        }
                        if node == FOLLOWER && asked.fetch_offset > end {
                            any = true;
                            return PartitionData {
                                partition_index: asked.partition,
                                error_code: ErrorCode::OffsetOutOfRange.code(),
                                ..PartitionData::default()
                            };
                        }
                        let base = asked.fetch_offset - asked.fetch_offset % 2;
                        let records = (asked.fetch_offset < end).then(|| {
                            any = true;
                            self.served.lock().unwrap().push((node, asked.fetch_offset));
                            let mut options = BatchOptions::default();
                            options.base_offset = base;
                            options.partition_leader_epoch = epoch;
                            let values = [format!("{base}"), format!("{}", base + 1)];
                            let records = values.iter().map(|value| (None, Some(value.as_bytes())));
                            let mut bytes = if self.compresses.load(Ordering::SeqCst) {
                                let mut builder = BatchBuilder::new(Vec::new(), options);
                                for (key, value) in records {
                                    builder.append(0, key, value, NO_HEADERS).unwrap();
                                }
                                let mut sealed =
                                    builder.seal(Codec::new(Compression::Gzip), &mut Compressor::new()).unwrap();
                                sealed.finish();
                                sealed.into_bytes()
                            } else {
                                encode_batch(Vec::new(), options, 0, records).unwrap().into_bytes()
                            };
                            if *self.corrupt.lock().unwrap() == Some((asked.partition, base)) {
                                *bytes.last_mut().unwrap() ^= 1;
                            }
                            bytes.into()
                        });
                        PartitionData {
                            partition_index: asked.partition,
                            high_watermark: end,
                            records,
                            ..PartitionData::default()
                        }
                    })
                    .collect(),
                ..FetchableTopicResponse::default()
            })
            .collect();
        (FetchResponse { responses, ..FetchResponse::default() }, any)
    }

    /// Puts in what the session has, and says whether the answer may leave out what is as it was.
    pub(super) fn enter(&self, request: &mut FetchRequest) -> Result<bool, ErrorCode> {
        let mut session = self.session.lock().unwrap();
        let named = request.topics.drain(..).flat_map(|topic| topic.partitions).collect::<Vec<_>>();
        self.named.fetch_add(named.len() as u64, Ordering::Relaxed);
        let mut partitions = match request.session_epoch {
            -1 => {
                request.topics = vec![FetchTopic { topic: "t".to_owned(), partitions: named, ..FetchTopic::default() }];
                return Ok(false);
            }
            0 => BTreeMap::new(),
            epoch => match session.take() {
                None => return Err(ErrorCode::FetchSessionIdNotFound),
                Some((next, _)) if next != epoch => return Err(ErrorCode::InvalidFetchSessionEpoch),
                Some((_, partitions)) => partitions,
            },
        };
        for one in named {
            let told = partitions.get(&one.partition).and_then(|(_, told)| *told);
            partitions.insert(one.partition, (one, told));
        }
        for forgotten in request.forgotten_topics_data.iter().flat_map(|topic| &topic.partitions) {
            partitions.remove(forgotten);
        }
        let all = partitions.values().map(|(one, _)| one.clone()).collect();
        request.topics = vec![FetchTopic { topic: "t".to_owned(), partitions: all, ..FetchTopic::default() }];
        *session = Some((request.session_epoch + 1, partitions));
        Ok(request.session_epoch > 0)
    }

    /// Leaves out what is as it was told before, and remembers what is told now.
    pub(super) fn leave(&self, response: &mut FetchResponse, is_incremental: bool) {
        let mut session = self.session.lock().unwrap();
        let Some((_, partitions)) = &mut *session else { return };
        response.session_id = SESSION;
        for topic in &mut response.responses {
            topic.partitions.retain(|one| {
                let Some((_, told)) = partitions.get_mut(&one.partition_index) else { return true };
                let now = (one.error_code == 0).then_some(one.high_watermark);
                let is_news = !is_incremental
                    || one.records.is_some()
                    || one.preferred_read_replica >= 0
                    || now.is_none()
                    || *told != now;
                *told = now;
                is_news
            });
        }
    }

    pub(super) async fn serve(self: Arc<Self>, node: i32, mut stream: DuplexStream) {
        while let Ok(length) = stream.read_u32().await {
            let mut frame = vec![0; length as usize];
            if stream.read_exact(&mut frame).await.is_err() {
                return;
            }
            let (key, version) = (i16::from_be_bytes([frame[0], frame[1]]), i16::from_be_bytes([frame[2], frame[3]]));
            let mut reader = Reader::new(frame.into());
            if self.is_gone(node) {
                return;
            }
            if self.mute.load(Ordering::SeqCst) {
                continue;
            }
            let answer = match key {
                key if key == ApiKey::OffsetForLeaderEpoch as i16 => {
                    let header = read_header::<OffsetForLeaderEpochRequest>(&mut reader, version);
                    let request = OffsetForLeaderEpochRequest::decode(&mut reader, version).unwrap();
                    let mut response = OffsetForLeaderEpochResponse::default();
                    for topic in request.topics {
                        let partitions = topic.partitions.iter().map(|asked| EpochEndOffset {
                            partition: asked.partition,
                            leader_epoch: asked.leader_epoch,
                            end_offset: self.ends()[asked.partition as usize],
                            ..EpochEndOffset::default()
                        });
                        response.topics.push(OffsetForLeaderTopicResult {
                            topic: topic.topic,
                            partitions: partitions.collect(),
                            ..OffsetForLeaderTopicResult::default()
                        });
                    }
                    write::<OffsetForLeaderEpochRequest>(&header, &response, version)
                }
                key if key == ApiKey::FindCoordinator as i16 => super::coordinator::found(&mut reader, version),
                key if key == ApiKey::OffsetCommit as i16 => {
                    let refused = match self.group.fate(clock::now()) {
                        Some(Fate::Dropped) => return,
                        Some(Fate::Ignored) => continue,
                        Some(Fate::Refused(code)) => Some(code),
                        Some(Fate::Late(by, refused)) => {
                            clock::sleep(by).await;
                            refused
                        }
                        None => None,
                    };
                    self.group.commit(&mut reader, version, refused)
                }
                key if key == ApiKey::JoinGroup as i16 => self.group.join(&mut reader, version),
                key if key == ApiKey::SyncGroup as i16 && self.group.never_syncs.load(Ordering::SeqCst) => continue,
                key if key == ApiKey::SyncGroup as i16 => Offsets::sync(&mut reader, version),
                key if key == ApiKey::Heartbeat as i16 => self.group.beat(&mut reader, version),
                key if key == ApiKey::LeaveGroup as i16 => self.group.leave(&mut reader, version),
                key if key == ApiKey::OffsetFetch as i16 => self.group.fetch(&mut reader, version),
                key if key == ApiKey::ApiVersions as i16 => {
                    let header = read_header::<ApiVersionsRequest>(&mut reader, version);
                    let api = |key: ApiKey, max_version| {
                        let mut one = ApiVersion::default();
                        (one.api_key, one.min_version, one.max_version) = (key as i16, 0, max_version);
                        one
                    };
                    let has_ids = !self.topic_id.lock().unwrap().is_nil();
                    let offsets = self.group.version.load(Ordering::SeqCst);
                    let mut api_keys = vec![
                        api(ApiKey::ApiVersions, 3),
                        api(ApiKey::Metadata, if has_ids { 12 } else { 9 }),
                        api(ApiKey::Fetch, 12),
                        api(ApiKey::ListOffsets, 5),
                        api(ApiKey::OffsetForLeaderEpoch, 4),
                    ];
                    if offsets > 0 {
                        let keys = [
                            (ApiKey::FindCoordinator, 3),
                            (ApiKey::OffsetCommit, offsets),
                            (ApiKey::OffsetFetch, offsets),
                            (ApiKey::JoinGroup, 5),
                            (ApiKey::SyncGroup, 3),
                            (ApiKey::Heartbeat, 3),
                            (ApiKey::LeaveGroup, 3),
                        ];
                        api_keys.extend(keys.map(|(key, version)| api(key, version)));
                    }
                    let mut response = ApiVersionsResponse { api_keys, ..ApiVersionsResponse::default() };
                    if version > 3 {
                        response.error_code = ErrorCode::UnsupportedVersion.code();
                        write::<ApiVersionsRequest>(&header, &response, 0)
                    } else {
                        write::<ApiVersionsRequest>(&header, &response, version)
                    }
                }
                key if key == ApiKey::Metadata as i16 => {
                    let header = read_header::<MetadataRequest>(&mut reader, version);
                    let epoch = self.epoch.load(Ordering::SeqCst);
                    let request = MetadataRequest::decode(&mut reader, version).unwrap();
                    let mut broker = MetadataResponseBroker::default();
                    (broker.node_id, broker.host, broker.port) = (1, "broker".to_owned(), 9092);
                    let mut brokers = vec![broker];
                    if self.follower.lock().unwrap().is_some() {
                        let (host, rack) = ("broker".to_owned(), Some("here".to_owned()));
                        let mut follower = MetadataResponseBroker::default();
                        (follower.node_id, follower.port) = (FOLLOWER, 9093);
                        (follower.host, follower.rack) = (host, rack);
                        brokers.push(follower);
                    }
                    let mut response = MetadataResponse { brokers, ..MetadataResponse::default() };
                    for asked in request.topics.unwrap_or_default() {
                        let mut topic = MetadataResponseTopic { name: asked.name, ..MetadataResponseTopic::default() };
                        if topic.name.as_deref() == Some("t") {
                            topic.topic_id = *self.topic_id.lock().unwrap();
                            topic.partitions = (0..self.ends().len() as i32)
                                .map(|partition_index| MetadataResponsePartition {
                                    partition_index,
                                    leader_id: if epoch < 0 { -1 } else { 1 },
                                    leader_epoch: epoch,
                                    ..MetadataResponsePartition::default()
                                })
                                .collect();
                        } else {
                            topic.error_code = ErrorCode::UnknownTopicOrPartition.code();
                        }
                        response.topics.push(topic);
                    }
                    write::<MetadataRequest>(&header, &response, version)
                }
                key if key == ApiKey::ListOffsets as i16 => {
                    let header = read_header::<ListOffsetsRequest>(&mut reader, version);
                    let request = ListOffsetsRequest::decode(&mut reader, version).unwrap();
                    let mut response = ListOffsetsResponse::default();
                    for topic in request.topics {
                        let partitions = topic.partitions.iter().map(|asked| {
                            let end = self.ends()[asked.partition_index as usize];
                            list_offsets_response::ListOffsetsPartitionResponse {
                                partition_index: asked.partition_index,
                                offset: if asked.timestamp == -1 { end } else { 0 },
                                ..list_offsets_response::ListOffsetsPartitionResponse::default()
                            }
                        });
                        let answer = list_offsets_response::ListOffsetsTopicResponse {
                            name: topic.name,
                            partitions: partitions.collect(),
                            ..list_offsets_response::ListOffsetsTopicResponse::default()
                        };
                        response.topics.push(answer);
                    }
                    write::<ListOffsetsRequest>(&header, &response, version)
                }
                _ => {
                    let header = read_header::<FetchRequest>(&mut reader, version);
                    let mut request = FetchRequest::decode(&mut reader, version).unwrap();
                    self.fetches.fetch_add(1, Ordering::Relaxed);
                    let of_one = request.topics.first().and_then(|topic| topic.partitions.first());
                    *self.asked.lock().unwrap() = (
                        request.min_bytes,
                        request.max_wait_ms,
                        request.max_bytes,
                        of_one.map_or(0, |partition| partition.partition_max_bytes),
                    );
                    *self.asked_as.lock().unwrap() = (request.isolation_level, request.rack_id.clone());
                    let deadline = clock::now() + Duration::from_millis(request.max_wait_ms as u64);
                    // The follower keeps no sessions, as a broker that has too many.
                    let has_session = request.session_epoch >= 0 && node == LEADER;
                    let entered = if node == LEADER { self.enter(&mut request) } else { Ok(false) };
                    let mut response = loop {
                        if let Err(code) = entered {
                            break FetchResponse { error_code: code.code(), ..FetchResponse::default() };
                        }
                        let mut appended = std::pin::pin!(self.appended.notified());
                        appended.as_mut().enable();
                        let (response, any) = self.read(node, &request);
                        if self.is_gone(node) {
                            return;
                        }
                        if any || clock::now() >= deadline {
                            break response;
                        }
                        tokio::select! {
                            () = appended => {}
                            () = clock::sleep_until(Some(deadline)) => {}
                        }
                    };
                    if let (true, Ok(is_incremental)) = (has_session, entered) {
                        self.leave(&mut response, is_incremental);
                    }
                    write::<FetchRequest>(&header, &response, version)
                }
            };
            if stream.write_all(&answer).await.is_err() {
                return;
            }
        }
    }
}

pub(super) fn read_header<R: Request>(reader: &mut Reader, version: i16) -> RequestHeader {
    RequestHeader::decode(reader, R::header_version(version)).unwrap()
}

pub(super) fn write<R: Request>(header: &RequestHeader, response: &R::Response, version: i16) -> Vec<u8> {
    let mut writer = Writer::new();
    let answer = ResponseHeader { correlation_id: header.correlation_id, ..ResponseHeader::default() };
    answer.encode(&mut writer, R::response_header_version(version)).unwrap();
    response.encode(&mut writer, version).unwrap();
    let body = writer.into_vec();
    [&(body.len() as u32).to_be_bytes()[..], &body].concat()
}

#[derive(Debug)]
pub(super) struct InMemory(pub(super) Arc<Broker>);

impl Dial for InMemory {
    fn dial<'a>(&'a self, address: &'a HostPort, _options: &'a DialOptions) -> DialFuture<'a> {
        let (near, far) = tokio::io::duplex(1 << 20);
        let node = if address.port == 9093 { FOLLOWER } else { LEADER };
        drop(clock::spawn(Arc::clone(&self.0).serve(node, far)));
        Box::pin(async move { Ok(NetStream::boxed(near)) })
    }
}

pub(super) async fn consumer(broker: &Arc<Broker>) -> Consumer {
    consumer_with(broker, ConsumerConfig::new()).await
}

pub(super) async fn consumer_with(broker: &Arc<Broker>, config: ConsumerConfig) -> Consumer {
    let config = config.bootstrap_servers("broker:9092");
    let options = ClientOptions::default().dialer(Arc::new(InMemory(Arc::clone(broker))));
    Consumer::connect_with(config, options).await.unwrap()
}

pub(super) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("it must not hang")
}

pub(super) fn text(record: &ConsumerRecord) -> String {
    String::from_utf8(record.value().unwrap().to_vec()).unwrap()
}
