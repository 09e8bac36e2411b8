//! Who would read which partition in its own rack (KIP-881).

use std::collections::BTreeSet;

use crate::TopicPartitions;
use crate::group::Group;

/// The racks of members and partitions, where they make a difference.
pub(super) struct Racks<'a> {
    of_members: Vec<Option<&'a str>>,
    /// By topic and partition number: where the replicas live.
    of_partitions: Vec<Vec<BTreeSet<&'a str>>>,
}

impl<'a> Racks<'a> {
    /// `None` where no member is in the rack of any replica, or every partition is in the same racks.
    pub(super) fn of(group: &Group<'a>, topics: &'a TopicPartitions) -> Option<Self> {
        let rack = |rack: &'a Option<String>| rack.as_deref().filter(|rack| !rack.is_empty());
        let of_members: Vec<_> = group.members.iter().map(|member| rack(&member.rack)).collect();
        if of_members.iter().all(Option::is_none) {
            return None;
        }
        let racks = |name: &str, partition| topics.racks(name, partition).iter().map(String::as_str).collect();
        let of_partitions: Vec<Vec<BTreeSet<&str>>> = group
            .topics
            .iter()
            .map(|topic| (0..topic.partition_count).map(|partition| racks(topic.name, partition)).collect())
            .collect();
        let all: BTreeSet<&str> = of_partitions.iter().flatten().flatten().copied().collect();
        let differ = of_members.iter().flatten().any(|rack| all.contains(rack))
            && of_partitions.iter().flatten().any(|racks| *racks != all);
        differ.then_some(Self { of_members, of_partitions })
    }

    /// Whether a replica lives in the rack of this member; `None` where the member has no rack.
    fn is_near(&self, member: usize, topic: usize, partition: i32) -> Option<bool> {
        let rack = self.of_members.get(member).copied().flatten()?;
        let racks = usize::try_from(partition).ok().and_then(|number| self.of_partitions.get(topic)?.get(number));
        Some(racks.is_some_and(|racks| racks.contains(rack)))
    }

    /// Whether a replica lives in the rack of this member.
    pub(super) fn is_home(&self, member: usize, topic: usize, partition: i32) -> bool {
        self.is_near(member, topic, partition) == Some(true)
    }

    /// Whether the member has a rack, and it is another than all of the replicas'.
    pub(super) fn is_abroad(&self, member: usize, topic: usize, partition: i32) -> bool {
        self.is_near(member, topic, partition) == Some(false)
    }
}
