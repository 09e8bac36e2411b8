//! The whole consumer against a broker in a few lines, over streams in memory: what a dropped future must not lose.

use std::collections::BTreeMap;
use std::sync::Mutex;
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

use super::*;

/// What the fetch session has of each partition, and the end that was told of it.
type Known = BTreeMap<i32, (FetchPartition, Option<i64>)>;

/// The id of the fetch session.
const SESSION: i32 = 7;

/// One topic `t` whose partitions hold batches of two records.
#[derive(Debug, Default)]
struct Broker {
    /// The number of records by partition.
    ends: Mutex<Vec<i64>>,
    appended: Notify,
    fetches: std::sync::atomic::AtomicU64,
    /// The partition and base offset of a batch whose last byte is another.
    corrupt: Mutex<Option<(i32, i64)>>,
    /// The leader epoch of every partition; -1 where there is no leader just now.
    epoch: std::sync::atomic::AtomicI32,
    /// Takes requests and answers none.
    mute: std::sync::atomic::AtomicBool,
    /// How large the requests for records were allowed to be answered: `min_bytes`, `max_wait_ms`, `max_bytes`, and of
    /// one partition.
    asked: Mutex<(i32, i32, i32, i32)>,
    /// The isolation level and the rack of the last request for records.
    asked_as: Mutex<(i8, String)>,
    /// The fetch session, where there is one: its next epoch, and what it has.
    session: Mutex<Option<(i32, Known)>>,
    /// How many partitions the requests for records named.
    named: std::sync::atomic::AtomicU64,
    /// Batches are compressed.
    compresses: std::sync::atomic::AtomicBool,
}

impl Broker {
    fn with(ends: &[i64]) -> Arc<Self> {
        Arc::new(Self { ends: Mutex::new(ends.to_vec()), ..Self::default() })
    }

    fn append(&self, partition: usize, records: i64) {
        self.ends.lock().unwrap()[partition] += records;
        self.appended.notify_waiters();
    }

    fn ends(&self) -> Vec<i64> {
        self.ends.lock().unwrap().clone()
    }

