//! The 61 bytes in front of every batch, and the places in them that may be patched.

use super::compression::Compression;
use super::error::RecordError;

/// Bytes of a batch before its records.
pub const BATCH_OVERHEAD: usize = 61;
/// Bytes that `batchLength` does not count: the base offset and the length itself.
pub const LOG_OVERHEAD: usize = 12;
/// The only batch format that is read and written.
pub const MAGIC_V2: i8 = 2;
/// "No timestamp", as in Kafka.
pub const NO_TIMESTAMP: i64 = -1;
/// "No producer id": the batch was sent without idempotence.
pub const NO_PRODUCER_ID: i64 = -1;
/// "No producer epoch".
pub const NO_PRODUCER_EPOCH: i16 = -1;
/// "No sequence".
pub const NO_SEQUENCE: i32 = -1;
/// "Leader epoch not known".
pub const NO_PARTITION_LEADER_EPOCH: i32 = -1;

const LENGTH_AT: usize = 8;
const LEADER_EPOCH_AT: usize = 12;
const MAGIC_AT: usize = 16;
const CRC_AT: usize = 17;
/// The CRC covers everything from the attributes on.
const ATTRIBUTES_AT: usize = 21;
const LAST_OFFSET_DELTA_AT: usize = 23;
const BASE_TIMESTAMP_AT: usize = 27;
const MAX_TIMESTAMP_AT: usize = 35;
const PRODUCER_ID_AT: usize = 43;
const PRODUCER_EPOCH_AT: usize = 51;
const BASE_SEQUENCE_AT: usize = 53;
const RECORD_COUNT_AT: usize = 57;

const COMPRESSION_MASK: i16 = 0x07;
const TIMESTAMP_TYPE_BIT: i16 = 0x08;
const TRANSACTIONAL_BIT: i16 = 0x10;
const CONTROL_BIT: i16 = 0x20;
const DELETE_HORIZON_BIT: i16 = 0x40;

/// Who set the timestamps of a batch (`message.timestamp.type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum TimestampType {
    /// The producer did, record by record.
    #[default]
    CreateTime,
    /// The broker did on append: every record has the batch's max timestamp.
    LogAppendTime,
}

/// The attributes word of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Attributes(pub i16);

impl Attributes {
    /// The codec of the records.
    ///
    /// # Errors
    /// [`RecordError::UnknownCompression`] for the ids 5 to 7.
    pub const fn compression(self) -> Result<Compression, RecordError> {
        let id = (self.0 & COMPRESSION_MASK) as u8;
        match Compression::from_id(id) {
            Some(compression) => Ok(compression),
            None => Err(RecordError::UnknownCompression { id }),
        }
    }

    /// Who set the timestamps.
    pub const fn timestamp_type(self) -> TimestampType {
        if self.0 & TIMESTAMP_TYPE_BIT != 0 { TimestampType::LogAppendTime } else { TimestampType::CreateTime }
    }

    /// Whether the batch belongs to a transaction.
    pub const fn is_transactional(self) -> bool {
        self.0 & TRANSACTIONAL_BIT != 0
    }

    /// Whether the batch holds a control record (transaction marker, leader change, ...) and no user's data.
    pub const fn is_control(self) -> bool {
        self.0 & CONTROL_BIT != 0
    }

    /// Whether the base timestamp is the delete horizon that the log cleaner has set (KIP-534).
    pub const fn has_delete_horizon(self) -> bool {
        self.0 & DELETE_HORIZON_BIT != 0
    }

    /// The same with another codec.
    #[must_use]
    pub const fn with_compression(self, compression: Compression) -> Attributes {
        Attributes((self.0 & !COMPRESSION_MASK) | compression.id() as i16)
    }

    /// The same with another timestamp type.
    #[must_use]
    pub const fn with_timestamp_type(self, timestamp_type: TimestampType) -> Attributes {
        self.with_bit(TIMESTAMP_TYPE_BIT, matches!(timestamp_type, TimestampType::LogAppendTime))
    }

    /// The same, in a transaction or not.
    #[must_use]
    pub const fn with_transactional(self, transactional: bool) -> Attributes {
        self.with_bit(TRANSACTIONAL_BIT, transactional)
    }

    /// The same, as a control batch or not.
    #[must_use]
    pub const fn with_control(self, control: bool) -> Attributes {
        self.with_bit(CONTROL_BIT, control)
    }

    /// The same, with the base timestamp being the delete horizon or not.
    #[must_use]
    pub const fn with_delete_horizon(self, has: bool) -> Attributes {
        self.with_bit(DELETE_HORIZON_BIT, has)
    }

