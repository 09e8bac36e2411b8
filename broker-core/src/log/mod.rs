//! The log of a partition, in Kafka's own file formats.
//!
//! A [`Log`] is a directory of segments. It takes batches as the bytes they came in, patches their offsets into place,
//! appends them with one write, and hands the same bytes to whoever reads. It has no clock (`now_ms` is an argument) and
//! no thread of its own; whoever owns it decides when it syncs. One writer and many readers share it behind a lock that
//! lets readers in together.
//!
//! Besides the log itself, [`checkpoints`] has the small files that a whole data directory keeps.

mod append;
mod batch;
pub mod checkpoints;
pub mod cleaner;
mod config;
mod epoch_cache;
mod error;
mod flush;
#[path = "log.rs"]
mod log_impl;
mod offset_index;
mod producer_snapshot;
mod producer_state;
mod read;
mod recovery;
mod retention;
mod segment;
mod sleeping;
mod throttled_replicas;
mod time_index;
mod transaction;
mod transaction_index;
mod truncate;
mod validate;
mod walk;

pub use append::AppendInfo;
pub use config::{CleanupPolicy, LogConfig, TimestampType};
pub use epoch_cache::{EpochCache, EpochEntry};
pub use error::{AppendError, LogError};
pub use flush::FlushTask;
pub use log_impl::{Log, OpenState, SegmentInfo};
pub use producer_state::{BatchMetadata, ProducerEntry, ProducerStates};
pub use read::{LogRead, TimestampAndOffset};
pub use recovery::RecoveryReport;
pub(crate) use sleeping::SleepingLog;
pub use throttled_replicas::ThrottledReplicas;
pub use transaction::{AbortedTransaction, TransactionMarker, VerificationGuard};
pub use validate::{RecordRules, RecordValidator};

#[cfg(test)]
mod tests;
