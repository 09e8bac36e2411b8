//! The framing of payloads, version 0: a zero byte, the schema id as a big-endian `i32`, the payload.

use crate::model::SchemaId;

/// The first byte of a framed payload of version 0.
pub const MAGIC_V0: u8 = 0;

/// The length of the prefix before the payload, in bytes.
pub const PREFIX_LEN: usize = 5;

/// Why bytes are not a framed payload.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// Fewer bytes than the prefix has.
    #[error(
        "payload of {len} bytes is too short for a schema id: it needs {PREFIX_LEN} bytes before the data; \
         was it written without a schema registry serializer?"
    )]
    Short {
        /// The bytes that were there.
        len: usize,
    },
    /// The first byte is not one that this version knows.
    #[error(
        "payload begins with magic byte {magic:#04x}, not with 0x00; was it written without a schema registry \
         serializer, or with the schema id in a header?"
    )]
    UnknownMagic {
        /// The byte found.
        magic: u8,
    },
    /// The schema id is negative, which no registry gives.
    #[error("payload names schema id {id}, but schema ids are not negative; the payload is damaged or foreign")]
    NegativeId {
        /// The id found.
        id: i32,
    },
}

/// Appends the prefix for `id`; the payload is to follow.
pub fn put_prefix(id: SchemaId, out: &mut Vec<u8>) {
    out.push(MAGIC_V0);
    out.extend_from_slice(&id.0.to_be_bytes());
}

/// Parts framed bytes into schema id and payload. The payload may be empty, as that of an Avro `null` is.
///
/// # Errors
/// [`FrameError`] where the bytes are too few, begin with another magic byte, or name a negative id.
pub fn split(framed: &[u8]) -> Result<(SchemaId, &[u8]), FrameError> {
    match framed.first() {
        Some(&magic) if magic != MAGIC_V0 => return Err(FrameError::UnknownMagic { magic }),
        _ => {}
    }
    let Some((prefix, payload)) = framed.split_first_chunk::<PREFIX_LEN>() else {
        return Err(FrameError::Short { len: framed.len() });
    };
    let [_, id @ ..] = *prefix;
    let id = i32::from_be_bytes(id);
    if id < 0 { Err(FrameError::NegativeId { id }) } else { Ok((SchemaId(id), payload)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_frame_is_a_zero_byte_and_a_big_endian_id() {
        let mut framed = Vec::new();
        put_prefix(SchemaId(0x0102_0304), &mut framed);
        assert_eq!(framed, [0, 1, 2, 3, 4]);
        framed.push(9);
        assert_eq!(split(&framed), Ok((SchemaId(0x0102_0304), [9].as_slice())));
    }

    #[test]
    fn what_is_no_frame_is_told_apart() {
        assert_eq!(split(b""), Err(FrameError::Short { len: 0 }));
        assert_eq!(split(&[0, 0, 0, 1]), Err(FrameError::Short { len: 4 }));
        assert_eq!(split(b"{\"json\":1}"), Err(FrameError::UnknownMagic { magic: b'{' }));
        assert_eq!(split(&[1, 0, 0, 0, 1]), Err(FrameError::UnknownMagic { magic: 1 }));
        assert_eq!(split(&[0, 0xff, 0xff, 0xff, 0xff]), Err(FrameError::NegativeId { id: -1 }));
        assert_eq!(split(&[0, 0, 0, 0, 1]), Ok((SchemaId(1), [].as_slice())));
    }
}
