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

/// Writes varints and fields into a slice of the size that they were measured to have.
///
/// What does not fit is counted and not written, so that [`FieldWriter::is_full`] tells whether the measure was right.
/// Measured: growing the batch by zeros and writing into them costs less than pushing to it byte by byte, and gathering
/// the varints on the stack or in a register first costs most.
pub(crate) struct FieldWriter<'a> {
    out: &'a mut [u8],
    at: usize,
}

impl<'a> FieldWriter<'a> {
    #[inline(always)]
    pub(crate) fn new(out: &'a mut [u8]) -> FieldWriter<'a> {
        FieldWriter { out, at: 0 }
    }

    /// Whether exactly as much was written as there was room.
    #[inline(always)]
    pub(crate) fn is_full(&self) -> bool {
        self.at == self.out.len()
    }

    #[inline(always)]
    pub(crate) fn varint(&mut self, value: i32) {
        self.unsigned(u64::from(zigzag32(value)));
    }

    #[inline(always)]
    pub(crate) fn varlong(&mut self, value: i64) {
        self.unsigned(zigzag64(value));
    }

    /// A length, or -1 for null, and the bytes. The caller has checked that the length fits.
    #[inline(always)]
    pub(crate) fn field(&mut self, field: Option<&[u8]>) {
        let Some(bytes) = field else {
            self.varint(-1);
            return;
        };
        self.varint(bytes.len() as i32);
        let end = self.at + bytes.len();
        if let Some(room) = self.out.get_mut(self.at..end) {
            room.copy_from_slice(bytes);
        }
        self.at = end;
    }

    /// A byte as it is.
    #[inline(always)]
    pub(crate) fn raw(&mut self, byte: u8) {
        self.byte(byte);
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
    fn byte(&mut self, byte: u8) {
        if let Some(room) = self.out.get_mut(self.at) {
            *room = byte;
        }
        self.at += 1;
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
                [1i64 << shift, (1i64 << shift).wrapping_neg(), (1i64 << shift).wrapping_sub(1), 0, i64::MIN, i64::MAX]
            {
                let mut bytes = vec![0; varlong_size(value) + varint_size(value as i32)];
                let mut writer = FieldWriter::new(&mut bytes);
                writer.varlong(value);
                assert!(!writer.is_full());
                writer.varint(value as i32);
                assert!(writer.is_full());
                writer.varint(0);
                assert!(!writer.is_full(), "what does not fit is counted");
                let mut position = 0;
                assert_eq!(read_varlong(&bytes, &mut position, "test"), Ok(value));
                assert_eq!(read_varint(&bytes, &mut position, "test"), Ok(value as i32));
                assert_eq!(position, bytes.len());
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
