use rkafka_protocol::records::{
    BatchBuilder, BatchOptions, BatchRetainer, Codec, Compressor, DeleteHorizon, EndTransactionMarker, NO_HEADERS,
    RecordView, TransactionResult,
};
use uuid::Uuid;

use rkafka_client_core::metrics::{ClientKind, Metrics};

use super::*;
use crate::share::machine::session::Place;
use crate::share::metrics::ShareMetrics;

const RELEASE: i8 = 2;

/// A batch that ends with `last`, of which compaction has left the records at these offsets.
fn batch(offsets: &[i64], last: Option<i64>) -> Vec<u8> {
    let mut builder = BatchBuilder::new(Vec::new(), BatchOptions::at(offsets[0], 0));
    let last = last.unwrap_or(offsets[offsets.len() - 1]);
    for offset in offsets[0]..=last {
        builder.append_at(offset, 0, None, Some(b"value"), NO_HEADERS).unwrap();
    }
    let whole = builder.seal(Codec::NONE, &mut Compressor::default()).unwrap().into_bytes();
    let mut bytes = Vec::new();
    let horizon = DeleteHorizon { horizon_ms: 0, force: false };
    let keep = |record: &RecordView<'_>| offsets.contains(&record.offset);
    BatchRetainer::default().retain(&RecordBatch::read(&whole).unwrap(), horizon, keep, &mut bytes).unwrap();
    bytes
}

fn marker(offset: i64) -> Vec<u8> {
    let marker = EndTransactionMarker { coordinator_epoch: 0, result: TransactionResult::Commit };
    marker.encode(BatchOptions::at(offset, 0).with_producer(1, 0, -1), 0).unwrap().into_bytes()
}

fn unpacker(records: &[Vec<u8>], acquired: &[(i64, i64)], check_crcs: bool) -> ShareUnpacker {
    let acquired: Vec<Acquired> =
        acquired.iter().map(|(first, last)| Acquired { first: *first, last: *last, delivery_count: 1 }).collect();
    let place = Place { topic_id: Uuid::from_u128(1), partition: 0 };
    let chunk = ShareChunk {
        hold: Arc::new(Hold::new(1, 1, place, acquired[0].first)),
        topic: "t".into(),
        records: records.concat().into(),
        acquired: acquired.into(),
        sum: ShareMetrics::new(Metrics::new(&rkafka_client_core::ClientConfig::new(), ClientKind::Consumer)).sum(),
    };
    ShareUnpacker::new(chunk, check_crcs)
}

/// Everything that comes of a chunk: offsets of records, where damage is, and what was remarked.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    records: Vec<i64>,
    damaged: Vec<i64>,
    remarks: Vec<(i64, i64, i8)>,
}

fn unpack(records: &[Vec<u8>], acquired: &[(i64, i64)]) -> Seen {
    unpack_with(unpacker(records, acquired, true))
}

fn unpack_with(mut unpacker: ShareUnpacker) -> Seen {
    let (mut arena, mut seen) = (DecompressArena::new(1 << 20), Seen::default());
    loop {
        let unpacked = unpacker.next_batch(&mut arena);
        seen.remarks.extend(unpacker.take_remarks().into_iter().map(|one| (one.first, one.last, one.code)));
        match unpacked {
            Ok(Some(batch)) => seen.records.extend(batch.records().map_while(Result::ok).map(|one| one.record.offset)),
            Ok(None) => return seen,
            Err(damage) => seen.damaged.push(damage.offset),
        }
        assert!(seen.damaged.len() < 10, "it comes to an end");
    }
}

/// Every offset that was acquired is either a record or remarked upon, and no offset twice: else its lock runs out, and it
/// comes again and again.
fn all_is_spoken_of(seen: &Seen, acquired: &[(i64, i64)]) {
    let mut spoken: Vec<i64> = seen.records.clone();
    spoken.extend(seen.remarks.iter().flat_map(|(first, last, _)| *first..=*last));
    spoken.sort_unstable();
    let expected: Vec<i64> = acquired.iter().flat_map(|(first, last)| *first..=*last).collect();
    assert_eq!(spoken, expected, "{seen:?}");
}

#[test]
fn only_what_is_this_members_is_given() {
    let acquired = [(1, 1), (3, 3), (5, 5)];
    let seen = unpack(&[batch(&[0, 1, 2], None), batch(&[3, 4], None), batch(&[5, 6], None)], &acquired);
    assert_eq!(seen, Seen { records: vec![1, 3, 5], ..Seen::default() });
}

