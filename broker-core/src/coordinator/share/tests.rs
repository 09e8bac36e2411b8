//! What is kept is what a replay of the log makes, over whatever a leader writes.

use std::sync::Arc;

use uuid::Uuid;

use super::*;
use crate::InternalRecord;
use crate::coordinator::partitions::{RecordPlace, Shard as _};
use crate::share::{Acknowledgement, AcquireLimits, AcquireMode, PersistedState, ShareSettings};

const NOW: Moment = Moment { monotonic_ms: 1, date_ms: 1_000 };
const PLACE: RecordPlace = RecordPlace { offset: 0, producer_id: -1 };
const SETTINGS: ShareSettings =
    ShareSettings { record_lock_duration_ms: 1_000, delivery_count_limit: 5, max_record_locks: 100 };

fn key() -> ShareKey {
    ShareKey { group_id: Arc::from("group"), topic_id: Uuid::from_u128(7), partition: 3 }
}

fn take(shard: &mut ShareStateShard, log: &mut Vec<InternalRecord>, outcome: Outcome<()>) {
    for record in outcome.records {
        shard.take(PLACE, record.key.clone(), record.value.clone()).expect("readable");
        log.push(record);
    }
}

fn replayed(log: &[InternalRecord]) -> ShareStateShard {
    let mut shard = ShareStateShard::blank(&());
    for record in log {
        shard.take(PLACE, record.key.clone(), record.value.clone()).expect("readable");
    }
    shard
}

#[test]
fn what_is_written_is_read_back() {
    let (mut shard, mut log) = (ShareStateShard::blank(&()), Vec::new());
    let outcome = shard.decide_initialize(NOW, &key(), UNINITIALIZED_START).unwrap();
    take(&mut shard, &mut log, outcome);
    assert_eq!(replayed(&log).state(&key()).unwrap().offsets.start_offset, UNINITIALIZED_START);

    let mut partition = SharePartition::restored(&PersistedState { start_offset: 10, batches: Vec::new() });
    let limits = AcquireLimits { mode: AcquireMode::BatchOptimized, max_records: 100, batch_size: 100 };
    partition.acquire(0, &Arc::from("member"), &[(10, 19)], limits, &SETTINGS);
    let types = [1, 1, 2, 3, 1, 1, 2, 2, 1, 1];
    let said = Acknowledgement { first_offset: 10, last_offset: 19, types: &types };
    let change = partition.decide_acknowledge(0, "member", &[said], &SETTINGS).unwrap();
    partition.apply(&change);
    let outcome = shard.decide_write(NOW, &key(), 4, &partition).unwrap();
    take(&mut shard, &mut log, outcome);

    let shard_again = replayed(&log);
    let state = shard_again.state(&key()).unwrap();
    assert_eq!(Some(state), shard.state(&key()));
    assert_eq!((state.leader_epoch, state.delivery_complete_count, state.offsets.start_offset), (4, 5, 12));
    assert_eq!(SharePartition::restored(&state.offsets).persisted(), partition.persisted());
    // Begun anew, it is another state.
    let outcome = shard.decide_initialize(NOW, &key(), 3).unwrap();
    take(&mut shard, &mut log, outcome);
    assert_eq!(replayed(&log).state(&key()).unwrap().state_epoch, 1);

    let outcome = shard.decide_delete(&key()).unwrap();
    take(&mut shard, &mut log, outcome);
    assert_eq!(replayed(&log).state(&key()), None);
    assert!(shard.decide_delete(&key()).unwrap().records.is_empty());
}

#[test]
fn foreign_bytes_are_an_error_and_change_nothing() {
    let mut shard = ShareStateShard::blank(&());
    for key in [&[][..], &[0], &[0, 0], &[0, 0, 0, 9, 1], &[0, 1, 0, 1, b'g']] {
        assert!(shard.take(PLACE, bytes::Bytes::copy_from_slice(key), None).is_err(), "{key:?}");
    }
    let good = records::snapshot(&key(), None).unwrap().key;
    assert!(shard.take(PLACE, good, Some(bytes::Bytes::from_static(&[0, 0, 1]))).is_err());
    assert_eq!(shard.state(&key()), None);
}
