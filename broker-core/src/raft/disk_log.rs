//! The metadata log on a disk, in Kafka's files: segments as of any partition, snapshots as
//! `<end offset>-<epoch>.checkpoint`, and `quorum-state`.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use rkafka_protocol::messages::SnapshotHeaderRecord;
use rkafka_protocol::records::{DecompressArena, RecordBatch};
use rkafka_protocol::wire::decode_whole;

use super::batches;
use super::quorum_state;
use super::{Appended, ElectionState, OffsetAndEpoch, RaftError, RaftLog, SnapshotPart, SnapshotWriter, end_for_epoch};
use crate::log::{Log, LogConfig, OpenState};
use crate::storage::{Storage, StorageFile, read_file, write_file_atomically};

const SNAPSHOT_SUFFIX: &str = ".checkpoint";
/// A snapshot that is not whole yet.
const PART_SUFFIX: &str = ".checkpoint.part";
/// More than the first batch of a snapshot has.
const HEADER_BATCH_BYTES: usize = 1024;

/// The log of `__cluster_metadata` in a directory.
#[derive(Debug)]
pub struct DiskLog {
    storage: Arc<dyn Storage>,
    dir: PathBuf,
    log: Log,
    /// Sizes of the snapshots, by end offset and epoch.
    snapshots: BTreeMap<(i64, i32), u64>,
}

/// A snapshot that is being written to a file of its own.
#[derive(Debug)]
pub struct DiskSnapshot {
    id: OffsetAndEpoch,
    path: PathBuf,
    file: Arc<dyn StorageFile>,
    len: u64,
}

impl SnapshotWriter for DiskSnapshot {
    fn id(&self) -> OffsetAndEpoch {
        self.id
    }

    fn len(&self) -> u64 {
        self.len
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), RaftError> {
        self.file.write_at(self.len, bytes).map_err(failed("write", &self.path))?;
        self.len += bytes.len() as u64;
        Ok(())
    }
}

fn failed(action: &'static str, path: &Path) -> impl Fn(io::Error) -> RaftError {
    let path = path.to_owned();
    move |source| RaftError::Io { action, path: path.clone(), source }
}

fn parse_name(name: &str) -> Option<(i64, i32)> {
    let (offset, epoch) = name.strip_suffix(SNAPSHOT_SUFFIX)?.split_once('-')?;
    let is_number = |text: &str, digits| text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_ours = is_number(offset, 20) && is_number(epoch, 10);
    is_ours.then(|| Some((offset.parse().ok()?, epoch.parse().ok()?))).flatten()
}

impl DiskLog {
    /// Opens the log in `dir`, and makes it where it is not there.
    ///
    /// # Errors
    /// The directory cannot be read or written.
    pub fn open(
        storage: Arc<dyn Storage>,
        dir: PathBuf,
        config: LogConfig,
        state: OpenState,
        date_ms: i64,
    ) -> Result<DiskLog, RaftError> {
        let (log, _) = Log::open(Arc::clone(&storage), dir.clone(), config, state, date_ms)?;
        let mut snapshots = BTreeMap::new();
        for entry in storage.list_dir(&dir).map_err(failed("list", &dir))? {
            if let Some(id) = parse_name(&entry.name) {
                snapshots.insert(id, entry.len);
            } else if entry.name.ends_with(PART_SUFFIX) {
                let path = dir.join(&entry.name);
                storage.remove_file(&path).map_err(failed("remove", &path))?;
            }
        }
        let mut opened = DiskLog { storage, dir, log, snapshots };
        // Segments are cut whole, so what is before the snapshot may have come back with the first of them.
        let start = opened.log.log_start_offset();
        let first = opened.snapshots.keys().map(|(offset, _)| *offset).find(|offset| *offset >= start);
        if let Some(first) = first.filter(|first| start > 0 && *first <= opened.log.log_end_offset()) {
            opened.log.delete_records(first)?;
        }
        Ok(opened)
    }

    /// The log itself, for what is the same in all partitions.
    pub fn inner(&self) -> &Log {
        &self.log
    }

