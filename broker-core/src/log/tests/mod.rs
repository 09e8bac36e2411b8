//! Tests of the log as a whole; the parts have theirs beside them.

mod append;
mod cleaner;
mod cleaner_property;
mod crash;
mod files;
mod model;
mod transactions;
mod validate;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rkafka_protocol::records::{
    Attributes, BatchBuilder, BatchHeader, BatchOptions, Codec, Compression, Compressor, DecompressArena, NO_HEADERS,
    RecordBatch,
};

use super::{AppendError, AppendInfo, Log, LogConfig, OpenState, RecoveryReport, TransactionMarker};
use crate::storage::{MemStorage, Storage};

pub(super) const NOW_MS: i64 = 1_700_000_000_000;

/// An idempotent producer's part of a batch: id, epoch, first sequence.
pub(super) type Producer = Option<(i64, i16, i32)>;

/// A batch of records with these times and values of this size.
pub(super) fn batch_of(producer: Producer, times: &[i64], value_bytes: usize, compression: Compression) -> Vec<u8> {
    let mut options = BatchOptions::at(0, -1);
    if let Some((id, epoch, sequence)) = producer {
        options = options.with_producer(id, epoch, sequence);
    }
    let mut builder = BatchBuilder::new(Vec::new(), options);
    for (at, time) in times.iter().enumerate() {
        let value = vec![b'a' + (at % 26) as u8; value_bytes];
        builder.append(*time, Some(format!("key-{at}").as_bytes()), Some(&value), NO_HEADERS).unwrap();
    }
    let mut sealed = builder.seal(Codec::new(compression), &mut Compressor::new()).unwrap();
    sealed.finish();
    sealed.into_bytes()
}

pub(super) fn batch(count: usize, value_bytes: usize) -> Vec<u8> {
    batch_of(None, &vec![NOW_MS; count], value_bytes, Compression::None)
}

pub(super) fn idempotent(id: i64, epoch: i16, sequence: i32, count: usize) -> Vec<u8> {
    batch_of(Some((id, epoch, sequence)), &vec![NOW_MS; count], 10, Compression::None)
}

/// A producer's batch inside of a transaction; without a sequence it is a coordinator's.
pub(super) fn transactional(id: i64, epoch: i16, sequence: Option<i32>, count: usize) -> Vec<u8> {
    let options = BatchOptions::at(0, -1)
        .with_producer(id, epoch, sequence.unwrap_or(-1))
        .with_attributes(Attributes::default().with_transactional(true));
    let mut builder = BatchBuilder::new(Vec::new(), options);
    for at in 0..count {
        builder.append(NOW_MS, Some(format!("key-{at}").as_bytes()), Some(b"in a transaction"), NO_HEADERS).unwrap();
    }
    let mut sealed = builder.seal(Codec::new(Compression::None), &mut Compressor::new()).unwrap();
    sealed.finish();
    sealed.into_bytes()
}

/// Appends a batch inside of a transaction, which the coordinator knows of.
pub(super) fn append_verified(log: &mut Log, records: &mut [u8], leader_epoch: i32) -> Result<AppendInfo, AppendError> {
    let header = BatchHeader::read(records).unwrap();
    let (id, epoch, sequence) = (header.producer_id, header.producer_epoch, header.base_sequence);
    let guard = log.begin_verification(id, epoch, sequence, false, NOW_MS);
    if sequence < 0 {
        log.append_internal(records, guard, leader_epoch, NOW_MS)
    } else {
        log.append_as_leader(records, guard, leader_epoch, NOW_MS)
    }
}

pub(super) fn marker(producer_id: i64, producer_epoch: i16, commit: bool) -> TransactionMarker {
    TransactionMarker { producer_id, producer_epoch, coordinator_epoch: 0, commit, transaction_version: 1 }
}

pub(super) fn small_segments() -> LogConfig {
    LogConfig { segment_bytes: 600, index_interval_bytes: 100, ..LogConfig::default() }
}

pub(super) fn dir() -> PathBuf {
    PathBuf::from("/data/t-0")
}

pub(super) fn open_in(storage: &Arc<dyn Storage>, config: &LogConfig, state: OpenState) -> (Log, RecoveryReport) {
    Log::open(Arc::clone(storage), dir(), config.clone(), state, NOW_MS).unwrap()
}

pub(super) fn memory() -> Arc<dyn Storage> {
    Arc::new(MemStorage::new())
}

