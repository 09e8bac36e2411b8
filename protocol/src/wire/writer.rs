//! Writes primitives into a frame that can leave by one vectored write.

use std::io::IoSlice;

use bytes::Bytes;
use uuid::Uuid;

use super::{EncodeError, UnknownTaggedFields};

/// Byte fields from this size on are kept as references and never copied; below it, a copy is cheaper than an iovec.
const SPLICE_MIN: usize = 1024;

/// A frame under construction: a head of small fields, with record batches spliced in by reference.
#[derive(Debug, Clone, Default)]
pub struct Writer {
    head: Vec<u8>,
    /// Byte fields that stand after the given position of the head, in ascending order.
    splices: Vec<(usize, Bytes)>,
    spliced_len: usize,
    cuts_strings: bool,
}

impl Writer {
    /// An empty writer.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty writer that uses `head` for the small fields. What `head` holds is discarded; its room is kept.
    pub fn with_buffer(mut head: Vec<u8>) -> Self {
        head.clear();
        Self { head, ..Self::default() }
    }

    /// The same, but for strings that are too long for the protocol: they are cut instead of being an error. This is for
    /// answers, in which only a text for humans can be that long, such as one that quotes the request.
    #[must_use]
    pub fn cutting_strings(mut self) -> Self {
        self.cuts_strings = true;
        self
    }

    /// How many bytes have been written, references included.
    pub fn len(&self) -> usize {
        self.head.len() + self.spliced_len
    }

    /// Whether nothing has been written.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reserves the four bytes of a frame's length, which [`Writer::end_frame`] fills in. Only at the start.
    pub fn begin_frame(&mut self) {
        debug_assert!(self.is_empty(), "a frame's length stands before everything else");
        self.head.extend_from_slice(&[0; 4]);
    }

    /// Fills in the length that [`Writer::begin_frame`] reserved.
    ///
    /// # Errors
    /// The frame is longer than an `i32` can say.
    pub fn end_frame(&mut self) -> Result<(), EncodeError> {
        let length = self.len() - 4;
        let encoded =
            i32::try_from(length).map_err(|_| EncodeError::TooLong { length, limit: i32::MAX as usize })?.to_be_bytes();
        self.head[..4].copy_from_slice(&encoded);
        Ok(())
    }

    /// The pieces of the frame, in order, for a vectored write. No piece is empty.
    pub fn chunks(&self) -> impl Iterator<Item = &[u8]> {
        let mut from = 0;
        self.splices
            .iter()
            .flat_map(move |(at, bytes)| {
                let head = &self.head[from..*at];
                from = *at;
                [head, bytes.as_ref()]
            })
            .chain(std::iter::once(&self.head[self.splices.last().map_or(0, |(at, _)| *at)..]))
            .filter(|chunk| !chunk.is_empty())
    }

    /// Fills `slices` with what is left of the frame after its first `skip` bytes, as far as there is room; says how
    /// many slices it filled.
    pub fn io_slices<'a>(&'a self, mut skip: usize, slices: &mut [IoSlice<'a>]) -> usize {
        let mut filled = 0;
        for chunk in self.chunks() {
            if skip >= chunk.len() {
                skip -= chunk.len();
                continue;
            }
            let Some(slot) = slices.get_mut(filled) else { break };
            *slot = IoSlice::new(&chunk[skip..]);
            skip = 0;
            filled += 1;
        }
        filled
    }

    /// The frame in one piece; copies where something was spliced in.
    pub fn into_vec(self) -> Vec<u8> {
        if self.splices.is_empty() {
            return self.head;
        }
        let mut whole = Vec::with_capacity(self.len());
        self.chunks().for_each(|chunk| whole.extend_from_slice(chunk));
        whole
    }

    /// Gives the head's room back, for the next frame.
    pub fn into_buffer(self) -> Vec<u8> {
        self.head
    }

