//! Links and shared connections against a scripted broker.

mod fake;

use std::sync::Arc;
use std::time::Duration;

use fake::{Conversation, FakeNet, api_versions, config, metadata};
use rkafka_client_core::{Connection, Dial, Endpoint, Error, ErrorCode, ErrorKind, Link, Shared};
use rkafka_protocol::messages::{
    ApiVersionsRequest, DeleteRecordsRequest, HeartbeatRequest, HeartbeatResponse, MetadataRequest,
};
use rkafka_protocol::wire::{Message, encode_to_vec};

const MINUTE: Duration = Duration::from_secs(60);

fn endpoint() -> Endpoint {
    Endpoint { node_id: Some(1), address: "a:1".parse().unwrap() }
}

fn shared(net: &Arc<FakeNet>) -> Shared {
    Shared::new(config("a:1"), Arc::clone(net) as Arc<dyn Dial>, rkafka_client_core::metrics::ClientKind::Admin)
}

/// A link, and the broker's end of it.
async fn linked() -> (Link, Conversation) {
    let net = FakeNet::new();
    let mut connections = net.listen("a:1");
    let (shared, endpoint) = (shared(&net), endpoint());
    let broker = async {
        let mut conversation = connections.recv().await.unwrap();
        conversation.greet().await;
        conversation
    };
    let (link, conversation) = tokio::join!(Link::connect(&shared, &endpoint), broker);
    (link.unwrap(), conversation)
}

fn heartbeat(generation_id: i32) -> HeartbeatRequest {
    HeartbeatRequest { generation_id, ..HeartbeatRequest::default() }
}

fn beat(throttle_time_ms: i32) -> HeartbeatResponse {
    HeartbeatResponse { throttle_time_ms, ..HeartbeatResponse::default() }
}

#[tokio::test]
async fn versions_fall_back_as_the_broker_says() {
    let net = FakeNet::new();
    let mut connections = net.listen("a:1");
    let (shared, endpoint) = (shared(&net), endpoint());
    for (known, second) in [(true, 2), (false, 0)] {
        let broker = async {
            let mut conversation = connections.recv().await.unwrap();
            let first = conversation.next().await.unwrap();
            assert_eq!(first.version, ApiVersionsRequest::VERSIONS.max);
            assert_eq!(first.client_id.as_deref(), Some("rkafka"));
            let request = first.decode::<ApiVersionsRequest>();
            assert_eq!(request.client_software_name, "rkafka");
            // The error comes in version 0, whatever was asked.
            let mut refusal = api_versions(ErrorCode::UnsupportedVersion.code());
            refusal.api_keys[0].max_version = 2;
            if !known {
                refusal.api_keys.clear();
            }
            let body = encode_to_vec(&refusal, 0).unwrap();
            let frame = [&first.correlation_id.to_be_bytes()[..], &body].concat();
            conversation.write(&(frame.len() as i32).to_be_bytes()).await;
            conversation.write(&frame).await;
            let asked = conversation.next().await.unwrap();
            assert_eq!(asked.version, second);
            conversation.answer_api_versions(&asked).await;
        };
        let (link, ()) = tokio::join!(Link::connect(&shared, &endpoint), broker);
        let link = link.unwrap();
        assert_eq!(link.version_for::<MetadataRequest>(i16::MAX).unwrap(), 13);
        assert_eq!(link.version_for::<MetadataRequest>(9).unwrap(), 9);
        let error = link.version_for::<DeleteRecordsRequest>(i16::MAX).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnsupportedVersion);
        assert!(error.to_string().contains("takes 100 to 101"), "{error}");
    }
}

#[tokio::test]
async fn requests_are_pipelined() {
    let (mut link, mut broker) = linked().await;
    for generation in 0..3 {
        let id = link.enqueue(&heartbeat(generation), 4).unwrap();
        assert!(!link.maybe_written(id), "nothing is written before the link is driven");
    }
    let answering = async {
        let mut asked = Vec::new();
        for _ in 0..3 {
            asked.push(broker.next().await.unwrap());
        }
        for one in &asked {
            broker.answer::<HeartbeatRequest>(one, &beat(one.decode::<HeartbeatRequest>().generation_id)).await;
        }
    };
    let reading = async {
        for expected in 0..3 {
            let response = link.drive().await.unwrap().decode::<HeartbeatRequest>().unwrap();
            assert_eq!(response.throttle_time_ms, expected);
        }
        assert_eq!(link.in_flight(), 0);
    };
    tokio::join!(answering, reading);
}

