//! Offsets that groups have committed. Sources: OffsetFetch (API key 9, KIP-709), OffsetCommit (key 8, KIP-396),
//! OffsetDelete (key 47, KIP-496).

use std::collections::{BTreeMap, BTreeSet};

use rkafka_client_core::{CommittedOffset, Error, ErrorCode, Result, TopicPartition};
use rkafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use rkafka_protocol::messages::offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use rkafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use rkafka_protocol::messages::offset_fetch_response::OffsetFetchResponseGroup;
use rkafka_protocol::messages::{
    OffsetCommitRequest, OffsetCommitResponse, OffsetDeleteRequest, OffsetDeleteResponse, OffsetFetchRequest,
    OffsetFetchResponse,
};

use super::{PerItem, by_topic, with_partition};
use crate::Admin;
use crate::driver::{Answers, Operation, Place};
use crate::operation::operation;
use crate::single::To;

/// What a group has committed: an offset for each partition, or why that is not known. `None` where nothing is committed.
pub type GroupOffsets = PerItem<Option<CommittedOffset>, TopicPartition>;

operation! {
    /// What [`Admin::list_consumer_group_offsets`] gives.
    pub struct ListConsumerGroupOffsets => PerItem<GroupOffsets> {
        groups: BTreeMap<String, Option<Vec<TopicPartition>>>,
    }
    options {
        /// Whether an offset that a transaction is about to commit is waited for, so that what is told is final (KIP-447).
        /// Default: not. Needs Kafka 2.5.
        require_stable: bool = false,
    }
}

struct Fetch<'a> {
    groups: &'a BTreeMap<String, Option<Vec<TopicPartition>>>,
    require_stable: bool,
}

impl Fetch<'_> {
    fn partitions(&self, group: &String) -> Option<BTreeMap<String, Vec<i32>>> {
        self.groups.get(group)?.as_ref().map(by_topic)
    }
}

impl Operation for Fetch<'_> {
    type Key = String;
    type Value = GroupOffsets;
    type Request = OffsetFetchRequest;
    // From version 10 on topics are told by their ids alone, and offsets of one that is no more could not be listed.
    const VERSION_MAX: i16 = 9;

    fn place(&self, group: &String) -> Place {
        Place::group(group)
    }

    fn batch_max(&self, version: i16) -> usize {
        if version >= 8 { usize::MAX } else { 1 }
    }

    fn request(&self, version: i16, groups: &[String]) -> Result<OffsetFetchRequest> {
        if version < 8 {
            let group = groups.first().cloned().unwrap_or_default();
            let topic =
                |(name, partition_indexes)| OffsetFetchRequestTopic { name, partition_indexes, ..Default::default() };
            return Ok(OffsetFetchRequest {
                topics: self.partitions(&group).map(|topics| topics.into_iter().map(topic).collect()),
                group_id: group,
                require_stable: self.require_stable,
                ..Default::default()
            });
        }
        let topic =
            |(name, partition_indexes)| OffsetFetchRequestTopics { name, partition_indexes, ..Default::default() };
        let groups = groups.iter().map(|group| OffsetFetchRequestGroup {
            group_id: group.clone(),
            topics: self.partitions(group).map(|topics| topics.into_iter().map(topic).collect()),
            ..Default::default()
        });
        Ok(OffsetFetchRequest { groups: groups.collect(), require_stable: self.require_stable, ..Default::default() })
    }

    fn read(&self, groups: &[String], response: OffsetFetchResponse) -> Answers<String, GroupOffsets> {
        if let ([group], true) = (groups, response.groups.is_empty()) {
            let partitions = response.topics.into_iter().flat_map(|topic| {
                let name = topic.name;
                topic.partitions.into_iter().map(move |one| {
                    let offset = (one.committed_offset, one.committed_leader_epoch, one.metadata);
                    committed(&name, one.partition_index, one.error_code, offset)
                })
            });
            let offsets = Error::check(response.error_code).and_then(|()| whole(partitions.collect()));
            return Ok(vec![(group.clone(), offsets)]);
        }
        let read = |group: OffsetFetchResponseGroup| {
            let partitions = group.topics.into_iter().flat_map(|topic| {
                let name = topic.name;
                topic.partitions.into_iter().map(move |one| {
                    let offset = (one.committed_offset, one.committed_leader_epoch, one.metadata);
                    committed(&name, one.partition_index, one.error_code, offset)
                })
            });
            let offsets = Error::check(group.error_code).and_then(|()| whole(partitions.collect()));
            (group.group_id, offsets)
        };
        Ok(response.groups.into_iter().map(read).collect())
    }

    fn passes(&self, code: ErrorCode) -> bool {
        code == ErrorCode::UnstableOffsetCommit
    }
}

