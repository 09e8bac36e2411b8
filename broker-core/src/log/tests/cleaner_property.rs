//! Random lives of a compacted log: whatever is written, cleaned, cut and broken off, the last record of each key stays.

use std::collections::BTreeMap;

use proptest::prelude::*;
use rkafka_protocol::records::BatchIter;

use super::cleaner::{Found, compacted, end, keyed, produce, roll, try_clean};
use super::*;

#[derive(Debug, Clone)]
enum Step {
    Put(Vec<(u8, bool)>, u8),
    Produce(i64, u8),
    Transaction { id: i64, keys: Vec<(u8, bool)>, commit: bool, roll_within: bool },
    Roll,
    Clean { keys: u64 },
    Later,
    DeleteRecords(u8),
    ReopenClean,
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    let keys = || prop::collection::vec((0..6u8, prop::bool::weighted(0.8)), 1..4);
    prop_oneof![
        4 => (keys(), 0..5u8).prop_map(|(keys, codec)| Step::Put(keys, codec)),
        2 => (0..3i64, 0..6u8).prop_map(|(id, key)| Step::Produce(id, key)),
        3 => (10..13i64, keys(), any::<bool>(), any::<bool>())
            .prop_map(|(id, keys, commit, roll_within)| Step::Transaction { id, keys, commit, roll_within }),
        2 => Just(Step::Roll),
        3 => prop_oneof![Just(1000u64), 3..12u64].prop_map(|keys| Step::Clean { keys }),
        1 => Just(Step::Later),
        1 => any::<u8>().prop_map(Step::DeleteRecords),
        1 => Just(Step::ReopenClean),
        1 => Just(Step::Crash),
    ]
}

/// What a read_committed consumer gets: the records less those of aborted transactions.
fn committed(log: &Log) -> Vec<Found> {
    let aborted = log.aborted_transactions(log.log_start_offset(), log.last_stable_offset()).unwrap();
    let all = contents(log);
    let mut arena = DecompressArena::default();
    let mut found = Vec::new();
    for batch in BatchIter::new(&all).map(Result::unwrap) {
        let header = *batch.header();
        let is_aborted = header.attributes.is_transactional()
            && aborted.iter().any(|txn| {
                txn.producer_id == header.producer_id
                    && (txn.first_offset..=txn.last_offset).contains(&header.base_offset)
            });
        if header.attributes.is_control() || is_aborted {
            continue;
        }
        for record in batch.records(&mut arena).unwrap().map(Result::unwrap) {
            if record.offset >= log.log_start_offset() {
                found.push((record.offset, record.key.unwrap().to_vec(), record.value.map(<[u8]>::to_vec)));
            }
        }
    }
    found
}

/// Checks the log against all that was ever committed to it.
fn check(log: &Log, model: &BTreeMap<i64, (Vec<u8>, Option<Vec<u8>>)>) {
    let found = committed(log);
    assert!(found.is_sorted_by(|one, other| one.0 < other.0), "offsets do not grow");
    for (offset, key, value) in &found {
        assert_eq!(model.get(offset), Some(&(key.clone(), value.clone())), "offset {offset} is another record's");
    }
    let mut last: BTreeMap<&[u8], (i64, Option<&[u8]>)> = BTreeMap::new();
    for (offset, (key, value)) in model.range(log.log_start_offset()..) {
        last.insert(key, (*offset, value.as_deref()));
    }
    let mut seen: BTreeMap<&[u8], (i64, Option<&[u8]>)> = BTreeMap::new();
    for (offset, key, value) in &found {
        seen.insert(key, (*offset, value.as_deref()));
    }
    for (key, (offset, value)) in last {
        match value {
            Some(_) => assert_eq!(seen.get(key), Some(&(offset, value)), "the last value of a key is lost"),
            // A tombstone may have gone, but then everything before it has too.
            None => assert!(seen.get(key).is_none_or(|found| *found == (offset, None)), "a deleted key is back"),
        }
    }
}

