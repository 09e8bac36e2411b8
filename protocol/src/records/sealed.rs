//! A batch that takes no more records, on its way to the broker.

use super::header::{BATCH_OVERHEAD, BatchHeader, patch_attributes, patch_producer, refresh_crc};

/// A batch with its header written. It may be stamped with the producer's state, also again for a retry; the CRC is
/// computed by [`SealedBatch::finish`], once per stamp.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedBatch {
    bytes: Vec<u8>,
    header: BatchHeader,
    uncompressed_len: usize,
    finished: bool,
}

impl SealedBatch {
    /// `bytes` begin with `header`, whose CRC is not yet set.
    pub(super) fn new(bytes: Vec<u8>, header: BatchHeader, uncompressed_len: usize) -> SealedBatch {
        debug_assert!(bytes.len() >= BATCH_OVERHEAD);
        SealedBatch { bytes, header, uncompressed_len, finished: false }
    }

    /// Sets producer id, epoch, base sequence and whether the batch is part of a transaction. The CRC is stale until
    /// [`SealedBatch::finish`].
    pub fn stamp_producer(&mut self, id: i64, epoch: i16, base_sequence: i32, transactional: bool) {
        self.header.attributes = self.header.attributes.with_transactional(transactional);
        self.header.producer_id = id;
        self.header.producer_epoch = epoch;
        self.header.base_sequence = base_sequence;
        patch_attributes(&mut self.bytes, self.header.attributes);
        patch_producer(&mut self.bytes, id, epoch, base_sequence);
        self.finished = false;
    }

    /// Computes the CRC if a stamp has made it stale, and gives the bytes that may be sent.
    pub fn finish(&mut self) -> &[u8] {
        if !self.finished {
            refresh_crc(&mut self.bytes);
            self.finished = true;
        }
        &self.bytes
    }

    /// The bytes, if their CRC is right: `None` between a stamp and [`SealedBatch::finish`].
    pub fn bytes(&self) -> Option<&[u8]> {
        self.finished.then_some(&self.bytes)
    }

    /// Finishes the batch and gives its bytes.
    pub fn into_bytes(mut self) -> Vec<u8> {
        self.finish();
        self.bytes
    }

    /// Gives the buffer back for the pool, finished or not.
    pub fn into_buffer(self) -> Vec<u8> {
        self.bytes
    }

    /// The header as written; its `crc` is 0.
    pub const fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// How many records the batch holds.
    pub const fn record_count(&self) -> u32 {
        self.header.record_count as u32
    }

    /// Bytes of the batch as sent.
    pub const fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Always false: a sealed batch has a header and a record at least.
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Bytes of the batch before compression, header included.
    pub const fn uncompressed_len(&self) -> usize {
        self.uncompressed_len
    }

    /// What compression made of the records: 1.0 for no gain, 0.25 for a quarter of the size.
    pub fn compression_ratio(&self) -> f32 {
        (self.bytes.len() - BATCH_OVERHEAD) as f32 / (self.uncompressed_len - BATCH_OVERHEAD).max(1) as f32
    }
}
