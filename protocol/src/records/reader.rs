//! Batches and their records, read where they lie.

use super::compression::{Compression, Decompressor};
use super::error::RecordError;
use super::header::{BATCH_OVERHEAD, BatchHeader, LOG_OVERHEAD, MAGIC_V2, TimestampType, verify_crc_of};
use super::view::{MIN_RECORD_LEN, RecordContext, RecordView, parse_record};

/// Cuts bytes (a fetched partition's records, a piece of a segment file) into batches.
///
/// A batch that is cut off at the end is no error, for brokers cut where the fetch size says so: the iteration ends,
/// and [`BatchIter::remainder`] gives what is left. After an error the iteration ends as well, because where the next
/// batch begins is not known.
#[derive(Debug, Clone)]
pub struct BatchIter<'a> {
    rest: &'a [u8],
    failed: bool,
}

impl<'a> BatchIter<'a> {
    /// Iterates over the batches in `bytes`.
    pub const fn new(bytes: &'a [u8]) -> BatchIter<'a> {
        BatchIter { rest: bytes, failed: false }
    }

    /// The bytes not yet cut into batches: after the end, those of a last batch that is cut off, or of the batch that
    /// could not be read.
    pub const fn remainder(&self) -> &'a [u8] {
        self.rest
    }

    /// How many bytes from the start of [`BatchIter::remainder`] its first batch needs, if enough of it is there to
    /// tell: a fetch must be at least as large to make progress.
    pub fn needed(&self) -> Option<usize> {
        let length = i32::from_be_bytes(*self.rest.get(8..)?.first_chunk()?);
        usize::try_from(length).ok().map(|length| length.saturating_add(LOG_OVERHEAD))
    }

    fn cut(&mut self) -> Result<Option<RecordBatch<'a>>, RecordError> {
        // An old or damaged batch is told before its end is looked for.
        match self.rest.get(16) {
            None => return Ok(None),
            Some(&magic) if magic as i8 != MAGIC_V2 => {
                return Err(RecordError::UnsupportedMagic { magic: magic as i8 });
            }
            Some(_) => {}
        }
        if self.rest.len() < BATCH_OVERHEAD {
            return Ok(None);
        }
        let header = BatchHeader::read(self.rest)?;
        match self.rest.split_at_checked(header.total_len()) {
            None => Ok(None),
            Some((bytes, rest)) => {
                self.rest = rest;
                Ok(Some(RecordBatch { header, bytes }))
            }
        }
    }
}

impl<'a> Iterator for BatchIter<'a> {
    type Item = Result<RecordBatch<'a>, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let cut = self.cut();
        self.failed = cut.is_err();
        cut.transpose()
    }
}

/// One batch: its header, decoded, and all of its bytes.
#[derive(Debug, Clone, Copy)]
pub struct RecordBatch<'a> {
    header: BatchHeader,
    bytes: &'a [u8],
}

impl<'a> RecordBatch<'a> {
    /// Reads the batch at the front of `bytes`; what follows it is ignored.
    ///
    /// # Errors
    /// The header is bad, or the batch is cut off.
    pub fn read(bytes: &'a [u8]) -> Result<RecordBatch<'a>, RecordError> {
        let header = BatchHeader::read(bytes)?;
        match bytes.get(..header.total_len()) {
            Some(bytes) => Ok(RecordBatch { header, bytes }),
            None => Err(RecordError::Truncated {
                what: "record batch",
                position: 0,
                needed: header.total_len(),
                available: bytes.len(),
            }),
        }
    }

    /// The header.
    pub const fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// The whole batch, header included.
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The bytes after the header: records, compressed or not.
    pub fn payload(&self) -> &'a [u8] {
        self.bytes.get(BATCH_OVERHEAD..).unwrap_or_default()
    }

    /// Checks the CRC.
    ///
    /// # Errors
    /// [`RecordError::CrcMismatch`].
    pub fn verify_crc(&self) -> Result<(), RecordError> {
        verify_crc_of(self.bytes, &self.header)
    }

