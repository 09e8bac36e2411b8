//! What the log says of groups and offsets. Only [`Persisted::replay`] changes it, when a record was appended as when
//! the log is read back, so that it is at any time what a replay of the log would make.

use std::collections::BTreeMap;

use bytes::Bytes;
use rkafka_protocol::messages::group_metadata_value::GroupMetadataValue;
use rkafka_protocol::messages::offset_commit_value::OffsetCommitValue;

use super::records::{GroupRecord, ReplayError};

/// The committed offsets of a group, by topic and partition.
pub(super) type Offsets = BTreeMap<String, BTreeMap<i32, OffsetCommitValue>>;

/// What the log says of one group.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct PersistedGroup {
    /// Its last metadata; `None` for a group that only keeps offsets here.
    pub metadata: Option<GroupMetadataValue>,
    pub offsets: Offsets,
}

/// What the log says of all groups of a partition.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Persisted {
    groups: BTreeMap<String, PersistedGroup>,
}

impl Persisted {
    pub fn group(&self, group_id: &str) -> Option<&PersistedGroup> {
        self.groups.get(group_id)
    }

    pub fn groups(&self) -> impl Iterator<Item = (&String, &PersistedGroup)> {
        self.groups.iter()
    }

    pub fn offset(&self, group_id: &str, topic: &str, partition: i32) -> Option<&OffsetCommitValue> {
        self.groups.get(group_id)?.offsets.get(topic)?.get(&partition)
    }

    /// Takes a record for true.
    ///
    /// # Errors
    /// It is not in Kafka's format; nothing was changed.
    pub fn replay(&mut self, key: Bytes, value: Option<Bytes>) -> Result<(), ReplayError> {
        match GroupRecord::read(key, value)? {
            GroupRecord::Offset { key, value: Some(value) } => {
                let offsets = &mut self.groups.entry(key.group).or_default().offsets;
                offsets.entry(key.topic).or_default().insert(key.partition, value);
            }
            GroupRecord::Offset { key, value: None } => {
                if let Some(group) = self.groups.get_mut(&key.group) {
                    if let Some(partitions) = group.offsets.get_mut(&key.topic) {
                        partitions.remove(&key.partition);
                        if partitions.is_empty() {
                            group.offsets.remove(&key.topic);
                        }
                    }
                    self.forget_if_blank(&key.group);
                }
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
            GroupRecord::Other { record_type } => {
                tracing::warn!(record_type, "a record of a newer kind of group was skipped");
            }
        }
        Ok(())
    }

    fn forget_if_blank(&mut self, group_id: &str) {
        if self.groups.get(group_id).is_some_and(|group| *group == PersistedGroup::default()) {
            self.groups.remove(group_id);
        }
    }
}
