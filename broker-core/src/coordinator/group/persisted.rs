//! What the log says of groups and offsets. Only [`Persisted::replay`] changes it, when a record was appended as when
//! the log is read back, so that it is at any time what a replay of the log would make.

use std::collections::BTreeMap;

use bytes::Bytes;
use rkafka_protocol::messages::group_metadata_value::GroupMetadataValue;

use super::RecordPlace;
use super::consumer::{ConsumerGroup, ConsumerRecord};
use super::offsets::OffsetStore;
use super::records::{GroupRecord, ReplayError};
use super::share::{ShareGroup, ShareGroupRecord};

/// What the log says of one group.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct PersistedGroup {
    /// Its last metadata as a classic group; `None` for a group that only keeps offsets here.
    pub metadata: Option<GroupMetadataValue>,
    /// What it is as a consumer group.
    pub consumer: Option<ConsumerGroup>,
    /// What it is as a share group.
    pub share: Option<ShareGroup>,
}

/// What the log says of all groups of a partition.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Persisted {
    /// Every group that has metadata or offsets.
    groups: BTreeMap<String, PersistedGroup>,
    pub offsets: OffsetStore,
}

impl Persisted {
    pub fn group(&self, group_id: &str) -> Option<&PersistedGroup> {
        self.groups.get(group_id)
    }

    pub fn groups(&self) -> impl Iterator<Item = (&String, &PersistedGroup)> {
        self.groups.iter()
    }

    pub fn consumer(&self, group_id: &str) -> Option<&ConsumerGroup> {
        self.groups.get(group_id)?.consumer.as_ref()
    }

    pub fn share(&self, group_id: &str) -> Option<&ShareGroup> {
        self.groups.get(group_id)?.share.as_ref()
    }

    /// Takes a record for true.
    ///
    /// # Errors
    /// It is not in Kafka's format; nothing was changed.
    pub fn replay(&mut self, place: RecordPlace, key: Bytes, value: Option<Bytes>) -> Result<(), ReplayError> {
        match GroupRecord::read(key, value)? {
            GroupRecord::Offset { key, value } => {
                // A consumer that only keeps its offsets here makes a group by that, which lasts until its tombstone.
                if value.is_some() && !self.groups.contains_key(&key.group) {
                    self.groups.insert(key.group.clone(), PersistedGroup::default());
                }
                self.offsets.replay(place, key, value);
            }
            GroupRecord::Group { key, value: Some(value) } => {
                self.groups.entry(key.group).or_default().metadata = Some(value);
            }
            GroupRecord::Group { key, value: None } => {
                if let Some(group) = self.groups.get_mut(&key.group) {
                    group.metadata = None;
                }
                self.forget_if_blank(&key.group);
            }
            GroupRecord::Consumer { group_id, record: ConsumerRecord::Group(None) } => {
                if let Some(group) = self.groups.get_mut(&group_id) {
                    group.consumer = None;
                }
                self.forget_if_blank(&group_id);
            }
            GroupRecord::Consumer { group_id, record } => self.replay_consumer(group_id, record),
            GroupRecord::Share { group_id, record: ShareGroupRecord::Group(None) } => {
                if let Some(group) = self.groups.get_mut(&group_id) {
                    group.share = None;
                }
                self.forget_if_blank(&group_id);
            }
            GroupRecord::Share { group_id, record } => self.replay_share(group_id, record),
            GroupRecord::Other { record_type } => {
                tracing::warn!(record_type, "a record of a newer kind of group was skipped");
            }
        }
        Ok(())
    }

    fn replay_consumer(&mut self, group_id: String, record: ConsumerRecord) {
        if record.is_tombstone() {
            // Compaction may leave the tombstones of a group that is gone.
            if let Some(group) = self.groups.get_mut(&group_id).and_then(|group| group.consumer.as_mut()) {
                group.replay(record);
            }
        } else {
            self.groups.entry(group_id).or_default().consumer.get_or_insert_default().replay(record);
        }
    }

    fn replay_share(&mut self, group_id: String, record: ShareGroupRecord) {
        if record.is_tombstone() {
            // Compaction may leave the tombstones of a group that is gone.
            if let Some(group) = self.groups.get_mut(&group_id).and_then(|group| group.share.as_mut()) {
                group.replay(record);
            }
        } else {
            self.groups.entry(group_id).or_default().share.get_or_insert_default().replay(record);
        }
    }

    /// A producer's transaction has ended in this partition.
    pub fn end_transaction(&mut self, producer_id: i64, commit: bool) {
        self.offsets.end_transaction(producer_id, commit);
    }

    /// A group that has neither metadata nor offsets is none.
    fn forget_if_blank(&mut self, group_id: &str) {
        let is_blank = self.groups.get(group_id).is_some_and(|group| *group == PersistedGroup::default());
        if is_blank && !self.offsets.knows(group_id) {
            self.groups.remove(group_id);
        }
    }
}
