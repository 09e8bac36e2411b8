//! The four codecs of Kafka, behind contexts that are kept and reused.
//!
//! | codec  | written as                                            | read as                              |
//! |--------|-------------------------------------------------------|--------------------------------------|
//! | gzip   | one member                                            | any number of members                |
//! | snappy | Kafka's framing of 32 KiB blocks ("xerial")           | that framing, or one raw block       |
//! | lz4    | frame format, 64 KiB independent blocks, no checksums | any frame, its checksums are checked |
//! | zstd   | one frame                                             | any number of frames                 |
//!
//! Each codec has a cargo feature of its name; all are on by default. Nothing is allocated because a peer declared a
//! length: output grows with the bytes that really come, up to the caller's limit.

#[cfg(feature = "gzip")]
mod gzip;
#[cfg(feature = "lz4")]
mod lz4;
mod pool;
#[cfg(feature = "snappy")]
mod snappy;
#[cfg(feature = "lz4")]
mod xxhash;
#[cfg(feature = "zstd")]
mod zstd;

use std::fmt;
use std::str::FromStr;

use super::error::RecordError;

pub use pool::{CompressorPool, PooledCompressor};

/// A codec of record batches (`compression.type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum Compression {
    /// No compression.
    #[default]
    None = 0,
    /// gzip.
    Gzip = 1,
    /// Snappy, in Kafka's own framing.
    Snappy = 2,
    /// LZ4 frames.
    Lz4 = 3,
    /// Zstandard (KIP-110).
    Zstd = 4,
}

impl Compression {
    /// All codecs, by id.
    pub const ALL: [Compression; 5] =
        [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

    /// The id in a batch's attributes.
    pub const fn id(self) -> u8 {
        self as u8
    }

    /// The codec of an id in a batch's attributes.
    pub const fn from_id(id: u8) -> Option<Compression> {
        match id {
            0 => Some(Compression::None),
            1 => Some(Compression::Gzip),
            2 => Some(Compression::Snappy),
            3 => Some(Compression::Lz4),
            4 => Some(Compression::Zstd),
            _ => None,
        }
    }

    /// Kafka's name, as in `compression.type`.
    pub const fn name(self) -> &'static str {
        match self {
            Compression::None => "none",
            Compression::Gzip => "gzip",
            Compression::Snappy => "snappy",
            Compression::Lz4 => "lz4",
            Compression::Zstd => "zstd",
        }
    }

    /// Whether this build can use the codec, see the crate's features.
    pub const fn is_enabled(self) -> bool {
        match self {
            Compression::None => true,
            Compression::Gzip => cfg!(feature = "gzip"),
            Compression::Snappy => cfg!(feature = "snappy"),
            Compression::Lz4 => cfg!(feature = "lz4"),
            Compression::Zstd => cfg!(feature = "zstd"),
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl TryFrom<u8> for Compression {
    type Error = RecordError;

    fn try_from(id: u8) -> Result<Compression, RecordError> {
        Compression::from_id(id).ok_or(RecordError::UnknownCompression { id })
    }
}

/// A codec was configured that does not exist, or with a level that it does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// The name is none of Kafka's.
    #[error("unknown compression `{name}`: use one of none, gzip, snappy, lz4, zstd")]
    UnknownName {
        /// The name given.
        name: String,
    },
    /// The level lies outside the codec's range.
    #[error("{compression} has no level {level}: use {allowed}")]
    LevelOutOfRange {
        /// The codec.
        compression: Compression,
        /// The level given.
        level: i32,
        /// The levels that it has.
        allowed: &'static str,
    },
    /// The codec exists but was compiled out.
    #[error(
        "compression `{compression}` was compiled out; enable the cargo feature `{}` of rkafka-protocol",
        compression.name()
    )]
    Disabled {
        /// The codec; its cargo feature has the same name.
        compression: Compression,
    },
}

impl FromStr for Compression {
    type Err = CodecError;

