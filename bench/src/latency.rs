//! One record at a time, awaited; then one at a time from produce to consume.

use rkafka::client::ClientSettings;
use rkafka::consumer::{Consumer, ConsumerConfig, Start};
use rkafka::producer::{Producer, ProducerConfig};
use tokio::runtime::Builder;

use crate::Outcome;
use crate::measure::{Phase, now, payload, quantiles};

pub fn run(bootstrap: &str, topic: &str, count: &str, size: &str) -> Outcome<String> {
    let (count, size): (usize, usize) = (count.parse()?, size.parse()?);
    let payload = payload()?;
    let values: Vec<&[u8]> = payload.chunks_exact(size).collect();
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut config = ProducerConfig::new().bootstrap_servers(bootstrap);
        config.set("linger.ms", "0")?;
        let producer = Producer::new(config).await?;
        let handle = producer.topic(topic).await?;
        let record = |index: usize| handle.record().partition(0).value(values[index % values.len()]);
        for index in 0..200 {
            handle.send(record(index)).await?.await?;
        }
        let phase = Phase::start();
        let mut times = Vec::with_capacity(count);
        for index in 0..count {
            let begin = now();
            handle.send(record(index)).await?.await?;
            times.push(now() - begin);
        }
        let took = now() - phase.begin;
        let fields = quantiles("", &mut times);
        let line = phase.report("latency", count, count * size, took, &fields);

        let mut config = ConsumerConfig::new().bootstrap_servers(bootstrap);
        config.set("fetch.min.bytes", "1")?;
        let mut consumer = Consumer::connect(config).await?;
        consumer.assign([(topic, 0, Start::End)])?;
        // The position at the end is known once a record sent after it comes.
        let mut end_to_end = Vec::with_capacity(count);
        let mut warm = 0;
        while warm < 100 {
            handle.send(record(warm)).await?.await?;
            tokio::select! {
                got = consumer.recv() => { got?; warm += 1; }
                () = tokio::task::yield_now() => {}
            }
        }
        while let Ok(got) = tokio::time::timeout(std::time::Duration::from_millis(200), consumer.recv()).await {
            got?;
        }
        for index in 0..count {
            let begin = now();
            let delivery = handle.send(record(index)).await?;
            consumer.recv().await?;
            end_to_end.push(now() - begin);
            delivery.await?;
        }
        let line = format!("{}{}}}", line.trim_end_matches('}'), quantiles("e2e_", &mut end_to_end));
        consumer.close().await?;
        producer.close(std::time::Duration::from_secs(10)).await?;
        Ok(line)
    })
}
