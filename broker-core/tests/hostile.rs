//! Requests by the schemas with values that nobody sane would send, and frames with bytes turned: every sound request is
//! answered, nothing panics, nothing hangs, and memory stays bounded.
//!
//! `RKAFKA_HOSTILE_REQUESTS` says how many requests are sent, `RKAFKA_HOSTILE_SEED` which.

#![cfg(target_os = "linux")]

mod common;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use common::{Client, start_in_memory};
use rkafka_broker_core::handlers::OFFERED;
use rkafka_protocol::ApiKey;
use rkafka_protocol::messages::MetadataRequest;
use rkafka_protocol::records::{BatchBuilder, BatchOptions, Codec, Compression, Compressor};
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

/// More than a broker needs for these requests, and far less than what they declare.
const MEMORY_MAX_KIB: u64 = 3 * 1024 * 1024;
/// APIs that rightly wait for others, or for records.
const MAY_WAIT: [ApiKey; 4] = [ApiKey::Fetch, ApiKey::JoinGroup, ApiKey::SyncGroup, ApiKey::ShareFetch];
/// How long such an answer is waited for until the client goes away.
const GIVES_UP: Duration = Duration::from_millis(300);

/// A generator of xorshift: the same seed gives the same requests everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() >> 11) as usize % end.max(1)
    }

    fn one_in(&mut self, of: usize) -> bool {
        self.below(of) == 0
    }

    fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())]
    }
}

/// A range of versions as schemas write it: `3+`, `1-4`, `2`, `none`.
fn has(versions: Option<&Value>, version: i16) -> bool {
    let Some(text) = versions.and_then(Value::as_str) else { return false };
    if let Some(least) = text.strip_suffix('+') {
        return least.parse::<i16>().unwrap() <= version;
    }
    match text.split_once('-') {
        Some((least, most)) => (least.parse().unwrap()..=most.parse().unwrap()).contains(&version),
        None => text.parse() == Ok(version),
    }
}

fn schema(key: ApiKey) -> Value {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../protocol/schemas/clients");
    let text = std::fs::read_to_string(dir.join(format!("{key:?}Request.json"))).unwrap();
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    // What stands behind a field as a comment has two slashes and a space; no text of a schema has them with no `http`.
    let lines = lines.iter().map(|line| line.split(" // ").next().unwrap());
    serde_json::from_str(&lines.collect::<Vec<_>>().join("\n")).unwrap()
}

/// Writes requests of one schema in one version.
struct Writer<'a> {
    random: &'a mut Random,
    version: i16,
    is_flexible: bool,
    structs: &'a BTreeMap<String, &'a Value>,
    topic_ids: &'a [[u8; 16]],
    out: Vec<u8>,
}

