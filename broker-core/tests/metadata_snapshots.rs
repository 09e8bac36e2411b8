//! Snapshots of the metadata: written as the settings say, read after a restart, and fetched by a node that has nothing.

mod common;

use std::path::Path;
use std::time::Duration;

use common::{Client, PATIENCE, create_topics};
use rkafka_broker_core::{Broker, BrokerConfig, BrokerHandle, Cluster};
use rkafka_protocol::messages::MetadataRequest;

/// The names of the files of the metadata log that end like this, in their order.
fn files(data_dir: &Path, ending: &str) -> Vec<String> {
    let entries = std::fs::read_dir(data_dir.join("__cluster_metadata-0")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().to_str().unwrap().to_owned());
    let mut names: Vec<String> = names.filter(|name| name.ends_with(ending)).collect();
    names.sort();
    names
}

fn often(config: BrokerConfig) -> BrokerConfig {
    config
        .in_memory(false)
        .metadata_log_max_record_bytes_between_snapshots(2000)
        .metadata_max_retention_bytes(0)
        .broker_session_timeout(Duration::from_secs(3))
        .broker_heartbeat_interval(Duration::from_millis(500))
}

async fn create(node: &BrokerHandle, names: impl Iterator<Item = i32>) {
    let mut client = Client::connect(node).await;
    for n in names {
        let created = client.call(&create_topics(&format!("t{n}"), 3, &[]), 7).await;
        assert_eq!(created.topics[0].error_code, 0, "{:?}", created.topics[0].error_message);
    }
}

async fn topics(node: &BrokerHandle) -> usize {
    let mut client = Client::connect(node).await;
    let found = client.call(&MetadataRequest { topics: None, ..Default::default() }, 12).await;
    assert!(found.topics.iter().all(|topic| topic.error_code == 0 && topic.partitions.len() == 3));
    found.topics.len()
}

/// Looks until it is so.
async fn until(what: &str, is_so: impl AsyncFn() -> bool) {
    let looking = async {
        while !is_so().await {
            #[expect(clippy::disallowed_methods, reason = "a test that looks again")]
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, looking).await.expect(what);
}

#[tokio::test]
async fn a_node_begins_with_its_last_snapshot() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().to_str().unwrap().to_owned();
    let config = || often(BrokerConfig::new()).listeners("PLAINTEXT://127.0.0.1:0").log_dirs(vec![data.clone()]);
    let broker = Broker::start(config()).await.unwrap();
    create(&broker, 0..30).await;
    // The oldest go with the next ones.
    until("snapshots are written and go", async || {
        let names = files(folder.path(), ".checkpoint");
        names.len() == 1 && names[0] > format!("{:020}", 40)
    })
    .await;
    assert_eq!(topics(&broker).await, 30);
    drop(broker);
    let broker = Broker::start(config()).await.unwrap();
    assert_eq!(topics(&broker).await, 30);
    create(&broker, 30..32).await;
    broker.shutdown().await.unwrap();
    let broker = Broker::start(config()).await.unwrap();
    assert_eq!(topics(&broker).await, 32);
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_snapshot_is_written_after_a_while_too() {
    let folder = tempfile::tempdir().unwrap();
    let config = BrokerConfig::new()
        .listeners("PLAINTEXT://127.0.0.1:0")
        .log_dirs(vec![folder.path().to_str().unwrap().to_owned()])
        .metadata_log_max_snapshot_interval(Duration::from_millis(100));
    let broker = Broker::start(config).await.unwrap();
    until("a snapshot is written", async || !files(folder.path(), ".checkpoint").is_empty()).await;
    broker.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_lost_everything_fetches_a_snapshot() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().to_owned();
    let dir_of = move |id: i32| root.join(id.to_string());
    let dirs = dir_of.clone();
    let settings = move |config: BrokerConfig| {
        let dir = dirs(config.node_id);
        often(config).log_dirs(vec![dir.to_str().unwrap().to_owned()])
    };
    let starting = Cluster::brokers(3).with(settings).start();
    let mut cluster = tokio::time::timeout(PATIENCE, starting).await.unwrap().unwrap();
    create(cluster.node(1).unwrap(), 0..30).await;
    // So many that the log of each begins behind one.
    until("all write snapshots", async || {
        (1..=3).all(|id| {
            let names = files(&dir_of(id), ".checkpoint");
            names.len() == 1 && names[0] > format!("{:020}", 40)
        })
    })
    .await;
    drop(cluster.take(3));
    std::fs::remove_dir_all(dir_of(3)).unwrap();
    tokio::time::timeout(PATIENCE, cluster.start_again(3)).await.unwrap().unwrap();
    until("the node has what the others have", async || topics(cluster.node(3).unwrap()).await == 30).await;
    let first = files(&dir_of(3), ".log").remove(0);
    assert!(first > format!("{:020}", 40), "its log begins where a snapshot ended: {first}");
    cluster.shutdown().await.unwrap();
}
