//! Reads primitives off a frame. Nothing here trusts a declared length.

use bytes::Bytes;
use uuid::Uuid;

use super::DecodeError;

/// Elements that an array may reserve room for before any of them was read: a declared count is a stranger's word.
const CAPACITY_CAP: usize = 1024;

/// A cursor over the bytes of one frame. Byte fields come out as refcounted slices of the frame, not as copies.
#[derive(Debug, Clone)]
pub struct Reader {
    bytes: Bytes,
    at: usize,
}

impl Reader {
    /// A reader at the first of `bytes`.
    pub fn new(bytes: Bytes) -> Self {
        Self { bytes, at: 0 }
    }

    /// How many bytes have been read.
    pub fn position(&self) -> usize {
        self.at
    }

    /// How many bytes are left.
    pub fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// The bytes that are left, as a slice of the frame.
    pub fn rest(&self) -> Bytes {
        self.bytes.slice(self.at..)
    }

    /// Ends the reading of `message`.
    ///
    /// # Errors
    /// Bytes are left.
    pub fn finish(&self, message: &'static str) -> Result<(), DecodeError> {
        if self.left() == 0 { Ok(()) } else { Err(DecodeError::Trailing { message, left: self.left() }) }
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let chunk = self.bytes[self.at..].first_chunk::<N>().copied().ok_or_else(|| self.truncated(N))?;
        self.at += N;
        Ok(chunk)
    }

    fn truncated(&self, needed: usize) -> DecodeError {
        DecodeError::Truncated { at: self.at, needed: needed - self.left().min(needed), left: self.left() }
    }

    /// One byte; anything but 0 is true, as in Java.
    pub fn bool(&mut self) -> Result<bool, DecodeError> {
        Ok(self.take::<1>()?[0] != 0)
    }

    /// A big-endian integer of 8 bits.
    pub fn i8(&mut self) -> Result<i8, DecodeError> {
        Ok(i8::from_be_bytes(self.take()?))
    }

    /// A big-endian integer of 16 bits.
    pub fn i16(&mut self) -> Result<i16, DecodeError> {
        Ok(i16::from_be_bytes(self.take()?))
    }

    /// A big-endian unsigned integer of 16 bits.
    pub fn u16(&mut self) -> Result<u16, DecodeError> {
        Ok(u16::from_be_bytes(self.take()?))
    }

    /// A big-endian integer of 32 bits.
    pub fn i32(&mut self) -> Result<i32, DecodeError> {
        Ok(i32::from_be_bytes(self.take()?))
    }

    /// A big-endian unsigned integer of 32 bits.
    pub fn u32(&mut self) -> Result<u32, DecodeError> {
        Ok(u32::from_be_bytes(self.take()?))
    }

    /// A big-endian integer of 64 bits.
    pub fn i64(&mut self) -> Result<i64, DecodeError> {
        Ok(i64::from_be_bytes(self.take()?))
    }

    /// A big-endian floating-point number of 64 bits.
    pub fn f64(&mut self) -> Result<f64, DecodeError> {
        Ok(f64::from_be_bytes(self.take()?))
    }

    /// Sixteen bytes.
    pub fn uuid(&mut self) -> Result<Uuid, DecodeError> {
        Ok(Uuid::from_bytes(self.take()?))
    }

