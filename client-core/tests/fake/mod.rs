//! A scripted broker, over streams in memory.

#![expect(dead_code, reason = "each test file uses its part")]

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use rkafka_client_core::{ClientConfig, ClientOptions, Dial, DialOptions, HostPort};
use rkafka_net::{DialError, DialFuture, Stream};
use rkafka_protocol::ApiKey;
use rkafka_protocol::messages::api_versions_response::ApiVersion;
use rkafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use rkafka_protocol::messages::{
    ApiVersionsResponse, MetadataRequest, MetadataResponse, RequestHeader, ResponseHeader,
};
use rkafka_protocol::wire::{Message, Reader, Request, decode_whole, encode_to_vec};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::mpsc;
use uuid::Uuid;

/// A network on which fake brokers listen.
#[derive(Debug, Default)]
pub struct FakeNet {
    hosts: Mutex<Vec<(HostPort, mpsc::UnboundedSender<Conversation>)>>,
    pub dialled: Mutex<Vec<HostPort>>,
}

impl FakeNet {
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Every connection to `address` comes out here from now on.
    pub fn listen(&self, address: &str) -> mpsc::UnboundedReceiver<Conversation> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let mut hosts = self.hosts.lock().unwrap();
        hosts.retain(|(host, _)| host.to_string() != address);
        hosts.push((address.parse().unwrap(), sender));
        receiver
    }

    /// A broker that answers ApiVersions, and Metadata with what `metadata` gives.
    pub fn serve(&self, address: &str, metadata: impl Fn() -> MetadataResponse + Send + Sync + 'static) {
        let mut connections = self.listen(address);
        let metadata = Arc::new(metadata);
        #[expect(clippy::disallowed_methods, reason = "a broker runs beside the test")]
        tokio::spawn(async move {
            // Dropped, and so ended, when nobody listens any more.
            let mut conversations = tokio::task::JoinSet::new();
            while let Some(mut conversation) = connections.recv().await {
                let metadata = Arc::clone(&metadata);
                conversations.spawn(async move {
                    while let Some(request) = conversation.next().await {
                        match request.key {
                            key if key == ApiKey::ApiVersions as i16 => {
                                conversation.answer_api_versions(&request).await
                            }
                            key if key == ApiKey::Metadata as i16 => {
                                conversation.answer::<MetadataRequest>(&request, &metadata()).await;
                            }
                            _ => break,
                        }
                    }
                });
            }
        });
    }

    /// Nobody listens there any more, and connections that are open break.
    pub fn unlisten(&self, address: &str) {
        self.hosts.lock().unwrap().retain(|(host, _)| host.to_string() != address);
    }

    pub fn dials(&self) -> usize {
        self.dialled.lock().unwrap().len()
    }
}

impl Dial for FakeNet {
    fn dial<'a>(&'a self, address: &'a HostPort, _options: &'a DialOptions) -> DialFuture<'a> {
        self.dialled.lock().unwrap().push(address.clone());
        let host =
            self.hosts.lock().unwrap().iter().find(|(host, _)| host == address).map(|(_, sender)| sender.clone());
        Box::pin(async move {
            let (near, far) = tokio::io::duplex(1 << 16);
            let conversation = Conversation { stream: far, pending: VecDeque::new(), received: Vec::new(), sent: 0 };
            match host.map(|host| host.send(conversation)) {
                Some(Ok(())) => Ok(Stream::boxed(near)),
                _ => {
                    let nowhere = SocketAddr::from(([127, 0, 0, 1], address.port));
                    let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
                    Err(DialError::Connect { address: address.clone(), attempts: vec![(nowhere, refused)] })
                }
            }
        })
    }
}

/// A request as a broker sees it.
#[derive(Debug)]
pub struct Asked {
    pub key: i16,
    pub version: i16,
    pub correlation_id: i32,
    pub client_id: Option<String>,
    pub body: bytes::Bytes,
}

impl Asked {
    pub fn decode<R: Request>(&self) -> R {
        assert_eq!(self.key, R::KEY as i16);
        decode_whole(self.body.clone(), self.version).unwrap()
    }
}

