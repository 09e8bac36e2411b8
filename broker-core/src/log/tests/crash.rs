use rkafka_protocol::records::{
    BatchIter, EndTransactionMarker, TransactionResult, set_base_offset, set_partition_leader_epoch,
};

use super::*;
use crate::storage::faulty::{Fault, FaultyStorage, Survival};

/// What may and what must be in the log after a crash.
#[derive(Debug, Default)]
struct Expectation {
    /// Every state the log could have been in since the last sync, as its whole contents: what is found must be a
    /// prefix of one of them, at a batch.
    possible: Vec<Vec<u8>>,
    /// What was synced, and not cut since.
    synced: Vec<u8>,
    /// The last recovery point that was told to the owner.
    recovery_point: i64,
    finished: bool,
}

/// A life of a log with all that writes: appends, rolls, flushes, a truncation, a clean restart. Stops at the first
/// error, which is the crash.
fn live(storage: &Arc<dyn Storage>, expectation: &mut Expectation) -> Option<()> {
    expectation.possible.push(Vec::new());
    let mut log = Log::open(Arc::clone(storage), dir(), small_segments(), OpenState::clean(), NOW_MS).ok()?.0;
    let mut all: Vec<u8> = Vec::new();
    let mut sequence = 0;
    // Each transaction of producer 2 has some batches, and aborted ones are among them.
    let mut transaction = 0;
    for n in 0..14 {
        let mut records = idempotent(1, 0, sequence, 3);
        let base = log.log_end_offset();
        // The batch that is being written may be found whole, with the offset that it was to get.
        let stamped = |mut records: Vec<u8>, base: i64| {
            set_base_offset(&mut records, base).unwrap();
            set_partition_leader_epoch(&mut records, n / 4).unwrap();
            records
        };
        expectation.possible.push([&all[..], &stamped(records.clone(), base)].concat());
        log.append_as_leader(&mut records, None, n / 4, NOW_MS).ok()?;
        all.extend_from_slice(&records);
        sequence += 3;
        let mut records = transactional(2, 0, Some(transaction), 1);
        expectation.possible.push([&all[..], &stamped(records.clone(), base + 3)].concat());
        append_verified(&mut log, &mut records, n / 4).ok()?;
        all.extend_from_slice(&records);
        transaction += 1;
        if n % 2 == 1 {
            let commit = n % 4 == 1;
            let result = if commit { TransactionResult::Commit } else { TransactionResult::Abort };
            let options = BatchOptions::at(base + 4, n / 4).with_producer(2, 0, -1);
            let expected = EndTransactionMarker { result, coordinator_epoch: 0 }.encode(options, NOW_MS).unwrap();
            all.extend_from_slice(&expected.into_bytes());
            expectation.possible.push(all.clone());
            log.append_marker(&marker(2, 0, commit), n / 4, NOW_MS).ok()?;
        }
        if n % 3 == 1 {
            let recovery_point = log.flush().ok()?;
            expectation.recovery_point = recovery_point;
            expectation.synced = all.clone();
        }
        if n == 8 {
            // Deep enough to take whole segments, and below what was synced: behind two batches of each producer, the
            // marker, and two batches more.
            let kept: Vec<u8> = contents(&log);
            let cut =
                BatchIter::new(&kept).map(|batch| batch.unwrap()).take_while(|batch| batch.header().base_offset < 13);
            let keep = cut.map(|batch| batch.bytes().len()).sum();
            expectation.synced.truncate(keep);
            log.truncate_to(13, NOW_MS).ok()?;
            all.truncate(keep);
            (sequence, transaction) = (9, 3);
            expectation.possible.push(all.clone());
        }
    }
    expectation.recovery_point = log.close_clean().ok()?;
    expectation.synced = all;
    expectation.finished = true;
    Some(())
}

fn check(disk: &FaultyStorage, expectation: &Expectation, recovery_point: i64) -> Vec<u8> {
    let storage: Arc<dyn Storage> = Arc::new(disk.clone());
    let (log, _) = open_in(&storage, &small_segments(), OpenState::unclean(recovery_point));
    let found = contents(&log);
    let is_prefix = expectation.possible.iter().any(|possible| possible.starts_with(&found));
    assert!(is_prefix, "the log holds what was never written so: offsets {:?}", offsets(&found));
    let has_synced = found.starts_with(&expectation.synced);
    assert!(has_synced, "synced: {:?}, found {:?}", offsets(&expectation.synced), offsets(&found));
    assert_derived_from_bytes(&log, storage.as_ref());
    found
}

