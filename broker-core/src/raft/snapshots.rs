//! Snapshots (KIP-630): fetched from the leader, served to followers, and made of one's own state.

use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::fetch_snapshot_response::{PartitionSnapshot, SnapshotId};
use rkafka_protocol::messages::{
    FetchSnapshotRequest, FetchSnapshotResponse, SnapshotFooterRecord, SnapshotHeaderRecord,
};
use rkafka_protocol::records::{BatchOptions, ControlRecordType, encode_batch, encode_control_batch};
use rkafka_protocol::wire::{Message, encode_to_vec};

use super::message::{Action, RaftRequest};
use super::node::{Now, RaftNode};
use super::role::Role;
use super::wire::{self, SnapshotPosition};
use super::{OffsetAndEpoch, RaftError, RaftLog, SnapshotWriter};

/// A snapshot that the owner writes: [`RaftNode::create_snapshot`], [`SnapshotBuilder::append`] as often as need be,
/// [`SnapshotBuilder::finish`], [`RaftNode::complete_snapshot`]. It may be written on another thread.
#[derive(Debug)]
pub struct SnapshotBuilder<W: SnapshotWriter> {
    writer: W,
    next_offset: i64,
    date_ms: i64,
}

impl<W: SnapshotWriter> SnapshotBuilder<W> {
    pub(crate) fn begin(writer: W, date_ms: i64) -> Result<Self, RaftError> {
        let mut builder = Self { writer, next_offset: 0, date_ms };
        let header = SnapshotHeaderRecord { version: 0, last_contained_log_timestamp: date_ms, ..Default::default() };
        builder.control(ControlRecordType::SnapshotHeader, &header)?;
        Ok(builder)
    }

    fn control(&mut self, kind: ControlRecordType, message: &impl Message) -> Result<(), RaftError> {
        let value = encode_to_vec(message, 0)?;
        let options = BatchOptions::at(self.next_offset, self.writer.id().epoch);
        let batch = encode_control_batch(options, self.date_ms, [(kind, &value[..])])?.into_bytes();
        self.next_offset += 1;
        self.writer.append(&batch)
    }

    /// Writes records, as one batch. No records write nothing.
    pub fn append<'r>(&mut self, records: impl IntoIterator<Item = &'r [u8]>) -> Result<(), RaftError> {
        let mut records = records.into_iter().map(|value| (None, Some(value))).peekable();
        if records.peek().is_none() {
            return Ok(());
        }
        let options = BatchOptions::at(self.next_offset, self.writer.id().epoch);
        let batch = encode_batch(Vec::new(), options, self.date_ms, records)?;
        self.next_offset += i64::from(batch.record_count());
        self.writer.append(&batch.into_bytes())
    }

    /// Writes the end.
    pub fn finish(mut self) -> Result<W, RaftError> {
        let footer = SnapshotFooterRecord { version: 0, ..Default::default() };
        self.control(ControlRecordType::SnapshotFooter, &footer)?;
        Ok(self.writer)
    }
}

impl<L: RaftLog> RaftNode<L> {
    /// Begins a snapshot of all below `end_offset`, which is the end of a batch that was committed. `date_ms` is when the
    /// last of these records was written.
    ///
    /// # Errors
    /// [`RaftError::Snapshot`] where there is one that goes as far, or the offset is not committed here; the node goes on
    /// then.
    pub fn create_snapshot(&mut self, end_offset: i64, date_ms: i64) -> Result<SnapshotBuilder<L::Writer>, RaftError> {
        let epoch = end_offset.checked_sub(1).and_then(|last| self.log.epoch_at(last)).unwrap_or(0);
        let refused = |reason| RaftError::Snapshot { end_offset, epoch, reason };
        if end_offset > self.high_watermark {
            return Err(refused("it is not committed"));
        }
        if end_offset <= self.log.start_offset() {
            return Err(refused("the log begins there, or later"));
        }
        if self.log.snapshots().last().is_some_and(|newest| newest.offset >= end_offset) {
            return Err(refused("there is one that goes as far"));
        }
        let writer = self.log.create_snapshot(OffsetAndEpoch { offset: end_offset, epoch })?;
        SnapshotBuilder::begin(writer, date_ms)
    }

    /// Takes a finished snapshot into the log, and lets go of what retention has no use for.
    pub fn complete_snapshot(&mut self, now: Now, writer: L::Writer) -> Result<(), RaftError> {
        // The leader's may have come meanwhile, which goes further.
        if self.log.snapshots().last().is_none_or(|newest| newest.offset < writer.id().offset) {
            self.log.freeze_snapshot(writer)?;
        }
        self.clean(now)
    }

    /// Lets go of the oldest snapshots, and of the log below the next ones (`metadata.max.retention.bytes` and `.ms`).
    fn clean(&mut self, now: Now) -> Result<(), RaftError> {
        loop {
            let [oldest, next, ..] = self.log.snapshots()[..] else { return Ok(()) };
            let limit = u64::try_from(self.config.retention_bytes).ok();
            let is_too_large = match limit {
                Some(limit) => self.log.size_bytes()? > limit,
                None => false,
            };
            let is_too_old = self.config.retention_ms >= 0
                && self
                    .log
                    .snapshot_date_ms(oldest)?
                    .is_some_and(|date_ms| now.date_ms.saturating_sub(date_ms) > self.config.retention_ms);
            if !is_too_large && !is_too_old {
                return Ok(());
            }
            self.log.delete_before_snapshot(next)?;
        }
    }

