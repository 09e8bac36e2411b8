use super::super::{AppendError, CleanupPolicy, LogError, TimestampType};
use super::*;
use crate::storage::faulty::{Fault, FaultyStorage};

fn new_log() -> (Log, Arc<dyn Storage>) {
    let storage = memory();
    (open_in(&storage, &LogConfig::default(), OpenState::clean()).0, storage)
}

#[test]
fn offsets_and_epochs_are_patched_in() {
    let (mut log, _) = new_log();
    let mut two = [batch(3, 10), batch(2, 10)].concat();
    let first = log.append_as_leader(&mut two, None, 4, NOW_MS).unwrap();
    assert_eq!((first.base_offset, first.last_offset, first.log_append_time, first.duplicate), (0, 4, -1, false));
    let second = log.append_as_leader(&mut batch(1, 10), None, 5, NOW_MS).unwrap();
    assert_eq!(second.base_offset, 5);
    assert_eq!(offsets(&contents(&log)), (0..6).collect::<Vec<_>>());
    assert_eq!(log.end_offset_for_epoch(4), Some((4, 5)));
    assert_eq!(log.end_offset_for_epoch(5), Some((5, 6)));
}

#[test]
fn every_damaged_byte_is_refused_and_nothing_is_kept() {
    let (mut log, _) = new_log();
    let good = batch(2, 5);
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x20;
        // The base offset and the leader epoch are not the producer's to set, and are overwritten.
        if at < 8 || (12..16).contains(&at) {
            continue;
        }
        assert!(log.append_as_leader(&mut bad, None, 0, NOW_MS).is_err(), "byte {at}");
        assert!(log.append_as_leader(&mut good[..at].to_vec(), None, 0, NOW_MS).is_err(), "cut at {at}");
    }
    assert!(log.append_as_leader(&mut [], None, 0, NOW_MS).is_err());
    assert_eq!((log.log_end_offset(), log.size_bytes()), (0, 0));
}

#[test]
fn limits_have_kafkas_error_codes() {
    let storage = memory();
    let config = LogConfig { max_message_bytes: 200, segment_bytes: 400, ..LogConfig::default() };
    let (mut log, _) = open_in(&storage, &config, OpenState::clean());
    let code = |log: &mut Log, mut records: Vec<u8>| {
        log.append_as_leader(&mut records, None, 0, NOW_MS).unwrap_err().kafka_error_code()
    };
    assert_eq!(code(&mut log, batch(1, 200)), 10);
    assert_eq!(code(&mut log, [batch(1, 80), batch(1, 80), batch(1, 80)].concat()), 18);
    assert_eq!(code(&mut log, [idempotent(1, 0, 0, 1), idempotent(1, 0, 1, 1)].concat()), 87);
    let mut old = batch(1, 1);
    old[16] = 1;
    assert_eq!(code(&mut log, old), 43);
    log.append_as_leader(&mut batch(1, 1), None, 0, NOW_MS).unwrap();
}

#[test]
fn idempotent_batches_are_kept_once() {
    let (mut log, storage) = new_log();
    for n in 0..5 {
        log.append_as_leader(&mut idempotent(9, 0, n * 2, 2), None, 0, NOW_MS).unwrap();
    }
    let size = log.size_bytes();
    for n in 0..5 {
        let again = log.append_as_leader(&mut idempotent(9, 0, n * 2, 2), None, 0, NOW_MS).unwrap();
        assert!(again.duplicate);
        assert_eq!((again.base_offset, again.last_offset), (i64::from(n) * 2, i64::from(n) * 2 + 1));
    }
    let gap = log.append_as_leader(&mut idempotent(9, 0, 12, 1), None, 0, NOW_MS);
    assert!(matches!(gap, Err(AppendError::OutOfOrderSequence { last_sequence: 9, .. })));
    log.append_as_leader(&mut idempotent(9, 1, 0, 1), None, 0, NOW_MS).unwrap();
    let fenced = log.append_as_leader(&mut idempotent(9, 0, 10, 1), None, 0, NOW_MS);
    assert_eq!(fenced.unwrap_err().kafka_error_code(), 47);
    assert!(log.size_bytes() > size);
    // What was a duplicate before a restart, clean or not, is one after it.
    for n in 0..4 {
        log.append_as_leader(&mut idempotent(9, 1, 1 + n, 1), None, 0, NOW_MS).unwrap();
    }
    drop(log);
    let (mut log, _) = open_in(&storage, &LogConfig::default(), OpenState::unclean(0));
    assert!(log.append_as_leader(&mut idempotent(9, 1, 0, 1), None, 0, NOW_MS).unwrap().duplicate);
    log.close_clean().unwrap();
    let (mut log, report) = open_in(&storage, &LogConfig::default(), OpenState::clean());
    assert!(!report.producer_snapshot_missing);
    assert!(log.append_as_leader(&mut idempotent(9, 1, 0, 1), None, 0, NOW_MS).unwrap().duplicate);
}

