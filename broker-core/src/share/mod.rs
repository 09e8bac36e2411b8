//! Share groups (KIP-932), the side of the partition's leader: which records are with whom, and what became of them.
//!
//! [`SharePartition`] is the machine of one group on one partition; [`ShareSessions`] holds which partitions a member
//! fetches from. Both are pure: time and bytes come from their drivers.

mod acknowledge;
mod acquire;
mod partition;
mod session;
#[cfg(test)]
mod tests;

pub use acknowledge::{AcknowledgeType, Acknowledgement};
pub use acquire::{AcquireLimits, AcquireMode, AcquiredRange};
pub use partition::{DeliveryState, PersistedBatch, PersistedState, SharePartition, ShareSettings, StateChange};
pub use session::{SessionError, SessionKey, SessionStep, ShareSessions, TopicPartition};
