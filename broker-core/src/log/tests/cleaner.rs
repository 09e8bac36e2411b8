//! The log cleaner: what stays, what goes and when, beside other changes and through crashes.

use rkafka_protocol::records::{BatchIter, EndTransactionMarker, TransactionResult};

use super::super::cleaner::{CleanError, CleanStats};
use super::super::{CleanupPolicy, LogError, TransactionMarker};
use super::*;
use crate::storage::faulty::{Fault, FaultyStorage, Survival};

const MANY_KEYS: u64 = 1 << 20;
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// A record as it is found in the log: offset, key, value.
pub(super) type Found = (i64, Vec<u8>, Option<Vec<u8>>);

pub(super) fn compacted() -> LogConfig {
    LogConfig { cleanup_policy: CleanupPolicy::parse("compact").unwrap(), ..small_segments() }
}

pub(super) fn keyed(
    producer: Producer,
    transactional: bool,
    records: &[(&str, Option<&str>)],
    compression: Compression,
) -> Vec<u8> {
    let mut options = BatchOptions::at(0, -1);
    if let Some((id, epoch, sequence)) = producer {
        options = options.with_producer(id, epoch, sequence);
    }
    let attributes = options.attributes.with_transactional(transactional);
    let mut builder = BatchBuilder::new(Vec::new(), options.with_attributes(attributes));
    for (key, value) in records {
        builder.append(NOW_MS, Some(key.as_bytes()), value.map(str::as_bytes), NO_HEADERS).unwrap();
    }
    builder.seal(Codec::new(compression), &mut Compressor::new()).unwrap().into_bytes()
}

fn put(log: &mut Log, records: &[(&str, Option<&str>)]) {
    log.append_as_leader(&mut keyed(None, false, records, Compression::None), None, 0, NOW_MS).unwrap();
    log.set_high_watermark(i64::MAX);
}

/// A batch of an idempotent producer, in a transaction or not.
pub(super) fn produce(
    log: &mut Log,
    (id, epoch, sequence): (i64, i16, i32),
    transactional: bool,
    records: &[(&str, Option<&str>)],
) {
    let guard = if transactional { log.begin_verification(id, epoch, sequence, false, NOW_MS) } else { None };
    let mut bytes = keyed(Some((id, epoch, sequence)), transactional, records, Compression::None);
    log.append_as_leader(&mut bytes, guard, 0, NOW_MS).unwrap();
    log.set_high_watermark(i64::MAX);
}

pub(super) fn end(log: &mut Log, producer_id: i64, producer_epoch: i16, commit: bool) {
    let marker =
        TransactionMarker { producer_id, producer_epoch, coordinator_epoch: 0, commit, transaction_version: 1 };
    log.append_marker(&marker, 0, NOW_MS).unwrap();
    log.set_high_watermark(i64::MAX);
}

pub(super) fn roll(log: &mut Log) {
    if log.active().unwrap().size > 0 {
        log.roll(NOW_MS).unwrap();
    }
}

/// A whole round, as the broker runs it. Answers up to where the log is clean then.
pub(super) fn try_clean(
    log: &mut Log,
    from: Option<i64>,
    keys_bytes: u64,
    now_ms: i64,
) -> Result<(i64, CleanStats), CleanError> {
    let cleanable = log.cleanable(from, now_ms)?;
    let Some(mut round) = log.begin_cleaning(&cleanable, keys_bytes, now_ms)? else {
        return Ok((cleanable.first_dirty_offset, CleanStats::default()));
    };
    round.read_keys(&mut |_| true)?;
    while let Some(group) = round.next_group(&mut |_| true)? {
        assert!(log.swap_cleaned(group)?);
    }
    Ok((round.cleaned_to(), round.stats()))
}

fn clean(log: &mut Log, now_ms: i64) -> CleanStats {
    try_clean(log, None, MANY_KEYS, now_ms).unwrap().1
}

