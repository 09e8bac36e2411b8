//! The transaction index of a segment: the aborted transactions whose markers are in it.
//!
//! The file is Kafka's: a run of 34-byte entries, each a version (0), the producer id, the offsets of the first record
//! and of the marker, and the last stable offset when the marker was written. A segment without aborted transactions has
//! no such file. It is small, so it is held whole, and written when the segment is closed.

use super::error::LogError;
use super::log_impl::Log;
use super::transaction::AbortedTransaction;

/// Bytes of one entry in the file.
const ENTRY_BYTES: usize = 2 + 8 + 8 + 8 + 8;
/// Version of an entry.
const VERSION: i16 = 0;

/// The bytes of the file.
pub(super) fn encode(aborted: &[AbortedTransaction]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(aborted.len() * ENTRY_BYTES);
    for entry in aborted {
        bytes.extend_from_slice(&VERSION.to_be_bytes());
        for field in [entry.producer_id, entry.first_offset, entry.last_offset, entry.last_stable_offset] {
            bytes.extend_from_slice(&field.to_be_bytes());
        }
    }
    bytes
}

/// Reads the file of the segment that begins at `base_offset`; says what is wrong where it cannot be trusted.
pub(super) fn decode(bytes: &[u8], base_offset: i64) -> Result<Vec<AbortedTransaction>, &'static str> {
    if !bytes.len().is_multiple_of(ENTRY_BYTES) {
        return Err("its size is not a multiple of 34");
    }
    let mut aborted: Vec<AbortedTransaction> = Vec::with_capacity(bytes.len() / ENTRY_BYTES);
    for raw in bytes.chunks_exact(ENTRY_BYTES) {
        let (version, fields) = raw.split_first_chunk::<2>().ok_or("an entry is cut off")?;
        if i16::from_be_bytes(*version) != VERSION {
            return Err("an entry's version is not 0");
        }
        let mut fields = fields.chunks_exact(8).filter_map(|field| field.try_into().ok().map(i64::from_be_bytes));
        let mut field = || fields.next().ok_or("an entry is cut off");
        let entry = AbortedTransaction {
            producer_id: field()?,
            first_offset: field()?,
            last_offset: field()?,
            last_stable_offset: field()?,
        };
        if entry.first_offset < 0 || entry.last_offset <= entry.first_offset || entry.last_offset < base_offset {
            return Err("an entry's offsets contradict each other, or the segment's");
        }
        if aborted.last().is_some_and(|last| last.last_offset >= entry.last_offset) {
            return Err("its entries do not grow");
        }
        aborted.push(entry);
    }
    Ok(aborted)
}

impl Log {
    /// The aborted transactions of which something may lie in the offsets `from..up_to_exclusive`, in the order of their
    /// markers. What is asked for must lie below the last stable offset, for beyond it not all is decided.
    ///
    /// # Errors
    /// [`LogError::Io`] and [`LogError::Corrupt`] for an index that cannot be read.
    pub fn aborted_transactions(&self, from: i64, up_to_exclusive: i64) -> Result<Vec<AbortedTransaction>, LogError> {
        let mut found = Vec::new();
        if from >= up_to_exclusive {
            return Ok(found);
        }
        // A marker lies behind the records of its transaction, maybe segments behind.
        for segment in self.segments.get(self.segment_of(from)..).unwrap_or_default() {
            for aborted in segment.aborted(self.storage.as_ref())? {
                if aborted.last_offset >= from && aborted.first_offset < up_to_exclusive {
                    found.push(*aborted);
                }
                if aborted.last_stable_offset >= up_to_exclusive {
                    return Ok(found);
                }
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_round_trip_and_are_checked() {
        let entry = |producer_id, first_offset, last_offset| AbortedTransaction {
            producer_id,
            first_offset,
            last_offset,
            last_stable_offset: last_offset + 1,
        };
        let aborted = vec![entry(7, 5, 10), entry(8, 3, 12)];
        let bytes = encode(&aborted);
        assert_eq!(bytes.len(), 68);
        assert_eq!(decode(&bytes, 10), Ok(aborted.clone()));
        assert!(decode(&bytes, 11).is_err());
        assert_eq!(decode(&[], 11), Ok(Vec::new()));
        for cut in (1..bytes.len()).filter(|cut| *cut != 34) {
            assert!(decode(&bytes[..cut], 0).is_err(), "cut at {cut}");
        }
        let mut newer = bytes.clone();
        newer[1] = 1;
        assert!(decode(&newer, 0).is_err());
        assert!(decode(&encode(&[entry(7, 5, 10), entry(8, 3, 10)]), 0).is_err());
        assert!(decode(&encode(&[entry(7, 10, 10)]), 0).is_err());
        assert!(decode(&[0xff; 34], 0).is_err());
    }
}