    /// Ends the log; a `clean` end can be opened without recovery. Answers the recovery point.
    ///
    /// # Errors
    /// The log cannot be synced.
    pub fn close(self, clean: bool) -> Result<i64, RaftError> {
        if clean { Ok(self.log.close_clean()?) } else { Ok(0) }
    }

    fn snapshot_path(&self, id: OffsetAndEpoch, suffix: &str) -> PathBuf {
        self.dir.join(format!("{:020}-{:010}{suffix}", id.offset, id.epoch))
    }

    /// The snapshot at the log's start.
    fn below(&self) -> Option<OffsetAndEpoch> {
        let start = self.log.log_start_offset();
        let found = self.snapshots.range((start, 0)..).next().map(|(id, _)| *id);
        found.filter(|(offset, _)| *offset == start).map(|(offset, epoch)| OffsetAndEpoch { offset, epoch })
    }

    fn remove_snapshots_below(&mut self, offset: i64) -> Result<(), RaftError> {
        let kept = self.snapshots.split_off(&(offset, 0));
        let gone = std::mem::replace(&mut self.snapshots, kept);
        if gone.is_empty() {
            return Ok(());
        }
        for (offset, epoch) in gone.into_keys() {
            let path = self.snapshot_path(OffsetAndEpoch { offset, epoch }, SNAPSHOT_SUFFIX);
            self.storage.remove_file(&path).map_err(failed("remove", &path))?;
        }
        self.storage.sync_dir(&self.dir).map_err(failed("sync", &self.dir))
    }
}

impl RaftLog for DiskLog {
    type Writer = DiskSnapshot;

    fn start_offset(&self) -> i64 {
        self.log.log_start_offset()
    }

    fn end(&self) -> OffsetAndEpoch {
        let offset = self.log.log_end_offset();
        let below = || self.below().map_or(0, |below| below.epoch);
        OffsetAndEpoch { offset, epoch: self.log.latest_epoch().unwrap_or_else(below) }
    }

    fn synced_end(&self) -> i64 {
        self.log.synced_end()
    }

    fn end_for_epoch(&self, epoch: i32) -> OffsetAndEpoch {
        end_for_epoch(self.log.epochs().entries(), self.below(), self.log.log_end_offset(), epoch)
    }

    fn epoch_at(&self, offset: i64) -> Option<i32> {
        if offset < self.log.log_start_offset() {
            return self.below().filter(|below| offset == below.offset - 1).map(|below| below.epoch);
        }
        (offset < self.log.log_end_offset()).then(|| self.log.epochs().epoch_for_offset(offset)).flatten()
    }

    fn append_as_leader(&mut self, records: &mut [u8], epoch: i32, date_ms: i64) -> Result<Appended, RaftError> {
        let appended = self.log.append_internal(records, None, epoch, date_ms)?;
        Ok(Appended { base_offset: appended.base_offset, last_offset: appended.last_offset })
    }

    fn append_as_follower(&mut self, records: &Bytes, epoch: i32, date_ms: i64) -> Result<usize, RaftError> {
        let sound = batches::sound_prefix(records, self.end(), epoch);
        if sound.batches > 0 {
            self.log.append_as_follower(records.get(..sound.bytes).unwrap_or_default(), date_ms)?;
        }
        Ok(sound.batches)
    }

    fn flush(&mut self) -> Result<i64, RaftError> {
        self.log.flush()?;
        Ok(self.log.synced_end())
    }

    fn truncate_to(&mut self, offset: i64, date_ms: i64) -> Result<(), RaftError> {
        self.log.truncate_to(offset, date_ms)?;
        Ok(())
    }

    fn read(&self, offset: i64, max_bytes: usize, up_to: i64) -> Result<Bytes, RaftError> {
        Ok(self.log.read(offset, max_bytes, up_to, true)?.records)
    }

    fn set_high_watermark(&mut self, high_watermark: i64) {
        self.log.set_high_watermark(high_watermark);
    }

    fn snapshots(&self) -> Vec<OffsetAndEpoch> {
        self.snapshots.keys().map(|(offset, epoch)| OffsetAndEpoch { offset: *offset, epoch: *epoch }).collect()
    }