/// All records but those of control batches, read as a consumer would.
fn records(log: &Log) -> Vec<Found> {
    let all = contents(log);
    let mut arena = DecompressArena::default();
    let mut found = Vec::new();
    for batch in BatchIter::new(&all) {
        let batch = batch.unwrap();
        batch.verify_crc().unwrap();
        if batch.header().attributes.is_control() {
            continue;
        }
        for record in batch.records(&mut arena).unwrap().map(Result::unwrap) {
            found.push((record.offset, record.key.unwrap().to_vec(), record.value.map(<[u8]>::to_vec)));
        }
    }
    found
}

/// Offsets and results of the markers.
fn markers(log: &Log) -> Vec<(i64, TransactionResult)> {
    let all = contents(log);
    BatchIter::new(&all)
        .map(Result::unwrap)
        .filter(|batch| batch.header().attributes.is_control())
        .filter_map(|batch| {
            let marker: Option<EndTransactionMarker> = super::super::batch::marker(batch.bytes()).unwrap();
            Some((batch.header().base_offset, marker?.result))
        })
        .collect()
}

fn texts(log: &Log) -> Vec<String> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let found = records(log).into_iter();
    found
        .map(|(offset, key, value)| format!("{offset}:{}={}", text(&key), value.map_or("-".to_owned(), |v| text(&v))))
        .collect()
}

fn reopen(storage: &Arc<dyn Storage>, log: Log) -> Log {
    log.close_clean().unwrap();
    let (mut log, report) = open_in(storage, &compacted(), OpenState::clean());
    assert_eq!((report.indexes_rebuilt, report.truncated_bytes), (0, 0), "{report:?}");
    log.set_high_watermark(i64::MAX);
    log
}

#[test]
fn the_last_record_of_each_key_stays_at_its_offset() {
    let storage = memory();
    let (mut log, _) = open_in(&storage, &compacted(), OpenState::clean());
    put(&mut log, &[("a", Some("1")), ("b", Some("1"))]);
    put(&mut log, &[("a", Some("2")), ("c", Some("1"))]);
    roll(&mut log);
    put(&mut log, &[("b", Some("2"))]);
    roll(&mut log);
    // The active segment is neither cleaned nor looked at for keys.
    put(&mut log, &[("c", Some("2"))]);
    let stats = clean(&mut log, NOW_MS);
    assert_eq!(texts(&log), ["2:a=2", "3:c=1", "4:b=2", "5:c=2"]);
    assert_eq!((stats.records_before, stats.records_after, log.segments().len()), (5, 3, 2));
    let before = contents(&log);
    clean(&mut log, NOW_MS);
    assert_eq!(contents(&log), before, "a clean log stays as it is");
    let log = reopen(&storage, log);
    assert_eq!(contents(&log), before);
    // A read in a hole goes on behind it.
    for offset in 0..=2 {
        assert_eq!(log.read(offset, 1, i64::MAX, true).unwrap().next_offset, 4);
    }
    assert_derived_from_bytes(&log, storage.as_ref());
}

#[test]
fn every_codec_stays_itself() {
    for compression in Compression::ALL {
        let (mut log, _) = open_in(&memory(), &compacted(), OpenState::clean());
        let value = "v".repeat(100);
        let batch = [("a", Some("1")), ("b", Some(&value[..])), ("a", None), ("c", Some(&value[..]))];
        for _ in 0..3 {
            log.append_as_leader(&mut keyed(None, false, &batch, compression), None, 0, NOW_MS).unwrap();
        }
        log.set_high_watermark(i64::MAX);
        roll(&mut log);
        clean(&mut log, NOW_MS);
        let found = records(&log);
        assert_eq!(found.iter().map(|(offset, ..)| *offset).collect::<Vec<_>>(), [9, 10, 11]);
        let all = contents(&log);
        let last = BatchIter::new(&all).last().unwrap().unwrap();
        assert_eq!(last.header().attributes.compression(), Ok(compression));
    }
}