fn committed(
    topic: &str,
    partition: i32,
    code: i16,
    (offset, leader_epoch, metadata): (i64, i32, Option<String>),
) -> (TopicPartition, Result<Option<CommittedOffset>>) {
    let result = Error::check(code).map_err(|error| error.with_partition(topic, partition)).map(|()| {
        (offset >= 0).then(|| {
            CommittedOffset::new(offset)
                .with_leader_epoch((leader_epoch >= 0).then_some(leader_epoch))
                .with_metadata(metadata.unwrap_or_default())
        })
    });
    (TopicPartition::new(topic, partition), result)
}

/// An offset that is not stable yet is asked for again with the whole group.
fn whole(offsets: GroupOffsets) -> Result<GroupOffsets> {
    let unstable =
        |result: &&Result<_>| result.as_ref().is_err_and(|error| error.code() == Some(ErrorCode::UnstableOffsetCommit));
    match offsets.values().find(unstable) {
        Some(Err(error)) => Err(error.clone()),
        _ => Ok(offsets),
    }
}

operation! {
    /// What [`Admin::alter_consumer_group_offsets`] gives.
    pub struct AlterConsumerGroupOffsets => PerItem<(), TopicPartition> {
        group: String,
        offsets: BTreeMap<TopicPartition, CommittedOffset>,
    }
}

struct Commit<'a> {
    group: &'a str,
    offsets: &'a BTreeMap<TopicPartition, CommittedOffset>,
}

impl Operation for Commit<'_> {
    type Key = TopicPartition;
    type Value = ();
    type Request = OffsetCommitRequest;
    // From version 10 on topics are told by their ids alone.
    const VERSION_MAX: i16 = 9;

    fn place(&self, _partition: &TopicPartition) -> Place {
        Place::group(self.group)
    }

    fn request(&self, _version: i16, partitions: &[TopicPartition]) -> Result<OffsetCommitRequest> {
        let mut topics: BTreeMap<&str, Vec<OffsetCommitRequestPartition>> = BTreeMap::new();
        for partition in partitions {
            let Some(offset) = self.offsets.get(partition) else { continue };
            topics.entry(&partition.topic).or_default().push(OffsetCommitRequestPartition {
                partition_index: partition.partition,
                committed_offset: offset.offset,
                committed_leader_epoch: offset.leader_epoch.unwrap_or(-1),
                committed_metadata: Some(offset.metadata.clone()),
                ..Default::default()
            });
        }
        let topics = topics.into_iter().map(|(name, partitions)| OffsetCommitRequestTopic {
            name: name.to_owned(),
            partitions,
            ..Default::default()
        });
        Ok(OffsetCommitRequest {
            group_id: self.group.to_owned(),
            // Of nobody in the group, which a group with members refuses.
            generation_id_or_member_epoch: -1,
            topics: topics.collect(),
            ..Default::default()
        })
    }

    fn read(&self, _partitions: &[TopicPartition], response: OffsetCommitResponse) -> Answers<TopicPartition, ()> {
        let partitions = response.topics.into_iter().flat_map(|topic| {
            let name = topic.name;
            topic
                .partitions
                .into_iter()
                .map(move |one| (TopicPartition::new(name.as_str(), one.partition_index), Error::check(one.error_code)))
        });
        Ok(partitions.collect())
    }

    fn passes(&self, code: ErrorCode) -> bool {
        code == ErrorCode::RebalanceInProgress
    }

    fn about(&self, partition: &TopicPartition, error: Error) -> Error {
        with_partition(partition, error)
    }
}

operation! {
    /// What [`Admin::delete_consumer_group_offsets`] gives.
    pub struct DeleteConsumerGroupOffsets => PerItem<(), TopicPartition> {
        group: String,
        partitions: BTreeSet<TopicPartition>,
    }
}

impl ListConsumerGroupOffsets<'_> {
    async fn run(self) -> Result<PerItem<GroupOffsets>> {
        let job = Fetch { groups: &self.groups, require_stable: self.require_stable };
        self.admin.run(&job, self.groups.keys().cloned(), self.limit).await
    }
}