    fn read_snapshot(
        &self,
        id: OffsetAndEpoch,
        position: u64,
        max_bytes: usize,
    ) -> Result<Option<SnapshotPart>, RaftError> {
        let Some(size) = self.snapshots.get(&(id.offset, id.epoch)).copied().filter(|size| position <= *size) else {
            return Ok(None);
        };
        let path = self.snapshot_path(id, SNAPSHOT_SUFFIX);
        let file = self.storage.open(&path).map_err(failed("open", &path))?;
        let bytes = file.read_at(position, max_bytes).map_err(failed("read", &path))?;
        Ok(Some(SnapshotPart { bytes, size }))
    }

    fn create_snapshot(&mut self, id: OffsetAndEpoch) -> Result<DiskSnapshot, RaftError> {
        let path = self.snapshot_path(id, PART_SUFFIX);
        let file = self.storage.open_or_create(&path).map_err(failed("create", &path))?;
        file.truncate(0).map_err(failed("truncate", &path))?;
        Ok(DiskSnapshot { id, path, file, len: 0 })
    }

    fn freeze_snapshot(&mut self, writer: DiskSnapshot) -> Result<bool, RaftError> {
        let DiskSnapshot { id, path, file, len } = writer;
        if !batches::is_sound_file(file.as_ref(), len).map_err(failed("read", &path))? {
            self.storage.remove_file(&path).map_err(failed("remove", &path))?;
            return Ok(false);
        }
        file.sync().map_err(failed("sync", &path))?;
        let whole = self.snapshot_path(id, SNAPSHOT_SUFFIX);
        self.storage.rename(&path, &whole).map_err(failed("rename", &path))?;
        self.storage.sync_dir(&self.dir).map_err(failed("sync", &self.dir))?;
        self.snapshots.insert((id.offset, id.epoch), len);
        Ok(true)
    }

    fn restart_at_snapshot(&mut self, id: OffsetAndEpoch, date_ms: i64) -> Result<(), RaftError> {
        self.log.truncate_fully_and_start_at(id.offset, date_ms)?;
        self.remove_snapshots_below(id.offset)
    }

    fn delete_before_snapshot(&mut self, id: OffsetAndEpoch) -> Result<(), RaftError> {
        // First the log: without a snapshot below it, it must not begin.
        self.log.delete_records(id.offset)?;
        self.remove_snapshots_below(id.offset)
    }

    fn size_bytes(&self) -> Result<u64, RaftError> {
        Ok(self.log.size_bytes() + self.snapshots.values().sum::<u64>())
    }

    fn snapshot_date_ms(&self, id: OffsetAndEpoch) -> Result<Option<i64>, RaftError> {
        let Some(part) = self.read_snapshot(id, 0, HEADER_BATCH_BYTES)? else { return Ok(None) };
        let mut arena = DecompressArena::default();
        let Ok(batch) = RecordBatch::read(&part.bytes) else { return Ok(None) };
        let Ok(mut records) = batch.records(&mut arena) else { return Ok(None) };
        let Some(Ok(first)) = records.next() else { return Ok(None) };
        let header = first.value.map(|value| decode_whole::<SnapshotHeaderRecord>(Bytes::copy_from_slice(value), 0));
        Ok(header.and_then(Result::ok).map(|header| header.last_contained_log_timestamp))
    }

    fn read_election(&self) -> Result<Option<ElectionState>, RaftError> {
        let path = self.dir.join(quorum_state::FILE_NAME);
        let Some(text) = read_file(self.storage.as_ref(), &path).map_err(failed("read", &path))? else {
            return Ok(None);
        };
        quorum_state::decode(&text).map(Some).map_err(|reason| RaftError::QuorumState { path, reason })
    }

    fn write_election(&mut self, state: &ElectionState) -> Result<(), RaftError> {
        let path = self.dir.join(quorum_state::FILE_NAME);
        let text = quorum_state::encode(state);
        write_file_atomically(self.storage.as_ref(), &path, text.as_bytes()).map_err(failed("write", &path))
    }
}
