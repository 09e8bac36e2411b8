//! Primitives of the protocol, and the traits that every generated message implements.
//!
//! Source: <https://kafka.apache.org/protocol#protocol_types>, KIP-482 for flexible versions and tagged fields.

mod error;
mod reader;
mod tagged;
mod writer;

pub use error::{DecodeError, EncodeError};
pub use reader::Reader;
pub use tagged::UnknownTaggedFields;
pub use writer::Writer;

use std::fmt::Debug;

/// The versions of a message, both ends included. `min > max` means that no version exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct VersionRange {
    /// The oldest version.
    pub min: i16,
    /// The newest version.
    pub max: i16,
}

impl VersionRange {
    /// The range from `min` to `max`, both included.
    pub const fn new(min: i16, max: i16) -> Self {
        Self { min, max }
    }

    /// Whether `version` lies in the range.
    pub const fn contains(&self, version: i16) -> bool {
        self.min <= version && version <= self.max
    }

    /// The versions that both ranges hold, or `None` where they do not meet.
    pub fn intersect(&self, other: &Self) -> Option<Self> {
        let range = Self::new(self.min.max(other.min), self.max.min(other.max));
        (range.min <= range.max).then_some(range)
    }
}

/// A message of the protocol: a request, a response, a header, or the body of a record that Kafka keeps for itself.
pub trait Message: Sized + Default + Clone + PartialEq + Debug {
    /// The message's name in Kafka's schema, such as `FetchRequest`.
    const NAME: &'static str;
    /// The versions this crate reads and writes.
    const VERSIONS: VersionRange;
    /// The first flexible version (KIP-482), or `i16::MAX` where there is none.
    const FIRST_FLEXIBLE: i16;

    /// Appends the message in `version`.
    ///
    /// # Errors
    /// A version outside [`Message::VERSIONS`]; a field that `version` cannot carry and that may not be dropped; a
    /// string or an array too long for its length field.
    fn encode(&self, writer: &mut Writer, version: i16) -> Result<(), EncodeError>;

    /// Reads the message in `version`. Bytes after it are left in the reader: [`decode_whole`] refuses them.
    ///
    /// # Errors
    /// A version outside [`Message::VERSIONS`], or bytes that are not this message.
    fn decode(reader: &mut Reader, version: i16) -> Result<Self, DecodeError>;
}

/// A request, which names its key and the response it is answered with.
pub trait Request: Message {
    /// The request's key.
    const KEY: crate::ApiKey;
    /// The message it is answered with, in the same version.
    type Response: Message;

    /// The version of the request header that goes before this request in `version`: 2 where flexible, else 1.
    fn header_version(version: i16) -> i16 {
        if version >= Self::FIRST_FLEXIBLE { 2 } else { 1 }
    }

    /// The version of the response header: 1 where flexible, else 0. ApiVersions always has 0, so that a client can
    /// read the answer of a broker that does not know its version (KIP-511).
    fn response_header_version(version: i16) -> i16 {
        if Self::KEY as i16 == crate::ApiKey::ApiVersions as i16 || version < Self::FIRST_FLEXIBLE { 0 } else { 1 }
    }
}

/// Reads a message that must fill all of `bytes`.
///
/// # Errors
/// As [`Message::decode`]; also bytes left over, for a length that was misread shows in no other way.
pub fn decode_whole<M: Message>(bytes: bytes::Bytes, version: i16) -> Result<M, DecodeError> {
    let mut reader = Reader::new(bytes);
    let message = M::decode(&mut reader, version)?;
    reader.finish(M::NAME)?;
    Ok(message)
}

/// Writes a message into one contiguous buffer.
///
/// # Errors
/// As [`Message::encode`].
pub fn encode_to_vec<M: Message>(message: &M, version: i16) -> Result<Vec<u8>, EncodeError> {
    let mut writer = Writer::new();
    message.encode(&mut writer, version)?;
    Ok(writer.into_vec())
}
