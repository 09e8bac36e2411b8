//! The driver of the cleaner, with everything that may happen to a log in the middle of a round.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::Path;

use rkafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use rkafka_protocol::messages::delete_topics_request::DeleteTopicState;
use rkafka_protocol::records::{BatchIter, BatchOptions, DecompressArena, encode_batch};

use super::*;
use crate::{Broker, BrokerConfig, BrokerHandle};

const TOPIC: &str = "compacted";
const KEYS: i64 = 7;
/// Bytes of a value: sixteen of them fill a segment.
const VALUE_BYTES: usize = 64 * 1024;

/// A broker whose cleaner is run by the test alone.
async fn start(dir: &Path) -> BrokerHandle {
    let config = BrokerConfig::new()
        .listeners("PLAINTEXT://127.0.0.1:0")
        .log_dirs(dir.to_str().unwrap())
        .log_cleaner_enable(false);
    Broker::start(config).await.unwrap()
}

async fn create(broker: &BrokerState, policy: &str) -> Arc<Partition> {
    let config = |name: &str, value: &str| CreatableTopicConfig {
        name: name.into(),
        value: Some(value.into()),
        ..Default::default()
    };
    let topic = CreatableTopic {
        name: TOPIC.to_owned(),
        num_partitions: 1,
        replication_factor: -1,
        configs: vec![
            config("cleanup.policy", policy),
            config("segment.bytes", "1048576"),
            config("retention.ms", "-1"),
        ],
        ..Default::default()
    };
    broker.create_topics(&[topic], false).await.unwrap().remove(0).unwrap();
    broker.partition(TOPIC, 0).unwrap()
}

async fn delete(broker: &BrokerState) {
    let state = DeleteTopicState { name: Some(TOPIC.to_owned()), ..Default::default() };
    broker.delete_topics(&[state]).await.unwrap();
}

/// As [`delete`], from where nothing can be awaited.
fn delete_now(broker: &BrokerState) {
    tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(delete(broker)));
}

/// Appends records `from..to`; the value of each begins with its number.
fn fill(broker: &BrokerState, partition: &Partition, numbers: std::ops::Range<i64>) {
    for n in numbers {
        let mut value = n.to_be_bytes().to_vec();
        value.resize(VALUE_BYTES, b'v');
        let record = [(Some((n % KEYS).to_be_bytes()), Some(value))];
        let record = record.iter().map(|(key, value)| (key.as_ref().map(|k| &k[..]), value.as_deref()));
        let mut bytes =
            encode_batch(Vec::new(), BatchOptions::default(), broker.clock.now_ms(), record).unwrap().into_bytes();
        partition.append(&mut bytes, None, broker.clock.now_ms()).unwrap();
    }
}

/// The records of the log, as `offset -> key`. Checks that each value is that of its offset.
fn found(broker: &BrokerState, partition: &Partition) -> BTreeMap<i64, i64> {
    let all = partition.with_log(broker.clock.now_ms(), |log| {
        let (mut all, mut at) = (Vec::new(), log.log_start_offset());
        while at < log.log_end_offset() {
            let read = log.read(at, 1 << 20, i64::MAX, true).unwrap();
            assert!(read.next_offset > at, "no headway at {at}");
            all.extend_from_slice(&read.records);
            at = read.next_offset;
        }
        (all, log.log_start_offset())
    });
    let (all, start) = all.unwrap();
    let mut arena = DecompressArena::default();
    let mut found = BTreeMap::new();
    for batch in BatchIter::new(&all).map(Result::unwrap) {
        batch.verify_crc().unwrap();
        for record in batch.records(&mut arena).unwrap().map(Result::unwrap).filter(|record| record.offset >= start) {
            let value = record.value.unwrap();
            let number = i64::from_be_bytes(value[..8].try_into().unwrap());
            assert_eq!((number, value.len()), (record.offset, VALUE_BYTES));
            found.insert(record.offset, i64::from_be_bytes(record.key.unwrap().try_into().unwrap()));
        }
    }
    found
}