/// The broker's end of a connection.
#[derive(Debug)]
pub struct Conversation {
    pub stream: DuplexStream,
    pending: VecDeque<Asked>,
    /// Bytes of the requests that came, and of the answers that went, their lengths included.
    pub received: Vec<usize>,
    pub sent: usize,
}

impl Conversation {
    pub async fn next(&mut self) -> Option<Asked> {
        let length = self.stream.read_i32().await.ok()?;
        let mut frame = vec![0; length as usize];
        self.stream.read_exact(&mut frame).await.ok()?;
        self.received.push(4 + frame.len());
        let key = i16::from_be_bytes([frame[0], frame[1]]);
        let version = i16::from_be_bytes([frame[2], frame[3]]);
        let flexible = version >= ApiKey::try_from(key).unwrap().first_flexible();
        let mut reader = Reader::new(frame.into());
        let header = RequestHeader::decode(&mut reader, if flexible { 2 } else { 1 }).unwrap();
        let (correlation_id, client_id) = (header.correlation_id, header.client_id);
        Some(Asked { key, version, correlation_id, client_id, body: reader.rest() })
    }

    /// An answer as it stands on the wire.
    pub fn encoded<R: Request>(asked: &Asked, response: &R::Response) -> Vec<u8> {
        let header = ResponseHeader { correlation_id: asked.correlation_id, ..ResponseHeader::default() };
        let mut frame = encode_to_vec(&header, R::response_header_version(asked.version)).unwrap();
        frame.extend(encode_to_vec(response, asked.version).unwrap());
        [&(frame.len() as i32).to_be_bytes()[..], &frame].concat()
    }

    pub async fn answer<R: Request>(&mut self, asked: &Asked, response: &R::Response) {
        self.write(&Self::encoded::<R>(asked, response)).await;
    }

    pub async fn write(&mut self, bytes: &[u8]) {
        self.sent += bytes.len();
        self.stream.write_all(bytes).await.ok();
    }

    pub async fn answer_api_versions(&mut self, asked: &Asked) {
        let response = api_versions(0);
        let encoded = Self::encoded::<rkafka_protocol::messages::ApiVersionsRequest>(asked, &response);
        self.write(&encoded).await;
    }

    /// Reads the ApiVersions request of a new connection and answers it.
    pub async fn greet(&mut self) {
        let asked = self.next().await.unwrap();
        assert_eq!(asked.key, ApiKey::ApiVersions as i16);
        self.answer_api_versions(&asked).await;
    }
}

pub fn api_versions(error_code: i16) -> ApiVersionsResponse {
    let range = |key: ApiKey, min, max| ApiVersion {
        api_key: key as i16,
        min_version: min,
        max_version: max,
        ..ApiVersion::default()
    };
    ApiVersionsResponse {
        error_code,
        api_keys: vec![
            range(ApiKey::ApiVersions, 0, 4),
            range(ApiKey::Metadata, 0, 13),
            range(ApiKey::FindCoordinator, 0, 6),
            range(ApiKey::Heartbeat, 0, 4),
            range(ApiKey::DeleteRecords, 100, 101),
        ],
        ..ApiVersionsResponse::default()
    }
}

/// A cluster of brokers 1.., on `addresses`, with the topic `t` that broker `leader` leads.
pub fn metadata(addresses: &[&str], leader: i32, epoch: i32) -> MetadataResponse {
    let brokers = addresses.iter().zip(1..).map(|(address, node_id)| {
        let address: HostPort = address.parse().unwrap();
        MetadataResponseBroker { node_id, host: address.host, port: address.port.into(), ..Default::default() }
    });
    let partition = MetadataResponsePartition { leader_id: leader, leader_epoch: epoch, ..Default::default() };
    let topic = MetadataResponseTopic {
        name: Some("t".to_owned()),
        topic_id: Uuid::from_u128(7),
        partitions: vec![partition],
        ..Default::default()
    };
    MetadataResponse {
        brokers: brokers.collect(),
        controller_id: 1,
        cluster_id: Some("c".to_owned()),
        topics: vec![topic],
        ..Default::default()
    }
}

pub fn config(servers: &str) -> ClientConfig {
    ClientConfig::new().bootstrap_servers(servers)
}

pub fn options(net: &Arc<FakeNet>) -> ClientOptions {
    ClientOptions::default().dialer(Arc::clone(net) as Arc<dyn Dial>)
}
