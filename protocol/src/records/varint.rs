//! Zigzag varints as in record bodies (the same as Protocol Buffers' `sint32` and `sint64`).

use super::error::RecordError;

/// How many bytes `value` takes as a zigzag varint.
pub(crate) const fn varint_size(value: i32) -> usize {
    unsigned_size(zigzag32(value) as u64)
}

/// How many bytes `value` takes as a zigzag varlong.
pub(crate) const fn varlong_size(value: i64) -> usize {
    unsigned_size(zigzag64(value))
}

const fn unsigned_size(value: u64) -> usize {
    // One byte for each started group of seven bits; zero takes one byte as well.
    (70 - (value | 1).leading_zeros() as usize) / 7
}

const fn zigzag32(value: i32) -> u32 {
    ((value << 1) ^ (value >> 31)) as u32
}

const fn zigzag64(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// The varints between two fields of a record, gathered in a register and stored in one go.
///
/// Measured: storing byte by byte and copying the run costs half as much again, for the copy waits for the stores.
pub(crate) struct VarintRun {
    /// Little endian: the first byte is the lowest.
    bytes: u128,
    len: usize,
}

impl VarintRun {
    const CAPACITY: usize = 16;

    pub(crate) const fn new() -> VarintRun {
        VarintRun { bytes: 0, len: 0 }
    }

    #[inline(always)]
    pub(crate) fn varint(&mut self, value: i32, buffer: &mut Vec<u8>) {
        self.unsigned(u64::from(zigzag32(value)), buffer);
    }

    #[inline(always)]
    pub(crate) fn varlong(&mut self, value: i64, buffer: &mut Vec<u8>) {
        self.unsigned(zigzag64(value), buffer);
    }

    #[inline(always)]
    fn unsigned(&mut self, value: u64, buffer: &mut Vec<u8>) {
        if value < 0x80 {
            self.add(u128::from(value), 1, buffer);
        } else if value < 0x4000 {
            self.add(u128::from((value & 0x7f) | 0x80 | ((value >> 7) << 8)), 2, buffer);
        } else {
            self.long(value, buffer);
        }
    }

    #[inline(never)]
    fn long(&mut self, mut value: u64, buffer: &mut Vec<u8>) {
        let (mut bytes, mut len) = (0u128, 0);
        while value >= 0x80 {
            bytes |= u128::from(value as u8 | 0x80) << (8 * len);
            value >>= 7;
            len += 1;
        }
        bytes |= u128::from(value) << (8 * len);
        self.add(bytes, len + 1, buffer);
    }

    /// Adds up to ten bytes.
    #[inline(always)]
    fn add(&mut self, bytes: u128, len: usize, buffer: &mut Vec<u8>) {
        if self.len + len > VarintRun::CAPACITY {
            self.flush(buffer);
        }
        self.bytes |= bytes << (8 * self.len);
        self.len += len;
    }

    /// Appends the run to `buffer` and begins anew.
    ///
    /// All 16 bytes are stored and the surplus is cut off again: that is one move, where a copy of a few bytes would be
    /// a call.
    #[inline(always)]
    pub(crate) fn flush(&mut self, buffer: &mut Vec<u8>) {
        let end = buffer.len() + self.len;
        let bytes = self.bytes.to_le_bytes();
        if buffer.capacity() - buffer.len() >= VarintRun::CAPACITY {
            buffer.extend_from_slice(&bytes);
            buffer.truncate(end);
        } else {
            // The surplus must not make a full pooled buffer grow.
            buffer.extend_from_slice(bytes.get(..self.len).unwrap_or_default());
        }
        *self = VarintRun::new();
    }
}

/// Reads a zigzag varint of 32 bits at `position`, and moves it behind the varint.
#[inline(always)]
pub(crate) fn read_varint(data: &[u8], position: &mut usize, what: &'static str) -> Result<i32, RecordError> {
    match read_short(data, position) {
        Some(raw) => Ok(unzigzag(raw) as i32),
        None => read_long(data, position, 5, what).map(|raw| unzigzag(raw & 0xffff_ffff) as i32),
    }
}

/// Reads a zigzag varint of 64 bits at `position`, and moves it behind the varint.
#[inline(always)]
pub(crate) fn read_varlong(data: &[u8], position: &mut usize, what: &'static str) -> Result<i64, RecordError> {
    match read_short(data, position) {
        Some(raw) => Ok(unzigzag(raw)),
        None => read_long(data, position, 10, what).map(unzigzag),
    }
}

/// The forms of one and two bytes, which nearly all fields of nearly all records have.
#[inline(always)]
fn read_short(data: &[u8], position: &mut usize) -> Option<u64> {
    let first = *data.get(*position)?;
    if first < 0x80 {
        *position += 1;
        return Some(u64::from(first));
    }
    let second = *data.get(*position + 1)?;
    if second < 0x80 {
        *position += 2;
        return Some(u64::from(first & 0x7f) | u64::from(second) << 7);
    }
    None
}

#[inline(always)]
const fn unzigzag(raw: u64) -> i64 {
    ((raw >> 1) as i64) ^ -((raw & 1) as i64)
}

/// The general case. As in Java, bits beyond the type's width in the last byte are dropped.
#[inline(never)]
fn read_long(data: &[u8], position: &mut usize, max_bytes: usize, what: &'static str) -> Result<u64, RecordError> {
    let start = *position;
    let mut value = 0u64;
    for index in 0..max_bytes {
        let Some(&byte) = data.get(start + index) else {
            return Err(RecordError::Truncated { what, position: start, needed: index + 1, available: index });
        };
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte < 0x80 {
            *position = start + index + 1;
            return Ok(value);
        }
    }
    Err(RecordError::BadVarint { what, position: start })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_at_every_boundary() {
        for shift in 0..64 {
            for value in
                [1i64 << shift, -(1i64.wrapping_shl(shift)), (1i64 << shift).wrapping_sub(1), 0, i64::MIN, i64::MAX]
            {
                for spare in [0, 64] {
                    let mut bytes = Vec::with_capacity(spare);
                    let mut run = VarintRun::new();
                    run.varlong(value, &mut bytes);
                    run.varint(value as i32, &mut bytes);
                    run.varlong(value, &mut bytes);
                    run.flush(&mut bytes);
                    assert_eq!(bytes.len(), 2 * varlong_size(value) + varint_size(value as i32), "{value}");
                    let mut position = 0;
                    assert_eq!(read_varlong(&bytes, &mut position, "test"), Ok(value));
                    assert_eq!(read_varint(&bytes, &mut position, "test"), Ok(value as i32));
                    assert_eq!(read_varlong(&bytes, &mut position, "test"), Ok(value));
                    assert_eq!(position, bytes.len());
                }
            }
        }
    }

    #[test]
    fn too_long_and_cut_off_are_told_apart() {
        let mut position = 0;
        assert!(matches!(read_varint(&[0x80; 6], &mut position, "x"), Err(RecordError::BadVarint { position: 0, .. })));
        assert!(matches!(
            read_varint(&[0x80; 3], &mut position, "x"),
            Err(RecordError::Truncated { needed: 4, available: 3, .. })
        ));
        assert!(matches!(read_varlong(&[0xff; 11], &mut position, "x"), Err(RecordError::BadVarint { .. })));
        assert_eq!(position, 0, "a failed read does not move");
    }
}
