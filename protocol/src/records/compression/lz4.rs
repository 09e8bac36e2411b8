//! LZ4 frames: 64 KiB independent blocks when writing, as Kafka's own; any frame when reading.

use std::io::{Read, Write};

use lz4_flex::frame::{BlockMode, BlockSize, FrameDecoder, FrameEncoder, FrameInfo};

use super::{Compression, damaged, failed};
use crate::records::error::RecordError;

/// The only frame magic that Kafka knows (not the legacy one, not skippable frames).
const MAGIC: [u8; 4] = [0x04, 0x22, 0x4d, 0x18];

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

pub(super) fn decompress(input: &[u8], output: &mut Vec<u8>, limit: usize) -> Result<(), RecordError> {
    if !input.starts_with(&MAGIC) {
        return Err(damaged(Compression::Lz4, "the data do not begin with an LZ4 frame"));
    }
    let start = output.len();
    let mut reader = FrameDecoder::new(input).take((limit as u64).saturating_add(1));
    reader.read_to_end(output).map_err(|error| damaged(Compression::Lz4, error))?;
    if output.len() - start > limit {
        output.truncate(start + limit);
        return Err(RecordError::DecompressedTooLarge { compression: Compression::Lz4, limit });
    }
    Ok(())
}
