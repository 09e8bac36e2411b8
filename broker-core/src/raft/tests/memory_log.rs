//! A log in memory that forgets at a crash what was not synced.

use std::collections::BTreeMap;

use bytes::Bytes;
use rkafka_protocol::records::{BatchHeader, set_base_offset, set_partition_leader_epoch, verify_crc};

use crate::log::{EpochEntry, LogError};
use crate::raft::batches::sound_prefix;
use crate::raft::random::Random;
use crate::raft::{
    Appended, ElectionState, OffsetAndEpoch, RaftError, RaftLog, SnapshotPart, SnapshotWriter, end_for_epoch,
};

/// A batch as it lies in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    pub base: i64,
    pub last: i64,
    pub epoch: i32,
    pub bytes: Bytes,
}

#[derive(Debug, Clone, Default)]
pub struct MemoryLog {
    pub batches: Vec<Stored>,
    pub start: i64,
    /// How many of the batches are synced.
    pub synced: usize,
    pub snapshots: BTreeMap<(i64, i32), Bytes>,
    pub election: Option<ElectionState>,
    pub high_watermark: i64,
}

#[derive(Debug)]
pub struct MemoryWriter {
    id: OffsetAndEpoch,
    bytes: Vec<u8>,
}

impl SnapshotWriter for MemoryWriter {
    fn id(&self) -> OffsetAndEpoch {
        self.id
    }

    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), RaftError> {
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }
}

/// Splits bytes into batches as far as they are whole.
pub fn split(bytes: &Bytes) -> Vec<Stored> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let rest = bytes.slice(at..);
        let Ok(header) = BatchHeader::read(&rest) else { break };
        let len = header.total_len();
        if len > rest.len() {
            break;
        }
        let (base, last, epoch) = (header.base_offset, header.last_offset(), header.partition_leader_epoch);
        found.push(Stored { base, last, epoch, bytes: rest.slice(..len) });
        at += len;
    }
    found
}

impl MemoryLog {
    fn epochs(&self) -> Vec<EpochEntry> {
        let mut entries: Vec<EpochEntry> = Vec::new();
        for batch in &self.batches {
            if entries.last().is_none_or(|last| last.epoch < batch.epoch) {
                entries.push(EpochEntry { epoch: batch.epoch, start_offset: batch.base });
            }
        }
        entries
    }

    fn below(&self) -> Option<OffsetAndEpoch> {
        let ids = self.snapshots();
        ids.into_iter().find(|id| id.offset == self.start)
    }

    /// The power fails: of what was not synced, so much is there as chance has it.
    pub fn crash(&mut self, random: &mut Random) {
        let unsynced = self.batches.len() - self.synced;
        let kept = self.synced + random.below(unsynced as i64 + 1) as usize;
        self.batches.truncate(kept);
        self.synced = kept;
        self.high_watermark = 0;
    }

    /// Whether a batch is here and on the disk, or is in a snapshot.
    pub fn has_synced(&self, batch: &Stored) -> bool {
        batch.last < self.start || self.batches[..self.synced].contains(batch)
    }

    pub fn has(&self, batch: &Stored) -> bool {
        batch.last < self.start || self.batches.contains(batch)
    }
}

impl RaftLog for MemoryLog {
    type Writer = MemoryWriter;

    fn start_offset(&self) -> i64 {
        self.start
    }

    fn end(&self) -> OffsetAndEpoch {
        match self.batches.last() {
            Some(last) => OffsetAndEpoch { offset: last.last + 1, epoch: last.epoch },
            None => self.below().unwrap_or(OffsetAndEpoch { offset: self.start, epoch: 0 }),
        }
    }

    fn synced_end(&self) -> i64 {
        self.synced.checked_sub(1).map_or(self.start, |last| self.batches[last].last + 1)
    }

    fn end_for_epoch(&self, epoch: i32) -> OffsetAndEpoch {
        end_for_epoch(&self.epochs(), self.below(), self.end().offset, epoch)
    }

    fn epoch_at(&self, offset: i64) -> Option<i32> {
        let found = self.batches.iter().find(|batch| batch.base <= offset && offset <= batch.last);
        found.map(|batch| batch.epoch).or(self.below().filter(|below| offset == below.offset - 1).map(|id| id.epoch))
    }