fn run(steps: Vec<Step>) {
    let storage = memory();
    let config = LogConfig { delete_retention_ms: 1000, ..compacted() };
    let (mut log, _) = open_in(&storage, &config, OpenState::clean());
    let mut model = BTreeMap::new();
    let mut cleaned_to = None;
    let mut now_ms = NOW_MS;
    let mut unique = 0u32;
    let mut value_of = |is_value: bool| {
        unique += 1;
        is_value.then(|| format!("{unique}-{}", "v".repeat(60)))
    };
    let next = |log: &Log, id: i64| log.producers().get(id).map_or(0, |entry| entry.last_sequence() + 1);
    for step in steps {
        match step {
            Step::Put(keys, codec) => {
                let owned: Vec<_> = keys.iter().map(|(key, is)| (format!("key-{key}"), value_of(*is))).collect();
                let list: Vec<_> = owned.iter().map(|(key, value)| (&key[..], value.as_deref())).collect();
                let mut bytes = keyed(None, false, &list, Compression::from_id(codec).unwrap());
                let base = log.append_as_leader(&mut bytes, None, 0, now_ms).unwrap().base_offset;
                for (at, (key, value)) in (base..).zip(owned) {
                    model.insert(at, (key.into_bytes(), value.map(String::into_bytes)));
                }
            }
            Step::Produce(id, key) => {
                let (key, value) = (format!("key-{key}"), value_of(true));
                let (base, sequence) = (log.log_end_offset(), next(&log, id));
                produce(&mut log, (id, 0, sequence), false, &[(&key, value.as_deref())]);
                model.insert(base, (key.into_bytes(), value.map(String::into_bytes)));
            }
            Step::Transaction { id, keys, commit, roll_within } => {
                for (key, is_value) in keys {
                    let (key, value) = (format!("key-{key}"), value_of(is_value));
                    let (base, sequence) = (log.log_end_offset(), next(&log, id));
                    produce(&mut log, (id, 0, sequence), true, &[(&key, value.as_deref())]);
                    if commit {
                        model.insert(base, (key.into_bytes(), value.map(String::into_bytes)));
                    }
                    if roll_within {
                        roll(&mut log);
                    }
                }
                end(&mut log, id, 0, commit);
            }
            Step::Roll => roll(&mut log),
            Step::Clean { keys } => {
                let (to, _) = try_clean(&mut log, cleaned_to, keys * 24, now_ms).unwrap();
                cleaned_to = Some(to);
            }
            Step::Later => now_ms += 600,
            Step::DeleteRecords(at) => {
                let span = log.log_end_offset() - log.log_start_offset();
                log.delete_records(log.log_start_offset() + span * i64::from(at) / 1000).unwrap();
            }
            Step::ReopenClean => {
                let log_start_offset = log.log_start_offset();
                log.close_clean().unwrap();
                log = open_in(&storage, &config, OpenState { log_start_offset, ..OpenState::clean() }).0;
            }
            Step::Crash => {
                let (point, log_start_offset) = (log.recovery_point(), log.log_start_offset());
                drop(log);
                let state = OpenState { log_start_offset, ..OpenState::unclean(point) };
                let (opened, report) = open_in(&storage, &config, state);
                assert_eq!(report.truncated_bytes, 0);
                log = opened;
            }
        }
        log.set_high_watermark(i64::MAX);
        assert_eq!(log.last_stable_offset(), log.log_end_offset(), "a transaction hangs");
        check(&log, &model);
    }
}

proptest! {
    #[test]
    fn a_cleaned_log_has_the_last_record_of_each_key(steps in prop::collection::vec(step(), 1..40)) {
        run(steps);
    }
}

/// The round begins behind the marker of a transaction that was aborted, and the same producer's next one is committed.
#[test]
fn a_tombstone_takes_its_key_along_whatever_its_producer_aborted_before() {
    let transaction = |id, keys: &[(u8, bool)], commit, roll_within| Step::Transaction {
        id,
        keys: keys.to_vec(),
        commit,
        roll_within,
    };
    run(vec![
        transaction(11, &[(0, false)], false, false),
        Step::Put(vec![(1, true)], 0),
        transaction(10, &[(0, true), (0, true)], false, false),
        Step::Clean { keys: 1000 },
        transaction(11, &[(1, false)], true, true),
        Step::Clean { keys: 1000 },
        Step::Later,
        transaction(10, &[(0, false)], false, true),
        Step::Later,
        Step::Clean { keys: 1000 },
    ]);
}