#[test]
fn a_tombstone_stays_for_its_time_and_goes_then() {
    let (mut log, _) = open_in(&memory(), &compacted(), OpenState::clean());
    put(&mut log, &[("a", Some("1"))]);
    put(&mut log, &[("a", None), ("b", Some("1"))]);
    roll(&mut log);
    put(&mut log, &[("x", Some("1"))]);
    // The clock begins to run when the cleaner first keeps it, not when it was written.
    clean(&mut log, NOW_MS + 10 * DAY_MS);
    assert_eq!(texts(&log), ["1:a=-", "2:b=1", "3:x=1"]);
    clean(&mut log, NOW_MS + 11 * DAY_MS - 1);
    assert_eq!(texts(&log), ["1:a=-", "2:b=1", "3:x=1"]);
    clean(&mut log, NOW_MS + 11 * DAY_MS);
    assert_eq!(texts(&log), ["2:b=1", "3:x=1"]);
}

#[test]
fn what_is_too_young_or_undecided_is_left_alone() {
    let config = LogConfig { min_compaction_lag_ms: 1000, max_compaction_lag_ms: 5000, ..compacted() };
    let (mut log, _) = open_in(&memory(), &config, OpenState::clean());
    for _ in 0..2 {
        put(&mut log, &[("a", Some("1"))]);
        roll(&mut log);
    }
    assert_eq!(log.cleanable(None, NOW_MS + 999).unwrap().dirty_bytes, 0);
    let cleanable = log.cleanable(None, NOW_MS + 1000).unwrap();
    assert_eq!((cleanable.first_uncleanable_offset, cleanable.is_overdue), (2, false));
    assert!(cleanable.is_due(0.5) && !cleanable.is_due(1.0));
    assert!(log.cleanable(None, NOW_MS + 5001).unwrap().is_due(1.0));
    let part = log.cleanable(Some(1), NOW_MS + 1000).unwrap();
    assert_eq!((part.clean_bytes, part.dirty_bytes), (part.dirty_bytes, part.clean_bytes));
    // A checkpoint beyond the log is that of a log that was longer.
    assert_eq!(log.cleanable(Some(99), NOW_MS + 1000).unwrap(), cleanable);
    produce(&mut log, (1, 0, 0), true, &[("a", Some("2"))]);
    roll(&mut log);
    put(&mut log, &[("a", Some("3"))]);
    roll(&mut log);
    assert_eq!(log.cleanable(None, NOW_MS + 1000).unwrap().first_uncleanable_offset, 2);
    end(&mut log, 1, 0, true);
    assert_eq!(log.cleanable(None, NOW_MS + 1000).unwrap().first_uncleanable_offset, 4);
}

#[test]
fn the_last_batch_of_an_active_producer_is_kept_empty() {
    let storage = memory();
    let (mut log, _) = open_in(&storage, &compacted(), OpenState::clean());
    for sequence in 0..3 {
        produce(&mut log, (7, 0, sequence), false, &[("a", Some("1"))]);
    }
    put(&mut log, &[("a", Some("2"))]);
    roll(&mut log);
    clean(&mut log, NOW_MS);
    assert_eq!(texts(&log), ["3:a=2"]);
    let mut log = reopen(&storage, log);
    assert_eq!(log.producers().get(7).unwrap().last_sequence(), 2);
    // Also from the bytes alone.
    assert_derived_from_bytes(&log, storage.as_ref());
    let again = &mut keyed(Some((7, 0, 2)), false, &[("a", Some("1"))], Compression::None);
    assert!(log.append_as_leader(again, None, 0, NOW_MS).unwrap().duplicate);
    // When the producer is forgotten, its batch goes.
    log.remove_expired_producers(NOW_MS + 2 * DAY_MS);
    assert!(log.producers().is_empty());
    clean(&mut log, NOW_MS);
    let all = contents(&log);
    assert!(BatchIter::new(&all).all(|batch| batch.unwrap().header().producer_id < 0));
}

