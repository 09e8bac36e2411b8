//! A producer for a program without an async runtime: its calls block, and it has a thread of its own.
//!
//! ```sh
//! cargo run -p rkafka-examples --example blocking
//! ```
#![expect(clippy::print_stdout, reason = "a program prints")]

use std::time::Duration;

use rkafka::client::ClientSettings as _;
use rkafka::producer::{ProducerConfig, Record, blocking};
use rkafka_examples::{Cluster, Failure};

fn main() -> Result<(), Failure> {
    // For the broker that this example may have to start; the producer needs no runtime.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let cluster = runtime.block_on(Cluster::from_environment())?;

    let producer = blocking::Producer::new(ProducerConfig::new().bootstrap_servers(cluster.bootstrap()))?;
    let mut deliveries = Vec::new();
    for number in 0..10 {
        deliveries.push(producer.send(Record::to("lines").value(&format!("line {number}")))?);
    }
    let mut count = 0;
    for delivery in deliveries {
        let written = delivery.blocking_wait()?;
        println!("{}-{} @ {}", written.topic, written.partition, written.offset);
        count += 1;
    }
    println!("{count} records written");

    producer.close(Duration::from_secs(30))?;
    runtime.block_on(cluster.stop())?;
    Ok(())
}
