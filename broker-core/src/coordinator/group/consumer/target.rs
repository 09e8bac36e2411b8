//! The target assignment: what each member shall have, by one of the server's assignors.

use std::collections::BTreeMap;

use rkafka_assignor::{Assignor, Member, Range, TopicPartitions, Uniform};
use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::consumer_group_target_assignment_metadata_value::ConsumerGroupTargetAssignmentMetadataValue;

use super::GroupError;
use super::draft::{Draft, Surroundings};
use super::group::{ConsumerMember, Partitions};
use super::records::ConsumerRecord;
use crate::controller::MetadataImage;

/// The server's assignor of this name.
pub(super) fn assignor(name: &str) -> Option<&'static dyn Assignor> {
    let known: [&'static dyn Assignor; 2] = [&Uniform, &Range];
    known.into_iter().find(|assignor| assignor.name() == name)
}

/// Computes the target assignment of the group's present epoch, and writes what changed.
pub(super) fn assign(draft: &mut Draft<'_>, around: Surroundings<'_>) -> Result<(), GroupError> {
    let preferred = draft.group.preferred_assignor().filter(|name| around.settings.has_assignor(name));
    let name = preferred.unwrap_or_else(|| around.settings.default_assignor()).to_owned();
    let failed = |reason: String| {
        let epoch = draft.group.epoch;
        let message = format!("Failed to compute a new target assignment for epoch {epoch}: {reason}");
        GroupError::new(ErrorCode::UnknownServerError, message)
    };
    let assignor = assignor(&name).ok_or_else(|| failed(format!("there is no assignor {name}")))?;
    let mut counts = TopicPartitions::new();
    for topic in draft.group.subscribed_names().into_iter().filter_map(|name| around.image.topic(name)) {
        counts.insert(&*topic.name, i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX));
    }
    let members: Vec<Member> =
        draft.group.members.iter().map(|(id, member)| described(draft, id, member, around.image)).collect();
    let assignment = assignor.assign(&members, &counts).map_err(|error| failed(error.to_string()))?;

    for (member_id, given) in assignment.into_map() {
        let mut target: Partitions = BTreeMap::new();
        for (name, partition) in given {
            if let Some(topic) = around.image.topic(&name) {
                target.entry(topic.id).or_default().insert(partition);
            }
        }
        // Kafka writes only what changed; a member that is new is written in any case.
        if draft.group.targets.get(&member_id) != Some(&target) {
            draft.put_target(&member_id, &target)?;
        }
    }
    let epoch = draft.group.epoch;
    tracing::info!(group = draft.id, epoch, assignor = name, "new target assignment");
    let value = ConsumerGroupTargetAssignmentMetadataValue {
        assignment_epoch: epoch,
        assignment_timestamp: around.now.date_ms,
        ..Default::default()
    };
    draft.put(ConsumerRecord::TargetEpoch(Some(value)))
}

/// A member as an assignor sees it: it owns what the last target gave it.
fn described(draft: &Draft<'_>, id: &str, member: &ConsumerMember, image: &MetadataImage) -> Member {
    let mut owned = Vec::new();
    for (topic, partitions) in draft.group.targets.get(id).into_iter().flatten() {
        if let Some(topic) = image.topic_by_id(*topic) {
            owned.extend(partitions.iter().map(|partition| (topic.name.to_string(), *partition)));
        }
    }
    let described = Member::new(id, draft.group.names_of(member)).with_owned(owned, None);
    match member.instance_id() {
        Some(instance_id) => described.with_instance_id(instance_id),
        None => described,
    }
}