#[test]
fn aborted_records_go_at_once_and_markers_after_their_records() {
    let storage = memory();
    let (mut log, _) = open_in(&storage, &compacted(), OpenState::clean());
    put(&mut log, &[("a", Some("old"))]);
    produce(&mut log, (1, 0, 0), true, &[("a", Some("aborted"))]);
    produce(&mut log, (2, 0, 0), true, &[("b", Some("committed"))]);
    end(&mut log, 1, 0, false);
    end(&mut log, 2, 0, true);
    roll(&mut log);
    put(&mut log, &[("x", Some("1"))]);
    clean(&mut log, NOW_MS);
    // What the aborted record would have replaced is the last of its key.
    assert_eq!(texts(&log), ["0:a=old", "2:b=committed", "5:x=1"]);
    let both = [(3, TransactionResult::Abort), (4, TransactionResult::Commit)];
    assert_eq!(markers(&log), both);
    // The emptied batch is there for the producer's sequence, and holds the marker as a batch of its transaction does.
    clean(&mut log, NOW_MS);
    clean(&mut log, NOW_MS + DAY_MS);
    let mut log = reopen(&storage, log);
    assert_eq!(markers(&log), both);
    assert_eq!(log.producers().get(1).unwrap().last_sequence(), 0);
    // Without the producer the batch goes; then the marker, when it has been alone for its time. That of the committed
    // transaction stays with its record.
    log.remove_expired_producers(NOW_MS + 2 * DAY_MS);
    clean(&mut log, NOW_MS);
    clean(&mut log, NOW_MS);
    clean(&mut log, NOW_MS + DAY_MS - 1);
    assert_eq!(markers(&log), both);
    clean(&mut log, NOW_MS + DAY_MS);
    assert_eq!(markers(&log), both[1..]);
    assert_eq!(texts(&log), ["0:a=old", "2:b=committed", "5:x=1"]);
    assert_eq!(log.aborted_transactions(0, log.last_stable_offset()).unwrap(), []);
}

#[test]
fn keys_of_markers_are_no_keys() {
    // KAFKA-14055: records with the very bytes that a marker has for its key.
    for (marker_key, commit) in [("\0\0\0\u{1}", true), ("\0\0\0\0", false)] {
        let (mut log, _) = open_in(&memory(), &compacted(), OpenState::clean());
        put(&mut log, &[(marker_key, Some("1"))]);
        produce(&mut log, (1, 0, 0), true, &[("a", Some("1"))]);
        end(&mut log, 1, 0, commit);
        put(&mut log, &[(marker_key, Some("2"))]);
        roll(&mut log);
        put(&mut log, &[("a", Some("2"))]);
        clean(&mut log, NOW_MS);
        assert_eq!(markers(&log).len(), 1, "a record has replaced a marker");
        assert!(texts(&log).contains(&format!("3:{marker_key}=2")));
        roll(&mut log);
        clean(&mut log, NOW_MS);
        assert_eq!(markers(&log).len(), 1);
    }
}

#[test]
fn transactions_go_on_from_segment_to_segment() {
    // KAFKA-8351: the records in one group of segments, the marker in another.
    for commit in [true, false] {
        let (mut log, _) = open_in(&memory(), &compacted(), OpenState::clean());
        let large = "v".repeat(400);
        produce(&mut log, (1, 0, 0), true, &[("a", Some(&large))]);
        roll(&mut log);
        produce(&mut log, (1, 0, 1), true, &[("b", Some(&large))]);
        roll(&mut log);
        end(&mut log, 1, 0, commit);
        put(&mut log, &[("c", Some(&large))]);
        roll(&mut log);
        clean(&mut log, NOW_MS);
        let kept = records(&log).len();
        assert_eq!(kept, if commit { 3 } else { 1 });
        if commit {
            // As long as its records are there, no time is long enough.
            for day in 0..5 {
                clean(&mut log, NOW_MS + day * DAY_MS);
            }
            assert_eq!(markers(&log).len(), 1);
            assert_eq!(records(&log).len(), 3);
        }
        assert_eq!(log.last_stable_offset(), log.log_end_offset());
    }
}

