//! What can be wrong with record batches, and where.

use super::compression::Compression;

/// Why a record batch could not be read, written or (de)compressed.
///
/// Positions count bytes: within the batch for header faults, within the (decompressed) records section for record
/// faults. Nothing here is retriable by itself: the same bytes give the same error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// The bytes end before the thing does.
    #[error("{what} at byte {position} needs {needed} bytes, but only {available} are left")]
    Truncated {
        /// What was being read.
        what: &'static str,
        /// Where it begins.
        position: usize,
        /// How many bytes it needs.
        needed: usize,
        /// How many bytes are there.
        available: usize,
    },
    /// The batch is of another format than v2 (Kafka 0.11 and later write v2 only).
    #[error(
        "record batch has magic {magic}, but only magic 2 is supported; data of magic 0 and 1 must be rewritten by a \
         Kafka older than 4.0"
    )]
    UnsupportedMagic {
        /// The magic byte found.
        magic: i8,
    },
    /// The batch's length field is smaller than a batch header, or negative.
    #[error("record batch declares a length of {length} bytes; the least is 49")]
    InvalidBatchLength {
        /// The declared `batchLength`.
        length: i32,
    },
    /// A batch header field holds a value that no writer may produce.
    #[error("record batch header has {field} = {value}, which is out of range")]
    InvalidHeaderField {
        /// The field, by Kafka's name.
        field: &'static str,
        /// Its value.
        value: i64,
    },
    /// The CRC-32C of the batch does not match its bytes: the data were damaged on the way or on disk.
    #[error(
        "record batch at offset {base_offset} is corrupt: its CRC is {stored:#010x}, its bytes give {computed:#010x}"
    )]
    CrcMismatch {
        /// The batch's base offset.
        base_offset: i64,
        /// The CRC in the header.
        stored: u32,
        /// The CRC of the bytes.
        computed: u32,
    },
    /// A varint runs over its longest form (5 bytes for 32 bits, 10 for 64).
    #[error("{what} at byte {position} is a varint longer than its type allows")]
    BadVarint {
        /// What was being read.
        what: &'static str,
        /// Where it begins.
        position: usize,
    },
    /// A length or count is negative, or larger than what is left of the record.
    #[error("{what} at byte {position} is {length}, but {available} bytes are left for it")]
    InvalidLength {
        /// What was being read.
        what: &'static str,
        /// Where the field ends.
        position: usize,
        /// The declared length.
        length: i64,
        /// How many bytes are left.
        available: usize,
    },
    /// The records' bytes hold fewer records than the header says.
    #[error("record batch declares {declared} records, but its bytes hold {found}")]
    RecordCountMismatch {
        /// The header's record count.
        declared: i32,
        /// The most records that the bytes can hold or did hold.
        found: u32,
    },
    /// Bytes are left over after the last record, or after the last field of a record.
    #[error("{count} bytes are left over after {what} at byte {position}")]
    TrailingBytes {
        /// What ended.
        what: &'static str,
        /// Where it ended.
        position: usize,
        /// How many bytes follow.
        count: usize,
    },
    /// A record's offset delta is not where the batch says it should be (only [`validate`] asks for this).
    ///
    /// [`validate`]: super::RecordBatch::validate
    #[error("record {index} of the batch has offset delta {delta}, outside {least}..={most}")]
    OffsetDeltaOutOfOrder {
        /// The record's place in the batch.
        index: u32,
        /// Its offset delta.
        delta: i32,
        /// The least delta allowed here.
        least: i32,
        /// The last offset delta of the batch.
        most: i32,
    },
    /// The attributes name a compression type that does not exist.
    #[error("record batch uses unknown compression type {id} (known: 0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd)")]
    UnknownCompression {
        /// The id in the attributes.
        id: u8,
    },
    /// The codec exists but was compiled out.
    #[error(
        "compression `{compression}` was compiled out; enable the cargo feature `{}` of rkafka-protocol",
        compression.name()
    )]
    CodecDisabled {
        /// The codec; its cargo feature has the same name.
        compression: Compression,
    },
    /// The codec refused the bytes.
    #[error("cannot decompress {compression} data: {message}")]
    Decompress {
        /// The codec.
        compression: Compression,
        /// What it said.
        message: Box<str>,
    },
    /// The codec could not compress.
    #[error("cannot compress with {compression}: {message}")]
    Compress {
        /// The codec.
        compression: Compression,
        /// What it said.
        message: Box<str>,
    },
    /// The records would decompress to more than the configured maximum.
    #[error("{compression} data decompress to more than the limit of {limit} bytes; raise the limit if that is meant")]
    DecompressedTooLarge {
        /// The codec.
        compression: Compression,
        /// The limit in bytes.
        limit: usize,
    },
    /// A batch under construction would not fit the format (its length is a 32-bit number).
    #[error("a record of {size} bytes does not fit a batch that already has {batch_size} bytes: the most is {limit}")]
    BatchTooLarge {
        /// The size of the new record.
        size: usize,
        /// The size of the batch so far.
        batch_size: usize,
        /// The most that fits.
        limit: usize,
    },
    /// The record's timestamp is negative (other than -1, which means none), or too far from the batch's first one.
    #[error("timestamp {timestamp_ms} is out of range; use milliseconds since 1970, or -1 for none")]
    InvalidTimestamp {
        /// The timestamp given.
        timestamp_ms: i64,
    },
    /// An explicit offset is not above the ones before it, or too far from the batch's base offset.
    #[error("offset {offset} cannot follow offset {last_offset} in a batch that begins at offset {base_offset}")]
    InvalidOffset {
        /// The offset given.
        offset: i64,
        /// The batch's base offset.
        base_offset: i64,
        /// The last offset in the batch, or the base offset less one.
        last_offset: i64,
    },
    /// The headers' iterator gave other headers the second time it was walked.
    #[error("the record's headers changed between two walks of their iterator")]
    UnstableHeaders,
    /// A batch without records cannot be sealed.
    #[error("a batch without records cannot be sealed")]
    EmptyBatch,
    /// A control record's key or value is not of a known shape.
    #[error("control record at offset {offset} is malformed: {reason}")]
    MalformedControlRecord {
        /// The record's offset.
        offset: i64,
        /// What is wrong.
        reason: &'static str,
    },
}
