//! `range`: neighbouring partitions of each topic to neighbouring members.

use crate::group::Group;
use crate::{AssignError, Assignment, Assignor, Member, RebalanceProtocol, TopicPartitions};

/// Java's `RangeAssignor`, the default of `partition.assignment.strategy`.
///
/// Topic by topic, the members that subscribe to it are put in order (static members first, by `group.instance.id`,
/// then member ids) and each takes the next run of partitions; the first `partitions % members` of them take one more.
/// Topics with equally many partitions and the same subscribers are thereby co-partitioned. Racks (KIP-881) are not
/// looked at: the answer is Java's for a group without `client.rack`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Range;

impl Assignor for Range {
    fn name(&self) -> &str {
        "range"
    }

    fn protocols(&self) -> &'static [RebalanceProtocol] {
        &[RebalanceProtocol::Eager]
    }

    fn assign(&self, members: &[Member], topics: &TopicPartitions) -> Result<Assignment, AssignError> {
        let group = Group::new(members, topics)?;
        let mut assignment = Assignment::empty_for(members);
        for topic in &group.topics {
            let mut partitions = 0..topic.partition_count;
            let subscriber_count = topic.subscribers.len();
            for (rank, &position) in topic.subscribers.iter().enumerate() {
                // The members still to serve share what is left; rounding up gives the extra ones to the first.
                let members_left = subscriber_count - rank;
                let share = partitions.len().div_ceil(members_left);
                for partition in partitions.by_ref().take(share) {
                    assignment.give(&group.members[position].id, topic.name, partition);
                }
            }
        }
        Ok(assignment)
    }
}