#[test]
fn a_partial_round_keeps_the_transactions_behind_it() {
    // KAFKA-13727: the memory for keys is full in the middle of a segment; the rest of it is copied.
    let (mut log, _) = open_in(&memory(), &LogConfig { segment_bytes: 1 << 20, ..compacted() }, OpenState::clean());
    for n in 0..10 {
        put(&mut log, &[(&format!("k{n}"), Some("1"))]);
    }
    produce(&mut log, (1, 0, 0), true, &[("k1", Some("aborted"))]);
    end(&mut log, 1, 0, false);
    produce(&mut log, (2, 0, 0), true, &[("k2", Some("2"))]);
    end(&mut log, 2, 0, true);
    roll(&mut log);
    put(&mut log, &[("x", Some("1"))]);
    let (mut to, mut rounds) = (None, 0);
    loop {
        let (cleaned_to, stats) = try_clean(&mut log, to, 24 * 5, NOW_MS).unwrap();
        assert!(cleaned_to > to.unwrap_or(0), "no headway");
        (to, rounds) = (Some(cleaned_to), rounds + 1);
        assert!(
            !texts(&log)
                .iter()
                .any(|text| text.contains("aborted") && log.aborted_transactions(0, 14).unwrap().is_empty())
        );
        assert_eq!(markers(&log).len(), 2, "round {rounds}");
        if !stats.is_partial {
            break;
        }
    }
    assert!(rounds > 2);
    let expected: Vec<String> =
        (0..10).filter(|n| *n != 2).map(|n| format!("{n}:k{n}=1")).chain(["12:k2=2".into(), "14:x=1".into()]).collect();
    assert_eq!(texts(&log), expected);
}

#[test]
fn a_group_that_does_not_fit_begins_anew_with_its_transactions() {
    // KAFKA-20036: the first attempt has come to markers already when it turns out to be too large, among them one whose
    // records are in the group before.
    let run = |commit: bool, output_bytes_max: Option<u64>| {
        let large = LogConfig { segment_bytes: 1 << 20, ..compacted() };
        let (mut log, _) = open_in(&memory(), &large, OpenState::clean());
        for n in 0..6 {
            let value = format!("{n}").repeat(200);
            put(&mut log, &[(&format!("p{n}"), Some(&value))]);
            produce(&mut log, (n, 0, 0), true, &[(&format!("t{n}"), Some(&value))]);
            roll(&mut log);
            end(&mut log, n, 0, commit);
        }
        roll(&mut log);
        log.set_config(LogConfig { segment_bytes: 1500, ..large });
        let cleanable = log.cleanable(None, NOW_MS).unwrap();
        let mut round = log.begin_cleaning(&cleanable, MANY_KEYS, NOW_MS).unwrap().unwrap();
        round.read_keys(&mut |_| true).unwrap();
        let mut groups = 0;
        while let Some(group) = round.next_group(&mut |_| true).unwrap() {
            assert!(log.swap_cleaned(group).unwrap());
            groups += 1;
            round.output_bytes_max = output_bytes_max.unwrap_or(round.output_bytes_max);
        }
        let aborted = log.aborted_transactions(0, log.log_end_offset()).unwrap();
        // No marker is taken for one whose records are gone, and given a time to go itself.
        let mut horizons = Vec::new();
        for batch in BatchIter::new(&contents(&log)).map(Result::unwrap) {
            horizons.push((batch.header().base_offset, batch.header().delete_horizon_ms()));
        }
        horizons.retain(|(_, horizon_ms)| horizon_ms.is_some());
        // A marker goes only when nothing else is left of its transaction, however late it is.
        for day in 3..6 {
            clean(&mut log, NOW_MS + day * DAY_MS);
        }
        (groups, (texts(&log), markers(&log), aborted, horizons, round.stats().records_after))
    };
    for (commit, output_bytes_max, kept) in [(true, 1000, (12, 6)), (false, 500, (6, 6))] {
        let (groups, expected) = run(commit, None);
        assert_eq!((expected.0.len(), expected.1.len()), kept);
        let (other_groups, found) = run(commit, Some(output_bytes_max));
        assert_eq!(found, expected);
        assert_ne!(other_groups, groups, "no group was too large");
    }
}