#[test]
fn holes_within_batches_and_between_them_are_gaps() {
    let acquired = [(0, 20)];
    let seen = unpack(&[batch(&[2, 4, 5], None), batch(&[10, 13], Some(15)), batch(&[18, 19], None)], &acquired);
    assert_eq!(seen.records, [2, 4, 5, 10, 13, 18, 19]);
    let gaps = [(0, 1, GAP), (3, 3, GAP), (6, 9, GAP), (11, 12, GAP), (14, 15, GAP), (16, 17, GAP)];
    // The broker gave one more than it sent.
    assert_eq!(seen.remarks, [&gaps[..], &[(20, 20, RELEASE)]].concat());
    all_is_spoken_of(&seen, &acquired);
}

#[test]
fn a_batch_that_compaction_left_nothing_of_this_members_in_is_passed_over() {
    let acquired = [(1, 3), (6, 6)];
    let seen = unpack(&[batch(&[0, 4], None), batch(&[5, 6], None)], &acquired);
    assert_eq!((&seen.records[..], &seen.remarks[..]), (&[6][..], &[(1, 3, GAP)][..]));
    all_is_spoken_of(&seen, &acquired);
}

#[test]
fn markers_are_gaps() {
    let acquired = [(0, 4)];
    let seen = unpack(&[batch(&[0, 1], None), marker(2), marker(3), batch(&[4], None)], &acquired);
    assert_eq!((&seen.records[..], &seen.remarks[..]), (&[0, 1, 4][..], &[(2, 2, GAP), (3, 3, GAP)][..]));
    all_is_spoken_of(&seen, &acquired);
}

#[test]
fn a_damaged_batch_is_released_and_those_behind_it_are_read() {
    let mut damaged = batch(&[2, 3], None);
    *damaged.last_mut().unwrap() ^= 1;
    let batches = [batch(&[0, 1], None), damaged, batch(&[4, 5], None)];
    let acquired = [(0, 5)];
    let seen = unpack(&batches, &acquired);
    assert_eq!((&seen.records[..], &seen.damaged[..]), (&[0, 1, 4, 5][..], &[2][..]));
    assert_eq!(seen.remarks, [(2, 3, RELEASE)]);
    all_is_spoken_of(&seen, &acquired);
    // Nobody looks at what is another member's.
    let acquired = [(0, 1), (4, 5)];
    let seen = unpack(&batches, &acquired);
    assert_eq!((&seen.records[..], seen.damaged.len()), (&[0, 1, 4, 5][..], 0));
    all_is_spoken_of(&seen, &acquired);
}

#[test]
fn behind_a_header_that_is_none_everything_is_released() {
    let mut torn = batch(&[2, 3], None);
    torn.truncate(70);
    let mut nonsense = batch(&[2, 3], None);
    nonsense[8..12].copy_from_slice(&i32::MIN.to_be_bytes());
    for bad in [torn, nonsense, batch(&[0], None)] {
        let acquired = [(0, 3)];
        let seen = unpack(&[batch(&[0, 1], None), bad], &acquired);
        assert_eq!((&seen.records[..], &seen.damaged[..]), (&[0, 1][..], &[2][..]));
        assert_eq!(seen.remarks, [(2, 3, RELEASE)]);
        all_is_spoken_of(&seen, &acquired);
    }
    let acquired = [(7, 9), (11, 11)];
    let seen = unpack(&[], &acquired);
    assert_eq!(seen.remarks, [(7, 9, RELEASE), (11, 11, RELEASE)]);
}

mod hostile {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever bytes come, the unpacking ends, and each offset that was acquired is spoken of once at most.
        #[test]
        fn bytes_never_break_it(
            flips in prop::collection::vec((0_usize..400, any::<u8>()), 0..6),
            check_crcs: bool,
            runs in prop::collection::vec((0_i64..4, 0_i64..4), 1..5),
        ) {
            let mut bytes = [batch(&[0, 2, 3], None), marker(4), batch(&[5, 6, 9], Some(10)), batch(&[11], None)].concat();
            for (at, with) in flips {
                let length = bytes.len();
                bytes[at % length] ^= with;
            }
            let mut next = 0;
            let acquired: Vec<(i64, i64)> = runs.into_iter().map(|(skip, length)| {
                let run = (next + skip, next + skip + length);
                next = run.1 + 1;
                run
            }).collect();
            let seen = unpack_with(unpacker(&[bytes], &acquired, check_crcs));
            let mut spoken: Vec<i64> = seen.records.clone();
            spoken.extend(seen.remarks.iter().flat_map(|(first, last, _)| *first..=*last));
            let is_mine = |offset: &i64| acquired.iter().any(|(first, last)| (first..=last).contains(&offset));
            prop_assert!(spoken.iter().all(is_mine), "{seen:?}");
            if check_crcs {
                let all = spoken.len();
                spoken.sort_unstable();
                spoken.dedup();
                prop_assert_eq!(spoken.len(), all, "{:?}", seen);
            }
        }
    }
}
