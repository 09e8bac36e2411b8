//! The log on a disk does what the log in memory does, also after power failures.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use rkafka_protocol::records::{BatchOptions, encode_batch};

use super::memory_log::MemoryLog;
use super::world::voters;
use crate::log::{LogConfig, OpenState};
use crate::raft::random::Random;
use crate::raft::{
    DiskLog, ElectionState, Now, OffsetAndEpoch, RaftConfig, RaftLog, RaftNode, SnapshotBuilder, SnapshotWriter,
};
use crate::storage::faulty::{FaultyStorage, Survival};
use crate::storage::{MemStorage, Storage};

const DATE_MS: i64 = 1_700_000_000_000;

fn dir() -> PathBuf {
    PathBuf::from("/data/__cluster_metadata-0")
}

fn open(storage: Arc<dyn Storage>, state: OpenState) -> DiskLog {
    // Small segments, so that cuts take whole ones.
    let config = LogConfig { segment_bytes: 600, segment_ms: i64::MAX, ..LogConfig::default() };
    DiskLog::open(storage, dir(), config, state, DATE_MS).unwrap()
}

fn batch(value: u64, base: i64, epoch: i32, records: usize) -> Vec<u8> {
    let values = vec![format!("value {value}"); records];
    let records = values.iter().map(|value| (None, Some(value.as_bytes())));
    encode_batch(Vec::new(), BatchOptions::at(base, epoch), DATE_MS, records).unwrap().into_bytes()
}

fn snapshot<L: RaftLog>(log: &mut L, id: OffsetAndEpoch, values: &[Vec<u8>]) {
    let writer = log.create_snapshot(id).unwrap();
    let mut builder = SnapshotBuilder::begin(writer, DATE_MS).unwrap();
    builder.append(values.iter().map(Vec::as_slice)).unwrap();
    let writer = builder.finish().unwrap();
    assert_eq!(writer.id(), id);
    assert!(log.freeze_snapshot(writer).unwrap());
}

fn assert_same(disk: &DiskLog, model: &MemoryLog, what: &str) {
    assert_eq!(disk.start_offset(), model.start_offset(), "{what}: start");
    assert_eq!(disk.end(), model.end(), "{what}: end");
    assert_eq!(disk.snapshots(), model.snapshots(), "{what}: snapshots");
    assert_eq!(disk.read_election().unwrap(), model.read_election().unwrap(), "{what}: election");
    let end = model.end().offset;
    let mut read = Vec::new();
    let mut at = disk.start_offset();
    while at < end {
        let bytes = disk.read(at, 100, end).unwrap();
        assert!(!bytes.is_empty(), "{what}: nothing at {at} of {end}");
        at = super::memory_log::split(&bytes).last().unwrap().last + 1;
        read.extend_from_slice(&bytes);
    }
    assert_eq!(Bytes::from(read), model.read(model.start_offset(), usize::MAX, end).unwrap(), "{what}: records");
    for epoch in 0..=model.end().epoch + 1 {
        let least = disk.snapshots().first().map_or(0, |first| first.epoch);
        if epoch >= least {
            assert_eq!(disk.end_for_epoch(epoch), model.end_for_epoch(epoch), "{what}: end of epoch {epoch}");
        }
    }
    for id in model.snapshots() {
        let whole = disk.read_snapshot(id, 0, usize::MAX).unwrap().unwrap();
        assert_eq!(Some(whole.clone()), model.read_snapshot(id, 0, usize::MAX).unwrap(), "{what}: {id:?}");
        assert_eq!(disk.read_snapshot(id, whole.size + 1, 1).unwrap(), None);
        assert_eq!(disk.read_snapshot(id, whole.size, 1).unwrap().unwrap().bytes.len(), 0);
        assert_eq!(disk.snapshot_date_ms(id).unwrap(), Some(DATE_MS));
    }
}

