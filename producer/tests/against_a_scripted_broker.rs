//! The whole producer over loopback, against a broker that does as it is told: answers, refuses, hangs up, says nothing.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rkafka_producer::{ClientSettings, Producer, ProducerConfig, ProducerError, Record, TrySendError};
use rkafka_protocol::messages::api_versions_response::ApiVersion;
use rkafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use rkafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use rkafka_protocol::messages::{
    ApiVersionsResponse, InitProducerIdResponse, MetadataRequest, MetadataResponse, ProduceRequest, ProduceResponse,
    RequestHeader, ResponseHeader,
};
use rkafka_protocol::records::{DecompressArena, RecordBatch};
use rkafka_protocol::wire::{Message, Reader, Writer};

/// What the broker does with a produce request.
#[derive(Clone, Copy)]
enum Act {
    Take,
    Refuse(i16),
    /// Takes it, and hangs up in the place of an answer.
    HangUp,
    /// Takes it, and never answers.
    Silence,
}

/// A broker with one topic `t` of one partition.
struct Broker {
    port: u16,
    script: fn(u32) -> Act,
    requests: AtomicU32,
    connections: AtomicU32,
    /// What InitProducerId is answered with.
    init_error: AtomicU32,
    /// How many partitions the topic has; records only go to the first.
    partitions: AtomicU32,
    /// Values in the log, and the base sequences that are there.
    log: Mutex<(Vec<String>, Vec<i32>)>,
}

impl Broker {
    /// `script` says what to do with the n-th produce request.
    fn start(script: fn(u32) -> Act) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let broker = Arc::new(Self {
            port,
            script,
            requests: AtomicU32::new(0),
            connections: AtomicU32::new(0),
            init_error: AtomicU32::new(0),
            partitions: AtomicU32::new(1),
            log: Mutex::default(),
        });
        let served = broker.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let broker = served.clone();
                broker.connections.fetch_add(1, Ordering::Relaxed);
                std::thread::spawn(move || broker.serve(stream));
            }
        });
        broker
    }

    fn config(&self) -> ProducerConfig {
        ProducerConfig::new()
            .bootstrap_servers(format!("127.0.0.1:{}", self.port))
            .linger(Duration::ZERO)
            .retry_backoff(Duration::from_millis(1))
            .reconnect_backoff(Duration::from_millis(1))
    }

    fn values(&self) -> Vec<String> {
        self.log.lock().unwrap().0.clone()
    }

    /// Appends as a broker does, knowing again what it has. A partition whose batch does not follow is refused.
    fn append(&self, batch: &[u8]) -> (i16, i64) {
        let batch = RecordBatch::read(batch).unwrap();
        let mut log = self.log.lock().unwrap();
        let sequence = batch.header().base_sequence;
        if log.1.contains(&sequence) {
            return (0, i64::from(sequence));
        }
        let offset = log.0.len();
        if sequence >= 0 && sequence as usize != offset {
            return (45, -1);
        }
        let mut arena = DecompressArena::default();
        for record in batch.records(&mut arena).unwrap() {
            log.0.push(String::from_utf8(record.unwrap().value.unwrap().to_vec()).unwrap());
        }
        log.1.push(sequence);
        (0, offset as i64)
    }

    fn serve(&self, mut stream: TcpStream) -> Option<()> {
        loop {
            let mut length = [0; 4];
            stream.read_exact(&mut length).ok()?;
            let mut frame = vec![0; u32::from_be_bytes(length) as usize];
            stream.read_exact(&mut frame).ok()?;
            let (key, version) = (i16::from_be_bytes([frame[0], frame[1]]), i16::from_be_bytes([frame[2], frame[3]]));
            let mut reader = Reader::new(frame.into());
            let header = RequestHeader::decode(&mut reader, if key == 18 && version < 3 { 1 } else { 2 }).ok()?;
            let mut writer = Writer::new();
            writer.begin_frame();
            let header = ResponseHeader { correlation_id: header.correlation_id, ..ResponseHeader::default() };
            header.encode(&mut writer, i16::from(key != 18)).ok()?;
            match key {
                0 => {
                    let request = ProduceRequest::decode(&mut reader, version).ok()?;
                    self.produce(&request)?.encode(&mut writer, version).ok()?;
                }
                3 => {
                    let request = MetadataRequest::decode(&mut reader, version).ok()?;
                    self.metadata(&request).encode(&mut writer, version).ok()?;
                }
                18 => {
                    let api = |api_key, min_version, max_version| ApiVersion {
                        api_key,
                        min_version,
                        max_version,
                        ..ApiVersion::default()
                    };
                    let api_keys = vec![api(0, 9, 12), api(3, 9, 12), api(18, 0, 3), api(22, 2, 4)];
                    ApiVersionsResponse { api_keys, ..ApiVersionsResponse::default() }
                        .encode(&mut writer, version)
                        .ok()?;
                }
                _ => {
                    let error_code = self.init_error.load(Ordering::Relaxed) as i16;
                    let response =
                        InitProducerIdResponse { error_code, producer_id: 1, ..InitProducerIdResponse::default() };
                    response.encode(&mut writer, version).ok()?;
                }
            }
            writer.end_frame().ok()?;
            stream.write_all(&writer.into_vec()).ok()?;
        }
    }

    fn produce(&self, request: &ProduceRequest) -> Option<ProduceResponse> {
        let act = (self.script)(self.requests.fetch_add(1, Ordering::SeqCst));
        let data = &request.topic_data[0].partition_data[0];
        let bytes = data.records.as_ref().unwrap();
        let (error_code, base_offset) = match act {
            Act::Refuse(code) => (code, -1),
            Act::Take | Act::HangUp | Act::Silence => self.append(bytes),
        };
        match act {
            Act::HangUp => return None,
            Act::Silence => loop {
                std::thread::park();
            },
            Act::Take | Act::Refuse(_) => {}
        }
        let partition = PartitionProduceResponse {
            index: data.index,
            error_code,
            base_offset,
            ..PartitionProduceResponse::default()
        };
        let topic = TopicProduceResponse {
            name: request.topic_data[0].name.clone(),
            partition_responses: vec![partition],
            ..TopicProduceResponse::default()
        };
        Some(ProduceResponse { responses: vec![topic], ..ProduceResponse::default() })
    }

    fn metadata(&self, request: &MetadataRequest) -> MetadataResponse {
        let broker = MetadataResponseBroker {
            node_id: 1,
            host: "127.0.0.1".to_owned(),
            port: i32::from(self.port),
            ..MetadataResponseBroker::default()
        };
        let topics = request.topics.iter().flatten().map(|topic| {
            let known = topic.name.as_deref() == Some("t");
            let partitions = (0..self.partitions.load(Ordering::Relaxed) as i32).map(|partition_index| {
                MetadataResponsePartition { partition_index, leader_id: 1, ..MetadataResponsePartition::default() }
            });
            MetadataResponseTopic {
                error_code: if known { 0 } else { 3 },
                name: topic.name.clone(),
                partitions: if known { partitions.collect() } else { Vec::new() },
                ..MetadataResponseTopic::default()
            }
        });
        MetadataResponse {
            brokers: vec![broker],
            topics: topics.collect(),
            controller_id: 1,
            ..MetadataResponse::default()
        }
    }
}

