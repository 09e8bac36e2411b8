//! What a response means for each cursor, also where it is hostile.

use bytes::Bytes;
use proptest::prelude::*;
use rkafka_protocol::messages::fetch_response::{AbortedTransaction, EpochEndOffset, FetchableTopicResponse};
use rkafka_protocol::records::{BatchOptions, DecompressArena, EndTransactionMarker, TransactionResult, encode_batch};
use rkafka_protocol::wire::{decode_whole, encode_to_vec};

use super::*;
use crate::config::OffsetReset;
use crate::machine::positions::{Positions, TopicView};
use crate::subscription::Start;
use crate::unpack::Unpacker;

const ID: Uuid = Uuid::from_u128(9);

fn cursors(offsets: &[i64]) -> Vec<Cursor> {
    let mut positions = Positions::new(OffsetReset::Earliest, false, Duration::ZERO, Duration::ZERO);
    let wanted: Vec<_> =
        offsets.iter().enumerate().map(|(p, offset)| (Arc::from("t"), p as i32, Start::Offset(*offset))).collect();
    positions.assign(&wanted);
    let leader = crate::machine::positions::Leader { broker: 1, epoch: 0 };
    let view = TopicView { id: ID, leaders: (0..offsets.len() as i32).map(|p| (p, leader)).collect() };
    positions.on_metadata(|_| Some(&view));
    positions.take(1, clock::now())
}

fn batch(base_offset: i64, producer: Option<i64>, values: &[&str]) -> Vec<u8> {
    let mut options = BatchOptions::default();
    options.base_offset = base_offset;
    if let Some(producer_id) = producer {
        options.producer_id = producer_id;
        options.producer_epoch = 0;
        options.base_sequence = 0;
        options.attributes = options.attributes.with_transactional(true);
    }
    encode_batch(Vec::new(), options, 0, values.iter().map(|value| (None, Some(value.as_bytes()))))
        .unwrap()
        .into_bytes()
}

fn marker(base_offset: i64, producer_id: i64, result: TransactionResult) -> Vec<u8> {
    let mut options = BatchOptions::default();
    options.base_offset = base_offset;
    options.producer_id = producer_id;
    options.producer_epoch = 0;
    EndTransactionMarker { result, coordinator_epoch: 0 }.encode(options, 0).unwrap().into_bytes()
}

fn answer(partitions: Vec<PartitionData>) -> FetchResponse {
    let topic = FetchableTopicResponse { topic_id: ID, partitions, ..FetchableTopicResponse::default() };
    FetchResponse { responses: vec![topic], ..FetchResponse::default() }
}

fn data(partition_index: i32, records: Vec<u8>) -> PartitionData {
    PartitionData { partition_index, high_watermark: 100, records: Some(records.into()), ..PartitionData::default() }
}

fn values(chunk: Chunk, read_committed: bool) -> Vec<String> {
    let mut unpacker = Unpacker::new(chunk, read_committed, true);
    let mut arena = DecompressArena::default();
    let mut all = Vec::new();
    while let Some(batch) = unpacker.next_batch(&mut arena).unwrap() {
        all.extend(batch.records().map(|record| String::from_utf8(record.unwrap().value.unwrap().to_vec()).unwrap()));
    }
    all
}

#[test]
fn records_below_the_cursor_and_a_cut_off_end_are_passed_over() {
    let mut records = [batch(0, None, &["a", "b", "c"]), batch(3, None, &["d"])].concat();
    records.extend_from_slice(&batch(4, None, &["cut"])[..30]);
    let mut outcomes = outcomes(cursors(&[1]), 17, answer(vec![data(0, records)]), None, None);
    let (_, fetched, chunk) = outcomes.pop().unwrap();
    assert!(matches!(fetched, Fetched::Read { next_offset: 4, high_watermark: 100, .. }));
    assert_eq!(values(chunk.unwrap(), false), ["b", "c", "d"]);
}

#[test]
fn aborted_transactions_are_read_only_by_who_wants_them() {
    let records = [
        batch(0, Some(7), &["aborted"]),
        batch(1, Some(8), &["open elsewhere"]),
        marker(2, 7, TransactionResult::Abort),
        batch(3, Some(7), &["committed"]),
        marker(4, 7, TransactionResult::Commit),
        marker(5, 8, TransactionResult::Commit),
        batch(6, None, &["plain"]),
    ]
    .concat();
    let partition = || PartitionData {
        aborted_transactions: Some(vec![AbortedTransaction {
            producer_id: 7,
            first_offset: 0,
            ..AbortedTransaction::default()
        }]),
        ..data(0, records.clone())
    };
    for (read_committed, expected) in [
        (true, &["open elsewhere", "committed", "plain"][..]),
        (false, &["aborted", "open elsewhere", "committed", "plain"][..]),
    ] {
        let (_, fetched, chunk) = outcomes(cursors(&[0]), 17, answer(vec![partition()]), None, None).pop().unwrap();
        assert!(matches!(fetched, Fetched::Read { next_offset: 7, .. }));
        assert_eq!(values(chunk.unwrap(), read_committed), expected);
    }
}

