//! A share consumer against the embedded broker: what it measures, what the application's code cannot break, and its
//! other faces.

mod blocking;
#[path = "../common/mod.rs"]
mod common;
mod typed;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rkafka_consumer::{ClientSettings, ShareConsumer, ShareConsumerConfig, ShareConsumerError};
use rkafka_protocol::messages::IncrementalAlterConfigsRequest;
use rkafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use rkafka_testkit::{RawClient, RawProducer, TestCluster, TransactionProtocol};

const LIMIT: Duration = Duration::from_secs(60);

/// A broker with seven records, and a group that begins at the first.
async fn cluster() -> TestCluster {
    cluster_of(&["0", "1", "2", "3", "4", "5", "6"]).await
}

/// A broker with these values, and a group that begins at the first.
async fn cluster_of(values: &[&str]) -> TestCluster {
    let cluster = TestCluster::builder().topic("t", 1).start().await;
    let mut client = RawClient::connect(&cluster.bootstrap()).await.unwrap();
    let reset = AlterableConfig {
        name: "share.auto.offset.reset".to_owned(),
        value: Some("earliest".to_owned()),
        ..AlterableConfig::default()
    };
    let group = AlterConfigsResource {
        resource_type: 32,
        resource_name: "g".to_owned(),
        configs: vec![reset],
        ..AlterConfigsResource::default()
    };
    let request =
        IncrementalAlterConfigsRequest { resources: vec![group], ..IncrementalAlterConfigsRequest::default() };
    assert_eq!(client.call(&request, 1).await.unwrap().responses[0].error_code, 0);
    let mut producer = RawProducer::init(&mut client, "filler", TransactionProtocol::V2, LIMIT).await.unwrap();
    for value in values {
        producer.produce(&mut client, "t", &[(0, value)]).await.unwrap();
    }
    producer.end(&mut client, true).await.unwrap();
    cluster
}

fn config(cluster: &TestCluster) -> ShareConsumerConfig {
    ShareConsumerConfig::new().bootstrap_servers(cluster.bootstrap()).group_id("g")
}

async fn member(cluster: &TestCluster) -> ShareConsumer {
    let mut member = ShareConsumer::connect(config(cluster)).await.unwrap();
    member.subscribe(["t"]).unwrap();
    member
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future).await.expect("it must not hang")
}

#[tokio::test]
async fn a_share_consumer_measures_what_it_does() {
    let cluster = cluster().await;
    let mut member = member(&cluster).await;
    let fetch = "consumer-share-fetch-manager-metrics";
    for _ in 0..7 {
        within(member.recv()).await.unwrap();
    }
    assert!(within(member.commit()).await.unwrap().iter().all(|result| result.result.is_ok()));
    // What is at hand is given up, which is when it is told.
    let _ = tokio::time::timeout(Duration::from_millis(50), member.recv()).await;
    let metrics = member.metrics();
    let value = |name: &str, group: &str| metrics.value(name, group).unwrap_or_else(|| panic!("{group} has no {name}"));
    assert_eq!(value("records-consumed-total", fetch), 7.0);
    assert!(value("bytes-consumed-total", fetch) >= 7.0 * 8.0);
    assert!(value("records-per-request-max", fetch) <= 7.0 && value("records-per-request-max", fetch) >= 1.0);
    assert!(
        value("fetch-total", fetch) >= 1.0 && value("fetch-latency-max", fetch) >= value("fetch-latency-avg", fetch)
    );
    assert!(value("acknowledgements-send-total", fetch) >= 7.0);
    assert_eq!(value("acknowledgements-error-total", fetch), 0.0);
    let coordinator = "consumer-share-coordinator-metrics";
    assert!(value("heartbeat-total", coordinator) >= 1.0 && value("last-heartbeat-seconds-ago", coordinator) >= 0.0);
    assert!(value("rebalance-total", coordinator) >= 1.0);
    assert!(value("last-poll-seconds-ago", "consumer-share-metrics") >= 0.0);
    let idle = value("poll-idle-ratio-avg", "consumer-share-metrics");
    assert!((0.0..=1.0).contains(&idle), "{idle}");
    for spec in rkafka_consumer::share_metric_specs() {
        let group = spec.group(rkafka_client_core::metrics::ClientKind::Consumer);
        assert!(metrics.select(spec.name(), &group).next().is_some(), "{} is declared and not told", spec.name());
    }
    within(member.close()).await.unwrap();
}

/// A panic in it ended the task that talks to the broker, after which nothing came any more.
#[tokio::test]
async fn a_callback_that_panics_ends_nothing() {
    let cluster = cluster().await;
    let mut member = member(&cluster).await;
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    member.set_acknowledgement_callback(move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        panic!("of the application");
    });
    for round in 0..7 {
        within(member.recv()).await.unwrap();
        within(member.commit()).await.unwrap_or_else(|error| panic!("round {round}: {error}"));
    }
    assert!(calls.load(Ordering::SeqCst) >= 7);
    within(member.close()).await.unwrap();
}

/// An acknowledgement that was awaited outside of a runtime panicked.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn acknowledgements_can_be_awaited_without_a_runtime() {
    let cluster = cluster().await;
    let mut member = member(&cluster).await;
    within(member.recv()).await.unwrap();
    let member = std::thread::spawn(move || {
        let parker = std::thread::current();
        let waker = std::task::Waker::from(Arc::new(Unpark(parker)));
        {
            let mut commit = std::pin::pin!(member.commit());
            loop {
                match commit.as_mut().poll(&mut std::task::Context::from_waker(&waker)) {
                    std::task::Poll::Ready(results) => break assert_eq!(results.unwrap().len(), 1),
                    std::task::Poll::Pending => std::thread::park(),
                }
            }
        }
        member
    });
    let member = tokio::task::spawn_blocking(move || member.join().expect("no panic")).await.unwrap();
    let handle = member.handle();
    within(member.close()).await.unwrap();
    assert!(matches!(handle.commit_async().err(), Some(ShareConsumerError::Closed)));
}

struct Unpark(std::thread::Thread);

impl std::task::Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}
