//! Share groups (KIP-932), the side of the partition's leader: which records are with whom, and what became of them.
//!
//! [`SharePartition`] is the machine of one group on one partition; [`ShareSessions`] holds which partitions a member
//! fetches from. Both are pure: time and bytes come from `leader`, their driver.

mod aborted;
mod acknowledge;
mod acquire;
mod due;
mod leader;
mod partition;
mod queue;
mod session;
mod settings;
#[cfg(test)]
mod tests;

pub use acknowledge::{AcknowledgeType, Acknowledgement};
pub use acquire::{AcquireLimits, AcquireMode, AcquiredRange};
pub(crate) use leader::{Led, ShareLeader};
pub use partition::{DeliveryState, PersistedBatch, PersistedState, SharePartition, ShareSettings, StateChange};
pub use session::{SessionError, SessionKey, SessionStep, ShareSessions, TopicPartition};
pub(crate) use settings::{GroupShareSettings, OffsetReset};
