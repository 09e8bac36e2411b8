//! The stages of a batch: open, closed, sealed.

use std::sync::Arc;
use std::time::Instant;

use rkafka_protocol::records::{
    BatchBuilder, BatchOptions, Codec, Compression, Compressor, DecompressArena, RecordBatch, RecordError, SealedBatch,
};

use super::sequence::Stamp;
use crate::delivery::{BatchState, Receipt};
use crate::memory::Memory;

/// Bytes of `buffer.memory` that a batch holds; given back when it is dropped.
pub(crate) struct Charge {
    memory: Arc<Memory>,
    bytes: usize,
}

impl Charge {
    pub(crate) fn new(memory: Arc<Memory>, bytes: usize) -> Self {
        Self { memory, bytes }
    }

    /// Makes room for `extra` more bytes. False where the budget is spent, or waited for by others.
    pub(crate) fn grow(&mut self, extra: usize, in_turn: bool) -> bool {
        let granted = self.memory.charge(extra, in_turn);
        if granted {
            self.bytes += extra;
        }
        granted
    }

    /// As [`Charge::grow`], where nobody waits for memory.
    pub(crate) fn grow_unless_waited_for(&mut self, extra: usize) -> bool {
        !self.memory.is_waited_for() && self.grow(extra, false)
    }

    /// A buffer for `size` bytes that were granted already, in the place of a larger one.
    fn lend(&self, size: usize) -> (Vec<u8>, Self) {
        let buffer = self.memory.lend(size, self.bytes);
        let charge = Self::new(self.memory.clone(), buffer.capacity());
        (buffer, charge)
    }

    fn give_back(mut self, buffer: Vec<u8>) {
        self.memory.release(std::mem::take(&mut self.bytes), Some(buffer));
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.memory.release(self.bytes, None);
        }
    }
}

/// A batch that takes records.
pub(crate) struct OpenBatch {
    pub(crate) builder: BatchBuilder,
    pub(crate) charge: Charge,
    pub(crate) state: Arc<BatchState>,
    pub(crate) created: Instant,
    /// The size of its largest record, in bytes.
    pub(crate) record_size_max: usize,
}

/// A batch that takes no more records and was not sent yet.
pub(crate) struct ClosedBatch {
    pub(crate) load: Load,
    pub(crate) receipt: Receipt,
    pub(crate) count: u32,
    pub(crate) created: Instant,
    /// When it was full, had lingered, or was flushed.
    pub(crate) ready_at: Instant,
    /// The size of its largest record, in bytes.
    pub(crate) record_size_max: usize,
}

impl From<OpenBatch> for ClosedBatch {
    fn from(open: OpenBatch) -> Self {
        let count = open.builder.record_count();
        let receipt = Receipt::new(open.state, count);
        Self {
            load: Load::Raw(Box::new(RawBatch { builder: open.builder, charge: open.charge })),
            receipt,
            count,
            created: open.created,
            ready_at: open.created,
            record_size_max: open.record_size_max,
        }
    }
}

/// The bytes of a batch on their way: as they were written, or ready for the wire.
pub(crate) enum Load {
    /// Neither compressed nor stamped.
    Raw(Box<RawBatch>),
    /// As it was sent, kept for a retry.
    Sealed(Arc<Payload>),
}

/// The records of a closed batch.
pub(crate) struct RawBatch {
    pub(crate) builder: BatchBuilder,
    pub(crate) charge: Charge,
}

/// A sealed batch. Its buffer goes back to the pool when the last reference goes.
pub(crate) struct Payload {
    batch: Option<SealedBatch>,
    charge: Option<Charge>,
}

impl Payload {
    /// Bytes on the wire.
    pub(crate) fn len(&self) -> usize {
        self.batch.as_ref().map_or(0, SealedBatch::len)
    }

    /// Bytes before compression.
    #[cfg(test)]
    pub(crate) fn uncompressed_len(&self) -> usize {
        self.batch.as_ref().map_or(0, SealedBatch::uncompressed_len)
    }

    /// What compression made of its records, 1.0 for no gain; `None` where they are not compressed.
    pub(crate) fn compression_ratio(&self) -> Option<f32> {
        let batch = self.batch.as_ref()?;
        let compression = batch.header().attributes.compression();
        matches!(compression, Ok(compression) if compression != Compression::None).then(|| batch.compression_ratio())
    }
}

impl Drop for Payload {
    fn drop(&mut self) {
        if let (Some(batch), Some(charge)) = (self.batch.take(), self.charge.take()) {
            charge.give_back(batch.into_buffer());
        }
    }
}

