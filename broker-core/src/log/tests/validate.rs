//! What is inside of a batch, sound and broken, and batches that are compressed anew.

use proptest::prelude::*;
use rkafka_protocol::records::{
    BatchBuilder, BatchHeader, BatchOptions, Codec, Compression, Compressor, DecompressArena, HeaderRef, NO_HEADERS,
    RecordBatch, verify_crc,
};

use super::*;
use crate::log::{AppendError, CleanupPolicy, RecordRules, RecordValidator, TimestampType};

const CODECS: [Compression; 5] =
    [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

fn rules() -> RecordRules {
    RecordRules::of(&LogConfig::default())
}

fn validate(bytes: &mut [u8], rules: &RecordRules) -> Result<Option<Vec<u8>>, AppendError> {
    RecordValidator::default().validate(bytes, rules, NOW_MS, format_args!("t-0"))
}

fn code(bytes: &[u8], rules: &RecordRules) -> i16 {
    validate(&mut bytes.to_vec(), rules).unwrap_err().kafka_error_code()
}

/// A batch with this payload behind its header, packed by the codec, and a right checksum.
fn with_payload(records: i32, payload: &[u8], compression: Compression) -> Vec<u8> {
    let mut packed = Vec::new();
    match compression {
        Compression::None => packed.extend_from_slice(payload),
        _ => Compressor::new().compress(Codec::new(compression), payload, &mut packed).unwrap(),
    }
    with_raw_payload(records, &packed, compression)
}

fn with_raw_payload(records: i32, payload: &[u8], compression: Compression) -> Vec<u8> {
    let mut bytes = batch_of(None, &[NOW_MS], 1, Compression::None);
    bytes.truncate(61);
    bytes.extend_from_slice(payload);
    let length = (bytes.len() - 12) as i32;
    bytes[8..12].copy_from_slice(&length.to_be_bytes());
    bytes[21..23].copy_from_slice(&(compression as i16).to_be_bytes());
    bytes[23..27].copy_from_slice(&(records - 1).to_be_bytes());
    bytes[57..61].copy_from_slice(&records.to_be_bytes());
    sealed(bytes)
}

fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    let crc = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    bytes
}

/// A record without key, value and headers, all of whose numbers take one byte.
fn record(offset_delta: i8) -> [u8; 7] {
    [12, 0, 0, (offset_delta << 1) as u8, 1, 1, 0]
}

type Content = Vec<(i64, i64, Option<Vec<u8>>, Option<Vec<u8>>, usize)>;

fn content(bytes: &[u8]) -> Content {
    verify_crc(bytes).unwrap();
    let mut arena = DecompressArena::default();
    let batch = RecordBatch::read(bytes).unwrap();
    let records = batch.records(&mut arena).unwrap();
    let content = records.map(|record| {
        let record = record.unwrap();
        let headers = record.headers.iter().map(|header| header.unwrap().key.len()).sum();
        (record.offset, record.timestamp, record.key.map(<[u8]>::to_vec), record.value.map(<[u8]>::to_vec), headers)
    });
    content.collect()
}

#[test]
fn what_a_consumer_could_not_read_is_refused() {
    let two = [record(0), record(1)].concat();
    for compression in CODECS {
        assert!(validate(&mut with_payload(2, &two, compression), &rules()).unwrap().is_none());
        let beyond = [&two[..7], &[100, 0, 0, 2, 1, 1, 0]].concat();
        let headers = [&two[..7], &[12, 0, 0, 2, 1, 1, 60]].concat();
        let key = [&two[..7], &[12, 0, 0, 2, 40, 1, 0]].concat();
        let broken_header = [&two[..7], &[16, 0, 0, 2, 1, 1, 2, 90, 0]].concat();
        let cases: [(i32, &[u8]); 8] = [
            (1, &two),
            (3, &two),
            (2, &two[..13]),
            (2, &beyond),
            (2, &headers),
            (2, &key),
            (2, &broken_header),
            (2, b"these are no records"),
        ];
        for (count, payload) in cases {
            let bytes = with_payload(count, payload, compression);
            assert_eq!(code(&bytes, &rules()), 87, "{compression:?} {count} {payload:?}");
            let mut damaged = bytes;
            damaged[17] ^= 1;
            assert_eq!(code(&damaged, &rules()), 2, "the checksum goes first");
        }
        if compression != Compression::None {
            let unpackable = with_raw_payload(2, b"this is what no codec makes", compression);
            assert_eq!(code(&unpackable, &rules()), 87, "{compression:?}");
        }
    }
}

#[test]
fn records_that_the_settings_forbid_are_named() {
    let compacted = LogConfig { cleanup_policy: CleanupPolicy::parse("compact").unwrap(), ..LogConfig::default() };
    for compression in CODECS {
        let mut builder = BatchBuilder::new(Vec::new(), BatchOptions::default());
        for (key, ahead_ms) in [(None, 0), (Some(&b"k"[..]), 3_600_001), (Some(b"k"), -1001), (None, 3_600_000)] {
            builder.append(NOW_MS + ahead_ms, key, Some(b"v"), NO_HEADERS).unwrap();
        }
        let bytes = builder.seal(Codec::new(compression), &mut Compressor::new()).unwrap().into_bytes();
        let named = |rules: &RecordRules| match validate(&mut bytes.clone(), rules) {
            Err(AppendError::InvalidTimestamps { records }) => (32, records),
            Err(AppendError::InvalidRecords { records }) => (87, records),
            other => panic!("{other:?}"),
        };
        let (code, records) = named(&rules());
        assert_eq!((code, records.len(), records[0].0), (32, 1, 1));
        assert!(records[0].1.starts_with("Timestamp 17"), "{}", records[0].1);
        let (code, records) = named(&RecordRules { before_max_ms: 1000, ..rules() });
        assert_eq!((code, records.iter().map(|(index, _)| *index).collect::<Vec<_>>()), (32, vec![1, 2]));
        let (code, records) = named(&RecordRules::of(&compacted));
        assert_eq!((code, records.iter().map(|(index, _)| *index).collect::<Vec<_>>()), (87, vec![0, 3]));
        assert!(records[0].1.ends_with("without key in topic partition t-0."), "{}", records[0].1);
        // Where the broker sets the time, the producer's does not matter.
        let stamped = RecordRules { timestamp_type: TimestampType::LogAppendTime, before_max_ms: 0, ..rules() };
        assert!(validate(&mut bytes.clone(), &stamped).unwrap().is_none());
    }
}