#[test]
fn a_crash_at_every_operation_leaves_a_valid_prefix() {
    let mut operation = 1;
    loop {
        for fault in [Fault::Crash, Fault::CrashTorn(1), Fault::CrashTorn(70)] {
            let disk = FaultyStorage::new();
            disk.fail_at(operation, fault);
            let storage: Arc<dyn Storage> = Arc::new(disk.clone());
            let mut expectation = Expectation::default();
            let _ = live(&storage, &mut expectation);
            if expectation.finished {
                assert!(operation > 50, "the life of the log is too short to test anything");
                return;
            }
            for survival in [Survival::All, Survival::Synced, Survival::Zeroed] {
                for recovery_point in [0, expectation.recovery_point] {
                    let left = disk.after_crash(survival);
                    if !left.exists(&dir()).unwrap() {
                        continue;
                    }
                    let found = check(&left, &expectation, recovery_point);
                    let again = check(&left, &expectation, recovery_point);
                    assert!(found == again, "a second recovery finds something else");
                }
            }
        }
        operation += 1;
    }
}

#[test]
fn a_crash_in_the_recovery_changes_nothing() {
    // Some operations of the first life are enough here, for each is followed by a crash at every operation of the
    // recovery.
    for operation in (1..400).step_by(7) {
        let disk = FaultyStorage::new();
        disk.fail_at(operation, Fault::CrashTorn(50));
        let storage: Arc<dyn Storage> = Arc::new(disk.clone());
        let mut expectation = Expectation::default();
        let _ = live(&storage, &mut expectation);
        if expectation.finished {
            return;
        }
        for survival in [Survival::All, Survival::Synced, Survival::Zeroed] {
            let reference = check(&disk.after_crash(survival), &expectation, expectation.recovery_point);
            for recovery_operation in 1.. {
                let left = disk.after_crash(survival);
                left.fail_at(recovery_operation, Fault::Crash);
                let storage: Arc<dyn Storage> = Arc::new(left.clone());
                let state = OpenState::unclean(expectation.recovery_point);
                if Log::open(storage, dir(), small_segments(), state, NOW_MS).is_ok() {
                    break;
                }
                for second in [Survival::All, Survival::Synced, Survival::Zeroed] {
                    let found = check(&left.after_crash(second), &expectation, expectation.recovery_point);
                    assert!(found == reference, "operation {operation}, recovery operation {recovery_operation}");
                }
            }
        }
    }
}

#[test]
fn a_tail_torn_at_any_byte_is_cut() {
    let storage = memory();
    let (mut log, _) = open_in(&storage, &LogConfig::default(), OpenState::clean());
    log.append_as_leader(&mut batch(3, 10), None, 0, NOW_MS).unwrap();
    let whole = log.size_bytes();
    log.append_as_leader(&mut batch(2, 10), None, 1, NOW_MS).unwrap();
    let path = dir().join("00000000000000000000.log");
    let bytes = storage.open(&path).unwrap().read_at(0, 1 << 20).unwrap();
    for clean in [false, true] {
        for cut in whole..bytes.len() as u64 {
            for zeroed in [false, true] {
                let torn = memory();
                torn.create_dir_all(&dir()).unwrap();
                let file = torn.open_or_create(&path).unwrap();
                file.write_at(0, &bytes[..cut as usize]).unwrap();
                if zeroed {
                    file.truncate(bytes.len() as u64).unwrap();
                }
                if zeroed && bytes[cut as usize..].iter().all(|byte| *byte == 0) {
                    // The lost bytes were zeros, so nothing is lost.
                    continue;
                }
                // A clean start looks at headers only. It does not believe the marker when it finds a torn tail, but a
                // batch with its magic byte and zeros behind it may look like one; checking that is the recovery's.
                if clean && zeroed && cut > whole + 16 {
                    continue;
                }
                let state = if clean { OpenState::clean() } else { OpenState::unclean(0) };
                let (log, report) = open_in(&torn, &LogConfig::default(), state);
                assert_eq!(log.log_end_offset(), 3, "cut at {cut}, clean {clean}, zeroed {zeroed}");
                assert_eq!(log.latest_epoch(), Some(0));
                let expected = if zeroed { bytes.len() as u64 } else { cut } - whole;
                assert_eq!(report.truncated_bytes, expected, "cut at {cut}");
                assert_eq!(file.len().unwrap(), whole);
            }
        }
    }
}
