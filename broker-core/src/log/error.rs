//! What can go wrong with a log, in words and in Kafka's error codes.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// An error of opening, reading or keeping a log.
#[derive(Debug, Error)]
pub enum LogError {
    /// The offset is below the log start or above the log end (`OFFSET_OUT_OF_RANGE`).
    #[error("offset {offset} is outside of the log, which has offsets {log_start_offset} to {log_end_offset}")]
    OffsetOutOfRange {
        /// The offset that was asked for.
        offset: i64,
        /// The first offset of the log.
        log_start_offset: i64,
        /// One beyond the last offset of the log.
        log_end_offset: i64,
    },
    /// An earlier write or sync failed, so nothing about the files after it is certain (`KAFKA_STORAGE_ERROR`). The log
    /// serves again after the disk is mended and the broker restarted.
    #[error("log {} is offline since an earlier failure: {reason}", dir.display())]
    Offline {
        /// The directory of the log.
        dir: PathBuf,
        /// What failed.
        reason: String,
    },
    /// The disk failed (`KAFKA_STORAGE_ERROR`).
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried, as in "write" or "read".
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The error of the storage.
        source: io::Error,
    },
    /// Bytes on the disk are not what was written there (`CORRUPT_MESSAGE`). Restarting the broker after an unclean stop
    /// runs the recovery, which cuts the log off before them.
    #[error("{} is corrupt at position {position}: {reason}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// The byte position in it.
        position: u64,
        /// What is wrong there.
        reason: String,
    },
}

impl LogError {
    /// Kafka's error code for a response.
    pub fn kafka_error_code(&self) -> i16 {
        match self {
            LogError::OffsetOutOfRange { .. } => 1,
            LogError::Corrupt { .. } => 2,
            LogError::Offline { .. } | LogError::Io { .. } => 56,
        }
    }
}

