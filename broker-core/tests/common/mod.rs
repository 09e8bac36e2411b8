//! A client of raw frames: messages of the protocol over a socket, with nothing between that could hide a fault.
#![expect(dead_code, reason = "each test uses its own part")]

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use rkafka_broker_core::{Broker, BrokerConfig, BrokerHandle};
use rkafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use rkafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use rkafka_protocol::messages::fetch_response::PartitionData;
use rkafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use rkafka_protocol::messages::list_offsets_response::ListOffsetsPartitionResponse;
use rkafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use rkafka_protocol::messages::produce_response::PartitionProduceResponse;
use rkafka_protocol::messages::{CreateTopicsRequest, FetchRequest, ListOffsetsRequest, ProduceRequest};
use rkafka_protocol::records::{BatchIter, BatchOptions, DecompressArena, encode_batch};
use rkafka_protocol::wire::{Message, Reader, Request, Writer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long a test waits for what must come at once. It is no measure of speed, only an end to waiting.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub struct Client<S = TcpStream> {
    pub stream: S,
    correlation_id: i32,
}

impl Client {
    pub async fn connect(broker: &BrokerHandle) -> Self {
        Self::over(TcpStream::connect(broker.bootstrap()).await.unwrap())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    pub fn over(stream: S) -> Self {
        Self { stream, correlation_id: 0 }
    }

    /// Sends a request and does not wait.
    pub async fn send<R: Request>(&mut self, request: &R, version: i16) {
        self.correlation_id += 1;
        let mut writer = Writer::new();
        writer.begin_frame();
        writer.i16(R::KEY as i16);
        writer.i16(version);
        writer.i32(self.correlation_id);
        writer.nullable_string(Some("test"), false, true, "ClientId").unwrap();
        if R::header_version(version) >= 2 {
            writer.unsigned_varint(0);
        }
        request.encode(&mut writer, version).unwrap();
        writer.end_frame().unwrap();
        self.stream.write_all(&writer.into_vec()).await.unwrap();
    }

    /// Takes the answer to a request; answers come in order.
    pub async fn receive<R: Request>(&mut self, version: i16, correlation_id: i32) -> R::Response {
        let frame = self.frame().await.expect("the broker closed the connection");
        let mut reader = Reader::new(frame);
        assert_eq!(reader.i32().unwrap(), correlation_id);
        if R::response_header_version(version) >= 1 {
            reader.tagged_fields(|_, _| Ok(false)).unwrap();
        }
        let response = R::Response::decode(&mut reader, version).unwrap();
        reader.finish(R::NAME).unwrap();
        response
    }

    pub async fn call<R: Request>(&mut self, request: &R, version: i16) -> R::Response {
        self.send(request, version).await;
        self.receive::<R>(version, self.correlation_id).await
    }

    pub fn last_correlation_id(&self) -> i32 {
        self.correlation_id
    }

    /// The next frame, `None` at the end of the stream.
    pub async fn frame(&mut self) -> Option<Bytes> {
        let read = async {
            let length = self.stream.read_i32().await.ok()?;
            let mut frame = vec![0; usize::try_from(length).unwrap()];
            self.stream.read_exact(&mut frame).await.ok()?;
            Some(Bytes::from(frame))
        };
        tokio::time::timeout(PATIENCE, read).await.expect("the broker neither answered nor closed the connection")
    }

    pub async fn create_topic(&mut self, name: &str, partitions: i32, configs: &[(&str, &str)]) {
        let response = self.call(&create_topics(name, partitions, configs), 7).await;
        assert_eq!(response.topics[0].error_code, 0, "{:?}", response.topics[0].error_message);
    }

    pub async fn produce(&mut self, topic: &str, partition: i32, batch: Vec<u8>) -> PartitionProduceResponse {
        let response = self.call(&produce_request(topic, partition, batch, -1), 9).await;
        response.responses[0].partition_responses[0].clone()
    }

    pub async fn fetch(&mut self, topic: &str, partition: i32, offset: i64) -> PartitionData {
        let response = self.call(&fetch_request(topic, partition, offset, 0, 1), 12).await;
        assert_eq!(response.error_code, 0);
        response.responses[0].partitions[0].clone()
    }

    /// The values of all records from `offset` on.
    pub async fn values(&mut self, topic: &str, partition: i32, mut offset: i64) -> Vec<String> {
        let mut values = Vec::new();
        loop {
            let data = self.fetch(topic, partition, offset).await;
            assert_eq!(data.error_code, 0);
            let records = read_values(data.records.as_ref().unwrap());
            let Some((last, _)) = records.last() else { return values };
            assert!(*last >= offset);
            values.extend(records.iter().filter(|(at, _)| *at >= offset).map(|(_, value)| value.clone()));
            offset = last + 1;
        }
    }

    pub async fn list_offset(&mut self, topic: &str, partition: i32, timestamp: i64) -> ListOffsetsPartitionResponse {
        let request = ListOffsetsRequest {
            replica_id: -1,
            topics: vec![ListOffsetsTopic {
                name: topic.to_owned(),
                partitions: vec![ListOffsetsPartition {
                    partition_index: partition,
                    current_leader_epoch: -1,
                    timestamp,
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        };
        self.call(&request, 11).await.topics[0].partitions[0].clone()
    }
}

pub fn create_topics(name: &str, partitions: i32, configs: &[(&str, &str)]) -> CreateTopicsRequest {
    let configs = configs.iter().map(|(name, value)| CreatableTopicConfig {
        name: (*name).to_owned(),
        value: Some((*value).to_owned()),
        ..Default::default()
    });
    CreateTopicsRequest {
        topics: vec![CreatableTopic {
            name: name.to_owned(),
            num_partitions: partitions,
            replication_factor: -1,
            configs: configs.collect(),
            ..Default::default()
        }],
        timeout_ms: 1000,
        ..Default::default()
    }
}

pub fn produce_request(topic: &str, partition: i32, batch: Vec<u8>, acks: i16) -> ProduceRequest {
    ProduceRequest {
        acks,
        timeout_ms: 1000,
        topic_data: vec![TopicProduceData {
            name: topic.to_owned(),
            partition_data: vec![PartitionProduceData {
                index: partition,
                records: Some(batch.into()),
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    }
}

pub fn fetch_request(topic: &str, partition: i32, offset: i64, max_wait_ms: i32, min_bytes: i32) -> FetchRequest {
    FetchRequest {
        replica_id: -1,
        max_wait_ms,
        min_bytes,
        max_bytes: 1024 * 1024,
        session_epoch: -1,
        topics: vec![FetchTopic {
            topic: topic.to_owned(),
            partitions: vec![FetchPartition {
                partition,
                current_leader_epoch: -1,
                fetch_offset: offset,
                partition_max_bytes: 1024 * 1024,
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    }
}

/// A batch of values, as a producer without idempotence sends it.
pub fn batch(values: &[&str]) -> Vec<u8> {
    let records = values.iter().map(|value| (None, Some(value.as_bytes())));
    encode_batch(Vec::new(), BatchOptions::default(), 1_700_000_000_000, records).unwrap().into_bytes()
}

/// A batch of one value, as an idempotent producer sends it.
pub fn idempotent_batch(producer_id: i64, epoch: i16, sequence: i32, value: &str) -> Vec<u8> {
    let options = BatchOptions::default().with_producer(producer_id, epoch, sequence);
    let records = [(None, Some(value.as_bytes()))];
    encode_batch(Vec::new(), options, 1_700_000_000_000, records).unwrap().into_bytes()
}

/// The offset and the value of each record. Also checks each batch's checksum.
pub fn read_values(records: &Bytes) -> Vec<(i64, String)> {
    let mut arena = DecompressArena::default();
    let mut values = Vec::new();
    for batch in BatchIter::new(records) {
        let batch = batch.unwrap();
        batch.verify_crc().unwrap();
        for record in batch.records(&mut arena).unwrap() {
            let record = record.unwrap();
            values.push((record.offset, String::from_utf8(record.value.unwrap().to_vec()).unwrap()));
        }
    }
    values
}

pub async fn start_in_memory() -> BrokerHandle {
    Broker::builder().start().await.unwrap()
}

pub fn config_at(dir: &Path) -> BrokerConfig {
    BrokerConfig::new()
        .listeners("PLAINTEXT://127.0.0.1:0")
        .log_dirs(dir.to_str().unwrap())
        .offsets_topic_num_partitions(2)
}
