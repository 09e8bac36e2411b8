//! Sends ten records, each with a key and a header, and prints where each was written.
//!
//! ```sh
//! cargo run -p rkafka-examples --example produce
//! ```
#![expect(clippy::print_stdout, reason = "a program prints")]

use std::time::Duration;

use rkafka::client::ClientSettings as _;
use rkafka::producer::{Acks, CompressionType, Producer, ProducerConfig, Record};
use rkafka_examples::{Cluster, Failure};

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let cluster = Cluster::from_environment().await?;

    let config = ProducerConfig::new()
        .bootstrap_servers(cluster.bootstrap())
        .acks(Acks::All)
        .compression_type(CompressionType::Zstd);
    let producer = Producer::new(config).await?;

    // `send` accepts a record; what it gives back tells where the record was written, once a broker has it.
    let mut deliveries = Vec::new();
    for number in 0..10 {
        let (key, value) = (format!("customer-{}", number % 3), format!("order {number}"));
        let record = Record::to("orders").key(&key).value(&value).header("source", "example");
        deliveries.push(producer.send(record).await?);
    }
    for delivery in deliveries {
        let written = delivery.await?;
        println!("{}-{} @ {}", written.topic, written.partition, written.offset);
    }

    producer.close(Duration::from_secs(30)).await?;
    cluster.stop().await?;
    Ok(())
}
