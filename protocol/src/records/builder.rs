//! Batches, written record by record into one buffer.

use super::compression::{Codec, Compression, Compressor};
use super::error::RecordError;
use super::header::{
    Attributes, BATCH_OVERHEAD, BatchHeader, LOG_OVERHEAD, NO_PARTITION_LEADER_EPOCH, NO_PRODUCER_EPOCH,
    NO_PRODUCER_ID, NO_SEQUENCE, NO_TIMESTAMP, TimestampType,
};
use super::sealed::SealedBatch;
use super::varint::{FieldWriter, varint_size, varlong_size};
use super::view::HeaderRef;

/// No headers, for [`BatchBuilder::append`].
pub const NO_HEADERS: [HeaderRef<'static>; 0] = [];

/// The batch's length field is an `i32` that does not count the first 12 bytes.
const MAX_BATCH_LEN: usize = i32::MAX as usize;

/// What the header of a new batch says. The default is a producer's: offset 0, nothing else known.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BatchOptions {
    /// Offset of the first record: 0 from a producer, the true one where a broker writes its own records.
    pub base_offset: i64,
    /// Epoch of the leader that writes the batch; -1 from a producer.
    pub partition_leader_epoch: i32,
    /// Producer id, or -1.
    pub producer_id: i64,
    /// Producer epoch, or -1.
    pub producer_epoch: i16,
    /// Sequence of the first record, or -1.
    pub base_sequence: i32,
    /// Flags. The codec in them is set by [`BatchBuilder::seal`].
    pub attributes: Attributes,
    /// The append time in ms, to write a batch with LogAppendTime.
    pub log_append_time: Option<i64>,
}

impl Default for BatchOptions {
    fn default() -> BatchOptions {
        BatchOptions {
            base_offset: 0,
            partition_leader_epoch: NO_PARTITION_LEADER_EPOCH,
            producer_id: NO_PRODUCER_ID,
            producer_epoch: NO_PRODUCER_EPOCH,
            base_sequence: NO_SEQUENCE,
            attributes: Attributes::default(),
            log_append_time: None,
        }
    }
}

impl BatchOptions {
    /// For records that a broker or controller writes itself, at their true offsets.
    #[must_use]
    pub fn at(base_offset: i64, partition_leader_epoch: i32) -> BatchOptions {
        BatchOptions { base_offset, partition_leader_epoch, ..BatchOptions::default() }
    }

    /// The same with a producer's state.
    #[must_use]
    pub fn with_producer(mut self, id: i64, epoch: i16, base_sequence: i32) -> BatchOptions {
        (self.producer_id, self.producer_epoch, self.base_sequence) = (id, epoch, base_sequence);
        self
    }

    /// The same with other flags.
    #[must_use]
    pub fn with_attributes(mut self, attributes: Attributes) -> BatchOptions {
        self.attributes = attributes;
        self
    }
}

/// A batch that records are appended to. Each field of a record is copied once, straight into the batch's buffer.
#[derive(Debug)]
pub struct BatchBuilder {
    buffer: Vec<u8>,
    base_timestamp: i64,
    max_timestamp: i64,
    record_count: u32,
    /// -1 while there is no record.
    last_offset_delta: i32,
    options: BatchOptions,
}

impl BatchBuilder {
    /// A batch in `buffer`, which is cleared; its capacity is what the pool lends.
    pub fn new(mut buffer: Vec<u8>, options: BatchOptions) -> BatchBuilder {
        buffer.clear();
        buffer.resize(BATCH_OVERHEAD, 0);
        BatchBuilder {
            buffer,
            base_timestamp: NO_TIMESTAMP,
            max_timestamp: NO_TIMESTAMP,
            record_count: 0,
            last_offset_delta: -1,
            options,
        }
    }

