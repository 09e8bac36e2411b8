//! Snapshots of the metadata (KIP-630): written when enough was committed since the last one, and read when the node
//! starts, or when it is so far behind that the log of the active controller begins after its own end.

use std::sync::Arc;

use bytes::Bytes;
use rkafka_protocol::records::{BatchIter, DecompressArena};
use tokio::time::Instant;

use super::{Controller, ControllerError, Inner, MetadataImage, MetadataRecord, REPLAY_BYTES};
use crate::locks::lock;
use crate::raft::{DiskSnapshot, OffsetAndEpoch, RaftLog, SnapshotBuilder};

/// How many records go into one batch of a snapshot. Between two batches others have their turn.
const BATCH_RECORDS: usize = 500;

/// A snapshot that has begun.
#[derive(Debug)]
pub(crate) struct Snapshot {
    image: Arc<MetadataImage>,
    builder: SnapshotBuilder<DiskSnapshot>,
}

impl Controller {
    /// When the next snapshot is due, if nothing more is committed.
    pub(super) fn snapshot_deadline(&self, inner: &Inner) -> Option<Instant> {
        let deadline = inner.schedule.deadline().filter(|_| !inner.is_writing_snapshot);
        deadline.map(|at| self.moment(at))
    }

    fn is_snapshot_due(&self) -> bool {
        let now_ms = self.now().monotonic_ms;
        lock(&self.inner).as_ref().is_some_and(|inner| inner.schedule.is_due(now_ms) && !inner.is_writing_snapshot)
    }

    /// Begins a snapshot of what is committed, if one is due.
    pub fn begin_snapshot(&self) -> Option<Snapshot> {
        if !self.is_snapshot_due() {
            return None;
        }
        let begun = self.with(|inner, _| {
            // Whatever becomes of it, the next one is due after as much again.
            inner.schedule.reset();
            let (image, end_offset) = (Arc::clone(&inner.committed), inner.committed_to);
            match inner.raft.create_snapshot(end_offset, inner.committed_ms) {
                Ok(builder) => {
                    inner.is_writing_snapshot = true;
                    Ok(Some(Snapshot { image, builder }))
                }
                Err(error) => {
                    tracing::warn!(%error, end_offset, "no snapshot of the metadata is written");
                    Ok(None)
                }
            }
        });
        begun.ok().flatten()
    }

    /// Writes a snapshot to its end, and lets go of the log below older ones (`metadata.max.retention.bytes` and `.ms`).
    /// Nobody waits for it but whoever wants the same thread.
    ///
    /// Not cancel safe: given up half-way, no other is written until the node starts again.
    pub async fn write_snapshot(&self, snapshot: Snapshot) {
        let end_offset = snapshot.image.next_offset();
        let written = write(snapshot).await;
        let _ = self.with(|inner, now| {
            inner.is_writing_snapshot = false;
            match written {
                Ok(writer) => {
                    inner.raft.complete_snapshot(now, writer)?;
                    tracing::info!(node_id = self.node_id, end_offset, "a snapshot of the metadata is written");
                }
                Err(error) => tracing::warn!(%error, end_offset, "a snapshot of the metadata cannot be written"),
            }
            Ok(())
        });
    }

    /// Begins anew with a snapshot that is in the log.
    pub(super) fn load_snapshot(&self, inner: &mut Inner, id: OffsetAndEpoch) -> Result<(), ControllerError> {
        let mut bytes = Vec::new();
        while let Some(part) = inner.raft.log().read_snapshot(id, bytes.len() as u64, REPLAY_BYTES)? {
            bytes.extend_from_slice(&part.bytes);
            if part.bytes.is_empty() || bytes.len() as u64 >= part.size {
                break;
            }
        }
        inner.committed = Arc::new(MetadataImage::from_snapshot(id.offset, records_of(&bytes.into())?));
        inner.committed_to = id.offset;
        inner.schedule.reset();
        self.publish(Arc::clone(&inner.committed));
        Ok(())
    }
}

async fn write(snapshot: Snapshot) -> Result<DiskSnapshot, ControllerError> {
    let Snapshot { image, mut builder } = snapshot;
    let mut records = image.records().map(|record| record.encode());
    loop {
        let batch = records.by_ref().take(BATCH_RECORDS).collect::<Result<Vec<Bytes>, _>>()?;
        if batch.is_empty() {
            break;
        }
        builder.append(batch.iter().map(|record| &record[..]))?;
        tokio::task::yield_now().await;
    }
    drop(records);
    Ok(builder.finish()?)
}

/// The records of a snapshot, but for those that frame it.
pub(crate) fn records_of(snapshot: &Bytes) -> Result<Vec<MetadataRecord>, ControllerError> {
    let mut arena = DecompressArena::default();
    let mut records = Vec::new();
    for batch in BatchIter::new(snapshot) {
        let batch = batch?;
        if batch.header().attributes.is_control() {
            continue;
        }
        for record in batch.records(&mut arena)? {
            let record = record?;
            let Some(value) = record.value else { continue };
            let decoded = MetadataRecord::decode(Bytes::copy_from_slice(value))
                .map_err(|source| ControllerError::Record { offset: record.offset, source })?;
            records.push(decoded);
        }
    }
    Ok(records)
}