    fn read(&self, request: &FetchRequest) -> (FetchResponse, bool) {
        let (ends, mut any) = (self.ends(), false);
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
                        let base = asked.fetch_offset - asked.fetch_offset % 2;
                        let records = (asked.fetch_offset < end).then(|| {
                            any = true;
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
    fn enter(&self, request: &mut FetchRequest) -> Result<bool, ErrorCode> {
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
    fn leave(&self, response: &mut FetchResponse, is_incremental: bool) {
        let mut session = self.session.lock().unwrap();
        let Some((_, partitions)) = &mut *session else { return };
        response.session_id = SESSION;
        for topic in &mut response.responses {
            topic.partitions.retain(|one| {
                let Some((_, told)) = partitions.get_mut(&one.partition_index) else { return true };
                let now = (one.error_code == 0).then_some(one.high_watermark);
                let is_news = !is_incremental || one.records.is_some() || now.is_none() || *told != now;
                *told = now;
                is_news
            });
        }
    }

    async fn serve(self: Arc<Self>, mut stream: DuplexStream) {
        while let Ok(length) = stream.read_u32().await {
            let mut frame = vec![0; length as usize];
            if stream.read_exact(&mut frame).await.is_err() {
                return;
            }
            let (key, version) = (i16::from_be_bytes([frame[0], frame[1]]), i16::from_be_bytes([frame[2], frame[3]]));
            let mut reader = Reader::new(frame.into());
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
                key if key == ApiKey::ApiVersions as i16 => {
                    let header = read_header::<ApiVersionsRequest>(&mut reader, version);
                    let api = |key: ApiKey, max_version| {
                        let mut one = ApiVersion::default();
                        (one.api_key, one.min_version, one.max_version) = (key as i16, 0, max_version);
                        one
                    };
                    let api_keys = vec![
                        api(ApiKey::ApiVersions, 3),
                        api(ApiKey::Metadata, 9),
                        api(ApiKey::Fetch, 12),
                        api(ApiKey::ListOffsets, 5),
                        api(ApiKey::OffsetForLeaderEpoch, 4),
                    ];
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
                    let mut response = MetadataResponse { brokers: vec![broker], ..MetadataResponse::default() };
                    for asked in request.topics.unwrap_or_default() {
                        let mut topic = MetadataResponseTopic { name: asked.name, ..MetadataResponseTopic::default() };
                        if topic.name.as_deref() == Some("t") {
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
                    let has_session = request.session_epoch >= 0;
                    let entered = self.enter(&mut request);
                    let mut response = loop {
                        if let Err(code) = entered {
                            break FetchResponse { error_code: code.code(), ..FetchResponse::default() };
                        }
                        let mut appended = std::pin::pin!(self.appended.notified());
                        appended.as_mut().enable();
                        let (response, any) = self.read(&request);
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

fn read_header<R: Request>(reader: &mut Reader, version: i16) -> RequestHeader {
    RequestHeader::decode(reader, R::header_version(version)).unwrap()
}

fn write<R: Request>(header: &RequestHeader, response: &R::Response, version: i16) -> Vec<u8> {
    let mut writer = Writer::new();
    let answer = ResponseHeader { correlation_id: header.correlation_id, ..ResponseHeader::default() };
    answer.encode(&mut writer, R::response_header_version(version)).unwrap();
    response.encode(&mut writer, version).unwrap();
    let body = writer.into_vec();
    [&(body.len() as u32).to_be_bytes()[..], &body].concat()
}

#[derive(Debug)]
struct InMemory(Arc<Broker>);

impl Dial for InMemory {
    fn dial<'a>(&'a self, _address: &'a HostPort, _options: &'a DialOptions) -> DialFuture<'a> {
        let (near, far) = tokio::io::duplex(1 << 20);
        drop(clock::spawn(Arc::clone(&self.0).serve(far)));
        Box::pin(async move { Ok(NetStream::boxed(near)) })
    }
}

async fn consumer(broker: &Arc<Broker>) -> Consumer {
    consumer_with(broker, ConsumerConfig::new()).await
}

async fn consumer_with(broker: &Arc<Broker>, config: ConsumerConfig) -> Consumer {
    let config = config.bootstrap_servers("broker:9092");
    let options = ClientOptions::default().dialer(Arc::new(InMemory(Arc::clone(broker))));
    Consumer::connect_with(config, options).await.unwrap()
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("it must not hang")
}

fn text(record: &ConsumerRecord) -> String {
    String::from_utf8(record.value().unwrap().to_vec()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_dropped_future_loses_nothing_and_doubles_nothing() {
    let broker = Broker::with(&[0]);
    let mut consumer = consumer(&broker).await;
    consumer.assign([("t", 0, Start::Beginning)]).unwrap();
    let mut seen = Vec::new();
    for round in 0..200 {
        if round % 3 == 0 {
            broker.append(0, 2);
        }
        // Polled so many times, then dropped: at every point where the future can be dropped.
        let mut polls = round % 7;
        tokio::select! {
            biased;
            record = consumer.recv() => seen.push(text(&record.unwrap())),
            () = std::future::poll_fn(|context| {
                if polls == 0 { return Poll::Ready(()); }
                polls -= 1;
                context.waker().wake_by_ref();
                Poll::Pending
            }) => {}
        }
    }
    while let Some(record) = within(consumer.recv_until_end()).await.unwrap() {
        seen.push(text(&record));
    }
    assert_eq!(seen, (0..134).map(|offset| offset.to_string()).collect::<Vec<_>>());
    consumer.close().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn faces_may_be_mixed() {
    let broker = Broker::with(&[6]);
    let mut consumer = consumer(&broker).await;
    consumer.assign([("t", 0, Start::Offset(1))]).unwrap();
    assert_eq!(within(consumer.recv()).await.unwrap().offset(), 1);
    assert_eq!(within(consumer.recv()).await.unwrap().offset(), 2);
    let batch = within(consumer.next_batch()).await.unwrap();
    assert_eq!(batch.records().map(|record| record.unwrap().offset).collect::<Vec<_>>(), [3]);
    assert_eq!(consumer.position("t", 0).unwrap(), Some(4));
    let mut records = Vec::new();
    assert_eq!(within(consumer.recv_many(&mut records)).await.unwrap(), 2);
    assert!(within(consumer.next_batch_until_end()).await.unwrap().is_none());
    assert_eq!(consumer.lag("t", 0), Some(0));
}

#[tokio::test(start_paused = true)]
async fn the_end_is_told_at_once_also_of_an_empty_partition() {
    let broker = Broker::with(&[2, 0]);
    let mut consumer = consumer(&broker).await;
    let begun = clock::now();
    consumer.assign([("t", 0, Start::Beginning), ("t", 1, Start::Beginning)]).unwrap();
    assert!(within(consumer.next_batch_until_end()).await.unwrap().is_some());
    assert!(within(consumer.next_batch_until_end()).await.unwrap().is_none());
    assert!(clock::now() - begun < Duration::from_millis(100), "without waiting for a long poll");
}

#[tokio::test(start_paused = true)]
async fn a_seek_does_not_wait_behind_the_long_poll_of_others() {
    let broker = Broker::with(&[4, 0]);
    let mut consumer = consumer(&broker).await;
    consumer.assign([("t", 0, Start::End), ("t", 1, Start::End)]).unwrap();
    assert!(within(consumer.next_batch_until_end()).await.unwrap().is_none());
    clock::sleep(Duration::from_millis(5)).await;
    let begun = clock::now();
    consumer.seek("t", 0, Start::Offset(2)).unwrap();
    assert_eq!(within(consumer.recv()).await.unwrap().offset(), 2);
    assert!(clock::now() - begun < Duration::from_millis(100));
}

#[tokio::test(start_paused = true)]
async fn a_paused_partition_stops_no_other_and_goes_on_where_it_was() {
    let broker = Broker::with(&[4, 4]);
    let mut consumer = consumer(&broker).await;
    consumer.assign([("t", 0, Start::Beginning), ("t", 1, Start::Beginning)]).unwrap();
    let first = within(consumer.recv()).await.unwrap();
    let paused = TopicPartition::new(first.topic(), first.partition());
    consumer.pause([&paused]).unwrap();
    for offset in 0..4 {
        let record = within(consumer.recv()).await.unwrap();
        assert_eq!((record.partition(), record.offset()), (1 - first.partition(), offset));
    }
    assert!(within(consumer.recv_until_end()).await.unwrap().is_none());
    consumer.resume([&paused]).unwrap();
    for offset in 1..4 {
        let record = within(consumer.recv()).await.unwrap();
        assert_eq!((record.partition(), record.offset()), (first.partition(), offset));
    }
}

#[tokio::test(start_paused = true)]
async fn offsets_are_answered_and_unknown_topics_told() {
    let broker = Broker::with(&[4]);
    let mut consumer = consumer(&broker).await;
    let place = TopicPartition::new("t", 0);
    let ends = within(consumer.end_offsets(std::slice::from_ref(&place))).await.unwrap();
    assert_eq!(ends, [(place.clone(), 4)]);
    let error = within(consumer.max_timestamp_offsets(std::slice::from_ref(&place))).await.unwrap_err().to_string();
    assert!(error.contains("ListOffsets 7, and it knows 5"), "a broker that is too old: {error}");
    assert!(matches!(consumer.commit().await, Err(ConsumerError::NoGroup { .. })));
    assert!(matches!(consumer.seek("t", 0, Start::End), Err(ConsumerError::NotAssigned { .. })));
    consumer.assign([("nowhere", 0, Start::Beginning)]).unwrap();
    let error = within(consumer.recv()).await.unwrap_err();
    assert!(matches!(&error, ConsumerError::UnknownTopicOrPartition { .. }), "{error}");
    let handle = consumer.handle();
    consumer.close().await.unwrap();
    assert!(matches!(handle.seek("t", 0, Start::End), Err(ConsumerError::Closed)));
}

#[tokio::test(start_paused = true)]
async fn an_application_that_never_waits_lets_its_tasks_run() {
    let broker = Broker::with(&[100_000]);
    let mut consumer = consumer(&broker).await;
    consumer.assign([("t", 0, Start::Beginning)]).unwrap();
    for offset in 0..2_000 {
        assert_eq!(within(consumer.recv()).await.unwrap().offset(), offset);
    }
}

/// Polls `future` so many times at most, then drops it.
async fn polled<T>(mut polls: u32, future: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        result = future => Some(result),
        () = std::future::poll_fn(|context| {
            if polls == 0 { return Poll::Ready(()); }
            polls -= 1;
            context.waker().wake_by_ref();
            Poll::Pending
        }) => None,
    }
}

#[tokio::test(start_paused = true)]
async fn dropped_futures_of_every_face_lose_nothing() {
    use std::future::poll_fn;
    let broker = Broker::with(&[0]);
    let mut consumer = consumer(&broker).await;
    consumer.assign([("t", 0, Start::Beginning)]).unwrap();
    let mut seen = Vec::new();
    for round in 0..400_u32 {
        if round % 3 == 0 {
            broker.append(0, 2);
        }
        let polls = round % 7;
        match round % 8 {
            0 => {
                if let Some(batch) = polled(polls, consumer.next_batch()).await {
                    seen.extend(batch.unwrap().records().map(|record| record.unwrap().offset));
                }
            }
            1 => {
                if let Some(Some(batch)) = polled(polls, consumer.next_batch_until_end()).await.map(Result::unwrap) {
                    seen.extend(batch.records().map(|record| record.unwrap().offset));
                }
            }
            2 => {
                let mut records = Vec::new();
                // What was handed out before the drop is in the caller's list.
                let _ = polled(polls, consumer.recv_many(&mut records)).await;
                seen.extend(records.iter().map(ConsumerRecord::offset));
            }
            3 => {
                let next = poll_fn(|context| Pin::new(&mut consumer).poll_next(context));
                if let Some(Some(record)) = polled(polls, next).await {
                    seen.push(record.unwrap().offset());
                }
            }
            4 => {
                let mut batches = consumer.batches();
                let next = poll_fn(|context| Pin::new(&mut batches).poll_next(context));
                if let Some(Some(batch)) = polled(polls, next).await {
                    seen.extend(batch.unwrap().records().map(|record| record.unwrap().offset));
                }
            }
            5 => {
                seen.extend(consumer.try_recv().unwrap().map(|record| record.offset()));
                if let Some(batch) = consumer.try_next_batch().unwrap() {
                    seen.extend(batch.records().map(|record| record.unwrap().offset));
                }
            }
            6 => {
                if let Some(Some(record)) = polled(polls, consumer.recv_until_end()).await.map(Result::unwrap) {
                    seen.push(record.offset());
                }
            }
            _ => {
                if let Some(record) = polled(polls, consumer.recv()).await {
                    seen.push(record.unwrap().offset());
                }
            }
        }
    }
    // The end is that of the last fetch.
    clock::sleep(Duration::from_secs(1)).await;
    while let Some(record) = within(consumer.recv_until_end()).await.unwrap() {
        seen.push(record.offset());
    }
    assert_eq!(seen, (0..268).collect::<Vec<_>>());
    let handle = consumer.handle();
    assert!(polled(0, consumer.close()).await.is_none(), "dropped in the middle");
    within(async {
        while !matches!(handle.seek("t", 0, Start::End), Err(ConsumerError::Closed)) {
            clock::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_partition_of_the_second_connection_is_not_left_there() {
    let broker = Broker::with(&[4, 4]);
    let mut consumer = consumer(&broker).await;
    consumer.assign([("t", 0, Start::End), ("t", 1, Start::End)]).unwrap();
    assert!(within(consumer.next_batch_until_end()).await.unwrap().is_none());
    clock::sleep(Duration::from_millis(5)).await;
    // Partition 1 goes over the second connection, for the first waits with partition 0, which is then paused.
    consumer.seek("t", 1, Start::Offset(2)).unwrap();
    assert_eq!(within(consumer.recv()).await.unwrap().offset(), 2);
    assert_eq!(within(consumer.recv()).await.unwrap().offset(), 3);
    let zero = TopicPartition::new("t", 0);
    consumer.pause([&zero]).unwrap();
    let _ = tokio::time::timeout(Duration::from_secs(5), consumer.recv()).await;
    broker.append(1, 2);
    let record = tokio::time::timeout(Duration::from_secs(5), consumer.recv()).await.expect("it is fetched").unwrap();
    assert_eq!((record.partition(), record.offset()), (1, 4));
}

#[tokio::test(start_paused = true)]
async fn damage_in_one_partition_stops_no_other() {
    let broker = Broker::with(&[20, 0]);
    let one = encode_batch(Vec::new(), BatchOptions::default(), 0, [(None, Some(&b"0"[..])), (None, Some(&b"1"[..]))]);
    let size = one.unwrap().into_bytes().len();
    for budget in 1..16 {
        *broker.corrupt.lock().unwrap() = Some((0, 2));
        let config = ConsumerConfig::new().queued_max_bytes(size * budget / 2 + 1);
        let mut consumer = consumer_with(&broker, config).await;
        consumer.assign([("t", 0, Start::Beginning), ("t", 1, Start::End)]).unwrap();
        clock::sleep(Duration::from_secs(2)).await;
        assert_eq!(within(consumer.recv()).await.unwrap().offset(), 0);
        assert_eq!(within(consumer.recv()).await.unwrap().offset(), 1);
        let error = within(consumer.recv()).await.unwrap_err();
        assert!(matches!(error, ConsumerError::Partition { .. }), "{error}");
        clock::sleep(Duration::from_secs(2)).await;
        broker.append(1, 2);
        let next = tokio::time::timeout(Duration::from_secs(10), consumer.recv()).await;
        assert_eq!(next.expect("the other goes on").unwrap().partition(), 1, "budget {budget}");
        consumer.close().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn partitions_are_told_and_an_assignment_can_be_given_up() {
    let broker = Broker::with(&[4, 0, 2]);
    let mut consumer = consumer(&broker).await;
    let partitions = within(consumer.partitions_for("t")).await.unwrap();
    assert_eq!(partitions.iter().map(|place| place.partition).collect::<Vec<_>>(), [0, 1, 2]);
    consumer.assign([("t", 0, Start::Beginning)]).unwrap();
    assert_eq!(within(consumer.recv()).await.unwrap().offset(), 0);
    within(consumer.unsubscribe()).await.unwrap();
    assert!(consumer.assignment().is_empty());
    consumer.assign([("t", 2, Start::Beginning)]).unwrap();
    let record = within(consumer.recv()).await.unwrap();
    assert_eq!((record.partition(), record.offset()), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn a_commit_of_an_older_generation_is_not_made_in_a_newer_one() {
    let broker = Broker::with(&[4]);
    let consumer = consumer_with(&broker, ConsumerConfig::new().group_id("g").enable_auto_commit(false)).await;
    {
        let mut state = consumer.shared.lock();
        state.mode = Mode::Group(Subscription::to(["t"]));
        state.identity = Some((1, "m".to_owned()));
    }
    let place = TopicPartition::new("t", 0);
    let commit = consumer.commit_offsets([(place, crate::CommittedOffset::new(2))]);
    let mut commit = std::pin::pin!(commit);
    assert!(std::future::poll_fn(|context| Poll::Ready(commit.as_mut().poll(context).is_pending())).await);
    // It was ordered; before it is sent the group goes on, and the partition may be another's.
    consumer.shared.lock().identity = Some((2, "m".to_owned()));
    let error = within(commit).await.unwrap_err();
    let outdated = ErrorCode::IllegalGeneration;
    assert!(matches!(error, ConsumerError::CommitOutdated { code } if code == outdated), "{error}");
}

#[tokio::test(start_paused = true)]
async fn what_is_given_twice_after_a_pause_is_counted_once_and_lag_is_as_of_now() {
    let broker = Broker::with(&[8]);
    let mut consumer = consumer(&broker).await;
    consumer.assign([("t", 0, Start::Offset(1))]).unwrap();
    let place = TopicPartition::new("t", 0);
    let value = |handle: &ConsumerHandle, name| handle.metrics().value(name, "consumer-fetch-manager-metrics").unwrap();
    let handle = consumer.handle();
    assert_eq!(within(consumer.recv()).await.unwrap().offset(), 1);
    let record = within(consumer.recv()).await.unwrap();
    assert_eq!((record.offset(), value(&handle, "records-consumed-total")), (2, 1.0), "the first answer is used up");
    // The batch of 2 and 3 is put back in its middle, and given on later.
    consumer.pause([&place]).unwrap();
    assert!(within(consumer.recv_until_end()).await.unwrap().is_none());
    consumer.resume([&place]).unwrap();
    assert_eq!(value(&handle, "records-lag"), 5.0);
    while within(consumer.recv_until_end()).await.unwrap().is_some() {}
    assert_eq!(value(&handle, "records-consumed-total"), 7.0);
    assert_eq!((value(&handle, "records-lag-max"), value(&handle, "records-lag")), (6.0, 0.0));
    assert_eq!(value(&handle, "records-per-request-avg"), 7.0 / 4.0);
}

#[path = "known_sicknesses_tests.rs"]
mod known_sicknesses;

#[tokio::test(start_paused = true)]
async fn a_truncated_log_is_told_of_before_anything_more_is_read() {
    let broker = Broker::with(&[8]);
    let config = ConsumerConfig::new().auto_offset_reset(crate::OffsetReset::None);
    let mut consumer = consumer_with(&broker, config).await;
    consumer.assign([("t", 0, Start::Beginning)]).unwrap();
    while within(consumer.recv_until_end()).await.unwrap().is_some() {}
    *broker.ends.lock().unwrap() = vec![4];
    broker.epoch.store(1, Ordering::SeqCst);
    broker.append(0, 2);
    match within(consumer.recv()).await.unwrap_err() {
        ConsumerError::Partition { source, .. } => assert_eq!(
            source,
            PartitionError::LogTruncated { offset: 8, diverging_offset: Some(6), diverging_epoch: Some(0) }
        ),
        other => panic!("{other}"),
    }
    consumer.seek("t", 0, Start::Offset(6)).unwrap();
    broker.append(0, 2);
    assert_eq!(within(consumer.recv()).await.unwrap().offset(), 6);
}

// Shows: check.crcs.
#[tokio::test(start_paused = true)]
async fn a_damaged_batch_is_named_and_can_be_passed_by_a_seek_or_read_unchecked() {
    let broker = Broker::with(&[6]);
    *broker.corrupt.lock().unwrap() = Some((0, 2));
    let mut consumer = consumer(&broker).await;
    consumer.assign([("t", 0, Start::Beginning)]).unwrap();
    assert_eq!(within(consumer.recv()).await.unwrap().offset(), 0);
    assert_eq!(within(consumer.recv()).await.unwrap().offset(), 1);
    match within(consumer.recv()).await.unwrap_err() {
        ConsumerError::Partition { partition, source: PartitionError::Corrupt { offset: 2, .. } } => {
            assert_eq!(partition, TopicPartition::new("t", 0));
        }
        other => panic!("{other}"),
    }
    consumer.seek("t", 0, Start::Offset(4)).unwrap();
    assert_eq!(within(consumer.recv()).await.unwrap().offset(), 4);
    let mut trusting = consumer_with(&broker, ConsumerConfig::new().check_crcs(false)).await;
    trusting.assign([("t", 0, Start::Offset(2))]).unwrap();
    assert_eq!(within(trusting.recv()).await.unwrap().offset(), 2, "check.crcs=false looks at nothing");
}

// Shows: fetch.min.bytes, fetch.max.wait.ms, fetch.max.bytes, max.partition.fetch.bytes, max.poll.records, client.rack.
#[tokio::test(start_paused = true)]
async fn what_the_settings_of_fetching_say_is_what_brokers_are_asked() {
    let broker = Broker::with(&[6]);
    let config = ConsumerConfig::new()
        .isolation_level(IsolationLevel::ReadCommitted)
        .client_rack("rack-7".to_owned())
        .fetch_min_bytes(7)
        .fetch_max_wait(Duration::from_millis(321))
        .fetch_max_bytes(12_345_usize)
        .max_partition_fetch_bytes(1_234_usize)
        .max_poll_records(2_usize);
    let mut consumer = consumer_with(&broker, config).await;
    consumer.assign([("t", 0, Start::Beginning)]).unwrap();
    let mut records = Vec::new();
    assert_eq!(within(consumer.recv_many(&mut records)).await.unwrap(), 2);
    assert_eq!(within(consumer.recv_many(&mut records)).await.unwrap(), 2);
    while within(consumer.recv_until_end()).await.unwrap().is_some() {}
    clock::sleep(Duration::from_millis(5)).await;
    assert_eq!(*broker.asked.lock().unwrap(), (7, 321, 12_345, 1_234));
    assert_eq!(*broker.asked_as.lock().unwrap(), (1, "rack-7".to_owned()));
}

// Shows: max.decompressed.batch.bytes.
#[tokio::test(start_paused = true)]
async fn a_batch_that_unpacks_to_more_than_allowed_is_not_unpacked() {
    let broker = Broker::with(&[2]);
    broker.compresses.store(true, Ordering::SeqCst);
    for (limit, expected) in [(1_000_usize, Ok("0")), (10, Err(0))] {
        let mut consumer = consumer_with(&broker, ConsumerConfig::new().max_decompressed_batch_bytes(limit)).await;
        consumer.assign([("t", 0, Start::Beginning)]).unwrap();
        match (within(consumer.recv()).await, expected) {
            (Ok(record), Ok(value)) => assert_eq!(text(&record), value),
            (Err(ConsumerError::Partition { source: PartitionError::Corrupt { offset, .. }, .. }), Err(at)) => {
                assert_eq!(offset, at);
            }
            (got, _) => panic!("{limit}: {got:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_names_only_what_has_changed_and_its_loss_is_not_noticed() {
    let broker = Broker::with(&[2, 0, 0, 0]);
    let mut consumer = consumer(&broker).await;
    consumer.assign((0..4).map(|partition| ("t", partition, Start::Beginning))).unwrap();
    while within(consumer.recv_until_end()).await.unwrap().is_some() {}
    clock::sleep(Duration::from_secs(2)).await;
    let counts = || [&broker.fetches, &broker.named].map(|count| count.load(Ordering::Relaxed));
    let before = counts();
    clock::sleep(Duration::from_secs(60)).await;
    let after = counts();
    assert!(after[0] > before[0] + 50, "it goes on asking: {before:?} {after:?}");
    assert_eq!(after[1], before[1], "and names nothing that is as it was");
    for round in 0..10 {
        if round % 3 == 0 {
            *broker.session.lock().unwrap() = None;
        }
        broker.append(1, 2);
        for offset in [round * 2, round * 2 + 1] {
            let record = within(consumer.recv()).await.unwrap();
            assert_eq!((record.partition(), record.offset()), (1, offset));
        }
    }
    // The end is told where nothing but the position has changed, and of a partition that was away.
    consumer.seek("t", 1, Start::Offset(20)).unwrap();
    assert!(within(consumer.recv_until_end()).await.unwrap().is_none());
    consumer.pause([&TopicPartition::new("t", 0)]).unwrap();
    clock::sleep(Duration::from_secs(2)).await;
    consumer.resume([&TopicPartition::new("t", 0)]).unwrap();
    consumer.seek("t", 0, Start::Offset(2)).unwrap();
    assert!(within(consumer.recv_until_end()).await.unwrap().is_none());
}

// Shows: queued.max.bytes.
/// A partition whose records nobody takes fills the budget, and the others are read all the same.
#[tokio::test(start_paused = true)]
async fn a_full_budget_is_not_held_by_a_paused_partition() {
    let broker = Broker::with(&[400, 0]);
    let mut consumer = consumer_with(&broker, ConsumerConfig::new().queued_max_bytes(500_usize)).await;
    consumer.assign([("t", 0, Start::Beginning), ("t", 1, Start::Beginning)]).unwrap();
    assert_eq!(within(consumer.recv()).await.unwrap().partition(), 0);
    consumer.pause([&TopicPartition::new("t", 0)]).unwrap();
    for round in 0..50 {
        broker.append(1, 2);
        let record = within(consumer.recv()).await.unwrap();
        assert_eq!((record.partition(), record.offset()), (1, round * 2));
        assert_eq!(within(consumer.recv()).await.unwrap().offset(), round * 2 + 1);
    }
    consumer.resume([&TopicPartition::new("t", 0)]).unwrap();
    for offset in 1..400 {
        assert_eq!(within(consumer.recv()).await.unwrap().offset(), offset);
    }
}