#[test]
fn thousands_of_wrong_records_are_not_all_named() {
    let mut builder = BatchBuilder::new(Vec::new(), BatchOptions::default());
    for _ in 0..5000 {
        builder.append(1, None, None, NO_HEADERS).unwrap();
    }
    let mut bytes = builder.seal(Codec::NONE, &mut Compressor::new()).unwrap().into_bytes();
    let refused = validate(&mut bytes, &RecordRules { before_max_ms: 1, ..rules() });
    assert!(matches!(refused, Err(AppendError::InvalidTimestamps { records }) if records.len() == 1000));
}

#[test]
fn a_producer_may_not_stamp_and_is_set_right_about_its_greatest_time() {
    let mut stamped = batch_of(None, &[NOW_MS], 1, Compression::None);
    stamped[22] |= 0x08;
    assert_eq!(code(&sealed(stamped), &rules()), 32);
    let good = batch_of(None, &[NOW_MS - 5, NOW_MS + 7, NOW_MS], 1, Compression::Gzip);
    let mut lying = good.clone();
    lying[35..43].copy_from_slice(&i64::MAX.to_be_bytes());
    let mut lying = sealed(lying);
    assert!(validate(&mut lying, &rules()).unwrap().is_none());
    assert_eq!(lying, good);
    // A damaged batch does not get a new checksum.
    lying[35] ^= 1;
    assert_eq!(code(&lying, &rules()), 2);
}

#[test]
fn wrong_offset_deltas_are_mended() {
    for compression in CODECS {
        let mut bytes = with_payload(3, &[record(0), record(0), record(5)].concat(), compression);
        let mended = validate(&mut bytes, &rules()).unwrap().unwrap();
        assert_eq!(content(&mended).iter().map(|record| record.0).collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(BatchHeader::read(&mended).unwrap().attributes.compression(), Ok(compression));
        bytes[17] ^= 1;
        assert_eq!(code(&bytes, &rules()), 2);
    }
}

#[test]
fn large_batches_are_refused_before_they_are_unpacked() {
    let bytes = with_payload(2, b"no records", Compression::Zstd);
    assert_eq!(code(&bytes, &RecordRules { max_message_bytes: 10, ..rules() }), 10);
}

proptest! {
    #[test]
    fn a_batch_that_is_compressed_otherwise_has_the_same_records(
        records in prop::collection::vec((
            prop::option::of(prop::collection::vec(any::<u8>(), 0..20)),
            prop::option::of(prop::collection::vec(any::<u8>(), 0..200)),
            -1000..1000i64,
            0..3usize,
        ), 1..20),
        from in 0..5usize,
        to in 0..5usize,
        transactional in any::<bool>(),
    ) {
        let options = BatchOptions::default().with_producer(7, 3, 11);
        let attributes = options.attributes.with_transactional(transactional);
        let mut builder = BatchBuilder::new(Vec::new(), options.with_attributes(attributes));
        for (key, value, ahead, headers) in &records {
            let headers = [HeaderRef::new("a", b"1"), HeaderRef { key: b"bc", value: None }, HeaderRef::new("a", b"")]
                .into_iter().take(*headers);
            builder.append(NOW_MS + ahead, key.as_deref(), value.as_deref(), headers).unwrap();
        }
        let (from, to) = (CODECS[from], CODECS[to]);
        let bytes = builder.seal(Codec::new(from), &mut Compressor::new()).unwrap().into_bytes();
        let config = LogConfig { compression: Some(to), ..LogConfig::default() };
        let mut sent = bytes.clone();
        let rewritten = validate(&mut sent, &RecordRules::of(&config)).unwrap();
        prop_assert_eq!(&sent, &bytes);
        prop_assert_eq!(rewritten.is_some(), from != to);
        let stored = rewritten.unwrap_or(sent);
        prop_assert_eq!(content(&stored), content(&bytes));
        let (before, after) = (BatchHeader::read(&bytes).unwrap(), BatchHeader::read(&stored).unwrap());
        prop_assert_eq!(after.attributes, before.attributes.with_compression(to));
        prop_assert_eq!((after.producer_id, after.producer_epoch, after.base_sequence), (7, 3, 11));
        prop_assert_eq!(after.max_timestamp, before.max_timestamp);
        prop_assert_eq!((after.record_count, after.last_offset_delta), (before.record_count, before.last_offset_delta));
    }

    #[test]
    fn no_bytes_make_it_panic(payload in prop::collection::vec(any::<u8>(), 0..200), count in 1..50i32, codec in 0..5usize) {
        for bytes in [with_payload(count, &payload, CODECS[codec]), with_raw_payload(count, &payload, CODECS[codec])] {
            let mut sent = bytes.clone();
            if let Ok(rewritten) = validate(&mut sent, &rules()) {
                prop_assert_eq!(content(&rewritten.unwrap_or(sent)).len(), count as usize);
            }
        }
    }
}