/// A life of a log and of its model, with all that the quorum does to it.
fn life(seed: u64) {
    let mut random = Random::new(seed);
    let mut storage = FaultyStorage::new();
    let mut disk = open(Arc::new(storage.clone()), OpenState::clean());
    let mut model = MemoryLog::default();
    let mut epoch = 1;
    for step in 0..60 {
        let what = format!("seed {seed}, step {step}");
        let end = model.end().offset;
        match random.below(12) {
            0..=2 => {
                let mut records = batch(step, 0, 0, 1 + random.below(3) as usize);
                let appended = disk.append_as_leader(&mut records.clone(), epoch, DATE_MS).unwrap();
                assert_eq!(appended, model.append_as_leader(&mut records, epoch, DATE_MS).unwrap(), "{what}");
            }
            3..=4 => {
                let mut records = batch(step, end, epoch, 2);
                match random.below(4) {
                    0 => records.extend(batch(step, end + 2, epoch + 1, 1)),
                    1 => records.extend(batch(step, end + 3, epoch, 1)),
                    2 => *records.last_mut().unwrap() ^= 1,
                    _ => records.extend(batch(step, end + 2, epoch, 1)),
                }
                let records = Bytes::from(records);
                let appended = disk.append_as_follower(&records, epoch, DATE_MS).unwrap();
                assert_eq!(appended, model.append_as_follower(&records, epoch, DATE_MS).unwrap(), "{what}");
            }
            5 => {
                epoch += 1;
                let state = ElectionState { epoch, leader_id: None, voted_id: Some(2), voters: vec![1, 2] };
                disk.write_election(&state).unwrap();
                model.write_election(&state).unwrap();
            }
            6 => {
                // A cut is at a batch.
                let cut = model.batches.get(random.below(model.batches.len() as i64) as usize).map(|batch| batch.base);
                let newest = model.snapshots().last().map_or(0, |newest| newest.offset);
                // What is in a snapshot is committed.
                if let Some(cut) = cut.filter(|cut| *cut > model.start && *cut >= newest) {
                    disk.truncate_to(cut, DATE_MS).unwrap();
                    model.truncate_to(cut, DATE_MS).unwrap();
                }
            }
            7 => {
                let newest = model.snapshots().last().map_or(0, |newest| newest.offset);
                if end > newest.max(model.start) {
                    disk.flush().unwrap();
                    model.flush().unwrap();
                    let values = vec![step.to_string().into_bytes(); 3];
                    snapshot(&mut disk, model.end(), &values);
                    let id = model.end();
                    snapshot(&mut model, id, &values);
                }
            }
            8 => {
                if let [_, next, ..] = model.snapshots()[..] {
                    // The log must not end before the snapshots that are kept.
                    if next.offset <= end {
                        disk.delete_before_snapshot(next).unwrap();
                        model.delete_before_snapshot(next).unwrap();
                    }
                }
            }
            9 => {
                let id = OffsetAndEpoch { offset: end + 10, epoch };
                let values = vec![b"from the leader".to_vec()];
                snapshot(&mut disk, id, &values);
                snapshot(&mut model, id, &values);
                disk.restart_at_snapshot(id, DATE_MS).unwrap();
                model.restart_at_snapshot(id, DATE_MS).unwrap();
            }
            10 => {
                disk.flush().unwrap();
                model.flush().unwrap();
            }
            _ => {
                // The power fails, after a sync, so that both sides know what is left.
                disk.flush().unwrap();
                model.flush().unwrap();
                disk.create_snapshot(OffsetAndEpoch { offset: end + 1, epoch }).unwrap().append(b"half").unwrap();
                drop(disk);
                storage = storage.after_crash(if random.below(2) == 0 { Survival::Synced } else { Survival::All });
                let state = OpenState { log_start_offset: model.start, ..OpenState::unclean(0) };
                disk = open(Arc::new(storage.clone()), state);
                disk.flush().unwrap();
                let left = storage.list_dir(&dir()).unwrap();
                assert!(left.iter().all(|entry| !entry.name.ends_with(".part")), "{what}: {left:?}");
            }
        }
        assert_same(&disk, &model, &what);
    }
}

#[test]
fn the_log_on_a_disk_is_the_log_in_memory() {
    for seed in 0..40 {
        life(seed);
    }
}

#[test]
fn a_node_keeps_its_epoch_on_a_disk() {
    let storage: Arc<dyn Storage> = Arc::new(MemStorage::new());
    let now = Now { monotonic_ms: 0, date_ms: DATE_MS };
    for life in 1..=3 {
        let log = open(Arc::clone(&storage), OpenState::clean());
        let mut node = RaftNode::open(RaftConfig::new(1, voters(1)), log, now).unwrap();
        let (epoch, end) = (node.leader_and_epoch().epoch, node.high_watermark());
        assert_eq!((epoch, end), (life, i64::from(life) * 2 - 1));
        node.append(now, epoch, &mut batch(1, 0, 0, 1)).unwrap();
        assert_eq!(node.high_watermark(), end + 1, "what it appends is synced and committed at once");
        node.into_log().close(true).unwrap();
    }
}

#[test]
fn a_quorum_state_that_cannot_be_read_stops_the_node() {
    let storage: Arc<dyn Storage> = Arc::new(MemStorage::new());
    let log = open(Arc::clone(&storage), OpenState::clean());
    storage.open_or_create(&dir().join("quorum-state")).unwrap().write_at(0, b"{\"leaderId\":").unwrap();
    let now = Now { monotonic_ms: 0, date_ms: DATE_MS };
    let error = RaftNode::open(RaftConfig::new(1, voters(3)), log, now).unwrap_err();
    assert!(error.to_string().contains("quorum-state") && error.to_string().contains("cannot be read"), "{error}");
}
