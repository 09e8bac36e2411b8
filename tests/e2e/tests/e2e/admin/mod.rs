//! The admin client, operation by operation, with what goes well and what does not, on both brokers.

mod cluster;
mod configs;
mod group_offsets;
mod groups;
mod offsets;
mod security;
mod topics;
mod transactions;

use rkafka::admin::{Admin, AdminConfig, ErrorCode, Result};
use rkafka::client::ClientSettings as _;
use rkafka_testkit::{Cluster, eventually};

use crate::support::{in_time, producer};
use rkafka::producer::Record;

async fn admin(cluster: &Cluster) -> Admin {
    connect(&cluster.bootstrap()).await
}

async fn connect(bootstrap: &str) -> Admin {
    let config = AdminConfig::new().bootstrap_servers(bootstrap);
    in_time("an admin client", Admin::connect(config)).await.expect("an admin client")
}

fn code<T: std::fmt::Debug>(result: &Result<T>) -> Option<ErrorCode> {
    result.as_ref().expect_err("an error").code()
}

/// Writes `count` records to a partition, with timestamps 1000, 2000 and so on.
async fn write(cluster: &Cluster, topic: &str, partition: i32, count: i64) {
    let producer = producer(&cluster.bootstrap()).await;
    for number in 1..=count {
        let record = Record::to(topic).partition(partition).value("value").timestamp(number * 1_000);
        in_time("written", producer.send(record).await.expect("accepted")).await.expect("written");
    }
}

/// What an operation comes to, for a broker that has done a thing may know of it a moment later only.
async fn comes<T, F: Future<Output = Result<T>>>(what: &str, mut ask: impl FnMut() -> F, is: impl Fn(&T) -> bool) -> T
where
    T: std::fmt::Debug,
{
    eventually(what, || {
        let asked = ask();
        async {
            let answer = asked.await.map_err(|error| error.to_string())?;
            if is(&answer) { Ok(answer) } else { Err(format!("{answer:?}")) }
        }
    })
    .await
}