    /// Appends a record behind the last one, and gives its place in the batch, which is its offset delta.
    ///
    /// `timestamp_ms` is -1 or milliseconds since 1970; timestamps need not ascend. `headers` is walked twice, so it
    /// must be cheap to clone: [`NO_HEADERS`], or `slice.iter().copied()`.
    ///
    /// # Errors
    /// A timestamp out of range, a record that does not fit, headers that changed between the walks. The batch is then
    /// as it was before.
    #[inline]
    pub fn append<'h, H>(
        &mut self,
        timestamp_ms: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: H,
    ) -> Result<u32, RecordError>
    where
        H: IntoIterator<Item = HeaderRef<'h>>,
        H::IntoIter: Clone,
    {
        let index = self.record_count;
        let Some(delta) = self.last_offset_delta.checked_add(1) else {
            return Err(self.too_large(0));
        };
        self.append_with_delta(delta, timestamp_ms, key, value, headers.into_iter())?;
        Ok(index)
    }

    /// Appends a record at a given offset, which may leave a gap, as compaction does.
    ///
    /// # Errors
    /// As [`BatchBuilder::append`]; or `offset` is not above the last record's, or too far from the base offset.
    pub fn append_at<'h, H>(
        &mut self,
        offset: i64,
        timestamp_ms: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: H,
    ) -> Result<u32, RecordError>
    where
        H: IntoIterator<Item = HeaderRef<'h>>,
        H::IntoIter: Clone,
    {
        let base_offset = self.options.base_offset;
        let delta = offset.checked_sub(base_offset).and_then(|delta| i32::try_from(delta).ok());
        let Some(delta) = delta.filter(|delta| *delta > self.last_offset_delta) else {
            let last_offset = base_offset.saturating_add(i64::from(self.last_offset_delta));
            return Err(RecordError::InvalidOffset { offset, base_offset, last_offset });
        };
        let index = self.record_count;
        self.append_with_delta(delta, timestamp_ms, key, value, headers.into_iter())?;
        Ok(index)
    }

    #[inline]
    fn append_with_delta<'h>(
        &mut self,
        offset_delta: i32,
        timestamp_ms: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: impl Iterator<Item = HeaderRef<'h>> + Clone,
    ) -> Result<(), RecordError> {
        if timestamp_ms < NO_TIMESTAMP {
            return Err(RecordError::InvalidTimestamp { timestamp_ms });
        }
        let first = self.record_count == 0;
        // Readers add with wrapping, as in Java: only from -1 to the last millisecond there is does it not fit.
        let timestamp_delta = if first { 0 } else { timestamp_ms.wrapping_sub(self.base_timestamp) };
        let (header_count, headers_len) = measure_headers(headers.clone());
        let body = body_size(timestamp_delta, offset_delta, key, value, header_count, headers_len);
        let start = self.buffer.len();
        if body > MAX_BATCH_LEN - start.min(MAX_BATCH_LEN) - 5 {
            return Err(self.too_large(body));
        }
        // Checked: a body below 2 GiB, and so every length in it, fits an i32.
        let end = start + varint_size(body as i32) + body;
        self.buffer.resize(end, 0);
        let mut writer = FieldWriter::new(self.buffer.get_mut(start..).unwrap_or_default());
        writer.varint(body as i32);
        // The attributes of a record are unused so far: the byte 0, which is also the varint 0.
        writer.varint(0);
        writer.varlong(timestamp_delta);
        writer.varint(offset_delta);
        writer.field(key);
        writer.field(value);
        writer.varint(header_count as i32);
        for header in headers {
            writer.field(Some(header.key));
            writer.field(header.value);
        }
        if !writer.is_full() {
            self.buffer.truncate(start);
            return Err(RecordError::UnstableHeaders);
        }

        if first {
            self.base_timestamp = timestamp_ms;
        }
        self.max_timestamp = self.max_timestamp.max(timestamp_ms);
        self.last_offset_delta = offset_delta;
        self.record_count += 1;
        Ok(())
    }

    #[cold]
    fn too_large(&self, size: usize) -> RecordError {
        RecordError::BatchTooLarge { size, batch_size: self.buffer.len(), limit: MAX_BATCH_LEN }
    }

    /// Exact bytes that [`BatchBuilder::append`] would add for this record now.
    pub fn record_size<'h, H>(&self, timestamp_ms: i64, key: Option<&[u8]>, value: Option<&[u8]>, headers: H) -> usize
    where
        H: IntoIterator<Item = HeaderRef<'h>>,
    {
        let timestamp_delta = if self.record_count == 0 { 0 } else { timestamp_ms.wrapping_sub(self.base_timestamp) };
        record_size(timestamp_delta, self.last_offset_delta.saturating_add(1), key, value, headers)
    }

    /// Bytes so far, header included and before compression.
    pub const fn len(&self) -> usize {
        self.buffer.len()
    }

    /// Whether there is no record yet.
    pub const fn is_empty(&self) -> bool {
        self.record_count == 0
    }

    /// Records so far.
    pub const fn record_count(&self) -> u32 {
        self.record_count
    }

    /// The greatest timestamp so far in ms; -1 without records.
    pub const fn max_timestamp(&self) -> i64 {
        self.max_timestamp
    }

    /// Bytes that the buffer can hold without growing: what a memory budget counts.
    pub fn capacity(&self) -> usize {
        self.buffer.capacity()
    }

    /// Bytes that the sealed batch will have if its records compress to `ratio` of their size (1.0 uncompressed).
    pub fn estimated_len(&self, ratio: f32) -> usize {
        BATCH_OVERHEAD + ((self.buffer.len() - BATCH_OVERHEAD) as f32 * ratio) as usize
    }

    /// Gives the batch up and the buffer back, for the pool.
    pub fn into_buffer(self) -> Vec<u8> {
        self.buffer
    }

    /// Compresses the records, once, and writes the header. As in Kafka, a codec is kept even where it makes the batch
    /// larger. The CRC comes with [`SealedBatch::finish`].
    ///
    /// A compressed batch comes in the buffer that the compressor kept from the last one, and the compressor keeps this
    /// batch's buffer for the next.
    ///
    /// # Errors
    /// [`RecordError::EmptyBatch`], [`RecordError::CodecDisabled`], [`RecordError::Compress`].
    pub fn seal(self, codec: Codec, compressor: &mut Compressor) -> Result<SealedBatch, RecordError> {
        let header = self.header(codec)?;
        let uncompressed_len = self.buffer.len();
        let bytes = if codec.compression() == Compression::None {
            self.buffer
        } else {
            let packed = self.compress(codec, compressor)?;
            compressor.keep_spare(self.buffer);
            packed
        };
        finish_header(bytes, header, uncompressed_len)
    }

    /// As [`BatchBuilder::seal`], and gives a compressed batch a buffer from `lend`, which is told how much room it must
    /// have: the second result is then the buffer that held the records, for the pool. Where nothing is compressed the
    /// batch keeps its buffer.
    ///
    /// # Errors
    /// As [`BatchBuilder::seal`].
    pub fn seal_into(
        self,
        codec: Codec,
        compressor: &mut Compressor,
        lend: impl FnOnce(usize) -> Vec<u8>,
    ) -> Result<(SealedBatch, Option<Vec<u8>>), RecordError> {
        if codec.compression() == Compression::None {
            return Ok((self.seal(codec, compressor)?, None));
        }
        let header = self.header(codec)?;
        let packed = self.compress(codec, compressor)?;
        let mut bytes = lend(packed.len());
        bytes.clear();
        bytes.extend_from_slice(&packed);
        compressor.keep_spare(packed);
        let sealed = finish_header(bytes, header, self.buffer.len())?;
        Ok((sealed, Some(self.buffer)))
    }

    /// Room for the header, and the compressed records.
    fn compress(&self, codec: Codec, compressor: &mut Compressor) -> Result<Vec<u8>, RecordError> {
        let mut packed = compressor.take_spare();
        packed.clear();
        packed.resize(BATCH_OVERHEAD, 0);
        compressor.compress(codec, self.buffer.get(BATCH_OVERHEAD..).unwrap_or_default(), &mut packed)?;
        Ok(packed)
    }

    /// The header, but for the length that is not known yet.
    fn header(&self, codec: Codec) -> Result<BatchHeader, RecordError> {
        if self.record_count == 0 {
            return Err(RecordError::EmptyBatch);
        }
        let mut attributes = self.options.attributes.with_compression(codec.compression());
        let mut max_timestamp = self.max_timestamp;
        if let Some(time) = self.options.log_append_time {
            attributes = attributes.with_timestamp_type(TimestampType::LogAppendTime);
            max_timestamp = time;
        }
        Ok(BatchHeader {
            base_offset: self.options.base_offset,
            batch_length: 0,
            partition_leader_epoch: self.options.partition_leader_epoch,
            crc: 0,
            attributes,
            last_offset_delta: self.last_offset_delta,
            base_timestamp: self.base_timestamp,
            max_timestamp,
            producer_id: self.options.producer_id,
            producer_epoch: self.options.producer_epoch,
            base_sequence: self.options.base_sequence,
            // Every record takes seven bytes of at most 2 GiB, so the count fits.
            record_count: self.record_count as i32,
        })
    }
}