#[test]
fn log_append_time_is_the_brokers() {
    let storage = memory();
    let config = LogConfig { message_timestamp_type: TimestampType::LogAppendTime, ..LogConfig::default() };
    let (mut log, _) = open_in(&storage, &config, OpenState::clean());
    let info = log.append_as_leader(&mut batch_of(None, &[5, 6], 1, Compression::Gzip), None, 0, NOW_MS).unwrap();
    assert_eq!(info.log_append_time, NOW_MS);
    let all = contents(&log);
    let batch = RecordBatch::read(&all).unwrap();
    batch.verify_crc().unwrap();
    let mut arena = DecompressArena::default();
    let times: Vec<i64> = batch.records(&mut arena).unwrap().map(|record| record.unwrap().timestamp).collect();
    assert_eq!(times, [NOW_MS, NOW_MS]);
    let found = log.offset_for_timestamp(NOW_MS).unwrap().unwrap();
    assert_eq!((found.offset, found.timestamp_ms), (0, NOW_MS));
}

#[test]
fn a_follower_keeps_offsets_and_epochs() {
    let (mut leader, _) = new_log();
    leader.append_as_leader(&mut batch(3, 10), None, 4, NOW_MS).unwrap();
    leader.append_as_leader(&mut batch(2, 10), None, 7, NOW_MS).unwrap();
    let records = contents(&leader);
    let (mut follower, _) = new_log();
    let info = follower.append_as_follower(&records, NOW_MS).unwrap();
    assert_eq!((info.base_offset, info.last_offset), (0, 4));
    assert_eq!(contents(&follower), records);
    assert_eq!(follower.epochs(), leader.epochs());
    let again = follower.append_as_follower(&records, NOW_MS);
    assert!(matches!(again, Err(AppendError::OffsetGap { base_offset: 0, log_end_offset: 5 })));
}

#[test]
fn a_full_disk_refuses_and_serves_on() {
    let disk = FaultyStorage::new();
    let storage: Arc<dyn Storage> = Arc::new(disk.clone());
    let (mut log, _) = open_in(&storage, &small_segments(), OpenState::clean());
    log.append_as_leader(&mut batch(2, 100), None, 0, NOW_MS).unwrap();
    let before = contents(&log);
    disk.fail_at(disk.operations(), Fault::NoSpace);
    // The second append needs a new segment, so both kinds of write are refused.
    for size in [10, 300] {
        let refused = log.append_as_leader(&mut batch(1, size), None, 0, NOW_MS);
        assert!(matches!(refused, Err(AppendError::NoSpace { .. })), "{refused:?}");
        assert_eq!(contents(&log), before);
    }
    disk.lift();
    log.append_as_leader(&mut batch(1, 300), None, 0, NOW_MS).unwrap();
    log.append_as_leader(&mut batch(1, 300), None, 0, NOW_MS).unwrap();
    assert_eq!(offsets(&contents(&log)), [0, 1, 2, 3]);
    assert_derived_from_bytes(&log, storage.as_ref());
}

#[test]
fn a_failed_write_or_sync_ends_the_log() {
    let disk = FaultyStorage::new();
    let storage: Arc<dyn Storage> = Arc::new(disk.clone());
    let config = LogConfig { flush_messages: 1, ..LogConfig::default() };
    let (mut log, _) = open_in(&storage, &config, OpenState::clean());
    log.append_as_leader(&mut batch(1, 10), None, 0, NOW_MS).unwrap();
    assert_eq!(log.recovery_point(), 1);
    for operation in [1, 2] {
        disk.fail_at(disk.operations() + operation, Fault::IoError);
        assert!(log.append_as_leader(&mut batch(1, 10), None, 0, NOW_MS).is_err());
        disk.lift();
        let after = log.append_as_leader(&mut batch(1, 10), None, 0, NOW_MS);
        assert!(matches!(after, Err(AppendError::Log(LogError::Offline { .. }))), "{after:?}");
        assert!(log.read(0, 100, i64::MAX, true).is_err());
        assert!(log.flush().is_err());
        log = open_in(&storage, &config, OpenState::unclean(1)).0;
        log.append_as_leader(&mut batch(1, 10), None, 0, NOW_MS).unwrap();
    }
}

