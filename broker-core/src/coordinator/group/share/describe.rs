//! What administrators ask about share groups.

use rkafka_assignor::{Assignor, Simple};
use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::share_group_describe_response::{Assignment, DescribedGroup, Member, TopicPartitions};

use super::group::ShareMember;
use crate::controller::MetadataImage;
use crate::coordinator::group::GroupShard;
use crate::coordinator::group::consumer::Partitions;

impl GroupShard {
    /// A share group with its members.
    pub fn describe_share(&self, group_id: &str) -> DescribedGroup {
        let described = DescribedGroup { group_id: group_id.to_owned(), ..Default::default() };
        let Some(group) = self.persisted.share(group_id) else {
            let is_other = self.persisted.group(group_id).is_some() || self.living(group_id).is_some();
            let what = if is_other { "is not a share group" } else { "not found" };
            return DescribedGroup {
                error_code: ErrorCode::GroupIdNotFound.code(),
                error_message: Some(format!("Group {group_id} {what}.")),
                ..described
            };
        };
        let one = |(member_id, member): (&String, &ShareMember)| Member {
            member_id: member_id.clone(),
            rack_id: member.metadata.rack_id.clone(),
            member_epoch: member.current.epoch,
            client_id: member.metadata.client_id.clone(),
            client_host: member.metadata.client_host.clone(),
            subscribed_topic_names: member.metadata.subscribed_topic_names.clone(),
            assignment: assignment(&member.current.assigned, &self.image),
            ..Default::default()
        };
        DescribedGroup {
            group_state: group.state_name().to_owned(),
            group_epoch: group.epoch,
            assignment_epoch: group.assignment_epoch,
            assignor_name: Simple.name().to_owned(),
            members: group.members.iter().map(one).collect(),
            ..described
        }
    }
}

/// Partitions with the names of their topics; those of topics that are gone are left out.
fn assignment(assigned: &Partitions, image: &MetadataImage) -> Assignment {
    let one = |(topic_id, partitions): (&uuid::Uuid, &std::collections::BTreeSet<i32>)| {
        let topic_name = image.topic_by_id(*topic_id)?.name.to_string();
        let partitions = partitions.iter().copied().collect();
        Some(TopicPartitions { topic_id: *topic_id, topic_name, partitions, ..Default::default() })
    };
    Assignment { topic_partitions: assigned.iter().filter_map(one).collect(), ..Default::default() }
}