    const fn with_bit(self, bit: i16, on: bool) -> Attributes {
        Attributes(if on { self.0 | bit } else { self.0 & !bit })
    }
}

/// The header of a batch, decoded. Field names are Kafka's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchHeader {
    /// Offset of the first record (as first written: compaction may have removed that record).
    pub base_offset: i64,
    /// Bytes of the batch after this field, that is [`BatchHeader::total_len`] less 12.
    pub batch_length: i32,
    /// Epoch of the leader that appended the batch; -1 from a producer.
    pub partition_leader_epoch: i32,
    /// CRC-32C of everything from the attributes on.
    pub crc: u32,
    /// Codec and flags.
    pub attributes: Attributes,
    /// Offset of the last record, as a distance from the base offset. Compaction keeps it.
    pub last_offset_delta: i32,
    /// Timestamp in ms that the records' deltas count from, or the delete horizon.
    pub base_timestamp: i64,
    /// Greatest timestamp in ms, or the append time.
    pub max_timestamp: i64,
    /// Producer id, or -1.
    pub producer_id: i64,
    /// Producer epoch, or -1.
    pub producer_epoch: i16,
    /// Sequence of the first record, or -1.
    pub base_sequence: i32,
    /// Number of records in the batch; 0 after compaction has removed them all.
    pub record_count: i32,
}

/// Copies `N` bytes out of the fixed header. Callers pass constants that lie within it.
#[inline(always)]
fn field<const N: usize>(header: &[u8; BATCH_OVERHEAD], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&header[at..at + N]);
    out
}

impl BatchHeader {
    /// Reads the header at the front of `bytes`, which may be longer or (after the header) shorter than the batch.
    ///
    /// # Errors
    /// Fewer than 61 bytes, another magic than 2, a length below 49, a negative record count or last offset delta.
    /// The CRC is not looked at: see [`verify_crc`].
    pub fn read(bytes: &[u8]) -> Result<BatchHeader, RecordError> {
        // The magic stands at the same place in every format: an old batch shorter than 61 bytes is still named as such.
        if let Some(&magic) = bytes.get(MAGIC_AT)
            && magic as i8 != MAGIC_V2
        {
            return Err(RecordError::UnsupportedMagic { magic: magic as i8 });
        }
        let Some(header) = bytes.first_chunk::<BATCH_OVERHEAD>() else {
            return Err(RecordError::Truncated {
                what: "record batch header",
                position: 0,
                needed: BATCH_OVERHEAD,
                available: bytes.len(),
            });
        };
        let decoded = BatchHeader {
            base_offset: i64::from_be_bytes(field(header, 0)),
            batch_length: i32::from_be_bytes(field(header, LENGTH_AT)),
            partition_leader_epoch: i32::from_be_bytes(field(header, LEADER_EPOCH_AT)),
            crc: u32::from_be_bytes(field(header, CRC_AT)),
            attributes: Attributes(i16::from_be_bytes(field(header, ATTRIBUTES_AT))),
            last_offset_delta: i32::from_be_bytes(field(header, LAST_OFFSET_DELTA_AT)),
            base_timestamp: i64::from_be_bytes(field(header, BASE_TIMESTAMP_AT)),
            max_timestamp: i64::from_be_bytes(field(header, MAX_TIMESTAMP_AT)),
            producer_id: i64::from_be_bytes(field(header, PRODUCER_ID_AT)),
            producer_epoch: i16::from_be_bytes(field(header, PRODUCER_EPOCH_AT)),
            base_sequence: i32::from_be_bytes(field(header, BASE_SEQUENCE_AT)),
            record_count: i32::from_be_bytes(field(header, RECORD_COUNT_AT)),
        };
        if decoded.batch_length < (BATCH_OVERHEAD - LOG_OVERHEAD) as i32 {
            return Err(RecordError::InvalidBatchLength { length: decoded.batch_length });
        }
        if decoded.record_count < 0 {
            return Err(invalid_field("recordsCount", decoded.record_count));
        }
        if decoded.last_offset_delta < 0 {
            return Err(invalid_field("lastOffsetDelta", decoded.last_offset_delta));
        }
        Ok(decoded)
    }