#[test]
fn a_log_that_changes_meanwhile_is_left_as_it_is() {
    let cases: [fn(&mut Log); 3] = [
        |log| {
            log.delete_records(3).unwrap();
        },
        |log| {
            log.truncate_to(2, NOW_MS).unwrap();
        },
        |log| {
            log.truncate_fully_and_start_at(50, NOW_MS).unwrap();
        },
    ];
    for change in cases {
        let storage = memory();
        let (mut log, _) = open_in(&storage, &compacted(), OpenState::clean());
        for _ in 0..4 {
            put(&mut log, &[("a", Some("1"))]);
            roll(&mut log);
        }
        let cleanable = log.cleanable(None, NOW_MS).unwrap();
        let mut round = log.begin_cleaning(&cleanable, MANY_KEYS, NOW_MS).unwrap().unwrap();
        round.read_keys(&mut |_| true).unwrap();
        change(&mut log);
        let before = (contents(&log), log.log_start_offset(), log.log_end_offset());
        match round.next_group(&mut |_| true) {
            Ok(Some(group)) => assert!(!log.swap_cleaned(group).unwrap()),
            // The cut file is no damage.
            Err(_) => assert!(!log.is_cleanable_since(round.truncations())),
            Ok(None) => panic!("there is a group"),
        }
        assert_eq!((contents(&log), log.log_start_offset(), log.log_end_offset()), before);
        assert!(!file_names(storage.as_ref(), &dir()).iter().any(|name| name.ends_with(".cleaned")));
    }
}

#[test]
fn a_round_stops_when_it_is_told_to_and_on_damage() {
    let storage = memory();
    let (mut log, _) = open_in(&storage, &LogConfig { segment_bytes: 1 << 30, ..compacted() }, OpenState::clean());
    let value = "v".repeat(100_000);
    for _ in 0..30 {
        put(&mut log, &[("a", Some(&value))]);
    }
    roll(&mut log);
    let cleanable = log.cleanable(None, NOW_MS).unwrap();
    let mut round = log.begin_cleaning(&cleanable, MANY_KEYS, NOW_MS).unwrap().unwrap();
    assert!(matches!(round.read_keys(&mut |_| false), Err(CleanError::Stopped)));
    round.read_keys(&mut |_| true).unwrap();
    assert!(matches!(round.next_group(&mut |_| false), Err(CleanError::Stopped)));
    assert!(!file_names(storage.as_ref(), &dir()).iter().any(|name| name.ends_with(".cleaned")));
    let before = contents(&log);
    storage.open(&dir().join("00000000000000000000.log")).unwrap().write_at(300_000, b"?").unwrap();
    let damaged = try_clean(&mut log, None, MANY_KEYS, NOW_MS);
    assert!(matches!(damaged, Err(CleanError::Log(LogError::Corrupt { .. }))), "{damaged:?}");
    assert_eq!(contents(&log).len(), before.len());
    assert_eq!(log.offline_reason(), None);
}