#[test]
fn a_chunk_put_back_still_knows_what_was_aborted() {
    let records = [
        batch(0, Some(7), &["aborted"]),
        batch(1, None, &["plain"]),
        batch(2, Some(7), &["aborted too"]),
        marker(3, 7, TransactionResult::Abort),
        batch(4, None, &["last"]),
    ]
    .concat();
    let aborted = vec![AbortedTransaction { producer_id: 7, first_offset: 0, ..AbortedTransaction::default() }];
    let partition = PartitionData { aborted_transactions: Some(aborted), ..data(0, records) };
    let (_, _, chunk) = outcomes(cursors(&[0]), 17, answer(vec![partition]), None, None).pop().unwrap();
    let mut unpacker = Unpacker::new(chunk.unwrap(), true, true);
    let first = unpacker.next_batch(&mut DecompressArena::default()).unwrap().unwrap();
    assert_eq!(values(unpacker.into_rest(first.next_offset()), true), ["last"]);
}

#[test]
fn damage_is_told_and_never_skipped() {
    let mut broken = batch(5, None, &["x"]);
    *broken.last_mut().unwrap() ^= 1;
    let records = [batch(4, None, &["ok"]), broken].concat();
    let (_, _, chunk) = outcomes(cursors(&[4]), 17, answer(vec![data(0, records)]), None, None).pop().unwrap();
    let mut unpacker = Unpacker::new(chunk.unwrap(), false, true);
    let mut arena = DecompressArena::default();
    assert!(unpacker.next_batch(&mut arena).unwrap().is_some());
    assert_eq!(unpacker.next_batch(&mut arena).unwrap_err().offset, 5);
    // A batch that does not move forward would be fetched for ever.
    let stuck = outcomes(cursors(&[9]), 17, answer(vec![data(0, batch(0, None, &["old"]))]), None, None).pop().unwrap();
    assert!(matches!(stuck.1, Fetched::Malformed(_)));
    let short = outcomes(cursors(&[0]), 17, answer(vec![data(0, vec![0; 40])]), None, None).pop().unwrap();
    assert!(matches!(short.1, Fetched::Malformed(_)));
}

#[test]
fn partitions_that_are_missing_foreign_or_refused() {
    let refused = PartitionData { error_code: ErrorCode::NotLeaderOrFollower.code(), ..data(1, Vec::new()) };
    let diverged = PartitionData {
        diverging_epoch: EpochEndOffset { epoch: 2, end_offset: 3, ..EpochEndOffset::default() },
        ..data(2, Vec::new())
    };
    let response = answer(vec![refused, diverged, data(77, batch(0, None, &["foreign"]))]);
    let outcomes = outcomes(cursors(&[0, 0, 5]), 17, response, None, None);
    assert_eq!(outcomes.len(), 3, "every cursor comes back, and nothing else");
    assert!(matches!(outcomes[0].1, Fetched::Malformed(_)));
    assert_eq!(outcomes[1].1, Fetched::Refused(ErrorCode::NotLeaderOrFollower));
    assert_eq!(outcomes[2].1, Fetched::Diverged { end_offset: 3, epoch: 2 });
    assert!(outcomes.iter().all(|(_, _, chunk)| chunk.is_none()));
}

proptest! {
    /// Any bytes in place of the records, and any damage to a whole response: each cursor comes back once, nothing
    /// panics, and the position never moves back.
    #[test]
    fn hostile_bytes_do_no_harm(
        at in any::<prop::sample::Index>(),
        flip in 1..=255u8,
        cut in any::<prop::sample::Index>(),
        noise in proptest::collection::vec(any::<u8>(), 0..200),
        how in 0..3u8,
    ) {
        let mut records = [batch(0, None, &["a", "b"]), batch(2, Some(7), &["c"])].concat();
        match how {
            0 => { let at = at.index(records.len()); records[at] ^= flip; }
            1 => records.truncate(cut.index(records.len())),
            _ => records = noise,
        }
        let mut bytes = encode_to_vec(&answer(vec![data(0, records)]), 17).unwrap();
        if how == 2 {
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
        }
        let Ok(response) = decode_whole::<FetchResponse>(Bytes::from(bytes), 17) else { return Ok(()) };
        let mut outcomes = outcomes(cursors(&[1]), 17, response, None, None);
        prop_assert_eq!(outcomes.len(), 1);
        let (cursor, fetched, chunk) = outcomes.pop().unwrap();
        if let Fetched::Read { next_offset, .. } = fetched {
            prop_assert!(next_offset >= cursor.offset);
        }
        if let Some(chunk) = chunk {
            let mut unpacker = Unpacker::new(chunk, true, flip % 2 == 0);
            let mut arena = DecompressArena::default();
            while let Ok(Some(batch)) = unpacker.next_batch(&mut arena) {
                for record in batch.records() {
                    if record.is_err() { break; }
                }
            }
        }
    }
}