#[tokio::test]
async fn records_arrive_in_order_over_lost_answers_and_refusals() {
    let broker = Broker::start(|request| match request % 7 {
        1 => Act::Refuse(19),
        3 => Act::HangUp,
        5 => Act::Refuse(6),
        _ => Act::Take,
    });
    let producer = Producer::new(broker.config().batch_size(100_usize)).await.unwrap();
    let mut deliveries = Vec::new();
    for number in 0..300 {
        deliveries.push(producer.send(Record::to("t").value(&number.to_string())).await.unwrap());
    }
    for (number, delivery) in deliveries.into_iter().enumerate() {
        let metadata = delivery.await.unwrap();
        assert_eq!((&*metadata.topic, metadata.partition, metadata.offset), ("t", 0, number as i64));
    }
    producer.close(Duration::from_secs(10)).await.unwrap();
    assert_eq!(broker.values(), (0..300).map(|number| number.to_string()).collect::<Vec<_>>());
    let closed = producer.send(Record::to("t").value("late")).await;
    assert!(matches!(closed, Err(ProducerError::Closed { maybe_written: false })));
}

#[tokio::test]
async fn what_was_accepted_is_sent_though_the_producer_is_dropped() {
    let broker = Broker::start(|_| Act::Take);
    let producer =
        Producer::new(broker.config().linger(Duration::from_secs(3600)).delivery_timeout(Duration::from_secs(7200)))
            .await
            .unwrap();
    let delivery = producer.send(Record::to("t").value("last words")).await.unwrap();
    let (told, heard) = tokio::sync::oneshot::channel();
    let callback = |result: rkafka_producer::DeliveryResult| told.send(result.unwrap().offset).unwrap();
    producer.send_with(Record::to("t").value("with a callback"), callback).await.unwrap();
    drop(producer);
    assert_eq!(delivery.await.unwrap().offset, 0);
    assert_eq!(heard.await.unwrap(), 1);
    assert_eq!(broker.values(), ["last words", "with a callback"]);
}

