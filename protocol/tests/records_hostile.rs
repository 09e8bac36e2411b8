//! Bytes that mean harm, or were damaged: no panic, typed errors, bounded memory.
#![cfg(all(feature = "gzip", feature = "snappy", feature = "lz4", feature = "zstd"))]

use proptest::prelude::*;
use rkafka_protocol::records::{
    Attributes, BATCH_OVERHEAD, BatchBuilder, BatchHeader, BatchIter, BatchOptions, Codec, Compression, Compressor,
    ControlRecord, ControlRecordType, DecompressArena, EndTransactionMarker, HeaderRef, NO_HEADERS, OwnedBatch,
    RecordBatch, RecordError, TransactionResult, compute_crc, set_base_offset, set_log_append_time,
    set_partition_leader_epoch, set_producer,
};

fn sample(compression: Compression, records: usize) -> Vec<u8> {
    let mut builder = BatchBuilder::new(Vec::new(), BatchOptions::default());
    for index in 0..records {
        let value = format!("a value with number {index}, and words that come again and again");
        let headers = [HeaderRef::new("h", b"1"), HeaderRef::new("h", b"2")];
        builder.append(1_000 + index as i64, Some(b"key"), Some(value.as_bytes()), headers).unwrap();
    }
    builder.seal(Codec::new(compression), &mut Compressor::new()).unwrap().into_bytes()
}

/// Puts a payload and a count behind a valid header, with a right length and CRC.
fn forge(compression: Compression, count: i32, payload: &[u8]) -> Vec<u8> {
    let mut header = BatchHeader::read(&sample(Compression::None, 1)).unwrap();
    header.attributes = Attributes::default().with_compression(compression);
    header.record_count = count;
    header.last_offset_delta = (count - 1).max(0);
    header.batch_length = (BATCH_OVERHEAD - 12 + payload.len()) as i32;
    let mut bytes = vec![0; BATCH_OVERHEAD];
    header.write(bytes.first_chunk_mut().unwrap());
    bytes.extend_from_slice(payload);
    header.crc = compute_crc(&bytes).unwrap();
    header.write(bytes.first_chunk_mut().unwrap());
    RecordBatch::read(&bytes).unwrap().verify_crc().unwrap();
    bytes
}

/// Reads everything there is in every way, as a consumer and a broker would, and gives the first fault.
fn read_all(bytes: &[u8], arena: &mut DecompressArena) -> Result<usize, RecordError> {
    let mut count = 0;
    let mut fault = None;
    for batch in BatchIter::new(bytes) {
        let batch = batch?;
        fault = fault.or(batch.validate(arena).err());
        match batch.records(arena) {
            Err(error) => fault = fault.or(Some(error)),
            Ok(records) => {
                for record in records {
                    match record.and_then(|record| record.headers.validate().map(|()| record)) {
                        Ok(record) => {
                            count += 1;
                            let _ = ControlRecord::parse(&record).and_then(|control| control.end_transaction());
                        }
                        Err(error) => fault = fault.or(Some(error)),
                    }
                }
            }
        }
        if let Ok(owned) = OwnedBatch::decode(&bytes::Bytes::copy_from_slice(batch.bytes()), arena) {
            assert!(owned.records_bytes().len() <= arena.limit().max(bytes.len()));
            let mut cursor = owned.into_cursor();
            let _ = cursor.skip_to(i64::MAX - 1);
            while let Some(record) = cursor.next_record() {
                let _ = record;
            }
        }
    }
    fault.map_or(Ok(count), Err)
}

#[test]
fn countbomb_is_refused_before_anything_is_read() {
    let good = sample(Compression::None, 3);
    let bytes = forge(Compression::None, i32::MAX, &good[BATCH_OVERHEAD..]);
    let batch = RecordBatch::read(&bytes).unwrap();
    let error = batch.records(&mut DecompressArena::default()).unwrap_err();
    assert!(matches!(error, RecordError::RecordCountMismatch { declared: i32::MAX, .. }), "{error}");

    // One record more than there is, in bytes that might hold it.
    let bytes = forge(Compression::None, 4, &good[BATCH_OVERHEAD..]);
    let error = read_all(&bytes, &mut DecompressArena::default()).unwrap_err();
    assert_eq!(error, RecordError::RecordCountMismatch { declared: 4, found: 3 });
    // And one less.
    let bytes = forge(Compression::None, 2, &good[BATCH_OVERHEAD..]);
    let error = read_all(&bytes, &mut DecompressArena::default()).unwrap_err();
    assert!(matches!(error, RecordError::TrailingBytes { .. }), "{error}");
}