#[test]
fn segments_roll_by_time() {
    let storage = memory();
    let config = LogConfig { segment_ms: 1000, ..LogConfig::default() };
    let (mut log, _) = open_in(&storage, &config, OpenState::clean());
    let mut append =
        |time| log.append_as_leader(&mut batch_of(None, &[time], 1, Compression::None), None, 0, NOW_MS).unwrap();
    assert!(!append(NOW_MS).rolled);
    assert!(!append(NOW_MS + 1000).rolled);
    assert!(append(NOW_MS + 1001).rolled);
    assert!(!append(NOW_MS + 1002).rolled);
}

#[test]
fn retention_removes_whole_segments() {
    let storage = memory();
    let config = LogConfig { retention_ms: 1000, retention_bytes: 1300, ..small_segments() };
    let (mut log, _) = open_in(&storage, &config, OpenState::clean());
    for _ in 0..6 {
        log.append_as_leader(&mut batch(1, 400), None, 0, NOW_MS).unwrap();
    }
    assert_eq!(log.segments().len(), 6);
    assert_eq!(log.apply_retention(NOW_MS, 1).unwrap(), 1);
    assert_eq!(log.apply_retention(NOW_MS, 6).unwrap(), 2);
    assert_eq!((log.log_start_offset(), log.segments().len()), (3, 3));
    assert_eq!(log.apply_retention(NOW_MS + 1001, 6).unwrap(), 3);
    assert_eq!((log.log_start_offset(), log.log_end_offset(), log.segments().len()), (6, 6, 1));
    assert_eq!(log.append_as_leader(&mut batch(1, 4), None, 0, NOW_MS).unwrap().base_offset, 6);
}

#[test]
fn files_of_removed_segments_stay_for_a_while() {
    let storage = memory();
    let config = LogConfig { retention_ms: 1000, file_delete_delay_ms: 500, ..small_segments() };
    let (mut log, _) = open_in(&storage, &config, OpenState::clean());
    for _ in 0..3 {
        log.append_as_leader(&mut batch(1, 400), None, 0, NOW_MS).unwrap();
    }
    let deleted = || {
        let entries = storage.list_dir(&dir()).unwrap();
        entries.iter().filter(|entry| entry.name.ends_with(".log.deleted")).count()
    };
    assert_eq!(log.apply_retention(NOW_MS + 1001, 3).unwrap(), 3);
    assert_eq!(deleted(), 3);
    log.apply_retention(NOW_MS + 1500, 3).unwrap();
    assert_eq!(deleted(), 3);
    log.apply_retention(NOW_MS + 1501, 3).unwrap();
    assert_eq!(deleted(), 0);
    // What is left when the log closes goes when it is opened.
    log.append_as_leader(&mut batch(1, 400), None, 0, NOW_MS).unwrap();
    assert_eq!(log.apply_retention(NOW_MS + 1502, 4).unwrap(), 1);
    assert_eq!(deleted(), 1);
    drop(log);
    open_in(&storage, &config, OpenState::clean());
    assert_eq!(deleted(), 0);
}

#[test]
fn retention_works_on_a_full_disk() {
    let disk = FaultyStorage::new();
    let storage: Arc<dyn Storage> = Arc::new(disk.clone());
    let config = LogConfig { retention_ms: 1000, ..small_segments() };
    let (mut log, _) = open_in(&storage, &config, OpenState::clean());
    for _ in 0..4 {
        log.append_as_leader(&mut batch(1, 400), None, 0, NOW_MS).unwrap();
    }
    disk.fail_at(disk.operations(), Fault::NoSpace);
    // All are too old. The last segment needs a successor, for which there is no room yet; the others make some.
    assert_eq!(log.apply_retention(NOW_MS + 1001, 4).unwrap(), 3);
    assert_eq!((log.log_start_offset(), log.log_end_offset(), log.offline_reason()), (3, 4, None));
    disk.lift();
    assert_eq!(log.apply_retention(NOW_MS + 1001, 4).unwrap(), 1);
    assert_eq!((log.log_start_offset(), log.log_end_offset()), (4, 4));
    assert_eq!(log.append_as_leader(&mut batch(1, 4), None, 0, NOW_MS).unwrap().base_offset, 4);
    assert_derived_from_bytes(&log, storage.as_ref());
}