#[tokio::test]
async fn a_full_buffer_holds_senders_back_and_loses_nothing() {
    let broker = Broker::start(|_| Act::Silence);
    let config = broker.config().buffer_memory(4096_usize).batch_size(1024_usize).max_block(Duration::from_millis(100));
    let producer = Producer::new(config).await.unwrap();
    let topic = producer.topic("t").await.unwrap();
    let value = [b'x'; 500];
    let mut accepted = 0;
    let full = loop {
        match topic.try_send(&topic.record().value(&value)) {
            Ok(delivery) => drop(delivery),
            Err(error) => break error,
        }
        accepted += 1;
    };
    assert!(matches!(full, TrySendError::Full) && accepted >= 3, "{accepted}: {full}");
    let error = producer.send(Record::to("t").value(&value)).await.unwrap_err();
    assert!(matches!(error, ProducerError::BufferFull { limit: 4096, .. }), "{error}");
    let given_up = producer.close(Duration::from_millis(10)).await.unwrap_err();
    assert!(matches!(given_up, ProducerError::CloseTimeout { .. }) && given_up.maybe_written());
}

#[tokio::test]
async fn a_topic_that_is_not_there_is_named() {
    let broker = Broker::start(|_| Act::Take);
    let producer = Producer::new(broker.config().max_block(Duration::from_millis(50))).await.unwrap();
    let text = producer.send(Record::to("nowhere")).await.unwrap_err().to_string();
    assert!(
        text.contains("`nowhere`") && text.contains("create it") && text.contains("UNKNOWN_TOPIC_OR_PARTITION"),
        "{text}"
    );
    let error = producer.send(Record::to("t").partition(3)).await.unwrap_err();
    assert!(matches!(error, ProducerError::UnknownPartition { partition: 3, partitions: 1, .. }));
}

#[tokio::test]
async fn a_broker_that_never_answers_does_not_outlast_delivery_timeout() {
    let broker = Broker::start(|_| Act::Silence);
    let config = broker.config().request_timeout(Duration::from_secs(2)).delivery_timeout(Duration::from_millis(2500));
    let producer = Producer::new(config).await.unwrap();
    let begun = std::time::Instant::elapsed;
    #[expect(clippy::disallowed_methods, reason = "the time that the producer takes is what is tested")]
    let start = std::time::Instant::now();
    // The second attempt is under way when the time is over, and would be given up by the request timeout only.
    let error = producer.send(Record::to("t").value("x")).await.unwrap().await.unwrap_err();
    assert!(matches!(error, ProducerError::DeliveryTimeout { maybe_written: true, .. }), "{error}");
    assert!((Duration::from_millis(2400)..Duration::from_millis(3700)).contains(&begun(&start)), "{:?}", begun(&start));
}

#[tokio::test]
async fn a_callback_that_panics_panics_alone() {
    let broker = Broker::start(|_| Act::Take);
    let producer = Producer::new(broker.config()).await.unwrap();
    producer.send_with(Record::to("t").value("one"), |_| panic!("a mistake of the application")).await.unwrap();
    producer.flush().await;
    let delivery = producer.send(Record::to("t").value("two")).await.unwrap();
    let metadata = tokio::time::timeout(Duration::from_secs(20), delivery).await.expect("the sender lives").unwrap();
    assert_eq!(metadata.offset, 1);
}

#[test]
fn a_runtime_that_ends_leaves_no_delivery_without_an_answer() {
    let broker = Broker::start(|_| Act::Silence);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (producer, under_way, lingering) = runtime.block_on(async {
        let producer = Producer::new(broker.config()).await.unwrap();
        let under_way = producer.send(Record::to("t").value("one")).await.unwrap();
        while broker.requests.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
        let lingering = producer.send(Record::to("t").value("two")).await.unwrap();
        (producer, under_way, lingering)
    });
    drop(runtime);
    // The producer is still held, as by a static of the application.
    for (delivery, may_be) in [(under_way, true), (lingering, false)] {
        let result = delivery.try_result().expect("resolved with the runtime");
        assert!(
            matches!(result, Err(ProducerError::Closed { maybe_written }) if maybe_written == may_be),
            "{result:?}"
        );
    }
    assert!(matches!(producer.try_send(&Record::to("t")), Err(TrySendError::Refused(ProducerError::Closed { .. }))));
}

