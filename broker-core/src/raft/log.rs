//! What the machine writes through: a log with snapshots, and the state of elections.

use std::fmt::Debug;

use bytes::Bytes;

use super::RaftError;
use crate::log::EpochEntry;

/// An offset, and the epoch of the record before it. As an end of a log it says how far the log goes; as the id of a
/// snapshot, which records are in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct OffsetAndEpoch {
    /// The first offset that is not in it.
    pub offset: i64,
    /// The epoch of the last record that is; 0 where there is none.
    pub epoch: i32,
}

impl OffsetAndEpoch {
    /// Whether a log that ends here holds at least what a log that ends at `other` does, as far as a voter can tell.
    pub fn is_up_to_date_with(self, other: OffsetAndEpoch) -> bool {
        (self.epoch, self.offset) >= (other.epoch, other.offset)
    }
}

/// What `quorum-state` holds: the epoch, who leads in it, and whom this node voted for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ElectionState {
    /// The newest epoch that the node knows.
    pub epoch: i32,
    /// Who leads in it, as far as it knows.
    pub leader_id: Option<i32>,
    /// Whom it voted for in it.
    pub voted_id: Option<i32>,
    /// Who votes, as the settings have it.
    pub voters: Vec<i32>,
}

/// Where records went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Offset of the first record.
    pub base_offset: i64,
    /// Offset of the last one.
    pub last_offset: i64,
}

/// A part of a snapshot's bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotPart {
    /// Bytes from the position that was asked for on; empty at the end.
    pub bytes: Bytes,
    /// How many bytes the whole snapshot has.
    pub size: u64,
}

/// The log of `__cluster_metadata` of one node, its snapshots, and its `quorum-state`.
///
/// Calls do what they say before they return. An error other than of a full disk means that nothing is certain any more:
/// the node ends, and the log is opened anew.
pub trait RaftLog: Debug {
    /// A snapshot that is being written.
    type Writer: SnapshotWriter;

    /// The first offset of the log. Below it is a snapshot, unless it is 0.
    fn start_offset(&self) -> i64;

    /// The end of the log.
    fn end(&self) -> OffsetAndEpoch;

    /// All records below are synced.
    fn synced_end(&self) -> i64;

    /// The greatest epoch of the log that is not beyond `epoch`, and where it ends: see [`end_for_epoch`].
    fn end_for_epoch(&self, epoch: i32) -> OffsetAndEpoch;

    /// The epoch of the record at this offset, or of the snapshot below the log.
    fn epoch_at(&self, offset: i64) -> Option<i32>;

    /// Appends whole batches, writing offsets and epoch into them. Does not sync.
    fn append_as_leader(&mut self, records: &mut [u8], epoch: i32, date_ms: i64) -> Result<Appended, RaftError>;

    /// Appends what the leader of `epoch` sent, as far as it is sound: whole batches with right checksums that follow the
    /// end of the log without a gap, of no newer epoch. The first that is not ends it without an error, for the next
    /// fetch begins there. Answers how many batches were appended. Does not sync.
    fn append_as_follower(&mut self, records: &Bytes, epoch: i32, date_ms: i64) -> Result<usize, RaftError>;

    /// Makes all records durable, and answers the new synced end.
    fn flush(&mut self) -> Result<i64, RaftError>;

    /// Removes all records from `offset` on, durably.
    fn truncate_to(&mut self, offset: i64, date_ms: i64) -> Result<(), RaftError>;

    /// Reads whole batches, beginning with the one that holds `offset`, at most `max_bytes` of them but at least one, and
    /// none that reaches beyond `up_to`. Empty at `up_to`.
    fn read(&self, offset: i64, max_bytes: usize, up_to: i64) -> Result<Bytes, RaftError>;

    /// Takes note of how far the log is committed.
    fn set_high_watermark(&mut self, high_watermark: i64);

    /// The ids of the snapshots that are there whole, ascending.
    fn snapshots(&self) -> Vec<OffsetAndEpoch>;

    /// Bytes of a snapshot from `position` on, at most `max_bytes`; `None` where it is not there, or not that long.
    fn read_snapshot(
        &self,
        id: OffsetAndEpoch,
        position: u64,
        max_bytes: usize,
    ) -> Result<Option<SnapshotPart>, RaftError>;

    /// Begins to write a snapshot, beside those that are there.
    fn create_snapshot(&mut self, id: OffsetAndEpoch) -> Result<Self::Writer, RaftError>;

    /// Takes a snapshot that was written among those that are there, durably. False where its bytes are not whole batches
    /// with right checksums; it is gone then.
    fn freeze_snapshot(&mut self, writer: Self::Writer) -> Result<bool, RaftError>;

    /// Empties the log, which begins anew at the end of this snapshot. Earlier snapshots go.
    fn restart_at_snapshot(&mut self, id: OffsetAndEpoch, date_ms: i64) -> Result<(), RaftError>;

    /// Lets the log begin at the end of this snapshot: records below it go as far as files can, and earlier snapshots.
    fn delete_before_snapshot(&mut self, id: OffsetAndEpoch) -> Result<(), RaftError>;

    /// Bytes of the log and its snapshots.
    fn size_bytes(&self) -> Result<u64, RaftError>;

    /// When the last record in a snapshot was written, in milliseconds since the epoch; `None` where it is not known.
    fn snapshot_date_ms(&self, id: OffsetAndEpoch) -> Result<Option<i64>, RaftError>;

    /// What was last written by [`RaftLog::write_election`].
    fn read_election(&self) -> Result<Option<ElectionState>, RaftError>;

    /// Writes epoch, leader and vote durably.
    fn write_election(&mut self, state: &ElectionState) -> Result<(), RaftError>;
}

/// A snapshot that is being written, beside the log, so that a thread of its own can write it.
pub trait SnapshotWriter: Debug + Send {
    /// The snapshot's id.
    fn id(&self) -> OffsetAndEpoch;

    /// How many bytes were written.
    fn len(&self) -> u64;

    /// Whether nothing was written yet.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Writes on.
    fn append(&mut self, bytes: &[u8]) -> Result<(), RaftError>;
}

/// The greatest epoch not beyond `epoch` in a log that ends at `log_end`, and where it ends there. `below` is the snapshot
/// below the log's start, if any, whose epoch counts as the log's first. An epoch older than all gives the log's very
/// beginning.
pub fn end_for_epoch(
    entries: &[EpochEntry],
    below: Option<OffsetAndEpoch>,
    log_end: i64,
    epoch: i32,
) -> OffsetAndEpoch {
    let after = entries.partition_point(|entry| entry.epoch <= epoch);
    let offset = entries.get(after).map_or(log_end, |next| next.start_offset);
    let found = after.checked_sub(1).and_then(|at| entries.get(at));
    let epoch = found.map_or(below.map_or(0, |below| below.epoch), |entry| entry.epoch);
    OffsetAndEpoch { offset, epoch }
}