#[tokio::test]
async fn a_disconnect_at_each_byte_is_one_error() {
    let length = {
        let (mut link, mut broker) = linked().await;
        link.enqueue(&heartbeat(0), 4).unwrap();
        link.flush().await.unwrap();
        let asked = broker.next().await.unwrap();
        Conversation::encoded::<HeartbeatRequest>(&asked, &beat(1)).len()
    };
    for end in 0..length {
        let (mut link, mut broker) = linked().await;
        let id = link.enqueue(&heartbeat(0), 4).unwrap();
        link.flush().await.unwrap();
        let asked = broker.next().await.unwrap();
        broker.write(&Conversation::encoded::<HeartbeatRequest>(&asked, &beat(1))[..end]).await;
        drop(broker);
        let error = link.drive().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Disconnected, "{end}: {error}");
        assert!(error.maybe_written() && error.is_retriable() && link.maybe_written(id));
        assert_eq!(link.enqueue(&heartbeat(0), 4).unwrap_err().kind(), ErrorKind::Disconnected, "it stays broken");
    }
}

#[tokio::test]
async fn nonsense_closes_the_link() {
    let too_long = 2_000_000_000i32.to_be_bytes().to_vec();
    let short = [&2i32.to_be_bytes()[..], &[0, 0]].concat();
    let stranger = [&8i32.to_be_bytes()[..], &[0, 0, 0, 99, 0, 0, 0, 0]].concat();
    for (bytes, text) in [
        (too_long, "announced a frame of 2000000000"),
        (b"HTTP/1.1 400 Bad Request\r\n".to_vec(), "HTTP"),
        (short, "cannot be read"),
        (stranger, "request 99 came where"),
    ] {
        let (mut link, mut broker) = linked().await;
        link.enqueue(&heartbeat(0), 4).unwrap();
        broker.write(&bytes).await;
        let error = link.drive().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Protocol, "{error}");
        assert!(error.to_string().contains(text) && error.to_string().starts_with("broker 1 (a:1): "), "{error}");
    }
    let (mut link, mut broker) = linked().await;
    broker.write(&[0, 0, 0, 4, 0, 0, 0, 0]).await;
    assert!(link.drive().await.unwrap_err().to_string().contains("no request"));
}

#[tokio::test(start_paused = true)]
async fn a_late_answer_closes_the_connection() {
    let (link, mut broker) = linked().await;
    let connection = Connection::new(link, None);
    let slow = connection.request(heartbeat(0), i16::MAX, Duration::from_secs(1));
    let behind = connection.request(heartbeat(1), i16::MAX, MINUTE);
    let (slow, behind, _) = tokio::join!(slow, behind, broker.next());
    let (slow, behind): (Error, Error) = (slow.unwrap_err(), behind.unwrap_err());
    assert_eq!((slow.kind(), slow.maybe_written()), (ErrorKind::Timeout, true));
    assert_eq!((behind.kind(), behind.maybe_written()), (ErrorKind::Disconnected, true));
    assert!(connection.is_closed());
    let late = connection.request(heartbeat(2), i16::MAX, MINUTE).await.unwrap_err();
    assert_eq!((late.kind(), late.maybe_written()), (ErrorKind::Disconnected, false));
}

// Shows: connections.max.idle.ms.
#[tokio::test(start_paused = true)]
async fn idle_connections_close() {
    let (link, mut broker) = linked().await;
    let connection = Connection::new(link, Some(MINUTE));
    tokio::time::advance(Duration::from_secs(59)).await;
    let asked = connection.request(heartbeat(0), i16::MAX, MINUTE);
    let answering = async {
        let asked = broker.next().await.unwrap();
        broker.answer::<HeartbeatRequest>(&asked, &beat(0)).await;
    };
    assert!(tokio::join!(asked, answering).0.is_ok());
    assert!(!connection.is_closed());
    assert!(broker.next().await.is_none(), "closed from the other end");
    assert!(connection.is_closed());
}

#[tokio::test(start_paused = true)]
async fn a_dropped_request_does_not_disturb_the_others() {
    let (link, mut broker) = linked().await;
    let connection = Connection::new(link, None);
    {
        let dropped = connection.request(heartbeat(0), i16::MAX, MINUTE);
        let _ = tokio::time::timeout(Duration::from_millis(1), dropped).await;
    }
    let answering = async {
        for generation in 0..2 {
            let asked = broker.next().await.unwrap();
            broker.answer::<HeartbeatRequest>(&asked, &beat(generation)).await;
        }
    };
    let (second, ()) = tokio::join!(connection.request(heartbeat(1), i16::MAX, MINUTE), answering);
    assert_eq!(second.unwrap().throttle_time_ms, 1);
    let _ = metadata(&["a:1"], 1, 1);
}