#[test]
fn senders_live_on_the_runtime_of_the_producer() {
    let broker = Broker::start(|_| Act::Take);
    let (home, away) = (tokio::runtime::Runtime::new().unwrap(), tokio::runtime::Runtime::new().unwrap());
    let producer = home.block_on(Producer::new(broker.config())).unwrap();
    // The first record makes the topic known and the broker's sender start: from a runtime that soon ends.
    away.block_on(async { producer.send(Record::to("t").value("one")).await.unwrap().await.unwrap() });
    drop(away);
    let second = home.block_on(async {
        let delivery = producer.send(Record::to("t").value("two")).await.unwrap();
        tokio::time::timeout(Duration::from_secs(20), delivery).await.expect("the sender lives")
    });
    assert_eq!(second.unwrap().offset, 1);
}

#[tokio::test]
async fn a_broker_that_hangs_up_at_once_is_not_asked_in_a_tight_loop() {
    let broker = Broker::start(|_| Act::HangUp);
    let config = broker.config().enable_idempotence(false).retry_backoff(Duration::from_millis(50)).retries(100_u32);
    let producer = Producer::new(config).await.unwrap();
    let delivery = producer.send(Record::to("t").value("x")).await.unwrap();
    assert!(tokio::time::timeout(Duration::from_secs(1), delivery).await.is_err());
    let connections = broker.connections.load(Ordering::Relaxed);
    assert!(connections < 40, "{connections} connections in a second");
}

#[tokio::test]
async fn a_partition_that_the_topic_got_since_is_found() {
    let broker = Broker::start(|_| Act::Take);
    let producer = Producer::new(broker.config()).await.unwrap();
    let topic = producer.topic("t").await.unwrap();
    assert_eq!(topic.partitions(), 1);
    broker.partitions.store(3, Ordering::Relaxed);
    let delivery = topic.send(topic.record().partition(2).value("x")).await.unwrap();
    assert_eq!((delivery.partition(), topic.partitions()), (2, 3));
    let error = topic.send(topic.record().partition(3).value("x")).await.unwrap_err();
    assert!(matches!(error, ProducerError::UnknownPartition { partition: 3, partitions: 3, .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_record_that_is_accepted_beside_close_has_an_answer() {
    let broker = Broker::start(|_| Act::Take);
    for round in 0..30 {
        let producer = Producer::new(broker.config().enable_idempotence(false)).await.unwrap();
        let topic = producer.topic("t").await.unwrap();
        let threads = (0..3)
            .map(|_| {
                let topic = topic.clone();
                std::thread::spawn(move || {
                    let mut accepted = Vec::new();
                    loop {
                        match topic.try_send(&topic.record().value("x")) {
                            Ok(delivery) => accepted.push(delivery),
                            Err(TrySendError::Refused(_)) => return accepted,
                            Err(_) => {}
                        }
                    }
                })
            })
            .collect::<Vec<_>>();
        tokio::time::timeout(Duration::from_millis(1 + round % 3), std::future::pending::<()>()).await.unwrap_err();
        let _ = producer.close(Duration::from_millis(round % 5)).await;
        for thread in threads {
            for delivery in thread.join().unwrap() {
                assert!(delivery.try_result().is_some(), "accepted, and never told of");
            }
        }
    }
}

#[tokio::test]
async fn records_that_wait_for_a_producer_id_tell_why_there_is_none() {
    let broker = Broker::start(|_| Act::Take);
    broker.init_error.store(31, Ordering::Relaxed);
    let config =
        broker.config().request_timeout(Duration::from_millis(200)).delivery_timeout(Duration::from_millis(400));
    let producer = Producer::new(config).await.unwrap();
    let error = producer.send(Record::to("t").value("x")).await.unwrap().await.unwrap_err();
    assert!(error.to_string().contains("CLUSTER_AUTHORIZATION_FAILED"), "{error}");
    assert!(matches!(error, ProducerError::DeliveryTimeout { maybe_written: false, .. }), "{error:?}");
}