impl AlterConsumerGroupOffsets<'_> {
    async fn run(self) -> Result<PerItem<(), TopicPartition>> {
        let job = Commit { group: &self.group, offsets: &self.offsets };
        self.admin.run(&job, self.offsets.keys().cloned(), self.limit).await
    }
}

impl DeleteConsumerGroupOffsets<'_> {
    async fn run(self) -> Result<PerItem<(), TopicPartition>> {
        let topics = by_topic(&self.partitions).into_iter().map(|(name, partitions)| {
            let partition = |partition_index| OffsetDeleteRequestPartition { partition_index };
            OffsetDeleteRequestTopic { name, partitions: partitions.into_iter().map(partition).collect() }
        });
        let topics: Vec<OffsetDeleteRequestTopic> = topics.collect();
        let build = |_| OffsetDeleteRequest { group_id: self.group.clone(), topics: topics.clone() };
        let read = |response: OffsetDeleteResponse| {
            Error::check(response.error_code)?;
            let told = response.topics.into_iter().flat_map(|topic| {
                let name = topic.name;
                topic.partitions.into_iter().map(move |one| {
                    let partition = TopicPartition::new(name.as_str(), one.partition_index);
                    let outcome = Error::check(one.error_code).map_err(|error| with_partition(&partition, error));
                    (partition, outcome)
                })
            });
            let mut told: PerItem<(), TopicPartition> = told.collect();
            for partition in &self.partitions {
                told.entry(partition.clone()).or_insert_with(|| Err(super::silent(partition)));
            }
            Ok(told)
        };
        self.admin.ask(To::Group(self.group.clone()), self.limit, &[], build, read).await
    }
}

impl Admin {
    /// The offsets that groups have committed: for each group of these partitions, or, with `None`, of all that it has
    /// any for. Groups of the classic and the consumer type, and those of Kafka Streams; a group that is not there has
    /// committed nothing.
    ///
    /// ```no_run
    /// # use rkafka_admin::Admin;
    /// # async fn run(admin: Admin) -> Result<(), rkafka_admin::Error> {
    /// for (group, offsets) in admin.list_consumer_group_offsets([("billing", None)]).await? {
    ///     for (partition, offset) in offsets? {
    ///         println!("{group} {partition}: {:?}", offset?.map(|committed| committed.offset));
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// See [`Admin`]. What concerns one group, or one of its partitions, is in its item.
    pub fn list_consumer_group_offsets(
        &self,
        groups: impl IntoIterator<Item = (impl Into<String>, Option<Vec<TopicPartition>>)>,
    ) -> ListConsumerGroupOffsets<'_> {
        ListConsumerGroupOffsets::new(self, groups.into_iter().map(|(group, which)| (group.into(), which)).collect())
    }

    /// Sets what a group has committed, so that it goes on from there. It must have no members; one with members refuses
    /// each partition with [`UnknownMemberId`](ErrorCode::UnknownMemberId). A group that is not there is made.
    ///
    /// Cancel safety: the offsets may have been committed.
    ///
    /// # Errors
    /// See [`Admin`]. What concerns one partition is in its item.
    pub fn alter_consumer_group_offsets(
        &self,
        group: impl Into<String>,
        offsets: impl IntoIterator<Item = (TopicPartition, CommittedOffset)>,
    ) -> AlterConsumerGroupOffsets<'_> {
        AlterConsumerGroupOffsets::new(self, group.into(), offsets.into_iter().collect())
    }

    /// Deletes what a group has committed for these partitions. The group may have members, but none that is subscribed to
    /// the topic ([`GroupSubscribedToTopic`](ErrorCode::GroupSubscribedToTopic)).
    ///
    /// Cancel safety: the offsets may have been deleted.
    ///
    /// # Errors
    /// See [`Admin`]; also what the broker says of the group, such as [`GroupIdNotFound`](ErrorCode::GroupIdNotFound).
    /// What concerns one partition is in its item.
    pub fn delete_consumer_group_offsets(
        &self,
        group: impl Into<String>,
        partitions: impl IntoIterator<Item = TopicPartition>,
    ) -> DeleteConsumerGroupOffsets<'_> {
        DeleteConsumerGroupOffsets::new(self, group.into(), partitions.into_iter().collect())
    }
}
