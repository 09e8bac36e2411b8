//! Kafka frames over a stream, for clients and brokers.
//!
//! A frame is a length of four bytes and that many bytes after it. [`FrameReader`] takes frames out of a stream,
//! [`FrameWriter`] puts them into one, and [`Framed`] holds a stream with both. None of them spawns, waits on a channel
//! or knows what is in a frame. They run over any stream of bytes; [`Stream`] is the one that connections have.
//!
//! What makes it quick:
//! * One read may bring many frames, and one vectored write takes many away.
//! * A large frame is handed out as a slice of the buffer that it was read into. The buffer (a "slab") comes back to its
//!   [`SlabPool`] when the last slice of it is gone, so that steady traffic neither allocates nor zeroes nor faults pages.
//! * Record batches that were spliced into a frame are written from where they lie.

mod address;
mod dial;
mod error;
mod framed;
mod listen;
mod reader;
mod slab;
mod stream;
mod writer;

pub use address::{AddressError, HostPort};
pub use dial::{Dial, DialError, DialFuture, DialOptions, TcpDial, dial};
pub use error::FrameError;
pub use framed::Framed;
pub use listen::{Accept, AcceptFuture, Listener};
pub use reader::FrameReader;
pub use slab::SlabPool;
pub use stream::{ByteStream, Stream};
pub use writer::FrameWriter;