    /// An unsigned variable-length integer of at most 32 bits.
    pub fn unsigned_varint(&mut self) -> Result<u32, DecodeError> {
        let start = self.at;
        let mut value = 0u32;
        for shift in [0, 7, 14, 21, 28] {
            let byte = self.take::<1>()?[0];
            value |= u32::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                if shift == 28 && byte > 0x0f {
                    break;
                }
                return Ok(value);
            }
        }
        Err(DecodeError::BadVarint { at: start })
    }

    /// The length of a byte field or a string, `None` for null: a compact length in flexible versions, an `i32` else.
    fn length(&mut self, flexible: bool, short: bool) -> Result<Option<usize>, DecodeError> {
        let declared = if flexible {
            i64::from(self.unsigned_varint()?) - 1
        } else if short {
            i64::from(self.i16()?)
        } else {
            i64::from(self.i32()?)
        };
        if declared == -1 {
            return Ok(None);
        }
        let left = self.left();
        match usize::try_from(declared) {
            Ok(length) if length <= left => Ok(Some(length)),
            Ok(length) => Err(DecodeError::Truncated { at: self.at, needed: length - left, left }),
            Err(_) => Err(DecodeError::BadLength { at: self.at, length: declared, left }),
        }
    }

    /// A string, or `None` for null.
    pub fn nullable_string(&mut self, flexible: bool) -> Result<Option<String>, DecodeError> {
        let Some(length) = self.length(flexible, true)? else { return Ok(None) };
        let text = std::str::from_utf8(&self.bytes[self.at..self.at + length])
            .map_err(|_| DecodeError::NotUtf8 { at: self.at })?
            .to_owned();
        self.at += length;
        Ok(Some(text))
    }

    /// A string that may not be null.
    pub fn string(&mut self, flexible: bool, field: &'static str) -> Result<String, DecodeError> {
        self.nullable_string(flexible)?.ok_or(DecodeError::UnexpectedNull { field })
    }

    /// Bytes, or `None` for null, as a slice of the frame.
    pub fn nullable_bytes(&mut self, flexible: bool) -> Result<Option<Bytes>, DecodeError> {
        let Some(length) = self.length(flexible, false)? else { return Ok(None) };
        let slice = self.bytes.slice(self.at..self.at + length);
        self.at += length;
        Ok(Some(slice))
    }

    /// Bytes that may not be null, as a slice of the frame.
    pub fn bytes(&mut self, flexible: bool, field: &'static str) -> Result<Bytes, DecodeError> {
        self.nullable_bytes(flexible)?.ok_or(DecodeError::UnexpectedNull { field })
    }

    /// An array, or `None` for null. Room is reserved for no more elements than bytes are left, and never for more than
    /// a thousand before they were read.
    pub fn nullable_array<T>(
        &mut self,
        flexible: bool,
        mut element: impl FnMut(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Option<Vec<T>>, DecodeError> {
        let count = if flexible { i64::from(self.unsigned_varint()?) - 1 } else { i64::from(self.i32()?) };
        if count == -1 {
            return Ok(None);
        }
        let left = self.left();
        // No element takes less than a byte, but for empty structs, of which the schemas have no arrays.
        let count = usize::try_from(count).ok().filter(|count| *count <= left).ok_or(DecodeError::BadLength {
            at: self.at,
            length: count,
            left,
        })?;
        let mut elements = Vec::with_capacity(count.min(CAPACITY_CAP));
        for _ in 0..count {
            elements.push(element(self)?);
        }
        Ok(Some(elements))
    }

    /// An array that may not be null.
    pub fn array<T>(
        &mut self,
        flexible: bool,
        field: &'static str,
        element: impl FnMut(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, DecodeError> {
        self.nullable_array(flexible, element)?.ok_or(DecodeError::UnexpectedNull { field })
    }

    /// A struct that may be null: one byte says whether it is there.
    pub fn nullable_struct<T>(
        &mut self,
        element: impl FnOnce(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Option<T>, DecodeError> {
        if self.i8()? < 0 { Ok(None) } else { element(self).map(Some) }
    }

    /// The tagged fields at the end of a flexible struct. `known` reads the content of a tag it knows and says `true`;
    /// others are kept, so that a message can be passed on unharmed.
    pub fn tagged_fields(
        &mut self,
        mut known: impl FnMut(u32, &mut Self) -> Result<bool, DecodeError>,
    ) -> Result<super::UnknownTaggedFields, DecodeError> {
        let mut unknown = super::UnknownTaggedFields::default();
        let mut last: Option<u32> = None;
        for _ in 0..self.unsigned_varint()? {
            let at = self.at;
            let tag = self.unsigned_varint()?;
            if last.is_some_and(|last| tag <= last) {
                return Err(DecodeError::TagOrder { tag, at });
            }
            last = Some(tag);
            let size = self.unsigned_varint()? as usize;
            if size > self.left() {
                return Err(self.truncated(size));
            }
            let mut content = Self::new(self.bytes.slice(self.at..self.at + size));
            if !known(tag, &mut content)? {
                unknown.push(tag, content.bytes);
            } else if content.left() > 0 {
                return Err(DecodeError::TagSize { tag, at: self.at + content.at, left: content.left() });
            }
            self.at += size;
        }
        Ok(unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(bytes: &[u8]) -> Reader {
        Reader::new(Bytes::copy_from_slice(bytes))
    }

    #[test]
    fn a_declared_count_reserves_nothing() {
        // The five bytes that abort a decoder which believes them: a compact array of 2^32 - 2 elements.
        let error = reader(&[0xff, 0xff, 0xff, 0xff, 0x0f]).array(true, "topics", |r| r.i8()).unwrap_err();
        assert_eq!(error, DecodeError::BadLength { at: 5, length: 4_294_967_294, left: 0 });
    }

    #[test]
    fn negative_lengths_are_refused() {
        assert!(matches!(reader(&[0xff, 0xfe]).nullable_string(false), Err(DecodeError::BadLength { length: -2, .. })));
        assert_eq!(reader(&[0xff, 0xff]).nullable_string(false), Ok(None));
        assert_eq!(reader(&[0]).nullable_string(true), Ok(None));
        assert_eq!(reader(&[0]).string(true, "name"), Err(DecodeError::UnexpectedNull { field: "name" }));
    }

    #[test]
    fn a_varint_has_at_most_32_bits() {
        assert_eq!(reader(&[0xff, 0xff, 0xff, 0xff, 0x0f]).unsigned_varint(), Ok(u32::MAX));
        assert_eq!(reader(&[0xff, 0xff, 0xff, 0xff, 0x1f]).unsigned_varint(), Err(DecodeError::BadVarint { at: 0 }));
        assert!(matches!(reader(&[0x80]).unsigned_varint(), Err(DecodeError::Truncated { .. })));
    }

    #[test]
    fn tags_must_ascend_and_fill_their_size() {
        // Two fields with the same tag.
        assert!(matches!(
            reader(&[2, 1, 0, 1, 0]).tagged_fields(|_, _| Ok(false)),
            Err(DecodeError::TagOrder { tag: 1, at: 3 })
        ));
        // A known field that leaves a byte of its own.
        assert!(matches!(
            reader(&[1, 0, 2, 7, 7]).tagged_fields(|_, content| content.i8().map(|_| true)),
            Err(DecodeError::TagSize { tag: 0, left: 1, .. })
        ));
        let kept = reader(&[1, 9, 2, 7, 8]).tagged_fields(|_, _| Ok(false)).unwrap();
        assert_eq!(kept.iter().map(|(tag, bytes)| (tag, bytes.to_vec())).collect::<Vec<_>>(), [(9, vec![7, 8])]);
    }
}