#[test]
fn times_and_cuts_work_in_a_cleaned_log() {
    let storage = memory();
    let (mut log, _) = open_in(&storage, &compacted(), OpenState::clean());
    for n in 0..30i64 {
        let mut bytes = batch_of(None, &[NOW_MS + n, NOW_MS + n], 30, Compression::None);
        log.append_as_leader(&mut bytes, None, (n / 10) as i32, NOW_MS).unwrap();
    }
    put(&mut log, &[("other", Some("1"))]);
    roll(&mut log);
    log.set_high_watermark(i64::MAX);
    let end = log.log_end_offset();
    clean(&mut log, NOW_MS);
    let mut log = reopen(&storage, log);
    assert_eq!(offsets(&contents(&log)), [58, 59, 60]);
    let found = log.offset_for_timestamp(NOW_MS + 3).unwrap().unwrap();
    assert_eq!((found.offset, found.timestamp_ms), (58, NOW_MS + 29));
    let newest = log.max_timestamp().unwrap().unwrap();
    assert_eq!((newest.offset, newest.timestamp_ms), (58, NOW_MS + 29));
    assert_eq!(log.end_offset_for_epoch(0), Some((0, 20)));
    assert_eq!((log.log_start_offset(), log.log_end_offset()), (0, end));
    // Cut in a hole: what is before it stays, and the end is where it was asked for.
    assert_eq!(log.truncate_to(30, NOW_MS).unwrap(), 30);
    assert_eq!((offsets(&contents(&log)), log.log_end_offset()), (vec![], 30));
}

#[test]
fn a_follower_takes_what_a_cleaned_leader_has() {
    let (mut leader, _) = open_in(&memory(), &compacted(), OpenState::clean());
    for n in 0..9 {
        put(&mut leader, &[(if n % 3 == 0 { "a" } else { "b" }, Some("1"))]);
        if n % 4 == 3 {
            roll(&mut leader);
        }
    }
    clean(&mut leader, NOW_MS);
    let storage = memory();
    let (mut follower, _) = open_in(&storage, &compacted(), OpenState::clean());
    let mut offset = 0;
    while offset < leader.log_end_offset() {
        let read = leader.read(offset, 1, i64::MAX, true).unwrap();
        follower.append_as_follower(&read.records, NOW_MS).unwrap();
        offset = read.next_offset;
    }
    assert_eq!(contents(&follower), contents(&leader));
    drop(follower);
    let (follower, report) = open_in(&storage, &compacted(), OpenState::unclean(0));
    assert_eq!((contents(&follower), report.truncated_bytes), (contents(&leader), 0));
}

/// What a crash test does: some life, then a round of cleaning. The log is in order before the round.
fn lived(storage: &Arc<dyn Storage>) -> Log {
    let (mut log, _) = open_in(storage, &compacted(), OpenState::clean());
    for n in 0..14 {
        let key = format!("k{}", n % 4);
        let value = format!("{n}").repeat(60);
        let value = if n % 5 == 4 { None } else { Some(&value[..]) };
        if n % 3 == 1 {
            produce(&mut log, (n, 0, 0), true, &[(&key, value)]);
            end(&mut log, n, 0, n % 2 == 0);
        } else {
            put(&mut log, &[(&key, value), (&key, Some("last")), ("z", Some("1"))]);
        }
    }
    log.flush().unwrap();
    log
}