#[test]
fn the_throttle_counts_every_byte() {
    assert_eq!(time_for(1 << 20, f64::MAX), Duration::ZERO);
    assert_eq!(time_for(1 << 20, 1024.0), Duration::from_secs(1024), "longer than one sleep");
    assert_eq!(time_for(1_000, 2_000.0), Duration::from_millis(500));
    assert_eq!(time_for(u64::MAX, 1e-300), Duration::MAX);
}

#[tokio::test]
async fn the_throttle_waits_and_follows_its_setting_and_the_stop() {
    let mut config = BrokerConfig::new().in_memory(true).listeners("PLAINTEXT://127.0.0.1:0").log_cleaner_enable(false);
    config.set("log.cleaner.io.max.bytes.per.second", "1000").unwrap();
    let handle = Broker::start(config).await.unwrap();
    let broker = handle.state();
    let mut throttle = Throttle::new(broker);
    let before = broker.clock.now();
    throttle.moved(broker, 1_500, &|| true);
    assert!(broker.clock.now() - before >= Duration::from_millis(1_400), "a second is not enough");
    // Without its ends these would take hours.
    let asked = Cell::new(0);
    throttle.moved(broker, 1 << 30, &|| {
        asked.set(asked.get() + 1);
        asked.get() < 3
    });
    handle.shutdown().await.unwrap();
}

/// Runs a round and does something at the n-th time that it asks whether to go on. False when it did not ask so often.
fn clean_and(
    broker: &BrokerState,
    partition: &Partition,
    nth: usize,
    meanwhile: &dyn Fn(),
) -> (bool, Result<Option<CleanStats>, CleanError>) {
    let asked = Cell::new(0);
    let done = clean(broker, partition, broker.clock.now_ms(), &|| {
        asked.set(asked.get() + 1);
        if asked.get() == nth {
            meanwhile();
        }
        true
    });
    (asked.get() >= nth, done)
}

fn checkpoint(dir: &Path) -> String {
    std::fs::read_to_string(dir.join("cleaner-offset-checkpoint")).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_may_go_at_any_moment_of_a_round() {
    for nth in 1.. {
        let dir = tempfile::tempdir().unwrap();
        let handle = start(dir.path()).await;
        let broker = handle.state();
        let partition = create(broker, "compact").await;
        fill(broker, &partition, 0..80);
        let (happened, done) = clean_and(broker, &partition, nth, &|| delete_now(broker));
        if !happened {
            assert!(nth > 4, "the round asks too seldom for this test");
            return;
        }
        assert!(matches!(done, Ok(None) | Err(CleanError::Stopped)), "{nth}: {done:?}");
        assert_eq!(broker.dirs.cleaned_to(TOPIC, 0), None);
        assert!(!checkpoint(dir.path()).contains(TOPIC));
        let names = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
        assert!(
            names.into_iter().all(|name| !name.to_str().unwrap().starts_with(TOPIC)),
            "{nth}: a directory came back"
        );
        // Another of this name begins anew.
        let partition = create(broker, "compact").await;
        assert_eq!(broker.dirs.cleaned_to(TOPIC, 0), None);
        assert!(found(broker, &partition).is_empty());
        handle.shutdown().await.unwrap();
    }
}

#[tokio::test]
async fn a_topic_of_the_same_name_knows_nothing_of_the_deleted_one_also_after_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let handle = start(dir.path()).await;
    let broker = handle.state();
    let partition = create(broker, "compact").await;
    fill(broker, &partition, 0..50);
    assert!(clean_and(broker, &partition, usize::MAX, &|| {}).1.unwrap().is_some());
    assert!(checkpoint(dir.path()).contains(TOPIC));
    partition.with_log_mut(0, |log| log.delete_records(20)).unwrap().unwrap();
    broker.write_checkpoints().unwrap();
    delete(broker).await;
    assert!(!checkpoint(dir.path()).contains(TOPIC), "{}", checkpoint(dir.path()));
    let partition = create(broker, "compact").await;
    fill(broker, &partition, 0..5);
    drop(handle);
    let handle = start(dir.path()).await;
    let broker = handle.state();
    assert_eq!(broker.dirs.cleaned_to(TOPIC, 0), None);
    let partition = broker.partition(TOPIC, 0).unwrap();
    assert_eq!(found(broker, &partition).len(), 5, "the deleted topic's start is not the new one's");
}

