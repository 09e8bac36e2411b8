//! Where share groups begin to read. Sources: DescribeShareGroupOffsets (API key 90), AlterShareGroupOffsets (key 91),
//! DeleteShareGroupOffsets (key 92), KIP-932; KIP-1226 for the lag.

use std::collections::{BTreeMap, BTreeSet};

use rkafka_client_core::{Error, Result, TopicPartition};
use rkafka_protocol::messages::alter_share_group_offsets_request::{
    AlterShareGroupOffsetsRequestPartition, AlterShareGroupOffsetsRequestTopic,
};
use rkafka_protocol::messages::delete_share_group_offsets_request::DeleteShareGroupOffsetsRequestTopic;
use rkafka_protocol::messages::describe_share_group_offsets_request::{
    DescribeShareGroupOffsetsRequestGroup, DescribeShareGroupOffsetsRequestTopic,
};
use rkafka_protocol::messages::describe_share_group_offsets_response::DescribeShareGroupOffsetsResponseGroup;
use rkafka_protocol::messages::{
    AlterShareGroupOffsetsRequest, AlterShareGroupOffsetsResponse, DeleteShareGroupOffsetsRequest,
    DeleteShareGroupOffsetsResponse, DescribeShareGroupOffsetsRequest, DescribeShareGroupOffsetsResponse,
};

use super::{PerItem, by_topic, silent, with_partition};
use crate::Admin;
use crate::driver::{Answers, Operation, Place};
use crate::operation::operation;
use crate::single::To;

/// Where a share group is in a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SharePartitionOffset {
    /// The first offset that is not settled.
    pub start_offset: i64,
    /// The leader epoch of it; `None` where the broker did not say.
    pub leader_epoch: Option<i32>,
    /// How many records are yet to be settled; `None` from brokers before Kafka 4.2, and where it is not known.
    pub lag: Option<i64>,
}

/// Where a share group is in each partition; `None` in one that it has not begun to read.
pub type ShareGroupOffsets = PerItem<Option<SharePartitionOffset>, TopicPartition>;

operation! {
    /// What [`Admin::list_share_group_offsets`] gives.
    pub struct ListShareGroupOffsets => PerItem<ShareGroupOffsets> {
        groups: BTreeMap<String, Option<Vec<TopicPartition>>>,
    }
}

struct Job<'a> {
    groups: &'a BTreeMap<String, Option<Vec<TopicPartition>>>,
}

impl Operation for Job<'_> {
    type Key = String;
    type Value = ShareGroupOffsets;
    type Request = DescribeShareGroupOffsetsRequest;

    fn place(&self, group: &String) -> Place {
        Place::group(group)
    }

    fn request(&self, _version: i16, groups: &[String]) -> Result<DescribeShareGroupOffsetsRequest> {
        let topic = |(topic_name, partitions)| DescribeShareGroupOffsetsRequestTopic {
            topic_name,
            partitions,
            ..Default::default()
        };
        let groups = groups.iter().map(|group| DescribeShareGroupOffsetsRequestGroup {
            group_id: group.clone(),
            topics: self
                .groups
                .get(group)
                .and_then(Option::as_ref)
                .map(|partitions| by_topic(partitions).into_iter().map(topic).collect()),
            ..Default::default()
        });
        Ok(DescribeShareGroupOffsetsRequest { groups: groups.collect(), ..Default::default() })
    }

    fn read(
        &self,
        _groups: &[String],
        response: DescribeShareGroupOffsetsResponse,
    ) -> Answers<String, ShareGroupOffsets> {
        let read = |group: DescribeShareGroupOffsetsResponseGroup| {
            let outcome = Error::check_with(group.error_code, group.error_message.as_deref());
            let partitions = group.topics.into_iter().flat_map(|topic| {
                let name = topic.topic_name;
                topic.partitions.into_iter().map(move |one| {
                    let partition = TopicPartition::new(name.as_str(), one.partition_index);
                    let offset = Error::check_with(one.error_code, one.error_message.as_deref())
                        .map_err(|error| with_partition(&partition, error))
                        .map(|()| {
                            (one.start_offset >= 0).then_some(SharePartitionOffset {
                                start_offset: one.start_offset,
                                leader_epoch: (one.leader_epoch >= 0).then_some(one.leader_epoch),
                                lag: (one.lag >= 0).then_some(one.lag),
                            })
                        });
                    (partition, offset)
                })
            });
            (group.group_id, outcome.map(|()| partitions.collect()))
        };
        Ok(response.groups.into_iter().map(read).collect())
    }
}

operation! {
    /// What [`Admin::alter_share_group_offsets`] gives.
    pub struct AlterShareGroupOffsets => PerItem<(), TopicPartition> {
        group: String,
        offsets: BTreeMap<TopicPartition, i64>,
    }
}

operation! {
    /// What [`Admin::delete_share_group_offsets`] gives.
    pub struct DeleteShareGroupOffsets => PerItem<()> {
        group: String,
        topics: BTreeSet<String>,
    }
}

