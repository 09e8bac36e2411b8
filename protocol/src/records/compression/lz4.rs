//! LZ4 frames: 64 KiB independent blocks when writing, as Kafka's own; any frame when reading.
//!
//! Frames are read by hand, block by block straight into the output. A frame's header may announce blocks of 4 MiB (the
//! default of some Go clients), and a reader that keeps a buffer of that size clears it for every batch, however small.
//!
//! Source: <https://github.com/lz4/lz4/blob/dev/doc/lz4_Frame_format.md>

use std::io::Write;

use lz4_flex::block::{DecompressError, decompress_into, decompress_into_with_dict};
use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};

use super::xxhash::xxh32;
use super::{Compression, damaged, failed};
use crate::records::error::RecordError;

/// The only frame magic that Kafka knows (not the legacy one, not skippable frames).
const MAGIC: [u8; 4] = [0x04, 0x22, 0x4d, 0x18];
/// In the length of a block: its bytes are not compressed.
const PLAIN_BLOCK: u32 = 0x8000_0000;
/// How far back a linked block may refer.
const WINDOW_LEN: usize = 64 * 1024;
/// A block of n bytes cannot decompress to more than 255 n.
const MAX_EXPANSION: usize = 255;
/// Room for the first try at a block, as a multiple of its size.
const FIRST_EXPANSION: usize = 16;

/// An encoder whose hash table and block buffers are kept; its output is swapped in for each batch.
pub(super) struct Lz4Compressor {
    encoder: FrameEncoder<Vec<u8>>,
}

impl Default for Lz4Compressor {
    fn default() -> Lz4Compressor {
        let info = FrameInfo::new().block_size(BlockSize::Max64KB).block_mode(BlockMode::Independent);
        Lz4Compressor { encoder: FrameEncoder::with_frame_info(info, Vec::new()) }
    }
}

impl Lz4Compressor {
    pub(super) fn compress(&mut self, input: &[u8], output: &mut Vec<u8>) -> Result<(), RecordError> {
        std::mem::swap(self.encoder.get_mut(), output);
        let result = match self.encoder.write_all(input) {
            Ok(()) => self.encoder.try_finish().map_err(|error| failed(Compression::Lz4, error)),
            Err(error) => Err(failed(Compression::Lz4, error)),
        };
        std::mem::swap(self.encoder.get_mut(), output);
        result
    }
}

fn bad(message: &str) -> RecordError {
    damaged(Compression::Lz4, message)
}

/// What the header of a frame says.
struct Header {
    is_linked: bool,
    has_block_checksums: bool,
    has_content_checksum: bool,
    content_size: Option<u64>,
    block_len_max: usize,
}

fn take<const N: usize>(input: &mut &[u8], what: &str) -> Result<[u8; N], RecordError> {
    let Some((bytes, rest)) = input.split_first_chunk::<N>() else {
        return Err(bad(&format!("{what} is cut off")));
    };
    *input = rest;
    Ok(*bytes)
}

impl Header {
    fn read(input: &mut &[u8]) -> Result<Header, RecordError> {
        let descriptor = *input;
        let [flags, sizes] = take(input, "the frame header")?;
        if flags >> 6 != 1 {
            return Err(bad("the frame has an unknown version"));
        }
        if flags & 0x02 != 0 || sizes & 0x8f != 0 {
            return Err(bad("the frame header has reserved bits set"));
        }
        if flags & 0x01 != 0 {
            return Err(bad("the frame needs a dictionary"));
        }
        let block_len_max = match sizes >> 4 {
            4 => 64 * 1024,
            5 => 256 * 1024,
            6 => 1024 * 1024,
            7 => 4 * 1024 * 1024,
            _ => return Err(bad("the frame has an unknown block size")),
        };
        let content_size =
            if flags & 0x08 == 0 { None } else { Some(u64::from_le_bytes(take(input, "the frame header")?)) };
        let covered = descriptor.len() - input.len();
        let [checksum] = take(input, "the frame header")?;
        if checksum != (xxh32(&descriptor[..covered]) >> 8) as u8 {
            return Err(bad("the checksum of the frame header does not match"));
        }
        Ok(Header {
            is_linked: flags & 0x20 == 0,
            has_block_checksums: flags & 0x10 != 0,
            has_content_checksum: flags & 0x04 != 0,
            content_size,
            block_len_max,
        })
    }
}

/// Reads the first frame; what follows it is passed over, as in Java.
pub(super) fn decompress(input: &[u8], output: &mut Vec<u8>, limit: usize) -> Result<(), RecordError> {
    let Some(mut input) = input.strip_prefix(&MAGIC) else {
        return Err(bad("the data do not begin with an LZ4 frame"));
    };
    let start = output.len();
    let header = Header::read(&mut input)?;
    loop {
        let length = u32::from_le_bytes(take(&mut input, "a block length")?);
        if length == 0 {
            break;
        }
        let is_plain = length & PLAIN_BLOCK != 0;
        let Some((block, rest)) = input.split_at_checked((length & !PLAIN_BLOCK) as usize) else {
            return Err(bad("a block is cut off"));
        };
        input = rest;
        if header.has_block_checksums && u32::from_le_bytes(take(&mut input, "a block checksum")?) != xxh32(block) {
            return Err(bad("the checksum of a block does not match"));
        }
        // No block is empty, so each takes its part of the limit or of the input.
        if is_plain {
            if block.len() > header.block_len_max {
                return Err(bad("a block is larger than the frame allows"));
            }
            if block.len() > limit - (output.len() - start) {
                return Err(RecordError::DecompressedTooLarge { compression: Compression::Lz4, limit });
            }
            output.extend_from_slice(block);
        } else {
            unpack_block(block, &header, output, start, limit)?;
        }
    }
    let content = &output[start..];
    if header.content_size.is_some_and(|size| size != content.len() as u64) {
        return Err(bad("the content has another size than the frame says"));
    }
    if header.has_content_checksum && u32::from_le_bytes(take(&mut input, "the checksum")?) != xxh32(content) {
        return Err(bad("the checksum of the content does not match"));
    }
    Ok(())
}