/// All records of the log, read batch by batch from its start.
pub(super) fn contents(log: &Log) -> Vec<u8> {
    let mut all = Vec::new();
    let mut offset = log.log_start_offset();
    while offset < log.log_end_offset() {
        let read = log.read(offset, 1 << 20, i64::MAX, true).unwrap();
        assert!(read.next_offset > offset, "no progress at {offset}");
        all.extend_from_slice(&read.records);
        offset = read.next_offset;
    }
    all
}

/// The offsets of the records in these batches, decoded.
pub(super) fn offsets(mut records: &[u8]) -> Vec<i64> {
    let mut arena = DecompressArena::default();
    let mut offsets = Vec::new();
    while !records.is_empty() {
        let batch = RecordBatch::read(records).unwrap();
        batch.verify_crc().unwrap();
        offsets.extend(batch.records(&mut arena).unwrap().map(|record| record.unwrap().offset));
        records = &records[batch.bytes().len()..];
    }
    offsets
}

/// Asserts that indexes, epochs and producers are those that the log's bytes alone give.
pub(super) fn assert_derived_from_bytes(log: &Log, storage: &dyn Storage) {
    let interval = log.config.index_interval_bytes;
    let bare: Arc<dyn Storage> = Arc::new(MemStorage::new());
    bare.create_dir_all(&dir()).unwrap();
    for segment in &log.segments {
        if segment.size == 0 {
            continue;
        }
        let (rebuilt, _) = segment.catch_up(storage, Default::default(), Default::default(), interval).unwrap();
        let known = segment.indexes(storage, interval).unwrap();
        assert_eq!(known.offset, rebuilt.offset, "offset index of {}", segment.base_offset);
        assert_eq!(known.max_timestamp, rebuilt.max_timestamp, "segment {}", segment.base_offset);
        if let Some(in_file) = storage
            .exists(&segment.path(super::segment::TXN_INDEX_SUFFIX))
            .unwrap()
            .then(|| segment.read_transaction_index(storage).unwrap())
        {
            let known = segment.aborted(storage).unwrap();
            assert!(known.starts_with(&in_file), "transaction index of {}", segment.base_offset);
        }
        let path = segment.path(super::segment::LOG_SUFFIX);
        let bytes = storage.open(&path).unwrap().read_at(0, usize::MAX >> 1).unwrap();
        bare.open_or_create(&path).unwrap().write_at(0, &bytes).unwrap();
    }
    if log.size_bytes() == 0 {
        return;
    }
    let state = OpenState { log_start_offset: log.log_start_offset(), ..OpenState::unclean(0) };
    let (from_bytes, report) = open_in(&bare, log.config(), state);
    assert_eq!(report.truncated_bytes, 0, "{report:?}");
    assert_eq!(from_bytes.log_end_offset(), log.log_end_offset());
    if !log.config().cleanup_policy.compact {
        // What the cleaner has removed was maybe the first of its epoch, which the epochs' file still knows.
        assert_eq!(from_bytes.epochs(), log.epochs());
    }
    let last = |log: &Log| {
        let known = log.producers().iter().map(|(id, entry)| {
            let transaction = (entry.coordinator_epoch, entry.current_txn_first_offset);
            (id, entry.epoch, entry.batches.back().copied(), entry.last_timestamp_ms, transaction)
        });
        let mut last: Vec<_> = known.collect();
        last.sort_by_key(|(id, ..)| *id);
        last
    };
    assert_eq!(last(&from_bytes), last(log));
    let ongoing = |log: &Log| log.producers().ongoing_transactions().collect::<Vec<_>>();
    assert_eq!(ongoing(&from_bytes), ongoing(log));
    let aborted = |log: &Log, storage: &dyn Storage| {
        let full = log.segments.iter().filter(|segment| segment.size > 0);
        full.map(|segment| segment.aborted(storage).unwrap().to_vec()).collect::<Vec<_>>()
    };
    let (from_bytes, known) = (aborted(&from_bytes, bare.as_ref()), aborted(log, storage));
    if log.config().cleanup_policy.compact {
        // The cleaner's index may still name transactions whose records it has removed.
        for (derived, known) in from_bytes.iter().zip(&known) {
            assert!(derived.iter().all(|one| known.iter().any(|other| other.last_offset == one.last_offset)));
        }
    } else {
        assert_eq!(from_bytes, known);
    }
}

pub(super) fn file_names(storage: &dyn Storage, dir: &Path) -> Vec<String> {
    storage.list_dir(dir).unwrap().into_iter().map(|entry| entry.name).collect()
}
