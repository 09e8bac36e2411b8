use super::super::{EpochEntry, LogError};
use super::*;
use crate::storage::FsStorage;

fn filled(storage: &Arc<dyn Storage>) -> Log {
    let (mut log, _) = open_in(storage, &small_segments(), OpenState::clean());
    for n in 0..12 {
        log.append_as_leader(&mut idempotent(1, 0, n * 3, 3), None, n / 5, NOW_MS).unwrap();
    }
    assert!(log.segments().len() > 2);
    log
}

#[test]
fn an_idle_log_makes_no_files() {
    let storage = memory();
    let (log, _) = open_in(&storage, &LogConfig::default(), OpenState::clean());
    log.close_clean().unwrap();
    assert!(file_names(storage.as_ref(), &dir()).is_empty());
}

#[test]
fn a_clean_close_leaves_kafkas_files() {
    let storage = memory();
    let log = filled(&storage);
    let (all, end) = (contents(&log), log.log_end_offset());
    let segments: Vec<i64> = log.segments().map(|segment| segment.base_offset).collect();
    assert_eq!(log.close_clean().unwrap(), end);
    let mut expected = vec!["leader-epoch-checkpoint".to_owned(), format!("{end:020}.snapshot")];
    for base in &segments {
        expected.extend(["log", "index", "timeindex"].map(|kind| format!("{base:020}.{kind}")));
        if *base > 0 {
            expected.push(format!("{base:020}.snapshot"));
        }
    }
    expected.sort();
    assert_eq!(file_names(storage.as_ref(), &dir()), expected);
    let (log, report) = open_in(&storage, &small_segments(), OpenState::clean());
    assert_eq!(report, RecoveryReport::default());
    assert_eq!(contents(&log), all);
    assert_derived_from_bytes(&log, storage.as_ref());
}

#[test]
fn missing_or_damaged_side_files_are_rebuilt() {
    let names = {
        let storage = memory();
        filled(&storage).close_clean().unwrap();
        file_names(storage.as_ref(), &dir())
    };
    for name in names.iter().filter(|name| !name.ends_with(".log")) {
        for damage in [false, true] {
            let storage = memory();
            let log = filled(&storage);
            let all = contents(&log);
            let epochs = log.epochs().clone();
            log.close_clean().unwrap();
            let path = dir().join(name);
            if damage {
                let file = storage.open(&path).unwrap();
                file.write_at(0, &[0xfe; 13]).unwrap();
            } else {
                storage.remove_file(&path).unwrap();
            }
            let (log, _) = open_in(&storage, &small_segments(), OpenState::clean());
            assert_eq!(contents(&log), all, "{name} damaged: {damage}");
            assert_eq!(log.epochs(), &epochs, "{name} damaged: {damage}");
            assert_derived_from_bytes(&log, storage.as_ref());
        }
    }
}

#[test]
fn a_read_in_a_hole_goes_on_at_the_next_batch() {
    // Compaction leaves holes at the end of segments: here from 2 to 9.
    let storage = memory();
    let (mut log, _) = open_in(&storage, &small_segments(), OpenState::clean());
    log.append_as_leader(&mut batch(2, 10), None, 0, NOW_MS).unwrap();
    log.close_clean().unwrap();
    let other = memory();
    let state = OpenState { log_start_offset: 10, ..OpenState::clean() };
    let config = LogConfig { segment_bytes: 1 << 20, ..small_segments() };
    let (mut log, _) = open_in(&other, &config, state);
    for _ in 0..9 {
        log.append_as_leader(&mut batch(2, 40), None, 0, NOW_MS).unwrap();
    }
    log.close_clean().unwrap();
    for name in file_names(other.as_ref(), &dir()) {
        let file = other.open(&dir().join(&name)).unwrap();
        let bytes = file.read_at(0, usize::MAX >> 1).unwrap();
        storage.open_or_create(&dir().join(&name)).unwrap().write_at(0, &bytes).unwrap();
    }
    let (log, _) = open_in(&storage, &config, OpenState::clean());
    for offset in 2..=10 {
        assert_eq!(log.read(offset, 1, i64::MAX, true).unwrap().first_offset, 10, "from {offset}");
    }
}

