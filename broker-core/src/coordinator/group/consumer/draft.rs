//! A decision in the making: records, and the group as it will be once they are appended.

use std::borrow::Cow;

use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::consumer_group_metadata_value::ConsumerGroupMetadataValue;
use uuid::Uuid;

use super::group::{ConsumerGroup, CurrentAssignment, Partitions, target_value};
use super::reconcile::Reconciliation;
use super::records::ConsumerRecord;
use super::{ConsumerGroupSettings, GroupError, subscription, target};
use crate::InternalRecord;
use crate::controller::MetadataImage;
use crate::coordinator::group::Moment;

/// What a decision reads besides its group.
#[derive(Debug, Clone, Copy)]
pub(in crate::coordinator::group) struct Surroundings<'a> {
    pub now: Moment,
    pub image: &'a MetadataImage,
    pub settings: &'a ConsumerGroupSettings,
}

/// A group that a decision changes on paper: each record that is put is replayed here at once, so that what follows
/// sees what the log will say.
#[derive(Debug)]
pub(in crate::coordinator::group) struct Draft<'a> {
    pub id: &'a str,
    pub group: Cow<'a, ConsumerGroup>,
    pub records: Vec<InternalRecord>,
}

impl<'a> Draft<'a> {
    /// A draft from what the log says, or for a group that is about to be.
    pub fn of(id: &'a str, group: Option<&'a ConsumerGroup>) -> Self {
        let group = group.map_or_else(|| Cow::Owned(ConsumerGroup::default()), Cow::Borrowed);
        Self { id, group, records: Vec::new() }
    }

    /// Puts a record.
    ///
    /// # Errors
    /// `INVALID_REQUEST` where a text is longer than the log can say.
    pub fn put(&mut self, record: ConsumerRecord) -> Result<(), GroupError> {
        let encoded = record.encode(self.id).map_err(|error| {
            GroupError::new(ErrorCode::InvalidRequest, format!("The group cannot be written: {error}."))
        })?;
        self.records.push(encoded);
        self.group.to_mut().replay(record);
        Ok(())
    }

    /// Writes what a member has, if that is something else than before.
    pub fn put_current(&mut self, member_id: &str, current: &CurrentAssignment) -> Result<(), GroupError> {
        if self.group.members.get(member_id).is_some_and(|member| member.current == *current) {
            return Ok(());
        }
        self.put(ConsumerRecord::Current { member_id: member_id.to_owned(), value: Some(current.to_value()) })
    }

    pub fn put_target(&mut self, member_id: &str, partitions: &Partitions) -> Result<(), GroupError> {
        self.put(ConsumerRecord::Target { member_id: member_id.to_owned(), value: Some(target_value(partitions)) })
    }

    /// Takes a member out. The order is Kafka's, whose replay insists on it.
    pub fn remove_member(&mut self, member_id: &str) -> Result<(), GroupError> {
        let id = || member_id.to_owned();
        self.put(ConsumerRecord::Current { member_id: id(), value: None })?;
        self.put(ConsumerRecord::Target { member_id: id(), value: None })?;
        self.put(ConsumerRecord::Member { member_id: id(), value: None })
    }

    /// Sees whether the subscribed topics are still what they were, and begins a new epoch if they are not, or if
    /// `bump` says so.
    pub fn refresh(&mut self, around: Surroundings<'_>, bump: bool) -> Result<(), GroupError> {
        let hash = subscription::metadata_hash(&self.group.subscribed_names(), around.image);
        if !bump && hash == self.group.metadata_hash {
            return Ok(());
        }
        if self.group.has_partition_metadata {
            self.put(ConsumerRecord::PartitionMetadata { is_set: false })?;
        }
        let epoch = self.group.epoch.saturating_add(1);
        tracing::info!(group = self.id, epoch, "group epoch");
        let value = ConsumerGroupMetadataValue { epoch, metadata_hash: hash, ..Default::default() };
        self.put(ConsumerRecord::Group(Some(value)))
    }

    /// Computes a new target assignment where the group is ahead of it, and the last one is old enough (KIP-1263).
    pub fn retarget(&mut self, around: Surroundings<'_>) -> Result<(), GroupError> {
        let since_ms = around.now.date_ms.saturating_sub(self.group.assignment_date_ms);
        let too_soon = (0..around.settings.timings.assignment_interval_ms(self.id, around.image)).contains(&since_ms);
        if self.group.epoch <= self.group.assignment_epoch || too_soon {
            return Ok(());
        }
        target::assign(self, around)
    }

    /// A step of a member towards its target.
    pub fn reconcile(
        &mut self,
        member_id: &str,
        owned: Option<&Partitions>,
        image: &MetadataImage,
    ) -> Result<(), GroupError> {
        let Some(member) = self.group.members.get(member_id) else { return Ok(()) };
        let subscribed = subscription::topic_ids(self.group.names_of(member), image);
        let unsubscribed = |topic: &Uuid| !subscribed.contains(topic);
        if self.group.is_reconciled(member) && !member.current.assigned.keys().any(unsubscribed) {
            return Ok(());
        }
        let held_by_others = self.group.held_by_others(member_id);
        let nothing = Partitions::new();
        let reconciliation = Reconciliation {
            target_epoch: self.group.assignment_epoch,
            target: self.group.targets.get(member_id).unwrap_or(&nothing),
            subscribed: &subscribed,
            held_by_others: &held_by_others,
            owned,
        };
        let next = reconciliation.step(&member.current)?;
        self.put_current(member_id, &next)
    }
}
