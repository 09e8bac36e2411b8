//! A record as it lies in its batch.

use std::str::Utf8Error;

use super::error::RecordError;
use super::varint::{read_varint, read_varlong};

/// The least bytes of a record: length, attributes, two deltas, two lengths and the header count, one byte each.
pub(super) const MIN_RECORD_LEN: usize = 7;

/// One header of a record. Keys may repeat, and their order is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct HeaderRef<'a> {
    /// The key. Kafka writes UTF-8; see [`HeaderRef::key_str`].
    pub key: &'a [u8],
    /// The value; a header may have none.
    pub value: Option<&'a [u8]>,
}

impl<'a> HeaderRef<'a> {
    /// A header with a value.
    pub const fn new(key: &'a str, value: &'a [u8]) -> HeaderRef<'a> {
        HeaderRef { key: key.as_bytes(), value: Some(value) }
    }

    /// The key as text.
    ///
    /// # Errors
    /// The key is not UTF-8 (no Kafka client writes such, but nothing on the way forbids it).
    pub const fn key_str(&self) -> Result<&'a str, Utf8Error> {
        str::from_utf8(self.key)
    }
}

/// A record, borrowed from its batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordView<'a> {
    /// The record's offset in its partition.
    pub offset: i64,
    /// Milliseconds since 1970, or -1: the producer's, or the broker's where the topic has LogAppendTime.
    pub timestamp: i64,
    /// The key.
    pub key: Option<&'a [u8]>,
    /// The value; `None` is a tombstone in a compacted topic.
    pub value: Option<&'a [u8]>,
    /// The headers, not yet parsed.
    pub headers: HeadersView<'a>,
}

/// The headers of a record, parsed as they are iterated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HeadersView<'a> {
    count: u32,
    bytes: &'a [u8],
    /// Where `bytes` begins in the records section, for errors.
    position: usize,
}

impl<'a> HeadersView<'a> {
    /// Headers that lie in `bytes`, back to back, as [`HeadersView::bytes`] gave them: for who keeps a record apart from
    /// its batch. A count that does not fit the bytes shows as an error when they are iterated.
    pub const fn from_parts(count: u32, bytes: &'a [u8]) -> Self {
        Self { count, bytes, position: 0 }
    }

    /// The bytes that the headers lie in.
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// How many headers the record declares: never more than its bytes can hold.
    pub const fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The headers in order. Damage ends the iteration with an error.
    pub const fn iter(&self) -> HeadersIter<'a> {
        HeadersIter { bytes: self.bytes, at: 0, left: self.count, position: self.position }
    }

    /// The last header of this key: what Java's `Headers.lastHeader` gives.
    ///
    /// # Errors
    /// The headers are damaged.
    pub fn last(&self, key: &str) -> Result<Option<HeaderRef<'a>>, RecordError> {
        let mut found = None;
        for header in self.iter() {
            let header = header?;
            if header.key == key.as_bytes() {
                found = Some(header);
            }
        }
        Ok(found)
    }

    /// Parses all headers and forgets them.
    ///
    /// # Errors
    /// The headers are damaged, or do not end where the record does.
    pub fn validate(&self) -> Result<(), RecordError> {
        self.iter().try_for_each(|header| header.map(drop))
    }
}

impl<'a> IntoIterator for HeadersView<'a> {
    type Item = Result<HeaderRef<'a>, RecordError>;
    type IntoIter = HeadersIter<'a>;

    fn into_iter(self) -> HeadersIter<'a> {
        self.iter()
    }
}

/// Iterates over a record's headers.
#[derive(Debug, Clone)]
pub struct HeadersIter<'a> {
    bytes: &'a [u8],
    at: usize,
    left: u32,
    position: usize,
}

impl<'a> HeadersIter<'a> {
    fn parse(&mut self) -> Result<HeaderRef<'a>, RecordError> {
        let key_length = read_varint(self.bytes, &mut self.at, "header key length")?;
        let key = take(self.bytes, &mut self.at, key_length, "header key length")?;
        let value = read_nullable(self.bytes, &mut self.at, "header value length")?;
        if self.left == 1 && self.at != self.bytes.len() {
            return Err(RecordError::TrailingBytes {
                what: "the last header of a record",
                position: self.at,
                count: self.bytes.len() - self.at,
            });
        }
        Ok(HeaderRef { key, value })
    }
}

