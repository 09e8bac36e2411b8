//! What moves bytes and waits: one fetcher per broker, the steward (metadata, lookups), the committer, the member.

pub(crate) mod committer;
pub(crate) mod fetcher;
pub(crate) mod member;
pub(crate) mod offsets;
pub(crate) mod steward;
