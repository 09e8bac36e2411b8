//! Committed offsets, of groups of whatever kind.
//!
//! [`OffsetStore`] is what the log says of them; replay alone changes it. Requests are decided in the files beside it.
//! What they need to know of a group (who may commit, which topics it reads, since when it is empty) they ask in
//! [`groups`], and nowhere else.

mod commit;
mod delete;
mod expiry;
mod fetch;
mod groups;
mod store;

pub use commit::TransactionalCommit;
pub use expiry::Expired;
pub(super) use groups::Committer;
pub(super) use store::OffsetStore;

use rkafka_protocol::messages::offset_commit_value::OffsetCommitValue;
use uuid::Uuid;

/// A committed offset.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct StoredOffset {
    /// Where its record lies in the log. Of two commits for one partition the one that was written later counts, also
    /// where the earlier one's transaction ends later: compaction keeps the later record of a key, and a replay must
    /// not come to another end because the log was compacted.
    pub record_offset: i64,
    pub offset: i64,
    pub leader_epoch: i32,
    pub metadata: Box<str>,
    pub commit_timestamp: i64,
    /// When it expires, where an old client chose that; -1 elsewhere.
    pub expire_timestamp: i64,
    pub topic_id: Uuid,
}

impl StoredOffset {
    fn new(record_offset: i64, value: OffsetCommitValue) -> Self {
        Self {
            record_offset,
            offset: value.offset,
            leader_epoch: value.leader_epoch,
            metadata: value.metadata.into_boxed_str(),
            commit_timestamp: value.commit_timestamp,
            expire_timestamp: value.expire_timestamp,
            topic_id: value.topic_id,
        }
    }
}
