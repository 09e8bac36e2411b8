//! Segment files that Apache Kafka 4.3.1 wrote, from records that kcat (librdkafka) and the Java console producer sent.
#![cfg(all(feature = "gzip", feature = "snappy", feature = "lz4", feature = "zstd"))]

use rkafka_protocol::records::{BatchIter, Compression, DecompressArena, OwnedBatch, TimestampType};

const FIXTURES: &[(&str, &[u8], Compression)] = &[
    ("kcat-none", include_bytes!("fixtures/kcat-none.log"), Compression::None),
    ("kcat-gzip", include_bytes!("fixtures/kcat-gzip.log"), Compression::Gzip),
    ("kcat-snappy", include_bytes!("fixtures/kcat-snappy.log"), Compression::Snappy),
    ("kcat-lz4", include_bytes!("fixtures/kcat-lz4.log"), Compression::Lz4),
    ("kcat-zstd", include_bytes!("fixtures/kcat-zstd.log"), Compression::Zstd),
];

/// The console producer spread its 60 records over three partitions; the first one's file is kept.
const JAVA: &[(&str, &[u8], Compression)] = &[
    ("java-gzip", include_bytes!("fixtures/java-gzip.log"), Compression::Gzip),
    ("java-snappy", include_bytes!("fixtures/java-snappy.log"), Compression::Snappy),
    ("java-lz4", include_bytes!("fixtures/java-lz4.log"), Compression::Lz4),
    ("java-zstd", include_bytes!("fixtures/java-zstd.log"), Compression::Zstd),
];

#[test]
fn reads_what_librdkafka_wrote_in_every_codec() {
    let mut arena = DecompressArena::default();
    for (name, bytes, compression) in FIXTURES {
        let mut number = 0;
        let mut seen = false;
        let mut batches = BatchIter::new(bytes);
        for batch in &mut batches {
            let batch = batch.expect(name);
            batch.validate(&mut arena).expect(name);
            // librdkafka leaves a batch uncompressed where compression does not make it smaller.
            let used = batch.header().attributes.compression().expect(name);
            assert!(used == *compression || used == Compression::None, "{name}");
            seen |= used == *compression;
            for record in batch.records(&mut arena).expect(name) {
                let record = record.expect(name);
                assert_eq!(record.offset, number, "{name}");
                number += 1;
                assert_eq!(record.key, Some(format!("key-{number}").as_bytes()), "{name}");
                let value = format!("value number {number} of the fixture, with some text that compresses well");
                assert_eq!(record.value, Some(value.as_bytes()), "{name}");
                assert!(record.timestamp > 1_600_000_000_000, "{name}");
                let headers: Vec<_> = record.headers.iter().collect::<Result<_, _>>().expect(name);
                let shown: Vec<_> = headers.iter().map(|header| (header.key_str().unwrap(), header.value)).collect();
                assert_eq!(shown, [("h", Some(&b"one"[..])), ("h", Some(&b"two"[..])), ("empty", None)], "{name}");
                assert_eq!(record.headers.last("h").unwrap().unwrap().value, Some(&b"two"[..]));
            }
        }
        assert_eq!(number, 60, "{name}");
        assert!(seen, "{name}: no batch has the codec");
        assert!(batches.remainder().is_empty(), "{name}");
    }
}

#[test]
fn reads_what_java_wrote_in_every_codec() {
    let mut arena = DecompressArena::default();
    for (name, bytes, compression) in JAVA {
        let mut count = 0;
        let mut last = 0;
        for batch in BatchIter::new(bytes) {
            let batch = batch.expect(name);
            batch.validate(&mut arena).expect(name);
            assert_eq!(batch.header().attributes.compression(), Ok(*compression), "{name}");
            assert!(batch.header().has_producer_id(), "{name}: the Java producer is idempotent");
            let owned = OwnedBatch::decode(&bytes::Bytes::copy_from_slice(batch.bytes()), &mut arena).expect(name);
            for record in &owned {
                let record = record.expect(name);
                let key = std::str::from_utf8(record.key.expect(name)).expect(name);
                let number: u32 = key.strip_prefix("key-").expect(name).parse().expect(name);
                assert!(number > last, "{name}");
                last = number;
                let value = format!("value number {number} of the fixture, with some text that compresses well");
                assert_eq!(record.value, Some(value.as_bytes()), "{name}");
                count += 1;
            }
            assert_eq!(owned.header().record_count, count, "{name}");
        }
        assert!(count > 0, "{name}");
    }
}

#[test]
fn log_append_time_of_a_real_broker_is_every_records_timestamp() {
    let bytes = include_bytes!("fixtures/java-log-append-time.log");
    let mut arena = DecompressArena::default();
    let mut values = Vec::new();
    for batch in BatchIter::new(bytes) {
        let batch = batch.unwrap();
        batch.validate(&mut arena).unwrap();
        let header = *batch.header();
        assert_eq!(header.attributes.timestamp_type(), TimestampType::LogAppendTime);
        for record in batch.records(&mut arena).unwrap() {
            let record = record.unwrap();
            assert_eq!(record.timestamp, header.max_timestamp);
            values.push(record.value.unwrap().to_vec());
        }
    }
    assert_eq!(values, [b"v1".to_vec(), b"v2".to_vec(), b"v3".to_vec()]);
}
