//! Committing, fetching and deleting offsets: decisions that read the shard, and records that change it once appended.

use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::offset_commit_request::{OffsetCommitRequest, OffsetCommitRequestPartition};
use rkafka_protocol::messages::offset_commit_response::{
    OffsetCommitResponse, OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use rkafka_protocol::messages::offset_commit_value::OffsetCommitValue;
use rkafka_protocol::messages::offset_delete_request::OffsetDeleteRequest;
use rkafka_protocol::messages::offset_delete_response::{
    OffsetDeleteResponse, OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use rkafka_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use rkafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartitions, OffsetFetchResponseTopics,
};
use uuid::Uuid;

use super::classic::CONSUMER_PROTOCOL_TYPE;
use super::{ClassicState, GroupShard, Moment, Outcome, records};

/// The first version of OffsetCommit that can be told that there is no such group.
const FIRST_VERSION_WITH_GROUP_ID_NOT_FOUND: i16 = 9;

impl GroupShard {
    /// Decides about a commit whose topics have names and were found to exist. The offsets count once
    /// [`Outcome::records`] are appended and replayed.
    ///
    /// # Errors
    /// Of the group: `UNKNOWN_MEMBER_ID`, `FENCED_INSTANCE_ID`, `ILLEGAL_GENERATION`, `REBALANCE_IN_PROGRESS`,
    /// `GROUP_ID_NOT_FOUND`, `COORDINATOR_NOT_AVAILABLE`. Errors of single partitions are in the answer.
    pub fn decide_commit(
        &self,
        now: Moment,
        request: &OffsetCommitRequest,
        version: i16,
    ) -> Result<Outcome<OffsetCommitResponse>, ErrorCode> {
        self.check_commit(request, version)?;
        let expire_timestamp = match request.retention_time_ms {
            -1 => -1,
            retention_ms => now.date_ms.saturating_add(retention_ms),
        };
        let mut outcome = Outcome { records: Vec::new(), reply: OffsetCommitResponse::default() };
        for topic in &request.topics {
            let mut answered =
                OffsetCommitResponseTopic { name: topic.name.clone(), topic_id: topic.topic_id, ..Default::default() };
            for partition in &topic.partitions {
                let index = partition.partition_index;
                let result = self.offset_value(now, partition, expire_timestamp, topic.topic_id).and_then(|value| {
                    records::offset(&request.group_id, &topic.name, index, &value)
                        .map_err(|_| ErrorCode::InvalidRequest)
                });
                let error = match result {
                    Ok(record) => {
                        outcome.records.push(record);
                        ErrorCode::None
                    }
                    Err(error) => error,
                };
                answered.partitions.push(OffsetCommitResponsePartition {
                    partition_index: index,
                    error_code: error.code(),
                    ..Default::default()
                });
            }
            outcome.reply.topics.push(answered);
        }
        Ok(outcome)
    }

    fn check_commit(&self, request: &OffsetCommitRequest, version: i16) -> Result<(), ErrorCode> {
        let generation = request.generation_id_or_member_epoch;
        if let Some(group) = self.living(&request.group_id) {
            return group.check_commit(&request.member_id, request.group_instance_id.as_deref(), generation);
        }
        match self.persisted.group(&request.group_id) {
            // An empty group is not kept living, and nobody is a member of it.
            Some(_) if generation < 0 => Ok(()),
            Some(_) => Err(ErrorCode::UnknownMemberId),
            None if generation < 0 => Ok(()),
            None if version >= FIRST_VERSION_WITH_GROUP_ID_NOT_FOUND => Err(ErrorCode::GroupIdNotFound),
            None => Err(ErrorCode::IllegalGeneration),
        }
    }

    fn offset_value(
        &self,
        now: Moment,
        partition: &OffsetCommitRequestPartition,
        expire_timestamp: i64,
        topic_id: Uuid,
    ) -> Result<OffsetCommitValue, ErrorCode> {
        let metadata = partition.committed_metadata.as_deref().unwrap_or_default();
        // Kafka counts UTF-16 code units.
        if metadata.encode_utf16().count() > self.settings.offset_metadata_max_length {
            return Err(ErrorCode::OffsetMetadataTooLarge);
        }
        Ok(OffsetCommitValue {
            offset: partition.committed_offset,
            leader_epoch: partition.committed_leader_epoch,
            metadata: metadata.to_owned(),
            commit_timestamp: now.date_ms,
            expire_timestamp,
            topic_id,
            ..Default::default()
        })
    }

    /// The committed offsets that were asked for; all of the group's where no topics are named. A partition without a
    /// commit is answered with offset -1.
    pub fn fetch_offsets(&self, request: &OffsetFetchRequestGroup) -> OffsetFetchResponseGroup {
        let topics = match &request.topics {
            Some(topics) => topics.iter().map(|topic| self.fetch_topic(&request.group_id, topic)).collect(),
            None => self.fetch_all(&request.group_id),
        };
        OffsetFetchResponseGroup { group_id: request.group_id.clone(), topics, ..Default::default() }
    }

    fn fetch_topic(&self, group_id: &str, topic: &OffsetFetchRequestTopics) -> OffsetFetchResponseTopics {
        let one = |index: i32| {
            let found = self.persisted.offset(group_id, &topic.name, index);
            // An offset of a topic of the same name that was deleted says nothing about this one.
            let same_topic = |value: &&OffsetCommitValue| {
                topic.topic_id.is_nil() || value.topic_id.is_nil() || topic.topic_id == value.topic_id
            };
            fetched(index, found.filter(same_topic))
        };
        OffsetFetchResponseTopics {
            name: topic.name.clone(),
            topic_id: topic.topic_id,
            partitions: topic.partition_indexes.iter().map(|index| one(*index)).collect(),
            ..Default::default()
        }
    }

    fn fetch_all(&self, group_id: &str) -> Vec<OffsetFetchResponseTopics> {
        let Some(group) = self.persisted.group(group_id) else { return Vec::new() };
        group
            .offsets
            .iter()
            .map(|(name, partitions)| OffsetFetchResponseTopics {
                name: name.clone(),
                partitions: partitions.iter().map(|(index, value)| fetched(*index, Some(value))).collect(),
                ..Default::default()
            })
            .collect()
    }

    /// Decides about the deletion of offsets; those of topics that members subscribe to stay.
    ///
    /// # Errors
    /// `GROUP_ID_NOT_FOUND`; `NON_EMPTY_GROUP` where the members are no consumers, so that their topics are not known.
    pub fn decide_delete_offsets(
        &self,
        request: &OffsetDeleteRequest,
    ) -> Result<Outcome<OffsetDeleteResponse>, ErrorCode> {
        let living = self.living(&request.group_id);
        if living.is_none() && self.persisted.group(&request.group_id).is_none() {
            return Err(ErrorCode::GroupIdNotFound);
        }
        if let Some(group) = living {
            match group.state() {
                ClassicState::Dead => return Err(ErrorCode::GroupIdNotFound),
                ClassicState::Empty => {}
                _ if group.protocol_type.as_deref() != Some(CONSUMER_PROTOCOL_TYPE) => {
                    return Err(ErrorCode::NonEmptyGroup);
                }
                _ => {}
            }
        }
        let mut outcome = Outcome { records: Vec::new(), reply: OffsetDeleteResponse::default() };
        for topic in &request.topics {
            let subscribed = living.is_some_and(|group| group.is_subscribed(&topic.name));
            let mut answered = OffsetDeleteResponseTopic { name: topic.name.clone(), ..Default::default() };
            for partition in &topic.partitions {
                let index = partition.partition_index;
                let error = if subscribed {
                    ErrorCode::GroupSubscribedToTopic
                } else if self.persisted.offset(&request.group_id, &topic.name, index).is_some() {
                    match records::offset_tombstone(&request.group_id, &topic.name, index) {
                        Ok(record) => {
                            outcome.records.push(record);
                            ErrorCode::None
                        }
                        Err(_) => ErrorCode::InvalidRequest,
                    }
                } else {
                    ErrorCode::None
                };
                answered
                    .partitions
                    .push(OffsetDeleteResponsePartition { partition_index: index, error_code: error.code() });
            }
            outcome.reply.topics.push(answered);
        }
        Ok(outcome)
    }
}

fn fetched(partition_index: i32, value: Option<&OffsetCommitValue>) -> OffsetFetchResponsePartitions {
    OffsetFetchResponsePartitions {
        partition_index,
        committed_offset: value.map_or(-1, |value| value.offset),
        committed_leader_epoch: value.map_or(-1, |value| value.leader_epoch),
        metadata: Some(value.map(|value| value.metadata.clone()).unwrap_or_default()),
        ..Default::default()
    }
}