fn unpack_block(
    block: &[u8],
    header: &Header,
    output: &mut Vec<u8>,
    start: usize,
    limit: usize,
) -> Result<(), RecordError> {
    let at = output.len();
    let most = header.block_len_max.min(block.len().saturating_mul(MAX_EXPANSION));
    let room_max = most.min(limit - (at - start));
    let mut room = room_max.min(block.len().saturating_mul(FIRST_EXPANSION));
    loop {
        output.resize(at + room, 0);
        let (before, target) = output.split_at_mut(at);
        let result = if header.is_linked {
            let window = &before[start..];
            decompress_into_with_dict(block, target, &window[window.len().saturating_sub(WINDOW_LEN)..])
        } else {
            decompress_into(block, target)
        };
        match result {
            Ok(written) => {
                output.truncate(at + written);
                return Ok(());
            }
            Err(DecompressError::OutputTooSmall { .. }) if room < room_max => room = room_max,
            Err(error) => {
                output.truncate(at);
                let is_limit = room < most && matches!(error, DecompressError::OutputTooSmall { .. });
                return Err(if is_limit {
                    RecordError::DecompressedTooLarge { compression: Compression::Lz4, limit }
                } else {
                    damaged(Compression::Lz4, error)
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(info: FrameInfo, content: &[u8]) -> Vec<u8> {
        let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    /// Texts that compress well, badly and not at all, of up to several blocks.
    fn contents() -> Vec<Vec<u8>> {
        let mut state = 1u32;
        let mut noise = |range: u32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 16) % range
        };
        let mut contents = vec![Vec::new(), vec![7], vec![0; 300_000]];
        for (length, range) in [(10, 256), (5_000, 4), (200_000, 256), (200_000, 3)] {
            contents.push((0..length).map(|_| noise(range) as u8).collect());
        }
        contents.push((0..30_000).flat_map(|n| format!("line {} of many\n", n % 700).into_bytes()).collect());
        contents
    }

    #[test]
    fn every_kind_of_frame_is_read() {
        for content in contents() {
            for size in [BlockSize::Max64KB, BlockSize::Max256KB, BlockSize::Max1MB, BlockSize::Max4MB] {
                for mode in [BlockMode::Independent, BlockMode::Linked] {
                    for checks in [false, true] {
                        let info = FrameInfo::new()
                            .block_size(size)
                            .block_mode(mode)
                            .block_checksums(checks)
                            .content_checksum(checks)
                            .content_size(checks.then_some(content.len() as u64));
                        let framed = frame(info, &content);
                        let mut output = b"before".to_vec();
                        decompress(&framed, &mut output, content.len()).unwrap();
                        assert_eq!(&output[..6], b"before");
                        assert!(output[6..] == content[..], "{size:?} {mode:?} {checks}");
                        if !content.is_empty() {
                            let short = decompress(&framed, &mut Vec::new(), content.len() - 1);
                            let is_told = matches!(short, Err(RecordError::DecompressedTooLarge { .. }));
                            assert!(is_told, "{size:?} {mode:?} {checks} {short:?}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn damage_is_found_wherever_it_is() {
        let content = b"some words, some words, some more words, and some words again".repeat(20);
        let info =
            FrameInfo::new().block_checksums(true).content_checksum(true).content_size(Some(content.len() as u64));
        let framed = frame(info, &content);
        for at in 0..framed.len() {
            let mut bad = framed.clone();
            bad[at] ^= 0x10;
            assert!(decompress(&bad, &mut Vec::new(), 1 << 20).is_err(), "byte {at}");
            assert!(decompress(&framed[..at], &mut Vec::new(), 1 << 20).is_err(), "cut at {at}");
        }
    }

    /// The least time of several runs over many small frames, whose blocks may be as large as `size`.
    #[expect(clippy::disallowed_methods, reason = "the cost of one kind of frame is compared with that of another")]
    fn cost(size: BlockSize) -> std::time::Duration {
        let framed = frame(FrameInfo::new().block_size(size), &[7; 100]);
        let run = || {
            let begun = std::time::Instant::now();
            for _ in 0..50 {
                decompress(&framed, &mut Vec::new(), 1 << 20).unwrap();
            }
            begun.elapsed()
        };
        (0..7).map(|_| run()).min().unwrap_or_default()
    }

    #[test]
    fn a_small_frame_costs_little_whatever_it_announces() {
        let (small, large) = (cost(BlockSize::Max64KB), cost(BlockSize::Max4MB));
        assert!(large < small * 8, "{small:?} with blocks of up to 64 KiB, {large:?} with 4 MiB");
    }
}
