//! Tests of the log as a whole; the parts have theirs beside them.

mod append;
mod crash;
mod files;
mod model;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rkafka_protocol::records::{
    BatchBuilder, BatchOptions, Codec, Compression, Compressor, DecompressArena, NO_HEADERS, RecordBatch,
};

use super::{Log, LogConfig, OpenState, RecoveryReport};
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
    assert_eq!(from_bytes.epochs(), log.epochs());
    let last = |log: &Log| {
        let mut last: Vec<_> =
            log.producers().iter().map(|(id, entry)| (id, entry.epoch, entry.batches.back().copied())).collect();
        last.sort_by_key(|(id, ..)| *id);
        last
    };
    assert_eq!(last(&from_bytes), last(log));
}

pub(super) fn file_names(storage: &dyn Storage, dir: &Path) -> Vec<String> {
    storage.list_dir(dir).unwrap().into_iter().map(|entry| entry.name).collect()
}