#[test]
fn header_countbomb_is_refused() {
    // length 11, attributes, deltas, null key, null value, header count i32::MAX
    let mut payload = vec![20, 0, 0, 0, 1, 1];
    payload.extend_from_slice(&[0xfe, 0xff, 0xff, 0xff, 0x0f]);
    payload[0] = 2 * (payload.len() as u8 - 1);
    let error = read_all(&forge(Compression::None, 1, &payload), &mut DecompressArena::default()).unwrap_err();
    assert!(
        matches!(error, RecordError::InvalidLength { what: "header count", length, .. } if length == i64::from(i32::MAX)),
        "{error}"
    );
}

#[test]
fn zbomb_and_its_kin_stop_at_the_limit() {
    const LIMIT: usize = 1 << 20;
    let zeros = vec![0u8; 64 << 20];
    for compression in [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
        let mut packed = Vec::new();
        Compressor::new().compress(Codec::new(compression), &zeros, &mut packed).unwrap();
        let bytes = forge(compression, 1, &packed);
        let mut arena = DecompressArena::new(LIMIT);
        let error = RecordBatch::read(&bytes).unwrap().records(&mut arena).unwrap_err();
        assert_eq!(error, RecordError::DecompressedTooLarge { compression, limit: LIMIT });
        assert!(arena.capacity() <= 2 * LIMIT, "{compression}: {}", arena.capacity());
        let error = OwnedBatch::decode(&bytes::Bytes::from(bytes), &mut arena).unwrap_err();
        assert_eq!(error, RecordError::DecompressedTooLarge { compression, limit: LIMIT });
    }
}

#[test]
fn a_limit_of_exactly_the_size_is_enough() {
    let content: Vec<u8> = (0..300_000u32).map(|index| (index.wrapping_mul(index) >> 7) as u8).collect();
    for compression in Compression::ALL {
        let mut packed = Vec::new();
        Compressor::new().compress(Codec::new(compression), &content, &mut packed).unwrap();
        let mut decompressor = rkafka_protocol::records::Decompressor::new();
        let mut out = vec![1, 2, 3];
        decompressor.decompress(compression, &packed, &mut out, content.len()).unwrap();
        assert!(out[..3] == [1, 2, 3] && out[3..] == content, "{compression} appends");
        let error = decompressor.decompress(compression, &packed, &mut Vec::new(), content.len() - 1).unwrap_err();
        assert!(matches!(error, RecordError::DecompressedTooLarge { .. }), "{error}");
        // Without any limit at all nothing overflows.
        decompressor.decompress(compression, &packed, &mut Vec::new(), usize::MAX).unwrap();
    }
}

#[test]
fn snapbomb_declares_what_its_bytes_cannot_hold() {
    // A raw block of 6 bytes that declares 4 GiB, and one in the xerial framing.
    let raw = [0xff, 0xff, 0xff, 0xff, 0x0f, 0x00];
    let mut arena = DecompressArena::new(usize::MAX);
    let error = read_all(&forge(Compression::Snappy, 1, &raw), &mut arena).unwrap_err();
    assert!(matches!(error, RecordError::Decompress { compression: Compression::Snappy, .. }), "{error}");
    let mut framed = vec![0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 6];
    framed.extend_from_slice(&raw);
    let error = read_all(&forge(Compression::Snappy, 1, &framed), &mut arena).unwrap_err();
    assert!(matches!(error, RecordError::Decompress { compression: Compression::Snappy, .. }), "{error}");
    assert!(arena.capacity() < 1 << 20);
    // A negative block length.
    framed[16] = 0xff;
    assert!(read_all(&forge(Compression::Snappy, 1, &framed), &mut arena).is_err());
}

