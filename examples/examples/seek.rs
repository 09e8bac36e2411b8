//! Where reading begins: the beginning, the last records, a time, and back again.
//!
//! ```sh
//! cargo run -p rkafka-examples --example seek
//! ```
#![expect(clippy::print_stdout, reason = "a program prints")]

use std::time::Duration;

use rkafka::client::ClientSettings as _;
use rkafka::consumer::{Consumer, ConsumerConfig, Start, TopicPartition};
use rkafka::producer::{Producer, ProducerConfig, Record};
use rkafka_examples::{Cluster, Failure};

/// Midnight of a certain day, in milliseconds since 1970.
const MIDNIGHT: i64 = 1_700_000_000_000;
const HOUR: i64 = 3_600_000;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let cluster = Cluster::from_environment().await?;
    let topic = cluster.unique("events");
    cluster.fill(&topic, 1, []).await?;
    let producer = Producer::new(ProducerConfig::new().bootstrap_servers(cluster.bootstrap())).await?;
    for hour in 0..24 {
        let value = format!("{hour} o'clock");
        drop(producer.send(Record::to(&topic).value(&value).timestamp(MIDNIGHT + hour * HOUR)).await?);
    }
    producer.close(Duration::from_secs(30)).await?;

    let mut consumer = Consumer::connect(ConsumerConfig::new().bootstrap_servers(cluster.bootstrap())).await?;
    consumer.assign([(&*topic, 0, Start::Beginning)])?;
    println!("the beginning     {}", next(&mut consumer).await?);
    for (what, start) in [
        ("the last three", Start::RelativeToEnd(-3)),
        ("since the morning", Start::Timestamp(MIDNIGHT + 6 * HOUR - 1)),
        ("by its offset", Start::Offset(17)),
        ("and rewound", Start::Beginning),
    ] {
        consumer.seek(&topic, 0, start)?;
        println!("{what:<17} {}", next(&mut consumer).await?);
    }
    let place = TopicPartition::new(topic.clone(), 0);
    let noon = consumer.offsets_for_times(&[(place, MIDNIGHT + 12 * HOUR)]).await?;
    println!("noon is at offset {:?}", noon[0].1.map(|found| found.offset));
    consumer.close().await?;
    cluster.delete(&[&topic]).await?;
    cluster.stop().await?;
    Ok(())
}

async fn next(consumer: &mut Consumer) -> Result<String, Failure> {
    Ok(String::from_utf8_lossy(consumer.recv().await?.value().unwrap_or_default()).into_owned())
}
