//! What an assignor is told, and what it answers.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::order;

/// A topic's name and a partition's number within it.
pub type TopicPartition = (String, i32);

/// The last assignment that a member was given.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Remembered {
    /// The group's generation at that time.
    pub generation: i32,
    /// What it was given.
    pub partitions: Vec<TopicPartition>,
}

/// A member of the group, as its JoinGroup request describes it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Member {
    /// The member id that the coordinator gave; unique within the group.
    pub id: String,
    /// `group.instance.id` of a static member (KIP-345).
    pub instance_id: Option<String>,
    /// `client.rack` (KIP-881). `range`, `sticky` and `cooperative-sticky` look at it; the others do not.
    pub rack: Option<String>,
    /// The topics it subscribes to, patterns already resolved. Order and repeats do not matter.
    pub topics: Vec<String>,
    /// The partitions that it says it owns. Cooperative members send them in their subscription (KIP-429); eager
    /// `sticky` members remember them in the assignor's user data.
    pub owned: Vec<TopicPartition>,
    /// The group generation in which it came to own them (KIP-792); `None` from members too old to say.
    pub generation: Option<i32>,
}

impl Member {
    /// A dynamic member without rack that owns nothing.
    pub fn new<Topic: Into<String>>(id: impl Into<String>, topics: impl IntoIterator<Item = Topic>) -> Self {
        Self { id: id.into(), topics: topics.into_iter().map(Into::into).collect(), ..Self::default() }
    }

    /// The same member as a static one.
    #[must_use]
    pub fn with_instance_id(mut self, instance_id: impl Into<String>) -> Self {
        self.instance_id = Some(instance_id.into());
        self
    }

    /// The same member in a rack.
    #[must_use]
    pub fn with_rack(mut self, rack: impl Into<String>) -> Self {
        self.rack = Some(rack.into());
        self
    }

    /// The same member with the partitions that it says it owns since `generation`.
    #[must_use]
    pub fn with_owned(mut self, owned: Vec<TopicPartition>, generation: Option<i32>) -> Self {
        self.owned = owned;
        self.generation = generation;
        self
    }
}

/// How many partitions each topic has, and where it is known, in which racks their replicas live.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TopicPartitions {
    counts: BTreeMap<String, i32>,
    racks: BTreeMap<String, Vec<Vec<String>>>,
}

impl TopicPartitions {
    /// No topic yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Says that `topic` has the partitions `0..count`. As in Java, a count of zero or less is a topic without
    /// partitions. The assignors' memory grows with the count: pass what metadata listed, not what a peer claimed.
    pub fn insert(&mut self, topic: impl Into<String>, count: i32) {
        self.counts.insert(topic.into(), count.max(0));
    }

    /// Says in which racks the replicas of `topic` live: the entry at index `p` is for partition `p`.
    pub fn insert_racks(&mut self, topic: impl Into<String>, racks: Vec<Vec<String>>) {
        self.racks.insert(topic.into(), racks);
    }

    /// The number of partitions of `topic`; zero where it is unknown.
    #[must_use]
    pub fn count(&self, topic: &str) -> i32 {
        self.counts.get(topic).copied().unwrap_or(0)
    }

    /// The racks of one partition's replicas; empty where they are unknown.
    #[must_use]
    pub fn racks(&self, topic: &str, partition: i32) -> &[String] {
        let of_topic = self.racks.get(topic).map(Vec::as_slice).unwrap_or_default();
        usize::try_from(partition).ok().and_then(|index| of_topic.get(index)).map(Vec::as_slice).unwrap_or_default()
    }
}

impl<Topic: Into<String>> FromIterator<(Topic, i32)> for TopicPartitions {
    fn from_iter<Source: IntoIterator<Item = (Topic, i32)>>(source: Source) -> Self {
        let mut topics = Self::new();
        for (topic, count) in source {
            topics.insert(topic, count);
        }
        topics
    }
}

impl<Topic: Into<String>, const N: usize> From<[(Topic, i32); N]> for TopicPartitions {
    fn from(source: [(Topic, i32); N]) -> Self {
        source.into_iter().collect()
    }
}

/// Which member gets which partitions. Every member has an entry.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Assignment {
    by_member: BTreeMap<String, Vec<TopicPartition>>,
}

impl Assignment {
    /// An assignment that gives these members nothing yet.
    #[must_use]
    pub fn empty_for(members: &[Member]) -> Self {
        Self { by_member: members.iter().map(|member| (member.id.clone(), Vec::new())).collect() }
    }

    /// Takes away from every member what another one of them still says that it owns (KIP-429): a cooperative group
    /// hands such a partition on in the round that follows, after its owner has given it up.
    pub fn withhold_claimed(&mut self, members: &[Member]) {
        let mut claimants: BTreeMap<&TopicPartition, Vec<&str>> = BTreeMap::new();
        for member in members {
            for partition in &member.owned {
                claimants.entry(partition).or_default().push(&member.id);
            }
        }
        for (member_id, partitions) in &mut self.by_member {
            partitions.retain(|partition| {
                claimants.get(partition).is_none_or(|claimants| claimants.contains(&member_id.as_str()))
            });
        }
    }