#[test]
fn reads_raw_snappy_and_many_gzip_members_and_zstd_frames() {
    let plain = sample(Compression::None, 5);
    let records = &plain[BATCH_OVERHEAD..];
    let mut arena = DecompressArena::default();
    let raw = snap::raw::Encoder::new().compress_vec(records).unwrap();
    assert_eq!(read_all(&forge(Compression::Snappy, 5, &raw), &mut arena), Ok(5));
    for compression in [Compression::Gzip, Compression::Zstd, Compression::Snappy] {
        let mut packed = Vec::new();
        let mut compressor = Compressor::new();
        let (front, back) = records.split_at(100);
        compressor.compress(Codec::new(compression), front, &mut packed).unwrap();
        compressor.compress(Codec::new(compression), back, &mut packed).unwrap();
        assert_eq!(read_all(&forge(compression, 5, &packed), &mut arena), Ok(5), "{compression}");
    }
}

#[test]
fn logappend_gives_every_record_the_brokers_time() {
    let mut bytes = sample(Compression::Lz4, 3);
    set_log_append_time(&mut bytes, 5_000_000).unwrap();
    let mut arena = DecompressArena::default();
    let batch = RecordBatch::read(&bytes).unwrap();
    batch.validate(&mut arena).unwrap();
    assert!(batch.records(&mut arena).unwrap().all(|record| record.unwrap().timestamp == 5_000_000));
}

#[test]
fn an_empty_compacted_batch_still_tells_its_last_offset() {
    for compression in Compression::ALL {
        let mut bytes = sample(compression, 4);
        set_base_offset(&mut bytes, 100).unwrap();
        let empty = BatchHeader::read(&bytes).unwrap().to_empty_batch();
        let batch = RecordBatch::read(&empty).unwrap();
        batch.verify_crc().unwrap();
        assert_eq!((batch.header().last_offset(), batch.header().next_offset()), (103, 104));
        let mut arena = DecompressArena::default();
        assert_eq!(batch.records(&mut arena).unwrap().count(), 0);
        let owned = OwnedBatch::decode(&bytes::Bytes::copy_from_slice(&empty), &mut arena).unwrap();
        assert!(owned.into_cursor().next_record().is_none());
    }
}

#[test]
fn partial_tail_ends_the_iteration_and_is_visible() {
    let mut bytes = sample(Compression::None, 2);
    let first = bytes.len();
    let second = sample(Compression::Zstd, 2);
    for cut in 0..second.len() {
        bytes.truncate(first);
        bytes.extend_from_slice(&second[..cut]);
        let mut batches = BatchIter::new(&bytes);
        assert!(batches.next().unwrap().is_ok());
        assert!(batches.next().is_none());
        assert_eq!(batches.remainder(), &second[..cut]);
        assert_eq!(batches.needed(), (cut >= 12).then_some(second.len()));
    }
}

#[test]
fn patches_keep_the_crc_right() {
    let mut bytes = sample(Compression::Gzip, 2);
    set_base_offset(&mut bytes, 1 << 40).unwrap();
    set_partition_leader_epoch(&mut bytes, 7).unwrap();
    RecordBatch::read(&bytes).unwrap().verify_crc().unwrap();
    set_producer(&mut bytes, 4, 2, 9).unwrap();
    let batch = RecordBatch::read(&bytes).unwrap();
    batch.verify_crc().unwrap();
    let header = batch.header();
    assert_eq!((header.base_offset, header.partition_leader_epoch), (1 << 40, 7));
    assert_eq!((header.producer_id, header.producer_epoch, header.last_sequence()), (4, 2, 10));
    // A patch never touches bytes that are not exactly one batch.
    let mut short = bytes[..bytes.len() - 1].to_vec();
    let before = short.clone();
    assert!(set_base_offset(&mut short, 0).is_err() && set_log_append_time(&mut short, 0).is_err());
    assert_eq!(short, before);
    *bytes.last_mut().unwrap() ^= 1;
    assert!(matches!(RecordBatch::read(&bytes).unwrap().verify_crc(), Err(RecordError::CrcMismatch { .. })));
}