impl ListShareGroupOffsets<'_> {
    async fn run(self) -> Result<PerItem<ShareGroupOffsets>> {
        let job = Job { groups: &self.groups };
        self.admin.run(&job, self.groups.keys().cloned(), self.limit).await
    }
}

impl AlterShareGroupOffsets<'_> {
    async fn run(self) -> Result<PerItem<(), TopicPartition>> {
        let mut topics: BTreeMap<&str, Vec<AlterShareGroupOffsetsRequestPartition>> = BTreeMap::new();
        for (partition, offset) in &self.offsets {
            topics.entry(&partition.topic).or_default().push(AlterShareGroupOffsetsRequestPartition {
                partition_index: partition.partition,
                start_offset: *offset,
                ..Default::default()
            });
        }
        let topics = topics.into_iter().map(|(name, partitions)| AlterShareGroupOffsetsRequestTopic {
            topic_name: name.to_owned(),
            partitions,
            ..Default::default()
        });
        let topics: Vec<AlterShareGroupOffsetsRequestTopic> = topics.collect();
        let build = |_| AlterShareGroupOffsetsRequest {
            group_id: self.group.clone(),
            topics: topics.clone(),
            ..Default::default()
        };
        let read = |response: AlterShareGroupOffsetsResponse| {
            Error::check_with(response.error_code, response.error_message.as_deref())?;
            let mut told: PerItem<(), TopicPartition> = PerItem::new();
            for topic in response.responses {
                for one in topic.partitions {
                    let partition = TopicPartition::new(topic.topic_name.as_str(), one.partition_index);
                    let outcome = Error::check_with(one.error_code, one.error_message.as_deref())
                        .map_err(|error| with_partition(&partition, error));
                    told.insert(partition, outcome);
                }
            }
            for partition in self.offsets.keys() {
                told.entry(partition.clone()).or_insert_with(|| Err(silent(partition)));
            }
            Ok(told)
        };
        self.admin.ask(To::Group(self.group.clone()), self.limit, &[], build, read).await
    }
}

impl DeleteShareGroupOffsets<'_> {
    async fn run(self) -> Result<PerItem<()>> {
        let topic =
            |name: &String| DeleteShareGroupOffsetsRequestTopic { topic_name: name.clone(), ..Default::default() };
        let build = |_| DeleteShareGroupOffsetsRequest {
            group_id: self.group.clone(),
            topics: self.topics.iter().map(topic).collect(),
            ..Default::default()
        };
        let read = |response: DeleteShareGroupOffsetsResponse| {
            Error::check_with(response.error_code, response.error_message.as_deref())?;
            let told = response.responses.into_iter().map(|topic| {
                let outcome = Error::check_with(topic.error_code, topic.error_message.as_deref())
                    .map_err(|error| error.with_topic(&topic.topic_name));
                (topic.topic_name, outcome)
            });
            let mut told: PerItem<()> = told.collect();
            for topic in &self.topics {
                told.entry(topic.clone()).or_insert_with(|| Err(silent(topic)));
            }
            Ok(told)
        };
        self.admin.ask(To::Group(self.group.clone()), self.limit, &[], build, read).await
    }
}

impl Admin {
    /// Where share groups are: each in these partitions, or, with `None`, in all that it has begun to read. Needs
    /// Kafka 4.1.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// See [`Admin`]. What concerns one group, or one of its partitions, is in its item.
    pub fn list_share_group_offsets(
        &self,
        groups: impl IntoIterator<Item = (impl Into<String>, Option<Vec<TopicPartition>>)>,
    ) -> ListShareGroupOffsets<'_> {
        ListShareGroupOffsets::new(self, groups.into_iter().map(|(group, which)| (group.into(), which)).collect())
    }

    /// Lets a share group begin anew at these offsets; it must have no members
    /// ([`NonEmptyGroup`](crate::ErrorCode::NonEmptyGroup)). What was said of records before is forgotten. Needs Kafka 4.1.
    ///
    /// Cancel safety: the offsets may have been changed.
    ///
    /// # Errors
    /// See [`Admin`]; also what the broker says of the group. What concerns one partition is in its item.
    pub fn alter_share_group_offsets(
        &self,
        group: impl Into<String>,
        offsets: impl IntoIterator<Item = (TopicPartition, i64)>,
    ) -> AlterShareGroupOffsets<'_> {
        AlterShareGroupOffsets::new(self, group.into(), offsets.into_iter().collect())
    }

    /// Deletes where a share group is in these topics, so that it begins there as if it were new; it must have no members
    /// ([`NonEmptyGroup`](crate::ErrorCode::NonEmptyGroup)). Needs Kafka 4.1.
    ///
    /// Cancel safety: the offsets may have been deleted.
    ///
    /// # Errors
    /// See [`Admin`]; also what the broker says of the group. What concerns one topic is in its item.
    pub fn delete_share_group_offsets(
        &self,
        group: impl Into<String>,
        topics: impl IntoIterator<Item: AsRef<str>>,
    ) -> DeleteShareGroupOffsets<'_> {
        DeleteShareGroupOffsets::new(self, group.into(), super::strings(topics).into_iter().collect())
    }
}