impl Payload {
    /// The batch.
    pub(crate) fn batch(&self) -> Option<&SealedBatch> {
        self.batch.as_ref()
    }
}

/// A reference to a payload's bytes, spliced into a request without a copy.
pub(crate) struct PayloadBytes(pub(crate) Arc<Payload>);

impl AsRef<[u8]> for PayloadBytes {
    fn as_ref(&self) -> &[u8] {
        self.0.batch.as_ref().and_then(SealedBatch::bytes).unwrap_or_default()
    }
}

impl Load {
    /// Bytes before compression, or as sent: what a request is filled by.
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::Raw(raw) => raw.builder.len(),
            Self::Sealed(payload) => payload.len(),
        }
    }

    /// Whether it was neither compressed nor stamped yet.
    pub(crate) fn is_raw(&self) -> bool {
        matches!(self, Self::Raw(_))
    }

    /// Compresses what is not compressed yet, stamps, and computes the CRC. A batch that was compressed has a buffer of
    /// its new size from then on, and the memory that it gained is free.
    pub(crate) fn seal(
        self,
        codec: Codec,
        compressor: &mut Compressor,
        stamp: Option<Stamp>,
        transactional: bool,
    ) -> Result<Arc<Payload>, RecordError> {
        match self {
            Self::Raw(raw) => {
                let RawBatch { builder, mut charge } = *raw;
                let mut smaller = None;
                let (mut batch, emptied) = builder.seal_into(codec, compressor, |size| {
                    let (buffer, own) = charge.lend(size);
                    smaller = Some(own);
                    buffer
                })?;
                if let (Some(smaller), Some(emptied)) = (smaller, emptied) {
                    std::mem::replace(&mut charge, smaller).give_back(emptied);
                }
                if let Some(Stamp { identity, base_sequence }) = stamp {
                    batch.stamp_producer(identity.id, identity.epoch, base_sequence, transactional);
                }
                batch.finish();
                Ok(Arc::new(Payload { batch: Some(batch), charge: Some(charge) }))
            }
            Self::Sealed(mut payload) => {
                let stale = payload.batch.as_ref().zip(stamp).is_some_and(|(batch, stamp)| {
                    let header = batch.header();
                    (header.producer_id, header.producer_epoch, header.base_sequence)
                        != (stamp.identity.id, stamp.identity.epoch, stamp.base_sequence)
                });
                if let Some(Stamp { identity, base_sequence }) = stamp.filter(|_| stale) {
                    // A request that was given up may still hold the bytes; they must not change under it.
                    if Arc::get_mut(&mut payload).is_none() {
                        payload = Arc::new(Payload { batch: payload.batch.clone(), charge: None });
                    }
                    if let Some(batch) = Arc::get_mut(&mut payload).and_then(|payload| payload.batch.as_mut()) {
                        batch.stamp_producer(identity.id, identity.epoch, base_sequence, transactional);
                        batch.finish();
                    }
                }
                Ok(payload)
            }
        }
    }

    /// What compression made of its records, where it is compressed.
    pub(crate) fn compression_ratio(&self) -> Option<f32> {
        match self {
            Self::Raw(_) => None,
            Self::Sealed(payload) => payload.compression_ratio(),
        }
    }

    /// The records again, as two batches, because the broker found the batch too large. `None` where it is one record.
    pub(crate) fn split(
        &self,
        memory: &Arc<Memory>,
        arena: &mut DecompressArena,
    ) -> Result<Option<[RawBatch; 2]>, RecordError> {
        let Self::Sealed(payload) = self else { return Ok(None) };
        let Some(sealed) = payload.batch.as_ref() else { return Ok(None) };
        let Some(bytes) = sealed.bytes() else { return Ok(None) };
        if sealed.record_count() < 2 {
            return Ok(None);
        }
        let capacity = sealed.uncompressed_len() / 2 + 1024;
        let begin = || BatchBuilder::new(Vec::with_capacity(capacity), BatchOptions::default());
        let mut halves = [begin(), begin()];
        let middle = sealed.record_count() / 2;
        for (index, record) in RecordBatch::read(bytes)?.records(arena)?.enumerate() {
            let record = record?;
            let headers = record.headers.iter().collect::<Result<Vec<_>, _>>()?;
            let half = &mut halves[usize::from(index >= middle as usize)];
            half.append(record.timestamp, record.key, record.value, headers)?;
        }
        // The budget is not asked: the records were granted already, to the batch that is split.
        Ok(Some(halves.map(|builder| RawBatch { builder, charge: Charge::new(memory.clone(), 0) })))
    }
}
