//! What can go wrong, and what to do about it.

use std::sync::Arc;

use rkafka_protocol::ErrorCode;
use rkafka_protocol::records::RecordError;

/// What went wrong with one partition.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PartitionError {
    /// The offset is not there, and `auto.offset.reset` is `none`. Reading stops until a seek.
    #[error("offset {offset} is out of range and auto.offset.reset is none; seek to an offset that is there")]
    OffsetOutOfRange {
        /// The offset that was asked for.
        offset: i64,
    },
    /// The group has committed no offset, and `auto.offset.reset` is `none`. Reading stops until a seek.
    #[error("no offset is committed and auto.offset.reset is none; seek to where reading should begin")]
    NoOffset,
    /// Records that were read are gone from the log, by an unclean election (KIP-320).
    #[error("the log was truncated to offset {end_offset}, below offset {offset}, which was read")]
    LogTruncated {
        /// The next offset to be read.
        offset: i64,
        /// Up to where the log still is what was read.
        end_offset: i64,
    },
    /// The broker refused, and a retry without a change elsewhere (a permission, a topic) does not help. It is tried
    /// again all the same.
    #[error("the broker refused: {code}")]
    Broker {
        /// The broker's error.
        code: ErrorCode,
    },
    /// The broker's answer makes no sense. It is asked again.
    #[error("the answer to a fetch at offset {offset} makes no sense: {what}")]
    Malformed {
        /// The offset that was asked for.
        offset: i64,
        /// What is wrong.
        what: String,
    },
    /// A batch is damaged. Reading stops there; a seek beyond it gives up the batch.
    #[error("the batch at offset {offset} is damaged: {source}; seek beyond it to go on without it")]
    Corrupt {
        /// The first offset of the batch, or where it should begin.
        offset: i64,
        /// What is wrong.
        source: Arc<RecordError>,
    },
}
