//! Produces as fast as the cluster takes it, and observes the acknowledgement of every record.

use std::collections::VecDeque;

use rkafka::producer::{ClientSettings, Delivery, Producer, ProducerConfig};
use tokio::runtime::Builder;

use crate::Outcome;
use crate::measure::{Phase, now, payload};

/// What a run is shaped like, as it was typed.
pub struct Shape<'a> {
    pub acks: &'a str,
    pub linger: &'a str,
    pub batch: &'a str,
    pub codec: &'a str,
    pub idempotent: &'a str,
}

pub fn run(bootstrap: &str, topic: &str, count: &str, size: &str, shape: &Shape<'_>) -> Outcome<String> {
    let (count, size): (usize, usize) = (count.parse()?, size.parse()?);
    let payload = payload()?;
    let values: Vec<&[u8]> = payload.chunks_exact(size).collect();
    let mut config = ProducerConfig::new().bootstrap_servers(bootstrap);
    config.set("acks", shape.acks)?;
    config.set("compression.type", shape.codec)?;
    config.set("enable.idempotence", if shape.idempotent == "1" { "true" } else { "false" })?;
    if shape.linger != "-" {
        config.set("linger.ms", shape.linger)?;
        config.set("batch.size", shape.batch)?;
        config.set("buffer.memory", "64MiB")?;
    }
    // The records are sent by this thread, the batches by the runtime's one.
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let (producer, handle) = runtime.block_on(async {
        let producer = Producer::new(config).await?;
        let handle = producer.topic(topic).await?;
        Ok::<_, Box<dyn std::error::Error>>((producer, handle))
    })?;
    let phase = Phase::start();
    let mut pending: VecDeque<Delivery> = VecDeque::new();
    let mut seen = 0usize;
    for index in 0..count {
        let record = handle.record().value(values[index % values.len()]);
        let delivery = match handle.try_send(&record) {
            Ok(delivery) => delivery,
            Err(_) => runtime.block_on(handle.send(record))?,
        };
        pending.push_back(delivery);
        // Every now and then, see what was acknowledged meanwhile.
        if index % 1024 == 0 {
            while let Some(result) = pending.front().and_then(Delivery::try_result) {
                result?;
                pending.pop_front();
                seen += 1;
            }
        }
    }
    runtime.block_on(async {
        producer.flush().await;
        for delivery in pending.drain(..) {
            delivery.await?;
            seen += 1;
        }
        Ok::<_, Box<dyn std::error::Error>>(())
    })?;
    let took = now() - phase.begin;
    if seen != count {
        return Err(format!("{seen} of {count} records were acknowledged").into());
    }
    Ok(phase.report("produce", count, count * size, took, ""))
}
