//! What can go wrong with a node of the quorum.

use std::io;
use std::path::PathBuf;

use rkafka_protocol::records::RecordError;
use rkafka_protocol::wire::EncodeError;
use thiserror::Error;

use crate::log::{AppendError, LogError};

/// Why a node cannot go on. Its log is to be opened anew.
#[derive(Debug, Error)]
pub enum RaftError {
    /// The metadata log cannot be read, cut or synced.
    #[error("the metadata log failed: {0}")]
    Log(#[from] LogError),
    /// The metadata log takes no records.
    #[error("the metadata log takes no records: {0}")]
    Append(#[from] AppendError),
    /// A file beside the log (`quorum-state`, a snapshot) failed.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried, as in "write".
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The error of the storage.
        source: io::Error,
    },
    /// A file beside the log is not what was written there.
    #[error("{} cannot be read: {reason}. A node that forgets its vote could vote twice, so it does not start without it", path.display())]
    QuorumState {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A record of the quorum's own cannot be written.
    #[error("a control record of the metadata log cannot be written: {0}")]
    Record(#[from] RecordError),
    /// A record of the quorum's own cannot be written.
    #[error("a control record of the metadata log cannot be written: {0}")]
    Encode(#[from] EncodeError),
    /// The leader asks for a truncation of what this node knows to be committed, so one of the two has lost records.
    #[error(
        "leader {leader_id} of epoch {epoch} asks to truncate the metadata log to offset {offset}, below the high \
         watermark {high_watermark}"
    )]
    TruncationBelowHighWatermark {
        /// The leader.
        leader_id: i32,
        /// Its epoch.
        epoch: i32,
        /// Where it asks to cut.
        offset: i64,
        /// What is committed here.
        high_watermark: i64,
    },
    /// A snapshot was asked for that the log cannot have.
    #[error("a snapshot at offset {end_offset} of epoch {epoch} is impossible: {reason}")]
    Snapshot {
        /// The first offset that is not in it.
        end_offset: i64,
        /// The epoch of its last record.
        epoch: i32,
        /// Why.
        reason: &'static str,
    },
}

impl RaftError {
    /// Whether nothing is wrong with the disk, and the same may succeed later: it is full.
    pub fn is_out_of_space(&self) -> bool {
        match self {
            RaftError::Append(AppendError::NoSpace { .. }) => true,
            RaftError::Io { source, .. } => crate::storage::is_out_of_space(source),
            _ => false,
        }
    }
}

/// Why a leader's records were not appended.
#[derive(Debug, Error)]
pub enum AppendRefused {
    /// This node does not lead, or not in the epoch that was named. Nothing was appended.
    #[error("node {node_id} does not lead the metadata quorum in epoch {epoch}")]
    NotLeader {
        /// This node.
        node_id: i32,
        /// The epoch in which it was to lead.
        epoch: i32,
    },
    /// The log did not take the records. Unless [`RaftError::is_out_of_space`], the node must not go on.
    #[error(transparent)]
    Failed(#[from] RaftError),
}

/// Why a call to another node has no response. The node is tried again after `controller.quorum.retry.backoff.ms`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the node could not be reached, or did not answer in the protocol")]
pub struct CallFailed;
