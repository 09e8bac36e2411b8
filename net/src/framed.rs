//! A stream with its reader and its writer.

use std::io;
use std::task::{Context, Poll};

use bytes::Bytes;
use rkafka_protocol::wire::Writer;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::{FrameError, FrameReader, FrameWriter};

/// A stream that one task owns, with what is on its way in and out. No lock and no channel is between them.
#[derive(Debug)]
pub struct Framed<S> {
    stream: S,
    reader: FrameReader,
    writer: FrameWriter,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Framed<S> {
    /// A stream, with frames read by `reader`.
    pub fn new(stream: S, reader: FrameReader) -> Self {
        Self { stream, reader, writer: FrameWriter::new() }
    }

    /// The frames on their way out.
    pub fn writer(&mut self) -> &mut FrameWriter {
        &mut self.writer
    }

    /// The frames on their way in.
    pub fn reader(&mut self) -> &mut FrameReader {
        &mut self.reader
    }

    /// The stream itself. To write to it while frames are queued would tear them.
    pub fn get_ref(&self) -> &S {
        &self.stream
    }

    /// The stream, its reader and its writer apart.
    pub fn into_parts(self) -> (S, FrameReader, FrameWriter) {
        (self.stream, self.reader, self.writer)
    }

    /// Adds a frame; nothing is written before the next poll. Gives its number, as [`FrameWriter::enqueue`].
    pub fn enqueue(&mut self, frame: Writer) -> u64 {
        self.writer.enqueue(frame)
    }

    /// Writes what is queued.
    ///
    /// # Errors
    /// The stream fails.
    pub fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writer.poll_flush(context, &mut self.stream)
    }

    /// The next frame, `None` at a clean end of the stream. What is queued is not written by this.
    ///
    /// # Errors
    /// As [`FrameReader::poll_frame`].
    pub fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Bytes>, FrameError>> {
        self.reader.poll_frame(context, &mut self.stream)
    }

    /// Writes what is queued and waits for the next frame, both at once: a peer that reads only after its answer was
    /// taken stands in nobody's way.
    ///
    /// # Errors
    /// As [`FrameReader::poll_frame`], or the stream fails in writing.
    pub fn poll_drive(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Bytes>, FrameError>> {
        let written = if self.writer.is_idle() { Poll::Ready(Ok(())) } else { self.poll_flush(context) };
        match self.poll_frame(context) {
            // An answer may have come before the peer closed; only when there is none does a failed write count.
            Poll::Pending => match written {
                Poll::Ready(Err(error)) => Poll::Ready(Err(error.into())),
                _ => Poll::Pending,
            },
            ready => ready,
        }
    }

    /// As [`Framed::poll_drive`]. Cancel safe.
    ///
    /// # Errors
    /// As [`Framed::poll_drive`].
    pub async fn drive(&mut self) -> Result<Option<Bytes>, FrameError> {
        std::future::poll_fn(|context| self.poll_drive(context)).await
    }

    /// As [`Framed::poll_frame`]. Cancel safe.
    ///
    /// # Errors
    /// As [`FrameReader::poll_frame`].
    pub async fn next(&mut self) -> Result<Option<Bytes>, FrameError> {
        std::future::poll_fn(|context| self.poll_frame(context)).await
    }

    /// As [`Framed::poll_flush`]. Cancel safe: a later flush goes on where this one stopped.
    ///
    /// # Errors
    /// The stream fails.
    pub async fn flush(&mut self) -> io::Result<()> {
        std::future::poll_fn(|context| self.poll_flush(context)).await
    }
}
