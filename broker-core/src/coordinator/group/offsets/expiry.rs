//! Offsets that nobody has needed for long, and groups of which nothing is left (KIP-211).

use super::StoredOffset;
use super::groups::ExpiryRule;
use crate::InternalRecord;
use crate::coordinator::group::{GroupShard, Moment, records};

/// What has expired in one group.
#[derive(Debug, Clone, PartialEq)]
pub struct Expired {
    /// The group.
    pub group_id: String,
    /// Tombstones, for offsets and at last for the group.
    pub records: Vec<InternalRecord>,
    /// Whether nothing of the group is left; [`GroupShard::deleted`] is to be called once the records are appended.
    pub is_deleted: bool,
}

impl GroupShard {
    /// Every group of this partition.
    pub fn group_ids(&self) -> Vec<String> {
        self.persisted.groups().map(|(group_id, _)| group_id.clone()).collect()
    }

    /// What has expired in a group: offsets that are older than `offsets.retention.minutes` by the rule of their group,
    /// and the group itself where it is empty and nothing is left. What an open transaction has written stays, and the
    /// group with it.
    pub fn decide_expiry(&self, now: Moment, group_id: &str) -> Option<Expired> {
        let rule = self.expiry_rule(group_id);
        let offsets = &self.persisted.offsets;
        let mut tombstones = Vec::new();
        let mut is_deleted = !offsets.is_open(group_id);
        for (topic, partitions) in offsets.committed(group_id).into_iter().flatten() {
            let subscribed = rule == ExpiryRule::Never || self.is_subscribed(group_id, topic);
            for (index, stored) in partitions {
                if !subscribed
                    && self.has_expired(rule, now, stored)
                    && !offsets.is_pending(group_id, topic, *index)
                    && let Ok(record) = records::offset_tombstone(group_id, topic, *index)
                {
                    tombstones.push(record);
                } else {
                    is_deleted = false;
                }
            }
        }
        let vanishing = if is_deleted { self.vanishing_group(group_id) } else { None };
        is_deleted = vanishing.is_some();
        tombstones.extend(vanishing.into_iter().flatten());
        let expired = Expired { group_id: group_id.to_owned(), records: tombstones, is_deleted };
        Some(expired).filter(|expired| !expired.records.is_empty())
    }

    fn has_expired(&self, rule: ExpiryRule, now: Moment, stored: &StoredOffset) -> bool {
        if stored.expire_timestamp != -1 {
            return now.date_ms >= stored.expire_timestamp;
        }
        let since_ms = match rule {
            ExpiryRule::Never => return false,
            ExpiryRule::SinceEmpty(since_ms) => since_ms,
            ExpiryRule::SinceCommit => stored.commit_timestamp,
        };
        now.date_ms.saturating_sub(since_ms) >= self.settings.offsets_retention_ms
    }
}