    /// Reads Kafka's names, in lower case as Kafka does.
    fn from_str(name: &str) -> Result<Compression, CodecError> {
        Compression::ALL
            .into_iter()
            .find(|compression| compression.name() == name)
            .ok_or_else(|| CodecError::UnknownName { name: name.to_owned() })
    }
}

/// A codec with its level, checked (KIP-390).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Codec {
    compression: Compression,
    level: i32,
}

impl Codec {
    /// No compression.
    pub const NONE: Codec = Codec { compression: Compression::None, level: 0 };
    /// Kafka's default for `compression.gzip.level`: the codec's own default, which is 6.
    pub const GZIP_LEVEL_DEFAULT: i32 = -1;
    /// Kafka's default for `compression.lz4.level`. To Kafka it means the fast compressor.
    pub const LZ4_LEVEL_DEFAULT: i32 = 9;
    /// Kafka's default for `compression.zstd.level`.
    pub const ZSTD_LEVEL_DEFAULT: i32 = 3;

    /// The codec at its default level.
    pub const fn new(compression: Compression) -> Codec {
        let level = match compression {
            Compression::None | Compression::Snappy => 0,
            Compression::Gzip => Codec::GZIP_LEVEL_DEFAULT,
            Compression::Lz4 => Codec::LZ4_LEVEL_DEFAULT,
            Compression::Zstd => Codec::ZSTD_LEVEL_DEFAULT,
        };
        Codec { compression, level }
    }

    /// The codec at a level: gzip -1 or 1 to 9, zstd -131072 to 22, lz4 9 only (the other levels of Kafka need a
    /// compressor that this build does not have). `none` and `snappy` have no levels.
    ///
    /// # Errors
    /// The codec has no such level, or was compiled out.
    pub fn with_level(compression: Compression, level: i32) -> Result<Codec, CodecError> {
        if !compression.is_enabled() {
            return Err(CodecError::Disabled { compression });
        }
        let (fits, allowed) = match compression {
            Compression::None | Compression::Snappy => (false, "no level at all, for it has none"),
            Compression::Gzip => (level == -1 || (1..=9).contains(&level), "1 to 9, or -1 for its default"),
            Compression::Lz4 => {
                (level == Codec::LZ4_LEVEL_DEFAULT, "9 (Kafka's default), for rkafka has fast LZ4 only")
            }
            Compression::Zstd => ((-131_072..=22).contains(&level), "-131072 to 22"),
        };
        if fits {
            Ok(Codec { compression, level })
        } else {
            Err(CodecError::LevelOutOfRange { compression, level, allowed })
        }
    }

    /// The codec without its level.
    pub const fn compression(self) -> Compression {
        self.compression
    }

    /// The level; 0 where the codec has none.
    pub const fn level(self) -> i32 {
        self.level
    }
}

impl From<Compression> for Codec {
    fn from(compression: Compression) -> Codec {
        Codec::new(compression)
    }
}

/// Compression contexts of every codec, each made on first use and kept. One per thread or from a [`CompressorPool`].
#[derive(Default)]
pub struct Compressor {
    #[cfg(feature = "gzip")]
    gzip: Option<gzip::GzipCompressor>,
    #[cfg(feature = "snappy")]
    snappy: Option<Box<snap::raw::Encoder>>,
    #[cfg(feature = "lz4")]
    lz4: Option<Box<lz4::Lz4Compressor>>,
    #[cfg(feature = "zstd")]
    zstd: Option<zstd::ZstdCompressor>,
    /// The buffer that the last sealed batch gave back: the next batch is compressed into it.
    spare: Vec<u8>,
}

impl fmt::Debug for Compressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compressor").field("spare_capacity", &self.spare.capacity()).finish_non_exhaustive()
    }
}

impl Compressor {
    /// A compressor without any context yet.
    pub fn new() -> Compressor {
        Compressor::default()
    }

