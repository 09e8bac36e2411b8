//! Zstandard with kept contexts, straight into the output: no window buffer is allocated for what a frame declares.

use std::io::Cursor;

use zstd::zstd_safe::{self, CCtx, DCtx, zstd_sys::ZSTD_ErrorCode};

use super::{Compression, damaged, failed};
use crate::records::error::RecordError;

/// The least room that decompression tries with.
const FIRST_CAPACITY: usize = 64 * 1024;
/// Room for the first try, as a multiple of the input; each further try has four times more.
const FIRST_EXPANSION: usize = 8;

pub(super) struct ZstdCompressor {
    context: CCtx<'static>,
}

pub(super) fn compress(
    slot: &mut Option<ZstdCompressor>,
    level: i32,
    input: &[u8],
    output: &mut Vec<u8>,
) -> Result<(), RecordError> {
    let compressor = slot.get_or_insert_with(|| ZstdCompressor { context: CCtx::create() });
    let start = output.len();
    output.reserve(zstd_safe::compress_bound(input.len()));
    let mut target = Cursor::new(&mut *output);
    target.set_position(start as u64);
    compressor
        .context
        .compress(&mut target, input, level)
        .map(drop)
        .map_err(|code| failed(Compression::Zstd, zstd_safe::get_error_name(code)))
}

#[derive(Default)]
pub(super) struct ZstdDecompressor {
    context: Option<DCtx<'static>>,
}

impl ZstdDecompressor {
    pub(super) fn decompress(&mut self, input: &[u8], output: &mut Vec<u8>, limit: usize) -> Result<(), RecordError> {
        let start = output.len();
        let too_large = || RecordError::DecompressedTooLarge { compression: Compression::Zstd, limit };
        // Java's frames do not say how long their content is; ours and librdkafka's do. What is said serves to make the
        // first try no larger than needed, and never larger than the bytes at hand can justify.
        let declared = zstd_safe::get_frame_content_size(input)
            .map_err(|_| damaged(Compression::Zstd, "the data do not begin with a zstd frame"))?;
        let declared = declared.map_or(usize::MAX, |size| usize::try_from(size).unwrap_or(usize::MAX));
        let mut room =
            input.len().saturating_mul(FIRST_EXPANSION).max(FIRST_CAPACITY).min(limit).min(declared.saturating_add(1));
        let context = self.context.get_or_insert_with(DCtx::create);
        loop {
            output.reserve_exact(room);
            let mut target = Cursor::new(&mut *output);
            target.set_position(start as u64);
            match context.decompress(&mut target, input) {
                Ok(_) if output.len() - start > limit => {
                    output.truncate(start + limit);
                    return Err(too_large());
                }
                Ok(_) => return Ok(()),
                Err(code) if zstd_safe::is_error_kind(code, ZSTD_ErrorCode::ZSTD_error_dstSize_tooSmall) => {
                    output.truncate(start);
                    let tried = output.capacity() - start;
                    if tried >= limit {
                        return Err(too_large());
                    }
                    room = tried.max(FIRST_CAPACITY).saturating_mul(4).min(limit);
                }
                Err(code) => {
                    output.truncate(start);
                    return Err(damaged(Compression::Zstd, zstd_safe::get_error_name(code)));
                }
            }
        }
    }
}
