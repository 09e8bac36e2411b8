//! Fetching committed offsets.

use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use rkafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartitions, OffsetFetchResponseTopics,
};

use super::StoredOffset;
use crate::coordinator::group::GroupShard;

impl GroupShard {
    /// The committed offsets that were asked for; all of the group's where no topics are named. A partition without a
    /// commit is answered with offset -1. With `require_stable`, one that an open transaction has written is answered
    /// with `UNSTABLE_OFFSET_COMMIT` instead (KIP-447).
    ///
    /// # Errors
    /// Of a member that says who it is (KIP-848): `UNKNOWN_MEMBER_ID`, `STALE_MEMBER_EPOCH`.
    pub fn fetch_offsets(
        &self,
        request: &OffsetFetchRequestGroup,
        require_stable: bool,
    ) -> Result<OffsetFetchResponseGroup, ErrorCode> {
        self.check_fetcher(&request.group_id, request.member_id.as_deref(), request.member_epoch)?;
        let asked = Asked { shard: self, group_id: &request.group_id, require_stable };
        let topics = match &request.topics {
            Some(topics) => topics.iter().map(|topic| asked.topic(topic)).collect(),
            None => asked.all(),
        };
        Ok(OffsetFetchResponseGroup { group_id: request.group_id.clone(), topics, ..Default::default() })
    }
}

struct Asked<'a> {
    shard: &'a GroupShard,
    group_id: &'a str,
    require_stable: bool,
}

impl Asked<'_> {
    fn topic(&self, topic: &OffsetFetchRequestTopics) -> OffsetFetchResponseTopics {
        let one = |index: i32| {
            let found = self.shard.persisted.offsets.get(self.group_id, &topic.name, index);
            // An offset of a topic of the same name that was deleted says nothing about this one.
            let same_topic = |stored: &&StoredOffset| {
                topic.topic_id.is_nil() || stored.topic_id.is_nil() || topic.topic_id == stored.topic_id
            };
            self.partition(&topic.name, index, found.filter(same_topic))
        };
        OffsetFetchResponseTopics {
            name: topic.name.clone(),
            topic_id: topic.topic_id,
            partitions: topic.partition_indexes.iter().map(|index| one(*index)).collect(),
            ..Default::default()
        }
    }

    fn all(&self) -> Vec<OffsetFetchResponseTopics> {
        let topics = self.shard.persisted.offsets.committed(self.group_id).into_iter().flatten();
        topics
            .map(|(name, partitions)| OffsetFetchResponseTopics {
                name: name.clone(),
                partitions: partitions
                    .iter()
                    .map(|(index, stored)| self.partition(name, *index, Some(stored)))
                    .collect(),
                ..Default::default()
            })
            .collect()
    }

    fn partition(&self, topic: &str, index: i32, stored: Option<&StoredOffset>) -> OffsetFetchResponsePartitions {
        let unstable = self.require_stable && self.shard.persisted.offsets.is_pending(self.group_id, topic, index);
        let (stored, error) =
            if unstable { (None, ErrorCode::UnstableOffsetCommit) } else { (stored, ErrorCode::None) };
        OffsetFetchResponsePartitions {
            partition_index: index,
            committed_offset: stored.map_or(-1, |stored| stored.offset),
            committed_leader_epoch: stored.map_or(-1, |stored| stored.leader_epoch),
            metadata: Some(stored.map(|stored| stored.metadata.to_string()).unwrap_or_default()),
            error_code: error.code(),
            ..Default::default()
        }
    }
}