    /// One byte: 1 for true.
    pub fn bool(&mut self, value: bool) {
        self.head.push(u8::from(value));
    }

    /// A big-endian integer of 8 bits.
    pub fn i8(&mut self, value: i8) {
        self.head.extend_from_slice(&value.to_be_bytes());
    }

    /// A big-endian integer of 16 bits.
    pub fn i16(&mut self, value: i16) {
        self.head.extend_from_slice(&value.to_be_bytes());
    }

    /// A big-endian unsigned integer of 16 bits.
    pub fn u16(&mut self, value: u16) {
        self.head.extend_from_slice(&value.to_be_bytes());
    }

    /// A big-endian integer of 32 bits.
    pub fn i32(&mut self, value: i32) {
        self.head.extend_from_slice(&value.to_be_bytes());
    }

    /// A big-endian unsigned integer of 32 bits.
    pub fn u32(&mut self, value: u32) {
        self.head.extend_from_slice(&value.to_be_bytes());
    }

    /// A big-endian integer of 64 bits.
    pub fn i64(&mut self, value: i64) {
        self.head.extend_from_slice(&value.to_be_bytes());
    }

    /// A big-endian floating-point number of 64 bits.
    pub fn f64(&mut self, value: f64) {
        self.head.extend_from_slice(&value.to_be_bytes());
    }

    /// Sixteen bytes.
    pub fn uuid(&mut self, value: Uuid) {
        self.head.extend_from_slice(value.as_bytes());
    }