#[test]
fn old_magics_are_named() {
    for magic in [0, 1, 3, -1i8] {
        let mut bytes = sample(Compression::None, 1);
        bytes[16] = magic as u8;
        assert_eq!(BatchHeader::read(&bytes), Err(RecordError::UnsupportedMagic { magic }));
        let mut batches = BatchIter::new(&bytes[..30]);
        assert_eq!(batches.next().unwrap().unwrap_err(), RecordError::UnsupportedMagic { magic });
        assert!(batches.next().is_none(), "it ends after an error");
    }
}

#[test]
fn transaction_markers_round_trip() {
    let marker = EndTransactionMarker { result: TransactionResult::Abort, coordinator_epoch: 12 };
    let bytes = marker.encode(BatchOptions::at(900, 3).with_producer(5, 1, 44), 1_000).unwrap().into_bytes();
    let batch = RecordBatch::read(&bytes).unwrap();
    let mut arena = DecompressArena::default();
    batch.validate(&mut arena).unwrap();
    let header = batch.header();
    assert!(header.attributes.is_control() && header.attributes.is_transactional());
    assert_eq!((header.producer_id, header.producer_epoch, header.base_sequence), (5, 1, -1));
    let record = batch.records(&mut arena).unwrap().next().unwrap().unwrap();
    assert_eq!(record.offset, 900);
    let control = ControlRecord::parse(&record).unwrap();
    assert_eq!(control.record_type, ControlRecordType::Abort);
    assert_eq!(control.end_transaction(), Ok(Some(marker)));
}

#[test]
fn appends_that_do_not_fit_leave_the_batch_as_it_was() {
    let mut builder = BatchBuilder::new(Vec::new(), BatchOptions::at(10, 0));
    assert!(matches!(builder.append(-2, None, None, NO_HEADERS), Err(RecordError::InvalidTimestamp { .. })));
    assert!(matches!(builder.append_at(9, 0, None, None, NO_HEADERS), Err(RecordError::InvalidOffset { .. })));
    builder.append_at(15, 0, None, None, NO_HEADERS).unwrap();
    let len = builder.len();
    let error = builder.append_at(15, 0, None, None, NO_HEADERS).unwrap_err();
    assert_eq!(error, RecordError::InvalidOffset { offset: 15, base_offset: 10, last_offset: 15 });
    assert!(builder.append_at(10 + (1 << 31), 0, None, None, NO_HEADERS).is_err());
    assert_eq!((builder.len(), builder.record_count()), (len, 1));
    let bytes = builder.seal(Codec::NONE, &mut Compressor::new()).unwrap().into_bytes();
    let batch = RecordBatch::read(&bytes).unwrap();
    assert_eq!(batch.header().last_offset(), 15);
    let mut arena = DecompressArena::default();
    assert_eq!(batch.records(&mut arena).unwrap().next().unwrap().unwrap().offset, 15);
    assert!(batch.validate(&mut arena).is_err(), "a producer may not leave gaps");
    let empty = BatchBuilder::new(Vec::new(), BatchOptions::default());
    assert_eq!(empty.seal(Codec::NONE, &mut Compressor::new()).unwrap_err(), RecordError::EmptyBatch);
}

#[test]
fn timestamps_may_lie_as_far_apart_as_they_can() {
    let mut builder = BatchBuilder::new(Vec::new(), BatchOptions::default());
    for timestamp in [-1, i64::MAX, 0] {
        builder.append(timestamp, None, None, NO_HEADERS).unwrap();
    }
    let bytes = builder.seal(Codec::NONE, &mut Compressor::new()).unwrap().into_bytes();
    let mut arena = DecompressArena::default();
    let batch = RecordBatch::read(&bytes).unwrap();
    let read = batch.records(&mut arena).unwrap().map(|record| record.unwrap().timestamp).collect::<Vec<_>>();
    assert_eq!((read, batch.header().max_timestamp), (vec![-1, i64::MAX, 0], i64::MAX));
}