/// What happens to the partition while a round is under way.
type Change = fn(&BrokerState, &Partition);

#[tokio::test]
async fn appends_deletions_and_policies_in_the_middle_of_a_round_lose_nothing() {
    let changes: [(&str, Change); 4] = [
        ("append", |broker, partition| fill(broker, partition, 50..90)),
        ("delete records", |broker, partition| {
            let now_ms = broker.clock.now_ms();
            partition.with_log_mut(now_ms, |log| log.delete_records(20)).unwrap().unwrap();
        }),
        ("delete records and their segments", |broker, partition| {
            let now_ms = broker.clock.now_ms();
            partition.with_log_mut(now_ms, |log| log.delete_records(40)).unwrap().unwrap();
            partition.with_log_mut(now_ms, |log| log.apply_retention(now_ms, i64::MAX)).unwrap().unwrap();
        }),
        ("delete all records", |broker, partition| {
            let now_ms = broker.clock.now_ms();
            partition.with_log_mut(now_ms, |log| log.delete_records(log.log_end_offset())).unwrap().unwrap();
            partition.with_log_mut(now_ms, |log| log.apply_retention(now_ms, i64::MAX)).unwrap().unwrap();
        }),
    ];
    for (what, change) in changes {
        for nth in 1.. {
            let dir = tempfile::tempdir().unwrap();
            let handle = start(dir.path()).await;
            let broker = handle.state();
            let partition = create(broker, "compact,delete").await;
            fill(broker, &partition, 0..50);
            let (happened, done) = clean_and(broker, &partition, nth, &|| change(broker, &partition));
            assert!(matches!(done, Ok(_) | Err(CleanError::Stopped)), "{what} {nth}: {done:?}");
            if !happened {
                break;
            }
            let (start, end) = partition.with_log(0, |log| (log.log_start_offset(), log.log_end_offset())).unwrap();
            let check = |found: &BTreeMap<i64, i64>| {
                for last in (end - KEYS).max(start)..end {
                    assert_eq!(found.get(&last), Some(&(last % KEYS)), "{what} {nth}: {last} of {start}..{end}");
                }
                assert!(found.keys().all(|offset| *offset < end), "{what} {nth}");
            };
            check(&found(broker, &partition));
            // And it goes on.
            fill(broker, &partition, end..end + 40);
            let (start, end) = (start, end + 40);
            let (_, done) = clean_and(broker, &partition, usize::MAX, &|| {});
            assert!(done.unwrap().is_some(), "{what} {nth}");
            let found = found(broker, &partition);
            assert!(found.len() < 40, "{what} {nth}: {} left from {start}", found.len());
            assert!((end - KEYS..end).all(|last| found.contains_key(&last)), "{what} {nth}");
            handle.shutdown().await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_topic_that_is_not_compacted_any_more_keeps_its_records() {
    let dir = tempfile::tempdir().unwrap();
    let handle = start(dir.path()).await;
    let broker = handle.state();
    let partition = create(broker, "compact").await;
    fill(broker, &partition, 0..50);
    let set = |policy: &str| {
        let config = crate::log::LogConfig {
            cleanup_policy: crate::log::CleanupPolicy::parse(policy).unwrap(),
            ..topic_settings(broker, TOPIC)
        };
        partition.set_config(config);
    };
    let (happened, done) = clean_and(broker, &partition, 1, &|| set("delete"));
    assert!(happened && matches!(done, Ok(None) | Err(CleanError::Stopped)), "{done:?}");
    assert_eq!(found(broker, &partition).len(), 50);
    set("compact");
    assert!(clean_and(broker, &partition, usize::MAX, &|| {}).1.unwrap().is_some());
    assert!(found(broker, &partition).len() < 30);
}
