//! What becomes of appends and reads of a partition.

use bytes::Bytes;
use rkafka_protocol::ErrorCode;

use crate::log::{AbortedTransaction, AppendError, AppendInfo};

/// Where records went, and in which epoch of this broker's leadership: what waits for them to be replicated waits for no
/// other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Appended {
    pub info: AppendInfo,
    pub leader_epoch: i32,
}

impl std::ops::Deref for Appended {
    type Target = AppendInfo;

    fn deref(&self) -> &AppendInfo {
        &self.info
    }
}

/// Why records were not appended.
#[derive(Debug)]
pub(crate) struct AppendFailure {
    pub error: ErrorCode,
    pub message: String,
    pub log_start_offset: i64,
    /// The records that are to blame, by their place in the batch, with words for each.
    pub records: Vec<(i32, String)>,
}

impl AppendFailure {
    /// A failure that its error says all about.
    pub(super) fn of(error: ErrorCode) -> Self {
        Self { error, message: error.message().to_owned(), log_start_offset: -1, records: Vec::new() }
    }
}

impl From<AppendError> for AppendFailure {
    fn from(error: AppendError) -> Self {
        Self {
            error: ErrorCode::from_code(error.kafka_error_code()),
            message: error.to_string(),
            log_start_offset: -1,
            records: match error {
                AppendError::InvalidRecords { records } | AppendError::InvalidTimestamps { records } => records,
                _ => Vec::new(),
            },
        }
    }
}

/// What a read found.
#[derive(Debug)]
pub(crate) struct PartitionRead {
    /// Whole batches, as they lie in the log.
    pub records: Bytes,
    pub high_watermark: i64,
    pub last_stable_offset: i64,
    pub log_start_offset: i64,
    /// The aborted transactions of which a part may be in `records`; for a read_committed read only.
    pub aborted: Option<Vec<AbortedTransaction>>,
}

/// Why nothing was read. The bounds are -1 where they are not known.
#[derive(Debug)]
pub(crate) struct ReadFailure {
    pub error: ErrorCode,
    pub high_watermark: i64,
    pub last_stable_offset: i64,
    pub log_start_offset: i64,
}

impl ReadFailure {
    /// A failure of which no bounds are known.
    pub fn new(error: ErrorCode) -> Self {
        Self { error, high_watermark: -1, last_stable_offset: -1, log_start_offset: -1 }
    }
}