    /// An unsigned variable-length integer.
    pub fn unsigned_varint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.head.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.head.push(value as u8);
    }

    fn length(&mut self, length: usize, flexible: bool, short: bool) -> Result<(), EncodeError> {
        let limit = if short { i16::MAX as usize } else { i32::MAX as usize };
        if length > limit {
            return Err(EncodeError::TooLong { length, limit });
        }
        if flexible {
            self.unsigned_varint(length as u32 + 1);
        } else if short {
            self.i16(length as i16);
        } else {
            self.i32(length as i32);
        }
        Ok(())
    }

    fn null(&mut self, flexible: bool, short: bool) {
        if flexible {
            self.head.push(0);
        } else if short {
            self.i16(-1);
        } else {
            self.i32(-1);
        }
    }

    /// A string.
    ///
    /// # Errors
    /// It is longer than 32,767 bytes, and this writer does not cut strings ([`Writer::cutting_strings`]).
    pub fn string(&mut self, value: &str, flexible: bool) -> Result<(), EncodeError> {
        let most = i16::MAX as usize;
        let value = if self.cuts_strings && value.len() > most {
            // A character has four bytes at most.
            (most - 3..=most).rev().find_map(|end| value.get(..end)).unwrap_or_default()
        } else {
            value
        };
        self.length(value.len(), flexible, true)?;
        self.head.extend_from_slice(value.as_bytes());
        Ok(())
    }

    /// A string or null. Where `nullable` is false, null is an error that names `field`.
    ///
    /// # Errors
    /// As [`Writer::string`]; null where it may not be.
    pub fn nullable_string(
        &mut self,
        value: Option<&str>,
        flexible: bool,
        nullable: bool,
        field: &'static str,
    ) -> Result<(), EncodeError> {
        match value {
            Some(value) => self.string(value, flexible),
            None if nullable => {
                self.null(flexible, true);
                Ok(())
            }
            None => Err(EncodeError::UnexpectedNull { field }),
        }
    }

    /// Bytes; large ones are kept by reference.
    ///
    /// # Errors
    /// They are longer than an `i32` can say.
    pub fn bytes(&mut self, value: &Bytes, flexible: bool) -> Result<(), EncodeError> {
        self.length(value.len(), flexible, false)?;
        self.raw(value);
        Ok(())
    }

    /// Bytes or null. Where `nullable` is false, null is an error that names `field`.
    ///
    /// # Errors
    /// As [`Writer::bytes`]; null where it may not be.
    pub fn nullable_bytes(
        &mut self,
        value: Option<&Bytes>,
        flexible: bool,
        nullable: bool,
        field: &'static str,
    ) -> Result<(), EncodeError> {
        match value {
            Some(value) => self.bytes(value, flexible),
            None if nullable => {
                self.null(flexible, false);
                Ok(())
            }
            None => Err(EncodeError::UnexpectedNull { field }),
        }
    }

    /// Bytes without a length; large ones are kept by reference.
    pub fn raw(&mut self, value: &Bytes) {
        if value.len() < SPLICE_MIN {
            self.head.extend_from_slice(value);
        } else {
            self.splices.push((self.head.len(), value.clone()));
            self.spliced_len += value.len();
        }
    }

    /// An array.
    ///
    /// # Errors
    /// It has more elements than an `i32` can say, or an element cannot be written.
    pub fn array<T>(
        &mut self,
        elements: &[T],
        flexible: bool,
        mut element: impl FnMut(&mut Self, &T) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        self.length(elements.len(), flexible, false)?;
        elements.iter().try_for_each(|one| element(self, one))
    }

    /// An array or null. Where `nullable` is false, null is an error that names `field`.
    ///
    /// # Errors
    /// As [`Writer::array`]; null where it may not be.
    pub fn nullable_array<T>(
        &mut self,
        elements: Option<&[T]>,
        flexible: bool,
        nullable: bool,
        field: &'static str,
        element: impl FnMut(&mut Self, &T) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        match elements {
            Some(elements) => self.array(elements, flexible, element),
            None if nullable => {
                self.null(flexible, false);
                Ok(())
            }
            None => Err(EncodeError::UnexpectedNull { field }),
        }
    }

    /// One tagged field: tag, size, content. The content is written aside, for its size stands before it.
    ///
    /// # Errors
    /// The content cannot be written.
    pub fn tagged_field(
        &mut self,
        tag: u32,
        content: impl FnOnce(&mut Self) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        let mut aside = Self::new();
        content(&mut aside)?;
        let size = aside.len();
        self.unsigned_varint(tag);
        self.unsigned_varint(
            u32::try_from(size).map_err(|_| EncodeError::TooLong { length: size, limit: u32::MAX as usize })?,
        );
        aside.chunks().for_each(|chunk| self.head.extend_from_slice(chunk));
        Ok(())
    }

    /// Tagged fields that were kept as they came. Their count is the caller's to write before.
    pub fn unknown_tagged_fields(&mut self, fields: &UnknownTaggedFields) {
        for (tag, content) in fields.iter() {
            self.unsigned_varint(tag);
            self.unsigned_varint(content.len() as u32);
            self.head.extend_from_slice(content);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_bytes_are_spliced_in_place() {
        let batch = Bytes::from(vec![7; SPLICE_MIN]);
        let mut writer = Writer::new();
        writer.begin_frame();
        writer.bytes(&batch, false).unwrap();
        writer.i8(1);
        writer.bytes(&batch, true).unwrap();
        writer.end_frame().unwrap();
        assert_eq!(writer.chunks().count(), 4, "head, batch, head, batch");
        assert_eq!(writer.chunks().nth(1).unwrap().as_ptr(), batch.as_ptr(), "no copy");
        let mut slices = [IoSlice::new(&[]); 2];
        assert_eq!(writer.io_slices(10, &mut slices), 2);
        assert_eq!(slices[0].len(), SPLICE_MIN - 2);
        let length = writer.len();
        let whole = writer.into_vec();
        assert_eq!(whole.len(), length);
        assert_eq!(i32::from_be_bytes(whole[..4].try_into().unwrap()) as usize, length - 4);
    }

    #[test]
    fn a_string_has_a_limit() {
        let long = "x".repeat(32_768);
        assert!(matches!(Writer::new().string(&long, true), Err(EncodeError::TooLong { length: 32_768, .. })));
    }
}
