//! Reads a topic from its beginning by batch views, and looks at every record.

use std::time::Duration;

use rkafka::client::{Client, ClientSettings, Topics};
use rkafka::consumer::{Consumer, ConsumerConfig, Start};
use tokio::runtime::Builder;

use crate::Outcome;
use crate::measure::{Phase, now};

pub fn run(bootstrap: &str, topic: &str, count: &str) -> Outcome<String> {
    let count: usize = count.parse()?;
    let begin = now();
    let phase = Phase::start();
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let config = ConsumerConfig::new().bootstrap_servers(bootstrap);
        let client = Client::connect(config.client.clone()).await?;
        let cluster = client.refresh(Topics::named([topic])).await?;
        let partitions = &cluster.topic(topic).ok_or("no such topic")?.partitions;
        let mut consumer = Consumer::connect(config).await?;
        consumer.assign(partitions.iter().map(|partition| (topic, partition.index, Start::Beginning)))?;
        let (mut records, mut bytes) = (0usize, 0usize);
        let mut first = None;
        while records < count {
            let batch = consumer.next_batch().await?;
            first.get_or_insert_with(now);
            for record in batch.records() {
                records += 1;
                bytes += record?.value.map_or(0, <[u8]>::len);
            }
        }
        let end = now();
        let first = first.unwrap_or(end);
        let startup: Duration = first - begin;
        let line = phase.report(
            "consume",
            records,
            bytes,
            end - first,
            &format!(",\"startup_s\":{:.6}", startup.as_secs_f64()),
        );
        consumer.close().await?;
        Ok(line)
    })
}
