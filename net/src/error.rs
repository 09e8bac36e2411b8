//! What can go wrong with a frame on its way in.

use std::io;

use thiserror::Error;

/// A stream that does not bring frames. The stream is of no use afterwards.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FrameError {
    /// Reading or writing failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The peer closed the stream inside a frame.
    #[error("the peer closed the connection inside a frame, after {read} of its bytes")]
    Truncated {
        /// How many bytes of the frame had come, its length included.
        read: usize,
    },
    /// The declared length is negative or beyond the limit.
    #[error("the peer announced a frame of {length} bytes, {}", limit_text(*.length, *.limit))]
    BadLength {
        /// The length as declared.
        length: i32,
        /// The longest frame that is taken.
        limit: usize,
    },
}

/// The first four bytes of other protocols make lengths that give them away.
fn limit_text(length: i32, limit: usize) -> String {
    let bytes = length.to_be_bytes();
    match bytes {
        [b'H', b'T', b'T', b'P'] | [b'G', b'E', b'T', b' '] | [b'P', b'O', b'S', b'T'] => {
            "which is the beginning of HTTP: this is not a port that speaks Kafka".to_owned()
        }
        [0x15 | 0x16, 0x03, ..] => {
            "which is the beginning of TLS: one side of the connection has TLS and the other has not".to_owned()
        }
        _ => format!("but at most {limit} are taken"),
    }
}