    /// Appends the compressed form of `input` to `output`.
    ///
    /// # Errors
    /// [`RecordError::CodecDisabled`], or [`RecordError::Compress`] if the codec fails; `output` then holds junk after
    /// its former end.
    pub fn compress(&mut self, codec: Codec, input: &[u8], output: &mut Vec<u8>) -> Result<(), RecordError> {
        match codec.compression {
            Compression::None => {
                output.extend_from_slice(input);
                Ok(())
            }
            #[cfg(feature = "gzip")]
            Compression::Gzip => gzip::compress(&mut self.gzip, codec.level, input, output),
            #[cfg(feature = "snappy")]
            Compression::Snappy => {
                snappy::compress(self.snappy.get_or_insert_with(|| Box::new(snap::raw::Encoder::new())), input, output)
            }
            #[cfg(feature = "lz4")]
            Compression::Lz4 => self.lz4.get_or_insert_default().compress(input, output),
            #[cfg(feature = "zstd")]
            Compression::Zstd => zstd::compress(&mut self.zstd, codec.level, input, output),
            #[cfg(not(all(feature = "gzip", feature = "snappy", feature = "lz4", feature = "zstd")))]
            compression => Err(RecordError::CodecDisabled { compression }),
        }
    }

    pub(super) fn take_spare(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.spare)
    }

    pub(super) fn keep_spare(&mut self, buffer: Vec<u8>) {
        if buffer.capacity() > self.spare.capacity() {
            self.spare = buffer;
        }
    }
}

/// Decompression contexts of every codec, each made on first use and kept.
#[derive(Default)]
pub struct Decompressor {
    #[cfg(feature = "gzip")]
    gzip: gzip::GzipDecompressor,
    #[cfg(feature = "snappy")]
    snappy: snap::raw::Decoder,
    #[cfg(feature = "zstd")]
    zstd: zstd::ZstdDecompressor,
}

impl fmt::Debug for Decompressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decompressor").finish_non_exhaustive()
    }
}

impl Decompressor {
    /// A decompressor without any context yet.
    pub fn new() -> Decompressor {
        Decompressor::default()
    }

    /// Appends the decompressed form of `input` to `output`, at most `limit` bytes of it.
    ///
    /// # Errors
    /// [`RecordError::DecompressedTooLarge`] beyond `limit`, [`RecordError::Decompress`] for damaged input,
    /// [`RecordError::CodecDisabled`]; `output` then holds at most `limit` bytes of junk after its former end.
    pub fn decompress(
        &mut self,
        compression: Compression,
        input: &[u8],
        output: &mut Vec<u8>,
        limit: usize,
    ) -> Result<(), RecordError> {
        match compression {
            Compression::None => {
                if input.len() > limit {
                    return Err(RecordError::DecompressedTooLarge { compression, limit });
                }
                output.extend_from_slice(input);
                Ok(())
            }
            #[cfg(feature = "gzip")]
            Compression::Gzip => self.gzip.decompress(input, output, limit),
            #[cfg(feature = "snappy")]
            Compression::Snappy => snappy::decompress(&mut self.snappy, input, output, limit),
            #[cfg(feature = "lz4")]
            Compression::Lz4 => lz4::decompress(input, output, limit),
            #[cfg(feature = "zstd")]
            Compression::Zstd => self.zstd.decompress(input, output, limit),
            #[cfg(not(all(feature = "gzip", feature = "snappy", feature = "lz4", feature = "zstd")))]
            compression => Err(RecordError::CodecDisabled { compression }),
        }
    }
}

#[cfg(any(feature = "gzip", feature = "snappy", feature = "lz4", feature = "zstd"))]
fn damaged(compression: Compression, message: impl fmt::Display) -> RecordError {
    RecordError::Decompress { compression, message: message.to_string().into_boxed_str() }
}

#[cfg(any(feature = "gzip", feature = "snappy", feature = "lz4", feature = "zstd"))]
fn failed(compression: Compression, message: impl fmt::Display) -> RecordError {
    RecordError::Compress { compression, message: message.to_string().into_boxed_str() }
}
