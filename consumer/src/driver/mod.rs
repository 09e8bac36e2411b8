//! What moves bytes and waits: one fetcher per broker, the steward (metadata, lookups), the committer, the member.

mod classic_requests;
pub(crate) mod committer;
mod consumer_requests;
pub(crate) mod fetcher;
pub(crate) mod member;
pub(crate) mod offsets;
pub(crate) mod partitions;
pub(crate) mod steward;
pub(crate) mod topic_ids;