    pub(super) fn begin_snapshot_fetch(&mut self, id: OffsetAndEpoch) -> Result<(), RaftError> {
        if id.offset <= self.high_watermark {
            tracing::warn!(?id, high_watermark = self.high_watermark, "the leader's snapshot ends below what is here");
            return Ok(());
        }
        tracing::info!(node_id = self.config.node_id, ?id, "fetches a snapshot of the metadata");
        let writer = self.log.create_snapshot(id)?;
        if let Role::Follower(following) = &mut self.role {
            following.snapshot = Some(writer);
        }
        Ok(())
    }

    pub(super) fn send_fetch_snapshot(&mut self, now: Now, to: i32, id: OffsetAndEpoch, position: u64) {
        let asked = SnapshotPosition {
            replica_id: self.config.node_id,
            epoch: self.epoch,
            id,
            position: i64::try_from(position).unwrap_or(i64::MAX),
            max_bytes: i32::try_from(self.config.fetch_snapshot_max_bytes).unwrap_or(i32::MAX),
        };
        let request = wire::fetch_snapshot_request(&self.config, asked);
        self.call(now, to, RaftRequest::FetchSnapshot(request));
    }

    pub(super) fn on_fetch_snapshot(
        &mut self,
        now: Now,
        request: &FetchSnapshotRequest,
    ) -> Result<FetchSnapshotResponse, RaftError> {
        let refused = |error: ErrorCode| FetchSnapshotResponse { error_code: error.code(), ..Default::default() };
        if !self.is_own_cluster(request.cluster_id.as_deref()) {
            return Ok(refused(ErrorCode::InconsistentClusterId));
        }
        let Some(asked) = wire::parse_fetch_snapshot(request) else { return Ok(refused(ErrorCode::InvalidRequest)) };
        let snapshot_id = SnapshotId { end_offset: asked.id.offset, epoch: asked.id.epoch, ..Default::default() };
        let mut partition = PartitionSnapshot { snapshot_id, ..Default::default() };
        let mut error = self.check_leads(asked.epoch);
        if error == ErrorCode::None {
            self.hear(now, asked.replica_id);
            let is_there = self.log.snapshots().contains(&asked.id);
            let most = self.config.fetch_snapshot_max_bytes.min(usize::try_from(asked.max_bytes).unwrap_or(0).max(1));
            let part = match u64::try_from(asked.position) {
                Ok(position) if is_there => self.log.read_snapshot(asked.id, position, most)?,
                _ => None,
            };
            match part {
                Some(part) => {
                    partition.size = i64::try_from(part.size).unwrap_or(i64::MAX);
                    partition.position = asked.position;
                    partition.unaligned_records = part.bytes;
                }
                None if is_there => error = ErrorCode::PositionOutOfRange,
                None => error = ErrorCode::SnapshotNotFound,
            }
        }
        partition.error_code = error.code();
        Ok(wire::fetch_snapshot_response(&self.config, self.leader_and_epoch(), partition))
    }

    pub(super) fn on_fetch_snapshot_response(
        &mut self,
        now: Now,
        from: i32,
        response: &FetchSnapshotResponse,
    ) -> Result<(), RaftError> {
        let name = "FetchSnapshot";
        let Some(partition) = self.accepted(now, from, name, wire::single!(response, topics)) else { return Ok(()) };
        let error = ErrorCode::from_code(partition.error_code);
        let leader_id = wire::leader_id(partition.current_leader.leader_id);
        let epoch = partition.current_leader.leader_epoch;
        let is_good = self.is_of_this_epoch(now, from, name, error, leader_id, epoch)? && self.leader_id == Some(from);
        let Role::Follower(following) = &mut self.role else { return Ok(()) };
        let Some(mut writer) = following.snapshot.take() else { return Ok(()) };
        if !is_good {
            // Without the snapshot the next fetch tells what to do.
            return Ok(());
        }
        let id = writer.id();
        let is_next = partition.snapshot_id.end_offset == id.offset
            && partition.snapshot_id.epoch == id.epoch
            && u64::try_from(partition.position) == Ok(writer.len());
        let size = u64::try_from(partition.size).unwrap_or(0);
        let bytes = &partition.unaligned_records;
        let fits = writer.len() + bytes.len() as u64 <= size && (!bytes.is_empty() || writer.len() == size);
        if !is_next || !fits {
            self.leave_alone(now, from);
            return Ok(());
        }
        writer.append(bytes)?;
        if writer.len() < size {
            following.snapshot = Some(writer);
        } else if self.log.freeze_snapshot(writer)? {
            self.log.restart_at_snapshot(id, now.date_ms)?;
            self.high_watermark = id.offset;
            self.log.set_high_watermark(id.offset);
            self.actions.push_back(Action::SnapshotLoaded(id));
        } else {
            tracing::warn!(from, ?id, "a snapshot came damaged; it is fetched again");
            self.leave_alone(now, from);
            return Ok(());
        }
        self.heard_from_leader(now);
        Ok(())
    }
}
