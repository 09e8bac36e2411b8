//! What the log needs of a record batch: the fixed fields at its head, and nothing of the records behind them.

pub(crate) use rkafka_protocol::records::{BATCH_OVERHEAD as HEADER_BYTES, BatchHeader as Header, NO_TIMESTAMP};
use rkafka_protocol::records::{
    ControlRecord, DecompressArena, EndTransactionMarker, LOG_OVERHEAD, RecordBatch, RecordError,
};

/// Bytes from the start that suffice to know a batch's offsets and its size.
pub(crate) const OFFSETS_BYTES: usize = 27;
/// The largest base offset at which no last offset overflows.
const BASE_OFFSET_MAX: i64 = i64::MAX - i32::MAX as i64 - 1;

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

/// Reads the header of a batch that has its offsets already, and refuses offsets that no log can have.
pub(crate) fn read_stored(bytes: &[u8]) -> Result<Header, Malformed> {
    let header = read(bytes)?;
    if header.base_offset < 0 || header.base_offset > BASE_OFFSET_MAX {
        return Err(Malformed::Fields(format!("its base offset is {}", header.base_offset)));
    }
    Ok(header)
}

/// Reads the header of a batch whose offsets are still to be set.
pub(crate) fn read(bytes: &[u8]) -> Result<Header, Malformed> {
    Header::read(bytes).map_err(|error| match error {
        RecordError::UnsupportedMagic { magic } => Malformed::Magic(magic),
        RecordError::Truncated { .. } => Malformed::Short,
        other => Malformed::Fields(other.to_string()),
    })
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

/// The transaction marker in a control batch; `None` for a batch that is empty or holds another kind of control record.
pub(crate) fn marker(batch: &[u8]) -> Result<Option<EndTransactionMarker>, RecordError> {
    let batch = RecordBatch::read(batch)?;
    let mut arena = DecompressArena::default();
    match batch.records(&mut arena)?.next() {
        Some(record) => ControlRecord::parse(&record?)?.end_transaction(),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_bytes_are_refused() {
        assert_eq!(read(&[0; 61]).unwrap_err(), Malformed::Magic(0));
        let mut bytes = [0xff; 61];
        bytes[16] = 2;
        assert_eq!(read(&bytes[..60]).unwrap_err(), Malformed::Short);
        assert!(matches!(read(&bytes), Err(Malformed::Fields(_))));
        assert!(matches!(Bounds::read(&bytes), Err(Malformed::Fields(_))));
        // A base offset at the very end of all offsets would make the last one overflow.
        bytes[..8].copy_from_slice(&i64::MAX.to_be_bytes());
        bytes[8..12].copy_from_slice(&49i32.to_be_bytes());
        bytes[23..27].copy_from_slice(&1i32.to_be_bytes());
        bytes[57..].copy_from_slice(&2i32.to_be_bytes());
        assert!(read(&bytes).is_ok());
        assert!(matches!(read_stored(&bytes), Err(Malformed::Fields(_))));
        assert!(matches!(Bounds::read(&bytes), Err(Malformed::Fields(_))));
    }
}