#[test]
fn a_crash_at_any_operation_leaves_the_old_or_the_new_segments() {
    let late = NOW_MS + 2 * DAY_MS;
    let plain = memory();
    let mut reference = lived(&plain);
    let (old, old_markers) = (records(&reference), markers(&reference).len());
    let recovery_point = reference.recovery_point();
    clean(&mut reference, NOW_MS);
    let new = records(&reference);
    assert!(new.len() * 2 < old.len() && reference.segments().len() > 1);
    let before = {
        let disk = FaultyStorage::new();
        let storage: Arc<dyn Storage> = Arc::new(disk.clone());
        drop(lived(&storage));
        disk.operations()
    };
    for operation in before + 1.. {
        let disk = FaultyStorage::new();
        let storage: Arc<dyn Storage> = Arc::new(disk.clone());
        let mut log = lived(&storage);
        assert_eq!(disk.operations(), before);
        disk.fail_at(operation, Fault::CrashTorn(40));
        let result = try_clean(&mut log, None, MANY_KEYS, NOW_MS);
        for survival in [Survival::All, Survival::Synced, Survival::Zeroed] {
            let left: Arc<dyn Storage> = Arc::new(disk.after_crash(survival));
            for point in [recovery_point, 0] {
                let (mut log, report) = open_in(&left, &compacted(), OpenState::unclean(point));
                assert_eq!(report.truncated_bytes, 0, "{operation} {survival:?} {report:?}");
                log.set_high_watermark(i64::MAX);
                let found = records(&log);
                assert!(new.iter().all(|record| found.contains(record)), "{operation} {survival:?}: a record is lost");
                assert!(found.iter().all(|record| old.contains(record)) && found.is_sorted());
                assert!(markers(&log).len() == old_markers);
                assert_eq!(log.log_end_offset(), reference.log_end_offset());
                assert_derived_from_bytes(&log, left.as_ref());
                let names = file_names(left.as_ref(), &dir());
                assert!(!names.iter().any(|name| [".cleaned", ".swap", ".deleted"].iter().any(|e| name.ends_with(e))));
                if point == 0 {
                    // And it can be cleaned on.
                    clean(&mut log, late);
                    assert_eq!(texts(&log).last(), texts(&reference).last());
                }
            }
        }
        if result.is_ok() {
            assert!(operation > before + 20);
            return;
        }
    }
}

#[test]
fn a_failure_before_the_swap_costs_nothing_but_the_round() {
    for fault in [Fault::IoError, Fault::NoSpace] {
        let disk = FaultyStorage::new();
        let storage: Arc<dyn Storage> = Arc::new(disk.clone());
        let mut log = lived(&storage);
        let before = contents(&log);
        disk.fail_at(disk.operations() + 3, fault);
        assert!(try_clean(&mut log, None, MANY_KEYS, NOW_MS).is_err());
        disk.lift();
        assert_eq!((contents(&log), log.offline_reason()), (before, None));
        put(&mut log, &[("k0", Some("more"))]);
        clean(&mut log, NOW_MS);
    }
}

#[test]
fn holes_between_segments_are_believed_where_they_were_promised() {
    // As Kafka's cleaner leaves them: the end of a segment is gone.
    let storage = memory();
    let (mut log, _) = open_in(&storage, &compacted(), OpenState::clean());
    for _ in 0..3 {
        put(&mut log, &[("a", Some("1"))]);
        put(&mut log, &[("b", Some("1"))]);
        roll(&mut log);
    }
    let path = dir().join("00000000000000000000.log");
    let file = storage.open(&path).unwrap();
    file.truncate(file.len().unwrap() / 2).unwrap();
    drop(log);
    for (cleaned_to, recovery_point, end) in [(2, 0, 6), (0, 2, 6), (0, 0, 1)] {
        let memory = MemStorage::new();
        memory.create_dir_all(&dir()).unwrap();
        for name in file_names(storage.as_ref(), &dir()) {
            let bytes = storage.open(&dir().join(&name)).unwrap().read_at(0, 1 << 20).unwrap();
            memory.open_or_create(&dir().join(&name)).unwrap().write_at(0, &bytes).unwrap();
        }
        let memory: Arc<dyn Storage> = Arc::new(memory);
        let state = OpenState { cleaned_to, ..OpenState::unclean(recovery_point) };
        let (log, _) = open_in(&memory, &compacted(), state);
        assert_eq!(log.log_end_offset(), end, "cleaned to {cleaned_to}, recovery point {recovery_point}");
    }
}
