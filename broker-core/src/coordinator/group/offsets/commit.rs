//! Committing offsets, in a transaction or not: decisions that read the shard, and records that change it once appended.

use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::offset_commit_request::OffsetCommitRequest;
use rkafka_protocol::messages::offset_commit_response::{
    OffsetCommitResponse, OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use rkafka_protocol::messages::offset_commit_value::OffsetCommitValue;
use rkafka_protocol::messages::txn_offset_commit_request::TxnOffsetCommitRequest;
use rkafka_protocol::messages::txn_offset_commit_response::{
    TxnOffsetCommitResponse, TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};
use uuid::Uuid;

use super::groups::Committer;
use crate::InternalRecord;
use crate::coordinator::group::{GroupShard, Moment, Outcome, records};

/// The records of a transactional commit, which are to be appended in the producer's transaction, and the answer.
pub type TransactionalCommit = Outcome<TxnOffsetCommitResponse>;

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
        let permit = self.check_committer(
            &request.group_id,
            &Committer {
                member_id: &request.member_id,
                instance_id: request.group_instance_id.as_deref(),
                generation: request.generation_id_or_member_epoch,
                is_transactional: false,
                version,
            },
        )?;
        let expire_timestamp = match request.retention_time_ms {
            -1 => -1,
            retention_ms => now.date_ms.saturating_add(retention_ms),
        };
        let mut outcome = Outcome { records: Vec::new(), reply: OffsetCommitResponse::default() };
        for topic in &request.topics {
            let topic_id = self.topic_id(&topic.name, topic.topic_id);
            let mut answered =
                OffsetCommitResponseTopic { name: topic.name.clone(), topic_id: topic.topic_id, ..Default::default() };
            for partition in &topic.partitions {
                let value = OffsetCommitValue {
                    offset: partition.committed_offset,
                    leader_epoch: partition.committed_leader_epoch,
                    metadata: partition.committed_metadata.clone().unwrap_or_default(),
                    commit_timestamp: now.date_ms,
                    expire_timestamp,
                    topic_id: topic.topic_id,
                    ..Default::default()
                };
                let index = partition.partition_index;
                let permitted = permit.check(topic_id, index);
                let record = permitted.and_then(|()| self.offset_record(&request.group_id, &topic.name, index, &value));
                answered.partitions.push(OffsetCommitResponsePartition {
                    partition_index: partition.partition_index,
                    error_code: take(&mut outcome.records, record).code(),
                    ..Default::default()
                });
            }
            outcome.reply.topics.push(answered);
        }
        Ok(outcome)
    }

    /// Decides about a commit in a transaction whose topics were found to exist. The offsets count once
    /// [`Outcome::records`] are appended in the transaction and replayed, and its marker commits them.
    ///
    /// # Errors
    /// Of the group: `UNKNOWN_MEMBER_ID`, `FENCED_INSTANCE_ID`, `ILLEGAL_GENERATION`, `COORDINATOR_NOT_AVAILABLE`
    /// (KIP-447). Errors of single partitions are in the answer.
    pub fn decide_transactional_commit(
        &self,
        now: Moment,
        request: &TxnOffsetCommitRequest,
        version: i16,
    ) -> Result<TransactionalCommit, ErrorCode> {
        let permit = self.check_committer(
            &request.group_id,
            &Committer {
                member_id: &request.member_id,
                instance_id: request.group_instance_id.as_deref(),
                generation: request.generation_id,
                is_transactional: true,
                version,
            },
        )?;
        let mut outcome = Outcome { records: Vec::new(), reply: TxnOffsetCommitResponse::default() };
        for topic in &request.topics {
            let topic_id = self.topic_id(&topic.name, Uuid::nil());
            let mut answered = TxnOffsetCommitResponseTopic { name: topic.name.clone(), ..Default::default() };
            for partition in &topic.partitions {
                let value = OffsetCommitValue {
                    offset: partition.committed_offset,
                    leader_epoch: partition.committed_leader_epoch,
                    metadata: partition.committed_metadata.clone().unwrap_or_default(),
                    commit_timestamp: now.date_ms,
                    ..Default::default()
                };
                let index = partition.partition_index;
                let permitted = permit.check(topic_id, index);
                let record = permitted.and_then(|()| self.offset_record(&request.group_id, &topic.name, index, &value));
                answered.partitions.push(TxnOffsetCommitResponsePartition {
                    partition_index: partition.partition_index,
                    error_code: take(&mut outcome.records, record).code(),
                    ..Default::default()
                });
            }
            outcome.reply.topics.push(answered);
        }
        Ok(outcome)
    }

    /// The id of a topic that a request may have named only.
    fn topic_id(&self, name: &str, id: Uuid) -> Uuid {
        if id.is_nil() { self.image.topic(name).map_or(id, |topic| topic.id) } else { id }
    }

    fn offset_record(
        &self,
        group_id: &str,
        topic: &str,
        partition: i32,
        value: &OffsetCommitValue,
    ) -> Result<InternalRecord, ErrorCode> {
        // Kafka counts UTF-16 code units.
        if value.metadata.encode_utf16().count() > self.settings.offset_metadata_max_length {
            return Err(ErrorCode::OffsetMetadataTooLarge);
        }
        records::offset(group_id, topic, partition, value).map_err(|_| ErrorCode::InvalidRequest)
    }
}

/// Keeps a record that there is, and answers why there is none.
fn take(records: &mut Vec<InternalRecord>, record: Result<InternalRecord, ErrorCode>) -> ErrorCode {
    match record {
        Ok(record) => {
            records.push(record);
            ErrorCode::None
        }
        Err(error) => error,
    }
}
