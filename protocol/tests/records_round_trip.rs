//! What is written is read again: by ourselves in every codec, and by `kafka-protocol` both ways.
#![cfg(all(feature = "gzip", feature = "snappy", feature = "lz4", feature = "zstd"))]

use bytes::{Bytes, BytesMut};
use kafka_protocol::indexmap::IndexMap;
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records as oracle;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use rkafka_protocol::records::{
    BatchBuilder, BatchIter, BatchOptions, Codec, Compression, Compressor, DecompressArena, HeaderRef, OwnedBatch,
    RecordBatch,
};

#[derive(Debug, Clone)]
struct Written {
    timestamp: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Written {
    fn headers(&self) -> impl Iterator<Item = HeaderRef<'_>> + Clone {
        self.headers.iter().map(|(key, value)| HeaderRef { key: key.as_bytes(), value: value.as_deref() })
    }
}

fn written() -> impl Strategy<Value = Written> {
    let timestamp = prop_oneof![Just(-1i64), 0..i64::MAX, 1_700_000_000_000..1_700_000_100_000i64];
    let bytes = || prop_oneof![vec(any::<u8>(), 0..200), (any::<u8>(), 0..20_000usize).prop_map(|(b, n)| vec![b; n])];
    let header = ("[a-c]{0,3}", option::of(vec(any::<u8>(), 0..80)));
    (timestamp, option::of(vec(any::<u8>(), 0..100)), option::of(bytes()), vec(header, 0..4))
        .prop_map(|(timestamp, key, value, headers)| Written { timestamp, key, value, headers })
}

fn encode(records: &[Written], codec: Codec, compressor: &mut Compressor) -> Vec<u8> {
    let mut builder = BatchBuilder::new(vec![7; 3], BatchOptions::at(40, 5));
    for (index, record) in records.iter().enumerate() {
        let (key, value) = (record.key.as_deref(), record.value.as_deref());
        let size = builder.record_size(record.timestamp, key, value, record.headers());
        let before = builder.len();
        let at = builder.append(record.timestamp, key, value, record.headers()).unwrap();
        assert_eq!(at as usize, index);
        assert_eq!(builder.len() - before, size, "record_size is exact");
    }
    assert_eq!(builder.max_timestamp(), records.iter().map(|record| record.timestamp).max().unwrap());
    let mut sealed = builder.seal(codec, compressor).unwrap();
    assert_eq!(sealed.bytes(), None, "the CRC is not there yet");
    sealed.stamp_producer(9, 1, i32::MAX, true);
    sealed.finish();
    sealed.stamp_producer(77, 3, i32::MAX, true);
    sealed.into_bytes()
}

fn check(records: &[Written], bytes: &[u8], arena: &mut DecompressArena) {
    let batch = RecordBatch::read(bytes).unwrap();
    batch.validate(arena).unwrap();
    let header = *batch.header();
    assert_eq!((header.base_offset, header.partition_leader_epoch), (40, 5));
    assert_eq!((header.producer_id, header.producer_epoch, header.base_sequence), (77, 3, i32::MAX));
    assert!(header.attributes.is_transactional() && !header.attributes.is_control());
    assert_eq!(header.last_offset(), 39 + records.len() as i64);
    assert_eq!(header.last_sequence(), if records.len() == 1 { i32::MAX } else { records.len() as i32 - 2 });
    let owned = OwnedBatch::decode(&Bytes::copy_from_slice(bytes), arena).unwrap();
    let mut cursor = owned.clone().into_cursor();
    let mut read = batch.records(arena).unwrap();
    for (index, record) in records.iter().enumerate() {
        let view = read.next().unwrap().unwrap();
        assert_eq!(view.offset, 40 + index as i64);
        assert_eq!(view.timestamp, record.timestamp);
        assert_eq!((view.key, view.value), (record.key.as_deref(), record.value.as_deref()));
        let headers: Vec<_> = view.headers.iter().collect::<Result<_, _>>().unwrap();
        assert_eq!(headers, record.headers().collect::<Vec<_>>());
        assert_eq!(view.headers.len(), headers.len());
        let (kept, of) = cursor.next_with_batch().unwrap().unwrap();
        assert_eq!((kept.offset, kept.key, kept.value), (view.offset, view.key, view.value));
        assert_eq!(of.value_bytes(&kept).as_deref(), view.value);
    }
    assert!(read.next().is_none());
    assert!(cursor.next_record().is_none());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn every_codec_round_trips(records in vec(written(), 1..24), level in 1..=9i32) {
        // One compressor and one arena for all, so that nothing of one batch may leak into the next.
        let mut compressor = Compressor::new();
        let mut arena = DecompressArena::default();
        for _ in 0..2 {
            for compression in Compression::ALL {
                let bytes = encode(&records, Codec::new(compression), &mut compressor);
                check(&records, &bytes, &mut arena);
            }
            for compression in [Compression::Gzip, Compression::Zstd] {
                let codec = Codec::with_level(compression, level).unwrap();
                check(&records, &encode(&records, codec, &mut compressor), &mut arena);
            }
        }
    }

    #[test]
    fn the_oracle_reads_ours(records in vec(written(), 1..12)) {
        let bytes = encode(&records, Codec::NONE, &mut Compressor::new());
        let decoded = oracle::RecordBatchDecoder::decode(&mut Bytes::from(bytes)).unwrap().records;
        prop_assert_eq!(decoded.len(), records.len());
        for (index, (theirs, ours)) in decoded.iter().zip(&records).enumerate() {
            prop_assert_eq!(theirs.offset, 40 + index as i64);
            prop_assert_eq!(theirs.timestamp, ours.timestamp);
            prop_assert_eq!(theirs.key.as_deref(), ours.key.as_deref());
            prop_assert_eq!(theirs.value.as_deref(), ours.value.as_deref());
            prop_assert_eq!(theirs.producer_id, 77);
        }
    }

    #[test]
    fn ours_reads_the_oracles(values in vec(option::of(vec(any::<u8>(), 0..300)), 1..20)) {
        let records: Vec<_> = values.iter().enumerate().map(|(index, value)| oracle::Record {
            transactional: false, control: false,
                delete_horizon: false, partition_leader_epoch: -1, producer_id: -1, producer_epoch: -1,
            timestamp_type: oracle::TimestampType::Creation, offset: index as i64, sequence: index as i32 - 1,
            timestamp: 1000 - index as i64, key: Some(Bytes::from_static(b"k")), value: value.clone().map(Bytes::from),
            headers: IndexMap::from([(StrBytes::from_static_str("h"), Some(Bytes::from_static(b"x")))]),
        }).collect();
        let options = oracle::RecordEncodeOptions { version: 2, compression: oracle::Compression::None };
        let mut bytes = BytesMut::new();
        oracle::RecordBatchEncoder::encode(&mut bytes, records.iter(), &options).unwrap();
        let mut arena = DecompressArena::default();
        let mut index = 0;
        for batch in BatchIter::new(&bytes) {
            let batch = batch.unwrap();
            batch.validate(&mut arena).unwrap();
            for record in batch.records(&mut arena).unwrap() {
                let record = record.unwrap();
                prop_assert_eq!(record.value, values[index].as_deref());
                prop_assert_eq!(record.timestamp, 1000 - index as i64);
                prop_assert_eq!(record.headers.last("h").unwrap().unwrap().value, Some(&b"x"[..]));
                index += 1;
            }
        }
        prop_assert_eq!(index, values.len());
    }
}
