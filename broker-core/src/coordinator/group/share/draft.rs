//! A decision in the making: records, and the share group as it will be once they are appended.

use std::borrow::Cow;
use std::collections::BTreeMap;

use rkafka_assignor::{Assignor, Member, Simple, TopicPartitions};
use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::share_group_metadata_value::ShareGroupMetadataValue;
use rkafka_protocol::messages::share_group_target_assignment_metadata_value::ShareGroupTargetAssignmentMetadataValue;

use super::group::{ShareAssignment, ShareGroup, ShareMember, StatePartitions, target_value};
use super::records::ShareGroupRecord;
use super::{ShareGroupSettings, SharePartitions};
use crate::InternalRecord;
use crate::controller::MetadataImage;
use crate::coordinator::group::Moment;
use crate::coordinator::group::consumer::{GroupError, Partitions, metadata_hash, topic_ids};

/// What a decision reads besides its group.
#[derive(Debug, Clone, Copy)]
pub(super) struct ShareSurroundings<'a> {
    pub now: Moment,
    pub image: &'a MetadataImage,
    pub settings: &'a ShareGroupSettings,
}

/// A share group that a decision changes on paper.
#[derive(Debug)]
pub(in crate::coordinator::group) struct ShareDraft<'a> {
    pub id: &'a str,
    pub group: Cow<'a, ShareGroup>,
    pub records: Vec<InternalRecord>,
}

impl<'a> ShareDraft<'a> {
    /// A draft from what the log says, or for a group that is about to be.
    pub fn of(id: &'a str, group: Option<&'a ShareGroup>) -> Self {
        let group = group.map_or_else(|| Cow::Owned(ShareGroup::default()), Cow::Borrowed);
        Self { id, group, records: Vec::new() }
    }

    /// Puts a record.
    ///
    /// # Errors
    /// `INVALID_REQUEST` where a text is longer than the log can say.
    pub fn put(&mut self, record: ShareGroupRecord) -> Result<(), GroupError> {
        let encoded = record.encode(self.id).map_err(|error| {
            GroupError::new(ErrorCode::InvalidRequest, format!("The group cannot be written: {error}."))
        })?;
        self.records.push(encoded);
        self.group.to_mut().replay(record);
        Ok(())
    }

    /// Takes a member out. The order is Kafka's, whose replay insists on it.
    pub fn remove_member(&mut self, member_id: &str) -> Result<(), GroupError> {
        let id = || member_id.to_owned();
        self.put(ShareGroupRecord::Current { member_id: id(), value: None })?;
        self.put(ShareGroupRecord::Target { member_id: id(), value: None })?;
        self.put(ShareGroupRecord::Member { member_id: id(), value: None })
    }

    /// Tombstones for all that the log says of the group, in Kafka's order.
    pub fn put_tombstones(&mut self) -> Result<(), GroupError> {
        let members: Vec<String> = self.group.members.keys().cloned().collect();
        let targets: Vec<String> = self.group.targets.keys().cloned().collect();
        for member_id in &members {
            self.put(ShareGroupRecord::Current { member_id: member_id.clone(), value: None })?;
        }
        for member_id in targets {
            self.put(ShareGroupRecord::Target { member_id, value: None })?;
        }
        self.put(ShareGroupRecord::TargetEpoch(None))?;
        for member_id in members {
            self.put(ShareGroupRecord::Member { member_id, value: None })?;
        }
        self.put(ShareGroupRecord::States(None))?;
        self.put(ShareGroupRecord::Group(None))
    }

    /// Writes on which partitions the group is, if that is something else than before.
    pub fn put_states(&mut self, states: &StatePartitions) -> Result<(), GroupError> {
        if self.group.states == *states {
            return Ok(());
        }
        self.put(ShareGroupRecord::States(Some(states.to_value())))
    }

    /// Notes that the share coordinator has a state of these partitions; those of topics that are gone, or that nobody
    /// subscribes to, are passed over. Answers whether there are more partitions to give away now.
    pub fn note_initialized(
        &mut self,
        partitions: &SharePartitions,
        image: &MetadataImage,
    ) -> Result<bool, GroupError> {
        let subscribed = topic_ids(self.group.subscribed_names().into_iter(), image);
        let mut states = self.group.states.clone();
        let mut is_more = false;
        for (topic_id, partitions) in partitions.iter().filter(|(topic_id, _)| subscribed.contains(topic_id)) {
            if let Some(topic) = image.topic_by_id(*topic_id) {
                is_more |= states.add(*topic_id, &topic.name, partitions.iter().copied());
            }
        }
        self.put_states(&states)?;
        Ok(is_more)
    }

