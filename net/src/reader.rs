//! Frames out of a stream.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, ReadBuf};

use crate::slab::SLAB_LEN;
use crate::{FrameError, SlabPool};

/// The length before each frame.
const LENGTH_LEN: usize = 4;
/// Frames up to this size are copied out of the slab: cheaper than giving up the slab, and a small message that somebody
/// keeps does not keep a slab with it.
const COPY_MAX: usize = 4 * 1024;
/// A slab is given up for the frames in it if they fill one part of so many; else they are copied out. Whoever keeps
/// frames keeps no more than so many times their size.
const SHARE_PART_MIN: usize = 4;
/// From this size on, the rest of a frame is read to its end and no further, so that nothing behind it has to move.
const READ_EXACT_MIN: usize = 16 * 1024;

/// Takes frames out of a stream. It holds what was read and not yet taken, so nothing is lost between two calls.
///
/// A buffer grows with the bytes that have come, never with a declared length, by doubling. A reader with nothing in it
/// that waits holds no buffer: idle connections cost none.
#[derive(Debug)]
pub struct FrameReader {
    pool: Arc<SlabPool>,
    max_frame: usize,
    /// All of it is initialised; `start..end` is what has been read and not yet taken. Empty while nothing is held.
    slab: Vec<u8>,
    start: usize,
    end: usize,
    /// A slab that was given up for a large frame: what of it has not been taken. It begins with a whole frame.
    shared: Bytes,
}

impl FrameReader {
    /// A reader that takes frames of at most `max_frame` bytes, into buffers from `pool`.
    pub fn new(max_frame: usize, pool: Arc<SlabPool>) -> Self {
        let max_frame = max_frame.min(i32::MAX as usize);
        Self { pool, max_frame, slab: Vec::new(), start: 0, end: 0, shared: Bytes::new() }
    }

    /// Changes the largest frame that is taken, from the next one on. A server may take little from a stranger.
    pub fn set_max_frame(&mut self, max_frame: usize) {
        self.max_frame = max_frame.min(i32::MAX as usize);
    }

    /// The next frame without its length, `None` at a clean end of the stream.
    ///
    /// A poll that finds a whole frame in the buffer does not touch the stream.
    ///
    /// # Errors
    /// The stream fails or ends inside a frame; a length is negative or beyond the limit.
    pub fn poll_frame<S: AsyncRead + Unpin>(
        &mut self,
        context: &mut Context<'_>,
        stream: &mut S,
    ) -> Poll<Result<Option<Bytes>, FrameError>> {
        loop {
            if let Some(frame) = self.take_frame()? {
                return Poll::Ready(Ok(Some(frame)));
            }
            let missing = self.make_room()?;
            let room = &mut self.slab[self.end..];
            let limit = if missing >= READ_EXACT_MIN { missing } else { SLAB_LEN };
            let limit = limit.min(room.len());
            let mut buffer = ReadBuf::new(&mut room[..limit]);
            let read = Pin::new(&mut *stream).poll_read(context, &mut buffer);
            if read.is_pending() && self.start == self.end {
                self.pool.give(std::mem::take(&mut self.slab));
                (self.start, self.end) = (0, 0);
                return Poll::Pending;
            }
            let read = {
                ready!(read)?;
                buffer.filled().len()
            };
            if read == 0 {
                let read = self.end - self.start;
                return Poll::Ready(if read == 0 { Ok(None) } else { Err(FrameError::Truncated { read }) });
            }
            self.end += read;
        }
    }

    /// The next frame without its length, `None` at a clean end of the stream. Cancel safe.
    ///
    /// # Errors
    /// As [`FrameReader::poll_frame`].
    pub async fn next<S: AsyncRead + Unpin>(&mut self, stream: &mut S) -> Result<Option<Bytes>, FrameError> {
        std::future::poll_fn(|context| self.poll_frame(context, stream)).await
    }