impl Writer<'_> {
    fn unsigned_varint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.out.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.out.push(value as u8);
    }

    /// The length of a string (16 bits) or of something else (32), -1 for null.
    fn length(&mut self, length: i32, is_string: bool) {
        if self.is_flexible {
            self.unsigned_varint((length + 1) as u32);
        } else if is_string {
            self.out.extend((length as i16).to_be_bytes());
        } else {
            self.out.extend(length.to_be_bytes());
        }
    }

    fn fields(&mut self, fields: &Value, depth: usize) {
        let mut tagged = Vec::new();
        for field in fields.as_array().unwrap() {
            if !has(field.get("versions"), self.version) {
                continue;
            }
            if has(field.get("taggedVersions"), self.version) {
                if self.random.one_in(2) {
                    tagged.push(field);
                }
            } else {
                self.field(field, depth);
            }
        }
        if self.is_flexible {
            tagged.sort_by_key(|field| field["tag"].as_i64());
            self.unsigned_varint(tagged.len() as u32);
            for field in tagged {
                self.unsigned_varint(field["tag"].as_i64().unwrap() as u32);
                let before = std::mem::take(&mut self.out);
                self.field(field, depth);
                let value = std::mem::replace(&mut self.out, before);
                self.unsigned_varint(value.len() as u32);
                self.out.extend(value);
            }
        }
    }

    fn field(&mut self, field: &Value, depth: usize) {
        let (name, kind) = (field["name"].as_str().unwrap(), field["type"].as_str().unwrap());
        let is_nullable = has(field.get("nullableVersions"), self.version);
        let is_flexible = self.is_flexible;
        if field.get("flexibleVersions").is_some() {
            self.is_flexible = has(field.get("flexibleVersions"), self.version);
        }
        if let Some(element) = kind.strip_prefix("[]") {
            if is_nullable && self.random.one_in(4) {
                self.length(-1, false);
            } else {
                let most = if depth == 0 { 4 } else { 3 };
                let count = if self.random.one_in(50) { 200 >> (depth * 2) } else { self.random.below(most) };
                self.length(count as i32, false);
                for _ in 0..count {
                    self.value(name, element, false, field.get("fields"), depth + 1);
                }
            }
        } else {
            self.value(name, kind, is_nullable, field.get("fields"), depth);
        }
        self.is_flexible = is_flexible;
    }

    fn value(&mut self, name: &str, kind: &str, is_nullable: bool, fields: Option<&Value>, depth: usize) {
        match kind {
            "bool" => {
                let value = self.random.below(2) as u8;
                self.out.push(value);
            }
            "int8" => {
                let value = self.random.pick(&[0, 1, 2, 3, 4, 8, 16, 32, -1, i8::MAX, i8::MIN]);
                self.out.extend(value.to_be_bytes());
            }
            "int16" | "uint16" => {
                let value = if name == "Acks" {
                    self.random.pick(&[1, -1, -1, -1, 2])
                } else {
                    self.random.pick(&[0, 1, 2, 3, -1, -2, i16::MAX, i16::MIN])
                };
                self.out.extend(value.to_be_bytes());
            }
            "int32" | "uint32" => {
                let value = self.int32(name);
                self.out.extend(value.to_be_bytes());
            }
            "int64" => {
                let now = 1_700_000_000_000;
                let odd = [-1, -2, -3, -4, -5, -6, -7, i64::MAX, i64::MIN, i64::MAX - 1, i64::from(i32::MAX), now];
                let value = if self.random.one_in(2) { self.random.below(8) as i64 } else { self.random.pick(&odd) };
                self.out.extend(value.to_be_bytes());
            }
            "float64" => {
                let value = self.random.pick(&[0.0, -1.0, f64::NAN, f64::INFINITY, f64::MAX, 1.5]);
                self.out.extend(value.to_be_bytes());
            }
            "uuid" => {
                let known = self.random.pick(self.topic_ids);
                let value = self.random.pick(&[known, known, known, [0; 16], [7; 16]]);
                self.out.extend(value);
            }
            "string" if is_nullable && self.random.one_in(4) => self.length(-1, true),
            "string" => {
                let value = self.string(name);
                self.length(value.len() as i32, true);
                self.out.extend(value.as_bytes());
            }
            "bytes" | "records" if is_nullable && self.random.one_in(8) => self.length(-1, false),
            "bytes" | "records" => {
                let value = if kind == "records" { self.records() } else { self.bytes() };
                self.length(value.len() as i32, false);
                self.out.extend(value);
            }
            other => {
                if is_nullable {
                    let is_there = !self.random.one_in(4);
                    self.out.push(if is_there { 1 } else { 0xff });
                    if !is_there {
                        return;
                    }
                }
                let fields = fields.unwrap_or_else(|| &self.structs[other]["fields"]);
                self.fields(fields, depth);
            }
        }
    }

    fn int32(&mut self, name: &str) -> i32 {
        match name {
            "MaxWaitMs" | "RebalanceTimeoutMs" | "TimeoutMs" | "timeoutMs" => {
                self.random.pick(&[0, 1, 20, -1, i32::MIN])
            }
            "NumPartitions" | "Count" => self.random.pick(&[1, 2, 3, -1, 0, i32::MAX, i32::MIN]),
            _ if self.random.one_in(8) => self.random.pick(&[i32::MAX, i32::MIN, -1, -2, 1 << 20, i32::MAX - 1]),
            _ if name.contains("Bytes") || name.ends_with("Ms") => self.random.pick(&[0, 1, 100, 10_000, 1 << 20, -1]),
            _ => self.random.below(4) as i32,
        }
    }

    fn string(&mut self, name: &str) -> String {
        const ODD: [&str; 34] = [
            "",
            "t0",
            "t1",
            "t2",
            "missing",
            "__consumer_offsets",
            "__transaction_state",
            "__share_group_state",
            "g0",
            "g1",
            "s0",
            "tx0",
            "tx1",
            "range",
            "consumer",
            "1",
            "0",
            "-1",
            "9223372036854775807",
            "retention.ms",
            "cleanup.policy",
            "compact",
            "message.max.bytes",
            "max.message.bytes",
            "compression.type",
            "zstd",
            ".*",
            "((",
            "group.version",
            "transaction.version",
            "metadata.version",
            "interval.ms",
            "a/b",
            "\u{0}\u{10ffff}",
        ];
        if self.random.one_in(60) {
            return "x".repeat(self.random.pick(&[250, 5_000, 32_767]));
        }
        if self.random.one_in(6) {
            return self.random.pick(&ODD).to_owned();
        }
        let likely: &[&str] = match name {
            _ if name.contains("Group") => &["g0", "g1", "s0", "missing"],
            _ if name.contains("Transactional") => &["tx0", "tx1"],
            "MemberId" => &["", "m0", "m1", "AAAAAAAAAAAAAAAAAAAAAA"],
            "ProtocolType" => &["consumer", "consumer", "connect", ""],
            "Key" => &["g0", "tx0", "g1"],
            "Name" | "Topic" | "TopicName" | "Topics" | "TopicNames" | "SubscribedTopicNames" => {
                &["t0", "t1", "t2", "t0"]
            }
            _ => &ODD,
        };
        self.random.pick(likely).to_owned()
    }

    fn bytes(&mut self) -> Vec<u8> {
        let length = self.random.pick(&[0, 1, 6, 40, 3_000]);
        match self.random.below(3) {
            // The subscription of a consumer, version 0, to one topic.
            0 => [&[0u8, 0, 0, 0, 0, 1, 0, 2][..], b"t0", &[0xff; 4]].concat(),
            1 => vec![0; length],
            _ => (0..length).map(|_| self.random.next() as u8).collect(),
        }
    }

    fn records(&mut self) -> Vec<u8> {
        let mut batches = Vec::new();
        for _ in 0..self.random.pick(&[1, 1, 1, 2, 0]) {
            let compressions =
                [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];
            let codec = Codec::new(self.random.pick(&compressions));
            let mut options = BatchOptions::default();
            if self.random.one_in(3) {
                let (id, epoch) =
                    (self.random.pick(&[0, 1, 2, 1_000_000, i64::MAX]), self.random.pick(&[0, 1, i16::MAX]));
                options = options.with_producer(id, epoch, self.random.pick(&[0, 1, 2, i32::MAX]));
            }
            let value = vec![self.random.next() as u8; self.random.pick(&[0, 10, 1_000, 100_000])];
            let count = self.random.pick(&[1, 2, 3, 40]);
            let time = self.random.pick(&[1_700_000_000_000, 0, -1, i64::MAX]);
            let records = (0..count).map(|at| ((at % 2 == 0).then_some(&b"key"[..]), Some(&value[..])));
            let mut builder = BatchBuilder::new(Vec::new(), options);
            records.for_each(|(key, value)| drop(builder.append(time, key, value, [])));
            batches.extend(builder.seal(codec, &mut Compressor::default()).unwrap().into_bytes());
        }
        if self.random.one_in(2) {
            self.damage(&mut batches);
        }
        batches
    }

    /// Turns bytes of batches, most often with a checksum that says they are right.
    fn damage(&mut self, batches: &mut Vec<u8>) {
        for _ in 0..=self.random.below(3) {
            if batches.is_empty() {
                return;
            }
            let end = if self.random.one_in(2) { batches.len().min(75) } else { batches.len() };
            let at = self.random.below(end);
            batches[at] = self.random.pick(&[0, 1, 0x7f, 0x80, 0xff, at as u8]);
        }
        if self.random.one_in(6) {
            batches.truncate(self.random.below(batches.len()));
        }
        if batches.len() > 21 && !self.random.one_in(4) {
            let length = i32::from_be_bytes(batches[8..12].try_into().unwrap());
            let end = usize::try_from(length).unwrap_or(0).saturating_add(12).min(batches.len());
            if let Some(covered) = batches.get(21..end) {
                let checksum = crc32c::crc32c(covered);
                batches[17..21].copy_from_slice(&checksum.to_be_bytes());
            }
        }
    }
}