    fn append_as_leader(&mut self, records: &mut [u8], epoch: i32, _date_ms: i64) -> Result<Appended, RaftError> {
        let base = self.end().offset;
        set_base_offset(records, base).unwrap();
        set_partition_leader_epoch(records, epoch).unwrap();
        let batches = split(&Bytes::copy_from_slice(records));
        assert_eq!(batches.len(), 1, "one batch at a time");
        self.batches.extend(batches);
        Ok(Appended { base_offset: base, last_offset: self.end().offset - 1 })
    }

    fn append_as_follower(&mut self, records: &Bytes, epoch: i32, _date_ms: i64) -> Result<usize, RaftError> {
        let sound = sound_prefix(records, self.end(), epoch);
        self.batches.extend(split(&records.slice(..sound.bytes)));
        Ok(sound.batches)
    }

    fn flush(&mut self) -> Result<i64, RaftError> {
        self.synced = self.batches.len();
        Ok(self.synced_end())
    }

    fn truncate_to(&mut self, offset: i64, _date_ms: i64) -> Result<(), RaftError> {
        self.batches.retain(|batch| batch.last < offset);
        self.synced = self.synced.min(self.batches.len());
        Ok(())
    }

    fn read(&self, offset: i64, max_bytes: usize, up_to: i64) -> Result<Bytes, RaftError> {
        if offset < self.start || offset > self.end().offset {
            let (log_start_offset, log_end_offset) = (self.start, self.end().offset);
            return Err(LogError::OffsetOutOfRange { offset, log_start_offset, log_end_offset }.into());
        }
        let mut bytes = Vec::new();
        for batch in self.batches.iter().filter(|batch| batch.last >= offset && batch.last < up_to) {
            if !bytes.is_empty() && bytes.len() + batch.bytes.len() > max_bytes {
                break;
            }
            bytes.extend_from_slice(&batch.bytes);
        }
        Ok(Bytes::from(bytes))
    }

    fn set_high_watermark(&mut self, high_watermark: i64) {
        self.high_watermark = high_watermark;
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
        let Some(bytes) = self.snapshots.get(&(id.offset, id.epoch)) else { return Ok(None) };
        let at = position as usize;
        let part = (at <= bytes.len()).then(|| bytes.slice(at..bytes.len().min(at + max_bytes)));
        Ok(part.map(|part| SnapshotPart { bytes: part, size: bytes.len() as u64 }))
    }

    fn create_snapshot(&mut self, id: OffsetAndEpoch) -> Result<MemoryWriter, RaftError> {
        Ok(MemoryWriter { id, bytes: Vec::new() })
    }

    fn freeze_snapshot(&mut self, writer: MemoryWriter) -> Result<bool, RaftError> {
        let bytes = Bytes::from(writer.bytes);
        let sound = split(&bytes).into_iter().filter(|batch| verify_crc(&batch.bytes).is_ok());
        if sound.map(|batch| batch.bytes.len()).sum::<usize>() != bytes.len() {
            return Ok(false);
        }
        self.snapshots.insert((writer.id.offset, writer.id.epoch), bytes);
        Ok(true)
    }

    fn restart_at_snapshot(&mut self, id: OffsetAndEpoch, _date_ms: i64) -> Result<(), RaftError> {
        self.batches.clear();
        self.synced = 0;
        self.start = id.offset;
        self.snapshots.retain(|(offset, _), _| *offset >= id.offset);
        Ok(())
    }

    fn delete_before_snapshot(&mut self, id: OffsetAndEpoch) -> Result<(), RaftError> {
        let before = self.batches.len();
        self.batches.retain(|batch| batch.last >= id.offset);
        self.synced -= (before - self.batches.len()).min(self.synced);
        self.start = self.start.max(id.offset);
        self.snapshots.retain(|(offset, _), _| *offset >= id.offset);
        Ok(())
    }

    fn size_bytes(&self) -> Result<u64, RaftError> {
        let log: usize = self.batches.iter().map(|batch| batch.bytes.len()).sum();
        let snapshots: usize = self.snapshots.values().map(Bytes::len).sum();
        Ok((log + snapshots) as u64)
    }

    fn snapshot_date_ms(&self, _id: OffsetAndEpoch) -> Result<Option<i64>, RaftError> {
        Ok(None)
    }

    fn read_election(&self) -> Result<Option<ElectionState>, RaftError> {
        Ok(self.election.clone())
    }

    fn write_election(&mut self, state: &ElectionState) -> Result<(), RaftError> {
        self.election = Some(state.clone());
        Ok(())
    }
}
