//! Deleting offsets: single ones, those of a group, those of a topic.

use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::offset_delete_request::OffsetDeleteRequest;
use rkafka_protocol::messages::offset_delete_response::{
    OffsetDeleteResponse, OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use uuid::Uuid;

use crate::InternalRecord;
use crate::coordinator::group::{GroupShard, Outcome, records};

impl GroupShard {
    /// Decides about the deletion of offsets; those of topics that members subscribe to stay.
    ///
    /// # Errors
    /// `GROUP_ID_NOT_FOUND`; `NON_EMPTY_GROUP` where the members are no consumers, so that their topics are not known.
    pub fn decide_delete_offsets(
        &self,
        request: &OffsetDeleteRequest,
    ) -> Result<Outcome<OffsetDeleteResponse>, ErrorCode> {
        self.check_offset_deletion(&request.group_id)?;
        let known = self.persisted.offsets.partitions(&request.group_id);
        let mut outcome = Outcome { records: Vec::new(), reply: OffsetDeleteResponse::default() };
        for topic in &request.topics {
            let subscribed = self.is_subscribed(&request.group_id, &topic.name);
            let mut answered = OffsetDeleteResponseTopic { name: topic.name.clone(), ..Default::default() };
            for partition in &topic.partitions {
                let index = partition.partition_index;
                let error = if subscribed {
                    ErrorCode::GroupSubscribedToTopic
                } else if known.contains(&(topic.name.as_str(), index)) {
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

    /// Tombstones for all offsets of a group, those of open transactions included.
    ///
    /// # Errors
    /// `INVALID_REQUEST`: a name cannot be written in Kafka's format.
    pub(in crate::coordinator::group) fn offset_tombstones(
        &self,
        group_id: &str,
    ) -> Result<Vec<InternalRecord>, ErrorCode> {
        let partitions = self.persisted.offsets.partitions(group_id).into_iter();
        let tombstones = partitions.map(|(topic, index)| records::offset_tombstone(group_id, topic, index));
        tombstones.collect::<Result<_, _>>().map_err(|_| ErrorCode::InvalidRequest)
    }

    /// What takes a topic that was deleted out of all groups: tombstones for all offsets, those of open transactions
    /// included, and share groups are no longer on it.
    pub fn decide_forget_topic(&self, topic: &str, topic_id: Uuid) -> Vec<InternalRecord> {
        let offsets = &self.persisted.offsets;
        let of_topic = offsets.groups().into_iter().flat_map(|group_id| {
            let partitions = offsets.partitions(group_id).into_iter();
            partitions.filter(|(name, _)| *name == topic).map(move |(_, index)| (group_id, index))
        });
        let tombstone = |(group_id, index)| records::offset_tombstone(group_id, topic, index).ok();
        of_topic.filter_map(tombstone).chain(self.forget_share_topic(topic_id)).collect()
    }
}