    /// The records: in place if the batch is not compressed, else unpacked into `arena`, once.
    ///
    /// The CRC is not checked here.
    ///
    /// # Errors
    /// Unknown or disabled codec, damaged or oversized data, more records declared than the bytes can hold. Faults of
    /// single records come from the iterator.
    pub fn records<'s>(&self, arena: &'s mut DecompressArena) -> Result<RecordIter<'s>, RecordError>
    where
        'a: 's,
    {
        let data = self.plain_records(arena)?;
        self.records_in(data)
    }

    /// The bytes of the records, unpacked into `arena` where they are compressed.
    pub(super) fn plain_records<'s>(&self, arena: &'s mut DecompressArena) -> Result<&'s [u8], RecordError>
    where
        'a: 's,
    {
        match self.header.attributes.compression()? {
            Compression::None => Ok(self.payload()),
            compression => arena.unpack(compression, self.payload()),
        }
    }

    /// The records in their bytes.
    pub(super) fn records_in<'s>(&self, plain: &'s [u8]) -> Result<RecordIter<'s>, RecordError> {
        RecordIter::new(&self.header, plain)
    }

    /// Checks everything that a broker must before it appends a batch from outside: the CRC, every record to its last
    /// header, and that offset deltas count up from 0 to the last offset delta without a gap.
    ///
    /// # Errors
    /// The first fault found.
    pub fn validate(&self, arena: &mut DecompressArena) -> Result<(), RecordError> {
        self.verify_crc()?;
        let mut records = self.records(arena)?;
        let most = self.header.last_offset_delta;
        if i64::from(most) + 1 != i64::from(self.header.record_count) {
            return Err(RecordError::InvalidHeaderField { field: "lastOffsetDelta", value: i64::from(most) });
        }
        let mut index = 0u32;
        while let Some(parsed) = records.next_with_delta() {
            let (record, delta) = parsed?;
            record.headers.validate()?;
            if i64::from(delta) != i64::from(index) {
                let least = i32::try_from(index).unwrap_or(i32::MAX);
                return Err(RecordError::OffsetDeltaOutOfOrder { index, delta, least, most });
            }
            index += 1;
        }
        Ok(())
    }
}

/// Bytes to spare that are not worth giving back.
const SPARE_MAX: usize = 512;

/// Where compressed batches are unpacked: contexts and one buffer that are reused, and the limit for one batch.
#[derive(Debug)]
pub struct DecompressArena {
    decompressor: Decompressor,
    buffer: Vec<u8>,
    limit: usize,
    /// How large the last batch became, so that an owned one is allocated once.
    last_len: usize,
}

impl DecompressArena {
    /// The limit that [`DecompressArena::default`] sets: 128 MiB.
    pub const DEFAULT_LIMIT: usize = 128 * 1024 * 1024;

    /// An arena in which one batch may take at most `limit` bytes.
    pub fn new(limit: usize) -> DecompressArena {
        DecompressArena { decompressor: Decompressor::new(), buffer: Vec::new(), limit, last_len: 0 }
    }

    /// The most bytes that one batch may decompress to.
    pub const fn limit(&self) -> usize {
        self.limit
    }

    /// Bytes that the arena holds on to.
    pub fn capacity(&self) -> usize {
        self.buffer.capacity()
    }

    /// Frees the buffer if it has grown beyond `most` bytes.
    pub fn shrink_to(&mut self, most: usize) {
        if self.buffer.capacity() > most {
            self.buffer = Vec::new();
        }
    }

    fn unpack(&mut self, compression: Compression, payload: &[u8]) -> Result<&[u8], RecordError> {
        self.buffer.clear();
        if !payload.is_empty() {
            self.decompressor.decompress(compression, payload, &mut self.buffer, self.limit)?;
        }
        Ok(&self.buffer)
    }

    /// Unpacks into a buffer of its own.
    pub(super) fn unpack_owned(&mut self, compression: Compression, payload: &[u8]) -> Result<Vec<u8>, RecordError> {
        let mut buffer = Vec::new();
        if !payload.is_empty() {
            // What the last batch took is a good guess, as long as this one's input is of that order.
            let guess = self.last_len + self.last_len / 8;
            buffer.reserve(guess.min(payload.len().saturating_mul(16)).min(self.limit));
            self.decompressor.decompress(compression, payload, &mut buffer, self.limit)?;
            // Some codecs need more room than the content takes, and a batch may be kept for long.
            if buffer.capacity() - buffer.len() > buffer.len() / 4 + SPARE_MAX {
                buffer.shrink_to_fit();
            }
        }
        self.last_len = buffer.len();
        Ok(buffer)
    }
}

impl Default for DecompressArena {
    fn default() -> DecompressArena {
        DecompressArena::new(DecompressArena::DEFAULT_LIMIT)
    }
}

/// Iterates over a batch's records. After an error it ends.
#[derive(Debug, Clone)]
pub struct RecordIter<'a> {
    data: &'a [u8],
    position: RecordPosition,
}