/// Writes the header with the length of what is there.
fn finish_header(
    mut bytes: Vec<u8>,
    mut header: BatchHeader,
    uncompressed_len: usize,
) -> Result<SealedBatch, RecordError> {
    let batch_size = bytes.len();
    header.batch_length = i32::try_from(batch_size - LOG_OVERHEAD).map_err(|_| RecordError::BatchTooLarge {
        size: 0,
        batch_size,
        limit: MAX_BATCH_LEN,
    })?;
    if let Some(front) = bytes.first_chunk_mut() {
        header.write(front);
    }
    Ok(SealedBatch::new(bytes, header, uncompressed_len))
}

/// Exact encoded size of a record with these deltas, its length prefix included.
pub fn record_size<'h, H>(
    timestamp_delta: i64,
    offset_delta: i32,
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    headers: H,
) -> usize
where
    H: IntoIterator<Item = HeaderRef<'h>>,
{
    let (header_count, headers_len) = measure_headers(headers.into_iter());
    let body = body_size(timestamp_delta, offset_delta, key, value, header_count, headers_len);
    // A body beyond 2 GiB is refused by `append`; its prefix would take the most.
    i32::try_from(body).map_or(5, varint_size) + body
}

#[inline]
fn measure_headers<'h>(headers: impl Iterator<Item = HeaderRef<'h>>) -> (usize, usize) {
    headers
        .fold((0, 0), |(count, len), header| (count + 1, len + field_size(Some(header.key)) + field_size(header.value)))
}