impl<'a> Iterator for HeadersIter<'a> {
    type Item = Result<HeaderRef<'a>, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        let parsed = self.parse();
        match &parsed {
            Ok(_) => self.left -= 1,
            Err(_) => self.left = 0,
        }
        Some(parsed.map_err(|error| shifted(error, self.position)))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.left as usize))
    }
}

/// Moves a position within one record's headers to one within the records section.
#[cold]
fn shifted(mut error: RecordError, by: usize) -> RecordError {
    match &mut error {
        RecordError::Truncated { position, .. }
        | RecordError::BadVarint { position, .. }
        | RecordError::InvalidLength { position, .. }
        | RecordError::TrailingBytes { position, .. } => *position += by,
        _ => {}
    }
    error
}

/// What a batch's header says about each of its records.
#[derive(Debug, Clone, Copy)]
pub(super) struct RecordContext {
    pub(super) base_offset: i64,
    pub(super) base_timestamp: i64,
    /// The timestamp of every record, where the broker has set it.
    pub(super) log_append_time: Option<i64>,
}

#[inline(always)]
fn take<'a>(data: &'a [u8], at: &mut usize, length: i32, what: &'static str) -> Result<&'a [u8], RecordError> {
    let rest = data.get(*at..).unwrap_or_default();
    // A negative length becomes a huge one and is refused by the same comparison.
    let wanted = length as u32 as usize;
    if length < 0 || wanted > rest.len() {
        return Err(invalid_length(what, *at, length, rest.len()));
    }
    *at += wanted;
    Ok(&rest[..wanted])
}

#[cold]
fn invalid_length(what: &'static str, position: usize, length: i32, available: usize) -> RecordError {
    RecordError::InvalidLength { what, position, length: i64::from(length), available }
}

#[inline(always)]
fn read_nullable<'a>(data: &'a [u8], at: &mut usize, what: &'static str) -> Result<Option<&'a [u8]>, RecordError> {
    let length = read_varint(data, at, what)?;
    if length < 0 {
        // Java takes any negative length as null; so do we.
        return Ok(None);
    }
    take(data, at, length, what).map(Some)
}

/// Parses the record at `at` and moves behind it; gives the record and its offset delta.
#[inline(always)]
pub(super) fn parse_record<'a>(
    data: &'a [u8],
    at: &mut usize,
    context: &RecordContext,
) -> Result<(RecordView<'a>, i32), RecordError> {
    let length = read_varint(data, at, "record length")?;
    let body_at = *at;
    let body = take(data, at, length, "record length")?;
    let end = *at;
    // Everything below reads through `upto`, so no field can reach beyond its record, and positions stay absolute.
    let upto = &data[..end];
    debug_assert_eq!(body.len(), end - body_at);
    // The attributes byte of a record is unused so far.
    let mut cursor = body_at + 1;
    let timestamp_delta = read_varlong(upto, &mut cursor, "timestamp delta")?;
    let offset_delta = read_varint(upto, &mut cursor, "offset delta")?;
    let key = read_nullable(upto, &mut cursor, "key length")?;
    let value = read_nullable(upto, &mut cursor, "value length")?;
    let count = read_varint(upto, &mut cursor, "header count")?;
    let bytes = upto.get(cursor..).unwrap_or_default();
    if count == 0 {
        if !bytes.is_empty() {
            return Err(RecordError::TrailingBytes { what: "a record", position: cursor, count: bytes.len() });
        }
    } else if count < 0 || count as usize > bytes.len() / 2 {
        // A header takes two bytes at least.
        return Err(invalid_length("header count", cursor, count, bytes.len()));
    }
    let view = RecordView {
        offset: context.base_offset.saturating_add(i64::from(offset_delta)),
        timestamp: match context.log_append_time {
            Some(time) => time,
            None => context.base_timestamp.wrapping_add(timestamp_delta),
        },
        key,
        value,
        headers: HeadersView { count: count as u32, bytes, position: cursor },
    };
    Ok((view, offset_delta))
}
