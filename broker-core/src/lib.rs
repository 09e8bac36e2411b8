//! The embedded Kafka broker.
//!
//! A [`Broker`] is one node that is its own controller: it needs no format step, keeps Kafka's own files, and is ready
//! in milliseconds. Machines decide and drivers move bytes: `controller` decides about metadata, `coordinator` about
//! groups, `log` keeps records, `replication` orders appends and reads of a partition; `server` moves frames, and
//! `handlers` has one file per API key between them.

mod clock;
pub mod config;
pub mod handlers;
mod internal_log;
pub mod log;
mod state;
pub mod storage;

pub use clock::Clock;
pub use config::BrokerConfig;
pub use internal_log::{InternalLog, InternalRecord, ReplayedRecord};
pub use state::BrokerState;