    /// Writes the header to the front of `bytes`, CRC field included as it stands here.
    pub fn write(&self, bytes: &mut [u8; BATCH_OVERHEAD]) {
        bytes[..8].copy_from_slice(&self.base_offset.to_be_bytes());
        bytes[LENGTH_AT..][..4].copy_from_slice(&self.batch_length.to_be_bytes());
        bytes[LEADER_EPOCH_AT..][..4].copy_from_slice(&self.partition_leader_epoch.to_be_bytes());
        bytes[MAGIC_AT] = MAGIC_V2 as u8;
        bytes[CRC_AT..][..4].copy_from_slice(&self.crc.to_be_bytes());
        bytes[ATTRIBUTES_AT..][..2].copy_from_slice(&self.attributes.0.to_be_bytes());
        bytes[LAST_OFFSET_DELTA_AT..][..4].copy_from_slice(&self.last_offset_delta.to_be_bytes());
        bytes[BASE_TIMESTAMP_AT..][..8].copy_from_slice(&self.base_timestamp.to_be_bytes());
        bytes[MAX_TIMESTAMP_AT..][..8].copy_from_slice(&self.max_timestamp.to_be_bytes());
        bytes[PRODUCER_ID_AT..][..8].copy_from_slice(&self.producer_id.to_be_bytes());
        bytes[PRODUCER_EPOCH_AT..][..2].copy_from_slice(&self.producer_epoch.to_be_bytes());
        bytes[BASE_SEQUENCE_AT..][..4].copy_from_slice(&self.base_sequence.to_be_bytes());
        bytes[RECORD_COUNT_AT..][..4].copy_from_slice(&self.record_count.to_be_bytes());
    }

    /// A batch of this header without any record, as compaction leaves it to keep a producer's state: the count
    /// becomes 0, length and CRC are set, the last offset stays.
    pub fn to_empty_batch(&self) -> [u8; BATCH_OVERHEAD] {
        let mut bytes = [0; BATCH_OVERHEAD];
        let header = BatchHeader { batch_length: (BATCH_OVERHEAD - LOG_OVERHEAD) as i32, record_count: 0, ..*self };
        header.write(&mut bytes);
        let crc = crc32c::crc32c(&bytes[ATTRIBUTES_AT..]);
        bytes[CRC_AT..][..4].copy_from_slice(&crc.to_be_bytes());
        bytes
    }

    /// Bytes of the whole batch, header included.
    pub const fn total_len(&self) -> usize {
        // `read` has refused lengths below 49.
        self.batch_length as u32 as usize + LOG_OVERHEAD
    }

    /// Offset of the last record (or of the last one that there ever was).
    pub const fn last_offset(&self) -> i64 {
        self.base_offset.saturating_add(self.last_offset_delta as i64)
    }

    /// Where the next batch begins at the earliest.
    pub const fn next_offset(&self) -> i64 {
        self.last_offset().saturating_add(1)
    }

    /// Sequence of the last record: it wraps from `i32::MAX` to 0. -1 if the batch has no sequence.
    pub const fn last_sequence(&self) -> i32 {
        if self.base_sequence < 0 {
            NO_SEQUENCE
        } else {
            increment_sequence(self.base_sequence, self.last_offset_delta)
        }
    }

    /// Whether the batch was sent by an idempotent producer.
    pub const fn has_producer_id(&self) -> bool {
        self.producer_id > NO_PRODUCER_ID
    }

    /// The delete horizon in ms, if the log cleaner has set one (KIP-534).
    pub const fn delete_horizon_ms(&self) -> Option<i64> {
        if self.attributes.has_delete_horizon() { Some(self.base_timestamp) } else { None }
    }
}

const fn invalid_field(field: &'static str, value: i32) -> RecordError {
    RecordError::InvalidHeaderField { field, value: value as i64 }
}

/// `sequence + increment`, wrapping from `i32::MAX` to 0 as Kafka's sequences do. Both must not be negative.
pub const fn increment_sequence(sequence: i32, increment: i32) -> i32 {
    (((sequence as u32) + (increment as u32)) & i32::MAX as u32) as i32
}

fn checked(batch: &mut [u8]) -> Result<BatchHeader, RecordError> {
    let header = BatchHeader::read(batch)?;
    if header.total_len() != batch.len() {
        return Err(RecordError::Truncated {
            what: "record batch",
            position: 0,
            needed: header.total_len(),
            available: batch.len(),
        });
    }
    Ok(header)
}

/// Sets the base offset in place. It lies outside the CRC, so nothing else changes.
///
/// # Errors
/// `batch` is not exactly one well-formed batch.
pub fn set_base_offset(batch: &mut [u8], base_offset: i64) -> Result<(), RecordError> {
    checked(batch)?;
    batch[..8].copy_from_slice(&base_offset.to_be_bytes());
    Ok(())
}