    /// Gives a partition to a member. Strangers get nothing.
    pub fn give(&mut self, member_id: &str, topic: &str, partition: i32) {
        if let Some(partitions) = self.by_member.get_mut(member_id) {
            partitions.push((topic.to_owned(), partition));
        }
    }

    /// The partitions of one member, sorted by topic in Java's string order and then by number, except that
    /// `roundrobin` lists them in the order in which it dealt them, which is the same. Empty for a stranger.
    #[must_use]
    pub fn of(&self, member_id: &str) -> &[TopicPartition] {
        self.by_member.get(member_id).map(Vec::as_slice).unwrap_or_default()
    }

    /// Every member with its partitions, by member id.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[TopicPartition])> {
        self.by_member.iter().map(|(member_id, partitions)| (member_id.as_str(), partitions.as_slice()))
    }

    /// The map itself, member id to partitions.
    #[must_use]
    pub fn into_map(self) -> BTreeMap<String, Vec<TopicPartition>> {
        self.by_member
    }
}

/// Why no assignment can be made.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum AssignError {
    /// Two members came with one member id.
    DuplicateMember {
        /// The id that both have.
        member_id: String,
    },
}

impl fmt::Display for AssignError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DuplicateMember { member_id } => write!(
                formatter,
                "cannot assign partitions: member id {member_id:?} occurs twice in the group; pass each member once"
            ),
        }
    }
}

impl std::error::Error for AssignError {}

/// The group in the order in which Java visits it, checked and with what every assignor asks for.
pub(crate) struct Group<'a> {
    /// Static members first; see [`order::java_member`].
    pub(crate) members: Vec<&'a Member>,
    /// Subscribed topics with at least one partition, in Java's string order, each with its partition count and the
    /// positions in `members` of those that subscribe to it, ascending.
    pub(crate) topics: Vec<GroupTopic<'a>>,
}

/// A topic that somebody subscribes to.
pub(crate) struct GroupTopic<'a> {
    pub(crate) name: &'a str,
    pub(crate) partition_count: i32,
    pub(crate) subscribers: Vec<usize>,
}

impl<'a> Group<'a> {
    pub(crate) fn new(members: &'a [Member], topics: &TopicPartitions) -> Result<Self, AssignError> {
        let mut seen = BTreeSet::new();
        for member in members {
            if !seen.insert(member.id.as_str()) {
                return Err(AssignError::DuplicateMember { member_id: member.id.clone() });
            }
        }
        let mut sorted: Vec<&Member> = members.iter().collect();
        sorted.sort_by(|left, right| order::java_member(left, right));

        let mut subscribers_by_topic: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (position, member) in sorted.iter().enumerate() {
            for topic in &member.topics {
                let subscribers = subscribers_by_topic.entry(topic).or_default();
                if subscribers.last() != Some(&position) {
                    subscribers.push(position);
                }
            }
        }
        let mut group_topics: Vec<GroupTopic<'a>> = subscribers_by_topic
            .into_iter()
            .map(|(name, subscribers)| GroupTopic { name, partition_count: topics.count(name), subscribers })
            .filter(|topic| topic.partition_count > 0)
            .collect();
        group_topics.sort_by(|left, right| order::java_string(left.name, right.name));
        Ok(Self { members: sorted, topics: group_topics })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_member_is_refused_by_name() {
        let members = [Member::new("m-1", ["t"]), Member::new("m-1", ["u"])];
        let error = Group::new(&members, &TopicPartitions::from([("t", 1)])).err();
        assert_eq!(error, Some(AssignError::DuplicateMember { member_id: "m-1".into() }));
        assert!(error.is_some_and(|error| error.to_string().contains("\"m-1\"")));
    }

    #[test]
    fn unknown_and_empty_topics_are_passed_over() {
        let members = [Member::new("m-1", ["gone", "empty", "negative", "t", "t"])];
        let topics = TopicPartitions::from([("empty", 0), ("negative", -4), ("t", 2), ("unsubscribed", 9)]);
        let group = Group::new(&members, &topics).expect("a good group");
        assert_eq!(group.topics.len(), 1);
        assert_eq!(group.topics[0].subscribers, [0]);
    }

    #[test]
    fn racks_are_empty_where_unknown() {
        let mut topics = TopicPartitions::from([("t", 2)]);
        topics.insert_racks("t", vec![vec!["a".into(), "b".into()]]);
        assert_eq!(topics.racks("t", 0), ["a", "b"]);
        assert!(topics.racks("t", 1).is_empty() && topics.racks("t", -1).is_empty() && topics.racks("u", 0).is_empty());
    }
}
