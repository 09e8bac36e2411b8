//! gzip (RFC 1952) by zlib-rs, with deflate states that are reset instead of made anew.

use std::io::Read;

use flate2::{Compress, FlushCompress, Status};

use super::{Compression, damaged, failed};
use crate::records::error::RecordError;

/// A deflate state and the level that it was made for.
pub(super) struct GzipCompressor {
    state: Compress,
    level: i32,
}

pub(super) fn compress(
    slot: &mut Option<GzipCompressor>,
    level: i32,
    input: &[u8],
    output: &mut Vec<u8>,
) -> Result<(), RecordError> {
    let kept = slot.take_if(|kept| kept.level != level).is_none();
    let compressor = slot.get_or_insert_with(|| GzipCompressor {
        state: Compress::new_gzip(
            u32::try_from(level).map_or_else(|_| flate2::Compression::default(), flate2::Compression::new),
            15,
        ),
        level,
    });
    if kept {
        compressor.state.reset();
    }
    let state = &mut compressor.state;
    // Deflate's worst case is a few bytes per 16 KiB; with this room one call does it all.
    output.reserve(input.len() + input.len() / 1000 + 64);
    loop {
        let read = usize::try_from(state.total_in()).unwrap_or(usize::MAX);
        let rest = input.get(read..).unwrap_or_default();
        match state.compress_vec(rest, output, FlushCompress::Finish) {
            Ok(Status::StreamEnd) => return Ok(()),
            Ok(Status::Ok | Status::BufError) => output.reserve(4096),
            Err(error) => return Err(failed(Compression::Gzip, error)),
        }
    }
}

/// Reads gzip members one after the other.
#[derive(Default)]
pub(super) struct GzipDecompressor;

impl GzipDecompressor {
    pub(super) fn decompress(&mut self, input: &[u8], output: &mut Vec<u8>, limit: usize) -> Result<(), RecordError> {
        let start = output.len();
        let mut reader = flate2::bufread::MultiGzDecoder::new(input).take((limit as u64).saturating_add(1));
        reader.read_to_end(output).map_err(|error| damaged(Compression::Gzip, error))?;
        if output.len() - start > limit {
            output.truncate(start + limit);
            return Err(RecordError::DecompressedTooLarge { compression: Compression::Gzip, limit });
        }
        Ok(())
    }
}