/// One frame: its API and version, and the bytes with their length before them.
fn frame(
    random: &mut Random,
    schemas: &[Value],
    topic_ids: &[[u8; 16]],
    correlation_id: i32,
) -> (ApiKey, i16, Vec<u8>) {
    let at = random.below(OFFERED.len());
    let (key, versions) = OFFERED[at];
    let schema = &schemas[at];
    let version = versions.min + random.below((versions.max - versions.min + 1) as usize) as i16;
    let is_flexible = has(schema.get("flexibleVersions"), version);
    let shared = schema.get("commonStructs").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let structs = shared.iter().map(|item| (item["name"].as_str().unwrap().to_owned(), item)).collect();
    let mut out = vec![0; 4];
    out.extend((key as i16).to_be_bytes());
    out.extend(version.to_be_bytes());
    out.extend(correlation_id.to_be_bytes());
    out.extend(7i16.to_be_bytes());
    out.extend(b"hostile");
    if is_flexible {
        out.push(0);
    }
    let mut writer = Writer { random, version, is_flexible, structs: &structs, topic_ids, out };
    writer.fields(&schema["fields"], 0);
    let mut out = writer.out;
    let length = i32::try_from(out.len() - 4).unwrap();
    out[..4].copy_from_slice(&length.to_be_bytes());
    (key, version, out)
}

