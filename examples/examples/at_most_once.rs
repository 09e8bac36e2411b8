//! At most once: offsets are committed before the records are dealt with, so that none is dealt with twice. What a crash
//! interrupts is lost.
//!
//! ```sh
//! cargo run -p rkafka-examples --example at_most_once
//! ```
#![expect(clippy::print_stdout, reason = "a program prints")]

use rkafka::client::ClientSettings as _;
use rkafka::consumer::{Consumer, ConsumerConfig, OffsetReset};
use rkafka_examples::{Cluster, Failure};

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let cluster = Cluster::from_environment().await?;
    let topic = cluster.unique("readings");
    cluster.fill(&topic, 1, (0..10).map(|number| (None, format!("reading {number}")))).await?;

    let config = ConsumerConfig::new()
        .bootstrap_servers(cluster.bootstrap())
        .group_id(cluster.unique("gauges"))
        .auto_offset_reset(OffsetReset::Earliest)
        .enable_auto_commit(false)
        .max_poll_records(4_usize);
    let mut consumer = Consumer::connect(config.clone()).await?;
    consumer.subscribe([&*topic])?;
    let mut records = Vec::new();
    consumer.recv_many(&mut records).await?;
    // First the commit. Where it fails, the records are not touched: they may be somebody else's by now.
    consumer.commit().await?;
    println!("{} records are committed; the power fails before the last one is dealt with", records.len());
    for record in &records[..records.len() - 1] {
        println!("{}", String::from_utf8_lossy(record.value().unwrap_or_default()));
    }
    drop(consumer);

    // Whoever goes on begins behind what is committed.
    let mut consumer = Consumer::connect(config).await?;
    consumer.subscribe([&*topic])?;
    let mut count = records.len();
    while count < 10 {
        records.clear();
        count += consumer.recv_many(&mut records).await?;
        consumer.commit().await?;
        for record in &records {
            println!("{}", String::from_utf8_lossy(record.value().unwrap_or_default()));
        }
    }
    println!("9 of 10 records were dealt with, and none twice");
    consumer.close().await?;
    cluster.delete(&[&topic]).await?;
    cluster.stop().await?;
    Ok(())
}
