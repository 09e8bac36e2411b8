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

/// A record's fixed part on the stack: written byte by byte, copied to the batch in one go.
///
/// 64 bytes hold every run of varints that records have (at most length 5, attributes 1, timestamp 10, offset 5, key
/// length 5, value length 5, header count 5).
pub(crate) struct VarintRun {
    bytes: [u8; 64],
    len: usize,
}

impl VarintRun {
    pub(crate) const fn new() -> VarintRun {
        VarintRun { bytes: [0; 64], len: 0 }
    }

    #[inline(always)]
    pub(crate) fn byte(&mut self, byte: u8) {
        self.bytes[self.len & 63] = byte;
        self.len += 1;
    }

    #[inline(always)]
    pub(crate) fn varint(&mut self, value: i32) {
        self.unsigned(zigzag32(value) as u64);
    }

    #[inline(always)]
    pub(crate) fn varlong(&mut self, value: i64) {
        self.unsigned(zigzag64(value));
    }

    #[inline(always)]
    fn unsigned(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.byte(value as u8 | 0x80);
            value >>= 7;
        }
        self.byte(value as u8);
    }

    #[inline(always)]
    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// Reads a zigzag varint of 32 bits at `position`, and moves it behind the varint.
#[inline(always)]
pub(crate) fn read_varint(data: &[u8], position: &mut usize, what: &'static str) -> Result<i32, RecordError> {
    match data.get(*position) {
        Some(&byte) if byte < 0x80 => {
            *position += 1;
            Ok(unzigzag(byte as u64) as i32)
        }
        _ => read_long(data, position, 5, what).map(|raw| unzigzag(raw & 0xffff_ffff) as i32),
    }
}

/// Reads a zigzag varint of 64 bits at `position`, and moves it behind the varint.
#[inline(always)]
pub(crate) fn read_varlong(data: &[u8], position: &mut usize, what: &'static str) -> Result<i64, RecordError> {
    match data.get(*position) {
        Some(&byte) if byte < 0x80 => {
            *position += 1;
            Ok(unzigzag(byte as u64))
        }
        _ => read_long(data, position, 10, what).map(unzigzag),
    }
}

#[inline(always)]
const fn unzigzag(raw: u64) -> i64 {
    ((raw >> 1) as i64) ^ -((raw & 1) as i64)
}

/// The general case. As in Java, bits beyond the type's width in the last byte are dropped.
#[inline]
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
                let mut run = VarintRun::new();
                run.varlong(value);
                assert_eq!(run.as_slice().len(), varlong_size(value), "{value}");
                let mut position = 0;
                assert_eq!(read_varlong(run.as_slice(), &mut position, "test"), Ok(value));
                assert_eq!(position, run.as_slice().len());

                let small = value as i32;
                let mut run = VarintRun::new();
                run.varint(small);
                assert_eq!(run.as_slice().len(), varint_size(small), "{small}");
                let mut position = 0;
                assert_eq!(read_varint(run.as_slice(), &mut position, "test"), Ok(small));
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