#[inline(always)]
fn field_size(field: Option<&[u8]>) -> usize {
    match field {
        None => 1,
        Some(bytes) => i32::try_from(bytes.len()).map_or(5, varint_size).saturating_add(bytes.len()),
    }
}

#[inline(always)]
fn body_size(
    timestamp_delta: i64,
    offset_delta: i32,
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    header_count: usize,
    headers_len: usize,
) -> usize {
    (1 + varlong_size(timestamp_delta) + varint_size(offset_delta) + i32::try_from(header_count).map_or(5, varint_size))
        .saturating_add(field_size(key))
        .saturating_add(field_size(value))
        .saturating_add(headers_len)
}

/// A finished, uncompressed batch of key and value records of one time: what coordinators and the controller write to
/// their own logs. Offsets count up from `options.base_offset`.
///
/// # Errors
/// As [`BatchBuilder::append`] and [`BatchBuilder::seal`]; no records are an error.
pub fn encode_batch<'r>(
    buffer: Vec<u8>,
    options: BatchOptions,
    timestamp_ms: i64,
    records: impl IntoIterator<Item = (Option<&'r [u8]>, Option<&'r [u8]>)>,
) -> Result<SealedBatch, RecordError> {
    let mut builder = BatchBuilder::new(buffer, options);
    for (key, value) in records {
        builder.append(timestamp_ms, key, value, NO_HEADERS)?;
    }
    let mut sealed = builder.seal(Codec::NONE, &mut Compressor::new())?;
    sealed.finish();
    Ok(sealed)
}
