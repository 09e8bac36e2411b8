//! What an append costs, and what of it the walk over the records: nanoseconds per record, by codec.
//!
//! `cargo run --release -p rkafka-broker-core --example append_cost`

use std::sync::Arc;
use std::time::{Duration, Instant};

use rkafka_broker_core::log::{Log, LogConfig, OpenState, RecordRules, RecordValidator};
use rkafka_broker_core::storage::{FsStorage, Storage};
use rkafka_protocol::records::{BatchBuilder, BatchOptions, Codec, Compression, Compressor, NO_HEADERS};

const NOW_MS: i64 = 1_700_000_000_000;
const RECORDS: usize = 150;
const VALUE_BYTES: usize = 100;
const TURNS: usize = 20_000;

#[expect(clippy::disallowed_methods, reason = "a measurement needs the time")]
fn timed(mut work: impl FnMut()) -> Duration {
    let begin = Instant::now();
    for _ in 0..TURNS {
        work();
    }
    begin.elapsed()
}

fn batch(compression: Compression) -> Vec<u8> {
    let mut builder = BatchBuilder::new(Vec::new(), BatchOptions::default());
    for at in 0..RECORDS {
        let mut value =
            format!("{{\"user\":{},\"page\":\"/p/{}\",\"at\":{}}}", at * 7919 % 1000, at * 31 % 97, at * 65_537);
        while value.len() < VALUE_BYTES {
            value.push((b'a' + ((value.len() * 7 + at * 13) % 26) as u8) as char);
        }
        let appended = builder.append(NOW_MS + at as i64, Some(b"key"), Some(value.as_bytes()), NO_HEADERS);
        appended.expect("the record fits");
    }
    builder.seal(Codec::new(compression), &mut Compressor::new()).expect("the codec is there").into_bytes()
}

#[expect(clippy::print_stdout, reason = "the figures are for whoever runs this")]
fn main() {
    let dir = tempfile::tempdir().expect("a directory");
    println!("{RECORDS} records of {VALUE_BYTES} bytes in a batch, ns per record");
    for compression in [Compression::None, Compression::Lz4, Compression::Snappy, Compression::Zstd, Compression::Gzip]
    {
        let storage: Arc<dyn Storage> = Arc::new(FsStorage::new());
        let path = dir.path().join(format!("t-{}", compression as i16));
        let config = LogConfig { segment_bytes: 64 << 20, retention_bytes: 256 << 20, ..LogConfig::default() };
        let opened = Log::open(storage, path, config.clone(), OpenState::clean(), NOW_MS);
        let (mut log, _) = opened.expect("the log opens");
        let original = batch(compression);
        let mut sent = original.clone();
        let copy = timed(|| sent.copy_from_slice(&original));
        let append = timed(|| {
            sent.copy_from_slice(&original);
            log.append_as_leader(&mut sent, None, 0, NOW_MS).expect("the batch is appended");
        });
        let mut validator = RecordValidator::default();
        let rules = RecordRules::of(&config);
        let walk = timed(|| {
            sent.copy_from_slice(&original);
            let validated = validator.validate(&mut sent, &rules, NOW_MS, format_args!("t-0"));
            assert!(validated.expect("the batch is sound").is_none());
        });
        let each = |time: Duration| time.saturating_sub(copy).as_nanos() as f64 / (TURNS * RECORDS) as f64;
        println!("{compression:?}: {} bytes, append {:.1}, walk {:.1}", original.len(), each(append), each(walk));
    }
}