/// A batch that claims this many records, and has one.
fn claiming(records: i32, compression: Compression) -> Vec<u8> {
    let mut bytes = batch_of(None, &[NOW_MS], 10, compression);
    bytes[23..27].copy_from_slice(&(records - 1).to_be_bytes());
    bytes[57..61].copy_from_slice(&records.to_be_bytes());
    let crc = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    bytes
}

#[test]
fn more_records_than_bytes_are_refused() {
    let (mut log, _) = new_log();
    for claimed in [4, 1000, i32::MAX] {
        let refused = log.append_as_leader(&mut claiming(claimed, Compression::None), None, 0, NOW_MS);
        assert!(matches!(refused, Err(AppendError::InvalidRecord { .. })), "{claimed}: {refused:?}");
    }
    assert_eq!(log.log_end_offset(), 0);
}

#[test]
fn what_was_acknowledged_is_never_too_far_from_its_segment() {
    // The log does not unpack a compressed batch, and believes its count; two of them in one append go beyond what an
    // index can say, and a recovery would cut the second.
    let (mut log, storage) = new_log();
    let huge = || claiming(i32::MAX, Compression::Gzip);
    let both = log.append_as_leader(&mut [huge(), huge()].concat(), None, 0, NOW_MS);
    assert!(matches!(both, Err(AppendError::InvalidRecord { .. })), "{both:?}");
    for _ in 0..2 {
        log.append_as_leader(&mut huge(), None, 0, NOW_MS).unwrap();
    }
    let end = log.log_end_offset();
    drop(log);
    let (log, report) = open_in(&storage, &LogConfig::default(), OpenState::unclean(0));
    assert_eq!((log.log_end_offset(), report.truncated_bytes), (end, 0), "{report:?}");
}

#[test]
fn five_batches_are_known_after_a_roll_and_a_restart() {
    for (config, pad, clean) in [
        // The five lie in several segments.
        (small_segments(), 0, true),
        (small_segments(), 0, false),
        // One large active segment.
        (LogConfig { segment_bytes: 1 << 30, ..LogConfig::default() }, 20, true),
    ] {
        let storage = memory();
        let (mut log, _) = open_in(&storage, &config, OpenState::clean());
        for _ in 0..pad {
            log.append_as_leader(&mut batch(1, 1_000_000), None, 0, NOW_MS).unwrap();
        }
        let five: Vec<Vec<u8>> = (0..7).map(|n| idempotent(9, 0, n * 3, 3)).collect();
        for one in &five {
            log.append_as_leader(&mut one.clone(), None, 0, NOW_MS).unwrap();
        }
        let (end, start) = (log.log_end_offset(), log.log_end_offset() - 21);
        let known = log.producers().get(9).cloned();
        let state = if clean {
            log.close_clean().unwrap();
            OpenState::clean()
        } else {
            let state = OpenState::unclean(log.flush().unwrap());
            drop(log);
            state
        };
        let (mut log, _) = open_in(&storage, &config, state);
        assert_eq!(log.producers().get(9).cloned(), known, "pad {pad}, clean {clean}");
        for (at, one) in five.iter().enumerate().skip(2) {
            let again = log.append_as_leader(&mut one.clone(), None, 0, NOW_MS).unwrap();
            assert!(again.duplicate && again.base_offset == start + at as i64 * 3, "{at}: {again:?}");
        }
        assert_eq!(log.log_end_offset(), end);
    }
}

#[test]
fn an_append_is_one_write() {
    let disk = FaultyStorage::new();
    let storage: Arc<dyn Storage> = Arc::new(disk.clone());
    let (mut log, _) = open_in(&storage, &LogConfig::default(), OpenState::clean());
    log.append_as_leader(&mut batch(1, 10), None, 0, NOW_MS).unwrap();
    let before = disk.operations();
    for n in 0..50 {
        log.append_as_leader(&mut idempotent(1, 0, n * 3, 3), None, n, NOW_MS).unwrap();
    }
    assert_eq!(disk.operations() - before, 50);
}