#[test]
fn deleting_records_moves_the_start() {
    let storage = memory();
    let mut log = filled(&storage);
    let end = log.log_end_offset();
    assert_eq!(log.delete_records(7).unwrap(), 7);
    assert_eq!(log.delete_records(5).unwrap(), 7);
    assert!(matches!(log.delete_records(end + 1), Err(LogError::OffsetOutOfRange { .. })));
    assert!(matches!(log.read(6, 100, i64::MAX, true), Err(LogError::OffsetOutOfRange { log_start_offset: 7, .. })));
    // The start lies inside a batch, which a read returns as a whole.
    assert_eq!(log.read(7, 1, i64::MAX, true).unwrap().first_offset, 6);
    assert_eq!(log.epochs().entries().first(), Some(&EpochEntry { epoch: 0, start_offset: 7 }));
    let segments = log.segments().len();
    log.delete_records(end).unwrap();
    assert_eq!(log.segments().len(), 1);
    assert!(segments > 1);
    assert!(log.read(end, 100, i64::MAX, true).unwrap().records.is_empty());
    log.close_clean().unwrap();
    let state = OpenState { log_start_offset: end, ..OpenState::clean() };
    let (log, _) = open_in(&storage, &small_segments(), state);
    assert_eq!((log.log_start_offset(), log.log_end_offset()), (end, end));
    assert!(!file_names(storage.as_ref(), &dir()).iter().any(|name| name.ends_with(".deleted")));
}

#[test]
fn truncation_cuts_at_a_batch() {
    let storage = memory();
    for target in (0..=36).rev() {
        let mut log = filled(&storage);
        let full = contents(&log);
        let new_end = log.truncate_to(target, NOW_MS).unwrap();
        assert_eq!(new_end, target / 3 * 3);
        let left = contents(&log);
        assert_eq!(left, full[..left.len()]);
        assert_derived_from_bytes(&log, storage.as_ref());
        let info = log.append_as_leader(&mut batch(2, 5), None, 9, NOW_MS).unwrap();
        assert_eq!(info.base_offset, new_end);
        log.truncate_fully_and_start_at(100, NOW_MS).unwrap();
        assert_eq!(log.append_as_leader(&mut batch(2, 5), None, 9, NOW_MS).unwrap().base_offset, 100);
        drop(log);
        storage.remove_dir_all(&dir()).unwrap();
    }
}

#[test]
fn times_are_found_to_the_record() {
    for compression in [Compression::None, Compression::Zstd] {
        let storage = memory();
        let (mut log, _) = open_in(&storage, &small_segments(), OpenState::clean());
        // Times go up and down, in batches and across them.
        let times: Vec<i64> = (0..90).map(|n: i64| 1000 + (n * 37 % 50) + n * 3).collect();
        for chunk in times.chunks(5) {
            log.append_as_leader(&mut batch_of(None, chunk, 20, compression), None, 0, NOW_MS).unwrap();
        }
        let expected = |time: i64| times.iter().position(|known| *known >= time).map(|at| (at as i64, times[at]));
        for reopened in [false, true] {
            for time in 900..1400 {
                let found = log.offset_for_timestamp(time).unwrap().map(|found| (found.offset, found.timestamp_ms));
                assert_eq!(found, expected(time), "time {time}, reopened {reopened}");
            }
            let latest = log.max_timestamp().unwrap().unwrap();
            assert_eq!(Some((latest.offset, latest.timestamp_ms)), expected(*times.iter().max().unwrap()));
            if !reopened {
                log.close_clean().unwrap();
                log = open_in(&storage, &small_segments(), OpenState::clean()).0;
            }
        }
    }
}

#[test]
fn the_same_code_runs_on_a_file_system() {
    let place = tempfile::tempdir().unwrap();
    let storage: Arc<dyn Storage> = Arc::new(FsStorage::new());
    let dir = place.path().join("t-0");
    let open = |state| Log::open(Arc::clone(&storage), dir.clone(), small_segments(), state, NOW_MS).unwrap();
    let (mut log, _) = open(OpenState::clean());
    for n in 0..12 {
        log.append_as_leader(&mut idempotent(1, 0, n * 3, 3), None, n / 5, NOW_MS).unwrap();
    }
    log.flush().unwrap();
    let all = contents(&log);
    log.release_files();
    assert_eq!(contents(&log), all);
    log.close_clean().unwrap();
    let (log, report) = open(OpenState::clean());
    assert_eq!((contents(&log), report), (all.clone(), RecoveryReport::default()));
    drop(log);
    let (mut log, report) = open(OpenState::unclean(0));
    assert_eq!((contents(&log), report.truncated_bytes), (all, 0));
    log.delete_records(20).unwrap();
    assert_eq!(log.log_start_offset(), 20);
}

#[test]
fn an_epoch_without_records_goes_with_a_truncation_to_the_end() {
    let (mut log, _) = open_in(&memory(), &LogConfig::default(), OpenState::clean());
    log.append_as_leader(&mut batch(1, 5), None, 3, NOW_MS).unwrap();
    // That of a leader which is deposed before its first record, and whose successor says that epoch 3 ends here.
    log.begin_leader_epoch(5);
    assert_eq!(log.latest_epoch(), Some(5));
    assert_eq!(log.truncate_to(1, NOW_MS).unwrap(), 1);
    assert_eq!(log.latest_epoch(), Some(3), "else a follower would ask for the end of epoch 5 for ever");
}