/// Sets the partition leader epoch in place. It lies outside the CRC, so nothing else changes.
///
/// # Errors
/// `batch` is not exactly one well-formed batch.
pub fn set_partition_leader_epoch(batch: &mut [u8], epoch: i32) -> Result<(), RecordError> {
    checked(batch)?;
    batch[LEADER_EPOCH_AT..][..4].copy_from_slice(&epoch.to_be_bytes());
    Ok(())
}

/// Gives the batch the broker's append time: sets the timestamp type and the max timestamp, and refreshes the CRC.
///
/// # Errors
/// `batch` is not exactly one well-formed batch.
pub fn set_log_append_time(batch: &mut [u8], timestamp_ms: i64) -> Result<(), RecordError> {
    let header = checked(batch)?;
    let attributes = header.attributes.with_timestamp_type(TimestampType::LogAppendTime);
    batch[ATTRIBUTES_AT..][..2].copy_from_slice(&attributes.0.to_be_bytes());
    batch[MAX_TIMESTAMP_AT..][..8].copy_from_slice(&timestamp_ms.to_be_bytes());
    refresh_crc(batch);
    Ok(())
}

/// Sets the greatest time of the batch's records in place, and refreshes the CRC.
///
/// # Errors
/// `batch` is not exactly one well-formed batch.
pub fn set_max_timestamp(batch: &mut [u8], timestamp_ms: i64) -> Result<(), RecordError> {
    checked(batch)?;
    batch[MAX_TIMESTAMP_AT..][..8].copy_from_slice(&timestamp_ms.to_be_bytes());
    refresh_crc(batch);
    Ok(())
}

/// Sets producer id, epoch and base sequence in place, and refreshes the CRC.
///
/// # Errors
/// `batch` is not exactly one well-formed batch.
pub fn set_producer(batch: &mut [u8], id: i64, epoch: i16, base_sequence: i32) -> Result<(), RecordError> {
    checked(batch)?;
    patch_producer(batch, id, epoch, base_sequence);
    refresh_crc(batch);
    Ok(())
}

/// Sets producer id, epoch and sequence of a batch of at least 61 bytes; the CRC is left stale.
pub(super) fn patch_producer(batch: &mut [u8], id: i64, epoch: i16, base_sequence: i32) {
    batch[PRODUCER_ID_AT..][..8].copy_from_slice(&id.to_be_bytes());
    batch[PRODUCER_EPOCH_AT..][..2].copy_from_slice(&epoch.to_be_bytes());
    batch[BASE_SEQUENCE_AT..][..4].copy_from_slice(&base_sequence.to_be_bytes());
}

/// Sets the attributes of a batch of at least 61 bytes; the CRC is left stale.
pub(super) fn patch_attributes(batch: &mut [u8], attributes: Attributes) {
    batch[ATTRIBUTES_AT..][..2].copy_from_slice(&attributes.0.to_be_bytes());
}

/// Computes and stores the CRC of a batch of at least 61 bytes.
pub(super) fn refresh_crc(batch: &mut [u8]) {
    let crc = crc32c::crc32c(&batch[ATTRIBUTES_AT..]);
    batch[CRC_AT..][..4].copy_from_slice(&crc.to_be_bytes());
}

/// The CRC-32C of the batch at the front of `bytes`, from its attributes to its declared end.
///
/// # Errors
/// The header does not read, or the batch is cut off.
pub fn compute_crc(bytes: &[u8]) -> Result<u32, RecordError> {
    let header = BatchHeader::read(bytes)?;
    crc_of(bytes, &header)
}

/// Checks the CRC of the batch at the front of `bytes`.
///
/// # Errors
/// [`RecordError::CrcMismatch`]; or the header does not read, or the batch is cut off.
pub fn verify_crc(bytes: &[u8]) -> Result<(), RecordError> {
    verify_crc_of(bytes, &BatchHeader::read(bytes)?)
}

pub(super) fn verify_crc_of(bytes: &[u8], header: &BatchHeader) -> Result<(), RecordError> {
    let computed = crc_of(bytes, header)?;
    if computed == header.crc {
        Ok(())
    } else {
        Err(RecordError::CrcMismatch { base_offset: header.base_offset, stored: header.crc, computed })
    }
}

fn crc_of(bytes: &[u8], header: &BatchHeader) -> Result<u32, RecordError> {
    match bytes.get(ATTRIBUTES_AT..header.total_len()) {
        Some(covered) => Ok(crc32c::crc32c(covered)),
        None => Err(RecordError::Truncated {
            what: "record batch",
            position: 0,
            needed: header.total_len(),
            available: bytes.len(),
        }),
    }
}
