//! The whole way of a record, once: starts a broker in this process, sends a file line by line with keys and
//! compression, reads it in a group, and compares what came out with what went in.
//!
//! ```sh
//! cargo run --release -p rkafka-examples --example tour [FILE]
//! ```
//!
//! Without FILE it takes the sources of rkafka's own messages. Set RKAFKA_BOOTSTRAP to run it on a cluster instead.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program prints")]

use std::collections::VecDeque;
use std::fs::File;
use std::hash::{DefaultHasher, Hasher as _};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use rkafka::admin::{Admin, AdminConfig, NewTopic};
use rkafka::client::ClientSettings as _;
use rkafka::consumer::{Consumer, ConsumerConfig, OffsetReset};
use rkafka::producer::{CompressionType, Producer, ProducerConfig, Record};
use rkafka_examples::{Cluster, Failure};

const PARTITIONS: i32 = 3;

#[tokio::main]
async fn main() -> ExitCode {
    match tour().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn tour() -> Result<(), Failure> {
    let files = files()?;
    let cluster = Cluster::from_environment().await?;
    println!("cluster   {} ({})", cluster.bootstrap(), cluster.place());
    let topic = cluster.unique("rkafka-tour");
    let admin = Admin::connect(AdminConfig::new().bootstrap_servers(cluster.bootstrap())).await?;
    let new = NewTopic::new(&topic).partitions(PARTITIONS);
    for (_, outcome) in admin.create_topics(&[new]).await? {
        outcome?;
    }

    let result = there_and_back(&cluster, &topic, &files).await;

    for (_, outcome) in admin.delete_topics(&[topic]).await? {
        outcome?;
    }
    cluster.stop().await?;
    result
}

async fn there_and_back(cluster: &Cluster, topic: &str, files: &[PathBuf]) -> Result<(), Failure> {
    let sent = produce(cluster, topic, files).await?;
    let received = consume(cluster, topic, &sent).await?;
    if received.digests() != sent.digests() {
        return Err("what came out is not what went in".into());
    }
    println!("verified  all {} records came back unchanged, each key's in order", sent.records);
    Ok(())
}

/// What went through, and a digest of each partition's records in their order. All records of a key are in one
/// partition, so that equal digests mean that the order within each key was kept.
#[derive(Default)]
struct Through {
    records: u64,
    bytes: u64,
    partitions: Vec<DefaultHasher>,
}

impl Through {
    fn add(&mut self, partition: i32, key: &[u8], value: &[u8]) {
        self.records += 1;
        self.bytes += (key.len() + value.len()) as u64;
        let index = usize::try_from(partition).unwrap_or_default();
        if self.partitions.len() <= index {
            self.partitions.resize_with(index + 1, DefaultHasher::new);
        }
        for field in [key, value] {
            self.partitions[index].write_usize(field.len());
            self.partitions[index].write(field);
        }
    }

    fn digests(&self) -> Vec<u64> {
        self.partitions.iter().map(DefaultHasher::finish).collect()
    }

    fn report(&self, what: &str, took: Duration, more: &str) {
        let seconds = took.as_secs_f64().max(1e-9);
        println!(
            "{what}  {} records, {:.1} MB in {seconds:.3} s: {:.0} records/s, {:.1} MB/s{more}",
            self.records,
            self.bytes as f64 / 1e6,
            self.records as f64 / seconds,
            self.bytes as f64 / 1e6 / seconds,
        );
    }
}

/// A line's key: its first word.
fn key_of(line: &[u8]) -> &[u8] {
    line.split(u8::is_ascii_whitespace).find(|word| !word.is_empty()).unwrap_or_default()
}

#[expect(clippy::disallowed_methods, reason = "measures how long it takes")]
async fn produce(cluster: &Cluster, topic: &str, files: &[PathBuf]) -> Result<Through, Failure> {
    let config = ProducerConfig::new()
        .bootstrap_servers(cluster.bootstrap())
        .compression_type(CompressionType::Lz4)
        .linger(Duration::from_millis(5));
    let producer = Producer::new(config).await?;
    let mut through = Through::default();
    let mut deliveries = VecDeque::new();
    let mut line = Vec::new();
    let begun = Instant::now();
    for path in files {
        let failed = |error| format!("cannot read {}: {error}", path.display());
        let mut file = BufReader::new(File::open(path).map_err(failed)?);
        while file.read_until(b'\n', &mut line).map_err(failed)? > 0 {
            let value = line.strip_suffix(b"\n").unwrap_or(&line);
            let key = key_of(value);
            // `send` waits only where the producer's memory is full. Its answer waits for the broker: keep it, and look
            // at it later.
            let delivery = producer.send(Record::to(topic).key(key).value(value)).await?;
            through.add(delivery.partition(), key, value);
            deliveries.push_back(delivery);
            if deliveries.len() > 100_000
                && let Some(oldest) = deliveries.pop_front()
            {
                oldest.await?;
            }
            line.clear();
        }
    }
    for delivery in deliveries {
        delivery.await?;
    }
    through.report("produced", begun.elapsed(), ", lz4, keyed by the first word");
    producer.close(Duration::from_secs(30)).await?;
    if through.records == 0 {
        return Err("there is no line to send: give a file that is not empty".into());
    }
    Ok(through)
}

#[expect(clippy::disallowed_methods, reason = "measures how long it takes")]
async fn consume(cluster: &Cluster, topic: &str, sent: &Through) -> Result<Through, Failure> {
    let config = ConsumerConfig::new()
        .bootstrap_servers(cluster.bootstrap())
        .group_id(cluster.unique("rkafka-tour"))
        .auto_offset_reset(OffsetReset::Earliest)
        .enable_auto_commit(false);
    let mut consumer = Consumer::connect(config).await?;
    consumer.subscribe([topic])?;
    let mut through = Through::default();
    let (mut batches, mut batch_bytes) = (0_u64, 0_u64);
    // The first batch comes once the group has agreed on who reads what; the clock runs from then on.
    let mut begun = None;
    while through.records < sent.records {
        let next = tokio::time::timeout(Duration::from_secs(60), consumer.next_batch()).await;
        let batch = next.map_err(|_| format!("only {} of {} records came", through.records, sent.records))??;
        begun.get_or_insert_with(Instant::now);
        batches += 1;
        batch_bytes += batch.size_bytes() as u64;
        for record in batch.records() {
            let record = record?;
            through.add(batch.partition(), record.key.unwrap_or_default(), record.value.unwrap_or_default());
        }
    }
    let more = format!(", {batches} batches of {:.1} kB", batch_bytes as f64 / 1e3 / batches as f64);
    through.report("consumed", begun.map_or(Duration::ZERO, |begun| begun.elapsed()), &more);
    consumer.close().await?;
    Ok(through)
}

/// The file that was named, else the sources of rkafka's messages.
fn files() -> Result<Vec<PathBuf>, Failure> {
    let mut arguments = std::env::args_os().skip(1);
    if let Some(file) = arguments.next() {
        if arguments.next().is_some() {
            return Err("usage: tour [FILE]".into());
        }
        File::open(&file).map_err(|error| format!("cannot read {}: {error}", Path::new(&file).display()))?;
        return Ok(vec![file.into()]);
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../protocol/src/messages");
    let failed = |error| format!("cannot read {}: {error}; name a file to send", folder.display());
    let mut files = Vec::new();
    for entry in std::fs::read_dir(&folder).map_err(failed)? {
        files.push(entry.map_err(failed)?.path());
    }
    files.sort();
    Ok(files)
}
