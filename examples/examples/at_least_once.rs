//! At least once: offsets are committed after the records are dealt with, so that none is lost. What a crash interrupts is
//! dealt with again.
//!
//! ```sh
//! cargo run -p rkafka-examples --example at_least_once
//! ```
#![expect(clippy::print_stdout, reason = "a program prints")]

use rkafka::client::ClientSettings as _;
use rkafka::consumer::{Consumer, ConsumerConfig, OffsetReset};
use rkafka_examples::{Cluster, Failure};

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let cluster = Cluster::from_environment().await?;
    let topic = cluster.unique("payments");
    cluster.fill(&topic, 1, (0..10).map(|number| (None, format!("payment {number}")))).await?;

    // `enable.auto.commit` alone does the same by itself: it commits what the application has come back from. Here each
    // batch is committed as soon as it is done.
    let config = ConsumerConfig::new()
        .bootstrap_servers(cluster.bootstrap())
        .group_id(cluster.unique("ledger"))
        .auto_offset_reset(OffsetReset::Earliest)
        .enable_auto_commit(false)
        .max_poll_records(4_usize);
    let (mut done, mut is_first) = (Vec::new(), true);
    while done.last().is_none_or(|last| last != "payment 9") {
        let mut consumer = Consumer::connect(config.clone()).await?;
        consumer.subscribe([&*topic])?;
        let mut records = Vec::new();
        loop {
            records.clear();
            consumer.recv_many(&mut records).await?;
            for record in &records {
                done.push(String::from_utf8_lossy(record.value().unwrap_or_default()).into_owned());
            }
            if std::mem::take(&mut is_first) {
                println!("{} records are done; the power fails before they are committed", records.len());
                break;
            }
            consumer.commit().await?;
            if done.last().is_some_and(|last| last == "payment 9") {
                break;
            }
        }
    }
    let mut distinct = done.clone();
    distinct.sort();
    distinct.dedup();
    println!("{} of 10 records were dealt with, {} of them twice", distinct.len(), done.len() - distinct.len());
    cluster.delete(&[&topic]).await?;
    cluster.stop().await?;
    Ok(())
}
