//! Batches that are kept: for a consumer's inbox.

use bytes::Bytes;

use super::compression::Compression;
use super::error::RecordError;
use super::header::{BATCH_OVERHEAD, BatchHeader};
use super::reader::{DecompressArena, RecordBatch, RecordIter, RecordPosition};
use super::view::RecordView;

/// A batch with its records unpacked, held by reference count. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct OwnedBatch {
    header: BatchHeader,
    records: Bytes,
    position: RecordPosition,
}

impl OwnedBatch {
    /// Takes the batch at the front of `bytes`. An uncompressed batch keeps a slice of `bytes`; a compressed one is
    /// unpacked into memory of its own, by the contexts of `arena` and up to its limit.
    ///
    /// The CRC is not checked: [`RecordBatch::verify_crc`] does that.
    ///
    /// # Errors
    /// As [`RecordBatch::read`] and [`RecordBatch::records`].
    pub fn decode(bytes: &Bytes, arena: &mut DecompressArena) -> Result<OwnedBatch, RecordError> {
        let batch = RecordBatch::read(bytes)?;
        let header = *batch.header();
        let records = match header.attributes.compression()? {
            Compression::None => bytes.slice(BATCH_OVERHEAD..header.total_len()),
            compression => Bytes::from(arena.unpack_owned(compression, batch.payload())?),
        };
        let position = RecordPosition::new(&header, &records)?;
        Ok(OwnedBatch { header, records, position })
    }

    /// The header.
    pub const fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// The unpacked records section.
    pub const fn records_bytes(&self) -> &Bytes {
        &self.records
    }

    /// The header alone, without the memory of the records: iterating gives none.
    #[must_use]
    pub fn without_records(&self) -> OwnedBatch {
        let mut position = self.position.clone();
        position.stop();
        OwnedBatch { header: self.header, records: Bytes::new(), position }
    }

    /// Iterates over the records from the first.
    pub fn iter(&self) -> RecordIter<'_> {
        RecordIter::over(&self.records, self.position.clone())
    }

    /// A part of this batch (a key, a value, a header's value) as `Bytes` that keep the batch's memory alive. Bytes that
    /// lie elsewhere are copied.
    pub fn bytes_of(&self, part: &[u8]) -> Bytes {
        let start = (part.as_ptr() as usize).wrapping_sub(self.records.as_ptr() as usize);
        match start.checked_add(part.len()) {
            Some(end) if end <= self.records.len() => self.records.slice(start..end),
            _ => Bytes::copy_from_slice(part),
        }
    }

    /// The record's key as `Bytes`, without a copy.
    pub fn key_bytes(&self, record: &RecordView<'_>) -> Option<Bytes> {
        record.key.map(|key| self.bytes_of(key))
    }

    /// The record's value as `Bytes`, without a copy.
    pub fn value_bytes(&self, record: &RecordView<'_>) -> Option<Bytes> {
        record.value.map(|value| self.bytes_of(value))
    }

    /// A cursor before the first record.
    pub fn into_cursor(self) -> RecordCursor {
        RecordCursor { position: self.position.clone(), batch: self }
    }
}

impl<'a> IntoIterator for &'a OwnedBatch {
    type Item = Result<RecordView<'a>, RecordError>;
    type IntoIter = RecordIter<'a>;

    fn into_iter(self) -> RecordIter<'a> {
        self.iter()
    }
}

/// A batch and how far it has been read: gives one record at a time, and parses none twice.
#[derive(Debug, Clone)]
pub struct RecordCursor {
    batch: OwnedBatch,
    position: RecordPosition,
}

impl RecordCursor {
    /// The batch.
    pub const fn batch(&self) -> &OwnedBatch {
        &self.batch
    }

    /// The next record, in the batch's memory. After an error there are no more.
    #[inline]
    pub fn next_record(&mut self) -> Option<Result<RecordView<'_>, RecordError>> {
        Some(self.position.next(&self.batch.records)?.map(|(record, _delta)| record))
    }

    /// The next record together with its batch, from which [`OwnedBatch::value_bytes`] cuts what is to be kept.
    #[inline]
    pub fn next_with_batch(&mut self) -> Option<Result<(RecordView<'_>, &OwnedBatch), RecordError>> {
        let RecordCursor { batch, position } = self;
        let batch = &*batch;
        Some(position.next(&batch.records)?.map(|(record, _delta)| (record, batch)))
    }

    /// Skips the records below `offset`: a fetch from the middle of a batch gives the whole batch.
    ///
    /// # Errors
    /// A skipped record is damaged.
    pub fn skip_to(&mut self, offset: i64) -> Result<(), RecordError> {
        while self.position.left() > 0 {
            let mut ahead = self.position.clone();
            match ahead.next(&self.batch.records) {
                Some(Ok((record, _delta))) if record.offset < offset => self.position = ahead,
                Some(Err(error)) => {
                    self.position = ahead;
                    return Err(error);
                }
                Some(Ok(_)) | None => return Ok(()),
            }
        }
        Ok(())
    }

    /// How many records the batch still declares to come.
    pub const fn remaining(&self) -> u32 {
        self.position.left()
    }
}