    /// A frame that lies in the buffer, whole.
    fn take_frame(&mut self) -> Result<Option<Bytes>, FrameError> {
        if self.shared.is_empty() {
            let Some(length) = self.whole_frame(&self.slab[self.start..self.end])? else { return Ok(None) };
            let from = self.start + LENGTH_LEN;
            // A slab that is mostly empty would be kept whole for the little that came.
            if length <= COPY_MAX || self.end - self.start < self.slab.len() / SHARE_PART_MIN {
                let frame = Bytes::copy_from_slice(&self.slab[from..from + length]);
                self.start = from + length;
                return Ok(Some(frame));
            }
            let shared = self.pool.share(std::mem::take(&mut self.slab));
            self.shared = shared.slice(self.start..self.end);
            (self.start, self.end) = (0, 0);
        }
        let Some(length) = self.whole_frame(&self.shared)? else { return Ok(None) };
        self.shared.advance(LENGTH_LEN);
        let mut frame = self.shared.split_to(length);
        if length <= COPY_MAX {
            frame = Bytes::copy_from_slice(&frame);
        }
        if !matches!(self.whole_frame(&self.shared), Ok(Some(_))) {
            // What is left is the beginning of a frame (or of nonsense, which is found out later). It moves to a slab
            // that can be read into; at most one read's worth, for large frames are read to their end only.
            let rest = std::mem::take(&mut self.shared);
            if !rest.is_empty() {
                self.slab = self.pool.take(rest.len().max(SLAB_LEN));
                if self.slab.len() < rest.len() {
                    self.slab.resize(rest.len(), 0);
                }
                self.slab[..rest.len()].copy_from_slice(&rest);
                (self.start, self.end) = (0, rest.len());
            }
        }
        Ok(Some(frame))
    }

    /// The declared length of the frame that `bytes` begin with, if its four bytes are there.
    fn declared(&self, bytes: &[u8]) -> Result<Option<usize>, FrameError> {
        let Some(length) = bytes.first_chunk::<LENGTH_LEN>() else { return Ok(None) };
        let length = i32::from_be_bytes(*length);
        match usize::try_from(length) {
            Ok(declared) if declared <= self.max_frame => Ok(Some(declared)),
            _ => Err(FrameError::BadLength { length, limit: self.max_frame }),
        }
    }

    /// The length of the frame that `bytes` begin with, if all of it is there.
    fn whole_frame(&self, bytes: &[u8]) -> Result<Option<usize>, FrameError> {
        Ok(self.declared(bytes)?.filter(|length| bytes.len() - LENGTH_LEN >= *length))
    }

    /// Makes room behind what is there, and says how many bytes the frame in progress still needs.
    fn make_room(&mut self) -> Result<usize, FrameError> {
        let there = self.end - self.start;
        let frame = self.declared(&self.slab[self.start..self.end])?.map_or(LENGTH_LEN, |length| length + LENGTH_LEN);
        if self.slab.is_empty() {
            self.slab = self.pool.take(SLAB_LEN);
        } else if self.start > 0 && (there == 0 || self.slab.len() - self.start < frame.max(SLAB_LEN / 4)) {
            self.slab.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, there);
        }
        if self.end == self.slab.len() {
            // Full, and the frame is not whole: it is larger than the slab. As many bytes again as have come.
            let larger = self.slab.len().saturating_mul(2).min(frame.max(SLAB_LEN));
            let mut grown = self.pool.take(frame);
            if grown.len() <= self.slab.len() {
                self.pool.give(grown);
                self.slab.resize(larger, 0);
            } else {
                grown[..there].copy_from_slice(&self.slab[self.start..self.end]);
                (self.start, self.end) = (0, there);
                self.pool.give(std::mem::replace(&mut self.slab, grown));
            }
        }
        Ok(frame - there)
    }
}

impl Drop for FrameReader {
    fn drop(&mut self) {
        self.pool.give(std::mem::take(&mut self.slab));
    }
}

#[cfg(test)]
#[path = "reader_tests.rs"]
mod tests;
