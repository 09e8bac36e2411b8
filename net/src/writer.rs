//! Frames into a stream.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rkafka_protocol::wire::Writer;
use tokio::io::AsyncWrite;

/// How many pieces one vectored write takes; the system's own limit is 1,024.
const SLICES_MAX: usize = 64;
/// Heads of frames that are kept for the next ones, and how large each may be.
const SPARE_MAX: usize = 4;
const SPARE_LEN_MAX: usize = 64 * 1024;

/// Puts frames into a stream, in the order they were enqueued. It remembers how far it came, so a flush that is given up
/// goes on where it stopped and never tears a frame.
#[derive(Debug, Default)]
pub struct FrameWriter {
    queue: VecDeque<Writer>,
    /// How many bytes of the first frame have been written.
    front_written: usize,
    queued_bytes: usize,
    frames_written: u64,
    needs_flush: bool,
    spare: Vec<Vec<u8>>,
}

impl FrameWriter {
    /// A writer with nothing to write.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty [`Writer`] for the next frame, in a buffer that an earlier frame has left.
    pub fn buffer(&mut self) -> Writer {
        self.spare.pop().map_or_else(Writer::new, Writer::with_buffer)
    }

    /// Adds a frame, its length included ([`Writer::begin_frame`], [`Writer::end_frame`]); nothing is written yet.
    /// Gives the frame's number, counted from 0, for [`FrameWriter::has_begun`].
    pub fn enqueue(&mut self, frame: Writer) -> u64 {
        let number = self.frames_written + self.queue.len() as u64;
        self.queued_bytes += frame.len();
        self.queue.push_back(frame);
        number
    }

    /// Whether everything has been written and flushed.
    pub fn is_idle(&self) -> bool {
        self.queue.is_empty() && !self.needs_flush
    }

    /// How many bytes wait to be written, for whoever must not queue without end.
    pub fn queued_bytes(&self) -> usize {
        self.queued_bytes - self.front_written
    }

    /// Whether at least one byte of the frame with this number was given to the stream, so that the peer may have it.
    pub fn has_begun(&self, number: u64) -> bool {
        number < self.frames_written || (number == self.frames_written && self.front_written > 0)
    }

    /// Whether all of the frame with this number was given to the stream.
    pub fn is_written(&self, number: u64) -> bool {
        number < self.frames_written
    }

    /// Writes until nothing is left or the stream takes no more, many frames with one call to the system.
    ///
    /// # Errors
    /// The stream fails; it is of no use afterwards.
    pub fn poll_flush<S: AsyncWrite + Unpin>(
        &mut self,
        context: &mut Context<'_>,
        stream: &mut S,
    ) -> Poll<io::Result<()>> {
        while !self.queue.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let mut filled = 0;
            let mut skip = self.front_written;
            for frame in &self.queue {
                filled += frame.io_slices(skip, &mut slices[filled..]);
                skip = 0;
                if filled == SLICES_MAX {
                    break;
                }
            }
            if filled > 0 {
                let written = ready!(Pin::new(&mut *stream).poll_write_vectored(context, &slices[..filled]))?;
                if written == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                self.front_written += written;
                self.needs_flush = true;
            }
            self.drop_written();
        }
        if self.needs_flush {
            ready!(Pin::new(stream).poll_flush(context))?;
            self.needs_flush = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Writes everything. Cancel safe: a later flush goes on where this one stopped.
    ///
    /// # Errors
    /// As [`FrameWriter::poll_flush`].
    pub async fn flush<S: AsyncWrite + Unpin>(&mut self, stream: &mut S) -> io::Result<()> {
        std::future::poll_fn(|context| self.poll_flush(context, stream)).await
    }

    fn drop_written(&mut self) {
        while let Some(frame) = self.queue.front() {
            let length = frame.len();
            if length > self.front_written {
                break;
            }
            self.front_written -= length;
            self.queued_bytes -= length;
            self.frames_written += 1;
            let head = self.queue.pop_front().map(Writer::into_buffer).unwrap_or_default();
            if self.spare.len() < SPARE_MAX && head.capacity() <= SPARE_LEN_MAX {
                self.spare.push(head);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tokio::io::AsyncReadExt;

    use super::*;

    fn frame(bytes: &[u8]) -> Writer {
        let mut writer = Writer::new();
        writer.begin_frame();
        writer.raw(&Bytes::copy_from_slice(bytes));
        writer.end_frame().unwrap();
        writer
    }

    #[tokio::test]
    async fn a_flush_given_up_goes_on_where_it_stopped() {
        let (mut near, mut far) = tokio::io::duplex(7);
        let mut writer = FrameWriter::new();
        let payloads: Vec<Vec<u8>> = [3usize, 0, 5_000, 1, 100].iter().map(|n| vec![*n as u8; *n]).collect();
        for (at, payload) in payloads.iter().enumerate() {
            assert_eq!(writer.enqueue(frame(payload)), at as u64);
        }
        assert!(!writer.has_begun(0));
        let mut sent = Vec::new();
        while !writer.is_idle() {
            tokio::select! {
                biased;
                done = writer.flush(&mut near) => done.unwrap(),
                byte = far.read_u8() => sent.push(byte.unwrap()),
            }
        }
        drop(near);
        far.read_to_end(&mut sent).await.unwrap();
        let expected: Vec<u8> = payloads
            .iter()
            .flat_map(|payload| [(payload.len() as i32).to_be_bytes().to_vec(), payload.clone()].concat())
            .collect();
        assert_eq!(sent, expected);
        assert!(writer.has_begun(4) && !writer.has_begun(5));
        assert_eq!(writer.queued_bytes(), 0);
    }
}
