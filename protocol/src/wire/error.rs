//! What can be wrong with bytes that came, or with a message that is to go.

use thiserror::Error;

/// Bytes that are not the message they should be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The bytes end inside a field.
    #[error("{needed} more bytes needed at byte {at}, {left} are there")]
    Truncated {
        /// Position of the field in the message.
        at: usize,
        /// Bytes the field still needs.
        needed: usize,
        /// Bytes that are there.
        left: usize,
    },
    /// A length or a count that no such field can have.
    #[error("length {length} at byte {at} is not possible, {left} bytes are left")]
    BadLength {
        /// Position just after the length.
        at: usize,
        /// The length as declared.
        length: i64,
        /// Bytes that are there.
        left: usize,
    },
    /// Null where the field may not be null.
    #[error("null for the field `{field}`, which is not nullable in this version")]
    UnexpectedNull {
        /// The field's name.
        field: &'static str,
    },
    /// A string that is not UTF-8.
    #[error("the string at byte {at} is not UTF-8")]
    NotUtf8 {
        /// Position of the string.
        at: usize,
    },
    /// A variable-length integer that is too long.
    #[error("the variable-length integer at byte {at} does not end in time")]
    BadVarint {
        /// Position of the integer.
        at: usize,
    },
    /// Tagged fields that are not in ascending order, or come twice.
    #[error("the tagged field {tag} at byte {at} comes out of order")]
    TagOrder {
        /// The tag.
        tag: u32,
        /// Position of the field.
        at: usize,
    },
    /// A tagged field whose content does not fill its declared size.
    #[error("the tagged field {tag} at byte {at} has {left} bytes too many")]
    TagSize {
        /// The tag.
        tag: u32,
        /// Position after the content.
        at: usize,
        /// Bytes that are left over.
        left: usize,
    },
    /// Bytes after the end of the message.
    #[error("{left} bytes after the end of {message}")]
    Trailing {
        /// The message's name.
        message: &'static str,
        /// How many.
        left: usize,
    },
    /// A version that this crate does not know.
    #[error("{message} has no version {version}")]
    UnsupportedVersion {
        /// The message's name.
        message: &'static str,
        /// The version asked for.
        version: i16,
    },
}

/// A message that cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// A version that this crate does not know.
    #[error("{message} has no version {version}")]
    UnsupportedVersion {
        /// The message's name.
        message: &'static str,
        /// The version asked for.
        version: i16,
    },
    /// A field is set that the version cannot carry, and dropping it would change what is asked.
    #[error("the field `{field}` of {message} is set, but version {version} cannot carry it")]
    FieldNotInVersion {
        /// The message's name.
        message: &'static str,
        /// The field's name.
        field: &'static str,
        /// The version asked for.
        version: i16,
    },
    /// Null where the version has no null.
    #[error("the field `{field}` is null, which this version cannot carry")]
    UnexpectedNull {
        /// The field's name.
        field: &'static str,
    },
    /// A string, a byte field or an array longer than its length field can say.
    #[error("{length} bytes or elements are too many for a field of at most {limit}")]
    TooLong {
        /// The length.
        length: usize,
        /// What the length field can hold.
        limit: usize,
    },
}
