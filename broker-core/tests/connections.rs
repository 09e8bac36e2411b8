//! Frames that are none, versions that are not there, order of answers, limits.

mod common;

use std::time::Duration;

use common::{Client, PATIENCE, batch, fetch_request, produce_request, start_in_memory};
use rkafka_broker_core::Broker;
use rkafka_protocol::messages::{ApiVersionsRequest, FetchRequest, MetadataRequest, ProduceRequest};
use rkafka_protocol::wire::{Message, Reader, Request};
use rkafka_protocol::{ApiKey, ErrorCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

fn api_versions() -> ApiVersionsRequest {
    ApiVersionsRequest {
        client_software_name: "test".to_owned(),
        client_software_version: "1.0".to_owned(),
        ..Default::default()
    }
}

#[tokio::test]
async fn api_versions_tells_what_is_there() {
    let broker = start_in_memory().await;
    let mut client = Client::connect(&broker).await;
    for version in 0..=4 {
        let response = client.call(&api_versions(), version).await;
        assert_eq!(response.error_code, 0);
        let produce = response.api_keys.iter().find(|api| api.api_key == 0).unwrap();
        assert_eq!((produce.min_version, produce.max_version), (0, 13));
        assert!(response.api_keys.windows(2).all(|pair| pair[0].api_key < pair[1].api_key));
        if version >= 3 {
            assert!(response.finalized_features.iter().any(|feature| feature.name == "metadata.version"));
        }
    }
    let odd = ApiVersionsRequest { client_software_name: "a b".to_owned(), ..api_versions() };
    assert_eq!(client.call(&odd, 3).await.error_code, ErrorCode::InvalidRequest.code());
}

#[tokio::test]
async fn a_version_from_the_future_is_answered_in_version_zero() {
    let broker = start_in_memory().await;
    let mut client = Client::connect(&broker).await;
    // Key 18, version 99, correlation id 7, no client id, and a body that nobody knows.
    client.stream.write_all(&[0, 0, 0, 12, 0, 18, 0, 99, 0, 0, 0, 7, 0xff, 0xff, 1, 2]).await.unwrap();
    let mut reader = Reader::new(client.frame().await.unwrap());
    assert_eq!(reader.i32().unwrap(), 7);
    let response = <ApiVersionsRequest as Request>::Response::decode(&mut reader, 0).unwrap();
    assert_eq!(response.error_code, ErrorCode::UnsupportedVersion.code());
    assert!(response.api_keys.iter().any(|api| api.api_key == ApiKey::ApiVersions as i16 && api.max_version == 4));
    // The connection goes on.
    assert_eq!(client.call(&api_versions(), 4).await.error_code, 0);
}

#[tokio::test]
async fn bytes_behind_a_request_are_passed_over_as_in_kafka() {
    let broker = start_in_memory().await;
    let mut client = Client::connect(&broker).await;
    // Metadata version 12 of all topics as librdkafka writes it: the count 0 in one byte, and three that it had reserved.
    let request = [0, 0, 0, 19, 0, 3, 0, 12, 0, 0, 0, 7, 0xff, 0xff, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    client.stream.write_all(&request).await.unwrap();
    let mut reader = Reader::new(client.frame().await.unwrap());
    assert_eq!(reader.i32().unwrap(), 7);
    reader.tagged_fields(|_, _| Ok(false)).unwrap();
    let response = <MetadataRequest as Request>::Response::decode(&mut reader, 12).unwrap();
    assert_eq!(response.brokers.len(), 1);
    // The connection goes on.
    assert_eq!(client.call(&api_versions(), 4).await.error_code, 0);
}

#[tokio::test]
async fn what_is_no_request_ends_its_connection_and_no_other() {
    let broker = start_in_memory().await;
    let mut witness = Client::connect(&broker).await;
    let hostile: &[&[u8]] = &[
        b"GET / HTTP/1.1\r\n\r\n",
        &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc],
        &[0xff, 0xff, 0xff, 0xff],
        &[0x7f, 0xff, 0xff, 0xff],
        &[0, 0, 0, 0],
        &[0, 0, 0, 3, 0, 3, 0],
        // An API key that there is not, and a version that there is not.
        &[0, 0, 0, 10, 0x7f, 0, 0, 0, 0, 0, 0, 1, 0xff, 0xff],
        &[0, 0, 0, 10, 0, 3, 0, 99, 0, 0, 0, 1, 0xff, 0xff],
        &[0, 0, 0, 10, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0xff],
        // Metadata version 12 with an array of 2^32 - 2 topics.
        &[0, 0, 0, 16, 0, 3, 0, 12, 0, 0, 0, 1, 0xff, 0xff, 0, 0xff, 0xff, 0xff, 0xff, 0x0f],
        // A client id longer than the frame.
        &[0, 0, 0, 10, 0, 3, 0, 1, 0, 0, 0, 1, 0x7f, 0xff],
    ];
    for bytes in hostile {
        let mut stream = TcpStream::connect(broker.bootstrap()).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        // A reset is as good an end as any other.
        let end = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("the connection was not closed");
        assert!(end.is_err() || answer.is_empty(), "{bytes:?} was answered");
        assert_eq!(witness.call(&api_versions(), 4).await.error_code, 0);
    }
}

#[tokio::test]
async fn random_requests_never_take_the_broker_down() {
    let broker = start_in_memory().await;
    let mut witness = Client::connect(&broker).await;
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    for (key, versions) in rkafka_broker_core::handlers::OFFERED {
        for round in 0..40 {
            let version = versions.min + (random() % (versions.max - versions.min + 1) as u64) as i16;
            let mut frame = Vec::new();
            frame.extend((*key as i16).to_be_bytes());
            frame.extend(version.to_be_bytes());
            frame.extend([0, 0, 0, 1, 0xff, 0xff]);
            // Small bytes make lengths and flags that are believable.
            let length = random() % 60;
            frame.extend((0..length).map(|_| (random() % if round % 2 == 0 { 4 } else { 256 }) as u8));
            let mut stream = TcpStream::connect(broker.bootstrap()).await.unwrap();
            stream.write_all(&(frame.len() as i32).to_be_bytes()).await.unwrap();
            stream.write_all(&frame).await.unwrap();
            stream.shutdown().await.unwrap();
            let mut answer = Vec::new();
            let _ = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("neither answered nor closed");
        }
    }
    assert_eq!(witness.call(&api_versions(), 4).await.error_code, 0);
}

#[tokio::test]
async fn answers_come_in_the_order_of_the_requests() {
    let broker = start_in_memory().await;
    let mut client = Client::connect(&broker).await;
    client.create_topic("t", 1, &[]).await;
    let first = client.last_correlation_id() + 1;
    client.send(&produce_request("t", 0, batch(&["a"]), -1), 9).await;
    client.send(&MetadataRequest { topics: None, ..Default::default() }, 12).await;
    // No answer is due to this one.
    client.send(&produce_request("t", 0, batch(&["b"]), 0), 9).await;
    client.send(&fetch_request("t", 0, 0, 0, 1), 12).await;
    let produced = client.receive::<ProduceRequest>(9, first).await;
    assert_eq!(produced.responses[0].partition_responses[0].base_offset, 0);
    let metadata = client.receive::<MetadataRequest>(12, first + 1).await;
    assert_eq!(metadata.topics[0].name.as_deref(), Some("t"));
    let fetched = client.receive::<FetchRequest>(12, first + 3).await;
    assert_eq!(fetched.responses[0].partitions[0].high_watermark, 2);
}

#[tokio::test]
async fn acks_zero_closes_the_connection_on_an_error() {
    let broker = start_in_memory().await;
    let mut client = Client::connect(&broker).await;
    client.send(&produce_request("nowhere", 0, batch(&["a"]), 0), 9).await;
    assert_eq!(client.frame().await, None);
}

#[tokio::test]
async fn a_frame_beyond_the_limit_and_a_silent_client_are_cut_off() {
    let broker = Broker::builder()
        .with(|config| config.socket_request_max_bytes(1000).connections_max_idle(Duration::from_millis(50)))
        .start()
        .await
        .unwrap();
    let mut stream = TcpStream::connect(broker.bootstrap()).await.unwrap();
    stream.write_all(&1001i32.to_be_bytes()).await.unwrap();
    assert_eq!(timeout(PATIENCE, stream.read(&mut [0; 8])).await.unwrap().unwrap_or(0), 0);
    let mut silent = TcpStream::connect(broker.bootstrap()).await.unwrap();
    assert_eq!(timeout(PATIENCE, silent.read(&mut [0; 8])).await.unwrap().unwrap_or(0), 0);
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_their_turn() {
    let broker = Broker::builder().with(|config| config.max_connections(1)).start().await.unwrap();
    let mut first = Client::connect(&broker).await;
    assert_eq!(first.call(&api_versions(), 4).await.error_code, 0);
    let mut second = Client::connect(&broker).await;
    second.send(&api_versions(), 4).await;
    assert!(timeout(Duration::from_millis(50), second.stream.peek(&mut [0])).await.is_err(), "it was taken at once");
    drop(first);
    assert_eq!(second.receive::<ApiVersionsRequest>(4, 1).await.error_code, 0);
}

#[tokio::test(start_paused = true)]
#[expect(clippy::disallowed_methods, reason = "a test drives the connection")]
async fn a_broker_serves_streams_in_memory_under_a_simulated_clock() {
    let clock = rkafka_broker_core::Clock::simulated(1_700_000_000_000);
    let broker = Broker::builder().clock(clock).start().await.unwrap();
    let (near, far) = tokio::io::duplex(64 * 1024);
    tokio::spawn(broker.serve(far));
    let mut client = Client::over(near);
    client.create_topic("t", 1, &[("message.timestamp.type", "LogAppendTime")]).await;
    tokio::time::advance(Duration::from_secs(3)).await;
    let answer = client.produce("t", 0, batch(&["a"])).await;
    assert!(answer.log_append_time_ms >= 1_700_000_003_000, "{}", answer.log_append_time_ms);
    // A long poll ends by the simulated clock, not by waiting.
    let response = client.call(&fetch_request("t", 0, 1, 30_000, 1), 12).await;
    assert_eq!(response.responses[0].partitions[0].high_watermark, 1);
}

#[tokio::test]
async fn an_address_has_no_more_connections_than_it_may() {
    let broker = Broker::builder().with(|config| config.max_connections_per_ip(1)).start().await.unwrap();
    let mut first = Client::connect(&broker).await;
    assert_eq!(first.call(&api_versions(), 4).await.error_code, 0);
    let mut second = Client::connect(&broker).await;
    assert!(second.frame().await.is_none());
    assert_eq!(first.call(&api_versions(), 4).await.error_code, 0);
}

#[tokio::test]
async fn large_requests_wait_for_each_other_and_are_all_answered() {
    let broker = Broker::builder().with(|config| config.queued_max_request_bytes(20 * 1024)).start().await.unwrap();
    let mut clients = Vec::new();
    for _ in 0..4 {
        clients.push(Client::connect(&broker).await);
    }
    clients[0].create_topic("t", 1, &[]).await;
    let value = "v".repeat(15 * 1024);
    let request = produce_request("t", 0, batch(&[&value]), -1);
    for client in &mut clients {
        client.send(&request, 9).await;
    }
    for client in &mut clients {
        let answer = client.receive::<ProduceRequest>(9, client.last_correlation_id()).await;
        assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
    }
}
