//! Walking over the batches of a segment file, header by header.

use std::io;

use bytes::Bytes;

use super::batch::{self, HEADER_BYTES, Header, Malformed};
use crate::storage::StorageFile;

/// How much a walk over headers reads at a time.
const WINDOW_BYTES: usize = 64 * 1024;
/// How much it reads where batches are so large that most of a window would be skipped.
const SMALL_WINDOW_BYTES: usize = 512;
/// How much a walk that needs every byte reads at a time: what stays in the processor's cache between the copy and the
/// checksum.
const FULL_WINDOW_BYTES: usize = 256 * 1024;

/// Why a walk stopped before the end.
#[derive(Debug)]
pub(crate) enum WalkError {
    Io(io::Error),
    Malformed { position: u64, reason: Malformed },
}

/// A position in a file, from which batch after batch is read.
#[derive(Debug)]
pub(crate) struct Walk<'a> {
    file: &'a dyn StorageFile,
    position: u64,
    end: u64,
    window: Bytes,
    window_start: u64,
    window_bytes: usize,
    whole_batches: bool,
}

impl<'a> Walk<'a> {
    /// A walk that looks at headers only.
    pub fn headers(file: &'a dyn StorageFile, position: u64, end: u64) -> Self {
        let window_bytes = WINDOW_BYTES;
        Walk { file, position, end, window: Bytes::new(), window_start: 0, window_bytes, whole_batches: false }
    }

    /// A walk that reads every byte.
    pub fn whole_batches(file: &'a dyn StorageFile, position: u64, end: u64) -> Self {
        let window_bytes = FULL_WINDOW_BYTES;
        Walk { file, position, end, window: Bytes::new(), window_start: 0, window_bytes, whole_batches: true }
    }

    /// The bytes from `position` on, at least `len` of them unless the file ends before.
    fn bytes_at(&mut self, position: u64, len: usize) -> io::Result<Bytes> {
        let held = position
            .checked_sub(self.window_start)
            .and_then(|skip| usize::try_from(skip).ok())
            .filter(|skip| skip.checked_add(len).is_some_and(|needed| needed <= self.window.len()));
        if let Some(skip) = held {
            return Ok(self.window.slice(skip..));
        }
        let left = usize::try_from(self.end.saturating_sub(position)).unwrap_or(usize::MAX);
        self.window = self.file.read_at(position, left.min(len.max(self.window_bytes)))?;
        self.window_start = position;
        Ok(self.window.clone())
    }

    /// The next batch: where it begins, its header, and its bytes (in a walk over headers just those that were at hand,
    /// unless it is a control batch). `None` at the end of the file.
    pub fn next(&mut self) -> Result<Option<(u64, Header, Bytes)>, WalkError> {
        let position = self.position;
        if position >= self.end {
            return Ok(None);
        }
        let bytes = self.bytes_at(position, HEADER_BYTES).map_err(WalkError::Io)?;
        let header = batch::read_stored(&bytes).map_err(|reason| WalkError::Malformed { position, reason })?;
        let next = position + header.total_len() as u64;
        if next > self.end {
            let reason = Malformed::Fields("it ends beyond the end of the file".to_owned());
            return Err(WalkError::Malformed { position, reason });
        }
        // What a control batch says is in its record, and such a batch is small.
        let bytes = if self.whole_batches || header.attributes.is_control() {
            let mut bytes = self.bytes_at(position, header.total_len()).map_err(WalkError::Io)?;
            if bytes.len() < header.total_len() {
                return Err(WalkError::Malformed { position, reason: Malformed::Short });
            }
            bytes.truncate(header.total_len());
            bytes
        } else {
            self.window_bytes = if header.total_len() > WINDOW_BYTES { SMALL_WINDOW_BYTES } else { WINDOW_BYTES };
            bytes
        };
        self.position = next;
        Ok(Some((position, header, bytes)))
    }
}
