//! What the log needs of a record batch: the fixed fields at its head, and nothing of the records behind them.

use crc32c::crc32c;
use rkafka_protocol::records::{DecompressArena, RecordBatch, RecordError};

/// Bytes of a version 2 batch before its first record.
pub(crate) const HEADER_BYTES: usize = 61;
/// Bytes of the base offset and the length field, which the length field does not count.
pub(crate) const LOG_OVERHEAD: usize = 12;
/// Bytes from the start that suffice to know a batch's offsets and its size.
pub(crate) const OFFSETS_BYTES: usize = 27;
/// Where the checksummed part begins.
const CRC_START: usize = 21;
/// Bit of the attributes: the times are `LogAppendTime`.
const TIMESTAMP_TYPE_MASK: i16 = 0x08;
/// The time of a record that bears none.
pub(crate) const NO_TIMESTAMP: i64 = -1;

/// The fixed fields of a batch, read in place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Header {
    pub base_offset: i64,
    pub total_len: usize,
    pub leader_epoch: i32,
    pub crc: u32,
    pub attributes: i16,
    pub last_offset_delta: i32,
    pub base_timestamp: i64,
    pub max_timestamp: i64,
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub base_sequence: i32,
    pub record_count: i32,
}

/// Offsets and size of a batch, which is all that finding a boundary takes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub base_offset: i64,
    pub last_offset: i64,
    pub total_len: usize,
}

/// Why bytes are not the head of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Malformed {
    /// Fewer bytes are there than a header has.
    Short,
    /// The magic byte is not 2.
    Magic(i8),
    /// The fields contradict each other.
    Fields(String),
}

impl std::fmt::Display for Malformed {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Malformed::Short => formatter.write_str("the header is cut off"),
            Malformed::Magic(magic) => write!(formatter, "magic is {magic}, not 2"),
            Malformed::Fields(reason) => formatter.write_str(reason),
        }
    }
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

impl Bounds {
    /// Reads the bounds from the first [`OFFSETS_BYTES`] of a batch.
    pub fn read(bytes: &[u8]) -> Result<Bounds, Malformed> {
        let field = || {
            let base_offset = i64::from_be_bytes(array(bytes, 0)?);
            let length = i32::from_be_bytes(array(bytes, 8)?);
            let magic = i8::from_be_bytes(array(bytes, 16)?);
            let last_offset_delta = i32::from_be_bytes(array(bytes, 23)?);
            Some((base_offset, length, magic, last_offset_delta))
        };
        let (base_offset, length, magic, last_offset_delta) = field().ok_or(Malformed::Short)?;
        if magic != 2 {
            return Err(Malformed::Magic(magic));
        }
        let total_len = usize::try_from(length)
            .ok()
            .and_then(|length| length.checked_add(LOG_OVERHEAD))
            .filter(|total| *total >= HEADER_BYTES)
            .ok_or_else(|| Malformed::Fields(format!("its length field is {length}")))?;
        if base_offset < 0 || last_offset_delta < 0 {
            return Err(Malformed::Fields(format!(
                "its base offset is {base_offset} and its last offset delta {last_offset_delta}"
            )));
        }
        let last_offset = base_offset
            .checked_add(i64::from(last_offset_delta))
            .filter(|last| *last < i64::MAX)
            .ok_or_else(|| Malformed::Fields(format!("its base offset is {base_offset}")))?;
        Ok(Bounds { base_offset, last_offset, total_len })
    }
}

impl Header {
    /// Reads the fixed fields from the first [`HEADER_BYTES`] of a batch.
    pub fn read(bytes: &[u8]) -> Result<Header, Malformed> {
        if bytes.len() < HEADER_BYTES {
            return Err(Malformed::Short);
        }
        let bounds = Bounds::read(bytes)?;
        let fields = || {
            Some(Header {
                base_offset: bounds.base_offset,
                total_len: bounds.total_len,
                leader_epoch: i32::from_be_bytes(array(bytes, 12)?),
                crc: u32::from_be_bytes(array(bytes, 17)?),
                attributes: i16::from_be_bytes(array(bytes, 21)?),
                last_offset_delta: i32::from_be_bytes(array(bytes, 23)?),
                base_timestamp: i64::from_be_bytes(array(bytes, 27)?),
                max_timestamp: i64::from_be_bytes(array(bytes, 35)?),
                producer_id: i64::from_be_bytes(array(bytes, 43)?),
                producer_epoch: i16::from_be_bytes(array(bytes, 51)?),
                base_sequence: i32::from_be_bytes(array(bytes, 53)?),
                record_count: i32::from_be_bytes(array(bytes, 57)?),
            })
        };
        fields().ok_or(Malformed::Short)
    }