/// Why records were not appended. Nothing of them is in the log.
#[derive(Debug, Error)]
pub enum AppendError {
    /// The bytes are not whole batches with a right checksum (`CORRUPT_MESSAGE`).
    #[error("the batch at byte {position} of the records is corrupt: {reason}")]
    CorruptMessage {
        /// Where in the records the batch begins.
        position: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// The batch contradicts itself or the protocol (`INVALID_RECORD`).
    #[error("the batch at byte {position} of the records is invalid: {reason}")]
    InvalidRecord {
        /// Where in the records the batch begins.
        position: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// Single records cannot be in this log (`INVALID_RECORD`, with the records' places in the response).
    #[error(
        "One or more records have been rejected due to {} record errors in total, and only showing the first three errors \
         at most: {}", records.len(), first_three(records)
    )]
    InvalidRecords {
        /// Place of each such record in its batch, and what is wrong with it.
        records: Vec<(i32, String)>,
    },
    /// Times of single records are out of the bounds that the topic sets (`INVALID_TIMESTAMP`, with the records' places
    /// in the response).
    #[error("One or more records have been rejected due to invalid timestamp")]
    InvalidTimestamps {
        /// Place of each such record in its batch, and what is wrong with it.
        records: Vec<(i32, String)>,
    },
    /// A batch has an old format (`UNSUPPORTED_FOR_MESSAGE_FORMAT`).
    #[error("the batch at byte {position} of the records has magic {magic}, only 2 is supported")]
    UnsupportedMagic {
        /// Where in the records the batch begins.
        position: usize,
        /// Its magic byte.
        magic: i8,
    },
    /// A batch is larger than `max.message.bytes` (`MESSAGE_TOO_LARGE`).
    #[error("a batch of {bytes} bytes is larger than max.message.bytes={max_message_bytes}")]
    MessageTooLarge {
        /// The size of the batch.
        bytes: usize,
        /// The setting.
        max_message_bytes: u32,
    },
    /// All batches together are larger than a segment may be (`RECORD_LIST_TOO_LARGE`).
    #[error("records of {bytes} bytes are larger than segment.bytes={segment_bytes}")]
    RecordListTooLarge {
        /// The size of the records.
        bytes: usize,
        /// The setting.
        segment_bytes: u64,
    },
    /// A time in the batch is out of the bounds that the topic sets (`INVALID_TIMESTAMP`).
    #[error("timestamp {timestamp_ms} is invalid: {reason}")]
    InvalidTimestamp {
        /// The offending time in milliseconds since the epoch.
        timestamp_ms: i64,
        /// Which bound it breaks.
        reason: String,
    },
    /// The producer id has been taken over by a newer epoch (`INVALID_PRODUCER_EPOCH`).
    #[error("producer {producer_id} has epoch {epoch}, older than the known epoch {known_epoch}")]
    InvalidProducerEpoch {
        /// The producer's id.
        producer_id: i64,
        /// The epoch of the batch.
        epoch: i16,
        /// The newest epoch seen.
        known_epoch: i16,
    },
    /// A batch before this one is missing (`OUT_OF_ORDER_SEQUENCE_NUMBER`).
    #[error(
        "producer {producer_id} epoch {epoch}: sequence {sequence} does not follow {last_sequence}, the last in the log"
    )]
    OutOfOrderSequence {
        /// The producer's id.
        producer_id: i64,
        /// The epoch of the batch.
        epoch: i16,
        /// The first sequence number of the batch.
        sequence: i32,
        /// The last sequence number in the log, -1 if none in this epoch.
        last_sequence: i32,
    },
    /// A batch is outside of the transaction that its producer has open, or would begin one that the transaction
    /// coordinator does not know to be ongoing here (`INVALID_TXN_STATE`).
    #[error("the batch of producer {producer_id} epoch {epoch} is refused: {reason}")]
    InvalidTxnState {
        /// The producer's id.
        producer_id: i64,
        /// The epoch of the batch.
        epoch: i16,
        /// Which of the two.
        reason: &'static str,
    },
    /// A marker comes from a transaction coordinator that has been replaced (`TRANSACTION_COORDINATOR_FENCED`).
    #[error(
        "a marker for producer {producer_id} has coordinator epoch {coordinator_epoch}, older than the known {known_epoch}"
    )]
    TransactionCoordinatorFenced {
        /// The producer's id.
        producer_id: i64,
        /// The coordinator epoch of the marker.
        coordinator_epoch: i32,
        /// The newest coordinator epoch seen.
        known_epoch: i32,
    },
    /// A follower got a batch that does not begin at its log's end (`UNKNOWN_SERVER_ERROR`; the fetcher truncates).
    #[error("the batch begins at offset {base_offset}, the log ends at {log_end_offset}")]
    OffsetGap {
        /// The base offset of the batch.
        base_offset: i64,
        /// The end of the log.
        log_end_offset: i64,
    },
    /// The offsets of the log are used up (`KAFKA_STORAGE_ERROR`).
    #[error("the log ends at offset {log_end_offset} and has no room for {records} more")]
    OffsetOverflow {
        /// The end of the log.
        log_end_offset: i64,
        /// How many records were to be appended.
        records: i64,
    },
    /// The disk is full, or no more files may be open (`KAFKA_STORAGE_ERROR`). The log goes on serving reads, and appends once there is room again.
    #[error("no space is left for log {}, or no more files may be open", dir.display())]
    NoSpace {
        /// The directory of the log.
        dir: PathBuf,
    },
    /// The log itself failed.
    #[error(transparent)]
    Log(#[from] LogError),
}

/// Kafka's words for the records that it names.
fn first_three(records: &[(i32, String)]) -> String {
    let named = records.iter().take(3).map(|(index, reason)| {
        // As Java writes a list of its RecordError.
        format!("RecordError(batchIndex={index}, message='{reason}')")
    });
    format!("[{}]", named.collect::<Vec<_>>().join(", "))
}

impl AppendError {
    /// Kafka's error code for a produce response.
    pub fn kafka_error_code(&self) -> i16 {
        match self {
            AppendError::CorruptMessage { .. } => 2,
            AppendError::MessageTooLarge { .. } => 10,
            AppendError::RecordListTooLarge { .. } => 18,
            AppendError::InvalidTimestamp { .. } | AppendError::InvalidTimestamps { .. } => 32,
            AppendError::UnsupportedMagic { .. } => 43,
            AppendError::OutOfOrderSequence { .. } => 45,
            AppendError::InvalidProducerEpoch { .. } => 47,
            AppendError::InvalidTxnState { .. } => 48,
            AppendError::TransactionCoordinatorFenced { .. } => 52,
            AppendError::OffsetOverflow { .. } | AppendError::NoSpace { .. } => 56,
            AppendError::InvalidRecord { .. } | AppendError::InvalidRecords { .. } => 87,
            AppendError::OffsetGap { .. } => -1,
            AppendError::Log(error) => error.kafka_error_code(),
        }
    }
}