/// How far a batch's records have been read.
#[derive(Debug, Clone)]
pub(super) struct RecordPosition {
    context: RecordContext,
    at: usize,
    left: u32,
    declared: i32,
    /// Nothing more is to come: the end was checked, or an error was given out.
    ended: bool,
}

impl RecordPosition {
    pub(super) fn new(header: &BatchHeader, data: &[u8]) -> Result<RecordPosition, RecordError> {
        let most = u32::try_from(data.len() / MIN_RECORD_LEN).unwrap_or(u32::MAX);
        let left = u32::try_from(header.record_count).unwrap_or(0);
        if left > most {
            return Err(RecordError::RecordCountMismatch { declared: header.record_count, found: most });
        }
        let log_append_time = match header.attributes.timestamp_type() {
            TimestampType::LogAppendTime => Some(header.max_timestamp),
            TimestampType::CreateTime => None,
        };
        Ok(RecordPosition {
            context: RecordContext {
                base_offset: header.base_offset,
                base_timestamp: header.base_timestamp,
                log_append_time,
            },
            at: 0,
            left,
            declared: header.record_count,
            ended: false,
        })
    }

    /// Records still to come, if none is damaged.
    pub(super) const fn left(&self) -> u32 {
        self.left
    }

    #[inline(always)]
    pub(super) fn next<'a>(&mut self, data: &'a [u8]) -> Option<Result<(RecordView<'a>, i32), RecordError>> {
        if self.left == 0 {
            return self.end(data).map(Err);
        }
        if self.at == data.len() {
            let found = self.declared as u32 - self.left;
            self.stop();
            return Some(Err(RecordError::RecordCountMismatch { declared: self.declared, found }));
        }
        let parsed = parse_record(data, &mut self.at, &self.context);
        match &parsed {
            Ok(_) => self.left -= 1,
            Err(_) => self.stop(),
        }
        Some(parsed)
    }

    #[cold]
    pub(super) fn stop(&mut self) {
        self.left = 0;
        self.ended = true;
    }

    fn end(&mut self, data: &[u8]) -> Option<RecordError> {
        if self.ended {
            return None;
        }
        self.ended = true;
        (self.at < data.len()).then(|| RecordError::TrailingBytes {
            what: "the last record of a batch",
            position: self.at,
            count: data.len() - self.at,
        })
    }
}

impl<'a> RecordIter<'a> {
    fn new(header: &BatchHeader, data: &'a [u8]) -> Result<RecordIter<'a>, RecordError> {
        Ok(RecordIter { data, position: RecordPosition::new(header, data)? })
    }

    pub(super) fn over(data: &'a [u8], position: RecordPosition) -> RecordIter<'a> {
        RecordIter { data, position }
    }

    /// The same records, each with its offset delta as it is written.
    pub fn with_deltas(mut self) -> impl Iterator<Item = Result<(RecordView<'a>, i32), RecordError>> {
        std::iter::from_fn(move || self.next_with_delta())
    }

    /// Where the next record begins in the bytes of the records.
    pub(super) const fn position(&self) -> usize {
        self.position.at
    }

    #[inline(always)]
    fn next_with_delta(&mut self) -> Option<Result<(RecordView<'a>, i32), RecordError>> {
        self.position.next(self.data)
    }
}

impl<'a> Iterator for RecordIter<'a> {
    type Item = Result<RecordView<'a>, RecordError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        Some(self.next_with_delta()?.map(|(record, _delta)| record))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        // One more than the count: an error may follow the last record.
        (0, Some(self.position.left() as usize + 1))
    }
}

impl std::iter::FusedIterator for RecordIter<'_> {}

#[cfg(all(test, feature = "zstd"))]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn what_is_unpacked_to_be_kept_has_no_room_to_spare() {
        // As Java writes it: the frame does not say how long its content is.
        let mut encoder = zstd::stream::Encoder::new(Vec::new(), 3).unwrap();
        encoder.include_contentsize(false).unwrap();
        encoder.write_all(&[7; 100]).unwrap();
        let packed = encoder.finish().unwrap();
        let mut arena = DecompressArena::default();
        for _ in 0..2 {
            let unpacked = arena.unpack_owned(Compression::Zstd, &packed).unwrap();
            assert_eq!(unpacked.len(), 100);
            assert!(unpacked.capacity() < 1024, "{} bytes are kept for 100", unpacked.capacity());
        }
    }
}
