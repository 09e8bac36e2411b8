//! The machine of one `__transaction_state` partition, and the driver of all of them.
//!
//! What the log says ([`Transaction`]) changes by [`TransactionShard::replay`] alone. Requests are decided without
//! changing anything (`decide_*`); a [`Step`] counts once its record is appended and replayed, and
//! [`TransactionShard::stepped`] then notes what lives beside the log: which partitions have not got their marker yet,
//! when a transaction times out, and the epoch before the last one, for producers that ask again.
//!
//! A transaction ends in three moves: a `Prepare` record decides, markers go to the partitions while the shard is
//! unlocked, a `Complete` record closes. A start after the first move does the second one again.

mod add;
mod end;
mod entry;
mod expire;
mod host;
mod init;
mod list;
mod records;
mod runtime;
mod shard;
mod state;
#[cfg(test)]
mod tests;

use crate::BrokerConfig;
use crate::config::milliseconds;

pub use add::PartitionsMode;
pub use entry::{ProducerIdentity, TopicPartitions, Transaction};
pub(crate) use host::{MarkerTo, RemoteTransactions, TRANSACTION_VERSION, TRANSACTION_VERSION_MAX, TransactionSupport};
pub use init::InitRequest;
pub use list::{ListFilter, UnknownFilters};
pub use records::TransactionRecordError;
pub use runtime::{TransactionCoordinator, TransactionHost, WrittenMarkers};
pub use shard::{Decision, MarkerWork, Step, TransactionShard};
pub use state::TransactionState;

/// What of the broker's settings the machine needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionSettings {
    /// `transaction.max.timeout.ms`.
    pub timeout_ms_max: i64,
    /// `transactional.id.expiration.ms`.
    pub expiration_ms: i64,
    /// `transaction.remove.expired.transaction.cleanup.interval.ms`.
    pub expiration_check_ms: i64,
}

impl TransactionSettings {
    /// The transaction settings among the broker's.
    pub fn of(config: &BrokerConfig) -> Self {
        Self {
            timeout_ms_max: milliseconds(config.transaction_max_timeout),
            expiration_ms: milliseconds(config.transactional_id_expiration),
            expiration_check_ms: milliseconds(config.transaction_remove_expired_transaction_cleanup_interval),
        }
    }
}
