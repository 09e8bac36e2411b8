//! The partitions of this broker: who may append, what may be read, and who waits for it.
//!
//! There is one replica of each partition so far: the leader, whose log end is its high watermark, or with group commit
//! the end of what it has synced.

mod log_dir;
mod opening;
mod outcome;
mod partition;
mod registry;
mod transactions;
mod waiters;

pub(crate) use log_dir::{Fatal, LogDir};
pub(crate) use opening::Opening;
pub(crate) use outcome::{AppendFailure, PartitionRead, ReadFailure};
pub(crate) use partition::{Close, Partition};
pub(crate) use registry::{PartitionKey, Registry};
pub(crate) use waiters::Waiter;
