//! Partitions that come into a transaction, and the question whether they are in it.

use rkafka_protocol::ErrorCode;

use super::entry::{ProducerIdentity, TopicPartitions, Transaction};
use super::shard::{Decision, TransactionShard};
use super::state::TransactionState;
use crate::coordinator::Moment;

/// What is to happen with partitions that are not in the transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartitionsMode {
    /// They come in. The version is the `transaction.version` of the client that wants it: 0, or 2 where the request
    /// that writes to the partition adds it (KIP-890, part 2).
    Add {
        /// `transaction.version` of the client.
        version: i16,
    },
    /// They are refused by `TRANSACTION_ABORTABLE` (KIP-890, part 1).
    Verify,
}

impl TransactionShard {
    /// Decides on partitions that are to come into a transaction, all or none.
    ///
    /// # Errors
    /// `INVALID_REQUEST` for an empty id, `INVALID_PRODUCER_ID_MAPPING`, `PRODUCER_FENCED`, and
    /// `CONCURRENT_TRANSACTIONS` while the transaction before is not over.
    pub fn decide_add(
        &self,
        now: Moment,
        transactional_id: &str,
        producer: ProducerIdentity,
        partitions: &TopicPartitions,
        version: i16,
        server_version: i16,
    ) -> Result<Decision<()>, ErrorCode> {
        let current = self.of_producer(transactional_id, producer)?;
        let mut asked = partitions.iter().flat_map(|(topic, ids)| ids.iter().map(move |id| (topic, *id)));
        if current.state == TransactionState::Ongoing && asked.all(|(topic, id)| current.contains(topic, id)) {
            return Ok(Decision { step: None, reply: () });
        }
        let next = current.with_partitions(partitions, version, now.date_ms)?;
        Ok(Decision { step: Some(Self::step(transactional_id, &next, None, server_version)?), reply: () })
    }

    /// The error of each partition that is not in the transaction.
    ///
    /// # Errors
    /// As [`TransactionShard::decide_add`], for all partitions.
    pub fn verify(
        &self,
        transactional_id: &str,
        producer: ProducerIdentity,
        partitions: &TopicPartitions,
    ) -> Result<Vec<(String, i32, ErrorCode)>, ErrorCode> {
        let current = self.of_producer(transactional_id, producer)?;
        let asked = partitions.iter().flat_map(|(topic, ids)| ids.iter().map(move |id| (topic, *id)));
        let missing = asked.filter(|(topic, id)| !current.contains(topic, *id));
        Ok(missing.map(|(topic, id)| (topic.clone(), id, ErrorCode::TransactionAbortable)).collect())
    }

    fn of_producer(&self, transactional_id: &str, producer: ProducerIdentity) -> Result<&Transaction, ErrorCode> {
        if transactional_id.is_empty() {
            return Err(ErrorCode::InvalidRequest);
        }
        let current = self.transaction(transactional_id).ok_or(ErrorCode::InvalidProducerIdMapping)?;
        if current.producer_id != producer.id {
            Err(ErrorCode::InvalidProducerIdMapping)
        } else if current.producer_epoch != producer.epoch {
            Err(ErrorCode::ProducerFenced)
        } else if current.state.is_ending() {
            Err(ErrorCode::ConcurrentTransactions)
        } else {
            Ok(current)
        }
    }
}
