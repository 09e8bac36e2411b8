//! API: AddPartitionsToTxn (24)
//! Versions: 0-5
//! Behaviour: partitions come into a producer's transaction, all of them or none: where one does not exist, the others
//! are answered by `OPERATION_NOT_ATTEMPTED`. From version 4 on, which brokers speak, a request is about several
//! transactions, and may only ask whether the partitions are in them.
//! Deviations: none known.
//! KIPs: 98, 588, 890

use std::sync::Arc;

use futures_util::future::join_all;
use rkafka_protocol::ErrorCode;
use rkafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use rkafka_protocol::messages::add_partitions_to_txn_response::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnResult, AddPartitionsToTxnTopicResult,
};
use rkafka_protocol::messages::{AddPartitionsToTxnRequest, AddPartitionsToTxnResponse};

use super::{HandlerError, RequestContext};
use crate::BrokerState;
use crate::coordinator::transaction::{PartitionsMode, ProducerIdentity, TRANSACTION_VERSION_MAX, TopicPartitions};

/// The first version that is about several transactions, and that brokers send.
const FIRST_WITH_TRANSACTIONS: i16 = 4;
/// The first version whose clients know `PRODUCER_FENCED`.
const FIRST_WITH_FENCED: i16 = 2;

/// Adds partitions to transactions, or looks whether they are in them.
///
/// # Errors
/// None; errors of partitions are in the answer.
pub async fn handle(
    broker: &Arc<BrokerState>,
    _context: &RequestContext,
    request: AddPartitionsToTxnRequest,
    version: i16,
) -> Result<AddPartitionsToTxnResponse, HandlerError> {
    if version < FIRST_WITH_TRANSACTIONS {
        let producer =
            ProducerIdentity { id: request.v3_and_below_producer_id, epoch: request.v3_and_below_producer_epoch };
        let mode = PartitionsMode::Add { version: 0 };
        let transactional_id = &request.v3_and_below_transactional_id;
        let results = decide(broker, transactional_id, producer, &request.v3_and_below_topics, mode).await;
        let results = answer(&request.v3_and_below_topics, |topic, partition| match results.of(topic, partition) {
            ErrorCode::ProducerFenced if version < FIRST_WITH_FENCED => ErrorCode::InvalidProducerEpoch,
            error => error,
        });
        return Ok(AddPartitionsToTxnResponse { results_by_topic_v3_and_below: results, ..Default::default() });
    }
    // All of them are noted before any note is waited for.
    let results_by_transaction = join_all(request.transactions.into_iter().map(|one| async move {
        let producer = ProducerIdentity { id: one.producer_id, epoch: one.producer_epoch };
        let mode = match one.verify_only {
            true => PartitionsMode::Verify,
            false => PartitionsMode::Add { version: TRANSACTION_VERSION_MAX },
        };
        let results = decide(broker, &one.transactional_id, producer, &one.topics, mode).await;
        AddPartitionsToTxnResult {
            topic_results: answer(&one.topics, |topic, partition| results.of(topic, partition)),
            transactional_id: one.transactional_id,
            ..Default::default()
        }
    }));
    let results_by_transaction = results_by_transaction.await;
    Ok(AddPartitionsToTxnResponse { results_by_transaction, ..Default::default() })
}

/// What became of the partitions.
enum Results {
    /// The same of all.
    All(ErrorCode),
    /// These are refused, and the others are not looked at.
    Refused(Vec<(String, i32, ErrorCode)>, ErrorCode),
}

impl Results {
    fn of(&self, topic: &str, partition: i32) -> ErrorCode {
        match self {
            Self::All(error) => *error,
            Self::Refused(refused, others) => {
                let found = refused.iter().find(|(name, index, _)| name == topic && *index == partition);
                found.map_or(*others, |(_, _, error)| *error)
            }
        }
    }
}

async fn decide(
    broker: &Arc<BrokerState>,
    transactional_id: &str,
    producer: ProducerIdentity,
    topics: &[AddPartitionsToTxnTopic],
    mode: PartitionsMode,
) -> Results {
    let image = broker.image();
    let mut asked = TopicPartitions::new();
    let mut unknown = Vec::new();
    for topic in topics {
        let found = image.topic(&topic.name);
        for partition in &topic.partitions {
            if found.is_some_and(|found| found.partition(*partition).is_some()) {
                asked.entry(topic.name.clone()).or_default().insert(*partition);
            } else {
                unknown.push((topic.name.clone(), *partition, ErrorCode::UnknownTopicOrPartition));
            }
        }
    }
    if !unknown.is_empty() {
        return Results::Refused(unknown, ErrorCode::OperationNotAttempted);
    }
    match broker.transactions.add_or_verify(&**broker, transactional_id, producer, &asked, mode).await {
        Ok(refused) => Results::Refused(refused, ErrorCode::None),
        Err(error) => Results::All(error),
    }
}

fn answer(
    topics: &[AddPartitionsToTxnTopic],
    error_of: impl Fn(&str, i32) -> ErrorCode,
) -> Vec<AddPartitionsToTxnTopicResult> {
    let of_topic = |topic: &AddPartitionsToTxnTopic| AddPartitionsToTxnTopicResult {
        name: topic.name.clone(),
        results_by_partition: topic
            .partitions
            .iter()
            .map(|partition| AddPartitionsToTxnPartitionResult {
                partition_index: *partition,
                partition_error_code: error_of(&topic.name, *partition).code(),
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    };
    topics.iter().map(of_topic).collect()
}
