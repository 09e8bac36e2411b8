//! The ways to send: fire and forget, one at a time, with a callback, and many at once.
//!
//! ```sh
//! cargo run -p rkafka-examples --example ways_to_send
//! ```
#![expect(clippy::print_stdout, reason = "a program prints")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rkafka::client::ClientSettings as _;
use rkafka::producer::{Producer, ProducerConfig, Record};
use rkafka_examples::{Cluster, Failure};

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let cluster = Cluster::from_environment().await?;
    let producer = Producer::new(ProducerConfig::new().bootstrap_servers(cluster.bootstrap())).await?;
    let values: Vec<String> = (0..10).map(|number| format!("line {number}")).collect();
    let (written, failed) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));

    // Fire and forget: the record is sent and retried all the same, and nobody asks what became of it.
    for value in &values {
        drop(producer.send(Record::to("lines").value(value)).await?);
    }
    producer.flush().await;

    // Synchronous: each waits for the one before. Safe, and slow: a round trip per record.
    for value in &values {
        let place = producer.send(Record::to("lines").value(value)).await?.await?;
        println!("{}-{} @ {}", place.topic, place.partition, place.offset);
        written.fetch_add(1, Ordering::Relaxed);
    }

    // With a callback, which a task of the producer calls once the record's fate is known.
    for value in &values {
        let (written, failed) = (written.clone(), failed.clone());
        let callback = move |result: rkafka::producer::DeliveryResult| {
            let count = if result.is_ok() { &written } else { &failed };
            count.fetch_add(1, Ordering::Relaxed);
        };
        producer.send_with(Record::to("lines").value(value), callback).await?;
    }
    producer.flush().await;

    // Many at once, and only then what became of each: the quickest way that knows.
    let mut deliveries = Vec::new();
    producer.send_many(values.iter().map(|value| Record::to("lines").value(value)), &mut deliveries).await?;
    for delivery in deliveries {
        match delivery.await {
            Ok(_) => written.fetch_add(1, Ordering::Relaxed),
            Err(_) => failed.fetch_add(1, Ordering::Relaxed),
        };
    }

    let (written, failed) = (written.load(Ordering::Relaxed), failed.load(Ordering::Relaxed));
    println!("{written} known to be written, {failed} failed");
    producer.close(Duration::from_secs(30)).await?;
    cluster.stop().await?;
    Ok(())
}
