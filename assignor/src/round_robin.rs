//! `roundrobin`: all partitions of all topics dealt in turn.

use crate::group::Group;
use crate::{AssignError, Assignment, Assignor, Member, RebalanceProtocol, TopicPartitions};

/// Java's `RoundRobinAssignor`.
///
/// All partitions, by topic and number, are dealt to the members in order (static members first, by
/// `group.instance.id`, then member ids); a member that does not subscribe to the topic at hand is passed over, and
/// the next partition starts with the member after the one served.
#[derive(Debug, Clone, Copy, Default)]
pub struct RoundRobin;

impl Assignor for RoundRobin {
    fn name(&self) -> &str {
        "roundrobin"
    }

    fn protocols(&self) -> &'static [RebalanceProtocol] {
        &[RebalanceProtocol::Eager]
    }

    fn assign(&self, members: &[Member], topics: &TopicPartitions) -> Result<Assignment, AssignError> {
        let group = Group::new(members, topics)?;
        let mut assignment = Assignment::empty_for(members);
        let mut next = 0;
        for topic in &group.topics {
            for partition in 0..topic.partition_count {
                // The first subscriber at or after `next` around the circle of members; subscribers ascend.
                let rank = topic.subscribers.partition_point(|&position| position < next);
                let Some(&position) = topic.subscribers.get(rank).or_else(|| topic.subscribers.first()) else { break };
                assignment.give(&group.members[position].id, topic.name, partition);
                next = (position + 1) % group.members.len();
            }
        }
        Ok(assignment)
    }
}
