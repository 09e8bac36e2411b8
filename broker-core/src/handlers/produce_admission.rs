//! What a Produce request does before a transaction's first batch in a partition: it asks the partition for permission,
//! and the transaction coordinator to have the partition in the transaction (KIP-890). Later batches of the transaction
//! cost nothing here but a look at the partition's producers.

use std::collections::HashMap;
use std::sync::Arc;

use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::produce_request::TopicProduceData;
use rkafka_protocol::records::BatchHeader;

use crate::BrokerState;
use crate::controller::{MetadataImage, TopicImage};
use crate::coordinator::transaction::{ProducerIdentity, TopicPartitions, TransactionSupport};
use crate::log::VerificationGuard;

/// Where the low byte of a batch's attributes lies, and the bit in it of a transaction.
const ATTRIBUTES_AT: usize = 22;
const TRANSACTIONAL_BIT: u8 = 0x10;

/// Whether a batch says that it is part of a transaction.
fn is_transactional(records: Option<&bytes::Bytes>) -> bool {
    records.and_then(|records| records.get(ATTRIBUTES_AT)).is_some_and(|bits| bits & TRANSACTIONAL_BIT != 0)
}

/// Whether any batch of a request is part of a transaction.
pub(super) fn has_transactional_records(topics: &[TopicProduceData]) -> bool {
    let mut all = topics.iter().flat_map(|topic| &topic.partition_data);
    all.any(|data| is_transactional(data.records.as_ref()))
}

/// What became of the partitions of a request that begin a transaction, by topic and partition.
#[derive(Debug, Default)]
pub(super) struct Admissions(HashMap<(Arc<str>, i32), Result<Option<VerificationGuard>, ErrorCode>>);

impl Admissions {
    /// The permission for a partition's batch, where it needs one.
    ///
    /// # Errors
    /// It may not be appended; an error that the client understands.
    pub fn of(&self, topic: &TopicImage, partition: i32) -> Result<Option<VerificationGuard>, ErrorCode> {
        if self.0.is_empty() {
            return Ok(None);
        }
        self.0.get(&(Arc::clone(&topic.name), partition)).copied().unwrap_or(Ok(None))
    }
}

/// Sees to it that all partitions of a request are in its transaction.
pub(super) async fn admit(
    broker: &BrokerState,
    image: &MetadataImage,
    transactional_id: &str,
    topics: &[TopicProduceData],
    by_id: bool,
    version: i16,
) -> Admissions {
    let support = TransactionSupport::of_produce(version);
    let now_ms = broker.clock.now_ms();
    let mut admissions = Admissions::default();
    let mut asked = TopicPartitions::new();
    let mut first_producer = None;
    for topic in topics {
        let Some(found) = (if by_id { image.topic_by_id(topic.topic_id) } else { image.topic(&topic.name) }) else {
            continue;
        };
        for data in topic.partition_data.iter().filter(|data| is_transactional(data.records.as_ref())) {
            let (Some(Ok(header)), Some(partition)) = (
                data.records.as_ref().map(|records| BatchHeader::read(records)),
                broker.partition_of(found, data.index),
            ) else {
                continue;
            };
            let producer = ProducerIdentity { id: header.producer_id, epoch: header.producer_epoch };
            let key = (Arc::clone(&found.name), data.index);
            if *first_producer.get_or_insert(producer) != producer {
                // One transactional id has one producer at a time.
                admissions.0.insert(key, Err(ErrorCode::InvalidProducerIdMapping));
                continue;
            }
            let bumps = support.bumps_epochs();
            match partition.begin_verification(producer.id, producer.epoch, header.base_sequence, bumps, now_ms) {
                Ok(None) => {}
                begun @ Ok(Some(_)) => {
                    asked.entry(found.name.to_string()).or_default().insert(data.index);
                    admissions.0.insert(key, begun);
                }
                Err(error) => {
                    admissions.0.insert(key, Err(error));
                }
            }
        }
    }
    let (Some(producer), false) = (first_producer, asked.is_empty()) else { return admissions };
    match broker.admit_to_transaction(transactional_id, producer, &asked, support).await {
        Ok(refused) => {
            for (topic, partition, error) in refused {
                admissions.0.insert((topic.into(), partition), Err(produce_error(error, support)));
            }
        }
        Err(error) => {
            for granted in admissions.0.values_mut().filter(|granted| granted.is_ok()) {
                *granted = Err(produce_error(error, support));
            }
        }
    }
    admissions
}

/// Errors of the coordinator that pass, as an error that makes a producer send again without looking for another leader.
/// `CONCURRENT_TRANSACTIONS` is known to those that add partitions by writing.
fn produce_error(error: ErrorCode, support: TransactionSupport) -> ErrorCode {
    match error {
        ErrorCode::CoordinatorLoadInProgress | ErrorCode::CoordinatorNotAvailable | ErrorCode::NotCoordinator => {
            ErrorCode::NotEnoughReplicas
        }
        ErrorCode::ConcurrentTransactions if !support.bumps_epochs() => ErrorCode::NotEnoughReplicas,
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_client_gets_the_error_that_makes_it_retry() {
        let (old, new) = (TransactionSupport::of_produce(11), TransactionSupport::of_produce(12));
        assert_eq!(produce_error(ErrorCode::ConcurrentTransactions, old), ErrorCode::NotEnoughReplicas);
        assert_eq!(produce_error(ErrorCode::ConcurrentTransactions, new), ErrorCode::ConcurrentTransactions);
        assert_eq!(produce_error(ErrorCode::NotCoordinator, new), ErrorCode::NotEnoughReplicas);
        assert_eq!(produce_error(ErrorCode::InvalidProducerEpoch, new), ErrorCode::InvalidProducerEpoch);
    }
}