async fn attack(
    broker: Arc<rkafka_broker_core::BrokerHandle>,
    schemas: Arc<Vec<Value>>,
    topic_ids: Arc<Vec<[u8; 16]>>,
    seed: u64,
    requests: usize,
) -> Vec<String> {
    let mut random = Random(seed);
    let mut faults = Vec::new();
    let mut client = Client::connect(&broker).await;
    for nth in 0..requests {
        let (key, version, mut bytes) = frame(&mut random, &schemas, &topic_ids, nth as i32);
        let is_damaged = random.one_in(4);
        if is_damaged {
            for _ in 0..=random.below(3) {
                let at = 8 + random.below(bytes.len() - 8);
                bytes[at] = random.pick(&[0, 1, 0x7f, 0x80, 0xff, nth as u8]);
            }
        }
        let name = format!("{key:?} version {version}, seed {seed:#x} request {nth}");
        if client.stream.write_all(&bytes).await.is_err() {
            client = Client::connect(&broker).await;
            continue;
        }
        let waits = MAY_WAIT.contains(&key);
        let patience = if waits || is_damaged { GIVES_UP } else { common::PATIENCE };
        match timeout(patience, client.frame()).await {
            Ok(Some(answer)) => {
                if !is_damaged && answer.get(..4) != Some(&(nth as i32).to_be_bytes()[..]) {
                    faults.push(format!("{name}: the answer is not to this request"));
                }
            }
            Ok(None) => {
                if !is_damaged {
                    faults.push(format!("{name}: the connection was closed"));
                }
                client = Client::connect(&broker).await;
            }
            Err(_) => {
                if !waits && !is_damaged {
                    faults.push(format!("{name}: no answer"));
                }
                client = Client::connect(&broker).await;
            }
        }
    }
    faults
}

fn peak_memory_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().expect("a number"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whatever_comes_the_broker_answers_and_lives() {
    static PANICS: AtomicUsize = AtomicUsize::new(0);
    let first_panic = Arc::new(Mutex::new(String::new()));
    let (told, usual) = (Arc::clone(&first_panic), std::panic::take_hook());
    std::panic::set_hook(Box::new(move |panic| {
        if PANICS.fetch_add(1, Ordering::SeqCst) == 0 {
            *told.lock().unwrap_or_else(PoisonError::into_inner) = panic.to_string();
        }
        usual(panic);
    }));
    let broker = Arc::new(start_in_memory().await);
    let mut client = Client::connect(&broker).await;
    for topic in ["t0", "t1", "t2"] {
        client.create_topic(topic, 3, &[]).await;
    }
    let metadata = client.call(&MetadataRequest { topics: None, ..Default::default() }, 12).await;
    let topic_ids = Arc::new(metadata.topics.iter().map(|topic| *topic.topic_id.as_bytes()).collect::<Vec<_>>());
    let schemas = Arc::new(OFFERED.iter().map(|(key, _)| schema(*key)).collect::<Vec<_>>());
    let requests = setting("RKAFKA_HOSTILE_REQUESTS", 8_000) as usize;
    let seed = setting("RKAFKA_HOSTILE_SEED", 0x5EED_0000);
    let attacks = (1..=4).map(|nth| {
        let (broker, schemas, topic_ids) = (Arc::clone(&broker), Arc::clone(&schemas), Arc::clone(&topic_ids));
        attack(broker, schemas, topic_ids, seed + nth, requests / 4)
    });
    let mut faults = Vec::new();
    // In one task each, so that they are at the broker at once.
    let mut attacks: tokio::task::JoinSet<_> = attacks.collect();
    while let Some(found) = attacks.join_next().await {
        faults.extend(found.unwrap());
    }
    assert_eq!(PANICS.load(Ordering::SeqCst), 0, "{}", first_panic.lock().unwrap_or_else(PoisonError::into_inner));
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
    let peak = peak_memory_kib();
    assert!(peak < MEMORY_MAX_KIB, "{peak} KiB of memory");
    let broker = Arc::into_inner(broker).unwrap();
    timeout(common::PATIENCE, broker.shutdown()).await.expect("the broker does not stop").unwrap();
}
