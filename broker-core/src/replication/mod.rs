//! The partitions of this broker: who may append, what may be read, and who waits for it.
//!
//! A broker leads a partition, follows the broker that does, or has no replica of it; the controller says which
//! (`role`). A leader keeps a book of its followers (`leader`, a machine), which says how far all of them have come and
//! whom the controller is to be asked to take in or out. The only replica has nobody in its book, and costs nothing for
//! it: its log end is its high watermark, or with group commit the end of what it has synced.

mod fetcher;
mod fetchers;
mod following;
mod leader;
mod log_dir;
mod opening;
mod outcome;
mod partition;
mod registry;
mod role;
mod serving;
#[cfg(test)]
mod tests;
mod throttle;
mod transactions;
mod waiters;

pub(crate) use fetcher::FetcherSettings;
pub(crate) use fetchers::{FetcherContext, Fetchers};
#[cfg(test)]
pub(crate) use following::{Fetched, FollowFailure, FollowerPosition};
#[cfg(test)]
pub(crate) use leader::Leadership;
pub(crate) use leader::{AlterPartitionSink, FollowerFetch, IsrDecision, IsrProposal};
pub(crate) use log_dir::{Fatal, LogDir};
pub(crate) use opening::Opening;
pub(crate) use outcome::{AppendFailure, Appended, PartitionRead, ReadFailure};
pub(crate) use partition::{Close, Partition};
pub(crate) use registry::{PartitionKey, Registry};
pub(crate) use serving::FollowerAsk;
pub(crate) use throttle::Throttles;
pub(crate) use waiters::Waiter;