    /// Sees whether the subscribed topics are still what they were, and begins a new epoch if they are not, or if
    /// `bump` says so.
    pub(super) fn refresh(&mut self, around: ShareSurroundings<'_>, bump: bool) -> Result<(), GroupError> {
        let hash = metadata_hash(&self.group.subscribed_names(), around.image);
        if !bump && hash == self.group.metadata_hash {
            return Ok(());
        }
        let epoch = self.group.epoch.saturating_add(1);
        tracing::info!(group = self.id, epoch, "share group epoch");
        let value = ShareGroupMetadataValue { epoch, metadata_hash: hash, ..Default::default() };
        self.put(ShareGroupRecord::Group(Some(value)))
    }

    /// Computes a new target assignment where the group is ahead of it, and the last one is old enough (KIP-1263).
    pub(super) fn retarget(&mut self, around: ShareSurroundings<'_>) -> Result<(), GroupError> {
        let since_ms = around.now.date_ms.saturating_sub(self.group.assignment_date_ms);
        let too_soon = (0..around.settings.timings.assignment_interval_ms(self.id, around.image)).contains(&since_ms);
        if self.group.epoch <= self.group.assignment_epoch || too_soon {
            return Ok(());
        }
        let mut counts = TopicPartitions::new();
        for topic in self.group.subscribed_names().into_iter().filter_map(|name| around.image.topic(name)) {
            // Only what has a state is given away; what was added a moment ago is so with the next heartbeat.
            let is_ready = |index: &i32| self.group.states.has(topic.id, *index);
            let ready = (0..).take(topic.partitions.len()).take_while(is_ready).count();
            counts.insert(&*topic.name, i32::try_from(ready).unwrap_or(i32::MAX));
        }
        let members: Vec<Member> =
            self.group.members.iter().map(|(id, member)| self.described(id, member, around.image)).collect();
        let epoch = self.group.epoch;
        let assignment = Simple.assign(&members, &counts).map_err(|error| {
            let message = format!("Failed to compute a new target assignment for epoch {epoch}: {error}");
            GroupError::new(ErrorCode::UnknownServerError, message)
        })?;
        for (member_id, given) in assignment.into_map() {
            let mut target: Partitions = BTreeMap::new();
            for (name, partition) in given {
                if let Some(topic) = around.image.topic(&name) {
                    target.entry(topic.id).or_default().insert(partition);
                }
            }
            // Kafka writes only what changed; a member that is new is written in any case.
            if self.group.targets.get(&member_id) != Some(&target) {
                self.put(ShareGroupRecord::Target { member_id, value: Some(target_value(&target)) })?;
            }
        }
        let value = ShareGroupTargetAssignmentMetadataValue {
            assignment_epoch: epoch,
            assignment_timestamp: around.now.date_ms,
            ..Default::default()
        };
        self.put(ShareGroupRecord::TargetEpoch(Some(value)))
    }

    /// A member as the assignor sees it: it owns what the last target gave it.
    fn described(&self, id: &str, member: &ShareMember, image: &MetadataImage) -> Member {
        let mut owned = Vec::new();
        for (topic, partitions) in self.group.targets.get(id).into_iter().flatten() {
            if let Some(topic) = image.topic_by_id(*topic) {
                owned.extend(partitions.iter().map(|partition| (topic.name.to_string(), *partition)));
            }
        }
        Member::new(id, member.metadata.subscribed_topic_names.iter().cloned()).with_owned(owned, None)
    }

    /// Gives a member its target at once, as far as it subscribes to it.
    pub fn reconcile(&mut self, member_id: &str, image: &MetadataImage) -> Result<(), GroupError> {
        let Some(member) = self.group.members.get(member_id) else { return Ok(()) };
        let subscribed = topic_ids(member.metadata.subscribed_topic_names.iter().map(String::as_str), image);
        let mut assigned = self.group.targets.get(member_id).cloned().unwrap_or_default();
        assigned.retain(|topic, _| subscribed.contains(topic));
        let epoch = self.group.assignment_epoch;
        if member.current.epoch == epoch && member.current.assigned == assigned {
            return Ok(());
        }
        let previous_epoch =
            if member.current.epoch == epoch { member.current.previous_epoch } else { member.current.epoch };
        let current = ShareAssignment { epoch, previous_epoch, assigned };
        self.put(ShareGroupRecord::Current { member_id: member_id.to_owned(), value: Some(current.to_value()) })
    }
}
