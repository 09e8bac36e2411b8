//! What a client measures of its connections, against what a scripted broker saw.

mod fake;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use fake::{FakeNet, config, metadata, options};
use rkafka_client_core::metrics::{ClientKind, MetricsSnapshot, client_specs};
use rkafka_client_core::{Client, Dial, Endpoint, Lane, Link, Shared, Target, Topics};
use rkafka_protocol::messages::MetadataRequest;

/// The clock of the tests, which stands still unless somebody sleeps.
fn snapshot(shared: &Shared) -> MetricsSnapshot {
    #[expect(clippy::disallowed_methods, reason = "the paused clock")]
    shared.metrics().snapshot(tokio::time::Instant::now().into_std())
}

async fn pause(seconds: u64) {
    #[expect(clippy::disallowed_methods, reason = "virtual time")]
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn traffic_is_what_the_broker_saw() {
    let net = FakeNet::new();
    let mut connections = net.listen("a:1");
    let endpoint = Endpoint { node_id: Some(7), address: "a:1".parse().unwrap() };
    let shared = Shared::new(config("a:1"), Arc::clone(&net) as Arc<dyn Dial>, ClientKind::Producer);
    let (link, mut broker) = tokio::join!(Link::connect(&shared, &endpoint), async {
        let mut broker = connections.recv().await.unwrap();
        broker.greet().await;
        broker
    });
    let mut link = link.unwrap();
    for correlation_id in [1, 2] {
        assert_eq!(link.enqueue(&MetadataRequest::default(), 12).unwrap(), correlation_id);
    }
    let answer = async {
        let asked = broker.next().await.unwrap();
        broker.answer::<MetadataRequest>(&asked, &metadata(&["a:1"], 1, 1)).await;
    };
    let (answered, ()) = tokio::join!(link.drive(), answer);
    answered.unwrap();
    broker.next().await.unwrap();
    let now = snapshot(&shared);
    let value = |name: &str| now.value(name, "producer-metrics").unwrap();
    let of_node = |name: &str| now.value_of(name, "producer-node-metrics", "node-id", "node-7").unwrap();
    let received = broker.received.iter().sum::<usize>() as f64;
    assert_eq!(broker.received.len(), 3);
    let largest = *broker.received.iter().max().unwrap() as f64;
    for value in [&value as &dyn Fn(&str) -> f64, &of_node] {
        assert_eq!((value("request-total"), value("response-total")), (3.0, 2.0));
        assert_eq!((value("outgoing-byte-total"), value("incoming-byte-total")), (received, broker.sent as f64));
        assert_eq!((value("request-size-avg"), value("request-size-max")), (received / 3.0, largest));
        // No time has passed, and one sample of 30 seconds counts as if it had been empty.
        assert_eq!((value("request-rate"), value("response-rate")), (3.0 / 30.0, 2.0 / 30.0));
        assert_eq!(value("outgoing-byte-rate"), received / 30.0);
        assert_eq!(value("incoming-byte-rate"), broker.sent as f64 / 30.0);
    }
    assert_eq!((value("connection-count"), value("connection-creation-total")), (1.0, 1.0));
    assert_eq!((value("connection-creation-rate"), value("connection-close-total")), (1.0 / 30.0, 0.0));
    assert!(of_node("request-latency-avg").is_nan(), "nobody has told one");
    #[expect(clippy::disallowed_methods, reason = "the paused clock")]
    link.record_latency(tokio::time::Instant::now().into_std(), Duration::from_millis(12));
    drop(link);
    pause(10).await;
    let now = snapshot(&shared);
    let value = |name: &str| now.value(name, "producer-metrics").unwrap();
    assert_eq!((value("connection-count"), value("connection-close-total")), (0.0, 1.0));
    assert_eq!(value("connection-close-rate"), 1.0 / 40.0);
    assert_eq!(now.value("request-latency-max", "producer-node-metrics"), Some(12.0));
    // Every metric that is declared is there, and none else.
    let declared = client_specs().map(|spec| (spec.group(ClientKind::Producer).into_owned(), spec.name()));
    let there = now.iter().map(|metric| (metric.group().to_owned(), metric.name()));
    assert_eq!(there.collect::<BTreeSet<_>>(), declared.collect::<BTreeSet<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_client_knows_the_age_of_its_metadata_and_what_is_in_flight() {
    let net = FakeNet::new();
    net.serve("a:1", || metadata(&["a:1"], 1, 1));
    let client = Client::connect_with(config("a:1").client_id("me"), options(&net)).await.unwrap();
    pause(20).await;
    assert_eq!(client.metadata_age(), Duration::from_secs(20));
    client.refresh(Topics::Known).await.unwrap();
    assert_eq!((client.metadata_age(), client.requests_in_flight()), (Duration::ZERO, 0));
    let metrics = client.metrics();
    assert_eq!(metrics.value("connection-count", "admin-client-metrics"), Some(1.0));
    let total = |node| metrics.value_of("request-total", "admin-client-node-metrics", "node-id", node);
    assert_eq!((total("node--1"), total("node-1")), (Some(3.0), None), "as long as it is the bootstrap's connection");
    assert!(metrics.iter().all(|metric| metric.tag("client-id") == Some("me")));
    // A request that is not answered is in flight until its connection is given up.
    let mut connections = net.listen("a:1");
    let other = client.connection(&Target::Node(1), Lane::Other(1));
    let (connection, broker) = tokio::join!(other, async {
        let mut broker = connections.recv().await.unwrap();
        broker.greet().await;
        broker
    });
    let connection = connection.unwrap();
    let asking = connection.request(MetadataRequest::default(), i16::MAX, Duration::from_secs(5));
    let (asked, in_flight) = tokio::join!(asking, async {
        pause(1).await;
        client.requests_in_flight()
    });
    assert!(asked.is_err() && in_flight == 1);
    pause(1).await;
    assert_eq!(client.requests_in_flight(), 0);
    // The first went when nobody listened there any more.
    assert_eq!(client.metrics().value("connection-close-total", "admin-client-metrics"), Some(2.0));
    drop(broker);
}
