//! What a record costs.
//!
//! Without arguments, against a broker in this process that knows one topic and never answers a produce request: the cost
//! of `send` alone. With `RKAFKA_BOOTSTRAP` set, a run against that cluster, with the processor time of this process;
//! `TOPIC`, `RECORDS`, `SIZE` and any setting as `-X name=value` arguments change it.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use rkafka_producer::{ClientSettings, Producer, ProducerConfig};
use rkafka_protocol::messages::api_versions_response::ApiVersion;
use rkafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use rkafka_protocol::messages::{
    ApiVersionsResponse, InitProducerIdResponse, MetadataResponse, RequestHeader, ResponseHeader,
};
use rkafka_protocol::wire::{Message, Reader, Writer};

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    match std::env::var("RKAFKA_BOOTSTRAP") {
        Ok(bootstrap) => runtime.block_on(cluster(&bootstrap)),
        Err(_) => runtime.block_on(alone()),
    }
}

fn setting(name: &str, default: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| default.to_owned())
}

/// User and system time of this process, in seconds; to 10 ms.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect::<Vec<_>>();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or_default();
    (ticks(11) + ticks(12)) / 100.0
}

async fn cluster(bootstrap: &str) -> Result<(), Failure> {
    let mut config = ProducerConfig::new().bootstrap_servers(bootstrap).buffer_memory(64_usize << 20);
    for argument in std::env::args().skip(1).filter(|argument| argument.contains('=')) {
        let (name, value) = argument.trim_start_matches("-X").split_once('=').ok_or("a setting is name=value")?;
        config.set(name, value)?;
    }
    let records: u64 = setting("RECORDS", "1000000").parse()?;
    let size: usize = setting("SIZE", "100").parse()?;
    let producer = Producer::new(config).await?;
    let topic = producer.topic(&setting("TOPIC", "bench")).await?;
    let padding = "{\"level\":\"info\",\"message\":\"request served\",\"path\":\"/api/v1/orders\",\"status\":200} "
        .repeat(size / 80 + 1);
    let (cpu, begun) = (cpu_seconds(), Instant::now());
    let mut last = None;
    let mut value = Vec::with_capacity(size);
    for number in 0..records {
        value.clear();
        write!(value, "{number:010} ")?;
        let room = size.saturating_sub(value.len());
        value.extend_from_slice(&padding.as_bytes()[..room]);
        last = Some(topic.send(topic.record().value(&value)).await?);
    }
    if let Some(last) = last {
        last.await?;
    }
    producer.flush().await;
    let (wall, cpu) = (begun.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    let millions = records as f64 / 1e6;
    println!("{records} records of {size} B: {:.3} CPU s/M, {:.0} records/s", cpu / millions, records as f64 / wall);
    producer.close(Duration::from_secs(30)).await?;
    Ok(())
}

async fn alone() -> Result<(), Failure> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || serve(stream, port));
        }
    });
    let value = vec![b'v'; 100];
    for keyed in [false, true] {
        for by_name in [false, true] {
            let config =
                ProducerConfig::new().bootstrap_servers(format!("127.0.0.1:{port}")).buffer_memory(1_usize << 30);
            let producer = Producer::new(config).await?;
            let topic = producer.topic("t").await?;
            let records = 2_000_000u32;
            let begun = Instant::now();
            for number in 0..records {
                let key = number.to_le_bytes();
                let mut record = topic.record().value(&value);
                if keyed {
                    record = record.key(&key);
                }
                let delivery = if by_name { producer.send(record).await? } else { topic.try_send(&record)? };
                drop(delivery);
            }
            let nanos = begun.elapsed().as_nanos() as f64 / f64::from(records);
            println!(
                "100 B, {}, {}: {nanos:.1} ns per send",
                if keyed { "key of 4 B" } else { "no key" },
                if by_name { "by name" } else { "by handle" }
            );
            let _ = producer.close(Duration::ZERO).await;
        }
    }
    Ok(())
}

/// A broker that answers just enough, and no produce request ever.
fn serve(mut stream: TcpStream, port: u16) -> Option<()> {
    loop {
        let mut length = [0; 4];
        stream.read_exact(&mut length).ok()?;
        let mut frame = vec![0; u32::from_be_bytes(length) as usize];
        stream.read_exact(&mut frame).ok()?;
        let (key, version) = (i16::from_be_bytes([frame[0], frame[1]]), i16::from_be_bytes([frame[2], frame[3]]));
        let header_version = if key == 18 && version < 3 { 1 } else { 2 };
        let header = RequestHeader::decode(&mut Reader::new(frame.into()), header_version).ok()?;
        let mut writer = Writer::new();
        writer.begin_frame();
        let header = ResponseHeader { correlation_id: header.correlation_id, ..ResponseHeader::default() };
        header.encode(&mut writer, i16::from(key != 18)).ok()?;
        match key {
            18 => {
                let api = |api_key, min_version, max_version| ApiVersion {
                    api_key,
                    min_version,
                    max_version,
                    ..ApiVersion::default()
                };
                let api_keys = vec![api(0, 9, 12), api(3, 9, 12), api(18, 0, 3), api(22, 2, 4)];
                ApiVersionsResponse { api_keys, ..ApiVersionsResponse::default() }.encode(&mut writer, version).ok()?;
            }
            3 => {
                let partition = |index| MetadataResponsePartition {
                    partition_index: index,
                    leader_id: 1,
                    replica_nodes: vec![1],
                    isr_nodes: vec![1],
                    ..MetadataResponsePartition::default()
                };
                let topic = MetadataResponseTopic {
                    name: Some("t".to_owned()),
                    partitions: (0..3).map(partition).collect(),
                    ..MetadataResponseTopic::default()
                };
                let broker = MetadataResponseBroker {
                    node_id: 1,
                    host: "127.0.0.1".to_owned(),
                    port: i32::from(port),
                    ..MetadataResponseBroker::default()
                };
                let response = MetadataResponse {
                    brokers: vec![broker],
                    topics: vec![topic],
                    controller_id: 1,
                    ..MetadataResponse::default()
                };
                response.encode(&mut writer, version).ok()?;
            }
            22 => InitProducerIdResponse { producer_id: 1, ..InitProducerIdResponse::default() }
                .encode(&mut writer, version)
                .ok()?,
            _ => continue,
        }
        writer.end_frame().ok()?;
        stream.write_all(&writer.into_vec()).ok()?;
    }
}
