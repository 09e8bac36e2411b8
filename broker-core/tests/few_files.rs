//! A process that may open few files serves on, slowly, and loses nothing. A test of its own file, for the limit is the
//! whole process's.

#![cfg(target_os = "linux")]

mod common;

use common::{Client, batch, config_at};
use rkafka_broker_core::Broker;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpStream;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_few_files_nothing_acknowledged_is_lost_and_no_directory_goes_offline() {
    let dir = tempfile::tempdir().unwrap();
    let before = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(96), ..before }).unwrap();
    let broker = Broker::start(config_at(dir.path())).await.unwrap();
    let mut client = Client::connect(&broker).await;
    client.create_topic("t", 100, &[("segment.ms", "1")]).await;
    let mut acknowledged = vec![Vec::new(); 100];
    let mut refused = 0;
    for round in 0..4 {
        // Every file that is left is taken by connections, so that logs find none.
        let mut crowd = Vec::new();
        while round % 2 == 0
            && let Ok(stream) = TcpStream::connect(broker.bootstrap()).await
        {
            crowd.push(stream);
        }
        assert_eq!(crowd.is_empty(), round % 2 != 0);
        for partition in 0..100i32 {
            let value = format!("{round}-{partition}");
            match client.produce("t", partition, batch(&[&value])).await.error_code {
                0 => acknowledged[partition as usize].push(value),
                _ => refused += 1,
            }
        }
    }
    assert!(refused > 0, "the logs found files enough, so nothing is tested");
    tokio::time::timeout(common::PATIENCE, async {
        while client.produce("t", 99, batch(&["again"])).await.error_code != 0 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("the partition does not come back");
    acknowledged[99].push("again".to_owned());
    for (partition, values) in (0..).zip(&acknowledged) {
        assert!(values.len() >= 2, "{values:?}");
        assert_eq!(client.values("t", partition, 0).await, *values);
    }
    broker.shutdown().await.unwrap();
    setrlimit(Resource::Nofile, before).unwrap();
    let broker = Broker::start(config_at(dir.path())).await.unwrap();
    let mut client = Client::connect(&broker).await;
    for (partition, values) in (0..).zip(&acknowledged) {
        assert_eq!(client.values("t", partition, 0).await, *values);
    }
    broker.shutdown().await.unwrap();
}
