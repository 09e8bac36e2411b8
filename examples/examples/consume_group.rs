//! Two members of a group share the partitions of a topic, while a producer goes on sending.
//!
//! ```sh
//! cargo run -p rkafka-examples --example consume_group
//! ```
#![expect(clippy::print_stdout, reason = "a program prints")]

use std::time::Duration;

use rkafka::admin::{Admin, AdminConfig, NewTopic};
use rkafka::client::ClientSettings as _;
use rkafka::consumer::{Consumer, ConsumerConfig, ConsumerRecord, OffsetReset};
use rkafka::producer::{Producer, ProducerConfig, Record};
use rkafka_examples::{Cluster, Failure};

/// How many records each member is to see.
const ENOUGH: usize = 20;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let cluster = Cluster::from_environment().await?;
    let topic = cluster.unique("clicks");
    let admin = Admin::connect(AdminConfig::new().bootstrap_servers(cluster.bootstrap())).await?;
    let new = NewTopic::new(&topic).partitions(4);
    for (_, outcome) in admin.create_topics(&[new]).await? {
        outcome?;
    }

    let producer = Producer::new(ProducerConfig::new().bootstrap_servers(cluster.bootstrap())).await?;
    let (mut first, mut second) = (member(&cluster, &topic).await?, member(&cluster, &topic).await?);
    let (mut seen_by_first, mut seen_by_second) = (0, 0);
    let mut ticks = tokio::time::interval(Duration::from_millis(5));
    let mut number = 0;
    // A record is handed out only when `recv` returns it, so that it may stand in a `select!`.
    while seen_by_first < ENOUGH || seen_by_second < ENOUGH {
        tokio::select! {
            _ = ticks.tick() => {
                let (partition, value) = (number % 4, format!("click {number}"));
                drop(producer.send(Record::to(&topic).partition(partition).value(&value)).await?);
                number += 1;
            }
            record = first.recv() => show("first ", &record?, &mut seen_by_first),
            record = second.recv() => show("second", &record?, &mut seen_by_second),
        }
    }
    println!("of {number} records the first member saw {seen_by_first} and the second {seen_by_second}");

    // `close` commits what was handed out and leaves the group, so that others take over at once.
    first.close().await?;
    second.close().await?;
    producer.close(Duration::from_secs(30)).await?;
    for (_, outcome) in admin.delete_topics(&[topic]).await? {
        outcome?;
    }
    cluster.stop().await?;
    Ok(())
}

async fn member(cluster: &Cluster, topic: &str) -> Result<Consumer, Failure> {
    let config = ConsumerConfig::new()
        .bootstrap_servers(cluster.bootstrap())
        .group_id(cluster.unique("shop"))
        .auto_offset_reset(OffsetReset::Earliest);
    let mut consumer = Consumer::connect(config).await?;
    consumer.subscribe([topic])?;
    Ok(consumer)
}

fn show(member: &str, record: &ConsumerRecord, seen: &mut usize) {
    *seen += 1;
    let value = String::from_utf8_lossy(record.value().unwrap_or_default());
    println!("{member} {}-{} @ {}: {value}", record.topic(), record.partition(), record.offset());
}
