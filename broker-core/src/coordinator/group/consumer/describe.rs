//! What administrators ask about consumer groups.

use rkafka_protocol::messages::consumer_group_describe_response::{
    Assignment, DescribedGroup, Member, TopicPartitions,
};
use uuid::Uuid;

use super::ConsumerMember;
use super::step::consumer_group_not_found;
use crate::controller::MetadataImage;
use crate::coordinator::group::GroupShard;

impl GroupShard {
    /// A consumer group with its members.
    pub fn describe_consumer(&self, group_id: &str) -> DescribedGroup {
        let described = DescribedGroup { group_id: group_id.to_owned(), ..Default::default() };
        let Some(group) = self.persisted.consumer(group_id) else {
            let mut error = consumer_group_not_found(group_id);
            if self.persisted.group(group_id).is_some() || self.living(group_id).is_some() {
                error.message = format!("Group {group_id} is not a consumer group.");
            } else {
                error.message = format!("Group {group_id} not found.");
            }
            return DescribedGroup { error_code: error.code.code(), error_message: Some(error.message), ..described };
        };
        let assignor = group.preferred_assignor().unwrap_or_else(|| self.settings.consumer.default_assignor());
        let one = |(member_id, member): (&String, &ConsumerMember)| {
            let assigned = &member.current.assigned;
            let assigned = assigned.iter().map(|(topic, partitions)| (*topic, partitions.keys().copied().collect()));
            let target = group.targets.get(member_id).into_iter().flatten();
            let target = target.map(|(topic, partitions)| (*topic, partitions.iter().copied().collect()));
            Member {
                member_id: member_id.clone(),
                instance_id: member.metadata.instance_id.clone(),
                rack_id: member.metadata.rack_id.clone(),
                member_epoch: member.current.epoch,
                client_id: member.metadata.client_id.clone(),
                client_host: member.metadata.client_host.clone(),
                subscribed_topic_names: member.metadata.subscribed_topic_names.clone(),
                subscribed_topic_regex: member.metadata.subscribed_topic_regex.clone(),
                assignment: assignment(assigned, &self.image),
                target_assignment: assignment(target, &self.image),
                member_type: if member.classic().is_some() { 0 } else { 1 },
                ..Default::default()
            }
        };
        DescribedGroup {
            group_state: group.state().name().to_owned(),
            group_epoch: group.epoch,
            assignment_epoch: group.assignment_epoch,
            assignor_name: assignor.to_owned(),
            members: group.members.iter().map(one).collect(),
            ..described
        }
    }
}

/// Partitions with the names of their topics; those of topics that are gone are left out.
fn assignment(partitions: impl Iterator<Item = (Uuid, Vec<i32>)>, image: &MetadataImage) -> Assignment {
    let one = |(topic_id, partitions)| {
        let topic_name = image.topic_by_id(topic_id)?.name.to_string();
        Some(TopicPartitions { topic_id, topic_name, partitions, ..Default::default() })
    };
    Assignment { topic_partitions: partitions.filter_map(one).collect(), ..Default::default() }
}