#[test]
fn a_full_index_rolls() {
    let storage = memory();
    let config = LogConfig { index_interval_bytes: 1, segment_index_bytes: 64, ..LogConfig::default() };
    let (mut log, _) = open_in(&storage, &config, OpenState::clean());
    for n in 0..40 {
        let time = NOW_MS + n;
        log.append_as_leader(&mut batch_of(None, &[time], 1, Compression::None), None, 0, time).unwrap();
    }
    assert!(log.segments().len() > 4);
    assert_eq!(offsets(&contents(&log)), (0..40).collect::<Vec<_>>());
    log.close_clean().unwrap();
    let largest = storage.list_dir(&dir()).unwrap().into_iter().filter(|entry| entry.name.ends_with("index"));
    assert!(largest.map(|entry| entry.len).max().unwrap() <= 64);
}

#[test]
fn a_flush_beside_a_truncation_claims_nothing() {
    let (mut log, _) = new_log();
    for _ in 0..4 {
        log.append_as_leader(&mut batch(1, 10), None, 0, NOW_MS).unwrap();
    }
    let task = log.prepare_flush().unwrap().unwrap();
    assert_eq!(task.up_to(), 4);
    log.truncate_to(2, NOW_MS).unwrap();
    log.append_as_leader(&mut batch(3, 10), None, 1, NOW_MS).unwrap();
    let result = task.run();
    assert_eq!(log.complete_flush(task, result).unwrap(), 0);
    assert_eq!(log.flush().unwrap(), 5);
    assert!(log.prepare_flush().unwrap().is_none());
}

#[test]
fn the_brokers_own_batches_pass_the_clients_limits() {
    let storage = memory();
    let config = LogConfig { max_message_bytes: 100, ..LogConfig::default() };
    let (mut log, _) = open_in(&storage, &config, OpenState::clean());
    assert!(log.append_as_leader(&mut batch(1, 300), None, 0, NOW_MS).is_err());
    assert_eq!(log.append_internal(&mut batch(1, 300), None, 0, NOW_MS).unwrap().base_offset, 0);
    let mut damaged = batch(1, 300);
    damaged[100] ^= 1;
    assert_eq!(log.append_internal(&mut damaged, None, 0, NOW_MS).unwrap_err().kafka_error_code(), 2);
}

#[test]
fn a_log_may_be_shared_by_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Log>();
}

#[test]
fn the_policy_says_what_retention_removes() {
    for (policy, removed) in [("delete", 3), ("compact,delete", 3), ("compact", 0), ("", 0)] {
        let config =
            LogConfig { retention_ms: 1000, cleanup_policy: CleanupPolicy::parse(policy).unwrap(), ..small_segments() };
        let (mut log, _) = open_in(&memory(), &config, OpenState::clean());
        for _ in 0..3 {
            log.append_as_leader(&mut batch(1, 400), None, 0, NOW_MS).unwrap();
        }
        assert_eq!(log.apply_retention(NOW_MS + 1001, 3).unwrap(), removed, "{policy:?}");
        // What DeleteRecords has moved the start beyond goes with each policy.
        log.delete_records(2).ok();
        assert_eq!(log.log_start_offset(), if removed > 0 { 3 } else { 2 });
    }
}

#[test]
fn jitter_rolls_earlier_and_not_for_all_at_once() {
    let config = LogConfig { segment_ms: 1000, segment_jitter_ms: 1000, ..LogConfig::default() };
    let mut waited = std::collections::BTreeSet::new();
    for partition in 0..8 {
        let storage = memory();
        let dir = PathBuf::from(format!("/data/t-{partition}"));
        let (mut log, _) = Log::open(storage, dir, config.clone(), OpenState::clean(), NOW_MS).unwrap();
        let rolled = (0..2000).find(|at| {
            let mut one = batch_of(None, &[NOW_MS + at], 1, Compression::None);
            log.append_as_leader(&mut one, None, 0, NOW_MS).unwrap().rolled
        });
        waited.insert(rolled.unwrap());
    }
    assert!(waited.len() > 4 && waited.iter().all(|ms| *ms <= 1001), "{waited:?}");
}