#[test]
fn codec_names_and_levels_are_kafkas() {
    for compression in Compression::ALL {
        assert_eq!(compression.to_string().parse(), Ok(compression));
        assert_eq!(Compression::try_from(compression.id()), Ok(compression));
    }
    assert!("GZIP".parse::<Compression>().is_err());
    assert!(Compression::try_from(5).is_err());
    for (compression, good, bad) in [
        (Compression::Gzip, &[-1, 1, 9][..], &[-2, 0, 10][..]),
        (Compression::Lz4, &[9], &[1, 8, 10, 17]),
        (Compression::Zstd, &[-131_072, 0, 3, 22], &[-131_073, 23]),
        (Compression::Snappy, &[], &[0, 1]),
    ] {
        assert!(good.iter().all(|level| Codec::with_level(compression, *level).is_ok()), "{compression}");
        assert!(bad.iter().all(|level| Codec::with_level(compression, *level).is_err()), "{compression}");
    }
}

#[derive(Debug, Clone)]
enum Damage {
    Flip(usize, u8),
    Cut(usize),
    Insert(usize, u8),
    Remove(usize),
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        4 => (any::<usize>(), 1..=255u8).prop_map(|(at, with)| Damage::Flip(at, with)),
        1 => any::<usize>().prop_map(Damage::Cut),
        1 => (any::<usize>(), any::<u8>()).prop_map(|(at, byte)| Damage::Insert(at, byte)),
        1 => any::<usize>().prop_map(Damage::Remove),
    ]
}

fn apply(bytes: &mut Vec<u8>, damage: &Damage) {
    if bytes.is_empty() {
        return;
    }
    let len = bytes.len();
    match *damage {
        Damage::Flip(at, with) => bytes[at % len] ^= with,
        Damage::Cut(at) => bytes.truncate(at % len),
        Damage::Insert(at, byte) => bytes.insert(at % len, byte),
        Damage::Remove(at) => drop(bytes.remove(at % len)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn damage_anywhere_is_an_error_or_a_remainder(
        records in 1..30usize,
        damages in proptest::collection::vec(damage(), 1..4),
    ) {
        const LIMIT: usize = 64 << 10;
        for compression in Compression::ALL {
            let good = sample(compression, records);
            let mut arena = DecompressArena::new(LIMIT);

            let mut bytes = good.clone();
            damages.iter().for_each(|damage| apply(&mut bytes, damage));
            let _ = read_all(&bytes, &mut arena);
            prop_assert!(arena.capacity() <= 4 * LIMIT, "{} holds {}", compression, arena.capacity());

            // The same behind a right CRC and length, so that the damage reaches the codecs and the record parser.
            let mut payload = good[BATCH_OVERHEAD..].to_vec();
            damages.iter().for_each(|damage| apply(&mut payload, damage));
            let _ = read_all(&forge(compression, records as i32, &payload), &mut arena);
            prop_assert!(arena.capacity() <= 4 * LIMIT, "{} holds {}", compression, arena.capacity());

            // And inside the compressed data.
            let mut plain = sample(Compression::None, records)[BATCH_OVERHEAD..].to_vec();
            damages.iter().for_each(|damage| apply(&mut plain, damage));
            let mut packed = Vec::new();
            Compressor::new().compress(Codec::new(compression), &plain, &mut packed).unwrap();
            let _ = read_all(&forge(compression, records as i32, &packed), &mut arena);
            prop_assert!(arena.capacity() <= 4 * LIMIT, "{} holds {}", compression, arena.capacity());
        }
    }

    #[test]
    fn any_bytes_at_all(bytes in proptest::collection::vec(any::<u8>(), 0..300), count in 0..40i32) {
        let mut arena = DecompressArena::new(64 << 10);
        let _ = read_all(&bytes, &mut arena);
        for compression in Compression::ALL {
            let _ = read_all(&forge(compression, count, &bytes), &mut arena);
        }
        prop_assert!(arena.capacity() <= 256 << 10);
    }
}
