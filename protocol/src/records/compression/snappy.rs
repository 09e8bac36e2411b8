//! Snappy in the framing of the xerial library, which is what Java clients write; librdkafka writes one raw block.

use super::{Compression, damaged, failed};
use crate::records::error::RecordError;

const MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
/// Version and least compatible version follow the magic, four bytes each.
const VERSION: i32 = 1;
const HEADER_LEN: usize = 16;
const BLOCK_LEN: usize = 32 * 1024;
/// A snappy block of n bytes cannot decompress to more than about 21 n (a copy of 64 bytes takes 3), so a declared
/// length beyond that is a lie, told before a byte is allocated.
const MAX_EXPANSION: usize = 32;

pub(super) fn compress(
    encoder: &mut snap::raw::Encoder,
    input: &[u8],
    output: &mut Vec<u8>,
) -> Result<(), RecordError> {
    output.reserve(HEADER_LEN + snap::raw::max_compress_len(input.len().min(BLOCK_LEN)) + 4);
    output.extend_from_slice(&MAGIC);
    output.extend_from_slice(&VERSION.to_be_bytes());
    output.extend_from_slice(&VERSION.to_be_bytes());
    for block in input.chunks(BLOCK_LEN) {
        let length_at = output.len();
        let block_at = length_at + 4;
        output.resize(block_at + snap::raw::max_compress_len(block.len()), 0);
        let length =
            encoder.compress(block, &mut output[block_at..]).map_err(|error| failed(Compression::Snappy, error))?;
        output.truncate(block_at + length);
        // At most 38 KiB, so the length fits.
        output[length_at..block_at].copy_from_slice(&(length as i32).to_be_bytes());
    }
    Ok(())
}

pub(super) fn decompress(
    decoder: &mut snap::raw::Decoder,
    input: &[u8],
    output: &mut Vec<u8>,
    limit: usize,
) -> Result<(), RecordError> {
    let start = output.len();
    if !input.starts_with(&MAGIC) {
        return block(decoder, input, output, start, limit);
    }
    let Some(header) = input.first_chunk::<HEADER_LEN>() else {
        return Err(damaged(Compression::Snappy, "the stream header is cut off"));
    };
    let compatible = i32::from_be_bytes([header[12], header[13], header[14], header[15]]);
    if compatible > VERSION {
        return Err(damaged(
            Compression::Snappy,
            format_args!("the stream needs a reader of version {compatible}, this one has version {VERSION}"),
        ));
    }
    let mut rest = &input[HEADER_LEN..];
    while !rest.is_empty() {
        // Streams may be concatenated: a header may come again at any block boundary.
        if let Some(next) = rest.strip_prefix(&MAGIC)
            && let Some((_versions, next)) = next.split_first_chunk::<8>()
        {
            rest = next;
            continue;
        }
        let Some((length, after)) = rest.split_first_chunk::<4>() else {
            return Err(damaged(Compression::Snappy, "a block length is cut off"));
        };
        let length = i32::from_be_bytes(*length);
        let Some((compressed, after)) = usize::try_from(length).ok().and_then(|length| after.split_at_checked(length))
        else {
            return Err(damaged(
                Compression::Snappy,
                format_args!("a block declares {length} bytes, but {} are left", after.len()),
            ));
        };
        block(decoder, compressed, output, start, limit)?;
        rest = after;
    }
    Ok(())
}

/// One raw block; all output from `stream_start` on may take `limit` bytes.
fn block(
    decoder: &mut snap::raw::Decoder,
    input: &[u8],
    output: &mut Vec<u8>,
    stream_start: usize,
    limit: usize,
) -> Result<(), RecordError> {
    let length = snap::raw::decompress_len(input).map_err(|error| damaged(Compression::Snappy, error))?;
    if length > limit - (output.len() - stream_start) {
        return Err(RecordError::DecompressedTooLarge { compression: Compression::Snappy, limit });
    }
    if length > input.len().saturating_mul(MAX_EXPANSION) {
        return Err(damaged(
            Compression::Snappy,
            format_args!("a block of {} bytes cannot hold the {length} bytes that it declares", input.len()),
        ));
    }
    let start = output.len();
    output.resize(start + length, 0);
    match decoder.decompress(input, &mut output[start..]) {
        Ok(written) => {
            output.truncate(start + written);
            Ok(())
        }
        Err(error) => {
            output.truncate(start);
            Err(damaged(Compression::Snappy, error))
        }
    }
}