    /// Checks the checksum over a whole batch, as delimited by `total_len`.
    pub fn crc_matches(&self, batch: &[u8]) -> bool {
        batch.get(CRC_START..self.total_len).is_some_and(|summed| crc32c(summed) == self.crc)
    }

    pub fn last_offset(&self) -> i64 {
        self.base_offset + i64::from(self.last_offset_delta)
    }

    pub fn last_sequence(&self) -> i32 {
        if self.base_sequence < 0 { -1 } else { increment_sequence(self.base_sequence, self.last_offset_delta) }
    }

    pub fn compression(&self) -> i16 {
        self.attributes & 0x07
    }

    pub fn is_log_append_time(&self) -> bool {
        self.attributes & TIMESTAMP_TYPE_MASK != 0
    }

    pub fn is_transactional(&self) -> bool {
        self.attributes & 0x10 != 0
    }

    pub fn is_control(&self) -> bool {
        self.attributes & 0x20 != 0
    }

    pub fn has_producer_id(&self) -> bool {
        self.producer_id >= 0
    }
}

/// The sequence number `by` after `sequence`, which after the largest goes on at zero.
pub(crate) fn increment_sequence(sequence: i32, by: i32) -> i32 {
    // Sequence numbers are the 31-bit ring, so the wrap is a mask.
    ((i64::from(sequence) + i64::from(by)) & i64::from(i32::MAX)) as i32
}

/// Writes the base offset and the leader epoch, both outside of the checksum. `batch` holds at least a header.
pub(crate) fn set_offset_and_epoch(batch: &mut [u8], base_offset: i64, leader_epoch: i32) {
    if let Some(field) = batch.get_mut(..8) {
        field.copy_from_slice(&base_offset.to_be_bytes());
    }
    if let Some(field) = batch.get_mut(12..16) {
        field.copy_from_slice(&leader_epoch.to_be_bytes());
    }
}

/// Makes every record of the batch bear the broker's time, and corrects the checksum. `batch` is one whole batch.
pub(crate) fn set_log_append_time(batch: &mut [u8], now_ms: i64) {
    if let Some([high, low]) = batch.get(21..23) {
        let attributes = i16::from_be_bytes([*high, *low]) | TIMESTAMP_TYPE_MASK;
        batch[21..23].copy_from_slice(&attributes.to_be_bytes());
    }
    if let Some(field) = batch.get_mut(35..43) {
        field.copy_from_slice(&now_ms.to_be_bytes());
    }
    if batch.len() >= HEADER_BYTES {
        let crc = crc32c(&batch[CRC_START..]);
        batch[17..21].copy_from_slice(&crc.to_be_bytes());
    }
}

/// The offset and time of the first record in a batch for which `wanted(offset, timestamp)` holds. Decodes the batch.
pub(crate) fn first_record(batch: &[u8], wanted: impl Fn(i64, i64) -> bool) -> Result<Option<(i64, i64)>, RecordError> {
    let batch = RecordBatch::read(batch)?;
    let mut arena = DecompressArena::default();
    for record in batch.records(&mut arena)? {
        let record = record?;
        if wanted(record.offset, record.timestamp) {
            return Ok(Some((record.offset, record.timestamp)));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_wrap_to_zero() {
        assert_eq!(increment_sequence(5, 3), 8);
        assert_eq!(increment_sequence(i32::MAX, 1), 0);
        assert_eq!(increment_sequence(i32::MAX - 1, 3), 1);
    }

    #[test]
    fn foreign_bytes_are_refused() {
        assert_eq!(Header::read(&[0; 60]).unwrap_err(), Malformed::Short);
        assert_eq!(Header::read(&[0; 61]).unwrap_err(), Malformed::Magic(0));
        let mut bytes = [0xff; 61];
        bytes[16] = 2;
        assert!(matches!(Header::read(&bytes), Err(Malformed::Fields(_))));
    }
}
